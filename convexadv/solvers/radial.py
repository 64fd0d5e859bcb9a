"""The best positive multiple of a network: a convex problem in one variable that needs no product with the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_GOLDEN = 0.6180339887498949
_STEPS = 40
FEASIBLE = 1e-9
"""Relative shortfall of a hard margin that counts as met."""


def best_multiple(value: Callable[[float], tuple[float, float]], low: float, high: float) -> tuple[float, float, float]:
    """Minimise a convex function of tau in [low, high] on a logarithmic scale, among points that meet the constraints.

    Parameters
    ----------
    value : callable
        tau -> (objective, violation); the violation does not increase with tau.
    low, high : float
        Positive ends.

    Returns
    -------
    tau, objective, violation
    """
    import math

    if value(low)[1] > FEASIBLE:
        if value(high)[1] > FEASIBLE:
            return (1.0, *value(1.0))
        left, right = math.log(low), math.log(high)
        for _ in range(_STEPS):
            middle = 0.5 * (left + right)
            left, right = (middle, right) if value(math.exp(middle))[1] > FEASIBLE else (left, middle)
        low = math.exp(right)
    left, right = math.log(low), math.log(high)
    first, second = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    at_first, at_second = value(math.exp(first)), value(math.exp(second))
    for _ in range(_STEPS):
        if right - left < 1e-5:
            break
        if at_first[0] <= at_second[0]:
            right, second, at_second = second, first, at_first
            first = right - _GOLDEN * (right - left)
            at_first = value(math.exp(first))
        else:
            left, first, at_first = first, second, at_second
            second = left + _GOLDEN * (right - left)
            at_second = value(math.exp(second))
    candidates = [(at_first, math.exp(first)), (at_second, math.exp(second)), (value(low), low)]
    best = min(candidates, key=lambda entry: entry[0][0])
    return best[1], best[0][0], best[0][1]


def objective_of_multiples(model: Any, neurons: Any) -> Callable[[float], tuple[float, float]]:
    """tau -> (exact objective, violation) of tau times a network.

    Margins are homogeneous of degree one in the network; only margin curves ask the oracle again.
    """
    penalty = model.problem.beta * float((neurons.vectors**2).sum())
    margins = model.margins(neurons)
    curved = [bool((terms.curvature > 0).any()) for terms in model.terms]

    def value(tau: float) -> tuple[float, float]:
        total, violation = tau * penalty, 0.0
        again = model.margins(neurons.scaled(tau)) if any(curved) else margins
        for terms, margin, new, curve in zip(model.terms, margins, again, curved, strict=True):
            shortfall = terms.offset - (new if curve else tau * margin)
            if terms.hard:
                violation = max(violation, float((shortfall / terms.offset).max()))
            else:
                total += float(terms.weight @ terms.loss.group_value(shortfall))
        return total, violation

    return value
