"""APGD, exact worst cases, several attacks at once and targets."""

import numpy as np
import pytest
import torch

import convexadv as ca
from convexadv import InputError
from convexadv.robustness.apgd import auto_projected_gradient, checkpoints
from convexadv.robustness.pgd import Neighbourhood

ORDERS = {"l1": 1, "l2": 2, "linf": np.inf}


def polynomial(d=12, m=8, outputs=1, seed=0, **scaling):
    rng = np.random.default_rng(seed)
    neurons = rng.standard_normal((m, d))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    classes = np.arange(max(2, outputs))
    return ca.PolynomialNetwork(neurons, rng.standard_normal((m, outputs)), (0.9, 0.5, 0.1), classes=classes, **scaling)


def perceptron(d=10, outputs=4, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(d, 40), torch.nn.ReLU(), torch.nn.Linear(40, outputs)).to(dtype)


def linear(outputs, d=6):
    torch.manual_seed(0)
    return torch.nn.Linear(d, outputs).double()


def rows(n, d, seed=1):
    return np.random.default_rng(seed).standard_normal((n, d))


def scores_of(network, X):
    with torch.no_grad():
        scores = network(torch.as_tensor(X)).numpy()
    return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores


def predictions_of(network, X):
    scores = scores_of(network, X)
    return (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)


def lengths(result, X, norm):
    delta = result.points.astype(np.longdouble) - X.astype(np.longdouble)
    return np.linalg.norm(delta.reshape(len(X), -1).astype(np.float64), ORDERS[norm], axis=1)


# APGD


def test_checkpoints_are_those_of_the_paper():
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints(10)) == [3, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == {1}


def apgd_by_hand(value, slope, x, radius, steps):
    """Algorithm 1 of Croce and Hein (2020) for one row and an l2 ball around zero, in NumPy."""

    def project(v):
        return v * min(1.0, radius / max(np.linalg.norm(v), 1e-300))

    marks = [-(-percent * steps // 100) for percent in (22, 41, 57, 70, 80, 87, 93, 99)]
    eta, best, current, previous = 2 * radius, x, x, x
    last, rises, halved, best_then = 0, 0, True, value(x)
    for k in range(steps):
        z = project(current + eta * slope(current) / np.linalg.norm(slope(current)))
        following = z if k == 0 else project(current + 0.75 * (z - current) + 0.25 * (current - previous))
        rises += value(following) > value(current)
        previous, current = current, following
        best = current if value(current) > value(best) else best
        if k + 1 in marks:
            halved = rises < 0.75 * (k + 1 - last) or (not halved and value(best) == best_then)
            if halved:
                eta, current, previous = eta / 2, best, best
            last, rises, best_then = k + 1, 0, value(best)
    return best


@pytest.mark.parametrize("seed", range(5))
def test_apgd_takes_the_steps_of_the_paper(seed):
    rng = np.random.default_rng(seed)
    A, b, x = rng.standard_normal((5, 5)), rng.standard_normal(5), 0.1 * rng.standard_normal(5)
    A = A + A.T
    expected = apgd_by_hand(lambda v: v @ A @ v + np.sin(b @ v), lambda v: 2 * A @ v + np.cos(b @ v) * b, x, 1.5, 12)
    matrix, vector = torch.from_numpy(A), torch.from_numpy(b)
    ball = Neighbourhood(torch.zeros(1, 5).double(), torch.tensor([1.5]).double(), "l2")

    def loss_fn(v):
        return ((v @ matrix) * v).sum(1) + torch.sin(v @ vector)

    found = auto_projected_gradient(loss_fn, torch.from_numpy(x)[None], ball, ball.steepest, 12)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
@pytest.mark.parametrize("loss", ["margin", "cross_entropy"])
def test_apgd_on_a_linear_module_is_the_closed_form(norm, dual, loss):
    network, X = linear(1), rows(30, 6)
    y, radius = predictions_of(network, X), np.linspace(0, 1, 30)
    weight = network.weight.detach().numpy()[0]
    expected = np.abs(scores_of(network, X)) - radius * np.linalg.norm(weight, dual)
    result = ca.attack(network, X, y, radius, norm, "apgd", loss=loss, restarts=2)
    np.testing.assert_allclose(result.margins, expected, atol=1e-9)
    assert result.success.tolist() == (expected < 0).tolist()


@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.25), ("l2", 0.8)])
def test_apgd_is_at_least_as_strong_as_pgd_with_constant_steps(norm, radius):
    """The PGD of the paper's comparison; our own PGD has steps that shrink."""
    found = {"pgd": 0, "apgd": 0}
    lowest = {"pgd": 0.0, "apgd": 0.0}
    for seed in range(4):
        network, X = polynomial(seed=seed), rows(80, 12, seed)
        y = network.predict(X)
        for method, step in (("pgd", radius / 4), ("apgd", None)):
            result = ca.attack(network, X, y, radius, norm, method, steps=40, restarts=2, step_size=step)
            found[method] += int(result.success.sum())
            lowest[method] += float(result.margins.sum())
    assert found["apgd"] >= found["pgd"] > 0
    assert lowest["apgd"] <= lowest["pgd"] + 1e-6 * abs(lowest["pgd"])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options",
    [{"method": "apgd"}, {"method": "apgd", "target": "each"}, {"method": "strongest"}, {"method": ["fgsm", "apgd"]}],
    ids=["apgd", "each", "strongest", "list"],
)
def test_points_satisfy_ball_and_box(norm, dtype, options):
    rng = np.random.default_rng(0)
    low = (100 + rng.random(6) * -0.5 - 0.5).astype(dtype)
    high = (100 + rng.random(6) * 0.5 + 0.5).astype(dtype)
    X = np.clip((100 + rng.standard_normal((40, 6))).astype(dtype), low, high)
    network = linear(3).float()
    y = predictions_of(network, X.astype(np.float32))
    radius = rng.random(40) * 0.7
    radius[0] = 0.0
    result = ca.attack(network, X, y, radius, norm, bounds=(low, high), steps=10, restarts=2, **options)
    assert (lengths(result, X, norm) <= radius * (1 + 1e-12)).all()
    assert (result.points >= low).all()
    assert (result.points <= high).all()
    assert result.points.dtype == dtype
    np.testing.assert_array_equal(result.points[0], X[0])
    assert ((result.points == low) | (result.points == high)).any()


@pytest.mark.parametrize("method", ["pgd", "apgd"])
def test_rows_do_not_depend_on_batches_or_on_other_rows(method):
    network, X = perceptron(), rows(150, 10)
    y = predictions_of(network, X)
    radius = np.linspace(0.1, 0.5, 150)
    options = {"steps": 5, "restarts": 3}
    whole = ca.attack(network, X, y, radius, "l2", method, **options)
    for size in (1, 7, 64, 100):
        parts = ca.attack(network, X, y, radius, "l2", method, batch_size=size, **options)
        np.testing.assert_allclose(parts.points, whole.points, atol=1e-9)
    y[::2] = (y[::2] + 1) % 4  # these rows are broken already
    others = ca.attack(network, X, y, radius, "l2", method, **options)
    np.testing.assert_allclose(others.points[1::2], whole.points[1::2], atol=1e-9)
    assert (ca.attack(network, X, y, radius, "l2", method, random_state=1, **options).points != others.points).any()


def test_images_of_a_single_precision_module():
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3))
    network = torch.nn.Sequential(*layers)
    images = np.random.default_rng(0).random((10, 1, 8, 8)).astype(np.float32)
    y = predictions_of(network, images)
    result = ca.attack(network, images, y, 0.2, "linf", "strongest", bounds=(0, 1), steps=10, restarts=2)
    assert result.points.shape == images.shape
    np.testing.assert_array_equal(result.success, predictions_of(network, result.points) != y)
    assert result.success.sum() > 3


# Losses


def test_cross_entropy_does_not_vanish_where_the_network_is_sure():
    network, X = perceptron(dtype=torch.float32), rows(40, 10).astype(np.float32)
    with torch.no_grad():
        network[2].weight *= 1e4
        network[2].bias *= 1e4
    y = predictions_of(network, X)
    sure = ca.attack(network, X, y, 0.4, "linf", loss="cross_entropy", restarts=1)
    assert sure.success.sum() >= ca.attack(network, X, y, 0.4, "linf", loss="margin", restarts=1).success.sum() > 10


def test_cross_entropy_steps_are_those_of_torch():
    network, X = perceptron(), rows(40, 10)
    y = predictions_of(network, X)

    def cross_entropy(scores, index):
        return torch.nn.functional.cross_entropy(scores, index, reduction="none")

    ours = ca.attack(network, X, y, 0.2, "l2", "fgsm", loss="cross_entropy")
    np.testing.assert_allclose(ours.points, ca.attack(network, X, y, 0.2, "l2", "fgsm", loss=cross_entropy).points)
    assert not np.allclose(ours.points, ca.attack(network, X, y, 0.2, "l2", "fgsm", loss="margin").points)


def test_dlr_is_the_margin_over_the_spread_of_the_largest():
    network, X = perceptron(), rows(40, 10)
    y = predictions_of(network, X)

    def dlr(scores, index):
        ordered = scores.sort(1, descending=True).values
        own = scores.gather(1, index[:, None])[:, 0]
        others = scores.masked_fill(torch.nn.functional.one_hot(index, 4).bool(), -torch.inf).amax(1)
        return -(own - others) / (ordered[:, 0] - ordered[:, 2])

    ours = ca.attack(network, X, y, 0.2, "l2", "fgsm", loss="dlr")
    np.testing.assert_allclose(ours.points, ca.attack(network, X, y, 0.2, "l2", "fgsm", loss=dlr).points, atol=1e-12)
    with pytest.raises(InputError, match="compares three scores, and this network has 1"):
        ca.attack(linear(1), rows(4, 6), [0, 1, 0, 1], 0.1, loss="dlr")


# The exact worst case, and several attacks


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("scaling", [{}, {"shift": np.full(12, 5.0), "scale": np.linspace(0.1, 3, 12)}])
def test_exact_points_have_the_worst_margins(outputs, scaling):
    network = polynomial(outputs=outputs, **scaling)
    X = rows(30, 12) * scaling.get("scale", 1.0) + scaling.get("shift", 0.0)
    y = network.predict(X)
    worst = ca.worst_case_margin(network, X, y, 0.4, "l2")
    exact = ca.attack(network, X, y, 0.4, "l2", "exact")
    assert worst.exact.all()
    np.testing.assert_allclose(exact.margins, worst.lower_bound, atol=1e-7)
    assert (lengths(exact, X, "l2") <= 0.4 * (1 + 1e-12)).all()
    for method in ("pgd", "apgd"):
        result = ca.attack(network, X, y, 0.4, "l2", method, steps=20, restarts=2)
        assert (result.margins >= exact.margins - 1e-7).all()
        assert exact.success.sum() >= result.success.sum()
    assert exact.success.sum() > 0
    tensors = ca.attack(network, torch.from_numpy(X), y, 0.4, "l2", "exact")
    np.testing.assert_array_equal(tensors.points.numpy(), exact.points)


def test_several_attacks_give_the_lowest_margin_of_each_row():
    network, X = perceptron(), rows(60, 10)
    y = predictions_of(network, X)
    options = {"radius": 0.15, "norm": "linf", "steps": 10, "restarts": 2}
    single = {name: ca.attack(network, X, y, method=name, **options) for name in ("fgsm", "pgd", "apgd")}
    several = ca.attack(network, X, y, method=["fgsm", "pgd", "apgd"], **options)
    np.testing.assert_allclose(several.margins, np.min([each.margins for each in single.values()], 0), atol=1e-12)
    assert several.method == "fgsm+pgd+apgd"
    strongest = ca.attack(network, X, y, method="strongest", **options)
    each = ca.attack(network, X, y, method="apgd", target="each", **options)
    assert (strongest.margins <= np.minimum(several.margins, each.margins) + 1e-12).all()
    assert (strongest.margins < several.margins - 1e-6).any()
    assert strongest.method == "strongest"


def test_strongest_is_exact_where_that_is_known():
    network, X = polynomial(), rows(20, 12)
    y = network.predict(X)
    exact = ca.worst_case_margin(network, X, y, 0.4, "l2").lower_bound
    result = ca.attack(network, X, y, 0.4, "l2", "strongest", steps=2, restarts=1)
    np.testing.assert_allclose(result.margins, exact, atol=1e-7)
    cut = ca.attack(network, X, y, 0.4, "l2", "strongest", bounds=(X.min(), X.max()), steps=2, restarts=1)
    assert (cut.margins > exact + 1e-6).any()
    assert ca.attack(network, X, y, 0.4, "linf", "strongest", steps=2, restarts=1).success.any()


# Targets


def test_targets_are_what_success_means():
    network, X = perceptron(), rows(80, 10)
    y = predictions_of(network, X)
    target = (y + 1 + np.arange(80) % 3) % 4
    for method in ("fgsm", "pgd", "apgd", "strongest", ["fgsm", "pgd"]):
        result = ca.attack(network, X, y, 0.3, "linf", method, target=target, steps=10, restarts=2)
        np.testing.assert_array_equal(result.success, predictions_of(network, result.points) == target)
        scores = scores_of(network, result.points)
        own = np.arange(4) == y[:, None]
        np.testing.assert_allclose(result.margins, scores[own] - np.where(own, -np.inf, scores).max(1), atol=1e-12)
        assert 5 < result.success.sum() < 80
    free = ca.attack(network, X, y, 0.3, "linf", steps=10, restarts=2)
    assert free.success.sum() > result.success.sum()


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
@pytest.mark.parametrize("method", ["pgd", "apgd"])
def test_targeted_margins_of_a_linear_module_are_the_closed_form(norm, dual, method):
    network, X = linear(2), rows(30, 6)
    y = predictions_of(network, X)
    weight, scores = network.weight.detach().numpy(), scores_of(network, X)
    expected = np.abs(scores[:, 0] - scores[:, 1]) - 0.4 * np.linalg.norm(weight[0] - weight[1], dual)
    for target in (1 - y, "each"):
        result = ca.attack(network, X, y, 0.4, norm, method, target=target, restarts=1)
        np.testing.assert_allclose(result.margins, expected, atol=1e-9)


def test_each_finds_the_worst_class_of_a_linear_module():
    network, X = linear(4), rows(40, 6)
    y, weight, scores = predictions_of(network, X), network.weight.detach().numpy(), scores_of(network, X)
    pairs = scores[np.arange(40), y][:, None] - scores - 0.2 * np.abs(weight[y][:, None] - weight).sum(2)
    pairs[np.arange(40), y] = np.inf
    result = ca.attack(network, X, y, 0.2, "linf", "pgd", target="each", restarts=1, loss="margin")
    np.testing.assert_array_equal(result.success, pairs.min(1) < 0)
    assert 5 < result.success.sum() < 35
    assert (result.margins >= pairs.min(1) - 1e-9).all()


def test_rows_that_are_predicted_as_the_target_keep_their_point():
    network, X = perceptron(), rows(20, 10)
    target = predictions_of(network, X)
    y = (target + 1) % 4
    result = ca.attack(network, X, y, 0.3, target=target)
    assert result.success.all()
    np.testing.assert_array_equal(result.points, X)
    other = (target + 2) % 4  # misclassified, but not as wanted
    assert (ca.attack(network, X, y, 0.3, target=other).points != X).any(1).all()


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), ("no", "yes")])
def test_the_target_of_one_score_is_the_other_class(labels):
    network, X = linear(1), rows(20, 6)
    index = predictions_of(network, X)
    y, other = np.array(labels)[index], np.array(labels)[1 - index]
    free = ca.attack(network, X, y, 0.2)
    aimed = ca.attack(network, X, y, 0.2, target=other)
    np.testing.assert_array_equal(aimed.points, free.points)
    np.testing.assert_array_equal(aimed.success, free.success)
    one = index == 1  # y and target hold one value each
    ca.attack(network, X[one], y[one], 0.2, target=other[one])
    poly = polynomial()
    Z = rows(10, 12)
    exact = ca.attack(poly, Z, poly.predict(Z), 0.4, "l2", "exact", target=1 - poly.predict(Z))
    np.testing.assert_array_equal(exact.points, ca.attack(poly, Z, poly.predict(Z), 0.4, "l2", "exact").points)


def test_own_loss_is_lowered_for_the_target():
    network, X = linear(3), rows(20, 6)
    y = predictions_of(network, X)
    target = (y + 1) % 3

    def own(scores, index):
        assert index.tolist() == target.tolist()
        return -scores.gather(1, index[:, None])[:, 0]

    result = ca.attack(network, X, y, 0.01, "linf", "fgsm", loss=own, target=target)
    best = X + 0.01 * np.sign(network.weight.detach().numpy()[target])
    np.testing.assert_allclose(result.points, best, atol=1e-12)


# Gates


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1), ("l1", np.inf)])
@pytest.mark.parametrize("method", ["pgd", "apgd"])
def test_gates_are_crossed_where_the_gradient_shows_nothing(norm, dual, method):
    rng = np.random.default_rng(0)
    gate, scale, shift = rng.standard_normal((1, 60)), rng.uniform(0.5, 2, 60), rng.standard_normal(60)
    distance = 1 / np.linalg.norm(gate[0] / scale, dual)
    gates = np.concatenate([gate, np.zeros((1, 60))])  # the second one is always open
    network = ca.GatedReLUNetwork(
        gates, np.zeros((2, 60)), [-1.0, 0.0], [-2.0, 1.0], shift=shift, scale=scale, classes=[0, 1]
    )
    X, y = shift[None], [1]  # f = 1, and -1 behind the gate
    assert ca.attack(network, X, y, 1.01 * distance, norm, method, steps=5, restarts=1).success.all()
    assert not ca.attack(network, X, y, 0.99 * distance, norm, method, steps=5, restarts=1).success.any()


# Bad arguments

BAD = [
    ({"method": []}, "method is empty; at least one attack is needed"),
    ({"method": ["pgd", "strongest"]}, 'method must be "pgd"'),
    ({"method": 3}, 'method must be "pgd"'),
    ({"method": "exact"}, "the network is a Linear"),
    ({"method": ["pgd", "exact"], "network": polynomial(6, 3)}, 'norm is "linf", and only those of "l2" balls are'),
    ({"method": "exact", "network": polynomial(6, 3), "norm": "l2", "bounds": (-9, 9)}, "balls cut by bounds"),
    (
        {"method": "exact", "network": polynomial(6, 3, 3), "norm": "l2", "target": [1, 0, 1, 0]},
        "those of given targets are not",
    ),
    ({"loss": "hinge"}, 'loss must be "margin", "cross_entropy", "dlr" or a function'),
    ({"target": "all"}, 'target must be "each", one label a row, or None'),
    ({"target": [1, 1, 1, 0]}, "target must differ from y, but row 1 has the same label in both"),
    ({"target": [1, 0]}, "4"),
    ({"target": [2, 0, 1, 0]}, "labels of two values"),
    ({"network": linear(3), "target": [1, 0, 1, 3]}, "the label 3"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[str(k) for k in range(len(BAD))])
def test_bad_arguments_give_one_sentence(options, message):
    options = {"network": linear(1), **options}
    with pytest.raises(InputError, match=message) as caught:
        ca.attack(options.pop("network"), rows(4, 6), [0, 1, 0, 1], 0.1, **options)
    assert "\n" not in str(caught.value)
