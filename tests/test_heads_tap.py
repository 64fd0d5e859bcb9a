"""Where the feature of a model is, and the model with a new head there."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import convexadv as ca
from convexadv.heads import HeadedModel, Tap, find_tap
from convexadv.heads.backbone import Backbone


class Functional(nn.Module):
    """Convolution, pooling and two fully connected layers with functions between them."""

    def __init__(self, outputs=3, inplace=False):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, outputs)
        self.inplace = inplace

    def features(self, x):
        return F.relu(self.norm(self.convolution(x))).mean((2, 3))

    def forward(self, x):
        z = self.first(self.features(x))
        z = z.relu_() if self.inplace else F.dropout(F.relu(z), 0.5, self.training)
        return 2.0 * self.second(z) + 1.0


class Residual(nn.Module):
    """A residual block before one fully connected layer, whose activation is shared."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Linear(5, 8), nn.Linear(8, 8)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 3)

    def features(self, x):
        z = self.stem(x)
        return self.relu(z + self.inner(self.relu(z.clone())))

    def forward(self, x):
        return self.fc(self.features(x))


class Bypass(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.one(x) + self.two(x)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.relu(self.layer(x)))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.spare, self.pair = nn.Linear(4, 4), nn.Linear(4, 4), Pair()

    def forward(self, x):
        return self.layer(self.pair(x)[0])


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def sequential(outputs=3):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(),
        nn.Dropout(), nn.Linear(8, outputs), nn.LogSoftmax(1),
    )  # fmt: skip


def pictures(n=5):
    return torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def head_of(tap, outputs, seed=0):
    rng = np.random.default_rng(seed)
    neurons = rng.normal(size=(4, tap.n_features))
    neurons /= np.linalg.norm(neurons, axis=1)[:, None]
    shift, scale = rng.normal(size=tap.n_features), rng.uniform(0.5, 2.0, tap.n_features)
    return ca.PolynomialNetwork(neurons, rng.normal(size=(4, outputs)), shift=shift, scale=scale)


def test_chain_of_two_in_a_sequential():
    tap = find_tap(sequential(), pictures())
    assert tap == Tap("4", "input", (16,), (3,), ("4", "8"))


def test_chain_of_two_with_functions_between():
    for inplace in (False, True):
        tap = find_tap(Functional(inplace=inplace), pictures())
        assert tap == Tap("first", "input", (4,), (3,), ("first", "second"))


def test_residual_block_is_no_chain():
    tap = find_tap(Residual(), torch.randn(4, 5))
    assert tap == Tap("fc", "input", (8,), (3,), ("fc",))


def test_layers_with_more_than_elementwise_operations_between_are_no_chain():
    model = nn.Sequential(nn.Linear(6, 6), nn.Softmax(1), nn.Linear(6, 2))
    assert find_tap(model, torch.randn(4, 6)).replaced == ("2",)


def test_elementwise_operations_that_mix_in_the_input_are_no_chain():
    class Mixed(Bypass):
        def forward(self, x):
            return self.two(torch.cat([self.one(x), x[:, :1]], 1))

    assert find_tap(Mixed(), torch.randn(4, 4)).replaced == ("two",)


def test_told_by_name():
    tap = find_tap(sequential(), pictures(), at="2")
    assert tap == Tap("2", "output", (4, 2, 2), (3,))
    assert tap.n_features == 16


@pytest.mark.parametrize(
    ("model", "shape", "at", "message"),
    [
        (sequential(), (5, 1, 6, 6), "features", "names no layer"),
        (nn.Sequential(nn.Linear(4, 4)), (5, 4), "00", "such as 0"),
        (Twice(), (5, 4), "layer", "called 2 times"),
        (Twice(), (5, 4), None, "called 2 times"),
        (Unused(), (5, 4), "spare", "does not call"),
        (Unused(), (5, 4), "pair", "is no tensor"),
        (Bypass(), (5, 4), None, "pass every such layer by"),
        (nn.Sequential(nn.Conv2d(1, 3, 6), nn.Flatten()), (5, 1, 6, 6), None, "none is called"),
        (nn.Sequential(nn.Flatten(0, 0), nn.Unflatten(0, (5, 1)), nn.Linear(4, 4)), (5, 4), None, "returns shape"),
        (
            nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (5, 4)), nn.Linear(4, 4)),
            (5, 4),
            "0",
            "shape .20,. for 5 inputs",
        ),
        (nn.Sequential(nn.Linear(4, 4), Pair()), (5, 4), None, "returns a tuple"),
        ("model", (5, 4), None, "torch module is needed"),
        (nn.Linear(4, 4), (5, 4), None, "single Linear"),
        (nn.Sequential(nn.Linear(4, 4)), (5, 3), None, r"does not run on inputs of shape \(5, 3\)"),
    ],
)
def test_what_has_no_feature_is_a_sentence(model, shape, at, message):
    with pytest.raises(ca.InputError, match=message):
        find_tap(model, torch.randn(shape), at)


@pytest.mark.parametrize("outputs", [2, 3])
@pytest.mark.parametrize("kind", [sequential, Functional])
def test_headed_model_is_the_head_of_the_features(kind, outputs):
    model, x = kind(outputs), pictures()
    before = copy.deepcopy(model.state_dict())
    tap = find_tap(model, x)
    head = head_of(tap, 1 if outputs == 2 else outputs)
    headed = HeadedModel(model, head, tap, x).eval()
    with torch.no_grad():
        model.eval()
        features = model.features(x) if kind is Functional else model[:4](x)
        scores = head._with(dtype=torch.float32)(features)
    expected = torch.stack([-scores / 2, scores / 2], 1) if outputs == 2 else scores
    assert torch.equal(headed(x), expected)
    assert headed(x).dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_sequential_is_trimmed_and_runs_without_hooks():
    model, x = sequential(), pictures()
    backbone = Backbone(model, find_tap(model, x), x)
    assert backbone.removed == ("4", "5", "6", "7", "8", "9")
    assert backbone.direct
    assert not [name for name, _ in backbone.named_parameters() if name.startswith("model.4")]


def test_functional_tail_is_trimmed_and_read_by_a_hook():
    model, x = Functional(), pictures()
    backbone = Backbone(model, find_tap(model, x), x)
    assert backbone.removed == ("first", "second")
    assert not backbone.direct  # relu(feature) is returned, which is not the feature for every input


def test_layers_stay_where_the_model_needs_them():
    class Asks(Residual):
        def forward(self, x):
            return F.linear(self.fc(self.features(x)), self.fc.weight.T @ self.fc.weight.new_ones(3, 3)).mean(1)

    model, x = Asks(), torch.randn(4, 5)
    tap = Tap("fc", "input", (8,), ())
    backbone = Backbone(model, tap, x)
    assert backbone.removed == ()
    assert "nothing was removed" in backbone.note
    assert torch.equal(backbone(x), model.features(x))


def test_feature_that_is_changed_in_place_later_is_the_one_before():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3))
    x = torch.randn(5, 4)
    for at in ("0", "1"):
        headed = HeadedModel(model, head_of(find_tap(model, x, at), 3), find_tap(model, x, at), x)
        expected = model[0](x) if at == "0" else torch.relu(model[0](x))
        assert torch.equal(headed.backbone(x), expected)


def test_features_of_several_dimensions_are_flattened():
    model, x = sequential(), pictures()
    tap = find_tap(model, x, at="2")
    headed = HeadedModel(model.eval(), head_of(tap, 3), tap, x)
    assert torch.equal(headed.backbone(x), model[:3](x).flatten(1))


@pytest.mark.parametrize("kind", [sequential, Functional])
def test_headed_model_is_an_ordinary_module(kind):
    model, x = kind(), pictures()
    tap = find_tap(model, x)
    headed = HeadedModel(model, head_of(tap, 3), tap, x).eval()
    scores = headed(x).detach()
    other = HeadedModel(kind(), head_of(tap, 3, seed=1), tap, x).eval()
    file = io.BytesIO()
    torch.save(headed.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), scores)
    assert torch.equal(copy.deepcopy(headed)(x), scores)
    double = copy.deepcopy(headed).double()
    assert double(x.double()).dtype == torch.float64
    torch.testing.assert_close(double(x.double()).float(), scores, rtol=1e-4, atol=1e-4)
    headed.train()
    loss = F.cross_entropy(headed(x), torch.tensor([0, 1, 2, 0, 1]))
    loss.backward()
    assert headed.head.neurons.grad.abs().sum() > 0
    assert next(headed.backbone.parameters()).grad.abs().sum() > 0


@pytest.mark.parametrize("kind", [sequential, Functional])
def test_inputs_are_differentiated_as_finite_differences_say(kind):
    model, x = kind().double().eval(), pictures(2).double().requires_grad_()
    tap = find_tap(model, x.detach())
    headed = HeadedModel(model, head_of(tap, 3), tap, x.detach())
    assert headed.head.neurons.dtype == torch.float64
    assert torch.autograd.gradcheck(headed, (x,))


@pytest.mark.parametrize("kind", [sequential, Functional])
def test_export_gives_the_same_scores(kind):
    model, x = kind(), pictures()
    tap = find_tap(model, x)
    headed = HeadedModel(model, head_of(tap, 3), tap, x).eval()
    exported = torch.export.export(headed, (x,)).module()
    torch.testing.assert_close(exported(x), headed(x))


def test_one_score_a_row_keeps_its_shape():
    x = torch.randn(4, 5)
    column = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 1))
    vector = nn.Sequential(*column, nn.Flatten(0))
    for model, shape in ((column, (4, 1)), (vector, (4,))):
        tap = find_tap(model, x)
        assert HeadedModel(model, head_of(tap, 1), tap, x)(x).shape == shape


def test_a_head_that_does_not_fit_is_a_sentence():
    model, x = sequential(), pictures()
    tap = find_tap(model, x)
    with pytest.raises(ca.InputError, match="2 outputs, and the model gives 3"):
        HeadedModel(model, head_of(tap, 2), tap, x)
    with pytest.raises(ca.InputError, match="takes 4 features"):
        HeadedModel(model, head_of(Tap("0", "input", (4,), (3,)), 3), tap, x)
    with pytest.raises(ca.InputError, match="a network of convexadv"):
        HeadedModel(model, nn.Linear(16, 3), tap, x)
