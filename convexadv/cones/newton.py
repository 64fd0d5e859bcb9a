r"""Batched primal-dual interior point method for nearest and for deepest points of pattern cones.

Block j of m blocks solves, over v in R^D,

    nearest:  minimise  1/2 ||v - q_j||^2       subject to    S_ji x_i'v - r_i ||E v||_q >= 0    for all rows i,
    deepest:  minimise  1/2 ||v||^2 - depth     subject to    S_ji x_i'v - r_i ||E v||_q >= depth,

S_ji = +-1 and E v the perturbed entries of v. (The second is a support vector machine: v is the deepest unit vector times
its depth, and the multipliers add up to one.) With a = ||E v||_q as variables of their own (one number, or |v_l| for
q = 1) these are quadratic programmes over linear inequalities and, for q = 2, one second-order cone: Mehrotra's method
with the scaling of Nesterov and Todd. All blocks share the rows, so the Newton matrices of a batch are one matrix
product of the weights (m, n) with the products of the columns of X (n, D (D + 1) / 2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MAX_STEPS = 60
_ENTRIES = 1 << 22
"""Entries of products of columns held at a time."""
_MANY = 40
"""Blocks from which on it pays to multiply columns anew for every product with the weights."""
_TO_THE_BOUNDARY = 0.99
_RIDGE = 1e-14
_PATIENCE, _NEARLY = 3, 1e-6
"""Steps without progress after which a block ends at its best point, once it is nearly optimal."""
_RESIDUAL = 1e-15
"""Residual of an inequality that counts as rounding."""


class Point(NamedTuple):
    """Iterates of m blocks: variables z = (v, a), slacks s with multipliers y, cone points k with multipliers nu."""

    z: np.ndarray
    s: np.ndarray
    y: np.ndarray
    k: np.ndarray
    nu: np.ndarray

    def take(self, chosen: np.ndarray) -> Point:
        """Some of the blocks."""
        return Point(*(part[chosen] for part in self))

    def moved(self, direction: Point, length: np.ndarray) -> Point:
        """The point after a step."""
        return Point(*(part + length[:, None] * change for part, change in zip(self, direction, strict=True)))

    def complementarity(self) -> np.ndarray:
        """s'y + k'nu, (m,)."""
        return np.einsum("mi,mi->m", self.s, self.y) + (self.k * self.nu).sum(1)


class System:
    """The linear maps of a batch of blocks.

    Parameters
    ----------
    X : (n, D)
        Rows of Euclidean norm one (or zero).
    signs : (m, n)
    radius : (n,)
        In units of the normalised rows.
    perturbed : (D,) bool
    norm : {"l1", "l2", "linf"} or None
        The norm q; None without balls.
    deepest : bool
        Whether the depth is a variable, the last one.
    """

    def __init__(self, X, signs, radius, perturbed, norm, deepest):
        self.X, self.signs, self.radius, self.norm, self.deepest = X, signs, radius, norm, deepest
        self.n, self.D = X.shape
        self.entries = np.flatnonzero(perturbed)
        d = len(self.entries)
        self.width = 0 if norm is None else d if norm == "l1" else 1
        self.a = slice(self.D, self.D + self.width)
        self.size = self.D + self.width + deepest
        self.soc = norm == "l2"
        self.extra = 2 * d if norm in ("l1", "linf") else 0
        self._upper = np.triu_indices(self.D)
        self._columns: np.ndarray | None = None

    def take(self, chosen: np.ndarray) -> System:
        """The same for some of the blocks."""
        part = System.__new__(System)
        part.__dict__.update(self.__dict__)
        part.signs = self.signs[chosen]
        return part

    def values(self, z: np.ndarray) -> np.ndarray:
        """S x'v - r sum(a) - depth of the rows, and a +- E v, (m, n + extra)."""
        rows = self.signs * (z[:, : self.D] @ self.X.T)
        if self.deepest:
            rows -= z[:, -1:]
        if self.width == 0:
            return rows
        a, u = z[:, self.a], z[:, self.entries]
        rows -= a.sum(1)[:, None] * self.radius
        return np.concatenate([rows, a + u, a - u], 1) if self.extra else rows

    def cone(self, z: np.ndarray) -> np.ndarray:
        """(a, E v), (m, 1 + d); nothing without a second-order cone."""
        return z[:, np.append(self.D, self.entries)] if self.soc else z[:, :0]

    def adjoint(self, y: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """The transposed maps, (m, size)."""
        rows = y[:, : self.n]
        z = np.zeros((len(y), self.size))
        z[:, : self.D] = (rows * self.signs) @ self.X
        z[:, self.a] = -(rows @ self.radius)[:, None]
        if self.deepest:
            z[:, -1] = -rows.sum(1)
        if self.extra:
            plus, minus = np.split(y[:, self.n :], 2, axis=1)
            z[:, self.entries] += plus - minus
            z[:, self.a] += plus + minus if self.norm == "l1" else (plus + minus).sum(1)[:, None]
        if self.soc:
            z[:, np.append(self.D, self.entries)] += nu
        return z

    def gram(self, w: np.ndarray) -> np.ndarray:
        """I on v plus the weighted squares of all linear inequalities, (m, size, size)."""
        D, E = self.D, self.entries
        rows = w[:, : self.n]
        result = np.zeros((len(w), self.size, self.size))
        upper = self._weighted_squares(rows)
        result[:, self._upper[0], self._upper[1]] = upper
        result[:, self._upper[1], self._upper[0]] = upper
        result[:, np.arange(D), np.arange(D)] += 1.0
        signed = rows * self.signs
        if self.width:
            result[:, :D, self.a] = -(signed @ (self.X * self.radius[:, None]))[:, :, None]
            result[:, self.a, self.a] = (rows @ self.radius**2)[:, None, None]
        if self.extra:
            plus, minus = np.split(w[:, self.n :], 2, axis=1)
            result[:, E, E] += plus + minus
            a = D + np.arange(self.width)
            result[:, E, a] += plus - minus
            result[:, a, a] += plus + minus if self.norm == "l1" else (plus + minus).sum(1)[:, None]
        if self.deepest:
            result[:, :D, -1] = -(signed @ self.X)
            result[:, self.a, -1] = (rows @ self.radius)[:, None]
            result[:, -1, -1] = rows.sum(1)
        if self.size > D:
            result[:, D:, :D] = result[:, :D, D:].transpose(0, 2, 1)
            result[:, -1, self.a] = result[:, self.a, -1]
        return result

    def _weighted_squares(self, w: np.ndarray) -> np.ndarray:
        """Upper triangles of X' diag(w) X, (m, D (D + 1) / 2)."""
        i, j = self._upper
        step = max(1, _ENTRIES // len(i))
        if step >= self.n:
            if self._columns is None:
                self._columns = self.X[:, i] * self.X[:, j]
            return w @ self._columns
        if len(w) < _MANY:
            return np.stack([((self.X * weights[:, None]).T @ self.X)[i, j] for weights in w])
        total = np.zeros((len(w), len(i)))
        for first in range(0, self.n, step):
            part = slice(first, first + step)
            total += w[:, part] @ (self.X[part][:, i] * self.X[part][:, j])
        return total


class Scaling(NamedTuple):
    """Scaling point of Nesterov and Todd of second-order cones: W nu = W^-1 k."""

    w: np.ndarray
    eta: np.ndarray

    @staticmethod
    def of(k: np.ndarray, nu: np.ndarray) -> Scaling:
        """The scaling of interior points k and nu, (m, 1 + d)."""
        size_k, size_nu = np.sqrt(_form(k, k)), np.sqrt(_form(nu, nu))
        k, nu = k / size_k[:, None], nu / size_nu[:, None]
        gamma = np.sqrt(0.5 * (1.0 + (k * nu).sum(1)))
        return Scaling((k + _flipped(nu)) / (2.0 * gamma)[:, None], np.sqrt(size_k / size_nu))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """W x."""
        return self.eta[:, None] * _arrow(self.w, x)

    def solve(self, x: np.ndarray) -> np.ndarray:
        """W^-1 x."""
        return _arrow(_flipped(self.w), x) / self.eta[:, None]

    def solve_twice(self, x: np.ndarray) -> np.ndarray:
        """W^-2 x."""
        flipped = _flipped(self.w)
        return (2.0 * (flipped * x).sum(1)[:, None] * flipped - _flipped(x)) / (self.eta**2)[:, None]

    def matrix(self) -> np.ndarray:
        """W^-2, (m, 1 + d, 1 + d)."""
        flipped = _flipped(self.w)
        result = 2.0 * flipped[:, :, None] * flipped[:, None, :]
        diagonal = np.arange(result.shape[1])
        result[:, diagonal, diagonal] += np.where(diagonal == 0, -1.0, 1.0)
        return result / (self.eta**2)[:, None, None]


def _form(x, y):
    """x_0 y_0 - x_1'y_1, at least a tiny positive number."""
    return np.maximum(x[:, 0] * y[:, 0] - (x[:, 1:] * y[:, 1:]).sum(1), 1e-300)


def _flipped(x):
    return np.concatenate([x[:, :1], -x[:, 1:]], 1)


def _arrow(w, x):
    inner = (w[:, 1:] * x[:, 1:]).sum(1)
    first = w[:, 0] * x[:, 0] + inner
    rest = x[:, 1:] + w[:, 1:] * (x[:, 0] + inner / (1.0 + w[:, 0]))[:, None]
    return np.concatenate([first[:, None], rest], 1)


def _jordan(x, y):
    return np.concatenate([(x * y).sum(1)[:, None], x[:, :1] * y[:, 1:] + y[:, :1] * x[:, 1:]], 1)


def _jordan_divided(x, y):
    """The u with x o u = y."""
    inner = (x[:, 1:] * y[:, 1:]).sum(1)
    first = (x[:, 0] * y[:, 0] - inner) / _form(x, x)
    rest = (y[:, 1:] - first[:, None] * x[:, 1:]) / x[:, :1]
    return np.concatenate([first[:, None], rest], 1)


def linear_part(system: System, q: np.ndarray | None, m: int) -> np.ndarray:
    """c of the objective 1/2 ||v||^2 - c'z, (m, size)."""
    c = np.zeros((m, system.size))
    if system.deepest:
        c[:, -1] = 1.0
    elif q is not None:
        c[:, : system.D] = q
    return c


def start(system: System, c: np.ndarray) -> Point:
    """A centred point; it satisfies no equation yet, but those of the depth."""
    m, count = len(c), system.n + system.extra
    z = np.zeros((m, system.size))
    z[:, : system.D] = c[:, : system.D]
    z[:, system.a] = 1.0 / max(1, system.width)
    if system.deepest:
        z[:, -1] = -1.0
    s = np.ones((m, count))
    y = np.full((m, count), 1.0 / system.n if system.deepest else count**-0.5)
    k = np.zeros((m, 1 + len(system.entries) if system.soc else 0))
    k[:, :1] = 1.0
    return Point(z, s, y, k, k.copy())


def nearest(system: System, q: np.ndarray, tol: float, max_steps: int) -> Point:
    """The best iterate of every block: that of the least complementarity and residual of the inequalities.

    Parameters
    ----------
    system : System
    q : (m, D)
        Unit vectors.
    tol : float
        Complementarity (and residual) at which a block is done.
    max_steps : int

    Returns
    -------
    Point
    """
    c = linear_part(system, q, len(q))
    point = start(system, c)
    best = Point(*(part.copy() for part in point))
    least, waited = np.full(len(q), np.inf), np.zeros(len(q), int)
    running = np.arange(len(q))
    with np.errstate(all="ignore"):
        for _ in range(max_steps):
            point = step(system, c[running], point)
            residual = np.abs(system.values(point.z) - point.s).max(1)
            distance = point.complementarity() + np.where(residual > _RESIDUAL, residual, 0.0)
            better = distance < least[running]
            chosen = running[better]
            for whole, part in zip(best, point, strict=True):
                whole[chosen] = part[better]
            least[chosen] = distance[better]
            waited[running] = np.where(better | (least[running] > _NEARLY), 0, waited[running] + 1)
            going = (least[running] > tol) & (waited[running] < _PATIENCE) & np.isfinite(distance)
            if not going.any():
                break
            if not going.all():
                running, point, system = running[going], point.take(going), system.take(going)
    return best


def step(system: System, c: np.ndarray, point: Point) -> Point:
    """One step of Mehrotra's predictor and corrector."""
    newton = _Newton(system, c, point)
    mu = point.complementarity() / newton.degree
    affine = newton.direction(-point.s * point.y, newton.towards(np.zeros_like(mu)))
    after = point.moved(affine, _longest(point, affine)).complementarity() / newton.degree
    goal = mu * np.clip(after / mu, 0.0, 1.0) ** 3
    centre = goal[:, None] - point.s * point.y - affine.s * affine.y
    full = newton.direction(centre, newton.towards(goal, affine))
    longest = _longest(point, full, 1.0 / _TO_THE_BOUNDARY)
    return point.moved(full, np.minimum(1.0, _TO_THE_BOUNDARY * longest))


class _Newton:
    """Newton's equations of a batch at a point."""

    def __init__(self, system: System, c: np.ndarray, point: Point):
        self.system, self.point = system, point
        self.degree = point.s.shape[1] + system.soc
        self.dual = -system.adjoint(point.y, point.nu) - c
        self.dual[:, : system.D] += point.z[:, : system.D]
        self.primal = system.values(point.z) - point.s
        self.matrix = system.gram(point.y / point.s)
        self.scaling: Scaling | None = None
        if system.soc:
            self.scaling = Scaling.of(point.k, point.nu)
            self.gap = system.cone(point.z) - point.k
            places = np.append(system.D, system.entries)
            self.matrix[:, places[:, None], places[None, :]] += self.scaling.matrix()
            self.scaled = self.scaling.apply(point.nu)
        diagonal = np.arange(self.matrix.shape[1])
        trace = np.trace(self.matrix, axis1=1, axis2=2) / len(diagonal)
        self.matrix[:, diagonal, diagonal] += _RIDGE * trace[:, None]

    def towards(self, goal: np.ndarray, affine: Point | None = None) -> np.ndarray | None:
        """The right side of scaled complementarity of the second-order cones; None without them."""
        if self.scaling is None:
            return None
        right = -_jordan(self.scaled, self.scaled)
        if affine is not None:
            right -= _jordan(self.scaling.solve(affine.k), self.scaling.apply(affine.nu))
        right[:, 0] += goal
        return right

    def direction(self, centre: np.ndarray, cone_centre: np.ndarray | None) -> Point:
        """Solution for s dy + y ds = centre and its counterpart in the second-order cones."""
        system, point, scaling = self.system, self.point, self.scaling
        nu = point.nu
        if scaling is not None:
            nu = scaling.solve(_jordan_divided(self.scaled, cone_centre)) - scaling.solve_twice(self.gap)
        right = system.adjoint((centre - point.y * self.primal) / point.s, nu) - self.dual
        dz = np.linalg.solve(self.matrix, right[:, :, None])[:, :, 0]
        ds = system.values(dz) + self.primal
        dy = (centre - point.y * ds) / point.s
        if scaling is None:
            return Point(dz, ds, dy, point.k, nu)
        change = system.cone(dz)
        return Point(dz, ds, dy, change + self.gap, nu - scaling.solve_twice(change))


def _longest(point: Point, direction: Point, limit: float = 1.0) -> np.ndarray:
    """The longest step, at most ``limit``, that keeps slacks, cone points and multipliers inside, (m,)."""
    rate = np.maximum((-direction.s / point.s).max(1), (-direction.y / point.y).max(1))
    if point.k.shape[1]:
        rate = np.maximum(rate, np.maximum(_cone_rate(point.k, direction.k), _cone_rate(point.nu, direction.nu)))
    return 1.0 / np.maximum(rate, 1.0 / limit)


def _cone_rate(x: np.ndarray, change: np.ndarray) -> np.ndarray:
    """1 / (the largest step) before x + step * change leaves the cone, from the scaled direction."""
    size = np.sqrt(_form(x, x))
    x = x / size[:, None]
    first = x[:, 0] * change[:, 0] - (x[:, 1:] * change[:, 1:]).sum(1)
    rest = change[:, 1:] - ((first + change[:, 0]) / (x[:, 0] + 1.0))[:, None] * x[:, 1:]
    return (np.linalg.norm(rest, axis=1) - first) / size
