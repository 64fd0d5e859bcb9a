"""``convexadv fit``: train, certify, save."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from typing import Any

import numpy as np

from .._json import plain, to_json
from .._version import __version__
from ..datasets import Dataset, Scaling
from ..errors import InputError
from ..files import save
from ..losses import get_loss
from ..networks import Network
from ..networks.units import with_inputs
from ..problems.base import Problem
from ..problems.patterns import PatternProblem
from ..processes import ALONE, Together
from ..solvers import Growth, Solution, Status, grow_patterns, solve
from .checkpoints import checkpoint_options
from .data import Share, check_labels, files_read, fingerprint, read_data, scaling_of, split_rows
from .exit_codes import ExitCode
from .launch import processes
from .models import build_problem, settle
from .output import check_plot, check_targets, say
from .progress import Progress

_NOT_SETTINGS = (
    *("verb", "data", "target", "out", "plot", "boundary", "patterns", "json"),
    *("checkpoint", "checkpoint_every", "resume"),
)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Train a network on the data that the arguments name; under torchrun together with the other processes."""
    with processes(arguments.device) as together:
        return _fit(arguments, together)


def _fit(arguments: argparse.Namespace, together: Together) -> ExitCode:
    settle(arguments)
    if together.size > 1:
        _check_together(arguments, together.size)
    if together.rank == 0:
        _check_outputs(arguments)
    options = checkpoint_options(arguments, together)
    data = read_data(arguments.data, arguments.target)
    regression = get_loss(arguments.loss).regression
    if not regression:
        check_labels(data.y)
    if arguments.boundary is not None and (data.X.shape[1] != 2 or regression):
        raise InputError(f"--boundary needs two features and labels; {arguments.data} has {data.X.shape[1]} features.")
    train, test = split_rows(data.y, arguments.test_fraction, arguments.seed, classes=not regression)
    scaling = scaling_of(arguments.scaling, data.X[train], together)
    about = _about(arguments, data, (train, test), together)
    share = Share.of(data, train, test, together)
    del data, train, test  # of several processes each keeps its own rows
    problem = _problem(arguments, share, scaling, together)
    solution, growth = _solve(arguments, problem, together.rank == 0, options)
    problem = problem if growth is None else growth.problem
    network = None if solution.network is None else raw_network(solution, scaling, problem)
    report = _report(arguments, about, solution, together.size) | _scores(network, share, about, together)
    report |= _pattern_report(problem, growth)
    rows = _rows_of_all(share, together) if arguments.boundary is not None else None
    if together.rank == 0:
        _write(arguments, rows, (solution, growth), network, report)
    together.first(None)  # nobody ends before the files are there
    if together.rank == 0:
        _tell(arguments, solution, growth, report)
    return _code(solution)


def _problem(arguments: argparse.Namespace, share: Share, scaling: Scaling, together: Together) -> Problem:
    try:
        return build_problem(arguments, scaling.apply(share.X[share.train]), share.y[share.train], together)
    except InputError as error:
        if together.size == 1:
            raise
        raise type(error)(f"process {together.rank} of {together.size}, of its own rows: {error}") from error


def raw_network(solution: Solution, scaling: Scaling, problem: Problem) -> Network:
    """The network of a solution on scaled rows, as one that takes raw rows."""
    network = with_inputs(solution.network, scaling.shift, scaling.scale)
    network.classes = problem.classes
    return network


def score(network: Network, X: np.ndarray, y: np.ndarray, together: Together = ALONE) -> dict[str, float]:
    """Accuracy of labels, or root mean squared error and R^2 of values, on the rows of all processes."""
    count = together.sum(len(y))
    if network.classes is not None:
        return {"accuracy": together.sum(float((network.predict(X) == y).sum())) / count}
    target = y.reshape(len(y), -1)
    mean = together.total(target.sum(0, dtype=np.float64)) / count
    squares = together.sum(float(((network.scores(X).reshape(target.shape) - target) ** 2).sum()))
    spread = together.sum(float(((target - mean) ** 2).sum()))
    r2 = 1.0 - squares / spread if spread > 0 else math.nan
    return {"rmse": math.sqrt(squares / (count * target.shape[1])), "r2": r2}


def _check_together(arguments: argparse.Namespace, size: int) -> None:
    """Raise InputError for what several processes cannot do together."""
    if arguments.model != "polynomial":
        raise InputError(
            f"--model {arguments.model} is trained by one process, and torchrun started {size}; leave torchrun out, or use "
            "--model polynomial."
        )
    if arguments.solver not in ("auto", "torch"):
        raise InputError(
            f"--solver {arguments.solver} runs in one process, and torchrun started {size}; leave torchrun out, or use "
            "--solver torch."
        )


def _check_outputs(arguments: argparse.Namespace) -> None:
    check_plot("--plot", arguments.plot)
    check_plot("--boundary", arguments.boundary)
    check_plot("--patterns", arguments.patterns)
    names = ("out", "plot", "boundary", "patterns", "checkpoint")
    targets = {f"--{name}": getattr(arguments, name) for name in names}
    check_targets(targets, inputs=files_read(arguments))


def _solve(
    arguments: argparse.Namespace, problem: Problem, show: bool, more: dict[str, Any]
) -> tuple[Solution, Growth | None]:
    options = {"time_limit": arguments.time_limit, "max_iter": arguments.max_iter, "tol": arguments.tol, **more}
    solver = arguments.solver
    if arguments.solver not in ("auto", "torch"):
        if arguments.device is not None and arguments.device != "cpu":
            raise InputError(
                f"--device {arguments.device} is for the torch backend; {arguments.solver} runs on the CPU: leave it "
                "out."
            )
        return _solved(arguments, problem, solver=solver, **options)
    with Progress(problem, "fit", arguments.tol, show=show and not arguments.json) as progress:
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
            "rounds": [dataclasses.asdict(each) for each in growth.rounds],
        }
    return report


def _about(
    arguments: argparse.Namespace, data: Dataset, rows: tuple[np.ndarray, np.ndarray], together: Together
) -> dict[str, Any]:
    """What the report says of the data of all processes."""
    train, test = rows
    return {
        "source": arguments.data,
        "rows": len(data.X),
        "features": list(data.feature_names),
        "train_rows": len(train),
        "test_rows": len(test),
        "sha256": fingerprint(data.X, data.y, together),
    }


def _scores(
    network: Network | None, share: Share, about: dict[str, Any], together: Together
) -> dict[str, dict[str, float] | None]:
    """Scores on the training and the test rows."""
    return {
        part: score(network, share.X[index], share.y[index], together)
        if network is not None and about[f"{part}_rows"]
        else None
        for part, index in (("train", share.train), ("test", share.test))
    }


def _rows_of_all(share: Share, together: Together) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and labels of all processes, for a picture of them."""
    parts = together.gather((np.asarray(share.X[share.train]), share.y[share.train]))
    return np.concatenate([X for X, _ in parts]), np.concatenate([y for _, y in parts])


def _report(arguments: argparse.Namespace, about: dict[str, Any], solution: Solution, size: int) -> dict[str, Any]:
    network = solution.network
    return {
        "version": __version__,
        "settings": {name: value for name, value in vars(arguments).items() if name not in _NOT_SETTINGS},
        "data": about,
        "status": str(solution.status),
        "certified": solution.status.ok,
        "advice": advice(solution.status.value),
        "message": solution.message,
        "objective": solution.objective,
        "lower_bound": solution.lower_bound,
        "gap": solution.gap,
        "violation": solution.violation,
        "neurons": 0 if network is None else network.n_neurons,
        "solver": solution.solver,
        "processes": size,
        "solve_time": solution.solve_time,
    }


def advice(text: str) -> str:
    """What a status advises, in the options of the command line."""
    text = re.sub(r"(continue with warm_start=solution or )?raise (max|time)_(iter|limit)", r"raise --\2-\3", text)
    return text.replace("Loosen tol, use dtype='float64',", "Loosen --tol,").replace(
        "use solver='torch'", "--solver torch"
    )


def _write(
    arguments: argparse.Namespace,
    rows: tuple[np.ndarray, np.ndarray] | None,
    solved: tuple[Solution, Growth | None],
    network: Network | None,
    report: dict[str, Any],
) -> None:
    """Model and plots; the report says where they are."""
    solution, growth = solved
    report["files"] = {"model": None, "plot": None, "boundary": None, "patterns": None}
    if network is not None and solution.status is not Status.INFEASIBLE:
        save(network, arguments.out, **plain({key: value for key, value in report.items() if key != "files"}))
        report["files"]["model"] = arguments.out
    if arguments.plot is not None and solution.history:
        from .figures import convergence_figure

        convergence_figure([("", solution)], arguments.tol, arguments.plot)
        report["files"]["plot"] = arguments.plot
    if arguments.patterns is not None and (solution.history or growth is not None):
        from .figures import patterns_figure

        patterns_figure(solution, growth, arguments.tol, arguments.patterns)
        report["files"]["patterns"] = arguments.patterns
    if rows is not None and network is not None:
        from .figures import boundary_figure

        names = report["data"]["features"]
        boundary_figure([("", network)], *rows, arguments.radius, arguments.norm, names, arguments.boundary)
        report["files"]["boundary"] = arguments.boundary


def _tell(arguments: argparse.Namespace, solution: Solution, growth: Growth | None, report: dict[str, Any]) -> None:
    if arguments.json:
        say(to_json(report))
        return
    say(advice(str(solution)))
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
