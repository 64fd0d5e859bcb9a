"""Attacks against certificates on random networks; ``python -m benchmarks.fuzz_robustness`` is the long run."""

from __future__ import annotations

import dataclasses
import os
import time

import numpy as np
import pytest

from benchmarks import fuzz_robustness
from benchmarks.fuzz_cases import RANDOM, generator, random_subject
from benchmarks.fuzz_robustness import CONTRADICTIONS, contradictions, examine

SECONDS = float(os.environ.get("CONVEXADV_FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("CONVEXADV_FUZZ_SEED", "7"))
FEWEST = 2 * len(RANDOM)


def test_no_search_breaks_a_bound_or_a_certificate():
    """The time decides how many subjects are drawn, the seed alone which ones: CONVEXADV_FUZZ_SECONDS changes it."""
    table, cases, number, end = {}, 0, 0, time.monotonic() + SECONDS
    while number < FEWEST or time.monotonic() < end:
        cases += examine(table, random_subject(SEED, number), generator(SEED, 10**9 + number))
        number += 1
    found = {key: dict(counts) for key, counts in table.items() if any(counts[name] for name in CONTRADICTIONS)}
    assert not found, f"{contradictions(table)} contradictions in {cases} cases of {number} subjects, seed {SEED}"
    assert cases >= 60 * 2 * FEWEST
    # every kind was attacked with and without success, and certified
    for kind in RANDOM:
        counts = [each for (name, _, attack), each in table.items() if name == kind and attack == "pgd"]
        assert 0 < sum(each["broken"] for each in counts) < sum(each["cases"] for each in counts)
        assert sum(each["certified"] for each in counts) > 0


def test_the_same_seed_draws_the_same():
    for number in range(len(RANDOM)):
        first, again, other = (random_subject(seed, number) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.X, again.X)
        np.testing.assert_array_equal(first.network.scores(first.X), again.network.scores(again.X))
        assert first.X.shape != other.X.shape or (first.X != other.X).any()


@pytest.fixture
def polynomial_subject():
    number = next(k for k in range(0, 600, len(RANDOM)) if random_subject(5, k).bounds is not None)
    return random_subject(5, number)


def lie(monkeypatch, name, change):
    honest = getattr(fuzz_robustness.ca, name)
    monkeypatch.setattr(fuzz_robustness.ca, name, lambda *a, **k: change(honest(*a, **k)))


def counted(subject):
    table = {}
    examine(table, subject, generator(5, 0))
    return {name: sum(counts[name] for counts in table.values()) for name in CONTRADICTIONS}


def test_wrong_bounds_and_certificates_are_found(monkeypatch, polynomial_subject):
    assert not any(counted(polynomial_subject).values())
    with monkeypatch.context() as patch:
        lie(patch, "worst_case_margin", lambda it: dataclasses.replace(it, lower_bound=it.lower_bound + 0.1))
        found = counted(polynomial_subject)
        assert found["above_exact"] > 0
        assert found["breaks_certificate"] == found["outside"] == 0
    with monkeypatch.context() as patch:
        lie(
            patch,
            "worst_case_margin",
            lambda it: dataclasses.replace(it, exact=~it.exact, lower_bound=it.lower_bound + 1),
        )
        assert counted(polynomial_subject)["below_bound"] > 0
    with monkeypatch.context() as patch:
        lie(patch, "certify", lambda it: dataclasses.replace(it, certified=it.certified | True))
        assert counted(polynomial_subject)["breaks_certificate"] > 0


@pytest.mark.parametrize("step", [1e-6, 1e6])
def test_points_outside_are_found(monkeypatch, polynomial_subject, step):
    radius = polynomial_subject.radius[:, None]
    lie(monkeypatch, "attack", lambda it: dataclasses.replace(it, points=it.points + step * radius))
    assert counted(polynomial_subject)["outside"] > 0
