"""Projected gradient ascent on balls around rows, cut by a box: the one core of all gradient attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .. import balls
from .._arrays import Array, namespace
from ..errors import InputError

LossFunction = Callable[[torch.Tensor], "torch.Tensor | tuple[torch.Tensor, torch.Tensor]"]

_HALVINGS = 60


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The points within a radius of rows, and inside a box.

    Attributes
    ----------
    rows : tensor (n, d)
        Centres; inside the box.
    radius : tensor (n,)
        Radii in the units of the rows.
    norm : "l1", "l2" or "linf"
        Norm of the balls.
    low, high : tensor (d,) or None
        The box; None for no box.
    """

    rows: torch.Tensor
    radius: torch.Tensor
    norm: str
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None

    def __getitem__(self, index: Any) -> Neighbourhood:
        return Neighbourhood(self.rows[index], self.radius[index], self.norm, self.low, self.high)

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """Move points to the nearest ones of the neighbourhood: ball up to rounding, box exactly.

        Parameters
        ----------
        points : tensor (n, d)
            Any points.

        Returns
        -------
        tensor (n, d)
        """
        delta = points - self.rows
        if self.low is None or self.high is None:
            return self.rows + balls.project(delta, self.radius, self.norm)
        low, high = self.low - self.rows, self.high - self.rows
        if self.norm == "linf":
            nearest = balls.project_in_box(delta, self.radius, self.norm, low, high)
        else:  # where the nearest point of the box is too far away
            nearest = torch.clip(delta, low, high)
            far = torch.nonzero(balls.gauge(nearest, self.norm) > self.radius)[:, 0]
            if len(far):
                project = _project_l1_in_box if self.norm == "l1" else partial(balls.project_in_box, norm="l2")
                nearest[far] = project(delta[far], self.radius[far], low=low[far], high=high[far])
        return torch.clip(self.rows + nearest, self.low, self.high)

    def settle(self, points: torch.Tensor) -> torch.Tensor:
        """Project points so that rounding leaves none outside: ball to 1e-12 relative, box exactly.

        A coordinate that rounding has moved away from its row goes back by one unit in the last place, which
        is more than the rounding error.

        Parameters
        ----------
        points : tensor (n, d)
            Any points.

        Returns
        -------
        tensor (n, d)
        """
        centre = self.rows.double()
        delta = balls.project(points.double() - centre, self.radius, self.norm)
        points = (centre + delta).to(self.rows.dtype)
        if self.low is not None and self.high is not None:
            points = torch.clip(points, self.low, self.high)
        too_far = (points.double() - centre).abs() > delta.abs()
        return torch.where(too_far, torch.nextafter(points, self.rows), points)

    def steepest(self, gradient: torch.Tensor) -> torch.Tensor:
        """Take the direction of norm one along which the linear model of the loss grows most.

        Parameters
        ----------
        gradient : tensor (n, d)
            Gradient of the loss of each row.

        Returns
        -------
        tensor (n, d)
            As :func:`steepest`.
        """
        return steepest(torch.nan_to_num(gradient), self.norm)

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """Draw one point a row, uniform in the ball, then projected on the box.

        Parameters
        ----------
        generator : torch.Generator
            On the CPU, so that every device draws the same points.

        Returns
        -------
        tensor (n, d)
        """
        return self.scaled(unit_ball(self.rows.shape, self.norm, self.rows.dtype, generator))

    def scaled(self, delta: torch.Tensor) -> torch.Tensor:
        """Move the rows by a part of their radii, as far as the box allows.

        Parameters
        ----------
        delta : tensor (n, d)
            Points of the unit ball.

        Returns
        -------
        tensor (n, d)
            ``rows + radius * delta``, projected.
        """
        radius = self.radius.to(self.rows.dtype)[:, None]
        return self.project(self.rows + radius * delta.to(self.rows))


def unit_ball(shape: Sequence[int], norm: str, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """Draw points uniformly in the ball of radius one.

    Parameters
    ----------
    shape : (n, d)
        Number and dimension of the points.
    norm : "l1", "l2" or "linf"
        Norm of the ball.
    dtype : torch.dtype
        Precision of the points.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    tensor (n, d)
    """
    n, d = shape
    if norm == "linf":
        return 2 * torch.rand(shape, generator=generator, dtype=dtype) - 1
    if norm == "l1":  # of d + 1 exponential variables divided by their sum, d are uniform in the simplex
        share = torch.empty((n, d + 1), dtype=dtype).exponential_(generator=generator)
        sign = 2.0 * torch.randint(2, (n, d), generator=generator) - 1.0
        return sign.to(share) * share[:, :-1] / share.sum(1, keepdim=True)
    delta = torch.randn(shape, generator=generator, dtype=dtype)
    length = torch.rand((n, 1), generator=generator, dtype=dtype) ** (1 / d)
    return delta * (length / torch.linalg.vector_norm(delta, dim=1, keepdim=True))


def steepest(gradient: Array, norm: str) -> Array:
    """Find the directions of norm one along which linear functions grow most. NumPy and torch.

    Parameters
    ----------
    gradient : (n, d)
        Finite gradients.
    norm : "l1", "l2" or "linf"
        The norm.

    Returns
    -------
    (n, d)
        The sign for linf, the normalised gradient for l2, the sign of the largest entry (the first of them) for
        l1; zero where the gradient is zero.
    """
    xp = namespace(gradient)
    if norm == "linf":
        return xp.sign(gradient)
    tiny = xp.finfo(gradient.dtype).tiny
    size = abs(gradient)
    largest = xp.amax(size, -1)[:, None]
    if norm == "l1":
        hit = size == largest
        return xp.where(hit & (hit.cumsum(-1) == 1), xp.sign(gradient), xp.zeros_like(gradient))
    # Scaled by the largest entry first: squares of small gradients underflow.
    gradient = gradient / xp.clip(largest, tiny, None)
    return gradient / xp.clip(balls.gauge(gradient, "l2")[:, None], tiny, None)


def projected_gradient(
    loss_fn: LossFunction,
    x0: torch.Tensor,
    project: Callable[[torch.Tensor], torch.Tensor],
    steepest: Callable[[torch.Tensor], torch.Tensor],
    step_sizes: Sequence[float | torch.Tensor],
    keep: str = "best",
) -> torch.Tensor:
    """Increase a loss of each row by ``x <- project(x + step * steepest(gradient))``.

    The caller puts the model into the mode wanted (evaluation mode keeps the rows apart) and enables
    gradients. Only the inputs are differentiated: no gradient is left on a parameter.

    Parameters
    ----------
    loss_fn : callable
        Takes points (n, d); returns the loss of each row (n,), or a pair (loss, merit) of which the first is
        differentiated and the second decides which point of a row is best.
    x0 : tensor (n, d)
        Where to start.
    project : callable
        Projection on the points allowed, e.g. :meth:`Neighbourhood.project`.
    steepest : callable
        Direction of a step from the gradient, e.g. :meth:`Neighbourhood.steepest`.
    step_sizes : sequence of float or tensor (n, 1)
        One length a step, in the units of x.
    keep : "best" or "last"
        Whether the point of the largest merit over all steps is returned for each row, or the last one, which
        saves one evaluation.

    Returns
    -------
    tensor (n, d)

    Raises
    ------
    InputError
        If the loss cannot be differentiated.
    """
    x = best = x0.detach()
    best_merit: torch.Tensor | None = None
    for step in step_sizes:
        _, merit, gradient = evaluate(loss_fn, x)
        if keep == "best":
            best, best_merit = better(x, merit, best, best_merit)
        with torch.no_grad():
            x = project(x + step * steepest(gradient))
    if keep == "last":
        return x
    _, merit, _ = evaluate(loss_fn, x, gradient=False)
    return better(x, merit, best, best_merit)[0]


def evaluate(
    loss_fn: LossFunction, x: torch.Tensor, gradient: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute loss, merit and the gradient of the loss at points, all without a graph.

    Parameters
    ----------
    loss_fn : callable
        As of :func:`projected_gradient`.
    x : tensor (n, d)
        The points.
    gradient : bool
        Whether a gradient is wanted.

    Returns
    -------
    loss, merit : tensors (n,)
    gradient : tensor (n, d)
        The points themselves if no gradient is wanted.

    Raises
    ------
    InputError
        If the loss cannot be differentiated.
    """
    x = x.detach()
    if not gradient:
        with torch.no_grad():
            loss, merit = _loss_and_merit(loss_fn(x))
        return loss, merit, x
    leaf = x.requires_grad_(True)
    loss, merit = _loss_and_merit(loss_fn(leaf))
    if not loss.requires_grad:
        raise InputError("the loss has no gradient: the network must depend on its inputs differentiably.")
    (slope,) = torch.autograd.grad(loss.sum(), leaf)
    return loss.detach(), merit.detach(), slope


def better(
    x: torch.Tensor, merit: torch.Tensor, best: torch.Tensor, best_merit: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep the point with the larger merit in each row; one that is not finite never wins.

    Parameters
    ----------
    x, best : tensors (n, d)
        New points, and the best so far.
    merit, best_merit : tensors (n,)
        What they are worth; ``best_merit`` None if nothing is known of ``best``.

    Returns
    -------
    best : tensor (n, d)
    best_merit : tensor (n,)
    """
    if best_merit is None:
        best_merit = torch.full_like(merit, -torch.inf)
    wins = (merit > best_merit) & torch.isfinite(merit)
    return torch.where(wins[:, None], x, best), torch.where(wins, merit, best_merit)


def _project_l1_in_box(
    delta: torch.Tensor, radius: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> torch.Tensor:
    """Nearest points of l1 balls in boxes around zero: clip(shrink(delta, t), low, high) for the least t >= 0 that fits.

    The norm falls in t, piecewise linearly; its root is bracketed by halving, from the side that fits.
    """
    size, limit = delta.abs(), torch.where(delta > 0, high, -low)
    radius = radius.to(delta)[:, None]

    def length(t: torch.Tensor) -> torch.Tensor:
        return torch.minimum((size - t).clamp_min(0), limit).sum(-1, keepdim=True)

    misses, fits = torch.zeros_like(radius), size.amax(-1, keepdim=True)
    for _ in range(_HALVINGS):
        middle = (misses + fits) / 2
        inside = length(middle) <= radius
        misses, fits = torch.where(inside, misses, middle), torch.where(inside, middle, fits)
    fits = torch.where(length(torch.zeros_like(radius)) <= radius, 0.0, fits)
    return delta.sign() * torch.minimum((size - fits).clamp_min(0), limit)


def _loss_and_merit(
    value: torch.Tensor | tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    return value if isinstance(value, tuple) else (value, value)
