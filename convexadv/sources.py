"""Where rows come from when X does not fit into memory: files, shards, blocks and PyTorch data sets.

A source is anything with ``shape`` (n, d), ``dtype`` and slicing by rows: ``source[a:b]`` reads these rows and no others.
The sources of this module keep nothing open between reads, so they can be pickled, and be read by several threads and by
forked processes; what a file holds is mapped into memory for one read only, which keeps the resident memory that of a
block however often a file is read. :class:`convexadv.rows.Rows` takes them wherever it takes an array.
"""

from __future__ import annotations

import operator
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ._arrays import Array, is_tensor, to_numpy
from .errors import FileFormatError, InputError

SUFFIXES = (".npy", ".safetensors")
"""Files that :func:`open_rows` reads."""

_TENSOR_TYPES = {
    **{"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "BOOL": "bool"},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
_READ_ROWS = 4096


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
            raise InputError(f"a source is read by slices of rows, source[a:b]; got source[{rows!r}].")
        first, stop, _ = rows.indices(self.shape[0])
        return self._read(first, max(first, stop))

    __iter__ = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a source cannot be an array without being read; copy=False is not possible.")
        kind = self.dtype if isinstance(self.dtype, np.dtype) else to_numpy(self[:0]).dtype
        out = np.empty(self.shape, kind if dtype is None else dtype)
        for first in range(0, len(self), _READ_ROWS):
            out[first : first + _READ_ROWS] = to_numpy(self[first : first + _READ_ROWS])
        return out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name()}{self.shape[0]} rows, {self.shape[1]} columns, {self.dtype})"

    def _name(self) -> str:
        return ""


class NpyRows(Source):
    """The matrix in a .npy file; see :func:`open_rows`."""

    def __init__(self, path: str):
        self.path = path
        array = self._open()
        if array.ndim != 2:
            raise InputError(f"{path} holds an array of shape {array.shape}; a matrix (n, d) is needed.")
        check_real(array.dtype, path)
        super().__init__(array.shape, array.dtype)

    def _open(self) -> np.ndarray:
        try:  # "c": tensors can share the memory of the block, and what is written to it never reaches the file
            return np.load(self.path, mmap_mode="c", allow_pickle=False)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        except (ValueError, EOFError, SyntaxError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise FileFormatError(f"{self.path} is truncated or no .npy file of plain numbers ({reason}).") from error

    def _read(self, first: int, stop: int) -> np.ndarray:
        array = self._open()
        if (array.shape, array.dtype) != (self.shape, self.dtype):
            raise InputError(f"{self.path} has changed since it was opened; open it again.")
        return array[first:stop]

    def _name(self) -> str:
        return f"{self.path!r}, "


class SafetensorsRows(Source):
    """One tensor of a .safetensors file; see :func:`open_rows`."""

    def __init__(self, path: str, name: str | None = None):
        tensors = tensors_of(path)
        matrices = [key for key, (shape, _) in tensors.items() if len(shape) == 2]
        known = ", ".join(f"{key} {shape}" for key, (shape, _) in tensors.items()) or "nothing"
        if name is None:
            if len(matrices) != 1:
                count = "no" if not matrices else "several"
                hint = "" if not matrices else ": choose one by its name"
                raise InputError(f"{path} holds {count} tensors of two dimensions (it has {known}){hint}.")
            name = matrices[0]
        if name not in tensors:
            raise InputError(f"{path} has no tensor {name!r}; it has {known}.")
        shape, kind = tensors[name]
        if len(shape) != 2:
            raise InputError(f"the tensor {name!r} of {path} has shape {shape}; a matrix (n, d) is needed.")
        if kind not in _TENSOR_TYPES:
            raise InputError(f"the tensor {name!r} of {path} has the type {kind}; real numbers are needed.")
        import torch

        self.path, self.name = path, name
        super().__init__((shape[0], shape[1]), getattr(torch, _TENSOR_TYPES[kind]))

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
        raise InputError(f"{self.path} has changed since it was opened; open it again.")

    def _name(self) -> str:
        return f"{self.path!r}, {self.name!r}, "


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


class DatasetRows(Source):
    """The rows in the items of a map-style PyTorch ``Dataset``; rows of any shape are flattened.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset or similar
        With ``__len__`` and ``__getitem__``; ``__getitems__`` (several items at once) is used where it exists. The same
        number gives the same item every time: no random augmentation. Items are read under a lock.
    feature : int or str
        Where the row is in an item that is a tuple or a mapping; not used for items that are rows themselves.
    dtype : NumPy or torch dtype, optional
        Type of the rows, that of the first item by default.

    Raises
    ------
    InputError
        If the data set has no length or no items, an item has no such part or is not a row of real numbers, or its size
        or type differ from those of the first (also later, when the item is read).

    Examples
    --------
    >>> import torch
    >>> from convexadv.sources import DatasetRows
    >>> pictures = torch.utils.data.TensorDataset(torch.ones(5, 2, 3), torch.tensor([0, 1, 0, 1, 0]))
    >>> X = DatasetRows(pictures)
    >>> X.shape, X[3:4]
    ((5, 6), tensor([[1., 1., 1., 1., 1., 1.]]))
    """

    def __init__(self, dataset: Any, feature: Any = 0, dtype: Any = None):
        try:
            count = len(dataset)
        except TypeError:
            raise InputError(
                f"a {type(dataset).__name__} has no length; a data set with __len__ and __getitem__ is needed."
            ) from None
        if not hasattr(dataset, "__getitem__"):
            raise InputError(
                f"the items of a {type(dataset).__name__} cannot be read by number; a data set with __len__ and "
                "__getitem__ is needed (of a DataLoader: loader.dataset)."
            )
        if not count:
            raise InputError(f"the {type(dataset).__name__} has no items; at least one row is needed.")
        self._dataset, self._feature, self._exact = dataset, feature, dtype is None
        self._lock = threading.Lock()
        first = self._part(dataset[0], 0)
        super().__init__((count, int(np.prod(first.shape))), first.dtype if dtype is None else _dtype(dtype))
        check_real(self.dtype, "the data set")
        self._row(first, 0)

    def _part(self, item: Any, number: int) -> Any:
        """The row in an item, an array or a tensor of any shape."""
        if isinstance(item, tuple | Mapping) or (isinstance(item, list) and not _numbers(item)):
            try:
                item = item[self._feature]
            except (KeyError, IndexError, TypeError):
                has = f"the keys {', '.join(map(str, item))}" if isinstance(item, Mapping) else f"{len(item)} parts"
                raise InputError(
                    f"item {number} of the data set has no part {self._feature!r} (it has {has}); say by feature=... "
                    "which part is the row."
                ) from None
        if is_tensor(item) or isinstance(item, np.ndarray | np.generic):
            return item
        try:
            return np.asarray(item, np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"item {number} of the data set holds a {type(item).__name__}, not a row of real numbers."
            ) from None

    def _row(self, part: Any, number: int) -> Any:
        """The row, flat, in the type of the source."""
        size = int(np.prod(part.shape))
        if size != self.shape[1]:
            raise InputError(f"item {number} of the data set has {size} features, item 0 has {self.shape[1]}.")
        if self._exact and part.dtype != self.dtype:
            raise InputError(
                f"item {number} of the data set has the type {part.dtype}, item 0 {self.dtype}; say by dtype=... which "
                "one is wanted."
            )
        check_real(part.dtype, f"item {number} of the data set")
        if isinstance(self.dtype, np.dtype):
            return to_numpy(part).reshape(-1).astype(self.dtype, copy=False)
        tensor = part.detach().cpu() if is_tensor(part) else sys.modules["torch"].as_tensor(np.array(part))
        return tensor.reshape(-1).to(self.dtype)

    def _read(self, first: int, stop: int) -> Array:
        numbers = list(range(first, stop))
        with self._lock:
            if hasattr(self._dataset, "__getitems__"):
                items = self._dataset.__getitems__(numbers) if numbers else []
            else:
                items = map(self._dataset.__getitem__, numbers)
            rows = [self._row(self._part(item, k), k) for k, item in zip(numbers, items, strict=True)]
        if isinstance(self.dtype, np.dtype):
            return np.stack(rows) if rows else np.empty((0, self.shape[1]), self.dtype)
        torch = sys.modules["torch"]
        return torch.stack(rows) if rows else torch.empty((0, self.shape[1]), dtype=self.dtype)

    def _name(self) -> str:
        return f"{type(self._dataset).__name__}, "

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
        if not isinstance(self.dtype, np.dtype):
            import torch  # noqa: F401


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
        raise InputError(f"the folder {folder} cannot be read: {error.strerror or error}.") from error
    if not names:
        raise InputError(f"the folder {folder} holds no {' or '.join(SUFFIXES)} files.")
    for before, after in zip(names, sorted(names, key=_by_number), strict=True):
        if before != after:
            raise InputError(
                f"the order of the files of {folder} is not clear: {before} or {after} may come first; fill up the numbers "
                "with zeros, or give a list of paths in the order wanted."
            )
    return [os.path.join(folder, name) for name in names]


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
            raise InputError(f"{self._path} cannot be read: {error.strerror or error}.") from error
        try:
            self._file = safe_open(self._path, framework="pt")
            return self._file.__enter__()
        except Exception as error:  # safetensors raises its own errors, OSError, ValueError, RuntimeError
            raise FileFormatError(f"{self._path} is truncated or not a safetensors file: {error}.") from error

    def __exit__(self, *reason: Any) -> None:
        self._file.__exit__(*reason)


def _open_file(path: str, name: str | None) -> Source:
    if not os.path.exists(path):
        raise InputError(f"there is no file or folder {path}.")
    suffix = os.path.splitext(path)[1]
    if suffix == ".safetensors":
        return SafetensorsRows(os.path.abspath(path), name)
    if suffix != ".npy":
        raise InputError(f"{path} is not of a known kind; {' or '.join(SUFFIXES)} files hold rows with their shape.")
    if name is not None:
        raise InputError(f"the tensor {name!r} was asked for, but {path} holds one array without a name.")
    return NpyRows(os.path.abspath(path))


def sources_of(X: Any) -> list[Any]:
    """Everything that X may be, as a list of sources: see :meth:`convexadv.rows.Rows.of`.

    Raises
    ------
    InputError
        If X, or one of its shards, is no matrix of real numbers.
    """
    shards = X if isinstance(X, list | tuple) and len(X) and _is_shard(X[0]) else [X]
    return [source for shard in shards for source in _sources_of_one(shard)]


def whole(X: Any) -> Any:
    """X itself, or where it names or holds rows that are read when they are asked for, all of them as one array (n, d).

    Parameters
    ----------
    X : anything
        A path, a source of this module, a PyTorch data set or a list of these is read; all else is returned.

    Returns
    -------
    float64 array (n, d), or X

    Raises
    ------
    InputError
        If what is to be read cannot be.
    """
    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    if isinstance(first, str | os.PathLike | Source) or _torch_data(first) is not None:
        from .rows import Rows

        return Rows.of(X).whole()
    return X


def _is_shard(X: Any) -> bool:
    """Whether X is a matrix, and a list that begins with it a list of shards; a list of rows or numbers is a matrix."""
    two = len(X.shape) == 2 if _lazy(X) else getattr(X, "ndim", 0) == 2
    return two or isinstance(X, str | os.PathLike) or _torch_data(X) is not None


def _sources_of_one(X: Any) -> list[Any]:
    if isinstance(X, str | os.PathLike):
        try:
            return open_rows(X).parts
        except InputError as error:
            raise type(error)(f"X cannot be read: {error}") from error
    if isinstance(X, Source):
        return X.parts
    kind = _torch_data(X)
    if kind in ("IterableDataset", "DataLoader"):
        source = "its data set, loader.dataset" if kind == "DataLoader" else "a data set with __len__ and __getitem__"
        raise InputError(f"X is a {kind}, of which rows cannot be read by number; give {source}.")
    return DatasetRows(X).parts if kind == "Dataset" else [as_matrix(X, "X")]


def _torch_data(X: Any) -> str | None:
    """Which kind of PyTorch's data X is, without importing torch."""
    data = sys.modules.get("torch.utils.data")
    kinds = ("IterableDataset", "DataLoader", "Dataset") if data is not None else ()
    return next((kind for kind in kinds if isinstance(X, getattr(data, kind))), None)


def as_matrix(X: Any, what: str) -> Any:
    """X itself if it is an array, a tensor or another source of real numbers (n, d), else an array of its values.

    Raises
    ------
    InputError
        If it is none of these; ``what`` begins the sentence.
    """
    if hasattr(X, "tocsr"):
        raise InputError(f"{what} is a sparse matrix; give X.toarray().")
    if not is_tensor(X) and not isinstance(X, np.ndarray) and not _lazy(X):
        try:
            X = np.asarray(X)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{what} cannot be read as a matrix ({error}); a (n, d) array of numbers is needed."
            ) from None
    if len(X.shape) != 2:
        raise InputError(f"{what} has shape {tuple(X.shape)}; a matrix (n, d) is needed.")
    if is_tensor(X) and str(X.layout) != "torch.strided":
        raise InputError(f"{what} is a sparse tensor; give X.to_dense().")
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUS":
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"{what} holds values of type {X.dtype} that are not numbers; encode text columns first."
            ) from None
    check_real(X.dtype, what)
    return X


def check_real(dtype: Any, what: str) -> None:
    """Raise InputError for a type that is not one of real numbers: NumPy's or torch's floats, integers, booleans."""
    real = dtype.kind in "fiub" if isinstance(dtype, np.dtype) else str(dtype)[6:] in _TENSOR_TYPES.values()
    if not real:
        raise InputError(f"{what} has the type {dtype}; real numbers are needed.")


def _lazy(X: Any) -> bool:
    """Whether X is an array of another library that is read by slices: of h5py, zarr, dask ..."""
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    real_dtype = isinstance(dtype, np.dtype) or type(dtype).__module__ == "torch"
    return isinstance(shape, tuple) and real_dtype and hasattr(X, "__getitem__") and not isinstance(X, np.generic)


def _dtype(dtype: Any) -> Any:
    """A NumPy or torch dtype."""
    if type(dtype).__module__ == "torch":
        return dtype
    try:
        return np.dtype(dtype)
    except TypeError:
        raise InputError(f"dtype={dtype!r} is not a NumPy or torch dtype.") from None


def _count(number: Any) -> int:
    try:
        count = operator.index(number)
    except TypeError:
        count = -1
    if count < 0:
        raise InputError(f"rows contains {number!r}; the number of rows of every block is needed.")
    return count


def _numbers(item: list) -> bool:
    return all(isinstance(value, int | float | np.number) for value in item)


def _by_number(name: str) -> list[Any]:
    """Key that sorts the numbers in a name by their values."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]
