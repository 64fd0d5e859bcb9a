"""Model files: safetensors with a versioned JSON header. Reading a file never runs code from it.

A file holds the tensors of a network by name and one metadata entry, ``convexadv``: a JSON object with the
keys ``format`` ("convexadv"), ``format_version``, ``package_version``, ``kind`` (a key of :data:`KINDS`),
``classes`` (null, or the type and the values of the labels), ``settings`` (what the kind needs beside its
tensors) and ``metadata`` (anything the caller wants to keep). The same network gives the same bytes.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes

from ._atomic import atomic_write
from ._version import __version__
from .errors import FileFormatError, InputError
from .networks import GatedReLUNetwork, Network, PolynomialNetwork, ReLUNetwork

FORMAT_VERSION = 1
KINDS: dict[str, type[Network]] = {
    "PolynomialNetwork": PolynomialNetwork,
    "ReLUNetwork": ReLUNetwork,
    "GatedReLUNetwork": GatedReLUNetwork,
}
"""Networks that have files, by the name of their class."""

_HEADER = "convexadv"
_LABEL_TYPES = {"str": str, "bool": bool} | {
    f"{kind}{bits}": (int if "int" in kind else float)
    for kind, sizes in (("int", (8, 16, 32, 64)), ("uint", (8, 16, 32, 64)), ("float", (16, 32, 64)))
    for bits in sizes
}


def save(network: Network, path: str | os.PathLike[str], /, **metadata: Any) -> None:
    """Write a network to a safetensors file; the target is replaced only when the file is complete.

    Parameters
    ----------
    network : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
        What to save.
    path : str or path-like
        The target; its folder must exist.
    **metadata
        Anything that JSON can hold (NumPy numbers and arrays become numbers and lists), e.g. the settings of
        the training. It is added to ``network.metadata`` in the file, and comes back as that.

    Raises
    ------
    InputError
        If the network has no file format, its weights are not valid (not finite, or neurons of a polynomial
        network off the unit sphere by more than 1e-6), the metadata is not JSON, or the target cannot be created.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0], [-1.0]], [1.0, 1.0])
    >>> ca.save(network, "network.safetensors", trained_on="nothing")
    >>> ca.load("network.safetensors").metadata["trained_on"]
    'nothing'
    """
    kind = type(network).__name__
    if KINDS.get(kind) is not type(network):
        raise InputError(f"save writes {', '.join(KINDS)}, got {type(network).__name__}.")
    tensors, settings = network._to_parts()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:  # what is written can be read
        KINDS[kind]._from_parts(tensors, settings, network.classes)
    except InputError as error:
        raise InputError(f"This network cannot be saved: {error}") from error
    header = {
        "format": _HEADER,
        "format_version": FORMAT_VERSION,
        "package_version": __version__,
        "kind": kind,
        "classes": _pack_classes(network.classes),
        "settings": settings,
        "metadata": {**network.metadata, **metadata},
    }
    try:
        text = json.dumps(header, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"metadata must be JSON (numbers, text, lists, dicts): {error}.") from error
    with atomic_write(path, "wb") as file:
        file.write(to_bytes(tensors, {_HEADER: text}))


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network that :func:`save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
        On the CPU, with ``metadata`` as it was saved.

    Raises
    ------
    FileFormatError
        If the file is truncated, not a model file of this package, of an unknown kind, from a newer version,
        or its weights are not valid.
    InputError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0], [-1.0]], [1.0, 1.0])
    >>> ca.save(network, "network.safetensors")
    >>> again = ca.load("network.safetensors")
    >>> X = np.array([[-3.0], [2.0]])
    >>> np.array_equal(again.scores(X), network.scores(X))
    True
    """
    name = os.fspath(path)
    tensors, text = _read(name)
    header = _parse(name, text)
    kind = KINDS[header["kind"]]
    try:
        network = kind._from_parts(tensors, header["settings"], _unpack_classes(header["classes"]))
    except (InputError, TypeError, KeyError, AttributeError, OverflowError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise FileFormatError(f"{name} is not a valid {header['kind']} file: {reason}.") from error
    network.metadata = header["metadata"]
    return network


def _read(name: str) -> tuple[dict[str, torch.Tensor], str]:
    """Read the tensors, which are views of the file, and the text of the header."""
    if not os.path.isfile(name):
        raise InputError(f"There is no model file {name}.")
    try:
        with open(name, "rb"):
            pass
    except OSError as error:
        raise InputError(f"Cannot read {name}: {error.strerror or error}.") from error
    try:
        with safe_open(name, framework="pt") as file:
            text = (file.metadata() or {}).get(_HEADER)
            if text is None:
                raise FileFormatError(f"{name} is a safetensors file, but not a model file of convexadv.")
            return {key: file.get_tensor(key) for key in file.keys()}, text  # noqa: SIM118
    except FileFormatError:
        raise
    except Exception as error:  # safetensors raises its own errors, OSError, ValueError, RuntimeError
        raise FileFormatError(f"{name} is truncated or not a safetensors file: {error}.") from error


def _parse(name: str, text: str) -> dict[str, Any]:
    """Check the header of a file."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{name} has a damaged header: {error}.") from error
    if not isinstance(header, dict) or header.get("format") != _HEADER:
        raise FileFormatError(f"{name} is a safetensors file, but not a model file of convexadv.")
    version = header.get("format_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise FileFormatError(f"{name} has a damaged header: its format version is {version!r}.")
    if version > FORMAT_VERSION:
        raise FileFormatError(
            f"{name} has format version {version}, written by convexadv {header.get('package_version')}; "
            f"this version reads formats up to {FORMAT_VERSION}: upgrade convexadv to open it."
        )
    if not isinstance(header.get("kind"), str) or header["kind"] not in KINDS:
        kinds = ", ".join(KINDS)
        raise FileFormatError(f"{name} holds a {header.get('kind')!r}; this version reads {kinds}.")
    if not all(isinstance(header.get(key), dict) for key in ("settings", "metadata")) or "classes" not in header:
        raise FileFormatError(f"{name} has a damaged header: settings, metadata or classes are missing.")
    return header


def _pack_classes(classes: np.ndarray | None) -> dict[str, Any] | None:
    if classes is None:
        return None
    name = "str" if classes.dtype.kind == "U" else classes.dtype.name
    return {"type": name, "values": classes.tolist()}


def _unpack_classes(packed: Any) -> np.ndarray | None:
    """Rebuild labels of a known type from plain values of that type."""
    if packed is None:
        return None
    if not isinstance(packed, dict) or str(packed.get("type")) not in _LABEL_TYPES:
        raise InputError("the type of its classes is unknown")
    kind, values = _LABEL_TYPES[packed["type"]], packed.get("values")
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise InputError(f"its classes are not of the type {packed['type']}")
    return np.array(values, dtype=packed["type"])


def _plain(value: Any) -> Any:
    """Give JSON the value of NumPy numbers and arrays, tensors and paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is not a JSON type")
