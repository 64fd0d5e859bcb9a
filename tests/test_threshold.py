"""The zero-solution threshold against a direct semidefinite programme, closed forms and solved problems."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog

from convexadv.errors import InputError
from convexadv.problems import PolynomialProblem, threshold
from convexadv.problems.games import central_strategies
from convexadv.solvers import solve

A, B, C = ACTIVATION = (0.09, 0.5, 0.47)
N, D = 12, 3


def data(n=N, d=D, seed=0):
    rng = np.random.default_rng(seed)
    X = 0.5 * rng.standard_normal((n, d))
    y = np.where(X[:, 0] + 0.3 * X[:, -1] ** 2 + 0.3 * rng.standard_normal(n) > 0, 1, -1)
    return X, y, rng.integers(0, 3, n), X[:, 0] ** 2 + X[:, -1] - 0.2


X, Y, THREE, TARGET = data()
MIXED = np.where(np.arange(N) % 3 == 0, 0.0, 0.1 + 0.02 * np.arange(N))
WEIGHT = 1.0 + np.arange(N) % 4


def descent(pulls, d, outputs, norm="l2", scale=None):
    """max over networks of penalty 1 of sum weight * worst-case margin, row by row as a semidefinite programme.

    pulls: (weight, coefficients over outputs, row, radius) for every margin, the sign within the coefficients.
    """
    axes = np.diag(np.ones(d) if scale is None else scale)
    Z = [cp.Variable((d + 1, d + 1), PSD=True) for _ in range(2 * outputs)]
    constraints = [cp.trace(part[:d, :d]) == part[d, d] for part in Z]
    constraints.append(sum(part[d, d] for part in Z) <= 1)
    total = 0
    for weight, coefficients, x, radius in pulls:
        W = sum(c * (Z[2 * o] - Z[2 * o + 1]) for o, c in enumerate(coefficients) if c)
        value = A * cp.sum(cp.multiply(np.outer(x, x), W[:d, :d])) + B * W[d, :d] @ x + C * W[d, d]
        if radius > 0:
            worst = cp.Variable()
            t = cp.Variable(d, nonneg=True) if norm == "linf" else cp.Variable(nonneg=True) * np.ones(d)
            size = cp.sum(t) if norm == "linf" else t[0]
            side = cp.reshape(axes @ (A * W[:d, :d] @ x + 0.5 * B * W[d, :d]), (d, 1), order="F")
            corner = cp.reshape(value - worst - size * radius**2, (1, 1), order="F")
            matrix = cp.bmat([[cp.diag(t) + A * axes @ W[:d, :d] @ axes, side], [side.T, corner]])
            constraints.append(0.5 * (matrix + matrix.T) >> 0)
            value = worst
        total = total + weight * value
    return cp.Problem(cp.Maximize(total), constraints).solve(solver="CLARABEL")


def one_output(radius, sign=Y, slope=1.0, weight=None, theta=0.0):
    """Margins of a single output; slope is -loss' at margin zero."""
    weight = np.ones(N) / N if weight is None else weight / weight.sum()
    radius = np.broadcast_to(radius, N)
    slope = np.broadcast_to(slope, N)
    pulls = [((1 - theta) * weight[i] * slope[i], [sign[i]], X[i], radius[i]) for i in range(N)]
    return pulls + [(theta * weight[i] * slope[i], [sign[i]], X[i], 0.0) for i in range(N) if theta]


def joint(radius):
    return [
        (1 / N, np.eye(3)[own] - np.eye(3)[c], X[i], radius)
        for i, own in enumerate(THREE)
        for c in range(3)
        if c != own
    ]


SCALE = np.array([1.0, 0.0, 0.5])
SIGN, SLOPE = np.sign(TARGET), np.abs(TARGET)
CASES = {
    "hinge": (Y, {"radius": 0.2}, one_output(0.2), 1),
    "hinge large radius": (Y, {"radius": 1.5}, one_output(1.5), 1),
    "squared hinge weights": (
        Y,
        {"radius": MIXED, "loss": "squared_hinge", "sample_weight": WEIGHT},
        one_output(MIXED, slope=2.0, weight=WEIGHT),
        1,
    ),
    "logistic clean mix": (
        Y,
        {"radius": 0.3, "loss": "logistic", "clean_weight": 0.4},
        one_output(0.3, slope=0.5, theta=0.4),
        1,
    ),
    "ellipsoid": (Y, {"radius": 0.4, "scale": SCALE}, one_output(0.4), 1),
    "linf": (Y, {"radius": 0.15, "norm": "linf"}, one_output(0.15), 1),
    "linf ellipsoid": (Y, {"radius": 0.15, "norm": "linf", "scale": SCALE}, one_output(0.15), 1),
    "regression": (TARGET, {"radius": 0.2, "loss": "squared"}, one_output(0.2, sign=SIGN, slope=SLOPE), 1),
    "joint": (THREE, {"radius": 0.1, "multiclass": "joint"}, joint(0.1), 3),
}


@pytest.mark.parametrize("name", CASES)
def test_bracket_holds_the_value_of_the_semidefinite_programme(name):
    y, options, pulls, outputs = CASES[name]
    value = descent(pulls, D, outputs, options.get("norm", "l2"), options.get("scale"))
    problem = PolynomialProblem(X, y, **options)
    for steps in (0, 2, 300):
        bracket = problem.zero_solution_beta(tol=1e-3, max_iter=steps)
        assert bracket.lower - 1e-6 <= value <= bracket.upper + 1e-6
        assert not bracket.exact
    assert bracket.upper - bracket.lower <= 1e-3 * max(bracket.upper, 2e-3)


@pytest.mark.parametrize("name", CASES)
def test_zero_is_optimal_above_the_bracket_and_not_below(name):
    y, options, _, _ = CASES[name]
    bracket = PolynomialProblem(X, y, **options).zero_solution_beta()
    above = PolynomialProblem(X, y, beta=1.02 * bracket.upper, **options)
    assert solve(above, "CLARABEL").objective == pytest.approx(above.zero_objective(), rel=1e-6)
    if bracket.lower > 0.0:
        # a smooth loss falls with the square of the distance to the threshold: far enough below to be seen
        below = PolynomialProblem(X, y, beta=0.9 * bracket.lower, **options)
        assert solve(below, "CLARABEL").objective < (1.0 - 1e-6) * below.zero_objective()


def test_hinge_leaves_zero_just_below_the_bracket():
    bracket = PolynomialProblem(X, Y, radius=0.2).zero_solution_beta(tol=1e-3)
    below = PolynomialProblem(X, Y, radius=0.2, beta=0.98 * bracket.lower)
    solution = solve(below, "CLARABEL")
    assert solution.objective < below.zero_objective() - 1e-4
    assert solution.lower_bound < below.zero_objective() - 1e-4


def test_one_versus_rest_is_the_largest_of_its_classes():
    each = [PolynomialProblem(X, c == THREE, radius=0.1).zero_solution_beta(tol=1e-4) for c in range(3)]
    together = PolynomialProblem(X, THREE, radius=0.1).zero_solution_beta(tol=1e-4)
    assert together.lower <= max(bracket.upper for bracket in each)
    assert together.upper >= max(bracket.lower for bracket in each)
    assert together.upper - together.lower <= 1e-4 * together.upper


@pytest.mark.parametrize(
    ("loss", "slope"), [("hinge", 1.0), ("squared_hinge", 2.0), ("logistic", 0.5), ("squared", None)]
)
def test_radius_zero_is_the_largest_atom_of_one_matrix(loss, slope):
    rows, y, _, target = data(40, 2, 1)
    pull = target if slope is None else slope * y
    angle = np.linspace(0, 2 * np.pi, 200_001)
    total = sum(
        p * (A * s**2 + B * s + C) for p, s in zip(pull, rows @ np.stack([np.cos(angle), np.sin(angle)]), strict=True)
    )
    problem = PolynomialProblem(rows, target if slope is None else y, loss=loss)
    bracket = problem.zero_solution_beta()
    assert bracket.exact
    assert 0.0 <= bracket.upper - bracket.lower <= 1e-12
    assert bracket.upper == pytest.approx(np.abs(total).max() / 40, rel=1e-9)
    above, below = (
        PolynomialProblem(rows, problem.targets[:, 0] if slope is None else y, loss=loss, beta=factor * bracket.upper)
        for factor in (1.001, 0.95)
    )
    assert solve(above, "torch", tol=1e-8).objective == pytest.approx(above.zero_objective(), rel=1e-8)
    assert solve(below, "torch", tol=1e-8).objective < (1.0 - 1e-6) * below.zero_objective()


def test_constraints_make_zero_infeasible():
    for constraint in ({"hard_margin": 0.1}, {"margin_curve": ([0, 2], 0.1)}):
        bracket = PolynomialProblem(X, Y, radius=0.1, **constraint).zero_solution_beta()
        assert bracket == (np.inf, np.inf, True)


def test_contradicting_rows_have_the_threshold_zero():
    rows, signs = np.concatenate([X, X]), np.repeat([1, -1], N)
    for radius in (0.0, 0.3):
        bracket = PolynomialProblem(rows, signs, radius=radius).zero_solution_beta()
        assert bracket.lower == 0.0
        assert bracket.upper < 1e-12


def test_target_zero_pulls_nowhere():
    for radius in (0.0, 0.2):
        bracket = PolynomialProblem(X, np.zeros(N), radius=radius, loss="squared").zero_solution_beta()
        assert bracket.lower == 0.0
        assert bracket.upper < 1e-12


def test_duplicated_rows_change_nothing_and_weights_count_them():
    plain = PolynomialProblem(X, Y, radius=0.2).zero_solution_beta(tol=1e-4)
    double = PolynomialProblem(np.repeat(X, 2, 0), np.repeat(Y, 2), radius=0.2).zero_solution_beta(tol=1e-4)
    assert plain.upper == pytest.approx(double.upper, rel=2e-4)
    counts = 1 + np.arange(N) % 3
    repeated = PolynomialProblem(np.repeat(X, counts, 0), np.repeat(Y, counts), radius=0.2).zero_solution_beta(tol=1e-4)
    weighted = PolynomialProblem(X, Y, radius=0.2, sample_weight=counts).zero_solution_beta(tol=1e-4)
    assert repeated.upper == pytest.approx(weighted.upper, rel=2e-4)


@pytest.mark.parametrize("radius", [0.1, 1.0, 5.0, 100.0])
def test_one_feature_against_a_fine_search(radius):
    """With d = 1 there are two neurons, u = 1 and u = -1, and W = (p, q): f = a (p + q) x^2 + b (p - q) x + c (p + q)."""
    rows, y, _, _ = data(20, 1, 3)
    best = 0.0
    for angle in np.linspace(0, 2 * np.pi, 4001):
        p, q = np.cos(angle), np.sin(angle)
        p, q = np.array([p, q]) / (abs(p) + abs(q))
        a, b, c = A * (p + q), B * (p - q), C * (p + q)
        low, high = rows[:, 0] - radius, rows[:, 0] + radius
        turn = np.clip(-b / (2 * a) if a else 0.0, low, high)
        worst = np.min([y * (a * x**2 + b * x + c) for x in (low, high, turn)], 0)
        best = max(best, worst.mean())
    bracket = PolynomialProblem(rows, y, radius=radius).zero_solution_beta(tol=1e-3)
    nominal = PolynomialProblem(rows, y).zero_solution_beta().upper
    size = 1e-3 * max(best, 1e-3 * nominal)
    assert bracket.lower - 1e-9 <= best + size
    assert best <= bracket.upper + 1e-12
    assert bracket.upper - bracket.lower <= 1.1 * size


def test_unbalanced_classes_and_more_features_than_rows():
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((60, 80)) / 9.0
    y = np.where(np.arange(60) < 3, 1, -1)
    bracket = PolynomialProblem(rows, y, radius=0.05).zero_solution_beta()
    assert 0.0 < bracket.lower <= bracket.upper <= 1.01 * bracket.lower
    plain = PolynomialProblem(rows, y).zero_solution_beta()
    assert bracket.upper <= plain.upper


@pytest.mark.parametrize("activation", [(0.0, 1.0, 0.3), (1.0, 0.0, 0.0), (-0.2, 0.5, 0.1)])
def test_other_activations(activation):
    bracket = PolynomialProblem(X, Y, radius=0.1, activation=activation).zero_solution_beta()
    above = PolynomialProblem(X, Y, radius=0.1, activation=activation, beta=1.001 * bracket.upper)
    below = PolynomialProblem(X, Y, radius=0.1, activation=activation, beta=0.9 * bracket.lower)
    assert solve(above, "torch").objective == pytest.approx(above.zero_objective(), rel=1e-4)
    assert solve(below, "torch").objective < (1.0 - 1e-4) * below.zero_objective()
    assert bracket.upper <= 1.01 * bracket.lower


def test_the_memory_of_the_search_may_be_short(monkeypatch):
    problem = PolynomialProblem(*data(60, 8, 2)[:2], radius=0.5)
    full = problem.zero_solution_beta(tol=1e-3, max_iter=400)
    monkeypatch.setattr(threshold, "_CUTS", 12)
    monkeypatch.setattr(threshold, "_COLUMNS", 60)
    short = problem.zero_solution_beta(tol=1e-2, max_iter=400)
    assert short.lower <= full.upper
    assert full.lower <= short.upper
    assert short.upper - short.lower <= 0.05 * short.upper


def test_bad_arguments():
    problem = PolynomialProblem(X, Y, radius=0.1)
    with pytest.raises(InputError, match="tol"):
        problem.zero_solution_beta(tol=-1.0)
    with pytest.raises(InputError, match="max_iter"):
        problem.zero_solution_beta(max_iter="many")


def test_merging_keeps_function_and_penalty():
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((40, D))
    signs, outputs = np.where(np.arange(40) % 3, 1.0, -1.0), np.arange(40) % 2
    merged = threshold._merged(threshold._Neurons(vectors, signs, outputs))
    assert len(merged.signs) <= 4 * (D + 1)

    def values(network, output):
        lengths = np.linalg.norm(network.vectors, axis=1)
        along = X @ (network.vectors / lengths[:, None]).T
        return (A * along**2 + B * along + C) @ (network.signs * lengths**2 * (network.outputs == output))

    for output in (0, 1):
        wanted = values(threshold._Neurons(vectors, signs, outputs), output)
        np.testing.assert_allclose(values(merged, output), wanted, atol=1e-9)
    assert (merged.vectors**2).sum() == pytest.approx((vectors**2).sum(), rel=1e-10)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1), (30, 12), (12, 40)])
def test_central_strategies_bracket_the_value_of_the_game(shape):
    payoff = np.random.default_rng(sum(shape)).standard_normal(shape)
    count = shape[1]
    solved = linprog(
        np.append(np.zeros(count), 1.0),
        A_ub=np.c_[payoff, -np.ones(shape[0])],
        b_ub=np.zeros(shape[0]),
        A_eq=np.append(np.ones(count), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * count + [(None, None)],
    )
    for gap in (0.5, 1e-3, 1e-8):
        found = central_strategies(payoff, gap)
        assert found.lower - 1e-12 <= solved.fun <= found.upper + 1e-12
        assert found.upper - found.lower <= gap
        for strategy in (found.columns, found.rows):
            assert (strategy >= 0).all()
            assert strategy.sum() == pytest.approx(1.0, abs=1e-14)
