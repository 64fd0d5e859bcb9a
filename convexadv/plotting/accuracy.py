"""Accuracy against the radius of a perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .style import CYCLE, HATCHES, MARKERS, axes_or_new, require_matplotlib, tidy


def plot_accuracy(curves: Mapping[str, Any], ax: Any = None, xlabel: str = "radius, in the units of the rows") -> Any:
    """Accuracy against the radius: attacked from above, certified from below, unknown between them.

    Parameters
    ----------
    curves : mapping
        From a label, which may be empty if there is but one, to an object with ``clean`` (accuracy without
        perturbation), ``radii`` (k,), in any order, ``attacked`` (k,) and ``certified`` (k,), accuracies from 0 to 1: a
        :class:`RobustAccuracy`, for one. Its ``by_attack`` names the attacks (PGD if there is none); where its
        ``has_certificates`` is False, there is no line of certified accuracies, and all below the attacked ones is
        unknown.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given.
    xlabel : str
        Says what the radius is, and in which units.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> from convexadv.plotting import plot_accuracy
    >>> ax = plot_accuracy({"": ca.robust_accuracy(network, X, y, radii=[0.1, 0.5], norm="l2")})
    >>> ax.get_ylabel()
    'accuracy'
    """
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    ax = axes_or_new(ax, (6.4, 4.2))
    for number, (label, curve) in enumerate(curves.items()):
        color, marker = CYCLE[number % len(CYCLE)], MARKERS[number % len(MARKERS)]
        order, known = np.argsort(curve.radii, kind="stable"), getattr(curve, "has_certificates", True)
        radii, attacked, certified = (
            np.concatenate([[first], np.asarray(values, float)[order]])
            for first, values in (
                (0.0, curve.radii),
                (curve.clean, curve.attacked),
                (curve.clean if known else 0.0, curve.certified),
            )
        )
        attacks = ", ".join(getattr(curve, "by_attack", None) or ["pgd"])
        prefix = f"{label}: " if label else ""
        attacks = attacks.replace("pgd", "PGD").replace("aPGD", "APGD").replace("fgsm", "FGSM")
        hatch = HATCHES[number % len(HATCHES)]
        ax.plot(
            radii,
            attacked,
            color=color,
            linewidth=1.6,
            marker=marker,
            markersize=6.5,
            label=f"{prefix}attacked ({attacks})",
        )
        ax.fill_between(
            radii,
            certified,
            attacked,
            facecolor=(color, 0.15),
            edgecolor=(color, 0.6),
            hatch=hatch,
            linewidth=0,
            label=f"{prefix}unknown" if known else f"{prefix}unknown (no certificates)",
        )
        if not known:
            continue
        style = {"linestyle": "--", "marker": marker, "markersize": 4.5, "markerfacecolor": "white"}
        ax.plot(radii, certified, color=color, linewidth=1.6, label=f"{prefix}certified", **style)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlim(left=0.0)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.set_xlabel(xlabel)
    ax.set_ylabel("accuracy")
    tidy(ax)
    return ax
