"""How long models take, side by side: in turn on the same inputs, so that a machine that drifts slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import InputError

_WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """Times of several models, measured in one run.

    Attributes
    ----------
    seconds : dict of str to tuple of float
        Every measured run of each model, in the order in which they ran.
    threads : int
        Threads of torch on the CPU.
    device : str
        Where the models ran.
    """

    seconds: dict[str, tuple[float, ...]]
    threads: int
    device: str

    def median(self, name: str) -> float:
        """Median of the runs of a model.

        Parameters
        ----------
        name : str
            Its key.

        Returns
        -------
        float
            Seconds.
        """
        return statistics.median(self.seconds[name])

    def speedup(self, name: str, reference: str) -> float:
        """Median over the rounds of the time of the reference over that of a model.

        Parameters
        ----------
        name, reference : str
            Keys of the two.

        Returns
        -------
        float
            Above 1 where the model is faster.
        """
        pairs = zip(self.seconds[reference], self.seconds[name], strict=True)
        return statistics.median(before / after for before, after in pairs)


def measure_latency(
    models: Mapping[str, nn.Module | Callable[[torch.Tensor], Any]],
    inputs: torch.Tensor,
    *,
    repeats: int = 30,
    threads: int | None = 1,
) -> Latency:
    """Run models in turn on the same inputs, in evaluation mode and without autograd.

    Every round runs each model once, in an order that turns round from one round to the next; rounds that only warm up come
    first and are not counted.

    Parameters
    ----------
    models : dict of str to torch.nn.Module or callable
        What is measured; modes of modules are restored.
    inputs : tensor (n, ...)
        Usually one sample; on the device of the models.
    repeats : int
        Measured rounds.
    threads : int or None
        Threads of torch while measuring; None leaves them as they are.

    Returns
    -------
    Latency

    Raises
    ------
    InputError
        If there are no models, or ``repeats`` or ``threads`` is below 1.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import measure_latency
    >>> found = measure_latency({"a": torch.nn.Linear(4, 4), "b": torch.nn.ReLU()}, torch.ones(1, 4), repeats=5)
    >>> len(found.seconds["a"]), found.threads, found.median("b") > 0
    (5, 1, True)
    """
    if not models or repeats < 1 or (threads is not None and threads < 1):
        raise InputError(
            f"at least one model, repeats and threads of 1 or more are needed, got {len(models)} models, "
            f"repeats={repeats!r}, threads={threads!r}."
        )
    seconds: dict[str, list[float]] = {name: [] for name in models}
    with _quiet(models, threads), torch.no_grad():
        for number in range(_WARM_UP + repeats):
            for name in list(models)[:: 1 if number % 2 else -1]:
                spent = _timed(models[name], inputs)
                if number >= _WARM_UP:
                    seconds[name].append(spent)
        used = torch.get_num_threads()
    return Latency({name: tuple(values) for name, values in seconds.items()}, used, str(inputs.device))


def _timed(model: Any, inputs: torch.Tensor) -> float:
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)
    begin = time.perf_counter()
    model(inputs)
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)
    return time.perf_counter() - begin


@contextmanager
def _quiet(models: Mapping[str, Any], threads: int | None) -> Iterator[None]:
    modes = {
        part: part.training for model in models.values() if isinstance(model, nn.Module) for part in model.modules()
    }
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        for part in modes:
            part.training = False
        yield
    finally:
        torch.set_num_threads(before)
        for part, mode in modes.items():
            part.training = mode
