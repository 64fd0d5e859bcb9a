"""What the interior-point method takes, for a comparison with column generation before it is begun."""

from __future__ import annotations

from ....losses import HARD, HINGE, LOGISTIC, SQUARED, SQUARED_HINGE, WORST_SQUARED
from ....problems.polynomial import PolynomialProblem
from ....problems.terms import Component

_MOST, _LARGEST = 4e10, 6e6
"""Operations of a step (some 4 s of a core), and numbers in all matrices of one kind (1 GB), beyond which it is no method for
the problem."""
_STEPS, _CALLS = 30.0, 3e6
"""Usual steps, and what the interpreter takes of a step."""
_KNOWN = (HINGE, SQUARED_HINGE, LOGISTIC, SQUARED, WORST_SQUARED, HARD)


def operations(problem: PolynomialProblem, component: Component) -> float:
    """Floating-point operations of a solve, roughly; infinity where the method does not apply.

    It needs a penalty, a loss whose conjugate has a second derivative (own losses may not), and all rows in one process.
    """
    losses = [terms.loss for terms in component.terms]
    if problem.beta <= 0 or problem.together.size > 1 or any(loss not in _KNOWN for loss in losses):
        return float("inf")
    order, outputs = problem.rows.d + 1, len(component.outputs)
    count = order * (order + 1) / 2
    total, numbers = (2 * outputs * count) ** 3 / 3, 0.0
    for terms in component.terms:
        inequalities = terms.shape[0] * terms.shape[1]
        multipliers = (problem.rows.d if problem.norm == "linf" else 1) if terms.robust else 0
        total += inequalities * (2 * order**4 + 2 * multipliers * count**2 + 40 * order**3)
        total += 2 * terms.shape[1] * (outputs * count) ** 2
        numbers += inequalities * order**2
    return _STEPS * (total + _CALLS) if total <= _MOST and numbers <= _LARGEST else float("inf")
