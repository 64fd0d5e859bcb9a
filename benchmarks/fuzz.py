"""Random hostile cases for every part of the package: ``python -m benchmarks.fuzz --cases 1000000 --solves 20000``.

Groups of draws (their modules say what is checked): oracles, margins, certificates, validation, files, attacks, exports,
objects, estimators, writers, checkpoints, deep, solves.
A draw is a number of cases from one generator of random numbers, made from group, seed and number of the draw, so that it
repeats by itself: ``--repeat GROUP NUMBER``. A failure is an exception that is no error of the package, a draw that takes
longer than its limit, or anything that the group says must not be. The record is written after every minute;
``--resume`` goes on from it, and ``--only`` runs some groups and leaves the others in the record as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import record
from benchmarks.fuzz_tally import Tally, described, generator

NAME = "benchmarks.fuzz"
SHARES = {
    "oracles": 0.55,
    "margins": 0.19,
    "certificates": 0.07,
    "validation": 0.08,
    "files": 0.08,
    "attacks": 0.02,
    "exports": 0.003,
    "objects": 0.002,
    "estimators": 0.003,
    "writers": 0.001,
    "checkpoints": 0.001,
    "deep": 0.002,
    "solves": 0.0,
}
"""Groups, and their shares of the cheap cases; solves have a count of their own."""
LIMITS = {"solves": 30.0, "certificates": 60.0, "checkpoints": 60.0}
"""Seconds of a draw of a group; 30 for the others."""
MEMORY = 2 << 30
"""Bytes by which the process may grow over a run."""
_STORED = 60.0
_SHOWN = 40


class TooLong(BaseException):
    """Raised in a draw at its time limit; no exception that a caller's ``except Exception`` swallows."""


def main() -> int:
    arguments = _arguments()
    if arguments.repeat:
        group, number = arguments.repeat[0], int(arguments.repeat[1])
        tally = draw(group, arguments.seed, number)
        print(*(f"{what}: {cases}" for what, cases in tally.cases.items()), *tally.failures, sep="\n")
        return 1 if tally.failures else 0
    if arguments.quick:
        arguments.cases, arguments.solves = min(arguments.cases, 10_000), min(arguments.solves, 50)
    out = arguments.out or (None if arguments.quick else record.RESULTS / "fuzz.json")
    old = json.loads(out.read_text()) if out and out.exists() and (arguments.resume or arguments.only) else {}
    rows = {row["group"]: row for row in old.get("groups", [])}
    groups = arguments.only or list(SHARES)
    whole = f"python -m {NAME} --cases {arguments.cases} --solves {arguments.solves} --seed {arguments.seed}"
    if old and old["seed"] != arguments.seed:
        raise SystemExit(
            f"{out} has seed {old['seed']}, and --seed {arguments.seed} was given; they have to be the same."
        )
    for group in groups:
        wanted = arguments.solves if group == "solves" else int(arguments.cases * SHARES[group])
        rows[group] = rows.get(group) if arguments.resume and group in rows else _empty(group)
        for row in run(rows[group], arguments.seed, wanted):
            rows[group] = row
            if out:
                record.write(out, document(arguments.seed, rows) | {"command": whole})
    last = document(arguments.seed, rows)
    print(record.heading(last), report(last), sep="\n\n")
    return 1 if last["failures"] else 0


def draw(group: str, seed: int, number: int) -> Tally:
    """The draw of that number: its cases, and what went wrong."""
    kinds = importlib.import_module(f"benchmarks.fuzz_{group}").KINDS
    kind, tally = kinds[number % len(kinds)], Tally()
    try:
        with _limited(LIMITS.get(group, 30.0)), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            kind(generator(group, seed, number), tally)
    except TooLong:
        tally.failures.append(f"longer than {LIMITS.get(group, 30.0):g} s")
    except Exception as error:
        tally.failures.append(described(error))
    tally.failures = [f"{kind.__name__}: {failure}" for failure in tally.failures]
    return tally


def run(row: dict[str, Any], seed: int, wanted: int) -> Iterator[dict[str, Any]]:
    """Draw until a group has the cases wanted; yields the row of the record now and then, and at the end."""
    group, cases = row["group"], Counter(row["kinds"])
    begin = stored = time.perf_counter()
    before, seconds = _resident(), row["seconds"]
    progress = tqdm(total=wanted, initial=row["cases"], unit="case", desc=group, disable=not sys.stderr.isatty())
    while row["cases"] < wanted:
        tally = draw(group, seed, row["draws"])
        cases.update(tally.cases)
        for failure in tally.failures:
            row["failures"].append({"draw": row["draws"], "what": failure[:600]})
        row["draws"] += 1
        progress.update(tally.cases.total())
        row["cases"] += max(tally.cases.total(), 1)
        now = time.perf_counter()
        if now - stored > _STORED or row["cases"] >= wanted:
            gc.collect()
            grown = _resident() - before
            if grown > MEMORY:
                row["failures"].append({"draw": row["draws"], "what": f"the process has grown by {grown >> 20} MiB"})
                before = _resident()
            row |= {"kinds": dict(sorted(cases.items())), "seconds": round(seconds + now - begin, 1)}
            row |= {"grown_mib": max(row["grown_mib"], grown >> 20), "commit": record.provenance(NAME, 1)["commit"]}
            stored = now
            yield row
    progress.close()
    yield row


def document(seed: int, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The record of all groups."""
    groups = [rows[group] for group in SHARES if group in rows]
    cheap = sum(row["cases"] for row in groups if row["group"] != "solves")
    return {
        **record.provenance(NAME, 1),
        "seed": seed,
        "cases": cheap,
        "solves": sum(row["cases"] for row in groups if row["group"] == "solves"),
        "failures": sum(len(row["failures"]) for row in groups),
        "seconds": round(sum(row["seconds"] for row in groups), 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "groups": groups,
    }


def report(last: dict[str, Any]) -> str:
    """A line for every group, its failures, and the sums."""
    lines = []
    for row in last["groups"]:
        lines.append(
            f"{row['group']:<13} {row['cases']:>9} cases  {row['draws']:>7} draws  {len(row['kinds']):>4} kinds  "
            f"{row['seconds']:>8.1f} s  {len(row['failures']):>5} failures"
        )
        lines += [f"    --repeat {row['group']} {each['draw']}: {each['what']}" for each in row["failures"][:_SHOWN]]
    sums = f"{last['cases']} cases and {last['solves']} solves, {last['failures']} failures, {last['seconds']:g} s"
    return "\n".join([*lines, sums])


def _empty(group: str) -> dict[str, Any]:
    counts: dict[str, Any] = {"group": group, "commit": "", "cases": 0, "draws": 0, "seconds": 0.0, "grown_mib": 0}
    return {**counts, "kinds": {}, "failures": []}


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise TooLong in what runs longer; without effect where there are no such signals."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TooLong

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, old)


def _resident() -> int:
    """Bytes of memory of this process; 0 where they are not known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.split(":")[0])
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many cheap cases (default: %(default)s)")
    parser.add_argument("--solves", type=int, default=20_000, help="how many whole solves (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(SHARES), metavar="GROUP", help="some of " + ", ".join(SHARES))
    parser.add_argument("--resume", action="store_true", help="go on from the record")
    parser.add_argument("--repeat", nargs=2, metavar=("GROUP", "NUMBER"), help="one draw, and what it finds")
    parser.add_argument("--quick", action="store_true", help="10,000 cases and 50 solves; no record without --out")
    parser.add_argument("--out", type=Path, help="the record (default: benchmarks/results/fuzz.json)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
