"""Figures for files, apart from the global state of pyplot."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

from .._atomic import atomic_write
from ..errors import InputError
from .style import require_matplotlib


def new_figure(columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """A figure for a file, with axes side by side, apart from the global state of pyplot.

    Parameters
    ----------
    columns : int
    size : (width, height)
        In inches.

    Returns
    -------
    figure : matplotlib Figure
    axes : list of matplotlib Axes

    Examples
    --------
    >>> from convexadv.plotting import new_figure
    >>> figure, axes = new_figure(columns=2, size=(8.0, 3.0))
    >>> len(axes), figure.get_size_inches().tolist()
    (2, [8.0, 3.0])
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure to a .png, .pdf or .svg file, which is complete or absent.

    Parameters
    ----------
    figure : matplotlib Figure
    path : str or path-like
        The suffix is the format.

    Raises
    ------
    InputError
        If the format is unknown or the file cannot be created.

    Examples
    --------
    >>> from pathlib import Path
    >>> from convexadv.plotting import new_figure, save_figure
    >>> figure, (ax,) = new_figure(1, (3.0, 2.0))
    >>> save_figure(figure, "figure.svg")
    >>> Path("figure.svg").exists()
    True
    """
    kind = os.path.splitext(os.fspath(path))[1].lower().removeprefix(".")
    if kind not in ("png", "pdf", "svg"):
        raise InputError(f"{os.fspath(path)} has no known format; a name that ends in .png, .pdf or .svg is needed.")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=160)
    with atomic_write(path, "wb") as file:
        file.write(buffer.getvalue())
