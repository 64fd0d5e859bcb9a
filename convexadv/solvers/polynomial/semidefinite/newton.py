r"""Newton directions of the interior-point method, all rows at once.

Every inequality obeys Y S = mu I, every multiplier of a ball lambda tau = mu with the slack tau = -<v, diag Y>, every lift
Z Q = mu I with Q = beta E_44 - K o sum sign P Y P' + (a multiple of diag(I, -1)), and every loss

    u = (psi*)'(z/p) + xi,    xi (p upper - z) = mu,    z = sum_k Y_44,

the first term of which is all that is asked of a loss. The products are symmetrised as in Helmberg, Rendl, Vanderbei and
Wolkowicz (SIAM Journal on Optimization 6, 1996). The lambda and u of a row are eliminated within the row; what remains is
one positive definite system of order 2 outputs F for the lifts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg

from .coordinates import Coordinates
from .families import Family, Layout

_REFINEMENTS, _ACCURACY = 2, 1e-10
"""Most refinements of a corrected step, and the error in units of beta that needs none."""


class Part(NamedTuple):
    """Variables of a family, or their changes."""

    S: np.ndarray
    """(k, g, q, q)"""
    Y: np.ndarray
    """(k, g, q, q)"""
    lam: np.ndarray
    """(k, g, L)"""
    tau: np.ndarray
    """(k, g, L)"""
    u: np.ndarray
    """(g,)"""
    xi: np.ndarray
    """(g,) zero where the sum of the multipliers has no limit."""


class Iterate(NamedTuple):
    """All variables, or their changes."""

    Z: np.ndarray
    """(2, outputs, d + 1, d + 1) Z and Z'."""
    Q: np.ndarray
    """(2, outputs, d + 1, d + 1) their multipliers."""
    parts: list[Part]

    def moved(self, change: Iterate, primal: float, dual: float) -> Iterate:
        """The sum with a change, of two lengths."""
        parts = [
            Part(
                own.S + primal * step.S,
                own.Y + dual * step.Y,
                own.lam + primal * step.lam,
                own.tau + dual * step.tau,
                own.u + primal * step.u,
                own.xi + primal * step.xi,
            )
            for own, step in zip(self.parts, change.parts, strict=True)
        ]
        return Iterate(self.Z + primal * change.Z, self.Q + dual * change.Q, parts)


def symmetric(matrices: np.ndarray) -> np.ndarray:
    """(M + M')/2."""
    return 0.5 * (matrices + np.swapaxes(matrices, -1, -2))


def diagonals(matrices: np.ndarray) -> np.ndarray:
    """(..., q) diagonals."""
    return np.einsum("...ii->...i", matrices)


def inequality(family: Family, parts: np.ndarray, lam: np.ndarray, u: np.ndarray) -> np.ndarray:
    """S of a family, (k, g, q, q), at K o W of every direction."""
    S = family.images(parts)
    entries = lam @ family.radii
    entries[..., :-1] += family.curvature[:, None]
    entries[..., -1] += u - family.offset
    diagonals(S)[...] += entries
    return S


class _Row:
    """A family at an iterate: what its variables add to the system of the lifts, and what follows from a step of these."""

    def __init__(self, layout: Layout, coordinates: Coordinates, family: Family, part: Part, lifts: np.ndarray):
        self.layout, self.coordinates, self.family, self.part = layout, coordinates, family, part
        self.images = layout.parts(lifts)
        self.S_inverse = np.linalg.inv(part.S)
        self.residual = inequality(family, self.images, part.lam, part.u) - part.S
        self.z = part.Y[..., -1, -1].sum(0)
        self.slack = family.limit - self.z
        share = self.z / family.weight
        self.wanted = family.loss.conjugate_derivative(share)
        self.inverse_slack = 1.0 / self.slack if family.bounded else 0.0 * self.z
        self.softness = family.loss.conjugate_curvature(share) / family.weight + part.xi * self.inverse_slack
        if family.loss.name == "hard":
            self.softness = 0.0 * self.softness
        self._eliminate()

    def _eliminate(self) -> None:
        """Crosses of the local variables with the lifts, lambda eliminated."""
        family, part, V = self.family, self.part, self.family.radii
        left, right = family.frame @ self.S_inverse, family.frame @ part.Y
        sign = family.sign[:, :, None, None]
        first, second = np.swapaxes(left, -1, -2), np.swapaxes(right, -1, -2)
        fold, factor = self.coordinates.fold_products, self.layout.factor
        cross = sign[..., 0] * fold(first[:, :, -1], second[:, :, -1], factor)
        if len(V) > 1:
            self.crosses_lam = sign * fold(first[:, :, :-1], second[:, :, :-1], factor) - cross[:, :, None]
        else:
            summed = ((left[:, :, None] * V[:, None]) @ second[:, :, None]) * factor
            self.crosses_lam = sign * self.coordinates.fold(summed)
        local = self.S_inverse * part.Y
        self.mixed = (local @ V.T)[:, :, -1]
        matrix = V @ local @ V.T
        diagonals(matrix)[...] += part.tau / part.lam
        self.solver = np.linalg.inv(matrix)
        self.towards = (self.mixed[:, :, None] @ self.solver)[:, :, 0]
        cross = cross - (self.towards[:, :, None] @ self.crosses_lam)[:, :, 0]
        own = local[:, :, -1, -1] - (self.towards * self.mixed).sum(-1)
        self.stiffness = own.sum(0)
        self.damping = 1.0 / (1.0 + self.softness * self.stiffness)
        directions = self.layout.directions[family.direction]
        self.cross = np.einsum("kgo,kgf->gof", directions, cross)
        self.left, self.right = family.frame @ self.S_inverse @ np.swapaxes(family.frame, 1, 2), family.moments(part.Y)

    def add(self, system: np.ndarray) -> None:
        """Add the Hessian in the coordinates of W, (outputs, F, outputs, F)."""
        family, layout, coordinates = self.family, self.layout, self.coordinates
        N, F = coordinates.order, coordinates.count
        for number, direction in enumerate(layout.directions):
            mine = family.direction == number
            if not mine.any():
                continue
            own = coordinates.products(
                self.left[mine].reshape(-1, N, N), self.right[mine].reshape(-1, N, N), layout.factor
            )
            if len(family.radii):
                crosses = self.crosses_lam[mine]
                own = own - crosses.reshape(-1, F).T @ (self.solver[mine] @ crosses).reshape(-1, F)
            system += np.einsum("o,fh,p->ofph", direction, own, direction)
        flat = self.cross.reshape(len(self.cross), -1)
        weighted = flat * (self.softness * self.damping)[:, None]
        system -= (flat.T @ weighted).reshape(system.shape)

    def right_side(self, mu: float, predicted: Part | None) -> np.ndarray:
        """What a step towards mu adds to the right side of Z, (outputs, F)."""
        family, part, V = self.family, self.part, self.family.radii
        target = mu * self.S_inverse - symmetric(part.Y @ self.residual @ self.S_inverse)
        complement = mu + 0.0 * part.lam
        limited = mu + 0.0 * self.z
        if predicted is not None:
            target = target - symmetric(predicted.Y @ predicted.S @ self.S_inverse)
            complement = complement - predicted.lam * predicted.tau
            limited = limited + predicted.xi * predicted.Y[..., -1, -1].sum(0)
        self.target, self.complement, self.limited = target, complement, limited
        self.b_lam = diagonals(target) @ V.T + complement / part.lam
        self.rho = self.wanted + limited * self.inverse_slack - part.u
        if family.loss.name == "hard":
            self.rho = 0.0 * self.rho
        own = (target - part.Y)[..., -1, -1] - (self.towards * self.b_lam).sum(-1)
        self.b_u = own.sum(0)
        pull = self.coordinates.fold(self.layout.pulls(family, target))
        eliminated = ((self.solver @ self.b_lam[..., None])[:, :, None, :, 0] @ self.crosses_lam)[:, :, 0]
        directions = self.layout.directions[family.direction]
        pull = pull - np.einsum("kgo,kgf->of", directions, eliminated)
        step = (self.softness * self.b_u + self.rho) * self.damping
        return pull - np.einsum("g,gof->of", step, self.cross)

    def change(self, dw: np.ndarray) -> Part:
        """The step of the variables that belongs to a step dw (outputs, F) of W."""
        family, part, V = self.family, self.part, self.family.radii
        along = np.einsum("gof,of->g", self.cross, dw)
        du = (self.softness * (self.b_u - along) + self.rho) * self.damping
        image = self.layout.directions @ dw
        crossed = (self.crosses_lam @ image[family.direction][..., None])[..., 0]
        right = self.b_lam - crossed - self.mixed * du[:, None]
        dlam = (self.solver @ right[..., None])[..., 0]
        parts = self.layout.parts(self.coordinates.unfold(dw))
        dS = family.images(parts) + self.residual
        entries = dlam @ V
        entries[..., -1] += du
        diagonals(dS)[...] += entries
        dY = self.target - part.Y - symmetric(part.Y @ (dS - self.residual) @ self.S_inverse)
        dtau = self.complement / part.lam - part.tau - part.tau / part.lam * dlam
        dz = dY[..., -1, -1].sum(0)
        dxi = (self.limited + part.xi * dz) * self.inverse_slack - part.xi
        return Part(dS, dY, dlam, dtau, du, dxi)


class _Free:
    """Rows of the squared loss without a ball: u = offset - f, z = p u, no inequality."""

    def __init__(self, layout: Layout, coordinates: Coordinates, family: Family, part: Part, lifts: np.ndarray):
        self.family, self.coordinates, self.layout = family, coordinates, layout
        images = family.images(layout.parts(lifts))[0, :, 0, 0]
        self.u = family.offset[0] - images
        moments = family.moments(np.ones((1, len(self.u), 1, 1)))[0] * layout.factor
        cross = family.sign[0][:, None] * coordinates.fold(moments)
        self.cross = layout.directions[family.direction[0]][:, :, None] * cross[:, None]
        self.part = part

    def add(self, system: np.ndarray) -> None:
        """Add the Hessian in the coordinates of W, (outputs, F, outputs, F)."""
        flat = self.cross.reshape(len(self.cross), -1)
        system += (flat.T @ (flat * self.family.weight[:, None])).reshape(system.shape)

    def right_side(self, mu: float, predicted: Part | None) -> np.ndarray:
        """What the rows add to the right side of Z, (outputs, F)."""
        return np.einsum("g,gof->of", self.family.weight * self.u, self.cross)

    def change(self, dw: np.ndarray) -> Part:
        """The step of u and z."""
        du = self.u - np.einsum("gof,of->g", self.cross, dw) - self.part.u
        dz = self.family.weight * (self.part.u + du) - self.part.Y[0, :, 0, 0]
        zero = 0.0 * self.part.S
        return Part(zero, dz[None, :, None, None], 0.0 * self.part.lam, 0.0 * self.part.tau, du, 0.0 * du)


class System:
    """The linear system at an iterate, for several right sides.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where rounding has left it without a factorisation.
    """

    def __init__(self, layout: Layout, coordinates: Coordinates, iterate: Iterate):
        self.layout, self.coordinates, self.iterate = layout, coordinates, iterate
        lifts = iterate.Z[0] - iterate.Z[1]
        self.rows = [
            (_Free if family.loss.signed else _Row)(layout, coordinates, family, part, lifts)
            for family, part in zip(layout.families, iterate.parts, strict=True)
        ]
        self.Z_inverse = np.linalg.inv(iterate.Z)
        self.corner = np.zeros(coordinates.count)
        self.corner[coordinates.diagonal] = layout.beta
        C, F = layout.outputs, coordinates.count
        H = np.zeros((C, F, C, F))
        for row in self.rows:
            row.add(H)
        matrix = np.zeros((2, C, F, 2, C, F))
        matrix[0, :, :, 0] = H
        ones = np.ones((coordinates.order,) * 2)
        for output in range(C):
            first, second = (
                coordinates.products(self.Z_inverse[side, output][None], iterate.Q[side, output][None], ones)
                for side in range(2)
            )
            own = matrix[:, output, :, :, output]
            own[0, :, 0] += first
            own[0, :, 1] += first
            own[1, :, 0] += first
            own[1, :, 1] += first + second
        whole = matrix.reshape(2 * C * F, 2 * C * F)
        self.units = 1.0 / np.sqrt(np.diag(whole))
        self.factor = linalg.cho_factor(whole * self.units[:, None] * self.units, check_finite=False)

    def step(self, mu: float, predicted: Iterate | None = None) -> Iterate:
        """The direction towards the products mu; with a predicted direction, corrected for its second order."""
        coordinates, target = self.coordinates, mu * self.Z_inverse
        if predicted is not None:
            target = target - symmetric(predicted.Q @ predicted.Z @ self.Z_inverse)
        pull = sum(
            row.right_side(mu, None if predicted is None else predicted.parts[number])
            for number, row in enumerate(self.rows)
        )
        missing = coordinates.fold(target) - self.corner + np.stack([pull, -pull])
        moves = self._solved(missing)
        change = self._change(moves, target)
        for _ in range(0 if predicted is None else _REFINEMENTS):
            missing = self._missing(change)
            if float(np.abs(missing).max()) <= _ACCURACY * self.layout.beta:
                break
            moves = moves + self._solved(missing)
            change = self._change(moves, target)
        return change

    def _solved(self, right: np.ndarray) -> np.ndarray:
        """Steps of W and Z' in their coordinates, (2, outputs, F), for right sides of Z and Z'."""
        first, second = right
        flat = np.stack([first, first + second]).reshape(-1) * self.units
        return (linalg.cho_solve(self.factor, flat, check_finite=False) * self.units).reshape(right.shape)

    def _change(self, moves: np.ndarray, target: np.ndarray) -> Iterate:
        """The step of all variables that belongs to steps of W and Z'."""
        dw, dz = moves
        dZ = self.coordinates.unfold(np.stack([dw + dz, dz]))
        dQ = target - self.iterate.Q - symmetric(self.iterate.Q @ dZ @ self.Z_inverse)
        return Iterate(dZ, dQ, [row.change(dw) for row in self.rows])

    def _missing(self, change: Iterate) -> np.ndarray:
        """What the multipliers of Z and Z' would lack after a step, (2, outputs, F); but for rounding it is zero."""
        pull = sum(
            self.layout.pulls(row.family, row.part.Y + part.Y)
            for row, part in zip(self.rows, change.parts, strict=True)
        )
        return self.coordinates.fold(self.iterate.Q + change.Q + np.stack([pull, -pull])) - self.corner
