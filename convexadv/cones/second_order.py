"""Second-order cones in batches: scaling points of Nesterov and Todd, and the products of their algebra."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Scaling(NamedTuple):
    """Scaling point of Nesterov and Todd of second-order cones: W nu = W^-1 k."""

    w: np.ndarray
    eta: np.ndarray

    @staticmethod
    def of(k: np.ndarray, nu: np.ndarray) -> Scaling:
        """The scaling of interior points k and nu, (m, 1 + d)."""
        size_k, size_nu = np.sqrt(form(k, k)), np.sqrt(form(nu, nu))
        k, nu = k / size_k[:, None], nu / size_nu[:, None]
        gamma = np.sqrt(0.5 * (1.0 + (k * nu).sum(1)))
        return Scaling((k + _flipped(nu)) / (2.0 * gamma)[:, None], np.sqrt(size_k / size_nu))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """W x."""
        return self.eta[:, None] * _arrow(self.w, x)

    def solve(self, x: np.ndarray) -> np.ndarray:
        """W^-1 x."""
        return _arrow(_flipped(self.w), x) / self.eta[:, None]

    def solve_twice(self, x: np.ndarray) -> np.ndarray:
        """W^-2 x."""
        flipped = _flipped(self.w)
        return (2.0 * (flipped * x).sum(1)[:, None] * flipped - _flipped(x)) / (self.eta**2)[:, None]

    def matrix(self) -> np.ndarray:
        """W^-2, (m, 1 + d, 1 + d)."""
        flipped = _flipped(self.w)
        result = 2.0 * flipped[:, :, None] * flipped[:, None, :]
        diagonal = np.arange(result.shape[1])
        result[:, diagonal, diagonal] += np.where(diagonal == 0, -1.0, 1.0)
        return result / (self.eta**2)[:, None, None]


def form(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x_0 y_0 - x_1'y_1, at least a tiny positive number."""
    return np.maximum(x[:, 0] * y[:, 0] - (x[:, 1:] * y[:, 1:]).sum(1), 1e-300)


def _flipped(x):
    return np.concatenate([x[:, :1], -x[:, 1:]], 1)


def _arrow(w, x):
    inner = (w[:, 1:] * x[:, 1:]).sum(1)
    first = w[:, 0] * x[:, 0] + inner
    rest = x[:, 1:] + w[:, 1:] * (x[:, 0] + inner / (1.0 + w[:, 0]))[:, None]
    return np.concatenate([first[:, None], rest], 1)


def jordan(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The product x o y."""
    return np.concatenate([(x * y).sum(1)[:, None], x[:, :1] * y[:, 1:] + y[:, :1] * x[:, 1:]], 1)


def jordan_divided(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The u with x o u = y."""
    inner = (x[:, 1:] * y[:, 1:]).sum(1)
    first = (x[:, 0] * y[:, 0] - inner) / form(x, x)
    rest = (y[:, 1:] - first[:, None] * x[:, 1:]) / x[:, :1]
    return np.concatenate([first[:, None], rest], 1)
