"""The best positive multiple of a network: a convex problem in one variable that needs no product with the data."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np

from .requests import Losses, Margins

_POINTS = 17
_WIDTH, _WIDTH_AT_CONSTRAINTS = 1e-5, 1e-7
"""Of the bracket; the objective is flat at its minimum, not where constraints begin to be met."""
FEASIBLE = 1e-9
"""Relative shortfall of a hard margin that counts as met."""


def best_multiple(model: Any, neurons: Any, low: float, high: float) -> Generator[Any, Any, tuple[float, float, float]]:
    """The multiple tau in [low, high] of a network with the least exact objective among those that meet the constraints.

    Margins are homogeneous of degree one in the network; only margin curves ask the oracle again. The objective is convex
    in tau and violations do not increase, so that the best point of a grid brackets the minimum. A generator of requests.

    Parameters
    ----------
    model : ComponentModel
    neurons : Neurons
    low, high : float
        Positive ends.

    Returns
    -------
    tau, objective, violation
        tau is 1 where no multiple meets the constraints.
    """
    penalty = model.problem.beta * float((neurons.vectors**2).sum())
    margins = yield Margins(model, neurons)

    def values(taus: Any) -> Generator[Any, Any, tuple[Any, Any]]:
        chosen = []
        for tau in taus:
            again = (yield Margins(model, neurons.scaled(tau))) if curved else margins
            chosen.append((float(tau), again))
        losses, violations = yield Losses(model, chosen)
        return taus * penalty + np.array(losses), np.array(violations)

    curved = any(kind.curved for kind in model.kinds)
    width = _WIDTH_AT_CONSTRAINTS if model.constrained else _WIDTH
    left, right = math.log(low), math.log(high)
    while True:
        grid = np.linspace(left, right, _POINTS)
        objectives, violations = yield from values(np.exp(grid))
        feasible = violations <= FEASIBLE
        if not feasible.any():
            objectives, violations = yield from values(np.ones(1))
            return 1.0, float(objectives[0]), float(violations[0])
        best = int(np.where(feasible, objectives, np.inf).argmin())
        left, right = grid[max(best - 1, 0)], grid[min(best + 1, _POINTS - 1)]
        if right - left < width:
            return float(np.exp(grid[best])), float(objectives[best]), float(violations[best])
