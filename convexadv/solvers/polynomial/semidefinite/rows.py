"""What the rows add to the system of the lifts: their own variables are eliminated within each row."""

from __future__ import annotations

import numpy as np

from .coordinates import Coordinates
from .families import Family, Layout
from .variables import Part, diagonals, inequality, symmetric


class Inequalities:
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

    def right_side(self, mu: float, predicted: Part | None, kept: float) -> np.ndarray:
        """What a step towards mu, and to a share of the residual that is kept, adds to the right side of Z, (outputs, F)."""
        family, part, V = self.family, self.part, self.family.radii
        self.removed = (1.0 - kept) * self.residual
        target = mu * self.S_inverse - symmetric(part.Y @ self.removed @ self.S_inverse)
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
        dS = family.images(parts) + self.removed
        entries = dlam @ V
        entries[..., -1] += du
        diagonals(dS)[...] += entries
        dY = self.target - part.Y - symmetric(part.Y @ (dS - self.removed) @ self.S_inverse)
        dtau = self.complement / part.lam - part.tau - part.tau / part.lam * dlam
        dz = dY[..., -1, -1].sum(0)
        dxi = (self.limited + part.xi * dz) * self.inverse_slack - part.xi
        return Part(dS, dY, dlam, dtau, du, dxi)


class Equalities:
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

    def right_side(self, mu: float, predicted: Part | None, kept: float) -> np.ndarray:
        """What the rows add to the right side of Z, (outputs, F)."""
        return np.einsum("g,gof->of", self.family.weight * self.u, self.cross)

    def change(self, dw: np.ndarray) -> Part:
        """The step of u and z."""
        du = self.u - np.einsum("gof,of->g", self.cross, dw) - self.part.u
        dz = self.family.weight * (self.part.u + du) - self.part.Y[0, :, 0, 0]
        zero = 0.0 * self.part.S
        return Part(zero, dz[None, :, None, None], 0.0 * self.part.lam, 0.0 * self.part.tau, du, 0.0 * du)
