"""``convexadv compress``: what it writes, how it resumes, and how it refuses."""

import json
import sys

import pytest
import torch

from convexadv.cli import main
from convexadv.compression import count, load_factorised

CODE = """
import torch
from convexadv.models import SmallCNN

def small():
    torch.manual_seed(0)
    return SmallCNN(width=8, side=8)
"""
TRAINING = ("--radius", 0.5, "--bounds", 0, 16, "--epochs", 1, 1, "--learning-rate", 0.01)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "nets_to_compress.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("nets_to_compress", None)


def run(capsys, *arguments):
    words = ("compress", "digits", "--model", "nets_to_compress:small", *arguments)
    code = main([str(argument) for argument in words])
    return code, *capsys.readouterr()


def test_model_and_report_are_written_and_a_resumed_run_gives_the_same(folder, capsys):
    code, out, err = run(
        capsys, *TRAINING, "--ratio", 3, "--report", "r.json", "--checkpoint", "state", "--keep", "head.2"
    )
    assert (code, err) == (0, "")
    assert "whole model" in out
    report = json.loads((folder / "r.json").read_text())
    before, after = report["parameters"]
    assert after <= before // 3
    from nets_to_compress import small

    model, metadata = load_factorised("compact.safetensors", small())
    assert metadata["method"] == "cstar"
    assert count(model, (1, 8, 8)).parameters == after
    assert type(model.head[2]) is torch.nn.Linear
    code, out, _ = run(
        capsys, *TRAINING, "--ratio", 3, "--checkpoint", "state", "--resume", "--out", "again.safetensors", "--json",
        "--keep", "head.2",
    )  # fmt: skip
    assert json.loads(out)["history"] == report["history"]
    again, _ = load_factorised("again.safetensors", small())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_budget_that_is_too_small_is_one_line_and_nothing_is_written(folder, capsys):
    code, out, err = run(capsys, *TRAINING, "--ratio", 1000)
    assert (code, out) == (2, "")
    assert "the smallest possible one is" in err
    assert err.count("\n") == 1
    assert not (folder / "compact.safetensors").exists()


def test_inputs_beyond_the_bounds_are_refused(folder, capsys):
    """The attack would move them into the box, and the training see nothing else."""
    code, out, err = run(capsys, "--ratio", 3, "--epochs", 1, 1)
    assert (code, out) == (2, "")
    assert "the inputs go from 0 to 16, beyond the bounds 0 and 1" in err
    assert list(folder.glob("*.safetensors")) == []


def test_a_loss_that_is_not_finite_is_one_line(folder, capsys):
    code, _, err = run(
        capsys, "--radius", 0.5, "--bounds", 0, 16, "--epochs", 1, 1, "--learning-rate", 1e6, "--ratio", 3
    )
    assert code == 8
    assert "not finite" in err
    assert err.count("\n") == 1
