"""Worst-case margins against another exact method, an SDP, rational arithmetic, sampling and attacks."""

import itertools
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from quadratic_reference import (
    forms_of,
    magnitude,
    margins_at,
    minimum_on_balls,
    random_network,
    random_rows,
    unit_rows,
    values,
)

import convexadv as ca
from convexadv import InputError, PolynomialNetwork, certify, robust_accuracy, worst_case_margin
from convexadv.networks.units import in_units
from convexadv.robustness import _worst_case

RELU_FIT = (0.09, 0.5, 0.47)


def sphere_points(rng, n, d):
    return unit_rows(rng, n, d) * rng.choice([1.0, rng.random() ** (1 / d)], (n, 1))


# ---------------------------------------------------------------------------------------------- l2


def usual(rng):
    d, m = rng.integers(1, 13), rng.integers(1, 17)
    return unit_rows(rng, m, d), rng.standard_normal(m), rng.standard_normal((50, d))


def one_feature(rng):
    m = rng.integers(1, 6)
    return rng.choice([-1.0, 1.0], (m, 1)), rng.standard_normal(m), rng.standard_normal((50, 1))


def symmetric_point(rng):
    """No gradient at the rows: with b = 0 all of them are zero."""
    d, m = rng.integers(2, 9), rng.integers(1, 12)
    return unit_rows(rng, m, d), rng.standard_normal(m), np.zeros((50, d))


def repeated_eigenvalues(rng):
    d = rng.integers(3, 9)
    U = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return U, rng.choice([-1.0, 1.0], d), rng.standard_normal((50, d))


def hard_case(rng):
    """Rows orthogonal to the flattest directions: with b = 0 the gradient has no part along them."""
    d = rng.integers(4, 9)
    U = np.linalg.qr(rng.standard_normal((d, d)))[0]
    alpha = np.linspace(-1.0, 1.0, d)
    inner = rng.standard_normal((50, d))
    inner[:, 0] = inner[:, -1] = 0.0
    return U, alpha, inner @ U


def nearly_hard_case(rng):
    U, alpha, X = hard_case(rng)
    nearly = 10.0 ** rng.uniform(-18, -4, (50, 2)) * rng.choice([-1.0, 1.0], (50, 2))
    return U, alpha, X + nearly @ U[[0, -1]]


def rank_deficient(rng):
    d, m = rng.integers(6, 13), rng.integers(1, 4)
    U = unit_rows(rng, m, d)
    return np.concatenate([U, -U, U]), rng.standard_normal(3 * m), rng.standard_normal((50, d))


def zero_function(rng):
    d = rng.integers(1, 9)
    U = unit_rows(rng, 2, d)
    return np.concatenate([U, U]), np.array([1.0, -2.0, -1.0, 2.0]), rng.standard_normal((50, d))


def zero_weights(rng):
    d = rng.integers(1, 9)
    return unit_rows(rng, 3, d), np.zeros(3), rng.standard_normal((50, d))


CASES = {
    usual: 130,
    one_feature: 12,
    symmetric_point: 15,
    repeated_eigenvalues: 15,
    hard_case: 20,
    nearly_hard_case: 20,
    rank_deficient: 15,
    zero_function: 5,
    zero_weights: 3,
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_l2_against_bisection_and_sampling(make):
    """More than 10,000 cases over all kinds: value, tightness of the points, no sample below."""
    for seed in range(CASES[make]):
        rng = np.random.default_rng(1000 * list(CASES).index(make) + seed)
        U, alpha, X = make(rng)
        b = 0.0 if make in (symmetric_point, hard_case, nearly_hard_case) else rng.choice([0.0, 0.5])
        activation = (rng.choice([0.0, 0.09, 1.0]), b, rng.choice([0.0, 0.47]))
        network = PolynomialNetwork(U, alpha, activation, classes=[0, 1])
        y = rng.integers(0, 2, len(X))
        radius = 10 ** rng.uniform(-3, 1, len(X)) * (rng.random(len(X)) > 0.05)
        result = worst_case_margin(network, X, y, radius)
        form, size = forms_of(network), magnitude(network, X, radius)
        expected = minimum_on_balls(form, X, 2.0 * y - 1, radius)
        assert (abs(result.lower_bound - expected) <= 1e-11 * size).all()
        assert result.exact.all()
        assert (np.linalg.norm(result.point - X, axis=1) <= radius * (1 + 1e-12)).all()
        assert (abs(margins_at(network, result.point, y) - expected) <= 1e-10 * size).all()
        around = X + radius[:, None] * sphere_points(rng, 60 * len(X), X.shape[1]).reshape(60, *X.shape)
        assert (margins_at(network, around, y) >= result.lower_bound - 1e-14 * size).all()


def test_number_of_random_cases():
    assert 50 * sum(CASES.values()) >= 10_000


def test_l2_degenerate_case_fills_the_ball():
    """f = -x1^2 at 0: the worst points are (+-r, 0), and the gradient does not tell."""
    network = PolynomialNetwork([[1.0, 0.0]], [-1.0], (1.0, 0.0, 0.0), classes=[0, 1])
    result = worst_case_margin(network, np.zeros((1, 2)), [1], 0.5)
    np.testing.assert_allclose(result.lower_bound, -0.25, rtol=1e-12)
    np.testing.assert_allclose(abs(result.point), [[0.5, 0.0]], rtol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_l2_against_the_semidefinite_programme(seed):
    """The S-procedure of the paper, solved by cvxpy on raw inputs of scaled networks: 204 rows in all."""
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    d = 3 + seed % 3
    scaling = {"shift": rng.standard_normal(d), "scale": rng.uniform(0.5, 2.0, d)}
    network = random_network(seed, d, 2 + seed, **scaling)
    X, y = random_rows(seed, 34, d)
    X[0] = network.shift.numpy()  # no pull along the even part
    radius = 0.1 * (1 + seed) * rng.uniform(0.1, 3.0, 34)
    form = forms_of(network)
    A, h, _ = form
    result = worst_case_margin(network, X, y, radius)
    size = magnitude(network, X, radius)
    for x, label, r, bound, scale in zip(X, y, radius, result.lower_bound, size, strict=True):
        sign = 2 * label - 1
        gradient = sign * (A @ x + h)[:, None]
        w, lam = cp.Variable(), cp.Variable(nonneg=True)
        corner = cp.reshape(sign * values(form, x) - w - lam * r**2, (1, 1), order="C")
        matrix = cp.bmat([[lam * np.eye(d) + sign * A, gradient], [gradient.T, corner]])
        problem = cp.Problem(cp.Maximize(w), [0.5 * (matrix + matrix.T) >> 0])
        with warnings.catch_warnings():  # it is compared to 1e-6 however accurate it thinks it is
            warnings.simplefilter("ignore", UserWarning)
            problem.solve(solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
        assert abs(bound - w.value) <= 1e-6 * scale


def test_zero_network_and_zero_radius():
    X, y = random_rows(0, 20, 3)
    empty = PolynomialNetwork(np.zeros((0, 3)), np.zeros((0, 1)), classes=[0, 1])
    for norm in ("l1", "l2", "linf"):
        result = worst_case_margin(empty, X, y, 0.5, norm)
        assert (result.lower_bound == 0).all()
        assert result.exact.all()
        assert not certify(empty, X, y, 0.5, norm).certified.any()
        network = random_network(0, 3)
        result = worst_case_margin(network, X, y, 0.0, norm)
        np.testing.assert_allclose(result.lower_bound, network.margins(X, y), rtol=0, atol=1e-12)
        assert result.exact.all()
        np.testing.assert_array_equal(result.point, X)


def test_few_rows_with_a_ball_among_many_without():
    network, (X, y) = random_network(3), random_rows(3, 30, 5)
    radius = np.zeros(30)
    radius[[4, 17]] = 0.3
    for norm in ("l1", "l2", "linf"):
        mixed = worst_case_margin(network, X, y, radius, norm)
        alone = worst_case_margin(network, X[[4, 17]], y[[4, 17]], 0.3, norm)
        np.testing.assert_allclose(mixed.lower_bound[[4, 17]], alone.lower_bound, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(mixed.point[radius == 0], X[radius == 0])


# ---------------------------------------------------------------------------------------- rounding


def exact_margin(network, x, sign):
    """y f(x) in rational arithmetic."""
    a, b, c = map(Fraction, network.activation)
    parts = [network.shift, network.scale, network.neurons, network.coefficients[:, 0]]
    shift, scale, U, alpha = (part.detach().tolist() for part in parts)
    z = [(Fraction(xj) - Fraction(sj)) / Fraction(dj) for xj, sj, dj in zip(x, shift, scale, strict=True)]
    inner = [sum(Fraction(u) * zj for u, zj in zip(row, z, strict=True)) for row in U]
    return int(sign) * sum(Fraction(w) * ((a * t + b) * t + c) for w, t in zip(alpha, inner, strict=True))


def large_cancelling_network(rng, d):
    m = 6
    U = unit_rows(rng, m, d)
    alpha = 10.0 ** rng.uniform(-3, 6, m)
    alpha = np.concatenate([alpha, -alpha]) * (1 + 1e-9 * rng.standard_normal(2 * m))
    scale = 10.0 ** rng.uniform(-4, 4, d)
    shift = scale * rng.standard_normal(d) * 10.0 ** rng.uniform(0, 4)
    activation = (rng.standard_normal(), rng.standard_normal(), 1e4)
    return PolynomialNetwork(np.concatenate([U, U]), alpha, activation, shift, scale, classes=[0, 1])


@pytest.mark.parametrize("seed", range(20))
def test_bound_at_radius_zero_is_below_the_rational_margin(seed):
    rng = np.random.default_rng(seed)
    network = large_cancelling_network(rng, 1 + seed % 7)
    spread = network.scale.numpy() * 10.0 ** rng.uniform(-2, 3)
    X = network.shift.numpy() + spread * rng.standard_normal((10, network.n_features))
    y = rng.integers(0, 2, len(X))
    for norm in ("l1", "l2", "linf"):
        bound = worst_case_margin(network, X, y, 0.0, norm).lower_bound
        exact = [exact_margin(network, x, sign) for x, sign in zip(X.tolist(), 2 * y - 1, strict=True)]
        assert all(Fraction(low) <= truth for low, truth in zip(bound.tolist(), exact, strict=True))
        assert (bound <= network.margins(X, y)).all()  # what float64 makes of it is covered as well


@pytest.mark.parametrize("seed", range(20))
def test_bound_is_below_the_rational_margin_of_the_minimiser(seed):
    """The point attains the bound but for rounding, so without the allowance some bounds would lie above it."""
    rng = np.random.default_rng(seed)
    network = large_cancelling_network(rng, 2 + seed % 7)
    X = network.shift.numpy() + network.scale.numpy() * rng.standard_normal((10, network.n_features))
    y, radius = rng.integers(0, 2, 10), network.scale.numpy().min() * 10.0 ** rng.uniform(-3, 2, 10)
    for norm in ("l1", "l2", "linf"):
        result = worst_case_margin(network, X, y, radius, norm)
        points = zip(result.point.tolist(), 2 * y - 1, strict=True)
        least = [exact_margin(network, x, sign) for x, sign in points]
        assert all(Fraction(low) <= truth for low, truth in zip(result.lower_bound.tolist(), least, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_bound_of_one_feature_is_below_the_rational_minimum(seed):
    """In one dimension the minimum over the interval is known: an end, or the vertex of the parabola."""
    rng = np.random.default_rng(seed)
    network = large_cancelling_network(rng, 1)
    spread = network.scale.numpy() * 10.0 ** rng.uniform(-2, 3)
    X = network.shift.numpy() + spread * rng.standard_normal((20, 1))
    y, radius = rng.integers(0, 2, 20), spread * 10.0 ** rng.uniform(-3, 2, 20)
    sign = 2 * y - 1
    for norm in ("l1", "l2", "linf"):
        result = worst_case_margin(network, X, y, radius, norm)
        for i, x in enumerate(X[:, 0].tolist()):
            x, r = Fraction(x), Fraction(float(radius[i]))
            ends = [x - r, x + r]
            left, middle, right = (exact_margin(network, [t], sign[i]) for t in (x - r, x, x + r))
            bend = left - 2 * middle + right
            vertex = x - r * (right - left) / (2 * bend) if bend > 0 else x
            points = [*ends, vertex] if ends[0] <= vertex <= ends[1] else ends
            least = min(exact_margin(network, [t], sign[i]) for t in points)
            assert Fraction(float(result.lower_bound[i])) <= least
            assert abs(Fraction(float(result.point[i, 0])) - x) <= r * Fraction(1 + 1e-12)


def test_common_part_of_two_outputs_is_covered():
    """Outputs that are large and nearly equal: their float64 values have errors that their difference has not."""
    network, (X, y) = random_network(0, 4, 6, 3), random_rows(0, 200, 4, 3)
    alpha = network.coefficients.detach() + 1e9 * torch.ones(6, 1, dtype=torch.float64)
    large = PolynomialNetwork(network.neurons, alpha, network.activation, classes=[0, 1, 2])
    for norm in ("l1", "l2", "linf"):
        assert (worst_case_margin(large, X, y, 0.0, norm).lower_bound <= large.margins(X, y)).all()


@pytest.mark.parametrize("activation", [(0.9, 0.5, 0.1), (0.0, 0.5, 0.1)])
def test_overflow_gives_no_bound_instead_of_a_wrong_one(activation):
    network = random_network(0, 3, activation=activation)
    X, y = random_rows(0, 5, 3)
    X[1] *= 1e200
    for norm in ("l1", "l2", "linf"):
        result = worst_case_margin(network, X, y, [0.1, 0.1, 1e200, 0.1, 0.1], norm)
        lost = [False, True, True, False, False]
        assert (result.lower_bound == -np.inf).tolist() == lost
        assert not result.exact[lost].any()
        assert np.isfinite(result.point).all()
        others = [0, 3, 4]
        alone = worst_case_margin(network, X[others], y[others], 0.1, norm).lower_bound
        np.testing.assert_allclose(result.lower_bound[others], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("factor", [1e-150, 1e-9, 1e12, 1e250])
def test_bounds_are_homogeneous_in_the_coefficients(factor):
    network, (X, y) = random_network(0, 3), random_rows(0, 40, 3)
    arguments = network.neurons, factor * network.coefficients.detach(), network.activation
    scaled = PolynomialNetwork(*arguments, classes=[0, 1])
    for norm in ("l2", "linf"):
        plain, result = (worst_case_margin(part, X, y, 0.2, norm) for part in (network, scaled))
        np.testing.assert_allclose(result.lower_bound / factor, plain.lower_bound, rtol=0, atol=1e-8)
        np.testing.assert_array_equal(result.exact, plain.exact)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_features_of_very_different_units(norm):
    """Units of 1e-170 and 1e170 change nothing that can be said about the rows."""
    X, y = random_rows(1, 30, 3)
    units = np.array([1e-170, 1.0, 1e170])
    plain = random_network(1, 3)
    scaled = random_network(1, 3, scale=units)
    radius = 0.1e-170
    result = worst_case_margin(scaled, X * units, y, radius, norm)
    # Only the first feature can be moved by such a radius.
    stretched = random_network(1, 3, scale=[1.0, 1e12, 1e12], shift=[0.0, 0.0, 0.0])
    reference = worst_case_margin(stretched, X * [1.0, 1e12, 1e12], y, 0.1, norm)
    np.testing.assert_allclose(result.lower_bound, reference.lower_bound, rtol=0, atol=1e-8)
    assert (result.lower_bound <= plain.margins(X, y)).all()


# ------------------------------------------------------------------------------------------- scaling


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_common_scale_equals_scaled_inputs(norm, outputs):
    rng = np.random.default_rng(5)
    shift, factor = rng.standard_normal(4), 3.7
    X, y = random_rows(5, 60, 4, max(2, outputs))
    plain = random_network(5, 4, outputs=outputs)
    scaled = random_network(5, 4, outputs=outputs, shift=shift, scale=np.full(4, factor))
    inner = worst_case_margin(plain, X, y, 0.2, norm)
    outer = worst_case_margin(scaled, shift + factor * X, y, 0.2 * factor, norm)
    np.testing.assert_allclose(outer.lower_bound, inner.lower_bound, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(outer.exact, inner.exact)


def test_ellipsoid_equals_the_network_in_its_units():
    """A ball of the scaled inputs is a ball of ``in_units``; a raw ball is the ellipsoid of the full form."""
    rng = np.random.default_rng(6)
    shift, scale = rng.standard_normal(4), rng.uniform(0.1, 5.0, 4)
    network = random_network(6, 4, shift=shift, scale=scale)
    X, y = random_rows(6, 80, 4)
    raw = shift + scale * X
    inner = worst_case_margin(in_units(network, network.shift, network.scale), X, y, 0.3)
    plain = worst_case_margin(random_network(6, 4), X, y, 0.3)
    np.testing.assert_allclose(inner.lower_bound, plain.lower_bound, rtol=0, atol=1e-11)
    result = worst_case_margin(network, raw, y, 0.3)
    expected = minimum_on_balls(forms_of(network), raw, 2.0 * y - 1, np.full(80, 0.3))
    np.testing.assert_allclose(result.lower_bound, expected, rtol=0, atol=1e-9)
    assert (np.linalg.norm(result.point - raw, axis=1) <= 0.3 * (1 + 1e-12)).all()


def test_constant_feature_of_standardise():
    """A constant feature gets the common scale: it is perturbed like any other feature of that unit."""
    from convexadv.datasets.scaling import standardise

    X, y = random_rows(7, 40, 3)
    X[:, 1] = 4.0
    shift, scale = standardise(X)
    network = random_network(7, 3, shift=shift, scale=scale)
    bound = worst_case_margin(network, X, y, 0.5).lower_bound
    expected = minimum_on_balls(forms_of(network), X, 2.0 * y - 1, np.full(40, 0.5))
    np.testing.assert_allclose(bound, expected, rtol=0, atol=1e-10)


# -------------------------------------------------------------------------------------------- linf


def corners(d):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=d)))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_linf_is_below_corners_and_faces(d, outputs):
    for seed in range(12):
        rng = np.random.default_rng(100 * d + seed)
        scaling = {"shift": rng.standard_normal(d), "scale": rng.uniform(0.3, 3.0, d)}
        network = random_network(seed, d, 1 + seed % 6, outputs, **scaling)
        X, y = random_rows(seed, 25, d, max(2, outputs))
        radius = 10 ** rng.uniform(-2, 0.5, 25)
        result = worst_case_margin(network, X, y, radius, "linf")
        size = magnitude(network, X, radius)
        box = rng.uniform(-1, 1, (400, 1, d))
        faces = np.where(rng.random(box.shape) < 0.5, np.sign(box), box)
        around = X + radius[:, None] * np.concatenate([corners(d)[:, None], faces, box])
        least = margins_at(network, around, y).min(0)
        assert (result.lower_bound <= least + 1e-14 * size).all()
        assert (abs(result.point - X).max(1) <= radius * (1 + 1e-12)).all()
        attained = margins_at(network, result.point, y)
        assert (result.lower_bound <= attained + 1e-14 * size).all()
        assert (attained - result.lower_bound <= 1e-8 * size)[result.exact].all()
        assert (attained - least <= 1e-8 * size)[result.exact].all()
        if d == 1:  # a box is a ball, and the relaxation is tight
            ball = worst_case_margin(network, X, y, radius, "l2")
            np.testing.assert_allclose(result.lower_bound, ball.lower_bound, rtol=0, atol=1e-8 * size.max())
            assert result.exact.all()


def test_linf_is_exact_for_linear_and_separable_networks():
    X, y = random_rows(8, 50, 6)
    linear = random_network(8, 6, activation=(0.0, 1.0, 0.3))
    A, h, k = forms_of(linear)
    assert not A.any()
    result = worst_case_margin(linear, X, y, 0.4, "linf")
    np.testing.assert_allclose(
        result.lower_bound, (2 * y - 1) * (2 * X @ h + k) - 0.8 * abs(h).sum(), rtol=0, atol=1e-8
    )
    assert result.exact.all()
    alpha = np.random.default_rng(8).standard_normal(6)
    separable = PolynomialNetwork(np.eye(6), alpha, (1.0, 0.4, 0.0), classes=[0, 1])
    grid = np.linspace(-0.4, 0.4, 8001)
    sign = (2 * y - 1)[:, None]
    parts = [(sign * alpha[j] * ((X[:, [j]] + grid) ** 2 + 0.4 * (X[:, [j]] + grid))).min(1) for j in range(6)]
    result = worst_case_margin(separable, X, y, 0.4, "linf")
    np.testing.assert_allclose(result.lower_bound, np.sum(parts, 0), rtol=0, atol=1e-7)
    assert result.exact.mean() > 0.9


def test_linf_symmetric_point_is_found_exact():
    """f = -(u.x)^2 at 0: the moments have a zero mean, and both corners along sign(u) attain the bound."""
    u = unit_rows(np.random.default_rng(9), 1, 5)
    network = PolynomialNetwork(u, [-1.0], (1.0, 0.0, 0.0), classes=[0, 1])
    result = worst_case_margin(network, np.zeros((1, 5)), [1], 0.5, "linf")
    np.testing.assert_allclose(result.lower_bound, -((0.5 * abs(u).sum()) ** 2), rtol=1e-8)
    assert result.exact.all()


def test_linf_that_is_not_tight_is_not_called_exact():
    """The product of a frustrated triangle: the relaxation lies strictly below all points of the box."""
    pairs = [(0, 1), (0, 2), (1, 2)]
    U = np.array([[(j in pair) / 2**0.5 for j in range(3)] for pair in pairs])
    # sum of (x_i + x_j)^2 / 2 over the pairs, less x'x: the sum of x_i x_j
    neurons, alpha = np.concatenate([U, np.eye(3)]), [1.0, 1.0, 1.0, -1.0, -1.0, -1.0]
    network = PolynomialNetwork(neurons, alpha, (1.0, 0.0, 0.0), classes=[0, 1])
    result = worst_case_margin(network, np.zeros((1, 3)), [1], 1.0, "linf")
    np.testing.assert_allclose(result.lower_bound, -1.5, atol=1e-7)  # the box minimum is -1
    np.testing.assert_allclose(margins_at(network, result.point, np.array([1])), -1.0, atol=1e-7)
    assert not result.exact.any()


# -------------------------------------------------------------------------------------- multiclass


@pytest.mark.parametrize("outputs", [2, 3, 5])
def test_multiclass_l2_is_the_least_of_the_pairs(outputs):
    for seed in range(8):
        network = random_network(seed, 4, 7, outputs)
        X, y = random_rows(seed, 60, 4, outputs)
        radius = np.random.default_rng(seed).uniform(0, 1, 60)
        result = worst_case_margin(network, X, y, radius)
        expected = np.full(60, np.inf)
        for label in range(outputs):
            rows = y == label
            for other in np.delete(np.arange(outputs), label):
                form = forms_of(network, label, other)
                least = minimum_on_balls(form, X[rows], np.ones(rows.sum()), radius[rows])
                expected[rows] = np.minimum(expected[rows], least)
        np.testing.assert_allclose(result.lower_bound, expected, rtol=0, atol=1e-10)
        assert result.exact.all()
        np.testing.assert_allclose(margins_at(network, result.point, y), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_blocks_and_chunks_change_nothing(norm, monkeypatch):
    network = random_network(2, 4, 7, 5)
    X, y = random_rows(2, 50, 4, 5)
    whole = worst_case_margin(network, X, y, 0.3, norm)
    monkeypatch.setattr(_worst_case, "_BLOCK", 200)
    monkeypatch.setattr(_worst_case, "_ROWS", 300)
    parts = worst_case_margin(network, X, y, 0.3, norm)
    np.testing.assert_allclose(parts.lower_bound, whole.lower_bound, rtol=0, atol=1e-8)
    exact = whole.exact & parts.exact
    assert exact.mean() > 0.8
    np.testing.assert_allclose(
        margins_at(network, parts.point, y)[exact],
        margins_at(network, whole.point, y)[exact],
        rtol=0,
        atol=1e-8,
    )


def test_two_outputs_equal_their_difference():
    two = random_network(4, 4, 6, 2)
    alpha = two.coefficients.detach()
    one = PolynomialNetwork(two.neurons, alpha[:, 1] - alpha[:, 0], two.activation, classes=[0, 1])
    X, y = random_rows(4, 40, 4)
    for norm in ("l2", "linf"):
        first, second = (worst_case_margin(network, X, y, 0.3, norm) for network in (one, two))
        np.testing.assert_allclose(first.lower_bound, second.lower_bound, rtol=0, atol=1e-8)


# ---------------------------------------------------------------------------------- attacks, labels


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("outputs", [1, 4])
def test_attacks_stay_above_the_bound(norm, outputs):
    tight = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scaling = {"shift": rng.standard_normal(6), "scale": rng.uniform(0.3, 3.0, 6)}
        network = random_network(seed, 6, 8, outputs, activation=RELU_FIT, **scaling)
        X, y = random_rows(seed, 40, 6, max(2, outputs))
        radius = rng.uniform(0, 1, 40)
        result = worst_case_margin(network, X, y, radius, norm)
        certificate = certify(network, X, y, radius, norm)
        for method in ("fgsm", "pgd"):
            found = ca.attack(network, X, y, radius, norm, method, steps=20, restarts=2)
            assert (found.margins >= result.lower_bound).all()
            assert not (found.success & certificate.certified).any()
        right = network.predict(X) == y
        tight.append((found.margins - result.lower_bound)[right & result.exact])
    assert np.median(np.concatenate(tight)) < 1e-3  # PGD comes close to bounds that are exact


@pytest.mark.parametrize("classes", [["ant", "bee"], [-1, 1], [False, True], [0.5, 1.5]])
def test_labels_of_any_kind(classes):
    network = random_network(0, 3, classes=classes)
    plain = random_network(0, 3)
    X, y = random_rows(0, 12, 3)
    named = np.array(classes)[y]
    expected = worst_case_margin(plain, X, y, 0.1).lower_bound
    np.testing.assert_array_equal(worst_case_margin(network, X, named, 0.1).lower_bound, expected)
    np.testing.assert_array_equal(worst_case_margin(network, X, named.tolist(), 0.1).lower_bound, expected)
    assert robust_accuracy(network, X, named, 0.1, attacks=[]).clean == (network.predict(X) == named).mean()


def test_certify_needs_bound_and_prediction():
    network = random_network(1, 3)
    X, y = random_rows(1, 50, 3)
    certificate = certify(network, X, y, 0.05)
    bound = worst_case_margin(network, X, y, 0.05).lower_bound
    np.testing.assert_array_equal(certificate.lower_bound, bound)
    np.testing.assert_array_equal(certificate.certified, bound > 0)
    assert certificate.certified[network.predict(X) == y].any()
    assert not certificate.certified[network.predict(X) != y].any()
    assert "S-procedure" in certificate.method
    assert "diagonal" in certify(network, X, y, 0.05, "linf").method
    with pytest.raises(AttributeError):
        certificate.norm = "l1"
    assert "certified=" in repr(certificate)
    assert "exact=50" in repr(worst_case_margin(network, X, y, np.full(50, 0.1)))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_arrays_and_tensors(norm):
    network, (X, y) = random_network(1, 3, outputs=3), random_rows(1, 20, 3, 3)
    expected = worst_case_margin(network, X, y, 0.2, norm)
    tensors = torch.from_numpy(X).requires_grad_(), torch.from_numpy(y), torch.full((20,), 0.2)
    result = worst_case_margin(network, *tensors, norm)
    for name, dtype in (("lower_bound", torch.float64), ("exact", torch.bool), ("point", torch.float64)):
        value = getattr(result, name)
        assert value.dtype == dtype
        assert not value.requires_grad
        tolerance = 1e-6 if name == "point" else 1e-7  # the radius of the tensor is 0.2 in float32
        np.testing.assert_allclose(value.numpy(), getattr(expected, name), rtol=0, atol=tolerance)
    assert certify(network, *tensors, norm).certified.dtype == torch.bool
    rows = X.tolist()
    np.testing.assert_array_equal(worst_case_margin(network, rows, y, 0.2, norm).lower_bound, expected.lower_bound)
    np.testing.assert_allclose(
        worst_case_margin(network, np.asfortranarray(X)[::-1], y[::-1], 0.2, norm).lower_bound[::-1],
        expected.lower_bound,
        rtol=1e-13,
    )
    assert X.tolist() == rows


def test_float32_network_is_bounded_in_float64():
    single = random_network(2, 4, dtype=torch.float32, scale=[0.1, 1.0, 2.0, 3.0])
    X, y = random_rows(2, 30, 4)
    result = worst_case_margin(single, X.astype(np.float32), y, 0.2)
    assert result.lower_bound.dtype == result.point.dtype == np.float64
    X = X.astype(np.float32).astype(np.float64)
    expected = minimum_on_balls(forms_of(single), X, 2.0 * y - 1, np.full(30, 0.2))
    np.testing.assert_allclose(result.lower_bound, expected, rtol=0, atol=1e-10)


# ---------------------------------------------------------------------------------- robust accuracy


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_robust_accuracy_brackets_the_truth(norm, dtype):
    network = random_network(3, 5, outputs=3, dtype=dtype)
    X, _ = random_rows(3, 150, 5)
    y = network.predict(X)
    y[::10] = (y[::10] + 1) % 3
    radii = [0.0, 0.02, 0.1, 0.5]
    result = robust_accuracy(network, X, y, radii, norm, steps=10, restarts=2)
    assert result.clean == 0.9
    assert result.certified[0] == result.attacked[0] == 0.9
    assert (result.certified <= result.attacked).all()
    assert (result.attacked <= np.minimum(*result.by_attack.values())).all()
    assert (np.diff(result.certified) <= 0).all()
    assert result.certified[1] > 0.7 > result.attacked[-1]
    for k, row in enumerate(result.rows()):
        assert row["radius"] == radii[k]
        assert row["certified"] == certify(network.double(), X, y, radii[k], norm).certified.mean()
    again = robust_accuracy(network, X, y, radii, norm, steps=10, restarts=2)
    assert again.rows() == result.rows()


def test_robust_accuracy_takes_the_worst_attack_of_each_row():
    network = random_network(4, 4, activation=(1.0, 0.1, 0.0))
    X, _ = random_rows(4, 200, 4)
    y = network.predict(X)
    result = robust_accuracy(network, X, y, [0.3], attacks=["fgsm", "pgd"], steps=3, restarts=1)
    broken = [ca.attack(network, X, y, 0.3, "l2", method, steps=3, restarts=1).success for method in ("fgsm", "pgd")]
    assert result.attacked[0] == 1 - np.logical_or(*broken).mean()
    assert robust_accuracy(network, X, y, 0.3, attacks=()).attacked[0] == 1.0


def test_robust_accuracy_table():
    result = ca.robust_accuracy(random_network(0, 3), *random_rows(0, 40, 3), [0.05, 0.1], steps=2)
    lines = str(result).splitlines()
    assert lines[0].startswith(f"clean accuracy {100 * result.clean:.1f} %")
    assert lines[1].split() == ["radius", "fgsm", "pgd", "attacked", "certified", "unknown"]
    assert [float(line.split()[0]) for line in lines[2:4]] == [0.05, 0.1]
    assert lines[2].split()[-2] == f"{100 * result.certified[0]:.1f}"
    assert {"radius", "clean", "fgsm", "pgd", "attacked", "certified", "unknown"} == set(result.rows()[0])


# ---------------------------------------------------------------------------------------- bad input

NETWORK = random_network(0, 3)
X, Y = random_rows(0, 5, 3)
BAD = {
    "not a network": ((torch.nn.Linear(3, 1), X, Y, 0.1), "PolynomialNetwork"),
    "regression": ((PolynomialNetwork(np.eye(3), np.ones(3)), X, Y, 0.1), "classes"),
    "features": ((NETWORK, X[:, :2], Y, 0.1), r"\(n, 3\)"),
    "one row without a table": ((NETWORK, X[0], Y[:1], 0.1), "shape"),
    "no rows": ((NETWORK, X[:0], Y[:0], 0.1), "one row"),
    "nan": ((NETWORK, np.where(X[1, 2] == X, np.nan, X), Y, 0.1), r"X\[1, 2\]"),
    "text": ((NETWORK, X.astype(str).astype(object) + "x", Y, 0.1), "numbers"),
    "complex": ((NETWORK, X + 1j, Y, 0.1), "real"),
    "ragged": ((NETWORK, [[1.0, 2.0, 3.0], [1.0]], Y[:2], 0.1), "matrix"),
    "labels": ((NETWORK, X, Y + 1, 0.1), "label"),
    "label kind": ((NETWORK, X, ["a"] * 5, 0.1), "labels"),
    "length of y": ((NETWORK, X, Y[:4], 0.1), "one label a row"),
    "negative radius": ((NETWORK, X, Y, -0.1), "radius"),
    "infinite radius": ((NETWORK, X, Y, np.inf), "radius"),
    "length of radius": ((NETWORK, X, Y, [0.1, 0.2]), "radius"),
    "text radius": ((NETWORK, X, Y, "far"), "radius"),
    "norm": ((NETWORK, X, Y, 0.1, "l0"), "norm"),
}


@pytest.mark.parametrize("function", [worst_case_margin, certify, robust_accuracy])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, function):
    arguments, expected = BAD[name]
    if function is robust_accuracy:
        expected = expected.replace("radius", "radii")
        if name in ("length of radius", "not a network"):  # it takes several radii, and any torch module
            return
    with pytest.raises(InputError, match=expected) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"radii": []}, "radii"),
        ({"attacks": ["cw"]}, "cw"),
        ({"steps": 0}, "steps"),
        ({"restarts": 0.5}, "restarts"),
    ],
)
def test_bad_options_of_robust_accuracy(options, expected):
    with pytest.raises(InputError, match=expected):
        robust_accuracy(NETWORK, X, Y, **{"radii": [0.1], **options})
