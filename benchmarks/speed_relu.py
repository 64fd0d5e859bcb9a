"""Speed of certified ReLU and gated ReLU networks against other solvers: ``python -m benchmarks.speed_relu``.

Squared loss, beta = 1e-3, Gaussian rows over sqrt(d), targets of a random network of ten neurons, Gaussian gates (the data of
a peer's own race). Every solver runs in a process of its own after a warm-up; objectives, violations and bounds are
recomputed here from the weights, in float64. pyscnn needs a virtual environment of its own (--pyscnn PYTHON); without one
its rows are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import convexadv as ca
from benchmarks import record
from convexadv.cli.output import table

NAME = "benchmarks.speed_relu"
BETA = 1e-3
RHOS = (1e-4, 1e-3, 3e-3, 1e-2, 1.5e-2, 2e-2, 3e-2, 1e-1, 1.0)
_LONG = 15.0
"""Seconds after which a solve is not repeated."""
_SAME = 1e-4
"""Objectives this close, relatively, count as the same: the tolerance that is certified."""
_FAR = 1e-6
"""Relative violation beyond which a point is off the cones."""
_HEADER = (
    "problem",
    "solver",
    "seconds",
    "to objective",
    "objective",
    "above best",
    "violation",
    "certified gap",
    "note",
)


@dataclass(frozen=True)
class Size:
    """One problem."""

    model: str
    n: int
    d: int
    gates: int
    tol: float
    solvers: tuple[str, ...]


SIZES = {
    "relu-500": Size("relu", 500, 20, 100, 1e-4, ("torch", "CLARABEL", "SCS", "pyscnn", "CRONOS")),
    "relu-2000": Size("relu", 2000, 50, 500, 1e-3, ("torch",)),
    "gated-500": Size("gated", 500, 20, 100, 1e-4, ("torch", "CLARABEL", "pyscnn")),
    "gated-2000": Size("gated", 2000, 50, 500, 1e-4, ("torch", "pyscnn")),
    "gated-4000": Size("gated", 4000, 100, 500, 1e-4, ("torch", "pyscnn")),
}


def data(size: Size, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, targets and gates."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((size.n, size.d)) / np.sqrt(size.d)
    y = np.maximum(X @ rng.standard_normal((size.d, 10)), 0) @ rng.standard_normal(10) / 3
    return X, y, rng.standard_normal((size.d, size.gates))


def problem_of(size: Size, gates: np.ndarray | None = None) -> Any:
    """The problem of a size."""
    X, y, G = data(size)
    kind = ca.ReLUProblem if size.model == "relu" else ca.GatedReLUProblem
    return kind(X, y, gates=G if gates is None else gates, beta=BETA, loss="squared")


def main() -> int:
    arguments = _arguments()
    record.set_threads(arguments.threads)
    if arguments.one is not None:
        sys.stdout.write(json.dumps(_run(SIZES[arguments.one[0]], arguments.one[1], arguments)) + "\n")
        return 0
    document = {**record.provenance(NAME, arguments.threads), "beta": BETA, "results": []}
    print(record.heading(document), flush=True)
    for name in arguments.rows:
        for solver in SIZES[name].solvers:
            if solver in arguments.skip or (solver == "pyscnn" and arguments.pyscnn is None):
                continue
            print(f"  {name}, {solver} ...", flush=True)
            result = {"problem": name, "solver": solver, **_apart(name, solver, arguments)}
            document["results"].append(result)
            print(f"    {result.get('seconds', result.get('error'))}", flush=True)
    document["ratios"] = _ratios(document["results"])
    print("\n" + report(document))
    out = arguments.out or (None if set(arguments.rows) != set(SIZES) else record.RESULTS / "speed_relu.json")
    if out is not None:
        record.write(out, document)
    return 0


def _apart(name: str, solver: str, arguments: argparse.Namespace) -> dict[str, Any]:
    if solver == "pyscnn":
        return _pyscnn(SIZES[name], arguments)
    command = [sys.executable, "-m", NAME, "--one", name, solver, "--threads", str(arguments.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def _run(size: Size, solver: str, arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(arguments.threads)
    if solver == "CRONOS":
        return _cronos(size)
    problem = problem_of(size)
    if solver != "torch":
        solution = ca.solve(problem, solver=solver, tol=size.tol)
        # The raw point of the solver, before it is moved into the cones, is what its time paid for.
        return {
            "seconds": solution.solve_time,
            "compile_seconds": solution.variables["compile_time"],
            "raw_objective": solution.variables["raw_objective"],
            **judged(problem, solution),
        }
    times = []
    small = Size(size.model, 200, size.d, 20, size.tol, ())
    ca.solve(problem_of(small), tol=size.tol)  # starts threads and loads libraries
    while len(times) < 3 and sum(times) < _LONG:
        start = time.perf_counter()
        solution = ca.solve(problem, tol=size.tol)
        times.append(time.perf_counter() - start)
    return {"seconds": float(np.median(times)), "all_seconds": times, **judged(problem, solution)}


def judged(problem: Any, solution: Any) -> dict[str, Any]:
    """What a solution of ours or of a conic solver is worth, recomputed by the problem."""
    lower = problem.lower_bound(solution.certificate)
    evaluation = problem.evaluate(solution.network)
    return {
        "status": str(solution.status),
        "objective": evaluation.objective,
        "violation": evaluation.violation,
        "lower_bound": lower,
        "gap": problem.gap(evaluation.objective, lower),
        "neurons": solution.network.n_neurons,
    }


def value(size: Size, weights: np.ndarray, gates: np.ndarray) -> tuple[float, float]:
    """Objective and largest violation of a cone, relative to ||x|| ||v||, of weights (sides, P, d)."""
    X, y, _ = data(size)
    patterns = X @ gates > 0
    total = weights[0] - weights[1] if size.model == "relu" else weights.reshape(-1, size.d)
    fit = ((X @ total.T) * patterns).sum(1)
    objective = ((fit - y) ** 2).sum() / (2 * size.n) + BETA * np.linalg.norm(weights, axis=-1).sum()
    if size.model != "relu":
        return float(objective), 0.0
    sign = np.where(patterns, 1.0, -1.0)
    largest = max(float(np.linalg.norm(part, axis=1).max()) for part in weights)
    short = max(float((-sign * (X @ part.T)).max()) for part in weights)
    return float(objective), max(0.0, short) / (largest * float(np.linalg.norm(X, axis=1).max()))


def _pyscnn(size: Size, arguments: argparse.Namespace) -> dict[str, Any]:
    """The peer in its own environment, in the precision in which it is faster."""
    relu = size.model == "relu"
    options = {"tol": 1e-6 if relu else 1e-10, "time-limit": 300 if relu else 25}
    runs = []
    for dtype in ("float32", "float64"):
        run = peer(size, arguments.pyscnn, dtype=dtype, threads=arguments.threads, **options)
        if "error" in run:
            return run
        runs.append(run)
    fastest = min(runs, key=lambda run: run["seconds"])
    result = {key: value for key, value in fastest.items() if key != "trace"}
    return {**result, "traces": {run["dtype"]: _thinned(*run["trace"]) for run in runs}, "other": _brief(runs, fastest)}


def peer(size: Size, interpreter: str, **options: Any) -> dict[str, Any]:
    """One run of pyscnn in its own environment; objective and violation are recomputed from its weights.

    Parameters
    ----------
    size : Size
    interpreter : str
        Python of the environment with pyscnn.
    **options
        Of ``peer_pyscnn.py``.
    """
    with tempfile.TemporaryDirectory() as folder:
        X, y, G = data(size)
        np.savez(Path(folder) / "in.npz", X=X, y=y, G=G)
        command = [interpreter, str(Path(__file__).with_name("peer_pyscnn.py").resolve()), "in.npz", "out.npz"]
        for name, option in {"beta": BETA, "model": size.model, **options}.items():
            command += [f"--{name}", str(option)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return {"error": done.stderr.strip().splitlines()[-1]}
        with np.load(Path(folder) / "out.npz") as out:
            objective, violation = value(size, np.asarray(out["weights"], float), np.asarray(out["G"], float))
            return {
                "dtype": str(options["dtype"]),
                "seconds": float(out["seconds"]),
                "stopped": str(out["stopped"]),
                "objective": objective,
                "violation": violation,
                "trace": [out["trace_seconds"].tolist(), out["trace_objective"].tolist()],
                "version": str(out["version"]),
            }


def _brief(runs: list[dict], fastest: dict) -> list[dict]:
    return [{key: value for key, value in run.items() if key != "trace"} for run in runs if run is not fastest]


def _thinned(seconds: list[float], objective: list[float]) -> list[list[float]]:
    """The points at which the best objective so far fell by a noticeable part of what was left."""
    best, points, last = math.inf, [], math.inf
    final = min(objective)
    for time_, value in zip(seconds, objective, strict=True):
        best = min(best, value)
        if best - final < 0.9 * (last - final):
            points.append([round(time_, 4), best])
            last = best
    return points


def _cronos(size: Size) -> dict[str, Any]:
    """The published ADMM at the best of a grid of rho: first to be within the tolerance of the optimum and on the cones."""
    from benchmarks.cronos import cronos

    X, y, G = data(size)
    best = ca.solve(problem_of(size), tol=1e-6).objective
    runs = []
    for rho in RHOS:
        result = cronos(X, y, X @ G > 0, BETA, rho, time_limit=12.0)
        history = np.asarray(result.history)
        close = (np.abs(history[:, 1] / best - 1) <= size.tol) & (history[:, 2] <= size.tol)
        seconds = float(history[np.argmax(close), 0]) if close.any() else None
        objective, violation = value(size, result.weights, G)
        runs.append({"rho": rho, "seconds": seconds, "objective": objective, "violation": violation})
    done = [run for run in runs if run["seconds"] is not None]
    chosen = min(done, key=lambda run: run["seconds"]) if done else runs[0]
    return {
        **chosen,
        "note": f"best of {len(RHOS)} rho: {chosen['rho']:g}; no bound, stopped by knowing the optimum",
        "grid": runs,
    }


def _ratios(results: list[dict]) -> list[dict[str, Any]]:
    """Times of the others in units of ours."""
    lines = []
    for name, size in SIZES.items():
        own = {each["solver"]: each for each in results if each["problem"] == name and "error" not in each}
        if "torch" not in own:
            continue
        seconds = own["torch"]["seconds"]
        if size.model == "gated" and "pyscnn" in own:
            reached = _time_to(own["pyscnn"]["traces"], own["torch"]["objective"])
            reach = 5 if name == "gated-4000" else 1
            if reached is not None:
                what = "pyscnn to the same true objective / torch certified"
                lines.append({"problem": name, "what": what, "ratio": reached / seconds, "reach": reach})
        for solver, reach in (("CLARABEL", 20), ("SCS", None), ("pyscnn", 50), ("CRONOS", None)):
            if solver in own and own[solver].get("seconds") and size.model == "relu":
                what = f"{solver} to its own stop / torch certified"
                lines.append({"problem": name, "what": what, "ratio": own[solver]["seconds"] / seconds, "reach": reach})
    return lines


def _time_to(traces: dict[str, list[list[float]]], objective: float) -> float | None:
    """First time at which a trace of either precision has the same objective or a lower one."""
    limit = objective * (1.0 + _SAME)
    times = [point[0] for trace in traces.values() for point in trace if point[1] <= limit]
    return min(times) if times else None


def report(document: dict[str, Any]) -> str:
    """The table and the ratios."""
    lines = [_table(document["results"])]
    lines += [
        f"{line['problem']}: {line['what']}: {line['ratio']:.1f} (to reach: {line['reach']})"
        for line in document["ratios"]
    ]
    return "\n".join(lines)


def _table(results: list[dict]) -> str:
    rows = []
    for each in results:
        if "error" in each:
            rows.append((each["problem"], each["solver"], *[""] * (len(_HEADER) - 3), each["error"]))
            continue
        same = [other for other in results if other["problem"] == each["problem"] and "error" not in other]
        best = min(other["objective"] for other in same if other.get("violation", 1.0) <= _FAR)
        reached = None
        if "traces" in each and SIZES[each["problem"]].model == "gated":
            ours = [other for other in same if other["solver"] == "torch"]
            reached = _time_to(each["traces"], ours[0]["objective"]) if ours else None
        rows.append(
            (
                each["problem"],
                each["solver"],
                "never" if each["seconds"] is None else f"{each['seconds']:.3f}",
                ""
                if "traces" not in each or each["violation"] > 0
                else "never"
                if reached is None
                else f"{reached:.3f}",
                f"{each['objective']:.8f}",
                f"{100 * (each['objective'] / best - 1):+.3f} %",
                f"{each['violation']:.1e}",
                f"{each['gap']:.1e}" if "gap" in each else "",
                each.get("note", each.get("dtype", each.get("status", ""))),
            )
        )
    return table(_HEADER, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=list(SIZES), default=list(SIZES), help="problems to run")
    parser.add_argument("--skip", nargs="+", default=[], help="solvers to leave out")
    parser.add_argument("--threads", type=int, default=4, help="threads of every solver (default: 4)")
    parser.add_argument("--pyscnn", help="Python interpreter of an environment with pyscnn")
    parser.add_argument("--out", type=Path, help="write the results there")
    parser.add_argument("--one", nargs=2, metavar=("PROBLEM", "SOLVER"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
