"""Rows in .npy and .safetensors files, and in folders and lists of these."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .._arrays import Array
from ..errors import FileFormatError, InputError, not_safetensors, reason, unreadable
from .matrices import REAL_TYPES, check_real
from .source import Shards, Source

SUFFIXES = (".npy", ".safetensors")
"""Files that :func:`open_rows` reads."""


class NpyRows(Source):
    """The matrix in a .npy file; see :func:`open_rows`."""

    def __init__(self, path: str):
        self.path = path
        array = read_npy(path, "c")
        if array.ndim != 2:
            raise InputError(f"{path} holds an array of shape {array.shape}; a matrix (n, d) is needed.")
        check_real(array.dtype, path)
        super().__init__(array.shape, array.dtype)

    def _read(self, first: int, stop: int) -> np.ndarray:
        # "c": tensors can share the memory of the block, and what is written to it never reaches the file
        array = read_npy(self.path, "c")
        if (array.shape, array.dtype) != (self.shape, self.dtype):
            raise _changed(self.path)
        return array[first:stop]

    def _name(self) -> str:
        return f"{self.path!r}, "


def _changed(path: str) -> InputError:
    return InputError(f"{path} has changed since it was opened; open it again.")


class SafetensorsRows(Source):
    """One tensor of a .safetensors file; see :func:`open_rows`."""

    def __init__(self, path: str, name: str | None = None):
        tensors = tensors_of(path)
        matrices = [key for key, (shape, _) in tensors.items() if len(shape) == 2]
        known = ", ".join(f"{key} {shape}" for key, (shape, _) in tensors.items()) or "nothing"
        if name is None:
            if len(matrices) != 1:
                count = "no" if not matrices else "several"
                needed = "one is needed" if not matrices else "choose one by its name"
                raise InputError(f"{path} holds {count} tensors of two dimensions (it has {known}); {needed}.")
            name = matrices[0]
        if name not in tensors:
            raise InputError(f"{path} has no tensor {name!r}; choose one of {known}.")
        shape, kind = tensors[name]
        if len(shape) != 2:
            raise InputError(f"the tensor {name!r} of {path} has shape {shape}; a matrix (n, d) is needed.")
        if kind not in REAL_TYPES:
            raise InputError(f"the tensor {name!r} of {path} has the type {kind}; real numbers are needed.")
        import torch

        self.path, self.name = path, name
        super().__init__((shape[0], shape[1]), getattr(torch, REAL_TYPES[kind]))

    def _read(self, first: int, stop: int) -> Array:
        import torch

        if first == stop:
            return torch.empty((0, self.shape[1]), dtype=self.dtype)
        with _Safetensors(self.path) as file:
            part = file.get_slice(self.name)
            if tuple(part.get_shape()) == self.shape:
                block = part[first:stop]
                if block.dtype == self.dtype:
                    return block
        raise _changed(self.path)

    def _name(self) -> str:
        return f"{self.path!r}, {self.name!r}, "


def open_rows(path: Any, name: str | None = None) -> Source:
    """Open a matrix (n, d) in files without reading it.

    Parameters
    ----------
    path : path or sequence of paths
        A ``.npy`` or ``.safetensors`` file. A folder: all such files in it, one after the other, sorted by name (other
        files are left alone). A sequence of paths: these files, in their order.
    name : str, optional
        The tensor of a ``.safetensors`` file, by default the only one with two dimensions.

    Returns
    -------
    Source
        With ``shape`` (n, d), ``dtype`` (float16, bfloat16, float32, float64, or integers, as stored) and
        ``source[a:b]``, which reads these rows and no others. Problems take it as X.

    Raises
    ------
    InputError
        If there is no such file or tensor, it is no matrix of real numbers, the widths of shards differ, or the order
        of the files of a folder depends on whether the numbers in their names are read as text.
    FileFormatError
        If a file is damaged.

    Examples
    --------
    >>> import numpy as np
    >>> from convexadv.sources import open_rows
    >>> np.save("rows.npy", np.arange(12.0).reshape(4, 3))
    >>> X = open_rows("rows.npy")
    >>> X.shape, X[1:2].tolist()
    ((4, 3), [[3.0, 4.0, 5.0]])
    """
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        if not os.path.isdir(text):
            return _open_file(text, name)
        return Shards([_open_file(file, name) for file in files_of(text)], f"the files of {text}")
    if not isinstance(path, Sequence) or not path or not all(isinstance(each, str | os.PathLike) for each in path):
        raise InputError(f"open_rows takes a path, or a sequence of paths that is not empty; got {path!r:.80}.")
    return Shards([open_rows(each, name) for each in path], "the files")


def files_of(folder: str) -> list[str]:
    """The files of a folder that :func:`open_rows` reads, in order.

    Raises
    ------
    InputError
        If there are none, or their order by text is not that by number.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIXES) and not name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error
    if not names:
        raise InputError(f"the folder {folder} holds no {' or '.join(SUFFIXES)} files; at least one is needed.")
    for before, after in zip(names, sorted(names, key=_by_number), strict=True):
        if before != after:
            raise InputError(
                f"the order of the files of {folder} is not clear: {before} or {after} may come first; fill up the numbers "
                "with zeros, or give a list of paths in the order wanted."
            )
    return [os.path.join(folder, name) for name in names]


def _open_file(path: str, name: str | None) -> Source:
    if not os.path.exists(path):
        raise InputError(f"there is no file or folder {path}.")
    suffix = os.path.splitext(path)[1]
    if suffix == ".safetensors":
        return SafetensorsRows(os.path.abspath(path), name)
    if suffix != ".npy":
        raise InputError(f"{path} is of no known kind; a {' or '.join(SUFFIXES)} file is needed.")
    if name is not None:
        raise InputError(f"the tensor {name!r} was asked for, but {path} holds one array without a name.")
    return NpyRows(os.path.abspath(path))


def _by_number(name: str) -> list[Any]:
    """Key that sorts the numbers in a name by their values."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]


def read_npy(path: str, mmap_mode: Literal["c"] | None = None) -> np.ndarray:
    """The array in a .npy file, of any type but objects; with ``mmap_mode`` as a memory map, see :func:`numpy.load`.

    Raises
    ------
    InputError
        If the file cannot be read.
    FileFormatError
        If it is damaged, or holds something else.
    """
    try:
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # ValueError, EOFError, and whatever the parser of the header raises
        raise FileFormatError(f"{path} is truncated or no .npy file of plain values ({reason(error)}).") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise FileFormatError(f"{path} is an archive of several arrays; a .npy file with one is needed.")
    return array


def read_tensor(path: str, name: str) -> Any:
    """One tensor of a .safetensors file, whole; it raises what :func:`tensors_of` does."""
    with _Safetensors(path) as file:
        return file.get_tensor(name)


def tensors_of(path: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type (in the words of the format: "F32", "BF16" ...) of the tensors of a .safetensors file, by name.

    Raises
    ------
    InputError
        If the file cannot be read.
    FileFormatError
        If it is damaged.
    """
    with _Safetensors(path) as file:
        parts = {key: file.get_slice(key) for key in sorted(file.keys())}
        return {key: (tuple(part.get_shape()), part.get_dtype()) for key, part in parts.items()}


class _Safetensors:
    """A .safetensors file, open for a moment; what goes wrong with the file becomes a sentence."""

    def __init__(self, path: str):
        self._path = path

    def __enter__(self) -> Any:
        from safetensors import safe_open

        try:
            with open(self._path, "rb"):
                pass
        except OSError as error:
            raise unreadable(self._path, error) from error
        try:
            self._file = safe_open(self._path, framework="pt")
            return self._file.__enter__()
        except Exception as error:  # safetensors raises its own errors, OSError, ValueError, RuntimeError
            raise not_safetensors(self._path, error) from error

    def __exit__(self, *reason: Any) -> None:
        self._file.__exit__(*reason)
