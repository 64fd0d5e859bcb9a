r"""Newton directions of the interior-point method, all rows at once.

Every inequality obeys Y S = mu I, every multiplier of a ball lambda tau = mu with the slack tau = -<v, diag Y>, every lift
Z Q = w mu I (w: Layout.emphasis) with Q = beta E_44 - K o sum sign P Y P' + (a multiple of diag(I, -1)), and every loss

    u = (psi*)'(z/p) + xi,    xi (p upper - z) = mu,    z = sum_k Y_44,

the first term of which is all that is asked of a loss. The products are symmetrised as in Helmberg, Rendl, Vanderbei and
Wolkowicz (SIAM Journal on Optimization 6, 1996). The lambda and u of a row are eliminated within the row; what remains is
one positive definite system of order 2 outputs F for the lifts.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from .coordinates import Coordinates
from .families import Layout
from .rows import Equalities, Inequalities
from .variables import Iterate, symmetric

_REFINEMENTS, _ACCURACY = 2, 1e-10
"""Most refinements of a corrected step, and the error in units of beta that needs none."""


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
            (Equalities if family.loss.signed else Inequalities)(layout, coordinates, family, part, lifts)
            for family, part in zip(layout.families, iterate.parts, strict=True)
        ]
        self.Z_inverse = np.linalg.inv(iterate.Z)
        self.corner = np.zeros(coordinates.count)
        self.corner[coordinates.diagonal] = 1.0
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

    def step(self, mu: float, predicted: Iterate | None = None, kept: float = 0.0) -> Iterate:
        """The direction towards the products mu and a share of the infeasibility that is kept.

        With a predicted direction it is corrected for the second order of that.
        """
        coordinates, target = self.coordinates, mu * self.layout.emphasis * self.Z_inverse
        self.beta = self.layout.beta + kept * (self.iterate.beta - self.layout.beta)
        if predicted is not None:
            target = target - symmetric(predicted.Q @ predicted.Z @ self.Z_inverse)
        pull = sum(
            row.right_side(mu, None if predicted is None else predicted.parts[number], kept)
            for number, row in enumerate(self.rows)
        )
        missing = coordinates.fold(target) - self.beta * self.corner + np.stack([pull, -pull])
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
        return Iterate(dZ, dQ, [row.change(dw) for row in self.rows], self.beta - self.iterate.beta)

    def _missing(self, change: Iterate) -> np.ndarray:
        """What the multipliers of Z and Z' would lack after a step, (2, outputs, F); but for rounding it is zero."""
        pull = sum(
            self.layout.pulls(row.family, row.part.Y + part.Y)
            for row, part in zip(self.rows, change.parts, strict=True)
        )
        return self.coordinates.fold(self.iterate.Q + change.Q + np.stack([pull, -pull])) - self.beta * self.corner
