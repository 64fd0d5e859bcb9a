"""Minima of diagonal quadratics on balls and on spheres, exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._arrays import Array, namespace, rows_in_numpy

NEWTON_STEPS = 60
_NORM_TOLERANCE = 2e-15
START_ROUNDING = 1e-14
_NEGLIGIBLE = 1e-150  # of a coefficient beside the largest one: its square underflows


class BallMinimum(NamedTuple):
    """Result of :func:`ball_minimum`."""

    value: Array
    """(n,) minimum, evaluated from the dual side: never above the true one but for rounding."""
    point: Array
    """(n, p) a minimiser inside the ball."""
    multiplier: Array
    """(n,) multiplier of the ball."""


@rows_in_numpy
def ball_minimum(curvature: Array, gradient: Array, radius: Array, sphere: bool = False) -> BallMinimum:
    r"""Minimise many diagonal quadratics on balls, or on spheres, exactly.

    value_i = min { sum_j B_ij e_j^2 + 2 g_ij e_j  :  ||e||_2 <= r_i }
            = max { -sum_j g_ij^2/(B_ij + t) - t r_i^2  :  t >= max(0, -min_j B_ij) }

    The maximiser t solves ||e(t)|| = r with e_j = -g_j/(B_j + t), or lies at the left end: inside the ball (t = 0), or in
    the degenerate case (t = -min B), where a multiple of the flattest direction fills the ball. Newton's method on
    1/||e(t)|| - 1/r, started left of the root, converges monotonically.

    Parameters
    ----------
    curvature : (n, p)
        B, of any sign.
    gradient : (n, p)
        g, half the linear coefficient.
    radius : (n,)
        r >= 0, in the units of e.
    sphere : bool
        Minimise on ||e|| = r instead: t may be negative.

    Returns
    -------
    BallMinimum
        value (n,), point (n, p), multiplier (n,).
    """
    xp = namespace(gradient)
    if gradient.shape[1] == 0:
        return BallMinimum(gradient.sum(-1), gradient, 0.0 * radius)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found = _ball_minimum(curvature, gradient, radius, sphere, xp)
        odd = ~xp.isfinite(found.value)
        if not bool(odd.any()):
            return found
        again = _in_own_units(curvature[odd], gradient[odd], radius[odd], sphere, xp)
    for whole, part in zip(found, again, strict=True):
        whole[odd] = part
    return found


def _in_own_units(curvature: Array, gradient: Array, radius: Array, sphere: bool, xp) -> BallMinimum:
    """The same in units of the radius and of the largest coefficient, for rows whose squares overflow or underflow."""
    B, g = curvature * radius[:, None] * radius[:, None], gradient * radius[:, None]
    size = xp.maximum(xp.amax(xp.abs(B), -1), xp.amax(xp.abs(g), -1))
    unit = xp.where((size > 0) & xp.isfinite(size), size, xp.ones_like(size))[:, None]
    B, g = (xp.where(xp.abs(part) > _NEGLIGIBLE * unit, part / unit, 0.0 * unit) for part in (B, g))
    found = _ball_minimum(B, g, xp.ones_like(size), sphere, xp)
    unit = unit[:, 0]
    return BallMinimum(found.value * unit, found.point * radius[:, None], found.multiplier * unit / radius / radius)


def _ball_minimum(curvature: Array, gradient: Array, radius: Array, sphere: bool, xp) -> BallMinimum:
    inside = radius > 0
    radius = xp.where(inside, radius, xp.ones_like(radius))
    base = -xp.amin(curvature, -1)
    if not sphere:
        base = xp.clip(base, 0.0, None)
    curvature = curvature + base[:, None]  # from here on t = base + shift, without cancellation in B + t
    shift, point, norm = _secular_root(curvature, gradient, radius, xp)
    value = (gradient * point).sum(-1) - (base + shift) * radius * radius
    if sphere or bool((base > 0).any()):
        needed = (shift <= 0) & (norm < radius) & (inside if sphere else base > 0)
        point = _fill_degenerate(curvature, gradient, point, norm, radius, needed, xp)
        norm = xp.sqrt((point * point).sum(-1))
    shrink = xp.where(norm > radius, radius / xp.where(norm > 0, norm, xp.ones_like(norm)), xp.ones_like(norm))
    point = point * xp.where(inside, shrink, 0.0 * shrink)[:, None]
    zero = 0.0 * value
    return BallMinimum(xp.where(inside, value, zero), point, xp.where(inside, base + shift, zero))


def _secular_root(curvature: Array, gradient: Array, radius: Array, xp) -> tuple[Array, Array, Array]:
    """Smallest shift >= 0 with ||g/(C + shift)|| <= r for curvatures C >= 0; the point and its norm with it."""
    whole = xp.sqrt(xp.einsum("ij,ij->i", gradient, gradient)) / radius - xp.amax(curvature, -1)
    whole = xp.where(xp.isfinite(whole), whole, 0.0 * radius)  # squares overflow before the entries do
    left = xp.amax(xp.abs(gradient) / radius[:, None] - curvature, -1)
    shift = xp.clip(xp.maximum(left, whole * (1.0 - START_ROUNDING)), 0.0, None)
    for _ in range(NEWTON_STEPS):
        denominator = curvature + shift[:, None]
        inverse = 1.0 / denominator if bool((shift > 0).all()) else ratio(1.0 + 0.0 * denominator, denominator, xp)
        point = gradient * inverse
        norm2 = xp.einsum("ij,ij->i", point, point)
        norm = xp.sqrt(norm2)
        excess = norm / radius - 1.0
        slope = xp.einsum("ij,ij->i", point * point, inverse)
        moved = shift + xp.where(excess > _NORM_TOLERANCE, excess * ratio(norm2, slope, xp), 0.0 * norm)
        if not bool((moved > shift).any()):
            break
        shift = moved
    return shift, -point, norm


def ratio(numerator: Array, denominator: Array, xp) -> Array:
    """numerator / denominator where that is positive, else zero."""
    positive = denominator > 0
    if bool(positive.all()):
        return numerator / denominator
    return xp.where(positive, numerator, 0.0 * numerator) / xp.where(positive, denominator, xp.ones_like(denominator))


def _fill_degenerate(curvature, gradient, point, norm, radius, needed, xp) -> Array:
    """With room left in the ball, move along the flattest direction to the boundary."""
    if not bool(needed.any()):
        return point
    flattest = xp.argmin(curvature, -1)
    columns = xp.arange(point.shape[1], device=point.device) if xp.__name__ == "torch" else xp.arange(point.shape[1])
    here = columns[None, :] == flattest[:, None]
    along = xp.where(here, point, 0.0 * point).sum(-1)
    uphill = xp.where(here, gradient, 0.0 * gradient).sum(-1)
    room = xp.clip((radius - norm) * (radius + norm) + along * along, 0.0, None)
    filled = xp.where(uphill > 0, -xp.sqrt(room), xp.sqrt(room))
    return xp.where(here & needed[:, None], filled[:, None], point)
