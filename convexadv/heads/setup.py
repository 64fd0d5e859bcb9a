"""A model taken apart for a new head: its tap, its skeleton, and its inputs with class numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._checks import positive_integer
from ..errors import InputError
from ..networks import PolynomialNetwork
from ..robustness.arguments import evaluation_mode
from .features import on_model
from .headed import HeadedModel
from .inputs import Inputs
from .selection import balanced, numbered, split
from .tap import Tap, find_tap

_PROBE = 8


@dataclass(frozen=True, eq=False)
class Setup:
    """The parts.

    Attributes
    ----------
    tap : Tap
    headed : HeadedModel
        With the zero network as its head.
    classes : (C,)
        Labels in the order of the scores.
    training : Inputs
        What is not held out.
    y : (n,)
        Class numbers of the training inputs.
    subset : (m,)
        Numbers of the training inputs that the head is trained on.
    validation : Inputs or None
    validation_y : (k,) or None
        Class numbers.
    """

    tap: Tap
    headed: HeadedModel
    classes: np.ndarray
    training: Inputs
    y: np.ndarray
    subset: np.ndarray
    validation: Inputs | None
    validation_y: np.ndarray | None

    @classmethod
    def of(
        cls,
        model: torch.nn.Module,
        inputs: Inputs,
        at: str | None,
        validation: Any,
        rows: int | None,
        random_state: int,
    ) -> Setup:
        """Find the tap, split the inputs and number their labels."""
        x = on_model(model, inputs.rows(np.arange(min(_PROBE, len(inputs)))))
        tap = find_tap(model, x, at)
        with evaluation_mode(model), torch.no_grad():
            scores = model(x)
        training, held = split(inputs, validation, random_state)
        classes, numbers = numbered(model, scores, [training] if held is None else [training, held])
        missing = np.setdiff1d(np.arange(len(classes)), numbers[0])
        if len(missing):
            raise InputError(f"no training input has the label {classes[missing[0]]!s}; every class needs one.")
        count = len(training) if rows is None else positive_integer("rows", rows)
        subset = np.arange(len(training)) if rows is None else balanced(numbers[0], count, random_state)
        outputs = tap.n_outputs if tap.n_outputs > 2 else 1
        empty = PolynomialNetwork(np.zeros((0, tap.n_features)), np.zeros((0, outputs)))
        headed = HeadedModel(model, empty, tap, x)
        return cls(tap, headed, classes, training, numbers[0], subset, held, None if held is None else numbers[1])
