"""The torch backend of gated ReLU problems: every component to one certified gap.

Without balls, every loss, one output or the joint margin: a semismooth Newton augmented Lagrangian method
(:mod:`.semismooth`), with proximal terms of moving centres where the loss has a kink. With balls: accelerated proximal
gradients on smoothed losses whose centres move (:mod:`.proximal`), which also find the gates in use, and where they are slow
and the Newton matrix is affordable an interior-point method over these gates (:mod:`.finish`), if it knows the loss.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ...errors import InputError
from ...problems.blocks import Blocks
from ...problems.certificate import OptimalityCertificate
from ...problems.gated import GatedReLUProblem
from ..interior.shapes import knows
from ..place import place
from ..pruning import pruned
from ..run import Run, network_of, refuse, threads
from ..solution import Record, Solution, Status
from .component import GatedComponent, GradientComponent, NewtonComponent
from .finish import RobustComponent
from .model import GatedModel
from .semismooth import suits
from .state import KEY, State, admitted

logger = logging.getLogger(__name__)

_MOST_ROUNDS = 2000
_ENTRIES_WORTH_THREADS = 200_000


def solve_torch(
    problem: GatedReLUProblem,
    *,
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    warm_start: Any = None,
    callback: Callable[[Record], Any] | None = None,
    device: str | None = None,
    dtype: str = "float64",
    verbose: bool = False,
    **options: Any,
) -> Solution:
    """Solve a gated ReLU problem; arguments as in :func:`convexadv.solve`.

    The method follows from the problem (see the module). ``max_iter`` counts Newton steps, iterations of the interior-point
    method, and rounds of gradient steps.
    """
    refuse(options)
    where, kind = place(device, dtype)
    if kind != torch.float64:
        raise InputError("dtype='float32' is not used for gated ReLU problems; use dtype='float64'.")
    with threads(small=problem.rows.n * problem.n_gates < _ENTRIES_WORTH_THREADS):
        return _Run(problem, tol, max_iter, time_limit, callback, verbose, where, warm_start).solution()


def component_of(
    problem: GatedReLUProblem, number: int, X: Any, known: Blocks | None, tol: float, state: State | None = None
) -> GatedComponent:
    """The component with the method that suits its terms.

    Parameters
    ----------
    problem : GatedReLUProblem
    number : int
    X : tensor (n, D)
    known : Blocks or None
        Where to start.
    tol : float
        Relative gap to be proven.
    state : State, optional
        Where the solve at a nearby beta ended; ignored unless it has a multiplier for every term.
    """
    component = problem.components[number]
    start = np.zeros((len(component.outputs), problem.n_gates, X.shape[1]))
    if known is not None:
        own = known.of_outputs(component.outputs)
        np.add.at(start, (own.output, own.gate), own.vectors)
    V = torch.as_tensor(start, device=X.device)
    if suits(component):
        terms = component.terms[0]
        return NewtonComponent(problem, number, X, V, tol, admitted(state, terms.loss, len(terms.weight)))
    method = RobustComponent if knows(problem.loss) else GradientComponent
    return method(problem, number, GatedModel(problem, number, X), V)


def states_of(start: Any, components: int) -> Sequence[State | None]:
    """The states that a solution left, one a component; None where there are none."""
    states = start.variables.get(KEY) if isinstance(start, Solution) else None
    return states if states is not None and len(states) == components else [None] * components


class _Run(Run):
    """One solve: components in turn."""

    unit = "gates"

    def __init__(self, problem, tol, max_iter, time_limit, callback, verbose, device, warm_start):
        super().__init__(problem, tol, time_limit, callback, verbose, logger)
        self.most = _MOST_ROUNDS * len(problem.components) if max_iter is None else max_iter
        X = problem.rows.to_torch(device, torch.float64).whole()
        known = None if warm_start is None else problem.blocks_of(network_of(warm_start))[0]
        states = states_of(warm_start, len(problem.components))
        self.components = [component_of(problem, j, X, known, tol, state) for j, state in enumerate(states)]

    def solution(self) -> Solution:
        for component in self.components:
            while component.gap > 0.95 * self.tol and self.status is None:
                if not self.in_time():
                    self.status = Status.TIME_LIMIT
                elif sum(each.rounds for each in self.components) >= self.most:
                    self.status = Status.MAX_ITER
                else:
                    component.advance()
                    if self._record():
                        self.status = Status.STOPPED
        return self._finish()

    def _record(self) -> Any:
        upper = float(sum(component.upper for component in self.components))
        lower = float(sum(component.lower for component in self.components))
        blocks = sum(component.size() for component in self.components)
        return self.record(upper, lower, blocks)

    def _finish(self) -> Solution:
        problem = self.problem
        solve_time = self.seconds()
        parts = [component.certificate() for component in self.components]
        certificate = OptimalityCertificate(
            tuple(atom for atoms, _ in parts for atom in atoms),
            (),
            tuple(each for _, shares in parts for each in shares),
        )
        every = Blocks.joined([component.blocks() for component in self.components], problem.rows.d)
        blocks = pruned(problem, every)
        network = problem.network_of(blocks)
        weights = np.zeros((1, problem.n_gates, problem.rows.d, problem.n_outputs))
        np.add.at(weights[0].transpose(0, 2, 1), (blocks.gate, blocks.output), blocks.vectors)
        variables = {
            "weights": weights,
            "blocks": blocks,
            "rounds": sum(component.rounds for component in self.components),
            KEY: tuple(component.state for component in self.components),
        }
        return self.conclude(solve_time, certificate, network, variables)
