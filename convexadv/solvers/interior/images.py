r"""What the groups of terms see of the blocks, its adjoint, and the coupling that it puts into Newton's equations.

Group g of row i and direction E sees m = sign x_i'E alpha_i, and in robust terms also r E alpha_i over the perturbed
features, alpha_io = sum over blocks of output o of side D_i,gate v.
"""

from __future__ import annotations

from typing import Any

import torch


class Images:
    """Images of one set of terms.

    Parameters
    ----------
    X : (n, D)
    rows : (g,) int
    sign, radius : (g,)
    directions : (g, outputs)
        E of every group.
    perturbed : (p,) int
        Perturbed features.
    robust : bool
    """

    def __init__(self, X: Any, rows: Any, sign: Any, radius: Any, directions: Any, perturbed: Any, robust: bool):
        self.X, self.rows, self.sign, self.radius = X, rows, sign, radius
        self.directions, self.perturbed, self.robust = directions, perturbed, robust
        self.in_order = len(rows) == len(X) and bool((rows == torch.arange(len(X), device=X.device)).all())
        self.x = X if self.in_order else X[rows]
        self.width = 1 + (len(perturbed) if robust else 0)

    def of_outputs(self, values: Any) -> Any:
        """Images (g, 1) from the outputs at the rows (n, outputs); not robust."""
        own = values if self.in_order else values[self.rows]
        return (self.sign * (own * self.directions).sum(1))[:, None]

    def of_alpha(self, alpha: Any) -> Any:
        """Images (g, 1 + p) from alpha (n, outputs, D)."""
        own = torch.einsum("go,god->gd", self.directions, alpha[self.rows])
        margin = self.sign * (self.x * own).sum(1)
        return torch.cat([margin[:, None], self.radius[:, None] * own[:, self.perturbed]], 1)

    def to_outputs(self, image: Any) -> Any:
        """Adjoint of :meth:`of_outputs`, (n, outputs)."""
        pulled = (self.sign * image[:, 0])[:, None] * self.directions
        return pulled if self.in_order else self._to_rows(pulled)

    def to_alpha(self, image: Any) -> Any:
        """Adjoint of :meth:`of_alpha`, (n, outputs, D)."""
        own = (self.sign * image[:, 0])[:, None] * self.x
        own[:, self.perturbed] += self.radius[:, None] * image[:, 1:]
        return self._to_rows(self.directions[:, :, None] * own[:, None, :])

    def force(self, terms: Any, z: Any, points: Any) -> Any:
        """What multipliers (k, g) and points (k, g, D) pull the images with, (g, width)."""
        relative = terms.sign * terms.sign[0]
        own = (terms.weight * (relative * z).sum(0))[:, None]
        if not self.robust:
            return own
        shift = ((terms.weight * z * terms.sign)[:, :, None] * points[:, :, self.perturbed]).sum(0)
        return torch.cat([own, shift / self.radius.clamp_min(1e-300)[:, None]], 1)

    def lifted(self, matrix: Any) -> Any:
        """The Newton matrix of images (g, p, p) as one of E alpha, (g, D, D)."""
        g, d = self.x.shape
        lift = self.x.new_zeros(g, self.width, d)
        lift[:, 0] = self.sign[:, None] * self.x
        lift[:, torch.arange(1, self.width, device=lift.device), self.perturbed] = self.radius[:, None]
        return lift.transpose(1, 2) @ matrix @ lift

    def _to_rows(self, values: Any) -> Any:
        out = values.new_zeros(len(self.X), *values.shape[1:])
        return out.index_add_(0, self.rows, values)
