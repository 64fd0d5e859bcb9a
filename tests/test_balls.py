import cvxpy as cp
import numpy as np
import pytest
import torch

from convexadv import InputError, balls

CASES = [("l1", None), ("l2", None), ("linf", None), ("l2", np.array([0.5, 2.0, 0.0, 1.0, 0.01, 30.0]))]
IDS = ["l1", "l2", "linf", "ellipsoid"]
D = 6

cases = pytest.mark.parametrize(("norm", "scale"), CASES, ids=IDS)


def reference_norm(delta, norm, scale):
    """The gauge of one vector, written out."""
    if scale is not None:
        if (delta[scale == 0] != 0).any():
            return np.inf
        return np.sqrt(((delta[scale > 0] / scale[scale > 0]) ** 2).sum())
    return {"l1": np.abs(delta).sum(), "l2": np.sqrt((delta**2).sum()), "linf": np.abs(delta).max()}[norm]


def constraint(z, norm, scale, radius):
    if scale is None:
        return [cp.norm(z, {"l1": 1, "l2": 2, "linf": "inf"}[norm]) <= radius]
    moving = scale > 0
    return [cp.norm(cp.multiply(1 / scale[moving], z[moving])) <= radius, z[~moving] == 0]


def conic_projection(delta, constraints, z):
    cp.Problem(cp.Minimize(cp.sum_squares(z - delta)), constraints).solve(solver="CLARABEL")
    return z.value


def sphere_points(rng, n, norm, scale, radius):
    """Points on the boundary of the ball, corners and faces among them."""
    points = rng.standard_normal((n, D)) * (rng.random((n, D)) < 0.5)
    points[:, 0] += 1e-3
    if scale is not None:
        points = points * scale
    return np.stack([radius * point / reference_norm(point, norm, scale) for point in points])


@cases
def test_projection_equals_the_conic_solution(norm, scale):
    rng = np.random.default_rng(0)
    deltas = rng.standard_normal((6, D)) * [[0.1], [1], [1], [3], [3], [10]]
    radii = np.array([1.0, 0.3, 1.0, 1.0, 2.5, 0.7])
    projected = balls.project(deltas, radii, norm, scale)
    for delta, radius, point in zip(deltas, radii, projected, strict=True):
        z = cp.Variable(D)
        expected = conic_projection(delta, constraint(z, norm, scale, radius), z)
        # the objective is what the solver is accurate in
        assert np.sum((point - delta) ** 2) <= np.sum((expected - delta) ** 2) + 1e-6
        np.testing.assert_allclose(point, expected, atol=2e-4)


@cases
def test_projection_satisfies_its_variational_inequality(norm, scale):
    rng = np.random.default_rng(1)
    for size in (1e-3, 1.0, 1e3):
        deltas = rng.standard_normal((50, D)) * size
        radius = 0.7
        projected = balls.project(deltas, radius, norm, scale)
        lengths = np.array([reference_norm(point, norm, scale) for point in projected])
        assert (lengths <= radius * (1 + 1e-12)).all()
        points = sphere_points(rng, 200, norm, scale, radius)
        products = (deltas - projected) @ points.T - ((deltas - projected) * projected).sum(1)[:, None]
        assert products.max() <= 1e-9 * max(1.0, size)


@cases
def test_points_inside_stay_and_projection_is_idempotent(norm, scale):
    rng = np.random.default_rng(2)
    deltas = rng.standard_normal((20, D)) if scale is None else rng.standard_normal((20, D)) * scale
    large = np.array([reference_norm(delta, norm, scale) for delta in deltas]) * 1.01
    np.testing.assert_array_equal(balls.project(deltas, large, norm, scale), deltas)
    once = balls.project(deltas, 0.3 * large, norm, scale)
    assert np.abs(once - deltas).max() > 1e-3
    np.testing.assert_allclose(balls.project(once, 0.3 * large, norm, scale), once, rtol=1e-12, atol=1e-13)


@cases
def test_radius_zero_gives_zero(norm, scale):
    deltas = np.random.default_rng(3).standard_normal((4, D))
    np.testing.assert_array_equal(balls.project(deltas, 0.0, norm, scale), np.zeros((4, D)))
    mixed = balls.project(deltas, np.array([0.0, 1.0, 0.0, 1.0]), norm, scale)
    assert (np.abs(mixed).sum(1) > 0).tolist() == [False, True, False, True]


@cases
def test_support_is_attained_by_its_closed_form_maximiser(norm, scale):
    rng = np.random.default_rng(4)
    directions = rng.standard_normal((10, D))
    radii = rng.random(10) + 0.1
    values = balls.support(directions, radii, norm, scale)
    for direction, radius, value in zip(directions, radii, values, strict=True):
        if norm == "linf":
            best = radius * np.sign(direction)
        elif norm == "l1":
            best = radius * np.sign(direction) * (np.abs(direction) == np.abs(direction).max())
        else:
            axes = np.ones(D) if scale is None else scale
            best = radius * axes**2 * direction / np.linalg.norm(axes * direction)
        assert reference_norm(best, norm, scale) == pytest.approx(radius, rel=1e-12)
        assert direction @ best == pytest.approx(value, rel=1e-12)
        assert (sphere_points(rng, 100, norm, scale, radius) @ direction).max() <= value * (1 + 1e-12)


@cases
def test_gauge_is_the_norm(norm, scale):
    deltas = np.random.default_rng(5).standard_normal((10, D))
    if scale is not None:
        deltas[:5] *= scale  # the other half leaves the fixed feature and has an infinite gauge
    expected = [reference_norm(delta, norm, scale) for delta in deltas]
    np.testing.assert_allclose(balls.gauge(deltas, norm, scale), expected, rtol=1e-13)


@cases
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_and_numpy_agree_and_keep_the_dtype(norm, scale, dtype):
    deltas = np.random.default_rng(6).standard_normal((8, D)).astype(dtype)
    radii = np.linspace(0, 3, 8)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for function in (balls.project, balls.support):
        ours = function(deltas, radii, norm, scale)
        theirs = function(torch.from_numpy(deltas), torch.from_numpy(radii), norm, scale)
        assert ours.dtype == dtype
        assert theirs.dtype == torch.from_numpy(deltas).dtype
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=tolerance, atol=tolerance)


def test_more_leading_dimensions_are_separate_balls():
    deltas = np.random.default_rng(7).standard_normal((3, 4, D))
    radii = np.random.default_rng(8).random((3, 4))
    for norm in balls.NORMS:
        together = balls.project(deltas, radii, norm)
        apart = balls.project(deltas.reshape(12, D), radii.reshape(12), norm)
        np.testing.assert_array_equal(together.reshape(12, D), apart)


def random_box(rng, n, d):
    low, high = -rng.random((n, d)), rng.random((n, d))
    low[rng.random((n, d)) < 0.2] = 0
    high[rng.random((n, d)) < 0.2] = np.inf
    return low, high


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_projection_on_ball_and_box_equals_the_conic_solution(norm):
    rng = np.random.default_rng(9)
    deltas = rng.standard_normal((8, D)) * 2
    low, high = random_box(rng, 8, D)
    radii = np.linspace(0.2, 2.0, 8)
    points = balls.project_in_box(deltas, radii, norm, low, high)
    for i in range(8):
        z = cp.Variable(D)
        finite = np.isfinite(high[i])
        inside = [z >= low[i], z[finite] <= high[i][finite], *constraint(z, norm, None, radii[i])]
        expected = conic_projection(deltas[i], inside, z)
        assert np.sum((points[i] - deltas[i]) ** 2) <= np.sum((expected - deltas[i]) ** 2) + 1e-6
        np.testing.assert_allclose(points[i], expected, atol=2e-4)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("d", [1, 3, 400])
def test_projection_on_ball_and_box_is_feasible_and_optimal(library, d):
    rng = np.random.default_rng(d)
    deltas = rng.standard_normal((200, d)) * rng.choice([0.0, 0.1, 1.0, 10.0], (200, d))
    low, high = random_box(rng, 200, d)
    radii = rng.random(200) * np.sqrt(d) * 0.3
    arrays = [deltas, radii, low, high]
    if library == "torch":
        arrays = [torch.from_numpy(array) for array in arrays]
    points = np.asarray(balls.project_in_box(arrays[0], arrays[1], "l2", arrays[2], arrays[3]))
    assert (points >= low).all()
    assert (points <= high).all()
    lengths = np.linalg.norm(points, axis=1)
    assert (lengths <= radii * (1 + 1e-12)).all()
    # Bisection on the one multiplier of the ball, the box being separable, is the independent solution.
    t_low, t_high = np.zeros((200, 1)), np.ones((200, 1))
    for _ in range(200):
        t = 0.5 * (t_low + t_high)
        fits = np.linalg.norm(np.clip(t * deltas, low, high), axis=1, keepdims=True) <= radii[:, None]
        t_low, t_high = np.where(fits, t, t_low), np.where(fits, t_high, t)
    expected = np.clip(deltas, low, high)
    outside = np.linalg.norm(expected, axis=1) > radii
    expected[outside] = np.clip(t_low * deltas, low, high)[outside]
    assert outside.any()
    np.testing.assert_allclose(points, expected, atol=1e-9)


LIBRARIES = pytest.mark.parametrize("library", ["numpy", "torch"])


def in_box(library, *arguments, dtype=np.float64):
    """The l2 projection, by arrays of one of the libraries."""
    arrays = [np.asarray(part, dtype) for part in arguments]
    if library == "torch":
        arrays = [torch.from_numpy(array) for array in arrays]
    delta, radius, low, high = arrays
    points = balls.project_in_box(delta, radius, "l2", low, high)
    assert points.dtype == delta.dtype
    return np.asarray(points)


@LIBRARIES
def test_special_balls_and_boxes(library):
    """No ball, no box, a box that is flat in some coordinates or everywhere, and points that lie inside of both."""
    rng = np.random.default_rng(10)
    deltas, radii = 2 * rng.standard_normal((30, D)), rng.random(30) + 0.1
    low, high = random_box(rng, 30, D)
    np.testing.assert_array_equal(in_box(library, deltas, np.zeros(30), low, high), np.zeros((30, D)))
    clipped = np.clip(deltas, low, high)
    np.testing.assert_array_equal(in_box(library, deltas, np.full(30, np.inf), low, high), clipped)
    lengths = np.linalg.norm(clipped, axis=1)
    np.testing.assert_array_equal(in_box(library, deltas, 1.001 * lengths, low, high), clipped)
    endless = np.full((30, D), np.inf)
    free = in_box(library, deltas, radii, -endless, endless)
    np.testing.assert_allclose(free, balls.project(deltas, radii, "l2"), rtol=1e-14)
    np.testing.assert_array_equal(in_box(library, deltas, radii, np.zeros(D), np.zeros(D)), np.zeros((30, D)))
    flat = np.arange(D) % 2 == 0  # the other coordinates are left with a ball of their own
    points = in_box(library, deltas, radii, np.where(flat, 0, -endless), np.where(flat, 0, endless))
    np.testing.assert_array_equal(points[:, flat], 0)
    np.testing.assert_allclose(points[:, ~flat], balls.project(deltas[:, ~flat], radii, "l2"), rtol=1e-14)
    assert in_box(library, np.zeros((0, D)), np.zeros(0), -np.ones(D), np.ones(D)).shape == (0, D)


@LIBRARIES
def test_ball_that_touches_corners_of_the_box(library):
    """The corner lies on the sphere: every coordinate is clipped and the ball holds with equality."""
    corner = np.array([[0.3, 0.4, 0.0], [0.3, 0.4, 1.2]])
    lengths = np.array([0.5, 1.3])
    np.testing.assert_allclose(in_box(library, 100 * corner, lengths, -corner, corner), corner, rtol=1e-12)
    inside = in_box(library, 100 * corner, 0.99 * lengths, -corner, corner)
    np.testing.assert_allclose(np.linalg.norm(inside, axis=1), 0.99 * lengths, rtol=1e-12)


@LIBRARIES
def test_single_precision_keeps_ball_and_box(library):
    rng = np.random.default_rng(11)
    deltas = rng.standard_normal((300, 50)) * 10.0 ** rng.uniform(-6, 6, (300, 1))
    low, high = (part.astype(np.float32) for part in random_box(rng, 300, 50))
    radii = (np.linalg.norm(np.clip(deltas, low, high), axis=1) * rng.random(300)).astype(np.float32)
    points = in_box(library, deltas, radii, low, high, dtype=np.float32)
    assert ((points >= low) & (points <= high)).all()
    assert (np.linalg.norm(points.astype(float), axis=1) <= radii * (1 + 1e-6)).all()
    expected = in_box(library, deltas, radii, low, high)
    assert (np.linalg.norm(points - expected, axis=1) <= 1e-5 * radii).all()


@LIBRARIES
def test_boxes_and_radii_of_several_rows_at_once(library):
    rng = np.random.default_rng(12)
    deltas, radii = rng.standard_normal((3, 4, D)), rng.random((3, 4))
    low, high = random_box(rng, 1, D)
    together = in_box(library, deltas, radii, low[0], high[0])
    apart = in_box(library, deltas.reshape(12, D), radii.reshape(12), low.repeat(12, 0), high.repeat(12, 0))
    np.testing.assert_array_equal(together.reshape(12, D), apart)
    one = in_box(library, deltas[0, 0], 0.5, low[0], high[0])
    many = in_box(library, deltas[:1, 0], np.full(1, 0.5), low, high)
    np.testing.assert_array_equal(one, many[0])


@pytest.mark.parametrize(("norm", "dual"), [("l1", "linf"), ("l2", "l2"), ("linf", "l1")])
def test_dual_norm_names(norm, dual):
    assert balls.dual_norm_name(norm) == dual


@pytest.mark.parametrize(
    "call",
    [
        lambda: balls.project(np.ones((2, 2)), 1.0, "l3"),
        lambda: balls.support(np.ones((2, 2)), 1.0, "L2"),
        lambda: balls.gauge(np.ones((2, 2)), None),
        lambda: balls.dual_norm_name("max"),
        lambda: balls.project_in_box(np.ones((2, 2)), 1.0, "l1", -np.ones(2), np.ones(2)),
        lambda: balls.check_norm("l1", ("l2", "linf")),
    ],
)
def test_unknown_norms_are_refused_in_a_sentence(call):
    with pytest.raises(InputError, match=r"norm must be .*, got .*\.$"):
        call()


@pytest.mark.parametrize("function", [balls.project, balls.support])
def test_a_scale_needs_the_l2_norm(function):
    with pytest.raises(InputError, match='needs norm="l2"'):
        function(np.ones((2, 2)), 1.0, "linf", np.ones(2))
