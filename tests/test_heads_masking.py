"""The Square attack, and checks of gradient masking: silent on honest models, loud on fooled attacks."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import convexadv as ca
from convexadv.heads import check_masking, margin_surface
from convexadv.heads.black_box import BlackBox
from convexadv.robustness.pgd import Neighbourhood
from convexadv.robustness.square import _share, _windows, square_search


class Linear(nn.Module):
    """Three classes by linear scores of flattened pictures."""

    def __init__(self, d=16, seed=0):
        super().__init__()
        self.layer = nn.Linear(d, 3).double()
        with torch.no_grad():
            rng = np.random.default_rng(seed)
            self.layer.weight.copy_(torch.from_numpy(rng.normal(size=(3, d))))
            self.layer.bias.zero_()

    def forward(self, x):
        return self.layer(x.flatten(1))


class Rounded(nn.Module):
    """Its inputs are rounded, so that its gradient is zero."""

    def __init__(self, inner, digits=100.0):
        super().__init__()
        self.inner, self.digits = inner, digits

    def forward(self, x):
        return self.inner(x + (torch.round(self.digits * x) / self.digits - x).detach() - x + x.detach())


class Shattered(nn.Module):
    """A ripple of tiny amplitude gives the gradient a random sign."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x + 1e-3 * torch.sin(1e5 * x))


def data(n=60, shape=(1, 4, 4), seed=1):
    X = np.random.default_rng(seed).uniform(size=(n, *shape))
    with torch.no_grad():
        y = Linear(int(np.prod(shape)))(torch.from_numpy(X)).argmax(1).numpy()
    return X, y


def worst_margins(model, X, y, radius):
    """Exact worst margins of linear scores in linf balls, without a box."""
    W = model.layer.weight.detach().numpy()
    scores = X.reshape(len(X), -1) @ W.T
    margins = []
    for k, label in enumerate(y):
        others = [c for c in range(3) if c != label]
        margins.append(min(scores[k, label] - scores[k, c] - radius * np.abs(W[label] - W[c]).sum() for c in others))
    return np.array(margins)


def test_square_attack_breaks_what_can_be_broken():
    (X, y), model = data(), Linear()
    for radius in (0.02, 0.05, 0.1):
        breakable = worst_margins(model, X, y, radius) < 0
        found = BlackBox(model, X, y, radius, "linf", None, 25, 0).square(1000)
        assert not (found & ~breakable).any()
        assert found.sum() >= 0.9 * breakable.sum()
        assert breakable.any()


def test_square_attack_is_better_than_random_points():
    (X, y), model = data(), Linear()
    box = BlackBox(model, X, y, 0.05, "linf", None, 60, 0)
    assert box.square(300).sum() > box.random(300).sum()


def test_points_stay_in_ball_and_box_and_successful_rows_ask_no_more():
    X, y = data(shape=(2, 4, 2))
    rows = torch.from_numpy(X).reshape(len(X), -1)
    radius = torch.linspace(0.0, 0.3, len(rows), dtype=torch.float64)
    ball = Neighbourhood(rows, radius, "linf", torch.zeros(16).double(), torch.ones(16).double())
    asked, index = np.zeros(len(rows), int), torch.from_numpy(y)
    won = torch.zeros(len(rows), dtype=torch.bool)
    model = Linear()

    def merit(points, numbers):
        assert not won[numbers].any()
        assert ((points - rows[numbers]).abs() <= radius[numbers, None] * (1 + 1e-12)).all()
        assert ((points >= 0) & (points <= 1)).all()
        np.add.at(asked, numbers.numpy(), 1)
        scores = model(points)
        own = scores.gather(1, index[numbers, None])[:, 0]
        value = scores.scatter(1, index[numbers, None], -torch.inf).amax(1) - own
        won[numbers] |= value > 0
        return value

    square_search(merit, ball, (2, 4, 2), 40, torch.Generator().manual_seed(0))
    assert won.any()
    assert (asked[~won.numpy()] == 40).all()
    assert asked[won.numpy()].min() < 40


def test_windows_are_squares_with_one_sign_a_channel():
    windows = _windows(200, (3, 8, 8), 0.14, torch.Generator().manual_seed(0)).reshape(200, 3, 8, 8)
    for window in windows.numpy():
        inside = window[0] != 0
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        assert len(rows) == len(columns) == 3  # sqrt(0.14 * 64)
        assert inside.sum() == 9
        assert all(len(np.unique(channel[inside])) == 1 and (channel[~inside] == 0).all() for channel in window)
    line = _windows(50, (1, 1, 10), 0.4, torch.Generator().manual_seed(0))
    assert ((line != 0).sum(1) == 4).all()
    assert [_share(query, 10_000) for query in (5, 11, 51, 9000)] == [0.8, 0.4, 0.2, 0.8 / 512]


def test_honest_model_is_not_suspected():
    (X, y), model = data(), Linear()
    report = check_masking(model, X, y, 0.05, queries=200, draws=20, transfer={"other": Linear(seed=3)})
    assert not report.masked
    assert report.verdict.startswith("No sign of masked gradients")
    exact = (worst_margins(model, X, y, 0.05) >= 0).mean()
    assert report.accuracy["pgd x5"] == pytest.approx(exact)
    assert report.accuracy["clean"] == 1.0
    assert set(report.accuracy) == {
        "clean", "fgsm", "pgd x1", "pgd x2", "pgd x5", "pgd radius x2", "pgd radius x4", "random", "square",
        "transfer other",
    }  # fmt: skip
    assert report.beyond == {"random": 0.0, "square": 0.0, "transfer other": 0.0}


def test_zero_gradients_are_found():
    (X, y), model = data(shape=(1, 16, 16)), Rounded(Linear(256))
    report = check_masking(model, X, y, 0.03, queries=300, draws=20, steps=5)
    assert report.masked
    assert "the gradient is zero at 100.0 % of the rows" in report.verdict
    assert report.beyond["square"] > 0.05
    assert "square breaks rows that pgd x5 does not" in report.verdict


def test_shattered_gradients_are_found_by_transfer():
    (X, y), model = data(shape=(1, 16, 16)), Shattered(Linear(256))
    report = check_masking(model, X, y, 0.03, queries=100, draws=20, steps=5, transfer={"smooth": Linear(256)})
    assert report.masked
    assert report.beyond["transfer smooth"] > 0.1
    assert "transfer smooth breaks rows" in report.verdict


def test_report_as_text_and_json(tmp_path):
    X, y = data(20)
    report = check_masking(Linear(), X, y, 0.05, "l2", bounds=(0, 1), queries=10, draws=5, steps=5)
    assert "square" not in report.accuracy
    report.to_json(tmp_path / "masking.json")
    read = json.loads((tmp_path / "masking.json").read_text())
    assert read["verdict"] == report.verdict
    assert np.shape(read["surface"]["margins"]) == (16, 17, 17)
    assert len(str(report).splitlines()) == 1 + len(report.accuracy) + 2


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_surface_of_linear_scores_is_a_plane_of_known_slope(norm):
    (X, y), model = data(12), Linear()
    radius = 1e-3
    surface = margin_surface(model, X, y, radius, norm, rows=12, points=5)
    W, flat = model.layer.weight.detach().numpy(), X.reshape(12, -1)
    scores = flat @ W.T
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    drops = []
    for k, label in enumerate(y):
        others = np.where(np.arange(3) == label, -np.inf, scores[k])
        slope = W[label] - W[others.argmax()]
        drops.append(0.1 * radius * np.linalg.norm(slope, dual))
        np.testing.assert_allclose(surface.margins[k, 2, 2], scores[k, label] - others.max())
        np.testing.assert_allclose(np.diff(surface.margins[k], axis=0), -5.0 * drops[-1], rtol=1e-6)
    assert surface.gradient_drop == pytest.approx(np.mean(drops))
    assert abs(surface.random_drop) < surface.gradient_drop
    assert surface.flat == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": 0.0}, "radius is 0"),
        ({"draws": 0}, "draws"),
        ({"queries": 0}, "queries"),
        ({"steps": 0}, "steps"),
        ({"bounds": (0.0, 0.1)}, "outside of the bounds"),
        ({"norm": "l3"}, "norm"),
    ],
)
def test_wrong_arguments_are_a_sentence(changes, message):
    X, y = data(5)
    with pytest.raises(ca.InputError, match=message):
        check_masking(Linear(), X, y, **({"radius": 0.1} | changes))
