"""Blocks whose cones are {0}: multipliers that lower their prices to zero, from the proofs that the cones are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...cones import searched, vanishing
from ...problems.pattern_cones import cones_of

_ACCURACY = 0.2


class DeadCones:
    """Proofs that cones are {0}, found when they are first needed.

    Parameters
    ----------
    problem : ReLUProblem
    dead : (P,) bool
        Gates whose cones are {0}.
    """

    def __init__(self, problem: Any, dead: np.ndarray):
        self.problem, self.dead = problem, dead
        self._shares: dict[int, np.ndarray] = {}

    def multipliers(self, gate: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Multipliers (m, n) and tilts (m, D) of blocks of dead gates, which make the prices of targets (m, D) vanish."""
        self._prove(np.unique(gate))
        shares = np.stack([self._shares[int(number)] for number in gate])
        return vanishing(cones_of(self.problem, gate), shares, targets)

    def _prove(self, gates: np.ndarray) -> None:
        new = np.array([number for number in gates if int(number) not in self._shares], np.int64)
        cones = cones_of(self.problem, new)
        for chosen in cones.chunks(np.arange(len(new))):
            guesses = self.problem.gates[:, new[chosen]].T
            for number, shares in zip(new[chosen], searched(cones.take(chosen), guesses, _ACCURACY)[1], strict=True):
                self._shares[int(number)] = shares
