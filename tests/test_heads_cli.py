"""``convexadv robustify``: what it writes, and how it refuses."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import convexadv as ca
from convexadv.cli import main
from convexadv.compression import factorise_model, save_factorised
from convexadv.heads import HeadedModel, find_tap
from convexadv.model_files import build, save_model

CODE = """
import torch

def small(width=8):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 4 * width), torch.nn.ReLU(), torch.nn.Linear(4 * width, width),
        torch.nn.ReLU(), torch.nn.Linear(width, 10),
    )

def nothing():
    return 3

def broken():
    raise ZeroDivisionError("no layers")

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "nets_of_test.py").write_text(CODE)
    (tmp_path / "broken_at_import.py").write_text("def f(:")
    import nets_of_test

    torch.save(nets_of_test.small().state_dict(), "small.pt")
    save_file(nets_of_test.small().state_dict(), "small.safetensors")
    yield tmp_path
    import sys

    del sys.modules["nets_of_test"]


def run(capsys, *arguments):
    code = main([str(argument) for argument in ("robustify", *arguments)])
    return code, *capsys.readouterr()


def test_head_model_and_report_are_written_and_fit_together(folder, capsys):
    code, out, err = run(
        capsys, "digits", "--model", "nets_of_test:small", "--weights", "small.pt", "--beta", 0.5, 0.3, "--rows", 100,
        "--attack-radius", 0.5, "--bounds", 0, 16, "--steps", 3, "--validation", 0.05, "--out-model", "all.safetensors",
        "--report", "report.json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "input of 3 (32 features, in place of 3 and 5)" in out
    report = json.loads((folder / "report.json").read_text())
    assert report["gap"] <= 1e-3
    assert [row["beta_share"] for row in report["candidates"]] == [0.5, 0.3]
    head = ca.load("head.safetensors")
    import nets_of_test

    model, x = nets_of_test.small(), torch.rand(5, 1, 8, 8) * 16
    headed = HeadedModel(model, head, find_tap(model, x), x).eval()
    before = headed(x)
    headed.load_state_dict(load_file("all.safetensors"))
    assert torch.equal(headed(x), before)
    assert head.metadata["data"] == "digits"


def test_json_and_exit_code_of_a_gap_that_is_not_reached(folder, capsys):
    common = ("digits", "--model", "nets_of_test:small", "--weights", "small.safetensors", "--rows", 200, "--json")
    code, out, err = run(capsys, *common, "--beta", 0.5, "--validation", 0)
    assert (code, err) == (0, "")
    assert json.loads(out)["after"] == {"clean": None, "attacked": None}
    code, out, _ = run(capsys, *common, "--beta", 0.001, "--time-limit", 0.01, "--tol", 1e-9)
    assert code == 3
    assert json.loads(out)["chosen"]["status"] != "optimal"


def test_files_that_say_their_architecture_need_no_other(folder, capsys):
    settings = {"width": 4, "side": 8}
    save_model(build("smallcnn", **settings), "cnn.safetensors", "smallcnn", settings)
    code, _, err = run(
        capsys, "digits", "--weights", "cnn.safetensors", "--rows", 60, "--beta", 0.6, "--validation", 0,
        "--head", "gated-relu", "--gates", 3,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert isinstance(ca.load("head.safetensors"), ca.GatedReLUNetwork)


def test_a_compressed_model_gets_a_head(folder, capsys):
    import nets_of_test

    compact = factorise_model(nets_of_test.small(), {"1": 6, "3": 5})
    save_factorised(compact, "compact.safetensors")
    common = ("digits", "--weights", "compact.safetensors", "--beta", 0.6, "--rows", 60, "--validation", 0, "--at", "1")
    code, _, err = run(capsys, *common, "--model", "nets_of_test:small", "--out-model", "all.safetensors")
    assert (code, err) == (0, "")
    weights = load_file("all.safetensors")
    for name, value in compact.state_dict().items():
        if name.startswith("1."):
            assert torch.equal(weights[f"backbone.model.{name}"], value)
    code, _, err = run(capsys, *common, "--model", "nets_of_test:small", "--settings", '{"width": 4}')
    assert code == 2
    assert "does not fit the given Sequential" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digits",), "--model or --weights is needed"),
        (("digits", "--model", "nets_of_test:missing"), "cannot be imported"),
        (("digits", "--model", "no_such_module:f"), "cannot be imported"),
        (("digits", "--model", "broken_at_import:f"), "cannot be imported: SyntaxError"),
        (("digits", "--model", "nets_of_test:number"), "is of type int; a function"),
        (
            ("digits", "--model", "nets_of_test:broken"),
            "--model nets_of_test:broken, called with {}, raised ZeroDivisionError: no layers;",
        ),
        (("digits", "--model", "nets_of_test:nothing"), "returned an object of type int"),
        (
            ("digits", "--model", "nets_of_test:small", "--settings", '{"depth": 2}'),
            "called with {'depth': 2}, raised TypeError",
        ),
        (("digits", "--model", "nets_of_test:small", "--settings", "[1]"), "no JSON object"),
        (("digits", "--model", "nets_of_test:small", "--settings", "{"), "is no JSON"),
        (("digits", "--model", "vgg", "--weights", "small.pt"), "there is no architecture"),
        (("digits", "--model", "smallcnn"), "--model smallcnn alone has random weights"),
        (("digits", "--model", "nets_of_test:small", "--weights", "missing.pt"), "cannot be read"),
        (
            ("digits", "--model", "nets_of_test:small", "--weights", "nets_of_test.py"),
            "truncated or no state dictionary",
        ),
        (
            ("digits", "--model", "nets_of_test:small", "--settings", '{"width": 4}', "--weights", "small.pt"),
            "does not fit",
        ),
        (
            ("digits", "--model", "nets_of_test:small", "--shape", "3", "8"),
            "does not fit the rows, which have 64 features",
        ),
        (("digits", "--model", "nets_of_test:small", "--at", "9"), "names no layer"),
        (("digits", "--model", "nets_of_test:small", "--beta", "0.1", "0.2"), "needs attack_radius"),
        (("digits", "--model", "nets_of_test:small", "--out", "none/head.safetensors"), "does not exist"),
        (("digits", "--weights", "small.safetensors", "--out", "small.safetensors"), "the file that is read"),
        (("diabetes", "--model", "nets_of_test:small"), "the labels have"),
    ],
)
def test_wrong_arguments_are_one_line(folder, capsys, arguments, words):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert not (folder / "head.safetensors").exists()


def test_weights_that_hold_code_are_not_run(folder, capsys):
    class Evil:
        def __reduce__(self):
            return (open, ("ran", "w"))

    torch.save({"weight": Evil()}, "evil.pt")
    code, _, err = run(capsys, "digits", "--model", "nets_of_test:small", "--weights", "evil.pt")
    assert code == 2
    assert "no state dictionary of tensors" in err
    assert not (folder / "ran").exists()


def test_help_teaches(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "package.module:function" in out
    assert "convexadv robustify" in out
    assert max(map(len, out.splitlines())) <= 120
