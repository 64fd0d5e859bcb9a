"""Pattern cones: projections against cvxpy, NNLS and Moreau's decomposition; interiors and proofs of emptiness."""

from __future__ import annotations

import itertools
import warnings

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import nnls

from convexadv.cones import Cones, completed, hull_of, interiors_of, project, pulled, searched, vanishing, violations
from convexadv.cones.dead import proved_dead, reach_of
from convexadv.problems import ReLUProblem
from convexadv.problems.blocks import Blocks
from convexadv.problems.pattern_bound import prices
from convexadv.problems.pattern_cones import cone_interiors, cones_of, into_cones
from convexadv.solvers.interior import outside
from convexadv.solvers.interior.dead import DeadCones

DUAL = {"l1": "inf", "l2": 2, "linf": 1}
PRIMAL = {"l1": 1, "l2": 2, "linf": np.inf}
SOLVERS = {
    "CLARABEL": {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11},
    "SCS": {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 20000},
}


class Case:
    """Rows, gates and radii; the cones written again for cvxpy, one row at a time."""

    def __init__(self, norm="l2", radius=0.0, intercept=False, n=14, d=3, m=5, seed=0):
        rng = np.random.default_rng(seed)
        self.X = rng.standard_normal((n, d)) * rng.uniform(0.2, 3.0, n)[:, None]
        if intercept:
            self.X = np.c_[self.X, np.ones(n)]
        self.perturbed = np.arange(self.X.shape[1]) < d
        self.radius = radius * np.where(np.arange(n) % 4 == 0, 0.0, rng.uniform(0.5, 1.0, n))
        self.norm = norm
        self.gates = rng.standard_normal((self.X.shape[1], m))
        self.signs = (self.X @ self.gates >= 0).T
        self.targets = rng.standard_normal((m, self.X.shape[1])) * rng.uniform(0.01, 100.0, m)[:, None]

    @property
    def cones(self):
        return Cones(self.X, self.signs, self.radius, self.norm, self.perturbed)

    def constraints(self, j, v, slack=0.0):
        own = []
        for x, active, r in zip(self.X, self.signs[j], self.radius, strict=True):
            value = (1 if active else -1) * (x @ v)
            if r > 0:
                value = value - r * cp.norm(v[self.perturbed], DUAL[self.norm])
            own.append(value >= slack * np.linalg.norm(x))
        return own

    def nearest(self, j, solver, extra=0.0):
        """argmin 1/2 ||v - target||^2 + extra ||v|| over the cone."""
        size = np.linalg.norm(self.targets[j])
        v = cp.Variable(len(self.gates))
        cost = 0.5 * cp.sum_squares(v - self.targets[j] / size) + extra / size * cp.norm(v)
        solved(cp.Problem(cp.Minimize(cost), self.constraints(j, v)), solver)
        return size * v.value

    def worst(self, v, j):
        """Largest relative violation of one vector."""
        size = np.linalg.norm(v[self.perturbed], ord=np.inf if DUAL[self.norm] == "inf" else DUAL[self.norm])
        slack = np.where(self.signs[j], 1, -1) * (self.X @ v) - self.radius * size
        return max(0.0, float((-slack / np.linalg.norm(self.X, axis=1)).max())) / np.linalg.norm(v)


def solved(problem, solver="CLARABEL"):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        return problem.solve(solver=solver, **SOLVERS[solver])


CASES = {
    "plain": Case(),
    "plain intercept": Case(intercept=True),
    "l2": Case("l2", 0.1),
    "l2 intercept": Case("l2", 0.1, True),
    "l1": Case("l1", 0.15),
    "l1 intercept": Case("l1", 0.15, True),
    "linf": Case("linf", 0.06),
    "linf intercept": Case("linf", 0.06, True),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", CASES)
def test_projection_agrees_with_cvxpy(name, solver):
    case = CASES[name]
    result = project(case.cones, case.targets)
    for j, target in enumerate(case.targets):
        expected = case.nearest(j, solver)
        assert np.linalg.norm(result.points[j] - expected) <= 2e-5 * np.linalg.norm(target)
        assert result.prices[j] == pytest.approx(np.linalg.norm(expected), abs=2e-5 * np.linalg.norm(target))


@pytest.mark.parametrize("name", CASES)
def test_prices_are_what_multipliers_and_tilts_prove(name):
    case = CASES[name]
    result = project(case.cones, case.targets)
    assert (result.multipliers >= 0).all()
    assert (result.tilts is None) == (not case.radius.any())
    for j, target in enumerate(case.targets):
        vector = target + sum(
            mu * (1 if active else -1) * x
            for mu, active, x in zip(result.multipliers[j], case.signs[j], case.X, strict=True)
        )
        if result.tilts is not None:
            tilt = result.tilts[j]
            assert np.linalg.norm(tilt, ord=PRIMAL[case.norm]) <= 1.0
            assert (tilt[~case.perturbed] == 0).all()
            vector = vector - (result.multipliers[j] @ case.radius) * tilt
        size = np.linalg.norm(target)
        assert np.linalg.norm(vector) <= result.prices[j] <= np.linalg.norm(vector) + 1e-10 * size
        assert result.prices[j] <= np.linalg.norm(result.points[j]) + 1e-6 * size
        inside = pulled(case.cones, result.points, interiors_of(case.cones, case.gates.T, 0.5))[j]
        assert target @ inside <= result.prices[j] * np.linalg.norm(inside)


@pytest.mark.parametrize("steps", [0, 2, 5])
@pytest.mark.parametrize("name", CASES)
def test_prices_hold_wherever_the_method_ends(name, steps):
    case = CASES[name]
    end, short = project(case.cones, case.targets), project(case.cones, case.targets, max_steps=steps)
    length = np.linalg.norm(case.targets, axis=1)
    assert (short.prices >= end.prices - 1e-6 * length).all()
    assert (short.prices <= length * (1 + 1e-12)).all()


def test_plain_projection_agrees_with_nonnegative_least_squares():
    case = Case(n=60, d=7, m=20)
    result = project(case.cones, case.targets)
    for j, target in enumerate(case.targets):
        rows = np.where(case.signs[j], 1.0, -1.0)[:, None] * case.X
        mu, price = nnls(rows.T, -target)
        assert result.prices[j] == pytest.approx(price, rel=1e-6, abs=1e-6 * np.linalg.norm(target))
        assert np.linalg.norm(result.points[j] - target - mu @ rows) <= 1e-6 * np.linalg.norm(target)


@pytest.mark.parametrize("name", CASES)
def test_moreau_decomposition(name):
    case = CASES[name]
    points = project(case.cones, case.targets).points
    others = pulled(case.cones, np.tile(points, (1, 1)), interiors_of(case.cones, case.gates.T, 0.5))
    for j, target in enumerate(case.targets):
        rest, size = target - points[j], np.linalg.norm(target)
        assert case.worst(points[j], j) <= 1e-6 or np.linalg.norm(points[j]) <= 1e-6 * size
        assert abs(points[j] @ rest) <= 1e-6 * size**2
        assert others[j] @ rest <= 1e-6 * size**2


@pytest.mark.parametrize("name", CASES)
def test_prox_of_the_group_norm_is_the_shrinkage_of_the_projection(name):
    case = CASES[name]
    points = project(case.cones, case.targets).points
    for j, target in enumerate(case.targets):
        length = np.linalg.norm(points[j])
        for share in (0.3, 1.5):
            weight = share * max(length, 0.1 * np.linalg.norm(target))
            shrunk = points[j] * max(0.0, 1.0 - weight / length) if length > 0 else points[j]
            proximal = case.nearest(j, "CLARABEL", extra=weight)
            assert np.linalg.norm(shrunk - proximal) <= 2e-5 * np.linalg.norm(target)


def problem(norm="l2", radius=0.0, intercept=False, n=40, d=3, gates=12, seed=0, **options):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * rng.uniform(0.2, 3.0, n)[:, None]
    y = np.where(X[:, 0] > 0, 1, -1)
    return ReLUProblem(X, y, n_gates=gates, radius=radius, norm=norm, fit_intercept=intercept, **options)


def case_of(own):
    case = Case.__new__(Case)
    case.X, case.perturbed, case.norm = own.rows.whole(), own.perturbed, own.norm
    case.radius, case.gates, case.signs = own.radius, own.gates, own.patterns.T
    return case


PROBLEMS = {
    "plain": {},
    "plain intercept": {"intercept": True},
    "l2 dying": {"norm": "l2", "radius": 0.04},
    "l1 dying": {"norm": "l1", "radius": 0.05},
    "linf dying": {"norm": "linf", "radius": 0.03},
    "l2 intercept dying": {"norm": "l2", "radius": 0.2, "intercept": True},
    "l1 intercept dying": {"norm": "l1", "radius": 0.25, "intercept": True},
    "linf intercept dying": {"norm": "linf", "radius": 0.15, "intercept": True},
    "some rows": {"norm": "l2", "radius": np.where(np.arange(40) % 3 == 0, 0.0, 0.1), "intercept": True},
}


def deepest(case, j):
    """The largest smallest relative slack over the unit ball."""
    v, t = cp.Variable(len(case.gates)), cp.Variable()
    return solved(cp.Problem(cp.Maximize(t), [*case.constraints(j, v, t), cp.norm(v) <= 1]))


def longest(case, j):
    """The largest entry of a vector of the cone in the unit box: zero for the cone {0} only."""
    v = cp.Variable(len(case.gates))
    limits = [*case.constraints(j, v), cp.norm(v, "inf") <= 1]
    ends = itertools.product(range(len(case.gates)), (1, -1))
    return max(solved(cp.Problem(cp.Maximize(sign * v[entry]), limits)) for entry, sign in ends)


@pytest.mark.parametrize("name", PROBLEMS)
def test_interiors_are_as_deep_as_cvxpy_finds(name):
    own = problem(gates=8, **PROBLEMS[name])
    case, result = case_of(own), cone_interiors(own, accuracy=0.2)
    for j in range(own.n_gates):
        if result.dead[j]:
            assert result.dead[:j].sum() > 1 or longest(case, j) <= 1e-6
            assert not result.points[j].any()
            continue
        assert result.depth[j] > 0
        assert np.linalg.norm(result.points[j]) == pytest.approx(1.0)
        best = deepest(case, j)
        assert 0.8 * best - 1e-8 <= result.depth[j] <= best + 1e-8
        inner = Case.__new__(Case)
        inner.__dict__.update(case.__dict__)
        slack = np.where(case.signs[j], 1, -1) * (case.X @ result.points[j])
        slack -= case.radius * np.linalg.norm(
            result.points[j][case.perturbed], ord=np.inf if DUAL[case.norm] == "inf" else DUAL[case.norm]
        )
        assert (slack / np.linalg.norm(case.X, axis=1)).min() == pytest.approx(result.depth[j], rel=1e-9)
    if "dying" in name:
        assert 0 < result.dead.sum() < own.n_gates


def test_all_patterns_die_at_a_large_radius_but_the_constant_ones():
    own = problem(radius=30.0, intercept=True)
    constant = own.patterns.all(0) | ~own.patterns.any(0)
    np.testing.assert_array_equal(cone_interiors(own).dead, ~constant)
    assert cone_interiors(problem(radius=30.0)).dead.all()


def random_blocks(own, seed=11, noise=None):
    rng = np.random.default_rng(seed)
    gate = np.arange(2 * own.n_gates) // 2
    vectors = rng.standard_normal((len(gate), own.rows.d)) * rng.uniform(1e-3, 1e3, len(gate))[:, None]
    blocks = Blocks(gate, np.zeros(len(gate), int), np.tile([1.0, -1.0], own.n_gates), vectors)
    if noise is None:
        return blocks
    inside = into_cones(own, blocks).vectors
    size = np.linalg.norm(inside, axis=1)[:, None]
    return Blocks(blocks.gate, blocks.output, blocks.side, inside + noise * size * rng.standard_normal(inside.shape))


@pytest.mark.parametrize("noise", [None, 1e-2, 1e-6, 1e-9])
@pytest.mark.parametrize("name", PROBLEMS)
def test_blocks_end_inside_their_cones_and_hardly_moved(name, noise):
    own = problem(**PROBLEMS[name])
    blocks = random_blocks(own, noise=noise)
    result = into_cones(own, blocks)
    assert own.violation(result) <= 1e-12
    np.testing.assert_array_equal(result.gate, blocks.gate)
    np.testing.assert_array_equal(result.side, blocks.side)
    size = np.linalg.norm(blocks.vectors, axis=1)
    nearest = project(cones_of(own, blocks.gate), blocks.vectors).points
    assert (np.linalg.norm(result.vectors - nearest, axis=1) <= 2e-6 * size).all()
    if noise is not None:
        assert (np.linalg.norm(result.vectors - blocks.vectors, axis=1) <= 5.0 * noise * size).all()


def test_blocks_inside_their_cones_stay_as_they_are():
    own = problem(radius=0.02)
    inner = cone_interiors(own)
    alive = np.flatnonzero(inner.depth > 0)
    blocks = Blocks(alive, np.zeros(len(alive), int), np.ones(len(alive)), 3.0 * inner.points[alive])
    np.testing.assert_array_equal(into_cones(own, blocks).vectors, blocks.vectors)
    empty = blocks.take(np.zeros(0, int))
    assert len(into_cones(own, empty)) == 0


@pytest.mark.parametrize("name", PROBLEMS)
def test_pull_moves_no_further_than_the_violation_over_the_depth(name):
    own = problem(**PROBLEMS[name])
    inner = cone_interiors(own)
    alive = np.flatnonzero(inner.depth > 0)
    part = type(inner)(*(field[alive] for field in inner))
    cones = cones_of(own, alive)
    edge = project(cones, part.points + np.random.default_rng(11).standard_normal(part.points.shape)).points
    edge = edge - 1e-9 * np.linalg.norm(edge, axis=1)[:, None] * part.points
    off = violations(cones, edge)
    assert off.max() > 1e-11
    inside = pulled(cones, edge, part)
    assert violations(cones, inside).max() == 0.0
    moved = np.linalg.norm(inside - edge, axis=1) / np.linalg.norm(edge, axis=1)
    assert (moved <= 1.01 * off / part.depth + 1e-13).all()


def test_proof_that_a_cone_is_zero_counts_the_intercept():
    """A row at the origin bounds |v| by the offset, but says nothing against v = (0, b)."""
    X, y = np.array([[0.1], [2.0], [3.0]]), np.array([1, -1, 1])
    own = ReLUProblem(X, y, gates=np.array([[-1.0], [2.5]]), radius=0.2, fit_intercept=True)
    cones = cones_of(own, np.array([0]))
    system = cones.system(deepest=True)
    reach = reach_of(cones, system)
    assert longest(case_of(own), 0) > 0.1
    assert not proved_dead(cones, system, np.array([[1.0, 0.0, 0.0]]), reach).any()
    v = np.linspace(-1, 1, 201)
    grid = np.stack(np.meshgrid(v, v), -1).reshape(-1, 2)
    worst = (cones.signs[0] * 2 - 1) * (grid @ np.c_[X, np.ones(3)].T) - 0.2 * abs(grid[:, :1])
    kept = grid[(worst >= 0).all(1)]
    assert (kept[:, 1] <= reach.limit[0, 0] * abs(kept[:, 0]) + 1e-12).all()
    assert (-kept[:, 1] <= reach.limit[0, 1] * abs(kept[:, 0]) + 1e-12).all()


@pytest.mark.parametrize("radius", [0.8, 1e3, 1e6])
@pytest.mark.parametrize("name", ["l1", "l1 intercept", "l2", "l2 intercept", "linf", "linf intercept"])
def test_multipliers_of_dead_cones_lower_any_price_to_zero(name, radius):
    norm, _, intercept = name.partition(" ")
    case = Case(norm, radius, bool(intercept), seed=3)
    interiors, shares = searched(case.cones, case.gates.T, 0.2)
    dead = np.flatnonzero(interiors.dead)
    assert len(dead) >= 3
    assert (shares[dead].any(1)).all()
    cones, targets = case.cones.take(dead), case.targets[dead]
    multipliers, tilts = vanishing(cones, shares[dead], targets)
    assert (multipliers >= 0).all()
    assert (np.linalg.norm(tilts, ord=PRIMAL[norm], axis=1) <= 1.0).all()
    assert (tilts[:, ~case.perturbed] == 0).all()
    for j, number in enumerate(dead):
        signs = np.where(case.signs[number], 1.0, -1.0)
        left = targets[j] + (multipliers[j] * signs) @ case.X - (multipliers[j] @ case.radius) * tilts[j]
        mass = multipliers[j] @ (np.linalg.norm(case.X, axis=1) + case.radius)
        assert np.linalg.norm(left) <= 1e-14 * (np.linalg.norm(targets[j]) + mass)


def flat_cone(seed):
    """Rows of small integers, up to seven of them on the gate, some with their opposites."""
    rng = np.random.default_rng(seed)
    on = np.c_[np.zeros(seed % 8), rng.integers(-2, 3, (seed % 8, 3))]
    X = np.concatenate([rng.standard_normal((6, 4)), on, -on[: seed % 3]])
    gate = np.array([1.0, 0.0, 0.0, 0.0])
    return X, np.where(X @ gate >= 0, 1.0, -1.0), gate


@pytest.mark.parametrize("seed", range(12))
def test_the_hull_of_a_cone_is_what_no_linear_programme_leaves(seed):
    X, signs, gate = flat_cone(seed)
    v = cp.Variable(4)
    cone = [cp.multiply(signs, X @ v) >= 0, cp.abs(v) <= 1]
    reach = [
        cp.Problem(cp.Maximize(s * x @ v), cone).solve("CLARABEL") if x.any() else 1.0
        for s, x in zip(signs, X, strict=True)
    ]
    vanishing_rows = np.flatnonzero(np.array(reach) < 1e-6)
    hull = hull_of(X, signs, gate)
    if hull is None:
        assert len(vanishing_rows) == 0
        return
    np.testing.assert_array_equal(np.sort(hull.rows), vanishing_rows)
    rows = signs[hull.rows, None] * X[hull.rows]
    assert round(np.trace(hull.projector)) == 4 - np.linalg.matrix_rank(rows)
    np.testing.assert_allclose(hull.projector @ hull.projector, hull.projector, atol=1e-14)
    np.testing.assert_allclose(rows @ hull.projector, 0.0, atol=1e-14)
    others = np.setdiff1d(np.flatnonzero(X.any(1)), hull.rows)
    assert (signs[others] * (X[others] @ hull.point) > 1e-3).all()
    assert (hull.shares > 0).all()
    np.testing.assert_allclose(hull.shares @ rows, 0.0, atol=1e-12 * hull.shares.sum())
    targets = np.random.default_rng(seed).standard_normal((5, 4))
    multipliers = completed(hull, rows, targets - targets @ hull.projector)
    assert (multipliers >= 0).all()
    np.testing.assert_allclose(targets + multipliers @ rows, targets @ hull.projector, atol=1e-12)


def test_flat_cones_of_both_kinds_are_among_those_tried():
    hulls = [hull_of(*flat_cone(seed)) for seed in range(12)]
    assert any(hull is None for hull in hulls)
    assert len({round(np.trace(hull.projector)) for hull in hulls if hull is not None}) >= 3


def test_rows_of_zeros():
    X = np.array([[1.0, 2.0], [0.0, 0.0], [-1.0, 0.5]])
    y, gates = np.array([1, -1, 1]), np.array([[1.0, 0.2], [0.3, -1.0]])
    plain = ReLUProblem(X, y, gates=gates)
    without = ReLUProblem(X[[0, 2]], y[[0, 2]] * [1, -1], gates=gates)
    np.testing.assert_allclose(cone_interiors(plain).depth, cone_interiors(without).depth)
    assert into_cones(plain, random_blocks(plain)).vectors.any()
    robust = ReLUProblem(X, y, gates=gates, radius=1e-6)
    assert cone_interiors(robust).dead.all()
    blocks = random_blocks(robust)
    assert not into_cones(robust, blocks).vectors.any()
    result = project(cones_of(robust, blocks.gate), blocks.vectors)
    assert (result.prices <= 1e-6 * np.linalg.norm(blocks.vectors, axis=1)).all()
    cones = Cones(np.zeros((2, 3)), np.ones((1, 2)))
    np.testing.assert_array_equal(project(cones, np.array([[1.0, 2.0, 3.0]])).points, [[1.0, 2.0, 3.0]])


def test_flat_cone_is_met_up_to_rounding():
    """Rows x and -x on the hyperplane of the gate are both active: x'v = 0."""
    rng = np.random.default_rng(3)
    X, edge = rng.standard_normal((10, 4)), np.c_[np.zeros((2, 1)), rng.standard_normal((2, 3))]
    X = np.concatenate([X, edge, -edge])
    own = ReLUProblem(X, np.arange(len(X)) % 2, gates=np.eye(4)[:, :1])
    inner = cone_interiors(own)
    assert not inner.dead.any()
    assert inner.depth[0] <= 1e-12
    blocks = random_blocks(own)
    result = into_cones(own, blocks)
    assert own.violation(result) <= 1e-12
    case = case_of(own)
    case.targets = blocks.vectors
    case.signs, rows = np.repeat(case.signs, 2, 0), np.linalg.norm(blocks.vectors, axis=1)
    for j in range(2):
        assert np.linalg.norm(result.vectors[j] - case.nearest(j, "CLARABEL")) <= 1e-5 * rows[j]


@pytest.mark.parametrize("radius", [0.0, 0.02])
def test_multipliers_of_a_certificate_prove_the_same_prices(radius):
    own = problem(radius=radius, intercept=True)
    rng = np.random.default_rng(0)
    q = rng.standard_normal((own.n_gates, own.rows.d, 1))
    gate, side = np.repeat(np.arange(own.n_gates), 2), np.tile([1.0, -1.0], own.n_gates)
    targets = side[:, None] * q[gate, :, 0]
    expected = project(cones_of(own, gate), targets).prices
    dead = DeadCones(own, np.zeros(own.n_gates, bool))
    multipliers, found = outside.priced(own, np.arange(len(gate)), gate, targets, 1e-13, dead)
    part = outside.certificate_part(0, multipliers, gate, np.zeros(len(gate), int), side)
    proved = prices(own, q, [part])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(proved[0, :, 0], expected[::2], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(proved[1, :, 0], expected[1::2], rtol=1e-9, atol=1e-12)


def test_violations_are_those_of_the_problem():
    own = problem(radius=0.05, norm="linf", intercept=True)
    blocks = random_blocks(own)
    assert violations(cones_of(own, blocks.gate), blocks.vectors).max() == pytest.approx(own.violation(blocks))


@pytest.mark.parametrize("many", [1, 40])
def test_many_blocks_give_what_one_gives(monkeypatch, many):
    own = problem(radius=0.01, n=30, gates=30)
    blocks = random_blocks(own)
    cones = cones_of(own, blocks.gate)
    together = project(cones, blocks.vectors)
    monkeypatch.setattr("convexadv.cones.cone._ENTRIES", 100)
    monkeypatch.setattr("convexadv.cones.system._ENTRIES", 50)
    monkeypatch.setattr("convexadv.cones.system._MANY", many)
    alone = project(cones, blocks.vectors)
    np.testing.assert_allclose(alone.prices, together.prices, rtol=1e-6, atol=1e-6)
