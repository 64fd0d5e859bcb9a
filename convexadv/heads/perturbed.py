"""Inputs that are attacked or augmented before their features are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..robustness import attack


@dataclass(frozen=True)
class InputAttack:
    """Attack on the inputs of a whole model.

    Attributes
    ----------
    radius : float
        In the units of the inputs.
    norm : {"linf", "l2", "l1"}
    bounds : tuple (low, high) or None
        Box of the inputs.
    method : {"apgd", "pgd", "fgsm"}
    steps, restarts : int
        Of the attack; the first start goes by cross-entropy, the second by margins.
    random_state : int
    batch_size : int
        Inputs at a time.
    """

    radius: float
    norm: str = "linf"
    bounds: Any = None
    method: str = "apgd"
    steps: int = 20
    restarts: int = 2
    random_state: int = 0
    batch_size: int = 256

    def run(self, model: torch.nn.Module, x: torch.Tensor, y: np.ndarray, first: int = 0) -> Any:
        """Attack inputs.

        Parameters
        ----------
        model : torch.nn.Module
        x : tensor (n, ...)
            Inputs.
        y : (n,)
            Class numbers.
        first : int
            Number of the first of them, which its random starts depend on.

        Returns
        -------
        AttackResult
        """
        return attack(
            Numbered(model),
            x,
            y,
            self.radius,
            self.norm,
            self.method,
            bounds=self.bounds,
            steps=self.steps,
            restarts=self.restarts,
            random_state=self.random_state + first,
            batch_size=self.batch_size,
        )

    def to_dict(self) -> dict[str, Any]:
        """The settings as numbers and text.

        Returns
        -------
        dict
        """
        bounds = None if self.bounds is None else [np.asarray(side).tolist() for side in self.bounds]
        return {**asdict(self), "bounds": bounds}


class Numbered(torch.nn.Module):
    """A model whose labels are class numbers, whatever its own classes are."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The scores of the model."""
        scores = self.model(x)
        self.classes = np.arange(2 if scores.ndim == 1 else max(2, scores.shape[1]))
        return scores


def attacked_by(model: torch.nn.Module, settings: InputAttack) -> Callable[..., torch.Tensor]:
    """The change of inputs that an attack on a model makes, for :func:`convexadv.heads.features.extract`."""

    def change(x: torch.Tensor, y: np.ndarray, first: int) -> torch.Tensor:
        return settings.run(model, x, y, first).points

    return change


def augmented_by(augment: Callable[[torch.Tensor], torch.Tensor], random_state: int) -> Callable[..., torch.Tensor]:
    """The change of inputs that a caller's function makes, with torch's CPU generator seeded for every block."""

    def change(x: torch.Tensor, y: np.ndarray, first: int) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(random_state + first)
            result = augment(x)
        if not isinstance(result, torch.Tensor):
            raise InputError(
                f"augment returned a {type(result).__name__}; a tensor of the shape of its input is needed."
            )
        return result

    return change
