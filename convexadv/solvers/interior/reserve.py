"""Multipliers for blocks outside of the working set, first by steps of first order, then by projection on their cones."""

from __future__ import annotations

import numpy as np

from . import outside
from .dead import DeadCones
from .outside import Multipliers
from .parts import Parts
from .pricing import ConePrices

_CHUNK = 1 << 23
_EXACT_WORK = 3e10
"""Operations of a step of the exact projections up to which they price blocks; beyond, first-order steps do."""
_FIRST_ORDER_STEPS = 100


class Reserve:
    """Prices of blocks outside.

    Parameters
    ----------
    parts : Parts
    dead : (P,) bool
        Gates whose cones are {0}.
    """

    def __init__(self, parts: Parts, dead: np.ndarray):
        self.parts, self.problem, self.dead = parts, parts.problem, DeadCones(parts.problem, dead)
        self._cone_prices: ConePrices | None = None

    def priced(
        self, index: np.ndarray, targets: np.ndarray, known: Multipliers, tolerance: float
    ) -> tuple[Multipliers, np.ndarray]:
        """Better multipliers of some blocks at the targets side q (m, D), and their prices; ``known`` are those so far."""
        n, d = self.parts.X.shape
        found, prices = self.first_order(index, targets, known, _FIRST_ORDER_STEPS)
        left = np.flatnonzero(prices > self.problem.beta)
        if not len(left) or not (self.problem.robust or len(left) * n * d * d <= _EXACT_WORK):
            return found, prices
        own = index[left]
        exact, exact_prices = outside.priced(
            self.problem, own, self.parts.gate[own], targets[left], 1e-3 * tolerance, self.dead
        )
        done = np.flatnonzero(prices <= self.problem.beta)
        order = np.argsort(np.concatenate([done, left]))
        prices = np.concatenate([prices[done], exact_prices])[order]
        return outside.joined([found.take(done), exact]).take(order), prices

    def first_order(
        self, index: np.ndarray, targets: np.ndarray, known: Multipliers, steps: int
    ) -> tuple[Multipliers, np.ndarray]:
        """The same by a number of steps of first order; none with balls."""
        parts, X = self.parts, self.parts.X
        if self.problem.robust:
            return outside.none(index, X.shape[1], True), np.linalg.norm(targets, axis=1)
        if self._cone_prices is None:
            self._cone_prices = ConePrices(X)
        chunk = max(1, _CHUNK // len(X))
        found, prices = [], []
        for first in range(0, len(index), chunk):
            own = slice(first, first + chunk)
            gates = parts.gate[index[own]]
            signs = 2.0 * parts.patterns[:, parts.tensor(gates)].T - 1.0
            start = parts.tensor(outside.dense(known, index[own], len(X)))
            mu, price = self._cone_prices.lowered(parts.tensor(targets[own]), signs, self.problem.beta, steps, start)
            found.append(outside.sparse(self.problem, index[own], gates, mu.cpu().numpy(), None, 0.0))
            prices.append(price.cpu().numpy())
        return outside.joined(found), np.concatenate(prices)
