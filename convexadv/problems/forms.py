r"""The quadratic forms of a polynomial network in the span of its neurons, and worst-case margins of terms.

For outputs f_o(x) = sum_j alpha_jo s(u_j . x) and a direction E_k the perturbation enters through

    (E_k . f)(x + D e) = (E_k . f)(x) + e'(D W1 D)e + e'D(2 W1 x + b W2),      W1 = a sum_j (alpha E_k)_j u_j u_j',

a quadratic that lives in the span of D u_j. One eigendecomposition of its small matrix serves all rows ([KLP24], the
S-procedure; the matrix of the trust-region problem is the same for all rows).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._arrays import Array, namespace
from ..boxes import box_relaxation_minimum
from ..quadratics import ball_minimum, smooth_ball_minimum
from .terms import Terms


class Samples(NamedTuple):
    """Perturbations of some groups of a set of terms: weighted points or distributions, in coordinates of a basis."""

    coordinates: Array
    """(S, k, g, p) means."""
    shares: Array
    """(S,) non-negative, summing to one."""
    basis: Array | None
    """(p, d) in scaled coordinates; None where the coordinates are the scaled perturbation itself (p = d)."""
    spread: Array | None = None
    """(S, k, g, p) variances along the basis vectors."""
    groups: Array | None = None
    """The groups spoken of; None for all of them in order."""


class WorstCase(NamedTuple):
    """Margins of a set of terms and where they are attained."""

    margin: Array
    """(k, g), evaluated from the dual side."""
    samples: tuple[Samples, ...]
    """Minimisers, a part for every direction: moments for a smoothed ball or a box; empty without balls."""


class QuadraticForms:
    """Forms of a network for one component.

    Parameters
    ----------
    neurons : (m, d)
        Unit rows u_j.
    weights : (m, K)
        Coefficients of every direction: alpha[:, outputs] @ directions.T.
    activation : (a, b, c)
    scale : (d,) or None
        Axes of the ellipsoid, D = diag(scale).
    robust : bool
        Whether perturbations are needed; without them nothing is factorised.
    norm : {"l2", "linf"}
    """

    def __init__(
        self,
        neurons: Array,
        weights: Array,
        activation: tuple[float, float, float],
        scale: Array | None,
        robust: bool,
        norm: str = "l2",
    ):
        self.xp = xp = namespace(neurons)
        self.neurons, self.weights = neurons, weights
        self.a, self.b, self.c = activation
        self.norm = norm
        self.stretched = neurons if scale is None else neurons * scale
        if robust and norm == "l2":
            basis, triangle = xp.linalg.qr(self.stretched.T)
            self.coordinates = triangle.T  # (m, p): D u_j = coordinates_j @ basis', basis (d, p) in scaled coordinates
            small = (
                (self.a * weights.T)[:, None, :] * triangle[None] @ self.coordinates
            )  # sum_j w_j c_j c_j' a direction
            self.eigenvalues, self.vectors = xp.linalg.eigh(small)
            # (p, d) eigenvectors of every direction: one array each, by which atoms are grouped
            self.bases = [vectors.T @ basis.T for vectors in self.vectors]

    def outputs(self, products: Array) -> Array:
        """(n, K) values of every direction, from products (n, m) = X u'."""
        return ((self.a * products + self.b) * products + self.c) @ self.weights

    def worst_case(self, products: Array, terms: Terms, nu: float = 0.0, warm: dict | None = None) -> WorstCase:
        """Worst-case margins of the terms.

        Parameters
        ----------
        products : (n, m)
            X u' of all rows of the data.
        terms : Terms
        nu : float
            Weight of the barrier that smooths the l2 oracle; 0 for the exact one.
        warm : dict, optional
            Keeps the states of the iterative oracles from call to call.
        """
        xp = self.xp
        products = products if terms.row is None else products[terms.row]
        values = self.outputs(products)
        if not terms.robust:
            return WorstCase(xp.stack([self._pick(values, terms, k) for k in range(terms.k)]), ())
        margins, samples = [], []
        for k in range(terms.k):
            parts = []
            for direction, index in terms.groups[k]:
                chosen, sign = _at(products, index), _at(terms.sign[k], index)
                if self.norm == "l2":
                    change, sample = self._ball(
                        chosen, sign, terms, direction, index, nu, warm, (id(terms), k, direction)
                    )
                else:
                    change, sample = self._box(chosen, sign, terms, direction, index, warm, (id(terms), k, direction))
                parts.append((index, sign * _at(values, index)[:, direction] + change))
                samples.append(sample)
            margins.append(_gathered(parts, xp))
        return WorstCase(xp.stack(margins), tuple(samples) if terms.k == 1 else (_joined(samples, xp),))

    def moved(self, products: Array, coordinates: Array, basis: Array | None) -> Array:
        """Products (g, m) at x + D e, for e = coordinates @ basis."""
        return products + coordinates @ self.along(basis).T

    def along(self, basis: Array | None) -> Array:
        """(m, p) inner products of D u_j with the basis vectors."""
        return self.stretched if basis is None else self.stretched @ basis.T

    def _pick(self, values: Array, terms: Terms, k: int) -> Array:
        if values.shape[1] == 1:
            return terms.sign[k] * values[:, 0]
        return terms.sign[k] * self.xp.where(terms.picks[k], values, 0.0 * values).sum(-1)

    def _slope(self, products: Array, sign: Array, direction: int) -> Array:
        """(g, m) half the derivative of the signed output along every D u_j."""
        return 0.5 * sign[:, None] * ((2.0 * self.a * products + self.b) * self.weights[:, direction])

    def _ball(self, products, sign, terms, direction, index, nu, warm, key) -> tuple[Array, Samples]:
        """Change of the margin over the ball, exact or smoothed, and the minimiser in the eigenbasis of the direction."""
        vectors = self.vectors[direction]
        gradient = self._slope(products, sign, direction) @ (self.coordinates @ vectors)
        curvature = sign[:, None] * self.eigenvalues[direction] + _at(terms.curvature, index)[:, None]
        radius = _at(terms.radius, index)
        if nu > 0:
            smooth = smooth_ball_minimum(curvature, gradient, radius, nu, None if warm is None else warm.get(key))
            if warm is not None:
                warm[key] = smooth.multiplier
            value, mean, spread = smooth.value, smooth.mean, smooth.spread[None, None]
        else:
            value, mean, _ = ball_minimum(curvature, gradient, radius)
            spread = None
        shares = self.xp.ones_like(self.weights.sum())[None]
        return value, Samples(mean[None, None], shares, self.bases[direction], spread, index)

    def _box(self, products, sign, terms, direction, index, warm, key) -> tuple[Array, Samples]:
        """Change of the margin by the diagonal restriction, and its moments as points."""
        xp = self.xp
        best = box_relaxation_minimum(
            self.stretched,
            self.a * self.weights[:, direction],
            sign,
            self._slope(products, sign, direction) @ self.stretched,
            _at(terms.radius, index),
            _at(terms.curvature, index),
            warm_start=None if warm is None else warm.get(key),
        )
        if warm is not None:
            warm[key] = best.state
        points, count = best.mean[None], best.factors.shape[1]
        if count:
            # mean +- sqrt(K) f_l, equally weighted, have the second moment mean mean' + sum_l f_l f_l'
            factors = float(count) ** 0.5 * xp.swapaxes(best.factors, 0, 1)
            points = xp.concatenate([points + factors, points - factors])
        shares = xp.full_like(xp.zeros_like(points).sum(-1)[:, 0], 1.0 / points.shape[0])
        return best.value, Samples(points[:, None], shares, None, None, index)


def _at(values: Array, index: Array | None) -> Array:
    return values if index is None else values[index]


def _gathered(parts: list, xp) -> Array:
    """One array over all groups from the parts (index, values) of each direction."""
    if parts[0][0] is None:
        return parts[0][1]
    order = xp.argsort(xp.concatenate([index for index, _ in parts]))
    return xp.concatenate([values for _, values in parts])[order]


def _joined(samples: list[Samples], xp) -> Samples:
    """The alternatives of one direction as one part; points are repeated up to a common number."""
    width = max(sample.coordinates.shape[0] for sample in samples)
    if any(width % sample.coordinates.shape[0] for sample in samples):
        width = int(np.lcm.reduce([sample.coordinates.shape[0] for sample in samples]))

    def stacked(arrays: list) -> Array:
        return xp.concatenate([xp.concatenate([array] * (width // array.shape[0])) for array in arrays], 1)

    spread = None if samples[0].spread is None else stacked([sample.spread for sample in samples])
    coordinates = stacked([sample.coordinates for sample in samples])
    shares = xp.full_like(xp.zeros_like(coordinates).sum(-1)[:, 0, 0], 1.0 / width)
    return Samples(coordinates, shares, samples[0].basis, spread, None)
