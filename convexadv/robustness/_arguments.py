"""Arguments of attacks: checked, and turned into tensors and functions of flat points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import _labels
from .._arrays import Array, is_tensor, to_numpy
from .._network import class_margins
from ..errors import InputError
from ._query import positive_integer

Scorer = Callable[[torch.Tensor], torch.Tensor]
LossOfScores = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_PATH = 10  # length of all steps together, in radii: several times across the ball


@dataclass(frozen=True)
class Settings:
    method: str
    steps: int
    step_size: float | None
    restarts: int
    loss: LossOfScores

    def step_sizes(self, radius: torch.Tensor) -> list[float | torch.Tensor]:
        """Give constant steps, or such that cross the ball at first and settle at the end.

        The first one is that of FGSM, so that the path from the row itself is never weaker.
        """
        radius = radius[:, None]
        if self.method == "fgsm":
            return [radius]
        if self.step_size is not None:
            return [self.step_size] * self.steps
        angles = [math.pi * step / self.steps for step in range(1, self.steps)]
        return [radius, *(radius * (_PATH / self.steps * (1 + math.cos(angle))) for angle in angles)]


def _margin_loss(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -class_margins(scores, target)


def _cross_entropy(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if scores.ndim == 1:
        return torch.nn.functional.softplus(-class_margins(scores, target))
    return torch.nn.functional.cross_entropy(scores, target, reduction="none")


_LOSSES: dict[str, LossOfScores] = {"margin": _margin_loss, "cross_entropy": _cross_entropy}


def attack_settings(network: Any, method: Any, steps: Any, step_size: Any, restarts: Any, loss: Any) -> Settings:
    if not isinstance(network, torch.nn.Module):
        raise InputError(f"attack needs a torch module, got {type(network).__name__}.")
    if method not in ("pgd", "fgsm"):
        raise InputError(f'method must be "pgd" or "fgsm", got {method!r}.')
    loss = "margin" if loss is None else loss
    if not callable(loss) and loss not in _LOSSES:
        raise InputError(f'loss must be "margin", "cross_entropy" or a function, got {loss!r}.')
    if step_size is not None and not (isinstance(step_size, (int, float)) and 0 < step_size < math.inf):
        raise InputError(f"step_size must be a positive number, got {step_size!r}.")
    chosen = loss if callable(loss) else _LOSSES[loss]
    return Settings(method, positive_integer("steps", steps), step_size, positive_integer("restarts", restarts), chosen)


def float_rows(X: Array) -> torch.Tensor:
    """Copy the inputs to a finite floating tensor; integers become float64."""
    if not is_tensor(X):
        X = np.asarray(X)
        if X.dtype.kind not in "biuf":
            raise InputError(f"X must hold numbers, got dtype {X.dtype}.")
        X = torch.from_numpy(np.array(X, dtype=np.float32 if X.dtype == np.float32 else np.float64))
    if X.dtype not in (torch.float32, torch.float64):
        X = X.float() if X.is_floating_point() else X.double()
    X = X.detach()
    if X.ndim < 2 or X.numel() == 0:
        raise InputError(f"X must have shape (n, d) or (n, ...) with at least one row, got {tuple(X.shape)}.")
    if not bool(torch.isfinite(X).all()):
        raise InputError("X must be finite, got a NaN or infinite entry.")
    return X


def box(bounds: Any, flat: torch.Tensor, shape: tuple[int, ...]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Spread the box over the features and check that it holds the rows."""
    if bounds is None:
        return None, None
    try:
        sides = [np.broadcast_to(to_numpy(side, np.float64), shape).reshape(-1) for side in bounds]
        lowest, highest = sides
    except (TypeError, ValueError) as error:
        raise InputError(f"bounds must be (low, high), numbers or arrays of shape {shape}.") from error
    if not (lowest <= highest).all():
        raise InputError("bounds must have low <= high in every entry, and no NaN.")
    low, high = (torch.tensor(side).to(flat) for side in sides)
    outside = ((flat < low) | (flat > high)).any(1)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise InputError(f"Row {row} of X lies outside of the bounds; attacks start inside of the box.")
    return low, high


def generator(random_state: Any) -> torch.Generator:
    if isinstance(random_state, torch.Generator):
        return random_state
    generator = torch.Generator()
    if random_state is None:
        generator.seed()
    elif isinstance(random_state, (int, np.integer)):
        generator.manual_seed(int(random_state))
    else:
        raise InputError(f"random_state must be an integer, a torch.Generator or None, got {random_state!r}.")
    return generator


@contextmanager
def evaluation_mode(network: torch.nn.Module) -> Iterator[None]:
    """Put the module into evaluation mode, and each of its parts back into its own afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _weights_of(network: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from network.parameters()
    yield from network.buffers()


def device_of(network: torch.nn.Module, like: torch.Tensor) -> torch.device:
    return next((weight.device for weight in _weights_of(network)), like.device)


def scorer(network: torch.nn.Module, shape: tuple[int, ...]) -> Scorer:
    """Make the function from flat points to scores (n,) or (n, C), in the shape and dtype of the module."""
    dtypes = (weight.dtype for weight in _weights_of(network) if weight.is_floating_point())
    dtype = None if getattr(network, "casts_inputs", False) else next(dtypes, None)

    def score(points: torch.Tensor) -> torch.Tensor:
        n = len(points)
        scores = network(points.reshape(n, *shape).to(dtype or points.dtype))
        if not isinstance(scores, torch.Tensor):
            raise InputError(f"The network must return a tensor of scores, got {type(scores).__name__}.")
        if scores.numel() == n:
            return scores.reshape(n)
        if n == 1 and scores.ndim == 1:  # a module that squeezes
            return scores[None]
        if scores.ndim != 2 or len(scores) != n:
            raise InputError(f"The network must return (n,) or (n, C) scores, got {tuple(scores.shape)} for n={n}.")
        return scores

    return score


def targets(network: torch.nn.Module, y: Any, n: int, scores: torch.Tensor) -> torch.Tensor:
    """Turn labels to positions among the classes of the module, or among the outputs that it has."""
    classes = getattr(network, "classes", None)
    outputs = 1 if scores.ndim == 1 else scores.shape[1]
    if classes is not None:
        classes = _labels.as_labels(classes, "the classes of the network")
        if len(classes) != max(2, outputs):
            raise InputError(f"The network has {len(classes)} classes but {outputs} outputs.")
    elif outputs > 1:
        classes = np.arange(outputs)
    else:
        present = np.unique(_labels.as_labels(y))
        pairs = [np.array(pair) for pair in ([0, 1], [-1, 1])] if present.dtype.kind != "U" else []
        classes = next((pair for pair in pairs if np.isin(present, pair).all()), present)
        if len(classes) != 2:
            raise InputError(f"A network with one score needs labels of two values, got {_labels.summary(present)}.")
    order = np.argsort(classes)  # a module from elsewhere may list its classes in another order
    positions = _labels.label_indices(y, _labels.as_classes(classes[order]), n)
    return torch.from_numpy(order[positions])
