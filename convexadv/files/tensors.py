"""Tensors and a JSON header in one safetensors file: complete or absent when written, checked when read, and never run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes

from .._atomic import atomic_write
from .._checks import file_name
from ..errors import FileFormatError, InputError, not_safetensors, reason, unreadable


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
    """Tensors, which are views of the file, and header of a file.

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
    tensors, text = _read(name, kind)
    return tensors, _parsed(name, text, kind)


def _read(name: str, kind: Format) -> tuple[dict[str, torch.Tensor], str]:
    if not os.path.isfile(name):
        raise InputError(f"there is no model file {name}.")
    try:
        with open(name, "rb"):
            pass
    except OSError as error:
        raise unreadable(name, error) from error
    try:
        with safe_open(name, framework="pt") as file:
            text = (file.metadata() or {}).get(kind.entry)
            tensors = {} if text is None else {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises its own errors, OSError, ValueError, RuntimeError
        raise not_safetensors(name, error) from error
    if text is None:
        raise _foreign(name, kind)
    return tensors, text


def _parsed(name: str, text: str, kind: Format) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{name} has a damaged header: {reason(error)}.") from error
    if not isinstance(header, dict) or header.get("format", kind.entry) != kind.entry:
        raise _foreign(name, kind)
    version = header.get(kind.version)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise FileFormatError(f"{name} has a damaged header: its format version is {version!r}.")
    if version > kind.newest:
        writer = f", written by convexadv {header['package_version']}" if "package_version" in header else ""
        raise FileFormatError(
            f"{name} has format version {version}{writer}; this version reads formats up to {kind.newest}: upgrade "
            "convexadv to open it."
        )
    if not all(isinstance(header.get(key), dict) for key in ("settings", "metadata")):
        raise FileFormatError(f"{name} has a damaged header: settings or metadata are missing.")
    return header


def _foreign(name: str, kind: Format) -> FileFormatError:
    return FileFormatError(f"{name} is a safetensors file, but not {kind.what}.")


def _plain(value: Any) -> Any:
    """Give JSON the value of NumPy numbers and arrays, tensors and paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a {type(value).__name__} is none of numbers, text, lists and dicts, which are needed.")
