"""Finding the files of published data sets and reading them, compressed or not."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, InputError, reason, unreadable

Folder = str | os.PathLike[str] | None
"""A folder that the caller names; None stands for that of the environment variable."""

FOLDER_VARIABLE = "CONVEXADV_DATA"
_SUFFIXES = ("", ".gz", ".xz")


@dataclass(frozen=True)
class Published:
    """The files of a data set as its publisher names them.

    Attributes
    ----------
    name : str
        Name of the data set.
    places : tuple of str
        Subfolders that are searched, in this order, before the folder itself.
    site : str
        Where the files can be got, in words.
    """

    name: str
    places: tuple[str, ...]
    site: str

    def find(self, files: tuple[str, ...], folder: Folder) -> list[Path | None]:
        """Path of each file, None for one that is not there."""
        root = _root(folder)
        if root is None:
            return [None] * len(files)
        places = [root / place for place in (*self.places, "")]
        return [_first_file(places, file) for file in files]

    def locate(self, files: tuple[str, ...], folder: Folder) -> list[Path]:
        """Path of each file.

        Raises
        ------
        InputError
            If a file is missing; the sentence names it and where it can be got.
        """
        paths = self.find(files, folder)
        absent = [file for file, path in zip(files, paths, strict=True) if path is None]
        if absent:
            root = _root(folder)
            where = f"not found in {root}" if root is not None else "and no folder was given"
            raise InputError(
                f"data set {self.name!r} needs {', '.join(absent)} (plain, .gz or .xz), {where}: get it from "
                f"{self.site} and give the folder that holds it (or its subfolder {self.places[0]}) as "
                f"folder=... or in the environment variable {FOLDER_VARIABLE}."
            )
        return [path for path in paths if path is not None]


def _root(folder: Folder) -> Path | None:
    source = "folder"
    if folder is None:
        folder = os.environ.get(FOLDER_VARIABLE) or None
        source = f"environment variable {FOLDER_VARIABLE}"
    if folder is None:
        return None
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{source} names {root}, which is no folder; the folder of the data is needed.")
    return root


def _first_file(places: list[Path], file: str) -> Path | None:
    candidates = (place / (file + suffix) for place in places for suffix in _SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def read_bytes(path: Path) -> bytes:
    """Content of a file, unpacked when its name ends in ``.gz`` or ``.xz``.

    Raises
    ------
    FileFormatError
        If the file is truncated or not compressed as its name says.
    InputError
        If there is no such file or it cannot be opened.
    """
    opener, broken = _opener(path)
    try:
        with opener(path, "rb") as stream:
            return stream.read()
    except broken as error:
        raise FileFormatError(f"{path} is truncated or not a {path.suffix} file ({reason(error)}).") from error
    except OSError as error:
        raise unreadable(path, error) from error


def read_text(path: Path) -> str:
    """Content of a UTF-8 text file, unpacked as by `read_bytes`, without a byte order mark."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is no text file in UTF-8 (byte {error.start}); one is needed.") from error


def _opener(path: Path) -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
    if path.suffix == ".gz":
        return gzip.open, (EOFError, zlib.error, gzip.BadGzipFile)
    if path.suffix == ".xz":
        try:
            import lzma  # some builds of Python leave it out; only .xz files need it
        except ImportError as error:
            raise InputError(
                f"{path} cannot be unpacked without Python's lzma module; leave it unpacked in the folder."
            ) from error
        return lzma.open, (EOFError, lzma.LZMAError)
    return open, ()
