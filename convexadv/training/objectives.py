"""What a step of training makes smaller: the loss of the inputs as they are, of attacked ones, or of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from .._checks import number, positive_integer
from ..errors import InputError
from ..robustness.pgd import projected_gradient
from .points import AtPoints, as_floats, check_ball, frozen_statistics, neighbourhood, usual_step


class Objective(Protocol):
    """A loss of a batch that can be differentiated."""

    def __call__(
        self, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Mean loss of a batch; the generator, on the CPU, draws what is random."""
        ...


@dataclass(frozen=True)
class Clean:
    """Cross-entropy of the inputs as they are.

    Attributes
    ----------
    smoothing : float
        Share of every label that is spread over all classes, in [0, 1).

    Raises
    ------
    InputError
        If a value is outside its range.

    Examples
    --------
    >>> import torch
    >>> from convexadv.training import Clean
    >>> model, x, y = torch.nn.Linear(2, 2), torch.zeros(3, 2), torch.tensor([0, 1, 1])
    >>> bool(Clean()(model, x, y, torch.Generator()) > 0)
    True
    """

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        as_floats(self, "smoothing")
        if not self.smoothing < 1.0:
            raise InputError(f"smoothing={self.smoothing:g} leaves nothing of a label; a share below 1 is needed.")

    def __call__(
        self, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(model(x), y, label_smoothing=self.smoothing)


@dataclass(frozen=True)
class Mixed:
    """Part clean, part attacked: ``share CE(clean) + (1 - share) CE(attacked)``.

    Goodfellow et al., ICLR 2015, arXiv 1412.6572. Both go through the model as one batch, so that batch norms see the two
    together.

    Attributes
    ----------
    attacked : Adversarial or OneStep
        Says where the attacked points are.
    share : float
        Of the clean loss, between 0 and 1.

    Raises
    ------
    InputError
        If the share is outside [0, 1].

    Examples
    --------
    >>> import torch
    >>> from convexadv.training import Mixed, OneStep
    >>> model, x, y = torch.nn.Linear(2, 2), torch.full((3, 2), 0.5), torch.tensor([0, 1, 1])
    >>> Mixed(OneStep(0.1), 0.5)(model, x, y, torch.Generator()).shape
    torch.Size([])
    """

    attacked: AtPoints
    share: float = 0.5

    def __post_init__(self) -> None:
        number("share", self.share, 0.0, 1.0)
        as_floats(self, "share")
        if not isinstance(self.attacked, AtPoints):
            raise InputError(f"a {type(self.attacked).__name__} was given; Adversarial or OneStep is needed.")

    def __call__(
        self, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Weighted mean cross-entropy."""
        points = self.attacked.points(model, x, y, generator)
        scores = model(torch.cat([x, points]))
        clean, broken = scores[: len(x)], scores[len(x) :]
        return self.share * F.cross_entropy(clean, y) + (1.0 - self.share) * F.cross_entropy(broken, y)


@dataclass(frozen=True)
class TRADES:
    """Cross-entropy plus beta times the divergence of attacked from clean scores (Zhang et al., ICML 2019, arXiv 1901.08573).

    Attributes
    ----------
    radius : float
        Of the balls, in the units of the inputs.
    beta : float
        Weight of the divergence KL(clean, attacked).
    norm : "linf", "l2" or "l1"
    steps : int
        Of projected gradient ascent on the divergence.
    bounds : tuple (low, high) or None
        Box of the inputs.

    Raises
    ------
    InputError
        If a value is outside its range.

    Examples
    --------
    >>> import torch
    >>> from convexadv.training import TRADES, Clean
    >>> model, x, y = torch.nn.Linear(2, 2), torch.full((3, 2), 0.5), torch.tensor([0, 1, 1])
    >>> bool(TRADES(0.1)(model, x, y, torch.Generator()) >= Clean()(model, x, y, torch.Generator()))
    True
    """

    radius: float
    beta: float = 6.0
    norm: str = "linf"
    steps: int = 10
    bounds: tuple[float, float] | None = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_ball(self.norm, self.bounds)
        positive_integer("steps", self.steps)
        as_floats(self, "radius", "beta")

    def __call__(
        self, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Mean loss of a batch."""
        ball = neighbourhood(x, self.radius, self.norm, self.bounds)
        with frozen_statistics(model):
            with torch.no_grad():
                target = F.log_softmax(model(x).float(), dim=1)

            def divergence(points: torch.Tensor) -> torch.Tensor:
                scores = F.log_softmax(model(points.view(x.shape)).float(), dim=1)
                return F.kl_div(scores, target, reduction="none", log_target=True).sum(1)

            start = ball.project(ball.rows + 1e-3 * self.radius * ball.steepest(_normal(ball.rows, generator)))
            steps = [usual_step(self.radius, self.steps)] * self.steps
            points = projected_gradient(divergence, start, ball.project, ball.steepest, steps, keep="last")
        clean = model(x).float()
        attacked = F.log_softmax(model(points.view(x.shape)).float(), dim=1)
        apart = F.kl_div(attacked, F.log_softmax(clean, dim=1), reduction="batchmean", log_target=True)
        return F.cross_entropy(clean, y) + self.beta * apart


def _normal(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(rows.shape, generator=generator).to(rows.device, rows.dtype)
