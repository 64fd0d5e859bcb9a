"""The torch backend of gated ReLU problems: every component to one certified gap.

Without balls, every loss, one output or the joint margin: a semismooth Newton augmented Lagrangian method
(:mod:`.semismooth`), with proximal terms of moving centres where the loss has a kink. With balls: accelerated proximal
gradients on smoothed losses whose centres move (:mod:`.proximal`), which also find the gates in use, and where they are slow
and the Newton matrix is affordable an interior-point method over these gates (:mod:`.gated_finish`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..problems.blocks import Blocks
from ..problems.certificate import OptimalityCertificate
from ..problems.gated import GatedReLUProblem
from .gated_component import GatedComponent, NewtonComponent
from .gated_finish import RobustComponent
from .gated_model import GatedModel
from .place import place
from .pruning import pruned
from .semismooth import suits
from .solution import Record, Solution, Status, measure

logger = logging.getLogger(__name__)

_MOST_ROUNDS = 2000
_FEASIBILITY = 1e-9
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
    if options:
        raise InputError(
            f"the torch backend has no option {sorted(options)[0]!r}; see convexadv.solve for its arguments."
        )
    where, kind = place(device, dtype)
    if kind != torch.float64:
        raise InputError("dtype='float32' is not used for gated ReLU problems; use dtype='float64'.")
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if problem.rows.n * problem.n_gates < _ENTRIES_WORTH_THREADS else threads)
    try:
        return _Run(problem, tol, max_iter, time_limit, callback, verbose, where, warm_start).solution()
    finally:
        torch.set_num_threads(threads)


def component_of(problem: GatedReLUProblem, number: int, X: Any, known: Blocks | None) -> GatedComponent:
    """The component with the method that suits its terms.

    Parameters
    ----------
    problem : GatedReLUProblem
    number : int
    X : tensor (n, D)
    known : Blocks or None
        Where to start.
    """
    component = problem.components[number]
    start = np.zeros((len(component.outputs), problem.n_gates, X.shape[1]))
    if known is not None:
        own = known.of_outputs(component.outputs)
        np.add.at(start, (own.output, own.gate), own.vectors)
    V = torch.as_tensor(start, device=X.device)
    if suits(component):
        return NewtonComponent(problem, number, X, V)
    return RobustComponent(problem, number, GatedModel(problem, number, X), V)


class _Run:
    """One solve: components in turn."""

    def __init__(self, problem, tol, max_iter, time_limit, callback, verbose, device, warm_start):
        self.problem, self.tol, self.callback, self.verbose = problem, tol, callback, verbose
        self.start = time.perf_counter()
        self.deadline = math.inf if time_limit is None else self.start + time_limit
        self.most = _MOST_ROUNDS * len(problem.components) if max_iter is None else max_iter
        self.history: list[Record] = []
        self.status: Status | None = None
        X = problem.rows.to_torch(device, torch.float64).whole()
        known = None
        if warm_start is not None:
            network = warm_start.network if isinstance(warm_start, Solution) else warm_start
            known = problem.blocks_of(network)[0]
        self.components = [component_of(problem, number, X, known) for number in range(len(problem.components))]

    def solution(self) -> Solution:
        for component in self.components:
            while component.gap > 0.95 * self.tol and self.status is None:
                if time.perf_counter() >= self.deadline:
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
        record = Record(time.perf_counter() - self.start, upper, lower, blocks)
        self.history.append(record)
        level = logging.INFO if self.verbose else logging.DEBUG
        logger.log(level, "%8.2f s  objective %.8g  bound %.8g  gates %d", *vars(record).values())
        return self.callback(record) if self.callback is not None else False

    def _finish(self) -> Solution:
        problem = self.problem
        solve_time = time.perf_counter() - self.start
        parts = [component.certificate() for component in self.components]
        certificate = OptimalityCertificate(
            tuple(atom for atoms, _ in parts for atom in atoms),
            (),
            tuple(each for _, shares in parts for each in shares),
        )
        every = Blocks.joined([component.blocks() for component in self.components], problem.rows.d)
        blocks = pruned(problem, every)
        network = problem.network_of(blocks)
        numbers = measure(problem, network, certificate, _FEASIBILITY)
        status = self.status or Status.STALLED
        if status is not Status.STOPPED and numbers["gap"] <= self.tol:
            status = Status.OPTIMAL
        elif problem.beta == 0:
            status = Status.UNCERTIFIED
        weights = np.zeros((1, problem.n_gates, problem.rows.d, problem.n_outputs))
        np.add.at(weights[0].transpose(0, 2, 1), (blocks.gate, blocks.output), blocks.vectors)
        variables = {
            "weights": weights,
            "blocks": blocks,
            "rounds": sum(component.rounds for component in self.components),
        }
        return Solution(
            status=status,
            certificate=certificate,
            network=network,
            variables=variables,
            history=self.history,
            solve_time=solve_time,
            solver="torch",
            **numbers,
        )
