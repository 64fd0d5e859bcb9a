"""``convexadv fit``: train, certify, save."""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import Any

import numpy as np

from .. import __version__
from .._network import Network
from .._units import with_inputs
from ..datasets import Dataset, Scaling
from ..errors import InputError
from ..files import save
from ..losses import get_loss
from ..problems.base import Problem
from ..problems.patterns import PatternProblem
from ..solvers import Growth, Solution, Status, grow_patterns, solve
from .data import check_labels, fingerprint, read_data, scaling_of, split_rows
from .exit_codes import ExitCode
from .models import build_problem, settle
from .output import check_plot, check_targets, say, to_json
from .progress import Progress

_NOT_SETTINGS = ("verb", "data", "target", "out", "plot", "boundary", "patterns", "json")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Train a network on the data that the arguments name."""
    settle(arguments)
    _check_outputs(arguments)
    data = read_data(arguments.data, arguments.target)
    regression = get_loss(arguments.loss).regression
    if not regression:
        check_labels(data.y)
    if arguments.boundary is not None and (data.X.shape[1] != 2 or regression):
        raise InputError(f"--boundary needs two features and labels; {arguments.data} has {data.X.shape[1]} features.")
    train, test = split_rows(data.y, arguments.test_fraction, arguments.seed, classes=not regression)
    scaling = scaling_of(arguments.scaling, data.X[train])
    problem = build_problem(arguments, scaling.apply(data.X[train]), data.y[train])
    solution, growth = _solve(arguments, problem)
    problem = problem if growth is None else growth.problem
    network = None if solution.network is None else raw_network(solution, scaling, problem)
    report = _report(arguments, data, (train, test), solution, network) | _pattern_report(problem, growth)
    _write(arguments, data, train, (solution, growth), network, report)
    _tell(arguments, solution, growth, report)
    return _code(solution)


def raw_network(solution: Solution, scaling: Scaling, problem: Problem) -> Network:
    """The network of a solution on scaled rows, as one that takes raw rows."""
    network = with_inputs(solution.network, scaling.shift, scaling.scale)
    network.classes = problem.classes
    return network


def score(network: Network, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Accuracy of labels, or root mean squared error and R^2 of values."""
    if network.classes is not None:
        return {"accuracy": float((network.predict(X) == y).mean())}
    target = y.reshape(len(y), -1)
    error = network.scores(X).reshape(target.shape) - target
    spread = float(((target - target.mean(0)) ** 2).sum())
    r2 = 1.0 - float((error**2).sum()) / spread if spread > 0 else math.nan
    return {"rmse": float(np.sqrt((error**2).mean())), "r2": r2}


def _check_outputs(arguments: argparse.Namespace) -> None:
    check_plot("--plot", arguments.plot)
    check_plot("--boundary", arguments.boundary)
    check_plot("--patterns", arguments.patterns)
    names = ("out", "plot", "boundary", "patterns")
    targets = {f"--{name}": getattr(arguments, name) for name in names}
    check_targets(targets, inputs=[arguments.data])


def _solve(arguments: argparse.Namespace, problem: Problem) -> tuple[Solution, Growth | None]:
    options = {"time_limit": arguments.time_limit, "max_iter": arguments.max_iter, "tol": arguments.tol}
    solver = arguments.solver
    if arguments.solver not in ("auto", "torch"):
        if arguments.device is not None and arguments.device != "cpu":
            raise InputError(
                f"--device {arguments.device} is for the torch backend; {arguments.solver} runs on the CPU."
            )
        return _solved(arguments, problem, solver=solver, **options)
    with Progress(problem, "fit", arguments.tol, show=not arguments.json) as progress:
        return _solved(arguments, problem, solver=solver, callback=progress, device=arguments.device, **options)


def _solved(arguments: argparse.Namespace, problem: Problem, **options: Any) -> tuple[Solution, Growth | None]:
    """The solution, after growing the patterns where that was asked for."""
    if isinstance(problem, PatternProblem) and arguments.grow:
        growth = grow_patterns(
            problem,
            rounds=arguments.grow,
            candidates=5 * arguments.gates,
            most_added=max(1, arguments.gates // 2),
            gate_kind=arguments.gate_kind,
            random_state=arguments.seed + 1,
            **options,
        )
        return growth.solution, growth
    return solve(problem, **options), None


def _pattern_report(problem: Problem, growth: Growth | None) -> dict[str, Any]:
    """Gates of a programme over patterns, what was dropped when they were drawn, and how they grew."""
    if not isinstance(problem, PatternProblem):
        return {}
    sample = problem.gate_sample
    report: dict[str, Any] = {"gates": problem.n_gates, "gate_sample": None if sample is None else str(sample)}
    if growth is not None:
        report["growth"] = {
            "improvement": growth.improvement,
            "rounds": [
                {key: _finite(value) for key, value in dataclasses.asdict(each).items()} for each in growth.rounds
            ],
        }
    return report


def _report(
    arguments: argparse.Namespace,
    data: Dataset,
    rows: tuple[np.ndarray, np.ndarray],
    solution: Solution,
    network: Network | None,
) -> dict[str, Any]:
    train, test = rows
    scores = {
        part: score(network, data.X[index], data.y[index]) if network is not None and len(index) else None
        for part, index in (("train", train), ("test", test))
    }
    return {
        "version": __version__,
        "settings": {name: value for name, value in vars(arguments).items() if name not in _NOT_SETTINGS},
        "data": {
            "source": arguments.data,
            "rows": len(data.X),
            "features": list(data.feature_names),
            "train_rows": len(train),
            "test_rows": len(test),
            "sha256": fingerprint(data.X, data.y),
        },
        "status": str(solution.status),
        "certified": solution.status.ok,
        "advice": solution.status.value,
        "message": solution.message,
        "objective": _finite(solution.objective),
        "lower_bound": _finite(solution.lower_bound),
        "gap": _finite(solution.gap),
        "violation": _finite(solution.violation),
        "neurons": 0 if network is None else network.n_neurons,
        "solver": solution.solver,
        "solve_time": solution.solve_time,
        **scores,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write(
    arguments: argparse.Namespace,
    data: Dataset,
    train: np.ndarray,
    solved: tuple[Solution, Growth | None],
    network: Network | None,
    report: dict[str, Any],
) -> None:
    """Model and plots; the report says where they are."""
    solution, growth = solved
    report["files"] = {"model": None, "plot": None, "boundary": None, "patterns": None}
    if network is not None and solution.status is not Status.INFEASIBLE:
        save(network, arguments.out, **{key: value for key, value in report.items() if key != "files"})
        report["files"]["model"] = arguments.out
    if arguments.plot is not None and solution.history:
        from .figures import convergence_figure

        convergence_figure([("", solution)], arguments.tol, arguments.plot)
        report["files"]["plot"] = arguments.plot
    if arguments.patterns is not None and (solution.history or growth is not None):
        from .figures import patterns_figure

        patterns_figure(solution, growth, arguments.tol, arguments.patterns)
        report["files"]["patterns"] = arguments.patterns
    if arguments.boundary is not None and network is not None:
        from .figures import boundary_figure

        X, y, names = data.X[train], data.y[train], data.feature_names
        boundary_figure([("", network)], X, y, arguments.radius, arguments.norm, names, arguments.boundary)
        report["files"]["boundary"] = arguments.boundary


def _tell(arguments: argparse.Namespace, solution: Solution, growth: Growth | None, report: dict[str, Any]) -> None:
    if arguments.json:
        say(to_json(report))
        return
    say(str(solution))
    if "gates" in report:
        say(f"{'gates':<12} {report['gate_sample'] or report['gates']}")
    if growth is not None:
        say(str(growth))
    for part in ("train", "test"):
        if report[part] is not None:
            values = ", ".join(f"{name} {value:.4f}" for name, value in report[part].items())
            say(f"{part:<12} {values} ({report['data'][f'{part}_rows']} rows)")
    if arguments.radius > 0 and arguments.scaling != "none":
        say(
            f"{'radius':<12} {arguments.radius:g} ({arguments.norm}), in the units of the scaled rows "
            f"(--scaling {arguments.scaling})"
        )
    for name, path in report["files"].items():
        if path is not None:
            say(f"{name:<12} {path}")
    if arguments.plot is not None and report["files"]["plot"] is None:
        say(f"plot         none: {solution.solver} keeps no history")
    if report["files"]["model"] is None:
        say("model        none was written")
    elif not math.isfinite(solution.objective):
        say(f"The model misses the margins that were asked for by {100 * solution.violation:.3g} % (exit code 3).")
    elif not solution.status.ok:
        say(f"Not certified to the tolerance {arguments.tol:g}, but written all the same (exit code 3).")


def _code(solution: Solution) -> ExitCode:
    if solution.status.ok:
        return ExitCode.OK
    return ExitCode.INFEASIBLE if solution.status is Status.INFEASIBLE else ExitCode.NOT_CERTIFIED
