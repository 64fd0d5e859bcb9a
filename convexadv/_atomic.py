"""Files that are complete or absent: written beside the target, then renamed over it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from ._checks import file_name
from ._json import to_json
from .errors import InputError, reason, unwritable


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w", newline: str | None = None) -> Iterator[IO[Any]]:
    """Open ``path`` for writing so that it changes only if the block ends without an exception.

    The data go to a temporary file in the same folder, which is flushed to disk and renamed over the target
    at the end of the block. Any exception inside it (a full disk, an interrupt) removes the temporary file
    and leaves an existing target as it was. A new file gets the permissions that the umask allows, a
    replaced one keeps its own, a symbolic link keeps pointing where it did. What is not a regular file
    (``/dev/stdout``) is written in place.

    Parameters
    ----------
    path : str or path-like
        The target. Its folder must exist.
    mode : "w" or "wb"
        Text (UTF-8) or bytes.
    newline : str or None
        As in :func:`open`, for text.

    Yields
    ------
    file object
        The open temporary file.

    Raises
    ------
    InputError
        If ``mode`` is another one, or the target cannot be created: no such folder, a folder itself, no
        permission.
    """
    if mode not in ("w", "wb"):
        raise InputError(f'mode must be "w" or "wb", got {mode!r}.')
    target = os.path.realpath(file_name(path))
    text = {"encoding": "utf-8", "newline": newline} if mode == "w" else {}
    if os.path.isdir(target):
        raise unwritable(path, "it is a folder, and the name of a file is needed")
    if os.path.exists(target) and not os.path.isfile(target):
        with _named(path), _open(target, path, None, mode, text) as file:
            yield file
        return
    # The name does not contain the target's, which may be as long as the file system allows.
    temporary = os.path.join(os.path.dirname(target), f".convexadv-{secrets.token_hex(8)}.tmp")
    try:
        with _named(path), _open(temporary, path, _exclusive, mode, text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say which file it is where the system says only that its disk is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(path)
        raise


def write_json(path: str | os.PathLike[str], document: Any) -> None:
    """Write a document as indented JSON, complete or not at all; numbers that are not finite become null."""
    with atomic_write(path) as file:
        file.write(to_json(document) + "\n")


def _exclusive(name: str, flags: int) -> int:
    """Create a file that must not exist yet, with the permissions of the umask."""
    return os.open(name, flags | os.O_EXCL, 0o666)


def _open(name: str, path: str | os.PathLike[str], opener: Any, mode: str, text: dict[str, Any]) -> IO[Any]:
    try:
        return open(name, mode, opener=opener, **text)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise unwritable(path, "its folder does not exist" if missing else reason(error)) from error
