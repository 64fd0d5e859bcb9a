"""The conic backend against an independent model, written row by row from the formulas of the papers."""

from __future__ import annotations

import logging
import time
import warnings

import cvxpy as cp
import numpy as np
import pytest

from convexadv.errors import InputError, SolverUnavailableError
from convexadv.problems import OptimalityCertificate, PolynomialProblem
from convexadv.recovery import lift, restore
from convexadv.solvers import Status, available_solvers, solve
from convexadv.solvers.conic import availability, memory, solve_conic, solver_states, svec
from convexadv.solvers.conic.compiler import compile_component

MOSEK_REASON = solver_states()["MOSEK"]
needs_mosek = pytest.mark.skipif(MOSEK_REASON != "available", reason=MOSEK_REASON)


class NaiveModel:
    """The training problem of [KLP24] in cvxpy, one small constraint after the other."""

    def __init__(self, d, activation, outputs, scale, norm):
        self.d, self.norm = d, norm
        self.a, self.b, self.c = activation
        self.D = np.diag(np.ones(d) if scale is None else np.asarray(scale, float))
        self.Z = [cp.Variable((d + 1, d + 1), PSD=True) for _ in range(outputs)]
        self.Z_prime = [cp.Variable((d + 1, d + 1), PSD=True) for _ in range(outputs)]
        self.constraints = [cp.trace(Z[:d, :d]) == Z[d, d] for Z in self.Z + self.Z_prime]
        self.terms = []

    def value(self, W, x):
        d = self.d
        linear = self.b * (W[:d, d] @ x) + self.c * W[d, d]
        return self.a * cp.sum(cp.multiply(W[:d, :d], np.outer(x, x))) + linear

    def worst(self, W, x, sign, radius, curve=0.0):
        """The largest w for which the S-procedure holds; at radius 0 the value itself."""
        d, f = self.d, sign * self.value(W, x)
        if radius == 0:
            return f
        w = cp.Variable()
        multiplier = cp.Variable(d, nonneg=True) if self.norm == "linf" else cp.Variable(nonneg=True)
        diagonal = cp.diag(multiplier) if self.norm == "linf" else multiplier * np.eye(d)
        total = cp.sum(multiplier)
        block = diagonal + sign * self.a * self.D @ W[:d, :d] @ self.D + curve * np.eye(d)
        side = 0.5 * sign * self.D @ (2 * self.a * W[:d, :d] @ x + self.b * W[:d, d])
        side = cp.reshape(side, (d, 1), order="F")
        corner = cp.reshape(f - w - total * radius**2, (1, 1), order="F")
        matrix = cp.bmat([[block, side], [side.T, corner]])
        self.constraints.append(0.5 * (matrix + matrix.T) >> 0)
        return w

    def solve(self, beta):
        penalty = sum(Z[self.d, self.d] for Z in self.Z + self.Z_prime)
        model = cp.Problem(cp.Minimize(sum(self.terms) + beta * penalty), self.constraints)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")
            return model.solve(solver="CLARABEL"), model.status


MARGIN_LOSS = {
    "hinge": lambda m: cp.pos(1 - m),
    "squared_hinge": lambda m: cp.square(cp.pos(1 - m)),
    "logistic": lambda m: cp.logistic(-m),
}


def naive(
    X,
    y,
    *,
    radius=0.0,
    beta=0.01,
    loss="hinge",
    norm="l2",
    scale=None,
    activation=(0.09, 0.5, 0.47),
    multiclass="ovr",
    sample_weight=None,
    clean_weight=0.0,
    hard_margin=None,
    margin_curve=None,
):
    n, d = X.shape
    r = np.broadcast_to(np.asarray(radius, float), (n,))
    omega = np.ones(n) if sample_weight is None else np.asarray(sample_weight, float)
    omega = omega / omega.sum()
    theta = clean_weight if r.any() else 0.0
    regression = loss == "squared"
    classes = None if regression else np.unique(y)
    columns = np.asarray(y, float).reshape(n, -1) if regression else None
    outputs = columns.shape[1] if regression else 1 if len(classes) == 2 else len(classes)
    model = NaiveModel(d, activation, outputs, scale, norm)
    W = [Z - Z_prime for Z, Z_prime in zip(model.Z, model.Z_prime, strict=True)]

    def pairs(i):
        """(matrix, sign) of the margins of row i."""
        if outputs == 1:
            return [(W[0], 1.0 if y[i] == classes[1] else -1.0)]
        own = int(np.flatnonzero(classes == y[i])[0])
        if multiclass == "ovr":
            return [(W[c], 1.0 if c == own else -1.0) for c in range(outputs)]
        return [(W[own] - W[c], 1.0) for c in range(outputs) if c != own]

    for i in range(n):
        for share, ball in ((theta, 0.0), (1.0 - theta, r[i])):
            if share == 0.0:
                continue
            if regression:
                for o in range(outputs):
                    low = model.worst(W[o], X[i], 1.0, ball)
                    high = -model.worst(W[o], X[i], -1.0, ball)
                    farthest = cp.maximum(columns[i, o] - low, high - columns[i, o])
                    model.terms.append(share * omega[i] * 0.5 * cp.square(cp.pos(farthest)))
                continue
            for matrix, sign in pairs(i):
                margin = model.worst(matrix, X[i], sign, ball)
                model.terms.append(share * omega[i] * MARGIN_LOSS[loss](margin))
    for rows, margin in [hard_margin] if hard_margin else []:
        for i in rows:
            model.constraints += [model.worst(matrix, X[i], sign, r[i]) >= margin for matrix, sign in pairs(i)]
    for rows, margin in [margin_curve] if margin_curve else []:
        for i in rows:
            curve = margin / r[i] ** 2
            model.constraints += [model.worst(matrix, X[i], sign, r[i], curve) >= margin for matrix, sign in pairs(i)]
    return model.solve(beta)


N, D = 12, 3


def data():
    rng = np.random.default_rng(0)
    X = 0.5 * rng.standard_normal((N, D))
    y = np.where(X[:, 0] + 0.3 * X[:, 1] ** 2 + 0.3 * rng.standard_normal(N) > 0, 1, -1)
    return X, y, rng.integers(0, 3, N), X[:, 0] ** 2 + X[:, 1]


def cases():
    _, y, three, target = data()
    radii = np.where(np.arange(N) % 3 == 0, 0.0, 0.1 + 0.01 * np.arange(N))
    first = np.arange(4)
    weight = np.arange(N)
    return {
        "hinge": (y, {}),
        "hinge robust": (y, {"radius": 0.1}),
        "squared hinge": (y, {"loss": "squared_hinge"}),
        "squared hinge radii": (y, {"loss": "squared_hinge", "radius": radii}),
        "logistic": (y, {"loss": "logistic"}),
        "logistic robust clean": (y, {"loss": "logistic", "radius": 0.15, "clean_weight": 0.3}),
        "squared": (target, {"loss": "squared"}),
        "squared robust": (target, {"loss": "squared", "radius": radii}),
        "squared outputs": (
            np.c_[target, -(target**2)],
            {"loss": "squared", "radius": 0.1, "clean_weight": 0.4},
        ),
        "ovr": (three, {"radius": 0.1}),
        "joint": (three, {"radius": radii, "multiclass": "joint"}),
        "joint logistic": (three, {"radius": 0.05, "multiclass": "joint", "loss": "logistic"}),
        "linf": (y, {"radius": 0.1, "norm": "linf"}),
        "linf joint clean": (
            three,
            {"radius": 0.1, "norm": "linf", "multiclass": "joint", "clean_weight": 0.5},
        ),
        "linf squared": (target, {"radius": 0.1, "norm": "linf", "loss": "squared"}),
        "ellipsoid": (y, {"radius": 0.2, "scale": [1.0, 0.0, 0.5]}),
        "linf ellipsoid": (y, {"radius": 0.2, "scale": [2.0, 0.0, 0.5], "norm": "linf"}),
        "weights": (y, {"radius": 0.1, "sample_weight": weight, "loss": "squared_hinge"}),
        "only clean": (y, {"radius": 0.1, "clean_weight": 1.0}),
        "hard margin": (y, {"radius": 0.05, "hard_margin": (first, 0.3)}),
        "hard margin joint": (three, {"multiclass": "joint", "hard_margin": (first, 0.2)}),
        "margin curve": (y, {"radius": 0.05, "margin_curve": (first, 0.3)}),
        "both constraints": (
            y,
            {
                "radius": 0.05,
                "margin_curve": (first, 0.3),
                "hard_margin": (first + 5, 0.1),
                "clean_weight": 0.5,
            },
        ),
        "pure square": (y, {"radius": 0.1, "activation": (1.0, 0.0, 0.0)}),
        "linear": (y, {"radius": 0.1, "activation": (0.0, 1.0, 1.0)}),
        "concave": (y, {"radius": 0.1, "activation": (-0.5, 0.3, 0.2)}),
        "zero is optimal": (y, {"radius": 10.0}),
    }


CASES = cases()
_SOLVED: dict[tuple[str, str, str], object] = {}


def problem_of(name):
    y, options = CASES[name]
    return PolynomialProblem(data()[0], y, beta=0.01, **options)


def solved(name, solver="CLARABEL", path="direct"):
    key = name, solver, path
    if key not in _SOLVED:
        _SOLVED[key] = solve_conic(problem_of(name), solver, path=path)
    return _SOLVED[key]


def relative(first, second):
    return abs(first - second) / max(abs(second), 1e-3)


@pytest.mark.parametrize("name", CASES)
def test_clarabel_agrees_with_the_naive_model(name):
    y, options = CASES[name]
    value, status = naive(data()[0], y, **options)
    assert status in ("optimal", "optimal_inaccurate")  # this form is harder on the solver
    solution = solved(name)
    assert solution.status is Status.OPTIMAL, solution
    assert relative(solution.variables["raw_objective"], value) < 2e-6
    assert relative(solution.objective, value) < 2e-6


@pytest.mark.parametrize("name", CASES)
def test_network_and_bound_close_the_gap(name):
    problem, solution = problem_of(name), solved(name)
    raw = solution.variables["raw_objective"]
    assert relative(solution.objective, raw) < 1e-6
    assert problem.evaluate(solution.network).violation <= 1e-6
    assert solution.gap < 1e-6
    assert problem.lower_bound(solution.certificate) == solution.lower_bound


@pytest.mark.parametrize("name", CASES)
def test_scs_agrees_and_no_bound_is_contradicted(name):
    clarabel, scs = solved(name), solved(name, "SCS")
    if name not in ("margin curve", "both constraints"):  # scaling cannot mend the end of a curve
        assert scs.violation <= 1e-6
        assert relative(scs.objective, clarabel.objective) < 1e-3
    best = min(clarabel.objective, scs.objective)
    allowance = 1e-7 * max(abs(best), 1e-3)
    assert clarabel.lower_bound <= best + allowance
    assert scs.lower_bound <= best + allowance
    assert relative(scs.lower_bound, best) < 2e-3


SOME = (
    "hinge robust",
    "logistic robust clean",
    "squared",
    "squared robust",
    "joint",
    "linf",
    "ellipsoid",
    "margin curve",
)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
def test_cvxpy_path_agrees_with_the_direct_path(name, solver):
    direct, other = solved(name), solved(name, solver, "cvxpy")
    raw = [solution.variables["raw_objective"] for solution in (other, direct)]
    assert relative(*raw) < (1e-6 if solver == "CLARABEL" else 1e-3)
    assert relative(other.lower_bound, direct.objective) < (1e-6 if solver == "CLARABEL" else 1e-3)
    assert other.lower_bound <= direct.objective * (1.0 + 1e-7)
    assert "cvxpy" in other.message


@needs_mosek
@pytest.mark.parametrize("name", CASES)
def test_mosek_agrees(name):
    direct, mosek = solved(name), solved(name, "MOSEK", None)
    assert relative(mosek.objective, direct.objective) < 2e-4
    assert mosek.lower_bound <= direct.objective * (1.0 + 1e-7)


def test_weighted_rows_equal_repeated_rows():
    X, y, _, _ = data()
    count = 1 + np.arange(N) % 3
    weighted = PolynomialProblem(X, y, radius=0.1, sample_weight=count)
    repeated = PolynomialProblem(np.repeat(X, count, 0), np.repeat(y, count), radius=0.1)
    first, second = solve_conic(weighted, "CLARABEL"), solve_conic(repeated, "CLARABEL")
    assert relative(first.objective, second.objective) < 1e-6


def test_degenerate_trust_regions_are_certified():
    """Rows at the centre of an even network: the worst perturbation has no direction of its own."""
    X = np.zeros((6, 3))
    X[3:] = np.eye(3)
    y = np.array([1, 1, 1, -1, -1, -1])
    solution = solve_conic(PolynomialProblem(X, y, radius=0.5, activation=(1.0, 0.0, 0.5)), "CLARABEL")
    assert solution.status is Status.OPTIMAL
    assert solution.gap < 1e-6


@pytest.mark.parametrize("size", [1e-2, 1e2])
def test_units_of_the_rows_do_not_matter(size):
    """x -> size x with the activation (a/size^2, b/size, c) is the same problem."""
    X, y, _, _ = data()
    a, b, c = 0.09, 0.5, 0.47
    problem = PolynomialProblem(X * size, y, radius=0.1 * size, activation=(a / size**2, b / size, c))
    solution = solve_conic(problem, "CLARABEL")
    assert solution.gap < 1e-6
    assert relative(solution.objective, solved("hinge robust").objective) < 1e-6


def test_one_feature_and_more_features_than_rows():
    rng = np.random.default_rng(1)
    for n, d in ((8, 1), (3, 6)):
        X, y = rng.standard_normal((n, d)), np.arange(n) % 2
        solution = solve_conic(PolynomialProblem(X, y, radius=0.1), "CLARABEL")
        assert solution.gap < 1e-6


def test_raw_variables_are_the_lift_of_the_network():
    solution = solved("joint")
    assert len(solution.variables["Z"]) == len(solution.variables["Z_prime"]) == 3
    for Z, Z_prime, (lifted, lifted_prime) in zip(
        solution.variables["Z"], solution.variables["Z_prime"], lift(solution.network), strict=True
    ):
        np.testing.assert_allclose(np.trace(Z[:-1, :-1]), Z[-1, -1], atol=1e-9)
        W, lifted_W = restore(Z) - restore(Z_prime), lifted - lifted_prime
        np.testing.assert_allclose(W, lifted_W, atol=1e-5)
    assert solution.variables["compile_time"] >= 0.0


class TestInfeasible:
    """Constraints that no network can meet."""

    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    @pytest.mark.parametrize("path", ["direct", "cvxpy"])
    def test_equal_rows_with_different_labels(self, solver, path):
        X, y, _, _ = data()
        X[1], y[:2] = X[0], (1, -1)
        problem = PolynomialProblem(X, y, hard_margin=([0, 1], 1.0))
        solution = solve_conic(problem, solver, path=path)
        assert solution.status is Status.INFEASIBLE
        assert solution.network is None
        assert solution.objective == np.inf
        assert solution.lower_bound > 1e3

    @pytest.mark.parametrize("name", ["hard_margin", "margin_curve"])
    def test_balls_too_large(self, name):
        X, y, _, _ = data()
        _, status = naive(X, y, radius=2.0, **{name: (range(N), 1.0)})
        assert status == "infeasible"
        solution = solve_conic(PolynomialProblem(X, y, radius=2.0, **{name: 1.0}), "CLARABEL")
        assert solution.status is Status.INFEASIBLE

    def test_a_claim_without_proof_is_a_failure(self, monkeypatch):
        from convexadv.solvers.conic import solve as module
        from convexadv.solvers.conic.answer import Answer, Outcome

        def wrong(program, *settings):
            return Answer(Outcome.INFEASIBLE, "wrong", None, np.zeros(len(program.offset)))

        monkeypatch.setattr(module, "run_clarabel", wrong)
        solution = solve_conic(problem_of("hinge"), "CLARABEL")
        assert solution.status is Status.FAILED
        assert "proof" in solution.message


class TestStatus:
    """What the solver says is translated, with measured numbers beside it."""

    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    @pytest.mark.parametrize("path", ["direct", "cvxpy"])
    @pytest.mark.parametrize(
        ("limit", "status"), [({"max_iter": 1}, Status.MAX_ITER), ({"time_limit": 1e-9}, Status.TIME_LIMIT)]
    )
    def test_limits(self, solver, path, limit, status):
        problem = problem_of("hinge robust")
        solution = solve_conic(problem, solver, path=path, **limit)
        assert solution.status is status
        assert solution.message
        assert solution.lower_bound <= solved("hinge robust").objective
        assert solution.objective >= solved("hinge robust").lower_bound
        assert solution.objective == problem.objective(solution.network)

    def test_time_limit_covers_all_components(self):
        solution = solve_conic(problem_of("ovr"), "CLARABEL", time_limit=1e-9)
        assert solution.status is Status.TIME_LIMIT
        assert solution.network is None
        assert solution.objective == np.inf
        assert "not started" in solution.message

    def test_tolerance_out_of_reach_is_inaccurate(self):
        solution = solve_conic(problem_of("hinge robust"), "CLARABEL", tol=1e-15)
        assert solution.status is Status.INACCURATE
        assert 0.0 < solution.gap < 1e-6

    def test_beta_zero_is_uncertified(self):
        X, y, _, _ = data()
        X[1], y[:2] = X[0], (1, -1)
        solution = solve_conic(PolynomialProblem(X, y, beta=0.0), "CLARABEL")
        assert solution.status is Status.UNCERTIFIED
        assert solution.lower_bound == 0.0

    def test_options_reach_the_solver(self):
        problem = problem_of("hinge robust")
        rough = solve(problem, "CLARABEL", tol_gap_abs=1e-2, tol_gap_rel=1e-2, tol_feas=1e-2)
        assert rough.gap > 10.0 * solved("hinge robust").gap
        fine = solve(problem, "SCS", eps_abs=1e-8, eps_rel=1e-8)
        assert fine.gap < 1e-5

    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    def test_unknown_options_are_refused(self, solver):
        with pytest.raises(InputError, match="no_such_option"):
            solve_conic(problem_of("hinge"), solver, no_such_option=1)

    def test_unknown_path_is_refused(self):
        with pytest.raises(InputError, match="path"):
            solve_conic(problem_of("hinge"), "CLARABEL", path="telepathy")

    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    def test_verbose_logs_and_prints_nothing(self, solver, caplog, capfd):
        with caplog.at_level(logging.INFO, logger="convexadv"):
            solve_conic(problem_of("hinge"), solver, verbose=True)
        assert "iter" in caplog.text
        assert capfd.readouterr().out == ""


class TestAvailability:
    """Solvers that cannot be used say so in one sentence."""

    def test_states(self):
        states = available_solvers()
        assert states["CLARABEL"] == states["SCS"] == states["torch"] == "available"
        assert states["MOSEK"]

    @pytest.mark.skipif(MOSEK_REASON == "available", reason="MOSEK has a licence here")
    def test_mosek_without_licence_is_one_sentence(self):
        with pytest.raises(
            SolverUnavailableError, match=r'^solver="MOSEK" cannot be used: .*; use .*"torch"\.$'
        ) as error:
            solve(problem_of("hinge"), "MOSEK")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(("solver", "package"), [("MOSEK", "mosek"), ("SCS", "scs"), ("CLARABEL", "clarabel")])
    def test_missing_packages(self, solver, package, monkeypatch):
        real = availability.find_spec
        monkeypatch.setattr(availability, "find_spec", lambda name: None if name == package else real(name))
        availability.mosek_state.cache_clear()
        try:
            with pytest.raises(SolverUnavailableError, match="not installed"):
                solve_conic(problem_of("hinge"), solver)
        finally:
            availability.mosek_state.cache_clear()


class TestMemory:
    """The estimate, and the refusal before anything large is made."""

    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    def test_large_problems_are_refused_at_once(self, solver):
        problem = PolynomialProblem(np.ones((5000, 500)), np.arange(5000) % 2, radius=0.1)
        start = time.perf_counter()
        with pytest.raises(SolverUnavailableError, match=r'GB for n=5000, d=500.*solver="torch"'):
            solve_conic(problem, solver)
        assert time.perf_counter() - start < 1.0

    def test_little_memory_refuses_what_fits_otherwise(self, monkeypatch):
        monkeypatch.setattr(memory, "available", lambda: 1e5)
        with pytest.raises(SolverUnavailableError, match="available"):
            solve_conic(problem_of("hinge robust"), "CLARABEL")

    def test_some_memory_is_found(self):
        assert memory.available() > 1e6

    @pytest.mark.parametrize("name", CASES)
    def test_coefficients_are_counted_right(self, name):
        problem = problem_of(name)
        for component in problem.components:
            counted = memory.size(problem, component).entries
            program = compile_component(problem, component)
            assert 0.8 < counted / program.matrix.nnz < 1.25

    def test_system_without_any_statement_is_not_refused(self, monkeypatch, tmp_path):
        monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "missing")
        monkeypatch.setattr(memory, "_CGROUP", tmp_path)
        monkeypatch.delattr(memory.os, "sysconf", raising=False)
        assert memory.available() == np.inf

    def test_container_limits_are_read(self, monkeypatch, tmp_path):
        (tmp_path / "memory.max").write_text("1000\n")
        (tmp_path / "memory.current").write_text("900\n")
        (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
        monkeypatch.setattr(memory, "_CGROUP", tmp_path)
        assert memory.available() == 400.0
        (tmp_path / "memory.max").write_text("max\n")
        assert memory.available() > 1e6


def test_svec_keeps_inner_products_and_orders():
    rng = np.random.default_rng(2)
    for order in (1, 2, 5):
        A, B = (matrix + matrix.T for matrix in rng.standard_normal((2, order, order)))
        i, j = svec.triangle(order)
        a, b = (matrix[i, j] * svec.factors(order) for matrix in (A, B))
        np.testing.assert_allclose(a @ b, (A * B).sum())
        np.testing.assert_allclose(svec.to_matrix(a), A)
        np.testing.assert_array_equal(svec.position(i, j), np.arange(svec.length(order)))
        lower = [A[row, column] for column in range(order) for row in range(column, order)]
        np.testing.assert_allclose((A[i, j])[svec.lower_by_columns(order)], lower)


def test_certificate_needs_nothing_but_the_problem():
    """A certificate rebuilt from its arrays proves the same bound; half of it proves less."""
    problem, solution = problem_of("joint"), solved("joint")
    atoms = solution.certificate.atoms
    assert problem.lower_bound(OptimalityCertificate(tuple(atoms))) == solution.lower_bound
    assert solution.certificate.nbytes > 0
