r"""Cones of activation patterns: interior points, projection with multipliers, and blocks moved into their cones.

The cone of gate k keeps its pattern D_ik constant over the ball of every row ([PE20], [BGS22]; design note, 1.5):

    K_k = {v : S_ik x_i'v >= r_i ||E v||_q for all rows i},    S_ik = 2 D_ik - 1,  E v the perturbed entries of v,

q dual to the norm p of the ball. Its polar is spanned by -(S_ik x_i - r_i tilt), ||tilt||_p <= 1, so for any target t,
any mu >= 0 and any such tilt

    ||Proj_K(t)|| <= price = ||h - (sum_i r_i mu_i) tilt||_2,    h = t + sum_i mu_i S_ik x_i,

with equality at the best ones: there the vector is the projection itself (Moreau).

Slacks and violations are relative: (S_ik x_i'v - r_i ||E v||_q) / ||x_i|| at ||v|| = 1. A row of zeros constrains nothing
at radius 0 and leaves only E v = 0 at a positive radius.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _cone_newton as newton
from .balls import dual_norm_name, gauge
from .balls import project as project_on_ball

if TYPE_CHECKING:
    from .problems.blocks import Blocks
    from .problems.certificate import ConeMultipliers
    from .problems.patterns import PatternProblem

_ENTRIES = 1 << 21
"""Entries of an array over blocks and rows, and of the Newton matrices of as many blocks."""
_MAX_STEPS = 60
_CLEAN, _TOUCHING = 1e-13, 1e-12
"""Relative violation that counts as rounding, and the largest that is ever left."""
_MARGIN, _SHORTEST_PULL = 1e-15, 1e-8
"""Slack that a pull aims at, and the move (relative to the vector) that is always worth it."""
_SPECK = 1e-7
"""Length, relative to the block, of a projection that is the rounding of zero."""
_STRICT = 1e-10
"""Relative margin by which a proof that a cone is {0} must hold."""
_EPS = 2.0**-52


class Interiors(NamedTuple):
    """Result of :func:`cone_interiors`."""

    points: np.ndarray
    """(P, D) unit vectors; zero for dead patterns."""
    depth: np.ndarray
    """(P,) smallest relative slack of the point. Positive: the cone has an interior, and the point lies that deep."""
    dead: np.ndarray
    """(P,) bool: the cone is proved to be {0}. A pattern that is not dead and has no positive depth is undecided, or its
    cone is flat: treat it as alive, without an interior point."""


class Projection(NamedTuple):
    """Result of :func:`project`."""

    points: np.ndarray
    """(m, D) nearest points of the cones."""
    multipliers: np.ndarray
    """(m, n) mu >= 0."""
    tilts: np.ndarray | None
    """(m, D) points of the unit ball, zero at entries that are not perturbed; None without balls."""
    remainders: np.ndarray
    """(m, D) h - (sum_i r_i mu_i) tilt: the points again, from the dual side."""
    prices: np.ndarray
    """(m,) length of the remainders with an allowance for rounding: never below the length of the projection."""


class Cones:
    """m pattern cones over common rows.

    Parameters
    ----------
    X : (n, D)
        Rows.
    signs : (m, n)
        True or positive where S = 1.
    radius : float or (n,)
    norm : "l1", "l2" or "linf"
        Norm of the balls.
    perturbed : (D,) bool, optional
        Entries that the balls perturb; all if not given.
    """

    def __init__(self, X: Any, signs: Any, radius: Any = 0.0, norm: str = "l2", perturbed: Any = None):
        X = np.asarray(X, np.float64)
        length = np.linalg.norm(X, axis=1)
        radius = np.broadcast_to(np.asarray(radius, np.float64), len(X))
        self.used = np.flatnonzero((length > 0) | (radius > 0))
        self.n = len(X)
        self.length = np.where(length > 0, length, 1.0)[self.used]
        self.unit = X[self.used] / self.length[:, None]
        self.radius = radius[self.used] / self.length
        self.signs = np.asarray(signs)
        self.perturbed = np.ones(X.shape[1], bool) if perturbed is None else np.asarray(perturbed, bool)
        self.norm, self.dual_norm = norm, dual_norm_name(norm)
        self.robust = bool((self.radius > 0).any())

    @staticmethod
    def of(problem: PatternProblem, gate: np.ndarray) -> Cones:
        """The cones of some gates of a ReLU problem, which may repeat."""
        signs = problem.patterns[:, gate].T
        return Cones(problem.rows.whole(), signs, problem.radius, problem.norm, problem.perturbed)

    def __len__(self) -> int:
        return len(self.signs)

    def take(self, chosen: np.ndarray) -> Cones:
        """Some of the cones."""
        part = Cones.__new__(Cones)
        part.__dict__.update(self.__dict__)
        part.signs = self.signs[chosen]
        return part

    def chunks(self, index: np.ndarray) -> Iterator[np.ndarray]:
        """Parts of a list of cones that are small enough to be treated at once."""
        width = self.unit.shape[1] * (2 if self.robust and self.dual_norm == "l1" else 1) + 1
        step = max(1, _ENTRIES // max(self.n, width * width))
        for first in range(0, len(index), step):
            yield index[first : first + step]

    @property
    def closed(self) -> np.ndarray:
        """(used rows,) bool: rows of zeros at a positive radius, which leave nothing but E v = 0."""
        return ~self.unit.any(1)

    def system(self, deepest: bool = False) -> newton.System:
        """The linear maps of these cones for the interior point method."""
        signs = np.where(self.signs[:, self.used] > 0, 1.0, -1.0)
        norm = self.dual_norm if self.robust else None
        return newton.System(self.unit, signs, self.radius, self.perturbed, norm, deepest)

    def slacks(self, system: newton.System, v: np.ndarray) -> np.ndarray:
        """Slacks of the used rows, in units of their lengths, (m, used)."""
        slack = system.signs * (v @ self.unit.T)
        if self.robust:
            slack -= gauge(v[:, self.perturbed], self.dual_norm)[:, None] * self.radius
        return slack

    def remainder(self, system: newton.System, target: np.ndarray, mu: np.ndarray) -> tuple[np.ndarray, Any]:
        """h - (sum mu r) tilt at the best tilt, and the tilt or None; mu in units of the relative slacks."""
        h = target + (mu * system.signs) @ self.unit
        if not self.robust:
            return h, None
        total = np.maximum(mu @ self.radius, 1e-100)[:, None]
        tilt = np.zeros_like(h)
        tilt[:, self.perturbed] = (1.0 - 4 * _EPS) * project_on_ball(h[:, self.perturbed] / total, 1.0, self.norm)
        return h - total * tilt, tilt


def project(cones: Cones, targets: np.ndarray, tol: float = 1e-13, max_steps: int = _MAX_STEPS) -> Projection:
    r"""Nearest points of pattern cones, with multipliers that certify their lengths.

    Parameters
    ----------
    cones : Cones
        m cones over n rows.
    targets : (m, D)
        One point for every cone.
    tol : float
        Stop at a complementarity of ``tol ||target||^2``, which bounds ||point - Proj(target)||^2 / 2 and
        (price^2 - ||Proj(target)||^2) / 2.
    max_steps : int
        Newton steps. The prices hold wherever the method ends.

    Returns
    -------
    Projection
        Points lie in their cones up to rounding where the method has converged; :func:`pulled` moves them inside.
    """
    targets = np.asarray(targets, np.float64)
    length = np.linalg.norm(targets, axis=1)
    points, remainders, prices = np.zeros_like(targets), np.zeros_like(targets), np.zeros(len(targets))
    multipliers = np.zeros((len(targets), cones.n))
    tilts = np.zeros_like(targets) if cones.robust else None
    for chosen in cones.chunks(np.flatnonzero(length > 0)):
        part, unit, scale = cones.take(chosen), targets[chosen] / length[chosen, None], length[chosen, None]
        system = part.system()
        found, mu = _nearest(part, system, unit, tol, max_steps)
        remainder, tilt = part.remainder(system, unit, mu)
        useless = ~(np.linalg.norm(remainder, axis=1) <= 1.0)  # without multipliers the price is the target's length
        if useless.any():
            mu[useless] = 0.0
            remainder, tilt = part.remainder(system, unit, mu)
        mass = 1.0 + (mu * (1.0 + part.radius * part.unit.shape[1] ** 0.5)).sum(1)
        rounding = 16 * _EPS * (4.0 + cones.n**0.5) * mass
        points[chosen], remainders[chosen] = scale * found, scale * remainder
        prices[chosen] = length[chosen] * (np.linalg.norm(remainder, axis=1) + rounding)
        multipliers[np.ix_(chosen, cones.used)] = scale * mu / cones.length
        if tilts is not None:
            tilts[chosen] = tilt
    return Projection(points, multipliers, tilts, remainders, prices)


def cone_multipliers(
    projection: Projection, component: int, gate: np.ndarray, output: np.ndarray, side: np.ndarray
) -> ConeMultipliers:
    """The multipliers of a projection of side * q as the part of a certificate that proves their prices.

    Parameters
    ----------
    projection : Projection
    component : int
    gate, output, side : (m,)
        The blocks that were projected, as in :class:`convexadv.problems.certificate.ConeMultipliers`.

    Returns
    -------
    ConeMultipliers
    """
    from .problems.certificate import ConeMultipliers

    mu = projection.multipliers
    kept = mu > _EPS * mu.max(1, initial=0.0)[:, None]
    indptr = np.concatenate([[0], np.cumsum(kept.sum(1))])
    return ConeMultipliers(
        component, gate, output, side, indptr, np.nonzero(kept)[1].astype(np.int64), mu[kept], projection.tilts
    )


def cone_interiors(problem: PatternProblem, accuracy: float = 0.2, max_steps: int = _MAX_STEPS) -> Interiors:
    r"""A unit vector deep inside the cone of every gate, or a proof that the cone is {0}.

    The deepest point maximises the smallest relative slack over ||v||_2 <= 1 (a support vector machine).

    Parameters
    ----------
    problem : ReLUProblem
    accuracy : float
        Stop at a depth of at least (1 - accuracy) of the largest one.
    max_steps : int
        Newton steps.

    Returns
    -------
    Interiors

    Notes
    -----
    For mu >= 0 and h = sum_i mu_i S_ik x_i every v in the cone has 0 <= h'v - (sum_i mu_i r_i) ||E v||_q, so
    ||E h||_p < sum_i mu_i r_i proves that it is {0}. An intercept b is bounded by rows of both signs:
    |b| <= (||x_i||_p - r_i) ||E v||_q.
    """
    D, P = problem.gates.shape
    result = Interiors(np.zeros((P, D)), np.zeros(P), np.zeros(P, bool))
    cones = Cones.of(problem, np.arange(P))
    for chosen in cones.chunks(np.arange(P)):
        part = interiors_of(cones.take(chosen), problem.gates[:, chosen].T, accuracy, max_steps)
        for whole, own in zip(result, part, strict=True):
            whole[chosen] = own
    return result


def interiors_of(cones: Cones, guesses: np.ndarray, accuracy: float, max_steps: int = _MAX_STEPS) -> Interiors:
    """:func:`cone_interiors` of cones, from guesses (m, D) that are returned where nothing deeper is found."""
    m = len(cones)
    points = guesses / np.linalg.norm(guesses, axis=1)[:, None]
    system = cones.system(deepest=True)
    depth = cones.slacks(system, points).min(1, initial=np.inf)
    dead = np.full(m, bool(cones.closed.any() and cones.perturbed.all()))
    running = np.flatnonzero(~dead & np.isfinite(depth))
    system, reach = system.take(running), _reach_of_intercept(cones, system)
    point = newton.start(system, newton.linear_part(system, None, len(running)))
    with np.errstate(all="ignore"):
        for _ in range(max_steps):
            if len(running) == 0:
                break
            point = newton.step(system, newton.linear_part(system, None, len(running)), point)
            v = point.z[:, : system.D]
            v = v / np.linalg.norm(v, axis=1)[:, None]
            found = cones.slacks(system, v).min(1)
            better = found > depth[running]
            points[running[better]], depth[running[better]] = v[better], found[better]
            mu = point.y[:, : system.n] / point.y[:, : system.n].sum(1)[:, None]
            bound = np.linalg.norm(cones.remainder(system, np.zeros_like(v), mu)[0], axis=1)
            dead[running] = _proved_dead(cones, system, mu, reach[running])
            going = ~dead[running] & (depth[running] < (1.0 - accuracy) * bound) & np.isfinite(found)
            running, point, system = running[going], point.take(going), system.take(going)
    points[dead], depth[dead] = 0.0, 0.0
    return Interiors(points, depth, dead)


def _reach_of_intercept(cones: Cones, system: newton.System) -> np.ndarray:
    """Bounds on b/||E v||_q and -b/||E v||_q inside the cones, (m, 2); zero without an intercept."""
    fixed = np.abs(cones.unit[:, ~cones.perturbed])
    if not cones.robust or fixed.shape[1] == 0:
        return np.zeros((len(cones), 2))
    if fixed.shape[1] > 1 or not (fixed > 0).all():
        return np.full((len(cones), 2), np.inf)
    limit = np.maximum(gauge(cones.unit[:, cones.perturbed], cones.norm) - cones.radius, 0.0) / fixed[:, 0]
    upwards = system.signs * np.sign(cones.unit[:, ~cones.perturbed][:, 0]) > 0
    up = np.where(upwards, np.inf, limit).min(1, initial=np.inf)
    return np.stack([up, np.where(upwards, limit, np.inf).min(1, initial=np.inf)], 1)


def _proved_dead(cones: Cones, system: newton.System, mu: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Whether shares mu (summing to one) prove that the cones are {0}."""
    if not cones.robust:
        return np.zeros(len(mu), bool)
    h = (mu * system.signs) @ cones.unit
    pull = gauge(h[:, cones.perturbed], cones.norm)
    fixed = h[:, ~cones.perturbed].sum(1)
    if not cones.perturbed.all():
        side = np.where(fixed > 0, reach[:, 0], reach[:, 1])
        pull = np.where(fixed == 0, pull, pull + side * np.abs(fixed))
        pull = np.where(np.isfinite(reach).all(1), pull, np.inf)
    return pull < (1.0 - _STRICT) * (mu @ cones.radius) - 1e-14


def into_cones(problem: PatternProblem, blocks: Blocks) -> Blocks:
    """Blocks inside their cones: each the nearest point of its cone, and a hair from there towards the interior.

    Blocks that violate their cones by no more than rounding (1e-13) stay as they are. A block becomes zero where its
    projection is zero (below 1e-7 of its length), as in a cone that is {0}, or where the cone is flat in a way that
    rounding cannot meet. So the relative violation (``problem.violation``) of the result is at most 1e-12.

    Parameters
    ----------
    problem : ReLUProblem
    blocks : Blocks
        Of this problem, usually a solver's that violate their cones slightly.

    Returns
    -------
    Blocks
        The same number of blocks in the same order.
    """
    from .problems.blocks import Blocks

    vectors = np.array(blocks.vectors, np.float64)
    cones = Cones.of(problem, blocks.gate)
    outside = np.flatnonzero(violations(cones, vectors) > _CLEAN)
    for chosen in cones.chunks(outside):
        part, before = cones.take(chosen), vectors[chosen]
        points = project(part, before, tol=1e-20).points
        points[np.linalg.norm(points, axis=1) <= _SPECK * np.linalg.norm(before, axis=1)] = 0.0
        off = np.flatnonzero(violations(part, points) > _CLEAN)
        deep = interiors_of(part.take(off), problem.gates[:, blocks.gate[chosen[off]]].T, accuracy=0.5)
        points[off] = pulled(part.take(off), points[off], deep)
        vectors[chosen] = points
    return Blocks(blocks.gate, blocks.output, blocks.side, vectors)


def pulled(cones: Cones, points: np.ndarray, interiors: Interiors) -> np.ndarray:
    """Points that nearly lie in their cones, pulled inside; zero where that fails.

    Parameters
    ----------
    cones : Cones
        m cones.
    points : (m, D)
    interiors : Interiors
        Of these cones.

    Returns
    -------
    (m, D)
        Points of relative violation 0, or up to rounding (1e-12) where the cones have (nearly) no interior.
    """
    points = np.array(points)
    size = np.linalg.norm(points, axis=1)
    for chosen in cones.chunks(np.flatnonzero((size > 0) & (interiors.depth > 0))):
        part = cones.take(chosen)
        system = part.system()
        aim = _MARGIN * size[chosen, None] - part.slacks(system, points[chosen])
        deep = part.slacks(system, interiors.points[chosen])
        step = (1.0 + 1e-6) * (np.maximum(aim, 0.0) / np.where(deep > 0, deep, np.inf)).max(1, initial=0.0)
        worth = (step <= _SHORTEST_PULL * size[chosen]) | (violations(part, points[chosen]) > _CLEAN)
        points[chosen] += np.where(worth, step, 0.0)[:, None] * interiors.points[chosen]
    points[violations(cones, points) > _TOUCHING] = 0.0
    return points


def violations(cones: Cones, points: np.ndarray) -> np.ndarray:
    """max over rows of (r ||E v||_q - S x'v) / (||x|| ||v||) of every point, at least 0, (m,)."""
    worst = np.zeros(len(points))
    for chosen in cones.chunks(np.flatnonzero(points.any(1))):
        part = cones.take(chosen)
        unit = points[chosen] / np.linalg.norm(points[chosen], axis=1)[:, None]
        worst[chosen] = np.maximum(-part.slacks(part.system(), unit).min(1, initial=0.0), 0.0)
    return worst


def _nearest(cones: Cones, system: newton.System, q: np.ndarray, tol: float, max_steps: int) -> tuple:
    """Nearest points to unit vectors q and multipliers in units of the relative slacks."""
    closed = cones.closed
    if closed.any() and cones.perturbed.all():
        mu = np.zeros((len(q), system.n))
        row = int(closed.argmax())
        mu[:, row] = (1.0 + 8 * _EPS) * gauge(q, cones.norm) / cones.radius[row]
        return np.zeros_like(q), mu
    if system.n == 0:
        return q.copy(), np.zeros((len(q), 0))
    end = newton.nearest(system, q, tol, max_steps)
    return end.z[:, : system.D], np.maximum(end.y[:, : system.n], 0.0)
