r"""Curvature of smoothed worst-case margins: how the worst perturbations move with the neurons, summed over rows.

With A the quadratic form of the perturbation, of eigenvalues B_l in the span of the neurons and zero outside of it, and t,
e, nu multiplier, mean and barrier of :func:`convexadv.quadratics.smooth_ball_minimum`, the worst margin w has

    -d2w = 2 dg'(A+t)^-1 dg - 4/(kappa + 2 e'(A+t)^-1 e) (e'(A+t)^-1 dg)^2 + nu sum_kl dA_kl^2/((B_k+t)(B_l+t)) + ...,
    kappa = sum_l nu/(B_l+t)^2 + nu/t^2,    dA = a sum_j s_j D(v_j dv_j' + dv_j v_j')D,
    dg ~ 1/2 sum_j [ c_j D dv_j + b s_j (u_j.dv_j) D v_j ],    c_j = s_j (2a v_j.(x + D e) + b ||v_j||),

D the axes of the ellipsoid. Left out are the part 2a s_j (x + D e).dv_j D v_j of dg, which couples every feature with every
other, and the curvature at fixed moments, which belongs to the penalty's (:mod:`.ball_curvature_inverse`).

In the span, coordinates y_j = (D dv_j along the p eigenvectors, u_j.dv_j) make this one matrix of order m (p+1); outside of
it, all directions are alike and the matrix is G tensor the identity, G of order m.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...problems.terms import Terms

_NUMBERS = 1 << 21
"""Numbers of the largest array of a block of groups."""


class BallCurvature(NamedTuple):
    """The sum over rows of p z (-d2w)."""

    inside: Any
    """(m, p+1, m, p+1) in the coordinates y."""
    outside: Any
    """(m, m), G."""
    basis: Any
    """(p, d) eigenvectors."""
    along: Any
    """(m, p) D v_j in this basis."""


def has_balls(model: Any, smoothing: Any) -> bool:
    """Whether the formulas hold: l2 balls with a barrier, one quadratic form (but for its sign) in all terms, one process."""
    problem = model.problem
    alone = problem.together.size == 1
    return alone and model.robust and problem.norm == "l2" and smoothing.nu > 0 and len(model.directions) == 1


class BallSums:
    """What is summed over the groups of a chunk, as a list of tensors that may be added to those of other chunks.

    Parameters
    ----------
    model : ComponentModel
    forms : QuadraticForms
    neurons : Neurons
    nu : float
        Weight of the barrier.
    """

    def __init__(self, model: Any, forms: Any, neurons: Any, nu: float):
        self.model, self.forms, self.nu = model, forms, nu
        self.signs = neurons.signs * model.directions[0][neurons.outputs]
        self.lengths = neurons.vectors.norm(dim=1)
        self.basis = forms.bases[0]
        self.along = self.lengths[:, None] * forms.along(self.basis)

    def zero(self) -> list[Any]:
        """The sums of no group."""
        m, p = self.along.shape
        shapes = [(m * (p + 1), m * (p + 1)), (m, m, p), (m, p), (p,), (m, m), (p, p), (p,)]
        return [self.along.new_zeros(shape) for shape in shapes]

    def add(self, sums: list[Any], terms: Terms, k: int, products: Any, z: Any, samples: Any, t: Any) -> None:
        """Add the groups of alternative ``k`` to ``sums``.

        Parameters
        ----------
        products : (n, m)
            X u' of all rows of the chunk.
        z : (k, g)
            Multipliers.
        samples : Samples
            Of all groups, smoothed.
        t : (g,)
            Multipliers of the balls.
        """
        weight = terms.weight * z[k]
        m, p = self.along.shape
        chosen = self.model.torch.nonzero((weight > 0) & (terms.radius > 0))[:, 0]
        for group in chosen.split(max(1, _NUMBERS // (m * max(m, p + 1)))):
            row = group if terms.row is None else terms.row[group]
            e, inverse = samples.coordinates[0, k, group], samples.spread[0, k, group] / self.nu
            slopes = self.signs * self.lengths
            slopes = slopes * (2.0 * self.forms.a * self.forms.moved(products[row], e, self.basis) + self.forms.b)
            parts = self._block(slopes, weight[group], e, inverse, t[group], terms.curvature[group])
            for total, part in zip(sums, parts, strict=True):
                total += part

    def _block(self, slopes: Any, weight: Any, e: Any, inverse: Any, t: Any, curvature: Any) -> list[Any]:
        """The sums of some groups: c (g, m), p z (g,), e and 1/(B + t) (g, p), t and curvature of the margin (g,)."""
        m, nu = len(self.along), self.nu
        pull = inverse * e
        kappa = nu * (inverse * inverse).sum(1) + nu / (t * t)
        last = self.forms.b * self.signs * (pull @ self.along.T)
        h = self.model.torch.cat([slopes[:, :, None] * pull[:, None], last[:, :, None]], 2).flatten(1)
        heavy, outer = weight[:, None] * slopes, weight / (t + curvature)
        pairs = (heavy[:, :, None] * slopes[:, None]).flatten(1)
        return [
            (h * (weight / (kappa + 2.0 * (e * pull).sum(1)))[:, None]).T @ h,
            (pairs.T @ inverse).view(m, m, -1),
            heavy.T @ inverse,
            weight @ inverse,
            (slopes * outer[:, None]).T @ slopes,
            nu * (inverse * weight[:, None]).T @ inverse,
            nu * (outer @ inverse),
        ]

    def curvature(self, sums: list[Any]) -> BallCurvature:
        """The matrices from the sums over all chunks."""
        rank_one, squares, mixed, plain, outside, spread, spread_out = sums
        torch, (m, p) = self.model.torch, self.along.shape
        ends = self.forms.b * self.signs[:, None] * self.along
        inside = torch.zeros((m, p + 1, m, p + 1), dtype=self.along.dtype, device=self.along.device)
        torch.einsum("jlkl->jkl", inside[:, :p, :, :p]).copy_(0.5 * squares)
        inside[:, :p, :, p] = 0.5 * mixed[:, :, None] * ends.T[None]
        inside[:, p, :, :p] = inside[:, :p, :, p].permute(2, 0, 1)
        inside[:, p, :, p] = 0.5 * (ends * plain) @ ends.T
        inside -= rank_one.view(m, p + 1, m, p + 1)
        signed = self.forms.a * self.signs[:, None] * self.along
        torch.einsum("jlkl->jkl", inside[:, :p, :, :p]).add_(
            2.0 * torch.einsum("lq,jq,kq->jkl", spread, signed, signed)
        )
        inside[:, :p, :, :p] += 2.0 * torch.einsum("lq,jq,kl->jlkq", spread, signed, signed)
        return BallCurvature(inside, 0.5 * outside + 2.0 * (signed * spread_out) @ signed.T, self.basis, self.along)
