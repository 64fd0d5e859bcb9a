"""Safetensors files with a JSON header of the package among their metadata, read in one piece."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from ._checks import file_name
from .errors import FileFormatError, InputError, not_safetensors, reason, unreadable

HEADER = "convexadv"
"""Name of the header of networks and certificates."""


def read_safetensors(
    path: str | os.PathLike[str],
    load: Callable[[bytes], dict[str, Any]],
    noun: str = "model",
    entry: str = HEADER,
    what: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and header of a file.

    The file is opened once: a reader that opens it for the header and again for the tensors takes them from two files, if
    another one is put in its place meanwhile.

    Parameters
    ----------
    path : str or path-like
    load : callable
        From the bytes of a file to its tensors: ``safetensors.numpy.load`` or ``safetensors.torch.load``.
    noun : str
        What the file should be, in a word.
    entry : str
        Name of the header among the metadata.
    what : str, optional
        What it should be, for errors: "a ... file".

    Returns
    -------
    tensors : dict from str to array or tensor
    header : dict

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    FileFormatError
        If it is not a safetensors file with such a header.
    """
    name = file_name(path)
    content = _content(name, noun)
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        text = (json.loads(content[8 : 8 + length]).get("__metadata__") or {}).get(entry)
    except Exception as error:  # safetensors raises its own errors, and others
        raise not_safetensors(name, error) from error
    if text is None:
        raise foreign(name, what or f"a {noun} file of convexadv")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{name} has a damaged header: {reason(error)}.") from error
    if not isinstance(header, dict):
        raise foreign(name, what or f"a {noun} file of convexadv")
    return tensors, header


def foreign(name: str, what: str) -> FileFormatError:
    """The error of a safetensors file of something else."""
    return FileFormatError(f"{name} is a safetensors file, but not {what}.")


def _content(name: str, noun: str) -> bytes:
    if not os.path.isfile(name):
        raise InputError(f"there is no {noun} file {name}.")
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise unreadable(name, error) from error
