"""The box relaxation against cvxpy, exact arithmetic, brute force, closed forms and finite differences."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from convexadv.boxes import box_relaxation_minimum, dual, newton, relaxation
from convexadv.errors import InputError


def random_problem(seed, n, d, m, tilt=1.0):
    """U, w, sign, g, radius; ``tilt`` is the size of the linear terms."""
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((m, d)) / np.sqrt(d)
    sign = rng.choice([-1.0, 1.0], n)
    return U, rng.standard_normal(m), sign, tilt * rng.standard_normal((n, d)), rng.uniform(0.1, 2.0, n)


def dense(U, w):
    return (U.T * w) @ U if w.ndim == 1 else U.T @ w @ U


def matrices(U, w, sign, curvature=None):
    """The matrix of every row, (n, d, d)."""
    shift = 0.0 if curvature is None else np.broadcast_to(curvature, sign.shape)[:, None, None]
    return sign[:, None, None] * dense(U, w) + shift * np.eye(U.shape[1])


def relative_gap(result):
    return (result.upper - result.value) / np.maximum(1, abs(result.value))


def dual_matrices(result, matrix, g, radius):
    """[[t, g'], [g, A + diag(lam)]] at the t for which the dual function's claim is the reported value."""
    n, d = g.shape
    full = np.zeros((n, d + 1, d + 1))
    full[:, 0, 0] = -result.value - radius**2 * result.multipliers.sum(1)
    full[:, 0, 1:] = full[:, 1:, 0] = g
    full[:, 1:, 1:] = matrix + result.multipliers[:, :, None] * np.eye(d)
    return full


def assert_sound(result, matrix, g, radius):
    """The multipliers are dual feasible at the reported value, in a matrix that this test builds itself."""
    assert (result.multipliers >= 0).all()
    assert (result.value <= result.upper).all()
    scaling = np.concatenate([np.ones((len(g), 1)), np.repeat(radius[:, None], g.shape[1], 1)], 1)
    scaled = dual_matrices(result, matrix, g, radius) * scaling[:, :, None] * scaling[:, None]
    size = np.sqrt((scaled**2).sum((1, 2)))
    assert (np.linalg.eigvalsh(scaled)[:, 0] >= -1e-13 * size).all()


def assert_moments(result, matrix, g, radius):
    """G_jj <= r^2, and ``upper`` is the objective of the moments."""
    second = result.mean[:, :, None] * result.mean[:, None] + np.einsum("nki,nkj->nij", result.factors, result.factors)
    assert (np.einsum("nii->ni", second) <= (radius**2 * (1 + 1e-12))[:, None]).all()
    objective = (matrix * second).sum((1, 2)) + 2 * (g * result.mean).sum(1)
    size = (abs(matrix) * radius[:, None, None] ** 2).sum((1, 2)) + (abs(g) * radius[:, None]).sum(1)
    assert (abs(objective - result.upper) <= 1e-13 * size).all()


def shor(A, g, radius, solver):
    """The Shor relaxation by cvxpy."""
    cp = pytest.importorskip("cvxpy")
    d = len(g)
    Y = cp.Variable((d + 1, d + 1), PSD=True)
    cost = cp.trace(A @ Y[1:, 1:]) + 2 * g @ Y[0, 1:]
    problem = cp.Problem(cp.Minimize(cost), [Y[0, 0] == 1, cp.diag(Y)[1:] <= radius**2])
    options = {"eps_abs": 1e-8, "eps_rel": 1e-8, "max_iters": 50000} if solver == "SCS" else {}
    problem.solve(solver=solver, **options)
    return problem.value


@pytest.mark.parametrize(("solver", "tolerance"), [("CLARABEL", 2e-7), ("SCS", 1e-5)])
@pytest.mark.parametrize("seed", range(24))
def test_relaxation_agrees_with_conic_solvers(seed, solver, tolerance):
    n, d, m = 2, 2 + seed % 7, 1 + seed % 5
    U, w, sign, g, radius = random_problem(seed, n, d, m, tilt=(1.0, 0.1, 0.0)[seed % 3])
    curvature = None if seed % 2 else np.array([0.0, 0.7])
    if seed % 4 == 3:
        w = w[:, None] * w + np.diag(w)
    result = box_relaxation_minimum(U, w, sign, g, radius, curvature)
    for i, A in enumerate(matrices(U, w, sign, curvature)):
        reference = shor(A, g[i], radius[i], solver)
        size = max(1.0, abs(reference))
        assert result.value[i] <= reference + tolerance * size
        assert result.upper[i] >= reference - tolerance * size
        assert result.upper[i] - result.value[i] <= 1e-8 * size


def box_minimum(A, g, radius):
    """The true minimum: the best of the stationary points on all faces of the box."""
    d = len(g)
    best = 0.0
    for face in itertools.product((-radius, 0.0, radius), repeat=d):
        point = np.array(face)
        free = point == 0.0
        if free.any():
            slope = g[free] + A[np.ix_(free, ~free)] @ point[~free]
            point[free] = np.linalg.lstsq(A[np.ix_(free, free)], -slope, rcond=None)[0]
            if (abs(point) > radius * (1 + 1e-12)).any():
                continue
        best = min(best, point @ A @ point + 2 * g @ point)
    return best


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_value_is_below_the_box_minimum(d):
    U, w, sign, g, radius = random_problem(d, 40, d, 3, tilt=0.3)
    result = box_relaxation_minimum(U, w, sign, g, radius)
    true = np.array([box_minimum(*row) for row in zip(matrices(U, w, sign), g, radius, strict=True)])
    assert (result.value <= true).all()
    rank_one = abs(result.factors).sum((1, 2)) < 1e-7
    assert rank_one.any()
    np.testing.assert_allclose(result.value[rank_one], true[rank_one], atol=1e-7)
    if d == 1:
        np.testing.assert_allclose(result.value, true, atol=1e-8)


@pytest.mark.parametrize("curvature", [None, 0.3])
def test_separable_quadratics_are_exact(curvature):
    rng = np.random.default_rng(3)
    n, d = 60, 7
    a, sign, radius = rng.standard_normal(d), rng.choice([-1.0, 1.0], n), rng.uniform(0.1, 2, n)
    g = rng.standard_normal((n, d))
    result = box_relaxation_minimum(np.eye(d), a, sign, g, radius, curvature)
    curve = sign[:, None] * a + (curvature or 0.0)
    bound = radius[:, None] + 0 * g
    inner = np.where(curve > 0, np.clip(-g / np.where(curve > 0, curve, 1), -bound, bound), -np.sign(g) * bound)
    exact = curve * inner**2 + 2 * g * inner
    np.testing.assert_allclose(result.value, exact.sum(1), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(result.mean, inner, atol=1e-4)


def test_convex_rows_solve_the_box_least_squares_problem():
    U, w, _, g, radius = random_problem(4, 12, 6, 6)
    U, w = 3 * U, abs(w) + 0.1
    result = box_relaxation_minimum(U, w, 1.0, g, radius)
    root = np.sqrt(w)[:, None] * U
    for i in range(12):
        fit = lsq_linear(root, -np.linalg.solve(root.T, g[i]), (-radius[i], radius[i]), tol=1e-14)
        value = fit.x @ dense(U, w) @ fit.x + 2 * g[i] @ fit.x
        assert result.value[i] == pytest.approx(value, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("nodes", [5, 7, 9])
def test_odd_cycle_has_the_known_relaxation(nodes):
    ring = np.roll(np.eye(nodes), 1, 0)
    result = box_relaxation_minimum(np.eye(nodes), ring + ring.T, 1.0, np.zeros((1, nodes)), 1.0)
    assert result.value[0] == pytest.approx(-2 * nodes * np.cos(np.pi / nodes), rel=1e-8)


SHAPES = [(400, 3, 2, 1.0), (400, 8, 4, 0.3), (400, 12, 12, 0.1), (400, 20, 5, 1.0), (300, 30, 10, 0.1)]
LOW_RANK = [(100, 60, 4, 0.3), (60, 90, 8, 0.03), (20, 200, 10, 1.0)]


@pytest.mark.parametrize(("n", "d", "m", "tilt"), SHAPES + LOW_RANK)
def test_value_is_sound_and_tight(n, d, m, tilt):
    U, w, sign, g, radius = random_problem(n + d + m, n, d, m, tilt)
    curvature = np.where(np.arange(n) % 3 == 0, 0.2, 0.0)
    result = box_relaxation_minimum(U, w, sign, g, radius, curvature)
    matrix = matrices(U, w, sign, curvature)
    assert_sound(result, matrix, g, radius)
    assert_moments(result, matrix, g, radius)
    gap = relative_gap(result)
    assert gap.max() <= 1e-8


@pytest.mark.parametrize("max_steps", [2, 40])
@pytest.mark.parametrize(("n", "d", "m", "tilt"), SHAPES + LOW_RANK)
def test_boxes_with_sides_of_their_own_are_sound(n, d, m, tilt, max_steps):
    """As the unit box of the problem in the units of the sides, some of which are zero."""
    n = min(n, 15)
    U, w, sign, g, radius = random_problem(4, n, d, m, tilt)
    rng = np.random.default_rng(4)
    sides = radius[:, None] * rng.uniform(0.1, 1.0, (n, d)) * (rng.random((n, d)) > 0.1)
    result = box_relaxation_minimum(U, w, sign, g, sides, max_steps=max_steps, fallback=max_steps == 40)
    scaled = sides[:, :, None] * matrices(U, w, sign) * sides[:, None]
    in_units = result._replace(multipliers=result.multipliers * sides**2)
    assert_sound(in_units, scaled, sides * g, np.ones(n))
    if max_steps == 40:
        assert np.quantile(relative_gap(result), 0.9) <= 1e-8


@pytest.mark.parametrize("max_steps", [0, 1, 5])
def test_value_is_sound_before_convergence(max_steps):
    for n, d, m, tilt in SHAPES[1:3] + LOW_RANK[:1]:
        U, w, sign, g, radius = random_problem(d, n, d, m, tilt)
        result = box_relaxation_minimum(U, w, sign, g, radius, max_steps=max_steps, fallback=False)
        matrix = matrices(U, w, sign)
        assert_sound(result, matrix, g, radius)
        assert_moments(result, matrix, g, radius)


@pytest.mark.parametrize(("n", "d", "m", "tilt"), [*SHAPES[:3], (20, 60, 4, 0.3)])
def test_interior_point_method_agrees(n, d, m, tilt):
    """With one Newton step a round nearly all rows are solved by the fallback: same values, sound, tight."""
    n = min(n, 40)
    U, w, sign, g, radius = random_problem(d, n, d, m, tilt)
    expected = box_relaxation_minimum(U, w, sign, g, radius, fallback=False)
    result = box_relaxation_minimum(U, w, sign, g, radius, max_steps=1)
    matrix = matrices(U, w, sign)
    assert_sound(result, matrix, g, radius)
    assert_moments(result, matrix, g, radius)
    np.testing.assert_allclose(result.value, expected.value, rtol=1e-8, atol=1e-8)
    assert relative_gap(result).max() <= 1e-8


def is_positive_semidefinite(matrix):
    """Exact, by elimination in rational numbers."""
    matrix = [row[:] for row in matrix]
    size = len(matrix)
    for i in range(size):
        if matrix[i][i] < 0 or (matrix[i][i] == 0 and any(matrix[i][i:])):
            return False
        if matrix[i][i] == 0:
            continue
        for j in range(i + 1, size):
            ratio = matrix[j][i] / matrix[i][i]
            for k in range(i + 1, size):
                matrix[j][k] -= ratio * matrix[i][k]
    return True


@pytest.mark.parametrize(("n", "d", "m", "tilt"), [(25, 5, 3, 0.3), (15, 6, 6, 1.0), (15, 9, 1, 0.2), (8, 14, 2, 0.5)])
def test_multipliers_are_feasible_in_exact_arithmetic(n, d, m, tilt):
    U, w, sign, g, radius = random_problem(d, n, d, m, tilt)
    result = box_relaxation_minimum(U, w, sign, g, radius)
    exact = np.vectorize(Fraction, otypes=[object])
    A = exact(U).T @ (exact(w)[:, None] * exact(U))
    for i in range(n):
        lam = exact(result.multipliers[i])
        matrix = np.empty((d + 1, d + 1), object)
        matrix[0, 0] = -Fraction(result.value[i]) - Fraction(radius[i]) ** 2 * lam.sum()
        matrix[0, 1:] = matrix[1:, 0] = exact(g[i])
        matrix[1:, 1:] = Fraction(sign[i]) * A
        for j in range(d):
            matrix[j + 1, j + 1] += lam[j]
        assert is_positive_semidefinite(matrix.tolist())


def test_low_rank_proof_of_the_shift_agrees_with_the_dense_one(monkeypatch):
    """The inertia test accepts nothing that the eigenvalues of the whole matrix reject, and is not idle."""
    U, w, sign, g, radius = random_problem(5, 300, 60, 4, 0.1)
    seen = []
    original = relaxation.dual_bound

    def recorded(rows, lam, corner, goal):
        for wrong in (0.0, 1e-10, 1e-6, 1e-2):
            lowered = lam.clip(0.0) * (1 - wrong)
            shift, _, proven = dual._low_rank_shift(rows, lowered, corner, goal)
            least = np.linalg.eigvalsh(dual.dual_matrix(rows, lowered, corner))[:, 0]
            seen.append((wrong, proven.mean(), (least + shift)[proven].min(initial=1.0)))
        return original(rows, lam, corner, goal)

    monkeypatch.setattr(relaxation, "dual_bound", recorded)
    box_relaxation_minimum(U, w, sign, g, radius)
    assert all(least >= -1e-14 for _, _, least in seen)
    assert seen[0][1] > 0.9
    assert seen[3][1] == 0.0


def special_cases():
    """Name and arguments of the awkward places."""
    rng = np.random.default_rng(9)
    n, d, m = 30, 10, 4
    U, w, sign, g, radius = random_problem(8, n, d, m)
    some = U.copy()
    some[:, ::2] = 0
    quiet = g.copy()
    quiet[:, ::4] = 0
    pairs = np.repeat(U[:, ::2], 2, 1)
    scales = 10 ** rng.uniform(-3, 3, d)
    corners = rng.choice([-1.0, 1.0], (n, d))
    loose = rng.choice([0.0, 1.0], (n, d)) * rng.random((n, d))
    yield "no linear term", (U, w, sign, 0 * g, radius)
    yield "zero matrix", (U, 0 * w, sign, g, radius)
    yield "zero everything", (U, 0 * w, sign, 0 * g, radius)
    yield "no neurons", (U[:0], w[:0], sign, g, radius)
    yield "positive semidefinite", (U, abs(w), np.ones(n), g, radius)
    yield "negative semidefinite", (U, abs(w), -np.ones(n), g, radius)
    yield "convex, nearly flat", (U, abs(w), np.ones(n), 0.001 * g, radius)
    yield "convex, very nearly flat", (U[:1], abs(w[:1]), np.ones(n), 1e-4 * g, 10 * radius)
    yield (
        "no strict complementarity",
        (U, abs(w), np.ones(n), -corners @ dense(U, abs(w)) - loose * corners, np.ones(n)),
    )
    yield "rank one", (U[:1], w[:1], sign, 0.1 * g, radius)
    yield "one coordinate", (U[:, :1], w, sign, g[:, :1], radius)
    yield "features without influence", (some, w, sign, quiet, radius)
    yield "equal columns", (pairs, w, sign, np.repeat(g[:, ::2], 2, 1), radius)
    yield "equal rows", (U, w, np.ones(n), g[:1] + 0 * g, np.ones(n))
    yield "columns of very different size", (U * scales, w, sign, g * scales, radius)
    yield "coefficients of very different size", (U, w * 10.0 ** np.arange(-6, 6, 3), sign, g, radius)
    yield "radii of very different size", (U, w, sign, g, 10 ** rng.uniform(-8, 4, n))
    yield "integers", (np.sign(U), np.sign(w), sign, np.sign(quiet), np.ones(n))
    yield "stationary corners", (U, w, np.ones(n), -corners @ dense(U, w), np.ones(n))
    yield "more neurons than coordinates", (np.tile(U, (5, 1)), np.tile(w, 5), sign, g, radius)


@pytest.mark.parametrize("arguments", [pytest.param(case, id=name) for name, case in special_cases()])
def test_awkward_places(arguments):
    U, w, sign, g, radius = arguments
    result = box_relaxation_minimum(*arguments)
    matrix = matrices(U, w, sign)
    assert_sound(result, matrix, g, radius)
    assert_moments(result, matrix, g, radius)
    assert relative_gap(result).max() <= 1e-8


def test_rows_of_radius_zero_and_features_without_influence():
    U, w, sign, g, radius = random_problem(2, 8, 6, 3)
    radius[::2] = 0.0
    U[:, 1] = 0.0
    g[:, 1] = 0.0
    result = box_relaxation_minimum(U, w, sign, g, radius)
    for array in (result.value, result.upper, result.mean, result.factors, result.multipliers):
        assert not array[::2].any()
    assert (result.value[1::2] < 0).all()
    assert not result.mean[:, 1].any()
    assert not result.factors[:, :, 1].any()


def test_one_row_does_not_depend_on_the_others(monkeypatch):
    U, w, sign, g, radius = random_problem(6, 50, 12, 5, 0.2)
    whole = box_relaxation_minimum(U, w, sign, g, radius)
    monkeypatch.setattr(relaxation, "BLOCK_SIZE", 7 * 4 * 12)
    parts = box_relaxation_minimum(U, w, sign, g, radius)
    np.testing.assert_allclose(parts.value, whole.value, rtol=1e-8)
    alone = box_relaxation_minimum(U, w, sign[3], g[3:4], radius[3])
    np.testing.assert_allclose(alone.value, whole.value[3:4], rtol=1e-8)
    again = box_relaxation_minimum(U, w, sign, g, radius)
    assert all((a == b).all() for a, b in zip(again, parts, strict=True))


def test_units_of_the_features_do_not_matter():
    U, w, sign, g, radius = random_problem(7, 20, 8, 4, 0.3)
    reference = box_relaxation_minimum(U, w, sign, g, radius)
    scaled = box_relaxation_minimum(U / 50, 3 * w, sign, 3 * g / 50, 50 * radius)
    np.testing.assert_allclose(scaled.value, 3 * reference.value, rtol=1e-7)
    assert not len(box_relaxation_minimum(U, w, 1.0, g[:0], 0.5).value)


def test_torch_gives_what_numpy_gives():
    torch = pytest.importorskip("torch")
    for n, d, m, tilt in ((40, 9, 4, 0.3), (10, 60, 3, 0.3)):
        problem = random_problem(d, n, d, m, tilt)
        expected = box_relaxation_minimum(*problem, curvature=0.1)
        tensors = [torch.from_numpy(array) for array in problem]
        tensors[0].requires_grad_()
        on_host = box_relaxation_minimum(*tensors, curvature=0.1)
        arguments = relaxation._checked(*tensors, 0.1)
        in_torch = relaxation._relaxation(arguments, None, 1e-9, 40, False)
        warm = relaxation._relaxation(arguments, in_torch.state, 1e-9, 40, False)
        interior = relaxation._relaxation(arguments, None, 1e-9, 1, True)
        for result in (on_host, in_torch, warm, interior):
            assert all(isinstance(array, torch.Tensor) and array.dtype == torch.float64 for array in result)
            np.testing.assert_allclose(result.value.numpy(), expected.value, rtol=1e-8, atol=1e-9)
            np.testing.assert_allclose(result.upper.numpy(), expected.upper, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(in_torch.mean.numpy(), expected.mean, atol=1e-5)
        single = box_relaxation_minimum(*(array.float() for array in tensors), curvature=0.1)
        np.testing.assert_allclose(single.value.numpy(), expected.value, rtol=1e-4, atol=1e-4)


def test_moments_are_the_derivatives():
    U, w, sign, g, radius = random_problem(11, 6, 7, 3, 0.5)
    result = box_relaxation_minimum(U, w, sign, g, radius, tol=1e-11)
    second = result.mean[:, :, None] * result.mean[:, None] + np.einsum("nki,nkj->nij", result.factors, result.factors)
    by_w = sign[:, None] * np.einsum("md,nde,me->nm", U, second, U)
    by_U = 2 * sign[:, None, None] * w[:, None] * (U @ second)
    step = 1e-5

    def slope(U_change=0.0, w_change=0.0, g_change=0.0):
        ends = [
            box_relaxation_minimum(
                U + h * U_change,
                w + h * w_change,
                sign,
                g + h * g_change,
                radius,
                warm_start=result.state,
                tol=1e-11,
            ).value
            for h in (step, -step)
        ]
        return (ends[0] - ends[1]) / (2 * step)

    for j in range(3):
        np.testing.assert_allclose(slope(w_change=np.eye(3)[j]), by_w[:, j], atol=1e-5)
    for j in range(7):
        np.testing.assert_allclose(slope(g_change=np.eye(7)[j]), 2 * result.mean[:, j], atol=1e-5)
    direction = np.random.default_rng(0).standard_normal(U.shape)
    np.testing.assert_allclose(slope(U_change=direction), (by_U * direction).sum((1, 2)), atol=1e-5)


@pytest.fixture
def work(monkeypatch):
    """A list that counts the rows of every operator application."""
    counts = []
    original = newton.Rows.product
    monkeypatch.setattr(
        newton.Rows, "product", lambda self, points: counts.append(len(points)) or original(self, points)
    )
    return counts


def test_warm_start_saves_work(work):
    U, w, sign, g, radius = random_problem(12, 100, 20, 6, 0.3)
    cold = box_relaxation_minimum(U, w, sign, g, radius)
    cold_work = sum(work)
    work.clear()
    near = box_relaxation_minimum(U, w * (1 + 1e-4), sign, g, radius, warm_start=cold.state)
    assert sum(work) < 0.4 * cold_work
    work.clear()
    same = box_relaxation_minimum(U, w, sign, g, radius, warm_start=cold.state)
    assert sum(work) < 0.1 * cold_work
    np.testing.assert_allclose(same.value, cold.value, rtol=1e-8)
    assert relative_gap(near).max() <= 1e-8


@pytest.mark.parametrize("tilt", [1.0, 0.1])
def test_a_misleading_start_does_not_change_the_answer(tilt):
    U, w, sign, g, radius = random_problem(13, 60, 12, 5, tilt)
    reference = box_relaxation_minimum(U, w, sign, g, radius)
    corner = box_relaxation_minimum(U, 0 * w, sign, g, radius).state
    interior = 0 * corner
    interior[:, 0] = 1.0
    for start in (corner, interior, box_relaxation_minimum(U, -w, sign, -g, radius).state):
        result = box_relaxation_minimum(U, w, sign, g, radius, warm_start=start)
        np.testing.assert_allclose(result.value, reference.value, rtol=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"U": np.ones((2, 4))}, "shape"),
        ({"w": np.ones(3)}, "w has shape"),
        ({"sign": np.zeros(5)}, "sign"),
        ({"sign": np.ones(4)}, "sign has shape"),
        ({"radius": -np.ones(5)}, "negative"),
        ({"curvature": -1.0}, "negative"),
        ({"g": np.full((5, 3), np.nan)}, "not finite"),
        ({"warm_start": np.ones((5, 3))}, "warm_start"),
    ],
)
def test_bad_input_is_one_sentence(changes, message):
    arguments = {"U": np.ones((2, 3)), "w": np.ones(2), "sign": 1.0, "g": np.ones((5, 3)), "radius": 1.0}
    with pytest.raises(InputError, match=message):
        box_relaxation_minimum(**(arguments | changes))
