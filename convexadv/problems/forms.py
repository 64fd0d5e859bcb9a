r"""The quadratic forms of a polynomial network in the span of its neurons, and worst-case margins of terms.

For outputs f_o(x) = sum_j alpha_jo s(u_j . x) and a direction E_k the perturbation enters through

    (E_k . f)(x + D e) = (E_k . f)(x) + e'(D W1 D)e + e'D(2 W1 x + b W2),      W1 = a sum_j (alpha E_k)_j u_j u_j',

a quadratic that lives in the span of D u_j. One eigendecomposition of its small matrix serves all rows ([KLP24], the
S-procedure; the matrix of the trust-region problem is the same for all rows).
"""

from __future__ import annotations

from typing import NamedTuple

from .._arrays import Array, namespace
from ..quadratics import ball_minimum


class Samples(NamedTuple):
    """Perturbations of the rows of a set of terms: weighted points, in coordinates of a basis."""

    coordinates: Array
    """(S, k, g, p)."""
    shares: Array
    """(S,) non-negative, summing to one."""
    basis: Array | None
    """(p, d) in scaled coordinates; None where the coordinates are the scaled perturbation itself (p = d)."""


class WorstCase(NamedTuple):
    """Margins of a set of terms and where they are attained."""

    margin: Array
    """(k, g), evaluated from the dual side."""
    samples: Samples | None
    """Minimisers: one point a term for l2, lifted moments as several points for l_inf; None without balls."""


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
            self.basis = basis.T  # (p, d), in scaled coordinates
            self.coordinates = triangle.T  # (m, p): D u_j = coordinates_j @ basis
            small = self.a * xp.einsum("jp,jk,jq->kpq", self.coordinates, weights, self.coordinates)
            self.eigenvalues, self.vectors = xp.linalg.eigh(small)

    def outputs(self, products: Array) -> Array:
        """(n, K) values of every direction, from products (n, m) = X u'."""
        return ((self.a * products + self.b) * products + self.c) @ self.weights

    def worst_case(self, products: Array, terms: Terms, warm: dict | None = None) -> WorstCase:
        """Worst-case margins of the terms.

        Parameters
        ----------
        products : (n, m)
            X u' of all rows of the data.
        terms : Terms
        warm : dict, optional
            Keeps the states of the l_inf oracle from call to call.
        """
        xp = self.xp
        products = products if terms.row is None else products[terms.row]
        values = self.outputs(products)
        if not terms.robust:
            return WorstCase(xp.stack([self._pick(values, terms, k) for k in range(terms.k)]), None)
        oracle = self._ball if self.norm == "l2" else self._box
        margins, moments = [], []
        for k in range(terms.k):
            parts = []
            for direction, index in terms.groups[k]:
                chosen, sign = _at(products, index), _at(terms.sign[k], index)
                worst, moment = oracle(chosen, sign, terms, direction, index, warm, (id(terms), k, direction))
                parts.append((index, sign * _at(values, index)[:, direction] + worst, moment))
            margins.append(_gathered([(index, margin) for index, margin, _ in parts], xp))
            width = max(moment.shape[0] for _, _, moment in parts)
            stacked = _gathered([(index, xp.swapaxes(_padded(moment, width, xp), 0, 1)) for index, _, moment in parts], xp)
            moments.append(xp.swapaxes(stacked, 0, 1))
        width = max(moment.shape[0] for moment in moments)
        moment = xp.stack([_padded(moment, width, xp) for moment in moments], 1)
        return WorstCase(xp.stack(margins), _samples(moment, self.basis if self.norm == "l2" else None, xp))

    def moved(self, products: Array, coordinates: Array, basis: Array | None) -> Array:
        """Products (g, m) at x + D e, for e = coordinates @ basis."""
        if basis is None:
            return products + coordinates @ self.stretched.T
        return products + coordinates @ (basis @ self.stretched.T)

    def at_samples(self, products: Array, terms: Terms, samples: Samples) -> Array:
        """(k, g) average margins at given perturbations."""
        xp = self.xp
        products = products if terms.row is None else products[terms.row]
        margins = []
        for k in range(terms.k):
            total = 0.0
            for s in range(samples.coordinates.shape[0]):
                e = samples.coordinates[s, k]
                value = self._pick(self.outputs(self.moved(products, e, samples.basis)), terms, k)
                total = total + samples.shares[s] * (value + terms.curvature * (e * e).sum(-1))
            margins.append(total)
        return xp.stack(margins)

    def _pick(self, values: Array, terms: Terms, k: int) -> Array:
        if values.shape[1] == 1:
            return terms.sign[k] * values[:, 0]
        return terms.sign[k] * self.xp.where(terms.picks[k], values, 0.0 * values).sum(-1)

    def _slope(self, products: Array, sign: Array, direction: int) -> Array:
        """(g, m) half the derivative of the signed output along every D u_j."""
        return 0.5 * sign[:, None] * ((2.0 * self.a * products + self.b) * self.weights[:, direction])

    def _ball(self, products, sign, terms, direction, index, warm, key) -> tuple[Array, Array]:
        """Exact change of the margin over the ball, and the minimiser as a moment (1, g, p)."""
        vectors = self.vectors[direction]
        gradient = self._slope(products, sign, direction) @ (self.coordinates @ vectors)
        curvature = sign[:, None] * self.eigenvalues[direction] + _at(terms.curvature, index)[:, None]
        best = ball_minimum(curvature, gradient, _at(terms.radius, index))
        return best.value, (best.point @ vectors.T)[None]

    def _box(self, products, sign, terms, direction, index, warm, key) -> tuple[Array, Array]:
        """Change of the margin by the diagonal restriction, and its moment (1 + K, g, d): mean and factors."""
        from ..boxes import box_relaxation_minimum

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
        return best.value, xp.concatenate([best.mean[None], xp.swapaxes(best.factors, 0, 1)])


def _at(values: Array, index: Array | None) -> Array:
    return values if index is None else values[index]


def _gathered(parts: list, xp) -> Array:
    """One array over all groups from the parts (index, values) of each direction."""
    if parts[0][0] is None:
        return parts[0][1]
    order = xp.argsort(xp.concatenate([index for index, _ in parts]))
    return xp.concatenate([values for _, values in parts])[order]


def _padded(moment: Array, width: int, xp) -> Array:
    missing = width - moment.shape[0]
    return moment if missing == 0 else xp.concatenate([moment, 0.0 * moment[:1]] + [0.0 * moment[:1]] * (missing - 1))


def _samples(moment: Array, basis: Array | None, xp) -> Samples:
    """Points with the mean and the second moment mean mean' + sum_l f_l f_l': mean +- sqrt(K) f_l, equally weighted."""
    mean, count = moment[:1], moment.shape[0] - 1
    points = mean
    if count:
        spread = float(count) ** 0.5 * moment[1:]
        points = xp.concatenate([mean + spread, mean - spread])
    shares = xp.full_like(xp.zeros_like(points).sum(-1)[:, 0, 0], 1.0 / points.shape[0])
    return Samples(points, shares, basis)


class Terms:
    """A set of terms as arrays of one library and device, with the groups of each direction found once.

    Parameters
    ----------
    terms : TermSet
    n : int
        Rows of the data, to skip gathering where the groups are the rows in order.
    convert : callable
        NumPy array to the array kind wanted.
    n_directions : int
    """

    def __init__(self, terms, n: int, convert, n_directions: int):
        import numpy as np

        self.loss, self.robust, self.hard = terms.loss, terms.robust, terms.hard
        self.k, self.g = terms.shape
        in_order = self.g == n and bool((terms.row == np.arange(n)).all())
        self.row = None if in_order else convert(terms.row)
        self.weight, self.radius, self.curvature = convert(terms.weight), convert(terms.radius), convert(terms.curvature)
        self.sign, self.offset = convert(terms.sign), convert(terms.offset)
        self.direction = convert(terms.direction)
        self.groups = [_by_direction(direction, convert) for direction in terms.direction]
        self.picks = None
        if n_directions > 1:
            self.picks = [convert(direction[:, None] == np.arange(n_directions)) for direction in terms.direction]


def _by_direction(direction, convert):
    import numpy as np

    present = np.unique(direction)
    if len(present) == 1:
        return [(int(present[0]), None)]
    return [(int(k), convert(np.flatnonzero(direction == k))) for k in present]
