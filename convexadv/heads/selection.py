"""Rows to train on and rows to choose by; accuracy of a whole model on the latter, clean and attacked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._arrays import to_numpy
from .._checks import number
from ..errors import InputError
from ..robustness.arguments import classes_of, evaluation_mode, positions
from ..robustness.goals import decision
from .features import on_model
from .inputs import Inputs, inputs_of
from .perturbed import InputAttack, Numbered


def numbered(model: torch.nn.Module, scores: torch.Tensor, data: list[Inputs]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels as class numbers: the positions of the model's scores.

    Parameters
    ----------
    model : torch.nn.Module
        Its ``classes`` count, if it has them.
    scores : tensor (n, C) or (n,)
        Of some inputs.
    data : list of Inputs

    Returns
    -------
    classes : (C,)
    numbers : list of (n,) arrays of int64
        Of each of the data.
    """
    scores = scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores
    classes = classes_of(model, [part.y for part in data], scores)
    return classes, [positions(classes, part.y, len(part)).numpy() for part in data]


def split(inputs: Inputs, validation: Any, random_state: int) -> tuple[Inputs, Inputs | None]:
    """Inputs to train on and inputs to choose by: a fraction of every class, or data of the caller's.

    Raises
    ------
    InputError
        If the fraction is not between 0 and 1, or leaves one of the sides without rows.
    """
    if validation is None:
        return inputs, None
    if not isinstance(validation, (int, float, np.number)):
        return inputs, inputs_of(validation, "validation")
    fraction = number("validation", validation, 0.0, 1.0)
    order = np.random.default_rng(random_state).permutation(len(inputs))
    held = np.zeros(len(inputs), bool)
    for label in np.unique(inputs.y):
        group = order[inputs.y[order] == label]
        held[group[: round(fraction * len(group))]] = True
    if not held.any() or held.all():
        raise InputError(
            f"validation={fraction:g} of {len(inputs)} inputs leaves one side empty; give another fraction."
        )
    return inputs.take(np.flatnonzero(~held)), inputs.take(np.flatnonzero(held))


def balanced(y: np.ndarray, count: int, random_state: int) -> np.ndarray:
    """Row numbers of a random subset, ascending, with ``count // C`` rows of every class, or all that it has.

    Raises
    ------
    InputError
        If there is not a row for each of the C classes.
    """
    classes = np.unique(y)
    share = count // len(classes)
    if share < 1:
        raise InputError(
            f"rows={count} leaves no row for each of {len(classes)} classes; at least one a class is needed."
        )
    order = np.random.default_rng(random_state).permutation(len(y))
    return np.sort(np.concatenate([order[y[order] == label][:share] for label in classes]))


class Judge:
    """Measures models on validation inputs.

    Parameters
    ----------
    inputs : Inputs or None
        None measures nothing.
    y : (n,) of class numbers
    attack : InputAttack or None
        None measures clean accuracy only.
    """

    def __init__(self, inputs: Inputs | None, y: np.ndarray | None, attack: InputAttack | None) -> None:
        self.y, self.attack = y, attack
        self.x = None if inputs is None else inputs.rows(np.arange(len(inputs)))

    def accuracies(self, model: torch.nn.Module) -> dict[str, float | None]:
        """Clean and attacked accuracy of a model, None where it is not measured."""
        if self.x is None or self.y is None:
            return {"clean": None, "attacked": None}
        size = 256 if self.attack is None else self.attack.batch_size
        with evaluation_mode(model), torch.no_grad():
            scores = [Numbered(model)(on_model(model, self.x[k : k + size])) for k in range(0, len(self.x), size)]
        joined = torch.cat(scores)
        joined = joined[:, 0] if joined.ndim == 2 and joined.shape[1] == 1 else joined
        clean = float((to_numpy(decision(joined)) == self.y).mean())
        if self.attack is None:
            return {"clean": clean, "attacked": None}
        return {"clean": clean, "attacked": float(1.0 - self.attack.run(model, self.x, self.y).success.double().mean())}
