"""Rows in the blocks of a sequence, or of a function that makes them."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._arrays import Array
from ..errors import InputError
from .matrices import as_matrix
from .source import Shards, Source


class BlockRows(Shards):
    """The blocks of a sequence, one after the other, each loaded when it is asked for.

    One block at most is kept in memory.

    Parameters
    ----------
    blocks : sequence or callable
        ``blocks[k]`` or ``blocks(k)`` is block k: an array or tensor (n_k, d). The same k gives the same rows every time.
    rows : sequence of int, optional
        The numbers n_k of rows, needed for a callable. Without them every block is loaded once to count its rows.

    Raises
    ------
    InputError
        If ``blocks`` is neither of the two, there are none, or a block is no matrix of real numbers, or not of the
        size that was promised (also later, when the block is read).

    Examples
    --------
    >>> import numpy as np
    >>> from convexadv.sources import BlockRows
    >>> X = BlockRows(lambda k: np.full((2, 3), k), rows=[2, 2])
    >>> X.shape, X[1:3]
    ((4, 3), array([[0, 0, 0],
           [1, 1, 1]]))
    """

    def __init__(self, blocks: Sequence[Any] | Callable[[int], Any], rows: Sequence[int] | None = None):
        loader = _Loader(blocks, None if rows is None else [_count(number) for number in rows])
        super().__init__([_Block(loader, number) for number in range(loader.count)], "the blocks")


class _Loader:
    """Block k out of a sequence or a callable; the last one is kept."""

    def __init__(self, blocks: Any, rows: list[int] | None):
        sequence = (
            hasattr(blocks, "__getitem__") and hasattr(blocks, "__len__") and not isinstance(blocks, Mapping | str)
        )
        if not sequence and not callable(blocks):
            raise InputError(
                f"blocks is a {type(blocks).__name__}; a sequence of blocks, or a callable k -> block with rows=, is "
                "needed, since every block is read many times."
            )
        if rows is None and not sequence:
            raise InputError("rows is missing: a callable needs the number of rows of every block.")
        self.count: int = len(blocks) if sequence else len(rows or ())
        if rows is not None and len(rows) != self.count:
            raise InputError(f"rows has {len(rows)} entries for {self.count} blocks; one a block is needed.")
        if not self.count:
            raise InputError("blocks is empty; at least one block is needed.")
        self._get: Callable[[int], Any] = blocks.__getitem__ if sequence else blocks
        self._rows = rows
        self._last: tuple[int, Any] | None = None
        self._lock = threading.Lock()

    def load(self, number: int) -> Any:
        """Block ``number``, as an array or tensor of two dimensions."""
        with self._lock:
            if self._last is None or self._last[0] != number:
                self._last = None  # the old block goes before the new one comes
                self._last = number, as_matrix(self._get(number), f"block {number}")
            return self._last[1]

    def layout(self, number: int) -> tuple[tuple[int, int], Any]:
        """Shape and type of a block; of all but the first one the promised ones, where there are such."""
        block = self.load(0 if self._rows is not None else number)
        count = block.shape[0] if self._rows is None else self._rows[number]
        return (int(count), int(block.shape[1])), block.dtype

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


class _Block(Source):
    """One block of a sequence."""

    def __init__(self, loader: _Loader, number: int):
        self._loader, self._number = loader, number
        super().__init__(*loader.layout(number))
        if number == 0:
            self._read(0, 0)  # a wrong promise is seen early

    def _read(self, first: int, stop: int) -> Array:
        block = self._loader.load(self._number)
        if tuple(block.shape) != self.shape:
            raise InputError(f"block {self._number} has shape {tuple(block.shape)}; {self.shape} is needed.")
        return block[first:stop]


def _count(number: Any) -> int:
    try:
        count = operator.index(number)
    except TypeError:
        count = -1
    if count < 0:
        raise InputError(f"rows contains {number!r}; the number of rows of every block is needed.")
    return count
