"""Races on fixed problems: ``python -m benchmarks.race_table``.

Our solver on CPU and GPU, CLARABEL, SCS, MOSEK, pyscnn, the published ADMM, Adam on the non-convex network, and the earlier
penalty method, each in a process of its own (`benchmarks.race_runs`). Objectives are recomputed from networks and weights,
bounds from certificates; suboptimality is measured against the best bound of all. With figures over time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import apart, record
from benchmarks.race_plots import best_bound, draw
from benchmarks.race_runs import BASELINES, CONTESTS, RATES_TRIED
from convexadv.cli.output import table

NAME, FILE = "benchmarks.race_table", "race_table.json"
_GRACE = 300.0
_QUICK = {"limit": 20.0, "baseline": 2.0}
_ROUNDING = 1e-9
_HEADER = ("problem", "solver", "status", "seconds", "times ours", "objective", "above bound", "violation", "own gap")


def main() -> int:
    arguments = _arguments()
    record.set_threads(arguments.threads)
    plan = [(name, solver) for name, contest in CONTESTS.items() for solver in contest.solvers]
    out = apart.target(arguments, FILE)
    ledger = apart.Ledger(NAME, arguments.threads, ("problem", "solver"), plan, out, arguments.quick)
    if arguments.pyscnn:
        ledger.document["command"] = ledger.document["command"].replace(arguments.pyscnn, "PYTHON")
    print(record.heading(ledger.document), flush=True)
    for problem, solver in plan:
        if (
            problem not in arguments.rows
            or solver in arguments.skip
            or (arguments.only and solver not in arguments.only)
        ):
            continue
        if arguments.resume and ledger.done(problem, solver):
            continue
        print(f"  {problem}, {solver} ...", flush=True)
        row = ledger.add((problem, solver), _raced(problem, solver, arguments))
        print(f"    {row['status']}: {row.get('message') or row.get('seconds')}", flush=True)
    print("\n" + report(ledger.document))
    folder = out.parent if out else arguments.plots
    if folder is not None:
        for problem in CONTESTS:
            path = draw(problem, _of(ledger.results, problem), folder)
            print(f"{problem}: {path.name if path else 'nothing to draw'}")
    return int(any(row["status"] == "failed" for row in ledger.results) or bool(undercut(ledger.results)))


def _raced(problem: str, solver: str, arguments: argparse.Namespace) -> dict[str, Any]:
    contest = CONTESTS[problem]
    limit = arguments.limit or (_QUICK["limit"] if arguments.quick else contest.limit)
    baseline = arguments.baseline or (_QUICK["baseline"] if arguments.quick else contest.baseline)
    command = [sys.executable, "-m", "benchmarks.race_runs", problem, solver, "--threads", str(arguments.threads)]
    command += ["--limit", str(limit), "--baseline", str(baseline), *["--quick"] * arguments.quick]
    command += ["--pyscnn", arguments.pyscnn] if arguments.pyscnn else []
    settings = RATES_TRIED.get(solver, 4)
    return apart.run(command, timeout=6.0 * limit + settings * 3.0 * baseline + _GRACE)


def _of(results: list[dict[str, Any]], problem: str) -> list[dict[str, Any]]:
    return [row for row in results if row["problem"] == problem]


def undercut(results: list[dict[str, Any]]) -> list[str]:
    """Feasible points of the programme below a certified bound: there must be none. Adam's own patterns are not of it."""
    found = []
    for problem in CONTESTS:
        rows = _of(results, problem)
        bound = best_bound(rows)
        for row in rows:
            if bound is not None and row["solver"] != "Adam":
                low = min((value for _, value, off in row.get("points", ()) if off == 0.0), default=bound)
                if low < bound - _ROUNDING * abs(bound):
                    found.append(f"{problem}, {row['solver']}: objective {low:.9g} below the bound {bound:.9g}")
    return found


def report(document: dict[str, Any]) -> str:
    """The table, and what must not be."""
    lines = []
    for problem in dict.fromkeys(row["problem"] for row in document["results"]):
        rows = _of(document["results"], problem)
        bound, ours = best_bound(rows), next((row.get("seconds") for row in rows if row["solver"] == "torch"), None)
        lines += [_cells(row, bound, ours) for row in rows]
    return "\n".join(
        [table(_HEADER, lines), "", _LEGEND, "", *_notes(document["results"]), *undercut(document["results"])]
    )


def _cells(row: dict[str, Any], bound: float | None, ours: float | None) -> list[str]:
    objective, seconds = row.get("objective"), row.get("seconds")
    above = "-" if objective is None or not bound else f"{100.0 * (objective / bound - 1.0):+.3g} %"
    return [
        row["problem"],
        row["solver"],
        row["status"],
        apart.show(row, "seconds", ".3g"),
        f"{seconds / ours:.3g}" if seconds and ours else "-",
        apart.show(row, "objective", ".7f"),
        above,
        apart.show(row, "violation", ".0e"),
        apart.show(row, "gap", ".1e"),
    ]


def _notes(results: list[dict[str, Any]]) -> list[str]:
    """What each problem is, and what is to be said of single rows."""
    problems = {row["problem"]: row["about"] for row in results if "about" in row}
    said = [(f"{row['problem']}, {row['solver']}", row.get("note") or row.get("message")) for row in results]
    return [f"{name}: {words}" for name, words in [*problems.items(), *said] if words]


_LEGEND = """seconds: ours, median of up to three certified solves (tolerance 1e-4) after a warm-up; conic solvers: their
own solve time to their own stop, compilation excluded; methods without a stopping rule: the time that they were given.
above bound: (objective - best bound) / best bound, the bound from the best certificate of all solvers of the problem. own
gap: certified by the solver's own multipliers. violation: of the cones, relative. In the figures a point off the cones
counts with the larger one of its violation and the distance of its objective; dashed: our certified gap over time. Adam
(ReLU): moves its patterns, so that it may end below the programme over the given gates."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    apart.add_arguments(parser, FILE, list(CONTESTS))
    parser.add_argument("--only", nargs="+", default=[], metavar="SOLVER", help="these solvers only")
    parser.add_argument(
        "--skip", nargs="+", default=[], metavar="SOLVER", help=f"leave solvers out, such as {BASELINES[0]}"
    )
    parser.add_argument("--pyscnn", metavar="PYTHON", help="interpreter of an environment with pyscnn")
    parser.add_argument("--limit", type=float, help="seconds of a conic solver (default: that of the problem)")
    parser.add_argument(
        "--baseline", type=float, help="seconds of every setting of a baseline (default: of the problem)"
    )
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="figures of a run that is not recorded")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
