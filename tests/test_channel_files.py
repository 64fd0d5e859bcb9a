"""Files of models whose channels were removed come back bit by bit, into the original architecture or not at all."""

from __future__ import annotations

import json

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

import convexadv as ca
from convexadv.compression import (
    allocate,
    factorise_model,
    fold_batch_norm,
    load_factorised,
    merge_model,
    prune_channels,
    save_factorised,
)
from convexadv.errors import FileFormatError
from convexadv.model_files import build
from convexadv.training import Settings

SHAPE = (3, 16, 16)


def network(name: str = "preactresnet18", seed: int = 0, width: int = 8) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(name, width=width, channels=3, **({"side": 16} if name == "smallcnn" else {}))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
        return model


def inputs() -> torch.Tensor:
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))


CHANGES = {
    "pruned": lambda small: small,
    "pruned twice": lambda small: prune_channels(small, SHAPE, ratio=2),
    "folded": fold_batch_norm,
    "factored": lambda small: factorise_model(small, allocate(small, ratio=1.5)),
    "factored and folded": lambda small: fold_batch_norm(factorise_model(small, allocate(small, ratio=1.5))),
    "merged": lambda small: merge_model(factorise_model(small, allocate(small, ratio=1.5))),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["preactresnet18", "resnet18", "smallcnn"])
def test_round_trip(tmp_path, name, change):
    small = CHANGES[change](prune_channels(network(name), SHAPE, ratio=4)).eval()
    save_factorised(small, tmp_path / "small", note="kept")
    original = network(name, seed=5)
    again, metadata = load_factorised(tmp_path / "small", original)
    assert metadata == {"note": "kept"}
    assert str(again) == str(small)
    assert torch.equal(again(inputs()), small(inputs()))
    assert str(original) == str(network(name))
    save_factorised(again, tmp_path / "twice", note="kept")
    assert (tmp_path / "small").read_bytes() == (tmp_path / "twice").read_bytes()


def test_what_compress_makes_with_admm_trains_on_after_reading(tmp_path):
    model, data = network("resnet18"), (torch.rand(32, *SHAPE), torch.arange(32) % 2)
    made = ca.compress(model, data, 4, epochs=(1, 1), method="channels", settings=Settings(batch_size=16))
    save_factorised(made.model, tmp_path / "small")
    again, _ = load_factorised(tmp_path / "small", model)
    torch.testing.assert_close(again(inputs()), made.model(inputs()))
    again.train()(inputs()).sum().backward()
    assert all(value.grad is not None for value in again.parameters())


def test_a_model_without_removed_channels_has_a_header_as_before(tmp_path):
    save_factorised(network(), tmp_path / "whole")
    with safetensors.safe_open(tmp_path / "whole", "pt") as opened:
        assert set(json.loads(opened.metadata()["convexadv"])["settings"]) == {"layers", "folded"}


@pytest.fixture
def file(tmp_path):
    save_factorised(prune_channels(network(), SHAPE, ratio=4), tmp_path / "small")
    return tmp_path / "small"


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: network(width=16), "made from one of the sizes"),
        (lambda: network("resnet18"), "must have a layer or norm|made from|no tensor|does not have"),
        (lambda: nn.Sequential(nn.Linear(4, 4)), "must have a layer or norm that can lose some"),
    ],
)
def test_models_that_the_file_does_not_fit(file, model, sentence):
    with pytest.raises(FileFormatError, match=f"does not fit the given .*({sentence})"):
        load_factorised(file, model())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files(file, share):
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FileFormatError, match="truncated or not a safetensors file"):
        load_factorised(file, network())


@pytest.mark.parametrize(
    ("channels", "sentence"),
    [
        (3, "items"),
        ({"head": 3}, "must be two lists"),
        ({"head": [[10, 64]]}, "must be two lists"),
        ({"head": [[10, 64], 3]}, "what is left of"),
        ({"head": [[10, 64], [10]]}, "what is left of"),
        ({"head": [[10, 64], [10, 65]]}, "what is left of"),
        ({"head": [[10, 64], [10, 0]]}, "what is left of"),
        ({"head": [[10, 64], [10, True]]}, "what is left of"),
        ({"head": [[10, 32], [10, 3]]}, "made from one of the sizes"),
        ({"features": [[10, 64], [10, 3]]}, "must have a layer or norm that can lose some"),
        ({}, "is needed"),
    ],
)
def test_damaged_sizes(file, channels, sentence):
    with safetensors.safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["convexadv"])
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    header["settings"]["channels"] = channels
    safetensors.torch.save_file(tensors, file, {"convexadv": json.dumps(header)})
    with pytest.raises(FileFormatError, match=sentence):
        load_factorised(file, network())
