"""Where the interior-point method starts: a centred point, feasible for a larger penalty, with large products."""

from __future__ import annotations

import numpy as np

from .coordinates import Coordinates
from .families import Family, Layout
from .variables import Iterate, Part, diagonals, inequality

_SIZE = 100.0
"""First products mu, in units of the mean multiplier: margins are of size one, and far from the boundary steps are long."""


@np.errstate(all="ignore")
def start(layout: Layout, coordinates: Coordinates) -> Iterate:
    """An iterate; dual feasible for a penalty that is large enough, and primal feasible where the multipliers have a limit.

    The multipliers are half as large as their limits allow, at rows that spread over half of their balls; W is zero, and all
    that stands beside it follows from the products that the multipliers need. Smaller multipliers would be feasible for the
    penalty of the problem too, but next to their boundary, and from there steps stay short.
    """
    multipliers = [_multipliers(family) for family in layout.families]
    pull = sum(layout.pulls(family, Y) for family, Y in zip(layout.families, multipliers, strict=True))
    base = np.full(coordinates.order, (coordinates.order - 1) / coordinates.order)
    base[-1] = 1.0 / coordinates.order
    root = base**-0.5
    size = float(np.abs(np.linalg.eigvalsh(pull * root[:, None] * root)).max())
    beta = max(layout.beta, 2.0 * size)
    heights = np.concatenate([Y[..., -1, -1].reshape(-1) for Y in multipliers])
    mu = _SIZE * float(heights.mean())
    Q = np.diag(beta * base) - np.stack([pull, -pull])
    Z = np.zeros_like(Q) + np.diag(layout.emphasis * mu / (beta * base))
    parts = [_part(layout, family, Y, mu) for family, Y in zip(layout.families, multipliers, strict=True)]
    return Iterate(Z, Q, parts, beta)


def _multipliers(family: Family) -> np.ndarray:
    k, g = family.sign.shape
    q, L = family.order, len(family.radii)
    z = 0.5 / k * np.where(np.isfinite(family.limit), family.limit, family.weight)
    Y = np.zeros((k, g, q, q))
    diagonals(Y)[..., :-1] = (z * (0.5 if L != 1 else 0.5 / (q - 1)))[:, None]
    diagonals(Y)[..., -1] = z
    return Y


def _part(layout: Layout, family: Family, Y: np.ndarray, mu: float) -> Part:
    tau = -diagonals(Y) @ family.radii.T
    if family.loss.signed:
        zero = 0.0 * family.weight
        return Part(0.0 * Y, 0.0 * Y, tau, tau, zero, zero)
    lam, height = mu / tau, mu / Y[..., -1, -1]
    z = Y[..., -1, -1].sum(0)
    u = family.loss.conjugate_derivative(z / family.weight)
    if not family.bounded:  # no step leads from a far too large u to multipliers of its size
        return Part(mu * np.linalg.inv(Y), Y, lam, tau, u, 0.0 * u)
    inside = (family.offset - lam @ family.radii[:, -1] + height).max(0)
    S = inequality(family, np.zeros((len(layout.directions), *layout.factor.shape)), lam, inside)
    xi = inside - u if family.loss.sharp else mu / (family.limit - z)
    return Part(S, Y, lam, tau, inside, xi)
