"""Components of a gated ReLU problem: weights, best objective, best proof, and the method that suits the terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..problems import bound
from ..problems.blocks import Blocks
from ..problems.bound import Atoms
from ..problems.certificate import AtomSet, GateShares
from ..problems.gated import GatedReLUProblem
from .gated_maps import GatedMaps
from .gated_model import Duals, GatedModel
from .proximal import Accelerated
from .semismooth import SemismoothNewton

_STEPS = 30
"""Gradient steps between two looks at the bound."""

_NEAR = 0.1
"""Gates with weights above this share of the largest ones are in use."""


class GatedComponent:
    """What both methods share.

    Parameters
    ----------
    problem : GatedReLUProblem
    number : int
    V : tensor (outputs, P, D)
        Weights to start from.
    """

    def __init__(self, problem: GatedReLUProblem, number: int, V: Any):
        self.problem, self.number, self.V = problem, number, V
        self.outputs, self.exact_terms = problem.components[number].outputs, problem.arrays(number)
        self.zero = sum(float(each.weight @ each.loss.group_value(each.offset)) for each in self.exact_terms)
        self.upper, self.lower, self.rounds = self.zero, -1.0, 0
        self.best = torch.zeros_like(V)

    @property
    def scale(self) -> float:
        """What gaps of this component are relative to."""
        return max(abs(self.upper), 1e-3 * self.zero, 1e-300)

    @property
    def gap(self) -> float:
        """Relative gap of this component."""
        return (self.upper - self.lower) / self.scale

    def size(self) -> int:
        """Blocks in use."""
        return int((self.V.norm(dim=2) > 0).sum())

    def advance(self) -> None:
        """One round of the method, and what it proves."""
        raise NotImplementedError

    def _keep(self, value: float, V: Any, duals: Duals, kappa: float) -> None:
        """Remember weights and dual variables if they are the best so far."""
        if value < self.upper:
            self.upper, self.best = value, V
        atoms = [
            Atoms(terms, z.cpu().numpy()[None], None, None)
            for terms, z in zip(self.exact_terms, duals.multipliers, strict=True)
        ]
        bound_, _ = bound.scaled_value(atoms, kappa, self.problem.beta)
        if max(bound_, 0.0) > self.lower:
            self.lower, self.duals = max(bound_, 0.0), duals

    def certificate(self) -> tuple[list[AtomSet], list[GateShares]]:
        """Atoms and shares that prove :attr:`lower`."""
        atoms, shares = [], []
        for term, terms in enumerate(self.exact_terms):
            z = self.duals.multipliers[term].cpu().numpy()
            points = self.duals.points[term]
            coordinates = None if points is None else (terms.sign[..., None] * points.cpu().numpy())[None]
            atoms.append(AtomSet(self.number, term, z[None], coordinates))
            if self.duals.shares[term] is None:
                continue
            share = self.duals.shares[term].cpu().numpy()
            alternative, group, gate = np.nonzero(share)
            own = share[alternative, group, gate]
            tilt = -self.duals.tilts[term].permute(1, 0, 2).cpu().numpy()
            shares.append(GateShares(self.number, term, alternative, group, gate, own, tilt))
        return atoms, shares

    def blocks(self) -> Blocks:
        """The best weights as blocks of the network's outputs."""
        values = self.best.cpu().numpy()
        output, gate = np.nonzero((values != 0).any(2))
        return Blocks(gate, self.outputs[output], np.ones(len(gate)), values[output, gate])


class NewtonComponent(GatedComponent):
    """A component solved by the semismooth Newton method."""

    def __init__(self, problem: GatedReLUProblem, number: int, X: Any, V: Any):
        super().__init__(problem, number, V)
        component = problem.components[number]
        maps = GatedMaps(component.terms[0], component.directions, problem.active, X)
        self.method = SemismoothNewton(maps, component.terms[0].loss, problem.beta, V)
        if self.method.first < self.upper:
            self.upper, self.best = self.method.first, V
        self._look()

    def advance(self) -> None:
        """One Newton step or proximal point."""
        self.method.advance(max(self.upper - self.lower, 1e-14 * self.scale))
        self.rounds += 1
        self._look()

    def _look(self) -> None:
        method = self.method
        self.V = method.S
        duals = Duals([method.z[None]], [None], [None], [None])
        self._keep(method.objective(), self.V, duals, float(method.q.norm(dim=2).max()))


class GradientComponent(GatedComponent):
    """A component with balls solved by accelerated proximal gradients on smoothed losses."""

    def __init__(self, problem: GatedReLUProblem, number: int, model: GatedModel, V: Any):
        super().__init__(problem, number, V)
        self.model, self.lipschitz = model, 1.0
        self._look()

    def advance(self) -> None:
        """Some gradient steps."""
        state = Accelerated(self.model, self.problem.beta, self.V, self.lipschitz)
        self.V = state.run(_STEPS)
        self.lipschitz = state.lipschitz
        self.rounds += 1
        self._look()

    def _look(self) -> None:
        """Objective and bound at the weights, gates that are or may be in use, and new centres."""
        _, q, duals = self.model.evaluate(self.V)
        value = self.model.exact_loss(self.V) + self.problem.beta * float(self.V.norm(dim=2).sum())
        prices = q.norm(dim=2)
        self._keep(value, self.V, duals, float(prices.max()))
        self.model.move_centres(duals)
        sizes = self.V.norm(dim=2)
        self.near = (sizes > _NEAR * sizes.max()).any(0)
