"""The variables of the interior-point method, and what ties the inequalities to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .families import Family


class Part(NamedTuple):
    """Variables of a family, or their changes."""

    S: np.ndarray
    """(k, g, q, q)"""
    Y: np.ndarray
    """(k, g, q, q)"""
    lam: np.ndarray
    """(k, g, L)"""
    tau: np.ndarray
    """(k, g, L)"""
    u: np.ndarray
    """(g,)"""
    xi: np.ndarray
    """(g,) zero where the sum of the multipliers has no limit."""


class Iterate(NamedTuple):
    """All variables, or their changes."""

    Z: np.ndarray
    """(2, outputs, d + 1, d + 1) Z and Z'."""
    Q: np.ndarray
    """(2, outputs, d + 1, d + 1) their multipliers."""
    parts: list[Part]
    beta: float
    """Penalty for which the multipliers are feasible; it falls to that of the problem."""

    def moved(self, change: Iterate, primal: float, dual: float) -> Iterate:
        """The sum with a change, of two lengths."""
        parts = [
            Part(
                own.S + primal * step.S,
                own.Y + dual * step.Y,
                own.lam + primal * step.lam,
                own.tau + dual * step.tau,
                own.u + primal * step.u,
                own.xi + primal * step.xi,
            )
            for own, step in zip(self.parts, change.parts, strict=True)
        ]
        return Iterate(self.Z + primal * change.Z, self.Q + dual * change.Q, parts, self.beta + dual * change.beta)


def symmetric(matrices: np.ndarray) -> np.ndarray:
    """(M + M')/2."""
    return 0.5 * (matrices + np.swapaxes(matrices, -1, -2))


def diagonals(matrices: np.ndarray) -> np.ndarray:
    """(..., q) diagonals."""
    return np.einsum("...ii->...i", matrices)


def inequality(family: Family, parts: np.ndarray, lam: np.ndarray, u: np.ndarray) -> np.ndarray:
    """S of a family, (k, g, q, q), at K o W of every direction."""
    S = family.images(parts)
    entries = lam @ family.radii
    entries[..., :-1] += family.curvature[:, None]
    entries[..., -1] += u - family.offset
    diagonals(S)[...] += entries
    return S
