"""Margins of a model on planes through its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from .style import axes_or_new, require_matplotlib

_LEVELS = 17


def plot_margin_surface(surface: Any, ax: Any = None, row: int | None = None) -> Any:
    """Margin along the steepest and along a random direction, with the line on which it is zero.

    Where gradients show what they should, the margin falls smoothly to the right and hardly changes upwards. A cliff, a
    plateau around the middle or waves are signs that attacks by gradients are fooled.

    Parameters
    ----------
    surface : MarginSurface
        Of :func:`convexadv.heads.margin_surface`, or ``surface`` of a ``MaskingReport``.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given. A colour bar is put beside it.
    row : int, optional
        Number of the input whose plane is drawn; by default the mean margin over all inputs of the surface.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If the surface has no such input.

    Examples
    --------
    >>> import torch
    >>> from convexadv.heads import margin_surface
    >>> from convexadv.plotting import plot_margin_surface
    >>> model = torch.nn.Linear(2, 1, bias=False).requires_grad_(False)
    >>> _ = model.weight.copy_(torch.tensor([[1.0, 0.0]]))  # f(x) = x_0
    >>> surface = margin_surface(model, torch.tensor([[0.5, 0.0]]), [1], radius=1.0, norm="l2")
    >>> plot_margin_surface(surface).get_title()
    'margin of input 0'
    """
    require_matplotlib()
    margins = np.asarray(surface.margins, float)
    count = len(margins)
    if row is not None and not 0 <= row < count:
        raise InputError(f"row is {row!r}; the surface has the inputs 0 to {count - 1}: use one.")
    ax = axes_or_new(ax, (5.4, 4.4))
    one = row is not None or count == 1
    heights = margins[row or 0] if one else margins.mean(0)
    largest = float(np.abs(heights).max()) or 1.0
    levels = np.linspace(-largest, largest, _LEVELS)
    # the steepest direction is the first axis of the margins and runs to the right
    filled = ax.contourf(surface.axis, surface.axis, heights.T, levels=levels, cmap="PuOr")
    if heights.min() < 0.0 < heights.max():
        ax.contour(surface.axis, surface.axis, heights.T, levels=[0.0], colors="black", linewidths=1.8)
    ax.plot(0.0, 0.0, "o", color="black", markersize=4.5)
    ax.figure.colorbar(filled, ax=ax, label="margin")
    ax.set_xlabel("steepest direction, radii")
    ax.set_ylabel("random direction, radii")
    ax.set_title(f"margin of input {row or 0}" if one else f"mean margin of {count} inputs")
    return ax
