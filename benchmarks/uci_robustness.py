"""Standard against robust training on three UCI data sets: ``python -m benchmarks.uci_robustness``.

On every split beta, and for robust training the radius, are chosen on the validation rows, by the same criterion and from the
same betas; the table compares the chosen networks on the test rows. All sizes are in the units of the rows after scaling
(standardised on the training rows, then divided by the largest norm of a training row).
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import record, uci_fits, uci_report
from convexadv.datasets import load
from convexadv.errors import InputError

NAME = "benchmarks.uci_robustness"
QUICK_SPLITS = 3


def main() -> int:
    arguments = _arguments()
    record.set_threads(1)
    try:
        for name in arguments.data:
            load(name)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    document: dict[str, Any] = record.provenance(NAME, 1)
    document["hardware"]["processes"] = arguments.jobs
    document["settings"] = {
        "loss": "hinge",
        "betas": uci_fits.BETAS,
        "tol": arguments.tol,
        "time_limit": arguments.time_limit,
        "pgd": {"steps": 10 if arguments.quick else 40, "restarts": 2 if arguments.quick else 5},
        "trainings": {
            name: {training: setting.trainings[training]._asdict() for training in arguments.trainings}
            for name, setting in uci_fits.SETTINGS.items()
            if name in arguments.data
        },
        "interval": "corrected resampled t (Nadeau, Bengio 2003), 95 %",
    }
    print(record.heading(document), flush=True)
    start = time.perf_counter()
    splits = _sweep(arguments, document["settings"])
    summaries = {name: uci_report.summarise(name, parts) for name, parts in splits.items()}
    for name, summary in summaries.items():
        print(uci_report.text(name, summary))
    document["seconds"] = round(time.perf_counter() - start, 1)
    document["data"] = summaries
    print(f"\n{uci_report.LEGEND}\n{document['seconds']:g} s with {arguments.jobs} processes.")
    _write(arguments, document, summaries)
    return 0


def _sweep(arguments: argparse.Namespace, settings: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Results of all splits, by data set, in the order of their seeds."""
    tasks = [
        uci_fits.Task(
            name,
            seed,
            tuple(arguments.trainings),
            arguments.tol,
            arguments.time_limit,
            (settings["pgd"]["steps"], settings["pgd"]["restarts"]),
        )
        for seed in range(arguments.splits)
        for name in arguments.data
    ]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.data}
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for number, (task, result) in enumerate(zip(tasks, pool.map(uci_fits.run, tasks), strict=True), 1):
            results[task.data].append({**result, "tol": task.tol})
            if number % 10 == 0 or number == len(tasks):
                print(f"  {number} of {len(tasks)} splits", flush=True)
    return results


def _write(arguments: argparse.Namespace, document: dict[str, Any], summaries: dict[str, Any]) -> None:
    partial = arguments.quick or list(arguments.data) != list(uci_fits.SETTINGS)
    out = arguments.out or (None if partial else record.RESULTS / "uci_robustness.json")
    if out is None:
        print("A part of the benchmark is not written; --out FILE writes it.")
        return
    record.write(out, document)
    uci_report.figure(summaries, out.with_suffix(".png"))
    print(f"Written to {out.name} and {out.with_suffix('.png').name}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    names = list(uci_fits.SETTINGS)
    trainings = list(uci_fits.SETTINGS["wdbc"].trainings)
    parser.add_argument("--data", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--robust",
        nargs="+",
        choices=trainings[1:],
        default=["robust"],
        help="balls of the robust training (l2 or linf)",
    )
    parser.add_argument("--splits", type=int, help=f"20 by default, {QUICK_SPLITS} with --quick")
    parser.add_argument("--jobs", type=int, default=3, help="processes, of one thread each")
    parser.add_argument("--tol", type=float, default=1e-3, help="certified relative gap of every network")
    parser.add_argument("--time-limit", type=float, default=3.0, help="seconds for one network")
    parser.add_argument("--quick", action="store_true", help="few splits and weak attacks, for a check in a minute")
    parser.add_argument("--out", type=Path, help="JSON file; by default results/uci_robustness.json of a full run")
    arguments = parser.parse_args()
    arguments.splits = arguments.splits or (QUICK_SPLITS if arguments.quick else 20)
    arguments.trainings = [trainings[0], *arguments.robust]
    return arguments


if __name__ == "__main__":
    sys.exit(main())
