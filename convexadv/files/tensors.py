"""Tensors and a JSON header in one safetensors file: complete or absent when written, checked when read, and never run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from .._atomic import atomic_write
from .._checks import file_name
from .._safetensors import foreign, read_safetensors
from ..errors import FileFormatError, InputError, reason


class Format(NamedTuple):
    """A kind of file."""

    entry: str
    """Name of the header among the metadata."""
    newest: int
    """Newest version that this package reads, and the one that it writes."""
    version: str
    """Key of the version in the header."""
    what: str
    """What such a file is, for errors: "a ... file"."""


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], header: dict[str, Any], kind: Format
) -> None:
    """Write a file; the target is replaced only when the new one is complete.

    Parameters
    ----------
    path : str or path-like
        The target; its folder must exist.
    tensors : mapping from str to tensor
        Contiguous, on the CPU.
    header : dict
        Anything that JSON can hold; NumPy numbers and arrays become numbers and lists. Its version is added.
    kind : Format

    Raises
    ------
    InputError
        If the header is not JSON, or the target cannot be created.
    """
    try:
        text = json.dumps({kind.version: kind.newest, **header}, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"metadata must be JSON: {reason(error)}.") from error
    with atomic_write(path, "wb") as file:
        file.write(to_bytes(dict(tensors), {kind.entry: text}))


def read_tensors(path: str | os.PathLike[str], kind: Format) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of a file.

    Parameters
    ----------
    path : str or path-like
        The file.
    kind : Format

    Returns
    -------
    tensors : dict of str to tensor
    header : dict
        With dicts under "settings" and "metadata".

    Raises
    ------
    FileFormatError
        If the file is truncated, of another kind, or from a newer version.
    InputError
        If there is no such file, or it cannot be read.
    """
    name = file_name(path)
    tensors, header = read_safetensors(name, from_bytes, entry=kind.entry, what=kind.what)
    if header.get("format", kind.entry) != kind.entry:
        raise foreign(name, kind.what)
    _check_version(name, header, kind)
    if not all(isinstance(header.get(key), dict) for key in ("settings", "metadata")):
        raise FileFormatError(f"{name} has a damaged header: settings or metadata are missing.")
    return tensors, header


def _check_version(name: str, header: dict[str, Any], kind: Format) -> None:
    version = header.get(kind.version)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise FileFormatError(f"{name} has a damaged header: its format version is {version!r}.")
    if version > kind.newest:
        writer = f", written by convexadv {header['package_version']}" if "package_version" in header else ""
        raise FileFormatError(
            f"{name} has format version {version}{writer}; this version reads formats up to {kind.newest}: upgrade "
            "convexadv to open it."
        )


def _plain(value: Any) -> Any:
    """Give JSON the value of NumPy numbers and arrays, tensors and paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a {type(value).__name__} is none of numbers, text, lists and dicts, which are needed.")
