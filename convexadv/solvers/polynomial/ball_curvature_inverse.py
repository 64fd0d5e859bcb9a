r"""Inverses of the curvature of the objective with balls: dense, or split at the span of the neurons.

    P = J'QJ + C + S,    S_j = 2 beta I - s_j d2([v_j; ||v_j||]'M[v_j; ||v_j||]),

J'QJ the Gauss-Newton matrix of :mod:`.curvature`, C that of the moving perturbations
(:mod:`.ball_curvature`), M the moment matrix of the multipliers: S_j is positive semidefinite at a
solution and flat along its neuron. Eigenvalues of S are taken no smaller than a share of 2 beta.

Where the dense P costs more, S_j is replaced by its diagonal blocks on the span of the neurons and outside of it, the latter
by a multiple sigma_j of the identity. C + S is then block diagonal, and J'QJ is added through the K x K matrix of its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...problems.bound import Moment
from .ball_curvature import BallCurvature

FLOOR = 0.1
"""Least eigenvalue of S, in units of 2 beta."""
_EIGEN = 20.0
"""Operations of an eigendecomposition, in units of the order cubed."""
LARGEST = 3000
"""Order of the largest matrix that is factorised."""


def operations(rows: int, count: int, m: int, d: int) -> tuple[float, float]:
    """Operations of the dense and of the split way, infinite where a matrix is too large; ``count`` rows in J."""
    p, width = min(m, d), m * d
    inner = m * p
    sums = 2.0 * rows * (inner + m) ** 2
    whole = sums + 2.0 * width * width * (count + inner / m) + width**3 / 3.0 + _EIGEN * m * d**3
    parts = sums + count * count * (inner + m + d + count / 3.0) + count * inner * inner + inner**3 / 3.0
    parts += 2.0 * p * d * d + _EIGEN * m * p**3
    bad = float("inf")
    return (whole if width <= LARGEST else bad), (parts if max(count, inner) <= LARGEST else bad)


def slack(signs: Any, vectors: Any, moment: Moment, beta: float) -> Any:
    """S (m, d, d) before its eigenvalues are raised."""
    units = vectors / vectors.norm(dim=1).clamp_min(1e-150)[:, None]
    slope = units @ moment.vector
    mixed = units[:, :, None] * (2.0 * moment.vector - slope[:, None] * units)[:, None]
    matrix = 2.0 * moment.matrix + mixed + mixed.mT
    matrix.diagonal(dim1=1, dim2=2).add_(2.0 * (slope + moment.constant)[:, None])
    matrix *= -signs[:, None, None]
    matrix.diagonal(dim1=1, dim2=2).add_(2.0 * beta)
    return matrix


def raised(torch: Any, matrices: Any, least: float) -> Any:
    """Symmetric matrices with eigenvalues below ``least`` raised to it."""
    values, vectors = torch.linalg.eigh(matrices)
    return (vectors * values.clamp_min(least)[:, None]) @ vectors.mT


def dense(
    model: Any, jacobian: Any, curvature: Any, ball: BallCurvature, signs: Any, moment: Moment
) -> Callable[[Any], Any] | None:
    """r -> P^-1 r of flat gradients (m d,) by the Cholesky factor of P, or None where it has none.

    Parameters
    ----------
    model : ComponentModel
    jacobian : Jacobian
        K rows.
    curvature : (K,)
        Q.
    ball : BallCurvature
        C.
    signs : (m,)
    moment : Moment
        M.
    """
    torch, v, beta = model.torch, jacobian.v, model.problem.beta
    m, d = v.shape
    scale = torch.ones_like(v[0]) if model.scale is None else model.scale
    stretched = ball.basis * scale
    units = v / v.norm(dim=1).clamp_min(1e-150)[:, None]
    maps = torch.cat([stretched.expand(m, -1, -1), units[:, None]], 1)
    matrix = torch.einsum("jykz,kzf->jykf", ball.inside, maps)
    matrix = torch.einsum("jyd,jykf->jdkf", maps, matrix)
    matrix += torch.einsum("jk,df->jdkf", ball.outside, torch.diag(scale * scale) - stretched.T @ stretched)
    own = raised(torch, slack(signs, v, moment, beta), FLOOR * 2.0 * beta)
    torch.einsum("jdjf->jdf", matrix).add_(own)
    matrix = matrix.reshape(m * d, m * d) + jacobian.squared(curvature)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if int(failed) else lambda r: torch.cholesky_solve(r[:, None], factor)[:, 0]


def split(
    model: Any, jacobian: Any, curvature: Any, ball: BallCurvature, signs: Any, moment: Moment
) -> Callable[[Any], Any] | None:
    """The same through the rows of J, for balls that are no ellipsoids; arguments as in :func:`dense`.

    P^-1 = B - B J'(Q^-1 + J B J')^-1 J B with B the inverse of C + S.
    """
    torch, v = model.torch, jacobian.v
    rest = _Split(model, v, ball, signs, moment)
    if rest.failed:
        return None
    matrix = rest.gram(jacobian)
    matrix.diagonal().add_(1.0 / curvature)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        return None

    def apply(r: Any) -> Any:
        start = rest.solve(r.view_as(v))
        inner = torch.cholesky_solve(jacobian.times(start)[:, None], factor)[:, 0]
        return (start - rest.solve(jacobian.transposed(inner).view_as(v))).reshape(-1)

    return apply


class _Split:
    """C + S: a matrix on the span of the neurons, and (G + diag(sigma)) tensor the identity outside of it."""

    def __init__(self, model: Any, v: Any, ball: BallCurvature, signs: Any, moment: Moment):
        self.torch = torch = model.torch
        self.basis, (m, d), p, beta = ball.basis, v.shape, len(ball.basis), model.problem.beta
        least = FLOOR * 2.0 * beta
        projected = Moment(self.basis @ moment.matrix @ self.basis.T, self.basis @ moment.vector, moment.constant)
        units = ball.along / ball.along.norm(dim=1).clamp_min(1e-150)[:, None]
        maps = torch.cat([torch.eye(p).to(v).expand(m, -1, -1), units[:, None]], 1)
        inside = torch.einsum("jyl,jykz,kzq->jlkq", maps, ball.inside, maps)
        own = raised(torch, slack(signs, ball.along, projected, beta), least)
        torch.einsum("jljq->jlq", inside).add_(own)
        rest = (moment.matrix.trace() - projected.matrix.trace()) / max(d - p, 1)
        sigma = 2.0 * (beta - signs * (rest + units @ projected.vector + moment.constant))
        self.inside, bad = torch.linalg.cholesky_ex(inside.reshape(m * p, m * p))
        self.outside, worse = torch.linalg.cholesky_ex(ball.outside + torch.diag(sigma.clamp_min(least)))
        self.failed = bool(int(bad) or int(worse))

    def solve(self, r: Any) -> Any:
        """(C + S)^-1 r, (m, d)."""
        inner = r @ self.basis.T
        outer = r - inner @ self.basis
        inner = self.torch.cholesky_solve(inner.reshape(-1, 1), self.inside).view_as(inner)
        return inner @ self.basis + self.torch.cholesky_solve(outer, self.outside)

    def gram(self, jacobian: Any) -> Any:
        """J (C + S)^-1 J', (K, K); with two arrays of this size at a time."""
        x, along = jacobian.x @ self.basis.T, jacobian.v @ self.basis.T
        inner = jacobian.rowwise[:, :, None] * x[:, None] + jacobian.along[:, :, None] * along
        inner = self.torch.linalg.solve_triangular(self.inside, inner.flatten(1).T, upper=False)
        outer = self.torch.linalg.solve_triangular(self.outside, jacobian.rowwise.T, upper=False)
        gram = (jacobian.x @ jacobian.x.T).addmm_(x, x.T, alpha=-1.0)
        gram *= outer.T @ outer
        return gram.addmm_(inner.T, inner)
