"""Kinds of random gates: candidates as rows, before those that repeat a pattern are left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._checks import positive_integer
from ..errors import InputError
from ..rows import Rows
from .labels import class_labels

_HAIR = 1e-12
"""Relative distance of the threshold of a sparse gate below the row that it is taken from."""


class Draw(NamedTuple):
    """What the candidates are drawn from."""

    rows: Rows
    n_gates: int
    random: np.random.Generator
    constant: bool
    features_per_gate: int | None
    labels: Any

    @property
    def features(self) -> int:
        """Entries of a row without its constant."""
        return self.rows.d - self.constant


def _gaussian(draw: Draw) -> np.ndarray:
    """Candidates (n_gates, D) as rows."""
    gates = draw.random.standard_normal((draw.n_gates, draw.rows.d))
    if draw.constant:
        mean, spread = _centre(draw.rows)
        gates[:, -1] = spread * gates[:, -1] - gates[:, :-1] @ mean
    return gates


def _centre(rows: Rows) -> tuple[np.ndarray, float]:
    """Mean of the rows without their constant, and their root mean square distance from it; 1 if that is zero."""
    mean = rows.transposed_times(np.full((rows.n, 1), 1 / rows.n))[:-1, 0]
    square = sum(float(np.square(block[:, :-1] - mean).sum()) for _, block in rows.blocks()) / rows.n
    return mean, square**0.5 or 1.0


def _differences(draw: Draw) -> np.ndarray:
    rows, n = draw.rows, draw.rows.n
    if n < 2:
        raise InputError('kind="differences" needs at least two rows, and X has one.')
    groups = np.arange(n) if draw.labels is None else class_labels(draw.labels, n)[1]
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    chance = draw.random.random((draw.n_gates, 2))
    first = (chance[:, 0] * n).astype(np.intp)
    group = groups[first]
    # One of the n - size rows of other groups: in the sorted order they lie on both sides of the own group.
    place = (chance[:, 1] * (n - sizes[group])).astype(np.intp)
    second = order[place + np.where(place >= starts[group], sizes[group], 0)]
    one, other = rows.take(first), rows.take(second)
    gates = one - other
    if draw.constant:
        gates[:, -1] = -0.5 * (gates[:, :-1] * (one + other)[:, :-1]).sum(1)
    return gates


def _sparse(draw: Draw) -> np.ndarray:
    features = 1 if draw.features_per_gate is None else draw.features_per_gate
    positive_integer("features_per_gate", features, draw.features)
    gates = np.zeros((draw.n_gates, draw.rows.d))
    through = np.empty(draw.n_gates, dtype=np.intp)
    for k in range(draw.n_gates):
        chosen = draw.random.choice(draw.features, features, replace=False)
        direction = draw.random.standard_normal(features)
        gates[k, chosen] = direction / np.linalg.norm(direction)
        through[k] = draw.random.integers(draw.rows.n)
    if draw.constant:
        parts = gates[:, :-1] * draw.rows.take(through)[:, :-1]
        gates[:, -1] = _HAIR * np.abs(parts).sum(1) - parts.sum(1)
    return gates


def _open(draw: Draw) -> np.ndarray:
    """The gate that every row passes, and Gaussian directions whose offsets keep less than half of the rows out."""
    if not draw.constant:
        raise InputError('kind="open" draws offsets, and these gates have none; fit_intercept=True is needed.')
    gates = draw.random.standard_normal((draw.n_gates, draw.rows.d))
    out = [0.25 * (1.0 + math.erf(normal / 2**0.5)) for normal in gates[:, -1]]
    gates[:, -1] = 0.0
    products = np.concatenate([block @ gates.T for _, block in draw.rows.blocks()])
    gates[:, -1] = [-np.quantile(column, share) for column, share in zip(products.T, out, strict=True)]
    gates[0] = 0.0
    gates[0, -1] = 1.0
    return gates


DRAWS: dict[str, Callable[[Draw], np.ndarray]] = {
    "gaussian": _gaussian,
    "differences": _differences,
    "sparse": _sparse,
    "open": _open,
}
