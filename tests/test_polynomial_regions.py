"""Polynomial networks over boxes and l1 balls: against all faces, corners, sampling and other bounds."""

import itertools

import numpy as np
import pytest
import torch
from quadratic_reference import (
    box_minimum,
    cross_polytope_minimum,
    magnitude,
    margins_at,
    pair_forms,
    random_network,
    random_rows,
)

import convexadv as ca
from convexadv import GatedReLUNetwork, InputError, PolynomialNetwork, ReLUNetwork, certify, worst_case_margin
from convexadv.boxes import box_relaxation_minimum
from convexadv.robustness import _box_search, _cross
from convexadv.robustness._cross import cross_bound


def problem(seed, d, outputs, n=6, spread=1.0):
    rng = np.random.default_rng(100 * d + seed)
    scaling = {"shift": rng.standard_normal(d), "scale": rng.uniform(0.4, 2.0, d)}
    network = random_network(100 * d + seed, d, 1 + (seed + d) % 8, outputs, **scaling)
    X, y = random_rows(seed, n, d, max(2, outputs))
    return network, X, y, spread * rng.uniform(0.1, 1.5, n)


def least_in_boxes(network, X, y, low, high):
    rows = zip(y, low, high, strict=True)
    return np.array([min(box_minimum(form, a, b) for form in pair_forms(network, label)) for label, a, b in rows])


# ------------------------------------------------------------------------------------ branch and bound


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6])
def test_complete_linf_equals_all_faces_of_the_box(d, outputs):
    for seed in range(5 if d < 5 else 2):
        network, X, y, radius = problem(seed, d, outputs)
        result = worst_case_margin(network, X, y, radius, "linf", complete=True, max_branches=2000)
        plain = worst_case_margin(network, X, y, radius, "linf")
        expected = least_in_boxes(network, X, y, X - radius[:, None], X + radius[:, None])
        size = magnitude(network, X, radius)
        assert result.exact.all()
        assert (abs(result.lower_bound - expected) <= 1e-9 * size).all()
        assert (abs(margins_at(network, result.point, y) - expected) <= 1e-9 * size).all()
        assert (abs(result.point - X).max(1) <= radius * (1 + 1e-12)).all()
        assert (result.lower_bound >= plain.lower_bound - 1e-12 * size).all()


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_bounds_cut_the_box(d, outputs):
    for seed in range(5):
        network, X, y, radius = problem(seed, d, outputs)
        low, high = X.min(0) - 0.1, X.max(0)  # some rows lie on the boundary
        cut = np.maximum(low, X - radius[:, None]), np.minimum(high, X + radius[:, None])
        expected, size = least_in_boxes(network, X, y, *cut), magnitude(network, X, radius)
        options = {"norm": "linf", "bounds": (low, high)}
        result = worst_case_margin(network, X, y, radius, **options)
        exact = worst_case_margin(network, X, y, radius, complete=True, max_branches=2000, **options)
        assert (result.lower_bound <= expected).all()
        assert (abs(exact.lower_bound - expected) <= 1e-9 * size).all()
        for found in (result, exact):
            assert (found.lower_bound <= found.upper_bound).all()
            assert (expected <= found.upper_bound + 1e-12 * size).all()
            assert (found.point >= low).all()
            assert (found.point <= high).all()
            assert (abs(found.point - X).max(1) <= radius * (1 + 1e-12)).all()
        tight = result.exact
        assert tight.any()
        assert (abs(result.lower_bound - expected)[tight] <= 1e-8 * size[tight]).all()
        wide = worst_case_margin(network, X, y, radius, "linf", bounds=(-100.0, 100.0))
        free = worst_case_margin(network, X, y, radius, "linf")
        np.testing.assert_allclose(wide.lower_bound, free.lower_bound, rtol=0, atol=1e-8 * size.max())
        assert (result.lower_bound >= free.lower_bound - 1e-8 * size).all()


def test_ten_features_are_bracketed_by_corners_and_the_dual_bound():
    network, X, y, radius = problem(0, 10, 1, n=4, spread=0.7)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=10)))
    dual = worst_case_margin(network, X, y, radius, "linf")
    result = worst_case_margin(network, X, y, radius, "linf", complete=True, max_branches=5000)
    corners = margins_at(network, X + radius[:, None] * signs[:, None], y).min(0)
    assert (dual.lower_bound <= result.lower_bound + 1e-9).all()
    assert (result.upper_bound <= corners + 1e-9).all()
    assert (result.upper_bound < corners - 1e-3).any()  # the minimum need not be at a corner
    assert (dual.lower_bound < result.lower_bound - 1e-3).any()  # nor the dual bound tight
    assert result.exact.all()


def test_frustrated_triangle_is_solved_by_branches():
    """The relaxation of x_1 x_2 + x_1 x_3 + x_2 x_3 over the box is -3/2, its minimum -1."""
    U = np.array([[(j in pair) / 2**0.5 for j in range(3)] for pair in [(0, 1), (0, 2), (1, 2)]])
    neurons, alpha = np.concatenate([U, np.eye(3)]), [1.0, 1.0, 1.0, -1.0, -1.0, -1.0]
    network = PolynomialNetwork(neurons, alpha, (1.0, 0.0, 0.0), classes=[0, 1])
    row = np.zeros((1, 3)), [1], 1.0, "linf"
    plain, result = worst_case_margin(network, *row), worst_case_margin(network, *row, complete=True)
    np.testing.assert_allclose(plain.lower_bound, -1.5, atol=1e-7)
    assert not plain.exact.any()
    np.testing.assert_allclose([result.lower_bound, result.upper_bound], -1.0, atol=1e-8)
    assert result.exact.all()


def test_limits_of_the_search_leave_sound_bounds():
    network, (X, y), radius = random_network(1, 14, 28, 3), random_rows(1, 4, 14, 3), np.full(4, 1.0)
    full = worst_case_margin(network, X, y, radius, "linf", complete=True, max_branches=5000)
    assert full.exact.all()
    before = worst_case_margin(network, X, y, radius, "linf").lower_bound
    plain, best = before, []
    for branches in (1, 3, 10, 40):
        result = worst_case_margin(network, X, y, radius, "linf", complete=True, max_branches=branches)
        assert (result.lower_bound <= full.lower_bound + 1e-9).all()
        assert (full.lower_bound <= result.upper_bound + 1e-9).all()
        assert (result.lower_bound >= before - 1e-9).all()
        before = result.lower_bound
        best.append(result.exact.mean())
    assert best[0] < 1
    assert (before > plain + 1e-3).any()
    late = worst_case_margin(network, X, y, radius, "linf", complete=True, time_limit=0.0)
    np.testing.assert_allclose(late.lower_bound, plain, rtol=0, atol=1e-9)


def test_complete_certificates_decide_the_sign():
    network, X, _, _ = problem(2, 5, 3, n=60)
    y, radius = network.predict(X), 0.1
    worst = worst_case_margin(network, X, y, radius, "linf", complete=True, max_branches=2000)
    certificate = certify(network, X, y, radius, "linf", complete=True, max_branches=2000)
    assert worst.exact.all()
    np.testing.assert_array_equal(certificate.certified, worst.lower_bound > 0)
    assert 0 < certificate.certified.sum() < 60
    assert "sub-boxes" in certificate.method
    boxed = certify(network, X, y, radius, "linf", bounds=(X.min(0), X.max(0)))
    assert boxed.certified.sum() >= certify(network, X, y, radius, "linf").certified.sum()


def test_batches_of_sub_boxes_change_nothing(monkeypatch):
    network, X, y, radius = problem(3, 6, 1, n=8)
    whole = worst_case_margin(network, X, y, radius, "linf", complete=True, max_branches=2000)
    monkeypatch.setattr(_box_search, "_NODES", 4)
    parts = worst_case_margin(network, X, y, radius, "linf", complete=True, max_branches=2000)
    np.testing.assert_allclose(parts.lower_bound, whole.lower_bound, rtol=0, atol=1e-8)


# --------------------------------------------------------------------------------------------- l1


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_l1_is_below_all_faces_of_the_cross_polytope(d, outputs):
    better, gaps, found = [], [], []
    for seed in range(5):
        network, X, y, radius = problem(seed, d, outputs)
        result = worst_case_margin(network, X, y, radius, "l1")
        outer = worst_case_margin(network, X, y, radius, "l2")
        rows = zip(X, y, radius, strict=True)
        expected = np.array(
            [min(cross_polytope_minimum(form, x, r) for form in pair_forms(network, label)) for x, label, r in rows]
        )
        size = magnitude(network, X, radius)
        assert (result.lower_bound <= expected + 1e-13 * size).all()
        assert (expected <= result.upper_bound + 1e-12 * size).all()
        assert (result.lower_bound >= outer.lower_bound - 1e-13 * size).all()
        assert (abs(result.point - X).sum(1) <= radius * (1 + 1e-12)).all()
        assert (abs(result.lower_bound - expected)[result.exact] <= 2e-9 * size[result.exact]).all()
        better.append(result.lower_bound > outer.lower_bound + 1e-6 * size)
        found.append((result.upper_bound - expected) / size)
        gaps.append((result.upper_bound - result.lower_bound) / np.maximum(1e-300, expected - outer.lower_bound))
        if d == 1:
            assert result.exact.all()
    if d > 1:
        assert np.mean(better) > 0.5
        assert np.median(gaps) < 0.2  # most of the way from the l2 ball to the truth
        assert np.quantile(found, 0.8) < 1e-6


def test_l1_descent_finds_convex_minima():
    """Sums of squares: minima inside of the ball and on its faces, where neither a vertex nor the l2 minimiser is."""
    shortfall = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        neurons, alpha = random_network(seed, 4, 6).neurons, rng.uniform(0.5, 1.5, 6)
        network = PolynomialNetwork(neurons, alpha, (1.0, 0.3, 0.0), classes=[0, 1])
        X, radius = random_rows(seed, 8, 4)[0], rng.uniform(0.3, 2.0, 8)
        result = worst_case_margin(network, X, np.ones(8, int), radius, "l1")
        (form,) = pair_forms(network, 1)
        expected = [cross_polytope_minimum(form, x, r) for x, r in zip(X, radius, strict=True)]
        shortfall.append((result.upper_bound - expected) / magnitude(network, X, radius))
    assert np.max(shortfall) < 1e-3
    assert np.median(shortfall) < 1e-5


@pytest.mark.parametrize("outputs", [1, 3])
def test_l1_against_dense_sampling(outputs):
    rng = np.random.default_rng(0)
    for seed in range(6):
        d = 2 + 3 * (seed % 3)
        network, X, y, radius = problem(seed, d, outputs, n=20)
        result = worst_case_margin(network, X, y, radius, "l1")
        inner = rng.laplace(size=(3000, 20, d)) * (rng.random((3000, 20, d)) < rng.random((3000, 1, 1)) + 1 / d)
        length = abs(inner).sum(2)
        inner = inner / np.where(length > 0, length, 1.0)[..., None] * rng.choice([1.0, 0.5], (3000, 1, 1))
        vertices = np.concatenate([np.eye(d), -np.eye(d)])[:, None]
        around = X + radius[:, None] * np.concatenate([np.broadcast_to(vertices, (2 * d, 20, d)), inner])
        assert (margins_at(network, around, y).min(0) >= result.lower_bound - 1e-13).all()


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_l1_bound_is_sound_at_any_iterate(steps, monkeypatch):
    monkeypatch.setattr(_cross, "_STEPS", steps)
    rng = np.random.default_rng(steps)
    for d in (1, 2, 3):
        axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
        lam, c = rng.standard_normal((30, d)), rng.standard_normal((30, d))
        radius, shift = rng.uniform(0.1, 2.0, 30), rng.uniform(0.0, 3.0, 30)
        bound = cross_bound(lam, c, axes, radius, np.maximum(-lam.min(1), 0.0) + shift)
        for row, low in enumerate(bound):
            form = (axes.T * lam[row]) @ axes, axes.T @ c[row], 0.0
            assert low <= cross_polytope_minimum(form, np.zeros(d), radius[row]) + 1e-13


def test_l1_is_exact_where_the_worst_case_is_known():
    """Linear networks, and f = -(sum_j x_j)^2 / d, whose minimum over the ball at zero is -r^2 / d, far above l2's."""
    X, y = random_rows(8, 50, 6)
    linear = random_network(8, 6, activation=(0.0, 1.0, 0.3))
    slope = linear.coefficients.detach().numpy()[:, 0] @ linear.neurons.detach().numpy()
    result = worst_case_margin(linear, X, y, 0.4, "l1")
    expected = linear.margins(X, y) - 0.4 * abs(slope).max()
    np.testing.assert_allclose(result.upper_bound, expected, rtol=0, atol=1e-9)
    assert (result.lower_bound <= expected).all()
    np.testing.assert_allclose(result.lower_bound, expected, rtol=0, atol=1e-2)
    d = 9
    network = PolynomialNetwork(np.full((1, d), d**-0.5), [-1.0], (1.0, 0.0, 0.0), classes=[0, 1])
    result = worst_case_margin(network, np.zeros((1, d)), [1], 2.0, "l1")
    np.testing.assert_allclose([result.lower_bound, result.upper_bound], -4.0 / d, rtol=1e-12)


# -------------------------------------------------------------------------------------- both bounds


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("make", ["polynomial", "relu", "gated"])
def test_upper_bound_is_the_margin_of_the_point(norm, make):
    rng = np.random.default_rng(3)
    X, y = random_rows(3, 30, 4)
    network = {
        "polynomial": random_network(3, 4),
        "relu": ReLUNetwork(rng.standard_normal((6, 4)), rng.standard_normal(6), classes=[0, 1]),
        "gated": GatedReLUNetwork(rng.standard_normal((6, 4)), rng.standard_normal((6, 4)), classes=[0, 1]),
    }[make]
    result = worst_case_margin(network, X, y, 0.3, norm)
    np.testing.assert_array_equal(result.upper_bound, network.margins(result.point, y))
    assert (result.lower_bound <= result.upper_bound).all()
    tensors = worst_case_margin(network.float(), torch.from_numpy(X).float(), y, 0.3, norm)
    assert tensors.upper_bound.dtype == torch.float64
    assert (tensors.lower_bound <= tensors.upper_bound).all()


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_reported_bound_is_never_below_the_interval_bound(norm):
    for seed in range(6):
        network, X, y, radius = problem(seed, 5, 1, n=30, spread=3.0)
        U = (network.neurons / network.scale).detach().numpy()
        t = (X - network.shift.numpy()) @ U.T
        reach = radius[:, None] * (abs(U).max(1) if norm == "l1" else abs(U).sum(1))
        a, b, c = network.activation
        ends = np.stack([t - reach, t + reach, np.clip(-b / (2 * a), t - reach, t + reach)])
        activated = (a * ends + b) * ends + c
        weights = (2 * y - 1)[:, None] * network.coefficients.detach().numpy()[:, 0]
        interval = np.where(weights > 0, weights * activated.min(0), weights * activated.max(0)).sum(1)
        size = magnitude(network, X, radius * (5 if norm == "linf" else 1))
        assert (worst_case_margin(network, X, y, radius, norm).lower_bound >= interval - 1e-12 * size).all()


def test_box_relaxation_takes_sides_of_their_own():
    """|e_j| <= r_j is the unit box of the scaled problem, and sides of zero leave their features out."""
    rng = np.random.default_rng(5)
    for d, m in ((3, 4), (8, 4), (40, 2)):  # the last one is proven by its low rank
        U, w, sign = rng.standard_normal((m, d)), rng.standard_normal(m), rng.choice([-1.0, 1.0], 10)
        g, sides = rng.standard_normal((10, d)), rng.uniform(0.0, 2.0, (10, d))
        sides[:5, 0], sides[9] = 0.0, 0.0
        found = box_relaxation_minimum(U, w, sign, g, sides, curvature=0.2)
        for row in range(10):
            A = sign[row] * (U.T * w) @ U + 0.2 * np.eye(d)
            scaled = sides[row][:, None] * A * sides[row]
            one = box_relaxation_minimum(np.eye(d), scaled, 1.0, (sides[row] * g[row])[None], 1.0)
            np.testing.assert_allclose(found.value[row], one.value[0], rtol=0, atol=1e-7)
            kept = sides[row] > 0
            dual = (A + np.diag(found.multipliers[row]))[np.ix_(kept, kept)]
            assert np.linalg.eigvalsh(dual).min(initial=0.0) >= -1e-9 * (1 + abs(dual).max(initial=0.0))
        assert (abs(found.mean) <= sides).all()
        assert (found.mean[:5, 0] == 0).all()
        tensor = box_relaxation_minimum(*(torch.from_numpy(part) for part in (U, w, sign, g, sides)), curvature=0.2)
        np.testing.assert_allclose(tensor.value.numpy(), found.value, rtol=0, atol=1e-9)


NETWORK = random_network(0, 3)
X, Y = random_rows(0, 5, 3)
RELU = ReLUNetwork(np.eye(3), np.ones(3), classes=[0, 1])
BAD = {
    "complete l1": ((NETWORK, X, Y, 0.1, "l1"), {"complete": True}, "no complete search is known"),
    "bounds of l2": ((NETWORK, X, Y, 0.1, "l2"), {"bounds": (-9.0, 9.0)}, "bounds are known for linf"),
    "bounds of relu": ((RELU, X, Y, 0.1, "linf"), {"bounds": (-9.0, 9.0)}, "bounds are known for linf"),
    "order of bounds": ((NETWORK, X, Y, 0.1, "linf"), {"bounds": (9.0, -9.0)}, "low <= high"),
    "nan in bounds": ((NETWORK, X, Y, 0.1, "linf"), {"bounds": (np.nan, 9.0)}, "low <= high"),
    "length of bounds": ((NETWORK, X, Y, 0.1, "linf"), {"bounds": ([-9.0] * 2, 9.0)}, r"shape \(3,\)"),
    "one bound": ((NETWORK, X, Y, 0.1, "linf"), {"bounds": 9.0}, r"\(low, high\)"),
    "rows outside": ((NETWORK, X, Y, 0.1, "linf"), {"bounds": (0.0, 9.0)}, "outside of the bounds"),
}


@pytest.mark.parametrize("function", [worst_case_margin, certify])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, function):
    arguments, options, expected = BAD[name]
    with pytest.raises(InputError, match=expected) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_attacks_inside_the_box_stay_above():
    network, X, y, _ = problem(4, 6, 3, n=30)
    bounds = X.min(0), X.max(0)
    result = worst_case_margin(network, X, y, 0.4, "linf", complete=True, max_branches=3000, bounds=bounds)
    found = ca.attack(network, X, y, 0.4, "linf", "pgd", steps=40, restarts=3, bounds=bounds)
    assert (found.margins >= result.lower_bound).all()
    kept = ~found.success  # the attack ends where it succeeds
    assert kept.any()
    assert np.median((found.margins - result.lower_bound)[kept]) < 1e-2
