"""What an attack wants: losses of scores, and goals, untargeted or targeted, made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..errors import InputError
from ..networks.network import class_margins

LossOfScores = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def margin_loss(scores: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``max over c != y of f_c - f_y``, or ``-y f`` for one output."""
    return -class_margins(scores, index)


def cross_entropy_loss(scores: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``L = log(sum over c != y of exp f_c) - f_y``; the cross-entropy is ``log(1 + exp L)``.

    Both have the same steepest directions and the same order, but the gradient of L does not vanish where the network
    is sure.
    """
    if scores.ndim == 1:
        return -class_margins(scores, index)
    own = scores.gather(1, index[:, None])
    return scores.scatter(1, index[:, None], -torch.inf).logsumexp(1) - own[:, 0]


def dlr_loss(scores: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The margin loss over the distance of the largest from the third largest score (Croce, Hein, ICML 2020)."""
    if scores.ndim == 1 or scores.shape[1] < 3:
        outputs = 1 if scores.ndim == 1 else scores.shape[1]
        raise InputError(f'loss="dlr" compares three scores, and this network has {outputs}; take "margin".')
    largest = scores.topk(3, dim=1).values
    return margin_loss(scores, index) / (largest[:, 0] - largest[:, 2]).clamp_min(torch.finfo(scores.dtype).tiny)


LOSSES: dict[str, LossOfScores] = {"margin": margin_loss, "cross_entropy": cross_entropy_loss, "dlr": dlr_loss}


def loss_of(name: Any) -> LossOfScores:
    """Find a loss by its name, or take the caller's own."""
    if callable(name):
        return name
    if not isinstance(name, str) or name not in LOSSES:
        raise InputError(f'loss must be "margin", "cross_entropy", "dlr" or a function, got {name!r}.')
    return LOSSES[name]


@dataclass(frozen=True, eq=False)
class Goal:
    """What the points of some rows shall be predicted as.

    Attributes
    ----------
    labels : tensor (n,)
        Class numbers of the rows.
    target : tensor (n,) or None
        Class numbers to be predicted; None where any but the label will do.
    towards : tensor (n,) or None
        Class numbers that the steps go for, without being the goal.
    """

    labels: torch.Tensor
    target: torch.Tensor | None = None
    towards: torch.Tensor | None = None

    def __getitem__(self, index: Any) -> Goal:
        parts = (self.labels, self.target, self.towards)
        return Goal(*(None if part is None else part[index] for part in parts))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Goal:
        """Put the class numbers on a device."""
        parts = (self.labels, self.target, self.towards)
        return Goal(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]

    def reached(self, scores: torch.Tensor) -> torch.Tensor:
        """Which points (n,) are predicted as they shall be."""
        predicted = decision(scores)
        return predicted != self.labels if self.target is None else predicted == self.target

    def merit(self, scores: torch.Tensor) -> torch.Tensor:
        """What points (n,) are worth: the margin of the target, or minus the margin of the label."""
        return -class_margins(scores, self.labels) if self.target is None else class_margins(scores, self.target)

    def loss(self, scores: torch.Tensor, loss: LossOfScores) -> torch.Tensor:
        """What the steps increase (n,): the loss of the label, or minus the loss of the class aimed at."""
        aim = self.target if self.towards is None else self.towards
        return loss(scores, self.labels) if aim is None else -loss(scores, aim)

    def loss_and_merit(self, scores: torch.Tensor, loss: LossOfScores) -> tuple[torch.Tensor, torch.Tensor]:
        """Both at once."""
        value = self.loss(scores, loss)
        return value, value if loss is margin_loss and self.towards is None else self.merit(scores.detach())

    def each(self, classes: int) -> Iterator[Goal]:
        """Go for each other one of so many classes in turn."""
        for k in range(1, classes):
            yield replace(self, towards=(self.labels + k) % classes)


def decision(scores: torch.Tensor) -> torch.Tensor:
    """Class numbers (n,) that scores are predicted as; one score of zero is the first class."""
    return (scores > 0).long() if scores.ndim == 1 else scores.argmax(1)
