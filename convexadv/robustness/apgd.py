"""Projected gradient ascent that finds its own step sizes (APGD)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .pgd import LossFunction, Neighbourhood, better, evaluate

_MOMENTUM = 0.75
_RISES = 0.75  # steps between two checks that must raise the loss, or the step size is halved
_FIRST, _SHRINK, _SHORTEST = 22, 3, 6  # distances of the checks, in hundredths of all steps


def checkpoints(steps: int) -> set[int]:
    """Count the steps after which APGD looks at its progress.

    With p_0 = 0, p_1 = 0.22 and ``p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)``, they are the numbers
    ``ceil(p_j steps)``.

    Parameters
    ----------
    steps : int
        Steps of the whole run.

    Returns
    -------
    set of int
        Within 1..steps.
    """
    found, place, distance = set(), _FIRST, _FIRST
    while place <= 100:
        found.add(-(-place * steps // 100))
        distance = max(distance - _SHRINK, _SHORTEST)
        place += distance
    return found


def auto_projected_gradient(
    loss_fn: LossFunction,
    x0: torch.Tensor,
    ball: Neighbourhood,
    steepest: Callable[[torch.Tensor], torch.Tensor],
    steps: int,
    step_size: float | None = None,
) -> torch.Tensor:
    """Increase a loss of each row by steps with momentum, which are halved where they do not help.

    ``z = P(x_k + eta s(gradient))``, ``x_(k+1) = P(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_(k-1)))``, with the
    projection P and the steepest direction s. At a checkpoint a row halves eta, and goes back to the point of its
    highest loss, if fewer than 75 % of the steps since the last checkpoint have raised its loss, or if neither eta nor
    the highest loss has changed since then (Croce, Hein, ICML 2020, arXiv 2003.01690, algorithm 1). Each step takes
    one evaluation and one gradient.

    Parameters
    ----------
    loss_fn : callable
        As of :func:`projected_gradient`.
    x0 : tensor (n, d)
        Where to start, in the neighbourhood.
    ball : Neighbourhood
        The points allowed.
    steepest : callable
        Direction of a step from the gradient, e.g. :meth:`Neighbourhood.steepest`.
    steps : int
        Number of steps.
    step_size : float, optional
        The first eta, in the units of x; twice the radius if not given.

    Returns
    -------
    tensor (n, d)
        The points of the largest merit over all steps.

    Raises
    ------
    InputError
        If the loss cannot be differentiated.
    """
    x = previous = x0.detach()
    loss, merit, gradient = evaluate(loss_fn, x)
    best, best_merit = better(x, merit, x, None)
    peak, peak_loss, peak_gradient = x, loss, gradient
    eta = 2 * ball.radius.to(x.dtype)[:, None]
    eta = eta if step_size is None else torch.full_like(eta, step_size)
    halved, peak_then, rises, last = torch.ones_like(loss, dtype=torch.bool), peak_loss, torch.zeros_like(loss), 0
    checks = checkpoints(steps)
    for step in range(1, steps + 1):
        z = ball.project(x + eta * steepest(gradient))
        if step > 1:
            z = ball.project(x + _MOMENTUM * (z - x) + (1 - _MOMENTUM) * (x - previous))
        previous, x, loss_before = x, z, loss
        loss, merit, gradient = evaluate(loss_fn, x, gradient=step < steps)
        best, best_merit = better(x, merit, best, best_merit)
        if step == steps:
            break
        rises += loss > loss_before
        higher = (loss > peak_loss) | torch.isnan(peak_loss)
        peak_loss = torch.where(higher, loss, peak_loss)
        peak = torch.where(higher[:, None], x, peak)
        peak_gradient = torch.where(higher[:, None], gradient, peak_gradient)
        if step in checks:
            halved = (rises < _RISES * (step - last)) | (~halved & (peak_loss <= peak_then))
            back = halved[:, None]
            eta = torch.where(back, eta / 2, eta)
            x, previous = torch.where(back, peak, x), torch.where(back, peak, previous)
            gradient, loss = torch.where(back, peak_gradient, gradient), torch.where(halved, peak_loss, loss)
            peak_then, rises, last = peak_loss, torch.zeros_like(loss), step
    return best
