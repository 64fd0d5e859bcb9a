"""Nearest points of pattern cones, with multipliers that certify their lengths, and points pulled inside."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..balls import gauge
from . import newton
from .cone import EPS, Cones, violations
from .interiors import Interiors
from .system import System

CLEAN, _TOUCHING = 1e-13, 1e-12
"""Relative violation that counts as rounding, and the largest that is ever left."""
_MARGIN, _SHORTEST_PULL = 1e-15, 1e-8
"""Slack that a pull aims at, and the move (relative to the vector) that is always worth it."""


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


def project(cones: Cones, targets: np.ndarray, tol: float = 1e-13, max_steps: int = newton.MAX_STEPS) -> Projection:
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
        rounding = 16 * EPS * (4.0 + cones.n**0.5) * mass
        points[chosen], remainders[chosen] = scale * found, scale * remainder
        prices[chosen] = length[chosen] * (np.linalg.norm(remainder, axis=1) + rounding)
        multipliers[np.ix_(chosen, cones.used)] = scale * mu / cones.length
        if tilts is not None:
            tilts[chosen] = tilt
    return Projection(points, multipliers, tilts, remainders, prices)


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
        worth = (step <= _SHORTEST_PULL * size[chosen]) | (violations(part, points[chosen]) > CLEAN)
        points[chosen] += np.where(worth, step, 0.0)[:, None] * interiors.points[chosen]
    points[violations(cones, points) > _TOUCHING] = 0.0
    return points


def _nearest(cones: Cones, system: System, q: np.ndarray, tol: float, max_steps: int) -> tuple:
    """Nearest points to unit vectors q and multipliers in units of the relative slacks."""
    closed = cones.closed
    if closed.any() and cones.perturbed.all():
        mu = np.zeros((len(q), system.n))
        row = int(closed.argmax())
        mu[:, row] = (1.0 + 8 * EPS) * gauge(q, cones.norm) / cones.radius[row]
        return np.zeros_like(q), mu
    if system.n == 0:
        return q.copy(), np.zeros((len(q), 0))
    end = newton.nearest(system, q, tol, max_steps)
    return end.z[:, : system.D], np.maximum(end.y[:, : system.n], 0.0)
