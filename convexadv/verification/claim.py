"""What a certificate file claims, and its bytes: safetensors with one JSON header, and a digest of both."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from .._checks import file_name
from ..errors import FileFormatError, InputError, not_safetensors, reason, unreadable

FORMAT, FORMAT_VERSION = "convexadv-certificate", 1
NORMS = ("l2", "linf", "l1")
WEIGHTS = {
    "PolynomialNetwork": ("neurons", "coefficients"),
    "ReLUNetwork": ("neurons", "biases", "coefficients"),
    "GatedReLUNetwork": ("gates", "gate_biases", "weights", "biases"),
}
"""Tensors of a network beside ``shift`` and ``scale``, by its kind."""
WHOLE = ("leaf_row", "leaf_slot", "leaf_held")
"""Witnesses that are whole numbers."""

_HEADER = "convexadv"


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
        return _digest(f"{self.kind} {self.activation}", self.weights)


def pack(claim: Claim) -> bytes:
    """The bytes of a certificate file.

    Parameters
    ----------
    claim : Claim

    Returns
    -------
    bytes
    """
    tensors = {f"network.{name}": array for name, array in claim.weights.items()}
    tensors |= {f"witness.{name}": array for name, array in claim.witness.items()}
    tensors |= {"X": claim.X, "labels": claim.labels, "radius": claim.radius, "lower_bound": claim.lower_bound}
    tensors["certified"] = claim.certified.astype(np.uint8)
    if claim.low is not None and claim.high is not None:
        tensors |= {"low": claim.low, "high": claim.high}
    return pack_parts(
        tensors,
        {
            "claim": "robustness",
            "kind": claim.kind,
            "activation": None if claim.activation is None else list(claim.activation),
            "classes": claim.classes,
            "class_type": claim.class_type,
            "norm": claim.norm,
            "method": claim.method,
        },
    )


def pack_parts(tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> bytes:
    """Safetensors bytes of tensors and a header, with format, version and digest added to the header.

    Parameters
    ----------
    tensors : mapping from str to array
    header : mapping
        JSON.

    Returns
    -------
    bytes
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    full = {"format": FORMAT, "format_version": FORMAT_VERSION, **header}
    full["sha256"] = _digest(json.dumps(full, sort_keys=True), arrays)
    return to_bytes(arrays, {_HEADER: json.dumps(full, sort_keys=True)})


def read_safetensors(path: str | os.PathLike[str], what: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and header of a safetensors file of this package.

    Parameters
    ----------
    path : str or path-like
    what : str
        What it should be, for errors.

    Returns
    -------
    tensors : dict from str to array
    header : dict

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    FileFormatError
        If it is not a safetensors file with a header of this package.
    """
    name = file_name(path)
    if not os.path.isfile(name):
        raise InputError(f"there is no {what} file {name}.")
    try:
        with open(name, "rb") as file:
            content = file.read()
    except OSError as error:
        raise unreadable(name, error) from error
    try:
        tensors = from_bytes(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        header = json.loads(metadata.get(_HEADER, "null"))
    except Exception as error:  # safetensors raises its own errors, and others
        raise not_safetensors(name, error) from error
    if not isinstance(header, dict):
        raise FileFormatError(f"{name} is a safetensors file, but not a {what} file of convexadv.")
    return tensors, header


def unpack_parts(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and header of a certificate file whose digest is right.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    tensors : dict from str to array
    header : dict

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    FileFormatError
        If it is not a certificate file of this package, from a newer version, or damaged.
    """
    name = file_name(path)
    tensors, header = read_safetensors(path, "certificate")
    if header.get("format") != FORMAT:
        raise FileFormatError(f"{name} is a safetensors file, but not a certificate file of convexadv.")
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise FileFormatError(f"{name} has format version {version!r}; {FORMAT_VERSION} is needed.")
    rest = {key: value for key, value in header.items() if key != "sha256"}
    if header.get("sha256") != _digest(json.dumps(rest, sort_keys=True), tensors):
        raise FileFormatError(f"{name} is damaged: its content does not have the digest that it was written with.")
    return tensors, header


def not_valid(path: str, why: str) -> FileFormatError:
    """The error of a file whose parts do not make a certificate."""
    return FileFormatError(f"{path} is not a valid certificate: {why}.")


def unpack(path: str | os.PathLike[str]) -> Claim:
    """Read the claim of a certificate file and check that its parts fit together.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Claim

    Raises
    ------
    InputError, FileFormatError
        As :func:`unpack_parts`; if the file holds another claim, or a part is missing or of a wrong shape.
    """
    tensors, header = unpack_parts(path)
    name = file_name(path)
    if header.get("claim") != "robustness":
        raise FileFormatError(
            f"{name} holds a certificate of {header.get('claim')}; one of robustness is needed, for others "
            "are checked by problem.lower_bound."
        )
    try:
        claim = _claim(tensors, header)
        problem = _misfit(claim)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise not_valid(name, reason(error)) from error
    if problem:
        raise not_valid(name, problem)
    return claim


def _claim(tensors: dict[str, np.ndarray], header: dict[str, Any]) -> Claim:
    kind, activation = header["kind"], header["activation"]
    return Claim(
        kind,
        {part: tensors[f"network.{part}"] for part in (*WEIGHTS[kind], "shift", "scale")},
        None if activation is None else tuple(float(number) for number in activation),  # type: ignore[arg-type]
        header["classes"],
        header["class_type"],
        header["norm"],
        header["method"],
        tensors["X"],
        tensors["labels"],
        tensors["radius"],
        tensors.get("low"),
        tensors.get("high"),
        tensors["lower_bound"],
        tensors["certified"] != 0,
        {key.removeprefix("witness."): array for key, array in tensors.items() if key.startswith("witness.")},
    )


def _misfit(claim: Claim) -> str | None:
    """What is wrong with the parts, if anything: the proof is checked elsewhere."""
    n, d = claim.X.shape
    if n == 0 or d == 0:
        return "it has no rows"
    arrays = [claim.X, claim.radius, claim.lower_bound, *claim.weights.values()]
    arrays += [array for name, array in claim.witness.items() if name not in WHOLE]
    box = [side for side in (claim.low, claim.high) if side is not None]
    whole = [claim.labels, *(claim.witness[name] for name in WHOLE if name in claim.witness)]
    if any(array.dtype.kind != "f" for array in (*arrays, *box)) or any(array.dtype.kind != "i" for array in whole):
        return "a tensor has a wrong type"
    if not all(np.isfinite(array).all() for array in (claim.X, claim.radius, *claim.weights.values())):
        return "a number of the network or of the rows is not finite"
    if any(array.shape != (n,) for array in (claim.labels, claim.radius, claim.lower_bound, claim.certified)):
        return "the rows have different numbers of entries"
    if claim.norm not in NORMS or (claim.activation is None) != (claim.kind != "PolynomialNetwork"):
        return "the norm or the activation is unknown"
    if claim.activation is not None and not (len(claim.activation) == 3 and np.isfinite(claim.activation).all()):
        return "the activation is not three finite numbers"
    if (claim.radius < 0).any() or (claim.weights["scale"] <= 0).any():
        return "a radius is negative, or a scale is not positive"
    if len(claim.classes) != max(2, claim.outputs):
        return "the classes do not fit to the outputs"
    if (claim.labels < 0).any() or (claim.labels >= len(claim.classes)).any():
        return "a label is not the number of a class"
    if len(box) == 1 or any(side.shape != (d,) for side in box) or (box and claim.norm != "linf"):
        return "the box does not fit to the rows"
    if box and (np.clip(claim.X, *box) != claim.X).any():
        return "a row lies outside of the box"
    return _weights_misfit(claim, d)


def _weights_misfit(claim: Claim, d: int) -> str | None:
    C, weights = claim.outputs, claim.weights
    if C < 1:
        return "the network has no outputs"
    m = len(weights[WEIGHTS[claim.kind][0]])
    shapes: dict[str, tuple[int, ...]] = {"shift": (d,), "scale": (d,)}
    if claim.kind == "GatedReLUNetwork":
        shapes |= {"gates": (m, d), "gate_biases": (m,), "weights": (m, d, C), "biases": (m, C)}
    else:
        shapes |= {"neurons": (m, d), "coefficients": (m, C)}
        shapes |= {"biases": (m,)} if claim.kind == "ReLUNetwork" else {}
    wrong = [name for name, shape in shapes.items() if weights[name].shape != shape]
    if wrong:
        return f"the weights {', '.join(wrong)} have a wrong shape"
    return _witness_misfit(claim, max(1, C - 1), m, d)


def _witness_misfit(claim: Claim, differences: int, m: int, d: int) -> str | None:
    start, witness = (len(claim.X), differences), claim.witness
    shapes: dict[str, tuple[int, ...]]
    if claim.kind != "PolynomialNetwork":
        shapes = {"slopes": (*start, m)}
        if "leaf_row" in witness:
            count = len(witness["leaf_row"])
            shapes |= {"leaf_row": (count,), "leaf_slot": (count,)}
            shapes |= dict.fromkeys(("leaf_held", "leaf_slopes", "leaf_tau"), (count, m))
    elif claim.norm == "l2":
        shapes = {"multiplier": start}
    elif claim.norm == "linf":
        shapes = {"multipliers": (*start, d)}
    else:
        p = witness["basis"].shape[1]
        pairs = max(1, claim.outputs * (claim.outputs - 1) // 2)
        shapes = {"basis": (pairs, p, d), "multipliers": (*start, p), "coordinates": (*start, p)}
    wrong = set(shapes) ^ set(witness) or {name for name in shapes if witness[name].shape != shapes[name]}
    return f"the witnesses {', '.join(sorted(wrong))} are missing, or have a wrong shape" if wrong else None


def _digest(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\0{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
