r"""Proofs that robust cones are {0}, and the multipliers that lower every price there to zero.

For shares mu >= 0 and h = sum_i mu_i S_ik x_i, every v in the cone has 0 <= h'v - R ||E v||_q, R = sum_i mu_i r_i. An
intercept b is bounded by rows of both signs: |b| <= (||E x_i||_p - r_i) ||E v||_q / |intercept of row i|, which is to say
that such a row, added to the shares, cancels the intercept of h. Balanced like this, ||E h||_p < R proves that the cone is
{0}, and for any target t (balanced by one row as well)

    t + tau h - tau R tilt = 0   with   tilt = (t + tau h) / (tau R),    tau = ||E t||_p / (R - ||E h||_p),

whose tilt lies in the unit ball: a price of zero, in closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..balls import gauge
from .cone import Cones
from .system import System

_STRICT = 1e-10
"""Relative margin by which a proof that a cone is {0} must hold."""
_ROOM = 1e-9
"""Relative surplus of the shares over what makes a price zero, so that the tilt lies inside its ball."""


class Reach(NamedTuple):
    """Bounds on b/||E v||_q (first column) and -b/||E v||_q inside the cones, and the rows that prove them."""

    limit: np.ndarray
    """(m, 2); infinite where no row bounds it, zero without an intercept."""
    row: np.ndarray
    """(m, 2) int, among the used rows."""

    def take(self, chosen: np.ndarray) -> Reach:
        """Those of some cones."""
        return Reach(self.limit[chosen], self.row[chosen])


def reach_of(cones: Cones, system: System) -> Reach:
    """What rows of both signs say of the intercept."""
    none = np.zeros((len(cones), 2), np.intp)
    fixed = np.abs(cones.unit[:, ~cones.perturbed])
    if not cones.robust or fixed.shape[1] == 0:
        return Reach(np.zeros((len(cones), 2)), none)
    if fixed.shape[1] > 1 or not (fixed > 0).all():
        return Reach(np.full((len(cones), 2), np.inf), none)
    limit = np.maximum(gauge(cones.unit[:, cones.perturbed], cones.norm) - cones.radius, 0.0) / fixed[:, 0]
    upwards = system.signs * np.sign(cones.unit[:, ~cones.perturbed][:, 0]) > 0
    either = np.stack([np.where(upwards, np.inf, limit), np.where(upwards, limit, np.inf)], 1)
    return Reach(either.min(2, initial=np.inf), either.argmin(2))


def proved_dead(cones: Cones, system: System, mu: np.ndarray, reach: Reach) -> np.ndarray:
    """Whether shares mu (summing to one) prove that the cones are {0}, (m,) bool."""
    if not cones.robust:
        return np.zeros(len(mu), bool)
    h = (mu * system.signs) @ cones.unit
    pull = gauge(h[:, cones.perturbed], cones.norm)
    fixed = h[:, ~cones.perturbed].sum(1)
    if not cones.perturbed.all():
        side = np.where(fixed > 0, reach.limit[:, 0], reach.limit[:, 1])
        pull = np.where(fixed == 0, pull, pull + side * np.abs(fixed))
        pull = np.where(np.isfinite(reach.limit).all(1), pull, np.inf)
    return pull < (1.0 - _STRICT) * (mu @ cones.radius) - 1e-14


def vanishing(cones: Cones, shares: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers and tilts that lower the price of targets to zero, up to rounding, in cones proved to be {0}.

    Parameters
    ----------
    cones : Cones
        m cones.
    shares : (m, used)
        Their proofs, of :func:`.interiors.searched`.
    targets : (m, D)

    Returns
    -------
    multipliers : (m, n)
    tilts : (m, D)
        Points of the unit ball, zero at entries that are not perturbed.
    """
    system = cones.system()
    reach = reach_of(cones, system)
    proof = shares + _balance(cones, reach, (shares * system.signs) @ cones.unit)
    first = _balance(cones, reach, targets)
    h = (proof * system.signs) @ cones.unit
    rest = targets + (first * system.signs) @ cones.unit
    excess = gauge(rest[:, cones.perturbed], cones.norm) - first @ cones.radius
    margin = proof @ cones.radius - gauge(h[:, cones.perturbed], cones.norm)
    mu = first + (np.maximum((1.0 + _ROOM) * excess, 0.0) / margin)[:, None] * proof
    mu += _balance(cones, reach, targets + (mu * system.signs) @ cones.unit)  # what rounding left
    _, tilts = cones.remainder(system, targets, mu)
    multipliers = np.zeros((len(cones), cones.n))
    multipliers[:, cones.used] = mu / cones.length
    return multipliers, tilts


def _balance(cones: Cones, reach: Reach, vectors: np.ndarray) -> np.ndarray:
    """Multipliers of one row each that cancel the intercept of vectors, (m, used)."""
    mu = np.zeros((len(vectors), len(cones.unit)))
    if cones.perturbed.all():
        return mu
    fixed = vectors[:, ~cones.perturbed][:, 0]
    every = np.arange(len(vectors))
    row = reach.row[every, np.where(fixed > 0, 0, 1)]
    mu[every, row] = np.abs(fixed) / np.abs(cones.unit[row][:, ~cones.perturbed][:, 0])
    return mu
