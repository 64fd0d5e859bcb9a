"""Limited-memory BFGS on one flat tensor: smooth minimisation with few synchronisations."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

_ARMIJO = 1e-4
_NOTHING = 1e-200  # a product whose inverse, times a square, may overflow: the point is zero, or as good as zero
_CURVATURE = 1e-10
_SHORTENINGS = 25
_IDLE = 10
_ROUNDING = 1e-15


class Minimum(NamedTuple):
    """Where a minimisation ended."""

    point: Any
    value: float
    extra: Any
    """What the function returned beside value and gradient at ``point``."""
    evaluations: int
    stalled: bool
    """Whether no lower value was found: by a line search, or but for rounding in some steps."""


class Memory:
    """Pairs (step, change of gradient) of past iterations, most recent last."""

    def __init__(self, size: int = 30):
        self.size = size
        self.steps: list[Any] = []
        self.changes: list[Any] = []
        self.inverse: list[float] = []
        self.base: Callable[[Any], Any] | None = None
        """What H is before any pair, a symmetric positive definite map; a multiple of the identity if None."""

    def clear(self) -> None:
        """Forget every pair, not the base."""
        self.steps, self.changes, self.inverse = [], [], []

    def add(self, step: Any, change: Any) -> None:
        """Keep a pair if its curvature is safely positive."""
        product = float(step @ change)
        if product <= max(_CURVATURE * float(step.norm() * change.norm()), _NOTHING):
            return
        self.steps.append(step)
        self.changes.append(change)
        self.inverse.append(1.0 / product)
        if len(self.steps) > self.size:
            del self.steps[0], self.changes[0], self.inverse[0]

    def direction(self, gradient: Any) -> Any:
        """-H gradient by the two-loop recursion (Nocedal and Wright, algorithm 7.4)."""
        if not self.steps:
            return -gradient if self.base is None else -self.base(gradient)
        q, alphas = gradient.clone(), []
        for step, change, rho in zip(reversed(self.steps), reversed(self.changes), reversed(self.inverse), strict=True):
            alpha = rho * (step @ q)
            alphas.append(alpha)
            q -= alpha * change
        if self.base is None:
            q *= 1.0 / (self.inverse[-1] * (self.changes[-1] @ self.changes[-1]))
        else:
            q = self.base(q)
        for step, change, rho, alpha in zip(self.steps, self.changes, self.inverse, reversed(alphas), strict=True):
            q += step * (alpha - rho * (change @ q))
        return -q


def minimise(
    start: Any,
    max_evaluations: int,
    gradient_tolerance: float,
    memory: Memory,
    keep_going: Callable[[], bool] = lambda: True,
    base: Callable[[Any, Any], Generator[Any, Any, Any]] | None = None,
    renewal: float = math.inf,
) -> Generator[Any, Any, Minimum]:
    """Minimise a smooth function from ``start`` by L-BFGS with a backtracking line search (Nocedal and Wright, chapter 7).

    A generator: it yields points and is sent (value, gradient, extra), value a float, gradient a tensor shaped as the point.

    Parameters
    ----------
    start : tensor (N,)
    max_evaluations : int
    gradient_tolerance : float
        Stop when the gradient's Euclidean norm is below it.
    memory : Memory
        Pairs of earlier calls, used and extended.
    keep_going : callable
        Asked before every step; a false result ends the minimisation where it is.
    base : callable, optional
        From a point and the extra there to a generator that returns what the inverse Hessian starts from, see
        :class:`Memory`.
    renewal : float
        Evaluations after which it is asked again, and the pairs are forgotten.
    """
    x = start
    value, gradient, extra = yield x
    memory.base = None if base is None else (yield from base(x, extra))
    evaluations = built = 1
    norm = float(gradient.norm())
    lowest, idle = value, 0
    while norm > gradient_tolerance and evaluations < max_evaluations and keep_going():
        if base is not None and memory.base is not None and evaluations >= built + renewal:
            memory.clear()
            memory.base, built = (yield from base(x, extra)), evaluations
        direction = memory.direction(gradient)
        slope = float(direction @ gradient)
        if slope >= 0.0:
            memory.clear()
            direction, slope = -gradient, -norm * norm
        length = 1.0 if memory.steps or memory.base is not None else min(1.0, 0.1 * float(x.norm() + 1e-3) / norm)
        trial = None
        for _ in range(_SHORTENINGS):
            trial = yield x + length * direction
            evaluations += 1
            if trial[0] <= value + _ARMIJO * length * slope:
                break
            curvature = trial[0] - value - length * slope
            shorter = -0.5 * slope * length * length / curvature if curvature > 0 else 0.5 * length
            length = min(max(shorter, 0.1 * length), 0.5 * length)
        else:
            if memory.steps:
                memory.clear()
                continue
            return Minimum(x, value, extra, evaluations, True)
        step = length * direction
        memory.add(step, trial[1] - gradient)
        x, value, gradient, extra = x + step, trial[0], trial[1], trial[2]
        norm = float(gradient.norm())
        idle = 0 if value < lowest - _ROUNDING * abs(value) else idle + 1
        lowest = min(lowest, value)
        if idle == _IDLE:
            return Minimum(x, value, extra, evaluations, True)
    return Minimum(x, value, extra, evaluations, False)
