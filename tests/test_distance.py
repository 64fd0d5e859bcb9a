"""Distances to the decision boundary against an SDP, a bisection, closed forms and sampling."""

import warnings

import numpy as np
import pytest
import torch
from quadratic_reference import forms_of, magnitude, minimum_on_balls, random_network, random_rows, unit_rows, values

import convexadv as ca
from convexadv import GatedReLUNetwork, InputError, PolynomialNetwork, ReLUNetwork, distance_to_boundary
from convexadv.quadratics import level_distance
from convexadv.robustness import distance

SQUARE = (1.0, 0.0, 0.0)


def scaled_network(seed, d, m, outputs=1, activation=(0.9, 0.5, 0.1)):
    rng = np.random.default_rng(seed)
    scaling = {"shift": rng.standard_normal(d), "scale": rng.uniform(0.3, 3.0, d)}
    return random_network(seed, d, m, outputs, activation, **scaling)


def eigen_network(alpha, offset=0.0):
    """f(x) = sum_j alpha_j x_j^2 + offset: with b = 0 the rows on an axis are degenerate cases."""
    d = len(alpha)
    alpha = np.asarray(alpha, dtype=float)
    # two neurons that cancel but for a constant: a x^2 + c w - (a x^2 + c w) has none, so the constant is in c
    constant = offset / alpha.sum() if offset else 0.0
    return PolynomialNetwork(np.eye(d), alpha, (1.0, 0.0, constant), classes=[0, 1])


def programme(form, x):
    """Squared distance and status by the SDP of design section 1.4, in the raw inputs."""
    cp = pytest.importorskip("cvxpy")
    A, h, k = form
    sign = 1.0 if values(form, x) > 0 else -1.0
    d = len(x)
    lifted = cp.Variable((d + 1, d + 1), PSD=True)
    G, g = lifted[:d, :d], lifted[:d, d]
    crossing = sign * (cp.trace(A @ G) + 2 * h @ g + k) <= 0
    problem = cp.Problem(cp.Minimize(cp.trace(G) - 2 * x @ g + x @ x), [lifted[d, d] == 1, crossing])
    with warnings.catch_warnings():  # it is compared to 1e-6 however accurate it thinks it is
        warnings.simplefilter("ignore", UserWarning)
        problem.solve(solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    return problem.value


def sdp_cases():
    for seed in range(20):
        d = 2 + seed % 4
        network = scaled_network(seed, d, 2 + seed % 5)
        yield f"network {seed}", network, random_rows(seed, 12, d)[0]
    axes = np.array([[1.0, 0.0, 0.0], [2.0, 0.5, 0.0], [0.0, 0.3, 0.0], [0.7, -0.7, 0.0], [0.0, 0.0, 0.4]])
    yield "degenerate", eigen_network([1.0, 0.5, -2.0]), np.concatenate([axes, 3.0 * axes, axes[:, [1, 0, 2]]])
    yield "degenerate from below", eigen_network([-1.0, -0.5, 2.0]), np.concatenate([axes, 0.1 * axes])
    yield "degenerate with offset", eigen_network([1.0, 0.5, -2.0], 0.3), np.concatenate([axes, np.zeros((1, 3))])
    yield "definite", eigen_network([1.0, 0.5, 2.0], -3.0), random_rows(40, 20, 3)[0]
    yield "linear", scaled_network(41, 4, 3, activation=(0.0, 1.0, 0.2)), random_rows(41, 12, 4)[0]


def test_squared_distances_equal_the_semidefinite_programme():
    """Two-class networks, shifts and scales, degenerate cases: 1e-6 of the scale of the rows and their distances."""
    compared = 0
    for name, network, X in sdp_cases():
        found, form = distance_to_boundary(network, X), forms_of(network)
        for x, length in zip(X, found.distances, strict=True):
            value = programme(form, x)
            if not np.isfinite(length):
                assert value == np.inf, name
                continue
            assert abs(length**2 - value) <= 1e-6 * max(1.0, value, x @ x), name
            compared += 1
    assert compared >= 200


def test_sdp_backend_equals_the_exact_one():
    cases = [(random_network(seed, 3, 5, outputs), random_rows(seed, 7, 3)[0]) for seed, outputs in ((1, 1), (2, 3))]
    cases += [(scaled_network(3, 2, 4, 4), random_rows(3, 7, 2)[0])]
    cases += [(eigen_network([1.0, 1.0, -2.0]), np.array([[1.0, 0.2, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]))]
    cases += [(eigen_network([1.0, 1.0], 1.0), random_rows(4, 2, 2)[0])]
    for network, X in cases:
        exact, sdp = distance_to_boundary(network, X), distance_to_boundary(network, X, method="sdp")
        finite = np.isfinite(exact.distances)
        np.testing.assert_array_equal(finite, np.isfinite(sdp.distances))
        np.testing.assert_allclose(exact.distances[finite] ** 2, sdp.distances[finite] ** 2, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(
            np.linalg.norm(sdp.points - X, axis=1)[finite], sdp.distances[finite], rtol=1e-3, atol=1e-3
        )
        np.testing.assert_array_equal(np.isnan(sdp.points).all(1), ~finite)
    tensors = distance_to_boundary(network, torch.from_numpy(X), method="sdp")
    np.testing.assert_array_equal(tensors.distances.numpy(), sdp.distances)


@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_points_are_on_the_boundary_and_no_nearer_point_is(outputs):
    """The margin at the point is zero, and the exact margin of the ball that ends just before it is positive."""
    finite = 0
    for seed in range(12):
        d = 1 + seed % 6
        network = scaled_network(seed, d, 1 + seed, outputs)
        X = random_rows(seed, 60, d)[0]
        distances, points = distance_to_boundary(network, X)
        y = network.predict(X)
        there = np.isfinite(distances)
        finite += there.sum()
        np.testing.assert_allclose(np.linalg.norm(points - X, axis=1)[there], distances[there], rtol=1e-12)
        size = 1.0 + magnitude(network, X, np.where(there, distances, 0.0))[there]
        assert (abs(network.margins(np.where(there[:, None], points, 0.0), y))[there] <= 1e-12 * size).all()
        radius = np.where(there, distances * (1 - 1e-6), 1e3)
        assert (ca.worst_case_margin(network, X, y, radius).lower_bound > 0).all()
        beyond = ca.worst_case_margin(network, X, y, np.where(there, distances * (1 + 1e-6), 0.0)).lower_bound
        assert (beyond[there] < 0).all()
    assert finite > 200


def test_classes_take_the_nearest_pair():
    network, X = scaled_network(5, 4, 9, 4), random_rows(5, 40, 4)[0]
    found, predicted = distance_to_boundary(network, X).distances, network.predict(X)
    for x, own, length in zip(X, predicted, found, strict=True):
        forms = [forms_of(network, own, other) for other in np.delete(np.arange(4), own)]
        radii = np.linspace(0.0, 20.0, 2001)
        least = [minimum_on_balls(form, np.repeat(x[None], 2001, 0), np.ones(2001), radii) for form in forms]
        crossed = (np.min(least, 0) <= 0).nonzero()[0]  # the minimum over balls falls with the radius
        if len(crossed):
            assert radii[crossed[0]] - 0.01 <= length <= radii[crossed[0]]
        else:
            assert length > 20.0


def test_degenerate_case_in_closed_form():
    """f = x_1^2 - x_2^2 on the first axis: the nearest points are (x/2, +-x/2), where the gradient has no pull."""
    X = np.array([[2.0, 0.0], [-3.0, 0.0], [1e-8, 0.0], [0.0, 5.0]])
    distances, points = distance_to_boundary(eigen_network([1.0, -1.0]), X)
    size = abs(X).max(1)
    np.testing.assert_allclose(distances, size / 2**0.5, rtol=1e-12)
    np.testing.assert_allclose(abs(points), 0.5 * size[:, None] * np.ones((1, 2)), rtol=1e-12)


@pytest.mark.parametrize("tilt", [0.0, 1e-300, 1e-160, 1e-17, 1e-12, 1e-8, 1e-4])
def test_nearly_degenerate_case_is_continuous(tilt):
    """The limit of the tilt to zero, and at 1e-4 the root of a polynomial."""
    found = level_distance(np.array([[1.0, -1.0]]), np.array([[0.5, tilt]]), np.array([0.7]), np.zeros(1))
    e = np.linspace(-1.0, 1.0, 200001)
    # for every e_1 the e_2 of the zero set nearest to zero
    inside = tilt * tilt + 0.7 + e * e + e
    other = np.minimum(abs(-tilt + np.sqrt(inside)), abs(-tilt - np.sqrt(inside)))
    assert abs(found.distance[0] - np.hypot(e, other).min()) <= 1e-9
    point = found.point[0]
    assert abs(0.7 + point[0] ** 2 + point[0] - point[1] ** 2 + 2 * tilt * point[1]) <= 1e-12


def test_zero_value_no_boundary_and_touching():
    """f = 0 at the row; f > 0 everywhere; f >= 0 with one zero; the zero network; no neurons."""
    network = eigen_network([1.0, 1.0, -2.0])
    X = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    found = distance_to_boundary(network, X)
    np.testing.assert_array_equal(found.distances, 0.0)
    np.testing.assert_array_equal(found.points, X)
    positive = distance_to_boundary(eigen_network([1.0, 2.0], 1.0), X[:, :2])
    assert (positive.distances == np.inf).all()
    assert np.isnan(positive.points).all()
    touching = PolynomialNetwork(unit_rows(np.random.default_rng(0), 3, 5), [1.0, 0.5, 2.0], SQUARE, classes=[0, 1])
    rows = random_rows(0, 30, 5)[0]
    U = touching.neurons.detach().numpy()
    expected = np.linalg.norm(rows @ np.linalg.pinv(U) @ U, axis=1)  # zero where all inner products are
    np.testing.assert_allclose(distance_to_boundary(touching, rows).distances, expected, rtol=1e-9)
    for empty in (PolynomialNetwork(np.zeros((0, 5)), np.zeros((0, 1))), PolynomialNetwork(U, np.zeros(3))):
        np.testing.assert_array_equal(distance_to_boundary(empty, rows).distances, 0.0)
    constant = PolynomialNetwork(U, np.ones(3), (0.0, 0.0, 1.0))
    assert (distance_to_boundary(constant, rows).distances == np.inf).all()


def test_cancelling_neurons_leave_no_boundary_of_rounding():
    """Quadratic parts that cancel but for rounding: f is linear in one direction and constant in the others."""
    U = unit_rows(np.random.default_rng(1), 4, 6)
    up, down = np.array([1.0, 2.0, 3.0, 4.0]), -np.array([1.0, 2.0, 3.0, 4.0])
    # s(t) - s(-t) = 2 b t: only the linear parts stay
    network = PolynomialNetwork(np.concatenate([U, -U]), np.concatenate([up, down]), (0.9, 0.5, 0.1), classes=[0, 1])
    X = random_rows(1, 40, 6)[0]
    slope = up @ U
    np.testing.assert_allclose(
        distance_to_boundary(network, X).distances, abs(X @ slope) / np.linalg.norm(slope), rtol=1e-9
    )


def test_rounding_makes_no_boundary_far_away():
    """Positive definite on a plane that five neurons span, and linear parts that cancel: there is no boundary."""
    rng = np.random.default_rng(2)
    plane = np.linalg.qr(rng.standard_normal((6, 2)))[0].T
    X = 10.0 * random_rows(2, 100, 6)[0]
    for seed in range(20):
        U = unit_rows(np.random.default_rng(seed), 5, 2) @ plane
        definite = PolynomialNetwork(U, rng.uniform(0.5, 2.0, 5), (0.9, 0.1, 0.3), unit_tolerance=1e-6)
        assert (distance_to_boundary(definite, X).distances == np.inf).all()
        turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((2, 2)))[0]
        tilted = np.concatenate([turn, unit_rows(rng, 1, 2)]) @ plane  # x'x - (p.x)^2: zero along p
        flat = PolynomialNetwork(tilted, [1.0, 1.0, -1.0], (0.9, 0.0, 0.3), unit_tolerance=1e-6)
        assert (distance_to_boundary(flat, X).distances == np.inf).all()
        angle = rng.uniform(0.0, 6.0) + np.arange(3) * 2.0 * np.pi / 3.0
        star = np.stack([np.cos(angle), np.sin(angle)], 1) @ plane
        constant = PolynomialNetwork(star, np.ones(3), (0.0, 0.7, 0.3), unit_tolerance=1e-6)
        assert (distance_to_boundary(constant, X).distances == np.inf).all()


def test_no_sample_is_nearer():
    rng = np.random.default_rng(7)
    for seed in range(10):
        network, X = scaled_network(seed, 3, 5), random_rows(seed, 20, 3)[0]
        distances, _ = distance_to_boundary(network, X)
        radius = np.where(np.isfinite(distances), distances, 50.0)
        around = X + (radius * (1 - 1e-9))[:, None] * unit_rows(rng, 20 * 500, 3).reshape(500, 20, 3)
        form = forms_of(network)
        assert (np.sign(values(form, around)) == np.sign(values(form, X))).all()


def test_scaling_of_inputs_scales_distances():
    network, X = random_network(3, 4), random_rows(3, 30, 4)[0]
    other = PolynomialNetwork(
        network.neurons, network.coefficients, network.activation, np.full(4, 2.0), np.full(4, 1e5), classes=[0, 1]
    )
    first, second = distance_to_boundary(network, X), distance_to_boundary(other, 2.0 + 1e5 * X)
    np.testing.assert_allclose(second.distances, 1e5 * first.distances, rtol=1e-9)
    large = PolynomialNetwork(network.neurons, 1e200 * network.coefficients.detach(), network.activation)
    np.testing.assert_allclose(distance_to_boundary(large, X).distances, first.distances, rtol=1e-12)


def test_tensors_lists_single_precision_and_blocks(monkeypatch):
    network, X = scaled_network(2, 5, 7, 3), random_rows(2, 50, 5)[0]
    expected = distance_to_boundary(network, X)
    tensors = distance_to_boundary(network, torch.from_numpy(X).requires_grad_())
    for tensor, array in zip(tensors, expected, strict=True):
        assert tensor.dtype == torch.float64
        assert not tensor.requires_grad
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(distance_to_boundary(network, X.tolist()).distances, expected.distances)
    single = distance_to_boundary(network.float(), X.astype(np.float32))
    assert single.distances.dtype == np.float64
    np.testing.assert_allclose(single.distances, expected.distances, rtol=1e-3, atol=1e-4)
    monkeypatch.setattr(distance, "_BLOCK", 100)
    np.testing.assert_allclose(
        distance_to_boundary(network.double(), X).distances, single.distances, rtol=1e-3, atol=1e-4
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_device():
    network, X = scaled_network(2, 5, 7, 3), random_rows(2, 50, 5)[0]
    found = distance_to_boundary(network, torch.from_numpy(X).cuda())
    assert found.distances.is_cuda
    np.testing.assert_allclose(found.distances.cpu().numpy(), distance_to_boundary(network, X).distances, rtol=1e-9)


NETWORK = random_network(0, 3)
X = random_rows(0, 5, 3)[0]
BAD = {
    "relu": ((ReLUNetwork(np.eye(3), np.ones(3)), X), {}, "PolynomialNetwork, got ReLUNetwork"),
    "gated": ((GatedReLUNetwork(np.eye(3), np.eye(3)), X), {}, "PolynomialNetwork, got GatedReLUNetwork"),
    "module": ((torch.nn.Linear(3, 1), X), {}, "PolynomialNetwork, got Linear"),
    "outputs without classes": ((PolynomialNetwork(np.eye(3), np.ones((3, 2))), X), {}, "2 outputs without classes"),
    "features": ((NETWORK, X[:, :2]), {}, r"\(n, 3\)"),
    "nan": ((NETWORK, np.full((2, 3), np.nan)), {}, "finite|NaN"),
    "no rows": ((NETWORK, X[:0]), {}, "one row"),
    "method": ((NETWORK, X), {"method": "newton"}, "one of 'exact', 'sdp'"),
    "solver": ((NETWORK, X), {"method": "sdp", "solver": "NONE"}, "not installed"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name):
    arguments, options, expected = BAD[name]
    with pytest.raises(InputError, match=expected) as caught:
        distance_to_boundary(*arguments, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "activation", [(0.1, 0.5, 0.2), (0.0, 1.0, 0.0)]
)  # the scores overflow, or squares of the row only
def test_rows_that_overflow_have_no_distance(activation):
    network = ca.PolynomialNetwork([[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], activation, classes=[0, 1])
    with pytest.raises(ca.InputError, match=r"^row 1 of X is too large"):
        ca.distance_to_boundary(network, [[1.0, 2.0], [1e200, 1e199]])
