"""Rotations that balance the columns of a factor, shared by recovery, solvers and thresholds."""

from __future__ import annotations

import numpy as np


def equalise(factor: np.ndarray, signature: np.ndarray) -> np.ndarray:
    r"""Rotate the columns y_j of a factor until all values y_j' diag(signature) y_j are equal.

    The product ``factor @ factor.T`` does not change, so the common value is the mean. Each step turns the
    columns with the largest and the least value in their plane until one of them has the mean: at most r -
    1 steps for r columns.

    Parameters
    ----------
    factor : array (k, r)
    signature : array (k,)

    Returns
    -------
    array (k, r)
    """
    columns = factor.T.copy()
    values = (columns**2) @ signature
    mean = values.mean() if len(values) else 0.0
    excess = values - mean
    active = np.ones(len(columns), bool)
    for _ in range(len(columns) - 1):
        i = int(np.argmax(np.where(active, excess, -np.inf)))
        j = int(np.argmin(np.where(active, excess, np.inf)))
        p, w = excess[i], excess[j]
        if not (p > 0.0 > w):
            break
        q = float((columns[i] * signature) @ columns[j])
        root = np.sqrt(q * q - p * w)
        t = -p / (q + (root if q >= 0.0 else -root))  # the smaller root of p + 2 q t + w t^2, if q does not vanish
        columns[i], columns[j] = (
            (columns[i] + t * columns[j]) / np.sqrt(1.0 + t * t),
            (columns[j] - t * columns[i]) / np.sqrt(1.0 + t * t),
        )
        excess[j] = float((columns[j] ** 2) @ signature) - mean
        excess[i], active[i] = 0.0, False
    return columns.T
