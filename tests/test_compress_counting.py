"""Counts against hand counts, and batch norms folded only where that changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convexadv.compression.counting import count
from convexadv.compression.folding import FoldedBatchNorm, fold_batch_norm
from convexadv.compression.layers import factorise
from convexadv.errors import InputError


def test_hand_counts_of_a_small_model():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # 3*8*9 weights, 10 x 10 positions
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, groups=4, bias=False),  # 2 inputs a group, 4 x 4 positions
        nn.Flatten(),
        nn.Linear(192, 5),
    )
    found = count(model, (3, 10, 10))
    assert [(layer.name, layer.parameters, layer.flops) for layer in found.layers] == [
        ("0", 216 + 8, 216 * 100),
        ("3", 12 * 2 * 9, 12 * 2 * 9 * 16),
        ("5", 960 + 5, 960),
    ]
    assert found.parameters == 224 + 16 + 216 + 965
    assert found.flops == 21600 + 3456 + 960
    assert found["3"].input_shape == (8, 10, 10)
    assert found["3"].output_shape == (12, 4, 4)
    assert model.training


def test_hand_counts_of_factored_layers():
    conv = factorise(nn.Conv2d(16, 32, 3, stride=2, padding=1), (6, 5))
    dense = factorise(nn.Conv2d(64, 64, 3, bias=False), (64, 64), absorb=False)
    found = count(nn.Sequential(conv), (16, 8, 8))
    assert found.parameters == 16 * 5 + 9 * 5 * 6 + 6 * 32 + 32
    assert found.flops == 16 * 5 * 64 + 9 * 5 * 6 * 16 + 6 * 32 * 16
    assert [layer.kind for layer in found.layers] == ["TuckerConv2d"]
    assert found["0"].input_shape == (16, 8, 8)
    assert found["0"].output_shape == (32, 4, 4)
    assert count(dense, (64, 5, 5)).parameters == 45056  # 64 x 64 x 3 x 3 itself has 36,864
    linear = count(nn.Sequential(factorise(nn.Linear(20, 10), 4)), (20,))
    assert (linear.parameters, linear.flops) == (4 * 30 + 10, 4 * 30)


def test_transposed_one_dimensional_and_repeated_layers():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.line = nn.ConvTranspose2d(3, 5, 2, stride=2), nn.Conv1d(5, 5, 3, padding=1)

        def forward(self, x):
            x = self.up(x).flatten(2)
            return self.line(self.line(x))

    found = count(Twice(), (3, 4, 4))
    assert found["up"].flops == 16 * 3 * 5 * 4
    assert found["line"].flops == 2 * 64 * 5 * 5 * 3
    assert found["line"].parameters == 80


def test_shared_parameters_count_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert count(model, (4,)).parameters == 16 + 8


@pytest.mark.parametrize("shape", [(4, 8, 8), 8, (), (3, 0, 8), ("a",)])
def test_shapes_that_do_not_fit(shape):
    with pytest.raises(InputError, match=r"does not run on|input_shape must be"):
        count(nn.Sequential(nn.Conv2d(3, 4, 3)), shape)


class Block(nn.Module):
    """A residual block: norm2 follows conv1 alone, norm1 comes first, the output of conv3 is read twice."""

    def __init__(self):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(6), factorise(nn.Conv2d(6, 4, 3, padding=1), (2, 3))
        self.norm3, self.conv3, self.norm4 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        inner = self.conv1(self.norm1(x).relu())
        x = x + self.norm3(self.conv2(self.norm2(inner).relu()))
        x = self.conv3(x)
        return x + self.norm4(x)


class Dynamic(nn.Module):
    """Its flow depends on values: no graph can be traced."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x):
        return self.parts(x) if float(x.sum()) > -1e9 else x


def trained(model, shape):
    """With statistics and weights that are not those of the start."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    model.train()
    for _ in range(5):
        model(torch.randn(8, *shape) * 2 + 1)
    return model


def folded_names(model):
    return [name for name, module in model.named_modules() if isinstance(module, FoldedBatchNorm)]


def test_only_norms_that_follow_alone_are_folded():
    model = trained(Block(), (4, 7, 7))
    x = torch.randn(3, 4, 7, 7)
    made = fold_batch_norm(model, x)
    assert folded_names(made) == ["norm2", "norm3"]
    assert type(made) is Block
    torch.testing.assert_close(made(x), model.eval()(x), rtol=1e-4, atol=1e-5)
    assert isinstance(model.norm2, nn.BatchNorm2d)
    assert model.conv1.bias is None
    assert made.conv1.bias is not None


@pytest.mark.parametrize("wrap", [nn.Sequential, Dynamic])
@pytest.mark.parametrize("affine", [True, False])
def test_sequences_with_and_without_a_graph(wrap, affine):
    model = wrap(
        factorise(nn.Conv2d(4, 6, 3), (2, 2)),
        nn.BatchNorm2d(6, affine=affine),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 5, 2),
        nn.BatchNorm2d(5),
        nn.Flatten(),
        nn.Linear(20, 4),
        nn.BatchNorm1d(4),
    )
    model, x = trained(model, (4, 5, 5)), torch.randn(3, 4, 5, 5)
    made = fold_batch_norm(model, x)
    assert len(folded_names(made)) == 2
    torch.testing.assert_close(made(x), model.eval()(x), rtol=1e-4, atol=1e-4)


def test_a_norm_without_statistics_and_a_shared_layer_are_left():
    conv = nn.Conv2d(4, 4, 1)
    model = nn.Sequential(
        conv, nn.BatchNorm2d(4), conv, nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)
    )
    assert folded_names(fold_batch_norm(model, torch.randn(2, 4, 3, 3))) == []


def test_a_probe_finds_uses_that_no_graph_shows():
    class Sly(Dynamic):
        def forward(self, x):
            return super().forward(x) + self.parts[0](x)

    model = trained(Sly(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), (4, 3, 3))
    with pytest.raises(InputError, match="leave its norms as they are"):
        fold_batch_norm(model, torch.randn(2, 4, 3, 3))
