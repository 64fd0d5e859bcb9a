"""Paths over beta: objective, gap and neurons; clean against robust accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .convergence import lower_part
from .style import CYCLE, MARKERS, axes_or_new, require_matplotlib, tidy

_LINES = ("-", "--", ":", "-.")
_LEAST_GAP = 1e-9
"""Smaller gaps (of the zero network, whose gap is rounding) are drawn here."""


def plot_path(path: Any, ax: Any = None) -> Any:
    """Objective, certified gap and number of neurons against beta, one line for every radius.

    Parameters
    ----------
    path : RegularisationPath
        Of :func:`convexadv.regularisation_path`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given. The axes are divided: gap and neurons are drawn below.

    Returns
    -------
    matplotlib Axes
        The upper part; its figure's last two axes are those of the gap and of the neurons.

    Raises
    ------
    InputError
        If the path is empty.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> from convexadv.plotting import plot_path
    >>> path = ca.regularisation_path(ca.PolynomialProblem(X, y), n_betas=4)
    >>> [ax.get_ylabel() for ax in plot_path(path).figure.axes]
    ['objective', 'relative gap', 'neurons']
    """
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    rows = path.rows()
    if not rows:
        raise InputError("the path has no points; at least one is needed.")
    ax = axes_or_new(ax, (6.4, 6.4))
    middle, below = _lower_parts(ax)
    for number, (radius, own) in enumerate(_by_radius(rows)):
        color, marker = CYCLE[number % len(CYCLE)], MARKERS[number % len(MARKERS)]
        style = {"color": color, "marker": marker, "markersize": 4.0, "linewidth": 1.5}
        style["linestyle"] = _LINES[number % len(_LINES)]
        beta = [row["beta"] for row in own]
        gap = np.array([row["gap"] for row in own])
        ax.plot(beta, [row["objective"] for row in own], label=_radius_text(radius), **style)
        middle.plot(beta, np.maximum(gap, _LEAST_GAP), **style)
        below.plot(beta, [row["neurons"] for row in own], drawstyle="steps-mid", **style)
    ax.set_xscale("log")
    ax.set_ylabel("objective")
    middle.set_yscale("log")
    middle.set_ylabel("relative gap")
    below.set_ylabel("neurons")
    below.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    below.set_xlabel("beta")
    ax.legend(fontsize="small", framealpha=0.9, edgecolor="none")
    for part in (ax, middle, below):
        tidy(part)
    return ax


def plot_tradeoff(accuracies: Sequence[dict[str, float]], ax: Any = None) -> Any:
    """Robust against clean accuracy, one curve over beta for every training radius; up and to the right is better.

    A marker stands at the certified accuracy; the bar above it ends at the attacked accuracy, and what is between them is
    unknown. The largest beta of a curve has a hollow marker. Zero networks, which say nothing, are left out.

    Parameters
    ----------
    accuracies : sequence of dict
        With beta, radius, neurons, evaluated_radius, clean, certified and attacked: :meth:`RegularisationPath.accuracies`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If there are no accuracies, or those of zero networks only.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> from convexadv.plotting import plot_tradeoff
    >>> path = ca.regularisation_path(ca.PolynomialProblem(X, y), n_betas=4)
    >>> plot_tradeoff(path.accuracies(X, y, radius=0.2)).get_xlabel()
    'clean accuracy'
    """
    require_matplotlib()
    from matplotlib.ticker import PercentFormatter

    rows = [row for row in accuracies if row["neurons"]]
    if not rows:
        raise InputError("accuracies has no network but the zero one; at least one other is needed.")
    ax = axes_or_new(ax, (5.6, 4.6))
    for number, (radius, own) in enumerate(_by_radius(rows)):
        color, marker = CYCLE[number % len(CYCLE)], MARKERS[number % len(MARKERS)]
        clean, certified, attacked = (np.array([row[key] for row in own]) for key in ("clean", "certified", "attacked"))
        style = {"color": color, "linestyle": _LINES[number % len(_LINES)], "linewidth": 1.3}
        ax.plot(clean, certified, marker=marker, markersize=5.5, label=f"trained at {_radius_text(radius)}", **style)
        ax.vlines(clean, certified, attacked, color=color, linewidth=3.0, alpha=0.35)
        first = int(np.argmax([row["beta"] for row in own]))
        ax.plot(clean[first], certified[first], marker, markersize=8.0, color=color, markerfacecolor="white")
    at = sorted({row["evaluated_radius"] for row in rows})
    ax.set_xlabel("clean accuracy")
    ax.set_ylabel(f"certified accuracy at radius {at[0]:g}" if len(at) == 1 else "certified accuracy at the own radius")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    ax.legend(fontsize="small", framealpha=0.9, edgecolor="none")
    tidy(ax)
    return ax


def _lower_parts(ax: Any) -> tuple[Any, Any]:
    """Two new axes under the given ones, in the place that these leave free."""
    place = ax.get_subplotspec()
    if place is None:  # axes at a fixed position
        middle = lower_part(ax)
        return middle, lower_part(middle)
    grid = place.subgridspec(3, 1, height_ratios=[2.2, 1.0, 1.0], hspace=0.05)
    ax.set_subplotspec(grid[0])
    middle, below = (ax.figure.add_subplot(part, sharex=ax) for part in (grid[1], grid[2]))
    for part in (ax, middle):
        part.tick_params(labelbottom=False)
    return middle, below


def _by_radius(rows: Sequence[dict[str, Any]]) -> list[tuple[float, list[dict[str, Any]]]]:
    """Rows of every radius, in the order of their first appearance."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(repr(row["radius"]), []).append(row)
    return [(own[0]["radius"], own) for own in groups.values()]


def _radius_text(radius: float) -> str:
    return f"radius {radius:g}" if np.isfinite(radius) else "radii of the rows"
