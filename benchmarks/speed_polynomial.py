"""Speed of certified robust training of polynomial networks: ``python -m benchmarks.speed_polynomial``.

Every row of the table is a fixed problem (`benchmarks.races`), solved in a process of its own (`benchmarks.race`). The
objective and the lower bound are recomputed by the problem from the network and the certificate, outside of the timed part.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import apart, record
from benchmarks.race import ROWS, SOLVERS
from benchmarks.races import RACES
from convexadv.cli.output import table

NAME = "benchmarks.speed_polynomial"
_GRACE = 180.0  # seconds for reading data, compiling and recomputing, beside the runs
_HEADER = (
    "row", "solver", "n", "d", "beta", "thr/beta", "status", "seconds", "target", "objective", "of zero", "bound",
    "gap", "neurons", "kink", "mem/data",
)  # fmt: skip


def main() -> int:
    arguments = _arguments()
    record.set_threads(arguments.threads)
    document = {**record.provenance(NAME, arguments.threads), "quick": arguments.quick, "results": []}
    print(record.heading(document), flush=True)
    for name in arguments.rows:
        for solver in _solvers(name, arguments):
            print(f"  {name}, {solver} ...", flush=True)
            result = raced(name, solver, arguments)
            print(f"    {_summary(result)}", flush=True)
            document["results"].append(result)
    document["ratios"] = ratios(document["results"])
    print("\n" + report(document))
    out = arguments.out or (None if _partial(arguments) else record.RESULTS / "speed_polynomial.json")
    if out is None:
        print("\nA part of the benchmark is not written; --out FILE writes it.")
    else:
        record.write(out, document)
        print(f"\nWritten to {out.name}.")
    return 0 if all(result["status"] != "failed" for result in document["results"]) else 1


def _solvers(name: str, arguments: argparse.Namespace) -> tuple[str, ...]:
    return SOLVERS if RACES[name].conic_ratio and not arguments.skip_conic else ("torch",)


def _summary(result: dict[str, Any]) -> str:
    if result["status"] == "failed":
        return f"failed: {result['message']}"
    gap = "no network" if result["gap"] is None else f"gap {result['gap']:.1e}"
    return f"{result['status']}, {result['seconds']:.3g} s, {gap}"


def _partial(arguments: argparse.Namespace) -> bool:
    cpu = arguments.device == "cpu" and arguments.dtype == "float64"
    return arguments.quick or arguments.skip_conic or list(arguments.rows) != list(RACES) or not cpu


def raced(name: str, solver: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one solver on one problem in a fresh process."""
    race = ROWS[name]
    if arguments.quick:  # what is to be reached speaks of the full problems
        race = replace(race, target=None, memory_target=None, conic_ratio=None)
    limit = arguments.time_limit if solver == "torch" else arguments.conic_limit
    command = [sys.executable, "-m", "benchmarks.race", name, solver]
    threads = race.threads or arguments.threads
    command += ["--threads", str(threads), "--time-limit", str(limit)]
    command += ["--device", arguments.device, "--dtype", arguments.dtype, *["--quick"] * arguments.quick]
    result = {
        "row": name,
        "solver": solver,
        "threads": threads,
        "tol": race.tol,
        "data": race.data,
        "time_limit": limit,
        "target": race.target,
    }
    result["memory_target"], result["ratio_target"] = race.memory_target, race.conic_ratio
    environment = dict.fromkeys(record.THREAD_VARIABLES, str(threads))
    return {**result, **apart.run(command, limit * (race.runs + 1.0) + _GRACE, environment)}


def ratios(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times faster torch is than each conic solver that ran beside it."""
    return [
        {
            "row": mine["row"],
            "solver": other["solver"],
            "ratio": other["seconds"] / mine["seconds"],
            "target": mine["ratio_target"] if other["solver"] == "CLARABEL" else None,
            "finished": other["status"] != "time_limit",
            "certified": certified(mine),
        }
        for mine in results
        for other in results
        if mine["solver"] == "torch" != other["solver"] and other["row"] == mine["row"]
        if mine.get("seconds") and other.get("seconds")
    ]


def certified(result: dict[str, Any]) -> bool:
    return result.get("gap") is not None and result["gap"] <= result["tol"]


def report(document: dict[str, Any]) -> str:
    """The table and the ratios."""
    lines = [table(_HEADER, [_cells(result) for result in document["results"]]), "", _LEGEND]
    for ratio in document["ratios"]:
        target = f" (to reach: {ratio['target']:g})" if ratio["target"] else ""
        target += "" if ratio.get("certified", True) else ", but not certified to its tolerance"
        least = "" if ratio.get("finished", True) else "more than "
        lines.append(
            f"{ratio['row']}: torch is {least}{ratio['ratio']:.0f} times faster than {ratio['solver']}{target}."
        )
    failures = [result for result in document["results"] if result["status"] == "failed"]
    return "\n".join(lines + [f"{each['row']}, {each['solver']}: {each['message']}" for each in failures])


_LEGEND = """seconds: median of the runs after a warm-up; CLARABEL, SCS: their own solve time, compilation excluded.
target: seconds to reach on 4 cores, and whether (+) or not (-) they were, certified to the tolerance of the row.
objective, bound, gap: recomputed by the problem. of zero: objective as a multiple of the zero network's.
thr/beta: smallest beta with the zero solution at radius 0, divided by beta. kink: rows with |margin - 1| <= 0.01.
mem/data: peak memory above the imported baseline, data included, as a multiple of the data (float64)."""


def _cells(result: dict[str, Any]) -> list[str]:
    def show(key: str, form: str) -> str:
        value = result.get(key)
        return "-" if value is None else format(value, form)

    beta, objective, zero = result.get("beta"), result.get("objective"), result.get("zero_objective")
    memory = "-"
    if result.get("peak_bytes") and result["data_bytes"] > 1 << 26:  # below, it is that of the libraries
        memory = f"{result['peak_bytes'] / result['data_bytes']:.2f}"
        if result["memory_target"]:
            memory += "+" if result["peak_bytes"] < result["memory_target"] * result["data_bytes"] else "-"
    return [
        result["row"],
        result["solver"],
        show("n", "d"),
        show("d", "d"),
        show("beta", ".3g"),
        f"{result['threshold'] / beta:.3g}" if beta else "-",
        result["status"],
        show("seconds", ".3g"),
        _target(result),
        show("objective", ".6f"),
        f"{objective / zero:.3f}" if objective is not None and zero else "-",
        show("lower_bound", ".6f"),
        show("gap", ".1e"),
        show("neurons", "d"),
        show("on_kink", ".1%"),
        memory,
    ]


def _target(result: dict[str, Any]) -> str:
    if result["target"] is None:
        return "-"
    reached = certified(result) and result["seconds"] <= result["target"]
    return f"{result['target']:g}{'+' if reached else '-'}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=RACES, default=list(RACES), metavar="ROW", help=", ".join(RACES))
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds of one solve of the torch backend")
    parser.add_argument("--skip-conic", action="store_true", help="leave out CLARABEL and SCS")
    parser.add_argument("--conic-limit", type=float, default=600.0, help="seconds of CLARABEL and of SCS")
    parser.add_argument("--device", default="cpu", help="of the torch backend")
    parser.add_argument("--dtype", default="float64", choices=("float64", "float32"), help="of the torch backend")
    parser.add_argument("--quick", action="store_true", help="small versions of the same data, for a check in a minute")
    parser.add_argument(
        "--out", type=Path, help="JSON file; by default results/speed_polynomial.json of a full run on the CPU"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
