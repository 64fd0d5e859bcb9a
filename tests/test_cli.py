"""The command line: what the verbs do, what they write, and how they refuse."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

import convexadv as ca
from convexadv.cli import main
from convexadv.cli.data import fingerprint, scaling_of, split_rows
from convexadv.cli.output import table, to_json
from convexadv.cli.progress import PartsBar, Progress
from convexadv.datasets import read_table
from convexadv.networks.units import in_units
from convexadv.solvers import Record, available_solvers
from convexadv.verification import pack, unpack

RADIUS = 0.05


def write_table(path, n=60, d=3, seed=0, labels=("no", "yes")):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, d)) * np.arange(1, d + 1) + 5.0
    score = (X[:, 0] - 5.0) + 0.3 * (X[:, 1] - 5.0) + 0.3 * generator.normal(size=n)
    y = np.array(labels)[np.digitize(score, np.quantile(score, np.linspace(0, 1, len(labels) + 1)[1:-1]))]
    names = [f"x{j}" for j in range(d)]
    rows = [",".join([*(repr(float(value)) for value in row), label]) for row, label in zip(X, y, strict=True)]
    path.write_text("\n".join([",".join([*names, "label"]), *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table, a model of it with held-out rows, and what `fit` said."""
    place = tmp_path_factory.mktemp("cli")
    write_table(place / "table.csv")
    arguments = ["--radius", str(RADIUS), "--beta", "0.01", "--test-fraction", "0.25", "--seed", "3"]
    old = os.getcwd()
    os.chdir(place)
    try:
        code = main(["fit", "table.csv", *arguments, "--out", "model.safetensors"])
    finally:
        os.chdir(old)
    assert code == 0
    return place


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    """An empty working folder; data and model are elsewhere."""
    monkeypatch.chdir(tmp_path)
    return folder


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def run_json(capsys, *arguments):
    code, out, err = run(capsys, *arguments, "--json")
    assert err == ""
    return code, json.loads(out)


# ---------------------------------------------------------------------------------------------- fit


def test_fit_saves_the_network_that_was_certified(here, capsys):
    """The saved network, back in scaled units, has the objective that was reported; the bound is below it."""
    code, report = run_json(capsys, "fit", here / "table.csv", "--radius", RADIUS, "--out", "m.safetensors")
    assert code == 0
    assert report["certified"]
    assert report["status"] == "optimal"
    network = ca.load("m.safetensors")
    data = read_table(here / "table.csv")
    inner = in_units(network, network.shift, network.scale)
    Z = (data.X - network.shift.numpy()) / network.scale.numpy()
    assert np.linalg.norm(Z, axis=1).max() == pytest.approx(1.0)
    problem = ca.PolynomialProblem(Z, data.y, radius=RADIUS, beta=0.01)
    objective = problem.objective(inner)
    assert objective == pytest.approx(report["objective"], rel=1e-9)
    assert report["lower_bound"] <= objective <= report["lower_bound"] + 1.1e-4 * objective
    assert report["train"]["accuracy"] == pytest.approx(np.mean(network.predict(data.X) == data.y))
    assert report["test"] is None


def test_fit_remembers_its_settings_and_data(here):
    data = read_table(here / "table.csv")
    metadata = ca.load(here / "model.safetensors").metadata
    assert metadata["version"] == ca.__version__
    assert metadata["settings"]["radius"] == RADIUS
    assert metadata["settings"]["scaling"] == "unit"
    assert metadata["status"] == "optimal"
    assert metadata["lower_bound"] <= metadata["objective"]
    assert metadata["data"]["sha256"] == fingerprint(data.X, data.y)
    assert metadata["data"]["train_rows"] + metadata["data"]["test_rows"] == 60


def test_fit_prints_a_table_and_draws(here, capsys, tmp_path):
    write_table(tmp_path / "two.csv", d=2)
    code, out, err = run(
        capsys,
        "fit",
        "two.csv",
        "--radius",
        "0.1",
        "--plot",
        "gap.png",
        "--boundary",
        "edge.pdf",
        "--test-fraction",
        "0.3",
    )
    assert (code, err) == (0, "")
    for word in (
        "objective",
        "lower bound",
        "gap",
        "train",
        "test",
        "model.safetensors",
        "gap.png",
        "edge.pdf",
    ):
        assert word in out
    assert (tmp_path / "gap.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "edge.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    "options",
    [
        ["--loss", "logistic", "--scaling", "standard"],
        ["--loss", "squared_hinge", "--clean-weight", "0.5", "--radius", "0.02"],
        ["--norm", "linf", "--radius", "0.01", "--scaling", "none", "--activation", "0.1", "-0.4", "0"],
    ],
)
def test_fit_takes_every_setting_of_the_problem(here, capsys, options):
    code, report = run_json(capsys, "fit", here / "table.csv", *options, "--tol", "1e-3")
    assert code == 0
    assert report["gap"] <= 1e-3
    network = ca.load("model.safetensors")
    if "--activation" in options:
        assert network.activation == (0.1, -0.4, 0.0)
    if "none" in options:
        assert (network.shift == 0).all()
        assert (network.scale == 1).all()


@pytest.mark.parametrize("scheme", ["ovr", "joint"])
def test_fit_three_classes(here, capsys, tmp_path, scheme):
    write_table(tmp_path / "three.csv", labels=("a", "b", "c"))
    code, report = run_json(capsys, "fit", "three.csv", "--multiclass", scheme, "--beta", "0.003")
    assert code == 0
    assert ca.load("model.safetensors").classes.tolist() == ["a", "b", "c"]
    assert report["train"]["accuracy"] > 0.6


def test_fit_and_evaluate_values(here, capsys, tmp_path):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(50, 2))
    np.savez(tmp_path / "values.npz", X=X, value=X[:, 0] - 0.5 * X[:, 1])
    code, report = run_json(capsys, "fit", "values.npz", "--target", "value", "--loss", "squared", "--beta", "1e-3")
    assert code == 0
    assert report["train"]["r2"] > 0.9
    code, seen = run_json(capsys, "evaluate", "model.safetensors", "values.npz", "--target", "value")
    assert code == 0
    assert seen["rmse"] == pytest.approx(report["train"]["rmse"])
    residual = ca.load("model.safetensors").scores(X) - (X[:, 0] - 0.5 * X[:, 1])
    assert seen["rmse"] == pytest.approx(np.sqrt(np.mean(residual**2)))


def test_fit_that_is_not_certified_is_written_with_code_3(here, capsys, tmp_path):
    code, report = run_json(capsys, "fit", here / "table.csv", "--max-iter", "1", "--tol", "1e-13")
    assert code == 3
    assert not report["certified"]
    assert (tmp_path / "model.safetensors").exists()
    code, out, _ = run(capsys, "fit", here / "table.csv", "--max-iter", "1", "--tol", "1e-13")
    assert code == 3
    assert "Not certified" in out
    assert "raise --max-iter" in out
    assert "warm_start" not in out


def test_fit_of_impossible_margins_is_code_4(here, capsys, tmp_path):
    """Two equal rows with different labels cannot both have a positive margin."""
    (tmp_path / "clash.csv").write_text("a,b,label\n1,0,u\n1,0,v\n0,1,u\n2,1,v\n")
    code, report = run_json(capsys, "fit", "clash.csv", "--hard-margin", "0.5", "--solver", "CLARABEL")
    assert code == 4
    assert report["status"] == "infeasible"
    assert report["files"]["model"] is None
    assert not (tmp_path / "model.safetensors").exists()


def test_a_solver_without_a_licence_is_code_5(here, capsys, tmp_path):
    if available_solvers()["MOSEK"] == "available":
        pytest.skip("MOSEK has a licence here")
    code, out, err = run(capsys, "fit", here / "table.csv", "--solver", "MOSEK")
    assert (code, out) == (5, "")
    assert err.count("\n") == 1
    assert "MOSEK" in err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(here, capsys, tmp_path, monkeypatch):
    import convexadv.cli.fit

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(convexadv.cli.fit, "solve", interrupted)
    code, out, err = run(capsys, "fit", here / "table.csv")
    assert (code, out, err) == (130, "", "convexadv: interrupted.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(here, capsys, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "model.safetensors")

    monkeypatch.setattr(os, "replace", full)
    code, out, err = run(capsys, "fit", here / "table.csv")
    assert (code, out) == (2, "")
    assert "No space left" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told_with_the_name_of_the_file(here, capsys):
    code, out, err = run(capsys, "fit", here / "table.csv", "--out", "/dev/full")
    assert (code, out, err) == (2, "", "convexadv: /dev/full: No space left on device.\n")


def test_a_folder_that_may_not_be_written_is_found_before_the_solve(here, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not os.path.isdir(path))  # root may write anywhere
    refuse(capsys, tmp_path, "may not be written", "fit", here / "table.csv")


# ------------------------------------------------------------------------------- evaluate and attack


def test_evaluate_bounds_enclose_the_truth(here, capsys):
    radii = ["0", "0.05", "0.2", "0.6"]
    for norm in ("l2", "linf"):
        code, report = run_json(
            capsys,
            "evaluate",
            here / "model.safetensors",
            here / "table.csv",
            "--norm",
            norm,
            "--radius",
            *radii,
        )
        assert code == 0
        certified, attacked, fgsm = (np.array(report[name]) for name in ("certified", "attacked", "fgsm"))
        assert (certified <= attacked + 1e-12).all()
        assert (attacked <= fgsm + 1e-12).all()
        assert (np.diff(certified) <= 0).all()
        assert certified[0] == attacked[0] == report["clean"]
        assert report["includes_training_rows"]


def test_certified_accuracy_agrees_with_a_search(here, capsys):
    """No random perturbation of a certified fraction more than that is found, in the model's scaled units."""
    network, data = ca.load(here / "model.safetensors"), read_table(here / "table.csv")
    radius = 0.1
    _, report = run_json(capsys, "evaluate", here / "model.safetensors", here / "table.csv", "--radius", radius)
    generator = np.random.default_rng(0)
    robust = network.predict(data.X) == data.y
    for _ in range(300):
        step = generator.normal(size=data.X.shape)
        step *= radius / np.linalg.norm(step, axis=1, keepdims=True)
        robust &= network.predict(data.X + step * network.scale.numpy()) == data.y
    assert report["certified"][0] <= robust.mean() + 1e-12
    assert report["certified"][0] >= robust.mean() - 0.1


def test_evaluate_finds_the_rows_that_fit_held_out(here, capsys):
    metadata = ca.load(here / "model.safetensors").metadata
    split = ["--test-fraction", "0.25", "--seed", "3"]
    _, report = run_json(capsys, "evaluate", here / "model.safetensors", here / "table.csv", *split)
    assert report["rows"] == metadata["data"]["test_rows"]
    assert report["clean"] == pytest.approx(metadata["test"]["accuracy"])
    assert not report["includes_training_rows"]
    assert report["radii"] == pytest.approx([RADIUS / 2, RADIUS, 2 * RADIUS])


def test_units_of_the_radius(here, capsys, tmp_path):
    """Without a scaling both units are one; with it they are not."""
    run(capsys, "fit", here / "table.csv", "--scaling", "none", "--radius", "0.3", "--out", "raw.safetensors")
    for model, equal in (("raw.safetensors", True), (here / "model.safetensors", False)):
        reports = [
            run_json(capsys, "evaluate", model, here / "table.csv", "--radius", "0.3", "--units", units)[1]
            for units in ("raw", "scaled")
        ]
        assert (reports[0]["certified"] == reports[1]["certified"]) == equal


def test_evaluate_prints_a_table(here, capsys):
    code, out, err = run(capsys, "evaluate", here / "model.safetensors", here / "table.csv")
    assert (code, err) == (0, "")
    for word in ("clean accuracy", "FGSM", "PGD", "certified", "scaled", "training"):
        assert word in out


@pytest.mark.parametrize(("method", "norm"), [("fgsm", "linf"), ("pgd", "l2")])
def test_attacked_points_stay_in_their_balls_and_can_be_read_back(here, capsys, method, norm):
    network, data = ca.load(here / "model.safetensors"), read_table(here / "table.csv")
    options = ["--radius", "0.2", "--norm", norm, "--method", method, "--out", "points.npz"]
    code, report = run_json(capsys, "attack", here / "model.safetensors", here / "table.csv", *options)
    assert code == 0
    with np.load("points.npz", allow_pickle=False) as archive:
        points, success = archive["X"], archive["success"]
        np.testing.assert_array_equal(archive["y"], data.y)
    delta = (points - data.X) / network.scale.numpy()
    assert np.linalg.norm(delta, axis=1, ord=2 if norm == "l2" else np.inf).max() <= 0.2 * (1 + 1e-9)
    np.testing.assert_array_equal(success, network.predict(points) != data.y)
    assert report["attacked_accuracy"] == pytest.approx(1 - success.mean())
    assert report["attacked_accuracy"] < report["clean_accuracy"]
    _, seen = run_json(capsys, "evaluate", here / "model.safetensors", "points.npz", "--radius", "0")
    assert seen["clean"] == pytest.approx(report["attacked_accuracy"])


# -------------------------------------------------------------------------- certify, verify, attack further


@pytest.fixture(scope="module")
def patterns(folder):
    """ReLU and gated ReLU models of the table."""
    old = os.getcwd()
    os.chdir(folder)
    try:
        for model in ("relu", "gated-relu"):
            options = ["--gates", "12", "--beta", "0.002", "--tol", "1e-2", "--out", f"{model}.safetensors"]
            assert main(["fit", "table.csv", "--model", model, *options]) == 0
    finally:
        os.chdir(old)
    return folder


@pytest.mark.parametrize("units", ["scaled", "raw"])
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("model", ["model", "relu", "gated-relu"])
def test_certify_writes_what_verify_proves(patterns, here, capsys, tmp_path, model, norm, units):
    source, radius = patterns / f"{model}.safetensors", 0.05 if units == "scaled" else 0.2
    options = ["--norm", norm, "--units", units, "--radius", radius, "--steps", "5", "--restarts", "1"]
    arguments = [source, patterns / "table.csv", *options, "--certificate", "proof.safetensors"]
    code, report = run_json(capsys, "certify", *arguments)
    assert code == 0
    assert report["clean"] >= report["attacked"][0] >= report["certified"][0] > 0.5
    assert report["unknown"][0] == report["attacked"][0] - report["certified"][0]
    code, verified = run_json(capsys, "verify", "proof.safetensors", "--model", source)
    assert code == 0
    assert verified["ok"]
    assert verified["model_matches"]
    assert verified["claimed"] == verified["verified"] == round(60 * report["certified"][0])
    assert verified["worst_bound"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"proof.safetensors"}


def test_branches_of_certify_can_be_verified(patterns, here, capsys):
    both = [patterns / "relu.safetensors", patterns / "table.csv", "--norm", "linf", "--radius", "0.1"]
    options = ["--complete", "--certificate", "proof.safetensors", "--method", "fgsm"]
    code, report = run_json(capsys, "certify", *both, *options)
    assert code == 0
    assert "branch and bound" in report["method"]
    code, verified = run_json(capsys, "verify", "proof.safetensors")
    assert code == 0
    assert verified["verified"] == round(60 * report["certified"][0])


def test_verify_tells_another_model_and_a_false_claim(patterns, here, capsys, tmp_path):
    options = ["--radius", "0.05", "--certificate", "proof.safetensors", "--method", "fgsm"]
    run(capsys, "certify", patterns / "model.safetensors", patterns / "table.csv", *options)
    code, out, err = run(capsys, "verify", "proof.safetensors")
    assert (code, err) == (0, "")
    assert "Every claim holds" in out
    code, out, _ = run(capsys, "verify", "proof.safetensors", "--model", patterns / "relu.safetensors")
    assert code == 6
    assert "another network" in out
    claim = unpack("proof.safetensors")
    (tmp_path / "false.safetensors").write_bytes(pack(replace(claim, lower_bound=claim.lower_bound + 1e-3)))
    code, report = run_json(capsys, "verify", "false.safetensors")
    assert code == 6
    assert not report["ok"]
    assert report["verified"] == report["bounds_that_hold"] == 0
    assert "NOT VERIFIED" in run(capsys, "verify", "false.safetensors")[1]
    content = (tmp_path / "proof.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-9])
    refuse(capsys, tmp_path, "truncated", "verify", "cut.safetensors")
    refuse(capsys, tmp_path, "no certificate file", "verify", "none.safetensors")
    refuse(capsys, tmp_path, "not a certificate", "verify", patterns / "model.safetensors")


def test_certify_prints_a_table_and_writes_its_files(patterns, here, capsys, tmp_path):
    options = [
        "--radius",
        "0.3",
        "0.1",
        "--norm",
        "linf",
        "--complete",
        "--time-limit",
        "20",
        "--method",
        "apgd",
        "fgsm",
    ]
    files = ["--json", "r.json", "--plot", "r.png", "--steps", "5", "--restarts", "1"]
    code, out, err = run(capsys, "certify", patterns / "relu.safetensors", patterns / "table.csv", *options, *files)
    assert (code, err) == (0, "")
    assert out.splitlines()[2].split() == ["radius", "apgd", "fgsm", "attacked", "certified", "unknown"]
    assert "branch and bound" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["radii"] == [0.3, 0.1]
    assert [f"{100 * value:.1f}" for value in report["certified"]] == [
        line.split()[4] for line in out.splitlines()[3:5]
    ]
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_certify_takes_the_radii_of_the_training(here, capsys):
    options = ["--method", "fgsm", "--test-fraction", "0.25", "--seed", "3"]
    code, report = run_json(capsys, "certify", here / "model.safetensors", here / "table.csv", *options)
    assert code == 0
    assert report["radii"] == pytest.approx([RADIUS / 2, RADIUS, 2 * RADIUS])
    assert report["certified"] == report["attacked"]  # l2, two classes: FGSM or not, both are close here
    assert report["rows"] < 60


def test_bounds_are_in_the_units_of_the_data(here, capsys):
    data = read_table(here / "table.csv")
    low, high = data.X.min(), data.X.max()
    options = ["--radius", "0.5", "--norm", "linf", "--bounds", repr(float(low)), repr(float(high))]
    both = [here / "model.safetensors", here / "table.csv"]
    options += ["--steps", "5"]
    assert run_json(capsys, "attack", *both, *options, "--out", "points.npz", "--method", "apgd")[0] == 0
    with np.load("points.npz", allow_pickle=False) as archive:
        assert archive["X"].min() >= low
        assert archive["X"].max() <= high
        assert abs(archive["X"] - data.X).max() > 0.1
    _, boxed = run_json(capsys, "certify", *both, *options, "--method", "fgsm")
    _, free = run_json(capsys, "certify", *both, *options[:4], "--method", "fgsm")
    assert boxed["certified"][0] >= free["certified"][0]
    assert boxed["attacked"][0] >= free["attacked"][0]


def test_attacks_toward_a_label_and_by_every_method(here, capsys):
    both = [here / "model.safetensors", here / "table.csv", "--radius", "0.3", "--steps", "5", "--restarts", "1"]
    network, data = ca.load(here / "model.safetensors"), read_table(here / "table.csv")
    code, report = run_json(capsys, "attack", *both, "--toward", "yes", "--out", "yes.npz")
    assert code == 0
    assert report["rows"] == (data.y == "no").sum()
    with np.load("yes.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["success"], network.predict(archive["X"]) == "yes")
        assert report["success"] == archive["success"].mean() > 0
    accuracies = {}
    for method in ("pgd", "apgd", "fgsm", "exact", "strongest"):
        code, report = run_json(capsys, "attack", *both, "--method", method, "--out", "points.npz")
        assert code == 0
        accuracies[method] = report["attacked_accuracy"]
    assert accuracies["strongest"] == accuracies["exact"] == min(accuracies.values())
    code, report = run_json(capsys, "attack", *both, "--toward", "each", "--out", "points.npz")
    assert (code, report["rows"]) == (0, 60)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["certify", "--method", "cw"], "'cw'"),
        (["certify", "--norm", "l7"], "l7"),
        (["certify", "--radius", "0.1", "0.2", "--certificate", "proof.safetensors"], "one radius"),
        (["certify", "--radius", "0.1", "--certificate", "p.safetensors", "--complete", "--norm", "linf"], "witnesses"),
        (["certify", "--radius", "0.1", "--certificate", "model.safetensors"], "replaced"),
        (["certify", "--plot", "a.bmp"], ".png"),
        (["certify", "--json", "no/r.json"], "exist"),
        (["certify", "--plot", "same.png", "--json", "same.png"], "two different"),
        (["certify", "--bounds", "9", "1"], "empty"),
        (["certify", "--bounds", "5", "6"], "leaves out"),
        (["certify", "--norm", "l1", "--complete", "--radius", "0.1"], "no complete search"),
        (["certify", "--time-limit", "0"], "above zero"),
        (["attack", "--radius", "0.1", "--toward", "maybe"], "maybe"),
        (["attack", "--radius", "0.1", "--method", "exact", "--norm", "linf"], "exact"),
        (["attack", "--radius", "0.1", "--bounds", "1", "2"], "leaves out"),
    ],
)
def test_certify_and_attack_refuse(models, capsys, arguments, words):
    verb, *options = arguments
    refuse(capsys, models, words, verb, "model.safetensors", "table.csv", *options)


# --------------------------------------------------------------------------------- solvers, demo, help


def test_solvers_names_every_solver(capsys):
    code, report = run_json(capsys, "solvers")
    assert code == 0
    assert set(report) >= {"torch", "SCS", "CLARABEL", "MOSEK"}
    assert report["torch"]["available"]
    code, out, _ = run(capsys, "solvers")
    assert code == 0
    assert all(name in out for name in report)


def test_demo_writes_everything(capsys, tmp_path):
    code, out, err = run(capsys, "demo", "--out", tmp_path / "demo", "--quick")
    assert (code, err) == (0, "")
    files = {path.name for path in (tmp_path / "demo").iterdir()}
    plots = {"convergence.png", "accuracy.png", "boundary.png"}
    assert files == plots | {"model.safetensors", "standard.safetensors", "table.txt", "table.json"}
    assert all(name in out for name in files)
    document = json.loads((tmp_path / "demo" / "table.json").read_text())
    for network in document["networks"].values():
        assert network["certified"]
        assert network["gap"] <= 1e-4
    curves = document["accuracy"]["l2"]
    for curve in curves.values():
        assert (np.array(curve["certified"]) <= np.array(curve["attacked"]) + 1e-12).all()
    assert curves["robust"]["certified"][-1] > curves["standard"]["certified"][-1]
    text = (tmp_path / "demo" / "table.txt").read_text()
    assert f"{100 * curves['robust']['certified'][-1]:.1f}" in text
    assert text in out


def test_demo_with_a_wrong_data_folder_makes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVEXADV_DATA", str(tmp_path / "missing"))
    refuse(capsys, tmp_path, "CONVEXADV_DATA", "demo", "--out", tmp_path / "demo")


@pytest.mark.parametrize("verb", ["fit", "evaluate", "attack", "solvers", "demo"])
def test_help_teaches(capsys, verb):
    code, out, _ = run(capsys, verb, "--help")
    assert code == 0
    assert "examples:" in out
    assert f"convexadv {verb}" in out
    assert "exit codes:" in out
    assert max(map(len, out.splitlines())) <= 120


def test_the_module_runs_and_help_loads_nothing_heavy():
    script = (
        "import sys, convexadv; a = {'torch', 'cvxpy'} & set(sys.modules)\n"
        "from convexadv.cli import main\n"
        "code = main(['--help']); b = {'torch', 'cvxpy', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(code or len(a) + len(b))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60).returncode == 0
    shown = subprocess.run([sys.executable, "-m", "convexadv", "--help"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0
    assert "demo" in shown.stdout
    wrong = subprocess.run([sys.executable, "-m", "convexadv", "fly"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-m", "convexadv", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# ---------------------------------------------------------------------------------------- bad input

BAD_FIT = {
    "nan": ({"bad.csv": "a,b,label\n1,nan,u\n2,3,v\n"}, ["bad.csv"], "missing"),
    "infinite": ({"bad.csv": "a,b,label\n1,inf,u\n2,3,v\n"}, ["bad.csv"], "finite"),
    "text feature": ({"bad.csv": "a,b,label\n1,red,u\n2,3,v\n"}, ["bad.csv"], "numbers"),
    "short row": ({"bad.csv": "a,b,label\n1,2,u\n2,v\n"}, ["bad.csv"], "cells"),
    "one class": ({"bad.csv": "a,b,label\n1,2,u\n2,3,u\n"}, ["bad.csv"], "class"),
    "no rows": ({"bad.csv": "a,b,label\n"}, ["bad.csv"], "no rows"),
    "no columns": ({"bad.csv": "label\nu\nv\n"}, ["bad.csv"], "one column"),
    "empty file": ({"bad.csv": ""}, ["bad.csv"], "empty"),
    "labels in a column of features": ({"bad.csv": "l,a\nu,1\nv,2\n"}, ["bad.csv"], "name the column as the target"),
    "a label a row": ({"bad.csv": "a,l\n" + "".join(f"{i},{i}\n" for i in range(21))}, ["bad.csv"], "--loss squared"),
    "labels with fractions": (
        {"bad.csv": "a,l\n" + "".join(f"{i},{i % 21 / 2}\n" for i in range(42))}, ["bad.csv"], "--loss squared",
    ),
    "text targets": ({"bad.csv": "a,label\n1,u\n2,v\n"}, ["bad.csv", "--loss", "squared"], "numeric"),
    "unknown target": ({}, ["table.csv", "--target", "colour"], "colour"),
    "target of a named set": ({}, ["wdbc", "--target", "x"], "--target"),
    "no such data": ({}, ["wdbd"], "did you mean wdbc"),
    "folder as data": ({}, ["."], "folder"),
    "real targets as labels": ({}, ["diabetes"], "--loss squared"),
    "archive lengths": (
        {"bad.npz": {"X": np.ones((3, 2)), "y": np.array([0, 1])}}, ["bad.npz"], "rows",
    ),
    "archive shape": ({"bad.npz": {"X": np.ones(3), "y": np.array([0, 1, 1])}}, ["bad.npz"], "(n, d)"),
    "archive without rows": (
        {"bad.npz": {"X": np.ones((0, 2)), "y": np.array([], int)}}, ["bad.npz"], "shape (0, 2)",
    ),
    "archive nan": (
        {"bad.npz": {"X": np.array([[1.0], [np.nan]]), "y": np.array([0, 1])}}, ["bad.npz"], "NaN",
    ),
    "truncated archive": ({"bad.npz": b"PK\x03\x04 not more"}, ["bad.npz"], "archive"),
    "negative radius": ({}, ["table.csv", "--radius", "-0.1"], "-0.1"),
    "radius nan": ({}, ["table.csv", "--radius", "nan"], "finite"),
    "radius text": ({}, ["table.csv", "--radius", "big"], "'big'"),
    "negative beta": ({}, ["table.csv", "--beta", "-1"], "-1"),
    "zero tolerance": ({}, ["table.csv", "--tol", "0"], "above zero"),
    "unknown loss": ({}, ["table.csv", "--loss", "absolute"], "'absolute'"),
    "unknown norm": ({}, ["table.csv", "--norm", "l7"], "'l7'"),
    "unknown solver": ({}, ["table.csv", "--solver", "SEDUMI"], "'SEDUMI'"),
    "unknown scheme": ({}, ["table.csv", "--multiclass", "all"], "'all'"),
    "unknown scaling": ({}, ["table.csv", "--scaling", "log"], "log"),
    "unknown model": ({}, ["table.csv", "--model", "cubic"], "cubic"),
    "unknown device": ({}, ["table.csv", "--device", "abacus"], "abacus"),
    "unknown option": ({}, ["table.csv", "--gamma", "1"], "--gamma 1 is no argument of fit; see `convexadv fit --help`"),
    "clean weight": ({}, ["table.csv", "--clean-weight", "2"], "2"),
    "constant activation": ({}, ["table.csv", "--activation", "0", "0", "1"], "constant"),
    "two coefficients": ({}, ["table.csv", "--activation", "0", "1"], "3 arguments"),
    "whole test": ({}, ["table.csv", "--test-fraction", "1"], "below 1"),
    "no test row": ({}, ["table.csv", "--test-fraction", "0.001"], "no row"),
    "no iterations": ({}, ["table.csv", "--max-iter", "0"], "1 or more"),
    "missing folder": ({}, ["table.csv", "--out", "missing/model.safetensors"], "does not exist"),
    "folder as model": ({"out": None}, ["table.csv", "--out", "out"], "folder"),
    "same file twice": ({}, ["table.csv", "--out", "a.png", "--plot", "a.png"], "two different"),
    "data as output": ({"t.csv": "a,l\n1,u\n2,v\n"}, ["t.csv", "--out", "t.csv"], "replaced"),
    "format of the plot": ({}, ["table.csv", "--plot", "gap.bmp"], ".png"),
    "boundary of three": ({}, ["table.csv", "--boundary", "edge.png"], "two features"),
}  # fmt: skip
BAD_MODEL = {
    "no such model": (["none.safetensors", "table.csv"], "none.safetensors"),
    "truncated model": (["cut.safetensors", "table.csv"], "truncated"),
    "another kind": (["foreign.safetensors", "table.csv"], "not a model file"),
    "newer version": (["newer.safetensors", "table.csv"], "version"),
    "text as model": (["table.csv", "table.csv"], "safetensors"),
    "other features": (["model.safetensors", "wdbc"], "3 features"),
    "foreign labels": (["model.safetensors", "labels.csv"], "'maybe'"),
    "numbers as labels": (["model.safetensors", "numbers.csv"], "classes"),
    "negative radius": (["model.safetensors", "table.csv", "--radius", "-1"], "-1"),
    "unknown norm": (["model.safetensors", "table.csv", "--radius", "1", "--norm", "l7"], "l7"),
    "no steps": (["model.safetensors", "table.csv", "--radius", "1", "--steps", "0"], "1 or more"),
    "values": (["values.safetensors", "table.csv", "--radius", "1"], "values"),
}


def refuse(capsys, place, words, *arguments):
    """Exit code 2, one line on stderr that holds the words, no file more or less."""
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("convexadv: ")
    assert err.count("\n") == 1
    assert len(err) < 400
    assert words in err
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def make(files):
    for name, content in files.items():
        if content is None:
            os.mkdir(name)
        elif isinstance(content, dict):
            np.savez(name, **content)
        else:
            with open(name, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("case", BAD_FIT)
def test_fit_refuses(here, capsys, tmp_path, case):
    files, arguments, words = BAD_FIT[case]
    make({**files, "table.csv": (here / "table.csv").read_bytes()})
    refuse(capsys, tmp_path, words, "fit", *arguments)


@pytest.fixture
def models(here, tmp_path):
    """A model in good order, and some that are not."""
    whole = (here / "model.safetensors").read_bytes()
    table_text = (here / "table.csv").read_text()
    rows = table_text.splitlines()
    make(
        {
            "table.csv": table_text,
            "model.safetensors": whole,
            "cut.safetensors": whole[: len(whole) // 2],
            "newer.safetensors": whole.replace(b'\\"format_version\\": 1,', b'\\"format_version\\": 9,'),
            "labels.csv": "\n".join([rows[0], *(row.rsplit(",", 1)[0] + ",maybe" for row in rows[1:])]),
            "numbers.csv": "\n".join([rows[0], *(row.rsplit(",", 1)[0] + ",1" for row in rows[1:])]),
        }
    )
    save_file({"weights": np.ones((2, 2))}, "foreign.safetensors")
    ca.save(ca.PolynomialNetwork(np.eye(3), np.ones(3)), "values.safetensors")
    return tmp_path


@pytest.mark.parametrize("case", BAD_MODEL)
@pytest.mark.parametrize("verb", ["evaluate", "attack", "certify"])
def test_evaluate_and_attack_refuse(models, capsys, verb, case):
    arguments, words = BAD_MODEL[case]
    if verb == "attack" and "--radius" not in arguments:
        arguments = [*arguments, "--radius", "0.1"]
    refuse(capsys, models, words, verb, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "VERB"),
        (["fly"], "'fly'"),
        (["fit"], "DATA"),
        (["evaluate", "model.safetensors"], "DATA"),
        (["attack", "model.safetensors", "table.csv"], "--radius"),
        (["attack", "model.safetensors", "table.csv", "--radius", "0.1", "--out", "points.csv"], ".npz"),
        (["attack", "model.safetensors", "table.csv", "--radius", "0.1", "--out", "no/points.npz"], "exist"),
        (["demo", "--out", "model.safetensors"], "not a folder"),
        (["demo", "--out", "missing/demo"], "does not exist"),
        (["demo", "--out", "taken"], "folder"),
    ],
)
def test_verbs_refuse(models, capsys, arguments, words):
    (models / "taken" / "table.txt").mkdir(parents=True)
    refuse(capsys, models, words, *arguments)


# ------------------------------------------------------------------------------------------- parts


class Terminal:
    """A stream that says it is a terminal."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_the_bar_shows_the_gap_to_a_person_only(monkeypatch, capsys):
    problem = ca.PolynomialProblem(np.eye(2), [0, 1])
    records = [Record(0.1, np.inf, 0.0, 0), Record(0.2, 0.5, 0.4, 2), Record(0.3, 0.5, 0.499999, 2)]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(problem, "fit", 1e-4) as progress:
        assert [progress(record) for record in records] == [False] * 3
    assert "gap 2.0e-01" in terminal.text
    assert "neurons 2" in terminal.text
    seen = terminal.text
    with Progress(problem, "fit", 1e-4, show=False) as progress:
        progress(records[1])
    assert terminal.text == seen
    assert capsys.readouterr().out == ""


def test_the_bar_of_parts_is_for_a_person_only(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with PartsBar("certify") as bar:
        bar("certificates", 0.1, 0, 2)
        bar("pgd", 0.1, 1, 2)
        bar("done", 0.1, 2, 2)
    assert "pgd, radius 0.1" in terminal.text
    assert "2/2" in terminal.text
    seen = terminal.text
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    with PartsBar("certify") as bar:
        bar("pgd", 0.1, 0, 1)
    assert terminal.text == seen


def test_milestones_are_lines_on_stdout(capsys):
    problem = ca.PolynomialProblem(np.eye(2), [0, 1])
    with Progress(problem, "fit", 1e-4, milestones=True) as progress:
        for lower in (0.3, 0.4, 0.49, 0.499, 0.49999):
            progress(Record(1.0, 0.5, lower, 2))
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_split_is_stratified_and_complete():
    y = np.repeat(["a", "b", "c"], [50, 30, 1])
    train, test = split_rows(y, 0.2, seed=1, classes=True)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(81))
    assert {label: int((y[test] == label).sum()) for label in "abc"} == {"a": 10, "b": 6, "c": 0}
    again = split_rows(y, 0.2, seed=1, classes=True)
    other = split_rows(y, 0.2, seed=2, classes=True)
    np.testing.assert_array_equal(test, again[1])
    assert (test != other[1]).any()


def test_scalings():
    X = np.random.default_rng(0).normal(size=(30, 3)) * [1, 10, 0] + [5, -3, 7]
    unit, standard, none = (scaling_of(kind, X).apply(X) for kind in ("unit", "standard", "none"))
    assert np.linalg.norm(unit, axis=1).max() == pytest.approx(1.0)
    np.testing.assert_allclose(standard.std(0), [1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-12)
    np.testing.assert_array_equal(none, X)


def test_the_fingerprint_is_that_of_the_values():
    X, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 1])
    assert fingerprint(X, y) == fingerprint(X.astype(np.float32)[:, ::1], y.astype(np.int8))
    assert fingerprint(X, y) != fingerprint(X.reshape(2, 3), y[:2])
    assert fingerprint(X, y) != fingerprint(X, y[::-1])


def test_json_has_no_infinity():
    assert json.loads(to_json({"gap": np.inf, "row": [np.float64(1.5), np.nan], 3: np.arange(2)})) == {
        "gap": None,
        "row": [1.5, None],
        "3": [0, 1],
    }


def test_tables_are_aligned():
    text = table(("name", "x"), [("a", "1.0"), ("long name", "10.0")])
    assert text.splitlines() == ["name          x", "---------  ----", "a           1.0", "long name  10.0"]


# ------------------------------------------------------------------------------------ ReLU and gated ReLU


@pytest.mark.parametrize("model", ["relu", "gated-relu"])
def test_fit_and_evaluate_networks_over_patterns(here, capsys, model):
    """The saved network, back in scaled units, has the objective that was reported over the sampled patterns."""
    arguments = ["--model", model, "--gates", 12, "--beta", 0.005, "--radius", 0.01, "--norm", "linf", "--seed", 2]
    code, report = run_json(
        capsys,
        "fit",
        here / "table.csv",
        *arguments,
        "--out",
        "m.safetensors",
        "--patterns",
        "p.png",
        "--plot",
        "g.png",
    )
    assert code == 0
    assert report["certified"]
    assert 8 <= report["gates"] <= 12
    assert os.path.getsize("p.png") > 1000
    assert os.path.getsize("g.png") > 1000
    network, data = ca.load("m.safetensors"), read_table(here / "table.csv")
    rows = scaling_of("unit", data.X).apply(data.X)
    kind = ca.ReLUProblem if model == "relu" else ca.GatedReLUProblem
    problem = kind(rows, data.y, n_gates=12, random_state=2, beta=0.005, radius=0.01, norm="linf", fit_intercept=True)
    inner = in_units(network, network.shift, network.scale)
    assert problem.objective(inner) == pytest.approx(report["objective"], rel=1e-9)
    code, result = run_json(capsys, "evaluate", "m.safetensors", here / "table.csv", "--norm", "linf", "--radius", 0.01)
    assert code == 0
    assert result["certified"][0] <= result["attacked"][0] <= result["clean"]


def test_fit_grows_patterns(here, capsys):
    arguments = ["--model", "relu", "--gates", 4, "--grow", 2, "--beta", 0.002, "--no-intercept"]
    code, report = run_json(capsys, "fit", here / "table.csv", *arguments, "--patterns", "p.svg")
    assert code == 0
    assert os.path.getsize("p.svg") > 1000
    rounds = report["growth"]["rounds"]
    assert report["gates"] == rounds[-1]["gates"] >= 4
    assert rounds[-1]["objective"] <= rounds[0]["objective"] * (1 + 1e-4)
    code, out, _ = run(capsys, "fit", here / "table.csv", *arguments)
    assert "the objective fell by" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gates", "3"], "--gates belongs to --model relu or gated-relu"),
        (["--no-intercept"], "--no-intercept belongs to --model relu or gated-relu"),
        (["--model", "relu", "--hard-margin", "1"], "--hard-margin belongs to --model polynomial"),
        (["--model", "gated-relu", "--activation", "1", "0", "0"], "--activation belongs to --model polynomial"),
        (["--model", "relu", "--gates", "0"], "--gates"),
        (["--model", "relu", "--norm", "l7"], "norm"),
    ],
)
def test_options_of_another_kind_of_network_are_refused(here, capsys, arguments, message):
    code, _, err = run(capsys, "fit", here / "table.csv", *arguments)
    assert code == 2
    assert message in err
    assert not os.listdir()
