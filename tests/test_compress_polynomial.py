"""Pruned polynomial networks: exact where the lift allows it, never worse than dropping small neurons, in all margins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import convexadv as ca
from convexadv.compression.polynomial import output_bounds, prune
from convexadv.errors import InputError


def network(m=12, d=4, outputs=1, seed=0, dtype=torch.float64, scaled=True):
    rng = np.random.default_rng(seed)
    neurons = rng.standard_normal((m, d))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    alpha = rng.standard_normal((m, outputs)) * 0.6 ** np.arange(m)[:, None]
    inputs = {"shift": rng.standard_normal(d), "scale": rng.random(d) + 0.5} if scaled else {}
    made = ca.PolynomialNetwork(
        neurons.astype(np.float32 if dtype == torch.float32 else float),
        alpha,
        classes=list("abcde")[: max(2, outputs)],
        dtype=dtype,
        unit_tolerance=1e-6,
        **inputs,
    )
    made.metadata = {"kept": True}
    return made


def rows(made, n=40, seed=3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, made.n_features)) * 2
    return X, made.predict(X), rng.random(n) * 0.5


def lifted(made):
    """W_c (C, d + 1, d + 1), written down once more."""
    u = np.concatenate([made.neurons.detach().double().numpy(), np.ones((made.n_neurons, 1))], 1)
    return np.einsum("jc,jp,jq->cpq", made.coefficients.detach().double().numpy(), u, u)


@pytest.mark.parametrize("outputs", [1, 3])
def test_full_budget_changes_nothing(outputs):
    made = network(outputs=outputs)
    X, y, radius = rows(made)
    found = prune(made, made.n_neurons, X, y, radius)
    assert found.method == "none"
    assert torch.equal(found.network.neurons, made.neurons)
    assert torch.equal(found.network.coefficients, made.coefficients)
    assert np.all(found.report.change == 0)
    assert np.all(found.report.bound == 0)
    assert np.all(found.errors == 0)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("budget", [0, 1, 3, 6, 11])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_result_is_a_network_of_the_same_kind(outputs, budget, dtype, tmp_path):
    made = network(outputs=outputs, dtype=dtype)
    found = prune(made, budget).network
    assert type(found) is ca.PolynomialNetwork
    assert found.n_neurons <= budget
    assert found.neurons.dtype == dtype
    assert found.activation == made.activation
    assert found.metadata == made.metadata
    assert found.classes.tolist() == made.classes.tolist()
    assert torch.equal(found.shift, made.shift)
    assert torch.equal(found.scale, made.scale)
    ca.save(found, tmp_path / "pruned.safetensors")


@pytest.mark.parametrize(("outputs", "seed"), list(itertools.product([1, 3], range(4))))
def test_report_is_what_recomputation_gives(outputs, seed):
    made = network(outputs=outputs, seed=seed)
    X, y, radius = rows(made)
    for budget in (2, 5, 9):
        found = prune(made, budget, X, y, radius)
        before = ca.worst_case_margin(made, X, y, radius)
        after = ca.worst_case_margin(found.network, X, y, radius)
        np.testing.assert_array_equal(found.report.before, before.lower_bound)
        np.testing.assert_array_equal(found.report.after, after.lower_bound)
        assert found.report.exact.all()
        assert found.report.robust == ((before.lower_bound > 0).sum(), (after.lower_bound > 0).sum())
        assert np.all(np.abs(found.report.change) <= found.report.bound + 1e-9)
        by_lift = np.linalg.norm(lifted(made) - lifted(found.network), axis=(1, 2))
        np.testing.assert_allclose(found.errors, by_lift, atol=1e-14)


def test_bounds_hold_at_points_of_the_balls():
    rng = np.random.default_rng(0)
    made = network(outputs=2)
    other = prune(made, 4).network
    X, _, radius = rows(made)
    bound = output_bounds(made, other, X, radius)
    for _ in range(200):
        step = rng.standard_normal(X.shape)
        points = X + step / np.linalg.norm(step, axis=1, keepdims=True) * radius[:, None]
        assert np.all(np.abs(made.scores(points) - other.scores(points)) <= bound + 1e-12)


def test_bound_of_one_dropped_neuron_is_attained():
    """Orthogonal far rows: the sum of |alpha| max |s| is the change itself where one neuron alone is left out."""
    made = ca.PolynomialNetwork(np.eye(2), [2.0, 0.01], classes=[0, 1])
    without = ca.PolynomialNetwork(np.eye(2)[:1], [2.0], classes=[0, 1])
    bound = output_bounds(made, without, np.array([[1.0, 3.0]]), np.array([0.5]))
    at_end = made.scores(np.array([[1.0, 3.5]])) - without.scores(np.array([[1.0, 3.5]]))
    assert bound[0, 0] == pytest.approx(float(at_end[0]))


@pytest.mark.parametrize("outputs", [1, 2])
def test_more_neurons_than_the_rank_cost_nothing(outputs):
    """In d dimensions the lifts have rank d + 1 at most: 2 (d + 1) neurons an output are enough."""
    made = network(m=40, d=3, outputs=outputs)
    X, y, radius = rows(made)
    found = prune(made, 8 * outputs, X, y, radius)
    assert found.network.n_neurons <= 8 * outputs
    np.testing.assert_allclose(found.network.scores(X), made.scores(X), atol=1e-10)
    assert np.abs(found.report.change).max() < 1e-9
    assert found.report.bound.max() < 1e-8


def test_duplicates_are_merged_for_nothing():
    base = network(m=5)
    twice = ca.PolynomialNetwork(
        torch.cat([base.neurons, base.neurons]).detach(),
        torch.cat([0.3 * base.coefficients, 0.7 * base.coefficients]).detach(),
        shift=base.shift,
        scale=base.scale,
    )
    X, _, _ = rows(base)
    np.testing.assert_allclose(prune(twice, 5).network.scores(X), base.scores(X), atol=1e-11)


@pytest.mark.parametrize(("outputs", "seed"), list(itertools.product([1, 3], range(5))))
def test_never_worse_than_dropping_the_smallest_neurons(outputs, seed):
    made = network(outputs=outputs, seed=seed)
    size = np.linalg.norm(made.coefficients.detach().numpy(), axis=1)
    for budget in (1, 2, 4, 7, 10):
        kept = np.argsort(-size)[:budget]
        dropped = ca.PolynomialNetwork(made.neurons[kept].detach(), made.coefficients[kept].detach())
        by_size = (lifted(made) - lifted(dropped)) ** 2
        assert (prune(made, budget).errors ** 2).sum() <= by_size.sum() * (1 + 1e-9)


def test_one_neuron_of_two_opposite_signs():
    """W = u u' - v v' parts are cut apart: the smaller one goes."""
    made = ca.PolynomialNetwork(np.eye(3)[:2], [1.0, -0.1])
    found = prune(made, 1).network
    assert abs(float(found.neurons[0, 0].detach())) > 0.99
    assert float(found.coefficients.detach()) > 0


def test_other_balls_are_reported_without_a_bound():
    made = network()
    X, y, _ = rows(made, 10)
    report = prune(made, 4, X, y, 0.1, norm="linf").report
    assert np.all(report.bound == np.inf)
    np.testing.assert_array_equal(report.before, ca.worst_case_margin(made, X, y, 0.1, "linf").lower_bound)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((ca.ReLUNetwork([[1.0]], [1.0]), 1), "ReLUNetwork was given"),
        ((network(), -1), "0 or more"),
        ((network(), 2.0), "0 or more"),
        ((network(), True), "0 or more"),
        ((network(), 2, np.zeros((1, 4))), "needed together"),
    ],
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        prune(*arguments)
