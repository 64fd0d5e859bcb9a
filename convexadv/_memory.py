"""Give memory that is free back to the system: glibc keeps what threads freed, up to the size of the data again."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


def release() -> None:
    """Return free pages of all arenas to the system; does nothing where the C library has no ``malloc_trim``."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return None
