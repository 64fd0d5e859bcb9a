"""PolynomialProblem against a slow dense reference, and the sentences it refuses bad input with."""

import re

import numpy as np
import pytest
import slow_reference as slow
import torch

from convexadv.errors import InputError
from convexadv.networks import PolynomialNetwork
from convexadv.problems import PolynomialProblem, ReLUProblem

SIZES = [(0, 6, 2), (1, 5, 1), (2, 9, 3), (3, 7, 4)]
"""Seed, rows, features."""


def problem_of(setting):
    return PolynomialProblem(setting.X, setting.y, **setting.options)


def networks(setting, rng, count):
    """Random networks: none, one or several neurons, repeated and opposite ones, small and large weights."""
    d = setting.X.shape[1]
    for number in range(count):
        m = (0, 1, 2, d + 2, 3, 4)[number % 6]
        neurons = rng.standard_normal((m, d))
        if number % 6 == 4:
            neurons[1], neurons[2] = neurons[0], -neurons[0]
        if number % 6 == 5:
            neurons = np.sign(neurons) * np.eye(d)[rng.integers(0, d, m)]
            neurons[(neurons == 0).all(1), 0] = 1.0
        neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
        coefficients = rng.standard_normal((m, setting.outputs)) * 10.0 ** rng.uniform(-2, 1.5)
        yield PolynomialNetwork(neurons, coefficients, activation=setting.activation)


def parts(network):
    return network.neurons.detach().numpy(), network.coefficients.detach().numpy()


def reference(setting, network):
    neurons, coefficients = parts(network)
    return slow.objective(setting, slow.dense(neurons, coefficients), np.abs(coefficients).sum())


@pytest.mark.parametrize("name", slow.CASES)
def test_objective_and_violation_are_those_of_the_formulas(name):
    """27 kinds of problems, four sizes, 12 networks each (6 where a box needs a semidefinite programme a row)."""
    boxed = name.startswith("linf")
    for seed, n, d in SIZES[: 3 if boxed else 4]:
        setting = slow.make(name, seed, n, d)
        problem, rng = problem_of(setting), np.random.default_rng(seed)
        for network in networks(setting, rng, 6 if boxed else 12):
            evaluation = problem.evaluate(network)
            objective, violation = reference(setting, network)
            tolerance = 1e-8 if boxed else 1e-12
            assert evaluation.objective == pytest.approx(objective, rel=tolerance)
            assert evaluation.violation == pytest.approx(violation, rel=tolerance, abs=tolerance)
            assert evaluation.penalty == np.abs(parts(network)[1]).sum()
            assert evaluation.objective == evaluation.loss + problem.beta * evaluation.penalty
            assert problem.objective(network) == evaluation.objective


@pytest.mark.parametrize("name", slow.CASES)
def test_the_zero_network(name):
    setting = slow.make(name)
    problem = problem_of(setting)
    zero = PolynomialNetwork(np.zeros((0, 2)), np.zeros((0, setting.outputs)), activation=setting.activation)
    assert problem.objective(zero) == pytest.approx(problem.zero_objective(), rel=1e-14)
    assert problem.zero_objective() == pytest.approx(slow.objective(setting, slow.dense(*parts(zero)), 0.0)[0])


@pytest.mark.parametrize("name", ["hinge", "even", "ellipsoid", "mixed", "joint", "ovr"])
def test_margins_are_those_of_the_worst_point_of_the_ball(name):
    """No sampled perturbation is worse, and the worst one sampled comes close."""
    setting = slow.make(name, 5, 6, 2)
    rng = np.random.default_rng(0)
    network = list(networks(setting, rng, 4))[3]
    Ws = slow.dense(*parts(network))
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 721))
    disc = np.concatenate([r * np.c_[circle.real, circle.imag] for r in np.linspace(0, 1, 41)])
    for i in range(6):
        points = setting.X[i] + setting.radii[i] * disc * setting.scale
        scores = network.scores(points).reshape(len(points), -1)
        for direction in setting.directions(i):
            sampled = (scores @ direction).min()
            margin = slow.worst(slow.combined(Ws, direction), setting, i, setting.radii[i])
            assert sampled >= margin - 1e-12 * np.abs(scores).max()
            assert sampled == pytest.approx(margin, abs=2e-3 * np.abs(scores).max())


@pytest.mark.parametrize("name", slow.CASES)
def test_weighted_rows_are_repeated_rows(name):
    setting = slow.make(name, 1, 6, 2)
    count = np.array([1, 2, 1, 3, 1, 2])
    options = {key: value for key, value in setting.options.items() if key != "sample_weight"}
    repeated = {
        key: np.repeat(value, count) if key == "radius" and np.ndim(value) else value for key, value in options.items()
    }
    starts = np.cumsum(count) - count
    for key in ("hard_margin", "margin_curve"):
        if key in options:
            repeated[key] = starts[options[key][0]], options[key][1]
    weighted = PolynomialProblem(setting.X, setting.y, sample_weight=count, **options)
    plain = PolynomialProblem(np.repeat(setting.X, count, 0), np.repeat(setting.y, count, 0), **repeated)
    for network in networks(setting, np.random.default_rng(0), 6):
        first, second = weighted.evaluate(network), plain.evaluate(network)
        np.testing.assert_allclose(first, second, rtol=1e-8 if name.startswith("linf") else 1e-12)


def test_rows_of_weight_zero_do_not_count_but_their_constraints_do():
    setting = slow.make("hard", 1, 6, 2)
    kept = np.arange(6) > 0
    weighted = PolynomialProblem(setting.X, setting.y, sample_weight=kept, radius=0.1)
    fewer = PolynomialProblem(setting.X[1:], setting.y[1:], radius=0.1)
    constrained = PolynomialProblem(setting.X, setting.y, sample_weight=kept, radius=0.1, hard_margin=([0], 1.0))
    for network in networks(setting, np.random.default_rng(0), 6):
        assert weighted.objective(network) == pytest.approx(fewer.objective(network), rel=1e-14)
        assert constrained.objective(network) == pytest.approx(fewer.objective(network), rel=1e-14)
        margin = slow.worst(slow.dense(*parts(network))[0] * setting.directions(0)[0], setting, 0, 0.1)
        assert constrained.evaluate(network).violation == pytest.approx(max(0.0, 1.0 - margin), rel=1e-12)


def test_every_way_to_name_constrained_rows():
    setting = slow.make("hinge", 1, 6, 2)
    network = list(networks(setting, np.random.default_rng(0), 3))[2]
    mask = np.array([True, False, True, False, False, False])
    ways = [(mask, 0.5), (mask.tolist(), 0.5), (np.array([0, 2]), 0.5), ([2, 0, 2], 0.5)]
    for key in ("hard_margin", "margin_curve"):
        values = [
            PolynomialProblem(setting.X, setting.y, radius=0.1, **{key: way}).evaluate(network).violation
            for way in [*ways, 0.5, (np.zeros(6, bool), 0.5)]
        ]
        assert len(set(values[:4])) == 1
        assert values[4] >= values[0] >= values[5] == 0.0


LABELS = {
    "text": (["cat", "dog"], "dog"),
    "numbers as text": (["10", "9"], "9"),
    "booleans": ([False, True], True),
    "minus and plus": ([-1, 1], 1),
    "negative": ([-7, -3], -3),
    "floats": ([0.25, 1.5], 1.5),
    "unsigned": (np.array([200, 7], np.uint8), 200),
    "objects": (np.array(["b", "a"], object), "b"),
    "accents": (["Änderung", "Zahl"], "Änderung"),
}


@pytest.mark.parametrize("kind", [np.asarray, list, lambda y: np.asarray(y)[:, None]])
@pytest.mark.parametrize("name", LABELS)
def test_labels_of_any_kind(name, kind):
    """The second class in sorted order is the positive one."""
    labels, second = LABELS[name]
    setting = slow.make("hinge", 1, 6, 2)
    pattern = np.array([0, 1, 1, 0, 1, 0])
    y = np.asarray(labels)[pattern]
    problem = PolynomialProblem(setting.X, kind(y), radius=0.1)
    plain = PolynomialProblem(setting.X, y == second, radius=0.1)
    network = list(networks(setting, np.random.default_rng(0), 3))[2]
    assert problem.objective(network) == plain.objective(network)
    assert problem.classes[1] == second
    named = PolynomialNetwork(*parts(network), classes=problem.classes)
    scores = named.scores(setting.X)
    np.testing.assert_array_equal(named.predict(setting.X) == second, scores > 0)


def test_labels_and_rows_as_tensors():
    setting = slow.make("joint", 1, 6, 2)
    network = list(networks(setting, np.random.default_rng(0), 3))[2]
    tensors = PolynomialProblem(
        torch.as_tensor(setting.X),
        torch.as_tensor(setting.y),
        radius=torch.as_tensor(setting.radius),
        sample_weight=torch.ones(6),
        scale=torch.ones(2),
        multiclass="joint",
        beta=setting.beta,
    )
    assert tensors.objective(network) == pytest.approx(problem_of(setting).objective(network), rel=1e-14)


def test_many_classes_of_one_row_each():
    X, y = np.random.default_rng(0).standard_normal((5, 2)), np.array([3, -2, 8, 0, 5])
    for multiclass in ("ovr", "joint"):
        setting = slow.Setting(X, y, {"radius": 0.1, "multiclass": multiclass, "beta": 0.1})
        problem = problem_of(setting)
        assert problem.n_outputs == 5
        for network in networks(setting, np.random.default_rng(1), 6):
            assert problem.objective(network) == pytest.approx(reference(setting, network)[0], rel=1e-12)


def test_float32_networks_are_evaluated_at_unit_neurons():
    setting = slow.make("hinge", 1, 6, 2)
    network = list(networks(setting, np.random.default_rng(0), 3))[2]
    single = PolynomialNetwork(*(torch.as_tensor(part, dtype=torch.float32) for part in parts(network)))
    assert problem_of(setting).objective(single) == pytest.approx(reference(setting, network)[0], rel=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"activation": (1.0, 1.0, 1.0)}, "activation"),
        ({"neurons": np.eye(3)[:2]}, "3 features"),
        ({"coefficients": np.ones((2, 2))}, "2 outputs"),
        ({"scale": np.array([2.0, 1.0])}, "scales its inputs"),
        ({"shift": np.array([0.0, 1.0])}, "scales its inputs"),
    ],
)
def test_networks_that_do_not_fit_are_refused(change, words):
    setting = slow.make("hinge")
    arguments = {"neurons": np.eye(2), "coefficients": np.ones((2, 1)), **change}
    with pytest.raises(InputError, match=words):
        problem_of(setting).objective(PolynomialNetwork(**arguments))
    with pytest.raises(InputError, match="PolynomialNetwork is needed"):
        problem_of(setting).objective(np.eye(2))


X, Y = np.random.default_rng(0).standard_normal((6, 2)), np.array([0, 1, 0, 1, 0, 1])
HOLE = np.where(np.arange(12).reshape(6, 2) == 7, np.nan, X)
BAD = {
    "X with NaN": ({"X": HOLE}, r"X\[3, 1\] is nan"),
    "X infinite": ({"X": np.where(np.isnan(HOLE), np.inf, X)}, r"X\[3, 1\] is inf"),
    "X of text": ({"X": np.array([["a", "b"]] * 6)}, "not numbers"),
    "X flat": ({"X": X[:, 0]}, r"shape \(6,\)"),
    "X without rows": ({"X": X[:0], "y": []}, "at least one row"),
    "X without columns": ({"X": X[:, :0]}, "at least one row and one column"),
    "X ragged": ({"X": [[1, 2], [3]]}, "cannot be read"),
    "one class": ({"y": np.ones(6)}, "at least two classes"),
    "y short": ({"y": [0, 1]}, r"\(6,\) is needed"),
    "y of two columns": ({"y": np.zeros((6, 2))}, r"\(6,\) is needed"),
    "y nothing": ({"y": None}, r"\(6,\) is needed"),
    "y with NaN": ({"y": [0, 1, 0, 1, 0, np.nan]}, "needs a label"),
    "y with None": ({"y": ["a", "b", "a", "b", "a", None]}, "needs a label"),
    "y mixed": ({"y": np.array([0, "a", 0, "a", 0, 1], object)}, "cannot be sorted|one kind"),
    "text targets": ({"loss": "squared", "y": list("abcdef")}, "real targets"),
    "targets with NaN": ({"loss": "squared", "y": np.full(6, np.nan)}, "finite"),
    "targets short": ({"loss": "squared", "y": [1.0, 2.0]}, "targets of shape"),
    "targets without columns": ({"loss": "squared", "y": np.zeros((6, 0))}, "targets of shape"),
    "radius negative": ({"radius": -0.1}, "radius contains -0.1"),
    "radius NaN": ({"radius": np.nan}, "radius contains nan"),
    "radius infinite": ({"radius": np.inf}, "radius contains inf"),
    "radius of another length": ({"radius": [0.1, 0.2]}, r"radius has shape \(2,\)"),
    "radius a column": ({"radius": np.ones((6, 1))}, r"radius has shape \(6, 1\)"),
    "radius text": ({"radius": "large"}, "radius='large'"),
    "beta negative": ({"beta": -1}, "beta=-1"),
    "beta NaN": ({"beta": np.nan}, "beta=nan"),
    "beta infinite": ({"beta": np.inf}, "beta=inf"),
    "beta text": ({"beta": "small"}, "beta='small'"),
    "beta two numbers": ({"beta": [1.0, 2.0]}, "not a number"),
    "loss unknown": ({"loss": "crossentropy"}, "'hinge', 'squared_hinge', 'logistic', 'squared'"),
    "loss nothing": ({"loss": None}, "loss=None"),
    "norm unknown": ({"norm": "l3"}, "'l2', 'linf'"),
    "norm of other networks": ({"norm": "l1"}, "with ReLU and gated ReLU networks only; .*'l2' .*'linf'"),
    "multiclass unknown": ({"multiclass": "one"}, "'ovr', 'joint'"),
    "activation constant": ({"activation": (0.0, 0.0, 1.0)}, "constant"),
    "activation short": ({"activation": (1.0, 2.0)}, "three numbers"),
    "activation named": ({"activation": "relu"}, "three numbers"),
    "activation NaN": ({"activation": (np.nan, 1, 1)}, "finite"),
    "scale negative": ({"scale": [1, -1]}, "scale contains -1"),
    "scale of zeros": ({"scale": [0, 0]}, "scale is zero"),
    "scale short": ({"scale": [1]}, r"scale has shape \(1,\)"),
    "weights negative": ({"sample_weight": -np.ones(6)}, "sample_weight contains -1"),
    "weights zero": ({"sample_weight": np.zeros(6)}, "sums to zero"),
    "weights short": ({"sample_weight": [1.0]}, r"sample_weight has shape \(1,\)"),
    "clean weight above one": ({"clean_weight": 1.5}, "clean_weight=1.5"),
    "clean weight negative": ({"clean_weight": -0.5}, "clean_weight=-0.5"),
    "hard margin negative": ({"hard_margin": -1.0}, "hard_margin=-1"),
    "hard margin zero": ({"hard_margin": 0.0}, "positive margin"),
    "hard margin of regression": ({"loss": "squared", "y": X[:, 0], "hard_margin": 1.0}, "labels"),
    "rows outside": ({"hard_margin": ([6], 1.0)}, "0 to 5"),
    "rows negative": ({"margin_curve": ([-1], 1.0)}, "0 to 5"),
    "mask short": ({"margin_curve": ([True, False], 1.0)}, "mask of margin_curve"),
    "curve of regression": ({"loss": "squared", "y": X[:, 0], "margin_curve": 1.0}, "labels"),
    "three entries": ({"hard_margin": ([0], 1.0, 2.0)}, "hard_margin"),
    "y ragged": ({"y": [[0], [1, 2], 0, 1, 0, 1]}, "y "),
    "y text and numbers": ({"y": [0, "a", 0, "a", 0, "a"]}, "y "),
    "y bytes": ({"y": np.array([b"a", b"b"] * 3)}, "y "),
    "y dates": ({"y": np.array(["2020-01-01", "2021-01-01"] * 3, "datetime64[D]")}, "y "),
    "y complex": ({"y": np.array([1j, 2.0] * 3)}, "y "),
    "loss a list": ({"loss": ["hinge"]}, "loss"),
    "X sparse tensor": ({"X": torch.eye(6).to_sparse()}, "X "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_clear_sentence(name):
    change, words = BAD[name]
    with pytest.raises(InputError) as caught:
        PolynomialProblem(**{"X": X, "y": Y, **change})
    message = str(caught.value)
    assert re.search(words, message)
    assert message.endswith((".", ")"))
    assert "\n" not in message
    assert len(message) < 250


def test_real_targets_are_not_taken_for_labels():
    """Every value would become a class with a problem of its own; whole numbers and few values are labels."""
    X, y = np.random.default_rng(0).normal(size=(42, 2)), np.arange(42) % 21 / 2
    for kind in (PolynomialProblem, ReLUProblem):
        with pytest.raises(InputError, match=r'21 different real numbers.*loss="squared"'):
            kind(X, y)
    assert len(PolynomialProblem(X, 2 * y).classes) == 21
    assert len(PolynomialProblem(X, np.arange(42) % 20 / 2).classes) == 20
