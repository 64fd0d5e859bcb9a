"""Lipschitz bounds of backbones and the certificates made of them: exact where said, never below what is seen."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import convexadv as ca
from convexadv.heads import HeadedModel, certify_model, find_tap, lipschitz_bound, robustify
from convexadv.heads import layer_norms as norms
from convexadv.heads.backbone import Backbone


def matrix_of(function, shape):
    """The matrix of a linear function of one input."""
    size = math.prod(shape)
    units = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    with torch.no_grad():
        offset = function(torch.zeros(1, *shape, dtype=torch.float64))
        return (function(units) - offset).reshape(size, -1).T


def exact(function, shape):
    return float(torch.linalg.matrix_norm(matrix_of(function, shape), 2))


def bound_of(model, shape, at):
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    return lipschitz_bound(Backbone(model, find_tap(model, x, at), x), x).value


CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 0, "stride": 2},
    {"kernel_size": (3, 1), "padding": (0, 2), "stride": (2, 1)},
    {"kernel_size": 2, "padding": 1, "stride": 3},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": 2, "dilation": 2, "stride": 2},
    {"kernel_size": 3, "padding": 4, "groups": 2},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 3, "padding": "same"},
]


@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_convolutions_are_bounded_from_above_and_not_far(settings):
    torch.manual_seed(0)
    for weights in ("normal", "positive", "ones"):
        layer = nn.Conv2d(4, 6, **settings).double()
        with torch.no_grad():
            if weights == "positive":
                layer.weight.abs_()
            if weights == "ones":
                layer.weight.fill_(1.0)
        size = (6, 5)
        found = norms.convolution_norm(layer.weight, size, layer.stride, layer.dilation, layer.groups)
        true = exact(layer, (4, *size))
        assert true <= found * (1 + 1e-12)
        assert found <= 2.0 * true


def test_unfoldings_alone_are_bounds(monkeypatch):
    monkeypatch.setattr(norms, "_MOST_WORK", 0.0)
    torch.manual_seed(1)
    for settings in CONVOLUTIONS:
        layer = nn.Conv2d(4, 6, **settings).double()
        with torch.no_grad():
            layer.weight.abs_()
        found = norms.convolution_norm(layer.weight, (6, 5), layer.stride, layer.dilation, layer.groups)
        assert exact(layer, (4, 6, 5)) <= found * (1 + 1e-12)


def test_one_by_one_convolutions_and_lines():
    layer = nn.Conv2d(3, 5, 1).double()
    assert norms.convolution_norm(layer.weight, (4, 4), 1, 1, 1) == pytest.approx(exact(layer, (3, 4, 4)))
    line = nn.Conv1d(2, 3, 3, stride=2, padding=1).double()
    assert exact(line, (2, 7)) <= norms.convolution_norm(line.weight, (7,), line.stride, line.dilation, 1)
    with pytest.raises(ca.InputError, match="circular"):
        norms.convolution_norm(layer.weight, (4, 4), 1, 1, 1, "circular")


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d((2, 3), 1),
        nn.AvgPool2d(2, 2, ceil_mode=True), nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((2, 3)),
        nn.AdaptiveAvgPool2d((None, 2)), nn.BatchNorm2d(2), nn.Linear(5, 4),
    ],
)  # fmt: skip
def test_linear_layers_are_exact(layer):
    torch.manual_seed(0)
    if isinstance(layer, nn.BatchNorm2d):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([-3.0, 0.5]))
            layer.running_var.copy_(torch.tensor([4.0, 0.01]))
    model = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(2))
    model(torch.randn(3, 2, 7, 5))
    found = bound_of(model.eval(), (2, 7, 5), "0")
    assert found == pytest.approx(exact(layer.double().eval(), (2, 7, 5)), rel=1e-6)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(2, 2, 1), (3, 1, 1), (3, 2, 1), (2, 1, 2), (3, 2, 2), (3, 2, 4)]
)
def test_max_pooling_is_bounded_by_its_overlap(kernel, stride, dilation):
    layer = nn.MaxPool2d(kernel, stride, dilation=dilation)
    found = norms.max_pool_norm(kernel, stride, dilation, 2)
    windows = F.unfold(torch.arange(576.0).reshape(1, 1, 24, 24), kernel, dilation, stride=stride)
    seen = torch.bincount(windows.long().flatten()).max()  # windows that hold an entry
    assert found == pytest.approx(math.sqrt(seen))
    x = torch.randn(50, 1, 12, 12).double()
    y = x + 0.1 * torch.randn_like(x)
    ratio = (layer(x) - layer(y)).flatten(1).norm(dim=1) / (x - y).flatten(1).norm(dim=1)
    assert ratio.max() <= found


class Residual(nn.Module):
    """Everything that the walk knows, with a graph that branches."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4])[:, None, None])
        self.register_buffer("std", torch.tensor([0.25, 0.5])[:, None, None])
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.GELU(), nn.Conv2d(4, 4, 1))
        self.short = nn.Conv2d(4, 4, 1, stride=2)
        self.block = nn.Sequential(nn.Conv2d(8, 6, 3), nn.LeakyReLU(0.1))
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem((x - self.mean) / self.std)
        z = F.relu(self.norm(x))
        x = x + 0.5 * self.inner(z)
        x = F.max_pool2d(x, 2) + self.short(F.dropout(z, 0.5, self.training))
        x = torch.cat([x, -x.sigmoid()], 1)
        x = F.adaptive_avg_pool2d(x, 3)
        return self.out(self.block(x).mean((2, 3)).view(x.size(0), -1))


def trained_norm():
    torch.manual_seed(0)
    model = Residual()
    for _ in range(3):
        model(torch.randn(8, 2, 8, 8))
    return model.eval()


@pytest.mark.parametrize("at", [None, "block", "stem", "inner"])
def test_bound_is_above_every_jacobian(at):
    model, x = trained_norm(), torch.rand(4, 2, 8, 8)
    backbone = Backbone(model, find_tap(model, x, at), x)
    found = lipschitz_bound(backbone, x)
    double = backbone.double()
    steepest = 0.0
    for row in x.double():
        jacobian = torch.autograd.functional.jacobian(lambda z: double(z[None])[0], row).reshape(-1, row.numel())
        steepest = max(steepest, float(torch.linalg.matrix_norm(jacobian, 2)))
    assert steepest <= found.value
    assert found.value < 1e4 * steepest
    if at == "stem":
        assert found.value == pytest.approx(_product_of_layers(model), rel=1e-6)


def _product_of_layers(model):
    size = norms.convolution_norm(model.stem.weight, (8, 8), 1, 1, 1)
    return size / 0.25


def test_layers_are_listed():
    model, x = trained_norm(), torch.rand(4, 2, 8, 8)
    found = lipschitz_bound(Backbone(model, find_tap(model, x), x), x)
    assert [name for name, _ in found.layers][:4] == ["stem", "norm", "inner.0", "inner.1"]


class Odd(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.out = function, nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.function(x))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x * x, "product of two values"),
        (lambda x: 1.0 / (2.0 + x), "division by a value"),
        (lambda x: torch.softmax(x, 1), "softmax"),
        (lambda x: x - x.mean(0), "mean over the rows"),
        (lambda x: x - x.mean(), "mean over the rows"),
        (lambda x: torch.cat([x[:, :2], x[:, [2, 3]]], 1), "index other than slices"),
        (lambda x: x @ torch.ones(4, 4), "cannot be run in float64"),
        (lambda x: x @ x.new_ones(4, 4), "no known"),
        (lambda x: x if x.sum() > 0 else -x, "cannot be traced"),
        (nn.LayerNorm(4), "LayerNorm"),
        (nn.BatchNorm1d(4, track_running_stats=False), "running statistics"),
    ],
)
def test_what_has_no_bound_is_a_sentence(function, message):
    with pytest.raises(ca.InputError, match=message):
        bound_of(Odd(function), (4,), None)


def linear_case(seed=0):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = nn.Sequential(nn.Linear(5, 4), nn.Flatten(), nn.Linear(4, 2))
    X = rng.normal(size=(80, 5)).astype(np.float32)
    y = (X[:, 0] + 0.3 * X[:, 1] > 0).astype(int)
    return robustify(model, (X, y), at="0", radius=0.1, validation=None), X, y


def test_certificate_of_one_linear_layer_is_that_of_its_singular_value():
    made, X, y = linear_case()
    weight = made.model.backbone.model[0].weight.detach().double()
    found = certify_model(made.model, X, y, 0.1)
    assert found.feature_radius == pytest.approx(0.1 * float(torch.linalg.matrix_norm(weight, 2)), rel=1e-9)
    with torch.no_grad():
        features = (torch.from_numpy(X).double() @ weight.T + made.model.backbone.model[0].bias.double()).numpy()
    expected = ca.worst_case_margin(made.head, features, y, found.feature_radius)
    np.testing.assert_allclose(found.lower_bound, expected.lower_bound, rtol=1e-4, atol=1e-4)
    assert 0 < found.certified.sum() < len(y)
    assert "one layer" in found.note


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_nothing_certified_is_ever_broken(norm):
    made, X, y = linear_case(1)
    deep, pictures, labels = deep_case()
    for model, rows, of in ((made.model, X, y), (deep, pictures, labels)):
        radius = 0.1 if model is made.model else 1e-3
        found = certify_model(model, rows, of, radius, norm)
        assert found.certified.any()
        attacked = ca.attack(model, rows, of, radius, norm, steps=20, restarts=2)
        assert not (found.certified & attacked.success).any()
        rng = np.random.default_rng(0)
        for _ in range(50):
            delta = rng.normal(size=rows.shape)
            size = np.linalg.norm(delta.reshape(len(rows), -1), {"l2": 2, "linf": np.inf, "l1": 1}[norm], axis=1)
            moved = rows + radius * delta / size.reshape(-1, *[1] * (rows.ndim - 1))
            with torch.no_grad():
                scores = model(torch.from_numpy(moved).float())
            assert (scores.argmax(1).numpy() == of)[found.certified].all()


def deep_case():
    model = trained_norm()
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 2, 8, 8)).astype(np.float32)
    x = torch.from_numpy(X)
    tap = find_tap(model, x)
    neurons = rng.normal(size=(5, tap.n_features))
    neurons /= np.linalg.norm(neurons, axis=1)[:, None]
    head = ca.PolynomialNetwork(neurons, rng.normal(size=(5, 3)), classes=[0, 1, 2])
    headed = HeadedModel(model, head, tap, x).eval()
    with torch.no_grad():
        return headed, X, headed(x).argmax(1).numpy()


def test_certificate_says_how_loose_it_is():
    model, X, y = deep_case()
    found = certify_model(model, X, y, 1e-3, "linf")
    assert found.input_radius == pytest.approx(1e-3 * math.sqrt(128))
    assert "product over" in found.note
    assert "11.3 times as large" in str(found)
    with pytest.raises(ca.InputError, match="HeadedModel"):
        certify_model(nn.Linear(2, 2), X, y, 0.1)
