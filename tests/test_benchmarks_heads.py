"""The benchmarks of heads: nested attacks, paired intervals, plans, tables and records of made-up numbers."""

import argparse
import json

import matplotlib as mpl
import numpy as np
import pytest
import torch

import convexadv as ca
from benchmarks import attacked, head_ablations, heads, heads_report, masking
from convexadv.training import Images

mpl.use("agg")
SIZES = [10.0, 25.0, 60.0]


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(90, 1, 2, 2, generator=generator)
    return Images.of(x, (x.sum((1, 2, 3)) > 2).long())


@pytest.fixture
def model(images):
    """Scores -s and s, s the sum of the pixels less 2: the worst case in a linf ball is known."""
    made = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).requires_grad_(False)
    made[1].weight.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
    made[1].bias.copy_(torch.tensor([2.0, -2.0]))
    return made


def test_survivors_of_a_linear_model_are_those_of_the_closed_form(model, images):
    """In the box, every pixel moves by the radius or to its end."""
    found = attacked.survivors(model, images, SIZES)
    x, sign = images.x.flatten(1), 2.0 * images.y - 1.0
    assert found["clean"].all()
    for k, size in enumerate(SIZES):
        worst = (x - size / 255 * sign[:, None]).clip(0.0, 1.0).sum(1) - 2.0
        right = (sign * worst > 0).numpy()
        assert 5 < right.sum() < 85
        for method in ("fgsm", "pgd", "apgd", "worst"):
            np.testing.assert_array_equal(found[method][k], right)


def test_every_size_attacks_what_the_smaller_ones_left(images):
    """The same as attacking each size afresh and leaving out all images that a smaller size broke."""
    torch.manual_seed(1)
    deep = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    with torch.no_grad():  # half of the images are wrong, others near the boundary
        deep[3].bias += torch.tensor([1.0, -1.0]) * (deep(images.x)[:, 1] - deep(images.x)[:, 0]).median() / 2
    found = attacked.survivors(deep, images, SIZES, ("fgsm", "pgd"))
    with torch.no_grad():
        clean = (deep(images.x).argmax(1) == images.y).numpy()
    assert 0 < clean.sum() < len(images)
    np.testing.assert_array_equal(found["clean"], clean)
    alive = clean.copy()
    for k, size in enumerate(SIZES):
        success = ca.attack(deep, images.x.numpy(), images.y.numpy(), size / 255, "linf", "fgsm", (0, 1)).success
        alive &= ~np.asarray(success)
        np.testing.assert_array_equal(found["fgsm"][k], alive)
    assert (found["pgd"][1:] <= found["pgd"][:-1]).all()
    np.testing.assert_array_equal(found["worst"], found["fgsm"] & found["pgd"])


def test_attacks_without_gradients(model, images):
    points = attacked.points_of(model, images, 25.0)
    assert np.abs(points - images.x.numpy()).max() <= 25.0 / 255 + 1e-6
    found = attacked.without_gradients(model, images, 25.0, [images.x.numpy(), points], queries=20)
    white = attacked.survivors(model, images, [25.0], ("pgd",))["pgd"][0]
    np.testing.assert_array_equal(found["transfer"], white)  # its own points transfer
    assert (found["square"] >= white).all()  # the closed form: nothing breaks more


def test_intervals_are_those_of_paired_differences():
    """Three gained and one lost of 100: the mean is 2 points, the sum of squares 4."""
    first, second = np.zeros(100, bool), np.zeros(100, bool)
    first[:3], second[3] = True, True
    mean, half = attacked.interval(first, second)
    assert mean == pytest.approx(2.0)
    assert half == pytest.approx(1.96 * 100 * np.sqrt((4 - 100 * 0.02**2) / 99 / 100))
    assert attacked.interval(first, first) == (0.0, 0.0)


def test_first_images_are_balanced_and_fixed():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    images = Images.of(np.arange(100.0).reshape(-1, 1, 1, 1), labels)
    few = attacked.first_images(images, 31)
    np.testing.assert_array_equal(np.bincount(few.y), [10, 10, 10])
    rows = few.x.flatten().long().numpy()
    np.testing.assert_array_equal(labels[rows], few.y)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(attacked.first_images(images, 31).x, few.x)
    assert len(attacked.first_images(images, None)) == len(attacked.first_images(images, 500)) == 100


def test_accuracies_are_percentages():
    found = {"clean": np.array([True, True, False, True]), "pgd": np.array([[True, False, False, True], [False] * 4])}
    assert attacked.accuracies(found) == {"clean": 75.0, "pgd": [50.0, 0.0]}


def settings(**changed):
    given = {
        "variants": ["frozen", "attacked"],
        "heads": ["polynomial", "relu"],
        "seeds": 2,
        "quick": False,
        "tuned": None,
    }
    return argparse.Namespace(**{**given, **changed})


def test_the_plan_has_every_variant_head_and_seed():
    plan = heads._plan(settings())
    assert len(plan) == len({(name, seed) for name, seed, _ in plan}) == 9
    assert plan[0] == (heads.BASE, None, {})
    options = {name: option for name, _, option in plan}
    assert options["polynomial, frozen"]["radius"] == heads.HEADS["polynomial"]["radius"]
    assert options["polynomial, attacked"]["radius"] == heads.MOVEMENT["polynomial"]
    assert options["polynomial, attacked"]["extra"] == "attacked"
    assert "extra" not in options["relu, frozen"]
    quick = heads._plan(settings(quick=True))[1:]
    assert all(len(option["radius"]) == len(option["beta"]) == 1 for _, _, option in quick)


def found_of(clean, worst):
    return {"clean": np.array(clean, bool), "worst": np.array(worst, bool)}


def test_comparisons_average_the_seeds_before_they_compare_images():
    base = found_of([1, 1, 0, 0], [[1, 0, 0, 0]])
    seeds = [found_of([1, 1, 1, 0], [[1, 1, 0, 0]]), found_of([1, 0, 1, 0], [[1, 1, 1, 0]])]
    (row,) = heads_report.comparisons({heads.BASE: [base], "new": seeds}, [1.0])
    assert (row["model"], row["seeds"]) == ("new", 2)
    clean = 100 * np.array([0.0, -0.5, 1.0, 0.0])
    worst = 100 * np.array([0.0, 1.0, 0.5, 0.0])
    assert row["clean"] == pytest.approx((clean.mean(), 1.96 * clean.std(ddof=1) / 2))
    assert row["worst"][0] == pytest.approx((worst.mean(), 1.96 * worst.std(ddof=1) / 2))


def test_tuned_heads_are_compared_to_the_tuned_network_too():
    base, tuned = found_of([1, 1], [[0, 0]]), found_of([1, 0], [[1, 0]])
    new = found_of([1, 1], [[1, 1]])
    name = f"relu, {heads.TUNED}"
    plan = heads._plan(settings(tuned="file", variants=[heads.TUNED], heads=["relu"], seeds=1))
    assert [row[:2] for row in plan] == [(heads.BASE, None), (heads.TUNED, None), (name, 0)]
    rows = heads_report.comparisons({heads.BASE: [base], heads.TUNED: [tuned], name: [new]}, [1.0])
    found = {(row["model"], row["against"]): (row["clean"][0], row["worst"][0][0]) for row in rows}
    assert found == {(heads.TUNED, heads.BASE): (-50, 50), (name, heads.BASE): (0, 100), (name, heads.TUNED): (50, 50)}


@pytest.fixture
def document():
    base = {"model": heads.BASE, "seed": None, "clean": 90.0, "pgd": [80.0, 40.0], "worst": [79.0, 33.0]}
    new = {"model": "polynomial, frozen", "clean": 89.0, "pgd": [81.0, 50.0], "worst": [80.0, 44.0]}
    about = {"gap": 5e-4, "seconds": {"solve": 12.0}}
    results = [base, {**new, "seed": 0, "report": about}, {**new, "seed": 1, "worst": [82.0, 46.0], "report": about}]
    apart = {"model": new["model"], "seeds": 2, "clean": (-1.0, 0.5), "worst": [(2.0, 1.0), (12.0, 3.0)]}
    return {
        "data": "mnist", "sizes_255": [1.0, 4.0], "black_box_255": 1.0, "methods": ["pgd"], "images": 100,
        "backbone": {"objective": "sam", "seconds": 60.0}, "comparisons": [apart],
        "results": [{**row, "square": 85.0, "transfer": 84.0} for row in results],
    }  # fmt: skip


def test_the_report_has_a_line_for_every_row_and_comparison(document):
    text = heads_report.report(document)
    lines = text.splitlines()
    (head,) = [line for line in lines if line.startswith("model")]
    assert [name for name in ("pgd 4", "worst 1", "square 1") if name not in head] == []
    rows = [line.split() for line in lines if line.startswith("polynomial, frozen  ")]
    assert [row[2:] for row in rows] == [
        ["0", "5.0e-04", "12", "89.0", "81.0", "50.0", "80.0", "44.0", "85.0", "84.0"],
        ["1", "5.0e-04", "12", "89.0", "81.0", "50.0", "82.0", "46.0", "85.0", "84.0"],
    ]
    assert "clean -1.0 +- 0.5; 1/255 +2.0 +- 1.0, 4/255 +12.0 +- 3.0" in text


def test_the_plot_has_means_and_bands_of_the_seeds(document, tmp_path, monkeypatch):
    from matplotlib import pyplot

    drawn = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    heads_report.draw(document, tmp_path / "heads.png")
    assert (tmp_path / "heads.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    np.testing.assert_allclose(lines[heads.BASE], [(0, 90), (1, 79), (4, 33)])
    np.testing.assert_allclose(lines["polynomial, frozen"], [(0, 89), (1, 81), (4, 45)])
    corners = axes.collections[1].get_paths()[0].vertices
    assert {(4.0, 44.0), (4.0, 46.0)} <= {tuple(corner) for corner in corners}
    monkeypatch.undo()
    pyplot.close("all")


def test_ablations_change_one_setting_at_a_time():
    plan = head_ablations.planned(["polynomial", "gated-relu"], list(head_ablations.SETTINGS))
    assert len({tuple(row.values()) for row in plan}) == len(plan)
    assert plan[0]["head"] == head_ablations.BASE
    for head, base in head_ablations.BASES.items():
        own = [row for row in plan if row["head"] == head]
        assert max(sum(row[key] != base[key] for key in base) for row in own) == 1
        results = [{**row, "clean": 50.0} for row in reversed(own)]
        for setting, values in head_ablations.VALUES[head].items():
            found = [row[setting] for row in head_ablations.line(results, head, setting)]
            assert found == sorted(values, key=lambda value: (setting == "rows" and value == 0, value))


@pytest.fixture
def ablations():
    plan = head_ablations.planned(list(head_ablations.BASES), list(head_ablations.SETTINGS))
    rows = [{**row, "status": "optimal", "clean": 60.0 + k, "pgd": [50.0 + k, 10.0]} for k, row in enumerate(plan)]
    backbone = {"objective": "sam", "seconds": 60.0}
    return {"data": "mnist", "sizes_255": [1.0, 4.0], "images": 10, "backbone": backbone, "results": rows}


def test_ablations_as_a_table_and_a_plot(ablations, tmp_path):
    text = head_ablations.report(ablations)
    lines = [line for line in text.splitlines() if line.startswith(("polynomial", "gated"))]
    values = head_ablations.VALUES
    assert len(lines) == sum(len(own) for head in values for own in values[head].values())  # the base in every block
    assert lines[0].split()[-3:] == ["62.0", "52.0", "10.0"]  # radius 0: the third of the plan
    head_ablations.draw(ablations, tmp_path / "ablations.png")
    assert (tmp_path / "ablations.png").read_bytes().startswith(b"\x89PNG")


def test_a_record_of_other_attacks_is_not_continued(ablations, tmp_path):
    path = tmp_path / "record.json"
    given = argparse.Namespace(quick=False, sizes=[1.0, 4.0], seed=0)
    assert head_ablations._other(path, given) == ""
    path.write_text(json.dumps({**ablations, "quick": False, "seed": 0}))
    assert head_ablations._other(path, given) == ""
    given.sizes = [2.0]
    assert "made with sizes_255 [1.0, 4.0], not [2.0]" in head_ablations._other(path, given)


def test_masking_is_told_model_by_model():
    rows = [
        {"model": "own layers", "accuracy": {"clean": 90.0, "pgd x5": 41.0}, "verdict": "No sign."},
        {"model": "relu", "accuracy": {"clean": 88.0, "pgd x5": 43.5, "transfer own": 70.0}, "verdict": "A sign."},
    ]
    text = masking.report({"results": rows, "images": 20, "radius_255": 2.0, "backbone": "a.safetensors"})
    assert text.splitlines()[2].split() == ["own", "layers", "90.0", "41.0"]
    assert text.splitlines()[3].split() == ["relu", "88.0", "43.5", "70.0"]
    assert "relu: A sign." in text
    assert text.endswith("20 test images, linf balls of 2/255, network a.safetensors.")
