"""``convexadv attack``: adversarial points of a saved model, as data that the other verbs read."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .._atomic import atomic_write
from ..balls import NORMS, check_norm
from ..errors import InputError
from ..robustness import attack
from .data import files_read
from .evaluate import load_both
from .exit_codes import ExitCode
from .measure import bounds_in_units, in_chosen_units
from .output import check_targets, say, to_json


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
    bounds = bounds_in_units(arguments, network, X)
    inner, Z = in_chosen_units(network, X, arguments.units)
    result = attack(
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
    )
    points = result.points
    if arguments.units == "scaled":
        shift, scale = network.shift.numpy(), network.scale.numpy()
        # Rows that were not moved come back to the last digit.
        points = np.where(points == Z, X, points * scale + shift)
        if arguments.bounds is not None:
            points = np.clip(points, *arguments.bounds)
    predicted = network.predict(points)
    aimed = target is not None and not isinstance(target, str)
    success = predicted == target if aimed else predicted != y
    with atomic_write(arguments.out, "wb") as file:
        np.savez(file, X=points, y=y, success=success, radius=arguments.radius, norm=arguments.norm)
    report = {
        "model": arguments.model,
        "data": arguments.data,
        "rows": len(rows),
        "method": arguments.method,
        "norm": arguments.norm,
        "radius": arguments.radius,
        "units": arguments.units,
        "bounds": arguments.bounds,
        "toward": arguments.toward,
        "clean_accuracy": float((network.predict(X) == y).mean()),
        "attacked_accuracy": float((predicted == y).mean()),
        "success": float(success.mean()),
        "points": arguments.out,
    }
    if arguments.json:
        say(to_json(report))
        return ExitCode.OK
    say(
        f"{arguments.method} in {arguments.norm} balls of radius {arguments.radius:g} ({arguments.units} "
        f"units), {len(rows)} rows"
    )
    say(f"accuracy {100 * report['clean_accuracy']:.1f} % clean, {100 * report['attacked_accuracy']:.1f} % attacked")
    if aimed:
        say(f"toward   {arguments.toward}: {100 * report['success']:.1f} % of the rows reach it")
    say(f"points   {arguments.out}")
    return ExitCode.OK


def _target(toward: str | None, classes: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[Any, np.ndarray]:
    """Targets of the attack, and the rows that can be attacked towards them."""
    if toward is None or toward == "each":
        return toward, rows
    names = [str(label) for label in classes.tolist()]
    if toward not in names:
        raise InputError(f"--toward {toward} is not a label of the model ({', '.join(names[:20])}), nor `each`.")
    label = classes[names.index(toward)]
    rows = rows[y[rows] != label]
    if not len(rows):
        raise InputError(f"every row has the label {toward} already; --toward needs rows of other labels.")
    return np.full(len(rows), label), rows
