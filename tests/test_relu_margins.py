"""Worst-case margins of ReLU and gated ReLU networks against enumeration, HiGHS, rational arithmetic and attacks."""

import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from margin_reference import ball_points, dual_length, length, pieces, worst_margin

import convexadv as ca
from benchmarks.tightness_bounds import both_bounds
from convexadv import GatedReLUNetwork, InputError, PolynomialNetwork, ReLUNetwork, certify, worst_case_margin
from convexadv.robustness import _branching, _relu_worst_case
from convexadv.robustness._branches import Best, bounds
from convexadv.robustness._multipliers import best_multipliers
from convexadv.robustness._neurons import GatedNeurons, ReLUNeurons
from convexadv.robustness._relaxation import Pairs
from convexadv.robustness.pgd import Neighbourhood

NORMS = ["l1", "l2", "linf"]
KINDS = ["relu", "gated"]
EVERY = pytest.mark.parametrize("norm", NORMS)
BOTH = pytest.mark.parametrize("kind", KINDS)


def random_network(kind, seed, d=4, m=6, outputs=1, scaled=True, dtype=None, **changes):
    rng = np.random.default_rng(seed)
    options = {"classes": np.arange(max(2, outputs)), "dtype": dtype}
    if scaled:
        options |= {"shift": rng.standard_normal(d), "scale": rng.uniform(0.4, 2.5, d)}
    options |= changes
    if kind == "relu":
        shapes = (m, d), (m, outputs), m
        return ReLUNetwork(*(rng.standard_normal(shape) for shape in shapes), **options)
    shapes = (m, d), (m, d, outputs), m, (m, outputs)
    return GatedReLUNetwork(*(rng.standard_normal(shape) for shape in shapes), **options)


def random_rows(seed, n, d, classes=2):
    rng = np.random.default_rng([seed, 1])
    return 1.5 * rng.standard_normal((n, d)), rng.integers(0, classes, n), 10 ** rng.uniform(-2, 0.4, n)


def check_exact(network, X, y, radius, norm, result, tolerance=1e-9):
    """The bounds are the enumerated worst cases, and the points attain them inside of the balls."""
    truth = np.array([worst_margin(network, *row, norm) for row in zip(X, y, radius, strict=True)])
    assert (result.lower_bound <= truth + 1e-12).all()
    assert result.exact.all()
    np.testing.assert_allclose(result.lower_bound, truth, rtol=0, atol=tolerance)
    assert (length(result.point - X, norm) <= radius * (1 + 1e-12)).all()
    np.testing.assert_allclose(network.margins(result.point, y), truth, rtol=0, atol=10 * tolerance)
    return truth


# --------------------------------------------------------------------------------------- exact search


@EVERY
@BOTH
@pytest.mark.parametrize("outputs", [1, 3])
def test_complete_search_is_the_enumeration(kind, norm, outputs):
    undecided = 0
    for seed in range(14):
        rng = np.random.default_rng(seed)
        d, m = int(rng.integers(1, 4)), int(rng.integers(1, 7))
        network = random_network(kind, seed, d, m, outputs)
        X, y, radius = random_rows(seed, 4, d, max(2, outputs))
        linear = worst_case_margin(network, X, y, radius, norm)
        result = worst_case_margin(network, X, y, radius, norm, complete=True, max_branches=1000)
        truth = check_exact(network, X, y, radius, norm, result)
        assert (linear.lower_bound <= truth + 1e-12).all()
        assert (abs(linear.lower_bound - truth) <= 1e-9)[linear.exact].all()
        assert (result.lower_bound >= linear.lower_bound - 1e-12).all()
        undecided += (~linear.exact).sum()
    assert undecided > 0


@EVERY
@BOTH
def test_degenerate_networks(kind, norm):
    """Equal, opposite, parallel and zero neurons, gates through the rows, gates that are always open, no neurons."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        U = rng.standard_normal((3, 2))
        if kind == "relu":
            U = np.concatenate([U, U[:2], -U[:1], 2 * U[1:2], np.zeros((2, 2))])
        else:  # what happens where more than two hyperplanes meet is not enumerated
            U = np.concatenate([U, np.zeros((2, 2))])
        m = len(U)
        offsets = np.where(np.arange(m) % 3 == 2, rng.standard_normal(m), 0.0)
        if kind == "gated":
            weights, biases = rng.standard_normal((m, 2, 2)), rng.standard_normal((m, 2))
            network = GatedReLUNetwork(U, weights, offsets, biases, classes=[0, 1])
        else:
            network = ReLUNetwork(U, rng.standard_normal((m, 2)), offsets, classes=[0, 1])
        orthogonal = np.stack([U[:2, 1], -U[:2, 0]], 1)  # rows on hyperplanes
        X = np.concatenate([np.zeros((1, 2)), orthogonal, rng.standard_normal((3, 2))])
        y, radius = rng.integers(0, 2, 6), rng.uniform(0.05, 1.0, 6)
        result = worst_case_margin(network, X, y, radius, norm, complete=True, max_branches=1000)
        check_exact(network, X, y, radius, norm, result)
    weights = np.zeros((0, 2, 1) if kind == "gated" else (0, 1))
    empty = (GatedReLUNetwork if kind == "gated" else ReLUNetwork)(np.zeros((0, 2)), weights, classes=[0, 1])
    result = worst_case_margin(empty, X, y, radius, norm, complete=True)
    assert (result.lower_bound == 0).all()
    assert result.exact.all()
    assert not certify(empty, X, y, radius, norm).certified.any()


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_search_against_mixed_integer_programmes(norm):
    """HiGHS with big-M neurons on 100 rows, in more dimensions than can be enumerated; its own tolerances are 1e-6."""
    undecided = 0
    for seed in range(5):
        network = random_network("relu", seed, 8, 10)
        X, y, _ = random_rows(seed, 20, 8)
        radius = {"l1": 1.5, "linf": 0.4}[norm]
        undecided += (~worst_case_margin(network, X, y, radius, norm).exact).sum()
        result = worst_case_margin(network, X, y, radius, norm, complete=True, max_branches=5000)
        assert result.exact.all()
        for i in range(20):
            expected = mixed_integer_worst_case(network, X[i], 2 * y[i] - 1, radius, norm)
            assert abs(result.lower_bound[i] - expected) <= 1e-5 * max(1.0, abs(expected))
    assert undecided > 50


def mixed_integer_worst_case(network, x, sign, radius, norm):
    """min sign * sum_j alpha_j a_j, a = relu(t): t <= a <= top z, 0 <= a <= t - bottom (1 - z), z binary.

    The perturbation is p - n with p, n >= 0, and sum (p + n) <= radius for l1.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    H, h, _, _ = pieces(network)
    alpha = network.coefficients.detach().numpy()[:, 0]
    m, d = H.shape
    t, reach = H @ x + h, radius * dual_length(H, norm)
    top, bottom = np.maximum(t + reach, 0), np.minimum(t - reach, 0)
    one, zero, split = np.eye(m), np.zeros((m, m)), np.concatenate([H, -H], 1)
    rows = [
        np.block([split, -one, zero]),
        np.block([0 * split, one, -np.diag(top)]),
        np.block([-split, one, -np.diag(bottom)]),
    ]
    upper = [-t, np.zeros(m), t - bottom]
    if norm == "l1":
        rows.append(np.concatenate([np.ones(2 * d), np.zeros(2 * m)])[None])
        upper.append(np.array([radius]))
    most = np.concatenate([np.full(2 * d, radius), top, np.ones(m)])
    answer = milp(
        np.concatenate([np.zeros(2 * d), sign * alpha, np.zeros(m)]),
        constraints=LinearConstraint(np.concatenate(rows), -np.inf, np.concatenate(upper)),
        bounds=Bounds(np.zeros(2 * (d + m)), most),
        integrality=np.concatenate([np.zeros(2 * d + m), np.ones(m)]),
    )
    assert answer.status == 0
    return answer.fun


@EVERY
@BOTH
def test_limits_of_the_search(kind, norm):
    """More branches never give less; no time gives the linear bounds; what is left behind still counts."""
    network = random_network(kind, 3, 6, 24, 3)
    X, y, _ = random_rows(3, 12, 6, 3)
    linear = worst_case_margin(network, X, y, 0.4, norm)
    searches = [worst_case_margin(network, X, y, 0.4, norm, complete=True, max_branches=size) for size in (1, 8, 64)]
    bounds = [result.lower_bound for result in (linear, *searches)]
    assert (np.diff(bounds, axis=0) >= -1e-9).all()
    assert (bounds[-1] > bounds[0] + 1e-3).any()
    late = worst_case_margin(network, X, y, 0.4, norm, complete=True, time_limit=0.0)
    np.testing.assert_array_equal(late.lower_bound, linear.lower_bound)
    start = time.monotonic()
    hard, (X, y, _) = random_network(kind, 4, 12, 60), random_rows(4, 200, 12)
    worst_case_margin(hard, X, y, 1.0, norm, complete=True, max_branches=10**6, time_limit=0.3)
    assert time.monotonic() - start < 5.0


@EVERY
@pytest.mark.parametrize("kind", ["relu", "polynomial"])
def test_bounds_are_the_better_one_of_linear_and_interval_bounds(kind, norm):
    """Of both computed anew; for ReLU networks each of them is the better one on some rows."""
    interval_wins = linear_wins = 0
    for seed in range(12):
        rng, outputs = np.random.default_rng(seed), 1 + 2 * (seed % 2)
        if kind == "relu":
            network = random_network("relu", seed, 5, 12, outputs)
        else:
            m = 3 if seed < 6 else 12
            neurons = rng.standard_normal((m, 5))
            neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
            network = PolynomialNetwork(neurons, rng.standard_normal((m, outputs)), classes=np.arange(max(2, outputs)))
        X, y, _ = random_rows(seed, 40, 5, max(2, outputs))
        radius = 10 ** (seed % 4 - 2.0)
        reported = worst_case_margin(network, X, y, radius, norm).lower_bound
        linear, interval, better = both_bounds(network, X, y, radius, norm)
        assert (reported >= better - 1e-9 * abs(better).max()).all()
        if kind == "polynomial" and outputs == 1:
            np.testing.assert_allclose(reported, better, rtol=0, atol=1e-9 * abs(better).max())
        interval_wins += (interval > linear + 1e-9 * abs(better).max()).sum()
        linear_wins += (linear > interval + 1e-9 * abs(better).max()).sum()
    assert linear_wins > 0
    assert interval_wins > 0 or kind == "polynomial"  # there the dual bound is hardly ever the worse one


# ------------------------------------------------------------------------------------------- soundness


@EVERY
@BOTH
def test_no_point_of_a_ball_is_below_the_bounds(kind, norm):
    """2,560 rows a kind and norm: linear bounds against samples; a tenth of them after a short search."""
    for seed in range(64):
        rng = np.random.default_rng(seed)
        d, m, outputs = int(rng.integers(1, 12)), int(rng.integers(1, 30)), int(rng.choice([1, 2, 4]))
        network = random_network(kind, seed, d, m, outputs)
        X, y, radius = random_rows(seed, 40, d, max(2, outputs))
        options = {"complete": True, "max_branches": 6} if seed % 10 == 0 else {}
        result = worst_case_margin(network, X, y, radius, norm, **options)
        points = X + radius[:, None] * ball_points(rng, (20, *X.shape), norm)
        flat, labels = points.reshape(-1, d), np.tile(y, 20)
        assert (network.margins(flat, labels).reshape(20, -1) >= result.lower_bound).all()
        assert (network.margins(result.point, y) >= result.lower_bound).all()
        assert (network.margins(X, y) >= result.lower_bound).all()


@EVERY
@BOTH
@pytest.mark.parametrize("outputs", [1, 4])
def test_attacks_stay_above_the_bounds(kind, norm, outputs):
    for seed in range(3):
        network = random_network(kind, seed, 6, 15, outputs)
        X, _, radius = random_rows(seed, 60, 6)
        y = network.predict(X)
        certificate = certify(network, X, y, 0.3 * radius, norm, complete=True, max_branches=20)
        linear = worst_case_margin(network, X, y, 0.3 * radius, norm)
        for method in ("fgsm", "pgd"):
            found = ca.attack(network, X, y, 0.3 * radius, norm, method, steps=10, restarts=2)
            assert (length(found.points - X, norm) <= 0.3 * radius * (1 + 1e-12)).all()
            assert (found.margins >= linear.lower_bound).all()
            assert (found.margins >= certificate.lower_bound).all()
            assert not (found.success & certificate.certified).any()
        assert found.success.any()
        assert certificate.certified.any()


def rational_margin(network, x, label):
    """The margin in rational arithmetic, by the definition of the networks."""
    part = {name: tensor.detach().double().tolist() for name, tensor in network.state_dict().items()}
    x = [Fraction(value) for value in x]
    z = [(v - Fraction(a)) / Fraction(b) for v, a, b in zip(x, part["shift"], part["scale"], strict=True)]
    scores = [Fraction(0)] * network.n_outputs
    gated = isinstance(network, GatedReLUNetwork)
    offsets = part["gate_biases" if gated else "biases"]
    for j, row in enumerate(part["gates" if gated else "neurons"]):
        gate = sum(Fraction(u) * v for u, v in zip(row, z, strict=True)) + Fraction(offsets[j])
        for c in range(network.n_outputs * (gate >= 0)):
            if gated:
                linear = sum(Fraction(row[c]) * v for row, v in zip(part["weights"][j], z, strict=True))
                scores[c] += linear + Fraction(part["biases"][j][c])
            else:
                scores[c] += Fraction(part["coefficients"][j][c]) * gate
    if len(scores) == 1:
        return (2 * int(label) - 1) * scores[0]
    return scores[label] - max(score for c, score in enumerate(scores) if c != label)


@BOTH
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_bounds_survive_rounding(kind, norm, outputs):
    """Large terms that cancel: the bounds stay below rational margins of rows and of minimisers."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        d, m = int(rng.integers(1, 6)), 6
        U = rng.standard_normal((m, d))
        scale = 10.0 ** rng.uniform(-4, 4, d)
        alpha = 10.0 ** rng.uniform(-3, 6, (m, outputs))
        alpha = np.concatenate([alpha, -alpha]) * (1 + 1e-9 * rng.standard_normal((2 * m, outputs)))
        options = {"shift": scale * rng.standard_normal(d) * 1e3, "scale": scale, "classes": [0, 1]}
        U, offsets = np.concatenate([U, U]), 10 * rng.standard_normal(m).repeat(2)
        if kind == "relu":
            network = ReLUNetwork(U, alpha, offsets, **options)
        else:
            weights = U[:, :, None] * alpha[:, None, :]
            network = GatedReLUNetwork(U, weights, offsets, offsets[:, None] * alpha, **options)
        X = network.shift.numpy() + scale * rng.standard_normal((8, d))
        y = rng.integers(0, 2, 8)
        for radius in (0.0, scale.min() * 10.0 ** rng.uniform(-3, 1)):
            for complete in (False, True):
                result = worst_case_margin(network, X, y, radius, norm, complete=complete)
                for row, label, point, low in zip(X, y, result.point, result.lower_bound.tolist(), strict=True):
                    assert Fraction(low) <= rational_margin(network, row.tolist(), label)
                    assert Fraction(low) <= rational_margin(network, point.tolist(), label)
        assert (result.lower_bound <= network.margins(X, y)).all()


@BOTH
def test_rows_on_a_gate_count_on_both_sides(kind):
    """Whether a row at a gate that is not exact in binary counts as open is a matter of rounding."""
    gates = np.array([[0.1, 0.2]])
    X, y = np.array([[0.6, -0.3]]), [1]  # 0.1 * 0.6 - 0.2 * 0.3, in floating point not zero
    if kind == "relu":
        network = ReLUNetwork(gates, [3.0], classes=[0, 1])
        assert abs(worst_case_margin(network, X, y, 0.0).lower_bound[0]) < 1e-12
    else:
        for weight, expected in ((2.0, 0.0), (-2.0, -1.2)):
            network = GatedReLUNetwork(gates, [[weight, 0.0]], classes=[0, 1])
            bound = worst_case_margin(network, X, y, 0.0, complete=True).lower_bound[0]
            assert bound == pytest.approx(expected, abs=1e-12)


@BOTH
@EVERY
def test_overflow_gives_no_bound_instead_of_a_wrong_one(kind, norm):
    network = random_network(kind, 0, 3, scaled=False)
    X, y, _ = random_rows(0, 5, 3)
    X[1] *= 1e300
    result = worst_case_margin(network, X, y, [0.1, 0.1, 1e200, 0.1, 0.1], norm, complete=True)
    lost = np.array([False, True, True, False, False])
    np.testing.assert_array_equal(result.lower_bound == -np.inf, lost)
    assert not result.exact[lost].any()
    assert np.isfinite(result.point).all()
    alone = worst_case_margin(network, X[~lost], y[~lost], 0.1, norm, complete=True)
    np.testing.assert_allclose(result.lower_bound[~lost], alone.lower_bound, rtol=0, atol=1e-9)
    assert (worst_case_margin(network, X[1:3], y[1:3], 1e200, norm).lower_bound == -np.inf).all()


# ----------------------------------------------------------------------------------- what must coincide


@EVERY
@BOTH
def test_zero_radius_gives_the_margins(kind, norm):
    network, (X, y, _) = random_network(kind, 1, outputs=3), random_rows(1, 30, 4, 3)
    result = worst_case_margin(network, X, y, 0.0, norm)
    np.testing.assert_allclose(result.lower_bound, network.margins(X, y), rtol=0, atol=1e-11)
    assert result.exact.all()
    np.testing.assert_array_equal(result.point, X)


@EVERY
@BOTH
def test_decided_neurons_give_the_closed_form(kind, norm):
    """Where no gate moves in the ball the margin is linear: its value less r times the dual norm of its slope."""
    network, (X, y, _) = random_network(kind, 2, 5, 8), random_rows(2, 200, 5)
    radius = 0.05
    H, h, W, b = pieces(network)
    still = (abs(X @ H.T + h) > radius * dual_length(H, norm) * (1 + 1e-9)).all(1)
    assert 20 < still.sum() < 200
    X, y = X[still], y[still]
    open_ = X @ H.T + h >= 0
    sign = 2 * y - 1
    slope = sign[:, None] * (open_ @ W[:, :, 1])
    value = sign * ((X @ W[:, :, 1].T + b[:, 1]) * open_).sum(1)
    result = worst_case_margin(network, X, y, radius, norm)
    assert result.exact.all()
    np.testing.assert_allclose(result.lower_bound, value - radius * dual_length(slope, norm), rtol=0, atol=1e-11)
    np.testing.assert_allclose(network.margins(result.point, y), result.lower_bound, rtol=0, atol=1e-11)


@EVERY
def test_gated_form_of_a_relu_network(norm):
    """ReLU neurons are gated neurons whose weights point along their gates."""
    relu = random_network("relu", 5, 3, 6, 3)
    part = {name: tensor.detach() for name, tensor in relu.state_dict().items()}
    weights = part["neurons"][:, :, None] * part["coefficients"][:, None, :]
    biases = part["biases"][:, None] * part["coefficients"]
    scaling = {"shift": part["shift"], "scale": part["scale"], "classes": relu.classes}
    gated = GatedReLUNetwork(part["neurons"], weights, part["biases"], biases, **scaling)
    X, y, radius = random_rows(5, 30, 3, 3)
    for complete, tolerance in ((False, 1e-3), (True, 1e-8)):
        bounds = [worst_case_margin(net, X, y, radius, norm, complete=complete).lower_bound for net in (relu, gated)]
        np.testing.assert_allclose(*bounds, rtol=0, atol=tolerance)


@EVERY
@BOTH
def test_scaling_of_inputs_and_of_coefficients(kind, norm):
    rng = np.random.default_rng(6)
    X, y, radius = random_rows(6, 40, 4, 3)
    plain = random_network(kind, 6, outputs=3, scaled=False)
    shift, factor = rng.standard_normal(4), 3.7
    scaled = random_network(kind, 6, outputs=3, scaled=False, shift=shift, scale=np.full(4, factor))
    for complete in (False, True):
        inner = worst_case_margin(plain, X, y, radius, norm, complete=complete)
        outer = worst_case_margin(scaled, shift + factor * X, y, factor * radius, norm, complete=complete)
        np.testing.assert_allclose(outer.lower_bound, inner.lower_bound, rtol=0, atol=1e-7)
        for size in (1e-150, 1e-9, 1e12, 1e250):
            state = plain.state_dict()
            names = ["coefficients"] if kind == "relu" else ["weights", "biases"]
            other = type(plain)(**{**state, **{k: size * state[k] for k in names}}, classes=plain.classes)
            result = worst_case_margin(other, X, y, radius, norm, complete=complete)
            np.testing.assert_allclose(result.lower_bound / size, inner.lower_bound, rtol=0, atol=1e-7)


@BOTH
def test_features_of_very_different_units(kind):
    """A raw ball is a stretched one for the weights: compared with networks that have the units in their weights."""
    units = np.array([1e-5, 1.0, 1e4])
    X, y, radius = random_rows(7, 20, 3)
    plain, scaled = (random_network(kind, 7, 3, scaled=False, scale=scale) for scale in (np.ones(3), units))
    names = {"relu": ["neurons"], "gated": ["gates", "weights"]}[kind]
    state = plain.state_dict()
    for name in names:
        axis = (1, -1) if state[name].ndim == 2 else (1, -1, 1)
        state[name] = state[name] / torch.from_numpy(units).reshape(axis)
    folded = type(plain)(**state, classes=plain.classes)
    for norm in NORMS:
        bounds = [
            worst_case_margin(net, X * units, y, 1e-5 * radius, norm, complete=True).lower_bound
            for net in (scaled, folded)
        ]
        np.testing.assert_allclose(*bounds, rtol=0, atol=1e-7)


@EVERY
@BOTH
def test_two_outputs_equal_their_difference(kind, norm):
    two = random_network(kind, 8, outputs=2)
    state = two.state_dict()
    for name in ["coefficients"] if kind == "relu" else ["weights", "biases"]:
        state[name] = state[name][..., 1] - state[name][..., 0]
    one = type(two)(**state, classes=[0, 1])
    X, y, radius = random_rows(8, 30, 4)
    bounds = [worst_case_margin(net, X, y, radius, norm, complete=True).lower_bound for net in (one, two)]
    np.testing.assert_allclose(*bounds, rtol=0, atol=1e-8)


@EVERY
@BOTH
def test_blocks_change_nothing(kind, norm, monkeypatch):
    network, (X, y, radius) = random_network(kind, 9, 4, 9, 4), random_rows(9, 40, 4, 4)
    linear, complete = (worst_case_margin(network, X, y, radius, norm, complete=flag) for flag in (False, True))
    monkeypatch.setattr(_relu_worst_case, "_BLOCK", 300)
    monkeypatch.setattr(_branching, "_NODES", 5)
    parts = [worst_case_margin(network, X, y, radius, norm, complete=flag) for flag in (False, True)]
    np.testing.assert_allclose(parts[0].lower_bound, linear.lower_bound, rtol=0, atol=1e-9)
    solved = parts[1].exact & complete.exact
    assert solved.mean() > 0.5
    np.testing.assert_allclose(parts[1].lower_bound[solved], complete.lower_bound[solved], rtol=0, atol=1e-8)


@BOTH
def test_arrays_tensors_and_precisions(kind):
    network, (X, y, _) = random_network(kind, 1, 3, outputs=3), random_rows(1, 20, 3, 3)
    expected = worst_case_margin(network, X, y, 0.25)
    result = worst_case_margin(network, torch.from_numpy(X).requires_grad_(), torch.from_numpy(y), 0.25)
    for name, dtype in (("lower_bound", torch.float64), ("exact", torch.bool), ("point", torch.float64)):
        assert getattr(result, name).dtype == dtype
        np.testing.assert_array_equal(getattr(result, name).numpy(), getattr(expected, name))
    np.testing.assert_array_equal(worst_case_margin(network, X.tolist(), y, 0.25).lower_bound, expected.lower_bound)
    single = random_network(kind, 1, 3, outputs=3, dtype=torch.float32)
    double = type(single)(**single.double().state_dict(), classes=[0, 1, 2])
    bounds = [worst_case_margin(net, X, y, 0.25).lower_bound for net in (single.float(), double)]
    np.testing.assert_allclose(*bounds, rtol=0, atol=1e-12)
    assert next(single.parameters()).dtype == torch.float32  # left as it was


# ----------------------------------------------------------------------------------- convex programmes


def data(seed=1, n=24, d=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.where(X[:, 0] * X[:, 1] + 0.3 * rng.normal(size=n) > 0, 1, 0), rng.permutation(np.arange(n) % 3)


@EVERY
@pytest.mark.parametrize("joint", [False, True])
def test_margins_of_robust_relu_programmes_are_exact_on_their_rows(norm, joint):
    """The cones keep every pattern over the balls of the rows: x'alpha - r ||alpha||_q is the worst case."""
    X, two, three = data()
    y, options = (three, {"multiclass": "joint"}) if joint else (two, {})
    problem = ca.ReLUProblem(
        X, y, n_gates=12, random_state=0, radius=0.02, norm=norm, beta=0.005, fit_intercept=True, **options
    )
    solution = ca.solve(problem, tol=1e-5)
    assert solution.network.n_neurons > 2
    blocks = solution.variables["blocks"]
    rows, outputs = np.concatenate([X, np.ones((len(X), 1))], 1), 3 if joint else 1
    alpha = np.zeros((len(X), 4, outputs))
    for gate, output, side, vector in zip(blocks.gate, blocks.output, blocks.side, blocks.vectors, strict=True):
        alpha[:, :, output] += side * problem.patterns[:, [gate]] * vector
    if not joint:
        alpha = np.concatenate([0 * alpha, alpha], 2)
    expected = np.full(len(X), np.inf)
    for c in range(alpha.shape[2]):
        slope = alpha[np.arange(len(X)), :, y] - alpha[:, :, c]
        margin = (rows * slope).sum(1) - 0.02 * dual_length(slope[:, :3], norm)
        expected = np.where(c == y, expected, np.minimum(expected, margin))
    result = worst_case_margin(solution.network, X, y, 0.02, norm)
    assert result.exact.all()
    np.testing.assert_allclose(result.lower_bound, expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(certify(solution.network, X, y, 0.02, norm).certified, result.lower_bound > 0)


@EVERY
def test_margins_of_robust_gated_programmes_are_bounds(norm):
    """They bound gates at their worst one by one: the linear bounds are never below, and the truth is above both."""
    X, y, _ = data(2)
    problem = ca.GatedReLUProblem(X, y, n_gates=8, random_state=0, radius=0.15, norm=norm, beta=0.005)
    network = ca.solve(problem, solver="CLARABEL", tol=1e-3).network
    H, _, W, _ = pieces(network)
    V, sign = W[:, :, 1], 2 * y - 1
    gate, value = X @ H.T, sign[:, None] * (X @ V.T)
    stable = abs(gate) > 0.15 * dual_length(H, norm) * (1 + 1e-12)
    slope = ((gate >= 0) & stable) @ V
    taken = (value * ((gate >= 0) & stable)).sum(1) - 0.15 * dual_length(slope, norm)
    taken += np.where(stable, 0.0, np.minimum(0.0, value - 0.15 * dual_length(V, norm))).sum(1)
    linear = worst_case_margin(network, X, y, 0.15, norm)
    assert (~stable).any(1).mean() > 0.3
    assert (linear.lower_bound >= taken - 1e-11).all()
    assert (linear.lower_bound > taken + 1e-6).any()
    truth = np.array([worst_margin(network, *row, 0.15, norm) for row in zip(X, y, strict=True)])
    assert (linear.lower_bound <= truth + 1e-12).all()


# ------------------------------------------------------------------------------ certificates, accuracy


@EVERY
@BOTH
def test_certificates_decide_the_sign_and_no_more(kind, norm):
    network = random_network(kind, 11, 4, 16, 3)
    X, _, _ = random_rows(11, 80, 4)
    y = network.predict(X)
    plain = certify(network, X, y, 0.3, norm)
    np.testing.assert_array_equal(plain.lower_bound, worst_case_margin(network, X, y, 0.3, norm).lower_bound)
    decided = certify(network, X, y, 0.3, norm, complete=True, max_branches=500)
    exact = worst_case_margin(network, X, y, 0.3, norm, complete=True, max_branches=2000)
    assert exact.exact.all()
    np.testing.assert_array_equal(decided.certified, exact.lower_bound > 0)
    assert (decided.lower_bound <= exact.lower_bound + 1e-8).all()
    assert (plain.certified <= decided.certified).all()
    assert decided.certified.sum() > plain.certified.sum()
    assert "linear" in plain.method
    assert "branch and bound" in decided.method


def test_a_row_that_its_own_precision_gets_wrong_is_not_certified():
    """f = relu(x - 1) is positive at 1 + 1e-10, and zero in float32."""
    single = ReLUNetwork([[1.0]], [1.0], [-1.0], classes=[0, 1], dtype=torch.float32)
    for network, expected in ((single, False), (single._with(dtype=torch.float64), True)):
        certificate = certify(network, np.array([[1 + 1e-10]]), [1], 0.0)
        assert certificate.lower_bound[0] > 0
        assert certificate.certified[0] == expected


@EVERY
@BOTH
def test_robust_accuracy_brackets_the_truth(kind, norm):
    network = random_network(kind, 12, 4, 8, 3, dtype=torch.float32)
    X, _, _ = random_rows(12, 100, 4)
    y = network.predict(X)
    y[::10] = (y[::10] + 1) % 3
    radii = [0.0, 0.05, 0.2]
    options = {"steps": 10, "restarts": 2}
    linear = ca.robust_accuracy(network, X, y, radii, norm, **options)
    complete = ca.robust_accuracy(network, X, y, radii, norm, complete=True, max_branches=500, **options)
    assert linear.clean == 0.9
    assert linear.certified[0] == linear.attacked[0] == 0.9
    for result in (linear, complete):
        assert (result.certified <= result.attacked).all()
        assert (np.diff(result.certified) <= 0).all()
    assert (complete.certified >= linear.certified).all()
    exact = worst_case_margin(network.double(), X, y, 0.2, norm, complete=True, max_branches=2000)
    assert exact.exact.all()
    assert complete.certified[2] == (exact.lower_bound > 0).mean() <= complete.attacked[2]
    tensors = ca.robust_accuracy(network, torch.from_numpy(X), torch.from_numpy(y), radii, norm, **options)
    assert tensors.rows() == linear.rows()


# ------------------------------------------------------------------------------------- the inner methods


@EVERY
@BOTH
def test_steps_and_interior_points_find_the_same_relaxation(kind, norm):
    """Many primal-dual steps and the interior point method maximise the same concave function."""
    network = random_network(kind, 13, 5, 12, 3)
    X, y, _ = random_rows(13, 40, 5, 3)
    neurons = (ReLUNeurons if kind == "relu" else GatedNeurons)(network, norm)
    centres = neurons.centres(X, np.full(40, 0.3))
    pairs = Pairs.of(neurons, centres, y)
    best = Best(lambda row, e: neurons.margins(centres.z[row] + e * neurons.stretch, y[row]), 40, 5)
    share = pairs.first_shares()
    first = pairs.bound(share)[0]
    exact = bounds(pairs, np.zeros(share.shape, int), np.full(len(pairs), np.inf), best)[0]
    limit = pairs.rise(share, first, 1500)[0]
    short = pairs.rise(share, first, 30)[0]
    assert (limit <= exact + 1e-9).all()
    np.testing.assert_allclose(limit, exact, rtol=0, atol=1e-3)
    assert (exact > first + 1e-2).any()
    assert (short - first).sum() > 0.9 * (exact - first).sum()


@EVERY
def test_best_multipliers_have_no_gap(norm):
    """Bound and primal value meet, constraints hold: also with many rows, few rows, repeated rows and no gradient."""
    rng = np.random.default_rng(0)
    for k, d in ((1, 1), (3, 5), (12, 2), (9, 7), (4, 40)):
        A, t, high = rng.normal(size=(30, k, d)), rng.normal(size=(30, k)), 2 * rng.random((30, k))
        A[:5, -1], t[:5, -1] = A[:5, 0], t[:5, 0]
        inner, bound = 0.8 * ball_points(rng, (30, d), norm), rng.random((30, k)) < 0.4
        t = np.where(bound, -(A @ inner[:, :, None])[:, :, 0] - 0.5 * rng.random((30, k)), t)
        high = np.where(bound, np.inf, high)
        g = rng.normal(size=(30, d)) * (rng.random((30, 1)) < 0.9)
        b, x = best_multipliers(A, t, high, g, norm, np.full(30, np.inf))
        assert (b >= 0).all()
        assert (b <= high).all()
        assert (length(x, norm) <= 1 + 1e-12).all()
        dual = (t * b).sum(1) - dual_length(g + (b[:, None] @ A)[:, 0], norm)
        value = t + (A @ x[:, :, None])[:, :, 0]
        primal = (g * x).sum(1) + (np.where(bound, 0.0, high) * np.maximum(value, 0.0)).sum(1)
        assert (value[bound] <= 1e-9).all()
        np.testing.assert_allclose(primal, dual, rtol=0, atol=1e-8)


# ------------------------------------------------------------------------------------------ l1 attacks


@pytest.mark.parametrize("method", ["fgsm", "pgd"])
def test_l1_attack_on_a_linear_module_is_the_closed_form(method):
    torch.manual_seed(0)
    module, X = torch.nn.Linear(6, 1).double(), np.random.default_rng(1).standard_normal((30, 6))
    y = (module(torch.from_numpy(X)).detach().numpy()[:, 0] > 0).astype(int)
    radius, weight = np.linspace(0.0, 3.0, 30), module.weight.detach().numpy()[0]
    values = (2 * y - 1) * module(torch.from_numpy(X)).detach().numpy()[:, 0]
    result = ca.attack(module, X, y, radius, "l1", method, restarts=2)
    np.testing.assert_allclose(result.margins, values - radius * abs(weight).max(), atol=1e-9)
    assert (length(result.points - X, "l1") <= radius * (1 + 1e-12)).all()
    low, high = X.min(0) - 0.1, X.max(0) + 0.1
    boxed = ca.attack(module, X, y, radius, "l1", method, bounds=(low, high), restarts=2)
    assert ((boxed.points >= low) & (boxed.points <= high)).all()
    assert (length(boxed.points - X, "l1") <= radius * (1 + 1e-12)).all()


def test_l1_projection_in_a_box_is_nearest():
    """Against a quadratic programme in cvxpy."""
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(0)
    low, high = -rng.random(5), rng.random(5)
    points = 2 * rng.standard_normal((12, 5))
    ball = Neighbourhood(
        torch.zeros(12, 5).double(), torch.full((12,), 0.9).double(), "l1", *map(torch.from_numpy, (low, high))
    )
    nearest = ball.project(torch.from_numpy(points)).numpy()
    for point, found in zip(points, nearest, strict=True):
        x = cp.Variable(5)
        limits = [cp.norm1(x) <= 0.9, x >= low, x <= high]
        cp.Problem(cp.Minimize(cp.sum_squares(x - point)), limits).solve(solver="CLARABEL")
        np.testing.assert_allclose(found, x.value, atol=1e-4)
    inside = torch.from_numpy(0.1 * np.sign(points) * np.minimum(-low, high))
    np.testing.assert_array_equal(ball.project(inside).numpy(), inside.numpy())


def test_l1_samples_fill_the_ball_evenly():
    ball = Neighbourhood(torch.full((20000, 3), 5.0).double(), torch.full((20000,), 2.0).double(), "l1")
    delta = (ball.sample(torch.Generator().manual_seed(0)) - 5).numpy() / 2
    # the volume inside of length t is t^3
    assert abs(np.sort(length(delta, "l1")) ** 3 - np.linspace(0, 1, 20000)).max() < 0.02
    assert abs(delta.mean(0)).max() < 0.02
    assert abs((abs(delta) > 0.25).mean(0) - 0.75**3).max() < 0.02


# ------------------------------------------------------------------------------------------- bad input

NETWORK, (X, Y, _) = random_network("relu", 0, 3), random_rows(0, 5, 3)
POLYNOMIAL = PolynomialNetwork(np.eye(3), np.ones(3), classes=[0, 1])
BAD = {
    "regression": ((ReLUNetwork(np.eye(3), np.ones(3)), X, Y, 0.1), {}, "classes"),
    "features": ((NETWORK, X[:, :2], Y, 0.1), {}, r"\(n, 3\)"),
    "norm": ((NETWORK, X, Y, 0.1, "l0"), {}, 'norm must be "l1" or "l2" or "linf"'),
    "complete": ((NETWORK, X, Y, 0.1), {"complete": "yes"}, "complete must be True or False"),
    "branches": ((NETWORK, X, Y, 0.1), {"max_branches": 0}, "max_branches"),
    "time": ((NETWORK, X, Y, 0.1), {"time_limit": -1.0}, "time_limit"),
    "polynomial": ((POLYNOMIAL, X, Y, 0.1, "l1"), {"complete": True}, "no complete search is known"),
}


@pytest.mark.parametrize("function", [worst_case_margin, certify, ca.robust_accuracy])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, function):
    arguments, options, expected = BAD[name]
    with pytest.raises(InputError, match=expected) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_complete_is_nothing_new_for_polynomial_networks_in_l2_balls():
    plain = worst_case_margin(POLYNOMIAL, X, Y, 0.1)
    np.testing.assert_array_equal(
        worst_case_margin(POLYNOMIAL, X, Y, 0.1, complete=True).lower_bound, plain.lower_bound
    )
