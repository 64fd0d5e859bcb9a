"""Plots: what is drawn is what was given, and files are complete or absent."""

import matplotlib as mpl
import numpy as np
import pytest
import torch

from convexadv.errors import InputError
from convexadv.networks import PolynomialNetwork
from convexadv.plotting import (
    new_figure,
    plot_accuracy,
    plot_boundary,
    plot_convergence,
    plot_neurons,
    plot_spectrum,
    save_figure,
)
from convexadv.plotting.style import CLASS_COLORS, CYCLE
from convexadv.solvers import Record

mpl.use("agg")


class Curve:
    radii = (0.1, 0.2)
    clean = 0.9
    attacked = (0.7, 0.5)
    certified = (0.6, 0.3)


@pytest.fixture
def ax():
    return new_figure(1, (5, 4))[1][0]


@pytest.fixture
def history():
    values = [(0.1, np.inf, -np.inf, 0), (0.2, 0.8, 0.1, 1), (0.5, 0.62, 0.5, 3), (0.9, 0.61, 0.6099, 4)]
    return [Record(*value) for value in values]


def circle_network(shift=(0.0, 0.0), scale=(1.0, 1.0), radius=1.0):
    """Positive inside of a circle around the shift, in scaled units: f(z) = radius^2 - z'z."""
    c = -0.5 * radius**2
    return PolynomialNetwork(np.eye(2), -np.ones(2), (1.0, 0.0, c), shift, scale, classes=["out", "round"])


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_convergence_draws_the_history(ax, history):
    assert plot_convergence(history, ax, tol=1e-3) is ax
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["objective"][1:], [(0.2, 0.8), (0.5, 0.62), (0.9, 0.61)])
    np.testing.assert_allclose(drawn["lower bound"][1:], [(0.2, 0.1), (0.5, 0.5), (0.9, 0.6099)])
    below = ax.figure.axes[-1]
    gap = below.get_lines()[0].get_xydata()
    np.testing.assert_allclose(gap[1:, 1], [(0.8 - 0.1) / 0.8, 0.12 / 0.62, 0.0001 / 0.61], rtol=1e-9)
    assert below.get_yscale() == "log"
    assert below.get_xlabel() == "time (s)"
    assert ax.get_ylabel() == "objective"
    low, high = ax.get_ylim()
    assert low < 0.6 < 0.61 < high


def test_convergence_shades_the_gap(ax, history):
    plot_convergence(history, ax)
    (shade,) = ax.collections
    corners = shade.get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx(0.1)
    assert corners[:, 1].max() == pytest.approx(0.8)


def test_convergence_in_axes_at_a_fixed_place(history):
    figure, (ax,) = new_figure(1, (5, 4))
    figure.set_layout_engine("none")
    ax.remove()
    fixed = figure.add_axes([0.2, 0.1, 0.7, 0.8])
    plot_convergence(history, fixed)
    upper, lower = (part.get_position() for part in figure.axes)
    assert lower.y0 == pytest.approx(0.1)
    assert upper.y1 == pytest.approx(0.9)
    assert lower.y1 < upper.y0


def test_convergence_without_a_history_is_an_error():
    with pytest.raises(InputError, match="no history"):
        plot_convergence([])


def test_convergence_of_a_history_without_a_network(ax):
    plot_convergence([Record(0.1, np.inf, 0.2, 0), Record(0.3, np.inf, 0.4, 0)], ax)
    ax.figure.canvas.draw()


def test_accuracy_draws_both_sides_and_the_band(ax):
    plot_accuracy({"robust": Curve()}, ax, xlabel="l2 radius")
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["robust: attacked (PGD)"], [(0, 0.9), (0.1, 0.7), (0.2, 0.5)])
    np.testing.assert_allclose(drawn["robust: certified"], [(0, 0.9), (0.1, 0.6), (0.2, 0.3)])
    (band,) = ax.collections
    corners = {tuple(np.round(corner, 6)) for corner in band.get_paths()[0].vertices}
    assert {(0.2, 0.5), (0.2, 0.3), (0.1, 0.7), (0.1, 0.6)} <= corners
    assert ax.get_xlabel() == "l2 radius"


def test_curves_differ_without_colour(ax):
    plot_accuracy({"standard": Curve(), "robust": Curve()}, ax)
    styles = {(line.get_linestyle(), line.get_marker()) for line in ax.get_lines()}
    assert len(styles) == 4
    hatches = {band.get_hatch() for band in ax.collections}
    assert len(hatches) == 2


@pytest.mark.parametrize("colors", [CYCLE, CLASS_COLORS])
def test_colours_differ_in_brightness(colors):
    """The first two colours, those of nearly every plot, stay apart in a grey print."""
    brightness = [np.dot(mpl.colors.to_rgb(color), (0.299, 0.587, 0.114)) for color in colors]
    assert len(set(colors)) == len(colors)
    assert abs(brightness[0] - brightness[1]) > 0.05


def test_boundary_lies_where_the_score_is_zero(ax):
    network = circle_network(shift=(3.0, -1.0), scale=(2.0, 0.5))
    rows = np.array([[3.0, -1.0], [5.5, -1.0], [3.0, 0.2], [0.4, -1.6]])
    y = np.array(["round", "out", "out", "out"])
    plot_boundary(network, rows, y, 0.1, ax, scale=network.scale)
    contour = next(part for part in ax.collections if type(part).__name__ == "QuadContourSet")
    corners = np.concatenate([path.vertices for path in contour.get_paths()])
    assert len(corners) > 100
    with torch.no_grad():
        assert network(torch.as_tensor(corners)).abs().max() < 1e-3


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_balls_have_the_radius_in_scaled_units(ax, norm):
    network = circle_network(scale=(2.0, 0.5))
    rows, y = np.array([[0.0, 0.0], [4.0, 1.0]]), np.array(["round", "out"])
    plot_boundary(network, rows, y, 0.25, ax, scale=network.scale, norm=norm, names=("width", "height"))
    inside = next(part for part in ax.collections if type(part).__name__ == "PatchCollection")
    first = inside.get_paths()[0].vertices
    np.testing.assert_allclose(np.ptp(first, axis=0), [1.0, 0.25], rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "height")


def test_bold_balls_are_those_that_leave_their_region(ax):
    """Against a dense sample of every ball, in scaled units."""
    network = circle_network(shift=(1.0, 0.0), scale=(2.0, 0.5))
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 2)) * [2.5, 0.6] + [1.0, 0.0]
    y = network.predict(rows)
    y[:5] = np.where(y[:5] == "out", "round", "out")  # five rows on the wrong side
    plot_boundary(network, rows, y, 0.2, ax, scale=network.scale)
    angle = np.linspace(0, 2 * np.pi, 2000)
    ring = 0.2 * np.stack([np.cos(angle), np.sin(angle)], -1) * [2.0, 0.5]
    leaves = [(network.predict(row + ring) != label).any() for row, label in zip(rows, y, strict=True)]
    assert ax.get_title() == f"{sum(leaves)} of 60 balls leave their region"
    _, bold = [part for part in ax.collections if type(part).__name__ == "PatchCollection"]
    assert len(bold.get_paths()) == sum(leaves)


def test_boundary_of_three_classes_and_of_a_constant_network(ax):
    three = PolynomialNetwork(np.eye(2), np.array([[1.0, -1, 0], [0, 1, -1]]), (0, 1, 0), classes=[0, 1, 2])
    rows = np.array([[1.0, 0.2], [-1.0, 1.0], [0.1, -1.0]])
    plot_boundary(three, rows, three.predict(rows), 0.05, ax)
    assert sum(type(part).__name__ == "QuadContourSet" for part in ax.collections) == 3
    nothing = PolynomialNetwork(np.zeros((0, 2)), np.zeros((0, 1)), classes=[0, 1])
    plot_boundary(nothing, rows, [0, 1, 0], 0.0, ax)
    ax.figure.canvas.draw()


def test_boundary_needs_two_features_and_classes(ax):
    with pytest.raises(InputError, match="two features"):
        plot_boundary(PolynomialNetwork(np.eye(3), np.ones(3), classes=[0, 1]), np.ones((2, 3)), [0, 1], 0.1, ax)
    with pytest.raises(InputError, match="classes"):
        plot_boundary(PolynomialNetwork(np.eye(2), np.ones(2)), np.ones((2, 2)), [0.0, 1.0], 0.1, ax)


def test_given_axes_leave_pyplot_alone(ax, history):
    from matplotlib import pyplot

    pyplot.close("all")
    plot_convergence(history, ax)
    assert pyplot.get_fignums() == []
    new = plot_convergence(history)
    assert pyplot.get_fignums() == [new.figure.number]
    pyplot.close("all")


@pytest.mark.parametrize(("suffix", "begin"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_figures_are_saved(ax, tmp_path, suffix, begin):
    save_figure(ax.figure, tmp_path / f"plot.{suffix}")
    assert (tmp_path / f"plot.{suffix}").read_bytes().startswith(begin)


def test_an_unknown_format_or_folder_writes_nothing(ax, tmp_path):
    with pytest.raises(InputError, match="format"):
        save_figure(ax.figure, tmp_path / "plot.bmp")
    with pytest.raises(InputError, match="folder"):
        save_figure(ax.figure, tmp_path / "missing" / "plot.png")
    assert list(tmp_path.iterdir()) == []


def image_network():
    neurons = np.zeros((3, 6))
    neurons[0, 0], neurons[1, 4], neurons[2, 5] = 1.0, -1.0, 1.0
    return PolynomialNetwork(neurons, np.array([0.5, -2.0, 1.0]), classes=[0, 1])


def test_neurons_are_pictures_in_the_order_of_their_share():
    axes = np.array(new_figure(4, (8, 2))[1])
    assert plot_neurons(image_network(), (2, 3), axes) is axes
    pictures = [ax.get_images()[0].get_array() for ax in axes[:3]]
    np.testing.assert_array_equal([picture.shape for picture in pictures], [(2, 3)] * 3)
    assert [picture.argmax() for picture in np.abs(pictures)] == [4, 5, 0]
    assert [ax.get_title() for ax in axes] == ["-2", "+1", "+0.5", ""]
    assert axes[3].get_images() == []


def test_spectrum_has_the_eigenvalues_of_z_and_the_traces_of_its_neurons(ax):
    network = image_network()
    drawn = lines(plot_spectrum(network, ax))
    lifted = np.column_stack([network.neurons.detach().numpy(), np.ones(3)])
    Z = lifted[[0, 2]].T @ np.diag([0.5, 1.0]) @ lifted[[0, 2]]
    np.testing.assert_allclose(drawn["eigenvalues of Z"][:, 1], np.linalg.eigvalsh(Z)[::-1][:2])
    np.testing.assert_allclose(drawn["eigenvalues of Z'"][:, 1], [4.0])
    np.testing.assert_allclose(drawn["neurons of Z: 2 |alpha|"][:, 1], [2.0, 1.0])


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: plot_neurons(image_network(), (2, 2)), "6 features"),
        (lambda: plot_neurons(image_network(), (2, 3), output=1), "outputs 0 to 0"),
        (lambda: plot_neurons(object(), (2, 3)), "got a object"),
        (lambda: plot_spectrum(object()), "got a object"),
        (lambda: plot_spectrum(PolynomialNetwork(np.eye(2), np.zeros(2), classes=[0, 1])), "is zero"),
    ],
)
def test_neurons_that_cannot_be_drawn(draw, sentence):
    with pytest.raises(InputError, match=sentence):
        draw()
