"""Labelled inputs of a model in blocks: arrays, tensors, PyTorch data sets and loaders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from .._arrays import check_dense, is_tensor, plain_array, to_numpy
from ..errors import InputError
from ..networks.labels import as_labels

_READ = 1024


class Inputs:
    """Inputs (n, ...) with labels, read by row numbers. Not to be used by itself: see :func:`inputs_of`.

    Attributes
    ----------
    y : ndarray (n,)
        Labels.
    """

    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, numbers: Sequence[int] | np.ndarray) -> torch.Tensor:
        """The inputs of these row numbers, on the CPU, floating."""
        raise NotImplementedError

    def take(self, numbers: np.ndarray) -> Inputs:
        """The inputs of these row numbers only."""
        return _Part(self, numbers)

    def blocks(self, size: int) -> Iterator[torch.Tensor]:
        """All inputs, so many at a time."""
        for first in range(0, len(self), size):
            yield self.rows(np.arange(first, min(len(self), first + size)))

    def fingerprint(self) -> str:
        """SHA-256 of the inputs and the labels."""
        digest = hashlib.sha256("\0".join(str(label) for label in self.y.tolist()).encode())
        for block in self.blocks(_READ):
            digest.update(f"{block.dtype}{tuple(block.shape)}".encode())
            digest.update(block.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


class _Arrays(Inputs):
    def __init__(self, X: Any, y: np.ndarray) -> None:
        self.X, self.y = X, y

    def rows(self, numbers: Any) -> torch.Tensor:
        if is_tensor(self.X):
            block = self.X[torch.as_tensor(np.asarray(numbers), device=self.X.device)].detach().cpu()
        else:
            rows = self.X[np.asarray(numbers)]
            native = np.dtype(np.float64) if rows.dtype.itemsize > 8 else rows.dtype.newbyteorder("=")
            block = torch.from_numpy(np.array(rows, native))
        return _floating(block)


class _Data(Inputs):
    """A data set of pairs, whose labels are read once."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        labels = [to_numpy(self._pair(number)[1]) for number in range(len(dataset))]
        if any(label.ndim for label in labels):
            raise InputError(f"the labels of the data have shape {labels[0].shape}; one label an input is needed.")
        self.y = as_labels([label.item() for label in labels], "the labels of the data")

    def _pair(self, number: int) -> Any:
        item = self.dataset[number]
        if not (isinstance(item, (tuple, list)) and len(item) == 2):
            raise InputError(f"item {number} of the data is no pair (input, label); such pairs are needed.")
        return item

    def rows(self, numbers: Any) -> torch.Tensor:
        rows = [torch.as_tensor(self._pair(int(number))[0]) for number in numbers]
        if len({tuple(row.shape) for row in rows}) > 1:
            raise InputError("the inputs of the data have different shapes; all need the same.")
        return _floating(torch.stack(rows))


class _Part(Inputs):
    def __init__(self, whole: Inputs, numbers: np.ndarray) -> None:
        self.whole, self.numbers, self.y = whole, numbers, whole.y[numbers]

    def rows(self, numbers: Any) -> torch.Tensor:
        return self.whole.rows(self.numbers[np.asarray(numbers)])


def inputs_of(data: Any, name: str = "data") -> Inputs:
    """Labelled inputs from what a caller has.

    Parameters
    ----------
    data : (X, y), torch.utils.data.Dataset or torch.utils.data.DataLoader
        X an array or tensor (n, ...), a memory map too. A data set has pairs (input, label) and a length; of a loader
        its data set is read, in the order of the indices, not shuffled and not in the loader's batches.
    name : str
        What the data are called in an error.

    Returns
    -------
    Inputs

    Raises
    ------
    InputError
        If it is nothing of the kind, or empty, or the labels are not one an input.
    """
    if isinstance(data, Inputs):
        return data
    if isinstance(data, torch.utils.data.DataLoader):
        data = data.dataset
    if isinstance(data, (tuple, list)) and len(data) == 2:
        X = _plain(data[0], f"the inputs of {name}")
        found: Inputs = _Arrays(X, as_labels(data[1], f"the labels of {name}"))
        if X.ndim < 2 or found.y.shape != (len(X),):
            raise InputError(
                f"{name} has inputs of shape {tuple(X.shape)} and labels of shape {found.y.shape}; (n, ...) and (n,) are "
                "needed."
            )
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not hasattr(data, "shape"):
        found = _Data(data)
    else:
        raise InputError(f"{name} is a {type(data).__name__}; a pair (X, y), a data set or a loader is needed.")
    if not len(found):
        raise InputError(f"{name} is empty; at least one input is needed.")
    return found


def _plain(X: Any, name: str) -> Any:
    """Dense numbers as an array, a memory map too, or a tensor."""
    if is_tensor(X):
        check_dense(X)
        return X
    array = plain_array(X, name)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} hold values of type {array.dtype}; numbers are needed.")
    return array


def _floating(block: torch.Tensor) -> torch.Tensor:
    if not block.is_floating_point():
        if block.is_complex():
            raise InputError(f"the inputs have the type {block.dtype}; real numbers are needed.")
        return block.float()
    return block
