"""Channels: which go together, that a pruned model is the masked one, and budgets."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convexadv import InputError
from convexadv.compression import Channels, channel_graph, count, prune_channels
from convexadv.model_files import build

SHAPE = (3, 16, 16)


def network(name: str, seed: int = 0) -> nn.Module:
    """Random weights, norms included."""
    settings = {"side": 16} if name == "smallcnn" else {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return shaken(build(name, width=8, channels=3, **settings))


def shaken(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.running_mean, module.bias.data):
                value.normal_()
            for value in (module.running_var, module.weight.data):
                value.uniform_(0.5, 2.0)
    return model.eval()


def masked(model: nn.Module, target: Channels) -> nn.Module:
    """The model whose layers read zeros from the channels that go: their input weights are zero."""
    made = copy.deepcopy(model)
    modules = dict(made.named_modules())
    for layer in target.graph(model).layers:
        if layer.reads is not None:
            gone = ~target.masks[layer.reads].repeat_interleave(layer.spread)
            modules[layer.name].weight.data[:, gone] = 0.0
    return made


def inputs() -> torch.Tensor:
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("measure", ["parameters", "flops"])
@pytest.mark.parametrize("name", ["preactresnet18", "resnet18", "smallcnn"])
def test_the_pruned_model_is_the_masked_one_within_the_budget(name, measure, uniform):
    model = network(name)
    total = getattr(count(model, SHAPE), measure)
    for ratio in (2, 8):
        small = prune_channels(model, SHAPE, ratio=ratio, measure=measure, uniform=uniform)
        target = Channels(SHAPE, ratio=ratio, measure=measure, uniform=uniform)
        target.choose(model, target.weights(model))
        with torch.no_grad():
            torch.testing.assert_close(small(inputs()), masked(model, target)(inputs()), rtol=1e-5, atol=1e-5)
            assert (small(inputs()) - model(inputs())).abs().max() > 1e-3
        assert type(small) is type(model)
        assert getattr(count(small, SHAPE), measure) <= total // ratio
        assert sum(p.numel() for p in small.parameters()) == count(small, SHAPE).parameters


def test_the_channels_of_a_residual_stream_stay_together():
    graph = channel_graph(network("resnet18"), SHAPE)
    writers = {}
    for layer in graph.layers:
        writers.setdefault(layer.writes, set()).add(layer.name)
    assert {"features.stem", "features.stage1.0.conv2", "features.stage1.1.conv2"} in writers.values()
    assert {"features.stage2.0.conv2", "features.stage2.0.shortcut.0", "features.stage2.1.conv2"} in writers.values()
    assert {"features.stage1.0.conv1"} in writers.values()
    assert {"head"} in [names for group, names in writers.items() if group is None]


def test_the_smallest_channels_go():
    """Of one hidden layer, those whose weights before and after are smallest, each relative to its layer."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 3))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
    small = prune_channels(model, (6,), budget=10 * 7 - 40 + 3 * 6 + 3)
    first, last = (layer.weight.detach().double().square() for layer in (model[0], model[2]))
    size = (first.sum(1) / first.sum() + last.sum(0) / last.sum()).numpy()
    kept = np.sort(np.argsort(size)[-small[0].out_features :])
    assert small[0].out_features == 4
    assert torch.equal(small[0].weight, model[0].weight[kept])
    assert torch.equal(small[0].bias, model[0].bias[kept])
    assert torch.equal(small[2].weight, model[2].weight[:, kept])


class Odd(nn.Module):
    """Concatenation, a grouped convolution and a layer that runs twice: their channels stay."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.grouped, self.twice = nn.Conv2d(16, 16, 3, groups=4), nn.Conv2d(16, 16, 1)
        self.free, self.last = nn.Conv2d(16, 12, 1), nn.Linear(12 * 9, 4)

    def forward(self, x):
        x = self.twice(self.twice(self.grouped(torch.cat([self.first(x), self.second(x)], 1))))
        return self.last(torch.flatten(F.max_pool2d(F.relu(self.free(x) * 0.5), 4), 1))


def test_what_is_not_understood_is_left_alone():
    model = Odd().eval()
    graph = channel_graph(model, SHAPE)
    assert graph.sizes == (12,)
    small = prune_channels(model, SHAPE, budget=count(model, SHAPE).parameters - 200)
    target = Channels(SHAPE, budget=count(model, SHAPE).parameters - 200)
    target.choose(model, target.weights(model))
    with torch.no_grad():
        torch.testing.assert_close(small(inputs()), masked(model, target)(inputs()), rtol=1e-5, atol=1e-5)
    assert small.free.out_channels < 12
    assert small.twice.out_channels == 16


def test_the_projection_is_zero_exactly_where_channels_go():
    model = network("resnet18")
    target = Channels(SHAPE, ratio=4)
    weights = {name: weight.detach() for name, weight in target.weights(model).items()}
    target.choose(model, weights)
    projected = target.project(weights)
    for layer in target.graph(model).layers:
        weight, made = (values[f"{layer.name}.weight"] for values in (weights, projected))
        rows = torch.ones(layer.shape[0], dtype=torch.bool) if layer.writes is None else target.masks[layer.writes]
        columns = torch.ones(layer.shape[1], dtype=torch.bool) if layer.reads is None else target.masks[layer.reads]
        kept = rows[:, None] & columns
        assert torch.equal(made, torch.where(kept[..., None, None] if weight.ndim == 4 else kept, weight, 0.0))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


def test_bad_input_is_said_in_a_sentence():
    with pytest.raises(InputError, match=r"smallest possible one by removing channels is [\d,]+"):
        prune_channels(network("smallcnn"), SHAPE, ratio=10000)
    with pytest.raises(InputError, match=r"torch\.fx does not trace"):
        prune_channels(Branching(), (4,), ratio=2)
    with pytest.raises(InputError, match="nothing to compress"):
        prune_channels(nn.Sequential(nn.Linear(4, 2)), (4,), ratio=2)
