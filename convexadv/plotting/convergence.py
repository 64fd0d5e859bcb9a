"""Objective and lower bound over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .style import BLUE, SKY, VERMILION, axes_or_new, history_of, tidy


def plot_convergence(solution: Any, ax: Any = None, tol: float | None = None) -> Any:
    """Objective and lower bound over time, the gap between them shaded, and the relative gap below.

    Parameters
    ----------
    solution : Solution or list of Record
        Whose history is drawn; values hold until the next record.
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
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> from convexadv.plotting import plot_convergence
    >>> solution = ca.solve(ca.PolynomialProblem(X, y, radius=0.2, beta=0.01))
    >>> plot_convergence(solution, tol=1e-4).get_ylabel()
    'objective'
    """
    history = history_of(solution)
    ax = axes_or_new(ax, (6.4, 4.6))
    time, upper, lower = (
        np.array([getattr(record, name) for record in history]) for name in ("time", "objective", "lower_bound")
    )
    upper, lower = (np.where(np.isfinite(values), values, np.nan) for values in (upper, lower))
    gap = (upper - lower) / np.maximum(np.abs(upper), 1e-300)
    final = f" (final {gap[-1]:.1e})" if np.isfinite(gap[-1]) else ""
    ax.fill_between(time, lower, upper, step="post", color=SKY, alpha=0.3, linewidth=0, label=f"certified gap{final}")
    ax.plot(time, upper, drawstyle="steps-post", color=VERMILION, linewidth=1.8, label="objective")
    ax.plot(time, lower, drawstyle="steps-post", color=BLUE, linewidth=1.8, linestyle="--", label="lower bound")
    ax.set_ylabel("objective")
    _focus(ax, upper, lower)
    ax.legend(loc="upper center", ncols=3, fontsize="small", framealpha=0.9, edgecolor="none")
    below = lower_part(ax)
    below.plot(time, np.where(gap > 0, gap, np.nan), drawstyle="steps-post", color="black", linewidth=1.4)
    below.set_yscale("log")
    if tol is not None:
        below.axhline(tol, color="black", linestyle=":", linewidth=1.0)
        below.annotate(
            f"tolerance {tol:g}",
            (0.01, tol),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize="small",
        )
        below.set_ylim(bottom=min(0.4 * tol, below.get_ylim()[0]))
    below.set_ylabel("relative gap")
    below.set_xlabel("time (s)")
    if time[0] < 0.3 * time[-1]:
        below.set_xlim(left=0.0)
    for part in (ax, below):
        tidy(part)
    return ax


def lower_part(ax: Any) -> Any:
    """New axes under the given ones, in the place that these leave free."""
    place = ax.get_subplotspec()
    if place is None:  # axes at a fixed position
        x, y, width, height = ax.get_position().bounds
        ax.set_position([x, y + 0.4 * height, width, 0.6 * height])
        below = ax.figure.add_axes([x, y, width, 0.35 * height], sharex=ax)
    else:
        grid = place.subgridspec(2, 1, height_ratios=[1.7, 1.0], hspace=0.05)
        ax.set_subplotspec(grid[0])
        below = ax.figure.add_subplot(grid[1], sharex=ax)
    ax.tick_params(labelbottom=False)
    return below


def _focus(ax: Any, upper: np.ndarray, lower: np.ndarray) -> None:
    """Limits that show how the bounds meet, not the first trivial ones far away."""
    start = len(upper) // 4
    last = upper[-1] if np.isfinite(upper[-1]) else lower[-1]
    least = 1e-9 + 1e-3 * abs(last)
    above = np.nanmax(np.append(upper[start:] - last, least))
    beneath = np.nanmax(np.append(last - lower[start:], least))
    if np.isfinite(last):
        place = 0.25 * (above + beneath)  # for the legend
        ax.set_ylim(last - 1.2 * beneath, last + 1.2 * above + place)
