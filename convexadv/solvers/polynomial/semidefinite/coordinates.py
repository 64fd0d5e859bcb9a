"""Coordinates of a lift Z = [[Z1, Z2], [Z2', Z4]] of order d + 1 in which tr Z1 = Z4 always holds."""

from __future__ import annotations

import numpy as np


class Coordinates:
    """The entries on and above the diagonal but the last one, which is the trace of the others; F numbers.

    Parameters
    ----------
    order : int
        d + 1.
    """

    def __init__(self, order: int):
        self.order = order
        rows, columns = np.triu_indices(order)
        self.rows, self.columns = rows[:-1], columns[:-1]
        self.count = len(self.rows)
        self.diagonal = np.flatnonzero(self.rows == self.columns)
        self._fold = np.where(self.rows == self.columns, 0.5, 0.5**0.5)
        self._unfold = np.where(self.rows == self.columns, 1.0, 0.5**0.5)

    def fold(self, matrices: np.ndarray) -> np.ndarray:
        """Inner products (..., F) of matrices (..., d + 1, d + 1) with the lifts of all coordinates."""
        values = (matrices[..., self.rows, self.columns] + matrices[..., self.columns, self.rows]) * self._fold
        values[..., self.diagonal] += matrices[..., -1:, -1]
        return values

    def unfold(self, values: np.ndarray) -> np.ndarray:
        """Lifts (..., d + 1, d + 1) of coordinates (..., F)."""
        matrices = np.zeros((*values.shape[:-1], self.order, self.order))
        matrices[..., self.rows, self.columns] = matrices[..., self.columns, self.rows] = values * self._unfold
        matrices[..., -1, -1] = values[..., self.diagonal].sum(-1)
        return matrices

    def fold_products(self, left: np.ndarray, right: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Inner products (..., F) of factor o (left right') with the lifts of all coordinates, vectors (..., d + 1)."""
        i, j = self.rows, self.columns
        values = left[..., i] * right[..., j]
        values += left[..., j] * right[..., i]
        values *= self._fold * factor[i, j]
        values[..., self.diagonal] += factor[-1, -1] * left[..., -1:] * right[..., -1:]
        return values

    def products(self, left: np.ndarray, right: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """(F, F) matrix of sum_i tr((factor o E_k) left_i (factor o E_l) right_i) over lifts E_k of coordinates.

        Parameters
        ----------
        left, right : (n, d + 1, d + 1)
            Symmetric.
        factor : (d + 1, d + 1)
            Multiplied to the lifts entry by entry.
        """
        n, N = len(left), self.order
        whole = (left.reshape(n, N * N).T @ right.reshape(n, N * N)).reshape(N, N, N, N)
        whole = whole.transpose(3, 0, 1, 2) * factor[:, :, None, None] * factor
        return self.fold(np.moveaxis(self.fold(whole), -1, 0))
