r"""Primal-dual interior-point method for the box relaxation: dense, but indifferent to degeneracy.

In the unit box, with ``C = [[Q, c], [c', 0]]``, the pair is

    min <C, Y>  s.t.  Y_jj + u_j = 1,  Y_dd = 1 (the corner),  Y >= 0,  u >= 0
    max -sum(lam) - t  s.t.  S = C + diag(lam, t) >= 0,  lam >= 0

Directions linearise ``Y S = mu I, u lam = mu`` (Helmberg, Rendl, Vanderbei and Wolkowicz, SIAM J. Optim. 6, 1996)
with Mehrotra's corrector; each is one positive definite system of order d + 1 for ``y = (lam, t)``. Both iterates are
strictly feasible throughout.
"""

from __future__ import annotations

from ._arrays import Array, namespace
from ._box_bounds import dual_matrix
from ._box_newton import Rows, normalised

MAX_STEPS = 60
TO_EDGE = 0.98  # part of the way to the boundary that a step takes


def interior_point(rows: Rows, goal: Array) -> tuple[Array, Array, Array]:
    """Points (n, d + 2, d), multipliers lam (n, d) and corners t (n,), duality gap below ``goal`` (n,).

    The gap is wider where rounding does not allow it. Each of about 20 steps takes six eigendecompositions of
    order d + 1 a row.
    """
    xp = namespace(goal)
    matrix = dual_matrix(rows, 0 * rows.linear, 0 * goal)
    y = abs(matrix).sum(2) + 0.1  # diagonally dominant
    u = 0.5 + 0 * rows.linear
    Y = _diagonal(xp.concatenate([u, 1 + 0 * goal[:, None]], 1))
    pairs, last = 2 * u.shape[1] + 1, goal + xp.inf
    for _ in range(MAX_STEPS):
        mu = _complementarity(Y, u, matrix, y) / pairs
        live = (mu * pairs > 0.1 * goal) & (mu < 0.9 * last)
        if not bool(live.any()):
            break
        last = xp.where(live, mu, -1.0)
        inverse, root = _inverse_and_root(matrix + _diagonal(y))
        roots = _inverse_and_root(Y)[1], root
        affine = _direction(Y, u, y, inverse, 0 * mu, 0 * Y, 0 * u)
        ahead = _moved(Y, u, y, affine, *_lengths(affine, u, y, roots))
        ratio = _complementarity(ahead[0], ahead[1], matrix, ahead[2]) / (mu * pairs)
        bend = (affine[0] * affine[2][:, None]) @ inverse
        centre = mu * ratio.clip(0.01, 1.0) ** 2
        step = _direction(Y, u, y, inverse, centre, bend, affine[1] * affine[2][:, :-1])
        primal, dual = (xp.where(live, length, 0.0) for length in _lengths(step, u, y, roots))
        Y, u, y = _moved(Y, u, y, step, primal, dual)
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


def _direction(
    Y: Array, u: Array, y: Array, inverse: Array, target: Array, bend: Array, bend_u: Array
) -> tuple[Array, Array, Array]:
    """Changes of Y, u and y towards ``Y S = target I``, the corrector's second-order terms given."""
    xp = namespace(Y)
    lam = y[:, :-1]
    pull = (target[:, None] - bend_u) / lam
    system = Y * inverse
    xp.einsum("nii->ni", system)[:, :-1] += u / lam
    right = target[:, None] * xp.einsum("nii->ni", inverse) - xp.einsum("nii->ni", bend) - 1
    right[:, :-1] += pull
    dy = xp.linalg.solve(system, right[:, :, None])[:, :, 0]
    change = target[:, None, None] * inverse - Y - bend - (Y * dy[:, None]) @ inverse
    return 0.5 * (change + xp.swapaxes(change, 1, 2)), pull - u - u / lam * dy[:, :-1], dy


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


def _moved(
    Y: Array, u: Array, y: Array, step: tuple[Array, ...], primal: Array, dual: Array
) -> tuple[Array, Array, Array]:
    return Y + primal[:, None, None] * step[0], u + primal[:, None] * step[1], y + dual[:, None] * step[2]


def _points(Y: Array, u: Array) -> Array:
    """The moments as unit vectors of slack, mean and factors, largest factors first."""
    xp = namespace(Y)
    mean = Y[:, -1, :-1]
    values, vectors = xp.linalg.eigh(Y[:, :-1, :-1] - mean[:, :, None] * mean[:, None])
    values = xp.where(values > 1e-7, values, 0.0)
    factors = xp.flip(xp.swapaxes(xp.sqrt(values)[:, None] * vectors, 1, 2), (1,))
    return normalised(xp.concatenate([xp.sqrt(u.clip(0.0))[:, None], mean[:, None], factors], 1))
