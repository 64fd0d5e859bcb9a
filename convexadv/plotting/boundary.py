"""Decision regions of two features, with the balls around the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import to_numpy
from ..errors import InputError
from .style import CLASS_COLORS, MARKERS, VERMILION, axes_or_new

_GRID = 400


def plot_boundary(
    network: Any,
    X: Any,
    y: Any,
    radius: float,
    ax: Any = None,
    scale: Any = None,
    norm: str = "l2",
    names: Sequence[str] = ("feature 0", "feature 1"),
) -> Any:
    """Decision regions of a network of two features, the rows, and the balls around them.

    Balls that reach into the region of another class are drawn bold (boxes, if it cannot be excluded).

    Parameters
    ----------
    network : PolynomialNetwork
        Two features, labels.
    X : (n, 2)
        Rows, in the raw units of the network.
    y : (n,)
        Labels.
    radius : float
        Radius of the balls, in units of ``scale``; 0 draws none.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given.
    scale : (2,), optional
        Half axes of the unit ball in the units of X, 1 if not given: ``network.scale`` for a radius in the
        network's scaled units.
    norm : "l2" or "linf"
        Circles (ellipses) or boxes.
    names : two str
        Labels of the axes.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If the network does not take two features, or has no classes.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> from convexadv.plotting import plot_boundary
    >>> network = ca.solve(ca.PolynomialProblem(X, y, radius=0.2, beta=0.01)).network
    >>> plot_boundary(network, X, y, radius=0.2).get_title()
    '0 of 4 balls leave their region'
    """
    X = to_numpy(X, np.float64)
    if network.n_features != 2 or X.ndim != 2 or X.shape[1] != 2:
        raise InputError(
            f"the boundary is drawn for two features; the network takes {network.n_features}, X has shape {X.shape}."
        )
    if network.classes is None:
        raise InputError("the network predicts values, not labels; a decision boundary needs classes.")
    ax = axes_or_new(ax, (5.6, 5.2))
    axes = np.ones(2) if scale is None else to_numpy(scale, np.float64)
    low, high = X.min(0) - 1.3 * radius * axes, X.max(0) + 1.3 * radius * axes
    margin = 0.05 * (high - low) + 1e-12
    low, high = low - margin, high + margin
    _regions(network, ax, low, high)
    labels = np.asarray(to_numpy(y))
    for number, label in enumerate(network.classes):
        rows = labels == label
        color, marker = CLASS_COLORS[number % len(CLASS_COLORS)], MARKERS[number % len(MARKERS)]
        ax.scatter(
            *X[rows].T,
            s=20,
            color=color,
            marker=marker,
            edgecolor="white",
            linewidth=0.4,
            label=f"{label}",
            zorder=4,
        )
    ax.plot([], [], color="black", linewidth=1.6, label="decision boundary")
    if radius > 0:
        _balls(ax, X, _broken(network, X, y, radius, axes, norm), radius * axes, norm)
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])
    ax.set_aspect(axes[0] / axes[1] if scale is not None else "equal")
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _regions(network: Any, ax: Any, low: np.ndarray, high: np.ndarray) -> None:
    from matplotlib.colors import ListedColormap, to_rgb

    first, second = (np.linspace(low[j], high[j], _GRID) for j in (0, 1))
    grid = np.stack(np.meshgrid(first, second), -1).reshape(-1, 2)
    scores = network.scores(grid)
    winner = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
    colors = [CLASS_COLORS[k % len(CLASS_COLORS)] for k in range(len(network.classes))]
    pale = ListedColormap([tuple(0.8 + 0.2 * part for part in to_rgb(color)) for color in colors])
    regions, limits = winner.reshape(_GRID, _GRID), {"vmin": -0.5, "vmax": len(colors) - 0.5}
    ax.pcolormesh(first, second, regions, cmap=pale, rasterized=True, zorder=0, **limits)
    leads = [scores] if scores.ndim == 1 else [_lead(scores, k) for k in range(len(colors))]
    for lead in leads:
        if lead.min() < 0 < lead.max():
            level = lead.reshape(_GRID, _GRID)
            ax.contour(first, second, level, levels=[0.0], colors="black", linewidths=1.6, zorder=3)


def _lead(scores: np.ndarray, number: int) -> np.ndarray:
    """By how much a class is ahead of all others."""
    return scores[:, number] - np.delete(scores, number, 1).max(1)


def _broken(network: Any, X: np.ndarray, y: Any, radius: float, axes: np.ndarray, norm: str) -> np.ndarray:
    """Rows whose ball is not certified to lie in the region of their label."""
    import torch

    from ..networks.units import in_units
    from ..robustness import worst_case_margin

    stretch = torch.as_tensor(axes).to(network.scale)
    inner = in_units(network, torch.zeros_like(stretch), stretch)
    return np.asarray(worst_case_margin(inner, X / axes, y, radius, norm).lower_bound) <= 0


def _balls(ax: Any, X: np.ndarray, broken: np.ndarray, half: np.ndarray, norm: str) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Ellipse, Patch, Rectangle

    box = norm == "linf"
    name, leaves = ("box", "may leave") if box else ("ball", "leaves")  # boxes are certified by a bound
    for chosen, label, color, width, order in (
        (~broken, f"{name} within the region of its label", "0.5", 0.5, 1),
        (broken, f"{name} that {leaves} it", VERMILION, 1.1, 2),
    ):
        patches: list[Patch] = [
            Rectangle(row - half, *(2 * half)) if box else Ellipse(row, *(2 * half)) for row in X[chosen]
        ]
        balls = PatchCollection(patches, facecolor="none", edgecolor=color, linewidth=width, zorder=order)
        ax.add_collection(balls)
        ax.plot(  # collections of patches have no entry in the legend
            [],
            [],
            linestyle="none",
            label=label,
            marker="s" if box else "o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor=color,
            markeredgewidth=width,
        )
    plural = "boxes may leave" if box else "balls leave"
    ax.set_title(f"{int(broken.sum())} of {len(X)} {plural} their region", fontsize="medium")
