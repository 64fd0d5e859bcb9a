"""Colours, markers and axes that all plots share."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..errors import InputError

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
CYCLE = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY, YELLOW)
CLASS_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("////", "\\\\\\\\", "....", "xxxx")


def require_matplotlib() -> None:
    """Raise InputError if there is nothing to draw with."""
    if find_spec("matplotlib") is None:
        raise InputError("plots need the package matplotlib; pip install 'convexadv[plot]' brings it.")


def axes_or_new(ax: Any, size: tuple[float, float]) -> Any:
    """The axes given, or those of a new figure of that size in inches, which notebooks show."""
    if ax is not None:
        return ax
    require_matplotlib()
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def tidy(ax: Any) -> None:
    """A light grid behind the data, and no frame above and to the right."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


def history_of(solution: Any) -> Any:
    """The records of a solution, or records given as such; InputError if there are none."""
    history = getattr(solution, "history", solution)
    if not history:
        raise InputError("the solution has no history (conic solvers keep none); one of solver='torch' is needed.")
    return history
