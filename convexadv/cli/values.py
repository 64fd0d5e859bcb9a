"""Numbers on the command line: the types of its arguments."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def finite(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; a finite number is needed.") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} was given; a finite number is needed.")
    return value


def non_negative(text: str) -> float:
    """A finite number of at least zero."""
    return _checked(finite(text), text, lambda value: value >= 0, "a number of zero or more")


def positive(text: str) -> float:
    """A finite number above zero."""
    return _checked(finite(text), text, lambda value: value > 0, "a number above zero")


def fraction(text: str) -> float:
    """A number from zero to below one."""
    return _checked(finite(text), text, lambda value: 0 <= value < 1, "a fraction from 0 to below 1")


def count(text: str) -> int:
    """An integer of at least one."""
    return int(
        _checked(finite(text), text, lambda value: value >= 1 and value == int(value), "an integer of 1 or more")
    )


def count_or_zero(text: str) -> int:
    """An integer of at least zero."""
    return int(
        _checked(finite(text), text, lambda value: value >= 0 and value == int(value), "an integer of 0 or more")
    )


def _checked(value: float, text: str, holds: Callable[[float], bool], needed: str) -> float:
    if not holds(value):
        raise argparse.ArgumentTypeError(f"{text} was given; {needed} is needed.")
    return value
