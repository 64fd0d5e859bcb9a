r"""Accelerated proximal gradient steps for smoothed losses plus beta times the norms of groups.

V+ = shrink(Y + q(Y)/L, beta/L), q = -gradient, with Nesterov's extrapolation, restarts where it points uphill
(O'Donoghue and Candes, 2015), and L found by backtracking.
"""

from __future__ import annotations

from typing import Any

from .model import GatedModel

_MOST_BACKTRACKS = 30
_RELAX = 0.95
_GROW = 1.6


def shrink(V: Any, threshold: float) -> Any:
    """Group shrinkage of the rows of V (outputs, P, D): the proximal map of the sum of their norms."""
    norms = V.norm(dim=2, keepdim=True)
    return V * (1.0 - threshold / norms.clamp_min(1e-30)).clamp_min(0.0)


class Accelerated:
    """State of the method on one model.

    Parameters
    ----------
    model : GatedModel
    beta : float
    V : tensor (outputs, P, D)
    lipschitz : float
        First guess of L; it is found by backtracking.
    """

    def __init__(self, model: GatedModel, beta: float, V: Any, lipschitz: float):
        self.model, self.beta, self.lipschitz = model, beta, lipschitz
        self.point = V
        self.previous, self.momentum = self.point, 1.0

    def run(self, steps: int) -> Any:
        """Take some steps; returns the weights."""
        for _ in range(steps):
            following = 0.5 + (0.25 + self.momentum**2) ** 0.5
            ahead = self.point + (self.momentum - 1.0) / following * (self.point - self.previous)
            value, q = self.model.value_and_q(ahead)
            new = self._backtracked(ahead, value, q)
            uphill = float(((ahead - new) * (new - self.point)).sum()) > 0
            self.previous, self.point = (new, new) if uphill else (self.point, new)
            self.momentum = 1.0 if uphill else following
            self.lipschitz *= _RELAX
        return self.point

    def _backtracked(self, ahead: Any, value: float, q: Any) -> Any:
        for _ in range(_MOST_BACKTRACKS):
            new = shrink(ahead + q / self.lipschitz, self.beta / self.lipschitz)
            move = new - ahead
            bound = value - float((q * move).sum()) + 0.5 * self.lipschitz * float((move * move).sum())
            actual = self.model.value(new)
            if actual <= bound + 1e-12 * abs(value):
                break
            self.lipschitz *= _GROW
        return new
