"""Neural decomposition, restoration, and the way from a lift to a network and back."""

from __future__ import annotations

import numpy as np
import pytest

from convexadv.errors import InputError
from convexadv.networks import PolynomialNetwork
from convexadv.recovery import equalise, lift, network_from_lift, neural_decomposition, restore

ACTIVATION = (0.09, 0.5, 0.47)


def atoms(neurons, weights):
    points = np.concatenate([neurons, np.ones((len(neurons), 1))], 1)
    return points.T @ (points * weights[:, None])


def random_lift(rng, d, count, size=1.0):
    neurons = rng.standard_normal((count, d))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    return atoms(neurons, size * (0.1 + rng.random(count)))


def penalty_of(network):
    return float(network.coefficients.detach().abs().sum())


def random_feasible(rng, d, rank):
    """Of a given rank and with tr Z1 = Z4, but not built from atoms."""
    factor = rng.standard_normal((d + 1, rank))
    factor[-1] *= np.sqrt((factor[:-1] ** 2).sum() / (factor[-1] ** 2).sum())
    return factor @ factor.T


@pytest.mark.parametrize("d", [1, 2, 5, 30])
@pytest.mark.parametrize("make", [random_lift, random_feasible])
def test_decomposition_is_exact_with_at_most_rank_terms(d, make):
    rng = np.random.default_rng(d)
    for rank in {1, 2, (d + 1) // 2 + 1, d + 1}:
        if make is random_feasible and rank == 1:
            continue  # one column has the trace equality only if it is an atom already
        for _ in range(20):
            Z = make(rng, d, rank)
            neurons, weights = neural_decomposition(Z)
            assert len(neurons) <= np.linalg.matrix_rank(Z)
            assert (weights > 0).all()
            np.testing.assert_allclose(np.linalg.norm(neurons, axis=1), 1.0, rtol=1e-12)
            np.testing.assert_allclose(atoms(neurons, weights), Z, atol=1e-12 * np.trace(Z))


def test_decomposition_of_repeated_eigenvalues():
    d = 6
    Z = np.diag(np.append(np.ones(d), d))
    neurons, weights = neural_decomposition(Z)
    assert len(neurons) <= d + 1
    np.testing.assert_allclose(atoms(neurons, weights), Z, atol=1e-13)


@pytest.mark.parametrize("size", [1e-200, 1e-12, 1e12])
def test_decomposition_does_not_depend_on_the_size(size):
    Z = random_lift(np.random.default_rng(0), 4, 3, size)
    neurons, weights = neural_decomposition(Z)
    assert len(neurons) == 3
    np.testing.assert_allclose(atoms(neurons, weights), Z, rtol=1e-11)


def test_decomposition_of_widely_spread_weights():
    rng = np.random.default_rng(1)
    Z = random_lift(rng, 5, 2) + 1e-9 * random_lift(rng, 5, 4)
    neurons, weights = neural_decomposition(Z)
    np.testing.assert_allclose(atoms(neurons, weights), Z, atol=1e-14)


def test_decomposition_of_zero_is_empty():
    neurons, weights = neural_decomposition(np.zeros((4, 4)))
    assert neurons.shape == (0, 3)
    assert weights.shape == (0,)


@pytest.mark.parametrize(
    ("Z", "words"),
    [
        (np.diag([1.0, 1.0, 1.0]), "restore"),
        (np.diag([2.0, -1.0, 1.0]), "eigenvalue"),
        (np.ones((2, 3)), "shape"),
        (np.array([[np.nan, 0.0], [0.0, 1.0]]), "finite"),
        (np.ones((1, 1)), "order"),
    ],
)
def test_decomposition_refuses_other_matrices(Z, words):
    with pytest.raises(InputError, match=words):
        neural_decomposition(Z)


def test_restore_changes_little_and_makes_decomposable():
    rng = np.random.default_rng(2)
    for error in (1e-3, 1e-6, 1e-9):
        Z = random_lift(rng, 5, 2)
        noise = rng.standard_normal(Z.shape)
        near = restore(Z + error * (noise + noise.T))
        assert np.abs(near - Z).max() < 20.0 * error
        neurons, weights = neural_decomposition(near)
        np.testing.assert_allclose(atoms(neurons, weights), near, atol=1e-12)


def test_restore_keeps_what_is_right():
    Z = random_lift(np.random.default_rng(3), 4, 3)
    np.testing.assert_allclose(restore(Z), Z, atol=1e-13)


@pytest.mark.parametrize("Z", [np.zeros((3, 3)), -np.eye(3), np.diag([0.0, 0.0, 1.0]), np.diag([1.0, 0.0, 0.0])])
def test_restore_of_matrices_without_positive_part_is_zero(Z):
    np.testing.assert_array_equal(restore(Z), np.zeros((3, 3)))


def test_equalise_keeps_the_product_and_levels_the_values():
    rng = np.random.default_rng(4)
    for k, r in ((1, 1), (3, 2), (4, 7), (6, 6)):
        factor, signature = rng.standard_normal((k, r)), np.where(rng.random(k) < 0.5, -1.0, 1.0)
        level = equalise(factor, signature)
        np.testing.assert_allclose(level @ level.T, factor @ factor.T, atol=1e-12)
        values = (level**2 * signature[:, None]).sum(0)
        np.testing.assert_allclose(values, values.mean(), atol=1e-12)
    assert equalise(np.zeros((3, 0)), np.ones(3)).shape == (3, 0)


@pytest.mark.parametrize("outputs", [1, 3])
def test_network_of_a_lift_is_its_quadratic(outputs):
    rng = np.random.default_rng(5)
    d = 4
    Z = [random_lift(rng, d, 3) for _ in range(outputs)]
    Z_prime = [random_feasible(rng, d, 3) for _ in range(outputs)]
    network = network_from_lift(Z, Z_prime, ACTIVATION, classes=None)
    X = rng.standard_normal((20, d))
    a, b, c = ACTIVATION
    scores = network.scores(X).reshape(20, outputs)
    for o in range(outputs):
        W = Z[o] - Z_prime[o]
        expected = a * ((X @ W[:d, :d]) * X).sum(1) + b * X @ W[:d, d] + c * W[d, d]
        np.testing.assert_allclose(scores[:, o], expected, atol=1e-11)
    penalty = sum(matrix[-1, -1] for matrix in Z + Z_prime)
    np.testing.assert_allclose(penalty_of(network), penalty, rtol=1e-12)


def test_lift_and_recovery_are_inverse():
    rng = np.random.default_rng(6)
    neurons = rng.standard_normal((5, 3))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    network = PolynomialNetwork(neurons, rng.standard_normal((5, 2)), activation=ACTIVATION)
    pairs = lift(network)
    assert len(pairs) == 2
    again = network_from_lift([pair[0] for pair in pairs], [pair[1] for pair in pairs], ACTIVATION)
    X = rng.standard_normal((10, 3))
    np.testing.assert_allclose(again.scores(X), network.scores(X), atol=1e-12)
    for old, new in zip(pairs, lift(again), strict=True):
        np.testing.assert_allclose(old[0], new[0], atol=1e-12)
        np.testing.assert_allclose(old[1], new[1], atol=1e-12)


def test_labels_reach_the_network():
    Z = random_lift(np.random.default_rng(7), 2, 1)
    network = network_from_lift([Z], [0.0 * Z], ACTIVATION, classes=["no", "yes"])
    assert list(network.classes) == ["no", "yes"]


def test_neurons_that_coincide_are_merged():
    Z = atoms(np.array([[0.6, 0.8]]), np.array([2.0]))
    other = atoms(np.array([[0.6, 0.8]]), np.array([0.5]))
    network = network_from_lift([Z, other], [other, 0.0 * Z], ACTIVATION)
    np.testing.assert_allclose(network.neurons.detach().numpy(), [[0.6, 0.8]], atol=1e-12)
    np.testing.assert_allclose(network.coefficients.detach().numpy(), [[1.5, 0.5]], atol=1e-12)


def test_negligible_neurons_are_dropped_within_the_tolerance_of_the_objective():
    neurons = np.eye(4)
    Z = atoms(neurons, np.array([1.0, 0.5, 1e-6, 1e-11]))

    def objective(network):
        return 1.0 + (1.5 + 1e-6 + 1e-11 - penalty_of(network))

    def count(**options):
        return network_from_lift([Z], [0.0 * Z], ACTIVATION, **options).n_neurons

    assert count() == 4
    assert count(objective=objective) == 3
    assert count(objective=objective, tolerance=1e-5) == 2
    assert count(objective=lambda network: np.inf) == 4


def test_zero_lift_is_the_network_without_neurons():
    zero = np.zeros((4, 4))
    network = network_from_lift([zero, zero], [zero, zero], ACTIVATION, objective=lambda network: 1.0)
    assert (network.n_neurons, network.n_outputs) == (0, 2)


def test_lists_of_different_length_are_refused():
    zero = np.zeros((4, 4))
    with pytest.raises(InputError, match="one of each"):
        network_from_lift([zero], [], ACTIVATION)
