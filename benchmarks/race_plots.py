"""Suboptimality against time: one figure a problem of the race table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from convexadv.plotting import new_figure, save_figure
from convexadv.plotting.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, tidy

_GREY, _BLACK = "0.55", "0.1"
STYLES = {
    "torch": ("convexadv, CPU", VERMILION, "o"),
    "torch-cuda": ("convexadv, GPU", ORANGE, "*"),
    "CLARABEL": ("CLARABEL", BLUE, "s"),
    "SCS": ("SCS", SKY, "^"),
    "MOSEK": ("MOSEK", _BLACK, "v"),
    "pyscnn": ("pyscnn", GREEN, "D"),
    "ADMM": ("ADMM (CRONOS)", PURPLE, "P"),
    "penalty": ("penalty method", PURPLE, "X"),
    "Adam": ("Adam, non-convex", _GREY, "d"),
    "Adam, worst case": ("Adam, worst case", GREEN, "d"),
    "Adam, plain": ("Adam, plain", _GREY, "p"),
}
"""Label, colour and marker of every solver."""
_FLOOR, _SOON = 1e-9, 1e-4
_MARKERS = 8


def file_name(problem: str) -> str:
    """Of the figure of a problem."""
    return f"race-{problem}.png"


def best_bound(rows: list[dict[str, Any]]) -> float | None:
    """The best certified bound on the optimum of a problem, whoever proved it."""
    bounds = [row[key] for row in rows for key in ("lower_bound", "best_bound") if row.get(key) is not None]
    return max(bounds, default=None)


def distances(points: list[list[float]], bound: float) -> list[tuple[float, float]]:
    """Seconds and the best suboptimality (objective - bound) / bound so far.

    A point off the cones is worth the larger one of its violation and the distance of its objective.
    """
    lowest, line = math.inf, []
    for seconds, objective, violation in points:
        excess = objective / bound - 1.0
        lowest = min(lowest, max(abs(excess), violation) if violation > 0 else excess)
        line.append((seconds, lowest))
    return line


def draw(problem: str, rows: list[dict[str, Any]], folder: Path) -> Path | None:
    """The figure of a problem; None where nobody has a bound.

    Parameters
    ----------
    problem : str
    rows : list of dict
        Of the table, with ``points``.
    folder : Path
    """
    bound = best_bound(rows)
    if bound is None or not bound > 0:
        return None
    figure, (ax,) = new_figure(1, (6.4, 4.6))
    for row in rows:
        if row.get("points"):
            _line(ax, row, bound)
        if row.get("bounds"):
            _gap(ax, row, bound)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("seconds")
    ax.set_ylabel("(objective - best bound) / best bound")
    tidy(ax)
    figure.legend(loc="outside lower center", ncols=3, fontsize=7.5, frameon=False)
    figure.suptitle(problem, fontsize=10)
    path = folder / file_name(problem)
    save_figure(figure, path)
    return path


def _line(ax: Any, row: dict[str, Any], bound: float) -> None:
    label, colour, marker = STYLES[row["solver"]]
    line = distances(row["points"], bound)
    shown = [(max(seconds, _SOON), max(value, _FLOOR)) for seconds, value in line if value > 0]
    if len(shown) < len(line):
        label += " (below the bound)"
    x, y = zip(*shown, strict=True) if shown else ((), ())
    every = max(1, len(x) // _MARKERS)
    ax.plot(x, y, label=label, color=colour, marker=marker, markevery=every, markersize=5, linewidth=1.5)


def _gap(ax: Any, row: dict[str, Any], bound: float) -> None:
    label, colour, _ = STYLES[row["solver"]]
    pairs = zip(row["points"], row["bounds"], strict=True)
    known = [(point, lower) for point, (_, lower) in pairs if lower is not None and math.isfinite(lower)]
    gaps = [(point[0], (point[1] - lower) / bound) for point, lower in known if point[1] > lower]
    x, y = zip(*gaps, strict=True) if gaps else ((), ())
    ax.plot(x, y, "--", color=colour, linewidth=1.2, label=f"{label}: certified gap")
