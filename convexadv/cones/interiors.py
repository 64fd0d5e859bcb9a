"""Points deep inside pattern cones, or proofs that the cones are {0}."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..balls import gauge
from . import newton
from .cone import Cones

_STRICT = 1e-10
"""Relative margin by which a proof that a cone is {0} must hold."""


class Interiors(NamedTuple):
    """Result of :func:`cone_interiors`."""

    points: np.ndarray
    """(P, D) unit vectors; zero for dead patterns."""
    depth: np.ndarray
    """(P,) smallest relative slack of the point. Positive: the cone has an interior, and the point lies that deep."""
    dead: np.ndarray
    """(P,) bool: the cone is proved to be {0}. A pattern that is not dead and has no positive depth is undecided, or its
    cone is flat: treat it as alive, without an interior point."""


def interiors_of(cones: Cones, guesses: np.ndarray, accuracy: float, max_steps: int = newton.MAX_STEPS) -> Interiors:
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
