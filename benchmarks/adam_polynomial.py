"""The non-convex polynomial network trained by Adam, plainly or adversarially at the exact worst case: a baseline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.adam import BATCH
from benchmarks.clock import Clock, Points
from convexadv.quadratics import ball_minimum


def train(
    X: np.ndarray,
    sign: np.ndarray,
    radius: float,
    beta: float,
    activation: tuple[float, float, float],
    measure: Callable[[np.ndarray, np.ndarray], float],
    seconds: float,
    rate: float,
    neurons: int = 64,
    robust: bool = True,
    seed: int = 0,
    steps: int | None = None,
) -> Points:
    """True objectives over time of one run, hinge loss.

    f(x) = sum_j alpha_j s(u_j . x), u_j = v_j/||v_j||, penalty beta sum_j |alpha_j|. By Danskin's theorem a step at the worst
    perturbations of the moment is a subgradient step on the robust objective.

    Parameters
    ----------
    X : (n, d)
    sign : (n,) +-1
    radius, beta : float
    activation : (a, b, c)
    measure : callable
        From unit neurons (m, d) and coefficients (m,) to the objective; its time does not count.
    seconds : float
    rate : float
        First learning rate, which falls to zero along a cosine.
    neurons : int
    robust : bool
        Whether the rows move to their worst perturbation before every step.
    seed : int
    steps : int, optional
        Limit beside that of the time.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, y = torch.from_numpy(np.asarray(X, float)), torch.from_numpy(np.asarray(sign, float))
    n, d = rows.shape
    options = {"generator": generator, "dtype": torch.float64}
    vectors = (torch.randn(neurons, d, **options) / d**0.5).requires_grad_()
    output = (torch.randn(neurons, **options) / neurons).requires_grad_()
    adam = torch.optim.Adam([vectors, output], lr=rate)

    def measured() -> float:
        units = torch.nn.functional.normalize(vectors.detach(), dim=1)
        return measure(units.numpy(), output.detach().numpy().copy())

    clock, order = Clock(seconds, measured, steps), torch.empty(0, dtype=torch.long)
    while clock.tick():
        if not len(order):
            order = torch.randperm(n, generator=generator)
        batch, order = order[:BATCH], order[BATCH:]
        adam.param_groups[0]["lr"] = rate * clock.cosine()
        adam.zero_grad()
        units = torch.nn.functional.normalize(vectors, dim=1)
        points = rows[batch]
        if robust:
            points = points + worst_perturbations(points, y[batch], units.detach(), output.detach(), radius, activation)
        margins = y[batch] * (_activated(points @ units.T, activation) @ output)
        ((1.0 - margins).clamp_min(0.0).mean() + beta * output.abs().sum()).backward()
        adam.step()
    return clock.points


def _activated(t: torch.Tensor, activation: tuple[float, float, float]) -> torch.Tensor:
    a, b, c = activation
    return (a * t + b) * t + c


@torch.no_grad()
def worst_perturbations(
    points: torch.Tensor,
    y: torch.Tensor,
    units: torch.Tensor,
    output: torch.Tensor,
    radius: float,
    activation: tuple[float, float, float],
) -> torch.Tensor:
    """(n, d) minimisers of y_i f(x_i + delta) over ||delta||_2 <= radius, one eigendecomposition for all rows."""
    a, b, _ = activation
    quadratic = a * (units.T * output) @ units
    slope = points @ quadratic + 0.5 * b * (output @ units)
    curvature, basis = torch.linalg.eigh(quadratic)
    radii = torch.full((len(points),), radius, dtype=points.dtype)
    return ball_minimum(y[:, None] * curvature, y[:, None] * (slope @ basis), radii).point @ basis.T
