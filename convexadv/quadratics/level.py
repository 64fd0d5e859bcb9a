"""Nearest points at which a diagonal quadratic has a given value."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._arrays import Array, namespace, rows_in_numpy
from .ball import ratio

_FLAT = 1e-290  # a coefficient below it is none: quotients of denormal numbers are no numbers
_LEVEL_STEPS = 120
_LEVEL_TOLERANCE = 1e-14


class LevelDistance(NamedTuple):
    """Result of :func:`level_distance`."""

    distance: Array
    """(n,) distance, infinity where no point is low enough."""
    point: Array
    """(n, p) a nearest point; zero where there is none."""


@rows_in_numpy
def level_distance(curvature: Array, gradient: Array, level: Array, slack: Array) -> LevelDistance:
    r"""Distance from zero to where many diagonal quadratics are zero or less, exactly.

    distance_i^2 = min { ||e||^2 : v_i + q_i(e) <= 0 },    q_i(e) = sum_j B_ij e_j^2 + 2 g_ij e_j.

    One quadratic constraint has no duality gap: e = -g/(B + t) for the root t > max(0, -min_j B_j) of

        F(t) = sum_j g_j^2 (1/(B_j + t) + t/(B_j + t)^2) = -q(e(t)) = v,

    which falls in t, each term by itself. Terms that are v, or v/p, one by one bracket the root; Newton's method on
    F^(-1/2), with bisection, finds it. Without a root either min_j B_j < 0, the degenerate case, where a multiple of
    the flattest direction goes down the rest of the way, or the quadratic is bounded below by a positive number.

    Parameters
    ----------
    curvature : (n, p)
        B, of any sign.
    gradient : (n, p)
        g, half the linear coefficient.
    level : (n,)
        v, the value at zero; where it is not positive, the distance is zero.
    slack : (n,)
        A minimum of at most this counts as zero: quadratics that only touch it do so up to rounding.

    Returns
    -------
    LevelDistance
        distance (n,), point (n, p).
    """
    xp = namespace(gradient)
    if gradient.shape[1] == 0:
        return LevelDistance(xp.where(level <= slack, 0.0 * level, xp.inf + 0.0 * level), gradient)
    curvature, gradient = (xp.where(abs(part) > _FLAT, part, xp.zeros_like(part)) for part in (curvature, gradient))
    above = level > 0
    level = xp.where(above, level, xp.ones_like(level))
    base = xp.clip(-xp.amin(curvature, -1), 0.0, None)
    flat = curvature + base[:, None]  # from here on t = base + shift, without cancellation in B + t
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        shift, fall = _level_root(curvature, flat, gradient, base, level, xp)
        point = -ratio(gradient, flat + shift[:, None], xp)
    rest = xp.clip(level - fall, 0.0, None)  # zero where there is a root
    down = rest > 0
    needed = down & (base > 0)
    safe = xp.where(needed, base, xp.ones_like(base))
    filled = xp.sqrt(xp.where(needed, rest, 0.0 * rest) / safe)
    here = xp.argsort(xp.argsort(flat, -1), -1) == 0
    point = xp.where(here & needed[:, None], filled[:, None], point)
    distance = xp.sqrt((point * point).sum(-1))
    reached = ~down | needed | (rest <= slack)
    nothing = xp.zeros_like(distance)
    distance = xp.where(above, xp.where(reached, distance, xp.inf + nothing), nothing)
    return LevelDistance(distance, xp.where((above & reached)[:, None], point, xp.zeros_like(point)))


def _level_root(curvature, flat, gradient, base, level, xp) -> tuple[Array, Array]:
    """Root of F in the shift (n,), zero where there is none, and F there (n,): v itself at a root."""
    start = xp.zeros_like(base)
    fall, _ = _fall(gradient, flat, base, start, xp)
    steep = ((flat <= 0) & (gradient != 0)).any(-1)
    rooted = steep | (fall > level)
    low, high = (
        xp.where(rooted, _one_term(curvature, flat, gradient, part, xp), start)
        for part in (level, level / gradient.shape[1])
    )
    shift = low
    for step in range(_LEVEL_STEPS):
        value, slope = _fall(gradient, flat, base, shift, xp)
        value = xp.where(steep & (shift <= 0), xp.inf + value, value)
        low, high = xp.where(value >= level, shift, low), xp.where(value <= level, shift, high)
        settled = ~rooted | (abs(value / level - 1.0) <= _LEVEL_TOLERANCE) | (high - low <= 1e-16 * high)
        if bool(settled.all()):
            break
        moved = shift + 2.0 * value * (xp.sqrt(value / level) - 1.0) / slope
        middle = 0.5 * (low + high)
        usual = (moved > low) & (moved < high) & (step % 4 < 3)
        shift = xp.where(settled, shift, xp.where(usual, moved, middle))
    return shift, xp.where(rooted, level, fall)


def _fall(gradient, flat, base, shift, xp) -> tuple[Array, Array]:
    """F and minus its derivative, without the terms whose gradient is zero."""
    divisor, t = flat + shift[:, None], base + shift
    point = ratio(gradient, divisor, xp)  # not its square first: that of a small gradient underflows
    square = point * point
    return (gradient * point).sum(-1) + t * square.sum(-1), 2.0 * t * ratio(square, divisor, xp).sum(-1)


def _one_term(curvature, flat, gradient, level, xp) -> Array:
    """Largest shift >= 0 (n,) at which a single term of F is ``level`` (n,)."""
    size, level = abs(gradient), level[:, None]
    inner = size * size - level * curvature
    divisor = size * (size + xp.sqrt(xp.clip(inner, 0.0, None))) / level
    return xp.clip(xp.amax(xp.where(inner >= 0, divisor - flat, 0.0 * flat), -1), 0.0, None)
