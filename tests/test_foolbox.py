"""The adapter that runs attacks of foolbox on our networks and on any other."""

import sys
import warnings

import numpy as np
import pytest
import torch

import convexadv as ca
from convexadv import InputError
from convexadv.robustness import foolbox_attack

ORDERS = {"l1": 1, "l2": 2, "linf": np.inf}


def network_of(kind, scaling):
    rng = np.random.default_rng(0)
    rows, alpha, classes = rng.standard_normal((6, 4)), rng.standard_normal(6), ["no", "yes"]
    if kind == "polynomial":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return ca.PolynomialNetwork(rows, 3 * alpha, (0.9, 0.5, 0.1), classes=classes, **scaling)
    if kind == "ReLU":
        return ca.ReLUNetwork(rows, alpha, rng.standard_normal(6), classes=classes, **scaling)
    return ca.GatedReLUNetwork(rows, rng.standard_normal((6, 4, 3)), classes=["a", "b", "c"], **scaling)


@pytest.fixture
def foolbox():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # foolbox uses old names of scipy
        return pytest.importorskip("foolbox")


@pytest.mark.parametrize("kind", ["polynomial", "ReLU", "gated"])
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("boxed", [False, True])
def test_points_are_in_ball_and_box_and_success_is_ours(foolbox, kind, norm, boxed):
    shift, scale = np.array([50.0, -3.0, 0.0, 1e3]), np.array([10.0, 10.0, 12.0, 15.0])
    network = network_of(kind, {"shift": shift, "scale": scale})
    X = shift + scale * np.random.default_rng(1).standard_normal((40, 4))
    low, high = X.min(0) - 1.0, X.max(0) + np.array([0.0, 1.0, np.inf, 2.0])
    bounds = (low, high) if boxed else None
    y = network.predict(X)
    y[:2] = network.classes[(network.classes == y[:2, None]).argmax(1) - 1]
    radius = np.where(np.arange(40) % 2, 20.0, 8.0)
    radius[5] = 0.0
    result = foolbox_attack(network, X, y, radius, norm, bounds=bounds, restarts=2)
    assert (np.linalg.norm(result.points - X, ORDERS[norm], axis=1) <= radius * (1 + 1e-12)).all()
    if boxed:
        assert (result.points >= low).all()
        assert (result.points <= high).all()
    np.testing.assert_array_equal(result.success, network.predict(result.points) != y)
    np.testing.assert_allclose(result.margins, network.margins(result.points, y), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(result.points[[0, 1, 5]], X[[0, 1, 5]])
    assert result.success[:2].all()
    assert 2 < result.success.sum() < 40
    if not boxed:
        ours = ca.attack(network, X, y, radius, norm, ["pgd", "apgd"], restarts=10, steps=25)
        assert ours.success.sum() >= result.success.sum()
    assert (result.method, result.norm) == ("foolbox PGD", norm)


def test_the_linear_closed_form_is_reached_in_raw_units(foolbox):
    network = torch.nn.Linear(6, 1).double()
    X = 100 * np.random.default_rng(0).standard_normal((20, 6))
    with torch.no_grad():
        network.weight /= 100  # its gradient would vanish in the cross-entropy
        f = network(torch.from_numpy(X))[:, 0].numpy()
    attack = foolbox.attacks.L2PGD(rel_stepsize=0.2, steps=40)
    result = foolbox_attack(network, X, np.where(f > 0, 1, -1), 30.0, "l2", attack)
    assert result.success.any()
    expected = np.abs(f) - 30.0 * np.linalg.norm(network.weight.detach().numpy())
    np.testing.assert_allclose(result.margins, expected, atol=1e-6)


def test_images_and_minimal_attacks(foolbox):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(108, 3)
    )
    images = np.random.default_rng(0).random((8, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        y = network(torch.from_numpy(images)).argmax(1).numpy()
    for attack in ("PGD", "L2DeepFoolAttack", foolbox.attacks.L2CarliniWagnerAttack(steps=50, binary_search_steps=3)):
        result = foolbox_attack(network, torch.from_numpy(images), y, 1.5, "l2", attack, bounds=(0, 1))
        assert isinstance(result.points, torch.Tensor)
        assert result.points.shape == images.shape
        assert result.success.sum() > 2
        assert ((result.points >= 0) & (result.points <= 1)).all()
    assert result.method == "foolbox L2CarliniWagnerAttack"


def test_the_module_and_the_generators_are_left_alone(foolbox):
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)).double()
    network[0].weight.grad = torch.full_like(network[0].weight, 7.0)
    network[0].bias.requires_grad_(False)
    X = np.random.default_rng(0).standard_normal((10, 4))
    y = network.eval()(torch.from_numpy(X)).argmax(1).numpy()
    network.train()
    state = torch.get_rng_state()
    first = foolbox_attack(network, X, y, 0.3, random_state=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    np.testing.assert_array_equal(foolbox_attack(network, X, y, 0.3, random_state=3).points, first.points)
    assert (foolbox_attack(network, X, y, 0.3, random_state=4).points != first.points).any()
    assert all(module.training for module in network.modules())
    assert (network[0].weight.grad == 7.0).all()
    assert network[2].weight.grad is None
    assert network[0].weight.requires_grad
    assert not network[0].bias.requires_grad


def test_without_foolbox_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(ImportError, match="foolbox_attack needs the package foolbox") as caught:
        foolbox_attack(torch.nn.Linear(3, 2), np.ones((2, 3)), [0, 1], 0.1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "NoSuchAttack"}, "foolbox has no attack 'NoSuchAttack'"),
        ({"attack": 3}, "attack must be a name or an attack of foolbox, got int"),
        ({"attack": "LinfPGD", "norm": "l2"}, "for linf balls, norm is 'l2'"),
        ({"norm": "l3"}, "norm must be"),
        ({"radius": -1.0}, "radius"),
        ({"bounds": (5, 6)}, "row 0 of X lies outside of the bounds"),
        ({"restarts": 0}, "restarts=.* cannot be used; a whole number"),
        ({"network": "model"}, "foolbox_attack needs a torch module, got str"),
        ({"y": [0, 5]}, "the label 5"),
    ],
)
def test_bad_arguments_give_one_sentence(foolbox, options, message):
    given = {"network": torch.nn.Linear(3, 2), "X": np.ones((2, 3)), "y": [0, 1], "radius": 0.1, **options}
    with pytest.raises(InputError, match=message) as caught:
        foolbox_attack(**given)
    assert "\n" not in str(caught.value)
