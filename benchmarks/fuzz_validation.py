"""Fuzz cases of validation: every public entry point with arguments in other clothes, and hostile ones.

A call gives finite numbers of the right shape, the same ones for the same values; or an error of the package: one sentence.
A draw is an entry point and some calls of it; a case is a call.
"""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np

from benchmarks.fuzz_entries import COUNTS, ENTRIES, Entry
from benchmarks.fuzz_hostile import HOSTILE_LABELS, HOSTILE_ROWS, NEUTRAL_LABELS, NEUTRAL_ROWS, THINGS
from benchmarks.fuzz_tally import ERRORS, Draw, Tally
from convexadv._arrays import to_numpy

_CALLS = 24


def _entry(name: str) -> Draw:
    entry = ENTRIES[name]

    def draw(rng: np.random.Generator, tally: Tally) -> None:
        arguments = entry.arguments(rng)
        usual = _result(tally, entry, arguments, f"{name}, as usual") if name != "load" else None
        for _ in range(_CALLS):
            which, changed, neutral = _changed(rng, entry, arguments)
            if rng.random() < 0.15:
                more, changed, again = _changed(rng, entry, changed)
                which, neutral = f"{which}, {more}", neutral and again
            what = f"{name}, {which}"
            found = _result(tally, entry, changed, what)
            if found is not None and neutral and entry.exact and usual is not None:
                _same(tally, usual, found, what)
        tally.count(name, _CALLS)

    draw.__name__ = name.replace(" ", "_").replace(".", "_")
    return draw


def _changed(rng: np.random.Generator, entry: Entry, arguments: dict[str, Any]) -> tuple[str, dict[str, Any], bool]:
    """What was changed, the arguments, and whether the values are still the same."""
    names = list(arguments)
    weights = np.array([4.0 if name in entry.rows + entry.labels else 1.0 for name in names])
    name = str(rng.choice(names, p=weights / weights.sum()))
    value = arguments[name]
    tables = (NEUTRAL_ROWS, HOSTILE_ROWS) if name in entry.rows else (NEUTRAL_LABELS, HOSTILE_LABELS)
    if name not in entry.rows + entry.labels or not isinstance(value, np.ndarray) or rng.random() < 0.1:
        thing = THINGS[rng.integers(len(THINGS))]
        if name in COUNTS and isinstance(thing, int | float) and not -1e3 < thing < 1e3:
            thing = -thing  # so many of them are honest work without end
        if name == "loss" and callable(thing):
            thing = "abc"  # a loss of the caller's own may do what it likes
        return f"{name}={thing!r:.40}", {**arguments, name: thing}, False
    neutral = bool(rng.random() < 0.5)
    table = tables[0] if neutral else tables[1]
    how = list(table)[rng.integers(len(table))]
    try:
        return f"{name} {how}", {**arguments, name: table[how](value)}, neutral
    except (
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        RuntimeError,
        OverflowError,
    ):  # of an argument that was changed before
        return f"{name} as it was", arguments, neutral


def _result(tally: Tally, entry: Entry, arguments: dict[str, Any], what: str) -> dict[str, np.ndarray] | None:
    """Arrays by name, None where the call is refused; failures are noted."""

    def call() -> dict[str, np.ndarray]:
        try:
            return {name: to_numpy(value) for name, value in entry.call(**arguments).items()}
        except Exception as error:
            if entry.foreign and not isinstance(error, ERRORS) and of_scikit(error):
                raise Foreign from error
            raise

    found = tally.attempt(what, call, Foreign)
    if found is None:
        return None
    for name, array in found.items():
        if array.dtype.kind == "f":
            good = np.isfinite(array) | (np.isinf(array) if name in entry.free else name in entry.overflowing)
            tally.expect(good, f"{what}: {name} is not finite", array)
    return found


class Foreign(Exception):
    """An error that scikit-learn raised."""


def of_scikit(error: Exception) -> bool:
    """Whether an error comes out of scikit-learn."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, ValueError | TypeError | OverflowError | RuntimeError) and any(
        "sklearn" in frame.filename for frame in frames
    )


def _same(tally: Tally, usual: dict[str, np.ndarray], found: dict[str, np.ndarray], what: str) -> None:
    for name, array in found.items():
        if array.dtype.kind not in "fiub" or usual[name].dtype.kind not in "fiub":
            continue
        one, other = usual[name].astype(float), array.astype(float)
        if one.shape != other.shape:
            tally.expect(False, f"{what}: {name} has another shape, {other.shape} instead of {one.shape}")
            continue
        size = 1e-5 * (1 + abs(one[np.isfinite(one)]).max(initial=0))
        with np.errstate(invalid="ignore"):
            same = (one == other) | (abs(one - other) <= size)
        tally.expect(same, f"{what}: {name} is another", one, other)


_SLOW = (
    "solve polynomial",
    "solve ReLU",
    "PolynomialClassifier",
    "ReLUClassifier",
    "regularisation_path",
    "zero_solution_beta",
)
_OFTEN = [_entry(name) for name in ENTRIES if name not in _SLOW]

KINDS: list[Draw] = [*_OFTEN * 8, *(_entry(name) for name in _SLOW)]
"""Kinds of draws, in turn: an entry point each, those that take long less often."""
