r"""The linear maps of a batch of pattern cones, seen by the interior point method of :mod:`.newton`.

The maps take z = (v, a, depth) to the slacks of the rows and of the auxiliary variables a, which stand for ||E v||_q: one
number, or |v_l| for q = 1. All blocks share the rows, so the Newton matrices of a batch are one matrix product of the
weights (m, n) with the products of the columns of X (n, D (D + 1) / 2).
"""

from __future__ import annotations

import numpy as np

_ENTRIES = 1 << 22
"""Entries of products of columns held at a time."""
_MANY = 40
"""Blocks from which on it pays to multiply columns anew for every product with the weights."""


class System:
    """The linear maps of a batch of blocks.

    Parameters
    ----------
    X : (n, D)
        Rows of Euclidean norm one (or zero).
    signs : (m, n)
    radius : (n,)
        In units of the normalised rows.
    perturbed : (D,) bool
    norm : {"l1", "l2", "linf"} or None
        The norm q; None without balls.
    deepest : bool
        Whether the depth is a variable, the last one.
    """

    def __init__(self, X, signs, radius, perturbed, norm, deepest):
        self.X, self.signs, self.radius, self.norm, self.deepest = X, signs, radius, norm, deepest
        self.n, self.D = X.shape
        self.entries = np.flatnonzero(perturbed)
        d = len(self.entries)
        self.width = 0 if norm is None else d if norm == "l1" else 1
        self.a = slice(self.D, self.D + self.width)
        self.size = self.D + self.width + deepest
        self.soc = norm == "l2"
        self.extra = 2 * d if norm in ("l1", "linf") else 0
        self._upper = np.triu_indices(self.D)
        self._columns: np.ndarray | None = None

    def take(self, chosen: np.ndarray) -> System:
        """The same for some of the blocks."""
        part = System.__new__(System)
        part.__dict__.update(self.__dict__)
        part.signs = self.signs[chosen]
        return part

    def values(self, z: np.ndarray) -> np.ndarray:
        """S x'v - r sum(a) - depth of the rows, and a +- E v, (m, n + extra)."""
        rows = self.signs * (z[:, : self.D] @ self.X.T)
        if self.deepest:
            rows -= z[:, -1:]
        if self.width == 0:
            return rows
        a, u = z[:, self.a], z[:, self.entries]
        rows -= a.sum(1)[:, None] * self.radius
        return np.concatenate([rows, a + u, a - u], 1) if self.extra else rows

    def cone(self, z: np.ndarray) -> np.ndarray:
        """(a, E v), (m, 1 + d); nothing without a second-order cone."""
        return z[:, np.append(self.D, self.entries)] if self.soc else z[:, :0]

    def adjoint(self, y: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """The transposed maps, (m, size)."""
        rows = y[:, : self.n]
        z = np.zeros((len(y), self.size))
        z[:, : self.D] = (rows * self.signs) @ self.X
        z[:, self.a] = -(rows @ self.radius)[:, None]
        if self.deepest:
            z[:, -1] = -rows.sum(1)
        if self.extra:
            plus, minus = np.split(y[:, self.n :], 2, axis=1)
            z[:, self.entries] += plus - minus
            z[:, self.a] += plus + minus if self.norm == "l1" else (plus + minus).sum(1)[:, None]
        if self.soc:
            z[:, np.append(self.D, self.entries)] += nu
        return z

    def gram(self, w: np.ndarray) -> np.ndarray:
        """I on v plus the weighted squares of all linear inequalities, (m, size, size)."""
        D, rows = self.D, w[:, : self.n]
        result = np.zeros((len(w), self.size, self.size))
        upper = self._weighted_squares(rows)
        result[:, self._upper[0], self._upper[1]] = upper
        result[:, self._upper[1], self._upper[0]] = upper
        result[:, np.arange(D), np.arange(D)] += 1.0
        if self.size > D:
            self._add_auxiliary(result, w)
            result[:, D:, :D] = result[:, :D, D:].transpose(0, 2, 1)
            result[:, -1, self.a] = result[:, self.a, -1]
        return result

    def _add_auxiliary(self, result: np.ndarray, w: np.ndarray) -> None:
        """The entries of the auxiliary variables and of the depth, above the diagonal."""
        D, E = self.D, self.entries
        rows = w[:, : self.n]
        signed = rows * self.signs
        if self.width:
            result[:, :D, self.a] = -(signed @ (self.X * self.radius[:, None]))[:, :, None]
            result[:, self.a, self.a] = (rows @ self.radius**2)[:, None, None]
        if self.extra:
            plus, minus = np.split(w[:, self.n :], 2, axis=1)
            result[:, E, E] += plus + minus
            a = D + np.arange(self.width)
            result[:, E, a] += plus - minus
            result[:, a, a] += plus + minus if self.norm == "l1" else (plus + minus).sum(1)[:, None]
        if self.deepest:
            result[:, :D, -1] = -(signed @ self.X)
            result[:, self.a, -1] = (rows @ self.radius)[:, None]
            result[:, -1, -1] = rows.sum(1)

    def _weighted_squares(self, w: np.ndarray) -> np.ndarray:
        """Upper triangles of X' diag(w) X, (m, D (D + 1) / 2)."""
        i, j = self._upper
        step = max(1, _ENTRIES // len(i))
        if step >= self.n:
            if self._columns is None:
                self._columns = self.X[:, i] * self.X[:, j]
            return w @ self._columns
        if len(w) < _MANY:
            return np.stack([((self.X * weights[:, None]).T @ self.X)[i, j] for weights in w])
        total = np.zeros((len(w), len(i)))
        for first in range(0, self.n, step):
            part = slice(first, first + step)
            total += w[:, part] @ (self.X[part][:, i] * self.X[part][:, j])
        return total
