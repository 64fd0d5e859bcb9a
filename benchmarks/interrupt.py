"""Killed at random moments and resumed: ``python -m benchmarks.interrupt``.

A solve in a process of its own, with a checkpoint every 0.05 s, is ended by SIGKILL at a random moment and started again with
``resume=True``; its objective and certificate are compared with those of a solve that nobody disturbed. Twenty times over.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import convexadv as ca
from benchmarks import record
from convexadv.cli.output import table
from convexadv.datasets import load, standardise

NAME = "benchmarks.interrupt"
_TOL = 1e-3


def problem() -> ca.PolynomialProblem:
    """The first 600 of the bundled digits, ten classes one-vs-rest, standardised, over the largest norm; radius 0.02."""
    data = load("digits")
    X = standardise(data.X[:600]).apply(data.X[:600])
    return ca.PolynomialProblem(X, data.y[:600], radius=0.02, beta=0.01)


def main() -> None:
    """Kill and resume."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        print(json.dumps(solve(options.worker)))
        return
    document = record.provenance(NAME, 1)
    print(record.heading(document), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = solve(Path(folder) / "whole")
        print(f"undisturbed: {whole['objective']:.8g} in {whole['seconds']:.1f} s", flush=True)
        document |= {"whole": whole, "kills": interrupted(Path(folder), whole, options.kills)}
    print(report(document))
    if options.out or options.kills >= 20:
        record.write(options.out or record.RESULTS / "interrupt.json", document)


def solve(checkpoint: Path) -> dict[str, Any]:
    """One solve, from the checkpoint where there is one."""
    own = problem()
    start = time.perf_counter()
    solution = ca.solve(own, tol=_TOL, checkpoint=checkpoint, checkpoint_every=0.05, resume=True)
    return {
        "status": str(solution.status),
        "objective": own.objective(solution.network),
        "lower_bound": own.lower_bound(solution.certificate),
        "gap": solution.gap,
        "seconds": time.perf_counter() - start,
        "sweeps": solution.variables["sweeps"],
    }


def interrupted(folder: Path, whole: dict[str, Any], kills: int) -> list[dict[str, Any]]:
    """A line for every kill: the answer after it, from the checkpoint that was left."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(kills):
        path = folder / f"state-{number}"
        command = [sys.executable, "-m", NAME, "--worker", str(path)]
        moment = float(rng.uniform(0.0, whole["seconds"]))
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while not path.exists() and worker.poll() is None:  # count from the first checkpoint
            time.sleep(0.005)
        time.sleep(moment)
        worker.kill()
        worker.communicate()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = json.loads(done.stdout.splitlines()[-1])
        apart = abs(after["objective"] - whole["objective"]) / whole["objective"]
        within = apart <= _TOL and after["status"] == "optimal" and after["lower_bound"] <= whole["objective"]
        lines.append({"moment": moment, "apart": apart, "within": within, **after})
        print(f"  {number + 1}: killed after {moment:.2f} s, then {after['status']}, apart {apart:.1e}", flush=True)
    return lines


def report(document: dict[str, Any]) -> str:
    """The kills as a table."""
    lines = document["kills"]
    head = ("kills", "certified", "same objective", "largest difference", "tolerance")
    row = (
        str(len(lines)),
        str(sum(line["status"] == "optimal" for line in lines)),
        str(sum(line["within"] for line in lines)),
        f"{max(line['apart'] for line in lines):.1e}",
        f"{_TOL:g}",
    )
    return table(head, [row])


if __name__ == "__main__":
    main()
