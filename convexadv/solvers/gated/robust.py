r"""What groups of robust terms see of the weights of a gated ReLU problem, and the coupling in Newton's equations.

Gate k has the variables theta_k = (v_1k, ..., v_Ck, rho_1k, ..., rho_Kk) in R^T, rho_ek >= ||E_e v_k||_q for every direction.
Group g of row i and direction e sees

    c = sign x_i'E_e alpha_i,    w = r E_e alpha_i,    alpha_i = sum of the v_k of its stable active gates,
    y_k = +-x_i'E_e v_k - r rho_ek    of its unstable gates, once for every alternative,

all of them linear: c and w are base_g (1 + p, T) times the sum of the theta_k, y_k is ray_g (alternatives, T) times theta_k.
"""

from __future__ import annotations

from typing import Any

import torch

from ...problems.terms import Terms
from ..interior.local import cholesky


class RobustMaps:
    """Images (g, 1 + p + alternatives * W) of theta (W, T) over a working set of W gates.

    Parameters
    ----------
    X : (n, D)
    terms : Terms
        As tensors.
    rows : (g,) int
    directions : (K, outputs)
    active, unstable : (n, W) float
    perturbed : (p,) int
    """

    def __init__(self, X: Any, terms: Terms, rows: Any, directions: Any, active: Any, unstable: Any, perturbed: Any):
        self.active, self.unstable = active[rows], unstable[rows]
        (K, C), (g, D), p = directions.shape, (len(rows), X.shape[1]), len(perturbed)
        self.weights, self.width = C * D, C * D + K
        own = directions[terms.direction[0]]
        seen = (own[:, :, None] * X[rows][:, None, :]).reshape(g, C * D)
        self.ray = X.new_zeros(g, terms.k, self.width)
        self.ray[:, :, : C * D] = terms.sign.T[:, :, None] * seen[:, None, :]
        self.ray.scatter_(2, C * D + terms.direction.T[:, :, None], -terms.radius[:, None, None].expand(g, terms.k, 1))
        self.base = X.new_zeros(g, 1 + p, self.width)
        self.base[:, 0] = self.ray[:, 0]
        self.base[:, 0, C * D :] = 0.0
        place = torch.arange(C, device=X.device)[:, None] * D + perturbed
        which = torch.arange(1, 1 + p, device=X.device).expand(C, p)
        self.base[:, which, place] = (terms.radius[:, None] * own)[:, :, None]

    def images(self, theta: Any) -> Any:
        """What the groups see."""
        base = (self.base @ (self.active @ theta)[:, :, None])[:, :, 0]
        own = (self.ray @ theta.T) * self.unstable[:, None, :]
        return torch.cat([base, own.flatten(1)], 1)

    def adjoint(self, force: Any) -> Any:
        """From forces on the images back to theta, (W, T)."""
        of_base, of_gates = self._split(force, 1)
        pulled = (of_base[:, None, :] @ self.base)[:, 0]
        own = (of_gates * self.unstable[:, None, :]).transpose(1, 2)
        return self.active.T @ pulled + torch.einsum("gwk,gkt->wt", own, self.ray)

    def _split(self, values: Any, dimension: int) -> tuple[Any, Any]:
        """Parts of the base and of (alternative, gate)."""
        first = self.base.shape[1]
        rest = values.narrow(dimension, first, values.shape[dimension] - first)
        return values.narrow(dimension, 0, first), rest.unflatten(dimension, (self.ray.shape[1], -1))

    def coupling(self, phi: Any) -> Any:
        """sum over the groups of L'phi L for the images' map L, (W, T, W, T)."""
        W, T = self.active.shape[1], self.width
        left, right = self._split(phi, 1)
        of_base = left[:, :, : left.shape[1]]
        lifted = self.base.transpose(1, 2) @ of_base @ self.base
        pairs = (self.active[:, :, None] * self.active[:, None, :]).flatten(1)
        total = (pairs.T @ lifted.flatten(1)).view(W, W, T, T)
        cross = torch.zeros_like(total)
        for a in range(self.ray.shape[1]):
            toward = right[:, a, :, : left.shape[1]] * self.unstable[:, :, None]
            toward = toward @ self.base  # (g, W, T): gate that is unstable, features of the stable ones
            for t in range(T):
                own = (toward * self.ray[:, a, t, None, None]).flatten(1)
                cross[:, :, :, t] += (self.active.T @ own).view(W, W, T)
            for b in range(self.ray.shape[1]):
                block = self._split(right[:, a], 2)[1][:, :, b]
                block = block * (self.unstable[:, :, None] * self.unstable[:, None, :])
                outer = self.ray[:, a, :, None] * self.ray[:, b, None, :]
                total += (block.flatten(1).T @ outer.flatten(1)).view(W, W, T, T)
        total += cross
        total += cross.permute(1, 0, 3, 2)
        return total.permute(0, 2, 1, 3)


class RobustSystem:
    """Cholesky factor of blocks (W, T, T) on the diagonal plus the coupling, scaled to a unit diagonal."""

    def __init__(self, blocks: Any, coupling: Any):
        W, T = blocks.shape[:2]
        every = torch.arange(W, device=blocks.device)
        matrix = coupling.contiguous()
        matrix[every, :, every, :] += blocks
        self._matrix = matrix.view(W * T, W * T)
        self._scale = self._matrix.diagonal().clamp_min(1e-300).rsqrt()
        self._root = cholesky(self._matrix * self._scale[:, None] * self._scale[None, :])

    def solve(self, side: Any) -> Any:
        """theta (W, T), refined once."""
        flat = side.reshape(-1)
        solution = self._once(flat)
        return (solution + self._once(flat - self._matrix @ solution)).view(side.shape)

    def _once(self, side: Any) -> Any:
        return torch.cholesky_solve((side * self._scale)[:, None], self._root)[:, 0] * self._scale
