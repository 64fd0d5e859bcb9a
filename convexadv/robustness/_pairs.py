r"""Polynomial networks as one low-rank quadratic for each pair of classes, in float64. NumPy and torch.

With e the perturbation of the raw inputs in multiples of ``step``, the smallest scale, z = (x - shift) / scale moves by
e * stretch, stretch <= 1, and t_j = u_j . z by v_j . e with v_j = stretch * u_j. A difference of outputs changes by

    sum_j w_j (s(t_j + v_j . e) - s(t_j)) = e'Be + 2 g'e,   B = a sum_j w_j v_j v_j',   g = sum_j (a t_j + b/2) w_j v_j,

which lives in the span of the v_j with w_j != 0: one eigendecomposition of that size serves all rows ([KLP24]).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import Array, namespace, to_numpy
from ..networks import PolynomialNetwork


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a polynomial network.

    Attributes
    ----------
    neurons : (m, d)
    coefficients : (m, C)
        Divided by ``unit``.
    unit : float
        The power of two that makes the largest coefficient lie between 1/2 and 1: oracles have tolerances.
    activation : (a, b, c)
    shift, scale : (d,)
    step : float
    """

    neurons: Array
    coefficients: Array
    unit: float
    activation: tuple[float, float, float]
    shift: Array
    scale: Array
    step: float

    @classmethod
    def of(cls, network: PolynomialNetwork, convert: Callable[[np.ndarray], Array] = np.asarray) -> Weights:
        """Take the weights in float64, as the arrays that ``convert`` makes of NumPy's."""
        parts = (network.neurons, network.coefficients, network.shift, network.scale)
        neurons, coefficients, shift, scale = (to_numpy(part, np.float64) for part in parts)
        unit = float(np.ldexp(1.0, np.frexp(abs(coefficients).max(initial=0.0))[1]))
        arrays = (convert(array) for array in (neurons, coefficients / unit, shift, scale))
        neurons, coefficients, shift, scale = arrays
        return cls(neurons, coefficients, unit, network.activation, shift, scale, float(scale.min()))

    @cached_property
    def stretched(self) -> Array:
        """The v_j (m, d)."""
        return self.neurons * (self.step / self.scale)

    def activated(self, products: Array) -> Array:
        """Apply s to products u_j . z."""
        a, b, c = self.activation
        return (a * products + b) * products + c

    def pairs(self, present: Any) -> Iterator[tuple[int, int]]:
        """Numbers first < second of two outputs, one of them in ``present``; (0, 0) where there is but one output."""
        C = self.coefficients.shape[1]
        if C == 1:
            yield 0, 0
            return
        present = set(present)
        for first in range(C):
            for second in range(first + 1, C):
                if first in present or second in present:
                    yield first, second

    def pair(self, names: tuple[int, int], spans: dict[bytes, Span]) -> Pair:
        """The quadratic of f_first - f_second, or of f itself; ``spans`` keeps what pairs share."""
        first, second = names
        weights = self.coefficients[:, first]
        weights = weights if first == second else weights - self.coefficients[:, second]
        active = to_numpy(weights != 0)
        key = active.tobytes()
        if key not in spans:
            index = np.flatnonzero(active)
            spans[key] = Span(index, self.stretched[index])
        return Pair(self, spans[key], weights[spans[key].index])


class Span:
    """Span of some of the v_j.

    Parameters
    ----------
    index : (k,) of int
        Which.
    vectors : (k, d)
        The v_j.
    """

    def __init__(self, index: np.ndarray, vectors: Array):
        self.index, self.vectors = index, vectors

    @cached_property
    def _factors(self) -> tuple[Array, Array]:
        basis, triangle = namespace(self.vectors).linalg.qr(self.vectors.T)
        return basis.T, triangle.T

    @property
    def basis(self) -> Array:
        """Orthonormal rows (p, d)."""
        return self._factors[0]

    @property
    def coordinates(self) -> Array:
        """The v_j (k, p) in this basis."""
        return self._factors[1]


class Pair:
    """The quadratic of a difference of outputs.

    Parameters
    ----------
    network : Weights
    span : Span
        Of the k neurons that it has.
    weights : (k,)
        Their coefficients w_j.
    """

    def __init__(self, network: Weights, span: Span, weights: Array):
        self.span, self.weights, self.network = span, weights, network

    @cached_property
    def eigen(self) -> tuple[Array, Array]:
        """Eigenvalues (p,) and eigenvectors (p, p), as columns, of B in the basis of the span."""
        coordinates = self.span.coordinates
        small = (coordinates.T * (self.network.activation[0] * self.weights)) @ coordinates
        values, vectors = namespace(small).linalg.eigh(0.5 * (small + small.T))
        return values, vectors

    @cached_property
    def pull(self) -> Array:
        """The v_j (k, p) in the eigenbasis."""
        return self.span.coordinates @ self.eigen[1]

    @cached_property
    def matrix(self) -> Array:
        """B (d, d)."""
        return (self.span.vectors.T * (self.network.activation[0] * self.weights)) @ self.span.vectors

    @cached_property
    def size(self) -> Array:
        """Magnitudes (d,) that the diagonal of B is added up from."""
        return abs(self.network.activation[0] * self.weights) @ self.span.vectors**2

    def values(self, products: Array, sign: Array) -> Array:
        """The signed difference (g,) for products (g, k) of its neurons."""
        return sign * (self.network.activated(products) @ self.weights)

    def slope(self, products: Array, sign: Array) -> Array:
        """Coefficients (g, k) of the v_j in the signed g."""
        a, b, _ = self.network.activation
        return sign[:, None] * ((a * products + 0.5 * b) * self.weights)


class Choice:
    """For each of g rows the pair of the least value, and its point.

    Parameters
    ----------
    rows : (g, d)
    """

    def __init__(self, rows: Array):
        self._rows = rows
        self.value = namespace(rows).full_like(rows[:, 0], np.inf)
        self._parts: list[tuple[Array, Array, Array | None]] = []

    def offer(self, rows: Array, value: Array, found: Array, turn: Array | None, basis: Array | None) -> None:
        """Take over points of rows (h,) whose value (h,) is less than before: found (h, p) @ turn @ basis."""
        better = value < self.value[rows]
        if bool(better.any()):
            rows = rows[better]
            self.value[rows] = value[better]
            found = found[better]
            self._parts.append((rows, found if turn is None else found @ turn, basis))

    def points(self) -> Array:
        """The points (g, d); zero where there is none."""
        result = namespace(self._rows).zeros_like(self._rows)
        done = self.value != self.value
        for rows, coordinates, basis in reversed(self._parts):  # what was taken over last is the best
            fresh = ~done[rows]
            chosen = rows[fresh]
            done[chosen] = True
            result[chosen] = coordinates[fresh] if basis is None else coordinates[fresh] @ basis
        return result
