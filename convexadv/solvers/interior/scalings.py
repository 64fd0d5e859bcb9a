r"""Nesterov-Todd scalings of batches of cones: slacks s, multipliers z, and what Newton's method needs of the pair.

Scaled by W with W z = W^{-1} s, the linearised complementarity of both cones reads

    dz = target - z - W^{-2} ds,       target = W^{-1} (lambda \ (mu e - correction)),     lambda = W z

(Vandenberghe, *The CVXOPT linear and quadratic cone program solvers*, 2010, sections 4 and 5).
"""

from __future__ import annotations

from typing import Any

_TINY = 1e-300


class Orthant:
    """Non-negative slacks of any shape; W^{-2} = z / s."""

    def __init__(self, s: Any, z: Any):
        self.s, self.z = s, z

    @property
    def degree(self) -> int:
        """Number of inequalities."""
        return self.s.numel()

    def product(self) -> float:
        """s'z."""
        return float((self.s * self.z).sum())

    def scale(self) -> None:
        """Compute the scaling at the current pair."""
        self.weight = self.z / self.s

    def times(self, u: Any) -> Any:
        """W^{-2} u."""
        return self.weight * u

    def target(self, mu: float, correction: Any = None) -> Any:
        """Multipliers aimed at where s does not move."""
        return (mu if correction is None else mu - correction) / self.s

    def correction(self, ds: Any, dz: Any) -> Any:
        """Second-order term of a direction."""
        return ds * dz

    def longest_step(self, ds: Any, dz: Any) -> float:
        """Largest a with s + a ds >= 0 and z + a dz >= 0."""
        worst = max(float(-(ds / self.s).amin()), float(-(dz / self.z).amin())) if ds.numel() else 0.0
        return 1.0 / max(worst, _TINY)

    def product_after(self, step: float, ds: Any, dz: Any) -> float:
        """(s + a ds)'(z + a dz)."""
        return float(((self.s + step * ds) * (self.z + step * dz)).sum())

    def move(self, step: float, ds: Any, dz: Any) -> None:
        """Take a step."""
        self.s = self.s + step * ds
        self.z = self.z + step * dz

    def take(self, kept: Any) -> Orthant:
        """The cones of some of the batch."""
        return Orthant(self.s[kept], self.z[kept])


class SecondOrder:
    """Slacks (t, u) with t >= ||u||_2, t first in the last dimension; a batch of such cones."""

    def __init__(self, s: Any, z: Any):
        self.s, self.z = s, z

    @property
    def degree(self) -> int:
        """Number of cones."""
        return self.s[..., 0].numel()

    def product(self) -> float:
        """s'z."""
        return float((self.s * self.z).sum())

    def scale(self) -> None:
        """Compute the scaling at the current pair."""
        root_s, root_z = _determinant(self.s).sqrt(), _determinant(self.z).sqrt()
        self._sizes = _stacked(root_s, root_z)
        self._units = _stacked(self.s, self.z) / self._sizes[..., None]
        self._mirrored = _reflected(self._units)
        s, z = self._units
        gamma = ((1.0 + (s * z).sum(-1)) / 2.0).sqrt()
        self.square = root_s / root_z
        self.w = (s + self._mirrored[1]) / (2.0 * gamma[..., None])
        half = self.w.clone()
        half[..., 0] += 1.0
        self.half = half / (2.0 * half[..., :1]).sqrt()
        self.root = self.square.sqrt()
        self.scaled = self._forward(self.z)

    def _forward(self, u: Any) -> Any:
        inner = (self.half * u).sum(-1)[..., None]
        return self.root[..., None] * (2.0 * inner * self.half - _reflected(u))

    def _backward(self, u: Any) -> Any:
        half = _reflected(self.half)
        inner = (half * u).sum(-1)[..., None]
        return (2.0 * inner * half - _reflected(u)) / self.root[..., None]

    def times(self, u: Any) -> Any:
        """W^{-2} u."""
        w = _reflected(self.w)
        return (2.0 * (w * u).sum(-1)[..., None] * w - _reflected(u)) / self.square[..., None]

    def matrix(self) -> Any:
        """W^{-2} as matrices."""
        import torch

        w = _reflected(self.w)
        sign = -torch.ones_like(w[..., 0, None].expand(w.shape))
        sign[..., 0] = 1.0
        return (2.0 * w[..., :, None] * w[..., None, :] - torch.diag_embed(sign)) / self.square[..., None, None]

    def target(self, mu: float, correction: Any = None) -> Any:
        """Multipliers aimed at where s does not move."""
        right = -correction if correction is not None else 0.0 * self.s
        right[..., 0] += mu
        scaled = self.scaled
        first = (_reflected(scaled) * right).sum(-1) / _determinant(scaled)
        rest = (right[..., 1:] - first[..., None] * scaled[..., 1:]) / scaled[..., :1]
        return self._backward(_concatenated(first, rest))

    def correction(self, ds: Any, dz: Any) -> Any:
        """Second-order term of a direction."""
        a, b = self._backward(ds), self._forward(dz)
        return _concatenated((a * b).sum(-1), a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:])

    def longest_step(self, ds: Any, dz: Any) -> float:
        """Largest a with s + a ds and z + a dz in the cones: where the pair, scaled to the axis, reaches their surface."""
        if not ds.numel():
            return 1.0 / _TINY
        moves, units = _stacked(ds, dz), self._units
        first = (self._mirrored * moves).sum(-1)
        turn = (first + moves[..., 0]) / (units[..., 0] + 1.0)
        rest = (moves[..., 1:] - turn[..., None] * units[..., 1:]).norm(dim=-1)
        return 1.0 / max(float(((rest - first) / self._sizes).amax()), _TINY)

    def product_after(self, step: float, ds: Any, dz: Any) -> float:
        """(s + a ds)'(z + a dz)."""
        return float(((self.s + step * ds) * (self.z + step * dz)).sum())

    def move(self, step: float, ds: Any, dz: Any) -> None:
        """Take a step."""
        self.s = self.s + step * ds
        self.z = self.z + step * dz

    def take(self, kept: Any) -> SecondOrder:
        """The cones of some of the batch."""
        return SecondOrder(self.s[kept], self.z[kept])


def _concatenated(first: Any, rest: Any) -> Any:
    import torch

    return torch.cat([first[..., None], rest], -1)


def _stacked(first: Any, second: Any) -> Any:
    import torch

    return torch.stack([first, second])


def _reflected(u: Any) -> Any:
    result = -u
    result[..., 0] = u[..., 0]
    return result


def _determinant(u: Any) -> Any:
    """t^2 - ||u||^2, as a product that keeps its digits near the boundary."""
    length = (u[..., 1:] ** 2).sum(-1).sqrt()
    return ((u[..., 0] - length) * (u[..., 0] + length)).clamp_min(_TINY)
