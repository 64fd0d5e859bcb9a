r"""Pattern cones over common rows: their slacks, and the linear maps of the methods that project on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..balls import dual_norm_name, gauge
from ..balls import project as project_on_ball
from .system import System

_ENTRIES = 1 << 21
"""Entries of an array over blocks and rows, and of the Newton matrices of as many blocks."""
EPS = 2.0**-52


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

    def system(self, deepest: bool = False) -> System:
        """The linear maps of these cones for the interior point method."""
        signs = np.where(self.signs[:, self.used] > 0, 1.0, -1.0)
        norm = self.dual_norm if self.robust else None
        return System(self.unit, signs, self.radius, self.perturbed, norm, deepest)

    def slacks(self, system: System, v: np.ndarray) -> np.ndarray:
        """Slacks of the used rows, in units of their lengths, (m, used)."""
        slack = system.signs * (v @ self.unit.T)
        if self.robust:
            slack -= gauge(v[:, self.perturbed], self.dual_norm)[:, None] * self.radius
        return slack

    def remainder(self, system: System, target: np.ndarray, mu: np.ndarray) -> tuple[np.ndarray, Any]:
        """h - (sum mu r) tilt at the best tilt, and the tilt or None; mu in units of the relative slacks."""
        h = target + (mu * system.signs) @ self.unit
        if not self.robust:
            return h, None
        total = np.maximum(mu @ self.radius, 1e-100)[:, None]
        tilt = np.zeros_like(h)
        tilt[:, self.perturbed] = (1.0 - 4 * EPS) * project_on_ball(h[:, self.perturbed] / total, 1.0, self.norm)
        return h - total * tilt, tilt


def violations(cones: Cones, points: np.ndarray) -> np.ndarray:
    """max over rows of (r ||E v||_q - S x'v) / (||x|| ||v||) of every point, at least 0, (m,)."""
    worst = np.zeros(len(points))
    for chosen in cones.chunks(np.flatnonzero(points.any(1))):
        part = cones.take(chosen)
        unit = points[chosen] / np.linalg.norm(points[chosen], axis=1)[:, None]
        worst[chosen] = np.maximum(-part.slacks(part.system(), unit).min(1, initial=0.0), 0.0)
    return worst
