r"""Accelerated proximal gradient steps for smoothed losses plus beta times the norms of groups.

V+ = shrink(Y + q(Y)/L, beta/L), q = -gradient, with Nesterov's extrapolation, restarts where it points uphill
(O'Donoghue and Candes, 2015), and L found by backtracking. Outputs at the rows are linear in V, so they are extrapolated
with it: a step costs one product with the data forward and one back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .gated_model import GatedModel

_MOST_BACKTRACKS = 30
_RELAX = 0.95
_GROW = 1.6


def shrink(V: Any, threshold: float) -> Any:
    """Group shrinkage of the rows of V (outputs, P, D): the proximal map of the sum of their norms."""
    norms = V.norm(dim=2, keepdim=True)
    return V * (1.0 - threshold / norms.clamp_min(1e-30)).clamp_min(0.0)


@dataclass
class Point:
    """Weights, and the outputs at the rows where they are linear terms only."""

    V: Any
    outputs: Any


class Accelerated:
    """State of the method on one model.

    Parameters
    ----------
    model : GatedModel
        Possibly over some of the gates.
    beta : float
    V : tensor (outputs, P, D)
    lipschitz : float
        First guess of L; it is found by backtracking.
    """

    def __init__(self, model: GatedModel, beta: float, V: Any, lipschitz: float):
        self.model, self.beta, self.lipschitz = model, beta, lipschitz
        self.linear = not any(terms.robust for terms in model.terms)
        self.point = self._at(V)
        self.previous, self.momentum = self.point, 1.0

    def _at(self, V: Any) -> Point:
        return Point(V, self.model.forward(V) if self.linear else None)

    def _extrapolated(self, factor: float) -> Point:
        V = self.point.V + factor * (self.point.V - self.previous.V)
        if not self.linear:
            return Point(V, None)
        return Point(V, self.point.outputs + factor * (self.point.outputs - self.previous.outputs))

    def run(self, steps: int) -> Any:
        """Take some steps; returns the weights."""
        for _ in range(steps):
            following = 0.5 + (0.25 + self.momentum**2) ** 0.5
            ahead = self._extrapolated((self.momentum - 1.0) / following)
            value, q = self.model.value_and_q(ahead.V, ahead.outputs)
            new = self._backtracked(ahead, value, q)
            uphill = float(((ahead.V - new.V) * (new.V - self.point.V)).sum()) > 0
            self.previous, self.point = (new, new) if uphill else (self.point, new)
            self.momentum = 1.0 if uphill else following
            self.lipschitz *= _RELAX
        return self.point.V

    def _backtracked(self, ahead: Point, value: float, q: Any) -> Point:
        for _ in range(_MOST_BACKTRACKS):
            V = shrink(ahead.V + q / self.lipschitz, self.beta / self.lipschitz)
            new, move = self._at(V), V - ahead.V
            bound = value - float((q * move).sum()) + 0.5 * self.lipschitz * float((move * move).sum())
            actual = self.model.value(new.V, new.outputs)
            if actual <= bound + 1e-7 * abs(value) * (1.0 if V.dtype == torch.float32 else 1e-5):
                break
            self.lipschitz *= _GROW
        return new
