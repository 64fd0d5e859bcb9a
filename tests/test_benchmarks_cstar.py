"""What the compression benchmark says is what its rows say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import apart, cstar_report, inference_memory


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


def judged(**more: object) -> dict:
    right = np.ones(8, bool)
    numbers = {"clean": 90.0, "pgd": [80.0, 70.0], "apgd": [79.0, 69.0], "worst": [79.0, 69.0], "seconds": 1.0}
    costs = {"parameters": 1000, "flops": 2_000_000, "bytes": 4000, "latency_ms": [2.0, 1.0], "speedup": 2.0}
    return row("cstar", 0, right, right[None]) | numbers | costs | more


def test_the_table_shows_peaks_and_reads_rows_without():
    rows = [judged(), judged(memory_bytes={"1": [30_000_000, 12_340_000], "64": [90_000_000, 80_000_000]})]
    rows.append(judged(memory_bytes=apart.failed("no memory")))
    document = {"results": rows, "sizes_255": [4, 8], "attacks": ["pgd", "apgd"], "epochs": [1, 1], "images": 8}
    document |= {"rows": 8, "radius_255": 8, "hardware": {"threads": 1}}
    lines = [line.split() for line in cstar_report.report(document).splitlines() if line.startswith("cstar ")]
    assert lines[0][-3:] == ["-", "-", "1"] == lines[2][-3:]
    assert " ".join(lines[1]).endswith("2.00 30.0 → 12.3 90.0 → 80.0 1")


def test_peaks_tell_weights_apart():
    models = {"large": torch.nn.Linear(4000, 4000), "small": torch.nn.Linear(4000, 10)}  # 64 MB and 0.2 MB
    found = inference_memory.measure(models, (4000,), runs=1)
    for size in ("1", "64"):
        assert 58e6 < found[size]["large"] - found[size]["small"] < 80e6
        assert found[size]["small"] < 30e6


def test_a_model_that_does_not_run_is_a_failed_row():
    found = inference_memory.measure({"it": torch.nn.Linear(3, 3)}, (4,), runs=1)
    assert found["status"] == "failed"
    assert found["message"].startswith("it: RuntimeError")
