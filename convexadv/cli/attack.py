"""``convexadv attack``: adversarial points of a saved model, as data that the other verbs read."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .._atomic import atomic_write
from .._json import to_json
from ..balls import NORMS, check_norm
from ..errors import InputError
from ..networks import Network
from ..robustness import attack
from .data import files_read
from .evaluate import load_both
from .exit_codes import ExitCode
from .measure import bounds_in_units, in_chosen_units
from .output import check_targets, say


def run(arguments: argparse.Namespace) -> ExitCode:
    """Attack the rows that the arguments name and write the points."""
    if not arguments.out.endswith(".npz"):
        raise InputError(f"--out {arguments.out} is written as a NumPy archive; a name that ends in .npz is needed.")
    check_targets({"--out": arguments.out}, inputs=[*files_read(arguments), arguments.model])
    network, data, rows = load_both(arguments)
    if network.classes is None:
        raise InputError(f"{arguments.model} predicts values, not labels; attacks need a model with classes.")
    check_norm(arguments.norm, NORMS)
    target, rows = _target(arguments.toward, network.classes, data.y, rows)
    X, y = data.X[rows], data.y[rows]
    points = _points(arguments, network, X, y, target)
    predicted = network.predict(points)
    success = predicted == target if _aimed(target) else predicted != y
    with atomic_write(arguments.out, "wb") as file:
        np.savez(file, X=points, y=y, success=success, radius=arguments.radius, norm=arguments.norm)
    report = _report(arguments, float((network.predict(X) == y).mean()), predicted == y, success)
    if arguments.json:
        say(to_json(report))
    else:
        _tell(report, _aimed(target))
    return ExitCode.OK


def _points(arguments: argparse.Namespace, network: Network, X: np.ndarray, y: np.ndarray, target: Any) -> np.ndarray:
    """The attacked rows, in the units of the data."""
    bounds = bounds_in_units(arguments, network, X)
    inner, Z = in_chosen_units(network, X, arguments.units)
    points = attack(
        inner,
        Z,
        y,
        arguments.radius,
        arguments.norm,
        method=arguments.method,
        bounds=bounds,
        target=target,
        steps=arguments.steps,
        restarts=arguments.restarts,
        random_state=arguments.seed,
    ).points
    if arguments.units != "scaled":
        return points
    shift, scale = network.shift.numpy(), network.scale.numpy()
    points = np.where(points == Z, X, points * scale + shift)  # rows that were not moved come back to the last digit
    return points if arguments.bounds is None else np.clip(points, *arguments.bounds)


def _report(arguments: argparse.Namespace, clean: float, correct: np.ndarray, success: np.ndarray) -> dict[str, Any]:
    return {
        "model": arguments.model,
        "data": arguments.data,
        "rows": len(success),
        "method": arguments.method,
        "norm": arguments.norm,
        "radius": arguments.radius,
        "units": arguments.units,
        "bounds": arguments.bounds,
        "toward": arguments.toward,
        "clean_accuracy": clean,
        "attacked_accuracy": float(correct.mean()),
        "success": float(success.mean()),
        "points": arguments.out,
    }


def _tell(report: dict[str, Any], aimed: bool) -> None:
    say(
        f"{report['method']} in {report['norm']} balls of radius {report['radius']:g} ({report['units']} units), "
        f"{report['rows']} rows"
    )
    say(f"accuracy {100 * report['clean_accuracy']:.1f} % clean, {100 * report['attacked_accuracy']:.1f} % attacked")
    if aimed:
        say(f"toward   {report['toward']}: {100 * report['success']:.1f} % of the rows reach it")
    say(f"points   {report['points']}")


def _aimed(target: Any) -> bool:
    """Whether the attack has one label to reach."""
    return target is not None and not isinstance(target, str)


def _target(toward: str | None, classes: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[Any, np.ndarray]:
    """Targets of the attack, and the rows that can be attacked towards them."""
    if toward is None or toward == "each":
        return toward, rows
    names = [str(label) for label in classes.tolist()]
    if toward not in names:
        raise InputError(
            f"--toward {toward} is not a label of the model ({', '.join(names[:20])}), nor `each`; choose one of these."
        )
    label = classes[names.index(toward)]
    rows = rows[y[rows] != label]
    if not len(rows):
        raise InputError(f"every row has the label {toward} already; --toward needs rows of other labels.")
    return np.full(len(rows), label), rows
