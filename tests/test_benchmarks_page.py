"""Records of the benchmarks: the ledger, processes of their own, the page of results, and the figures of the races."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import (
    apart,
    features10,
    growth,
    oracle,
    page,
    race_plots,
    race_runs,
    race_table,
    record,
    speed_polynomial,
    tables,
)
from benchmarks.races import RACES, TEN


def ledger(path: Path, quick: bool = False) -> apart.Ledger:
    return apart.Ledger("benchmarks.unknown", 1, ("row", "size"), [("a", 1), ("a", 2), ("b", 1)], path, quick)


def test_ledger_replaces_rows_keeps_the_others_and_the_order_of_the_plan(tmp_path):
    path = tmp_path / "record.json"
    first = ledger(path)
    first.add(("b", 1), {"status": "optimal", "seconds": 1.0})
    first.add(("a", 2), apart.failed("no reason"))
    again = ledger(path)
    assert again.done("b", 1)
    assert not again.done("a", 2)
    assert not again.done("a", 1)
    again.add(("a", 2), {"status": "optimal", "seconds": 2.0, "size": "mistaken"})
    assert again.add(("b", 1), apart.not_run("no GPU"))["seconds"] == 1.0
    rows = json.loads(path.read_text("utf-8"))["results"]
    assert [(row["row"], row["size"], row["seconds"]) for row in rows] == [("a", 2, 2.0), ("b", 1, 1.0)]
    assert all({"date", "commit", "cpu", "threads"} <= set(row["run"]) for row in rows)
    assert ledger(path, quick=True).results == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('said'); print('{\"status\": \"optimal\"}')", {"status": "optimal"}),
        ("raise ValueError('a reason')", {"status": "failed", "message": "ValueError: a reason"}),
        ("import time; time.sleep(60)", {"status": "failed", "message": "ended after 2 s"}),
        ("print('words')", {"status": "failed", "message": "it printed no result"}),
    ],
)
def test_run_reads_the_last_line_or_says_what_went_wrong(code, expected):
    result = apart.run([sys.executable, "-c", code], timeout=2.0)
    assert result["status"] == expected["status"]
    assert expected.get("message", "") in result.get("message", "")


def document(module: str, rows: list[dict], **fields) -> dict:
    stamp = {"date": "2026-01-02 03:04 UTC", "commit": "abc", "cpu": "a processor", "cores": 4, "threads": 1}
    rows = [{**row, "run": stamp} for row in rows]
    own = {"command": f"python -m {module}", "quick": False, "results": rows, **fields}
    return {**record.provenance(module, 1), **own}


RACE = [
    {
        "problem": "relu-500", "about": "a problem", "solver": "torch", "status": "optimal", "seconds": 0.5,
        "objective": 1.001, "violation": 0.0, "lower_bound": 0.999, "best_bound": 1.0, "gap": 2e-3,
        "points": [[0.1, 2.0, 0.0], [0.2, 1.001, 0.0]], "bounds": [[0.1, None], [0.2, 0.999]],
    },
    {"problem": "relu-500", "solver": "torch-cuda", "status": "not run", "message": "no GPU"},
    {
        "problem": "relu-500", "solver": "ADMM", "status": "no bound", "seconds": 1.0, "objective": 0.99, "violation": 0.05,
        "points": [[0.1, 3.0, 0.5], [0.9, 0.99, 0.05]],
    },
    {
        "problem": "relu-500", "solver": "Adam", "status": "no bound", "seconds": 1.0, "objective": 0.5, "violation": 0.0,
        "points": [[0.1, 0.5, 0.0]],
    },
]  # fmt: skip
TEN_ROW = {
    "row": "planted", "device": "cpu", "dtype": "float64", "status": "optimal", "seconds": 100.0, "target": 180.0,
    "tol": 1e-3, "gap": 5e-4, "objective": 6.0, "zero_objective": 10.0, "threshold": 0.4, "beta": 0.2, "n": 50_000, "d": 512,
    "neurons": 5, "rounds": 6, "sweeps": 50, "peak_bytes": 2.5e9, "data_bytes": 1e9,
    "memory_target": 3.0, "data": "some words",
}  # fmt: skip


def test_page_shows_every_record_and_says_what_is_missing(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    grown = [
        {
            "series": "rows, planted",
            "size": size,
            "status": "optimal",
            "seconds": seconds,
            "sweeps": 10,
            "peak_bytes": 1 << 24,
        }
        for size, seconds in ((6_250, 1.0), (12_500, 2.5), (50_000, 3.0))
    ]
    timed = {"d": 512, "m": 8, "device": "cpu", "dtype": "float64", "status": "measured", "evaluation_ratio": 2.5}
    for name, content in {
        "race_table": document(race_table.NAME, RACE),
        "features10": document(features10.NAME, [TEN_ROW]),
        "growth": document(growth.NAME, [*grown, {"series": "processes", "size": 1, **apart.not_run("a reason")}]),
        "oracle": document(oracle.NAME, [timed, {**timed, "m": 32, "evaluation_ratio": 3.5}]),
        "novelty": document("benchmarks", [{"speed": 12.5, "nested": [1]}]),
    }.items():
        record.write(folder / f"{name}.json", content)
    race_plots.draw("relu-500", RACE, folder)
    text = page.render(folder, tmp_path)
    assert "## Races on fixed problems" in text
    assert "![race-relu-500](results/race-relu-500.png)" in text
    assert "Missing: there is no `speed_relu.json` yet." in text
    assert "## Novelty" in text
    assert "12.5" in text
    assert "nested" not in text
    lines = {tuple(line.split()[:3]): line for line in text.splitlines()}
    assert "180+" in lines["planted", "cpu", "float64"]
    assert "2.50+" in lines["planted", "cpu", "float64"]
    assert "2.50-" in lines["rows,", "planted", "12500"]
    assert "+" not in lines["rows,", "planted", "50000"]  # it is not the double of the size before
    assert "3+" in lines["512", "8", "cpu"]
    assert "3-" in lines["512", "32", "cpu"]
    assert "processes, 1: a reason" in text


def test_page_of_the_repository_can_be_made(tmp_path):
    """Every record that is kept is shown by the module that made it, or as a plain table."""
    text = page.render(record.RESULTS, page.PAGE.parent)
    for path in record.RESULTS.glob("*.json"):
        command = json.loads(path.read_text("utf-8"))["command"]
        assert f"    {command}\n" in text


@pytest.mark.parametrize("path", page.MARKED, ids=lambda path: path.name)
def test_tables_of_the_pages_are_those_of_the_records(path):
    text = path.read_text("utf-8")
    assert "<!-- results: " in text
    assert text == tables.filled(text, record.RESULTS), "python -m benchmarks.page writes them"


def test_tables_replace_only_what_stands_between_their_marks(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "TABLES", {"a": lambda results: "one", "b": lambda results: results.name})
    page_before = (
        "x\n<!-- results: a -->\n<!-- end of results -->\ny\n<!-- results: b -->\nold\n<!-- end of results -->\nz"
    )
    once = tables.filled(page_before, tmp_path)
    assert [line for line in once.splitlines() if not line.startswith("<!--")] == [
        "x",
        "",
        "one",
        "",
        "y",
        "",
        tmp_path.name,
        "",
        "z",
    ]
    assert tables.filled(once, tmp_path) == once


def test_a_missed_target_has_a_minus_and_a_solver_that_was_stopped_says_more_than(tmp_path):
    own = {"row": "wdbc-200", "solver": "torch", "status": "optimal", "gap": 5e-5, "tol": 1e-4, "seconds": 0.1}
    own |= {"target": 30.0, "ratio_target": 1000.0, "memory_target": 3.0, "peak_bytes": 200, "data_bytes": 50}
    other = {"row": "wdbc-200", "solver": "CLARABEL", "status": "time_limit", "seconds": 50.0}
    machine = {"date": "2026-01-02 03:04 UTC", "hardware": {"threads": 2, "cores": 4}}
    results = [{**own, "threads": 1}, other]
    document = {**machine, "results": results, "ratios": speed_polynomial.ratios(results)}
    record.write(tmp_path / "speed_polynomial.json", document)
    *_, last, _, origin = tables.polynomial(tmp_path).splitlines()
    assert origin.startswith("2026-01-02, 2 of 4 cores (wdbc-200: 1), ")
    assert "0.1; CLARABEL more than 50" in last
    assert "1000 times CLARABEL: more than 500 -" in last
    assert "4.0 (3 -)" in last


def test_undercut_bounds_are_told_but_for_other_patterns():
    assert race_table.undercut([{**row} for row in RACE]) == []
    low = {**RACE[0], "solver": "SCS", "points": [[0.1, 0.9, 0.0]]}
    assert len(race_table.undercut([*RACE, low])) == 1


def test_distances_fall_and_points_off_the_cones_count_with_their_violation():
    points = [[0.1, 1.5, 0.0], [0.2, 1.01, 0.2], [0.3, 1.02, 0.0], [0.4, 0.9, 0.005], [0.5, 1.5, 0.0]]
    expected = [0.5, 0.2, 0.02, 0.02, 0.02]
    assert [value for _, value in race_plots.distances(points, 1.0)] == pytest.approx(expected)


def test_figures_are_small_and_have_a_line_for_every_solver(tmp_path):
    path = race_plots.draw("relu-500", RACE, tmp_path)
    assert path.name == "race-relu-500.png"
    assert 5_000 < path.stat().st_size < 150_000
    assert race_plots.draw("relu-500", RACE[2:], tmp_path) is None
    assert {solver for contest in race_runs.CONTESTS.values() for solver in contest.solvers} <= set(race_plots.STYLES)


def test_ten_classes_are_those_of_the_binary_races():
    for ten, binary in (("planted", "features-planted"), ("overlapping-2", "features-overlap-30")):
        X, label = TEN[ten].build(True)
        assert sorted(set(label.tolist())) == list(range(10))
        assert X.shape == RACES[binary].build(True)[0].shape
