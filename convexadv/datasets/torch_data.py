"""Rows out of PyTorch's data sets and loaders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import InputError
from .dataset import Dataset


def from_torch(source: Any, name: str = "torch", batch_size: int = 1024) -> Dataset:
    """Collect a PyTorch ``Dataset`` or ``DataLoader`` of (features, label) pairs into arrays.

    A loader is read once, batch by batch, in its own order; a data set is read in the order of its indices. Rows of any
    shape are flattened.

    Parameters
    ----------
    source : torch.utils.data.Dataset or torch.utils.data.DataLoader
        With pairs (x, y) as items: x a tensor or an array, y a number or a vector of targets.
    name : str
        Name of the result.
    batch_size : int
        Items of a data set that are collated together.

    Returns
    -------
    Dataset
        X (n, d), float32 or float64 as the features are; y (n,) or (n, C).

    Raises
    ------
    InputError
        If the items are no pairs, their sizes differ, there are none, or a feature is not a finite number.

    Examples
    --------
    >>> import torch
    >>> from convexadv.datasets import from_torch
    >>> pictures = torch.utils.data.TensorDataset(torch.zeros(5, 2, 3), torch.tensor([0, 1, 0, 1, 0]))
    >>> from_torch(pictures).X.shape
    (5, 6)
    """
    from torch.utils.data import DataLoader

    loader: Iterable[Any] = source if isinstance(source, DataLoader) else DataLoader(source, batch_size=batch_size)
    rows, labels = [], []
    for number, batch in enumerate(loader):
        if not (isinstance(batch, (list, tuple)) and len(batch) == 2):
            raise InputError(f"batch {number} of {name} is not a pair (features, labels); from_torch needs such pairs.")
        x, y = (np.asarray(part.cpu() if hasattr(part, "cpu") else part) for part in batch)
        if x.ndim < 1 or y.ndim < 1 or len(x) != len(y):
            raise InputError(
                f"batch {number} of {name} has features {x.shape} and labels {y.shape}; one label a row is needed."
            )
        rows.append(x.reshape(len(x), -1))
        labels.append(y)
    if not rows:
        raise InputError(f"{name} has no items; at least one is needed.")
    widths = {part.shape[1] for part in rows}
    if len(widths) > 1:
        raise InputError(f"the rows of {name} have {sorted(widths)} features; all need the same number.")
    X, targets = np.concatenate(rows), np.concatenate(labels)
    X = X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)
    if not np.isfinite(X).all():
        raise InputError(f"the features of {name} hold values that are not finite; finite numbers are needed.")
    real = targets.dtype.kind == "f"
    names = () if real else tuple(str(label) for label in np.unique(targets))
    features = tuple(f"x{j}" for j in range(X.shape[1]))
    return Dataset(name, X, targets, features, names, f"Collected from a {type(source).__name__} of PyTorch.")
