"""Factored layers: equal to the original at full rank and to its projection below, in every form; they script and export."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from convexadv.compression.layers import LowRankLinear, TuckerConv2d, factorise, merge, merged_weight
from convexadv.compression.projection import project
from convexadv.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")

FORMS = [
    {},
    {"bias": False},
    {"stride": 2, "padding": 1},
    {"stride": (1, 2), "padding": (2, 0), "dilation": (1, 2)},
    {"padding": "same"},
    {"padding": "same", "dilation": 2},
    {"padding": "valid"},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": 1, "padding_mode": "replicate"},
    {"padding": (1, 2), "padding_mode": "circular"},
    {"padding": "same", "padding_mode": "circular"},
    {"groups": 2, "padding": 1},
    {"groups": 2, "stride": 2, "bias": False},
]
SIZES = [3, (2, 4), (1, 3), 1]


def layer(form, size, channels=(6, 8), seed=0):
    torch.manual_seed(seed)
    return nn.Conv2d(*channels, size, **form)


def ranks_of(conv, full=True):
    out, in_ = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    if conv.weight[0, 0].numel() == 1:
        return min(out, in_) if full else 2
    return (out, in_) if full else (3, 2)


def images(seed=1, channels=6):
    return torch.randn(2, channels, 9, 10, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("form", "size"), list(itertools.product(FORMS, SIZES)), ids=str)
@pytest.mark.parametrize("absorb", [True, False])
def test_equal_at_full_rank(form, size, absorb):
    conv = layer(form, size)
    made = factorise(conv, ranks_of(conv), absorb=absorb)
    assert isinstance(made, TuckerConv2d)
    pointwise = conv.weight[0, 0].numel() == 1
    assert len(made) == (2 if pointwise else 1 if absorb else 3)
    torch.testing.assert_close(made(images()), conv(images()), rtol=1e-5, atol=1e-5)
    assert (made[-1].bias is None) == (conv.bias is None)


@pytest.mark.parametrize(("form", "size"), list(itertools.product(FORMS, SIZES)), ids=str)
def test_equal_to_the_projected_weights_below_full_rank(form, size):
    conv = layer(form, size)
    ranks = ranks_of(conv, full=False)
    made, dense = factorise(conv, ranks), copy.deepcopy(conv)
    dense.weight.data = project(conv.weight, ranks, conv.groups)
    assert float((dense.weight - conv.weight).detach().norm()) > 0.1
    torch.testing.assert_close(made(images()), dense(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("side", ["inner", "outer"])
def test_one_square_factor_is_left_out_and_changes_nothing(groups, side):
    conv = layer({"groups": groups, "padding": 1}, 3)
    out, in_ = ranks_of(conv)
    ranks = (2, in_) if side == "inner" else (out, 2)
    short, long = factorise(conv, ranks), factorise(conv, ranks, absorb=False)
    assert side not in dict(short.named_children())
    assert len(long) == 3
    torch.testing.assert_close(short(images()), long(images()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(merged_weight(short), merged_weight(long), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("form", "size"), list(itertools.product(FORMS, SIZES)), ids=str)
def test_merged_is_the_same_function_in_one_layer(form, size):
    conv = layer(form, size)
    made = factorise(conv, ranks_of(conv, full=False))
    back = merge(made)
    assert type(back) is nn.Conv2d
    assert back.weight.shape == conv.weight.shape
    assert repr(back) == repr(conv)
    torch.testing.assert_close(back(images()), made(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(7, 4), (4, 7)])
def test_linear_layers(bias, sizes):
    torch.manual_seed(0)
    linear, x = nn.Linear(*sizes, bias=bias), torch.randn(2, 3, sizes[0])
    full = factorise(linear, 4)
    assert isinstance(full, LowRankLinear)
    torch.testing.assert_close(full(x), linear(x), rtol=1e-5, atol=1e-5)
    back = merge(factorise(linear, 2))
    assert np.linalg.matrix_rank(back.weight.detach().double().numpy(), tol=1e-5) == 2
    torch.testing.assert_close(back.weight.detach(), project(linear.weight, 2), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(factorise(linear, 2)(x), back(x), rtol=1e-5, atol=1e-5)


def test_dtype_device_mode_and_frozen_parameters_are_kept():
    conv = layer({}, 3).double().eval()
    conv.weight.requires_grad_(False)
    made = factorise(conv, (3, 2))
    assert {parameter.dtype for parameter in made.parameters()} == {torch.float64}
    assert not made.training
    assert [name for name, p in made.named_parameters() if p.requires_grad] == ["outer.bias"]
    assert merge(made).bias.requires_grad
    assert not merge(made).weight.requires_grad


def test_dense_is_the_layer_itself():
    conv = layer({}, 3)
    assert factorise(conv, "dense") is conv


def test_training_reaches_every_factor():
    conv = layer({"padding": 1}, 3)
    made = factorise(conv, (3, 2))
    made(images()).square().sum().backward()
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in made.parameters())


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        factorise(nn.Conv2d(6, 8, 3, padding="same"), (3, 2)),
        nn.ReLU(),
        factorise(nn.Conv2d(8, 4, 3, stride=2, groups=2), (2, 3)),
        nn.Flatten(),
        factorise(nn.Linear(64, 5), 3),
    ).eval()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_they_script():
    made, x = model(), images()
    torch.testing.assert_close(torch.jit.script(made)(x), made(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_they_export_to_onnx(tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    made, x, path = model(), images(), tmp_path / "model.onnx"
    torch.onnx.export(made, (x,), str(path), dynamo=False, input_names=["x"], output_names=["y"])
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, made(x).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "ranks", "sentence"),
    [
        (nn.Conv2d(4, 6, 3), (7, 2), r"up to \(6, 4\)"),
        (nn.Conv2d(4, 6, 3), 2, "two integer ranks"),
        (nn.Conv2d(4, 6, 3), (2.0, 2), "two integer ranks"),
        (nn.Conv2d(4, 6, 1), (2, 2), "one rank from 1 to 4"),
        (nn.Conv2d(4, 6, 3, groups=2), (4, 2), r"up to \(3, 2\)"),
        (nn.Linear(4, 6), 5, "one rank from 1 to 4"),
        (nn.Linear(4, 6), True, "one rank"),
        (nn.Linear(4, 6), "full", '"dense"'),
        (nn.ConvTranspose2d(4, 6, 3), (2, 2), "Conv2d or Linear layer is needed"),
        (nn.ReLU(), (2, 2), "got ReLU"),
    ],
)
def test_what_does_not_fit_is_said(module, ranks, sentence):
    with pytest.raises(InputError, match=sentence):
        factorise(module, ranks)


def test_only_factored_layers_are_merged():
    with pytest.raises(InputError, match="got Conv2d"):
        merge(nn.Conv2d(4, 6, 3))
