"""Witnesses of bounds of worst-case margins, in the units of the inputs, for ``convexadv.verification`` to check.

The oracles that bound the margins are asked once more, one difference of outputs after the other, and what they found is
kept instead of its value.
"""

from __future__ import annotations

import numpy as np

from ..networks import PolynomialNetwork
from ..quadratics import ball_minimum
from . import _relu_worst_case
from ._cross import cross_witness
from ._pairs import Pair, Span, Weights
from ._regions import boxed
from .query import Query

_BLOCK = 1 << 21  # numbers in the largest array of rows that are solved together


def witnesses(query: Query, target: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Witnesses of every row and difference of outputs, by the names of ``docs/certificate-format.md``.

    ``target`` (n,) are bounds of a complete search, which (gated) ReLU networks then have branches for.
    """
    if not isinstance(query.network, PolynomialNetwork):
        found = {"slopes": _relu_worst_case.shares(query)}
        if target is None:
            return found
        leaves = _relu_worst_case.leaves(query, target)
        return found | {
            "leaf_row": leaves.row.astype(np.int64),
            "leaf_slot": leaves.slot.astype(np.int64),
            "leaf_held": leaves.held,
            "leaf_slopes": leaves.share,
            "leaf_tau": leaves.tau,
        }
    with np.errstate(over="ignore", invalid="ignore"):
        return _Builder(query, query.network).witnesses()


class _Builder:
    """Witnesses of a polynomial network, filled in pair by pair."""

    def __init__(self, query: Query, network: PolynomialNetwork):
        self.query, self.weights = query, Weights.of(network)
        n, (m, d), C = len(query.X), self.weights.neurons.shape, self.weights.coefficients.shape[1]
        self.outputs, start = C, (n, max(1, C - 1))
        p = min(m, d)
        kinds: dict[str, dict[str, tuple[int, ...]]] = {
            "l2": {"multiplier": start},
            "linf": {"multipliers": (*start, d)},
            "l1": {
                "multipliers": (*start, p),
                "coordinates": (*start, p),
                "basis": (max(1, C * (C - 1) // 2), p, d),
            },
        }
        self.found = {name: np.zeros(shape) for name, shape in kinds[query.norm].items()}
        z = (np.asarray(query.X, dtype=np.float64) - self.weights.shift) / self.weights.scale
        self.products = z @ self.weights.neurons.T
        self.radius = query.radius / self.weights.step
        # From quadratics of e in steps, divided by the unit, to those of raw perturbations.
        self.curvature = self.weights.unit / self.weights.step**2

    def witnesses(self) -> dict[str, np.ndarray]:
        """All of them."""
        spans: dict[bytes, Span] = {}
        present = np.unique(self.query.labels) if self.outputs > 1 else np.zeros(1, int)
        every = list(self.weights.pairs(range(self.outputs)))
        for first, second in self.weights.pairs(present):
            pair = self.weights.pair((first, second), spans)
            labels = self.query.labels
            if first == second:
                self._fill(pair, np.arange(len(labels)), 2.0 * labels - 1.0, 0 * labels, 0)
                continue
            rows = np.flatnonzero((labels == first) | (labels == second))
            own = labels[rows] == first
            slot = np.where(own, second - 1, first)  # the place among the other classes
            self._fill(pair, rows, np.where(own, 1.0, -1.0), slot, every.index((first, second)))
        return self.found

    def _fill(self, pair: Pair, rows: np.ndarray, sign: np.ndarray, slot: np.ndarray, number: int) -> None:
        """Witnesses of rows (g,) for their difference at ``slot`` (g,), block by block."""
        size = max(1, _BLOCK // (1 + 2 * len(pair.weights) + 5 * len(self.weights.scale)))
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            self._fill_block(pair, rows[part], sign[part], slot[part], number)

    def _fill_block(self, pair: Pair, rows: np.ndarray, sign: np.ndarray, slot: np.ndarray, number: int) -> None:
        products, radius, norm = self.products[rows][:, pair.span.index], self.radius[rows], self.query.norm
        moves = np.flatnonzero(np.isfinite(products).all(1) & (radius > 0))
        rows, slot, products, sign, radius = rows[moves], slot[moves], products[moves], sign[moves], radius[moves]
        if not len(rows):
            return
        if norm == "linf":
            low, high = self._box(rows, radius)
            found = boxed(pair, products, sign, low, high)
            self.found["multipliers"][rows, slot] = self.curvature * found.relaxation.multipliers
            return
        eigenvalues, vectors = pair.eigen
        curvature, pull = sign[:, None] * eigenvalues, pair.slope(products, sign) @ pair.pull
        multiplier = ball_minimum(curvature, pull, radius).multiplier
        if norm == "l2":
            self.found["multiplier"][rows, slot] = self.curvature * multiplier
            return
        axes = vectors.T @ pair.span.basis
        crossed = cross_witness(curvature, pull, axes, radius, multiplier)
        p = len(axes)
        self.found["basis"][number, :p] = axes
        self.found["multipliers"][rows, slot, :p] = self.curvature * crossed.multipliers
        self.found["coordinates"][rows, slot, :p] = self.weights.step * crossed.coordinates

    def _box(self, rows: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.query.bounds is None:
            return -radius, radius
        X, half = np.asarray(self.query.X[rows], dtype=np.float64), radius[:, None]
        low, high = ((side - X) / self.weights.step for side in self.query.bounds)
        return np.clip(low, -half, 0.0), np.clip(high, 0.0, half)
