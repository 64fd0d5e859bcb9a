r"""Linear hulls of pattern cones that have no interior, at radius 0.

A gate g lies in its own cone K = {v : S_i x_i'v >= 0}, so only the rows Z with x_i'g = 0 can hold it flat, and the rows
that vanish on all of K are found by one linear programme,

    maximise  sum_{i in Z} t_i    subject to    S_i x_i'w >= t_i,   0 <= t_i <= 1    for i in Z :

K is a cone, so t_i is one where a row can be positive, and zero where x_i'v = 0 on K. Its dual gives shares mu_i > 0 of
those rows with sum_i mu_i S_i x_i = 0 (Gordan's theorem). Hence the multipliers of such rows may add any vector that is
orthogonal to the hull, and prices count inside the hull only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_ON_THE_GATE = 1e-10
"""|x_i'g| / (||x_i|| ||g||) up to which a row may hold the cone flat."""
_HALF = 0.5
_CLEARLY = 1e-3
"""Least share of a row, of ones brought into balance, that proves it by itself."""
_RANK = 1e-9
_EXACT = 1e-12
"""Largest length of the sum of the vanishing rows by their shares, relative to the sum of the shares."""


class Hull(NamedTuple):
    """The linear hull of a flat cone."""

    projector: np.ndarray
    """(D, D)."""
    point: np.ndarray
    """(D,) unit vector inside the cone relative to its hull."""
    rows: np.ndarray
    """(e,) int: rows that vanish on the cone."""
    shares: np.ndarray
    """(e,) positive numbers with sum_i shares_i S_i x_i = 0."""


def hull_of(X: np.ndarray, signs: np.ndarray, gate: np.ndarray) -> Hull | None:
    """The linear hull of the cone of one gate.

    Parameters
    ----------
    X : (n, D)
    signs : (n,)
        S = +-1.
    gate : (D,)

    Returns
    -------
    Hull or None
        None where no rows are proved to vanish on the cone up to rounding; it may have an interior then.
    """
    length = np.linalg.norm(X, axis=1)
    used = np.flatnonzero(length > 0)
    unit = signs[used, None] * X[used] / length[used, None]
    gate = gate / np.linalg.norm(gate)
    slack = unit @ gate
    close = np.flatnonzero(np.abs(slack) <= _ON_THE_GATE)
    if not len(close):
        return None
    direction, positive, shares = _split(unit[close])
    vanishing = unit[close[~positive]]
    if not len(vanishing):
        return None
    _, values, right = np.linalg.svd(vanishing, full_matrices=False)
    normal = right[values > _RANK * values[0]]
    shares = _balanced(vanishing, shares[~positive])
    if not (shares > 0).all() or np.linalg.norm(shares @ vanishing) > _EXACT * shares.sum():
        return None
    projector = np.eye(len(gate)) - normal.T @ normal
    point = projector @ _stepped(unit, slack, gate, projector @ direction)
    if not (np.delete(unit, close[~positive], axis=0) @ point > 0).all():
        return None
    rows = used[close[~positive]]
    return Hull(projector, point / np.linalg.norm(point), rows, shares / length[rows])


def completed(hull: Hull, rows: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Multipliers (m, e) of the vanishing rows S_i x_i (e, D) that cancel vectors (m, D) orthogonal to the hull."""
    exact = -rest @ np.linalg.pinv(rows, rcond=_RANK)
    lift = np.maximum((-exact / hull.shares).max(1, initial=0.0), 0.0)
    return np.maximum(exact + lift[:, None] * hull.shares, 0.0)


def _split(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A vector, which rows are positive there (the others vanish wherever none is negative), and dual shares."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, eye, hstack

    count, width = rows.shape
    shares = _balanced(rows, np.ones(count))
    if (shares > _CLEARLY).all():  # many rows on all sides: no programme is needed to see that all of them vanish
        return np.zeros(width), np.zeros(count, bool), shares
    result = linprog(
        np.concatenate([np.zeros(width), -np.ones(count)]),
        A_ub=hstack([csr_matrix(-rows), eye(count)]),
        b_ub=np.zeros(count),
        bounds=[(None, None)] * width + [(0.0, 1.0)] * count,
    )
    if result.x is None:
        return np.zeros(width), np.ones(count, bool), np.zeros(count)
    return result.x[:width], result.x[width:] > _HALF, -result.ineqlin.marginals


def _balanced(rows: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Shares with the rest of their sum of rows removed, which a linear programme leaves at its tolerance."""
    return shares - (shares @ rows) @ np.linalg.pinv(rows, rcond=_RANK)


def _stepped(unit: np.ndarray, slack: np.ndarray, gate: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The gate, moved so that rows on it become positive and the others stay so."""
    change = unit @ direction
    falling = (slack > _ON_THE_GATE) & (change < 0)
    step = _HALF * (slack[falling] / -change[falling]).min(initial=1.0)
    return gate + step * direction
