"""``convexadv demo``: standard against robust training on the Wisconsin diagnostic breast cancer data."""

from __future__ import annotations

import argparse
import os
from typing import Any, NamedTuple

import numpy as np

from .._atomic import atomic_write
from .._json import to_json
from .._version import __version__
from ..datasets import Dataset, load
from ..files import save
from ..networks import Network
from ..plotting.style import require_matplotlib
from ..problems import PolynomialProblem
from ..solvers import Solution, solve
from .data import fingerprint, scaling_of, split_rows
from .exit_codes import ExitCode
from .figures import accuracy_figure, boundary_figure, convergence_figure
from .fit import raw_network
from .measure import AccuracyCurve, AttackSettings, accuracy_curve, in_chosen_units
from .output import check_folder, check_targets, say, table
from .progress import Progress

_BETA, _TOL, _TEST_FRACTION = 0.001, 1e-4, 0.3
_PAIR = ("worst area", "worst smoothness")
_BOUNDARY_ROWS = 120  # more balls would hide the rows
_MEANING = {
    "model.safetensors": "the robust network (convexadv.load)",
    "standard.safetensors": "the standard network",
    "table.txt": "clean, attacked and certified accuracy of both",
    "table.json": "the same numbers and those of the training",
    "convergence.png": "objective and lower bound over time",
    "accuracy.png": "accuracy against the radius of the attack",
    "boundary.png": "both trainings on two of the features, with the balls around the rows",
}
_RADII = {"l2": (0.02, 0.04, 0.08, 0.12, 0.16, 0.2), "linf": (0.005, 0.01, 0.015, 0.02, 0.03, 0.04)}
_QUICK_RADII = {"l2": (0.08, 0.16), "linf": (0.01, 0.03)}


class _Trained(NamedTuple):
    name: str
    radius: float
    solution: Solution
    network: Network


class _Rows(NamedTuple):
    """Raw rows of both parts."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def run(arguments: argparse.Namespace) -> ExitCode:
    """Train both networks, measure them, and write everything to the folder."""
    require_matplotlib()
    data = load("wdbc")
    place = _folder(arguments.out)
    rows = _split(data, arguments)
    say(f"{data.description}")
    say(
        f"{len(rows.X)} rows train, {len(rows.X_test)} test; standardised, then divided by the largest "
        "training row norm."
    )
    trained = [
        _train(name, rows.X, rows.y, radius, milestones=True)
        for name, radius in (("standard", 0.0), ("robust", arguments.radius))
    ]
    for part, file in zip(trained, ("standard.safetensors", "model.safetensors"), strict=True):
        save(part.network, place(file), **_summary(part, data))
    convergence_figure([(_title(part), part.solution) for part in trained], _TOL, place("convergence.png"))
    say("\nAttacking and certifying the test rows ...")
    curves = _measure(trained, rows, arguments)
    text = _text(trained, curves, len(rows.X_test))
    _write(place("table.txt"), text)
    _write(place("table.json"), to_json(_document(trained, curves, data, rows, arguments)) + "\n")
    accuracy_figure(curves, place("accuracy.png"))
    _boundaries(data, rows, arguments, place("boundary.png"))
    say(f"\n{text}\nWritten to {arguments.out}:")
    for name, meaning in _MEANING.items():
        say(f"  {name:<21} {meaning}")
    return ExitCode.OK if all(part.solution.status.ok for part in trained) else ExitCode.NOT_CERTIFIED


def _folder(out: str) -> Any:
    """Make the folder and check that every file can be written; returns the function from name to path."""
    if not os.path.exists(out):
        check_folder("--out", os.path.dirname(os.path.realpath(out)))
        os.mkdir(out)
    check_folder("--out", out)
    check_targets({name: os.path.join(out, name) for name in _MEANING})
    return lambda name: os.path.join(out, name)


def _split(data: Dataset, arguments: argparse.Namespace) -> _Rows:
    train, test = split_rows(data.y, _TEST_FRACTION, arguments.seed, classes=True)
    if arguments.quick:
        train, test = train[::3], test[::3]
    return _Rows(data.X[train], data.y[train], data.X[test], data.y[test])


def _train(name: str, X: np.ndarray, y: np.ndarray, radius: float, milestones: bool) -> _Trained:
    scaling = scaling_of("unit", X)
    problem = PolynomialProblem(scaling.apply(X), y, radius=radius, beta=_BETA)
    if milestones:
        say(
            f"\nTraining the {name} network (radius {radius:g}, beta {_BETA:g}, hinge loss) to a certified "
            f"gap of {_TOL:g}:"
        )
    with Progress(problem, name, _TOL, milestones=milestones) as progress:
        solution = solve(problem, tol=_TOL, callback=progress)
    if milestones:
        proven = "certified" if solution.status.ok else "NOT certified"
        say(
            f"  {proven}: objective {solution.objective:.6f}, no network of this kind is below "
            f"{solution.lower_bound:.6f} "
            f"(gap {solution.gap:.1e}); {solution.network.n_neurons} neurons, {solution.solve_time:.2f} s"
        )
    return _Trained(name, radius, solution, raw_network(solution, scaling, problem))


def _measure(
    trained: list[_Trained], rows: _Rows, arguments: argparse.Namespace
) -> dict[str, dict[str, AccuracyCurve]]:
    radii = _QUICK_RADII if arguments.quick else _RADII
    settings = AttackSettings(10, 2, arguments.seed) if arguments.quick else AttackSettings(seed=arguments.seed)
    curves: dict[str, dict[str, AccuracyCurve]] = {norm: {} for norm in radii}
    for norm, values in radii.items():
        for part in trained:
            network, X = in_chosen_units(part.network, rows.X_test, "scaled")
            curves[norm][part.name] = accuracy_curve(network, X, rows.y_test, values, norm, settings)
    return curves


def _text(trained: list[_Trained], curves: dict[str, dict[str, AccuracyCurve]], n: int) -> str:
    """The table of both networks side by side."""
    first, second = (part.name for part in trained)
    clean = next(iter(curves.values())).values()
    lines = [_row("clean", "0", *([curve.clean] * 3 for curve in clean))]
    for norm, parts in curves.items():
        for k, radius in enumerate(parts[first].radii):
            values = ([curve.fgsm[k], curve.attacked[k], curve.certified[k]] for curve in parts.values())
            lines.append(_row(norm, f"{radius:g}", *values))
    body = table(("norm", "radius", *("FGSM", "PGD", "certified") * 2), lines)
    left = body.index("FGSM")
    names = f"{' ' * left}{first}".ljust(body.index("FGSM", left + 1)) + second
    return (
        f"Accuracy (%) on {n} test rows; radius in the units of the scaled rows.\n"
        "FGSM and PGD bound the accuracy under the worst perturbation from above, certified from below.\n\n"
        f"{names}\n{body}\n"
    )


def _row(norm: str, radius: str, *accuracies: list[float]) -> list[str]:
    return [norm, radius, *(f"{100 * value:.1f}" for values in accuracies for value in values)]


def _summary(part: _Trained, data: Dataset) -> dict[str, Any]:
    solution = part.solution
    return {
        "version": __version__,
        "settings": {
            "radius": part.radius,
            "norm": "l2",
            "beta": _BETA,
            "loss": "hinge",
            "scaling": "unit",
            "tol": _TOL,
        },
        "data": {"source": data.name, "sha256": fingerprint(data.X, data.y)},
        "status": str(solution.status),
        "certified": solution.status.ok,
        "objective": solution.objective,
        "lower_bound": solution.lower_bound,
        "gap": solution.gap,
        "neurons": part.network.n_neurons,
        "solver": solution.solver,
        "solve_time": solution.solve_time,
    }


def _document(
    trained: list[_Trained],
    curves: dict[str, dict[str, AccuracyCurve]],
    data: Dataset,
    rows: _Rows,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    return {
        "split": {
            "train_rows": len(rows.X),
            "test_rows": len(rows.X_test),
            "test_fraction": _TEST_FRACTION,
            "seed": arguments.seed,
        },
        "units": "scaled rows",
        "networks": {part.name: _summary(part, data) for part in trained},
        "accuracy": {norm: {name: curve.as_dict() for name, curve in parts.items()} for norm, parts in curves.items()},
    }


def _boundaries(data: Dataset, rows: _Rows, arguments: argparse.Namespace, path: str) -> None:
    """Retrain both networks on two features and draw them."""
    pair = [data.feature_names.index(name) for name in _PAIR]
    chosen = np.linspace(0, len(rows.X) - 1, min(_BOUNDARY_ROWS, len(rows.X))).astype(int)
    X, y = rows.X[chosen][:, pair], np.where(rows.y[chosen] == "B", *data.target_names)
    trained = [
        _train(name, X, y, radius, milestones=False)
        for name, radius in (("standard", 0.0), ("robust", arguments.radius))
    ]
    panels = [(_title(part), part.network) for part in trained]
    boundary_figure(panels, X, y, arguments.radius, "l2", _PAIR, path)


def _title(part: _Trained) -> str:
    return f"{part.name} (radius {part.radius:g})"


def _write(path: str, text: str) -> None:
    with atomic_write(path, "w") as file:
        file.write(text)
