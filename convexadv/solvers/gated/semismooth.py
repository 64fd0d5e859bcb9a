r"""A semismooth Newton augmented Lagrangian method for losses of the outputs plus beta times the norms of groups.

The dual, over multipliers z of the terms (q = backward(p z), ||q_k|| <= beta for every gate), is solved by the proximal point
method on the primal: for centres V and a growing sigma,

    minimise over z   sum_i p_i (psi*(z_i) - offset_i z_i) + ||S(z)||^2 / (2 sigma),
    S(z) = shrink(V + sigma q(z), sigma beta),

by Newton's method, then V = S(z) (Li, Sun and Toh, *A highly efficient semismooth Newton augmented Lagrangian method for
solving Lasso problems*, 2018). A loss with a kink gets a proximal term (mu/2)(z - centre)^2 beside psi*, whose centre moves
with V and whose mu falls: the proximal method of multipliers. Only the gates with S_k != 0 enter Newton's equations
(:mod:`.newton`), and of these losses only the terms strictly between their bounds; z, and with it the lower bound, is
as exact as the weights.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from ...losses import Loss
from .maps import GatedMaps
from .newton import Shrunk, solve
from .state import State

_SIGMA = 20.0
_SIGMA_AGAIN = 0.03
"""Share of the last sigma with which a solve begins that starts where another one ended."""
_MOST_AGAIN = 1e4
"""Of this sigma, relative to the first one of a solve that starts anew, which is the least."""
_MOST_SIGMA = 1e10
"""Relative to the first one."""
_INNER, _INNER_SHARP = 0.5, 0.1
"""The inner problem is solved to this share of the gap: of smooth losses, of losses with a kink."""
_GROWTH, _GROWTH_SHARP = (3.0,) * 8 + (1.5,) * 4 + (1.0,) * 8 + (0.3,), (3.0, 2.0, 1.5, 1.2, 1.0, 1.0, 0.7, 0.5)
"""Of sigma, after an inner problem that took 0, 1, 2, ... Newton steps: large ones are hard to solve, more so with a kink."""
_MOST_NEWTON = 20
_LINE_SEARCH = 12
_MU = 0.3
"""First weight of the proximal term of a loss with a kink, in units of the margin."""
_LEAST_MU = 1e-4
_FALL = 0.7
"""mu falls with this power of the growth of sigma."""


class Smoothed:
    """A loss, with the proximal term (mu/2)(z - centre)^2 beside psi* if it has a kink."""

    def __init__(self, loss: Loss, centre: Any):
        self.loss, self.centre, self.mu = loss, centre, _MU if loss.sharp else 0.0
        self.lower = -math.inf if loss.signed or loss.name == "logistic" else 0.0
        self.upper = math.inf if loss.name == "logistic" else loss.upper

    def move(self, centre: Any, growth: float) -> None:
        """The next centre and weight, sigma having grown."""
        self.centre = centre
        if self.mu:
            self.mu = max(_LEAST_MU, self.mu / growth**_FALL)

    def value(self, u: Any) -> Any:
        """max_z z u - psi*(z) - (mu/2)(z - centre)^2."""
        return self.loss.multipliers(u[None], self.centre[None], self.mu)[0]

    def derivative(self, u: Any) -> Any:
        """Its maximiser z."""
        return self.loss.multipliers(u[None], self.centre[None], self.mu)[1][0]

    def conjugate(self, z: Any) -> Any:
        """psi*(z) + (mu/2)(z - centre)^2."""
        own = self.loss.conjugate(z)
        return own + 0.5 * self.mu * (z - self.centre) ** 2 if self.mu else own

    def conjugate_derivative(self, z: Any) -> Any:
        """Inverse of :meth:`derivative` between the bounds."""
        own = self.loss.conjugate_derivative(z)
        return own + self.mu * (z - self.centre) if self.mu else own

    def slope(self, z: Any) -> Any:
        """psi'' where psi' = z, or 1 / (psi*)''(z)."""
        if self.mu:
            return torch.full_like(z, 1.0 / self.mu)
        return 1.0 / self.loss.conjugate_curvature(z)


def suits(component: Any) -> bool:
    """Whether a component has one set of terms, without balls and with one alternative each."""
    terms = component.terms
    return len(terms) == 1 and not terms[0].robust and terms[0].shape[0] == 1


class SemismoothNewton:
    """State of the method.

    Parameters
    ----------
    maps : GatedMaps
    loss : Loss
    beta : float
    V : tensor (outputs, P, D)
        Weights to start from.
    state : State, optional
        Multipliers and, for losses without a kink, sigma to start from.
    """

    def __init__(self, maps: GatedMaps, loss: Loss, beta: float, V: Any, state: State | None = None):
        self.maps, self.exact, self.beta, self.V = maps, loss, beta, V
        self.weight, self.offset = maps.weight, maps.offset
        u = self.offset - maps.forward(V)
        self.first = float((self.weight * loss.value(u)).sum()) + beta * float(V.norm(dim=2).sum())
        self.z = loss.derivative(u)
        self.loss = Smoothed(loss, 0.5 * self.z)
        self.q = maps.backward(self.weight * self.z)
        self.sigma = self._first_sigma()
        if state is not None:
            self._resume(state)
        self._most_sigma, self._inner = _MOST_SIGMA * self.sigma, 0
        self._share = _INNER_SHARP if loss.sharp else _INNER
        self._growth = _GROWTH_SHARP if loss.sharp else _GROWTH
        self.used: list[Any] = []
        self.refresh()

    def _first_sigma(self) -> float:
        """In units of the curvature of the loss along q, or along that of equal multipliers where q is zero."""
        q = self.q if bool(self.q.any()) else self.maps.backward(self.weight)
        seen = self.maps.forward(q)
        curvature = self.weight * (1.0 if self.exact.sharp else self.loss.slope(self.z))
        size = float((curvature * seen * seen).sum()) / max(float((q * q).sum()), 1e-300)
        return _SIGMA / max(size, 1e-300)

    def _resume(self, state: State) -> None:
        """Multipliers of a state if they prove more than those of V, and sigma unless the loss has a kink."""
        z = torch.as_tensor(state.z, device=self.V.device)
        q = self.maps.backward(self.weight * z)
        if self._proven(z, q) <= self._proven(self.z, self.q):
            return
        self.z, self.q, self.loss.centre = z, q, z
        if not self.exact.sharp:
            self.sigma *= min(max(1.0, _SIGMA_AGAIN * state.sigma / self.sigma), _MOST_AGAIN)

    def _proven(self, z: Any, q: Any) -> float:
        """The bound of multipliers, scaled down where prices q are above beta."""
        scaled = min(1.0, self.beta / max(float(torch.linalg.vector_norm(q, dim=2).max()), 1e-300)) * z
        return float((self.weight * (scaled * self.offset - self.exact.conjugate(scaled))).sum())

    @property
    def state(self) -> State:
        """Where the method stands."""
        return State(self.z.cpu().numpy(), self.sigma)

    def change(self, maps: GatedMaps, V: Any, q: Any) -> None:
        """Go on over other gates, which include all those in use."""
        self.maps, self.V, self.q = maps, V, q
        self.used = []
        self.refresh()

    def refresh(self) -> None:
        """Shrunk weights at z, the gates they use, and the arguments of the loss there."""
        self.W = self.V + self.sigma * self.q
        self.norms = torch.linalg.vector_norm(self.W, dim=2)
        self.factor = (1.0 - self.sigma * self.beta / self.norms.clamp_min(1e-300)).clamp_min(0.0)
        used = [torch.nonzero(own)[:, 0] for own in self.factor]
        if not (self.used and all(map(torch.equal, used, self.used))):
            self.used, self.patterns = used, [self.maps.active[:, own] for own in used]
        self.S = self.W * self.factor[:, :, None]
        weights = [own[used] for own, used in zip(self.S, self.used, strict=True)]
        self.u = self.offset - self.maps.forward(weights, self.patterns)

    def objective(self) -> float:
        """Objective of the shrunk weights."""
        loss = float((self.weight * self.exact.value(self.u)).sum())
        return loss + self.beta * float(self.S.norm(dim=2).sum())

    def advance(self, gap: float) -> None:
        """One Newton step, or the next proximal point where the inner problem is solved to a share of the absolute gap."""
        missing = self.weight * (self.loss.value(self.u) + self.loss.conjugate(self.z) - self.z * self.u)
        if float(missing.sum()) <= self._share * gap or self._inner >= _MOST_NEWTON:
            growth = self._growth[min(self._inner, len(self._growth) - 1)]
            self.V, self.sigma, self._inner = self.S, min(self.sigma * growth, self._most_sigma), 0
            self.loss.move(self.z, growth)
        else:
            self._newton()
            self._inner += 1
        self.refresh()

    def _newton(self) -> None:
        loss = self.loss
        at = loss.conjugate_derivative(self.z)
        residual, slope = self.u - at, self.weight * loss.slope(self.z)
        idle = ((self.z <= loss.lower) & (self.u <= at)) | ((self.z >= loss.upper) & (self.u >= at))
        residual, slope = residual.masked_fill(idle, 0.0), slope.masked_fill(idle, 0.0)
        parts = zip(self.W, self.norms, self.used, strict=True)
        units = [own[used] / norms[used][:, None] for own, norms, used in parts]
        factors = [own[used] for own, used in zip(self.factor, self.used, strict=True)]
        step = solve(self.maps, Shrunk(self.patterns, factors, units), self.sigma, slope, residual)
        model = float((slope * residual * step).sum())
        for _ in range(_LINE_SEARCH):
            new = torch.where(slope > 0, loss.derivative(at + step), self.z)
            line = self._line(new - self.z)
            start = line.derivative(0.0)
            if start <= -0.1 * model or not math.isfinite(model):
                break
            step, model = 0.25 * step, 0.25 * model
        length = _length(line, start)
        self.z, self.q = self.z + length * line.move, self.q + length * line.moved

    def _line(self, move: Any) -> Line:
        """The inner problem along a step of z."""
        moved = self.maps.backward(self.weight * move)
        along = self.sigma * (self.W * moved).sum(2)
        return Line(self, move, moved, self.norms**2, along, (self.sigma * moved).square().sum(2))


class Line(NamedTuple):
    """The inner problem along a step: ||W + length sigma moved||^2 = square + 2 length along + length^2 across."""

    method: SemismoothNewton
    move: Any
    """(g,) step of z."""
    moved: Any
    """(outputs, P, D) step of q."""
    square: Any
    along: Any
    across: Any

    def derivative(self, length: float) -> float:
        """Of the inner problem by the length."""
        method = self.method
        norms = (self.square + length * (2.0 * self.along + length * self.across)).clamp_min(1e-300).sqrt()
        factor = (1.0 - method.sigma * method.beta / norms).clamp_min(0.0)
        pull = (factor * (self.along + length * self.across)).sum() / method.sigma
        slope = method.loss.conjugate_derivative(method.z + length * self.move) - method.offset
        return float((method.weight * slope * self.move).sum() + pull)


def _length(line: Line, start: float) -> float:
    """The whole step, or a zero of the derivative before it."""
    end = line.derivative(1.0)
    if end <= 0.1 * abs(start):
        return 1.0
    low, high, at_low, at_high, length = 0.0, 1.0, start, end, 1.0
    for _ in range(_LINE_SEARCH):
        length = low + (high - low) * min(max(-at_low / max(at_high - at_low, 1e-300), 0.1), 0.9)
        value = line.derivative(length)
        if abs(value) <= 0.1 * abs(start):
            break
        if value > 0:
            high, at_high = length, value
        else:
            low, at_low = length, value
    return length
