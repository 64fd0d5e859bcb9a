"""Attacks against certificates, a group of the fuzz run; ``benchmarks.fuzz_robustness`` makes a table of them."""

from __future__ import annotations

import functools

import numpy as np

from benchmarks.fuzz_cases import RANDOM, generator, random_subject
from benchmarks.fuzz_robustness import CONTRADICTIONS, Table, examine
from benchmarks.fuzz_tally import Draw, Tally


def _attacked(place: int, rng: np.random.Generator, tally: Tally) -> None:
    seed = int(rng.integers(2**31))
    case = random_subject(seed, place)  # the number decides the kind
    table: Table = {}
    cases = examine(table, case, generator(seed, 1_000_000_000))
    for (kind, norm, attack), counts in table.items():
        for name in CONTRADICTIONS:
            tally.expect(counts[name] == 0, f"{counts[name]} rows {name}: {kind}, {norm}, {attack}, seed {seed}")
    tally.count(case.kind, cases)


def _draw(place: int) -> Draw:
    draw = functools.partial(_attacked, place)
    draw.__name__ = RANDOM[place].replace(" ", "_")  # type: ignore[attr-defined]
    return draw


KINDS: list[Draw] = [_draw(place) for place in range(len(RANDOM))]
"""Kinds of draws, in turn."""
