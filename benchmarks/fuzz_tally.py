"""What a draw of the fuzz run counts and finds, and the numbers that draws are made of."""

from __future__ import annotations

import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from convexadv import errors

ERRORS = (
    errors.InputError,
    errors.CertificateError,
    errors.SolverUnavailableError,
    errors.ProcessError,
    errors.TrainingError,
)
"""What a call may raise, with a sentence."""
TINY = 5e-324
"""The smallest positive number: a denormal."""


@dataclass
class Tally:
    """Cases by what they are, and sentences on what must not be."""

    cases: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def count(self, what: str, cases: int = 1) -> None:
        """Add cases."""
        self.cases[what] += int(cases)

    def expect(self, good: Any, what: str, *shown: Any) -> bool:
        """Note a failure unless all entries of an array, or a value, are true; ``shown`` are numbers to print with it."""
        bad = np.flatnonzero(~np.atleast_1d(np.asarray(good, dtype=bool)).reshape(-1))
        if not len(bad):
            return True
        size = np.size(good)
        first = [_at(value, int(bad[0]), size) for value in shown]
        where = f" at {len(bad)} of {size}, first {bad[0]}" if size > 1 else ""
        self.failures.append(f"{what}{where}" + (f": {', '.join(first)}" if first else ""))
        return False

    def attempt(self, what: str, call: Callable[[], Any], *others: type[Exception]) -> Any:
        """The result of a call; None where it is refused with a sentence, or raises one of the other errors given."""
        try:
            return call()
        except ERRORS as error:
            text = str(error).strip()
            good = text.endswith((".", "?", ":")) and len(text) > 12 and text.count("\n") <= 1 and len(text) < 700
            self.expect(good, f"{what}: no sentence: {text!r:.300}")
        except others:
            pass
        except Exception as error:
            self.expect(False, f"{what}: {described(error)}")
        return None


def described(error: Exception) -> str:
    """An error, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " > ".join(f"{Path(at.filename).name}:{at.lineno}" for at in frames)
    return f"{type(error).__name__}: {error!s:.300} ({places})"


def _at(value: Any, place: int, size: int) -> str:
    array = np.asarray(value)
    entry = array.reshape(size, -1)[place] if size > 1 and array.size >= size and array.size % size == 0 else array
    return np.array2string(np.squeeze(entry), precision=17, threshold=12).replace("\n", "")


Draw = Callable[[np.random.Generator, Tally], None]
"""A kind of cases: draws some, and counts them."""


def generator(group: str, seed: int, number: int) -> np.random.Generator:
    """The random numbers of a draw, which repeat it by itself."""
    return np.random.default_rng([seed, zlib.crc32(group.encode()), number])


def sizes(rng: np.random.Generator, shape: Any, decades: float = 12.0) -> np.ndarray:
    """Positive scales: a half ordinary, the rest log-uniform over 10^(+-decades)."""
    wide = 10.0 ** rng.uniform(-decades, decades, shape)
    return np.where(rng.random(shape) < 0.5, 10.0 ** rng.uniform(-1, 1, shape), wide)


def numbers(rng: np.random.Generator, shape: tuple[int, ...], decades: float = 12.0) -> np.ndarray:
    """Rows of entries with a common scale, some of them rounded to ties, zero, sparse, mixed in scale, or denormal."""
    values = rng.standard_normal(shape)
    rows = (len(values),) + (1,) * (values.ndim - 1)
    style = rng.integers(0, 12, rows)
    values = np.where(style == 0, np.round(values), values)
    values = np.where(style == 1, 0.0, values)
    values = np.where((style == 2) & (rng.random(shape) < 0.6), 0.0, values)
    values = np.where(style == 3, values * 10.0 ** rng.uniform(-decades, decades, shape), values)
    values = values * sizes(rng, rows, decades)
    return np.where(style == 4, np.round(3 * rng.standard_normal(shape)) * TINY, values)


def radii(rng: np.random.Generator, n: int, decades: float = 12.0) -> np.ndarray:
    """Radii (n,): zero, denormal, ordinary, tiny and huge."""
    values = sizes(rng, n, decades)
    chance = rng.random(n)
    return np.where(chance < 0.08, 0.0, np.where(chance < 0.11, 3 * TINY, values))


def unit_points(rng: np.random.Generator, shape: tuple[int, ...], norm: str = "l2", inside: float = 0.4) -> np.ndarray:
    """Points (..., d) of the unit ball, most of them on its surface, of any sparsity, corners among them."""
    points = rng.standard_normal(shape) * (rng.random(shape) < rng.uniform(0.2, 1, (*shape[:-1], 1)))
    points = np.where(rng.random((*shape[:-1], 1)) < 0.3, np.sign(points), points)
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    length = np.linalg.norm(points, order, axis=-1, keepdims=True)
    share = np.where(rng.random(length.shape) < inside, rng.random(length.shape), 1.0)
    return share * points / np.where(length > 0, length, 1.0)
