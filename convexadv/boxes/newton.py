r"""Batched Riemannian trust-region Newton method for the factorised relaxation over the unit box.

Row i minimises ``<Q, G> + 2 c'm`` over ``G = m m' + sum_k f_k f_k'``, ``G_jj <= 1``, with
``Q = basis' diag(weight) basis + diag(curvature)``. A slack ``s_j`` turns ``G_jj <= 1`` into an equality, so that
coordinate j is a unit vector ``v_j = (s_j, m_j, f_1j, f_2j, ...)`` and the feasible set a product of
spheres: a point is (k + 2, d) with unit columns. With ``E`` half the Euclidean gradient and
``lam_j = -v_j'E_j``, half the Riemannian gradient is ``E + lam v``, and half the Hessian maps a tangent X to
the tangent part of ``Q X + lam X`` (Absil, Mahony and Sepulchre, Optimization Algorithms on Matrix
Manifolds, 2008, chapters 5 to 7).
"""

from __future__ import annotations

from typing import NamedTuple

from .._arrays import Array, namespace

SLACK, MEAN, FACTORS = 0, 1, 2  # places of the slack, the mean and the first factor in a point
MAX_INNER = 40  # conjugate-gradient steps for one Newton direction


class Rows(NamedTuple):
    """Quadratics of n rows in the unit box, each divided by ``scale`` so that its norm is about one."""

    basis: Array  # (p, d) orthonormal, shared by the rows
    weight: Array  # (n, p)
    curvature: Array  # (n, 1), or (n, d) where coordinates have ranges of their own
    linear: Array  # (n, d)
    diagonal: Array  # (n, d) of Q
    size: Array  # (n, d) sum of the magnitudes of all terms that touch a coordinate
    scale: Array  # (n,)
    noise: Array  # (n,) bound on the error that rounding made in Q, spectral norm
    stretch: Array | None = None  # (n, d) in [0, 1]: the basis vectors of a row are basis * stretch

    def take(self, index: Array | slice) -> Rows:
        """The chosen rows."""
        return Rows(self.basis, *(None if field is None else field[index] for field in self[1:]))

    def vectors(self) -> Array:
        """The basis vectors of every row, (1, p, d) where all rows have the same ones, else (n, p, d)."""
        return self.basis[None] if self.stretch is None else self.stretch[:, None] * self.basis

    def spread(self, weight: Array) -> Array:
        """Diagonals (n, d) of basis' diag(weight) basis, for weights (n, p)."""
        diagonal = weight @ self.basis**2
        return diagonal if self.stretch is None else diagonal * self.stretch**2

    def product(self, points: Array) -> Array:
        """Q applied to mean and factors of (n, k + 2, d); zero in the slack."""
        (n, width, d), p = points.shape, len(self.basis)
        moved = points[:, MEAN:] if self.stretch is None else points[:, MEAN:] * self.stretch[:, None]
        inner = (moved.reshape(n * (width - 1), d) @ self.basis.T).reshape(n, width - 1, p)
        inner = (inner * self.weight[:, None]).reshape(n * (width - 1), p)
        result = namespace(points).zeros_like(points)
        result[:, MEAN:] = (inner @ self.basis).reshape(n, width - 1, d)
        if self.stretch is not None:
            result[:, MEAN:] *= self.stretch[:, None]
        result[:, MEAN:] += self.curvature[:, None] * points[:, MEAN:]
        return result

    def evaluate(self, points: Array) -> tuple[Array, Array, Array]:
        """Objective (n,), multipliers lam (n, d) and half the Riemannian gradient (n, k + 2, d)."""
        gradient = self.product(points)
        gradient[:, MEAN] += self.linear
        multipliers = -namespace(points).einsum("nkd,nkd->nd", points, gradient)
        objective = (self.linear * points[:, MEAN]).sum(1) - multipliers.sum(1)
        gradient += multipliers[:, None] * points
        return objective, multipliers, gradient

    def goal(self, tol: float, objective: Array) -> Array:
        """The tolerance ``tol * max(1, |objective|)`` of the caller's units in the scaled ones, (n,)."""
        return tol * namespace(objective).maximum(1 / self.scale, abs(objective))


def normalised(points: Array) -> Array:
    """Points with unit columns."""
    return points / namespace(points).sqrt((points * points).sum(1))[:, None]


def narrowed(points: Array) -> Array:
    """Points without the last factors that are zero in every row."""
    while points.shape[1] > FACTORS and not bool((points[:, -1] != 0).any()):
        points = points[:, :-1]
    return points


def widened(points: Array, width: int) -> Array:
    """Points with zero factors appended up to ``width`` vectors."""
    missing = [0 * points[:, :1]] * (width - points.shape[1])
    return namespace(points).concatenate([points, *missing], 1) if missing else points


def minimise(rows: Rows, points: Array, tol: float, max_steps: int) -> tuple[Array, Array, Array]:
    """Stationary points near ``points``.

    Parameters
    ----------
    rows : the n quadratics.
    points : (n, k + 2, d) start.
    tol : a row is done when the norms of its gradient's columns sum to ``tol * max(1, |objective|)``.
    max_steps : Newton steps at most.

    Returns
    -------
    points (n, k + 2, d), their objective (n,) and multipliers (n, d).
    """
    xp = namespace(points)
    d = points.shape[2]
    objective, lam, gradient = rows.evaluate(points)
    result = points + 0, objective + 0, lam + 0
    active = xp.where(objective == objective)[0]
    region = 0.1 * d**0.5 + 0 * objective
    for step in range(max_steps + 1):
        goal = rows.goal(tol, objective).clip(1e-14 * d)
        live = xp.sqrt((gradient * gradient).sum(1)).sum(1) > goal
        if step == max_steps:
            live = live & False
        if not bool(live.all()):
            done = active[~live]
            result[0][done], result[1][done] = widened(points[~live], result[0].shape[1]), objective[~live]
            result[2][done] = lam[~live]
            active, rows, points = active[live], rows.take(live), narrowed(points[live])
            gradient = gradient[live][:, : points.shape[1]]
            objective, lam, region, goal = (array[live] for array in (objective, lam, region, goal))
        if len(active) == 0:
            break
        change, predicted, at_edge = _direction(rows, points, lam, gradient, region, goal)
        trial = normalised(points + change)
        new = rows.evaluate(trial)
        noise = 1e-14 * (d + abs(objective))
        ratio = (new[0] - objective - noise) / (predicted - noise)
        good = ratio > 0.05
        region = xp.where(at_edge & (ratio > 0.75), 2 * region, xp.where(ratio < 0.25, 0.25 * region, region))
        points = xp.where(good[:, None, None], trial, points)
        gradient = xp.where(good[:, None, None], new[2], gradient)
        lam, objective = xp.where(good[:, None], new[1], lam), xp.where(good, new[0], objective)
    return result


def _preconditioner(rows: Rows, lam: Array) -> Array:
    """A positive stand-in (n, d) for the diagonal of the Hessian."""
    xp = namespace(lam)
    floor = xp.maximum(0.1 * rows.size, 1e-14 * rows.size.sum(1)[:, None])
    scale = xp.maximum(lam + rows.diagonal, floor)
    return xp.where(scale > 0, scale, 1.0)


def _dot(a: Array, b: Array) -> Array:
    return namespace(a).einsum("nkd,nkd->n", a, b)


def _direction(
    rows: Rows, points: Array, lam: Array, gradient: Array, region: Array, goal: Array
) -> tuple[Array, Array, Array]:
    """Truncated conjugate gradients (Steihaug) for the Newton step in the ball of radius ``region``.

    The ball is one in the norm of the preconditioner. Returns the step, the predicted change of the
    objective (n,) and whether the step ends at the edge (n,). Rows that are done leave the batch.
    """
    xp = namespace(points)
    step, residual, at_edge = xp.zeros_like(points), -gradient, region < 0
    index = xp.where(region > 0)[0]
    scale = _preconditioner(rows, lam)[:, None]
    x, r, edge, alive = step, residual, at_edge, region > 0
    p = r / scale
    rz = _dot(r, p)
    target = xp.maximum(rz * rz.clip(None, 0.01), (0.1 * goal) ** 2 / lam.shape[1])
    xx, xmp, pp = 0 * rz, 0 * rz, rz  # products of x and p in the preconditioner's norm
    for _ in range(MAX_INNER):
        h = rows.product(p) + lam[:, None] * p
        h -= points * xp.einsum("nkd,nkd->nd", points, h)[:, None]
        curve = _dot(p, h)
        flat = abs(curve) <= 1e-9 * pp  # rotations of the factors: nothing to gain, only rounding to lose
        alpha = rz / xp.where(flat, 1.0, curve)
        length = xx + alpha * (2 * xmp + alpha * pp)
        hit = alive & ~flat & ((curve < 0) | (length >= region**2))
        reach = xp.sqrt((xmp * xmp + pp * (region**2 - xx)).clip(0.0)) - xmp
        move = xp.where(hit, reach / xp.where(pp > 0, pp, 1.0), alpha)
        move = xp.where(alive & ~flat, move, 0.0)[:, None, None]
        x, r, edge = x + move * p, r - move * h, edge | hit
        z = r / scale
        rz_next = _dot(r, z)
        alive = alive & ~(flat | hit) & (rz_next > target)
        count = int(alive.sum())
        if count < 0.8 * len(index):
            step[index], residual[index], at_edge[index] = x, r, edge
            if count == 0:
                break
            keep, index, rows = alive, index[alive], rows.take(alive)
            points, lam, scale, x, r, z, p = (a[keep] for a in (points, lam, scale, x, r, z, p))
            rz, rz_next, xx, xmp, pp, alpha = (a[keep] for a in (rz, rz_next, xx, xmp, pp, alpha))
            length, target, region, edge, alive = (a[keep] for a in (length, target, region, edge, alive))
        beta = rz_next / xp.where(rz > 0, rz, 1.0)
        xx, xmp, pp, rz = length, beta * (xmp + alpha * pp), rz_next + beta * beta * pp, rz_next
        p = z + beta[:, None, None] * p
    else:
        step[index], residual[index], at_edge[index] = x, r, edge
    return step, _dot(gradient, step) - _dot(residual, step), at_edge
