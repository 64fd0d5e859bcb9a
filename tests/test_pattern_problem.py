"""ReLU and gated ReLU problems against plain loops and brute-force attacks on the networks, and what they refuse."""

import numpy as np
import pytest
from pattern_settings import EVERY, ROBUST, Setting, in_cones, random_blocks

from convexadv import GatedReLUNetwork, GatedReLUProblem, InputError, PolynomialNetwork, ReLUNetwork, ReLUProblem
from convexadv.problems import AtomSet, OptimalityCertificate
from convexadv.problems.blocks import Blocks


@EVERY
def test_the_objective_of_blocks_is_that_of_the_formulas(kind, name):
    """Blocks anywhere, also off their cones: objective, penalty and violation; the zero network has its closed form."""
    for seed in range(4):
        setting = Setting(kind, name, seed)
        problem, rng = setting.problem(), np.random.default_rng(seed)
        for m in (0, 1, 3, 8):
            blocks = random_blocks(rng, setting, m)
            penalty = sum(np.linalg.norm(v) for v in blocks.vectors)
            evaluation = problem.evaluate_blocks(blocks)
            expected = setting.objective(lambda i, e, s=setting, b=blocks: s.margin(i, e, b), penalty)
            assert evaluation.objective == pytest.approx(expected, rel=1e-12)
            assert evaluation.penalty == pytest.approx(penalty, rel=1e-12)
            assert evaluation.objective == pytest.approx(evaluation.loss + setting.beta * penalty, rel=1e-12)
            worst = 0.0
            if kind is ReLUProblem:
                for k, v in zip(blocks.gate, blocks.vectors, strict=True):
                    for x, on, r in zip(setting.rows, setting.patterns[:, k], setting.radii, strict=True):
                        short = r * setting.dual(v) - (1 if on else -1) * (x @ v)
                        worst = max(worst, short / np.linalg.norm(x) / np.linalg.norm(v))
            assert evaluation.violation == pytest.approx(worst, rel=1e-9, abs=1e-15)
        assert problem.zero_objective() == pytest.approx(setting.objective(lambda i, e: 0.0, 0.0), rel=1e-12)


@EVERY
def test_networks_and_blocks_are_the_same_point(kind, name):
    """Round trips, in both directions, and the network's own outputs on the rows."""
    for seed in range(4):
        setting = Setting(kind, name, seed)
        problem, rng = setting.problem(), np.random.default_rng(seed)
        for m in (0, 1, 6):
            blocks = in_cones(rng, setting, m)
            network = problem.network_of(blocks)
            assert network.classes is None or network.classes.tolist() == setting.classes
            evaluation, direct = problem.evaluate(network), problem.evaluate_blocks(blocks)
            again = problem.evaluate(problem.network_of(problem.blocks_of(network)[0]))
            summed = kind is GatedReLUProblem  # where blocks share a gate and an output, their network adds them up
            for other in (evaluation, again):
                assert other.loss == pytest.approx(direct.loss, rel=1e-12)
                assert other.penalty <= direct.penalty * (1 + 1e-12)
                assert summed or other.penalty == pytest.approx(direct.penalty, rel=1e-12)
                assert other.violation == pytest.approx(direct.violation, abs=1e-12)
            assert network.penalty() == pytest.approx(evaluation.penalty, rel=1e-12)
            outputs = np.zeros((len(setting.X), setting.outputs))
            for k, o, side, v in zip(blocks.gate, blocks.output, blocks.side, blocks.vectors, strict=True):
                outputs[:, o] += side * setting.patterns[:, k] * (setting.rows @ v)
            assert np.reshape(network.scores(setting.X), outputs.shape) == pytest.approx(outputs, rel=1e-9, abs=1e-12)


def network_margin(network, setting, i, e, deltas):
    """Least e'f(x_i + delta) of the network itself over these perturbations."""
    return float((np.reshape(network.scores(setting.X[i] + deltas), (len(deltas), -1)) @ e).min())


def along_the_gradient(network, setting, i, e):
    """The l2 perturbation against the slope of e'f at row i, from differences inside the ball."""
    h = 1e-3 * setting.radii[i] * np.eye(setting.features)
    ends = [np.reshape(network.scores(setting.X[i] + side * h), (len(h), -1)) @ e for side in (1, -1)]
    slope = ends[0] - ends[1]
    size = np.linalg.norm(slope)
    return -setting.radii[i] * slope[None] / (size if size > 0 else 1.0)


@ROBUST
def test_robust_objectives_of_relu_networks_are_exact(name):
    """In the cones the worst case over a ball is that of the network: at its corners, or against the slope (l2)."""
    for seed in range(8):
        setting = Setting(ReLUProblem, name, seed)
        problem, rng = setting.problem(), np.random.default_rng(seed)
        network = problem.network_of(in_cones(rng, setting, 5))
        evaluation = problem.evaluate(network)
        assert evaluation.violation == 0.0

        def brute(i, e, setting=setting, network=network, rng=rng):
            deltas = setting.extremes(rng, i)
            if setting.norm == "l2":
                deltas = np.r_[deltas, along_the_gradient(network, setting, i, e)]
            return network_margin(network, setting, i, e, deltas)

        assert evaluation.objective == pytest.approx(setting.objective(brute, network.penalty()), rel=1e-9)


@ROBUST
def test_robust_margins_of_gated_networks_are_safe(name):
    """About 500 attacked rows a kind: no perturbation of the network itself goes below the margins; some come close."""
    close = attacked = 0
    for seed in range(8):
        setting = Setting(GatedReLUProblem, name, seed)
        problem, rng = setting.problem(), np.random.default_rng(seed)
        for m in (2, 5):
            blocks = random_blocks(rng, setting, m)
            network = problem.network_of(blocks)
            merged = problem.blocks_of(network)[0]
            reached = []
            for i in range(len(setting.X)):
                deltas = setting.extremes(rng, i, 150)
                for alternatives in setting.terms(i):
                    for e, _ in alternatives:
                        bound = setting.margin(i, e, merged)
                        least = network_margin(network, setting, i, e, deltas)
                        assert least >= bound - 1e-12 * (1 + abs(bound))
                        reached.append((i, tuple(e), least))
                        close, attacked = close + (least <= bound + 0.1 * abs(bound)), attacked + 1
            table = {(i, e): least for i, e, least in reached}
            lower = setting.objective(lambda i, e, table=table: table[i, tuple(e)], network.penalty())
            assert problem.objective(network) >= lower * (1 - 1e-12)
    assert attacked > 150
    assert close > 0.3 * attacked


def test_gates_that_move_are_those_that_change_inside_the_ball():
    setting = Setting(GatedReLUProblem, "linf", 3, n=14, P=6)
    problem = setting.problem()
    assert (problem.unstable == setting.moving).all()
    assert (problem.active == (setting.patterns & ~setting.moving)).all()
    rng = np.random.default_rng(0)
    for i in range(14):
        on = (setting.X[i] + setting.extremes(rng, i)) @ setting.gates >= 0
        assert ((on.min(0) != on.max(0)) == setting.moving[i]).all()
    on_it = GatedReLUProblem(
        [[0.0, 2.0], [0.0, 2.0], [1.0, 1.0]], [0, 1, 0], gates=[[1.0], [0.0]], radius=[0.0, 0.1, 0.1]
    )
    assert on_it.unstable[:, 0].tolist() == [False, True, False]
    assert on_it.active[:, 0].tolist() == [True, False, True]
    assert setting.moving.any()
    assert not setting.moving.all()
    assert Setting(GatedReLUProblem, "hinge").problem().unstable is None


# Networks that are and are not of a problem


def test_neurons_with_foreign_patterns_are_refused_and_boundary_neurons_are_not():
    rng = np.random.default_rng(0)
    X, gates = rng.standard_normal((20, 2)), np.array([[1.0, 0.0], [0.1, 1.0]])
    problem = ReLUProblem(X, np.arange(20) % 2, gates=gates)
    foreign = ReLUNetwork([[1.0, 0.1], [-1.0, -0.1], [0.1, -1.0]], [1.0, 0.0, 0.0], classes=[0, 1])
    assert problem.evaluate(foreign).violation <= 1e-15  # neurons without effect may be anywhere
    differ = int((problem.patterns[:, 1] != (X @ [0.1, -1.0] >= 0)).sum())
    other = min(differ, int((problem.patterns[:, 0] != (X @ [0.1, -1.0] >= 0)).sum()))
    network = ReLUNetwork([[1.0, 0.1], [0.1, -1.0]], [1.0, 1.0], classes=[0, 1])
    with pytest.raises(InputError, match=rf"neuron 1 has .* none of the 2 .* differs on {other} of 20 rows"):
        problem.evaluate(network)
    for scale in (1e-200, 1e-3, 1e3, 1e200):
        scaled = ReLUNetwork(scale * network.neurons.detach(), network.coefficients.detach() / scale, classes=[0, 1])
        with pytest.raises(InputError, match="neuron 1 has"):
            problem.evaluate(scaled)
        good = ReLUNetwork(scale * np.array([[1.0, 0.1]]), np.array([1.0]) / scale, classes=[0, 1])
        assert problem.objective(good) == pytest.approx(problem.objective(foreign), rel=1e-12)
    X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.3, 1.0], [0.0, 0.0]])
    problem = ReLUProblem(X, [0, 1, 0, 1, 0], gates=np.array([[-1.0], [2.0]]))  # active on rows 1, 2, 3 and 4
    network = ReLUNetwork([[0.0, 1.0], [1e-12, 1.0], [-1.0, 0.3]], [1.0, 1.0, 1.0], classes=[0, 1])
    scores = network.scores(X)
    margins = np.array([-1, 1, -1, 1, -1]) * scores
    evaluation = problem.evaluate(network)
    assert evaluation.loss == pytest.approx(np.maximum(0, 1 - margins).mean(), rel=1e-9)
    assert evaluation.violation == pytest.approx(1e-12)
    beyond = ReLUNetwork([[1e-8, 1.0]], [1.0], classes=[0, 1])
    with pytest.raises(InputError, match=r"neuron 0 .* differs on 2 of 5 rows"):
        problem.evaluate(beyond)


def test_among_gates_that_differ_by_less_than_a_cosine_shows_the_right_one_is_found():
    """Gates 4e-9 apart with a row between them: their patterns differ, and only one is the network's."""
    angles = np.array([0.0, 4e-9, 8e-9])
    gates = np.array([np.cos(angles), np.sin(angles)])
    X = np.array([[-np.sin(2e-9), np.cos(2e-9)], [-np.sin(6e-9), np.cos(6e-9)], [1.0, 0.0]])
    problem = GatedReLUProblem(X, [0, 1, 1], gates=gates)
    assert len(np.unique(problem.patterns, axis=1).T) == 3
    for k in range(3):
        network = GatedReLUNetwork(3 * gates.T[[k]], [[0.5, 0.7]], classes=[0, 1])
        assert problem.blocks_of(network)[0].gate.tolist() == [k]
        margins = np.array([-1, 1, 1]) * network.scores(X)
        assert problem.evaluate(network).loss == pytest.approx(np.maximum(0, 1 - margins).mean())
    network = GatedReLUNetwork([[np.cos(2e-9), np.sin(2e-9)]], [[0.5, 0.7]], classes=[0, 1])
    with pytest.raises(InputError, match="gate 0 of the network is none of the problem's 3 gates"):
        problem.evaluate(network)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300])
def test_the_size_of_gates_does_not_matter(size):
    """Squares of their entries overflow or vanish."""
    setting = Setting(GatedReLUProblem, "linf", 1)
    usual = setting.problem()
    scaled = GatedReLUProblem(setting.X, setting.y, gates=size * setting.gates, beta=setting.beta, **setting.options)
    assert (scaled.unstable == usual.unstable).all()
    blocks = random_blocks(np.random.default_rng(0), setting, 5)
    network = usual.network_of(blocks)
    assert scaled.evaluate(network) == usual.evaluate(network)
    assert usual.evaluate(scaled.network_of(blocks)).objective == pytest.approx(usual.objective(network), rel=1e-12)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (
            lambda: ReLUNetwork(np.eye(3), [1.0, 1, 1], classes=[0, 1]),
            "3 features and 1 outputs; those of the problem, 2 and 1, are needed",
        ),
        (lambda: ReLUNetwork(np.eye(2), np.ones((2, 3)), classes=[0, 1, 2]), "2 features and 3 outputs"),
        (lambda: ReLUNetwork(np.eye(2), [1.0, 1.0], shift=[0.0, 1.0]), "scales its inputs itself"),
        (lambda: ReLUNetwork(np.eye(2), [1.0, 1.0], scale=[1.0, 2.0]), "scales its inputs itself"),
        (lambda: ReLUNetwork(np.eye(2), [1.0, 1.0], [0.0, 1.0]), "neurons with offsets; a problem with fit_intercept"),
        (lambda: PolynomialNetwork(np.eye(2), [1.0, 1.0]), "a PolynomialNetwork was given; a ReLUNetwork is needed"),
        (lambda: None, "a NoneType was given"),
        (lambda: GatedReLUNetwork(np.eye(2), np.eye(2)), "a GatedReLUNetwork was given; a ReLUNetwork is needed"),
    ],
)
def test_networks_of_other_kinds_are_refused_by_relu_problems(network, sentence):
    with pytest.raises(InputError, match=sentence):
        ReLUProblem(np.random.default_rng(0).standard_normal((6, 2)), np.arange(6) % 2, gates=np.eye(2)).evaluate(
            network()
        )


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (lambda: GatedReLUNetwork(-np.eye(2), np.eye(2)), "gate 0 of the network is none of the problem's 2 gates"),
        (lambda: GatedReLUNetwork(np.zeros((1, 2)), np.ones((1, 2))), "gate 0 of the network is none"),
        (lambda: GatedReLUNetwork([[1.0, 0], [0, 1], [1, 1]], np.ones((3, 2))), "gate 2 of the network is none"),
        (
            lambda: GatedReLUNetwork(np.eye(2), np.eye(2), gate_biases=[0.0, 1.0]),
            "gates with offsets; a problem with fit_intercept",
        ),
        (
            lambda: GatedReLUNetwork(np.eye(2), np.eye(2), biases=[0.0, 1.0]),
            "weights with offsets; a problem with fit_intercept",
        ),
        (lambda: GatedReLUNetwork(np.eye(3), np.eye(3)), "3 features"),
        (lambda: GatedReLUNetwork(np.eye(2), np.eye(2), shift=[0.0, 1.0]), "scales its inputs itself"),
        (lambda: ReLUNetwork(np.eye(2), [1.0, 1.0]), "a ReLUNetwork was given; a GatedReLUNetwork is needed"),
    ],
)
def test_networks_of_other_kinds_are_refused_by_gated_problems(network, sentence):
    X = np.random.default_rng(0).standard_normal((6, 2))
    with pytest.raises(InputError, match=sentence):
        GatedReLUProblem(X, np.arange(6) % 2, gates=np.eye(2)).evaluate(network())


def test_gates_without_weights_may_be_anywhere():
    problem = GatedReLUProblem([[1.0, 2.0], [0.0, -1.0]], [0, 1], gates=np.eye(2))
    network = GatedReLUNetwork([[1.0, 0], [-3, 1]], [[1.0, 1], [0, 0]], classes=[0, 1])
    assert problem.evaluate(network).loss == pytest.approx((4.0 + 2.0) / 2)


# Data, gates, weights


@EVERY
def test_weighted_rows_equal_repeated_rows(kind, name):
    setting = Setting(kind, name, 2)
    n, rng = len(setting.X), np.random.default_rng(2)
    counts = rng.integers(1, 4, n)
    options = {key: value for key, value in setting.options.items() if key not in ("radius", "sample_weight")}
    common = {"gates": setting.gates, "beta": setting.beta, **options}
    rows = np.repeat(np.arange(n), counts)
    weighted = kind(setting.X, setting.y, radius=setting.radii, sample_weight=0.7 * counts, **common)
    repeated = kind(setting.X[rows], setting.y[rows], radius=setting.radii[rows], **common)
    assert weighted.zero_objective() == pytest.approx(repeated.zero_objective(), rel=1e-12)
    for m in (1, 6):
        blocks = random_blocks(rng, setting, m)
        assert weighted.evaluate_blocks(blocks) == pytest.approx(repeated.evaluate_blocks(blocks), rel=1e-12)
    z = rng.random((len(weighted.components), n))
    bounds = []
    for problem, index in ((weighted, np.arange(n)), (repeated, rows)):
        atoms = []
        for number, part in enumerate(problem.components):
            terms = part.terms[0]
            atoms.append(AtomSet(number, 0, np.broadcast_to(z[number, index[terms.row]], (1, *terms.shape))))
        bounds.append(problem.lower_bound(OptimalityCertificate(tuple(atoms))))
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", [ReLUProblem, GatedReLUProblem])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_callers_gates_are_kept_as_they_are(kind, intercept):
    """Repeated, parallel, opposite, empty and full patterns, of any length, in any order; and not the caller's memory."""
    X = np.abs(np.random.default_rng(0).standard_normal((9, 2))) + 0.1
    gates = np.array([[3.0, 1, 1, -1, 1, 1e-9, -5, 1], [0.5, -1, -1, 1, 1, 1e-9, -5, -1]])
    gates = np.r_[gates, [[0.0, 1, 0, 2, -1, 0, 0, 0]]] if intercept else gates
    given = gates.copy()
    problem = kind(X, np.arange(9) % 2, gates=given, radius=0.05, fit_intercept=intercept)
    assert (problem.gates == gates).all()
    assert problem.gate_sample is None
    assert problem.n_gates == 8
    rows = np.c_[X, np.ones(9)] if intercept else X
    assert (problem.patterns == (rows @ gates >= 0)).all()
    assert (given == gates).all()
    given[:] = 7.0
    assert (problem.gates == gates).all()
    if intercept:
        through = kind(X, np.arange(9) % 2, gates=gates[:2], fit_intercept=True)
        assert (through.gates == np.r_[gates[:2], np.zeros((1, 8))]).all()
        assert (through.with_gates(gates[:2, ::-1]).gates == through.gates[:, ::-1]).all()
    blocks = Blocks(np.arange(8), np.zeros(8, int), np.ones(8), gates.T)
    network = problem.network_of(blocks)
    assert problem.objective(network) == pytest.approx(problem.evaluate_blocks(blocks).objective, rel=1e-9)


def test_sampled_gates_say_what_was_dropped():
    X = np.random.default_rng(0).standard_normal((6, 2))
    problem = ReLUProblem(X, np.arange(6) % 2, n_gates=200, random_state=5)
    sample = problem.gate_sample
    assert sample.requested == 200 == problem.n_gates + sample.duplicates + sample.empty
    assert (sample.gates == problem.gates).all()
    assert len(np.unique(problem.patterns, axis=1).T) == problem.n_gates < 13
    assert problem.patterns.any(0).all()
    again = GatedReLUProblem(X, np.arange(6) % 2, n_gates=200, random_state=np.random.default_rng(5))
    assert (again.gates == problem.gates).all()


X6, Y6 = np.random.default_rng(0).standard_normal((6, 2)), np.arange(6) % 2
BAD = [
    ({"gates": np.ones((3, 2))}, r"gates has shape \(3, 2\); \(2, P\) is needed"),
    ({"gates": np.ones((5, 2))}, r"give gates.T"),
    ({"gates": np.ones(2)}, r"give gates\[:, None\]"),
    ({"gates": np.ones((2, 0))}, "at least one gate"),
    ({"gates": np.array([[1.0, 0.0], [1.0, 0.0]])}, "column 1 of gates is zero"),
    ({"gates": [[np.nan, 1.0], [1.0, 1.0]]}, r"gates holds nan at \[0, 0\]"),
    ({"gates": [[1.0, np.inf], [1.0, 1.0]]}, r"gates holds inf"),
    ({"gates": [[1.0, 2.0], [3.0]]}, "gates cannot be read as an array"),
    ({"gates": [[1.0, 2.0], [3.0]], "fit_intercept": True}, "gates cannot be read as an array"),
    ({"gates": "gates"}, "gates has the type"),
    ({"gates": np.ones((2, 2)) * 1j}, "gates has the type"),
    ({"gates": np.ones((4, 2)), "fit_intercept": True}, r"gates has shape \(4, 2\); \(3, P\) is needed"),
    ({"n_gates": 0}, "n_gates=0 cannot be used; a whole number of 1 or more is needed"),
    ({"n_gates": 2.5}, "n_gates=2.5"),
    ({"gate_kind": "uniform"}, "kind='uniform' is unknown"),
    ({"random_state": -1}, "random_state=-1"),
    ({"norm": "l3"}, 'norm must be "l1" or "l2" or "linf"'),
    ({"norm": None}, "norm must be"),
    ({"loss": "hinges"}, "loss='hinges' is unknown"),
    ({"multiclass": "all"}, "multiclass='all' is unknown"),
    ({"multiclass": np.array(["ovr", "joint"])}, "multiclass=.* is unknown"),
    ({"radius": -0.1}, "radius contains -0.1"),
    ({"radius": np.nan}, "radius contains nan"),
    ({"radius": np.zeros(5)}, r"radius has shape \(5,\)"),
    ({"radius": "wide"}, "radius='wide' is not numeric"),
    ({"beta": -1.0}, "beta=-1 is out of range"),
    ({"beta": np.inf}, "beta=inf is out of range"),
    ({"beta": None}, "beta=None is not a number"),
    ({"sample_weight": np.zeros(6)}, "sample_weight sums to zero"),
    ({"sample_weight": -np.ones(6)}, "sample_weight contains -1"),
    ({"y": np.zeros(6)}, "single class"),
    ({"y": np.arange(5)}, r"y has shape \(5,\)"),
    ({"y": ["a"] * 6, "loss": "squared"}, "y is not numeric"),
    ({"X": X6[0]}, r"X has shape \(2,\)"),
    ({"X": np.full((6, 2), np.nan)}, r"X\[0, 0\] is nan"),
    ({"X": X6[:, :0]}, "at least one row and one column"),
]


@pytest.mark.parametrize("kind", [ReLUProblem, GatedReLUProblem])
@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_used_is_refused_in_one_sentence(kind, arguments, sentence):
    arguments = {"X": X6, "y": Y6, **arguments}
    with pytest.raises(InputError, match=sentence) as refusal:
        kind(**arguments)
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)
