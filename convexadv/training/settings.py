"""How long and how fast to train."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

LARGEST = 1e38
"""Of numbers that weights in float32 are multiplied by."""
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Settings:
    """Settings of stochastic gradient descent with momentum, a linear warm-up and a cosine schedule.

    Attributes
    ----------
    epochs : int
        Passes over the rows.
    batch_size : int
        Rows of a step; the last rows of an epoch that fill no batch are left for the next one's order.
    learning_rate : float
        The largest, at the end of the warm-up.
    momentum : float
        Of Nesterov's kind; 0 for none.
    weight_decay : float
        Of weights with two dimensions or more; norms and biases have none.
    warm_up : float
        Share of the steps in which the rate grows from zero.
    sharpness : float
        Radius rho of sharpness-aware minimisation (Foret et al., ICLR 2021, arXiv 2010.01412); 0 for plain steps.
    precision : "float32", "bfloat16" or "float16"
        Of the products; weights stay in float32. float16 scales its losses and needs a GPU.
    random_state : int
        Seed of orders, augmentations and attacks.

    Raises
    ------
    InputError
        If a value is outside its range.

    Examples
    --------
    >>> from convexadv.training import Settings
    >>> Settings(epochs=2, learning_rate=0.1).rate(0, 100)
    0.01
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.1
    sharpness: float = 0.0
    precision: str = "float32"
    random_state: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            _require(_whole(getattr(self, name)) and getattr(self, name) >= 1, self, name, "a positive whole number")
        _require(_whole(self.random_state) and self.random_state >= 0, self, "random_state", "a whole number >= 0")
        for name in ("learning_rate", "weight_decay", "sharpness"):
            value = getattr(self, name)
            _require(_finite(value) and 0 <= value <= LARGEST, self, name, "a number from 0 to 1e38")
        for name in ("momentum", "warm_up"):
            value = getattr(self, name)
            _require(_finite(value) and 0 <= value < 1, self, name, "a number in [0, 1)")
        _require(self.precision in PRECISIONS, self, "precision", "one of " + ", ".join(PRECISIONS))

    def rate(self, step: int, steps: int) -> float:
        """Compute the learning rate of a step.

        Parameters
        ----------
        step, steps : int
            Number of the step, from 0, and of all steps.

        Returns
        -------
        float
        """
        first = max(1, round(self.warm_up * steps))
        if step < first:
            return self.learning_rate * (step + 1) / first
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - first) / max(1, steps - first)))


def _require(holds: bool, settings: Settings, name: str, needed: str) -> None:
    if not holds:
        raise InputError(f"{name} is {getattr(settings, name)!r}; {needed} is needed.")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
