r"""Curvature of the smoothed objective: where L-BFGS starts from near a solution.

With J_g the derivative of the margin of group g by the neurons' vectors and q_g = p_g dz_g/du_g the curvature of its loss,

    P = sum_g q_g J_g J_g' + 2 beta I,      J_gj = c_gj [ (2a v_j.x + b ||v_j||) x + (b v_j.x/||v_j|| + 2c) v_j ],

x the row at its worst perturbation, c_gj the weight of neuron j in the term. The curvature of the penalty against that of
the margins, which vanishes along the neurons of a solution, is left at 2 beta I. J is never formed: its products cost two
with the K rows whose loss is curved (those on the kink, for the hinge), and J J' follows from the inner products of these
rows. P is inverted through the smaller of the K x K and the neurons' matrix, or not at all where this costs more than the
evaluations that it saves.

With l2 balls, how the worst perturbations move and the curvature of the penalty are added (:func:`_with_balls`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any

from .ball_curvature import has_balls
from .ball_curvature_inverse import LARGEST, dense, operations, split
from .requests import Curved
from .works import curvature_of

_WORTH = 20.0
"""Evaluations that a factorisation may cost, by operations; small matrices (see _FREE) are never refused."""
_FREE = 5e7
_SHARE, _LEAST = 0.5, float(1 << 23)
"""Share of the memory of the data that the curvatures of all classes may hold, and numbers that they always may."""
_NUMBERS = 1 << 20
"""Numbers of the largest array of a block of rows."""
_ORACLE = 3000.0
"""Operations that the worst case costs a row and neuron, in units of those of a matrix product."""


def preconditioner(
    model: Any, neurons: Any, smoothing: Any, multipliers: Any, whole: bool = True, moment: Any = None
) -> Generator[Any, Any, Callable[[Any], Any] | None]:
    """The map r -> P^-1 r of flat gradients (m d,), or None where it does not pay. A generator of requests.

    Parameters
    ----------
    model : ComponentModel
    neurons : Neurons
        Where the minimisation starts.
    smoothing : Smoothing
        Of the minimisation.
    multipliers : PerChunk
        There.
    whole : bool
        False takes the penalty alone, and only where no loss is curved; does not matter where balls are accounted for.
    moment : Moment, optional
        Moment matrix of the output at or near these multipliers, which the curvature of balls needs.
    """
    beta = model.problem.beta
    if beta <= 0 or model.problem.together.size > 1 or not neurons.vectors.numel():
        return None
    count = sum(
        int((curvature_of(kind, z, smoothing) > 0).sum())
        for chunk in multipliers
        for kind, z in zip(model.kinds, chunk, strict=True)
        if z is not None
    )
    width = neurons.vectors.numel()
    if moment is not None and has_balls(model, smoothing):
        found = yield from _with_balls(model, neurons, smoothing, multipliers, count, moment)
        if found is not None:
            return found
    if not count:
        return lambda r: r / (2.0 * beta)
    if not whole or not _pays(model, count, width):
        return None
    rows, weights, curvature, _ = yield Curved(model, neurons, smoothing, multipliers)
    jacobian = Jacobian(model, neurons, rows, weights)
    factor = _through_rows if count <= width else _through_neurons
    return factor(model.torch, jacobian, curvature, 2.0 * beta)


def _with_balls(
    model: Any, neurons: Any, smoothing: Any, multipliers: Any, count: int, moment: Any
) -> Generator[Any, Any, Callable[[Any], Any] | None]:
    """P^-1 with the curvature of the balls, the cheaper way; None where it does not pay or has no factor."""
    rows, (m, d) = model.problem.rows, neurons.vectors.shape
    whole, parts = operations(rows.n, count, m, d)
    whole, parts = (
        cost if numbers <= _allowance(model) else math.inf
        for cost, numbers in (
            (whole, max(count * d, (m * d) ** 2)),
            (parts, count * (count + d) + (m * min(m, d)) ** 2),
        )
    )
    if model.scale is not None:
        parts = math.inf
    if min(whole, parts) > max(_FREE, _WORTH * rows.n * m * (4.0 * d + _ORACLE)):
        return None
    x, weights, curvature, ball = yield Curved(model, neurons, smoothing, multipliers, True)
    jacobian = Jacobian(model, neurons, x, weights)
    return (dense if whole <= parts else split)(model, jacobian, curvature, ball, neurons.signs, moment)


def _pays(model: Any, count: int, width: int) -> bool:
    order, rows = min(count, width), model.problem.rows
    if order**2 + count * rows.d > _allowance(model):
        return False
    operations = 2.0 * count * order * (rows.d if count <= width else width) + order**3 / 3.0
    return order <= LARGEST and operations <= max(_FREE, _WORTH * 4.0 * rows.n * width)


def _allowance(model: Any) -> float:
    """Numbers that one class may hold for its curvature, so that all classes together stay below the size of the data."""
    problem = model.problem
    return max(_LEAST, _SHARE * problem.rows.held / 8.0) / len(problem.components)


class Jacobian:
    """J of some terms: ``J_gj = rowwise_gj x_g + along_gj v_j``."""

    def __init__(self, model: Any, neurons: Any, rows: Any, weights: Any):
        a, b, c = model.problem.activation
        self.torch, self.x, self.v = model.torch, rows, neurons.vectors
        lengths = self.v.norm(dim=1).clamp_min(1e-150)
        self.products = self.x @ self.v.T
        self.rowwise = weights * (2.0 * a * self.products + b * lengths)
        self.along = weights * (b * self.products / lengths + 2.0 * c)

    def times(self, flat: Any) -> Any:
        """J r, (K,)."""
        r = flat.view_as(self.v)
        return (self.rowwise * (self.x @ r.T)).sum(1) + self.along @ (self.v * r).sum(1)

    def transposed(self, w: Any) -> Any:
        """J'w, (m d,)."""
        pull = (self.rowwise * w[:, None]).T @ self.x + (self.along.T @ w)[:, None] * self.v
        return pull.reshape(-1)

    def gram(self) -> Any:
        """J J', (K, K); with two arrays of this size at a time."""
        gram = self.x @ self.x.T
        gram *= self.rowwise @ self.rowwise.T
        cross = (self.rowwise * self.products) @ self.along.T
        gram += cross
        gram += cross.T
        return gram.addmm_(self.along * (self.v * self.v).sum(1), self.along.T)

    def squared(self, curvature: Any) -> Any:
        """J'diag(curvature)J, (m d, m d)."""
        m, d = self.v.shape
        total = self.v.new_zeros((m * d, m * d))
        for part in self.torch.arange(len(self.x), device=self.x.device).split(max(1, _NUMBERS // (m * d))):
            dense = self.rowwise[part, :, None] * self.x[part, None, :] + self.along[part, :, None] * self.v[None]
            dense = dense.flatten(1)
            total += dense.T @ (curvature[part, None] * dense)
        return total


def _through_rows(torch: Any, jacobian: Jacobian, curvature: Any, shift: float) -> Callable[[Any], Any] | None:
    """P^-1 = (I - J'(shift Q^-1 + J J')^-1 J) / shift."""
    matrix = jacobian.gram()
    matrix.diagonal().add_(shift / curvature)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        return None

    def apply(r: Any) -> Any:
        inner = torch.cholesky_solve(jacobian.times(r)[:, None], factor)[:, 0]
        return (r - jacobian.transposed(inner)) / shift

    return apply


def _through_neurons(torch: Any, jacobian: Jacobian, curvature: Any, shift: float) -> Callable[[Any], Any] | None:
    matrix = jacobian.squared(curvature)
    matrix.diagonal().add_(shift)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if int(failed) else lambda r: torch.cholesky_solve(r[:, None], factor)[:, 0]
