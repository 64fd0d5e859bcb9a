"""Plots of heads for deep models: what is drawn is what was given."""

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
import torch

from convexadv.errors import InputError
from convexadv.heads import margin_surface
from convexadv.plotting import new_figure, plot_head_report, plot_margin_surface
from convexadv.plotting.style import CYCLE

mpl.use("agg")


@pytest.fixture
def ax():
    return new_figure(1, (5, 4))[1][0]


@pytest.fixture
def surface():
    """Of f(x) = x_0 on inputs at 0.5 and 0.25: the margin falls by the step, whatever the other direction does."""
    model = torch.nn.Linear(2, 1, bias=False).requires_grad_(False)
    model.weight.copy_(torch.tensor([[1.0, 0.0]]))
    return margin_surface(model, torch.tensor([[0.5, 0.0], [0.25, 0.0]]), [1, 1], radius=1.0, norm="linf")


def crossings(ax):
    """Corners of the line on which the margin is zero: the last contour set."""
    last = [part for part in ax.collections if type(part).__name__ == "QuadContourSet"][-1]
    return np.concatenate([path.vertices for path in last.get_paths()])


@pytest.mark.parametrize(("row", "title"), [(None, "mean margin of 2 inputs"), (1, "margin of input 1")])
def test_the_zero_line_lies_where_the_margin_is_zero(ax, surface, row, title):
    """linf directions have entries -1 and 1: the margin is m - (a - s b) with s = 1 or -1, linear on the plane."""
    assert plot_margin_surface(surface, ax, row=row) is ax
    heights = surface.margins.mean(0) if row is None else surface.margins[row]
    right = heights[-1, 8] - heights[8, 8]
    up = heights[8, -1] - heights[8, 8]
    assert right == pytest.approx(-1.0)
    corners = crossings(ax)
    assert len(corners) > 2
    np.testing.assert_allclose(heights[8, 8] + right * corners[:, 0] + up * corners[:, 1], 0.0, atol=1e-6)
    assert ax.get_title() == title
    assert ax.get_xlabel() == "steepest direction, radii"


def test_a_surface_without_a_crossing_has_no_line(ax):
    far = SimpleNamespace(axis=np.linspace(-1, 1, 3), margins=np.full((1, 3, 3), 2.0))
    plot_margin_surface(far, ax)
    assert sum(type(part).__name__ == "QuadContourSet" for part in ax.collections) == 1
    ax.figure.canvas.draw()


@pytest.mark.parametrize("row", [-1, 2])
def test_an_input_that_the_surface_does_not_have(surface, row):
    with pytest.raises(InputError, match="inputs 0 to 1"):
        plot_margin_surface(surface, row=row)


def candidate(radius, share, attacked, gates=None):
    return {"radius": radius, "beta_share": share, "n_gates": gates, "clean": 0.9, "attacked": attacked}


def report_of(rows, before=0.4):
    best = max(rows, key=lambda row: row["attacked"] or 0.0)
    given = {"clean": before, "attacked": before}
    return SimpleNamespace(candidates=rows, chosen=best, before=given, sizes={"validation_rows": 50})


def test_candidates_are_lines_over_the_radius_one_colour_a_beta(ax):
    rows = [candidate(0.2, 0.1, 0.6), candidate(0.05, 0.1, 0.5), candidate(0.05, 0.01, 0.7), candidate(0.2, 0.01, None)]
    assert plot_head_report(report_of(rows), ax) is ax
    drawn = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_allclose(drawn["beta 0.1 of the largest: attacked"].get_xydata(), [(0.05, 0.5), (0.2, 0.6)])
    np.testing.assert_allclose(drawn["beta 0.1 of the largest: clean"].get_xydata(), [(0.05, 0.9), (0.2, 0.9)])
    np.testing.assert_allclose(drawn["beta 0.01 of the largest: attacked"].get_xydata(), [(0.05, 0.7)])
    colors = [drawn[f"beta {beta} of the largest: attacked"].get_color() for beta in (0.1, 0.01)]
    assert colors == list(CYCLE[:2])
    assert drawn["before: attacked"].get_ydata() == [0.4, 0.4]
    np.testing.assert_allclose(ax.get_lines()[-1].get_xydata(), [(0.05, 0.7)])  # the ring
    assert ax.get_ylabel() == "accuracy on 50 validation inputs"


def test_numbers_of_gates_are_lines_of_their_own(ax):
    rows = [candidate(0.1, 0.1, 0.5, 8), candidate(0.1, 0.1, 0.6, 16)]
    plot_head_report(report_of(rows, before=None), ax)
    labels = {line.get_label() for line in ax.get_lines()}
    assert {"beta 0.1 of the largest, 8 gates: attacked", "beta 0.1 of the largest, 16 gates: clean"} <= labels
    assert not any(label.startswith("before") for label in labels)


def test_candidates_that_were_not_attacked(ax):
    with pytest.raises(InputError, match="attack_radius"):
        plot_head_report(report_of([candidate(0.1, 0.1, None)]), ax)
