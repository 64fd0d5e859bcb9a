r"""Symmetric matrices as vectors: the upper triangle stacked by columns, off-diagonal entries times sqrt(2).

Inner products carry over, <A, B> = svec(A)'svec(B), so that primal and dual matrices are read in the same
way.
"""

from __future__ import annotations

import numpy as np


def length(order: int) -> int:
    """Entries of the triangle of a matrix of that order."""
    return order * (order + 1) // 2


def triangle(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (i <= j) of the entries, each (t,)."""
    columns, rows = np.tril_indices(order)
    return rows, columns


def position(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Where the entry (i, j) of the matrix stands in the vector; of any order that has the entry."""
    low, high = np.minimum(i, j), np.maximum(i, j)
    return high * (high + 1) // 2 + low


def factors(order: int) -> np.ndarray:
    """What multiplies each entry: 1 on the diagonal, sqrt(2) off it; (t,)."""
    rows, columns = triangle(order)
    return np.where(rows == columns, 1.0, np.sqrt(2.0))


def to_matrix(vectors: np.ndarray) -> np.ndarray:
    """Symmetric matrices (..., k, k) of vectors (..., t)."""
    order = int((np.sqrt(8 * vectors.shape[-1] + 1) - 1) // 2)
    rows, columns = triangle(order)
    matrices = np.empty((*vectors.shape[:-1], order, order))
    matrices[..., rows, columns] = matrices[..., columns, rows] = vectors / factors(order)
    return matrices


def lower_by_columns(order: int) -> np.ndarray:
    """Positions that reorder a vector to the lower triangle by columns, the convention of SCS; (t,)."""
    columns, rows = np.triu_indices(order)
    return position(rows, columns)
