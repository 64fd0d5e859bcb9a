"""Arguments of every kind: numbers, words, and a number for every row, checked in one place."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ._arrays import to_numpy
from .errors import InputError


def number(name: str, value: Any, low: float = 0.0, high: float = np.inf) -> float:
    """A finite float in [low, high]."""
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise InputError(f"{name}={value!r} is not a number; a number in [{low:g}, {high:g}] is needed.") from None
    if not (np.isfinite(result) and low <= result <= high):
        raise InputError(f"{name}={result:g} is out of range; a finite number in [{low:g}, {high:g}] is needed.")
    return result


def positive_integer(name: str, value: Any, high: float = np.inf) -> int:
    """A whole number from 1 to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= high:
        span = "of 1 or more" if high == np.inf else f"from 1 to {high}"
        raise InputError(f"{name}={value!r} cannot be used; a whole number {span} is needed.")
    return int(value)


def per_row(name: str, value: Any, n: int) -> np.ndarray:
    """A non-negative float for every row, from one number or n of them."""
    try:
        array = np.asarray(to_numpy(value), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}={value!r} is not numeric; a number or an array of {n} numbers is needed.") from None
    if array.ndim == 0:
        array = np.full(n, float(array))
    if array.shape != (n,):
        raise InputError(
            f"{name} has shape {array.shape}; a single number or shape ({n},), one for every row, is needed."
        )
    if not np.isfinite(array).all() or (array < 0).any():
        bad = float(array[~(np.isfinite(array) & (array >= 0))][0])
        raise InputError(f"{name} contains {bad:g}; finite values of zero or more are needed.")
    return array


def file_name(path: Any) -> str:
    """The text of a path, or an InputError where it is none."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise InputError(f"a {type(path).__name__} was given as a path; text or a path is needed.") from None


def flag(name: str, value: Any) -> bool:
    """True or False, or an InputError."""
    if not isinstance(value, bool | np.bool_ | int) or value not in (0, 1):
        raise InputError(f"{name}={value!r} is neither True nor False; one of them is needed.")
    return bool(value)


def generator_of(random_state: Any) -> np.random.Generator:
    """The generator given, or one from a whole number."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer) or random_state < 0:
        raise InputError(
            f"random_state={random_state!r} cannot be used; a whole number of 0 or more or a numpy.random.Generator "
            "is needed."
        )
    return np.random.default_rng(int(random_state))


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """The value, or an InputError that lists what is allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, allowed))}.")
    return value
