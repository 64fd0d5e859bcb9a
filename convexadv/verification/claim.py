"""What a certificate file claims."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

NORMS = ("l2", "linf", "l1")
WEIGHTS = {
    "PolynomialNetwork": ("neurons", "coefficients"),
    "ReLUNetwork": ("neurons", "biases", "coefficients"),
    "GatedReLUNetwork": ("gates", "gate_biases", "weights", "biases"),
}
"""Tensors of a network beside ``shift`` and ``scale``, by its kind."""
WHOLE = ("leaf_row", "leaf_slot", "leaf_held")
"""Witnesses that are whole numbers."""


@dataclass(frozen=True)
class Claim:
    """A network, rows with balls around them, what is claimed of them, and the witnesses of the proof.

    Attributes
    ----------
    kind : str
        A key of :data:`WEIGHTS`.
    weights : dict of arrays
        Of the network; float32 or float64.
    activation : (a, b, c) or None
        Of a polynomial network.
    classes : list
        The labels in sorted order, for people: the claim speaks of class numbers.
    class_type : str
        Their dtype.
    norm : str
        "l2", "linf" or "l1".
    method : str
        How the bounds were found.
    X : (n, d)
        Raw inputs.
    labels : (n,) of int
        Class numbers.
    radius : (n,)
        In the units of X.
    low, high : (d,) or None
        Box that cuts the balls.
    lower_bound : (n,)
        Claim: the margin of no point of the ball is smaller.
    certified : (n,) bool
        Claim: every point of the ball is predicted as labelled.
    witness : dict of arrays
        What the proof needs; see ``docs/certificate-format.md``.
    """

    kind: str
    weights: Mapping[str, np.ndarray]
    activation: tuple[float, float, float] | None
    classes: list[Any]
    class_type: str
    norm: str
    method: str
    X: np.ndarray
    labels: np.ndarray
    radius: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    lower_bound: np.ndarray
    certified: np.ndarray
    witness: Mapping[str, np.ndarray]

    @property
    def outputs(self) -> int:
        """Number of outputs of the network: 1 for a score whose sign tells two classes apart."""
        last = "weights" if self.kind == "GatedReLUNetwork" else "coefficients"
        return int(self.weights[last].shape[-1])

    def fingerprint(self) -> str:
        """SHA-256 of the network: its kind, activation and weights."""
        return digest_of(f"{self.kind} {self.activation}", self.weights)


def digest_of(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of a text and of tensors with their names, types and shapes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\0{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
