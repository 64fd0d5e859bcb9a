"""Claims as bytes and back: safetensors with one JSON header, and a digest of both."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from .._checks import file_name
from .._safetensors import HEADER, foreign, read_safetensors
from ..errors import FileFormatError, reason
from ._misfits import misfit
from .claim import WEIGHTS, Claim, digest_of

FORMAT, FORMAT_VERSION = "convexadv-certificate", 1


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
    full["sha256"] = digest_of(json.dumps(full, sort_keys=True), arrays)
    return to_bytes(arrays, {HEADER: json.dumps(full, sort_keys=True)})


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
    tensors, header = read_safetensors(name, from_bytes, "certificate")
    if header.get("format") != FORMAT:
        raise foreign(name, "a certificate file of convexadv")
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise FileFormatError(f"{name} has format version {version!r}; {FORMAT_VERSION} is needed.")
    rest = {key: value for key, value in header.items() if key != "sha256"}
    if header.get("sha256") != digest_of(json.dumps(rest, sort_keys=True), tensors):
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
        problem = misfit(claim)
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
