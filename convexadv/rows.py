"""The row-block protocol: the only way in which problems and solvers touch the data.

A data matrix is a sequence of blocks of rows. Every product with it is a sum over blocks in their order, so results do
not depend on how the rows are stored, and memory stays that of one block beside the data.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ._arrays import Array, is_tensor, namespace, to_numpy
from .errors import InputError
from .sources import is_read_later, sources_of

_BLOCK_BYTES = 32 << 20
_BLOCK_ROWS = 1 << 15
_PIECE = 1 << 19
"""Numbers of the largest weighted copy of rows."""


class Rows:
    """Rows of a matrix X (n, d) in blocks.

    Parameters
    ----------
    sources : sequence of (n_k, d) arrays or tensors
        Anything with ``shape``, ``dtype`` and slicing by rows: NumPy arrays, memory maps, torch tensors.
    convert : callable
        Applied to each block when it is read; makes it a float array of the kind wanted.
    constant : bool
        Whether every row ends with a constant 1 that the sources do not hold (an intercept).
    """

    def __init__(self, sources: Sequence[Any], convert: Callable[[Any], Array], constant: bool = False):
        self._sources = list(sources)
        self._convert = convert
        self.constant = constant
        self._largest_norm: float | None = None
        self.n = sum(int(source.shape[0]) for source in self._sources)
        self.d = int(self._sources[0].shape[1]) + constant
        self.block_rows = min(max(256, _BLOCK_BYTES // (8 * max(1, self.d))), _BLOCK_ROWS)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.n, self.d

    @staticmethod
    def of(X: Any) -> Rows:
        """Rows of X as float64 NumPy blocks; nothing is read before it is needed, and large arrays are not copied.

        Parameters
        ----------
        X : array, tensor, path, data set or source (n, d), or a list of such shards
            Arrays and tensors, memory maps among them; a path as :func:`convexadv.sources.open_rows` takes it; a torch
            ``Dataset`` with the row first in its items; a source of :mod:`convexadv.sources`; and any object with
            ``shape``, ``dtype`` and slicing by rows.

        Raises
        ------
        InputError
            If X is no matrix of real numbers, has no row or no column, or its shards have different widths.
        """
        sources = sources_of(X)
        widths = {source.shape[1] for source in sources}
        if len(widths) > 1:
            raise InputError(f"the shards of X have {sorted(widths)} columns; all need the same number.")
        rows = Rows(sources, _to_float64)
        if rows.n == 0 or rows.d == 0:
            raise InputError(f"X has shape ({rows.n}, {rows.d}); at least one row and one column are needed.")
        return rows

    def with_constant(self) -> Rows:
        """The same rows, each followed by a constant 1."""
        return Rows(self._sources, self._convert, constant=True)

    def whole(self) -> Array:
        """All rows as one array."""
        parts = [block for _, block in self.blocks()]
        return parts[0] if len(parts) == 1 else namespace(parts[0]).concatenate(parts)

    def to_torch(self, device: Any, dtype: Any) -> Rows:
        """The same rows as tensors; kept on the device when it is not the CPU, views where no conversion is needed."""
        import torch

        def convert(block: Any) -> Array:
            if not is_tensor(block):
                kind = np.float32 if block.dtype == np.float32 else np.float64
                block = np.ascontiguousarray(block, dtype=kind)
                block = torch.from_numpy(block if block.flags.writeable else block.copy())
            return block.detach().to(device=device, dtype=dtype)

        in_memory = [
            source
            for source in self._sources
            if is_tensor(source) or (isinstance(source, np.ndarray) and not isinstance(source, np.memmap))
        ]
        if torch.device(device).type != "cpu" and len(in_memory) == len(self._sources):
            return Rows([convert(source) for source in self._sources], lambda block: block, self.constant)
        return Rows(self._sources, convert, self.constant)

    def places(self) -> list[slice]:
        """Row numbers of every block, in order."""
        return [place for place, _, _ in self._layout()]

    def _layout(self) -> Iterator[tuple[slice, Any, slice]]:
        """Row numbers of every block, its source, and where in the source it lies."""
        start = 0
        for source in self._sources:
            size = int(source.shape[0])
            for first in range(0, size, self.block_rows):
                last = min(first + self.block_rows, size)
                yield slice(start + first, start + last), source, slice(first, last)
            start += size

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Pairs (slice of row numbers, block) in order."""
        for place, source, part in self._layout():
            yield place, self._loaded(source, part)

    def readers(self) -> list[tuple[slice, Callable[[], Array]]]:
        """Pairs (slice of row numbers, function that loads the block) in order; blocks may be loaded in any order."""
        return [(place, functools.partial(self._loaded, source, part)) for place, source, part in self._layout()]

    def _loaded(self, source: Any, part: slice) -> Array:
        block = self._convert(source[part])
        if self.constant:
            xp = namespace(block)
            block = xp.concatenate([block, xp.ones_like(block[:, :1])], 1)
        return block

    def largest_norm(self) -> float:
        """Largest Euclidean norm of a row, computed once."""
        if self._largest_norm is None:
            self._largest_norm = max(float((block * block).sum(1).max()) for _, block in self.blocks()) ** 0.5
        return self._largest_norm

    def take(self, index: Array) -> np.ndarray:
        """Some rows, by their numbers, as one NumPy array."""
        wanted = np.asarray(index)
        if wanted.dtype.kind not in "iu" or ((wanted < 0) | (wanted >= self.n)).any():
            raise IndexError(f"row numbers from 0 to {self.n - 1} are needed.")
        out = np.empty((len(wanted), self.d))
        for where, load in self.readers():
            here = (wanted >= where.start) & (wanted < where.stop)
            if here.any():
                part = load()[wanted[here] - where.start]
                out[here] = part.cpu().numpy() if is_tensor(part) else part
        return out

    def times(self, matrix: Array) -> Array:
        """X @ matrix, (n, k) for (d, k)."""
        xp = namespace(matrix)
        parts = [block @ matrix for _, block in self.blocks()]
        return parts[0] if len(parts) == 1 else xp.concatenate(parts)

    def transposed_times(self, matrix: Array) -> Array:
        """X' @ matrix, (d, k) for (n, k)."""
        total: Array = 0.0
        for where, block in self.blocks():
            total = total + block.T @ matrix[where]
        return total

    def weighted_gram(self, weights: Array) -> Array:
        """X' diag(weights) X, (d, d)."""
        total: Array = 0.0
        for where, block in self.blocks():
            for part in _pieces(block):
                rows, chosen = block[part], weights[where][part]
                used = chosen != 0
                if not bool(used.all()):
                    rows, chosen = rows[used], chosen[used]
                total = total + rows.T @ (rows * chosen[:, None])
        return 0.5 * (total + total.T)

    @property
    def held(self) -> int:
        """Bytes of the rows that lie in memory: those of arrays and tensors, not of files."""
        return sum(int(source.nbytes) for source in self._sources if is_tensor(source) or type(source) is np.ndarray)


def whole(X: Any) -> Any:
    """X itself, or where it names or holds rows that are read when they are asked for, all of them as one array (n, d).

    Parameters
    ----------
    X : anything
        A path, a source of this package, a PyTorch data set or a list of these is read; all else is returned.

    Returns
    -------
    float64 array (n, d), or X

    Raises
    ------
    InputError
        If what is to be read cannot be.
    """
    return Rows.of(X).whole() if is_read_later(X) else X


def _pieces(block: Array) -> list[slice]:
    """A block in pieces whose weighted copies stay small; a GPU takes it whole."""
    size = len(block) if is_tensor(block) and block.is_cuda else max(1, _PIECE // max(1, block.shape[1]))
    return [slice(start, start + size) for start in range(0, len(block), size)]


def _to_float64(block: Any) -> np.ndarray:
    return to_numpy(block, np.float64)


def check_finite(rows: Rows, largest: float = np.inf) -> None:
    """Raise InputError naming the first entry that is NaN, infinite, or of a magnitude above the largest."""
    for where, block in rows.blocks():
        if largest < np.inf and (abs(block) > largest).any() and np.isfinite(block).all():
            row, column = np.argwhere(abs(block) > largest)[0]
            raise InputError(
                f"X[{where.start + row}, {column}] is {block[row, column]:g}; magnitudes up to {largest:g} are needed, whose "
                "squares are numbers (scale the feature)."
            )
        bad = ~np.isfinite(block)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise InputError(
                f"X[{where.start + row}, {column}] is {block[row, column]}; every entry must be finite "
                "(fill or drop missing values first)."
            )
