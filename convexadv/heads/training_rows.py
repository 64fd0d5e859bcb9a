"""The rows that a head is trained on: features, clean, attacked and augmented, in the units of the head."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from .._checks import positive_integer
from ..datasets import Scaling
from ._clock import Clock
from .features import cache_key, extract
from .inputs import Inputs
from .perturbed import InputAttack, attacked_by, augmented_by
from .scaling import bounded_axes, feature_scaling, movement_axes, scaled_rows
from .selection import balanced
from .setup import Setup

_MOVEMENT_ROWS = 2000


class Sources:
    """Features of the training inputs: clean, attacked and augmented, each computed when it is first asked for."""

    def __init__(
        self,
        model: torch.nn.Module,
        setup: Setup,
        attack: InputAttack | None,
        augment: Any,
        batch_size: int,
        cache: Any,
        random_state: int,
        clock: Clock,
    ) -> None:
        self._model, self._setup, self._attack, self._augment = model, setup, attack, augment
        self._size = positive_integer("batch_size", batch_size)
        self._cache, self._seed, self._clock = cache, random_state, clock
        self.extra_rows = 0
        training = setup.training
        self.inputs = training if len(setup.subset) == len(training) else training.take(setup.subset)
        self.y = setup.y[setup.subset]
        self._numbered = _renumbered(self.inputs, self.y)

    def clean(self) -> np.ndarray:
        """Of the inputs as they are."""
        with self._clock("extraction"):
            return self._extract(self._numbered, None, "", "features")

    def attacked(self) -> np.ndarray:
        """Of the inputs after an attack on the model that was given."""
        assert self._attack is not None
        with self._clock("perturbation"):
            change = attacked_by(self._model, self._attack)
            about = {"attack": self._attack.to_dict()}
            return self._extract(self._numbered, change, ".attacked", "attacked features", **about)

    def movement(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of some inputs, and the features of these after an attack."""
        assert self._attack is not None
        chosen = np.arange(len(self.y))
        if len(chosen) > _MOVEMENT_ROWS:
            chosen = balanced(self.y, _MOVEMENT_ROWS, self._seed)
        with self._clock("perturbation"):
            change = attacked_by(self._model, self._attack)
            backbone = self._setup.headed.backbone
            inputs = self._numbered.take(chosen)
            return chosen, extract(backbone, inputs, batch_size=self._size, change=change, title="movement")

    def augmented(self) -> np.ndarray | None:
        """Of the inputs after the caller's function; None without one."""
        if self._augment is None:
            return None
        with self._clock("perturbation"):
            change = augmented_by(self._augment, self._seed)
            name = f"{getattr(self._augment, '__module__', '')}.{getattr(self._augment, '__qualname__', repr(self._augment))}"
            about = {"augment": name, "seed": self._seed}
            return self._extract(self._numbered, change, ".augmented", "augmented features", **about)

    def _extract(self, inputs: Inputs, change: Any, suffix: str, title: str, **about: Any) -> np.ndarray:
        cache, key = None, None
        if self._cache is not None:
            cache = os.fspath(self._cache)
            cache = f"{cache[:-4]}{suffix}.npy" if cache.endswith(".npy") else cache
            batches = {"batch_size": self._size} if change is not None else {}
            key = cache_key(self._model, self._setup.tap, inputs, **about, **batches)
        backbone = self._setup.headed.backbone
        return extract(backbone, inputs, batch_size=self._size, change=change, cache=cache, key=key, title=title)


def _renumbered(inputs: Inputs, y: np.ndarray) -> Inputs:
    """The same inputs with class numbers as labels."""
    result = inputs.take(np.arange(len(inputs)))
    result.y = y
    return result


def head_rows(
    sources: Sources, head: str, ball: str, extra: str | None, scaling: str | None
) -> tuple[Any, np.ndarray, Scaling, np.ndarray | None]:
    """Rows of the head in its units, their class numbers, these units, and the axes of a polynomial head's ball."""
    clean = sources.clean()
    units = feature_scaling(clean, scaling)
    parts, axes = [clean], None
    if extra is not None:
        parts.append(sources.attacked())
    if ball == "movement":
        chosen, moved = (np.arange(len(clean)), parts[1]) if extra is not None else sources.movement()
        axes = movement_axes(clean[chosen], moved, units)
        if head != "polynomial":  # the ball becomes a sphere
            units, axes = Scaling(units.shift, units.scale * bounded_axes(axes)), None
    augmented = sources.augmented()
    parts += [] if augmented is None else [augmented]
    return scaled_rows(parts, units), np.tile(sources.y, len(parts)), units, axes
