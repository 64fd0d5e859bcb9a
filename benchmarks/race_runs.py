"""One solver on one problem of the race table, in a process of its own: ``python -m benchmarks.race_runs PROBLEM SOLVER``.

Prints one line of JSON. ``points`` are seconds, objective and violation on the way; all objectives are computed here from the
networks or weights, outside of the timed part, but for those on the way of the torch backend, whose last one is compared.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import convexadv as ca
from benchmarks import adam, adam_polynomial, penalty, race, races, speed_relu
from benchmarks.apart import not_run
from benchmarks.clock import best
from convexadv.errors import SolverUnavailableError
from convexadv.recovery import network_from_lift, restore
from convexadv.solvers import available_solvers

_LONG = 10.0
"""Seconds after which a solve is not repeated."""
_TIGHT = 0.01
"""The tolerance of the curve and of the best bound, in units of the one that is asked for."""
_LIMITS = {"CLARABEL": (5, 10, 15), "SCS": (100, 1_000, 10_000), "MOSEK": (4, 8, 12)}
"""Iterations after which a conic solver is stopped, for points on the way."""
_PEER_LIMITS = (30, 100, 300, 1_000, 3_000)
_PEER_TOL = {"relu": 1e-6, "gated": 1e-10}


@dataclass(frozen=True)
class Contest:
    """One problem: a row of the speed table of polynomial networks, or a size of that of ReLU networks."""

    source: str
    solvers: tuple[str, ...]
    tol: float = 1e-4
    limit: float = 300.0
    """Seconds of a conic solver."""
    baseline: float = 60.0
    """Seconds of every setting of a baseline without a stopping rule."""

    @property
    def polynomial(self) -> bool:
        """Whether the networks are polynomial."""
        return self.source in races.RACES


TORCH, CONIC = ("torch", "torch-cuda"), ("CLARABEL", "SCS", "MOSEK")
BASELINES = ("penalty", "Adam, worst case", "Adam, plain")
RATES_TRIED = {"penalty": len(penalty.SETTINGS), "ADMM": len(speed_relu.RHOS)}
"""Settings of the baselines, where they are not Adam's rates."""
CONTESTS = {
    "polynomial-wdbc": Contest("wdbc-200", (*TORCH, *CONIC, *BASELINES)),
    "polynomial-digits": Contest("digits-raw", (*TORCH, *CONIC, *BASELINES)),
    "relu-500": Contest("relu-500", (*TORCH, *CONIC, "pyscnn", "ADMM", "Adam")),
    "gated-500": Contest("gated-500", (*TORCH, *CONIC, "pyscnn")),
    "gated-4000": Contest("gated-4000", (*TORCH, "pyscnn"), baseline=25.0),
}


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    contest = CONTESTS[arguments.problem]
    contest = replace(contest, limit=arguments.limit or contest.limit, baseline=arguments.baseline or contest.baseline)
    result = {"about": about(contest, arguments.quick), **run(contest, arguments.solver, arguments)}
    sys.stdout.write(json.dumps(result) + "\n")


def about(contest: Contest, quick: bool) -> str:
    """The problem in words."""
    if contest.polynomial:
        source = races.RACES[contest.source]
        small = " (small version)" if quick else ""
        return f"robust polynomial network, hinge, l2 radius {source.radius:g}: {source.data}{small}"
    size = _size(contest, quick)
    return f"{size.model} network, squared loss, n = {size.n}, d = {size.d}, {size.gates} gates: data of speed_relu.py"


def run(contest: Contest, solver: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The row of a solver."""
    if solver == "torch-cuda" and not torch.cuda.is_available():
        return not_run("torch.cuda.is_available() is False")
    if solver == "pyscnn" and arguments.pyscnn is None:
        return not_run("needs --pyscnn PYTHON, an environment with pyscnn")
    if solver in CONIC and available_solvers()[solver] != "available":
        return not_run(available_solvers()[solver])
    if solver in ("pyscnn", "ADMM", "Adam"):
        return {"pyscnn": _pyscnn, "ADMM": _admm, "Adam": _adam}[solver](
            _size(contest, arguments.quick), contest, arguments
        )
    if contest.polynomial:
        problem = _polynomial(contest, arguments.quick)
    else:
        problem = speed_relu.problem_of(_size(contest, arguments.quick))
    if solver in TORCH:
        return _torch(problem, contest, "cuda" if solver == "torch-cuda" else "cpu")
    if solver in CONIC:
        try:
            return _conic(problem, contest, solver)
        except SolverUnavailableError as error:
            return not_run(str(error))
    return _baseline(problem, contest, solver)


def _polynomial(contest: Contest, quick: bool) -> Any:
    source = races.RACES[contest.source]
    X, y = source.build(quick)
    beta = source.beta if source.beta is not None else race.zero_threshold(X, y) / source.divisor
    return ca.PolynomialProblem(X, y, radius=source.radius, beta=beta)


def _size(contest: Contest, quick: bool) -> speed_relu.Size:
    size = speed_relu.SIZES[contest.source]
    return replace(size, n=size.n // 5, d=size.d // 2, gates=size.gates // 5) if quick else size


def _torch(problem: Any, contest: Contest, device: str) -> dict[str, Any]:
    """To the tolerance, timed; and to a hundredth of it for the curve and the best bound."""
    ca.solve(problem, tol=0.1, device=device)  # starts threads, loads libraries
    times: list[float] = []
    while len(times) < 3 and sum(times) < _LONG:
        start = time.perf_counter()
        solution = ca.solve(problem, tol=contest.tol, device=device, time_limit=contest.limit)
        times.append(time.perf_counter() - start)
    fine = ca.solve(problem, tol=_TIGHT * contest.tol, device=device, time_limit=max(_LONG, 20.0 * times[-1]))
    known = [each for each in fine.history if math.isfinite(each.objective)]
    final = problem.objective(fine.network)
    return {
        **_judged(problem, solution),
        "seconds": float(np.median(times)),
        "all_seconds": times,
        "points": [[each.time, each.objective, 0.0] for each in known],
        "bounds": [[each.time, each.lower_bound] for each in known],
        "best_bound": problem.lower_bound(fine.certificate),
        "history_error": abs(known[-1].objective / final - 1.0),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


def _conic(problem: Any, contest: Contest, solver: str) -> dict[str, Any]:
    """To its own stop; and stopped after fewer iterations, for points on the way."""
    points: list[list[float]] = []
    for limit in _LIMITS[solver]:
        part = ca.solve(problem, solver=solver, max_iter=limit, time_limit=contest.limit)
        if part.network is not None:
            evaluation = problem.evaluate(part.network)
            points.append([part.solve_time, evaluation.objective, evaluation.violation])
        if part.solve_time > 0.2 * contest.limit or str(part.status) == "optimal":
            break
    solution = ca.solve(problem, solver=solver, tol=contest.tol, time_limit=contest.limit)
    result = _judged(problem, solution)
    if result["objective"] is not None:
        points.append([solution.solve_time, result["objective"], result["violation"]])
    return {
        **result,
        "best_bound": result["lower_bound"],
        "seconds": solution.solve_time,
        "compile_seconds": solution.variables["compile_time"],
        "points": sorted(points),
        "message": solution.message,
    }


def _judged(problem: Any, solution: Any) -> dict[str, Any]:
    if solution.network is None:
        lower = problem.lower_bound(solution.certificate)
        return {"status": str(solution.status), "objective": None, "violation": None, "lower_bound": lower, "gap": None}
    return speed_relu.judged(problem, solution)


def _baseline(problem: Any, contest: Contest, solver: str) -> dict[str, Any]:
    """A method without bound or stopping rule: every setting for the same time, the one that ends lowest counts."""
    X, sign = problem.rows.whole(), np.where(problem.targets == 1, 1.0, -1.0)
    radius, beta, activation = float(problem.radius[0]), problem.beta, problem.activation
    common = (X, sign, radius, beta, activation)

    def of_lift(lift: penalty.Lift) -> float:
        Z, Z_prime = ([restore(part)] for part in lift)
        return problem.objective(network_from_lift(Z, Z_prime, activation, problem.classes))

    def of_neurons(units: np.ndarray, output: np.ndarray) -> float:
        return problem.objective(ca.PolynomialNetwork(units, output, activation=activation, classes=problem.classes))

    if solver == "penalty":
        runs = {setting: penalty.train(*common, of_lift, contest.baseline, *setting) for setting in penalty.SETTINGS}
        names = ("rate", "c")
    else:
        robust = solver == "Adam, worst case"
        runs = {
            (rate,): adam_polynomial.train(*common, of_neurons, contest.baseline, rate, robust=robust)
            for rate in adam.RATES
        }
        names = ("rate",)
    setting, points = best(runs)
    words = ", ".join(f"{name} {value:g}" for name, value in zip(names, setting, strict=True))
    return _ended(points, f"best of {len(runs)} settings: {words}")


def _ended(points: list[tuple[float, float]], note: str) -> dict[str, Any]:
    return {
        "status": "no bound",
        "seconds": points[-1][0],
        "objective": points[-1][1],
        "violation": 0.0,
        "points": [[*point, 0.0] for point in points],
        "note": note,
    }


def _adam(size: speed_relu.Size, contest: Contest, arguments: argparse.Namespace) -> dict[str, Any]:
    """The non-convex ReLU network, two neurons a gate: its patterns are its own, so that it may lie below the programme."""
    X, y, _ = speed_relu.data(size)
    trained = adam.train(
        X, y[:, None], speed_relu.BETA, 2 * size.gates, contest.baseline, loss="squared", intercept=False
    )
    scores = trained.scores(X)[:, 0]
    weights = np.linalg.norm(trained.hidden[0], axis=1) @ np.abs(trained.output[0])
    objective = float(((scores - y) ** 2).mean() / 2 + speed_relu.BETA * weights)
    lowest = best({trained.rate: trained.history})[1]
    return {**_ended(lowest, f"best of {len(adam.RATES)} rates: {trained.rate:g}; own patterns"), "last": objective}


def _admm(size: speed_relu.Size, contest: Contest, arguments: argparse.Namespace) -> dict[str, Any]:
    """CRONOS at every rho for the same time; the one that ends nearest to the optimum, off the cones included."""
    from benchmarks.cronos import cronos

    X, y, G = speed_relu.data(size)
    best_known = ca.solve(speed_relu.problem_of(size), tol=_TIGHT * contest.tol).lower_bound
    runs = {}
    for rho in speed_relu.RHOS:
        result = cronos(X, y, X @ G > 0, speed_relu.BETA, rho, time_limit=contest.baseline / 3)
        runs[rho] = (result, speed_relu.value(size, result.weights, G))
    rho = min(runs, key=lambda each: max(abs(runs[each][1][0] / best_known - 1.0), runs[each][1][1]))
    result, (objective, violation) = runs[rho]
    norm = float(np.linalg.norm(X, axis=1).max() * np.linalg.norm(result.weights, axis=-1).max())
    kept = _thin(result.history[1:])
    return {
        "status": "no bound",
        "seconds": float(result.history[-1][0]),
        "objective": objective,
        "violation": violation,
        "points": [[float(t), float(value), float(off) / norm] for t, value, off in kept],
        "note": f"best of {len(runs)} rho, chosen by knowing the optimum: {rho:g}",
    }


def _thin(history: np.ndarray) -> list[np.ndarray]:
    """Points whose times are a tenth apart."""
    kept: list[np.ndarray] = []
    for point in history:
        if not kept or point[0] > 1.1 * kept[-1][0]:
            kept.append(point)
    return [*kept, history[-1]]


def _pyscnn(size: speed_relu.Size, contest: Contest, arguments: argparse.Namespace) -> dict[str, Any]:
    """To its own stop in the faster precision; and stopped after fewer iterations, for points on the way."""
    options = {"tol": _PEER_TOL[size.model], "threads": arguments.threads, "time-limit": contest.limit}
    runs = [speed_relu.peer(size, arguments.pyscnn, dtype=dtype, **options) for dtype in ("float32", "float64")]
    for each in runs:
        if "error" in each:
            return not_run(each["error"])
    last = min(runs, key=lambda each: each["seconds"])
    options["dtype"] = last["dtype"]
    ways = [speed_relu.peer(size, arguments.pyscnn, **options, **{"max-iter": limit}) for limit in _PEER_LIMITS]
    points = [[each["seconds"], each["objective"], each["violation"]] for each in [*ways, last] if "error" not in each]
    return {
        "status": last["stopped"],
        **{name: last[name] for name in ("seconds", "objective", "violation", "version")},
        "points": sorted(points),
        "note": f"{last['dtype']}, stopped by {last['stopped']}",
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.race_runs", description=__doc__.splitlines()[0])
    parser.add_argument("problem", choices=CONTESTS)
    parser.add_argument("solver")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--limit", type=float, help="seconds of a conic solver and of the peer")
    parser.add_argument("--baseline", type=float, help="seconds of every setting of a baseline without a stopping rule")
    parser.add_argument("--pyscnn", metavar="PYTHON", help="interpreter of an environment with pyscnn")
    parser.add_argument("--quick", action="store_true", help="the small version of the problem")
    return parser.parse_args()


if __name__ == "__main__":
    main()
