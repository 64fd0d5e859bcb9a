"""What every source of rows can do, and sources one after the other."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._arrays import Array, is_tensor, to_numpy
from ..errors import InputError

READ_ROWS = 4096
"""Rows that are read at a time by what passes over a matrix once. Fingerprints and scalings of data depend on it."""


class Source:
    """Rows of a matrix (n, d) that are read when they are asked for. Not to be used by itself.

    A subclass defines :meth:`_read`. ``numpy.asarray(source)`` reads the whole matrix.
    """

    ndim = 2

    def __init__(self, shape: tuple[int, int], dtype: Any):
        self.shape = shape
        self.dtype = dtype

    @property
    def parts(self) -> list[Source]:
        """The sources that this one consists of, in order; every read stays within one of them."""
        return [self]

    def _read(self, first: int, stop: int) -> Array:
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise InputError(
                f"a source is read by slices of rows; source[{rows!r}] was given, and source[a:b] is needed."
            )
        first, stop, _ = rows.indices(self.shape[0])
        return self._read(first, max(first, stop))

    __iter__ = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a source cannot be an array without being read; leave copy=False out.")
        kind = self.dtype if isinstance(self.dtype, np.dtype) else to_numpy(self[:0]).dtype
        out = np.empty(self.shape, kind if dtype is None else dtype)
        for first in range(0, len(self), READ_ROWS):
            out[first : first + READ_ROWS] = to_numpy(self[first : first + READ_ROWS])
        return out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name()}{self.shape[0]} rows, {self.shape[1]} columns, {self.dtype})"

    def _name(self) -> str:
        return ""


class Shards(Source):
    """Sources one after the other."""

    def __init__(self, parts: Iterable[Any], name: str = "the shards"):
        self._parts = list(parts)
        widths = {int(part.shape[1]) for part in self._parts}
        if len(widths) != 1:
            raise InputError(f"{name} have {sorted(widths)} columns; all need the same number.")
        dtypes = {part.dtype for part in self._parts}
        rows = sum(int(part.shape[0]) for part in self._parts)
        super().__init__((rows, widths.pop()), dtypes.pop() if len(dtypes) == 1 else np.dtype(np.float64))

    @property
    def parts(self) -> list[Source]:
        """The shards."""
        return [piece for part in self._parts for piece in part.parts]

    def _read(self, first: int, stop: int) -> Array:
        pieces, start = [], 0
        for part in self._parts:
            low, high = max(first - start, 0), min(stop - start, part.shape[0])
            if low < high:
                pieces.append(part[low:high])
            start += part.shape[0]
        if not pieces:
            return self._parts[0][:0]
        if len(pieces) == 1:
            return pieces[0]
        if all(is_tensor(piece) and piece.dtype == self.dtype for piece in pieces):
            return sys.modules["torch"].cat(pieces)
        return np.concatenate([to_numpy(piece, self.dtype) for piece in pieces])

    def _name(self) -> str:
        return f"{len(self._parts)} parts, "
