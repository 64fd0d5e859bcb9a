r"""Primal-dual interior-point method for the box relaxation: dense, but indifferent to degeneracy.

In the unit box, with ``C = [[Q, c], [c', 0]]``, the pair is

    min <C, Y>  s.t.  Y_jj + u_j = 1,  Y_dd = 1 (the corner),  Y >= 0,  u >= 0
    max -sum(lam) - t  s.t.  S = C + diag(lam, t) >= 0,  lam >= 0

Directions linearise ``Y S = mu I, u lam = mu`` (Helmberg, Rendl, Vanderbei and Wolkowicz, SIAM Journal on
Optimization 6, 1996); each is one positive definite system of order d + 1 for ``y = (lam, t)``. The shorter
the last step was, the more the next one returns to the central path: at the end of a degenerate row that is
worth more than the speed of a corrector. Both iterates are strictly feasible throughout.
"""

from __future__ import annotations

from .._arrays import Array, namespace
from .dual import dual_matrix
from .newton import Rows, normalised

MAX_STEPS = 60
TO_EDGE = 0.9  # part of the way to the boundary that a step takes


def interior_point(rows: Rows, goal: Array) -> tuple[Array, Array, Array]:
    """Points (n, d + 2, d), multipliers lam (n, d) and corners t (n,), duality gap below ``goal`` (n,).

    The gap is wider where rounding does not allow it. Each of about 30 steps takes four eigendecompositions
    of order d + 1 a row.
    """
    xp = namespace(goal)
    matrix = dual_matrix(rows, 0 * rows.linear, 0 * goal)
    y = abs(matrix).sum(2) + 0.1  # diagonally dominant
    u = 0.5 + 0 * rows.linear
    Y = _diagonal(xp.concatenate([u, 1 + 0 * goal[:, None]], 1))
    pairs, centring = 2 * u.shape[1] + 1, 0 * goal + 0.3
    for _ in range(MAX_STEPS):
        gap = _complementarity(Y, u, matrix, y)
        live = (gap > 0.1 * goal) & (gap > 1e-13 * abs(y).sum(1))
        if not bool(live.any()):
            break
        inverse, root = _inverse_and_root(matrix + _diagonal(y))
        roots = _inverse_and_root(Y)[1], root
        step = _direction(Y, u, y, inverse, centring * gap / pairs)
        primal, dual = (xp.where(live, length, 0.0) for length in _lengths(step, u, y, roots))
        Y, u, y = (
            Y + primal[:, None, None] * step[0],
            u + primal[:, None] * step[1],
            y + dual[:, None] * step[2],
        )
        centring = (1 - xp.minimum(primal, dual)).clip(0.2, 0.9)
    return _points(Y, u), y[:, :-1], y[:, -1]


def _diagonal(entries: Array) -> Array:
    xp = namespace(entries)
    matrix = xp.zeros_like(entries[:, :, None] * entries[:, None])
    xp.einsum("nii->ni", matrix)[:] = entries
    return matrix


def _complementarity(Y: Array, u: Array, matrix: Array, y: Array) -> Array:
    diagonal = namespace(Y).einsum("nii->ni", Y)
    return (Y * matrix).sum((1, 2)) + (diagonal * y).sum(1) + (u * y[:, :-1]).sum(1)


def _inverse_and_root(matrix: Array) -> tuple[Array, Array]:
    """Inverse and inverse square root of positive definite matrices."""
    xp = namespace(matrix)
    values, vectors = xp.linalg.eigh(matrix)
    values = xp.maximum(values, 1e-16 * values[:, -1:])[:, None]
    transposed = xp.swapaxes(vectors, 1, 2)
    return (vectors / values) @ transposed, (vectors / xp.sqrt(values)) @ transposed


def _direction(Y: Array, u: Array, y: Array, inverse: Array, target: Array) -> tuple[Array, Array, Array]:
    """Changes of Y, u and y towards ``Y S = target I``, ``u lam = target``."""
    xp = namespace(Y)
    pull = target[:, None] / y[:, :-1]
    slope = u / y[:, :-1]
    system = Y * inverse
    xp.einsum("nii->ni", system)[:, :-1] += slope
    right = target[:, None] * xp.einsum("nii->ni", inverse) - 1
    right[:, :-1] += pull
    dy = xp.linalg.solve(system, right[:, :, None])[:, :, 0]
    change = target[:, None, None] * inverse - Y - (Y * dy[:, None]) @ inverse
    return 0.5 * (change + xp.swapaxes(change, 1, 2)), pull - u - slope * dy[:, :-1], dy


def _lengths(step: tuple[Array, ...], u: Array, y: Array, roots: tuple[Array, Array]) -> tuple[Array, Array]:
    """Step lengths (n,) that keep Y and u, S and lam positive."""
    xp = namespace(u)
    lengths = []
    for change, vector, value, root in (
        (step[0], step[1], u, roots[0]),
        (_diagonal(step[2]), step[2][:, :-1], y[:, :-1], roots[1]),
    ):
        least = xp.linalg.eigvalsh(root @ change @ root)[:, 0]
        least = xp.minimum(least, xp.amin(vector / value, 1))
        lengths.append((TO_EDGE / (-least).clip(1e-3)).clip(None, 1.0))
    return lengths[0], lengths[1]


def _points(Y: Array, u: Array) -> Array:
    """The moments as unit vectors of slack, mean and factors, largest factors first."""
    xp = namespace(Y)
    mean = Y[:, -1, :-1]
    values, vectors = xp.linalg.eigh(Y[:, :-1, :-1] - mean[:, :, None] * mean[:, None])
    values = xp.where(values > 1e-7, values, 0.0)
    factors = xp.flip(xp.swapaxes(xp.sqrt(values)[:, None] * vectors, 1, 2), (1,))
    return normalised(xp.concatenate([xp.sqrt(u.clip(0.0))[:, None], mean[:, None], factors], 1))
