"""Where a step of training puts attacked inputs: after some steps of ascent, or after one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from .._checks import choice, number, positive_integer
from ..errors import InputError
from ..robustness.arguments import sides
from ..robustness.pgd import Neighbourhood, projected_gradient
from .settings import LARGEST

NORMS = ("linf", "l2", "l1")


class AtPoints:
    """Cross-entropy at the points of an attack; a subclass says which."""

    def points(
        self, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Attack a batch, (n, ...) as the inputs."""
        raise NotImplementedError

    def __call__(
        self, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Mean cross-entropy of attacked inputs."""
        return F.cross_entropy(model(self.points(model, x, y, generator)), y)


@dataclass(frozen=True)
class Adversarial(AtPoints):
    """Cross-entropy at the last point of projected gradient ascent (Madry et al., ICLR 2018, arXiv 1706.06083).

    Attributes
    ----------
    radius : float
        Of the balls, in the units of the inputs.
    norm : "linf", "l2" or "l1"
        Of the balls.
    steps : int
        Of the ascent.
    step_size : float, optional
        In the units of the inputs; by default 2.5 radius / steps, and at most the radius.
    bounds : tuple (low, high) or None
        Box of the inputs.

    Raises
    ------
    InputError
        If a value is outside its range.

    Examples
    --------
    >>> import torch
    >>> from convexadv.training import Adversarial, Clean
    >>> model, x, y = torch.nn.Linear(2, 2), torch.full((3, 2), 0.5), torch.tensor([0, 1, 1])
    >>> attacked = Adversarial(0.1, steps=3)(model, x, y, torch.Generator())
    >>> bool(attacked > Clean()(model, x, y, torch.Generator()))
    True
    """

    radius: float
    norm: str = "linf"
    steps: int = 10
    step_size: float | None = None
    bounds: tuple[float, float] | None = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_ball(self.norm, self.bounds)
        positive_integer("steps", self.steps)
        as_floats(self, "radius", optional="step_size")

    def points(
        self, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Attack a batch from random starts.

        Parameters
        ----------
        model : torch.nn.Module
        x : tensor (n, ...)
        y : tensor (n,)
        generator : torch.Generator

        Returns
        -------
        tensor (n, ...)
        """
        step = usual_step(self.radius, self.steps) if self.step_size is None else self.step_size
        ball = neighbourhood(x, self.radius, self.norm, self.bounds)

        with frozen_statistics(model):
            start = ball.sample(generator)
            return _ascended(model, x, y, start, ball.project, ball.steepest, [step] * self.steps)


@dataclass(frozen=True)
class OneStep(AtPoints):
    """Cross-entropy after one step of ascent from a random start: as cheap as two clean steps.

    With ``noise=1`` the start is uniform in the ball and the point is projected on it (Wong et al., ICLR 2020, arXiv
    2001.03994); with ``noise=2`` it is uniform in a ball of twice the radius and nothing is projected but on the box
    (N-FGSM, de Jorge et al., NeurIPS 2022, arXiv 2202.01181), which keeps from the collapse of one-step training.

    Attributes
    ----------
    radius : float
        Of the linf balls, in the units of the inputs.
    noise : float
        Radius of the random start in units of ``radius``; above 1 the point may leave the ball.
    step : float, optional
        Length of the step in units of ``radius``: by default 1.25 with a start in the ball and 1 outside it.
    bounds : tuple (low, high) or None
        Box of the inputs.

    Raises
    ------
    InputError
        If a value is outside its range.

    Examples
    --------
    >>> import torch
    >>> from convexadv.training import OneStep
    >>> model, x, y = torch.nn.Linear(2, 2), torch.full((3, 2), 0.5), torch.tensor([0, 1, 1])
    >>> OneStep(0.1)(model, x, y, torch.Generator()).shape
    torch.Size([])
    """

    radius: float
    noise: float = 2.0
    step: float | None = None
    bounds: tuple[float, float] | None = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_ball("linf", self.bounds)
        as_floats(self, "radius", "noise", optional="step")

    def points(
        self, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Attack a batch by one step.

        Parameters
        ----------
        model : torch.nn.Module
        x : tensor (n, ...)
        y : tensor (n,)
        generator : torch.Generator

        Returns
        -------
        tensor (n, ...)
        """
        inside = self.noise <= 1.0
        step = (1.25 if inside else 1.0) if self.step is None else self.step
        ball = neighbourhood(x, self.radius, "linf", self.bounds)
        uniform = 2.0 * torch.rand(ball.rows.shape, generator=generator).to(x.device, x.dtype) - 1.0
        start = ball.rows + self.noise * self.radius * uniform

        def project(points: torch.Tensor) -> torch.Tensor:
            if inside:
                return ball.project(points)
            return points if self.bounds is None else points.clamp(*self.bounds)

        with frozen_statistics(model):
            return _ascended(model, x, y, start, project, ball.steepest, [step * self.radius])


def neighbourhood(x: torch.Tensor, radius: float, norm: str, bounds: tuple[float, float] | None) -> Neighbourhood:
    """Balls around the inputs of a batch, cut by the box.

    Parameters
    ----------
    x : tensor (n, ...)
    radius : float
    norm : "linf", "l2" or "l1"
    bounds : tuple (low, high) or None

    Returns
    -------
    Neighbourhood
        Of rows (n, d).

    Raises
    ------
    InputError
        If the radius is negative or not finite.
    """
    radius = number("radius", radius)
    rows = x.detach().reshape(len(x), -1)
    low, high = (None, None) if bounds is None else (rows.new_full(rows.shape[1:], float(value)) for value in bounds)
    return Neighbourhood(rows, rows.new_full((len(rows),), radius), norm, low, high)


def usual_step(radius: float, steps: int) -> float:
    """Length of a step of ascent where none is given: 2.5 radius / steps, at most the radius."""
    return min(radius, 2.5 * radius / steps)


def _ascended(
    model: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    start: Any,
    project: Any,
    steepest: Any,
    steps: list[float],
) -> torch.Tensor:
    """Last point of ascent on the cross-entropy, in the shape of the inputs."""

    def loss(points: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(points.view(x.shape)), y, reduction="none")

    return projected_gradient(loss, start, project, steepest, steps, keep="last").view(x.shape)


@contextmanager
def frozen_statistics(model: torch.nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms as they are, though batches are normalised by their own.

    Parameters
    ----------
    model : torch.nn.Module
    """
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    tracking = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = norm.track_running_stats and not norm.training
    try:
        yield
    finally:
        for norm, tracks in zip(norms, tracking, strict=True):
            norm.track_running_stats = tracks


def check_ball(norm: Any, bounds: Any) -> None:
    """Raise InputError for a norm or a box that cannot be used."""
    choice("norm", norm, NORMS)
    if bounds is not None and any(side.ndim for side in sides(bounds)):
        raise InputError("bounds hold arrays; two numbers (low, high), the same for all entries, are needed.")


def as_floats(objective: Any, *names: str, optional: str = "") -> None:
    """Make attributes of a frozen objective plain floats from zero to what float32 holds; an optional one may be None."""
    for name in names if getattr(objective, optional, None) is None else (*names, optional):
        object.__setattr__(objective, name, number(name, getattr(objective, name), 0.0, LARGEST))
