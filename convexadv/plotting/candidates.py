"""Candidates that a head was chosen from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .style import CYCLE, MARKERS, axes_or_new, require_matplotlib, tidy


def plot_head_report(report: Any, ax: Any = None) -> Any:
    """Clean and attacked accuracy of the candidates for a head against their radius, one colour for every beta.

    Accuracies are those of the whole model on the validation inputs. The chosen candidate has a ring; grey lines are the
    model as it was given.

    Parameters
    ----------
    report : HeadReport
        Of :func:`convexadv.robustify`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If the candidates were not attacked.

    Examples
    --------
    >>> import numpy as np, torch
    >>> import convexadv as ca
    >>> from convexadv.plotting import plot_head_report
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> X = np.random.default_rng(0).normal(size=(200, 2)).astype("float32")
    >>> made = ca.robustify(model, (X, (X[:, 0] > 0).astype(int)), radius=[0.05, 0.2], attack_radius=0.1)
    >>> plot_head_report(made.report).get_ylabel()
    'accuracy on 20 validation inputs'
    """
    require_matplotlib()
    from matplotlib.ticker import PercentFormatter

    rows = [row for row in report.candidates if row["attacked"] is not None]
    if not rows:
        raise InputError("the candidates of the report were not attacked; give robustify attack_radius and validation.")
    ax = axes_or_new(ax, (7.6, 4.2))
    for number, (label, own) in enumerate(_lines(rows)):
        style = {"color": CYCLE[number % len(CYCLE)], "marker": MARKERS[number % len(MARKERS)], "linewidth": 1.5}
        radii = [row["radius"] for row in own]
        ax.plot(radii, [row["attacked"] for row in own], label=f"{label}: attacked", markersize=6.0, **style)
        style |= {"linestyle": "--", "markerfacecolor": "white", "markersize": 4.5}
        ax.plot(radii, [row["clean"] for row in own], label=f"{label}: clean", **style)
    for key, line in (("attacked", "-"), ("clean", "--")):
        if report.before[key] is not None:
            ax.axhline(report.before[key], color="0.5", linestyle=line, linewidth=1.2, label=f"before: {key}")
    chosen = report.chosen
    ax.plot(chosen["radius"], chosen["attacked"], "o", markersize=13.0, markerfacecolor="none", color="black")
    ax.set_xlabel("radius of the head's training")
    ax.set_ylabel(f"accuracy on {report.sizes['validation_rows']} validation inputs")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.legend(fontsize="small", edgecolor="none", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    tidy(ax)
    return ax


def _lines(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Candidates of equal share of beta and number of gates, by increasing radius, each with its name."""
    several = len({row["n_gates"] for row in rows}) > 1
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        gates = f", {row['n_gates']} gates" if several else ""
        groups.setdefault(f"beta {row['beta_share']:g} of the largest{gates}", []).append(row)
    order = {name: np.argsort([row["radius"] for row in own], kind="stable") for name, own in groups.items()}
    return [(name, [own[k] for k in order[name]]) for name, own in groups.items()]
