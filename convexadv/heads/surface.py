"""Margins of a model around its inputs, along the steepest and along a random direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import Array, to_numpy
from ..networks.network import class_margins
from ..robustness.arguments import box, classes_of, device_of, evaluation_mode, float_rows, positions, scorer
from ..robustness.pgd import Neighbourhood, evaluate, unit_ball

_NEAR = 0.1
"""Length of the step, in radii, over which margins are compared."""
_ROWS, _POINTS = 16, 17


@dataclass(frozen=True, eq=False)
class MarginSurface:
    """Margins on a plane through each of some inputs.

    Attributes
    ----------
    axis : (k,)
        Steps along both directions, in radii, from -1 to 1.
    margins : (m, k, k)
        Margins of m inputs, in the units of the scores; the first axis of the plane is the steepest direction of the
        margin downwards, the second a random one of the same norm. Inputs are cut to the box.
    gradient_drop, random_drop : float
        Mean fall of the margin over a tenth of the radius along each, over the inputs, in the units of the scores.
    flat : float
        Fraction of the inputs at which the gradient is zero.
    """

    axis: np.ndarray
    margins: np.ndarray
    gradient_drop: float
    random_drop: float
    flat: float


def margin_surface(
    model: torch.nn.Module,
    X: Array,
    y: Any,
    radius: float,
    norm: str = "linf",
    bounds: tuple[Any, Any] | None = None,
    *,
    rows: int = _ROWS,
    points: int = _POINTS,
    random_state: int = 0,
) -> MarginSurface:
    """Evaluate the margins of the first inputs around them.

    Parameters
    ----------
    model, X, y, norm, bounds
        As of :func:`convexadv.attack`.
    radius : float
        Length of the axes, in the units of X.
    rows : int
        Inputs for the planes; drops and flat gradients are measured on ten times as many.
    points : int
        Steps of an axis.
    random_state : int
        Seed of the random directions.

    Returns
    -------
    MarginSurface

    Raises
    ------
    InputError
        As :func:`convexadv.attack`.

    Examples
    --------
    >>> import torch
    >>> from convexadv.heads import margin_surface
    >>> model = torch.nn.Linear(2, 1, bias=False).requires_grad_(False)
    >>> _ = model.weight.copy_(torch.tensor([[1.0, 0.0]]))  # f(x) = x_0
    >>> surface = margin_surface(model, torch.tensor([[0.5, 0.0]]), [1], radius=1.0, norm="l2", points=3)
    >>> surface.axis.tolist(), surface.margins[0, :, 1].tolist()
    ([-1.0, 0.0, 1.0], [1.5, 0.5, -0.5])
    """
    inputs = float_rows(X)[: 10 * rows]
    shape, n = tuple(inputs.shape[1:]), len(inputs)
    flat = inputs.reshape(n, -1)
    low, high = box(bounds, flat, shape)
    score, device = scorer(model, shape), device_of(model, flat)
    place = [None if side is None else side.to(device) for side in (low, high)]
    ball = Neighbourhood(flat.to(device), torch.full((n,), float(radius), device=device), norm, *place)
    generator = torch.Generator().manual_seed(random_state)
    with evaluation_mode(model), torch.inference_mode(False), torch.enable_grad():
        with torch.no_grad():
            probe = score(ball.rows[:1])
        labels = np.asarray(to_numpy(y))
        index = positions(classes_of(model, [labels], probe), labels, len(labels))[:n].to(device)

        def fall(x: torch.Tensor) -> torch.Tensor:
            return -class_margins(score(x), index)

        start, _, gradient = evaluate(fall, ball.rows)
        down = ball.steepest(gradient)
        other = ball.steepest(unit_ball(down.shape, norm, down.dtype, generator).to(down))
        with torch.no_grad():
            drops = [float((fall(_moved(ball, _NEAR * radius * way)) - start).mean()) for way in (down, other)]
            axis = np.linspace(-1.0, 1.0, points)
            few = min(rows, n)
            margins = np.empty((few, points, points))
            part, own = ball[slice(0, few)], index[:few]
            for i, a in enumerate(axis):
                for j, b in enumerate(axis):
                    moved = _moved(part, radius * (float(a) * down[:few] + float(b) * other[:few]))
                    margins[:, i, j] = to_numpy(class_margins(score(moved), own))
    return MarginSurface(axis, margins, drops[0], drops[1], float((~down.any(1)).double().mean()))


def _moved(ball: Neighbourhood, delta: torch.Tensor) -> torch.Tensor:
    points = ball.rows + delta
    return points if ball.low is None or ball.high is None else torch.clip(points, ball.low, ball.high)
