"""A warm-started path of 20 values of beta against 20 cold solves: ``python -m benchmarks.path``.

Wisconsin diagnostic rows (569 x 30, standardised, over the largest norm), beta from the threshold of the zero network down to
a hundredth of it, every solve certified to 1e-4. Both sides solve the same problems; objectives are recomputed by the
problem. The time of the path contains the threshold and the extrapolation of its starts. The ratio is that of CPU times,
with that of wall-clock times beside it; target: three. "below" is the ratio of the solves' own times without the first
value, the threshold itself, where both sides start from zero.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import convexadv as ca
from benchmarks import record
from convexadv.cli.output import table
from convexadv.datasets import load, standardise
from convexadv.paths.regularisation import at, geometric

NAME = "benchmarks.path"
TARGET = 3.0
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "polynomial, hinge, r 0.05": ("PolynomialProblem", {"radius": 0.05, "loss": "hinge"}),
    "polynomial, squared hinge, r 0.05": ("PolynomialProblem", {"radius": 0.05, "loss": "squared_hinge"}),
    "polynomial, logistic, r 0.05": ("PolynomialProblem", {"radius": 0.05, "loss": "logistic"}),
    "gated, squared hinge, 500 gates": ("GatedReLUProblem", {"n_gates": 500, "loss": "squared_hinge"}),
    "gated, logistic, 500 gates": ("GatedReLUProblem", {"n_gates": 500, "loss": "logistic"}),
    "gated, hinge, 500 gates": ("GatedReLUProblem", {"n_gates": 500, "loss": "hinge"}),
    "ReLU, squared hinge, 50 gates": ("ReLUProblem", {"n_gates": 50, "loss": "squared_hinge"}),
}


def main() -> None:
    """Run the cases and write their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help="; ".join(CASES))
    parser.add_argument("--values", type=int, default=20, help="values of beta")
    parser.add_argument("--ratio", type=float, default=0.01, help="smallest over largest beta")
    parser.add_argument("--tol", type=float, default=1e-4, help="certified gap of every solve")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=record.RESULTS / "path.json")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    document = record.provenance(NAME, options.threads) | {"ratio": options.ratio, "tol": options.tol, "cases": []}
    print(record.heading(document))
    for name in options.cases:
        document["cases"].append({"case": name, **compare(name, options.values, options.ratio, options.tol)})
        print(f"{name}: {document['cases'][-1]['cpu_ratio']:.2f}", flush=True)
    print(report(document))
    record.write(options.out, document)


def compare(name: str, values: int, ratio: float, tol: float) -> dict[str, Any]:
    """Times and objectives of one case, both ways."""
    data = load("wdbc")
    X = standardise(data.X).apply(data.X)
    kind, settings = CASES[name]
    extra = {} if kind == "PolynomialProblem" else {"fit_intercept": True}
    problem = getattr(ca, kind)(X, data.y, **settings, **extra)
    ca.solve(at(problem, beta=0.5 * problem.zero_solution_beta().upper), tol=0.1)  # imports and first calls
    warm, wall, cpu = _timed(lambda: ca.regularisation_path(problem, n_betas=values, ratio=ratio, tol=tol))
    betas = geometric(problem, values, ratio)
    cold, cold_wall, cold_cpu = _timed(lambda: ca.regularisation_path(problem, betas, warm_start=False, tol=tol))
    objectives = [[point.problem.objective(point.solution.network) for point in path] for path in (warm, cold)]
    scale = [max(abs(value), 1e-3 * problem.zero_objective()) for value in objectives[1]]
    apart = max(abs(a - b) / s for a, b, s in zip(*objectives, scale, strict=True))
    return {
        "betas": [float(beta) for beta in betas],
        "warm_wall": wall,
        "cold_wall": cold_wall,
        "wall_ratio": cold_wall / wall,
        "warm_cpu": cpu,
        "cold_cpu": cold_cpu,
        "cpu_ratio": cold_cpu / cpu,
        "ratio_below_threshold": _seconds(cold)[1:].sum() / _seconds(warm)[1:].sum(),
        "certified": [sum(point.solution.status.ok for point in path) for path in (warm, cold)],
        "objectives_apart": apart,
        "same_objectives": apart <= tol,
        "reached": cold_cpu / cpu >= TARGET,
        "warm": objectives[0],
        "cold": objectives[1],
        "warm_seconds": _seconds(warm).tolist(),
        "cold_seconds": _seconds(cold).tolist(),
    }


def _seconds(path: ca.RegularisationPath) -> np.ndarray:
    return np.array([point.solution.solve_time for point in path])


def _timed(call: Any) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def report(document: dict[str, Any]) -> str:
    """The cases as a table."""
    head = ("case", "path s", "cold s", "ratio (CPU)", "ratio (wall)", "below", "certified", "apart", "target 3")
    rows = [
        (
            case["case"],
            f"{case['warm_cpu']:.2f}",
            f"{case['cold_cpu']:.2f}",
            f"{case['cpu_ratio']:.2f}",
            f"{case['wall_ratio']:.2f}",
            f"{case['ratio_below_threshold']:.2f}",
            "{} and {}".format(*case["certified"]),
            f"{case['objectives_apart']:.0e}",
            "reached" if case["reached"] else "missed",
        )
        for case in document["cases"]
    ]
    return table(head, rows)


if __name__ == "__main__":
    main()
