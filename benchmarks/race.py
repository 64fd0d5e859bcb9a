"""One solver on one problem of the speed benchmark, in a process of its own: ``python -m benchmarks.race ROW SOLVER``.

Prints one line of JSON. The objective and the bound are recomputed by the problem, outside of the timed part.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import convexadv as ca
from benchmarks.races import RACES, TEN

SOLVERS = ("torch", "CLARABEL", "SCS")
ROWS = {**RACES, **{f"ten-{name}": race for name, race in TEN.items()}}
_WARM_UP_ROWS = 256
_KINK = 1e-2


def main() -> None:
    arguments = _arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    ca.solve, ca.PolynomialProblem, ca.PolynomialNetwork  # noqa: B018 - loads all that a solve needs
    baseline = resident()
    race = ROWS[arguments.row]
    X, y = race.build(arguments.quick)
    threshold = zero_threshold(X, y)
    beta = threshold / race.divisor if race.beta is None else race.beta
    problem = ca.PolynomialProblem(X, y, radius=race.radius, beta=beta)
    report = {
        "n": len(X),
        "d": X.shape[1],
        "radius": race.radius,
        "beta": beta,
        "threshold": threshold,
        "loss": "hinge",
    }
    times, solution = _timed(problem, arguments, race, X, y, report, baseline)
    report |= measured(problem, solution) | {"seconds": float(np.median(times)), "all_seconds": times}
    if solution.network is not None and problem.n_outputs == 1:
        report |= margins(solution.network, X, y, problem.radius)
    sys.stdout.write(json.dumps(report) + "\n")


def zero_threshold(X: np.ndarray, y: np.ndarray) -> float:
    """Smallest beta for which the zero network is optimal without perturbations.

    It is kappa = max over ||u|| = 1 of |[u; 1]' M [u; 1]|, M the moments of the zero network's multipliers.
    """
    problem = ca.PolynomialProblem(X, y, radius=0.0, beta=1.0)
    extremes = [
        extreme
        for number, component in enumerate(problem.components)
        for extreme in problem.component_bound(component, problem.zero_multipliers(number), problem.rows)[1]
    ]
    return max(float(extreme.value) for extreme in extremes)


def _timed(
    problem: Any, arguments: Any, race: Any, X: Any, y: Any, report: dict, baseline: int
) -> tuple[list[float], Any]:
    """Seconds of every run and the last solution; for a conic solver its own solve time."""
    if arguments.solver != "torch":
        solution = ca.solve(problem, solver=arguments.solver, tol=race.tol, time_limit=arguments.time_limit)
        report["compile_seconds"] = solution.variables["compile_time"]
        return [solution.solve_time], solution
    options = {
        "tol": race.tol,
        "time_limit": arguments.time_limit,
        "device": arguments.device,
        "dtype": arguments.dtype,
    }
    _warm_up(problem, X, y, options, full=race.runs > 1)
    restart_peak()
    times: list[float] = []
    solution = None
    for _ in range(race.runs):
        start = time.perf_counter()
        solution = ca.solve(problem, **options)
        times.append(time.perf_counter() - start)
    report["peak_bytes"] = peak() - baseline
    report["data_bytes"] = X.nbytes
    report |= {name: solution.variables[name] for name in ("rounds", "sweeps", "evaluations")}
    if arguments.device.startswith("cuda"):
        report["device_peak_bytes"] = torch.cuda.max_memory_allocated()
        report["device"] = torch.cuda.get_device_name()
    return times, solution


def _warm_up(problem: Any, X: Any, y: Any, options: dict[str, Any], full: bool) -> None:
    """Start threads and load libraries: the problem itself where it is short, else some of its rows."""
    if not full:
        few = np.linspace(0, len(X) - 1, min(len(X), _WARM_UP_ROWS)).astype(int)
        problem = ca.PolynomialProblem(X[few], y[few], radius=problem.radius[few], beta=problem.beta)
        options = {**options, "tol": 1e-2, "max_iter": 5}
    ca.solve(problem, **options)


def measured(problem: Any, solution: Any) -> dict[str, Any]:
    """What the answer is worth, from the network and the certificate alone."""
    lower = problem.lower_bound(solution.certificate)
    report = {
        "status": str(solution.status),
        "message": solution.message,
        "lower_bound": lower,
        "zero_objective": problem.zero_objective(),
    }
    if solution.network is None:
        return {**report, "objective": None, "gap": None}
    objective = problem.objective(solution.network)
    return {
        **report,
        "objective": objective,
        "gap": problem.gap(objective, lower),
        "neurons": solution.network.n_neurons,
    }


def margins(network: Any, X: np.ndarray, y: np.ndarray, radius: np.ndarray) -> dict[str, float]:
    """Shares of the rows that are on the kink of the hinge and that no perturbation breaks; two classes."""
    worst = ca.worst_case_margin(network, X, y, radius).lower_bound
    return {
        "on_kink": float((np.abs(worst - 1.0) <= _KINK).mean()),
        "robust_training_accuracy": float((worst > 0).mean()),
    }


def restart_peak() -> None:
    """Forget the peak of the memory so far, where the system allows it (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Largest resident memory of this process in bytes.

    VmHWM where there is one: ru_maxrss survives exec, so that a child inherits the peak of the process that started it.
    """
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident() -> int:
    """Resident memory of this process in bytes."""
    return _status("VmRSS") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.race", description=__doc__.splitlines()[0])
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("solver", choices=SOLVERS)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds of one solve")
    parser.add_argument("--device", default="cpu", help="of the torch backend")
    parser.add_argument("--dtype", default="float64", choices=("float64", "float32"), help="of the torch backend")
    parser.add_argument("--quick", action="store_true", help="the small version of the data")
    return parser.parse_args()


if __name__ == "__main__":
    main()
