"""From the arguments of ``fit`` to the problem of a kind of network."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from ..problems.base import Problem
    from ..processes import Together

MODELS = ("polynomial", "relu", "gated-relu")
_POLYNOMIAL = {
    "activation": (0.09, 0.5, 0.47),
    "clean_weight": 0.0,
    "hard_margin": None,
    "checkpoint": None,
    "checkpoint_every": None,
    "resume": None,
}
_PATTERNS = {"gates": 100, "gate_kind": "gaussian", "intercept": True, "grow": 0, "patterns": None}


def settle(arguments: argparse.Namespace) -> None:
    """Fill in the defaults of the options that belong to the kind of network.

    Raises
    ------
    InputError
        If an option of another kind was given.
    """
    polynomial = arguments.model == "polynomial"
    own, foreign = (_POLYNOMIAL, _PATTERNS) if polynomial else (_PATTERNS, _POLYNOMIAL)
    for name in foreign:
        if getattr(arguments, name) is not None:
            option = f"--{'no-' * (getattr(arguments, name) is False)}{name.replace('_', '-')}"
            kinds = "relu or gated-relu" if polynomial else "polynomial"
            raise InputError(f"{option} belongs to --model {kinds}; this is --model {arguments.model}: leave it out.")
    for name, default in own.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)


def build_problem(arguments: argparse.Namespace, X: np.ndarray, y: np.ndarray, together: Together) -> Problem:
    """The problem of the arguments on scaled rows, of this process."""
    from ..problems import GatedReLUProblem, PolynomialProblem, ReLUProblem

    shared: dict[str, Any] = {
        "radius": arguments.radius,
        "beta": arguments.beta,
        "loss": arguments.loss,
        "norm": arguments.norm,
        "multiclass": arguments.multiclass,
    }
    if arguments.model == "polynomial":
        return PolynomialProblem(
            X,
            y,
            activation=tuple(arguments.activation),
            clean_weight=arguments.clean_weight,
            hard_margin=arguments.hard_margin,
            process_group=together,
            **shared,
        )
    kind = ReLUProblem if arguments.model == "relu" else GatedReLUProblem
    return kind(
        X,
        y,
        n_gates=arguments.gates,
        gate_kind=arguments.gate_kind,
        random_state=arguments.seed,
        fit_intercept=arguments.intercept,
        **shared,
    )
