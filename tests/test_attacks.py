import copy

import numpy as np
import pytest
import torch

import convexadv as ca
from convexadv import InputError, PolynomialNetwork
from convexadv.robustness.pgd import Neighbourhood, projected_gradient


def polynomial(d=2, m=4, outputs=1, classes=(-1, 1), seed=0, dtype=torch.float64, **scaling):
    rng = np.random.default_rng(seed)
    neurons = rng.standard_normal((m, d))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    alpha = 3 * rng.standard_normal((m, outputs))
    return PolynomialNetwork(neurons, alpha, (0.9, 0.5, 0.1), classes=list(classes), dtype=dtype, **scaling)


def rows(n=20, d=2, seed=1):
    return np.random.default_rng(seed).standard_normal((n, d))


def linear(d=6, outputs=1, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return torch.nn.Linear(d, outputs).to(dtype)


def norm_of(delta, norm):
    delta = delta.reshape(len(delta), -1)
    return np.abs(delta).max(1) if norm == "linf" else np.sqrt((delta**2).sum(1))


def margins_of(network, X, y):
    """Margins of a module with classes 0..C-1, or 0 and 1 for one score, independently of the package."""
    with torch.no_grad():
        scores = network(torch.as_tensor(X)).numpy()
    if scores.ndim == 1 or scores.shape[1] == 1:
        return np.where(np.asarray(y) > 0, 1, -1) * scores.reshape(-1)
    own = np.arange(scores.shape[1]) == np.asarray(y)[:, None]
    return scores[own] - np.where(own, -np.inf, scores).max(1)


def predictions_of(network, X):
    with torch.no_grad():
        scores = network(torch.as_tensor(X))
    if scores.ndim == 1 or scores.shape[1] == 1:
        return (scores.reshape(-1) > 0).long().numpy()
    return scores.argmax(1).numpy()


def grid(norm, radius, size=241):
    """Points of a two-dimensional ball, its boundary included."""
    axis = np.linspace(-radius, radius, size)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    if norm == "linf":
        return points
    angle = np.linspace(0, 2 * np.pi, 8 * size, endpoint=False)
    circle = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.concatenate([points[np.linalg.norm(points, axis=1) <= radius], circle])


# What an attack finds


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("bounds", [None, (-1.0, 1.2)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_pgd_reaches_the_grid_minimum_in_two_dimensions(norm, bounds, outputs):
    classes = (0, 1) if outputs == 1 else (0, 1, 2)
    radius, size, reached = 0.6, 121, []
    for seed in range(3):
        network = polynomial(outputs=outputs, classes=classes, seed=seed)
        X = np.clip(rows(20, seed=seed), -1, 1.2)
        y = network.predict(X)
        result = ca.attack(network, X, y, radius, norm, bounds=bounds)
        slope = 10 * np.abs(network.coefficients.detach().numpy()).sum()  # bound of the slope nearby
        for i in range(len(X)):
            points = X[i] + grid(norm, radius, size)
            if bounds is not None:
                points = np.clip(points, *bounds)  # stays in the ball, and reaches the faces of the box
            lowest = margins_of(network, points, np.full(len(points), y[i])).min()
            reached.append(result.margins[i] <= lowest + 1e-3)
            assert result.margins[i] >= lowest - slope * radius / size
        np.testing.assert_allclose(result.margins, margins_of(network, result.points, y), atol=1e-12)
    # the margin of several classes is not smooth: paths may end on a ridge
    assert np.mean(reached) == 1.0 if outputs == 1 else np.mean(reached) > 0.85


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", ["fgsm", "pgd"])
@pytest.mark.parametrize("loss", ["margin", "cross_entropy"])
def test_attack_on_a_linear_module_is_the_closed_form(norm, method, loss):
    network, X = linear(), rows(30, 6)
    y = predictions_of(network, X)
    radius = np.linspace(0.0, 1.0, 30)
    weight = network.weight.detach().numpy()[0]
    dual = np.abs(weight).sum() if norm == "linf" else np.linalg.norm(weight)
    expected = margins_of(network, X, y) - radius * dual
    result = ca.attack(network, X, y, radius, norm, method, loss=loss, restarts=2)
    tolerance = 1e-12 if method == "fgsm" else 1e-9
    np.testing.assert_allclose(result.margins, expected, atol=tolerance)
    assert result.success.tolist() == (expected < 0).tolist()
    assert 0 < result.success.sum() < 30


def test_linf_box_on_a_linear_module_is_the_closed_form():
    network, X = linear(), np.clip(rows(30, 6), -1, 1)
    y = predictions_of(network, X)
    low, high = np.full(6, -1.0), np.array([1.0, 1.5, 1.0, np.inf, 1.0, 1.0])
    weight = network.weight.detach().numpy()[0]
    signs = np.where(y > 0, 1, -1)[:, None]
    best = np.clip(X - 0.5 * np.sign(weight * signs), low, high)
    for method in ("fgsm", "pgd"):
        result = ca.attack(network, X, y, 0.5, "linf", method, bounds=(low, high))
        np.testing.assert_allclose(result.margins, margins_of(network, best, y), atol=1e-9)
    assert (np.abs(best - (X - 0.5 * np.sign(weight * signs))) > 0.1).any()  # the box did matter


def test_several_scores_give_the_worst_class():
    network, X = linear(outputs=4), rows(40, 6)
    y = predictions_of(network, X)
    weight, bias = network.weight.detach().numpy(), network.bias.detach().numpy()
    scores = X @ weight.T + bias
    expected = [
        min(s[c] - s[k] - 0.3 * np.abs(weight[c] - weight[k]).sum() for k in range(4) if k != c)
        for s, c in zip(scores, y, strict=True)
    ]
    result = ca.attack(network, X, y, 0.3, restarts=10)
    assert (result.margins >= np.array(expected) - 1e-9).all()
    assert np.isclose(result.margins, expected, atol=1e-9).mean() > 0.9


def test_exact_l2_margin_of_a_polynomial_network_is_reached():
    network = polynomial(d=12, m=6, seed=3)
    X = rows(15, 12) / 2
    y = network.predict(X)
    a, b, c = network.activation
    W1, W2, W4 = (part.numpy() for part in network.quadratic())
    values, vectors = np.linalg.eigh(W1)
    expected = []
    for x, label in zip(X, y, strict=True):  # secular equation by bisection, in the eigenbasis
        curvature = label * a * values
        gradient = label * (vectors.T @ (2 * a * W1 @ x + b * W2)) / 2
        low, high = max(0.0, -curvature.min()) + 1e-12, 1e4
        for _ in range(200):
            t = (low + high) / 2
            low, high = (t, high) if np.linalg.norm(gradient / (curvature + t)) > 0.8 else (low, t)
        f = label * (a * x @ W1 @ x + b * W2 @ x + c * W4)
        expected.append(f - (gradient**2 / (curvature + high)).sum() - high * 0.64)
    result = ca.attack(network, X, y, 0.8, "l2", restarts=10)
    scale = np.abs(expected).mean()
    assert (result.margins >= np.array(expected) - 1e-9 * scale).all()
    assert (result.margins - expected).max() < 1e-3 * scale


@pytest.mark.parametrize("method", ["pgd", "apgd"])
def test_a_flat_start_is_left(method):
    # f(x) = 1 - 4 x_1^2 has no gradient at the origin
    network = PolynomialNetwork([[1.0, 0.0], [0.0, 1.0]], [-4.0, 0.0], (1, 0, -0.25), classes=[0, 1])
    X, y = np.zeros((4, 2)), [1] * 4
    stuck = ca.attack(network, X, y, 1.0, "l2", "fgsm")
    free = ca.attack(network, X, y, 1.0, "l2", method, restarts=1)
    assert stuck.margins.tolist() == [1.0] * 4
    assert not stuck.success.any()
    np.testing.assert_allclose(free.margins, -3.0, atol=1e-2)
    assert free.success.all()


def test_pgd_is_not_weaker_than_fgsm_or_its_own_start():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(8, 30), torch.nn.ReLU(), torch.nn.Linear(30, 3)).double()
    X = rows(100, 8)
    y = predictions_of(network, X)
    for norm, radius in (("linf", 0.2), ("l2", 0.5)):
        single = ca.attack(network, X, y, radius, norm, "fgsm")
        pgd = ca.attack(network, X, y, radius, norm)
        assert (pgd.margins <= margins_of(network, X, y)).all()
        assert (pgd.margins <= single.margins + 1e-12).all()
        assert pgd.success.sum() >= single.success.sum() > 0
        few = ca.attack(network, X, y, radius, norm, restarts=1)
        assert (pgd.margins <= few.margins).all()


def test_misclassified_rows_keep_their_point():
    network, X = linear(), rows(20, 6)
    y = predictions_of(network, X)
    y[:5] = 1 - y[:5]
    for method in ("fgsm", "pgd"):
        result = ca.attack(network, X, y, 0.01, method=method)
        assert result.success[:5].all()
        np.testing.assert_array_equal(result.points[:5], X[:5])
        assert (result.points[5:] != X[5:]).any(1).all()


def test_zero_network_has_no_adversarial_rows():
    network = PolynomialNetwork(np.zeros((0, 2)), np.zeros(0), classes=["a", "b"])
    result = ca.attack(network, rows(4), ["a", "b", "a", "b"], 0.5)
    assert result.success.tolist() == [
        False,
        True,
        False,
        True,
    ]  # as predict: a score of zero is the first class
    assert result.margins.tolist() == [0.0] * 4


# Where the points may lie


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("method", ["fgsm", "pgd"])
def test_points_satisfy_ball_and_box(norm, dtype, offset, method):
    rng = np.random.default_rng(0)
    low = (offset + rng.random(6) * -0.5 - 0.5).astype(dtype)
    high = (offset + rng.random(6) * 0.5 + 0.5).astype(dtype)
    X = np.clip((offset + rng.standard_normal((50, 6))).astype(dtype), low, high)
    network = linear(dtype=torch.float32)
    y = predictions_of(network, X.astype(np.float32))
    radius = rng.random(50) * 0.7
    radius[0] = 0.0
    result = ca.attack(network, X, y, radius, norm, method, bounds=(low, high), steps=10)
    assert result.points.dtype == dtype
    lengths = norm_of(result.points.astype(np.longdouble) - X.astype(np.longdouble), norm)
    assert (lengths <= radius * (1 + 1e-12)).all()
    assert (result.points >= low).all()
    assert (result.points <= high).all()
    np.testing.assert_array_equal(result.points[0], X[0])
    if offset == 0:
        unbound = ca.attack(network, X, y, radius, norm, method, steps=10).points
        reached = norm_of(unbound.astype(float) - X, norm) / np.maximum(radius, 1e-300)
        np.testing.assert_allclose(reached[1:], 1.0, rtol=1e-4)
        assert ((unbound < low) | (unbound > high)).any()


def test_results_describe_the_points():
    network = polynomial(d=5, outputs=3, classes=("a", "b", "c"))
    X = rows(40, 5)
    y = network.predict(X)
    result = ca.attack(network, X, y, 0.2)
    np.testing.assert_allclose(result.scores, network.scores(result.points), rtol=1e-12)
    np.testing.assert_allclose(result.margins, network.margins(result.points, y), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(result.success, network.predict(result.points) != y)
    assert 0 < result.success.sum() < 40
    assert (result.method, result.norm, result.radius) == ("pgd", "linf", 0.2)
    found = int(result.success.sum())
    assert repr(result) == f"AttackResult(method='pgd', norm='linf', radius=0.2, rows=40, success={found})"
    with pytest.raises(AttributeError):
        result.points = X


def test_network_scaling_is_inside_so_that_radii_are_raw():
    shift, scale = np.array([100.0, -5.0]), np.array([50.0, 0.1])
    plain, scaled = polynomial(seed=2), polynomial(seed=2, shift=shift, scale=scale)
    Z = rows(30)
    X = shift + scale * Z
    y = plain.predict(Z)
    result = ca.attack(scaled, X, y, 0.05, "linf")
    assert (norm_of(result.points - X, "linf") <= 0.05 * (1 + 1e-12)).all()
    # the second feature moves by half a standard deviation, the first by a thousandth
    for i in range(30):
        points = Z[i] + grid("linf", 1.0) * [0.001, 0.5]
        assert result.margins[i] <= margins_of(plain, points, np.full(len(points), y[i])).min() + 1e-3


# Modules, labels and arrays of every kind


def small_cnn(dtype=torch.float32, outputs=3):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Dropout(0.5),
        torch.nn.Flatten(),
        torch.nn.Linear(64, outputs),
    ).to(dtype)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_images_keep_their_shape_and_the_module_its_state(norm, outputs):
    network = small_cnn(outputs=outputs)
    images = np.random.default_rng(0).random((12, 1, 8, 8)).astype(np.float32)
    network[1].eval()  # parts in different modes
    network[0].weight.requires_grad_(False)
    modes = [module.training for module in network.modules()]
    state = copy.deepcopy(network.state_dict())
    evaluated = copy.deepcopy(network).eval()
    y = predictions_of(evaluated, images)
    radius = 0.3 if norm == "linf" else 2.0
    result = ca.attack(network, images, y, radius, norm, bounds=(0, 1), steps=20, restarts=2)
    assert result.points.shape == images.shape
    assert result.points.dtype == np.float32
    assert result.points.min() >= 0
    assert result.points.max() <= 1
    delta = result.points.astype(float) - images
    assert (norm_of(delta, norm) <= radius * (1 + 1e-12)).all()
    assert result.success.sum() > 3
    np.testing.assert_array_equal(result.success, predictions_of(evaluated, result.points) != y)
    assert [module.training for module in network.modules()] == modes
    assert not network[0].weight.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_existing_gradients_and_grad_modes_are_left_alone():
    network, X = linear(), rows(5, 6)
    network.weight.grad = torch.full_like(network.weight, 7.0)
    y = predictions_of(network, X)
    expected = ca.attack(network, X, y, 0.1).points
    with torch.no_grad():
        np.testing.assert_array_equal(ca.attack(network, X, y, 0.1).points, expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inside = ca.attack(network, torch.from_numpy(X) + 0, y, 0.1, bounds=(-9, 9), batch_size=2)
    np.testing.assert_allclose(inside.margins.numpy(), ca.attack(network, X, y, 0.1).margins, atol=1e-12)
    assert (network.weight.grad == 7.0).all()
    assert network.bias.grad is None


def test_state_is_restored_after_an_error():
    network = small_cnn()
    with pytest.raises(RuntimeError):
        ca.attack(network, np.ones((2, 1, 3, 3)), [0, 1], 0.1)
    assert network.training


def test_same_seed_same_points_and_the_global_generator_is_untouched():
    network, X = polynomial(d=6, m=8), rows(20, 6)
    y = network.predict(X)
    state = torch.get_rng_state()
    first = ca.attack(network, X, y, 0.5, random_state=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again = ca.attack(network, X, y, 0.5, random_state=np.int64(3))
    np.testing.assert_array_equal(first.points, again.points)
    generator = torch.Generator().manual_seed(3)
    np.testing.assert_array_equal(ca.attack(network, X, y, 0.5, random_state=generator).points, first.points)
    starts = Neighbourhood(torch.from_numpy(X), torch.full((20,), 0.5).double(), "l2")
    draws = [starts.sample(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert ca.attack(network, X, y, 0.5, random_state=None).success.shape == (20,)


def test_batches_give_the_same_rows():
    network, X = polynomial(d=6, m=8), rows(23, 6)
    y = network.predict(X)
    radius = np.linspace(0.1, 0.5, 23)
    whole = ca.attack(network, X, y, radius, restarts=1)
    parts = ca.attack(network, X, y, radius, restarts=1, batch_size=5)
    np.testing.assert_allclose(parts.points, whole.points, atol=1e-12)
    np.testing.assert_array_equal(parts.success, whole.success)


def test_tensors_in_tensors_out():
    network, X = linear(outputs=3), rows(10, 6)
    y = predictions_of(network, X)
    arrays = ca.attack(network, X, y, 0.3)
    tensor = torch.from_numpy(X).requires_grad_()
    tensors = ca.attack(network, tensor, torch.from_numpy(y), torch.tensor(0.3, dtype=torch.float64))
    for name in ("points", "success", "scores", "margins"):
        ours, theirs = getattr(arrays, name), getattr(tensors, name)
        assert isinstance(ours, np.ndarray)
        assert isinstance(theirs, torch.Tensor)
        assert not theirs.requires_grad
        np.testing.assert_array_equal(ours, theirs.numpy())
    assert tensor.grad is None
    assert tensors.success.dtype == torch.bool


@pytest.mark.parametrize("module", [torch.float32, torch.float64])
@pytest.mark.parametrize("data", [np.float32, np.float64, np.int64])
def test_precisions_of_module_and_data(module, data):
    network = polynomial(d=4, dtype=module)
    plain = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Softplus()).to(module)
    X = np.round(rows(10, 4) * 3).astype(data)
    for model, y in ((network, network.predict(X)), (plain, None)):
        y = predictions_of(model, X.astype(str(module).removeprefix("torch."))) if y is None else y
        result = ca.attack(model, X, y, 0.3, steps=10)
        assert result.points.dtype == (np.float64 if data == np.int64 else data)
        assert str(result.scores.dtype) == str(module).removeprefix("torch.")
        assert (result.points != X).any(1).all()


class Squeezed(torch.nn.Module):
    """One score of shape (n,), or without any dimension for one row."""

    def __init__(self, network, classes=None):
        super().__init__()
        self.network = network
        if classes is not None:
            self.classes = classes

    def forward(self, x):
        return self.network(x).squeeze()


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (-1.0, 1.0), (False, True), (3, 8), ("no", "yes")])
def test_labels_of_one_score(labels):
    network, X = linear(), rows(20, 6)
    y = [labels[k] for k in predictions_of(network, X)]
    expected = ca.attack(network, X, predictions_of(network, X), 0.2)
    for model in (network, Squeezed(network)):
        np.testing.assert_array_equal(ca.attack(model, X, y, 0.2).points, expected.points)
    one = ca.attack(Squeezed(network), X[:1], predictions_of(network, X)[:1], 0.2)
    np.testing.assert_allclose(one.margins, expected.margins[:1], atol=1e-9)


def test_one_class_present_is_read_as_zero_one_or_minus_one():
    network, X = linear(), rows(20, 6)
    positive = predictions_of(network, X) > 0
    for label, chosen in ((1, positive), (0, ~positive), (-1, ~positive)):
        assert not ca.attack(network, X[chosen], np.full(chosen.sum(), label), 0.0).success.any()
        assert ca.attack(network, X[~chosen], np.full((~chosen).sum(), label), 0.0).success.all()


def test_classes_of_the_module_are_used_in_its_own_order():
    network, X = linear(outputs=3), rows(20, 6)
    y = predictions_of(network, X)
    expected = ca.attack(network, X, y, 0.2)
    names = ["plane", "car", "bird"]
    named = Squeezed(network, names)
    result = ca.attack(named, X, [names[k] for k in y], 0.2)
    np.testing.assert_array_equal(result.points, expected.points)


def test_own_loss():
    network, X = linear(outputs=3), rows(20, 6)
    y = predictions_of(network, X)

    def towards_class_zero(scores, target):
        assert target.tolist() == y[y > 0].tolist()
        return scores[:, 0] - scores.gather(1, target[:, None])[:, 0]

    chosen = y > 0
    result = ca.attack(network, X[chosen], y[chosen], 0.3, "linf", "fgsm", loss=towards_class_zero)
    weight = network.weight.detach().numpy()
    best = X[chosen] + 0.3 * np.sign(weight[0] - weight[y[chosen]])
    np.testing.assert_allclose(result.points, best, atol=1e-12)


def test_scores_that_break_down_never_win():
    class Cliff(torch.nn.Module):
        def forward(self, x):
            return torch.log(x[:, 0]) + 3  # not a number left of zero

    X = np.array([[0.5, 0.0], [0.2, 1.0], [0.4, 1.0]])  # the last one reaches zero: minus infinity
    result = ca.attack(Cliff(), X, [1, 1, 1], 0.4, "linf")
    assert np.isfinite(result.margins).all()
    assert np.isfinite(result.points).all()
    assert result.margins[0] == pytest.approx(np.log(0.1) + 3, abs=1e-6)
    assert result.margins[1] < np.log(0.2) + 3


# The core


def test_projected_gradient_keeps_the_best_or_the_last():
    x0 = torch.tensor([[0.9], [-0.3]], dtype=torch.float64)
    seen = []

    def loss_fn(x):
        seen.append(x.detach().clone())
        return -(x**2)[:, 0]

    def run(keep):
        seen.clear()
        steps = [0.25] * 5
        return projected_gradient(loss_fn, x0, lambda x: x.clamp(-1, 1), torch.sign, steps, keep)

    best = run("best")
    assert len(seen) == 6
    assert torch.equal(best.abs()[:, 0], torch.stack(seen).abs().amin(0)[:, 0])
    last = run("last")
    assert len(seen) == 5
    # 0.9, 0.65, 0.4, 0.15, -0.1, 0.15 and -0.3, -0.05, 0.2, -0.05, 0.2, -0.05
    torch.testing.assert_close(last, torch.tensor([[0.15], [-0.05]], dtype=torch.float64))


def test_projected_gradient_chooses_by_the_merit():
    x0 = torch.zeros(1, 1, dtype=torch.float64)
    steps = [1.0, 1.0, 1.0]

    def loss_fn(x):
        return x[:, 0], -((x[:, 0] - 2) ** 2)

    best = projected_gradient(loss_fn, x0, lambda x: x, torch.sign, steps)
    assert best.tolist() == [[2.0]]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_is_exactly_in_the_box(norm):
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor([-0.1, 1 / 3, -7.7]), torch.tensor([0.7, 0.9, 1e-3])
    centres = low + (high - low) * torch.rand(2000, 3, generator=generator)
    ball = Neighbourhood(centres, torch.full((2000,), 0.5), norm, low, high)
    points = ball.project(centres + torch.randn(2000, 3, generator=generator))
    assert bool(((points >= low) & (points <= high)).all())
    assert bool((points == low).any(0).all())
    assert norm_of((points - centres).numpy(), norm).max() <= 0.5 * (1 + 1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_samples_fill_the_ball_evenly(norm):
    ball = Neighbourhood(torch.full((20000, 3), 5.0).double(), torch.full((20000,), 2.0).double(), norm)
    delta = (ball.sample(torch.Generator().manual_seed(0)) - 5).numpy() / 2
    lengths = norm_of(delta, norm)
    # the volume inside of length t is t^3
    assert np.abs(np.sort(lengths) ** 3 - np.linspace(0, 1, 20000)).max() < 0.02
    assert np.abs(delta.mean(0)).max() < 0.02


def test_steepest_direction_of_tiny_and_huge_gradients():
    for size in (1e-30, 1.0, 1e30):
        gradient = torch.tensor([[3.0, -4.0], [0.0, 0.0]], dtype=torch.float32) * size
        ball = Neighbourhood(torch.zeros(2, 2), torch.ones(2), "l2")
        torch.testing.assert_close(ball.steepest(gradient), torch.tensor([[0.6, -0.8], [0.0, 0.0]]))


# Bad arguments


def attempt(network=None, X=None, y=None, radius=0.1, **options):
    network = linear() if network is None else network
    X = rows(4, 6) if X is None else X
    y = [0, 1, 0, 1] if y is None else y
    return ca.attack(network, X, y, radius, **options)


class Constant(torch.nn.Module):
    def forward(self, x):
        return torch.ones(len(x), 2)


class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x


BAD = [
    ({"network": "model"}, "attack needs a torch module, got str"),
    ({"norm": "l3"}, 'norm must be "linf" or "l2" or "l1", got \'l3\''),
    ({"method": "cw"}, 'method must be "pgd" or "fgsm"'),
    ({"loss": "hinge"}, 'loss must be "margin"'),
    ({"radius": -0.1}, "radius"),
    ({"radius": [0.1, 0.2]}, "radius"),
    ({"radius": np.nan}, "radius"),
    ({"radius": "big"}, "radius"),
    ({"steps": 0}, "steps=0 cannot be used"),
    ({"steps": 2.5}, "steps=.* cannot be used; a whole number"),
    ({"restarts": 0}, "restarts=.* cannot be used; a whole number"),
    ({"batch_size": -1}, "batch_size=.* cannot be used; a whole number"),
    ({"step_size": 0.0}, "step_size must be a positive number"),
    ({"step_size": "auto"}, "step_size must be a positive number"),
    ({"random_state": "seed"}, "random_state must be"),
    ({"bounds": (0.0, 1.0)}, "row 0 of X lies outside of the bounds"),
    ({"bounds": (5.0, -5.0)}, "low <= high"),
    ({"bounds": (np.nan, 5.0)}, "low <= high"),
    ({"bounds": 5.0}, r"bounds must be \(low, high\)"),
    ({"bounds": (-5.0, np.ones(4))}, r"bounds must be \(low, high\)"),
    ({"X": rows(4, 6)[0]}, r"X must have shape \(n, d\)"),
    ({"X": rows(4, 6)[:0]}, "at least one row"),
    ({"X": np.full((4, 6), np.inf)}, "X must be finite"),
    ({"X": np.full((4, 6), "a")}, "X must hold numbers"),
    ({"y": [0, 1, 0]}, "X has 4 rows, y has 3"),
    ({"y": [0, 1, 2, 3]}, "one score needs labels of two values"),
    ({"y": [7, 7, 7, 7]}, "one score needs labels of two values"),
    ({"network": linear(outputs=3), "y": [0, 1, 2, 3]}, "the label 3"),
    ({"network": linear(outputs=3), "y": ["a", "b", "a", "b"]}, "y holds labels of dtype"),
    ({"network": polynomial(d=6), "y": [0, 1, 1, 1]}, "the label 0"),
    ({"network": polynomial(d=5)}, r"x must have shape \(n, 5\)"),
    ({"network": Squeezed(linear(), [0, 1, 2])}, "3 classes, which need 3 outputs"),
    ({"network": Constant()}, "must depend on its inputs"),
    ({"network": Pair()}, "must return a tensor of scores, got tuple"),
    ({"network": torch.nn.Unflatten(1, (2, 3))}, r"\(n,\) or \(n, C\) scores, got \(1, 2, 3\)"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[str(k) for k in range(len(BAD))])
def test_bad_arguments_give_one_sentence(options, message):
    with pytest.raises(InputError, match=message) as caught:
        attempt(**options)
    assert "\n" not in str(caught.value)


def test_scores_that_are_not_finite_are_an_error():
    network = linear()
    with torch.no_grad():
        network.bias.fill_(torch.nan)
    with pytest.raises(InputError, match="scores of the network are not finite"):
        attempt(network)
