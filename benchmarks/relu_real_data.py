"""ReLU and gated ReLU networks on real data, certified, against Adam: ``python -m benchmarks.relu_real_data``.

Squared hinge, one class against the rest, intercept, Gaussian gates. Rows are standardised (images: in [0, 1]) and divided
by the largest norm of a training row. Beta is the zero-solution threshold of the plain rows divided by a number. Adam
trains the same architecture, two neurons a gate and output (one of each sign), for as long as the convex solve took; the
best of four learning rates counts, each with the full time. The objective of both is loss + (beta/2) sum ||u||^2 + alpha^2.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import convexadv as ca
from benchmarks import record
from convexadv.cli.output import table
from convexadv.datasets import load

NAME = "benchmarks.relu_real_data"
_TEST_FRACTION = 0.25
_HEADER = (
    "data", "model", "n", "d", "classes", "gates", "thr/beta", "status", "seconds", "memory MiB", "objective", "gap",
    "neurons", "test acc.", "Adam obj.", "Adam acc.",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One row of the table."""

    data: str
    model: str
    gates: int
    divisor: float
    tol: float
    rows: int | None = None
    time_limit: float = 600.0


JOBS = {
    f"{data}-{model}": Job(data, model, gates, divisor, tol, rows, limit)
    for data, gates, divisor, rows, tol, limit in (
        ("ionosphere", 200, 30.0, None, 1e-4, 120.0),
        ("wdbc", 200, 30.0, None, 1e-4, 120.0),
        ("digits", 200, 30.0, None, 1e-3, 900.0),
        ("mnist", 200, 30.0, 10_000, 1e-3, 400.0),
    )
    for model in ("relu", "gated")
}


def main() -> int:
    arguments = _arguments()
    record.set_threads(arguments.threads)
    if arguments.one is not None:
        sys.stdout.write(json.dumps(_run(arguments.one, JOBS[arguments.one], arguments)) + "\n")
        return 0
    document = {**record.provenance(NAME, arguments.threads), "quick": arguments.quick, "results": []}
    print(record.heading(document), flush=True)
    for name in arguments.rows:
        result = _apart(name, arguments)
        document["results"].append(result)
        print(f"  {name}: {result.get('status', result.get('error'))}", flush=True)
    print("\n" + report(document))
    partial = arguments.quick or set(arguments.rows) != set(JOBS)
    out = arguments.out or (None if partial else record.RESULTS / "relu_real_data.json")
    if out is not None:
        record.write(out, document)
    return 0


def _apart(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", NAME, "--one", name, "--threads", str(arguments.threads)]
    command += ["--quick"] if arguments.quick else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"row": name, "error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def _run(name: str, job: Job, arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    from benchmarks.adam import train
    from benchmarks.race import peak, restart_peak

    torch.set_num_threads(arguments.threads)
    X, y, X_test, y_test = _rows(job, arguments.quick)
    kind = ca.ReLUProblem if job.model == "relu" else ca.GatedReLUProblem
    gates = 50 if arguments.quick else job.gates
    beta = _threshold(X, y) / job.divisor
    problem = kind(X, y, n_gates=gates, beta=beta, loss="squared_hinge", fit_intercept=True)
    small = kind(X[:64], y[:64], gates=problem.gates[:, :4], beta=beta, loss="squared_hinge", fit_intercept=True)
    ca.solve(small, max_iter=3)  # libraries and threads start
    restart_peak()
    before = peak()
    limit = 20.0 if arguments.quick else job.time_limit
    start = time.perf_counter()
    solution = ca.solve(problem, tol=job.tol, time_limit=limit)
    seconds = time.perf_counter() - start
    memory = peak() - before
    signs = np.where(problem.targets[:, None] == np.arange(max(2, problem.n_outputs)), 1.0, -1.0)
    signs = signs if problem.n_outputs > 1 else signs[:, 1:]
    adam = train(X, signs, beta, 2 * problem.n_gates, max(1.0, min(seconds, arguments.adam_limit)))
    scores = adam.scores(X_test)
    guess = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(int)
    return {
        "row": name,
        **vars(job),
        "n": len(X),
        "d": X.shape[1],
        "classes": len(problem.classes),
        "n_gates": problem.n_gates,
        "beta": beta,
        "status": str(solution.status),
        "seconds": seconds,
        "memory_bytes": memory,
        "objective": problem.objective(solution.network),
        "lower_bound": problem.lower_bound(solution.certificate),
        "gap": solution.gap,
        "violation": solution.violation,
        "zero_objective": problem.zero_objective(),
        "neurons": solution.network.n_neurons,
        "train_accuracy": float((solution.network.predict(X) == y).mean()),
        "test_accuracy": float((solution.network.predict(X_test) == y_test).mean()),
        "adam_objective": adam.objective,
        "adam_rate": adam.rate,
        "adam_seconds": adam.seconds,
        "adam_epochs": adam.epochs,
        "adam_test_accuracy": float((problem.classes[guess] == y_test).mean()),
    }


def _rows(job: Job, quick: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scaled training and test rows."""
    generator = np.random.default_rng(0)
    if job.data == "mnist":
        train, test = load("mnist"), load("mnist", split="test")
        chosen = np.sort(generator.permutation(len(train.X))[: 1000 if quick else job.rows])
        X, y, X_test, y_test = train.X[chosen].astype(float), train.y[chosen], test.X.astype(float), test.y
    else:
        data = load(job.data)
        order = generator.permutation(len(data.X))
        count = round(_TEST_FRACTION * len(order))
        X, y, X_test, y_test = (
            data.X[order[count:]],
            data.y[order[count:]],
            data.X[order[:count]],
            data.y[order[:count]],
        )
        shift, scale = X.mean(0), X.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        X, X_test = (X - shift) / scale, (X_test - shift) / scale
    largest = np.linalg.norm(X, axis=1).max()
    return X / largest, y, X_test / largest, y_test


def _threshold(X: np.ndarray, y: np.ndarray) -> float:
    """Largest length of X'D z over D = I, z the multipliers of the zero network: of the order of the threshold."""
    problem = ca.GatedReLUProblem(X, y, gates=np.eye(X.shape[1] + 1)[:, -1:], loss="squared_hinge", fit_intercept=True)
    return problem.zero_solution_beta().upper


def report(document: dict[str, Any]) -> str:
    """The table."""
    rows = []
    for each in document["results"]:
        if "error" in each:
            rows.append((each["row"], each["error"], *[""] * (len(_HEADER) - 2)))
            continue
        rows.append(
            (
                each["data"], each["model"], str(each["n"]), str(each["d"]), str(each["classes"]), str(each["n_gates"]),
                f"{each['divisor']:g}", each["status"], f"{each['seconds']:.2f}", f"{each['memory_bytes'] / 2**20:.0f}",
                f"{each['objective']:.6f}", f"{each['gap']:.1e}", str(each["neurons"]),
                f"{100 * each['test_accuracy']:.2f}", f"{each['adam_objective']:.6f}",
                f"{100 * each['adam_test_accuracy']:.2f}",
            )
        )  # fmt: skip
    return table(_HEADER, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=list(JOBS), default=list(JOBS), help="rows of the table")
    parser.add_argument("--threads", type=int, default=2, help="threads of a solve (default: 2)")
    parser.add_argument(
        "--adam-limit", type=float, default=300.0, help="most seconds of one run of Adam (default: 300)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows and gates, 20 s a solve")
    parser.add_argument("--out", type=Path, help="write the results there")
    parser.add_argument("--one", choices=list(JOBS), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
