"""Accuracy against the radius of a perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .style import CYCLE, HATCHES, MARKERS, axes_or_new, tidy


def plot_accuracy(curves: Mapping[str, Any], ax: Any = None, xlabel: str = "radius, in the units of the rows") -> Any:
    """Accuracy against the radius: attacked from above, certified from below, unknown between them.

    Parameters
    ----------
    curves : mapping
        From a label to an object with ``clean`` (accuracy without perturbation), ``radii`` (k,),
        ``attacked`` (k,) and ``certified`` (k,), accuracies from 0 to 1.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given.
    xlabel : str
        Says what the radius is, and in which units.

    Returns
    -------
    matplotlib Axes
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    ax = axes_or_new(ax, (6.4, 4.2))
    for number, (label, curve) in enumerate(curves.items()):
        color, marker = CYCLE[number % len(CYCLE)], MARKERS[number % len(MARKERS)]
        radii = np.concatenate([[0.0], np.asarray(curve.radii, float)])
        attacked = np.concatenate([[curve.clean], np.asarray(curve.attacked, float)])
        certified = np.concatenate([[curve.clean], np.asarray(curve.certified, float)])
        hatch = HATCHES[number % len(HATCHES)]
        ax.plot(
            radii,
            attacked,
            color=color,
            linewidth=1.6,
            marker=marker,
            markersize=6.5,
            label=f"{label}: attacked (PGD)",
        )
        ax.fill_between(
            radii,
            certified,
            attacked,
            facecolor=(color, 0.15),
            edgecolor=(color, 0.6),
            hatch=hatch,
            linewidth=0,
            label=f"{label}: unknown",
        )
        style = {"linestyle": "--", "marker": marker, "markersize": 4.5, "markerfacecolor": "white"}
        ax.plot(radii, certified, color=color, linewidth=1.6, label=f"{label}: certified", **style)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlim(left=0.0)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.set_xlabel(xlabel)
    ax.set_ylabel("accuracy")
    tidy(ax)
    return ax
