r"""Worst cases of the margins of polynomial networks, in float64, with an allowance for rounding.

A perturbation delta of the raw inputs moves z = (x - shift) / scale by D delta, D = diag(1 / scale), so that
a margin changes by a quadratic of delta. :class:`convexadv.problems.forms.QuadraticForms` minimises it over
the ball: exactly for l2 (S-procedure, [KLP24]), by diagonal multipliers for linf. With more than two outputs
every pair f_y - f_c is such a quadratic, and the worst case of the margin is the least of theirs.

Rounding. What is subtracted from the bound of a difference sum_j w_j s(u_j . z) of outputs is

    4 (d + m + 8) eps sum_j |w_j| { |a| T_j^2 + |b| T_j + |c| + (2 |a| T_j + |b|) (||z|| + R_j) },

R_j the most by which the ball moves t_j = u_j . z, T_j = |t_j| + R_j, and |w_j| the sum of the magnitudes of
the two coefficients: all terms over the ball, and their slopes times the magnitude of what is added up in
t_j. The errors of inner products (gamma_d, gamma_m), of the factorisations, of the dual function, and of the
network's own evaluation in float64 at a point of the ball have this form. Rows whose terms overflow get the
bound -inf.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from .._arrays import to_numpy
from .._network import class_margins
from ..losses import HARD
from ..networks import PolynomialNetwork
from ..problems.forms import QuadraticForms, WorstCase
from ..problems.terms import Terms, TermSet
from ._query import EXACT_TOLERANCE, Found, Query

_EPS = float(np.finfo(np.float64).eps)
_BLOCK = 1 << 21  # numbers in the largest array of a block of rows
_FORMS = 1 << 24  # numbers in the matrices of the pairs that are factorised together
_LARGEST_TERM, _LARGEST_RADIUS = 1e280, 1e140  # beyond them products and squares overflow


class _Pairs(NamedTuple):
    """Rows, and the K differences of outputs that make up their margins."""

    rows: np.ndarray
    weights: np.ndarray  # (m, K) coefficients of every difference
    sizes: np.ndarray  # (m, K) sums of the magnitudes of its two coefficients


class _Block(NamedTuple):
    """What is found for g rows; ``delta`` in the unit of the forms, None if not wanted."""

    lower: np.ndarray  # (g,)
    attained: np.ndarray  # (g,) margin at the best perturbation
    size: np.ndarray  # (g,) most that the magnitudes of its terms can add up to in the ball
    delta: np.ndarray | None  # (g, d)


@dataclass(frozen=True, eq=False)
class Task:
    """A polynomial network and the rows asked about.

    Attributes
    ----------
    query : Query
    neurons : (m, d)
    coefficients : (m, C)
        Divided by ``unit``.
    unit : float
        The power of two that makes the largest coefficient lie between 1/2 and 1: oracles have tolerances.
    activation : (a, b, c)
    shift, scale : (d,)
    """

    query: Query
    neurons: np.ndarray
    coefficients: np.ndarray
    unit: float
    activation: tuple[float, float, float]
    shift: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, query: Query, network: PolynomialNetwork) -> Task:
        """Take the weights of the network, in float64."""
        parts = (network.neurons, network.coefficients, network.shift, network.scale)
        neurons, coefficients, shift, scale = (to_numpy(part, np.float64) for part in parts)
        unit = float(np.ldexp(1.0, np.frexp(abs(coefficients).max(initial=0.0))[1]))
        return cls(query, neurons, coefficients / unit, unit, network.activation, shift, scale)

    def solve(self, points: bool) -> Found:
        """Bound the margins of all rows, block by block."""
        n = len(self.query.X)
        lower, attained, size = np.full(n, np.inf), np.full(n, np.inf), np.zeros(n)
        point = np.array(self.query.X, dtype=np.float64) if points else None
        step = float(self.scale.min())  # unit of perturbations in the forms: D has entries of at most 1
        robust = bool((self.query.radius > 0).any())
        for pairs in self._pairs():
            stretch = step / self.scale
            forms = QuadraticForms(self.neurons, pairs.weights, self.activation, stretch, robust, self.query.norm)
            for rows in self._blocks(pairs):
                block = self._block(forms, pairs, rows, step, points)
                lower[rows] = np.minimum(lower[rows], block.lower)
                size[rows] = np.maximum(size[rows], block.size)
                better = block.attained < attained[rows]
                attained[rows[better]] = block.attained[better]
                if point is not None and block.delta is not None:
                    point[rows[better]] = self.query.moved(rows[better], step * block.delta[better])
        finite = np.isfinite(lower)
        exact = attained - np.where(finite, lower, 0.0) <= EXACT_TOLERANCE * size
        return Found(self.unit * lower, exact & finite, point)

    def _pairs(self) -> Iterator[_Pairs]:
        """Differences of outputs, with the rows of which each is a margin up to its sign."""
        (m, C), d = self.coefficients.shape, len(self.scale)
        if C == 1:
            yield _Pairs(np.arange(len(self.query.X)), self.coefficients, abs(self.coefficients))
            return
        together = max(1, _FORMS // max(1, min(m, d)) ** 2)
        for label in np.unique(self.query.labels):
            rows, own = np.flatnonzero(self.query.labels == label), self.coefficients[:, [label]]
            others = np.delete(self.coefficients, label, 1)
            for first in range(0, C - 1, together):
                other = others[:, first : first + together]
                yield _Pairs(rows, own - other, abs(own) + abs(other))

    def _blocks(self, pairs: _Pairs) -> Iterator[np.ndarray]:
        """Numbers of the rows that are solved together, so that memory does not grow with n."""
        (m, K), d = pairs.weights.shape, len(self.scale)
        width = d + m + K * (min(m, d) if self.query.norm == "l2" else 5 * d)
        size = max(1, _BLOCK // width)
        for first in range(0, len(pairs.rows), size):
            yield pairs.rows[first : first + size]

    def _block(self, forms: QuadraticForms, pairs: _Pairs, rows: np.ndarray, step: float, points: bool) -> _Block:
        """Solve some rows for some pairs; ``forms`` measures perturbations in multiples of ``step``."""
        labels = self.query.labels[rows]
        with np.errstate(over="ignore", invalid="ignore"):  # such rows are found just below
            radius = self.query.radius[rows] / step
            z = (np.asarray(self.query.X[rows], dtype=np.float64) - self.shift) / self.scale
            products = z @ self.neurons.T
            size, change, rounding = self._limits(forms, pairs, z, products, radius)
        sound = (rounding < _LARGEST_TERM / max(1.0, self.unit)).all(1) & (radius < _LARGEST_RADIUS)
        products, radius = np.where(sound[:, None], products, 0.0), np.where(sound, radius, 0.0)
        sign = 2.0 * labels - 1.0 if self.coefficients.shape[1] == 1 else np.ones(len(rows))
        K = pairs.weights.shape[1]
        worst = [forms.worst_case(products, _terms(sign, radius, k, K)) for k in range(K)]
        lower = np.concatenate([part.margin for part in worst])
        # Where next to nothing can change, this is better than the tolerance of the linf oracle.
        lower = np.maximum(lower, (sign[:, None] * forms.outputs(products) - change).T)
        lower = np.where(sound, lower - rounding.T, -np.inf)
        pair = lower.argmin(0)
        here = pair, np.arange(len(rows))
        attained, delta = self._attained(forms, worst, products, labels, pair, radius, points)
        return _Block(lower[here], attained, size.T[here], delta)

    def _limits(
        self, forms: QuadraticForms, pairs: _Pairs, z: np.ndarray, products: np.ndarray, radius: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bounds over the balls of the terms, their change, and rounding (top of the file), each (g, K)."""
        m, d = self.neurons.shape
        a, b, c = (abs(number) for number in self.activation)
        dual = 2 if self.query.norm == "l2" else 1
        reach = radius[:, None] * np.linalg.norm(forms.stretched, dual, axis=1)
        longest = np.linalg.norm(self.neurons, axis=1).max(initial=0.0)  # 1 but for rounding
        length = longest * np.sqrt((z * z).sum(1))[:, None]
        top = abs(products) + reach
        slope, terms = 2.0 * a * top + b, (a * top + b) * top + c
        rounding = 4.0 * (d + m + 8) * _EPS * (terms + slope * (length + reach))
        return terms @ pairs.sizes, (slope * reach) @ pairs.sizes, rounding @ pairs.sizes

    def _attained(
        self,
        forms: QuadraticForms,
        worst: list[WorstCase],
        products: np.ndarray,
        labels: np.ndarray,
        pair: np.ndarray,
        radius: np.ndarray,
        points: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Smallest margin (g,) that a candidate of the chosen pair has, and where (g, d) if wanted."""
        lowest = self._margins(products, labels)
        delta = np.zeros((len(pair), len(self.scale))) if points else None
        for k in np.unique(pair):
            rows = np.flatnonzero(pair == k)
            for part in worst[k].samples:  # none where no row has a ball
                for candidate in _candidates(part.coordinates[:, 0, rows], radius[rows], self.query.norm):
                    margin = self._margins(forms.moved(products[rows], candidate, part.basis), labels[rows])
                    better = margin < lowest[rows]
                    chosen = rows[better]
                    lowest[chosen] = margin[better]
                    if delta is not None:
                        e = candidate[better]
                        delta[chosen] = e if part.basis is None else e @ part.basis
        return lowest, delta

    def _margins(self, products: np.ndarray, labels: np.ndarray) -> np.ndarray:
        scores = self._activated(products) @ self.coefficients
        scores = scores[:, 0] if scores.shape[1] == 1 else scores
        return class_margins(torch.from_numpy(scores), torch.from_numpy(labels)).numpy()

    def _activated(self, products: np.ndarray) -> np.ndarray:
        a, b, c = self.activation
        return (a * products + b) * products + c


def _terms(sign: np.ndarray, radius: np.ndarray, k: int, K: int) -> Terms:
    """The margins of a block of rows, with difference k of K."""
    g = len(sign)
    zero, direction = np.zeros(g), np.full((1, g), k)
    terms = TermSet(HARD, np.arange(g), zero + 1.0, sign[None], zero[None], direction, radius, zero)
    return Terms(terms, g, np.asarray, K)


def _candidates(samples: np.ndarray, radius: np.ndarray, norm: str) -> Iterator[np.ndarray]:
    """Points (g, p) of the balls that may attain the bound, from the samples (S, g, p) of the oracle.

    The minimiser for l2. For linf, where the moments are m m' + sum_l f_l f_l': m and m +- f_l, which attain
    it where the moments have rank one, with or without a mean, and the samples m +- sqrt(k) f_l themselves,
    for k factors.
    """
    if norm == "l2":
        yield samples[0]
        return
    mean, half = samples.mean(0), radius[:, None]
    yield np.clip(mean, -half, half)
    spread = max(1.0, len(samples) / 2) ** 0.5
    for sample in samples:
        yield np.clip(mean + (sample - mean) / spread, -half, half)
        yield np.clip(sample, -half, half)
