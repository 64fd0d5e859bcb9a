r"""Prices of the gates that a working set leaves out, at given multipliers and points of robust gated terms.

A gate without weights is priced by ||q_k||, where the shares of its unstable rows and the tilts are free:

    q_k = sum of stable rows + sum_g p z s_gk (sign x_i) E_g - sum_e E_e (x) T_ek,

    0 <= s <= 1,  ||T_ek|| <= sum_g r p z s_gk.

The distance of q_k, output by output, from the ball of radius beta is minimised by Frank and Wolfe's method for all gates at
once. Its linear problem is the margin itself: at the direction R, s = 1 where sign x_i'E_g R - r ||E_g R||_q < 0, and T the
point that attains the norm. It tells too when no choice brings q_k into the ball.
"""

from __future__ import annotations

from typing import Any

import torch

from ...balls import gauge
from .model import Duals, GatedModel

_STEPS = 300
_ENOUGH = 1e-3
"""A gate is done below (1 - this) beta."""


def lowered(model: GatedModel, duals: Duals, gates: Any, beta: float) -> tuple[Duals, Any]:
    """The dual variables with better shares and tilts for some gates, and the prices of the gates, (m,).

    Parameters
    ----------
    model : GatedModel
        With one set of robust terms.
    duals : Duals
    gates : (m,) int
    beta : float
    """
    unstable, (terms,), (rows,) = model.unstable, model.terms, model.rows
    z, _, share, tilts = (entry[0] for entry in duals)
    if unstable is None or not len(gates):
        return duals, model.pulled(duals)[:, gates].pow(2).sum(2).amax(0).sqrt()
    mass = terms.weight * z  # (k, g)
    here = unstable[rows][:, gates]
    share, tilts = share.clone(), tilts.clone()
    own = share[:, :, gates] * here
    reach = mass * terms.radius
    size = _sizes(model, terms, reach, own)
    T = size[:, :, None] * tilts[:, gates]
    stable = model.active[:, gates].T @ _stable(model, terms, rows, z, duals.points[0])  # (outputs, m, D)
    pulled = _pulled(model, terms, rows, mass, own)
    aim, done = (1.0 - _ENOUGH) * beta, torch.zeros(len(gates), dtype=torch.bool, device=model.X.device)
    for _ in range(_STEPS):
        q = stable + pulled - torch.einsum("ko,kmd->omd", model.directions, T)
        R = q * (1.0 - aim / q.norm(dim=2, keepdim=True).clamp_min(1e-300)).clamp_min(0.0)
        if bool((done | (R == 0).all(2).all(0)).all()):
            break
        moved = torch.einsum("ko,omd->kmd", model.directions, R)
        norms, unit = _attained(model, moved)
        products = torch.einsum("nd,kmd->knm", model.X, moved)
        new = torch.stack(
            [
                (
                    terms.sign[k][:, None] * products[terms.direction[k], rows]
                    - terms.radius[:, None] * norms[terms.direction[k]]
                    < 0
                ).to(own.dtype)
                * here
                for k in range(terms.k)
            ]
        )
        new_pulled, new_T = _pulled(model, terms, rows, mass, new), _sizes(model, terms, reach, new)[:, :, None] * unit
        step = new_pulled - pulled - torch.einsum("ko,kmd->omd", model.directions, new_T - T)
        slope = -(R * step).sum((0, 2))
        done |= (R * (q + step)).sum((0, 2)) > beta * R.norm(dim=2).sum(0)
        length = (slope / step.pow(2).sum((0, 2)).clamp_min(1e-300)).clamp(0.0, 1.0)
        own = own + length * (new - own)
        pulled = pulled + length[:, None] * (new_pulled - pulled)
        T = T + length[:, None] * (new_T - T)
    share[:, :, gates] = own
    tilts[:, gates] = T / _sizes(model, terms, reach, own)[:, :, None].clamp_min(1e-300)
    tilts = tilts / gauge(tilts[..., model.perturbed], model.problem.norm).clamp_min(1.0)[..., None]
    R = stable + pulled - torch.einsum("ko,kmd->omd", model.directions, T)
    return Duals([z], duals.points, [share], [tilts]), R.pow(2).sum(2).amax(0).sqrt()


def _stable(model: GatedModel, terms: Any, rows: Any, z: Any, points: Any) -> Any:
    """(outputs, n, D): what every row pulls the gates with that are active over its ball."""
    vectors = model.X.new_zeros(len(model.directions), len(model.X), model.X.shape[1])
    for k in range(terms.k):
        own = (terms.weight * z[k])[:, None] * (terms.sign[k][:, None] * model.X[rows] + points[k])
        vectors.index_put_((terms.direction[k], rows), own, accumulate=True)
    return torch.einsum("ko,knd->ond", model.directions, vectors)


def _pulled(model: GatedModel, terms: Any, rows: Any, mass: Any, share: Any) -> Any:
    """(outputs, m, D): what unstable rows pull with, without the tilts."""
    result = model.X.new_zeros(model.outputs, share.shape[2], model.X.shape[1])
    for k in range(terms.k):
        own = (mass[k] * terms.sign[k])[:, None] * model.directions[terms.direction[k]]
        for o in range(model.outputs):
            result[o] += share[k].T @ (own[:, o, None] * model.X[rows])
    return result


def _sizes(model: GatedModel, terms: Any, reach: Any, share: Any) -> Any:
    """sum over the groups of a direction of r p z s, (K, m)."""
    result = share.new_zeros(len(model.directions), share.shape[2])
    for k in range(terms.k):
        result.index_add_(0, terms.direction[k], reach[k][:, None] * share[k])
    return result


def _attained(model: GatedModel, moved: Any) -> tuple[Any, Any]:
    """||.||_q of perturbed entries (K, m, D), and points of the unit ball that attain it."""
    own, unit = moved[..., model.perturbed], torch.zeros_like(moved)
    norm = model.problem.norm
    if norm == "linf":
        point = own.sign()
    elif norm == "l2":
        point = own / own.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    else:
        largest = own.abs().argmax(-1, keepdim=True)
        point = torch.zeros_like(own).scatter_(-1, largest, own.gather(-1, largest).sign())
    unit[..., model.perturbed] = point
    return gauge(own, model.problem.dual_norm), unit
