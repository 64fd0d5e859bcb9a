"""How the activation patterns of a programme, and the gap, develop."""

from __future__ import annotations

from typing import Any

import numpy as np

from .convergence import lower_part
from .style import BLUE, SKY, VERMILION, axes_or_new, history_of, tidy


def plot_patterns(solution: Any, ax: Any = None, tol: float | None = None) -> Any:
    """Blocks of weights that the solver works with over time, and the relative gap below.

    Parameters
    ----------
    solution : Solution or list of Record
        Whose history is drawn: ``neurons`` counts the active blocks (a gate with a sign and an output).
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given. The axes are divided: the gap is drawn in the lower part.
    tol : float, optional
        Relative gap that was asked for, drawn as a line.

    Returns
    -------
    matplotlib Axes
        The upper part; its figure's last axes are the lower one.

    Raises
    ------
    InputError
        If the history is empty.

    Examples
    --------
    >>> import convexadv as ca
    >>> from convexadv.datasets import load, standardise
    >>> data = load("wdbc")
    >>> X, y = standardise(data.X).apply(data.X)[:200], data.y[:200]
    >>> from convexadv.plotting import plot_patterns
    >>> problem = ca.ReLUProblem(X, y, n_gates=4, beta=0.01, loss="squared_hinge")
    >>> plot_patterns(ca.solve(problem), tol=1e-4).get_ylabel()
    'active blocks'
    """
    history = history_of(solution)
    ax = axes_or_new(ax, (6.4, 4.6))
    time, blocks, upper, lower = (
        np.array([getattr(record, name) for record in history], float)
        for name in ("time", "neurons", "objective", "lower_bound")
    )
    ax.plot(time, blocks, drawstyle="steps-post", color=BLUE, linewidth=1.8)
    ax.fill_between(time, 0, blocks, step="post", color=SKY, alpha=0.3, linewidth=0)
    used = getattr(getattr(solution, "network", None), "n_neurons", None)
    if used is not None:
        ax.axhline(used, color=VERMILION, linestyle="--", linewidth=1.4)
        ax.annotate(
            f"{used} neurons in the solution",
            (0.99, used),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            fontsize="small",
        )
    ax.set_ylabel("active blocks")
    ax.set_ylim(0, 1.12 * max(float(blocks.max()), used or 0, 1.0))
    gap = np.where(np.isfinite(upper), upper - lower, np.nan) / np.maximum(np.abs(upper), 1e-300)
    below = lower_part(ax)
    below.plot(time, np.where(gap > 0, gap, np.nan), drawstyle="steps-post", color="black", linewidth=1.4)
    below.set_yscale("log")
    if tol is not None:
        below.axhline(tol, color="black", linestyle=":", linewidth=1.0)
        below.set_ylim(bottom=min(0.4 * tol, below.get_ylim()[0]))
    below.set_ylabel("relative gap")
    below.set_xlabel("time (s)")
    for part in (ax, below):
        tidy(part)
    return ax


def plot_growth(growth: Any, ax: Any = None) -> Any:
    """Objective and lower bound against the number of gates while patterns grow, and the largest price below.

    Parameters
    ----------
    growth : Growth
        Result of :func:`convexadv.grow_patterns`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given. The axes are divided.

    Returns
    -------
    matplotlib Axes
        The upper part; its figure's last axes are the lower one.

    Examples
    --------
    >>> import convexadv as ca
    >>> from convexadv.datasets import load, standardise
    >>> data = load("wdbc")
    >>> X, y = standardise(data.X).apply(data.X)[:200], data.y[:200]
    >>> from convexadv.plotting import plot_growth
    >>> problem = ca.ReLUProblem(X, y, n_gates=2, beta=0.01, loss="squared_hinge")
    >>> growth = ca.grow_patterns(problem, rounds=1, candidates=20, tol=1e-3)
    >>> plot_growth(growth).figure.axes[-1].get_xlabel()
    'gates'
    """
    ax = axes_or_new(ax, (6.4, 4.6))
    gates, upper, lower, price = (
        np.array([getattr(each, name) for each in growth.rounds], float)
        for name in ("gates", "objective", "lower_bound", "largest_price")
    )
    ax.plot(gates, upper, color=VERMILION, marker="o", linewidth=1.8, label="objective")
    ax.plot(gates, lower, color=BLUE, marker="s", markersize=4, linestyle="--", label="lower bound over these gates")
    ax.set_ylabel("objective")
    ax.legend(fontsize="small", frameon=False)
    below = lower_part(ax)
    below.plot(gates, price, color="black", marker="^", linewidth=1.4)
    below.axhline(1.0, color="black", linestyle=":", linewidth=1.0)
    below.set_ylabel("best price / beta")
    below.set_xlabel("gates")
    for part in (ax, below):
        tidy(part)
    return ax
