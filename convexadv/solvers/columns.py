r"""Column generation over neurons with a method of multipliers: the torch solver of one component.

A round (1) prices: the moment matrices of the current multipliers give the lower bound and the neurons that violate it;
(2) adds these neurons; (3) refines all neurons jointly by L-BFGS on the smoothed objective; (4) moves the proximal centre
to the new multipliers, which is what makes the *bound* converge where many rows lie on a kink; (5) merges neurons down to
the rank of the lift. It stops on the certified gap.

Where the worst perturbation itself is not unique (degenerate trust regions, a network near zero) the barrier of the
smoothed oracle spreads it as a tight certificate needs; its weight follows the gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..problems.bound import Atoms
from ..problems.certificate import AtomSet
from .consolidate import consolidated
from .curvature import preconditioner
from .lbfgs import Memory, minimise
from .model import ComponentModel, Neurons, Shortfalls, Smoothing
from .radial import FEASIBLE, best_multiple, objective_of_multiples

MU = 0.1
"""Proximal weight, in units of the shortfall (margins of one)."""
NU = 0.002
"""Weight of the barrier of the worst case, as a share of the gap over the order of its inequality."""
ETA = 1.0
"""First accuracy of a refinement, finer whenever the gap stays: the gradient falls below this share of the gap, times a
tenth of the size of the penalty's gradient."""
CANDIDATES = 4
MU_AGAIN = 0.05
"""The same weight where multipliers are given: they are near, so that less needs to be smoothed."""
EXPECTED = 30.0
"""Gap that the first round of such a start works for, in units of the tolerance: the bound of its centres says nothing."""
CURVED = 0.2
"""Gap below which refinements start from the Gauss-Newton curvature, with balls only where multipliers are given: it knows
nothing of how the worst perturbations move, which counts far from a solution."""
_FIRST_EVALUATIONS = 60
_MOST_EVALUATIONS = 300
_SHRINKINGS = 14
_PATIENCE = 40
_FINEST = 1e-4


@dataclass
class State:
    """All that a solve needs to go on: neurons, proximal centres and stored perturbations."""

    neurons: Neurons
    smoothing: Smoothing
    results: list[Shortfalls]


@dataclass
class Bounds:
    """Best pair of numbers found so far, and what proves them."""

    upper: float
    lower: float
    violation: float
    network: Neurons
    atoms: list[Atoms]


class ColumnGeneration:
    """Rounds of column generation for one component; see the module.

    Parameters
    ----------
    model : ComponentModel
        In the arithmetic of the training.
    exact : ComponentModel
        The same in float64, for prices and certificates.
    tolerance : float
        Relative gap of this component at which it is done.
    """

    def __init__(self, model: ComponentModel, exact: ComponentModel, tolerance: float):
        self.model, self.exact, self.tolerance = model, exact, tolerance
        self.torch = model.torch
        self.state, self.bounds = self._zero()
        self.zero_objective = self.bounds.upper if math.isfinite(self.bounds.upper) else self._zero_loss()
        self.memory = Memory()
        self.rounds = 0
        self.evaluations = _FIRST_EVALUATIONS
        self.accuracy = ETA
        self.expected = math.inf
        self.curved = not model.robust
        self._gaps: list[float] = []
        self._uppers: list[float] = []

    @property
    def gap(self) -> float:
        """Relative gap of this component."""
        bounds = self.bounds
        if not math.isfinite(bounds.upper):
            return math.inf
        return (bounds.upper - bounds.lower) / max(abs(bounds.upper), 1e-3 * self.zero_objective, 1e-300)

    @property
    def infeasible(self) -> bool:
        """Whether the bound proves that the constraints cannot be met (it exceeds any sensible objective)."""
        return self.bounds.lower > 1e6 * max(self.zero_objective, 1e-300)

    def done(self) -> bool:
        """Whether the gap is closed."""
        return self.gap <= self.tolerance or self.infeasible

    def stalled(self) -> bool:
        """Whether many rounds brought nothing; without a penalty no bound comes and the objective alone is asked."""
        if self.model.problem.beta == 0:
            return len(self._uppers) > 5 and self._uppers[-1] > (1.0 - self.tolerance) * self._uppers[-5]
        return len(self._gaps) > _PATIENCE and self._gaps[-1] > 0.98 * self._gaps[-_PATIENCE]

    def start_from(self, neurons: Neurons, smoothing: Smoothing | None = None) -> None:
        """Begin at a network (and its multipliers) instead of zero."""
        if len(neurons.signs) == 0:
            return
        if smoothing is not None:
            smoothing = smoothing._replace(mu=MU_AGAIN)
            self.expected, self.curved = EXPECTED * self.tolerance, True
        smoothing = smoothing or self.state.smoothing
        _, _, results = self.model.evaluate(neurons, smoothing)
        self.state = State(neurons, smoothing, results)
        self._keep_best()

    def price(self) -> list[Any]:
        """Lower bound of the current multipliers; the most violating directions of every output."""
        atoms = self._atoms()
        value, extremes, _ = self.exact.problem.component_bound(
            self.exact.component, atoms, self.exact.rows, CANDIDATES
        )
        if value > self.bounds.lower:
            self.bounds.lower, self.bounds.atoms = value, atoms
        self._gaps.append(self.gap)
        self._uppers.append(self.bounds.upper)
        return extremes

    def round(self, keep_going: Callable[[], bool]) -> None:
        """Price, add, refine, move the centre, merge."""
        extremes = self.price()
        if self.done():
            return
        self.rounds += 1
        self._tune()
        self._add(extremes)
        self._refine(keep_going)
        self._keep_best()
        self._prune()
        self.expected = math.inf

    def _zero(self) -> tuple[State, Bounds]:
        torch, model = self.torch, self.model
        d = model.rows.d
        none = Neurons(
            torch.zeros((0, d), dtype=model.dtype, device=model.device),
            torch.zeros(0, dtype=model.dtype, device=model.device),
            torch.zeros(0, dtype=torch.long, device=model.device),
        )
        results, centres = [], []
        for terms in model.terms:
            _, z = terms.loss.multipliers(terms.offset)
            results.append(Shortfalls(z, ()))
            centres.append(z if terms.loss.sharp or terms.k > 1 else None)
        feasible = not any(terms.hard for terms in model.terms)
        upper = self._zero_loss() if feasible else math.inf
        smoothing = Smoothing(centres, MU, 1.0, 0.0)
        bounds = Bounds(upper, -math.inf, 0.0 if feasible else 1.0, none, [])
        return State(none, smoothing, results), bounds

    def _zero_loss(self) -> float:
        sets = [terms for terms in self.model.terms if not terms.hard]
        return sum(float(terms.weight @ terms.loss.group_value(terms.offset)) for terms in sets)

    def _atoms(self) -> list[Atoms]:
        """Multipliers and perturbations of the current point."""
        atoms = []
        for terms, result in zip(self.exact.terms, self.state.results, strict=True):
            z = result.multipliers
            if not bool((z != 0).any()):
                continue
            if not result.samples:
                atoms.append(Atoms(terms, z[None], None, None))
            for part in result.samples:
                chosen = z if part.groups is None else z[:, part.groups]
                weighted = part.shares[:, None, None] * chosen[None]
                atoms.append(Atoms(terms, weighted, part.coordinates, part.basis, part.spread, part.groups))
        return atoms or [Atoms(self.exact.terms[0], self.exact.terms[0].offset[None] * 0.0, None, None)]

    def _add(self, extremes: list[Any]) -> None:
        torch, beta = self.torch, self.model.problem.beta
        vectors: list[Any] = []
        signs: list[float] = []
        outputs: list[int] = []
        for output, extreme in enumerate(extremes):
            order = torch.argsort(extreme.values, descending=True)
            for i in order.tolist():
                sign, direction = float(extreme.signs[i]), extreme.directions[i]
                if float(extreme.values[i]) <= beta * (1.0 + 0.1 * self.tolerance):
                    break
                same = [v for v, s, o in zip(vectors, signs, outputs, strict=True) if s == sign and o == output]
                if all(abs(float(direction @ other)) < 0.95 for other in same):
                    vectors.append(direction)
                    signs.append(sign)
                    outputs.append(output)
        if not vectors:
            return
        old = self.state.neurons
        new = Neurons(
            torch.stack(vectors).to(old.vectors),
            torch.tensor(signs).to(old.signs),
            torch.tensor(outputs, device=old.outputs.device),
        )
        if not len(old.signs):
            self.state.neurons = new.scaled(self._first_size(new))
            return
        before = self.model.evaluate(old, self.state.smoothing)[0]
        share = 0.01 * float((old.vectors**2).sum()) / len(old.signs)
        for _ in range(_SHRINKINGS):
            small = new.scaled(share)
            joined = Neurons(*(torch.cat(pair) for pair in zip(old, small, strict=True)))
            if self.model.evaluate(joined, self.state.smoothing)[0] < before:
                break
            share *= 0.1
        self.state.neurons = joined

    def _first_size(self, neurons: Neurons) -> float:
        """The best multiple of the first neurons."""
        tau, _, _ = best_multiple(objective_of_multiples(self.model, neurons), 1e-12, 1e12)
        return max(tau, 1e-20)

    def _refine(self, keep_going: Callable[[], bool]) -> None:
        neurons, smoothing = self.state.neurons, self.state.smoothing
        shape = neurons.vectors.shape

        def function(flat: Any) -> tuple[float, Any, list[Shortfalls]]:
            value, gradient, results = self.model.evaluate(neurons._replace(vectors=flat.view(shape)), smoothing)
            return value, gradient.reshape(-1), results

        self.memory.clear()
        near = self.curved and self._promise() < CURVED
        size = 2.0 * self.model.problem.beta * float(neurons.vectors.norm())
        target = self.accuracy * min(self._promise(), 1.0)
        found = minimise(
            function,
            neurons.vectors.reshape(-1),
            self.evaluations,
            max(target, 0.1 * self.accuracy * self.tolerance) * 0.1 * size,
            self.memory,
            keep_going,
            lambda _, results: preconditioner(self.model, neurons, smoothing, results) if near else None,
        )
        self.evaluations = min(_MOST_EVALUATIONS, int(1.25 * self.evaluations))
        self.state.neurons = neurons._replace(vectors=found.point.view(shape))
        self.state.results = found.extra
        centres = [
            None if centre is None else result.multipliers
            for centre, result in zip(smoothing.centres, found.extra, strict=True)
        ]
        self.state.smoothing = smoothing._replace(centres=centres)

    def _promise(self) -> float:
        """The gap that a refinement has to match."""
        return min(self.gap, self.expected)

    def _tune(self) -> None:
        """Let the barrier follow the gap, press harder on constraints that stay violated, leave exhausted float32."""
        if self.model is not self.exact and len(self._gaps) > 3 and self._gaps[-1] > 0.5 * self._gaps[-4]:
            self.model = self.exact
        if self.rounds > 4 and self._gaps[-1] > 0.7 * self._gaps[-2]:
            self.accuracy = max(0.3 * self.accuracy, _FINEST)
        smoothing = self.state.smoothing
        if self.model.robust and self.model.problem.norm == "l2":
            bounds = self.bounds
            upper = bounds.upper if math.isfinite(bounds.upper) else self.zero_objective
            gap = min(max(self._promise(), self.tolerance), 1.0) * max(abs(upper), 1e-3 * self.zero_objective)
            order = len(self.state.neurons.signs) + 2
            smoothing = smoothing._replace(nu=NU * gap / order)
        if self._constrained() and not math.isfinite(self.bounds.upper) and self.rounds > 3:
            smoothing = smoothing._replace(hard=0.1 * smoothing.hard)
        self.state.smoothing = smoothing

    def _keep_best(self) -> None:
        neurons = self.state.neurons
        if not len(neurons.signs):
            return
        value = objective_of_multiples(self.model, neurons)
        tau, objective, violation = best_multiple(value, 0.5, 2.0 if not self._constrained() else 1e6)
        if violation <= FEASIBLE and objective < self.bounds.upper:
            self.bounds.upper, self.bounds.violation = objective, violation
            self.bounds.network = neurons.scaled(tau)

    def _constrained(self) -> bool:
        return any(terms.hard for terms in self.model.terms)

    def _prune(self) -> None:
        neurons = self.state.neurons
        if len(neurons.signs) > 2:
            merged = consolidated(neurons)
            if len(merged.signs) < len(neurons.signs):
                self.state.neurons = merged

    def atom_sets(self) -> list[AtomSet]:
        """The best atoms as NumPy arrays of a certificate."""
        sets = []
        for atom in self.bounds.atoms:
            term = next(i for i, terms in enumerate(self.exact.terms) if terms is atom.terms)
            arrays: list[Any] = [None if part is None else part.cpu().numpy() for part in atom[1:]]
            sets.append(AtomSet(self.exact.number, term, *arrays))
        return sets

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit neurons (m, d) and coefficients (m, outputs of the component) of the best network, in float64."""
        neurons = self.bounds.network
        vectors = neurons.vectors.cpu().double().numpy()
        lengths = np.linalg.norm(vectors, axis=1)
        used = lengths > 0
        vectors, lengths = vectors[used], lengths[used]
        coefficients = np.zeros((len(lengths), len(self.exact.component.outputs)))
        signs, outputs = neurons.signs.cpu().double().numpy()[used], neurons.outputs.cpu().numpy()[used]
        coefficients[np.arange(len(lengths)), outputs] = signs * lengths**2
        return vectors / lengths[:, None], coefficients
