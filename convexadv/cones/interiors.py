"""Points deep inside pattern cones, or proofs that the cones are {0}."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import newton
from .cone import Cones
from .dead import proved_dead, reach_of


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
    return searched(cones, guesses, accuracy, max_steps)[0]


def searched(
    cones: Cones, guesses: np.ndarray, accuracy: float, max_steps: int = newton.MAX_STEPS
) -> tuple[Interiors, np.ndarray]:
    """:func:`interiors_of`, and the shares (m, used) of the rows in the proofs that cones are {0}; zero elsewhere."""
    m = len(cones)
    points = guesses / np.linalg.norm(guesses, axis=1)[:, None]
    system = cones.system(deepest=True)
    depth = cones.slacks(system, points).min(1, initial=np.inf)
    dead = np.full(m, bool(cones.closed.any() and cones.perturbed.all()))
    running = np.flatnonzero(~dead & np.isfinite(depth))
    shares = np.zeros((m, system.n))
    shares[:, cones.closed] = dead[:, None]
    reach = reach_of(cones, system).take(running)
    system = system.take(running)
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
            proved = proved_dead(cones, system, mu, reach)
            dead[running[proved]], shares[running[proved]] = True, mu[proved]
            going = ~proved & (depth[running] < (1.0 - accuracy) * bound) & np.isfinite(found)
            running, point = running[going], point.take(going)
            system, reach = system.take(going), reach.take(going)
    points[dead], depth[dead] = 0.0, 0.0
    return Interiors(points, depth, dead), shares
