"""What every conic solver hands back, in one form."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from ...errors import InputError


class Outcome(enum.IntEnum):
    """How a conic solver ended, the worst last."""

    SOLVED = 0
    INACCURATE = 1
    MAX_ITER = 2
    TIME_LIMIT = 3
    FAILED = 4
    INFEASIBLE = 5


@dataclass(frozen=True)
class Answer:
    """Raw answer of a conic solver.

    Attributes
    ----------
    outcome : Outcome
    message : str
        The solver's own words.
    primal : (N,) or None
        Variables; None if there are none to speak of.
    dual : (M,) or None
        Multipliers of all rows, in the order of the programme; a ray if it is infeasible.
    objective : float
        The solver's own primal objective.
    seconds : float
        The solver's own time, compilation excluded.
    iterations : int
    """

    outcome: Outcome
    message: str
    primal: np.ndarray | None = None
    dual: np.ndarray | None = None
    objective: float = math.nan
    seconds: float = 0.0
    iterations: int = 0


def finite_or_none(values: object) -> np.ndarray | None:
    """The array, or None if it is missing or not finite."""
    array = None if values is None else np.asarray(values, dtype=np.float64)
    return array if array is not None and np.isfinite(array).all() else None


def unknown_option(solver: str, option: str) -> InputError:
    """The error for an option that the solver does not have."""
    return InputError(f"{option!r} is no option of the solver {solver}; give options that it documents.")
