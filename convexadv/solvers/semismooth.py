r"""A semismooth Newton augmented Lagrangian method for smooth losses plus beta times the norms of groups.

The dual, over multipliers z of the rows (q = backward(p z sign), ||q_k|| <= beta for every gate), is solved by the proximal
point method on the primal: for centres V and a growing sigma,

    minimise over z   sum_i p_i (psi*(z_i) - offset_i z_i) + ||S(z)||^2 / (2 sigma),
    S(z) = shrink(V + sigma q(z), sigma beta),

by Newton's method, then V = S(z) (Li, Sun and Toh, *A highly efficient semismooth Newton augmented Lagrangian method for
solving Lasso problems*, 2018). Only the gates with S_k != 0 enter Newton's equations, which conjugate gradients solve in the
space of the rows with a preconditioner of rank D; z, and with it the lower bound, is as exact as the weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .gated_model import GatedModel

_SIGMA = 20.0
_GROWTH = 3.0
_INNER = 0.5
"""The inner problem is solved to this share of the gap."""
_FORCING = 0.2
_MOST_NEWTON = 40
_MOST_CG = 500
_LINE_SEARCH = 12
_COARSE = torch.float32
"""Of the products inside conjugate gradients, which need few digits: what they return is only a direction."""


def suits(model: GatedModel) -> bool:
    """Whether the component has one output and one set of smooth terms, one a row."""
    terms = model.terms
    smooth = all(not each.robust and each.k == 1 and not each.loss.sharp for each in terms)
    return model.outputs == 1 and len(terms) == 1 and smooth and terms[0].row is None


class SemismoothNewton:
    """State of the method.

    Parameters
    ----------
    model : GatedModel
        Of which :func:`suits` is true.
    beta : float
    V : tensor (P, D)
        Weights to start from.
    """

    def __init__(self, model: GatedModel, beta: float, V: Any):
        self.model, self.beta, self.V = model, beta, V
        terms = model.terms[0]
        self.loss, self.weight = terms.loss, terms.weight
        self.sign, self.offset = terms.sign[0], terms.offset[0]
        self.square = (model.X * model.X).sum(1)
        self._rows, self._active = model.X.to(_COARSE), model.active.to(_COARSE)
        self.z = self.loss.derivative(self.offset - self.sign * self._forward(V, None))
        self.q = self._backward(self._pull(self.z), None)
        seen = self._forward(self.q, None)
        curvature = self.weight * self._slope(self.z)
        size = float((curvature * seen * seen).sum()) / max(float((self.q * self.q).sum()), 1e-300)
        self.sigma = _SIGMA / max(size, 1e-300)
        self._inner = 0
        self.refresh()

    # ---- maps

    def _forward(self, V: Any, patterns: Any) -> Any:
        return self.model.forward(V[None], None if patterns is None else [patterns])[:, 0]

    def _backward(self, c: Any, patterns: Any) -> Any:
        return self.model.backward(c[:, None], None if patterns is None else [patterns])[0]

    def _pull(self, z: Any) -> Any:
        return self.weight * z * self.sign

    def _slope(self, z: Any) -> Any:
        """psi'' where psi' = z, or 1 / (psi*)''(z)."""
        if self.loss.name == "logistic":
            return z * (1.0 - z)
        return torch.full_like(z, 2.0 if self.loss.name == "squared_hinge" else 1.0)

    def refresh(self) -> None:
        """Shrunk weights at z, the gates they use, and the arguments of the loss there."""
        self.W = self.V + self.sigma * self.q
        self.norms = self.W.norm(dim=1)
        self.factor = (1.0 - self.sigma * self.beta / self.norms.clamp_min(1e-300)).clamp_min(0.0)
        self.used = torch.nonzero(self.factor > 0)[:, 0]
        self.patterns = self.model.active[:, self.used]
        self.S = self.W * self.factor[:, None]
        self.u = self.offset - self.sign * self._forward(self.S[self.used], self.patterns)

    def objective(self) -> float:
        """Objective of the shrunk weights."""
        loss = float((self.weight * self.loss.value(self.u)).sum())
        return loss + self.beta * float(self.S.norm(dim=1).sum())

    # ---- steps

    def advance(self, gap: float) -> None:
        """One Newton step, or the next proximal point where the inner problem is solved to a share of the absolute gap."""
        z = self.loss.derivative(self.u)
        missing = self.weight * (self.loss.value(self.u) + self.loss.conjugate(self.z) - self.z * self.u)
        if float(missing.sum()) <= _INNER * gap or self._inner >= _MOST_NEWTON:
            self.V, self.sigma, self._inner = self.S, self.sigma * _GROWTH, 0
        else:
            self._newton(z)
            self._inner += 1
        self.refresh()

    def _newton(self, target: Any) -> None:
        at = self.loss.conjugate_derivative(self.z)
        residual, slope = self.u - at, self.weight * self._slope(self.z)
        if not self.loss.signed and self.loss.name != "logistic":
            idle = (self.z <= 0) & (self.u <= at)
            residual, slope = residual.masked_fill(idle, 0.0), slope.masked_fill(idle, 0.0)
        step = self._solve(residual, slope)
        model = float((slope * residual * step).sum())
        for _ in range(_LINE_SEARCH):
            new = torch.where(slope > 0, self.loss.derivative(at + step), self.z)
            move = new - self.z
            moved = self._backward(self._pull(move), None)
            start = self._derivative(0.0, move, moved)
            if start <= -0.1 * model or not math.isfinite(model):
                break
            step, model = 0.25 * step, 0.25 * model
        length = self._length(start, move, moved)
        self.z, self.q = self.z + length * move, self.q + length * moved

    def _derivative(self, length: float, move: Any, moved: Any) -> float:
        """Of the inner problem along the step."""
        W = self.V + self.sigma * (self.q + length * moved)
        norms = W.norm(dim=1, keepdim=True)
        S = W * (1.0 - self.sigma * self.beta / norms.clamp_min(1e-300)).clamp_min(0.0)
        slope = self.loss.conjugate_derivative(self.z + length * move) - self.offset
        return float((self.weight * slope * move).sum()) + float((S * moved).sum())

    def _length(self, start: float, move: Any, moved: Any) -> float:
        """The whole step, or a zero of the derivative before it."""
        end = self._derivative(1.0, move, moved)
        if end <= 0.1 * abs(start):
            return 1.0
        low, high, at_low, at_high, length = 0.0, 1.0, start, end, 1.0
        for _ in range(_LINE_SEARCH):
            length = low + (high - low) * min(max(-at_low / max(at_high - at_low, 1e-300), 0.1), 0.9)
            value = self._derivative(length, move, moved)
            if abs(value) <= 0.1 * abs(start):
                break
            if value > 0:
                high, at_high = length, value
            else:
                low, at_low = length, value
        return length

    def _solve(self, residual: Any, slope: Any) -> Any:
        """Conjugate gradients for (I + K H) x = residual in the inner product of H = diag(slope).

        K c = sigma sign F J F' sign c, J the derivative of the shrinkage over the gates in use.
        """
        factor = self.factor[self.used]
        unit = (self.W[self.used] / self.norms[self.used][:, None]).to(_COARSE)
        rows, patterns = self._rows, self._active[:, self.used]
        shrunk, rest = (self.sigma * factor).to(_COARSE)[:, None], (self.sigma * (1.0 - factor)).to(_COARSE)

        def coupled(c: Any) -> Any:
            pulled = patterns.T @ (rows * (self.sign * c).to(_COARSE)[:, None])
            moved = shrunk * pulled + (rest * (pulled * unit).sum(1))[:, None] * unit
            return self.sign * ((patterns @ moved) * rows).sum(1).to(c.dtype)

        precondition = self._preconditioner(factor, slope)
        x, left = torch.zeros_like(residual), residual
        direction = precondition(left)
        scaled = slope * direction
        product = first = float((scaled * left).sum())
        for _ in range(_MOST_CG):
            image = direction + coupled(scaled)
            curvature = float((scaled * image).sum())
            if not curvature > 0:
                break
            length = product / curvature
            x, left = x + length * direction, left - length * image
            new = precondition(left)
            scaled_new = slope * new
            following = float((scaled_new * left).sum())
            if not following > _FORCING**2 * first:
                break
            ratio, product = following / product, following
            direction, scaled = new + ratio * direction, scaled_new + ratio * scaled
        return x

    def _preconditioner(self, factor: Any, slope: Any) -> Any:
        """Inverse of I + (R + Z Z') H: what the gates do on average has rank D, the rest a diagonal R."""
        total = float(factor.sum())
        if total <= 0:
            return lambda v: v
        shares = self.patterns @ factor
        mean = shares / total
        diagonal = 1.0 + self.sigma * self.square * (shares - total * mean * mean).clamp_min(0.0) * slope
        Z = self.model.X * (self.sign * mean * (self.sigma * total) ** 0.5)[:, None]
        inner = Z.T @ (Z * (slope / diagonal)[:, None])
        inner.diagonal().add_(1.0)
        root = torch.linalg.cholesky(inner)

        def apply(v: Any) -> Any:
            own = v / diagonal
            small = torch.cholesky_solve((Z.T @ (slope * own))[:, None], root)[:, 0]
            return own - (Z @ small) / diagonal

        return apply
