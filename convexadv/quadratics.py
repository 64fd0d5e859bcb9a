r"""Exact extremes of quadratics on balls and spheres: the S-procedure oracle.

One scalar secular equation a row, all rows at once. The oracle serves training, certificates and distances, in NumPy and
in torch. Sources: More and Sorensen (1983) for the equation, [KLP24] for its use in adversarial training.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._arrays import Array, namespace, rows_in_numpy

_NEWTON_STEPS = 60
_NORM_TOLERANCE = 2e-15
_START_ROUNDING = 1e-14
_NEGLIGIBLE = 1e-150  # of a coefficient beside the largest one: its square underflows
_FLAT = 1e-290  # a coefficient below it is none: quotients of denormal numbers are no numbers
_SMOOTH_TOLERANCE = 1e-9
_LEVEL_STEPS = 120
_LEVEL_TOLERANCE = 1e-14


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
    shift = xp.clip(xp.maximum(left, whole * (1.0 - _START_ROUNDING)), 0.0, None)
    for _ in range(_NEWTON_STEPS):
        denominator = curvature + shift[:, None]
        inverse = 1.0 / denominator if bool((shift > 0).all()) else _ratio(1.0 + 0.0 * denominator, denominator, xp)
        point = gradient * inverse
        norm2 = xp.einsum("ij,ij->i", point, point)
        norm = xp.sqrt(norm2)
        excess = norm / radius - 1.0
        slope = xp.einsum("ij,ij->i", point * point, inverse)
        moved = shift + xp.where(excess > _NORM_TOLERANCE, excess * _ratio(norm2, slope, xp), 0.0 * norm)
        if not bool((moved > shift).any()):
            break
        shift = moved
    return shift, -point, norm


def _ratio(numerator: Array, denominator: Array, xp) -> Array:
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
        point = -_ratio(gradient, flat + shift[:, None], xp)
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
    point = _ratio(gradient, divisor, xp)  # not its square first: that of a small gradient underflows
    square = point * point
    return (gradient * point).sum(-1) + t * square.sum(-1), 2.0 * t * _ratio(square, divisor, xp).sum(-1)


def _one_term(curvature, flat, gradient, level, xp) -> Array:
    """Largest shift >= 0 (n,) at which a single term of F is ``level`` (n,)."""
    size, level = abs(gradient), level[:, None]
    inner = size * size - level * curvature
    divisor = size * (size + xp.sqrt(xp.clip(inner, 0.0, None))) / level
    return xp.clip(xp.amax(xp.where(inner >= 0, divisor - flat, 0.0 * flat), -1), 0.0, None)


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
    whole = xp.sqrt(square.sum(-1)) / radius * (1.0 - _START_ROUNDING) - xp.amax(curvature, -1)
    whole = xp.where(xp.isfinite(whole), whole, 0.0 * radius)
    left = xp.clip(xp.maximum(xp.maximum(xp.amax(need, -1), whole), nu / ball - base), 0.0, None)
    shift = left if start is None else xp.maximum(left, start - base)
    for _ in range(_NEWTON_STEPS):
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


class SphereMaximum(NamedTuple):
    """Result of :func:`sphere_extremes`."""

    value: Array
    """Largest |u'Au + 2 g'u + s| over unit u, an upper bound that allows for rounding."""
    directions: Array
    """(k, d) unit vectors, the maximiser of each sign first, then further stationary candidates."""
    signs: Array
    """(k,) +1 where the quadratic is large and positive at the direction, -1 where it is large and negative."""
    values: Array
    """(k,) sign * quadratic at the direction."""


def sphere_extremes(matrix: Array, vector: Array, constant: Array, candidates: int = 0) -> SphereMaximum:
    r"""kappa = max over ||u||_2 = 1 of |u'Au + 2 g'u + s|, certified from above.

    For every mu strictly above the largest eigenvalue, mu + g'(mu I - A)^{-1}g + s bounds the quadratic from above; mu is
    the root of the secular equation, moved right by the backward error of the eigendecomposition.

    Parameters
    ----------
    matrix : (d, d)
        A, symmetric.
    vector : (d,)
        g.
    constant : scalar array
        s.
    candidates : int
        How many further directions (signed eigenvectors) to report beside the two maximisers.

    Returns
    -------
    SphereMaximum
    """
    xp = namespace(matrix)
    d = matrix.shape[0]
    eigenvalues, vectors = xp.linalg.eigh(matrix)
    rotated = vectors.T @ vector
    eps = float(xp.finfo(matrix.dtype).eps)
    error = (
        4.0
        * eps
        * (d**0.5 * xp.sqrt((eigenvalues * eigenvalues).sum()) + xp.sqrt((vector * vector).sum()) + xp.abs(constant))
    )
    both = xp.stack([-eigenvalues, eigenvalues])
    pulls = xp.stack([-rotated, rotated])
    best = ball_minimum(both, pulls, xp.ones_like(both[:, 0]), sphere=True)
    # the bound at mu + 2 error with eigenvalues moved up by error: both moves only increase it
    gaps = xp.clip(both + best.multiplier[:, None] + error, 0.0, None) + xp.where(
        error > 0, 0.0 * error, error + 1e-300
    )
    bounds = best.multiplier + 2.0 * error + (pulls * _ratio(pulls, gaps, xp)).sum(-1)
    value = xp.amax(bounds + xp.stack([constant, -constant]) + error, 0)
    directions, signs = best.point @ vectors.T, xp.stack([1.0 + 0.0 * constant, -1.0 + 0.0 * constant])
    if candidates:
        extra, extra_signs = _eigen_candidates(eigenvalues, vectors, rotated, candidates, xp)
        directions, signs = xp.concatenate([directions, extra]), xp.concatenate([signs, extra_signs])
    values = signs * (((directions @ matrix) * directions).sum(-1) + 2.0 * directions @ vector + constant)
    return SphereMaximum(value, directions, signs, values)


def _eigen_candidates(eigenvalues, vectors, rotated, candidates, xp):
    """Eigenvectors of the ends of the spectrum, turned to the side where the linear term helps."""
    count = min(candidates, eigenvalues.shape[0])
    side = xp.where(rotated < 0, -1.0 + 0.0 * rotated, 1.0 + 0.0 * rotated)
    top, bottom = (vectors * side).T[-count:], (-vectors * side).T[:count]
    signs = xp.concatenate([1.0 + 0.0 * eigenvalues[-count:], -1.0 + 0.0 * eigenvalues[:count]])
    return xp.concatenate([top, bottom]), signs
