"""The baselines of the race table: the penalty method, Adam on polynomial networks, and what all of them are measured by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import convexadv as ca
from benchmarks import adam_polynomial, clock, penalty
from convexadv.recovery import lift, network_from_lift, restore

RADIUS, BETA = 0.1, 0.01


@pytest.fixture(scope="module")
def problem() -> ca.PolynomialProblem:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    X /= np.linalg.norm(X, axis=1).max()
    return ca.PolynomialProblem(X, (X[:, 0] * X[:, 1] > -0.02).astype(int), radius=RADIUS, beta=BETA)


@pytest.fixture(scope="module")
def certified(problem: ca.PolynomialProblem) -> ca.Solution:
    return ca.solve(problem, tol=1e-6)


def arguments(problem: ca.PolynomialProblem) -> tuple:
    return problem.rows.whole(), np.where(problem.targets == 1, 1.0, -1.0), RADIUS, BETA, problem.activation


def test_penalty_method_nears_the_certified_optimum_from_above(problem, certified):
    def measure(pair: penalty.Lift) -> float:
        parts = ([restore(part)] for part in pair)
        return problem.objective(network_from_lift(*parts, problem.activation, problem.classes))

    points = penalty.train(*arguments(problem), measure, seconds=60.0, rate=0.03, weight=2.0, steps=1_000)
    values = [objective for _, objective in points]
    assert min(values) >= certified.lower_bound
    assert min(values) <= 1.02 * certified.objective < 0.9 * values[0]


def test_matrices_are_those_of_the_s_procedure(problem, certified):
    """Singular at the worst case w_i with the best multiplier, indefinite above it: brute force over multipliers."""
    X, y, _, _, activation = arguments(problem)
    Z, Z_prime = lift(certified.network)[0]
    worst = np.asarray(ca.worst_case_margin(certified.network, X, problem.classes[problem.targets], RADIUS).lower_bound)
    W, rows, sign = (torch.from_numpy(np.asarray(part, float)) for part in (Z - Z_prime, X, y))

    def least(shift: float) -> np.ndarray:
        """Largest least eigenvalue over the multipliers, at w + shift."""
        grid = torch.logspace(-8, 2, 400, dtype=torch.float64)
        level = torch.from_numpy(worst + shift)
        tried = [
            torch.linalg.eigvalsh(penalty.matrices(W, rows, sign, level, step.expand(len(rows)), RADIUS, activation))[
                :, 0
            ]
            for step in grid
        ]
        return torch.stack(tried).amax(0).numpy()

    assert (least(-1e-2) > 0).all()
    assert (least(1e-3) < 0).all()


def test_lifts_keep_the_trace_equality():
    factors = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for Z in penalty.lifts(factors).numpy():
        assert np.trace(Z) == pytest.approx(2 * Z[-1, -1])
        assert np.linalg.eigvalsh(Z)[0] > -1e-12


def test_perturbations_of_the_baseline_are_the_worst_ones(problem):
    X, y, _, _, activation = arguments(problem)
    rng = np.random.default_rng(1)
    units = rng.normal(size=(6, 3))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    network = ca.PolynomialNetwork(units, rng.normal(size=6), activation=activation, classes=problem.classes)
    arrays = (X, y, units, network.coefficients.detach().numpy()[:, 0])
    tensors = [torch.from_numpy(np.array(part, float)) for part in arrays]
    moves = adam_polynomial.worst_perturbations(*tensors, RADIUS, activation).numpy()
    expected = ca.worst_case_margin(network, X, problem.classes[problem.targets], RADIUS).lower_bound
    assert np.linalg.norm(moves, axis=1).max() <= RADIUS * (1 + 1e-9)
    np.testing.assert_allclose(y * network.scores(X + moves), expected, atol=1e-9)


def test_adversarial_adam_is_better_on_the_robust_objective(problem, certified):
    def measure(units: np.ndarray, output: np.ndarray) -> float:
        network = ca.PolynomialNetwork(units, output, activation=problem.activation, classes=problem.classes)
        return problem.objective(network)

    last = {
        robust: adam_polynomial.train(*arguments(problem), measure, 60.0, rate=0.01, robust=robust, steps=500)[-1][1]
        for robust in (True, False)
    }
    assert certified.lower_bound <= last[True] <= 1.02 * certified.objective
    assert last[True] < last[False]


def test_clock_does_not_count_measurements():
    import time

    watch = clock.Clock(0.2, lambda: time.sleep(0.05) or 1.0)
    begin = time.perf_counter()
    while watch.tick():
        time.sleep(0.001)
    spent = time.perf_counter() - begin
    assert watch.points[-1][0] < 0.2 + 0.05
    assert spent > watch.points[-1][0] + 0.05 * (len(watch.points) - 1)


def test_best_setting_is_the_one_that_reaches_the_lowest_and_its_points_only_fall():
    runs = {1.0: [(0.1, 3.0), (0.2, 1.0), (0.3, 2.0)], 2.0: [(0.1, 2.5), (0.2, 1.5)]}
    assert clock.best(runs) == (1.0, [(0.1, 3.0), (0.2, 1.0), (0.3, 1.0)])
