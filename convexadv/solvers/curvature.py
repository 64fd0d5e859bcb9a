r"""Gauss-Newton curvature of the smoothed objective: where L-BFGS starts from near a solution.

With J_g the derivative of the margin of group g by the neurons' vectors and q_g = p_g dz_g/du_g the curvature of its loss,

    P = sum_g q_g J_g J_g' + 2 beta I,      J_gj = c_gj [ (2a v_j.x + b ||v_j||) x + (b v_j.x/||v_j|| + 2c) v_j ],

x the row at its worst perturbation, c_gj the weight of neuron j in the term. The curvature of the penalty against that of
the margins, which vanishes along the neurons of a solution, is left at 2 beta I. J is never formed: its products cost two
with the K rows whose loss is curved (those on the kink, for the hinge), and J J' follows from the inner products of these
rows. P is inverted through the smaller of the K x K and the neurons' matrix, or not at all where this costs more than the
evaluations that it saves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

_LARGEST = 3000
"""Order of the matrix that is factorised."""
_WORTH = 20.0
"""Evaluations that a factorisation may cost, by operations; small matrices (see _FREE) are never refused."""
_FREE = 5e7


class _Part(NamedTuple):
    """Terms whose loss is curved: rows at their worst perturbations (K, d), weights on neurons (K, m), curvatures (K,)."""

    rows: Any
    weights: Any
    curvature: Any


def preconditioner(model: Any, neurons: Any, smoothing: Any, results: list[Any]) -> Callable[[Any], Any] | None:
    """The map r -> P^-1 r of flat gradients (m d,), or None where it does not pay.

    Parameters
    ----------
    model : ComponentModel
    neurons : Neurons
        Where the minimisation starts.
    smoothing : Smoothing
        Of the minimisation.
    results : list of Shortfalls
        Multipliers and perturbations near there.
    """
    beta = model.problem.beta
    if beta <= 0:
        return None
    curved = [
        _curved(model, terms, result, centre, smoothing.weight(terms))
        for terms, result, centre in zip(model.terms, results, smoothing.centres, strict=True)
    ]
    count, width = sum(int(on.sum()) for on, _ in curved), neurons.vectors.numel()
    if not count:
        return lambda r: r / (2.0 * beta)
    if not _pays(model, count, width):
        return None
    parts = [
        _part(model, neurons, terms, result, on, curvature)
        for terms, result, (on, curvature) in zip(model.terms, results, curved, strict=True)
    ]
    whole = _Part(*(model.torch.cat(arrays) for arrays in zip(*parts, strict=True)))
    jacobian = _Jacobian(model, neurons, whole)
    factor = _through_rows if count <= width else _through_neurons
    return factor(model.torch, jacobian, whole.curvature, 2.0 * beta)


def _pays(model: Any, count: int, width: int) -> bool:
    order = min(count, width)
    operations = 2.0 * count * order * (model.rows.d if count <= width else width) + order**3 / 3.0
    evaluation = 4.0 * model.rows.n * width
    return order <= _LARGEST and operations <= max(_FREE, _WORTH * evaluation)


def _curved(model: Any, terms: Any, result: Any, centre: Any, mu: float) -> tuple[Any, Any]:
    """(k, g) which terms curve the loss, and p dz/du = p / ((psi*)'' + mu)."""
    z, loss = result.multipliers, terms.loss
    total = z.sum(0)
    inside = (total < loss.upper) & ((z != 0) if loss.signed else (z > 0))
    softness = loss.conjugate_curvature(total) + (0.0 if centre is None else mu)
    on = inside & (softness > 0)
    return on, model.torch.where(on, terms.weight / softness.clamp_min(1e-300), 0.0)


def _part(model: Any, neurons: Any, terms: Any, result: Any, on: Any, curvature: Any) -> _Part:
    torch = model.torch
    rows, weights, curvatures = [], [], []
    for k in range(terms.k):
        group = torch.nonzero(on[k])[:, 0]
        number = group if terms.row is None else terms.row[group]
        x = model.tensor(model.rows.take(number.cpu().numpy()))
        rows.append(x + _perturbation(model, result, k, group, terms.g))
        weight = terms.sign[k][group][:, None] * neurons.signs
        if len(model.directions) > 1:
            weight = weight * model.directions[terms.direction[k][group]][:, neurons.outputs]
        weights.append(weight)
        curvatures.append(curvature[k][group])
    return _Part(torch.cat(rows), torch.cat(weights), torch.cat(curvatures))


def _perturbation(model: Any, result: Any, k: int, group: Any, n_groups: int) -> Any:
    """Mean perturbations of some groups, (K, d)."""
    torch = model.torch
    shift = torch.zeros((len(group), model.rows.d), dtype=model.dtype, device=model.device)
    place = torch.full((n_groups,), -1, dtype=torch.long, device=model.device)
    place[group] = torch.arange(len(group), device=model.device)
    for part in result.samples:
        mine = place if part.groups is None else place[part.groups]
        used = torch.nonzero(mine >= 0)[:, 0]
        mean = torch.einsum("s,sgp->gp", part.shares, part.coordinates[:, k, used])
        shift[mine[used]] = mean if part.basis is None else mean @ part.basis
    return shift if model.scale is None else shift * model.scale


class _Jacobian:
    """J of some terms: ``J_gj = rowwise_gj x_g + along_gj v_j``."""

    def __init__(self, model: Any, neurons: Any, part: _Part):
        a, b, c = model.problem.activation
        self.torch, self.x, self.v = model.torch, part.rows, neurons.vectors
        lengths = self.v.norm(dim=1).clamp_min(1e-150)
        self.products = self.x @ self.v.T
        self.rowwise = part.weights * (2.0 * a * self.products + b * lengths)
        self.along = part.weights * (b * self.products / lengths + 2.0 * c)

    def times(self, flat: Any) -> Any:
        """J r, (K,)."""
        r = flat.view_as(self.v)
        return (self.rowwise * (self.x @ r.T)).sum(1) + self.along @ (self.v * r).sum(1)

    def transposed(self, w: Any) -> Any:
        """J'w, (m d,)."""
        pull = (self.rowwise * w[:, None]).T @ self.x + (self.along.T @ w)[:, None] * self.v
        return pull.reshape(-1)

    def gram(self) -> Any:
        """J J', (K, K)."""
        cross = (self.rowwise * self.products) @ self.along.T
        inner = (self.rowwise @ self.rowwise.T) * (self.x @ self.x.T)
        return inner + cross + cross.T + (self.along * (self.v * self.v).sum(1)) @ self.along.T

    def squared(self, curvature: Any) -> Any:
        """J'diag(curvature)J, (m d, m d)."""
        dense = self.rowwise[:, :, None] * self.x[:, None, :] + self.along[:, :, None] * self.v[None]
        dense = dense.flatten(1)
        return dense.T @ (curvature[:, None] * dense)


def _through_rows(torch: Any, jacobian: _Jacobian, curvature: Any, shift: float) -> Callable[[Any], Any] | None:
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


def _through_neurons(torch: Any, jacobian: _Jacobian, curvature: Any, shift: float) -> Callable[[Any], Any] | None:
    matrix = jacobian.squared(curvature)
    matrix.diagonal().add_(shift)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if int(failed) else lambda r: torch.cholesky_solve(r[:, None], factor)[:, 0]
