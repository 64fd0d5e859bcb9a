"""Training rows in an order of their own, equal rows merged: what makes weights exact."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Sample(NamedTuple):
    """Rows, labels or targets, and weights of a fit."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray


def canonical(X: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Sample:
    """The same training set with rows of weight zero left out, equal rows merged, and the rest in an order of its own.

    Solvers end within a tolerance, and where they end depends on the order of sums. Training sets that are the same as
    weighted sets (rows repeated or weighted, shuffled or not) become the same arrays here, bit by bit, so that they give
    the same network, not only networks of nearly the same objective.

    Parameters
    ----------
    X : (n, d) float array
    y : (n,) or (n, C)
        Labels or targets.
    weight : (n,)
        Weights >= 0.

    Returns
    -------
    Sample
        m <= n rows.
    """
    used = weight > 0
    X, y, weight = X[used], y[used], weight[used]
    row = _ranks(X)
    label = _ranks(y if y.dtype.kind == "f" else np.unique(y, return_inverse=True)[1])
    order = np.lexsort((label, row))
    row, label = row[order], label[order]
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(row) != 0) | (np.diff(label) != 0)
    starts = np.flatnonzero(first)
    kept = order[starts]
    total = np.add.reduceat(weight[order], starts) if len(starts) else weight
    return Sample(X[kept], y[kept], total)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Numbers of the rows of an array in the order of their bytes; equal rows have the same number."""
    table = np.ascontiguousarray(values.reshape(len(values), -1) + 0)  # -0.0 + 0 is 0.0
    if not len(table):
        return np.zeros(0, np.int64)
    keys = table.view(np.dtype((np.void, table.dtype.itemsize * table.shape[1])))[:, 0]
    return np.unique(keys, return_inverse=True)[1].reshape(-1)
