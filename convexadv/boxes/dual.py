r"""Dual side of the box relaxation: multipliers that are feasible for certain, and the bound they prove.

In the unit box the dual function at ``lam >= 0`` is ``-sum(lam) - t`` for every t with

    S(lam, t) = [[t, c'], [c, Q + diag(lam)]]  >= 0.

Near a stationary point S is singular and its least eigenvalue slightly negative. Adding ``shift`` to lam and
to t makes it positive semidefinite and costs ``(d + 1) shift``. Two ways to know a shift that is enough, with
an allowance for rounding:

- dense: the least eigenvalue of S itself, of order d + 1;
- low rank: with ``Q = B' J B + curvature I``, J = diag(+-1) and D = diag(lam + curvature), S is positive
  semidefinite if ``[[t, 0, c'], [0, -J, B], [c, B', D]]`` has no more negative eigenvalues than J has
  positive entries (Haynsworth's inertia additivity). Coordinates with a safely positive D are eliminated;
  what stays is of order 1 + p + (coordinates near the interior of the box), small and well scaled.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array, namespace
from .newton import Rows

EPS = float(np.finfo(np.float64).eps)
MAX_LOAD = 30.0  # a coordinate is eliminated where its coefficients are at most this many times D_j


def dual_bound(rows: Rows, lam: Array, corner: Array, goal: Array) -> tuple[Array, Array, Array]:
    """Bound (n,), feasible multipliers (n, d), and what the allowance for rounding cost the bound (n,).

    Parameters
    ----------
    rows : the n quadratics in the unit box.
    lam, corner : (n, d) and t (n,), nearly feasible.
    goal : (n,) loss that the caller finds acceptable.
    """
    xp = namespace(lam)
    d = lam.shape[1]
    lam = lam.clip(0.0)
    sums = EPS * (lam.sum(1) + abs(corner))
    shift, rounding, proven = _low_rank_shift(rows, lam, corner, goal / (20 * (d + 1)))
    rest = xp.where(~proven)[0]
    if len(rest):
        least, allowance = _least_eigenvalue(dual_matrix(rows.take(rest), lam[rest], corner[rest]))
        allowance = allowance + rows.noise[rest]
        shift[rest], rounding[rest] = (allowance - least).clip(0.0), allowance
    shift, rounding = shift + sums, rounding + sums
    return -lam.sum(1) - corner - (d + 1) * shift, lam + shift[:, None], (d + 1) * rounding


def dual_matrix(rows: Rows, lam: Array, corner: Array) -> Array:
    """S with its corner t in the last row and column, (n, d + 1, d + 1)."""
    xp = namespace(lam)
    vectors = rows.vectors()
    inner = (xp.swapaxes(vectors, 1, 2) * rows.weight[:, None]) @ vectors
    last = xp.concatenate([rows.linear, corner[:, None]], 1)
    matrix = xp.concatenate([xp.concatenate([inner, rows.linear[:, None]], 1), last[:, :, None]], 2)
    xp.einsum("nii->ni", matrix)[:, :-1] += lam + rows.curvature
    return matrix


def _least_eigenvalue(matrix: Array) -> tuple[Array, Array]:
    """Least eigenvalue (n,) and a bound on its error (n,)."""
    xp = namespace(matrix)
    error = 4 * matrix.shape[1] * EPS * xp.sqrt((matrix * matrix).sum((1, 2)))
    return xp.linalg.eigvalsh(matrix)[:, 0], error


def _low_rank_shift(rows: Rows, lam: Array, corner: Array, small: Array) -> tuple[Array, Array, Array]:
    """Shift (n,) near ``small``, its part owed to rounding (n,), and whether it is proven enough (n,)."""
    xp = namespace(lam)
    d, p = lam.shape[1], len(rows.basis)
    diagonal, vectors = lam + rows.curvature, rows.vectors()
    load = rows.spread(abs(rows.weight)) + abs(rows.linear)
    heavy = (load > MAX_LOAD * diagonal).sum(1)
    most = d // 3 - 1 - p
    if most < 0 or len(lam) == 0:
        return 0 * corner, 0 * corner, corner != corner
    kept = min(int(heavy.max()), most)
    row = xp.where(corner == corner)[0][:, None]
    # Coordinates without influence come last: they are in nobody's way.
    order = xp.argsort(xp.where(load > 0, diagonal / xp.where(load > 0, load, 1.0), xp.inf), 1)[:, :kept]
    eliminated = load > 0
    eliminated[row, order] = False
    wide = xp.concatenate([rows.linear[:, None], xp.sqrt(abs(rows.weight))[:, :, None] * vectors], 1)
    # Rounding: products of length d, the eigenvalues of a matrix of order 1 + p + kept.
    loads = xp.where(eliminated, (wide * wide).sum(1) / xp.where(eliminated, diagonal, 1.0).clip(1e-300), 0.0)
    spread = 1 + p + abs(corner) + xp.sqrt((wide * wide).sum((1, 2))) + diagonal[row, order].sum(1) + loads.sum(1)
    error = (d + p + kept) * EPS * spread
    rounding = 4 * error + rows.noise
    shift = xp.maximum(small, rounding)
    diagonal = diagonal + shift[:, None]
    signs = xp.where(rows.weight < 0, -1.0, 1.0)
    inner = -(wide * xp.where(eliminated, 1 / diagonal, 0.0)[:, None]) @ xp.swapaxes(wide, 1, 2)
    xp.einsum("nii->ni", inner)[:] += xp.concatenate([(corner + shift)[:, None], -signs], 1)
    side = wide[row, :, order]
    last = xp.where(order[:, :, None] == order[:, None], diagonal[row, order][:, None], 0.0)
    top = xp.concatenate([inner, xp.swapaxes(side, 1, 2)], 2)
    eigenvalues = xp.linalg.eigvalsh(xp.concatenate([top, xp.concatenate([side, last], 2)], 1))
    enough = eigenvalues[row[:, 0], (signs > 0).sum(1)] >= error
    return shift, rounding, enough & (heavy <= kept)
