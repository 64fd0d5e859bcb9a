"""Files of compressed models come back bit by bit or say in one sentence why not; reports and latencies."""

from __future__ import annotations

import json
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

import convexadv as ca
from convexadv.compression.budget import allocate
from convexadv.compression.convert import factorise_model, merge_model
from convexadv.compression.counting import count
from convexadv.compression.files import load_factorised, save_factorised
from convexadv.compression.folding import fold_batch_norm
from convexadv.compression.latency import measure_latency
from convexadv.compression.layers import LowRankLinear, TuckerConv2d
from convexadv.compression.report import compression_report
from convexadv.errors import FileFormatError, InputError

SHAPE = (3, 8, 8)


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.short = nn.Conv2d(width, width, 1, stride=2, bias=False)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = self.norm1(self.conv1(x)).relu()
        return self.head((self.conv2(x) + self.short(x)).mean((2, 3)))


RANKS = {"conv1": (4, 3), "conv2": (3, 5), "short": 2, "head": 2}


def net(seed=0, **settings):
    torch.manual_seed(seed)
    return Net(**settings)


def inputs():
    return torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("absorb", [True, False])
@pytest.mark.parametrize("folded", [True, False])
def test_round_trip(tmp_path, absorb, folded):
    path = tmp_path / "small.safetensors"
    made = factorise_model(net(), RANKS, absorb=absorb)
    made.train()(inputs())
    made = (fold_batch_norm(made, inputs()) if folded else made).eval()
    save_factorised(made, path, note="kept", history=[1, 2.5])
    again, metadata = load_factorised(path, net(seed=5).eval())
    assert metadata == {"note": "kept", "history": [1, 2.5]}
    assert torch.equal(again(inputs()), made(inputs()))
    assert str(again) == str(made)
    assert set(again.state_dict()) == set(made.state_dict())
    save_factorised(again, tmp_path / "twice.safetensors", note="kept", history=[1, 2.5])
    assert path.read_bytes() == (tmp_path / "twice.safetensors").read_bytes()


def test_an_uncompressed_model_has_a_file_too(tmp_path):
    path = tmp_path / "whole.safetensors"
    save_factorised(net(), path)
    again, _ = load_factorised(path, net(seed=1))
    torch.testing.assert_close(again.eval()(inputs()), net().eval()(inputs()))


def test_files_shrink_with_the_ranks(tmp_path):
    model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 3))
    save_factorised(model, tmp_path / "before")
    save_factorised(factorise_model(model, allocate(model, ratio=8)), tmp_path / "after")
    assert 8 * (tmp_path / "after").stat().st_size < 1.1 * (tmp_path / "before").stat().st_size


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.safetensors"
    save_factorised(factorise_model(net(), RANKS), path)
    return path


def rewritten(path, **settings):
    with safetensors.safe_open(path, "pt") as opened:
        header = json.loads(opened.metadata()["convexadv"])
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    header["settings"].update(settings)
    safetensors.torch.save_file(tensors, path, {"convexadv": json.dumps(header)})


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files(file, share):
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FileFormatError, match="truncated or not a safetensors file"):
        load_factorised(file, net())


def test_foreign_files(tmp_path, file):
    path = tmp_path / "foreign"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(FileFormatError, match="not a safetensors file"):
        load_factorised(path, net())
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(FileFormatError, match="not a model file of convexadv"):
        load_factorised(path, net())
    ca.save(ca.ReLUNetwork([[1.0]], [1.0]), path)
    with pytest.raises(FileFormatError, match="holds a 'ReLUNetwork'"):
        load_factorised(path, net())
    with pytest.raises(FileFormatError, match="holds a 'FactorisedModel'"):
        ca.load(file)
    with pytest.raises(InputError, match="there is no model file"):
        load_factorised(tmp_path / "nothing", net())


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: net(width=6), "'conv1.outer.weight' is"),
        (lambda: nn.Sequential(nn.Linear(4, 4)), "factored layer 'conv1'"),
        (lambda: net().double(), "float32, and"),
        (lambda: factorise_model(net(), {"head": 2}), "factored layer 'head'"),
    ],
)
def test_models_that_the_file_does_not_fit(file, model, sentence):
    with pytest.raises(FileFormatError, match=f"does not fit the given .*{sentence}"):
        load_factorised(file, model())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"layers": {"conv1": {"ranks": [400, 3], "absorb": True}}}, "ranks"),
        ({"layers": {"conv1": {"ranks": "eval", "absorb": True}}}, "two integer ranks"),
        ({"layers": {"norm1": {"ranks": [2, 2], "absorb": True}}}, "must have a Conv2d or Linear"),
        ({"layers": {}}, "no tensor 'conv1.weight'"),
        ({"layers": []}, "items"),
        ({"layers": {"conv1": {}}}, "'ranks' is missing"),
        ({"folded": ["conv1"]}, "must have a BatchNorm2d"),
        ({"folded": ["norm1"]}, "which the model does not have"),
        ({"folded": 3}, "not iterable"),
    ],
)
def test_damaged_structure(file, settings, sentence):
    rewritten(file, **settings)
    with pytest.raises(FileFormatError, match=sentence):
        load_factorised(file, net())


def test_a_failed_write_leaves_the_old_file(file):
    before = file.read_bytes()
    with pytest.raises(InputError, match="metadata must be JSON"):
        save_factorised(net(), file, bad=object())
    assert file.read_bytes() == before


def test_models_are_converted_both_ways():
    model = net().eval()
    made = factorise_model(model, RANKS)
    assert isinstance(made.conv2, TuckerConv2d)
    assert isinstance(made.head, LowRankLinear)
    assert isinstance(model.conv2, nn.Conv2d)
    back = merge_model(made)
    assert str(back) == str(model)
    torch.testing.assert_close(back(inputs()), made(inputs()), rtol=1e-5, atol=1e-5)
    full = factorise_model(model, {"conv1": (8, 3), "conv2": (8, 8), "short": 8, "head": 4}, absorb=False)
    torch.testing.assert_close(full(inputs()), model(inputs()), rtol=1e-5, atol=1e-5)


def test_a_layer_with_two_names_is_replaced_under_both():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model.append(model[0])
    made = factorise_model(model, {"0": 2})
    assert made[0] is made[2]


@pytest.mark.parametrize(("ranks", "sentence"), [({"norm1": 2}, "'norm1'"), ({"conv2": (20, 2)}, "layer conv2: ")])
def test_ranks_that_do_not_fit_name_the_layer(ranks, sentence):
    with pytest.raises(InputError, match=sentence):
        factorise_model(net(), ranks)


def test_report_agrees_with_counts_and_weights():
    model = net()
    made = factorise_model(model, {"conv2": (3, 5), "head": 2})
    report = compression_report(model, made, SHAPE)
    assert report.parameters == (count(model, SHAPE).parameters, count(made, SHAPE).parameters)
    assert report.flops == (count(model, SHAPE).flops, count(made, SHAPE).flops)
    by_name = {layer.name: layer for layer in report.layers}
    assert list(by_name) == ["conv1", "conv2", "short", "head"]
    assert by_name["conv1"].ranks == "dense"
    assert by_name["conv1"].energy_kept == 1.0
    values = torch.linalg.svdvals(model.head.weight.detach().double()).square()
    assert by_name["head"].energy_kept == pytest.approx(float(values[:2].sum() / values.sum()), abs=1e-6)
    assert by_name["conv2"].parameters == (8 * 8 * 9 + 8, 8 * 5 + 9 * 15 + 3 * 8 + 8)
    assert by_name["conv2"].flops == (8 * 8 * 9 * 16, 8 * 5 * 64 + 9 * 15 * 16 + 3 * 8 * 16)
    assert report.latency is None
    assert json.loads(report.to_json())["layers"][1]["ranks"] == [3, 5]
    lines = report.table().splitlines()
    assert len(lines) == 2 + 4 + 1
    assert {line.count("|") for line in lines} == {6}
    assert "| conv2 | 3, 5 |" in report.table()


def test_report_with_latency():
    model = net()
    report = compression_report(model, factorise_model(model, RANKS), SHAPE, latency=True, repeats=3)
    assert report.threads == 1
    assert min(*report.latency, *(value for layer in report.layers for value in layer.latency)) > 0
    assert {line.count("|") for line in report.table().splitlines()} == {7}
    assert model.training


def test_report_of_another_model():
    with pytest.raises(InputError, match="no layer conv1"):
        compression_report(net(), nn.Sequential(nn.Conv2d(3, 2, 3)), SHAPE)


def test_models_run_in_turn_with_the_threads_asked_for():
    order = []
    threads = torch.get_num_threads()

    def model(name):
        return lambda x: order.append((name, torch.get_num_threads(), torch.is_grad_enabled()))

    found = measure_latency({"a": model("a"), "b": model("b")}, torch.zeros(1), repeats=4, threads=2)
    assert torch.get_num_threads() == threads
    assert len(found.seconds["a"]) == len(found.seconds["b"]) == 4
    assert [name for name, _, _ in order] == list("baab") * 3 + list("ba")
    assert {each[1:] for each in order} == {(2, False)}
    assert found.speedup("a", "a") == 1.0
    assert found.median("a") > 0
    with pytest.raises(InputError, match="at least one model"):
        measure_latency({}, torch.zeros(1))


def test_energy_kept_is_negative_where_a_layer_moved_by_more_than_its_length():
    model = nn.Sequential(nn.Linear(4, 3))
    turned = nn.Sequential(nn.Linear(4, 3))
    with torch.no_grad():
        turned[0].weight.copy_(-model[0].weight)  # ||W - W'||^2 = 4 ||W||^2
    assert compression_report(model, turned, (4,)).layers[0].energy_kept == pytest.approx(-3.0)
