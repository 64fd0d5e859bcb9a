"""Arguments of attacks: checked, and turned into tensors and functions of flat points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .._arrays import Array, check_dense, is_tensor, plain_array, to_numpy
from ..errors import InputError
from ..networks.labels import as_classes, as_labels, label_indices, summary

Scorer = Callable[[torch.Tensor], torch.Tensor]


def float_rows(X: Array) -> torch.Tensor:
    """Copy the inputs to a finite floating tensor; integers become float64."""
    if is_tensor(X):
        check_dense(X)
        if X.is_complex():
            raise InputError(f"X must hold real numbers, got dtype {X.dtype}.")
    else:
        X = plain_array(X, "X")
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


def sides_of(bounds: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of a box of inputs of some shape, flat and of their own memory."""
    both = sides(bounds)
    try:
        low, high = (np.broadcast_to(side, shape).reshape(-1).copy() for side in both)
    except ValueError as error:
        raise InputError(f"bounds must be (low, high), numbers or arrays of shape {shape}.") from error
    return low, high


def sides(bounds: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of a box as arrays, low not above high."""
    try:
        low, high = (to_numpy(side, np.float64) for side in bounds)
        ordered = bool((low <= high).all())
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError("bounds must be (low, high), numbers or arrays of the shape of an input.") from error
    if not ordered:
        raise InputError("bounds must have low <= high in every entry, and no NaN.")
    return low, high


def seed(random_state: Any) -> int:
    """The seed of torch's generators and of NumPy's."""
    if (
        isinstance(random_state, bool)
        or not isinstance(random_state, int | np.integer)
        or not 0 <= random_state < 2**62
    ):
        raise InputError(
            f"random_state={random_state!r} cannot be used; a whole number of 0 or more, below 2^62, is needed."
        )
    return int(random_state)


def box(bounds: Any, flat: torch.Tensor, shape: tuple[int, ...]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Spread the box over the features and check that it holds the rows."""
    if bounds is None:
        return None, None
    low, high = (torch.tensor(side).to(flat) for side in sides_of(bounds, shape))
    outside = ((flat < low) | (flat > high)).any(1)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise InputError(f"row {row} of X lies outside of the bounds; rows inside are needed, where attacks start.")
    return low, high


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
    """The device of a network's weights, or that of a tensor where it has none."""
    return next((weight.device for weight in _weights_of(network)), like.device)


def scorer(network: torch.nn.Module, shape: tuple[int, ...]) -> Scorer:
    """Make the function from flat points to scores (n,) or (n, C), in the shape and dtype of the module."""
    dtypes = (weight.dtype for weight in _weights_of(network) if weight.is_floating_point())
    dtype = None if getattr(network, "casts_inputs", False) else next(dtypes, None)

    def score(points: torch.Tensor) -> torch.Tensor:
        n = len(points)
        scores = network(points.reshape(n, *shape).to(dtype or points.dtype))
        if not isinstance(scores, torch.Tensor):
            raise InputError(f"the network must return a tensor of scores, got {type(scores).__name__}.")
        if scores.numel() == n:
            return scores.reshape(n)
        if n == 1 and scores.ndim == 1:  # a module that squeezes
            return scores[None]
        if scores.ndim != 2 or len(scores) != n:
            raise InputError(f"the network must return (n,) or (n, C) scores, got {tuple(scores.shape)} for n={n}.")
        return scores

    return score


def classes_of(network: torch.nn.Module, labels: Sequence[Any], scores: torch.Tensor) -> np.ndarray:
    """List the classes of the module, or of the outputs that it has; one output takes them from the labels."""
    classes = getattr(network, "classes", None)
    outputs = 1 if scores.ndim == 1 else scores.shape[1]
    if classes is not None:
        classes = as_labels(classes, "the classes of the network")
        if len(classes) != max(2, outputs):
            raise InputError(
                f"the network has {len(classes)} classes, which need {max(2, len(classes))} outputs (or one for two), "
                f"but {outputs} outputs."
            )
        return classes
    if outputs > 1:
        return np.arange(outputs)
    present = np.unique(np.concatenate([as_labels(values) for values in labels]))
    pairs = [np.array(pair) for pair in ([0, 1], [-1, 1])] if present.dtype.kind != "U" else []
    classes = next((pair for pair in pairs if np.isin(present, pair).all()), present)
    if len(classes) != 2:
        raise InputError(f"a network with one score needs labels of two values, got {summary(present)}.")
    return classes


def positions(classes: np.ndarray, y: Any, n: int) -> torch.Tensor:
    """Turn labels to positions among the classes, which a module from elsewhere may list in any order."""
    order = np.argsort(classes)
    return torch.from_numpy(order[label_indices(y, as_classes(classes[order]), n)])
