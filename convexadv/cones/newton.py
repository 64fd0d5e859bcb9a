r"""Batched primal-dual interior point method for nearest and for deepest points of pattern cones.

Block j of m blocks solves, over v in R^D,

    nearest:  minimise  1/2 ||v - q_j||^2       subject to    S_ji x_i'v - r_i ||E v||_q >= 0    for all rows i,
    deepest:  minimise  1/2 ||v||^2 - depth     subject to    S_ji x_i'v - r_i ||E v||_q >= depth,

S_ji = +-1 and E v the perturbed entries of v. (The second is a support vector machine: v is the deepest unit vector times
its depth, and the multipliers add up to one.) With a = ||E v||_q as variables of their own (one number, or |v_l| for
q = 1) these are quadratic programmes over linear inequalities and, for q = 2, one second-order cone: Mehrotra's method
with the scaling of Nesterov and Todd.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .second_order import Scaling, form, jordan, jordan_divided
from .system import System

MAX_STEPS = 60
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
        right = -jordan(self.scaled, self.scaled)
        if affine is not None:
            right -= jordan(self.scaling.solve(affine.k), self.scaling.apply(affine.nu))
        right[:, 0] += goal
        return right

    def direction(self, centre: np.ndarray, cone_centre: np.ndarray | None) -> Point:
        """Solution for s dy + y ds = centre and its counterpart in the second-order cones."""
        system, point, scaling = self.system, self.point, self.scaling
        nu = point.nu
        if scaling is not None and cone_centre is not None:
            nu = scaling.solve(jordan_divided(self.scaled, cone_centre)) - scaling.solve_twice(self.gap)
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
    size = np.sqrt(form(x, x))
    x = x / size[:, None]
    first = x[:, 0] * change[:, 0] - (x[:, 1:] * change[:, 1:]).sum(1)
    rest = change[:, 1:] - ((first + change[:, 0]) / (x[:, 0] + 1.0))[:, None] * x[:, 1:]
    return (np.linalg.norm(rest, axis=1) - first) / size
