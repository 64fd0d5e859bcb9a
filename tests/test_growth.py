"""Growing patterns: prices against explicit gates, objectives that fall, bounds that hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import convexadv as ca
from convexadv.errors import InputError
from convexadv.solvers.growth import grow_patterns, prices_of


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(50, 4))
    return X, np.where(X[:, 0] * X[:, 1] > 0, 1, -1), rng.permutation(np.arange(50) % 3)


@pytest.mark.parametrize("kind", [ca.ReLUProblem, ca.GatedReLUProblem])
@pytest.mark.parametrize(
    "settings", [{}, {"fit_intercept": True, "loss": "logistic"}, {"radius": 0.005, "norm": "linf"}]
)
def test_the_objective_falls_and_the_first_gates_stay(kind, settings, rows) -> None:
    X, y, _ = rows
    problem = kind(X, y, n_gates=6, beta=0.005, **settings)
    growth = grow_patterns(problem, rounds=2, candidates=60, most_added=8)
    objectives = [each.objective for each in growth.rounds]
    assert objectives[-1] < objectives[0] * 0.98
    assert all(later <= earlier * (1 + 1e-4) for earlier, later in itertools.pairwise(objectives))
    assert growth.improvement == pytest.approx((objectives[0] - objectives[-1]) / objectives[0])
    np.testing.assert_array_equal(growth.problem.gates[:, :6], problem.gates)
    assert growth.problem.n_gates == 6 + sum(each.added for each in growth.rounds)
    assert growth.problem.objective(growth.solution.network) == growth.solution.objective
    assert len(np.unique(growth.problem.patterns, axis=1).T) == growth.problem.n_gates


@pytest.mark.parametrize("kind", [ca.ReLUProblem, ca.GatedReLUProblem])
def test_the_bound_over_the_candidates_bounds_their_programme(kind, rows) -> None:
    X, _, y = rows
    problem = kind(X, y, n_gates=6, beta=0.01, multiclass="joint")
    solution = ca.solve(problem, tol=1e-6)
    new = kind(X, y, n_gates=30, random_state=9, beta=0.01, multiclass="joint")
    price, bound = prices_of(new, solution.certificate)
    together = ca.solve(problem.with_gates(np.concatenate([problem.gates, new.gates], 1)))
    assert min(bound, solution.lower_bound) <= together.objective
    assert bound == pytest.approx(
        solution.objective * problem.beta / price.max(), rel=1e-3
    )  # hinge: linear in the scaling
    helpful = price > problem.beta * 1.01
    assert helpful.any()
    rest = problem.with_gates(np.concatenate([problem.gates, new.gates[:, ~helpful]], 1))
    assert ca.solve(rest).objective == pytest.approx(solution.objective, rel=0.01)


def test_it_ends_when_every_pattern_is_known() -> None:
    X = np.array([[1.0], [2.0], [-1.0]])
    problem = ca.ReLUProblem(X, [1, 1, -1], gates=[[1.0, -1.0]])
    growth = grow_patterns(problem, rounds=3)
    assert growth.problem.n_gates == 2
    assert growth.improvement == 0.0
    assert len(growth.rounds) == 1


def test_the_same_call_gives_the_same_gates(rows) -> None:
    X, y, _ = rows
    first, second = (grow_patterns(ca.GatedReLUProblem(X, y, n_gates=5), rounds=1, candidates=30) for _ in range(2))
    np.testing.assert_array_equal(first.problem.gates, second.problem.gates)
    assert "the objective fell by" in str(first)


@pytest.mark.parametrize(("arguments", "message"), [({"rounds": -1}, "rounds"), ({"candidates": 0}, "n_gates")])
def test_bad_arguments(arguments, message, rows) -> None:
    X, y, _ = rows
    with pytest.raises(InputError, match=message):
        grow_patterns(ca.ReLUProblem(X, y, n_gates=4), **arguments)
    with pytest.raises(InputError, match="ReLUProblem"):
        grow_patterns(ca.PolynomialProblem(X, y))
