r"""Worst cases of the margins of polynomial networks, in float64, with an allowance for rounding.

The margin is the least of the differences f_y - f_c, each of them a quadratic of the perturbation (``_pairs``) with a
bound of its own over the ball (``_regions``): exact for l2 (S-procedure, [KLP24]), by multipliers for linf, boxes and
l1. So the worst case of the margin is the least worst case of the pairs. Beside that, every s(t_j) lies between its
extremes over the interval that t_j = u_j . z runs through, and the better of the two bounds counts in every row.

Rounding. What is subtracted from the bound of a difference sum_j w_j s(u_j . z) of outputs is

    4 (d + m + 8) eps sum_j |w_j| { |a| T_j^2 + |b| T_j + |c| + (2 |a| T_j + |b|) (||z|| + R_j) },

R_j the most by which the ball moves t_j = u_j . z, T_j = |t_j| + R_j, and |w_j| the sum of the magnitudes of
the two coefficients: all terms over the ball, and their slopes times the magnitude of what is added up in
t_j. The errors of inner products (gamma_d, gamma_m), of the factorisations, of the dual function, and of the
network's own evaluation in float64 at a point of the ball have this form. Rows whose terms overflow get the
bound -inf.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from ..networks import PolynomialNetwork
from ..networks.network import class_margins
from . import _regions
from ._box_search import Rows, search_boxes
from ._pairs import Choice, Pair, Span, Weights
from ._regions import Local
from .query import EXACT_TOLERANCE, UNDERFLOW, Found, Query, Search

_EPS = float(np.finfo(np.float64).eps)
_ROWS = 1 << 24  # numbers in the largest arrays of a block of rows
_BLOCK = 1 << 21  # numbers in the largest array of rows that are solved together for a pair
_LARGEST_TERM, _LARGEST_RADIUS = 1e280, 1e140  # beyond them products and squares overflow
_FINER = 0.1  # how much closer than what is called exact a search goes


class _Block(NamedTuple):
    """g rows; perturbations are in steps."""

    labels: np.ndarray  # (g,)
    products: np.ndarray  # (g, m) u_j . z
    radius: np.ndarray  # (g,)
    low: np.ndarray | None  # (g, d) the box, if bounds cut it
    high: np.ndarray | None
    down: np.ndarray  # (g, m) least change of s(t_j), from its interval; not for l2
    up: np.ndarray  # (g, m) most
    size: np.ndarray  # (g, C) most that the magnitudes of an output's terms can add up to in the ball
    rounding: np.ndarray  # (g, C) what an output adds to the allowance
    sound: np.ndarray  # (g,) whether nothing overflows


@dataclass(frozen=True, eq=False)
class Task:
    """A polynomial network and the rows asked about.

    Attributes
    ----------
    query : Query
    weights : Weights
    search : Search
    """

    query: Query
    weights: Weights
    search: Search
    _spans: dict[bytes, Span] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Query, network: PolynomialNetwork, search: Search) -> Task:
        """Take the weights of the network, in float64."""
        return cls(query, Weights.of(network), search)

    def solve(self, points: bool) -> Found:
        """Bound the margins of all rows, block by block."""
        deadline = np.inf if self.search.time_limit is None else time.monotonic() + self.search.time_limit
        n, d = self.query.X.shape
        lower, exact = np.full(n, -np.inf), np.zeros(n, bool)
        point = np.array(self.query.X, dtype=np.float64) if points else None
        size = max(1, _ROWS // (d + (1 if self.query.norm == "l2" else 3) * len(self.weights.neurons)))
        for first in range(0, n, size):
            rows = np.arange(first, min(first + size, n))
            block = self._block(rows)
            bound, attained, delta = self._solved(block, deadline)
            lower[rows] = bound
            size_of = _largest_pair(block.size, block.labels)
            with np.errstate(invalid="ignore"):
                exact[rows] = np.isfinite(bound) & (attained - bound <= EXACT_TOLERANCE * size_of)
            if point is not None:
                moved = (delta != 0).any(1)
                point[rows[moved]] = self.query.moved(rows[moved], self.weights.step * delta[moved])
        return Found(self.weights.unit * lower, exact, point)

    def _solved(self, block: _Block, deadline: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bounds (g,), the margins (g,) at the best perturbations, and these (g, d)."""
        g, d = len(block.labels), len(self.weights.scale)
        choice = Choice(np.zeros((g, d)))
        lower: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        robust = bool((block.radius > 0).any())
        for names in self.weights.pairs(np.unique(block.labels)):
            pair = self.weights.pair(names, self._spans)
            rows, sign = _rows_of(block, *names)
            bounds = np.empty(len(rows))
            for part in self._parts(pair, len(rows)):
                here = rows[part]
                found = self._local(pair, block, here, sign[part], robust)
                choice.offer(here, found.attained, *found[2:])
                bounds[part] = found.lower
                if self.query.norm != "l2":  # exact
                    bounds[part] = np.maximum(found.lower, self._interval(pair, block, here, sign[part]))
            lower[names] = rows, bounds
        delta = choice.points()
        attained = self._attained(block, delta)
        if self.search.complete and self.query.norm == "linf" and robust:
            self._complete(block, lower, attained, delta, deadline)
        bound = np.full(g, np.inf)
        for names, (rows, bounds) in lower.items():
            bound[rows] = np.minimum(bound[rows], bounds - _allowance(block, rows, *names))
        return np.where(block.sound, bound, -np.inf), attained, delta

    def _complete(
        self,
        block: _Block,
        lower: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]],
        attained: np.ndarray,
        delta: np.ndarray,
        deadline: float,
    ) -> None:
        """Branch and bound of the rows that are left, pair by pair; improves all arguments in place."""
        count, g = np.zeros(len(block.labels), int), len(block.labels)
        low, high = self._box(block, np.arange(g))
        for names, (rows, bounds) in lower.items():
            pair, sign = self.weights.pair(names, self._spans), _rows_of(block, *names)[1]
            allowance = _allowance(block, rows, *names)
            tolerance = _FINER * EXACT_TOLERANCE * _sum_of_two(block.size, *names)[rows]
            todo = (bounds < attained[rows] - tolerance) & block.sound[rows]
            if self.search.deciding:
                todo &= (bounds <= allowance) & (attained[rows] > 0)
            here = rows[todo]
            if not len(here):
                continue
            known = Rows(
                block.products[here][:, pair.span.index],
                sign[todo],
                low[here],
                high[here],
                tolerance[todo],
                2.0 * allowance[todo] + np.finfo(float).tiny,
                attained[here],
                np.zeros_like(low[here]),
                count[here],
            )
            bounds[todo] = search_boxes(pair, known, bounds[todo], self.search, deadline)
            count[here] = known.branches
            better = known.best < attained[here]
            delta[here[better]] = known.point[better]
            attained[here] = known.best
        attained[:] = np.minimum(attained, self._attained(block, delta))

    def _local(self, pair: Pair, block: _Block, rows: np.ndarray, sign: np.ndarray, robust: bool) -> Local:
        """Bound a pair over the balls of some rows."""
        products, radius = block.products[rows][:, pair.span.index], block.radius[rows]
        if not robust:
            value = pair.values(products, sign)
            return Local(value, value, np.zeros((len(rows), len(self.weights.scale))), None, None)
        if self.query.norm == "l2":
            return _regions.ball(pair, products, sign, radius)
        if self.query.norm == "l1":
            return _regions.cross(pair, products, sign, radius)
        box = (-radius, radius) if block.low is None or block.high is None else (block.low[rows], block.high[rows])
        found = _regions.boxed(pair, products, sign, *box)
        return Local(found.lower, found.attained, found.point, None, None)

    def _interval(self, pair: Pair, block: _Block, rows: np.ndarray, sign: np.ndarray) -> np.ndarray:
        """Bound (g,) of a pair from the extremes of each of its neurons."""
        index, positive = pair.span.index, pair.weights.clip(0.0)
        negative = positive - pair.weights
        down, up = block.down[rows][:, index], block.up[rows][:, index]
        change = np.where(sign > 0, down @ positive - up @ negative, down @ negative - up @ positive)
        return pair.values(block.products[rows][:, index], sign) + change

    def _parts(self, pair: Pair, g: int) -> Iterator[slice]:
        """Rows that are solved together, so that memory does not grow with their number."""
        k, d = pair.span.vectors.shape
        size = max(1, _BLOCK // (1 + 2 * k + (0 if self.query.norm == "l2" else 5 * d)))
        for first in range(0, g, size):
            yield slice(first, min(first + size, g))

    def _block(self, rows: np.ndarray) -> _Block:
        """Products, intervals and limits of some rows."""
        weights, query = self.weights, self.query
        a, b, c = weights.activation
        m, d = weights.neurons.shape
        with np.errstate(over="ignore", invalid="ignore"):  # such rows are found just below
            radius = query.radius[rows] / weights.step
            z = (np.asarray(query.X[rows], dtype=np.float64) - weights.shift) / weights.scale
            products = z @ weights.neurons.T
            low, high = self._bounds(rows, radius)
            least, most, reach = self._reach(radius, low, high)
            longest = np.linalg.norm(weights.neurons, axis=1).max(initial=0.0)  # 1 but for rounding
            length = longest * np.sqrt((z * z).sum(1))[:, None]
            top, coefficients = abs(products) + reach, abs(weights.coefficients)
            slope = 2.0 * abs(a) * top + abs(b)
            terms = (abs(a) * top + abs(b)) * top + abs(c)
            rounding = 4.0 * (d + m + 8) * _EPS * ((terms + slope * (length + reach)) @ coefficients)
            rounding = rounding + np.where(rounding > 0, UNDERFLOW / weights.unit, 0.0)
            size = terms @ coefficients
            total = rounding.max(1) if rounding.shape[1] == 1 else np.sort(rounding, 1)[:, -2:].sum(1)
            sound = (total < _LARGEST_TERM / max(1.0, weights.unit)) & (radius < _LARGEST_RADIUS)
        if not sound.all():
            products, radius, least, most = (_where(sound, array) for array in (products, radius, least, most))
            if low is not None and high is not None:
                low, high = _where(sound, low), _where(sound, high)
        down = up = products
        if query.norm != "l2":
            down, up = _extremes(a, 2.0 * a * products + b, least, most)
        return _Block(query.labels[rows], products, radius, low, high, down, up, size, rounding, sound)

    def _bounds(self, rows: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The box (g, d) of the perturbations in steps, where there is one beside the ball."""
        if self.query.bounds is None:
            return None, None
        X, half = np.asarray(self.query.X[rows], dtype=np.float64), radius[:, None]
        low, high = ((side - X) / self.weights.step for side in self.query.bounds)
        return np.clip(low, -half, 0.0), np.clip(high, 0.0, half)

    def _box(self, block: _Block, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The box (g, d) of the perturbations."""
        if block.low is not None and block.high is not None:
            return block.low[rows], block.high[rows]
        half = np.repeat(block.radius[rows][:, None], len(self.weights.scale), 1)
        return -half, half

    def _reach(
        self, radius: np.ndarray, low: np.ndarray | None, high: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Least and largest change (g, m) of every t_j, and the magnitude of what it is added up from."""
        vectors = self.weights.stretched
        if low is None or high is None:
            dual = {"l2": 2, "linf": 1, "l1": np.inf}[self.query.norm]
            reach = radius[:, None] * np.linalg.norm(vectors, dual, axis=1)
            return -reach, reach, reach
        positive, negative = vectors.clip(0.0).T, vectors.clip(None, 0.0).T
        reach = np.maximum(-low, high) @ abs(vectors).T
        return low @ positive + high @ negative, high @ positive + low @ negative, reach

    def _attained(self, block: _Block, delta: np.ndarray) -> np.ndarray:
        """Margins (g,) at perturbations (g, d)."""
        scores = self.weights.activated(block.products + delta @ self.weights.stretched.T) @ self.weights.coefficients
        scores = scores[:, 0] if scores.shape[1] == 1 else scores
        return class_margins(torch.from_numpy(scores), torch.from_numpy(block.labels)).numpy()


def _rows_of(block: _Block, first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (h,) of the rows of which the difference is a margin, and its signs (h,)."""
    if first == second:
        return np.arange(len(block.labels)), 2.0 * block.labels - 1.0
    rows = np.flatnonzero((block.labels == first) | (block.labels == second))
    return rows, np.where(block.labels[rows] == first, 1.0, -1.0)


def _sum_of_two(of_outputs: np.ndarray, first: int, second: int) -> np.ndarray:
    return of_outputs[:, first] if first == second else of_outputs[:, first] + of_outputs[:, second]


def _allowance(block: _Block, rows: np.ndarray, first: int, second: int) -> np.ndarray:
    """What is subtracted from the bounds of some rows for a pair."""
    return _sum_of_two(block.rounding, first, second)[rows]


def _largest_pair(size: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Largest size (g,) of a difference that is a margin, from those of outputs (g, C)."""
    if size.shape[1] == 1:
        return size[:, 0]
    own, others = np.take_along_axis(size, labels[:, None], 1)[:, 0], size.copy()
    np.put_along_axis(others, labels[:, None], 0.0, 1)
    return own + others.max(1)


def _where(rows: np.ndarray, array: np.ndarray) -> np.ndarray:
    """The array with zeros in the other rows."""
    return np.where(rows.reshape(-1, *[1] * (array.ndim - 1)), array, 0.0)


def _extremes(a: float, slope: np.ndarray, least: np.ndarray, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Extremes (g, m) of a x^2 + slope x for least <= x <= most."""
    ends = [least, most]
    if a != 0:
        with np.errstate(over="ignore"):
            ends.append(np.clip(slope / (-2.0 * a), least, most))
    values = [(a * x + slope) * x for x in ends]
    return np.minimum.reduce(values), np.maximum.reduce(values)
