"""Files of networks: safetensors with a versioned JSON header. Reading a file never runs code from it.

A file holds the tensors of a network by name and one metadata entry, ``convexadv``: a JSON object with the
keys ``format`` ("convexadv"), ``format_version``, ``package_version``, ``kind`` (a key of :data:`KINDS`),
``classes`` (null, or the type and the values of the labels), ``settings`` (what the kind needs beside its
tensors) and ``metadata`` (anything the caller wants to keep). The same network gives the same bytes.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .._checks import file_name
from .._version import __version__
from ..errors import FileFormatError, InputError, reason
from ..networks import GatedReLUNetwork, Network, PolynomialNetwork, ReLUNetwork
from .tensors import Format, read_tensors, write_tensors

NETWORK = Format("convexadv", 1, "format_version", "a model file of convexadv")
"""Files of networks, and those of compressed models."""
KINDS: dict[str, type[Network]] = {
    "PolynomialNetwork": PolynomialNetwork,
    "ReLUNetwork": ReLUNetwork,
    "GatedReLUNetwork": GatedReLUNetwork,
}
"""Networks that have files, by the name of their class."""

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
        raise InputError(f"save takes one of {', '.join(KINDS)}, got {type(network).__name__}.")
    tensors, settings = network._to_parts()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:  # what is written can be read
        KINDS[kind]._from_parts(tensors, settings, network.classes)
    except InputError as error:
        raise InputError(f"the network cannot be saved: {error}") from error
    header = {
        "format": NETWORK.entry,
        "package_version": __version__,
        "kind": kind,
        "classes": pack_classes(network.classes),
        "settings": settings,
        "metadata": {**network.metadata, **metadata},
    }
    write_tensors(path, tensors, header, NETWORK)


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
    name = file_name(path)
    tensors, header = read_tensors(name, NETWORK)
    kind = header.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise FileFormatError(f"{name} holds a {kind!r}; one of {', '.join(KINDS)} is needed.")
    if "classes" not in header:
        raise FileFormatError(f"{name} has a damaged header: its classes are missing.")
    try:
        network = KINDS[kind]._from_parts(tensors, header["settings"], unpack_classes(header["classes"]))
    except (InputError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise FileFormatError(f"{name} is not a valid {kind} file: {reason(error)}.") from error
    network.metadata = header["metadata"]
    return network


def pack_classes(classes: np.ndarray | None) -> dict[str, Any] | None:
    """Labels as their type and plain values, for JSON."""
    if classes is None:
        return None
    name = "str" if classes.dtype.kind == "U" else classes.dtype.name
    return {"type": name, "values": classes.tolist()}


def unpack_classes(packed: Any) -> np.ndarray | None:
    """Rebuild labels of a known type from plain values of that type."""
    if packed is None:
        return None
    if not isinstance(packed, dict) or str(packed.get("type")) not in _LABEL_TYPES:
        raise InputError("the type of its classes is unknown; text, numbers or truth values are needed.")
    kind, values = _LABEL_TYPES[packed["type"]], packed.get("values")
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise InputError(f"its classes must be of the type {packed['type']}.")
    return np.array(values, dtype=packed["type"])
