"""The conic backend of activation patterns against an independent model, written row by row from docs/mathematics.md."""

from __future__ import annotations

import logging
import time
import warnings

import cvxpy as cp
import numpy as np
import pytest

from convexadv.errors import InputError, SolverUnavailableError
from convexadv.problems import GatedReLUProblem, OptimalityCertificate, ReLUProblem
from convexadv.solvers import Status, solve
from convexadv.solvers.conic import memory, pattern_memory, solve_patterns, solver_states
from convexadv.solvers.conic.pattern_compiler import compile_patterns

MOSEK_REASON = solver_states()["MOSEK"]
needs_mosek = pytest.mark.skipif(MOSEK_REASON != "available", reason=MOSEK_REASON)

N, D, P = 14, 3, 5
KINDS = {"relu": ReLUProblem, "gated": GatedReLUProblem}
DUAL = {"l1": "inf", "l2": 2, "linf": 1}
MARGIN_LOSS = {
    "hinge": lambda m: cp.pos(1 - m),
    "squared_hinge": lambda m: cp.square(cp.pos(1 - m)),
    "logistic": lambda m: cp.logistic(-m),
}


class NaiveModel:
    """Weights, cones and worst-case margins, one small constraint after the other."""

    def __init__(self, X, G, outputs, kind, radius, norm, fit_intercept):
        self.perturbed = np.arange(X.shape[1])
        if fit_intercept:
            X = np.c_[X, np.ones(len(X))]
            G = G if len(G) == X.shape[1] else np.r_[G, np.zeros((1, G.shape[1]))]
        self.X, self.G, self.kind, self.q, self.constraints = X, G, kind, DUAL[norm], []
        self.on = X @ G >= 0
        shape = outputs, G.shape[1]
        self.v = [[cp.Variable(X.shape[1]) for _ in range(shape[1])] for _ in range(outputs)]
        self.penalty = sum(cp.norm(v, 2) for row in self.v for v in row)
        if kind == "relu":
            w = [[cp.Variable(X.shape[1]) for _ in range(shape[1])] for _ in range(outputs)]
            self.penalty += sum(cp.norm(v, 2) for row in w for v in row)
            for k in range(shape[1]):
                side = np.where(self.on[:, k], 1.0, -1.0)
                for u in (self.v, w):
                    for o in range(outputs):
                        self.constraints += [
                            side[i] * (X[i] @ u[o][k]) >= (radius[i] * self.norm(u[o][k]) if radius[i] else 0.0)
                            for i in range(len(X))
                        ]
            self.v = [[self.v[o][k] - w[o][k] for k in range(shape[1])] for o in range(outputs)]

    def norm(self, v):
        return cp.norm(v[self.perturbed], self.q)

    def worst(self, i, direction, sign, radius):
        """Worst-case margin of sign * direction'f at row i."""
        blocks = [
            sum(entry * self.v[o][k] for o, entry in enumerate(direction) if entry) for k in range(self.on.shape[1])
        ]
        reach = radius * np.linalg.norm(self.G[self.perturbed], ord=np.inf if self.q == "inf" else self.q, axis=0)
        moving = (np.abs(self.X[i] @ self.G) <= reach) & (radius > 0) & (self.kind == "gated")
        fixed = [blocks[k] for k in np.flatnonzero(self.on[i] & ~moving)]
        total = sum(fixed) if fixed else np.zeros(self.X.shape[1])
        margin = sign * (self.X[i] @ total)
        if radius > 0 and fixed:
            margin = margin - radius * self.norm(total)
        for k in np.flatnonzero(moving):
            margin = margin + cp.minimum(0, sign * (self.X[i] @ blocks[k]) - radius * self.norm(blocks[k]))
        return margin

    def solve(self, terms, beta):
        model = cp.Problem(cp.Minimize(sum(terms) + beta * self.penalty), self.constraints)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")
            value = model.solve(solver="CLARABEL")
        assert model.status in ("optimal", "optimal_inaccurate")
        return value


def naive(
    kind,
    X,
    y,
    *,
    gates,
    radius=0.0,
    beta=0.01,
    loss="hinge",
    norm="l2",
    multiclass="ovr",
    fit_intercept=False,
    sample_weight=None,
):
    n = len(X)
    r = np.broadcast_to(np.asarray(radius, float), (n,))
    omega = np.ones(n) if sample_weight is None else np.asarray(sample_weight, float)
    omega = omega / omega.sum()
    targets = np.asarray(y, float).reshape(n, -1)
    classes = np.unique(y)
    outputs = targets.shape[1] if loss == "squared" else 1 if len(classes) == 2 else len(classes)
    model = NaiveModel(X, gates, outputs, kind, r, norm, fit_intercept)
    unit, terms = np.eye(outputs), []
    for i in np.flatnonzero(omega):
        if loss == "squared":
            for o in range(outputs):
                low = targets[i, o] - model.worst(i, unit[o], 1.0, r[i])
                high = -targets[i, o] - model.worst(i, unit[o], -1.0, r[i])
                worst = cp.pos(cp.maximum(low, high)) if r[i] > 0 else low
                terms.append(omega[i] * 0.5 * cp.square(worst))
            continue
        own = int(np.flatnonzero(classes == y[i])[0])
        if outputs == 1:
            pairs = [(unit[0], 1.0 if own == 1 else -1.0)]
        elif multiclass == "ovr":
            pairs = [(unit[c], 1.0 if c == own else -1.0) for c in range(outputs)]
        else:
            pairs = [(unit[own] - unit[c], 1.0) for c in range(outputs) if c != own]
        terms += [omega[i] * MARGIN_LOSS[loss](model.worst(i, e, sign, r[i])) for e, sign in pairs]
    return model.solve(terms, beta)


def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D))
    y = np.where(X[:, 0] + np.abs(X[:, 1]) + 0.5 * rng.standard_normal(N) > 0.5, 1, -1)
    return X, y, rng.integers(0, 3, N), np.abs(X[:, 0]) + 0.3 * rng.standard_normal(N), rng.standard_normal((D, P))


def cases():
    _, y, three, target, G = data()
    rng = np.random.default_rng(1)
    radii = np.where(np.arange(N) % 3 == 0, 0.0, 0.01 + 0.003 * np.arange(N))
    both = np.c_[target, -(target**2)]
    tilted = np.r_[G, 0.3 * rng.standard_normal((1, P))]
    return {
        "hinge": (y, {}),
        "hinge l2": (y, {"radius": 0.03}),
        "hinge l1 intercept": (y, {"radius": 0.03, "norm": "l1", "fit_intercept": True}),
        "hinge linf radii": (y, {"radius": radii, "norm": "linf"}),
        "squared hinge": (y, {"loss": "squared_hinge", "fit_intercept": True}),
        "squared hinge linf weights": (
            y,
            {"loss": "squared_hinge", "radius": 0.02, "norm": "linf", "sample_weight": np.arange(N)},
        ),
        "logistic": (y, {"loss": "logistic"}),
        "logistic l2 tilted gates": (
            y,
            {"loss": "logistic", "radius": radii, "fit_intercept": True, "gates": tilted},
        ),
        "logistic l1": (y, {"loss": "logistic", "radius": 0.03, "norm": "l1"}),
        "squared": (target, {"loss": "squared"}),
        "squared weights": (target, {"loss": "squared", "sample_weight": np.arange(N), "fit_intercept": True}),
        "squared l2": (target, {"loss": "squared", "radius": 0.03}),
        "squared l1 radii": (target, {"loss": "squared", "radius": radii, "norm": "l1"}),
        "squared outputs": (both, {"loss": "squared"}),
        "squared outputs linf": (both, {"loss": "squared", "radius": 0.02, "norm": "linf", "fit_intercept": True}),
        "ovr": (three, {"loss": "squared_hinge"}),
        "ovr l2": (three, {"radius": 0.03}),
        "joint": (three, {"multiclass": "joint"}),
        "joint l2 radii": (three, {"multiclass": "joint", "radius": radii}),
        "joint linf squared hinge": (
            three,
            {"multiclass": "joint", "radius": 0.02, "norm": "linf", "loss": "squared_hinge"},
        ),
        "joint l1 logistic": (
            three,
            {"multiclass": "joint", "radius": 0.02, "norm": "l1", "loss": "logistic", "fit_intercept": True},
        ),
        "wide balls": (y, {"radius": 0.4}),
        "zero is optimal": (y, {"beta": 10.0, "radius": 0.02}),
    }


CASES = cases()
BOTH = [(kind, name) for kind in KINDS for name in CASES]
_SOLVED: dict[tuple, object] = {}


def problem_of(kind, name):
    y, options = CASES[name]
    return KINDS[kind](data()[0], y, **{"gates": data()[4], **options})


def solved(kind, name, solver="CLARABEL", path="direct"):
    key = kind, name, solver, path
    if key not in _SOLVED:
        _SOLVED[key] = solve_patterns(problem_of(kind, name), solver, path=path)
    return _SOLVED[key]


def relative(first, second):
    return abs(first - second) / max(abs(second), 1e-3)


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_clarabel_agrees_with_the_naive_model(kind, name):
    y, options = CASES[name]
    value = naive(kind, data()[0], y, **{"gates": data()[4], **options})
    solution = solved(kind, name)
    assert solution.status is Status.OPTIMAL, solution
    assert relative(solution.variables["raw_objective"], value) < 2e-6
    assert relative(solution.objective, value) < 2e-6


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_network_and_bound_close_the_gap(kind, name):
    problem, solution = problem_of(kind, name), solved(kind, name)
    assert relative(solution.objective, solution.variables["raw_objective"]) < 1e-6
    assert problem.objective(solution.network) == solution.objective
    assert solution.violation <= 1e-12
    assert solution.lower_bound <= solution.objective * (1.0 + 1e-9)
    assert solution.gap < 1e-6
    assert problem.lower_bound(solution.certificate) == solution.lower_bound


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_scs_agrees_and_no_bound_is_contradicted(kind, name):
    clarabel, scs = solved(kind, name), solved(kind, name, "SCS")
    assert scs.violation <= 1e-12
    assert relative(scs.objective, clarabel.objective) < 1e-3
    best = min(clarabel.objective, scs.objective)
    assert max(clarabel.lower_bound, scs.lower_bound) <= best * (1.0 + 1e-7)
    assert relative(scs.lower_bound, best) < 2e-3


SOME = ("hinge l2", "hinge linf radii", "logistic l1", "squared", "squared l2", "joint linf squared hinge")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
def test_cvxpy_path_agrees_with_the_direct_path(kind, name, solver):
    direct, other = solved(kind, name), solved(kind, name, solver, "cvxpy")
    tolerance = 1e-6 if solver == "CLARABEL" else 1e-3
    assert relative(other.objective, direct.objective) < tolerance
    assert relative(other.lower_bound, direct.objective) < tolerance
    assert other.lower_bound <= direct.objective * (1.0 + 1e-7)
    assert "cvxpy" in other.message


@needs_mosek
@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_mosek_agrees(kind, name):
    direct, mosek = solved(kind, name), solved(kind, name, "MOSEK", None)
    assert relative(mosek.objective, direct.objective) < 2e-4
    assert mosek.lower_bound <= direct.objective * (1.0 + 1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_raw_weights_are_those_of_the_objective(kind):
    """The penalty and the squared loss of the raw weights, from their definition, give the raw objective."""
    X, _, _, target, G = data()
    raw, on = solved(kind, "squared").variables["raw"], X @ G >= 0
    assert raw.shape == (2 if kind == "relu" else 1, P, D, 1)
    total = raw[0] - raw[1] if kind == "relu" else raw[0]
    residual = target - np.einsum("ik,id,kd->i", on, X, total[..., 0])
    value = 0.5 * np.mean(residual**2) + 0.01 * np.linalg.norm(raw, axis=2).sum()
    assert relative(value, solved(kind, "squared").variables["raw_objective"]) < 1e-6


def test_network_meets_worst_cases_on_its_rows():
    """A robust ReLU network is recovered with its pattern: sampled perturbations never beat the margins it claims."""
    X, y, _, _, _ = data()
    problem, solution = problem_of("relu", "hinge l2"), solved("relu", "hinge l2")
    rng = np.random.default_rng(2)
    worst = np.full(N, np.inf)
    for _ in range(200):
        step = rng.standard_normal((N, D))
        step *= 0.03 / np.linalg.norm(step, axis=1, keepdims=True)
        worst = np.minimum(worst, y * solution.network.scores(X + step))
    sampled = np.maximum(0.0, 1.0 - worst).mean() + 0.01 * problem.evaluate(solution.network).penalty
    assert sampled <= solution.objective * (1.0 + 1e-9)
    assert sampled > 0.9 * solution.objective


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_rows_equal_repeated_rows(kind):
    X, y, _, _, G = data()
    count = 1 + np.arange(N) % 3
    options = {"radius": 0.03, "gates": G}
    first = solve_patterns(KINDS[kind](X, y, sample_weight=count, **options), "CLARABEL")
    second = solve_patterns(KINDS[kind](np.repeat(X, count, 0), np.repeat(y, count), **options), "CLARABEL")
    assert relative(first.objective, second.objective) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_units_of_the_rows_do_not_matter(kind, size):
    """x -> size x with beta -> size beta is the same problem."""
    X, y, _, _, G = data()
    problem = KINDS[kind](X * size, y, gates=G, radius=0.03 * size, beta=0.01 * size)
    solution = solve_patterns(problem, "CLARABEL")
    assert solution.gap < 1e-5
    assert relative(solution.objective, solved(kind, "hinge l2").objective) < 1e-5


class TestDegenerate:
    """Cones without an interior, rows without content, gates without rows."""

    @pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    def test_dead_patterns(self, norm, solver):
        """Balls that reach over the hyperplanes of most gates leave only zero in their cones."""
        X, y, _, _, G = data()
        options = {"radius": 0.15, "norm": norm}
        value = naive("relu", X, y, gates=G, **options)
        problem = ReLUProblem(X, y, gates=G, **options)
        solution = solve_patterns(problem, solver)
        assert solution.violation <= 1e-12
        assert relative(solution.objective, value) < (2e-6 if solver == "CLARABEL" else 1e-3)
        assert solution.lower_bound <= value * (1.0 + 1e-7)
        assert solution.gap < (1e-6 if solver == "CLARABEL" else 2e-3)

    @pytest.mark.parametrize("norm", ["l2", "linf"])
    def test_all_patterns_dead(self, norm):
        X, y, _, _, G = data()
        solution = solve_patterns(ReLUProblem(X, y, gates=G, radius=3.0, norm=norm), "CLARABEL")
        assert solution.status is Status.OPTIMAL, solution
        assert solution.network.n_neurons == 0
        assert relative(solution.objective, 1.0) < 1e-12

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("radius", [0.0, 0.02])
    def test_rows_of_zeros_and_equal_gates(self, kind, radius):
        X, y, _, _, G = data()
        X[3], radii = 0.0, np.where(np.arange(N) == 3, 0.0, radius)
        G = np.c_[G, G[:, 0], 2.0 * G[:, 1]]
        value = naive(kind, X, y, gates=G, radius=radii)
        solution = solve_patterns(KINDS[kind](X, y, gates=G, radius=radii), "CLARABEL")
        assert solution.status is Status.OPTIMAL, solution
        assert relative(solution.objective, value) < 2e-6
        assert solution.variables["raw"].shape[1] == P + 2

    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_but_zeros(self, kind):
        X, y, _, _, G = data()
        solution = solve_patterns(KINDS[kind](0.0 * X, y, gates=G), "CLARABEL")
        assert solution.status is Status.OPTIMAL, solution
        assert solution.network.n_neurons == 0

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("loss", ["hinge", "logistic", "squared_hinge"])
    def test_weights_of_all_sizes(self, kind, loss):
        """The multiplier of a row of hardly any weight is noise over its weight: it must not spoil the bound."""
        X, y, _, _, G = data()
        weight = np.where(np.arange(N) % 2 == 0, 1.0, 1e-9)
        problem = KINDS[kind](X, y, gates=G, radius=0.02, loss=loss, sample_weight=weight)
        assert solve_patterns(problem, "CLARABEL").gap < 1e-6

    @pytest.mark.parametrize("kind", KINDS)
    def test_gate_without_active_rows(self, kind):
        X, y, _, _, G = data()
        X[:, 0] = np.abs(X[:, 0]) + 1.0
        G = np.c_[G, [-1.0, 0.0, 0.0]]
        solution = solve_patterns(KINDS[kind](X, y, gates=G, radius=0.01), "CLARABEL")
        value = naive(kind, X, y, gates=G, radius=0.01)
        assert relative(solution.objective, value) < 2e-6
        assert np.linalg.norm(solution.variables["raw"][:, -1]) < 1e-5

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_row_and_one_feature(self, kind):
        rng = np.random.default_rng(3)
        for n, d in ((1, 3), (8, 1)):
            X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
            for radius in (0.0, 0.01):
                problem = KINDS[kind](X, y, gates=rng.standard_normal((d, 3)), radius=radius, loss="squared")
                assert solve_patterns(problem, "CLARABEL").gap < 1e-6


class TestStatus:
    """What the solver says is translated, with measured numbers beside it."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    @pytest.mark.parametrize(
        ("limit", "status"), [({"max_iter": 1}, Status.MAX_ITER), ({"time_limit": 1e-9}, Status.TIME_LIMIT)]
    )
    def test_limits(self, kind, solver, limit, status):
        problem, optimum = problem_of(kind, "joint l2 radii"), solved(kind, "joint l2 radii")
        solution = solve_patterns(problem, solver, **limit)
        assert solution.status is status
        assert solution.message
        assert solution.violation <= 1e-6
        assert solution.lower_bound <= optimum.objective
        assert solution.objective >= optimum.lower_bound
        assert solution.objective == problem.objective(solution.network)

    def test_time_limit_covers_all_components(self):
        solution = solve_patterns(problem_of("relu", "ovr"), "CLARABEL", time_limit=1e-9)
        assert solution.status is Status.TIME_LIMIT
        assert solution.network is None
        assert solution.objective == np.inf
        assert "not started" in solution.message
        missing = np.isnan(solution.variables["raw"]).all((0, 1, 2))
        np.testing.assert_array_equal(missing, [False, True, True])

    def test_tolerance_out_of_reach_is_inaccurate(self):
        solution = solve_patterns(problem_of("relu", "hinge l2"), "CLARABEL", tol=1e-15)
        assert solution.status is Status.INACCURATE
        assert 0.0 < solution.gap < 1e-6

    @pytest.mark.parametrize("kind", KINDS)
    def test_beta_zero_is_uncertified(self, kind):
        X, y, _, _, G = data()
        solution = solve_patterns(KINDS[kind](X, y, gates=G, beta=0.0, loss="squared"), "CLARABEL")
        assert solution.status is Status.UNCERTIFIED
        assert solution.lower_bound <= solution.objective

    def test_a_claim_of_infeasibility_is_a_failure(self, monkeypatch):
        """The programme is always feasible: the claim has no proof."""
        from convexadv.solvers.conic import solve as module
        from convexadv.solvers.conic.answer import Answer, Outcome

        def wrong(program, *settings):
            return Answer(Outcome.INFEASIBLE, "wrong", None, np.zeros(len(program.offset)))

        monkeypatch.setattr(module, "run_clarabel", wrong)
        solution = solve_patterns(problem_of("relu", "hinge l2"), "CLARABEL")
        assert solution.status is Status.FAILED
        assert solution.network is None

    def test_options_reach_the_solver(self):
        problem = problem_of("relu", "hinge l2")
        rough = solve(problem, "CLARABEL", tol_gap_abs=1e-2, tol_gap_rel=1e-2, tol_feas=1e-2)
        assert rough.gap > 10.0 * solved("relu", "hinge l2").gap
        fine = solve(problem, "SCS", eps_abs=1e-8, eps_rel=1e-8)
        assert fine.gap < 1e-5

    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    def test_unknown_options_are_refused(self, solver):
        with pytest.raises(InputError, match="no_such_option"):
            solve_patterns(problem_of("gated", "hinge"), solver, no_such_option=1)

    def test_unknown_path_is_refused(self):
        with pytest.raises(InputError, match="path"):
            solve_patterns(problem_of("gated", "hinge"), "CLARABEL", path="telepathy")

    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    def test_verbose_logs_and_prints_nothing(self, solver, caplog, capfd):
        with caplog.at_level(logging.INFO, logger="convexadv"):
            solve_patterns(problem_of("gated", "hinge"), solver, verbose=True)
        assert "iter" in caplog.text
        assert capfd.readouterr().out == ""

    @pytest.mark.skipif(MOSEK_REASON == "available", reason="MOSEK has a licence here")
    def test_mosek_without_licence_is_one_sentence(self):
        with pytest.raises(SolverUnavailableError, match=r'^solver="MOSEK" cannot be used: .*use .*"torch"\.$'):
            solve(problem_of("gated", "hinge"), "MOSEK")


class TestMemory:
    """The estimate, and the refusal before anything large is made."""

    @pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
    def test_large_problems_are_refused_at_once(self, solver, monkeypatch):
        monkeypatch.setattr(memory, "available", lambda: 64e9)
        problem = ReLUProblem(np.ones((3000, 300)), np.arange(3000) % 2, gates=np.ones((300, 500)))
        start = time.perf_counter()
        with pytest.raises(SolverUnavailableError, match=r'GB for n=3000, d=300.*1000 blocks.*solver="torch"'):
            solve_patterns(problem, solver)
        assert time.perf_counter() - start < 1.0

    def test_little_memory_refuses_what_fits_otherwise(self, monkeypatch):
        monkeypatch.setattr(memory, "available", lambda: 1e5)
        with pytest.raises(SolverUnavailableError, match="available"):
            solve_patterns(problem_of("relu", "hinge l2"), "CLARABEL")

    @pytest.mark.parametrize(("kind", "name"), BOTH)
    def test_coefficients_are_counted_right(self, kind, name):
        problem = problem_of(kind, name)
        for component in problem.components:
            counted = pattern_memory.pattern_size(problem, component)
            program = compile_patterns(problem, component)
            assert 0.9 < counted.entries / program.matrix.nnz < 1.1
            assert counted.coupled == program.coupled


@pytest.mark.parametrize("kind", KINDS)
def test_certificate_needs_nothing_but_the_problem(kind):
    """Parts of the certificate prove less: none of them is there for show."""
    solution, problem = solved(kind, "joint linf squared hinge"), problem_of(kind, "joint linf squared hinge")
    certificate = solution.certificate
    assert certificate.nbytes > 0
    assert bool(certificate.cones) == (kind == "relu")
    assert bool(certificate.shares) == (kind == "gated")
    less = problem.lower_bound(OptimalityCertificate(certificate.atoms))
    assert less < solution.lower_bound - 1e-4
