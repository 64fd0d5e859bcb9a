"""Fuzz cases of the oracles: quadratics on balls, spheres and boxes, projections on balls, losses.

Every bound is compared with points of its set, every point with the set, every minimum with the value at its point. A
draw is one call with many rows; a case is a row of it.
"""

from __future__ import annotations

import numpy as np

from benchmarks.fuzz_tally import Draw, Tally, numbers, radii, sizes, unit_points
from convexadv.balls import NORMS, gauge, project, project_in_box, support
from convexadv.boxes import box_relaxation_minimum
from convexadv.losses import get_loss
from convexadv.quadratics import ball_minimum, level_distance, smooth_ball_minimum, sphere_extremes

_ROWS, _POINTS = 256, 24
_TINY = 1e-290
_ORDERS = {"l1": 1, "l2": 2, "linf": np.inf}


def _quadratic(B: np.ndarray, g: np.ndarray, e: np.ndarray) -> np.ndarray:
    return ((B * e + 2 * g) * e).sum(-1)


def balls_of_quadratics(rng: np.random.Generator, tally: Tally) -> None:
    """The minimum over a ball or a sphere, below every point of it, attained by its own point."""
    p, sphere = int(rng.integers(1, 9)), bool(rng.random() < 0.3)
    B, g, r = numbers(rng, (_ROWS, p)), numbers(rng, (_ROWS, p)), radii(rng, _ROWS)
    flat = rng.random(_ROWS) < 0.2  # the degenerate case: no slope along the flattest direction
    g[np.flatnonzero(flat), B[flat].argmin(1)] = 0.0
    found = ball_minimum(B, g, r, sphere=sphere)
    size = (abs(B) * r[:, None] ** 2).sum(1) + 2 * (abs(g) * r[:, None]).sum(1) + _TINY
    length = np.linalg.norm(found.point, axis=1)
    tally.expect(
        np.isfinite(found.value) & np.isfinite(found.point).all(1), "a minimum over a ball is not finite", B, g, r
    )
    tally.expect(length <= r * (1 + 1e-12) + _TINY, "the minimiser lies outside of the ball", length, r)
    own = _quadratic(B, g, found.point)
    tally.expect(found.value <= own + 1e-12 * size, "a minimum lies above its own point", found.value, own, B, g, r)
    tally.expect(
        own <= found.value + 1e-7 * size, "the minimiser does not attain the minimum", found.value, own, B, g, r
    )
    e = unit_points(rng, (_POINTS, _ROWS, p), inside=0.0 if sphere else 0.4)
    on = abs((e**2).sum(-1) - 1) < 1e-9 if sphere else np.ones(e.shape[:2], bool)
    values = np.where(on, _quadratic(B, g, r[:, None] * e), np.inf).min(0)
    tally.expect(
        found.value <= values + 1e-12 * size, "a point of the ball lies below the minimum", found.value, values, B, g, r
    )
    tally.count("ball_minimum", _ROWS)


def spheres(rng: np.random.Generator, tally: Tally) -> None:
    """The certified extreme of a quadratic on the unit sphere is above every unit vector, and nearly attained."""
    d = int(rng.integers(1, 8))
    A = numbers(rng, (1, d * d))[0].reshape(d, d)
    A = A + A.T if rng.random() < 0.8 else np.eye(d) * A[0, 0]
    g, s = numbers(rng, (1, d))[0], numbers(rng, (1,))[0]
    g = np.linalg.eigh(A)[1][:, : max(1, d - 1)] @ g[: max(1, d - 1)] if rng.random() < 0.3 else g
    found = sphere_extremes(A, g, np.asarray(s), candidates=int(rng.integers(0, 3)))
    size = abs(A).sum() + 2 * abs(g).sum() + abs(s) + _TINY
    u = rng.standard_normal((40, d))
    u = np.concatenate([u / np.linalg.norm(u, axis=1, keepdims=True), found.directions])
    values = abs(((u @ A) * u).sum(1) + 2 * u @ g + s)
    tally.expect(abs((found.directions**2).sum(1) - 1) < 1e-9, "a direction of sphere_extremes is no unit vector", A, g)
    tally.expect(
        values.max() <= found.value * (1 + 4e-16) + _TINY,
        "a unit vector lies above the extreme",
        values.max(),
        found.value,
        A,
        g,
        s,
    )
    tally.expect(
        found.value <= values.max() + 1e-6 * size,
        "the extreme is far above all vectors",
        values.max(),
        found.value,
        A,
        g,
        s,
    )
    tally.count("sphere_extremes")


def levels(rng: np.random.Generator, tally: Tally) -> None:
    """The distance to a level: its point reaches it, and no nearer point does."""
    p = int(rng.integers(1, 7))
    B, g = numbers(rng, (_ROWS, p), 6), numbers(rng, (_ROWS, p), 6)
    v = numbers(rng, (_ROWS, 1), 6)[:, 0]
    found = level_distance(B, g, v, 1e-14 * abs(v))
    there = np.isfinite(found.distance)
    length = np.linalg.norm(found.point, axis=1)
    tally.expect(found.distance[v <= 0] == 0, "a row that is there already has a distance", found.distance[v <= 0])
    tally.expect(abs(length - found.distance)[there] <= 1e-9 * length[there] + _TINY, "point and distance disagree")
    size = abs(v) + (abs(B) * found.point**2).sum(1) + 2 * abs(g * found.point).sum(1) + 1e-300
    rest = v + _quadratic(B, g, found.point)
    tally.expect((rest <= 1e-9 * size)[there & (v > 0)], "the nearest point is not at the level", rest[there & (v > 0)])
    step = np.where(there, found.distance, 10 * (1 + abs(v)))[:, None]
    e = 0.999999 * step * unit_points(rng, (_POINTS, _ROWS, p))
    lower = v + _quadratic(B, g, e)
    size = abs(v) + (abs(B) * e**2).sum(-1) + 2 * abs(g * e).sum(-1)
    tally.expect(
        ((lower > -1e-12 * size - _TINY) | (v <= 0)).all(0),
        "a nearer point is below the level",
        found.distance,
        v,
        B,
        g,
    )
    tally.count("level_distance", _ROWS)


def smoothed(rng: np.random.Generator, tally: Tally) -> None:
    """The moments of the smoothed minimum stay in their balls and cannot undercut the minimum."""
    p = int(rng.integers(1, 7))
    B, g, r = numbers(rng, (_ROWS, p), 6), numbers(rng, (_ROWS, p), 6), np.maximum(sizes(rng, _ROWS, 6), 1e-8)
    least = ball_minimum(B, g, r).value
    nu = float(sizes(rng, (), 6))
    found = smooth_ball_minimum(B, g, r, nu)
    size = (abs(B) * r[:, None] ** 2).sum(1) + 2 * (abs(g) * r[:, None]).sum(1) + nu
    tally.expect(
        np.isfinite(found.value) & np.isfinite(found.mean).all(1), "a smoothed minimum is not finite", B, g, r, nu
    )
    moment = (found.mean**2 + found.spread).sum(1)
    tally.expect(
        (found.spread >= 0).all(1) & (moment <= r**2 * (1 + 1e-12)), "a smoothed moment leaves its ball", moment, r
    )
    mean = (B * (found.mean**2 + found.spread) + 2 * g * found.mean).sum(1)
    tally.expect(mean >= least - 1e-9 * size, "a moment of the ball undercuts the minimum", mean, least, B, g, r, nu)
    tally.count("smooth_ball_minimum", _ROWS)


def boxes(rng: np.random.Generator, tally: Tally) -> None:
    """The relaxation over a box: below its own upper end, the corners and random points; multipliers not negative."""
    n, d, m = 24, int(rng.integers(1, 6)), int(rng.integers(0, 5))
    U, w = rng.standard_normal((m, d)) * sizes(rng, (), 4), numbers(rng, (m, 1), 6)[:, 0]
    g, r = numbers(rng, (n, d), 6), radii(rng, n, 4)
    sign = rng.choice([-1.0, 1.0], n)
    found = box_relaxation_minimum(U, w, sign, g, r)
    A = (U.T * w) @ U
    size = r**2 * abs(A).sum() + 2 * r * abs(g).sum(1) + _TINY
    whole = np.isfinite(found.value) & (found.multipliers >= 0).all(1)
    tally.expect(whole, "a box bound is not finite", g, r)
    tally.expect(
        found.value <= found.upper + 1e-12 * size, "a box bound is above its upper end", found.value, found.upper
    )
    second = found.mean**2 + (found.factors**2).sum(1)
    tally.expect((second <= (r**2)[:, None] * (1 + 1e-9) + _TINY).all(1), "moments leave their box", second, r)
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * d)).reshape(d, -1).T
    e = np.concatenate([np.repeat(corners[:, None], n, 1), unit_points(rng, (_POINTS, n, d), "linf")]) * r[:, None]
    values = (sign * ((e @ A) * e).sum(-1) + 2 * (g * e).sum(-1)).min(0)
    tally.expect(
        found.value <= values + 1e-12 * size, "a point of the box lies below the bound", found.value, values, r
    )
    tally.count("box_relaxation_minimum", n)


def projections(rng: np.random.Generator, tally: Tally) -> None:
    """Projections on balls: inside, fixed where they were inside, nearest; supports above all points of the ball."""
    d, norm = int(rng.integers(1, 9)), str(rng.choice(NORMS))
    x, r = numbers(rng, (_ROWS, d), 9), radii(rng, _ROWS, 9)
    scale = sizes(rng, d, 3) * (rng.random(d) < 0.8) if norm == "l2" and rng.random() < 0.3 else None
    scale = None if scale is None or not scale.any() else scale
    axes = np.ones(d) if scale is None else scale
    p = project(x, r, norm, scale)
    tally.expect(gauge(p, norm, scale) <= r * (1 + 1e-9) + _TINY, "a projection lies outside of its ball", x, r)
    z = r[:, None] * axes * unit_points(rng, (_POINTS, _ROWS, d), norm)
    inner = ((x - p) * (z - p)).sum(-1).max(0)
    size = (abs(x - p) * (abs(p) + r[:, None] * axes)).sum(1) + _TINY
    tally.expect(inner <= 1e-7 * size, "a point of the ball is nearer than the projection", inner, size, x, r)
    best = support(x, r, norm, scale)
    values = (x * z).sum(-1).max(0)
    tally.expect(values <= best * (1 + 1e-12) + _TINY, "a point of the ball lies above the support", values, best, x, r)
    if norm != "l1" and scale is None:
        low, high = -r[:, None] * rng.random((_ROWS, d)) * 2, r[:, None] * rng.random((_ROWS, d)) * 2
        q = project_in_box(x, r, norm, low, high)
        inside = ((q >= low) & (q <= high)).all(1) & (
            np.linalg.norm(q, _ORDERS[norm], axis=1) <= r * (1 + 1e-9) + _TINY
        )
        tally.expect(inside, "a projection leaves ball or box", x, r)
        tally.count("project_in_box", _ROWS)
    tally.count("project and support", _ROWS)


def losses(rng: np.random.Generator, tally: Tally) -> None:
    """Fenchel's inequality, with equality at the derivative, for every loss."""
    loss = get_loss(str(rng.choice(["hinge", "squared_hinge", "logistic", "squared"])))
    u = numbers(rng, (_ROWS, 1), 8)[:, 0]
    z = np.clip(abs(numbers(rng, (_ROWS, 1), 3)[:, 0]), 0, 1 if loss.name in ("hinge", "logistic") else 1e8)
    value, slope = loss.value(u), loss.derivative(u)
    size = 1 + abs(u * z) + abs(value)
    tally.expect(np.isfinite(value) & np.isfinite(slope), f"{loss.name} is not finite", u)
    tally.expect(value + loss.conjugate(z) >= u * z - 1e-12 * size, f"{loss.name} breaks Fenchel's inequality", u, z)
    touching = value + loss.conjugate(slope) - u * slope
    tally.expect(abs(touching) <= 1e-9 * (1 + abs(u * slope) + abs(value)), f"{loss.name} is not touched", u, touching)
    tally.count(f"loss {loss.name}", _ROWS)


KINDS: list[Draw] = [balls_of_quadratics, spheres, levels, smoothed, boxes, projections, losses]
"""Kinds of draws, in turn."""
