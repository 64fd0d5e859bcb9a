"""``convexadv attack``: adversarial points of a saved model, as data that the other verbs read."""

from __future__ import annotations

import argparse

import numpy as np

from .._atomic import atomic_write
from ..errors import InputError
from ..robustness import attack
from .evaluate import load_both
from .exit_codes import ExitCode
from .measure import in_chosen_units
from .output import check_targets, say, to_json


def run(arguments: argparse.Namespace) -> ExitCode:
    """Attack the rows that the arguments name and write the points."""
    if not arguments.out.endswith(".npz"):
        raise InputError(f"--out {arguments.out} is written as a NumPy archive; a name that ends in .npz is needed.")
    check_targets({"--out": arguments.out}, inputs=[arguments.data, arguments.model])
    network, data, rows = load_both(arguments)
    if network.classes is None:
        raise InputError(f"{arguments.model} predicts values, not labels; attacks need a model with classes.")
    X, y = data.X[rows], data.y[rows]
    inner, Z = in_chosen_units(network, X, arguments.units)
    result = attack(
        inner,
        Z,
        y,
        arguments.radius,
        arguments.norm,
        method=arguments.method,
        steps=arguments.steps,
        restarts=arguments.restarts,
        random_state=arguments.seed,
    )
    points = result.points
    if arguments.units == "scaled":
        shift, scale = network.shift.numpy(), network.scale.numpy()
        # Rows that were not moved come back to the last digit.
        points = np.where(points == Z, X, points * scale + shift)
    success = network.predict(points) != y
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
        "clean_accuracy": float((network.predict(X) == y).mean()),
        "attacked_accuracy": float(1.0 - success.mean()),
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
    say(f"points   {arguments.out}")
    return ExitCode.OK
