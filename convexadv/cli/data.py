"""Data of the command line: by name or from a file, split by a seed, scaled, with a fingerprint."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
from typing import Any, NamedTuple

import numpy as np

from .._arrays import to_numpy
from ..datasets import Dataset, Scaling, dataset_names, load, read_table, standardise
from ..datasets.scaling import over_blocks, scaling_by_blocks
from ..errors import FileFormatError, InputError
from ..processes import ALONE, Together
from ..sources import READ_ROWS, SUFFIXES, Shards, Source, files_of, open_rows, read_npy, read_tensor, tensors_of

_MOST_CLASSES = 100
_MOST_UNREPEATED = 20
"""Classes of one row each, or of numbers with fractions."""


def read_data(source: str, target: str | None) -> Dataset:
    """A data set by name, the table in a file, or the matrix in files that are read as they are needed.

    Raises
    ------
    InputError
        If there is neither, or the file cannot be used.
    """
    if source in dataset_names():
        if target is not None:
            raise InputError(
                f"--target {target} names a column of a file, but {source} has labels of its own; leave --target out."
            )
        return load(source)
    if os.path.isdir(source) or (source.endswith(SUFFIXES) and os.path.exists(source)):
        return _read_features(source, target)
    if not os.path.exists(source):
        close = difflib.get_close_matches(source, dataset_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(dataset_names())}."
        raise InputError(f"there is no file {source}, nor a data set of that name; {hint}")
    return read_table(source, target)


def files_read(arguments: argparse.Namespace) -> list[str]:
    """The files that the data of some arguments may be in, none of which is to be replaced: those of folders too."""
    named = [path for path in (arguments.data, arguments.target) if path is not None]
    inside = [os.path.join(path, name) for path in named if os.path.isdir(path) for name in os.listdir(path)]
    return named + [path for path in inside if path.endswith(SUFFIXES)]


def check_labels(y: np.ndarray) -> None:
    """Raise InputError for targets that are measurements, of which every value would become a class."""
    if y.ndim == 2:
        raise InputError(f"the targets have shape {y.shape}; one label a row is needed, or --loss squared.")
    count = len(np.unique(y))
    measured = count == len(y) or (y.dtype.kind == "f" and (y != np.floor(y)).any())
    most = _MOST_UNREPEATED if measured else _MOST_CLASSES
    if count > most:
        raise InputError(
            f"the labels have {count} different values in {len(y)} rows, more than the {most} "
            f"{'that may have fractions or a single row each' if measured else 'classes allowed'}: "
            "use --loss squared for real targets, or --target for the column of the labels."
        )


def split_rows(y: np.ndarray, fraction: float, seed: int, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers for training and for testing, in ascending order.

    With ``classes`` every class gives the same fraction of its rows, and keeps at least one for training.

    Raises
    ------
    InputError
        If no row would be left on one side, though a fraction was asked for.
    """
    order = np.random.default_rng(seed).permutation(len(y))
    groups = [order[y[order] == label] for label in np.unique(y)] if classes else [order]
    test = np.concatenate([group[: min(round(fraction * len(group)), len(group) - 1)] for group in groups])
    if fraction > 0 and not len(test):
        raise InputError(f"--test-fraction {fraction:g} of {len(y)} rows leaves no row for testing; give more.")
    return np.setdiff1d(np.arange(len(y)), test), np.sort(test)


class Share(NamedTuple):
    """The rows of one process, or of the only one."""

    X: Any
    y: np.ndarray
    train: np.ndarray
    """Which of them are trained on, in ascending order; ``test`` likewise."""
    test: np.ndarray

    @classmethod
    def of(cls, data: Dataset, train: np.ndarray, test: np.ndarray, together: Together) -> Share:
        """A contiguous part of the training rows and one of the others, with the same number of rows everywhere, or one more.

        Raises
        ------
        InputError
            If there are fewer training rows than processes.
        """
        if together.size == 1:
            return cls(data.X, data.y, train, test)
        if len(train) < together.size:
            raise InputError(
                f"there are {len(train)} training rows for {together.size} processes; every process needs one: start fewer."
            )
        train, test = (
            rows[together.rank * len(rows) // together.size : (together.rank + 1) * len(rows) // together.size]
            for rows in (train, test)
        )
        kept = np.union1d(train, test)
        return cls(data.X[kept], data.y[kept], np.searchsorted(kept, train), np.searchsorted(kept, test))


def scaling_of(kind: str, X: np.ndarray | Features, together: Together = ALONE) -> Scaling:
    """The input scaling of a name: "unit", "standard" or "none" (see the help of ``fit``).

    X are the training rows of all processes; of rows in files each process reads its own part, and all get the same bits.
    """
    if isinstance(X, Features):
        return _StreamedScaling.of(kind, X, together)
    if kind == "none":
        return Scaling(np.zeros(X.shape[1]), np.ones(X.shape[1]))
    scaling = standardise(X)
    if kind == "unit":
        return scaling
    deviation = scaling.apply(X).std(axis=0).max()  # of every feature that is not constant: 1 / largest norm
    return Scaling(scaling.shift, scaling.scale * (deviation if deviation > 0 else 1.0))


def fingerprint(X: np.ndarray, y: np.ndarray, together: Together = ALONE) -> str:
    """SHA-256 of the values of the data, whatever types they are stored in: the digest of the digests of blocks of rows.

    X and y are the rows of all processes, each of which reads the blocks of its own part.
    """
    blocks = -(-len(X) // READ_ROWS)
    own = range(together.rank * blocks // together.size, (together.rank + 1) * blocks // together.size)
    digests = together.gather(b"".join(_digest(X, y, block * READ_ROWS) for block in own))
    return hashlib.sha256(f"{X.shape}{y.shape}".encode() + b"".join(digests)).hexdigest()


def _digest(X: np.ndarray, y: np.ndarray, start: int) -> bytes:
    """Of a block of rows and their labels."""
    here = slice(start, start + READ_ROWS)
    digest = hashlib.sha256(np.ascontiguousarray(X[here], dtype="<f8").tobytes())
    digest.update("\0".join(str(label) for label in y[here].ravel().tolist()).encode())
    return digest.digest()


class Features(Source, np.lib.mixins.NDArrayOperatorsMixin):
    """Rows (n, d) of files, in float64, that are read when they are needed: some of them, scaled.

    Slices of rows are read; row numbers choose rows without reading them. Everything else that an array can do, arithmetic
    for one, reads the whole matrix and is done with it.
    """

    def __init__(self, source: Source, index: np.ndarray | None = None, scaling: Scaling | None = None):
        self._source, self._index, self._scaling = source, index, scaling
        super().__init__((len(source) if index is None else len(index), source.shape[1]), np.dtype(np.float64))

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            return super().__getitem__(rows)
        if isinstance(rows, np.ndarray):
            return Features(self._source, rows if self._index is None else self._index[rows], self._scaling)
        return self[rows : rows + 1][0] if isinstance(rows, int) and rows >= 0 else np.asarray(self)[rows]

    def scaled(self, scaling: Scaling) -> Features:
        """The same rows, scaled when they are read."""
        return Features(self._source, self._index, scaling)

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = (np.asarray(value) if isinstance(value, Features) else value for value in inputs)
        return getattr(function, method)(*arrays, **options)

    def _read(self, first: int, stop: int) -> np.ndarray:
        if self._index is None:
            block = to_numpy(self._source[first:stop], np.float64)
        else:
            block = self._gather(self._index[first:stop])
        return block if self._scaling is None else self._scaling.apply(block)

    def _gather(self, wanted: np.ndarray) -> np.ndarray:
        """Rows by their numbers; as many are read at a time as are wanted, and none before the first or after the last."""
        out = np.empty((len(wanted), self.shape[1]))
        if not len(wanted):
            return out
        size, low, stop = len(wanted), int(wanted.min()), int(wanted.max()) + 1
        for start in (low + np.unique((wanted - low) // size) * size).tolist():
            here = (wanted >= start) & (wanted < start + size)
            out[here] = to_numpy(self._source[start : min(start + size, stop)])[wanted[here] - start]
        return out


class _StreamedScaling(Scaling):
    """A scaling that leaves features in their files."""

    @classmethod
    def of(cls, kind: str, X: Features, together: Together) -> _StreamedScaling:
        """See :func:`scaling_of`."""
        if kind == "none":
            return cls(np.zeros(X.shape[1]), np.ones(X.shape[1]))
        shift, scale = scaling_by_blocks(X, together)
        if kind == "unit":
            return cls(shift, scale)
        rows = X.scaled(Scaling(shift, scale))
        mean = over_blocks(np.sum, lambda block: block.sum(axis=0), rows, together) / len(X)
        squares = over_blocks(np.sum, lambda block: ((block - mean) ** 2).sum(axis=0), rows, together)
        deviation = float(np.sqrt(squares / len(X)).max())
        return cls(shift, scale * (deviation if deviation > 0 else 1.0))

    def apply(self, X: Any) -> Any:
        """Scaled rows; those of files stay there."""
        return X.scaled(self) if isinstance(X, Features) else super().apply(X)


def _read_features(source: str, target: str | None) -> Dataset:
    """Features in a .npy or .safetensors file or a folder of them; labels in a .npy file, or in tensors beside them."""
    files = files_of(source) if os.path.isdir(source) else [source]
    if target is not None and target.endswith(".npy"):
        if not os.path.isfile(target):
            raise InputError(f"--target {target} names no file; a .npy file with one label a row is needed.")
        files = [file for file in files if not os.path.samefile(file, target)]
        if not files:
            raise InputError(f"{source} holds no features beside the labels {target}; rows of features are needed.")
        rows, y, labels = open_rows(files), read_npy(target), target
    else:
        name = "y" if target is None else target
        rows, y, labels = *_read_pairs(source, files, name), f"the tensor {name!r}"
    if y.dtype.kind not in ("biufU" if y.ndim == 1 else "biuf") or y.ndim not in (1, 2):
        raise FileFormatError(f"{labels} is {y.dtype} of shape {y.shape}; labels (n,) are needed.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = np.argwhere(~np.isfinite(y))[0][0]
        raise FileFormatError(f"{labels} is NaN or infinite in row {row}; finite labels are needed.")
    if len(rows) != len(y):
        raise FileFormatError(f"{source} has {len(rows)} rows, but {labels} has {len(y)}; one label a row is needed.")
    if 0 in rows.shape:
        raise FileFormatError(f"{source} has shape {rows.shape}; at least one row and one column are needed.")
    names = tuple(f"column {j}" for j in range(rows.shape[1]))
    classes = () if y.dtype.kind == "f" or y.ndim > 1 else tuple(str(label) for label in np.unique(y))
    X: Any = Features(rows)
    return Dataset(os.path.basename(os.path.normpath(source)), X, y, names, classes, f"Read from {source}.")


def _read_pairs(source: str, files: list[str], name: str) -> tuple[Source, np.ndarray]:
    """Features and labels that share their files."""
    if not all(file.endswith(".safetensors") for file in files):
        raise InputError(f"{source} has no labels beside its features; give --target FILE, a .npy file with one a row.")
    parts, labels = [], []
    for file in files:
        tensors = tensors_of(file)
        if name not in tensors:
            raise InputError(
                f"{file} has no tensor {name!r} for the targets; it has {', '.join(tensors) or 'nothing'}: give --target "
                "NAME, or the name of a .npy file with one a row."
            )
        others = [key for key, (shape, _) in tensors.items() if len(shape) == 2 and key != name]
        if "X" not in others and len(others) != 1:
            raise InputError(
                f"{file} needs its features under 'X'; beside {name!r} it has {', '.join(others) or 'no'} matrix."
            )
        parts.append(open_rows(file, "X" if "X" in others else others[0]))
        labels.append(to_numpy(read_tensor(file, name)))
    if len({part.shape[1:] for part in labels}) > 1:
        raise FileFormatError(
            f"the targets {name!r} of the files of {source} have different widths; all need the same."
        )
    return Shards(parts, f"the files of {source}"), np.concatenate(labels)
