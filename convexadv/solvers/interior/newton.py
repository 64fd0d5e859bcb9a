r"""The linear system over the blocks: (B + S'Phi S) dv = rhs.

B is block diagonal. S adds up the blocks of a slot (gate, output) with their sides, and Phi is what the images couple.
The matrix is factored as it stands, or, where Phi = F'W F has fewer rows, by Woodbury's formula with C = S B^{-1} S',
block diagonal over slots:

    dv = own - B^{-1} S' F' W^{1/2} (I + W^{1/2} F C F' W^{1/2})^{-1} W^{1/2} F S own,      own = B^{-1} rhs.
"""

from __future__ import annotations

from typing import Any

import torch

from .faces import Faces
from .images import Images
from .local import cholesky

_REFINEMENTS = 3
_COARSE_REFINEMENTS = 8
_RESIDUAL = 1e-10
_STRIPS = 6


class Layout:
    """Which block belongs to which gate, output and side, and the slots that they share.

    Parameters
    ----------
    X : (n, D)
    patterns : (n, P) float
    gate, output : (B,) int
    side : (B,)
    outputs : int
        Number of outputs of the component.
    faces : Faces
        Linear hulls of flat cones, in which their blocks stay.
    """

    def __init__(self, X: Any, patterns: Any, gate: Any, output: Any, side: Any, outputs: int, faces: Faces):
        self.X, self.gate, self.output, self.side, self.outputs = X, gate, output, side, outputs
        self.patterns, self.faces = patterns, faces
        key = output * patterns.shape[1] + gate
        self.keys, self.slot = torch.unique(key, return_inverse=True)
        self.slot_gate, self.slot_output = self.keys % patterns.shape[1], self.keys // patterns.shape[1]
        self.active = patterns[:, self.slot_gate]
        self.signs = (2.0 * patterns[:, gate] - 1.0).T.contiguous()
        self.span = faces.projectors(self.slot_gate)
        self.vanishing = faces.vanishing(gate)
        if self.vanishing is not None:
            self.signs.masked_fill_(self.vanishing, 0.0)
        self._of_output = [torch.nonzero(self.slot_output == o)[:, 0] for o in range(outputs)]

    def take(self, kept: Any) -> Layout:
        """The layout of some of the blocks."""
        own = (self.gate[kept], self.output[kept], self.side[kept])
        return Layout(self.X, self.patterns, *own, self.outputs, self.faces)

    def slots(self, values: Any) -> Any:
        """S v: sums over the blocks of every slot with their sides, (slots, D)."""
        out = values.new_zeros(len(self.keys), values.shape[1])
        return self._spanned(out.index_add_(0, self.slot, self.side[:, None] * values))

    def blocks(self, slots: Any) -> Any:
        """S' theta, (B, D)."""
        return self.side[:, None] * self._spanned(slots)[self.slot]

    def within(self, values: Any) -> Any:
        """Vectors of the blocks (B, D) projected on the hulls of their cones."""
        return values if self.span is None else (self.span[self.slot] @ values[..., None])[..., 0]

    def restricted(self, matrix: Any) -> Any:
        """Matrices of the blocks (B, D, D) on the hulls of their cones, and a multiple of one beside them."""
        if self.span is None:
            return matrix
        span = self.span[self.slot]
        beside = torch.eye(span.shape[1], dtype=span.dtype, device=span.device) - span
        return span @ matrix @ span + matrix.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * beside

    def _spanned(self, theta: Any) -> Any:
        return theta if self.span is None else (self.span @ theta[..., None])[..., 0]

    def outputs_at_rows(self, theta: Any) -> Any:
        """f at the rows, (n, outputs)."""
        products = (self.X @ theta.T) * self.active
        if self.outputs == 1:
            return products.sum(1, keepdim=True)
        return torch.stack([products[:, own].sum(1) for own in self._of_output], 1)

    def from_outputs(self, values: Any) -> Any:
        """Adjoint of :meth:`outputs_at_rows`, (slots, D)."""
        weight = values.expand(-1, len(self.keys)) if self.outputs == 1 else values[:, self.slot_output]
        return (self.active * weight).T @ self.X

    def alpha(self, theta: Any) -> Any:
        """alpha at the rows, (n, outputs, D)."""
        return torch.stack([self.active[:, own] @ theta[own] for own in self._of_output], 1)

    def from_alpha(self, values: Any) -> Any:
        """Adjoint of :meth:`alpha`, (slots, D)."""
        out = values.new_zeros(len(self.keys), values.shape[2])
        for o, own in enumerate(self._of_output):
            out[own] = self.active[:, own].T @ values[:, o]
        return out

    def features(self, factors: Any = None) -> Any:
        """D_k o (X L_k) for every slot, (n, slots * D); L_k is the identity without factors."""
        n, d = self.X.shape
        if self.span is not None:
            factors = self.span if factors is None else self.span.to(factors.dtype) @ factors
        if factors is None:
            return (self.active[:, :, None] * self.X[:, None, :]).reshape(n, -1)
        products = self.X.to(factors.dtype) @ factors.transpose(0, 1).reshape(d, -1)
        return products.view(n, -1, d).mul_(self.active.to(factors.dtype)[:, :, None]).view(n, -1)


class System:
    """Factor of the Newton matrix at one iterate.

    Parameters
    ----------
    layout : Layout
    blocks : (B, D, D)
    images : list of Images
    curvature : list of (g, p, p)
        What the elimination left for the images of every set of terms.
    coarse : bool
        Form and factor the matrix over the groups in float32; refinement makes up for it as long as it is well conditioned
        (``residual`` says how far it came).
    whole : bool
        Factor the matrix as it stands even where Woodbury's formula is shorter: that keeps more digits.
    """

    def __init__(
        self,
        layout: Layout,
        blocks: Any,
        images: list[Images],
        curvature: list[Any],
        coarse: bool = False,
        whole: bool = False,
    ):
        self.layout, self._blocks, self._curvature, self.coarse = layout, blocks, curvature, coarse
        self.residual = 0.0
        groups = sum(len(image.rows) for image in images)
        robust = any(image.robust for image in images)
        self._images, self._weights = images, [matrix[:, 0, 0] for matrix in curvature]
        self.by_groups = not whole and not robust and groups <= blocks.shape[0] * blocks.shape[1]
        if self.by_groups:
            self._factor_groups()
            self._solve_once = self._solve_by_groups
        else:
            self._factor_whole(curvature, robust)
            self._solve_once = self._solve_whole

    def solve(self, side: Any) -> Any:
        """dv."""
        solution = self._solve_once(side)
        size = max(float(side.abs().amax()), 1e-300)
        for _ in range(_COARSE_REFINEMENTS if self.coarse else _REFINEMENTS):
            residual = side - self.times(solution)
            self.residual = float(residual.abs().amax()) / size
            if self.residual <= _RESIDUAL or not self.residual < 1e3:
                break
            solution = solution + self._solve_once(residual)
        return solution

    def times(self, v: Any) -> Any:
        """(B + S'Phi S) v."""
        layout, outputs, alpha = self.layout, None, None
        theta = layout.slots(v)
        total = torch.zeros_like(theta)
        for image, matrix in zip(self._images, self._curvature, strict=True):
            if image.robust:
                alpha = layout.alpha(theta) if alpha is None else alpha
                seen = (matrix @ image.of_alpha(alpha)[..., None])[..., 0]
                total = total + layout.from_alpha(image.to_alpha(seen))
            else:
                outputs = layout.outputs_at_rows(theta) if outputs is None else outputs
                total = total + layout.from_outputs(image.to_outputs(image.of_outputs(outputs) * matrix[:, 0]))
        return (self._blocks @ v[..., None])[..., 0] + layout.blocks(total)

    def _solve_by_groups(self, side: Any) -> Any:
        own = self._own(side)
        return own - self._own(self.layout.blocks(self._coupled(self.layout.slots(own))))

    def _own(self, side: Any) -> Any:
        return (self.inverse @ side[..., None])[..., 0]

    def _factor_groups(self) -> None:
        """W^{1/2} F C F' W^{1/2} + I over the groups."""
        layout, d = self.layout, self._blocks.shape[1]
        self.inverse = torch.cholesky_inverse(cholesky(self._blocks))
        shared = self.inverse.new_zeros(len(layout.keys), d, d).index_add_(0, layout.slot, self.inverse)
        kind = torch.float32 if self.coarse else shared.dtype
        features = layout.features(cholesky(shared).to(kind))
        weight = torch.cat(self._weights).clamp_min(0.0).sqrt()
        if layout.outputs == 1:
            parts = [
                (image.sign * image.directions[:, 0]).to(kind)[:, None]
                * (features if image.in_order else features[image.rows])
                for image in self._images
            ]
        else:
            repeated = layout.slot_output.repeat_interleave(d)
            parts = [
                image.sign.to(kind)[:, None] * features[image.rows] * image.directions[:, repeated].to(kind)
                for image in self._images
            ]
        rows = weight.to(kind)[:, None] * (parts[0] if len(parts) == 1 else torch.cat(parts))
        matrix = _lower_gram(rows)
        matrix.diagonal().add_(1.0)
        self._group_root, self._group_weight = cholesky(matrix), weight

    def _coupled(self, theta: Any) -> Any:
        """F'W^{1/2} (I + W^{1/2} F C F' W^{1/2})^{-1} W^{1/2} F theta."""
        layout = self.layout
        outputs = layout.outputs_at_rows(theta)
        seen = torch.cat([image.of_outputs(outputs) for image in self._images]) * self._group_weight[:, None]
        root = self._group_root
        solved = torch.cholesky_solve(seen.to(root.dtype), root).to(seen.dtype) * self._group_weight[:, None]
        total, start = 0.0, 0
        for image in self._images:
            total = total + image.to_outputs(solved[start : start + len(image.rows)])
            start += len(image.rows)
        return layout.from_outputs(total)

    def _factor_whole(self, curvature: list[Any], robust: bool) -> None:
        """B + S'Phi S, scaled to a unit diagonal."""
        layout, (count, d, _) = self.layout, self._blocks.shape
        slots = len(layout.keys)
        phi = (self._phi_robust(curvature) if robust else self._phi_plain()).view(slots, d, slots, d)
        signs = layout.side[:, None, None, None] * layout.side[None, None, :, None]
        matrix = phi[layout.slot][:, :, layout.slot].mul_(signs)
        every = torch.arange(count, device=matrix.device)
        matrix[every, :, every, :] += self._blocks
        matrix = matrix.view(count * d, count * d)
        self._scale = matrix.diagonal().clamp_min(1e-300).rsqrt()
        self._whole_root = cholesky(matrix.mul_(self._scale[:, None]).mul_(self._scale[None, :]))

    def _solve_whole(self, side: Any) -> Any:
        scaled = (side.reshape(-1) * self._scale)[:, None]
        return (torch.cholesky_solve(scaled, self._whole_root)[:, 0] * self._scale).view(side.shape)

    def _per_row(self, values: list[Any]) -> Any:
        """sum over the groups of a row of E_o E_o' values, (outputs, outputs, n, ...)."""
        layout = self.layout
        n, count = len(layout.X), layout.outputs
        out = values[0].new_zeros(count, count, n, *values[0].shape[1:])
        for image, value in zip(self._images, values, strict=True):
            for o in range(count):
                for e in range(count):
                    weight = image.directions[:, o] * image.directions[:, e]
                    if bool(weight.any()):
                        shaped = weight.view(-1, *[1] * (value.ndim - 1)) * value
                        out[o, e].index_add_(0, image.rows, shaped)
        return out

    def _phi_plain(self) -> Any:
        layout, d = self.layout, self.layout.X.shape[1]
        weight = self._per_row(self._weights)
        features = layout.features()
        columns = [(own[:, None] * d + torch.arange(d, device=own.device)).reshape(-1) for own in layout._of_output]
        phi = features.new_zeros(features.shape[1], features.shape[1])
        for o, left in enumerate(columns):
            for e, right in enumerate(columns):
                if e >= o and len(left) and len(right):
                    part = features[:, left].T @ (weight[o, e][:, None] * features[:, right])
                    phi[left[:, None], right] = part
                    if e > o:
                        phi[right[:, None], left] = part.T
        return phi

    def _phi_robust(self, curvature: list[Any]) -> Any:
        layout, d = self.layout, self.layout.X.shape[1]
        weight = self._per_row([image.lifted(part) for image, part in zip(self._images, curvature, strict=True)])
        slots = len(layout.keys)
        phi = weight.new_zeros(slots, d, slots, d)
        for o, left in enumerate(layout._of_output):
            for e, right in enumerate(layout._of_output):
                pairs = (layout.active[:, left, None] * layout.active[:, None, right]).reshape(len(layout.X), -1)
                part = (pairs.T @ weight[o, e].reshape(len(layout.X), -1)).view(len(left), len(right), d, d)
                phi[left[:, None], :, right[None, :], :] = part
        return phi.reshape(slots * d, slots * d)


def _lower_gram(rows: Any) -> Any:
    """rows rows' on and below the diagonal, all that a Cholesky factor reads; the rest is left undefined."""
    n = len(rows)
    matrix = rows.new_empty(n, n)
    step = max(128, -(-n // _STRIPS))
    for first in range(0, n, step):
        last = min(n, first + step)
        torch.matmul(rows[first:last], rows[:last].T, out=matrix[first:last, :last])
    return matrix
