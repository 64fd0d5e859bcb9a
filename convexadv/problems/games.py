"""Central strategies of a matrix game: the restricted master problem of a primal-dual column generation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_MOST_STEPS = 60
_SHRINKAGE = 0.15
"""Factor on the complementarity in one Newton step."""
_TO_THE_BOUNDARY = 0.95


class Strategies(NamedTuple):
    """Result of :func:`central_strategies`."""

    columns: np.ndarray
    """(T,) positive, summing to one: the minimising player."""
    rows: np.ndarray
    """(U,) positive, summing to one: the maximising player."""
    upper: float
    """max(payoff @ columns): the value of the game is not larger."""
    lower: float
    """min(rows @ payoff): the value of the game is not smaller."""


def central_strategies(payoff: np.ndarray, gap: float) -> Strategies:
    r"""Strategies near the central path of  min over columns, max over rows of  rows' payoff columns.

    The game is the linear programme min tau, payoff lambda + s = tau, 1'lambda = 1, s, lambda >= 0, with the dual
    multipliers alpha, rho = payoff'alpha - nu >= 0. Newton's method follows alpha s = mu, rho lambda = mu from a feasible
    start, so every iterate is a pair of strategies whose gap is tau - nu = alpha's + rho'lambda.

    Column generation with such well-centred, unfinished answers needs far fewer columns than with vertices
    (Gondzio, Gonzalez-Brevis and Munari, EJOR 2013).

    Parameters
    ----------
    payoff : (U, T)
    gap : float
        Gap at which to stop, in units of the payoff.

    Returns
    -------
    Strategies
    """
    size = max(float(np.abs(payoff).max()), 1e-300)
    game, gap = payoff / size, gap / size
    rows, columns = np.full(len(game), 1.0 / len(game)), np.full(game.shape[1], 1.0 / game.shape[1])
    tau, nu = (game @ columns).max() + 1.0, (rows @ game).min() - 1.0
    for _ in range(_MOST_STEPS):
        slack, excess = tau - game @ columns, rows @ game - nu
        complementarity = rows @ slack + columns @ excess
        if complementarity <= gap:
            break
        mu = max(_SHRINKAGE * complementarity, 0.9 * gap) / sum(game.shape)
        try:
            step = _newton_step(game, rows, columns, slack, excess, mu)
        except np.linalg.LinAlgError:  # at the limits of the arithmetic: the iterate is feasible as it is
            break
        d_rows, d_columns, d_tau, d_nu = step
        d_slack, d_excess = d_tau - game @ d_columns, d_rows @ game - d_nu
        length = 1.0
        for value, change in ((rows, d_rows), (columns, d_columns), (slack, d_slack), (excess, d_excess)):
            falling = change < 0
            length = min(length, _TO_THE_BOUNDARY * float((value[falling] / -change[falling]).min(initial=np.inf)))
        rows, columns = rows + length * d_rows, columns + length * d_columns
        rows, columns = rows / rows.sum(), columns / columns.sum()
        # the normalisation moves the slacks by rounding errors, which must not take them below zero
        tau = max(tau + length * d_tau, float((game @ columns).max()) + 1e-15)
        nu = min(nu + length * d_nu, float((rows @ game).min()) - 1e-15)
    return Strategies(columns, rows, float((payoff @ columns).max()), float((rows @ payoff).min()))


def _newton_step(game, rows, columns, slack, excess, mu) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Direction towards rows slack = mu, columns excess = mu; (rows, columns, tau, nu)."""
    count = len(columns)
    weight = rows / slack
    weighted = game * weight[:, None]
    matrix = np.zeros((count + 2, count + 2))
    matrix[:count, :count] = game.T @ weighted
    matrix[np.arange(count), np.arange(count)] += excess / columns
    matrix[:count, count] = matrix[count, :count] = -weighted.sum(0)
    matrix[count, count] = weight.sum()
    matrix[:count, count + 1] = matrix[count + 1, :count] = -1.0
    to_rows, to_columns = mu / slack - rows, mu / columns - excess
    right = np.concatenate([to_columns - to_rows @ game, [to_rows.sum(), 0.0]])
    solved = np.linalg.solve(matrix, right)
    d_columns, d_tau, d_nu = solved[:count], float(solved[count]), float(solved[count + 1])
    return to_rows - weight * (d_tau - game @ d_columns), d_columns, d_tau, d_nu
