import cvxpy as cp
import numpy as np
import pytest

from benchmarks.cronos import cronos

BETA = 1e-2


@pytest.fixture(scope="module")
def problem():
    """X, y, patterns, and CLARABEL's optimum and weights of the convex ReLU programme."""
    rng = np.random.default_rng(0)
    X, gates = rng.standard_normal((30, 4)) / 2, rng.standard_normal((4, 8))
    y = np.maximum(X @ rng.standard_normal((4, 5)), 0) @ rng.standard_normal(5)
    D = (X @ gates > 0).astype(float)
    V, W = cp.Variable((4, 8)), cp.Variable((4, 8))
    fit = cp.sum(cp.multiply(D, X @ (V - W)), axis=1)
    norms = cp.sum(cp.norm(V, 2, axis=0)) + cp.sum(cp.norm(W, 2, axis=0))
    cones = [cp.multiply(2 * D - 1, X @ U) >= 0 for U in (V, W)]
    programme = cp.Problem(cp.Minimize(cp.sum_squares(fit - y) / 60 + BETA * norms), cones)
    optimum = programme.solve(solver="CLARABEL")
    return X, y, D, optimum, np.stack([V.value.T, W.value.T])


@pytest.mark.parametrize(
    "way", [{}, {"cg_iterations": 10}, {"cg_iterations": 30, "rank": 10}], ids=["exact", "blocks", "nystrom"]
)
def test_same_optimum_as_clarabel(problem, way):
    X, y, D, optimum, weights = problem
    result = cronos(X, y, D, BETA, rho=1e-1, max_iter=1000, **way)
    _, objective, violation = result.history[-1]
    assert optimum < 0.5 * np.mean(y**2) / 2  # the zero network is far from optimal
    assert objective == pytest.approx(optimum, rel=1e-5)
    assert violation < 1e-5
    np.testing.assert_allclose(result.weights, weights, atol=1e-3 * np.abs(weights).max())


def test_history_measures_the_weights(problem):
    X, y, D, _, _ = problem
    result = cronos(X, y, D, BETA, rho=1e-1, max_iter=15, record_every=10)
    V, W = result.weights
    fit = sum(D[:, i] * (X @ (V[i] - W[i])) for i in range(8))
    objective = np.sum((fit - y) ** 2) / 60 + BETA * sum(np.linalg.norm(w) for w in (*V, *W))
    worst = max(np.max(-(2 * D[:, i] - 1) * (X @ w[i])) for w in (V, W) for i in range(8))
    assert result.iterations == 15
    assert len(result.history) == 3  # the start, iterations 10 and 15
    np.testing.assert_allclose(result.history[-1, 1:], [objective, max(0.0, worst)], rtol=1e-10)
    assert np.all(np.diff(result.history[:, 0]) > 0)


def test_time_limit(problem):
    X, y, D, _, _ = problem
    assert cronos(X, y, D, BETA, rho=1e-2, time_limit=0.0).iterations == 1
