"""``convexadv certify``: what is proven of a saved model's accuracy against the radius, and what attacks leave of it."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .._atomic import atomic_write
from .._json import to_json
from ..balls import NORMS, check_norm
from ..certificate_files import save_certificate
from ..errors import InputError
from ..networks import Network, PolynomialNetwork
from ..robustness import RobustAccuracy, certify, robust_accuracy
from .data import files_read
from .evaluate import chosen_radii, load_both
from .exit_codes import ExitCode
from .figures import radii_figure
from .measure import bounds_in_units, in_chosen_units
from .output import check_plot, check_targets, say
from .progress import PartsBar


def run(arguments: argparse.Namespace) -> ExitCode:
    """Certify and attack the rows that the arguments name, and write what is asked for."""
    check_norm(arguments.norm, NORMS)
    to_stdout = arguments.json == "-"
    check_plot("--plot", arguments.plot)
    files = {
        "--json": None if to_stdout else arguments.json,
        "--plot": arguments.plot,
        "--certificate": arguments.certificate,
    }
    check_targets(files, inputs=[*files_read(arguments), arguments.model])
    network, data, rows = load_both(arguments)
    if network.classes is None:
        raise InputError(f"{arguments.model} predicts values, not labels; certificates need a model with classes.")
    branched = arguments.complete and arguments.norm != "l2" and isinstance(network, PolynomialNetwork)
    if arguments.certificate is not None and branched:
        raise InputError(
            "--certificate needs witnesses, and the branch and bound of --complete over sub-boxes leaves none; leave one "
            "of them out."
        )
    radii = chosen_radii(arguments, network)
    if arguments.certificate is not None and len(radii) != 1:
        raise InputError(
            f"--certificate is written for one radius, and there are {len(radii)}; give one with --radius."
        )
    bounds = bounds_in_units(arguments, network, data.X[rows])
    inner, Z = in_chosen_units(network, data.X[rows], arguments.units)
    result = _measured(arguments, inner, Z, data.y[rows], radii, bounds)
    report = {
        "model": arguments.model,
        "data": arguments.data,
        "units": arguments.units,
        **result.to_dict(),
        "certificate": arguments.certificate,
        "plot": arguments.plot,
    }
    if arguments.certificate is not None:
        boxed = bounds if arguments.norm == "linf" and isinstance(inner, PolynomialNetwork) else None
        limits = {name: getattr(arguments, name) for name in ("complete", "max_branches", "time_limit")}
        proof = certify(inner.double(), Z, data.y[rows], radii[0], arguments.norm, bounds=boxed, **limits)
        save_certificate(proof, arguments.certificate)
    if arguments.plot is not None:
        radii_figure(result, arguments.plot, f"{arguments.norm} radius, in {_units(arguments)}")
    if to_stdout:
        say(to_json(report))
        return ExitCode.OK
    if arguments.json is not None:
        with atomic_write(arguments.json) as file:
            file.write(to_json(report) + "\n")
    say(f"{arguments.model} on {len(rows)} rows of {arguments.data}; radius in {_units(arguments)}")
    say(str(result))
    for name, path in files.items():
        if path is not None:
            say(f"{name.removeprefix('--').ljust(11)}  {path}")
    return ExitCode.OK


def _units(arguments: argparse.Namespace) -> str:
    return "the units of the model's scaled inputs" if arguments.units == "scaled" else "the units of the data"


def _measured(
    arguments: argparse.Namespace, network: Network, X: np.ndarray, y: np.ndarray, radii: list[float], bounds: Any
) -> RobustAccuracy:
    with PartsBar("certify") as bar:
        return robust_accuracy(
            network,
            X,
            y,
            radii,
            arguments.norm,
            arguments.method,
            arguments.seed,
            steps=arguments.steps,
            restarts=arguments.restarts,
            bounds=bounds,
            complete=arguments.complete,
            max_branches=arguments.max_branches,
            time_limit=arguments.time_limit,
            progress=bar,
        )
