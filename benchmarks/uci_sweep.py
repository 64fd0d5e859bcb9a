"""The command that the robustness benchmarks share: sweep splits in processes, print the tables, write the record."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import record, uci_fits, uci_report
from benchmarks.uci_trainings import Training
from convexadv.datasets import load
from convexadv.errors import InputError


@dataclass(frozen=True)
class Comparison:
    """What a benchmark compares.

    Attributes
    ----------
    module : str
        The command; its last part names the files of the results.
    trainings : dict of dict of Training
        By data set and name.
    pairs : tuple of (str, str)
        Trainings whose differences, first less second, are reported.
    metrics : tuple of str
        Out of :data:`benchmarks.uci_fits.METRICS`.
    """

    module: str
    trainings: dict[str, dict[str, Training]]
    pairs: tuple[tuple[str, str], ...]
    metrics: tuple[str, ...]


def parser(module: str, description: str, time_limit: float) -> argparse.ArgumentParser:
    """The arguments that every robustness benchmark has."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description.splitlines()[0])
    names = list(uci_fits.SIZES)
    parser.add_argument("--data", nargs="+", choices=names, default=names)
    parser.add_argument("--splits", type=int, help="fewer with --quick")
    parser.add_argument("--jobs", type=int, default=3, help="processes, of one thread each")
    parser.add_argument("--tol", type=float, default=1e-3, help="certified relative gap of every convex programme")
    parser.add_argument("--time-limit", type=float, default=time_limit, help="seconds for one convex programme")
    parser.add_argument("--quick", action="store_true", help="few splits and weak attacks, for a check in a minute")
    parser.add_argument("--out", type=Path, help="JSON file; by default one in results/, of a full run")
    return parser


def run(comparison: Comparison, arguments: argparse.Namespace) -> int:
    """Compare the trainings on all splits; returns the exit status."""
    record.set_threads(1)
    try:
        for name in arguments.data:
            load(name)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    document: dict[str, Any] = record.provenance(comparison.module, 1)
    document["hardware"]["processes"] = arguments.jobs
    effort = uci_fits.Effort(10, 2, 0) if arguments.quick else uci_fits.Effort(40, 5, 300)
    document["settings"] = {
        "tol": arguments.tol,
        "time_limit": arguments.time_limit,
        "effort": effort._asdict(),
        "trainings": {
            name: {training: asdict(setting) for training, setting in comparison.trainings[name].items()}
            for name in arguments.data
        },
        "interval": "corrected resampled t (Nadeau, Bengio 2003), 95 %",
    }
    print(record.heading(document), flush=True)
    start = time.perf_counter()
    splits = _sweep(comparison, arguments, effort)
    summaries = {
        name: uci_report.summarise(name, parts, comparison.metrics, comparison.pairs) for name, parts in splits.items()
    }
    for name, summary in summaries.items():
        print(uci_report.text(name, summary, comparison.pairs))
    document["seconds"] = round(time.perf_counter() - start, 1)
    document["data"] = summaries
    print(f"\n{uci_report.legend(comparison.metrics)}\n{document['seconds']:g} s with {arguments.jobs} processes.")
    _write(comparison, arguments, document)
    return 0


def _sweep(
    comparison: Comparison, arguments: argparse.Namespace, effort: uci_fits.Effort
) -> dict[str, list[dict[str, Any]]]:
    """Results of all splits, by data set, in the order of their seeds."""
    tasks = [
        uci_fits.Task(
            name,
            seed,
            comparison.trainings[name],
            comparison.metrics,
            arguments.tol,
            arguments.time_limit,
            effort,
        )
        for seed in range(arguments.splits)
        for name in arguments.data
    ]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.data}
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for number, (task, result) in enumerate(zip(tasks, pool.map(uci_fits.run, tasks), strict=True), 1):
            results[task.data].append(result)
            if number % 10 == 0 or number == len(tasks):
                print(f"  {number} of {len(tasks)} splits", flush=True)
    return results


def _write(comparison: Comparison, arguments: argparse.Namespace, document: dict[str, Any]) -> None:
    partial = arguments.quick or list(arguments.data) != list(uci_fits.SIZES)
    full = record.RESULTS / f"{comparison.module.rpartition('.')[2]}.json"
    out = arguments.out or (None if partial else full)
    if out is None:
        print("A part of the benchmark is not written; --out FILE writes it.")
        return
    record.write(out, document)
    uci_report.figure(document["data"], out.with_suffix(".png"))
    print(f"Written to {out.name} and {out.with_suffix('.png').name}.")
