"""``convexadv fit``: train, certify, save."""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np

from .. import __version__
from .._units import with_inputs
from ..datasets import Dataset, Scaling
from ..errors import InputError
from ..files import save
from ..losses import get_loss
from ..networks import PolynomialNetwork
from ..problems import PolynomialProblem
from ..solvers import Solution, Status, solve
from .data import check_labels, fingerprint, read_data, scaling_of, split_rows
from .exit_codes import ExitCode
from .output import check_plot, check_targets, say, to_json
from .progress import Progress

_NOT_SETTINGS = ("verb", "data", "target", "out", "plot", "boundary", "json")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Train a network on the data that the arguments name."""
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
    solution = _solve(arguments, problem)
    network = None if solution.network is None else raw_network(solution, scaling, problem)
    report = _report(arguments, data, (train, test), solution, network)
    _write(arguments, data, train, solution, network, report)
    _tell(arguments, solution, report)
    return _code(solution)


def build_problem(arguments: argparse.Namespace, X: np.ndarray, y: np.ndarray) -> PolynomialProblem:
    """The problem of the arguments on scaled rows."""
    return PolynomialProblem(
        X,
        y,
        radius=arguments.radius,
        beta=arguments.beta,
        loss=arguments.loss,
        norm=arguments.norm,
        activation=tuple(arguments.activation),
        multiclass=arguments.multiclass,
        clean_weight=arguments.clean_weight,
        hard_margin=arguments.hard_margin,
    )


def raw_network(solution: Solution, scaling: Scaling, problem: PolynomialProblem) -> PolynomialNetwork:
    """The network of a solution on scaled rows, as one that takes raw rows."""
    network = with_inputs(solution.network, scaling.shift, scaling.scale)
    network.classes = problem.classes
    return network


def score(network: PolynomialNetwork, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
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
    targets = {"--out": arguments.out, "--plot": arguments.plot, "--boundary": arguments.boundary}
    check_targets(targets, inputs=[arguments.data])


def _solve(arguments: argparse.Namespace, problem: PolynomialProblem) -> Solution:
    options = {"time_limit": arguments.time_limit, "max_iter": arguments.max_iter}
    if arguments.solver not in ("auto", "torch"):
        if arguments.device is not None and arguments.device != "cpu":
            raise InputError(
                f"--device {arguments.device} is for the torch backend; {arguments.solver} runs on the CPU."
            )
        return solve(problem, arguments.solver, tol=arguments.tol, **options)
    with Progress(problem, "fit", arguments.tol, show=not arguments.json) as progress:
        return solve(
            problem, arguments.solver, tol=arguments.tol, callback=progress, device=arguments.device, **options
        )


def _report(
    arguments: argparse.Namespace,
    data: Dataset,
    rows: tuple[np.ndarray, np.ndarray],
    solution: Solution,
    network: PolynomialNetwork | None,
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
    solution: Solution,
    network: PolynomialNetwork | None,
    report: dict[str, Any],
) -> None:
    """Model and plots; the report says where they are."""
    report["files"] = {"model": None, "plot": None, "boundary": None}
    if network is not None and solution.status is not Status.INFEASIBLE:
        save(network, arguments.out, **{key: value for key, value in report.items() if key != "files"})
        report["files"]["model"] = arguments.out
    if arguments.plot is not None and solution.history:
        from .figures import convergence_figure

        convergence_figure([("", solution)], arguments.tol, arguments.plot)
        report["files"]["plot"] = arguments.plot
    if arguments.boundary is not None and network is not None:
        from .figures import boundary_figure

        X, y, names = data.X[train], data.y[train], data.feature_names
        boundary_figure([("", network)], X, y, arguments.radius, arguments.norm, names, arguments.boundary)
        report["files"]["boundary"] = arguments.boundary


def _tell(arguments: argparse.Namespace, solution: Solution, report: dict[str, Any]) -> None:
    if arguments.json:
        say(to_json(report))
        return
    say(str(solution))
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
