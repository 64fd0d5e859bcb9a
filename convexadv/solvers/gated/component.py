"""Components of a gated ReLU problem: weights, best objective, best proof, and the method that suits the terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...problems import bound
from ...problems.blocks import Blocks
from ...problems.bound import Atoms
from ...problems.certificate import AtomSet, GateShares
from ...problems.gated import GatedReLUProblem
from .maps import GatedMaps
from .model import Duals, GatedModel
from .proximal import Accelerated
from .semismooth import SemismoothNewton
from .state import State

_STEPS = 30
"""Gradient steps between two looks at the bound."""

_NEAR = 0.1
"""Gates with weights above this share of the largest ones are in use."""

_NEAR_BETA, _JOIN = 0.9, 0.95
"""A working set begins with the gates priced above this share of beta; those above this share of its own prices join."""
_MOST_WORKING = 0.5
"""Share of the gates from which all of them are worked on."""
_SHARE = 0.95
"""Of the tolerance, at which solves end."""
_AGAIN = 0.03
"""Gates outside the working set are priced where the gap over it has fallen to this share."""


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

    @property
    def state(self) -> State | None:
        """What a solve at a nearby beta starts from beside the weights, if the method has such."""
        return None

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
    """A component solved by the semismooth Newton method.

    From weights that are not zero the method works on the gates that they use or that are priced near beta. The others are
    priced where the gap over this working set meets the tolerance or has fallen to a share of what it was; if there are
    prices above those of the working set, their gates join.

    Parameters
    ----------
    problem : GatedReLUProblem
    number : int
    X : tensor (n, D)
    V : tensor (outputs, P, D)
        Weights to start from.
    tol : float
        Relative gap to be proven.
    state : State, optional
        Where the solve at a nearby beta ended.
    """

    def __init__(self, problem: GatedReLUProblem, number: int, X: Any, V: Any, tol: float, state: State | None = None):
        super().__init__(problem, number, V)
        component, beta, self.tol = problem.components[number], problem.beta, tol
        self.maps = GatedMaps(component.terms[0], component.directions, problem.active, X)
        self.method = SemismoothNewton(self.maps, component.terms[0].loss, beta, V, state)
        if self.method.first < self.upper:
            self.upper, self.best = self.method.first, V
        self.gates: Any = None
        self.inside, self._priced = self.lower, 1.0
        self._look()
        used = (V != 0).any(2).any(0)
        if self.gap > tol and (state is not None or bool(used.any())):
            self._work_on(used | (self.method.q.norm(dim=2).amax(0) > _NEAR_BETA * beta), self.method.q)

    def size(self) -> int:
        """Blocks in use."""
        return sum(len(used) for used in self.method.used)

    def advance(self) -> None:
        """One Newton step or proximal point."""
        self.method.advance(max(self.upper - self.inside, 1e-14 * self.scale))
        self.rounds += 1
        self._look()

    @property
    def state(self) -> State:
        """Where the method stands."""
        return self.method.state

    def _look(self) -> None:
        """Objective, the bound over the working set, and the prices of the other gates where they are due."""
        method = self.method
        value, kappa = method.objective(), float(torch.linalg.vector_norm(method.q, dim=2).max())
        if value < self.upper:
            self.upper, self.best = value, self._whole(method.S)
        bound_ = self._bound(method.z, kappa)
        if self.gates is None:
            self._prove(bound_)
        elif bound_ > self.inside:
            self.inside = bound_
            gap = (self.upper - bound_) / self.scale
            if gap <= max(_SHARE * self.tol, _AGAIN * self._priced):
                self._priced = gap
                self._price(kappa)

    def _price(self, kappa: float) -> None:
        """The bound at the prices of all gates, and a larger working set if some are above the largest of its own, kappa."""
        q = self.maps.backward(self.maps.weight * self.method.z)
        prices = q.norm(dim=2).amax(0)
        self._prove(self._bound(self.method.z, max(float(prices.max()), kappa)))
        near = prices > _JOIN * min(kappa, self.problem.beta)
        if self.gap > _SHARE * self.tol and bool((prices > kappa).any()):
            near[self.gates] = True
            self._work_on(near, q)

    def _work_on(self, chosen: Any, q: Any) -> None:
        """Go on over some gates (all, if they are many), which V and S are zero outside of."""
        V = self._whole(self.method.V)
        few = int(chosen.sum()) <= _MOST_WORKING * len(chosen)
        self.gates = torch.nonzero(chosen)[:, 0] if few else None
        where = self.gates if few else slice(None)
        self.method.change(self.maps.over(where), V[:, where], q[:, where])
        self.inside, self._priced = self.lower, self.gap

    def _whole(self, part: Any) -> Any:
        """Weights of all gates."""
        if self.gates is None:
            return part
        whole = torch.zeros_like(self.best)
        whole[:, self.gates] = part
        return whole

    def _bound(self, z: Any, kappa: float) -> float:
        """The bound that multipliers prove if kappa is the largest price."""
        atoms = [Atoms(self.exact_terms[0], z.cpu().numpy()[None, None], None, None)]
        return bound.scaled_value(atoms, kappa, self.problem.beta)[0]

    def _prove(self, value: float) -> None:
        """Remember a bound and its multipliers if it is the best so far."""
        if max(value, 0.0) > self.lower:
            self.lower, self.duals = max(value, 0.0), Duals([self.method.z[None]], [None], [None], [None])
        self.inside = max(self.inside, self.lower)


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
