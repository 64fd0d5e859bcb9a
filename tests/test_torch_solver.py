"""The torch backend in the awkward places, its limits, warm starts and repeatability."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import convexadv as ca
from convexadv.solvers.polynomial import solver


def _data(n: int = 60, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    X /= np.linalg.norm(X, axis=1).max()
    score = np.abs(X @ rng.normal(size=d)) + 0.05 * rng.normal(size=n)
    return X, (score > np.median(score)).astype(int)


X, Y = _data()


def _threshold(problem: ca.PolynomialProblem) -> float:
    component = problem.components[0]
    extremes = problem.component_bound(component, problem.zero_multipliers(0), problem.rows)[1]
    return max(float(extreme.value) for extreme in extremes)


AWKWARD = {
    "rank deficient": (np.hstack([X, X]), Y, {"radius": 0.1}),
    "duplicated rows": (np.vstack([X] * 3), np.tile(Y, 3), {"radius": 0.1}),
    "more features than rows": (_data(10, 40, 1)[0], np.arange(10) % 2, {"radius": 0.1}),
    "one feature": (X[:, :1], Y, {"radius": 0.1}),
    "constant feature": (np.hstack([X, np.ones((60, 1)), np.zeros((60, 1))]), Y, {"radius": 0.05}),
    "zero row, even activation": (
        np.vstack([X, 0 * X[:1]]),
        np.append(Y, 0),
        {"radius": 0.3, "activation": (1.0, 0.0, 0.5)},
    ),
    "large radius": (X, Y, {"radius": 1.0}),
    "huge radius": (X, Y, {"radius": 50.0}),
    "very different classes": (X, (np.arange(60) == 3).astype(int), {"radius": 0.02, "beta": 3e-4}),
    "small units": (1e-3 * X, Y, {"radius": 1e-4}),
    "badly scaled features": (X * np.array([30.0, 1.0, 0.03, 1.0, 1.0]), Y, {"radius": 0.05, "beta": 0.01}),
    "random labels, three classes": (X, np.random.default_rng(5).integers(0, 3, 60), {"radius": 0.1, "beta": 0.003}),
    "two rows": (X[:2], np.array([0, 1]), {"radius": 0.05}),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_certifies_in_awkward_places(name: str) -> None:
    rows, labels, arguments = AWKWARD[name]
    problem = ca.PolynomialProblem(rows, labels, **{"beta": 0.003, **arguments})
    solution = ca.solve(problem, "torch", tol=1e-3, time_limit=120)
    assert solution.status is ca.Status.OPTIMAL
    assert solution.lower_bound <= solution.objective <= problem.zero_objective() * (1 + 1e-12)
    assert solution.objective == problem.objective(solution.network)
    assert solution.lower_bound == problem.lower_bound(solution.certificate)


@pytest.mark.parametrize("factor", [0.5, 0.99, 0.9999, 1.0001, 1.1, 10.0])
def test_around_the_zero_solution_threshold(factor: float) -> None:
    beta = factor * _threshold(ca.PolynomialProblem(X, Y, beta=1.0))
    problem = ca.PolynomialProblem(X, Y, beta=beta)
    solution = ca.solve(problem, "torch", tol=1e-6)
    assert solution.status is ca.Status.OPTIMAL
    assert (solution.network.n_neurons == 0) == (factor > 1)


def test_infeasible_margins_are_a_status() -> None:
    problem = ca.PolynomialProblem(
        [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 1.0]], list("uvuv"), beta=0.01, hard_margin=0.5
    )
    solution = ca.solve(problem, "torch", time_limit=60)
    assert solution.status is ca.Status.INFEASIBLE
    assert solution.objective == np.inf
    assert solution.lower_bound > 1e3 * problem.zero_objective()


def test_beta_zero_ends_uncertified() -> None:
    solution = ca.solve(ca.PolynomialProblem(X, Y, radius=0.05, beta=0.0), "torch", max_iter=8, time_limit=60)
    assert solution.status is ca.Status.UNCERTIFIED
    assert solution.lower_bound == 0.0


def test_same_call_gives_the_same_bits() -> None:
    problem = ca.PolynomialProblem(X, Y, radius=0.05, beta=0.003)
    first, second = (ca.solve(problem, "torch", tol=1e-3) for _ in range(2))
    assert first.objective == second.objective
    assert (first.network.neurons == second.network.neurons).all()


@pytest.fixture
def by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Column generation, however small the problem."""
    monkeypatch.setattr(solver, "worth_while", lambda column: False)


@pytest.mark.usefixtures("by_columns")
@pytest.mark.parametrize("loss", ["hinge", "logistic"])
def test_warm_start_needs_less_work(loss: str) -> None:
    problem = ca.PolynomialProblem(X, Y, radius=0.02, beta=0.003, loss=loss)
    cold = ca.solve(problem, "torch", tol=1e-4)
    near = ca.PolynomialProblem(X, Y, radius=0.02, beta=0.0031, loss=loss)
    again = ca.solve(near, "torch", tol=1e-3, warm_start=cold)
    fresh = ca.solve(near, "torch", tol=1e-3)
    assert again.status is ca.Status.OPTIMAL
    assert again.variables["evaluations"] < fresh.variables["evaluations"]
    from_network = ca.solve(near, "torch", tol=1e-3, warm_start=cold.network)
    assert abs(from_network.objective - fresh.objective) <= 2e-3 * fresh.objective


@pytest.mark.usefixtures("by_columns")
def test_warm_start_across_multiclass_problems() -> None:
    labels = np.arange(60) % 3
    problem = ca.PolynomialProblem(X, labels, beta=0.003)
    cold = ca.solve(problem, "torch", tol=1e-3)
    again = ca.solve(problem, "torch", tol=1e-3, warm_start=cold)
    assert again.status is ca.Status.OPTIMAL
    assert again.variables["evaluations"] < cold.variables["evaluations"]


def test_limits_and_callback() -> None:
    problem = ca.PolynomialProblem(X, Y, radius=0.02, beta=0.0003)
    records = []
    assert ca.solve(problem, "torch", tol=1e-9, max_iter=2).status is ca.Status.MAX_ITER
    assert ca.solve(problem, "torch", tol=1e-9, time_limit=0.0).status is ca.Status.TIME_LIMIT
    stopped = ca.solve(problem, "torch", tol=1e-9, callback=lambda record: records.append(record) or len(records) == 3)
    assert stopped.status is ca.Status.STOPPED
    assert len(records) == len(stopped.history) == 3
    for before, after in itertools.pairwise(records):
        assert after.lower_bound >= before.lower_bound
        assert after.objective <= before.objective


def test_float32_products_carry_a_float64_certificate() -> None:
    problem = ca.PolynomialProblem(X.astype(np.float32), Y, radius=0.05, beta=0.003)
    solution = ca.solve(problem, "torch", tol=1e-4, dtype="float32", time_limit=120)
    assert solution.status is ca.Status.OPTIMAL
    assert solution.lower_bound == problem.lower_bound(solution.certificate)
    assert solution.certificate.atoms[0].multipliers.dtype == np.float64


def test_shards_and_memory_maps_give_the_same_answer(tmp_path) -> None:
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    whole, shards, lazy = (
        ca.solve(ca.PolynomialProblem(rows, Y, radius=0.05, beta=0.003), "torch", tol=1e-3).objective
        for rows in (X, [X[:17], X[17:]], mapped)
    )
    assert lazy == whole
    assert abs(shards - whole) <= 1e-3 * whole


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"solver": "GUROBI"}, "choose one of"),
        ({"dtype": "float16"}, "choose one of"),
        ({"device": "abacus"}, "no torch device"),
        ({"tol": -1.0}, "out of range"),
        ({"max_iter": "many"}, "not a number"),
        ({"time_limit": float("nan")}, "out of range"),
        ({"step_size": 0.1}, "no option"),
        ({"warm_start": "yesterday"}, "PolynomialNetwork is needed"),
    ],
)
def test_bad_arguments_are_sentences(arguments: dict, words: str) -> None:
    with pytest.raises(ca.InputError, match=words):
        ca.solve(ca.PolynomialProblem(X, Y, beta=0.01), **{"solver": "torch", **arguments})


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for arguments in (
        {"radius": 0.05},
        {"radius": 0.0},
        {"radius": 0.02, "norm": "linf"},
        {"radius": 0.05, "loss": "logistic"},
    ):
        problem = ca.PolynomialProblem(X, Y, beta=0.003, **arguments)
        there = ca.solve(problem, "torch", tol=1e-4, device="cuda")
        here = ca.solve(problem, "torch", tol=1e-4)
        assert there.status is ca.Status.OPTIMAL
        assert abs(there.objective - here.objective) <= 2e-4 * here.objective
