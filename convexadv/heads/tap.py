"""Where the feature of a model is: found as the input of its last fully connected layers, or told by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import torch

from ..errors import InputError, reason
from ..robustness.arguments import evaluation_mode
from ._trace import Call, Trace, trace


@dataclass(frozen=True)
class Tap:
    """The place in a model where its feature is read.

    Attributes
    ----------
    name : str
        Of the layer, as in ``model.named_modules()``.
    side : "input" or "output"
        Whether the feature is the layer's input or its output.
    shape : tuple of int
        Shape of the feature of one row, before it is flattened.
    score_shape : tuple of int
        Shape of the model's scores of one row: (), (1,) or (C,).
    replaced : tuple of str
        The fully connected layers that a head takes the place of, where they were found and not told.
    """

    name: str
    side: str
    shape: tuple[int, ...]
    score_shape: tuple[int, ...]
    replaced: tuple[str, ...] = ()

    @property
    def n_features(self) -> int:
        """Number of features d."""
        return int(torch.Size(self.shape).numel())

    @property
    def n_outputs(self) -> int:
        """Number of scores of a row."""
        return int(torch.Size(self.score_shape).numel())

    def __str__(self) -> str:
        layers = f", in place of {' and '.join(self.replaced)}" if self.replaced else ""
        return f"{self.side} of {self.name} ({self.n_features} features{layers})"


def find_tap(model: torch.nn.Module, x: torch.Tensor, at: str | None = None) -> Tap:
    """Find the layer whose input or output is the feature of a model.

    Without ``at`` one batch is traced for the final chain of fully connected layers: the last two ``Linear`` layers if
    the output of the one reaches the other through element-wise operations only (activations, dropout, batch norm),
    else the last one. The feature is the input of the first of the chain, and all that the model returns has to depend
    on its input through it.

    Parameters
    ----------
    model : torch.nn.Module
        A classifier; used in evaluation mode and left as it was.
    x : tensor (n, ...)
        A batch of inputs on the model's device, in its precision.
    at : str, optional
        Name of a layer, out of ``model.named_modules()``; its output is the feature, flattened to (n, d).

    Returns
    -------
    Tap

    Raises
    ------
    InputError
        If there is no such layer, it is not called exactly once, its output has not one row an input, the model has no
        ``Linear`` layer to replace, something passes the layer by, or the scores are not (n,), (n, 1) or (n, C).

    Examples
    --------
    >>> import torch
    >>> from convexadv.heads import find_tap
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Tanh(), torch.nn.Linear(6, 4), torch.nn.Linear(4, 2))
    >>> print(find_tap(model, torch.zeros(3, 8)))
    input of 2 (6 features, in place of 2 and 3)
    >>> print(find_tap(model, torch.zeros(3, 8), at="0"))
    output of 0 (6 features)
    """
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"model is a {type(model).__name__}; a torch module is needed.")
    if not list(model.children()):
        raise InputError(
            f"model is a single {type(model).__name__}; one with layers inside, as in a Sequential, is needed."
        )
    if at is not None:
        _check_name(model, at)
    record = _traced(model, x)
    scores = _score_shape(record.output, len(x))
    if at is not None:
        call = _only_call(record, at)
        return Tap(at, "output", _row_shape(call.output, f"The output of {at}", len(x)), scores)
    chain = _final_chain(record)
    shape = _row_shape(chain[0].value, f"The input of {chain[0].name}", len(x))
    return Tap(chain[0].name, "input", shape, scores, tuple(call.name for call in chain))


def _traced(model: torch.nn.Module, x: torch.Tensor) -> Trace:
    try:
        with evaluation_mode(model):
            return trace(model, x)
    except (RuntimeError, IndexError, TypeError) as error:
        raise InputError(
            f"the model does not run on inputs of shape {tuple(x.shape)}: {reason(error)}; inputs of its own shape are "
            "needed (on the command line: --shape)."
        ) from error


def _check_name(model: torch.nn.Module, at: str) -> None:
    names = [name for name, _ in model.named_modules() if name]
    if not isinstance(at, str) or at not in names:
        close = difflib.get_close_matches(str(at), names, n=3, cutoff=0.4) or names[-3:]
        raise InputError(f"at={at!r} names no layer of the model; choose one, such as {', '.join(close)}.")


def _only_call(record: Trace, at: str) -> Call:
    calls = [call for call in record.calls if call.name == at]
    if not calls:
        raise InputError(f"at={at!r} names a layer that the model does not call; name one that it does.")
    if len(calls) > 1:
        raise InputError(f"at={at!r} names a layer that is called {len(calls)} times; name one that is called once.")
    return calls[0]


def _final_chain(record: Trace) -> list[Call]:
    """The last two fully connected layers, or the last one."""
    linear = sorted(
        (call for call in record.calls if isinstance(call.module, torch.nn.Linear) and call.result is not None),
        key=lambda call: call.began,
    )
    output = record.maker(record.output)
    last = next((call for call in reversed(linear) if record.only_through(output, call.result)), None)
    if last is None:
        reason = "some of its scores pass every such layer by" if linear else "none is called"
        raise InputError(
            f"the model has no final torch.nn.Linear that a head could replace ({reason}); name the layer whose output is "
            "the feature: at=NAME."
        )
    counts = record.counts()
    if counts[last.name] > 1:
        raise InputError(
            f"the last Linear, {last.name}, is called {counts[last.name]} times; name the layer whose output is the feature: "
            "at=NAME."
        )
    for call in reversed(linear[: linear.index(last)]):
        if record.elementwise_between(call.result, last.source) and counts[call.name] == 1:
            return [call, last]
    return [last]


def _row_shape(value: torch.Tensor | None, what: str, n: int) -> tuple[int, ...]:
    if value is None:
        raise InputError(f"{what} is no tensor; the feature must be one tensor (n, ...).")
    if value.ndim < 2 or len(value) != n or value.numel() == 0:
        raise InputError(
            f"{what} has shape {tuple(value.shape)} for {n} inputs; a feature of constant size with one row an input is "
            "needed."
        )
    if not value.is_floating_point():
        raise InputError(f"{what} has the type {value.dtype}; floating numbers are needed.")
    return tuple(value.shape[1:])


def _score_shape(output: object, n: int) -> tuple[int, ...]:
    if not isinstance(output, torch.Tensor):
        raise InputError(f"the model returns a {type(output).__name__}; one tensor of scores is needed.")
    if output.ndim not in (1, 2) or len(output) != n or output.numel() == 0:
        raise InputError(f"the model returns shape {tuple(output.shape)} for {n} inputs; (n,) or (n, C) is needed.")
    return tuple(output.shape[1:])
