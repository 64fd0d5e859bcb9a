"""Minima on balls with a term that makes them differentiable."""

from __future__ import annotations

from typing import NamedTuple

from .._arrays import Array, namespace, rows_in_numpy
from .ball import NEWTON_STEPS, START_ROUNDING

_SMOOTH_TOLERANCE = 1e-9


class SmoothMinimum(NamedTuple):
    """Result of :func:`smooth_ball_minimum`: a moment of perturbations in place of a point."""

    value: Array
    """(n,) smoothed minimum."""
    mean: Array
    """(n, p) derivative of the value with respect to 2 g."""
    spread: Array
    """(n, p) variances: mean^2 + spread is the derivative with respect to B; sums to at most r^2 - ||mean||^2."""
    multiplier: Array
    """(n,) the maximiser t, a start for similar problems."""


@rows_in_numpy
def smooth_ball_minimum(
    curvature: Array, gradient: Array, radius: Array, nu: float, start: Array | None = None
) -> SmoothMinimum:
    r"""The minimum over the ball smoothed by the barrier of its S-procedure inequality.

    Adding nu log det of the matrix inequality to the dual of :func:`ball_minimum` leaves one scalar equation a row,

        max over t of  -sum_j g_j^2/(B_j + t) - t r^2 + nu (sum_j log((B_j + t) r^2/nu) + log(t r^2/nu)),
        r^2 = sum_j g_j^2/(B_j + t)^2 + nu sum_j 1/(B_j + t) + nu/t,

    smooth in (B, g) everywhere, the degenerate case and B = g = 0 included. Its derivatives are a moment of points of the
    ball: mean e_j = -g_j/(B_j + t) and variances nu/(B_j + t), which in the degenerate case are the two-sided spread that a
    tight certificate needs. The smoothed value differs from the minimum by nu times the order of the inequality, up to a
    logarithm. (The barrier: Nesterov and Nemirovskii 1994; the reduction to one variable: the Schur complement of
    the inequality is nu at the maximum.)

    Parameters
    ----------
    curvature, gradient : (n, p)
    radius : (n,)
    nu : float
        Positive weight of the barrier, in units of the value.
    start : (n,), optional
        Multipliers of a similar problem.
    """
    xp = namespace(gradient)
    if gradient.shape[1] == 0:
        return SmoothMinimum(gradient.sum(-1), gradient, gradient, 0.0 * radius)
    inside = radius > 0
    radius = xp.where(inside, radius, xp.ones_like(radius))
    base = xp.clip(-xp.amin(curvature, -1), 0.0, None)
    curvature = curvature + base[:, None]
    ball = radius * radius
    need = xp.maximum(xp.abs(gradient) / radius[:, None], (nu / ball)[:, None]) - curvature
    square = gradient * gradient
    whole = xp.sqrt(square.sum(-1)) / radius * (1.0 - START_ROUNDING) - xp.amax(curvature, -1)
    whole = xp.where(xp.isfinite(whole), whole, 0.0 * radius)
    left = xp.clip(xp.maximum(xp.maximum(xp.amax(need, -1), whole), nu / ball - base), 0.0, None)
    shift = left if start is None else xp.maximum(left, start - base)
    for _ in range(NEWTON_STEPS):
        inverse, slack = 1.0 / (curvature + shift[:, None]), nu / (base + shift)
        own = square * inverse * inverse
        size = own.sum(-1) + nu * inverse.sum(-1) + slack
        turn = 2.0 * xp.einsum("ij,ij->i", own, inverse) + nu * xp.einsum("ij,ij->i", inverse, inverse)
        slope = turn + slack * slack / nu
        # Newton on size^(-1/2), concave and increasing: monotone from the left, and one step from the right lands left
        moved = xp.maximum(left, shift + 2.0 * size / slope * (xp.sqrt(size / ball) - 1.0))
        settled = bool((xp.abs(moved - shift) <= _SMOOTH_TOLERANCE * (moved + nu / ball)).all())
        shift = moved
        if settled:
            break
    t = base + shift
    inverse = 1.0 / (curvature + shift[:, None])
    mean, spread = -gradient * inverse, nu * inverse
    barrier = -xp.log(inverse * (nu / ball)[:, None]).sum(-1) + xp.log(t * ball / nu)
    value = (gradient * mean).sum(-1) - t * ball + nu * barrier
    kept = xp.where(inside, xp.ones_like(value), 0.0 * value)
    # rounding must not take the moment out of the ball
    excess = xp.clip(((mean * mean + spread).sum(-1)) / ball, 1.0, None)
    mean, spread = mean / xp.sqrt(excess)[:, None], spread / excess[:, None]
    return SmoothMinimum(value * kept, mean * kept[:, None], spread * kept[:, None], t)
