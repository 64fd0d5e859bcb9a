"""``convexadv evaluate``: clean, attacked and certified accuracy of a saved model."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .._json import to_json
from ..balls import check_norm
from ..datasets import Dataset
from ..errors import InputError
from ..files import load
from ..networks import Network
from ..networks.labels import label_indices
from .data import check_labels, fingerprint, read_data, split_rows
from .exit_codes import ExitCode
from .fit import score
from .measure import AccuracyCurve, AttackSettings, accuracy_curve, check_match, in_chosen_units
from .output import say, table

_DEFAULT_RADII = (0.05, 0.1, 0.2)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Measure the model on the data that the arguments name."""
    check_norm(arguments.norm)
    network, data, rows = load_both(arguments)
    X, y = data.X[rows], data.y[rows]
    report: dict[str, Any] = {
        "model": arguments.model,
        "data": arguments.data,
        "rows": len(rows),
        "neurons": network.n_neurons,
    }
    seen = network.metadata.get("data", {}).get("sha256") == fingerprint(data.X, data.y)
    report["includes_training_rows"] = seen and not _held_out(arguments, network)
    if network.classes is None:
        if arguments.radius is not None:
            raise InputError(
                "--radius asks for attacks and certificates, but this model predicts values, not labels; leave "
                "--radius out."
            )
        report |= score(network, X, y)
        lines = [f"{name:<6} {report[name]:.6g}" for name in ("rmse", "r2")]
    else:
        curve = _measure(arguments, network, X, y)
        report |= {"units": arguments.units, **curve.as_dict()}
        lines = _lines(curve, arguments)
    if arguments.json:
        say(to_json(report))
        return ExitCode.OK
    say(f"{arguments.model} on {len(rows)} rows of {arguments.data}")
    for line in lines:
        say(line)
    if report["includes_training_rows"]:
        say("These rows include those of the training; --test-fraction and --seed as in `fit` leave them out.")
    return ExitCode.OK


def load_both(arguments: argparse.Namespace) -> tuple[Network, Dataset, np.ndarray]:
    """The model, the data, and the numbers of the rows that are asked for."""
    network = load(arguments.model)
    data = read_data(arguments.data, arguments.target)
    check_match(network, data.X, arguments.model, arguments.data)
    classes = network.classes
    if classes is not None:
        check_labels(data.y)
        label_indices(data.y, classes, len(data.y))  # a foreign label is found before the work starts
    elif data.y.dtype.kind not in "biuf" or data.y.reshape(len(data.y), -1).shape[1] != network.n_outputs:
        raise InputError(
            f"{arguments.model} predicts {network.n_outputs} value(s) a row; the targets of "
            f"{arguments.data} are {data.y.dtype} of shape {data.y.shape}; as many numbers a row are needed."
        )
    train, test = split_rows(data.y, arguments.test_fraction, arguments.seed, classes is not None)
    rows = test if arguments.test_fraction > 0 else train
    return network, data, rows


def _held_out(arguments: argparse.Namespace, network: Network) -> bool:
    """Whether the rows are those that the training held out."""
    settings = network.metadata.get("settings", {})
    asked = (arguments.test_fraction, arguments.seed)
    return arguments.test_fraction > 0 and asked == (settings.get("test_fraction"), settings.get("seed"))


def chosen_radii(arguments: argparse.Namespace, network: Network) -> list[float]:
    """The radii that are asked for, or some around that of the training."""
    if arguments.radius is not None:
        return list(arguments.radius)
    trained = network.metadata.get("settings", {}).get("radius") or 0.0
    return [0.5 * trained, trained, 2.0 * trained] if trained > 0 else list(_DEFAULT_RADII)


def _measure(arguments: argparse.Namespace, network: Network, X: np.ndarray, y: np.ndarray) -> AccuracyCurve:
    radii = chosen_radii(arguments, network)
    settings = AttackSettings(arguments.steps, arguments.restarts, arguments.seed)
    network, X = in_chosen_units(network, X, arguments.units)
    return accuracy_curve(network, X, y, radii, arguments.norm, settings)


def _lines(curve: AccuracyCurve, arguments: argparse.Namespace) -> list[str]:
    units = "the model's scaled inputs" if arguments.units == "scaled" else "the data"
    rows = [
        (f"{radius:g}", *(f"{100 * value:.1f} %" for value in values))
        for radius, *values in zip(curve.radii, curve.fgsm, curve.attacked, curve.certified, strict=True)
    ]
    return [
        f"clean accuracy {100 * curve.clean:.1f} %; {curve.norm} balls, radius in the units of {units}",
        table(("radius", "FGSM", "PGD", "certified"), rows),
        f"PGD: {arguments.steps} steps, {arguments.restarts} starts. The truth lies between PGD and certified.",
    ]
