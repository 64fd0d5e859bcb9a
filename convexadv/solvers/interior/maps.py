"""The linear maps between the blocks of an iterate, what groups of terms see of them, and the values of their cones."""

from __future__ import annotations

from typing import Any

import torch

from .images import Images
from .newton import Layout

_MOST_PRODUCTS = 1 << 26
"""Entries of the products of all pairs of columns that are held; beyond, they are formed block by block."""


class Maps:
    """Maps of a working set of blocks.

    Parameters
    ----------
    layout : Layout
    images : list of Images
    radius : (n,)
        Of the cones.
    """

    def __init__(self, layout: Layout, images: list[Images], radius: Any):
        self.layout, self.images, self.radius = layout, images, radius
        self.X, self.robust = layout.X, bool(radius.any())
        n, d = self.X.shape
        self._products = None
        if n * d * d <= _MOST_PRODUCTS:
            self._products = (self.X[:, :, None] * self.X[:, None, :]).reshape(n, d * d)

    def images_of(self, v: Any) -> list[Any]:
        """Images of every set of terms, (g, width), of blocks (B, D)."""
        theta = self.layout.slots(v)
        outputs = alpha = None
        values = []
        for image in self.images:
            if image.robust:
                alpha = self.layout.alpha(theta) if alpha is None else alpha
                values.append(image.of_alpha(alpha))
            else:
                outputs = self.layout.outputs_at_rows(theta) if outputs is None else outputs
                values.append(image.of_outputs(outputs))
        return values

    def pulled(self, forces: list[Any]) -> Any:
        """Adjoint of :meth:`images_of`, (B, D)."""
        total = torch.zeros(len(self.layout.keys), self.X.shape[1], dtype=self.X.dtype, device=self.X.device)
        for image, force in zip(self.images, forces, strict=True):
            if image.robust:
                total = total + self.layout.from_alpha(image.to_alpha(force))
            else:
                total = total + self.layout.from_outputs(image.to_outputs(force))
        return self.layout.blocks(total)

    def cone_values(self, v: Any, rho: Any) -> Any:
        """A v - r rho, (B, n)."""
        values = (v @ self.X.T).mul_(self.layout.signs)
        return values - rho[:, None] * self.radius if self.robust else values

    def cone_pulled(self, z: Any) -> tuple[Any, Any]:
        """(A'z, -sum r z) of every block."""
        pulled = (z * self.layout.signs) @ self.X
        return pulled, -(z @ self.radius) if self.robust else self.X.new_zeros(len(z))

    def weighted_grams(self, weight: Any) -> Any:
        """X'diag(w)X for every row w of the weights, (B, D, D)."""
        d = self.X.shape[1]
        if self._products is not None:
            return (weight @ self._products).view(-1, d, d)
        return torch.stack([self.X.T @ (self.X * own[:, None]) for own in weight])
