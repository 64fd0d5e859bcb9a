"""The attacks by name: one or several plans of what to run on the rows, each with its settings."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .._checks import positive_integer
from ..errors import InputError
from ..networks import PolynomialNetwork
from .apgd import auto_projected_gradient
from .goals import LossOfScores, cross_entropy_loss, loss_of, margin_loss
from .pgd import LossFunction, Neighbourhood, projected_gradient

METHODS = ("pgd", "apgd", "fgsm", "exact")

_PATH = 10  # length of all steps of PGD together, in radii: several times across the ball


@dataclass(frozen=True)
class Plan:
    """One attack and its settings.

    Attributes
    ----------
    losses : tuple of functions
        They take turns with the restarts.
    classes : int
        Number of classes if each other one is gone for in turn, else zero.
    """

    method: str
    steps: int
    step_size: float | None
    restarts: int
    losses: tuple[LossOfScores, ...]
    classes: int = 0

    def run(
        self,
        loss_fn: LossFunction,
        start: torch.Tensor,
        ball: Neighbourhood,
        steepest: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Follow the gradient from points (n, d) of the neighbourhood."""
        if self.method == "apgd":
            return auto_projected_gradient(loss_fn, start, ball, steepest, self.steps, self.step_size)
        keep = "last" if self.method == "fgsm" else "best"
        return projected_gradient(loss_fn, start, ball.project, steepest, self._step_sizes(ball), keep)

    def _step_sizes(self, ball: Neighbourhood) -> list[float | torch.Tensor]:
        """Give constant steps, or such that cross the ball at first and settle at the end.

        The first one is that of FGSM, so that the path from the row itself is never weaker.
        """
        radius = ball.radius.to(ball.rows.dtype)[:, None]
        if self.method == "fgsm":
            return [radius]
        if self.step_size is not None:
            return [self.step_size] * self.steps
        angles = [math.pi * step / self.steps for step in range(1, self.steps)]
        return [radius, *(radius * (_PATH / self.steps * (1 + math.cos(angle))) for angle in angles)]


def plans(
    method: Any,
    steps: Any,
    step_size: Any,
    restarts: Any,
    loss: Any,
    target: Any,
    unknown: str | None,
    outputs: int,
) -> list[Plan]:
    """Check the settings and list what is to be run on a network with so many outputs.

    ``unknown`` says why the worst cases are not known exactly, where that is so.
    """
    if step_size is not None and not (isinstance(step_size, (int, float)) and 0 < step_size <= sys.float_info.max):
        raise InputError(f"step_size must be a positive number, got {step_size!r}.")
    length, starts = positive_integer("steps", steps), positive_integer("restarts", restarts)
    each = is_each(target)
    usual = (cross_entropy_loss, margin_loss) if outputs > 2 else (margin_loss,)

    def plan(name: str, of: Any = loss, turns: bool = each) -> Plan:
        single = name in ("fgsm", "exact")
        losses = usual if of is None else (loss_of(of),)
        return Plan(name, length, step_size, 1 if single else starts, losses, outputs if turns else 0)

    strongest = isinstance(method, str) and method == "strongest"
    names = METHODS if strongest else list(_names(method))
    if "exact" in names and unknown is not None:
        if not strongest:
            raise InputError(f'method="exact" needs worst cases that are known exactly: {unknown}.')
        names = [name for name in names if name != "exact"]
    found = [plan(name) for name in names]
    if strongest and loss is None and outputs > 2:
        found += [plan("apgd", "dlr"), *([plan("apgd", turns=True)] if target is None else [])]
    return found


def why_unknown(network: torch.nn.Module, norm: str, bounds: Any, target: Any) -> str | None:
    """Say why the worst cases over the balls are not known exactly; None where they are."""
    if not isinstance(network, PolynomialNetwork):
        return f"the network is a {type(network).__name__}, and only those of a PolynomialNetwork are"
    if norm != "l2":
        return f'norm is "{norm}", and only those of "l2" balls are'
    if bounds is not None:
        return "those of balls cut by bounds are not"
    if network.classes is None:
        return "the network has no classes"
    if target is not None and not is_each(target) and network.n_outputs > 1:
        return "those of given targets are not"
    return None


def is_each(target: Any) -> bool:
    """Whether all other classes are the targets in turn."""
    return isinstance(target, str) and target == "each"


def _names(method: Any) -> Iterator[str]:
    names = [method] if isinstance(method, str) or not isinstance(method, (list, tuple)) else method
    if not names:
        raise InputError("method is empty; at least one attack is needed.")
    for name in names:
        if not isinstance(name, str) or name not in METHODS:
            raise InputError(
                f'method must be "pgd" or "fgsm" or "apgd" or "exact", a list of these, or "strongest", got {name!r}.'
            )
        yield name
