"""The S-procedure oracle against bisection in extended precision, a semidefinite programme and brute force."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from convexadv.quadratics import ball_minimum, smooth_ball_minimum, sphere_extremes

LONG = np.longdouble
KINDS = (
    "random",
    "hard",
    "nearly hard",
    "repeated eigenvalues",
    "repeated and hard",
    "no gradient",
    "no curvature",
    "convex",
    "semidefinite",
    "scales of rows",
    "scales of coordinates",
    "some radii zero",
)


def cases(kind, n, p, seed=0):
    """Curvatures, gradients and radii of one kind."""
    rng = np.random.default_rng([KINDS.index(kind), n, p, seed])
    B, g, r = rng.standard_normal((n, p)), rng.standard_normal((n, p)), rng.exponential(size=n)
    flattest = np.arange(n), B.argmin(1)
    if kind == "hard":
        g[flattest] = 0.0
        r *= rng.choice([0.01, 1.0, 100.0], n)
    elif kind == "nearly hard":
        g[flattest] *= 10.0 ** rng.uniform(-30, 0, n)
        r *= rng.choice([1.0, 10.0, 100.0], n)
    elif kind.startswith("repeated"):
        B, g = (rng.integers(-1, 2, (n, p)).astype(float) for _ in range(2))
        if kind == "repeated and hard":
            g[B.min(1, keepdims=True) == B] = 0.0
            r *= 10
    elif kind == "no gradient":
        g[:] = 0.0
    elif kind == "no curvature":
        B[:] = 0.0
    elif kind == "convex":
        B = np.abs(B)
        r *= rng.choice([0.1, 1.0, 100.0], n)
    elif kind == "semidefinite":
        B = np.maximum(B, 0.0)
        g[B == 0] = 0.0
    elif kind == "scales of rows":
        B, g = (part * 10.0 ** rng.uniform(-40, 40, (n, 1)) for part in (B, g))
        r *= 10.0 ** rng.uniform(-20, 20, n)
    elif kind == "scales of coordinates":
        B, g = (part * 10.0 ** rng.uniform(-12, 12, (n, p)) for part in (B, g))
        r *= 10.0 ** rng.uniform(-6, 6, n)
    elif kind == "some radii zero":
        r[::2] = 0.0
    return B, g, r


def bisected(B, g, r, sphere=False):
    """Minimum from the dual function, its maximiser found by bisection in extended precision."""
    B, g, r = (array.astype(LONG) for array in (B, g, r))
    base = -B.min(1) if sphere else np.maximum(-B.min(1), 0)
    gaps = B + base[:, None]

    def moved(shift):
        denominator = gaps + shift[:, None]
        return np.divide(g, denominator, out=np.where(g == 0, 0, LONG(np.inf) * np.ones_like(g)), where=denominator > 0)

    def norm(shift):
        return np.sqrt((moved(shift) ** 2).sum(1))

    low, high = 0 * r, np.sqrt((g * g).sum(1)) / np.where(r > 0, r, 1)
    high = np.where((norm(low) <= r) | (r == 0), 0, high)
    while True:
        middle = (low + high) / 2
        if ((middle == low) | (middle == high)).all():
            break
        far = norm(middle) > r
        low, high = np.where(far, middle, low), np.where(far, high, middle)
    value = -(g * moved(high)).sum(1) - (base + high) * r * r
    return np.where(r > 0, value, 0)


def size_of(B, g, r):
    """The scale of a case, in which rounding errors are measured."""
    return np.abs(g).max(1) * r + np.abs(B).max(1) * r**2 + 1e-300


@pytest.mark.parametrize("sphere", [False, True])
@pytest.mark.parametrize("p", [1, 2, 3, 6, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_minimum_is_exact(kind, p, sphere):
    """120 settings of 200 rows: value, feasible minimiser and multiplier; each proves the others."""
    B, g, r = cases(kind, 200, p)
    if sphere:
        B, g, r = B[r > 0], g[r > 0], r[r > 0]
    result, size = ball_minimum(B, g, r, sphere=sphere), size_of(B, g, r)
    reference = bisected(B, g, r, sphere)
    assert (np.abs(result.value - reference) <= 1e-14 * size).all()
    norm = np.sqrt((result.point**2).sum(1))
    assert (norm <= r * (1 + 1e-15)).all()
    if sphere:
        assert (norm >= r * (1 - 1e-14)).all()
    reached = (B.astype(LONG) * result.point**2 + 2 * g * result.point).sum(1)
    assert (np.abs(reached - reference) <= 1e-14 * size).all()
    lowest = -np.inf if sphere else 0.0
    assert (result.multiplier >= lowest).all()
    assert ((B.min(1) + result.multiplier) * r**2 >= -1e-15 * size).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_point_of_the_ball_is_lower(kind):
    B, g, r = cases(kind, 60, 3, seed=1)
    rng = np.random.default_rng(0)
    points = rng.standard_normal((4000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points *= np.where(np.arange(4000) % 2 == 0, 1.0, rng.random(4000) ** (1 / 3))[:, None]
    reach = points[None] * r[:, None, None]
    values = (B[:, None] * reach**2 + 2 * g[:, None] * reach).sum(-1)
    result, size = ball_minimum(B, g, r), size_of(B, g, r)
    assert (values.min(1) >= result.value - 1e-15 * size).all()
    if kind == "random":
        assert (values.min(1) <= result.value + 0.03 * size).all()


def test_the_s_procedure_is_lossless():
    """The largest w for which the matrix inequality of a row holds, by cvxpy, on 36 rows of three kinds."""
    Q, g = cp.Parameter((3, 3), symmetric=True), cp.Parameter((3, 1))
    multiplier, w = cp.Variable(nonneg=True), cp.Variable((1, 1))
    matrix = cp.bmat([[multiplier * np.eye(3) + Q, g], [g.T, -w - multiplier]])
    model = cp.Problem(cp.Maximize(cp.sum(w)), [0.5 * (matrix + matrix.T) >> 0])
    rng = np.random.default_rng(0)
    for kind in ("random", "hard", "convex"):
        B, gradients, r = cases(kind, 12, 3)
        values = ball_minimum(B * r[:, None] ** 2, gradients * r[:, None], np.ones(12)).value
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        for i, value in enumerate(values):
            scale = size_of(B, gradients, r)[i]
            Q.value = turn @ np.diag(B[i] * r[i] ** 2 / scale) @ turn.T
            g.value = (turn @ gradients[i] * r[i] / scale)[:, None]
            model.solve("CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
            assert model.value == pytest.approx(value / scale, abs=2e-8)


def test_value_is_homogeneous_and_derivative_is_the_point():
    B, g, r = cases("random", 300, 4)
    base = ball_minimum(B, g, r)
    for factor in (1e-100, 1e-8, 1e8, 1e100):
        scaled = ball_minimum(factor * B, factor * g, r)
        np.testing.assert_allclose(scaled.value / factor, base.value, rtol=1e-13)
    step = 1e-6
    for j in range(4):
        move = step * np.eye(4)[j]
        slope = (ball_minimum(B, g + move, r).value - ball_minimum(B, g - move, r).value) / (2 * step)
        np.testing.assert_allclose(slope, 2 * base.point[:, j], atol=1e-4)
        bend = (ball_minimum(B + move, g, r).value - ball_minimum(B - move, g, r).value) / (2 * step)
        np.testing.assert_allclose(bend, base.point[:, j] ** 2, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sphere", [False, True])
def test_ball_minimum_in_torch(kind, sphere):
    arrays = cases(kind, 100, 4, seed=2)
    first = ball_minimum(*arrays, sphere=sphere)
    second = ball_minimum(*map(torch.as_tensor, arrays), sphere=sphere)
    size = size_of(*arrays)
    assert (np.abs(first.value - second.value.numpy()) <= 1e-14 * size).all()
    np.testing.assert_allclose(second.point.norm(dim=1).numpy(), np.linalg.norm(first.point, axis=1), rtol=1e-9)


def test_no_dimensions_and_no_rows():
    empty = ball_minimum(np.zeros((3, 0)), np.zeros((3, 0)), np.ones(3))
    np.testing.assert_array_equal(empty.value, 0.0)
    assert empty.point.shape == (3, 0)
    none = ball_minimum(np.zeros((0, 2)), np.zeros((0, 2)), np.ones(0))
    assert none.value.shape == (0,)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("scales")])
@pytest.mark.parametrize("nu", [1e-9, 1e-3, 1.0])
def test_smoothed_minimum_is_the_maximum_of_its_barrier_function(kind, nu):
    """Against a ternary search on the multiplier; its derivatives are a moment of the ball."""
    B, g, r = cases(kind, 60, 3)
    B, g, r = B[r > 0], g[r > 0], r[r > 0]
    result, size = smooth_ball_minimum(B, g, r, nu), size_of(B, g, r) + nu
    flattest = B.min(1, keepdims=True)

    def barrier(logarithm):
        shift = np.exp(logarithm.astype(LONG))
        gaps, t = (
            B - flattest + (shift + np.maximum(flattest[:, 0], 0))[:, None],
            shift + np.maximum(-flattest[:, 0], 0),
        )
        logs = np.log(gaps * (r * r)[:, None] / nu).sum(1) + np.log(t * r * r / nu)
        return -(g * g / gaps).sum(1) - t * r * r + nu * logs

    low, high = np.full(len(r), -60.0), np.full(len(r), 45.0)
    for _ in range(120):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        rising = barrier(first) < barrier(second)
        low, high = np.where(rising, first, low), np.where(rising, high, second)
    assert (np.abs(result.value - barrier(low)) <= 1e-14 * size).all()
    assert (np.abs(result.value - ball_minimum(B, g, r).value) <= 200 * nu).all()
    assert (result.spread >= 0).all()
    assert ((result.mean**2 + result.spread).sum(1) <= r * r * (1 + 1e-14)).all()
    if nu < 1e-6:
        return  # too sharp for differences
    for j in range(3):
        move = 1e-3 * (nu / r)[:, None] * np.eye(3)[j]
        up, down = (smooth_ball_minimum(B, g + sign * move, r, nu).value for sign in (1, -1))
        np.testing.assert_allclose((up - down) / 4e-3 / nu, result.mean[:, j] / r, atol=1e-3)
        move = move / r[:, None]
        up, down = (smooth_ball_minimum(B + sign * move, g, r, nu).value for sign in (1, -1))
        second = result.mean[:, j] ** 2 + result.spread[:, j]
        np.testing.assert_allclose((up - down) / 2e-3 / nu, second / r**2, atol=1e-3)


def test_smoothed_minimum_without_dimensions():
    assert (smooth_ball_minimum(np.zeros((3, 0)), np.zeros((3, 0)), np.ones(3), 0.1).value <= 0).all()


def spheres(seed):
    """A random quadratic on the sphere; a tenth each of degenerate and badly scaled kinds."""
    rng = np.random.default_rng(seed)
    d = int(rng.choice([1, 2, 3, 6, 20, 60], p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05]))
    A, g, s = rng.standard_normal((d, d)), rng.standard_normal(d), rng.standard_normal()
    A, kind = 0.5 * (A + A.T), seed % 10
    if kind == 1:
        A = 1e-12 * A
    elif kind == 2:
        g = 1e-14 * g
    elif kind == 3:  # no pull along either end of the spectrum
        vectors = np.linalg.eigh(A)[1]
        g = vectors[:, 1:-1] @ (vectors[:, 1:-1].T @ g)
    elif kind == 4:
        A = rng.choice([-1, 1]) * np.outer(g, g)
    elif kind == 5:
        A = 0.0 * A
    elif kind == 6:
        A = rng.standard_normal() * np.eye(d)
    elif kind == 7:
        g = 0.0 * g
    elif kind == 8:
        vectors = np.linalg.eigh(A)[1]
        half = max(1, d // 2)
        A, g = vectors[:, :half] @ vectors[:, :half].T, vectors[:, half:] @ (vectors[:, half:].T @ g)
    elif kind == 9:
        A, g, s = (part * 10.0 ** rng.uniform(-30, 30) for part in (A, g, s))
    return 0.5 * (A + A.T), g, np.float64(s)


def climbed(A, g, s, u):
    """The largest quadratic value found from u by ascent in extended precision."""
    A, g, u = A.astype(LONG), g.astype(LONG), u.astype(LONG)
    shift, best = np.abs(A).sum(1).max(), LONG(-np.inf)
    for _ in range(30):
        u = u / np.sqrt((u * u).sum())
        best = max(best, u @ A @ u + 2 * (g @ u))
        step = A @ u + g + shift * u
        if not (step * step).sum() > 0:
            break
        u = step
    return best + LONG(s)


def test_sphere_extremes_bound_from_above_and_are_tight():
    rng = np.random.default_rng(0)
    for seed in range(700):
        A, g, s = spheres(seed)
        result = sphere_extremes(A, g, s, candidates=2)
        np.testing.assert_allclose(np.linalg.norm(result.directions, axis=1), 1.0, rtol=1e-12)
        starts = list(zip(result.signs, result.directions, strict=True))
        starts += [(sign, rng.standard_normal(len(g))) for sign in (1, -1) for _ in range(2)]
        best = max(climbed(sign * A, sign * g, sign * s, u) for sign, u in starts)
        assert LONG(result.value) >= best
        size = np.abs(A).max() + np.linalg.norm(g) + abs(s) + 1e-300
        assert result.value - result.values[:2].max() <= 1e-9 * size
        reached = [sign * (u @ A @ u + 2 * g @ u + s) for sign, u in zip(result.signs, result.directions, strict=True)]
        np.testing.assert_allclose(result.values, reached, atol=1e-13 * size * len(g))


def test_sphere_extremes_in_torch_and_in_the_plane():
    angle = np.linspace(0, 2 * np.pi, 20001)
    circle = np.c_[np.cos(angle), np.sin(angle)]
    for seed in range(200):
        rng = np.random.default_rng(seed)
        A, g, s = rng.standard_normal((2, 2)), rng.standard_normal(2), rng.standard_normal()
        A = A + A.T
        value = float(sphere_extremes(A, g, np.float64(s)).value)
        values = np.abs(((circle @ A) * circle).sum(1) + 2 * circle @ g + s)
        assert values.max() <= value <= values.max() + 1e-6
        tensor = sphere_extremes(*(torch.as_tensor(part, dtype=torch.float64) for part in (A, g, s)))
        assert float(tensor.value) == pytest.approx(value, rel=1e-13)
