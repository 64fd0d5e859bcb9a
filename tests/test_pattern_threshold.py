"""The zero-solution threshold over patterns against cvxpy: the descent row by row, and solved problems around it."""

from __future__ import annotations

import itertools
import warnings

import cvxpy as cp
import numpy as np
import pytest

from convexadv.errors import InputError
from convexadv.problems import GatedReLUProblem, ReLUProblem

N, D, GATES = 14, 3, 5
DUAL = {"l1": "inf", "l2": 2, "linf": 1}
RNG = np.random.default_rng(4)
X = RNG.standard_normal((N, D))
Y = np.where(X[:, 0] + 0.4 * RNG.standard_normal(N) > 0, 1, -1)
THREE = RNG.permutation(np.arange(N) % 3)
TARGET = X[:, 0] ** 2 - 0.7 + 0.3 * X[:, 1]
TARGET[3] = 0.0
MIXED = np.where(np.arange(N) % 3 == 0, 0.0, 0.05 + 0.01 * np.arange(N))
WEIGHT = 1.0 + np.arange(N) % 4
KINDS = {"relu": ReLUProblem, "gated": GatedReLUProblem}
CASES = {
    "hinge": (Y, {}),
    "hinge robust": (Y, {"radius": 0.1}),
    "squared hinge mixed weights": (Y, {"radius": MIXED, "loss": "squared_hinge", "sample_weight": WEIGHT}),
    "logistic l1": (Y, {"radius": 0.1, "loss": "logistic", "norm": "l1"}),
    "linf intercept": (Y, {"radius": 0.05, "norm": "linf", "fit_intercept": True}),
    "l2 intercept wide": (Y, {"radius": 0.3, "fit_intercept": True}),
    "l1 intercept mixed": (Y, {"radius": MIXED, "norm": "l1", "fit_intercept": True}),
    "joint": (THREE, {"multiclass": "joint"}),
    "joint robust": (THREE, {"radius": 0.1, "multiclass": "joint", "loss": "logistic"}),
    "one against the rest": (THREE, {"radius": 0.1}),
    "regression": (TARGET, {"loss": "squared"}),
    "regression robust": (TARGET, {"radius": 0.1, "loss": "squared"}),
    "regression outputs": (np.stack([TARGET, Y], 1), {"radius": MIXED, "loss": "squared", "fit_intercept": True}),
}


def make(kind, name, **more):
    y, options = CASES[name]
    gates = np.random.default_rng(7).standard_normal((D + options.get("fit_intercept", False), GATES))
    return KINDS[kind](X, y, gates=gates, **options, **more)


class Model:
    """Blocks of a problem as cvxpy variables and the worst-case margins of the formulas, one row at a time."""

    def __init__(self, problem):
        self.problem, self.rows = problem, problem.rows.whole()
        width, gates = problem.gates.shape
        outputs = problem.n_outputs
        self.q = DUAL[problem.norm]
        signs = np.sign(self.rows @ problem.gates + 1e-300)
        sides = (1, -1) if problem.cones else (1,)
        self.v = {(s, k, c): cp.Variable(width) for s in sides for k in range(gates) for c in range(outputs)}
        self.penalty = sum(cp.norm(v) for v in self.v.values())
        self.constraints = []
        for (_, k, _), v in self.v.items() if problem.cones else ():
            for x, sign, r in zip(self.rows, signs[:, k], problem.radius, strict=True):
                self.constraints.append(sign * (x @ v) - (r * self.size(v) if r else 0.0) >= 0)
        self.active = signs > 0
        reach = np.abs(self.rows @ problem.gates)
        norms = np.array(
            [np.linalg.norm(g[problem.perturbed], {"inf": np.inf}.get(self.q, self.q)) for g in problem.gates.T]
        )
        self.moving = (reach <= problem.radius[:, None] * norms) & (not problem.cones) & (problem.radius > 0)[:, None]

    def size(self, v):
        return cp.norm(v[self.problem.perturbed], self.q)

    def margin(self, i, direction):
        """Worst-case value of direction . f at row i."""
        r, x = self.problem.radius[i], self.rows[i]

        def sums(chosen):
            parts = [direction[c] * s * v for (s, k, c), v in self.v.items() if k in chosen and direction[c]]
            return sum(parts) if parts else np.zeros(len(x))

        gates = range(self.problem.n_gates)
        alpha = sums([k for k in gates if self.active[i, k] and not self.moving[i, k]])
        value = x @ alpha - (r * self.size(alpha) if r else 0.0)
        for k in gates:
            if self.moving[i, k]:
                own = sums([k])
                value = value + cp.minimum(0.0, x @ own - r * self.size(own))
        return value

    def directions(self, i):
        """(direction, component) of the margins of a row; of two ends for regression."""
        problem = self.problem
        unit = np.eye(problem.n_outputs)
        if problem.loss.regression:
            return [(sign * unit[c], c) for c in range(problem.n_outputs) for sign in (1.0, -1.0)]
        if problem.n_outputs == 1:
            return [(np.array([1.0 if problem.targets[i] == 1 else -1.0]), 0)]
        own = problem.targets[i]
        if problem.multiclass == "joint":
            return [(unit[own] - unit[c], 0) for c in range(problem.n_outputs) if c != own]
        return [(unit[c] if c == own else -unit[c], c) for c in range(problem.n_outputs)]

    def shortfalls(self, i):
        """(direction, component, shortfall at zero)."""
        for direction, component in self.directions(i):
            if self.problem.loss.regression:
                yield direction, component, float(direction.sum() * self.problem.targets[i, component])
            else:
                yield direction, component, self.problem.loss.offset

    def threshold(self):
        """max over components of the largest descent of a network of penalty one."""
        problem = self.problem
        slope = {"hinge": 1.0, "squared_hinge": 2.0, "logistic": 0.5}.get(problem.loss.name)
        weight = problem.sample_weight / problem.sample_weight.sum()
        best = 0.0
        components = {c for i in range(N) for _, c in self.directions(i)}
        for component in components:
            total = 0
            for i in range(N):
                for direction, own, shortfall in self.shortfalls(i):
                    pull = max(0.0, shortfall) if problem.loss.regression else slope
                    if own == component and pull > 0:
                        total = total + weight[i] * pull * self.margin(i, direction)
            best = max(best, solved(cp.Problem(cp.Maximize(total), [*self.constraints, self.penalty <= 1])))
        return best

    def objective(self, beta):
        problem = self.problem
        weight = problem.sample_weight / problem.sample_weight.sum()
        total = beta * self.penalty
        for i in range(N):
            parts = [(c, shortfall - self.margin(i, direction)) for direction, c, shortfall in self.shortfalls(i)]
            if problem.loss.regression:
                for component in range(problem.n_outputs):
                    ends = [part for c, part in parts if c == component]
                    total = total + weight[i] * 0.5 * cp.square(cp.pos(cp.maximum(*ends)))
                continue
            for _, u in parts:
                value = {"hinge": cp.pos(u), "squared_hinge": cp.square(cp.pos(u)), "logistic": cp.logistic(u)}
                total = total + weight[i] * value[problem.loss.name]
        return cp.Problem(cp.Minimize(total), self.constraints)


def solved(problem, solver="CLARABEL"):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        return problem.solve(solver=solver, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_bracket_holds_the_largest_descent_that_cvxpy_finds(kind, name):
    problem = make(kind, name)
    value = Model(problem).threshold()
    for tol, steps in ((1e-2, 0), (1e-2, 2), (1e-2, 300), (1e-4, 300)):
        bracket = problem.zero_solution_beta(tol=tol, max_iter=steps)
        assert bracket.lower - 1e-7 <= value <= bracket.upper + 1e-7
        assert bracket.exact == (not problem.robust)
    assert bracket.upper - bracket.lower <= 1e-4 * bracket.upper
    assert value > 1e-3


@pytest.mark.parametrize(
    "name", ["hinge", "squared hinge mixed weights", "linf intercept", "joint", "regression robust"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_zero_is_optimal_above_the_bracket_and_not_below(kind, name):
    bracket = make(kind, name).zero_solution_beta()
    for factor, beta in ((1.02, 1.02 * bracket.upper), (0.9, 0.9 * bracket.lower)):
        problem = make(kind, name, beta=beta)
        model = Model(problem)
        value = solved(model.objective(beta))
        largest = max(np.linalg.norm(v.value) for v in model.v.values())
        if factor > 1:
            assert value == pytest.approx(problem.zero_objective(), rel=1e-6)
            assert largest <= 1e-3
        else:
            assert value < problem.zero_objective() * (1 - 1e-5)
            assert largest > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_exact_threshold_is_the_largest_price(kind):
    problem = make(kind, "hinge")
    q = [(problem.patterns[:, k] * Y / N) @ X for k in range(GATES)]
    if kind == "gated":
        expected = max(np.linalg.norm(vector) for vector in q)
    else:
        from scipy.optimize import nnls

        signs = np.where(problem.patterns, 1.0, -1.0)
        expected = max(nnls((signs[:, [k]] * X).T, -s * q[k])[1] for k in range(GATES) for s in (1, -1))
    bracket = problem.zero_solution_beta()
    assert bracket.exact
    assert bracket.lower == pytest.approx(expected, rel=1e-8)
    assert bracket.lower <= bracket.upper <= bracket.lower * (1 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_two_is_a_row_twice(kind):
    problem = make(kind, "squared hinge mixed weights")
    times = WEIGHT.astype(int)
    twin = KINDS[kind](
        np.repeat(X, times, 0),
        np.repeat(Y, times),
        gates=problem.gates,
        radius=np.repeat(MIXED, times),
        loss="squared_hinge",
    )
    one, other = problem.zero_solution_beta(tol=1e-5), twin.zero_solution_beta(tol=1e-5)
    assert one.upper == pytest.approx(other.upper, rel=2e-5)


def test_gated_threshold_is_not_below_that_of_the_cones_without_balls():
    assert make("gated", "hinge").zero_solution_beta().lower >= make("relu", "hinge").zero_solution_beta().upper


def test_threshold_falls_with_the_radius_to_zero_where_all_patterns_die():
    gates = np.random.default_rng(7).standard_normal((D, GATES))
    uppers = [
        ReLUProblem(X, Y, gates=gates, radius=r).zero_solution_beta(tol=1e-4).upper for r in (0.0, 0.02, 0.1, 0.2)
    ]
    assert all(after < before for before, after in itertools.pairwise(uppers))
    bracket = ReLUProblem(X, Y, gates=gates, radius=3.0).zero_solution_beta()
    assert bracket.lower == 0.0
    assert bracket.upper <= 1e-9


def test_threshold_of_a_gated_network_that_no_row_can_trust_is_nearly_zero():
    problem = GatedReLUProblem(X, Y, n_gates=10, radius=2.0)
    bracket = problem.zero_solution_beta()
    assert bracket.lower == 0.0
    assert bracket.upper <= 1e-5 * GatedReLUProblem(X, Y, n_gates=10).zero_solution_beta().upper


@pytest.mark.parametrize("radius", [0.0, 0.1])
def test_targets_of_zero_have_the_threshold_zero(radius):
    for kind in KINDS.values():
        bracket = kind(X, np.zeros(N), n_gates=4, radius=radius, loss="squared").zero_solution_beta()
        assert bracket.lower == bracket.upper == 0.0


def test_one_against_the_rest_is_the_largest_of_its_classes():
    gates = make("relu", "hinge").gates
    each = [ReLUProblem(X, c == THREE, gates=gates, radius=0.05).zero_solution_beta(tol=1e-4) for c in range(3)]
    together = ReLUProblem(X, THREE, gates=gates, radius=0.05).zero_solution_beta(tol=1e-4)
    assert together.upper == pytest.approx(max(bracket.upper for bracket in each), rel=2e-4)
    assert together.lower == pytest.approx(max(bracket.lower for bracket in each), rel=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_of_cuts_and_columns_may_be_short(kind, monkeypatch):
    problem = make(kind, "joint robust")
    full = problem.zero_solution_beta(tol=1e-4)
    monkeypatch.setattr("convexadv.problems.pattern_threshold._CUTS", 8)
    monkeypatch.setattr("convexadv.problems.pattern_threshold._COLUMNS", 12)
    monkeypatch.setattr("convexadv.problems.pattern_threshold._ENTRIES", 30)
    short = problem.zero_solution_beta(tol=1e-2)
    assert short.lower <= full.upper
    assert full.lower <= short.upper
    assert short.upper - short.lower <= 1e-2 * short.upper


def test_arguments_are_checked():
    problem = make("relu", "hinge")
    with pytest.raises(InputError, match="tol"):
        problem.zero_solution_beta(tol=-1.0)
    with pytest.raises(InputError, match="max_iter"):
        problem.zero_solution_beta(max_iter="many")
