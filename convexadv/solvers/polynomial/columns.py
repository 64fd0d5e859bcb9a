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
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from ...problems.chunks import Chunk, PerChunk
from .ball_curvature import has_balls
from .consolidate import consolidated
from .curvature import preconditioner
from .entrants import joined_by
from .lbfgs import Memory, minimise
from .model import ComponentModel, Neurons, Point, Smoothing
from .radial import FEASIBLE, best_multiple
from .requests import Collect, Evaluate, Price
from .state import State, at_zero, centres_of, zero_loss

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
"""Gap below which refinements start from the curvature of the objective. Where that knows nothing of how the worst
perturbations move (boxes, several directions), which counts far from a solution, only if multipliers are given."""
RENEWAL = 40
"""Evaluations after which a refinement with balls takes the curvature of where it is."""
_FIRST_EVALUATIONS = 60
_MOST_EVALUATIONS = 300
_PATIENCE = 40
_FINEST = 1e-4
_SHARPEN = 0.05
"""Gap from which on the proximal weight is halved with the accuracy, down to _LEAST_MU."""
_LEAST_MU = 0.002


Job = Generator[Any, Any, Any]
"""Yields requests (:mod:`.requests`) and is sent their answers."""


class ColumnGeneration:
    """Rounds of column generation for one component; see the module.

    Parameters
    ----------
    model : ComponentModel
    chunks : list of Chunk
        Terms of the rows of this process.
    tolerance : float
        Relative gap of this component at which it is done.
    exact : bool
        Whether all products are float64; else until they bring nothing more.
    """

    def __init__(self, model: ComponentModel, chunks: list[Chunk], tolerance: float, exact: bool = True):
        self.model, self.tolerance, self.exact = model, tolerance, exact
        self.torch = model.torch
        self.zero_objective = zero_loss(model, chunks)
        self.state, self.bounds = at_zero(model, chunks, MU, self.zero_objective)
        self.memory = Memory()
        self._best: tuple[float, Neurons] | None = None
        self.rounds = 0
        self.evaluations = _FIRST_EVALUATIONS
        self.accuracy = ETA
        self.expected = math.inf
        self.curved = not (model.robust and any(kind.centred for kind in model.kinds))
        self._moment: Any = None
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

    def start_from(self, neurons: Neurons, smoothing: Smoothing | None = None) -> Job:
        """Begin at a network (and its multipliers) instead of zero."""
        if len(neurons.signs) == 0:
            return
        if smoothing is not None:
            smoothing = smoothing._replace(mu=MU_AGAIN)
            self.expected, self.curved = EXPECTED * self.tolerance, True
        else:
            own = self.state.smoothing
            halved = [[None if z is None else 0.5 * z for z in chunk] for chunk in own.centres]
            _, _, multipliers = yield Evaluate(self.model, neurons, own._replace(centres=halved), self.exact)
            smoothing = own._replace(centres=centres_of(self.model, multipliers))
        _, _, multipliers = yield Evaluate(self.model, neurons, smoothing, self.exact)
        self.state = State(neurons, smoothing, Point(neurons, smoothing.nu, multipliers))
        yield from self._keep_best()

    def round(self, keep_going: Callable[[], bool]) -> Job:
        """Price, add, refine, move the centre, merge."""
        extremes = yield from self.price()
        if self.done():
            return
        self.rounds += 1
        self._tune()
        self.state.neurons = yield from joined_by(self.model, self.state, extremes, self.tolerance, self.exact)
        yield from self._refine(keep_going)
        yield from self._keep_best()
        self._prune()
        self.expected = math.inf

    def price(self) -> Job:
        """Lower bound of the current multipliers; the most violating directions of every output."""
        model, point = self.model, self.state.point
        moments, shares, mass = yield Price(model, point)
        self._moment = moments[0] if len(moments) == 1 else None
        value, extremes, _ = model.problem.bound_of(model.component, moments, shares, mass, CANDIDATES)
        if value > self.bounds.lower:
            self.bounds.lower, self.bounds.point, self.bounds.atoms = value, point, None
        self._gaps.append(self.gap)
        self._uppers.append(self.bounds.upper)
        return extremes

    def _refine(self, keep_going: Callable[[], bool]) -> Job:
        neurons, smoothing = self.state.neurons, self.state.smoothing
        shape = neurons.vectors.shape
        self.memory.clear()
        balls = has_balls(self.model, smoothing)
        near = self._promise() < CURVED

        def curvature(x: Any, multipliers: PerChunk) -> Job:
            here = neurons._replace(vectors=x.view(shape))
            return preconditioner(self.model, here, smoothing, multipliers, self.curved, self._moment)

        size = 2.0 * self.model.problem.beta * float(neurons.vectors.norm())
        target = self.accuracy * min(self._promise(), 1.0)
        steps = minimise(
            neurons.vectors.reshape(-1),
            self.evaluations,
            max(target, 0.1 * self.accuracy * self.tolerance) * 0.1 * size,
            self.memory,
            keep_going,
            curvature if near else None,
            RENEWAL if balls else math.inf,
        )
        found = yield from self._evaluating(steps, neurons, smoothing, shape)
        self.evaluations = min(_MOST_EVALUATIONS, int(1.25 * self.evaluations))
        self.state.neurons = neurons._replace(vectors=found.point.view(shape))
        self.state.point = Point(self.state.neurons, smoothing.nu, found.extra)
        self.state.smoothing = smoothing._replace(centres=centres_of(self.model, found.extra))

    def latest(self) -> Neurons:
        """The network to go on from: the best of a refinement that is under way, else that of the state."""
        return self.state.neurons if self._best is None else self._best[1]

    def _evaluating(self, steps: Job, neurons: Neurons, smoothing: Smoothing, shape: Any) -> Job:
        """Run a minimisation, its points turned into evaluations; other requests pass through."""
        request = next(steps)
        while True:
            if isinstance(request, tuple):
                answer = yield request
            else:
                moved = neurons._replace(vectors=request.view(shape))
                value, gradient, multipliers = yield Evaluate(self.model, moved, smoothing, self.exact)
                answer = (value, gradient.reshape(-1), multipliers)
                if self._best is None or value < self._best[0]:
                    self._best = value, moved
            try:
                request = steps.send(answer)
            except StopIteration as end:
                self._best = None
                return end.value

    def _promise(self) -> float:
        """The gap that a refinement has to match."""
        return min(self.gap, self.expected)

    def _tune(self) -> None:
        """Let the barrier follow the gap, press harder on constraints that stay violated, leave exhausted float32."""
        if not self.exact and len(self._gaps) > 3 and self._gaps[-1] > 0.5 * self._gaps[-4]:
            self.exact = True
        if self.rounds > 4 and self._gaps[-1] > 0.7 * self._gaps[-2]:
            self.accuracy = max(0.3 * self.accuracy, _FINEST)
            self._sharpen()
        smoothing = self.state.smoothing
        if self.model.robust and self.model.problem.norm == "l2":
            bounds = self.bounds
            upper = bounds.upper if math.isfinite(bounds.upper) else self.zero_objective
            gap = min(max(self._promise(), self.tolerance), 1.0) * max(abs(upper), 1e-3 * self.zero_objective)
            order = len(self.state.neurons.signs) + 2
            smoothing = smoothing._replace(nu=NU * gap / order)
        if self.model.constrained and not math.isfinite(self.bounds.upper) and self.rounds > 3:
            smoothing = smoothing._replace(hard=0.1 * smoothing.hard)
        self.state.smoothing = smoothing

    def _sharpen(self) -> None:
        """Longer steps of the centres where the curvature of the balls makes refinements cheap, late in the solve."""
        smoothing = self.state.smoothing
        if self.gap < _SHARPEN and self.memory.base is not None and has_balls(self.model, smoothing):
            self.state.smoothing = smoothing._replace(mu=min(smoothing.mu, max(0.5 * smoothing.mu, _LEAST_MU)))

    def _keep_best(self) -> Job:
        neurons = self.state.neurons
        if not len(neurons.signs):
            return
        high = 1e6 if self.model.constrained else 2.0
        tau, objective, violation = yield from best_multiple(self.model, neurons, 0.5, high)
        if violation <= FEASIBLE and objective < self.bounds.upper:
            self.bounds.upper, self.bounds.violation = objective, violation
            self.bounds.network = neurons.scaled(tau)

    def _prune(self) -> None:
        neurons = self.state.neurons
        if len(neurons.signs) > 2:
            merged = consolidated(neurons)
            if len(merged.signs) < len(neurons.signs):
                self.state.neurons = merged

    def proof(self) -> Collect:
        """The request for the atoms of the best bound."""
        return Collect(self.model, self.bounds.point)

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit neurons (m, d) and coefficients (m, outputs of the component) of the best network, in float64."""
        neurons = self.bounds.network
        vectors = neurons.vectors.cpu().double().numpy()
        lengths = np.linalg.norm(vectors, axis=1)
        used = lengths > 0
        vectors, lengths = vectors[used], lengths[used]
        coefficients = np.zeros((len(lengths), len(self.model.component.outputs)))
        signs, outputs = neurons.signs.cpu().double().numpy()[used], neurons.outputs.cpu().numpy()[used]
        coefficients[np.arange(len(lengths)), outputs] = signs * lengths**2
        return vectors / lengths[:, None], coefficients
