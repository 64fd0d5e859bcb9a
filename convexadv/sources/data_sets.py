"""Rows in the items of PyTorch data sets."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import Array, is_tensor, to_numpy
from ..errors import InputError
from .matrices import check_real
from .source import Source


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
                f"item {number} of the data set holds a {type(item).__name__}, not a row; rows of real numbers are "
                "needed."
            ) from None

    def _row(self, part: Any, number: int) -> Any:
        """The row, flat, in the type of the source."""
        size = int(np.prod(part.shape))
        if size != self.shape[1]:
            raise InputError(
                f"item {number} of the data set has {size} features, item 0 has {self.shape[1]}; all need the same "
                "number."
            )
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


def _dtype(dtype: Any) -> Any:
    """A NumPy or torch dtype."""
    if type(dtype).__module__ == "torch":
        return dtype
    try:
        return np.dtype(dtype)
    except TypeError:
        raise InputError(f"dtype={dtype!r} is no dtype; one of NumPy or torch is needed.") from None


def _numbers(item: list) -> bool:
    return all(isinstance(value, int | float | np.number) for value in item)
