"""Cone decomposition: least against a conic solver and closed forms, exact on the training rows, refusals that are true."""

import warnings

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from convexadv import GatedReLUNetwork, GatedReLUProblem, InputError, ReLUNetwork, ReLUProblem
from convexadv.cone_decomposition import gated_to_relu, relu_problem_of
from convexadv.cone_decomposition import parts as module
from convexadv.problems import AtomSet, OptimalityCertificate

METHODS = ("minimal", "fast")


def labels(n):
    return np.arange(n) % 2


def problem_and_network(X, gates, weights, y=None, **options):
    """A gated problem over these gates (columns), and the network with weights (P, D) or (P, D, C) on them."""
    problem = GatedReLUProblem(X, labels(len(X)) if y is None else y, gates=gates, **options)
    d, gates, weights = problem.n_features, problem.gates.T, np.asarray(weights, float)
    offsets = (gates[:, d], weights[:, d]) if problem.fit_intercept else (None, None)
    return problem, GatedReLUNetwork(gates[:, :d], weights[:, :d], *offsets, classes=problem.classes)


def decomposed(X, gates, weights, *arguments, **options):
    problem, network = problem_and_network(X, gates, weights, **options)
    return gated_to_relu(problem, network, *arguments)


def cone_of(X, gate):
    """(2 D - I) X by a loop."""
    return np.array([x if sum(a * b for a, b in zip(x, gate, strict=True)) >= 0 else -x for x in X])


def part(result, gate, side, output=0):
    """The part of a block, zero where there is none."""
    blocks = result.blocks
    chosen = (blocks.gate == gate) & (blocks.side == side) & (blocks.output == output)
    assert chosen.sum() <= 1
    return blocks.vectors[chosen].sum(0)


def least(A, v):
    """min ||a|| + ||b||, a - b = v, A a >= 0, A b >= 0, as it is written."""
    a, b = cp.Variable(len(v)), cp.Variable(len(v))
    length = np.linalg.norm(A, axis=1, keepdims=True)
    A = (A / np.where(length > 0, length, 1))[length[:, 0] > 0]
    problem = cp.Problem(cp.Minimize(cp.norm(a) + cp.norm(b)), [a - b == v, A @ a >= 0, A @ b >= 0])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        return problem.solve("CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)


def plain(rng, n, d):
    return rng.standard_normal((n, d))


def whole(rng, n, d):
    return rng.integers(-2, 3, (n, d)).astype(float)


def signs(rng, n, d):
    return rng.choice([-1.0, 1.0], (n, d))


def twice(rng, n, d):
    X = rng.standard_normal((n // 2, d))
    return np.concatenate([X, X, 3 * X[:2], np.zeros((1, d))])


def flat(rng, n, d):
    return rng.standard_normal((n, d // 2)) @ rng.standard_normal((d // 2, d))


def stretched(rng, n, d):
    return rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-4, 4, d)


def wide(rng, n, d):
    return rng.standard_normal((max(2, d - 1), d))


KINDS = (plain, whole, signs, twice, flat, stretched, wide)


def example(kind, seed, P=4):
    """Rows of a kind, gates, and weights: random, or near a gate or its opposite."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    n, d = int(rng.integers(4, 50)), int(rng.integers(2, 8))
    X, gates, weights = kind(rng, n, d), rng.standard_normal((d, P)), rng.standard_normal((P, d))
    if seed % 3 == 0:
        weights = rng.choice([-1.0, 1.0], (P, 1)) * gates.T + 10.0 ** rng.uniform(-8, 0) * weights
    return X, gates, weights * 10.0 ** rng.uniform(-3, 3, (P, 1))


def check_exact(X, gates, weights, result):
    """Parts in their cones to 1e-12, their difference the weights to rounding, predictions those of the patterns."""
    for k, v in enumerate(weights):
        A, a, b = cone_of(X, gates[:, k]), part(result, k, 1), part(result, k, -1)
        assert np.abs(a - b - v).max() <= 1e-15 * (np.abs(a).max() + np.abs(b).max()) + 1e-14 * np.abs(v).max()
        for u in (a, b):
            assert (A @ u >= -1.01e-12 * np.linalg.norm(A, axis=1) * np.linalg.norm(u)).all()
    assert result.violation <= 1.01e-12
    expected = sum(np.where((cone_of(X, gates[:, k]) == X).all(1), X @ v, 0.0) for k, v in enumerate(weights))
    size = np.abs(X).max() * np.abs(result.blocks.vectors).max()
    assert np.abs(result.network.scores(X) - expected).max() <= 1e-11 * size


def attempt(*arguments):
    """The decomposition and None, or None and the sentence of the refusal."""
    try:
        return decomposed(*arguments), None
    except InputError as error:
        return None, str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_parts_are_those_of_a_conic_solver(kind):
    """About 130 blocks a kind, exact; "fast" is never shorter."""
    for seed in range(32):
        X, gates, weights = example(kind, seed)
        result, refusal = attempt(X, gates, weights)
        if refusal:
            assert "leave the cone no interior" in refusal
            assert not all(decomposable(cone_of(X, gates[:, k]), v) for k, v in enumerate(weights))
            continue
        check_exact(X, gates, weights, result)
        fast = decomposed(X, gates, weights, None, "fast")
        check_exact(X, gates, weights, fast)
        for k, v in enumerate(weights):
            size = np.linalg.norm(v)
            cost, fast_cost = (
                sum(np.linalg.norm(part(each, k, side)) for side in (1, -1)) / size for each in (result, fast)
            )
            assert cost == pytest.approx(least(cone_of(X, gates[:, k]), v / size), rel=1e-6)
            assert cost <= fast_cost * (1 + 1e-12)


def decomposable(A, v):
    """Whether b exists with A b >= max(0, -A v), and a likewise, in units of the largest entry."""
    for sign in (1, -1):
        need = np.maximum(-sign * (A @ v), 0) / np.where(A.any(1), np.linalg.norm(A, axis=1), 1)
        rows = A / np.where(A.any(1), np.linalg.norm(A, axis=1), 1)[:, None]
        if need.max() <= 1e-14 * np.linalg.norm(v):
            return True
        if linprog(np.zeros(len(v)), A_ub=-rows, b_ub=-need / need.max(), bounds=(None, None)).status == 2:
            return False
    return True


@pytest.mark.parametrize("integers", [whole, signs])
def test_refusals_of_gates_on_rows_are_true_and_name_the_rows(integers):
    """Gates that go through rows: where rows lie on both sides of the origin, K - K is a proper subspace."""
    refused = kept = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X, gates = integers(rng, int(rng.integers(4, 40)), int(rng.integers(2, 6))), None
        gates = rng.integers(-2, 3, (X.shape[1], 4)).astype(float)
        gates[0, ~gates.any(0)] = 1.0
        weights = (
            rng.standard_normal((4, X.shape[1])) if seed % 2 else gates.T + 1e-6 * rng.standard_normal(gates.T.shape)
        )
        for k in range(4):
            A, one = cone_of(X, gates[:, k]), slice(k, k + 1)
            for method in METHODS:
                result, refusal = attempt(X, gates[:, one], weights[one], None, method)
                assert decomposable(A, weights[k]) == (refusal is None)
                if refusal is None:
                    check_exact(X, gates[:, one], weights[one], result)
                    kept += 1
                else:
                    words = refusal.split("rows ")[1].split(" leave")[0].split(", ")
                    named = [int(word) for word in words if word != "..."]
                    assert np.abs(X[named] @ gates[:, k]).max() < 1e-12
                    refused += 1
    assert min(refused, kept) > 20


def test_opposite_rows_on_a_gate():
    X, gate = np.array([[1.0, 0, 1], [-1, 0, 1], [0, 1, 0], [0, -1, 0]]), np.array([[0.0], [0], [1]])
    with pytest.raises(InputError, match=r"gate 0 .* rows 2, 3 leave the cone no interior"):
        decomposed(X, gate, [[1.0, 1.0, 1.0]])
    for method in METHODS:
        result = decomposed(X, gate, [[3.0, 0.0, 1.0]], None, method)
        check_exact(X, gate, np.array([[3.0, 0.0, 1.0]]), result)
    assert decomposed(X, gate, [[3.0, 0.0, 1.0]]).growth == pytest.approx(np.sqrt(2) * 3 / np.sqrt(10), rel=1e-9)


def test_a_gate_on_the_boundary_of_a_cone_with_an_interior():
    """No multiple of the gate helps, another direction does; "fast" finds it too."""
    X, gate = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[0.0], [1.0]])
    results = [decomposed(X, gate, [[-2.0, 0.5]], None, method) for method in METHODS]
    for result in results:
        check_exact(X, gate, np.array([[-2.0, 0.5]]), result)
    assert (
        results[0].penalty_relu == results[1].penalty_relu == pytest.approx(least(X, np.array([-2.0, 0.5])), rel=1e-7)
    )


@pytest.mark.parametrize("angle", [1e-7, 1e-3, 0.3, 1.0, 1.5])
def test_closed_form_in_a_wedge(angle):
    """A wedge of this half angle around e1 and v = e2: both parts on its edges, growth 1 / sin(angle)."""
    X = np.array([[np.sin(angle), np.cos(angle)], [np.sin(angle), -np.cos(angle)]])
    result = decomposed(X, [[1.0], [0.0]], [[0.0, 1.0]])
    assert result.growth == pytest.approx(1 / np.sin(angle), rel=1e-9)
    assert result.penalty_gated == 1.0
    for side in (1, -1):
        assert part(result, 0, side) == pytest.approx([0.5 / np.tan(angle), 0.5 * side], rel=1e-9)


@pytest.mark.parametrize("noise", [0.0, 1e-15])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_weights_in_a_cone_stay(monkeypatch, sign, noise):
    """Nothing is solved, and a part that is a rounding error becomes no neuron."""
    rng = np.random.default_rng(0)
    X, gate = rng.standard_normal((200, 4)), rng.standard_normal((4, 1))
    found = module._least_parts
    monkeypatch.setattr(module, "_shortest", None)
    monkeypatch.setattr(module, "_least_parts", lambda *arguments: found(*arguments) + noise * rng.standard_normal(4))
    for method in METHODS:
        result = decomposed(X, gate, sign * gate.T, None, method)
        assert result.growth == pytest.approx(1.0, rel=1e-14)
        assert result.blocks.side.tolist() == [sign]
        assert result.network.n_neurons == 1


def test_weights_near_a_cone_nearly_stay():
    rng = np.random.default_rng(0)
    X, gate = rng.standard_normal((200, 4)), rng.standard_normal((4, 1))
    A = cone_of(X, gate[:, 0])
    row = A[(A @ gate[:, 0]).argmin()]
    on_it = gate[:, 0] - row * (row @ gate[:, 0]) / (row @ row)
    rise = []
    for beyond in 10.0 ** -np.arange(1.0, 11):
        v = on_it - beyond * row
        result = decomposed(X, gate, v[None])
        check_exact(X, gate, v[None], result)
        rise.append((result.growth - 1) / beyond)
        if beyond > 1e-5:
            assert result.growth == pytest.approx(least(A, v) / np.linalg.norm(v), rel=1e-7)
    assert rise[4:] == pytest.approx(6 * [rise[3]], rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e-140, 1e-8, 1e8, 1e140])
def test_units_do_not_matter(method, factor):
    X, gates, weights = example(plain, 1)
    usual = decomposed(X, gates, weights, None, method)
    scaled = decomposed(X, gates, weights * factor, None, method)
    assert scaled.growth == pytest.approx(usual.growth, rel=1e-9)
    gates = gates * factor
    assert decomposed(X, gates, weights, None, method).growth == pytest.approx(usual.growth, rel=1e-9)
    assert decomposed(factor**0.5 * X, gates, weights, None, method).growth == pytest.approx(usual.growth, rel=1e-9)


def test_blocks_of_rows_and_of_products_do_not_matter(monkeypatch):
    X, gates, weights = example(plain, 4, P=6)
    usual = [decomposed(X, gates, weights, None, method) for method in METHODS]
    monkeypatch.setattr(module, "_ENTRIES", 20)
    shards = [X[:7], torch.as_tensor(X[7:20]), X[20:]]
    for method, before in zip(METHODS, usual, strict=True):
        problem, network = problem_and_network(shards, gates, weights, y=labels(len(X)))
        problem.rows.block_rows = 3
        after = gated_to_relu(problem, network, None, method)
        assert after.penalty_relu == pytest.approx(before.penalty_relu, rel=1e-9)
        check_exact(X, gates, weights, after)


@pytest.mark.parametrize("drops", [0, 1000])
def test_rows_that_leave_the_working_set_do_not_change_the_answer(monkeypatch, drops):
    monkeypatch.setattr(module, "_DROPS", drops)
    rng = np.random.default_rng(3)
    X, gates, weights = rng.standard_normal((400, 6)), rng.standard_normal((6, 3)), rng.standard_normal((3, 6))
    result = decomposed(X, gates, weights)
    check_exact(X, gates, weights, result)
    expected = sum(least(cone_of(X, gates[:, k]), v) for k, v in enumerate(weights))
    assert result.penalty_relu == pytest.approx(expected, rel=1e-7)


def test_parts_off_their_cones_are_pushed_back_along_the_gate(monkeypatch):
    """As after a careless solver: the difference stays, and the price is what the push costs."""
    X, gates, weights = example(plain, 1)
    exact, found = decomposed(X, gates, weights), module._least_parts

    def careless(problem, blocks):
        shift = 1e-5 * np.random.default_rng(0).standard_normal(blocks.vectors.shape)
        return found(problem, blocks) + shift

    monkeypatch.setattr(module, "_least_parts", careless)
    result = decomposed(X, gates, weights)
    check_exact(X, gates, weights, result)
    assert exact.penalty_relu < result.penalty_relu < 1.1 * exact.penalty_relu


SETTINGS = {
    "two classes": ({"loss": "logistic"}, lambda rng, n: rng.choice(["no", "yes"], n)),
    "three classes": ({"loss": "squared_hinge"}, lambda rng, n: np.arange(n) % 3),
    "joint": ({"multiclass": "joint"}, lambda rng, n: np.arange(n) % 3),
    "regression": ({"loss": "squared"}, lambda rng, n: rng.standard_normal(n)),
    "two targets": ({"loss": "squared"}, lambda rng, n: rng.standard_normal((n, 2))),
    "weights": ({"sample_weight": np.arange(30.0)}, lambda rng, n: np.arange(n) % 2),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_training_predictions_and_losses_stay_in_every_kind_of_problem(name, intercept, method):
    options, target = SETTINGS[name]
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((30, 3)) + 0.3, target(rng, 30)
    problem = GatedReLUProblem(X, y, n_gates=6, beta=0.02, fit_intercept=intercept, **options)
    gates = problem.gates.T
    weights = rng.standard_normal((len(gates), *problem.gates.shape[:1], problem.n_outputs))
    weights[0], weights[1, :, 0] = 0.0, 0.0
    more = (gates[:, 3], weights[:, 3]) if intercept else (None, None)
    network = GatedReLUNetwork(gates[:, :3], weights[:, :3], *more, classes=problem.classes)
    test = rng.standard_normal((50, 3))
    result = gated_to_relu(problem, network, test, method)
    assert isinstance(result.network, ReLUNetwork)
    before, after = (np.reshape(each.scores(X), (30, -1)) for each in (network, result.network))
    assert np.abs(before - after).max() <= 1e-10 * np.abs(result.blocks.vectors).max()
    assert result.objective_gated == pytest.approx(problem.objective(network), rel=1e-12)
    assert result.penalty_gated == pytest.approx(np.linalg.norm(weights, axis=1).sum(), rel=1e-12)
    assert result.penalty_relu == pytest.approx(np.linalg.norm(result.blocks.vectors, axis=1).sum(), rel=1e-9)
    assert result.penalty_relu == pytest.approx(result.network.penalty(), rel=1e-12)
    assert result.growth == result.penalty_relu / result.penalty_gated >= 1.0
    rise = 0.02 * (result.penalty_relu - result.penalty_gated)
    assert result.objective_relu == pytest.approx(result.objective_gated + rise, rel=1e-9)
    fresh = ReLUProblem(X, y, gates=problem.gates, beta=0.02, fit_intercept=intercept, **options)
    assert result.objective_relu == pytest.approx(fresh.objective(result.network), rel=1e-12)
    change, before, after = result.off_training_change, network.scores(test), result.network.scores(test)
    assert change.rows == 50
    assert change.largest == pytest.approx(np.abs(before - after).max())
    assert change.root_mean_square == pytest.approx(np.sqrt(np.mean((before - after) ** 2)))
    if problem.classes is None:
        assert change.labels == 0
    else:
        assert change.labels == (network.predict(test) != result.network.predict(test)).sum()
    assert gated_to_relu(problem, network, X, method).off_training_change.largest <= 1e-10 * np.abs(after).max() + 1e-9


def test_the_least_decomposition_lies_above_the_relu_optimum_and_that_above_the_gated_one():
    rng = np.random.default_rng(0)
    X, beta = rng.standard_normal((20, 3)), 0.02
    y = np.sign(X[:, 0] * X[:, 1])
    problem = GatedReLUProblem(X, y, n_gates=6, beta=beta, loss="squared_hinge")
    P = problem.n_gates

    def optimum(cones):
        sides = (1.0, -1.0) if cones else (1.0,)
        V = {(k, side): cp.Variable(3) for k in range(P) for side in sides}
        margins = [
            y[i] * sum(side * (X[i] @ v) for (k, side), v in V.items() if X[i] @ problem.gates[:, k] >= 0)
            for i in range(20)
        ]
        loss = sum(cp.square(cp.pos(1 - margin)) for margin in margins) / 20
        limits = [cone_of(X, problem.gates[:, k]) @ v >= 0 for (k, _), v in V.items()] if cones else []
        cost = loss + beta * sum(cp.norm(v) for v in V.values())
        return cp.Problem(cp.Minimize(cost), limits).solve("CLARABEL"), V

    gated, V = optimum(cones=False)
    network = GatedReLUNetwork(problem.gates.T, np.array([V[k, 1.0].value for k in range(P)]), classes=problem.classes)
    result = gated_to_relu(problem, network)
    relu = optimum(cones=True)[0]
    assert gated == pytest.approx(result.objective_gated, rel=1e-6)
    assert gated <= relu + 1e-7
    assert relu <= result.objective_relu + 1e-7


def test_gates_that_neurons_share_and_zero_networks():
    rng = np.random.default_rng(2)
    X, gates = rng.standard_normal((12, 3)), rng.standard_normal((3, 2))
    problem = GatedReLUProblem(X, labels(12), gates=gates)
    u, v = rng.standard_normal((2, 3))
    network = GatedReLUNetwork(gates.T[[0, 0, 1]] * [[1], [4], [1]], [u, v, 0 * v], classes=[0, 1])
    result = gated_to_relu(problem, network)
    assert result.penalty_relu == pytest.approx(least(cone_of(X, gates[:, 0]), u + v), rel=1e-7)
    assert result.network.n_neurons == len(result.blocks) == 2
    nothing = GatedReLUNetwork(gates.T, np.zeros((2, 3)), classes=[0, 1])
    cancelled = GatedReLUNetwork(gates.T[[0, 0]], [u, -u], classes=[0, 1])
    for method in METHODS:
        for network, growth in ((nothing, 1.0), (cancelled, 0.0)):
            result = gated_to_relu(problem, network, X, method)
            assert (result.growth, result.network.n_neurons, result.violation) == (growth, 0, 0.0)
            assert result.off_training_change.largest == 0.0


def test_the_same_cone_on_two_gates_gives_merged_neurons():
    """Both gates have one pattern, and each v is the gate of the other, in its cone."""
    X, gates = np.array([[1.0, 0.2], [1.0, -0.1]]), np.array([[1.0, 2.0], [0.0, 0.1]])
    direction = np.array([1.0, 0.5])
    result = decomposed(X, gates, [direction, 3 * direction])
    assert len(result.blocks) == 2
    assert result.network.n_neurons == 1
    assert result.growth == pytest.approx(1.0, rel=1e-12)


def test_the_relu_problem_of_a_gated_one_is_that_of_the_same_arguments():
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((15, 3)), np.arange(15) % 3
    options = {"radius": np.linspace(0, 0.1, 15), "beta": 0.3, "loss": "logistic", "norm": "l1", "fit_intercept": True}
    problem = GatedReLUProblem(X, y, n_gates=8, random_state=3, **options)
    twin, fresh = relu_problem_of(problem), ReLUProblem(X, y, n_gates=8, random_state=3, **options)
    assert type(twin) is ReLUProblem
    assert repr(twin) == repr(fresh)
    assert np.shares_memory(twin.patterns, problem.patterns)
    assert np.shares_memory(twin.gates, problem.gates)
    assert twin.gate_sample is problem.gate_sample
    assert (twin.sides, twin.cones, twin.unstable) == (fresh.sides, fresh.cones, None)
    assert (twin.active == fresh.active).all()
    assert (problem.sides, problem.cones) == ((1,), False)
    assert problem.unstable is not None
    gates = fresh.gates.T
    network = ReLUNetwork(gates[:, :3], rng.standard_normal((len(gates), 3)), gates[:, 3], classes=[0, 1, 2])
    assert twin.evaluate(network) == fresh.evaluate(network)
    certificate = OptimalityCertificate(tuple(AtomSet(c, 0, rng.random((1, 1, 15))) for c in range(3)))
    assert twin.lower_bound(certificate) == fresh.lower_bound(certificate)
    assert twin.zero_objective() == problem.zero_objective()
    assert (fresh.recast(GatedReLUProblem).unstable == problem.unstable).all()


X3, GATES = np.random.default_rng(0).standard_normal((6, 2)), np.eye(2)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p, net: gated_to_relu(p, net, method="quick"), "method='quick' is unknown"),
        (lambda p, net: gated_to_relu(relu_problem_of(p), net), "a ReLUProblem was given; a GatedReLUProblem"),
        (lambda p, net: relu_problem_of("problem"), "a str was given; a GatedReLUProblem is needed"),
        (lambda p, net: gated_to_relu(p, None), "a NoneType was given; a GatedReLUNetwork is needed"),
        (lambda p, net: gated_to_relu(p, ReLUNetwork(GATES, [1.0, 1.0])), "a ReLUNetwork was given"),
        (lambda p, net: gated_to_relu(p, GatedReLUNetwork(-GATES, GATES)), "none of the problem's 2 gates"),
        (lambda p, net: gated_to_relu(p, net, np.ones((2, 3))), r"X must have shape \(n, 2\)"),
        (
            lambda p, net: gated_to_relu(GatedReLUProblem(X3, labels(6), gates=GATES, radius=0.25), net),
            "balls of radius up to 0.25; .* give a problem with radius=0",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(call, sentence):
    problem, network = problem_and_network(X3, GATES, GATES)
    with pytest.raises(InputError, match=sentence):
        call(problem, network)
