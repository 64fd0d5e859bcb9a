"""Gradient attacks on any torch module, in raw inputs: upper bounds of the worst-case margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import Array, is_tensor, to_numpy
from .._network import class_margins
from ..balls import check_norm
from ..errors import InputError
from ..problems.labels import per_row
from ._arguments import (
    LossOfScores,
    Scorer,
    Settings,
    attack_settings,
    box,
    device_of,
    evaluation_mode,
    float_rows,
    generator,
    scorer,
    targets,
)
from ._query import positive_integer
from .pgd import Neighbourhood, projected_gradient


@dataclass(frozen=True, eq=False, repr=False)
class AttackResult:
    """Points found by an attack; arrays of the kind of X.

    Attributes
    ----------
    points : (n, d) or the shape of X
        The attacked rows: within the radius to 1e-12 relative, inside the box exactly. A row that is
        misclassified without an attack keeps its own point.
    success : (n,) bool
        Whether another label than y is predicted at the point.
    scores : (n,) or (n, C)
        Outputs of the network at the points.
    margins : (n,)
        Margins at the points: upper bounds of the worst-case margins.
    method : str
        "fgsm" or "pgd".
    norm : str
        "l1", "l2" or "linf".
    radius : float or (n,)
        As given.
    """

    points: Array
    success: Array
    scores: Array
    margins: Array
    method: str
    norm: str
    radius: Any

    def __repr__(self) -> str:
        radius = f"{self.radius:g}" if np.ndim(self.radius) == 0 else "per row"
        counts = f"rows={len(self.success)}, success={int(self.success.sum())}"
        return f"AttackResult(method={self.method!r}, norm={self.norm!r}, radius={radius}, {counts})"


def attack(
    network: torch.nn.Module,
    X: Array,
    y: Any,
    radius: Any,
    norm: str = "linf",
    method: str = "pgd",
    bounds: tuple[Any, Any] | None = None,
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 5,
    random_state: int | torch.Generator | None = 0,
    batch_size: int | None = None,
    loss: str | LossOfScores | None = None,
) -> AttackResult:
    """Search the ball around each row for a point of another class.

    FGSM takes one step of the whole radius along the steepest direction of the loss. PGD takes projected
    steps from the row itself and from random points of its ball, and keeps the point of lowest margin of each
    row. The module is used in evaluation mode and left as it was; no gradient is stored on its parameters.

    Parameters
    ----------
    network : torch.nn.Module
        Any differentiable module with one score a row, (n,) or (n, 1), positive for the second class, or one
        a class, (n, C).
    X : array or tensor (n, d) or (n, ...)
        Raw inputs; images keep their shape.
    y : array-like (n,)
        Labels out of ``network.classes`` if the module has them; else 0..C-1, or for one score the two values
        that occur, in sorted order (0 and 1, or -1 and 1, if only one value occurs).
    radius : float or array (n,)
        Radius of the ball in the units of X, of every row or of each.
    norm : "linf", "l2" or "l1"
        Norm of the ball.
    method : "pgd" or "fgsm"
        The attack.
    bounds : tuple (low, high), optional
        Box that the inputs live in: numbers, (d,) arrays or anything that broadcasts to a row; rounded to the
        precision of X. The rows must lie in it.
    steps : int
        Steps of PGD from each start.
    step_size : float, optional
        Constant length of the steps in the units of X. By default step k = 0..K-1 has the length
        ``(10 r / K) (1 + cos(pi k / K))``, and the first one is r: the step of FGSM.
    restarts : int
        Starts of PGD: the first at the row, the others uniform in its ball.
    random_state : int, torch.Generator (on the CPU) or None
        Seed of the random starts; None draws it from the system. The global generator is not used.
    batch_size : int, optional
        Rows evaluated together; all by default.
    loss : "margin", "cross_entropy" or callable, optional
        What the steps increase: ``max over c != y of f_c - f_y`` (default), the cross-entropy, or a function
        of the scores (n,) or (n, C) and the class numbers (n,) that returns a loss a row (n,).

    Returns
    -------
    AttackResult
        NumPy arrays for an array X, tensors on the device of X for a tensor.

    Raises
    ------
    InputError
        For an argument that does not fit, a row outside of the box, scores that are not finite, or a module
        that is not differentiable.
    """
    settings = attack_settings(network, method, steps, step_size, restarts, loss)
    check_norm(norm, ("linf", "l2", "l1"))
    rows = float_rows(X)
    n, shape = len(rows), tuple(rows.shape[1:])
    flat = rows.reshape(n, -1)
    radii = torch.as_tensor(per_row("radius", radius, n), device=flat.device)
    low, high = box(bounds, flat, shape)
    noise = generator(random_state)
    size = n if batch_size is None else positive_integer("batch_size", batch_size)
    parts = []
    with evaluation_mode(network), torch.inference_mode(False), torch.enable_grad():
        score = scorer(network, shape)
        device = device_of(network, flat)
        with torch.no_grad():
            probe = score(flat[:1].to(device))
        target = targets(network, y, n, probe)
        place = [None if side is None else side.to(device) for side in (low, high)]
        for start in range(0, n, size):
            part = slice(start, start + size)
            ball = Neighbourhood(flat[part].to(device).clone(), radii[part].to(device), norm, *place)
            batch = _attack_batch(score, target[part].to(device), ball, settings, noise)
            parts.append([value.detach().to(flat.device) for value in batch])
    points, success, scores, margins = (torch.cat(column) for column in zip(*parts, strict=True))
    arrays: list[Array] = [points.reshape(rows.shape), success, scores, margins]
    if not is_tensor(X):
        arrays = [to_numpy(array) for array in arrays]
    return AttackResult(arrays[0], arrays[1], arrays[2], arrays[3], method, norm, radius)


def _attack_batch(
    score: Scorer,
    target: torch.Tensor,
    ball: Neighbourhood,
    settings: Settings,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Attack the rows of one batch that are classified correctly."""
    points = ball.rows.clone()
    with torch.no_grad():
        scores = score(points)
        if not bool(torch.isfinite(scores).all()):
            raise InputError("The scores of the network are not finite on the rows that are attacked.")
        todo = torch.nonzero(_decision(scores) == target)[:, 0]
    if len(todo):
        points[todo] = _attack_rows(score, target[todo], ball[todo], settings, generator)
        with torch.no_grad():
            scores = score(points)
    return points, _decision(scores) != target, scores, class_margins(scores, target)


def _attack_rows(
    score: Scorer,
    target: torch.Tensor,
    ball: Neighbourhood,
    settings: Settings,
    generator: torch.Generator,
) -> torch.Tensor:
    """Find the point of lowest margin (FGSM: its only point) around rows that are classified correctly."""

    def loss_fn(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = score(x)
        return settings.loss(scores, target), -class_margins(scores, target)

    steps = settings.step_sizes(ball.radius.to(ball.rows.dtype))
    if settings.method == "fgsm":
        point = projected_gradient(loss_fn, ball.rows, ball.project, ball.steepest, steps, keep="last")
        return ball.settle(point)
    best = ball.rows
    lowest = torch.full_like(ball.radius, torch.inf)
    for restart in range(settings.restarts):
        start = ball.rows if restart == 0 else ball.sample(generator)
        point = ball.settle(projected_gradient(loss_fn, start, ball.project, ball.steepest, steps))
        with torch.no_grad():
            margin = class_margins(score(point), target)
        wins = margin < lowest
        best, lowest = torch.where(wins[:, None], point, best), torch.where(wins, margin.double(), lowest)
    return best


def _decision(scores: torch.Tensor) -> torch.Tensor:
    return (scores > 0).long() if scores.ndim == 1 else scores.argmax(1)
