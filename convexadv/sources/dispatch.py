"""What X may be: arrays, paths, sources, PyTorch data sets, and lists of these."""

from __future__ import annotations

import os
import sys
from typing import Any

from ..errors import InputError
from .data_sets import DatasetRows
from .files import open_rows
from .matrices import as_matrix, is_lazy
from .source import Source


def sources_of(X: Any) -> list[Any]:
    """Everything that X may be, as a list of sources: see :meth:`convexadv.rows.Rows.of`.

    Raises
    ------
    InputError
        If X, or one of its shards, is no matrix of real numbers.
    """
    shards = X if isinstance(X, list | tuple) and len(X) and _is_shard(X[0]) else [X]
    return [source for shard in shards for source in _sources_of_one(shard)]


def is_read_later(X: Any) -> bool:
    """Whether X names or holds rows that are read when they are asked for: a path, a source, a PyTorch data set."""
    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    return isinstance(first, str | os.PathLike | Source) or _torch_data(first) is not None


def _is_shard(X: Any) -> bool:
    """Whether X is a matrix, and a list that begins with it a list of shards; a list of rows or numbers is a matrix."""
    two = len(X.shape) == 2 if is_lazy(X) else getattr(X, "ndim", 0) == 2
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
