"""Balls around rows, as the checks need them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .claim import Claim

EPS = float(np.finfo(np.float64).eps)
UNDERFLOW = 1e-300  # more than products of denormal numbers lose


class Balls(NamedTuple):
    """The points x + middle + e of g rows with e in a ball or box; all in the units of the network's scaled inputs."""

    norm: str
    z: np.ndarray
    """(g, d) scaled inputs at the middle."""
    magnitude: np.ndarray
    """(g, d) of what z is added up from."""
    half: np.ndarray
    """(g, d) for linf: |e_j| <= half_j, raw units; else (g, 1) radii."""
    scale: np.ndarray
    """(d,): e moves z by e / scale."""

    def support(self, vectors: np.ndarray) -> np.ndarray:
        """Maxima (g,) of vectors (g, d) . e over the balls."""
        if self.norm == "linf":
            return (self.half * abs(vectors)).sum(1)
        largest = abs(vectors).max(1, initial=0.0)
        if self.norm == "l1":
            return self.half[:, 0] * largest
        safe = np.where(largest > 0, largest, 1.0)[:, None]  # squares of small numbers vanish
        return self.half[:, 0] * largest * np.sqrt(((vectors / safe) ** 2).sum(1))

    def reach(self, vectors: np.ndarray) -> np.ndarray:
        """Maxima (g, m) of |v_j . e| over the balls, for vectors (m, d)."""
        if self.norm == "linf":
            return self.half @ abs(vectors).T
        if self.norm == "l1":
            return self.half * abs(vectors).max(1, initial=0.0)
        largest = abs(vectors).max(1, initial=0.0)
        safe = np.where(largest > 0, largest, 1.0)[:, None]
        return self.half * (largest * np.sqrt(((vectors / safe) ** 2).sum(1)))

    def square(self) -> np.ndarray:
        """Maxima (g,) of ||e||_2^2 over the balls."""
        return (self.half**2).sum(1)

    def take(self, part: slice | np.ndarray) -> Balls:
        """Some of the rows."""
        return self._replace(z=self.z[part], magnitude=self.magnitude[part], half=self.half[part])


def balls(claim: Claim, rows: np.ndarray) -> Balls:
    """The balls of some rows; those that a box cuts are boxes around another middle, rounded outwards."""
    X, radius = claim.X[rows].astype(np.float64), claim.radius[rows].astype(np.float64)[:, None]
    shift, scale = (claim.weights[name].astype(np.float64) for name in ("shift", "scale"))
    moved = X - shift
    magnitude, half = abs(moved), radius
    if claim.norm == "linf":
        half = np.repeat(radius, X.shape[1], 1)
    if claim.low is not None and claim.high is not None:
        low, high = np.maximum(-radius, claim.low - X), np.minimum(radius, claim.high - X)
        middle = 0.5 * (low + high)
        half = np.maximum(high - middle, middle - low) + 8.0 * EPS * (abs(low) + abs(high))
        moved, magnitude = moved + middle, magnitude + abs(middle)
    return Balls(claim.norm, moved / scale, magnitude / scale, half, scale)


def sign_and_columns(outputs: int, label: int, other: int) -> tuple[float, int, int | None]:
    """A difference of outputs as sign * (column - other column); one output is a difference from nothing."""
    return (2.0 * label - 1.0, 0, None) if outputs == 1 else (1.0, label, other)


def difference(weights: np.ndarray, outputs: int, label: int, other: int) -> tuple[np.ndarray, np.ndarray]:
    """Last-axis difference of weights, and the magnitude of what it is made of."""
    sign, first, second = sign_and_columns(outputs, label, other)
    own = weights[..., first].astype(np.float64)
    if second is None:
        return sign * own, abs(own)
    rest = weights[..., second].astype(np.float64)
    return own - rest, abs(own) + abs(rest)
