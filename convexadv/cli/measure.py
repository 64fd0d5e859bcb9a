"""Accuracy of a network on clean rows, under attack, and for certain."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..networks import Network
from ..networks.units import in_units
from ..robustness import attack, worst_case_margin


@dataclass(frozen=True)
class AttackSettings:
    """How hard an attack tries."""

    steps: int = 40
    restarts: int = 5
    seed: int = 0


@dataclass(frozen=True)
class AccuracyCurve:
    """Fractions of correct rows, one a radius; the first radius may be 0.

    Attributes
    ----------
    norm : str
    radii : list of float
    clean : float
        Accuracy on the rows themselves.
    fgsm, attacked : list of float
        Accuracy after FGSM and after PGD: the accuracy under the worst perturbations is at most that.
    certified : list of float
        Fraction of rows that no perturbation can break: the accuracy under the worst perturbations is at
        least that.
    """

    norm: str
    radii: list[float]
    clean: float
    fgsm: list[float]
    attacked: list[float]
    certified: list[float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def accuracy_curve(
    network: Network,
    X: np.ndarray,
    y: np.ndarray,
    radii: Sequence[float],
    norm: str,
    settings: AttackSettings,
) -> AccuracyCurve:
    """Attack and certify the rows at every radius, in the units of X."""
    clean = float((network.predict(X) == y).mean())
    fgsm: list[float] = []
    attacked: list[float] = []
    certified: list[float] = []
    for radius in radii:
        certified.append(float((worst_case_margin(network, X, y, radius, norm).lower_bound > 0).mean()))
        for accuracies, method in ((fgsm, "fgsm"), (attacked, "pgd")):
            result = attack(
                network,
                X,
                y,
                radius,
                norm,
                method=method,
                steps=settings.steps,
                restarts=settings.restarts,
                random_state=settings.seed,
            )
            accuracies.append(1.0 - float(result.success.mean()))
    return AccuracyCurve(norm, [float(radius) for radius in radii], clean, fgsm, attacked, certified)


def in_chosen_units(network: Network, X: np.ndarray, units: str) -> tuple[Network, np.ndarray]:
    """The network and the rows in the units in which a radius is given, "scaled" or "raw"."""
    if units == "raw":
        return network, X
    shift, scale = _inputs(network)
    return in_units(network, network.shift, network.scale), (X - shift) / scale


def bounds_in_units(arguments: argparse.Namespace, network: Network, X: np.ndarray) -> Any:
    """The box of ``--bounds``, given in the units of the data, in those of the radius; None if there is none.

    Raises
    ------
    InputError
        If it is empty, or a row lies outside of it.
    """
    if arguments.bounds is None:
        return None
    low, high = arguments.bounds
    if low > high:
        raise InputError(f"--bounds {low:g} {high:g} is empty; LOW must not be above HIGH.")
    outside = ((low > X) | (high < X)).any(1)
    if outside.any():
        raise InputError(
            f"--bounds {low:g} {high:g} leaves out {int(outside.sum())} of {len(X)} rows; give a larger box."
        )
    if arguments.units == "raw":
        return low, high
    shift, scale = _inputs(network)
    return (low - shift) / scale, (high - shift) / scale


def _inputs(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale (d,) of a network."""
    shift, scale = (part.detach().cpu().numpy().astype(np.float64) for part in (network.shift, network.scale))
    return shift, scale


def check_match(network: Network, X: np.ndarray, model: str, data: str) -> None:
    """Raise InputError if the network takes another number of features than the data have."""
    if X.shape[1] != network.n_features:
        raise InputError(
            f"{model} takes {network.n_features} features, but {data} has {X.shape[1]}; data with the "
            "features of the "
            "training are needed."
        )
