r"""First-order multipliers of many cones at once, for blocks that are probably useless.

||q + A_k'mu||^2 / 2 over mu >= 0 is minimised by accelerated projected gradient steps for all blocks together: A_k'A_k =
X'X whatever the pattern, so they share the step length, and every step is two products with X. A block is done as soon
as its price falls to the limit.
"""

from __future__ import annotations

from typing import Any

import torch

_POWER_STEPS = 30


class ConePrices:
    """Multipliers of cones (2 D_k - I) X v >= 0.

    Parameters
    ----------
    X : tensor (n, D)
    """

    def __init__(self, X: Any):
        length = X.norm(dim=1)
        self.length = length.where(length > 0, torch.ones_like(length))
        self.unit = X / self.length[:, None]
        self.step = 1.0 / self._largest_eigenvalue()

    def _largest_eigenvalue(self) -> float:
        """Of unit'unit, with a margin for the power method."""
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(self.unit.shape[1], generator=generator, dtype=self.unit.dtype).to(self.unit.device)
        value = 1.0
        for _ in range(_POWER_STEPS):
            v = self.unit.T @ (self.unit @ (v / v.norm()))
            value = float(v.norm())
        return 1.05 * value

    def lowered(self, targets: Any, signs: Any, limit: float, steps: int, start: Any) -> tuple[Any, Any]:
        """Multipliers (m, n) and prices (m,) of blocks with targets (m, D) and signs (m, n).

        Parameters
        ----------
        targets, signs : tensors
        limit : float
            Blocks whose price has come down to it are done.
        steps : int
            Largest number of steps.
        start : tensor (m, n)
            Multipliers to start from.
        """
        count = len(targets)
        result = start * self.length
        prices = (targets + (result * signs) @ self.unit).norm(dim=1)
        left = torch.nonzero(prices > limit)[:, 0]
        target, sign = targets[left], signs[left]
        mu = ahead = result[left]
        momentum = 1.0
        for _ in range(steps):
            if not len(left):
                break
            residual = target + (ahead * sign) @ self.unit
            new = (ahead - self.step * (residual @ self.unit.T) * sign).clamp_min_(0.0)
            following = 0.5 + (0.25 + momentum**2) ** 0.5
            ahead = new + ((momentum - 1.0) / following) * (new - mu)
            mu, momentum = new, following
            price = (target + (mu * sign) @ self.unit).norm(dim=1)
            prices[left] = price
            done = price <= limit
            if bool(done.any()):
                result[left[done]] = mu[done]
                keep = torch.nonzero(~done)[:, 0]
                left, target, sign, mu, ahead = left[keep], target[keep], sign[keep], mu[keep], ahead[keep]
        result[left] = mu
        return result / self.length, prices[:count]
