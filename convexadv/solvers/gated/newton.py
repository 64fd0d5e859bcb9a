r"""Newton's equations of the semismooth Newton method: (I + K H) x = residual over the groups of terms.

H = diag(slope) and K = sigma A J A', where A takes weights of gates to the groups, group g of row i and direction E_g seeing

    sign_g sum_o E_go sum_k D_ik x_i'V_ok,

and J is the derivative of the shrinkage at W, J_ok = f_ok I + (1 - f_ok) w w' with f = max(0, 1 - sigma beta/||W||) and
w = W/||W||. Few groups with H != 0 get a Cholesky factor; many get conjugate gradients in float32 products, preconditioned
by a matrix of rank (outputs * D) and a diagonal.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ..interior.local import cholesky

_FORCING = 0.2
_MOST_CG = 500
_EXPECTED_CG = 25
"""Iterations of conjugate gradients that a factor is weighed against."""
_CHOLESKY = 3.0
"""Operations of products that one of a Cholesky factor costs, at sizes that fit in the cache."""
_MOST_DENSE = 6000
_COARSE = torch.float32
"""Of the products inside conjugate gradients, which need few digits: what they return is only a direction."""


class Shrunk(NamedTuple):
    """The gates in use, one entry an output."""

    patterns: list[Any]
    """(n, m)."""
    factor: list[Any]
    """f, (m,)."""
    unit: list[Any]
    """w, (m, D)."""


def solve(model: Any, shrunk: Shrunk, sigma: float, slope: Any, residual: Any) -> Any:
    """x where H != 0; elsewhere x is zero."""
    used = sum(pattern.shape[1] for pattern in shrunk.patterns)
    if not used:
        return residual.masked_fill(slope <= 0, 0.0)
    free = torch.nonzero(slope > 0)[:, 0]
    m, (n, d) = len(free), model.X.shape
    dense = 2.0 * m * m * (2.0 * used + d * model.outputs + _CHOLESKY * m / 6.0)
    if m <= _MOST_DENSE and dense <= _EXPECTED_CG * 4.0 * n * d * used:
        x = torch.zeros_like(residual)
        x[free] = _factored(model, shrunk, sigma, slope[free], residual[free], free)
        return x
    return _conjugate_gradients(model, shrunk, sigma, slope, residual)


def _factored(model: Any, shrunk: Shrunk, sigma: float, slope: Any, residual: Any, free: Any) -> Any:
    """K over some groups, entry by entry, and a Cholesky factor of I + H^{1/2} K H^{1/2}.

    Output o adds  sigma E_go E_ho ((D f D')_ij x_i'x_j + sum_k (1 - f_k) D_ik D_jk (x_i'w_k)(x_j'w_k)).
    """
    rows, X = model.rows[free], model.X
    own = X[rows]
    gram = own @ own.T
    matrix = torch.zeros_like(gram)
    for o, (patterns, factor, unit) in enumerate(zip(*shrunk, strict=True)):
        if not len(factor):
            continue
        active = patterns[rows]
        along = active * (own @ unit.T) * (1.0 - factor).sqrt()
        part = (active * factor) @ active.T
        part = part.mul_(gram).addmm_(along, along.T)
        scale = model.coefficient[free, o]
        matrix += part.mul_(scale[:, None]).mul_(scale[None, :])
    root = (sigma * slope).sqrt()
    matrix.mul_(root[:, None]).mul_(root[None, :]).diagonal().add_(1.0)
    half = slope.sqrt()
    return torch.cholesky_solve((half * residual)[:, None], cholesky(matrix))[:, 0] / half


def _conjugate_gradients(model: Any, shrunk: Shrunk, sigma: float, slope: Any, residual: Any) -> Any:
    """Conjugate gradients in the inner product of H."""
    rows = model.coarse_rows
    patterns = [each.to(_COARSE) for each in shrunk.patterns]
    units = [each.to(_COARSE) for each in shrunk.unit]
    shrinking = [(sigma * each).to(_COARSE)[:, None] for each in shrunk.factor]
    rests = [(sigma * (1.0 - each)).to(_COARSE) for each in shrunk.factor]

    def coupled(c: Any) -> Any:
        pulled, seen = model.to_outputs(c).to(_COARSE), []
        for o, (pattern, unit, shrink, rest) in enumerate(zip(patterns, units, shrinking, rests, strict=True)):
            q = pattern.T @ (rows * pulled[:, o, None])
            moved = shrink * q + (rest * (q * unit).sum(1))[:, None] * unit
            seen.append(((pattern @ moved) * rows).sum(1))
        return model.to_groups(torch.stack(seen, 1).to(c.dtype))

    precondition = _preconditioner(model, shrunk, sigma, slope)
    x, left = torch.zeros_like(residual), residual
    direction = precondition(left)
    scaled = slope * direction
    product = first = float((scaled * left).sum())
    for _ in range(_MOST_CG):
        image = direction + coupled(scaled)
        curvature = float((scaled * image).sum())
        if not curvature > 0:
            break
        length = product / curvature
        x, left = x + length * direction, left - length * image
        new = precondition(left)
        scaled_new = slope * new
        following = float((scaled_new * left).sum())
        if not following > _FORCING**2 * first:
            break
        ratio, product = following / product, following
        direction, scaled = new + ratio * direction, scaled_new + ratio * scaled
    return x


def _preconditioner(model: Any, shrunk: Shrunk, sigma: float, slope: Any) -> Any:
    """Inverse of I + (R + Z Z') H: what the gates of an output do on average has rank D, the rest a diagonal R."""
    X, d = model.X, model.X.shape[1]
    square = (X * X).sum(1)
    rest, means = [], []
    for patterns, factor in zip(shrunk.patterns, shrunk.factor, strict=True):
        total = factor.sum().clamp_min(1e-300)
        shares = patterns @ factor
        mean = shares / total
        rest.append(sigma * square * (shares - total * mean * mean).clamp_min(0.0))
        means.append(mean * (sigma * total) ** 0.5)
    rows, coefficient = model.rows, model.coefficient
    diagonal = 1.0 + (coefficient**2 * torch.stack(rest, 1)[rows]).sum(1) * slope
    mean = torch.stack(means, 1)
    weight = slope / diagonal
    inner = X.new_zeros(model.outputs * d, model.outputs * d)
    for o in range(model.outputs):
        for e in range(o, model.outputs):
            own = X.new_zeros(len(X)).index_add_(0, rows, weight * coefficient[:, o] * coefficient[:, e])
            part = X.T @ (X * (own * mean[:, o] * mean[:, e])[:, None])
            inner[e * d : (e + 1) * d, o * d : (o + 1) * d] = part
    inner.diagonal().add_(1.0)
    root = cholesky(inner)

    def apply(v: Any) -> Any:
        own = v / diagonal
        pulled = ((model.to_outputs(slope * own) * mean).T @ X).reshape(-1, 1)
        small = torch.cholesky_solve(pulled, root)[:, 0].view(model.outputs, d)
        return own - model.to_groups((X @ small.T) * mean) / diagonal

    return apply
