"""What the compression benchmark says is what its rows say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import cstar_report


def row(method: str, seed: int, clean: np.ndarray, worst: np.ndarray) -> dict:
    right = {"clean": cstar_report.packed(clean), "worst": cstar_report.packed(worst)}
    return {"method": method, "ratio": 4.0, "seed": seed, "right": right}


def test_packed_images_come_back():
    right = np.random.default_rng(0).random((2, 37)) < 0.5
    assert np.array_equal(cstar_report.unpacked(cstar_report.packed(right), 37), right)


def test_differences_are_paired_by_seed_and_image():
    random = np.random.default_rng(1)
    draws = random.random((2, 3, 3, 50)) < 0.6  # method, seed, (clean and two sizes), image
    names = ("cstar", "channels")
    rows = [row(names[m], s, draws[m, s, 0], draws[m, s, 1:]) for m in range(2) for s in range(3)]
    rows.append(row("uniform", 7, draws[0, 0, 0], draws[0, 0, 1:]))  # a seed that cstar does not have
    found = cstar_report.comparisons({"results": rows, "images": 50})
    assert [(each["against"], each["seeds"]) for each in found] == [("channels", 3)]
    apart = 100.0 * (draws[0].mean(0) - draws[1].mean(0))
    expected = [[values.mean(), 1.96 * values.std(ddof=1) / 50**0.5] for values in apart]
    assert found[0]["clean"] == [pytest.approx(expected[0])]
    assert found[0]["worst"] == [pytest.approx(each) for each in expected[1:]]
