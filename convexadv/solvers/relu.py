"""The torch backend of ReLU problems: an interior point method for every component, to one certified gap."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError
from ..problems.blocks import Blocks
from ..problems.certificate import OptimalityCertificate
from ..problems.relu import ReLUProblem
from .interior.component import Component
from .interior.living import living_gates
from .interior.shapes import require_known
from .place import place
from .pruning import pruned
from .run import Run, network_of, refuse, threads
from .solution import Record, Solution, Status

logger = logging.getLogger(__name__)

_MAX_ITERATIONS = 500
_WORK_WORTH_THREADS = 3e8


def solve_torch(
    problem: ReLUProblem,
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
    """Solve a ReLU problem by an interior point method; arguments as in :func:`convexadv.solve`.

    Gates whose cone is {0} at this radius ("dead_gates" in the variables) get no block; a proof that they are {0} gives the
    multipliers that the bound needs of them. Cones without an interior ("flat_gates": rows on the boundary of a gate, which
    hold each other in place) get blocks in their linear hull at radius 0. With balls, where that takes rows of radius 0
    among others, they get none; the bound prices them all the same, so a gap that does not close says that one is missed.

    The method keeps all blocks in its cones' interior, drops those that the optimum cannot need, and proves that with
    their cone multipliers; ``max_iter`` counts its iterations over all components. A warm start says which blocks the
    working set starts from.

    Raises
    ------
    InputError
        If the method does not know the loss, or an argument cannot be used.
    """
    refuse(options)
    require_known(problem.loss)
    where, kind = place(device, dtype)
    if str(kind) != "torch.float64":
        raise InputError("dtype='float32' is too coarse for the cones of a ReLU problem; use dtype='float64'.")
    with threads(_small(problem)):
        return _Run(problem, tol, max_iter, time_limit, callback, verbose, where, warm_start).solution()


def _small(problem: ReLUProblem) -> bool:
    """Whether an iteration is too short for more than one thread."""
    n, width = problem.shape
    blocks = 2 * problem.n_gates
    return blocks * n * width**2 + min(n, blocks * width) * n * blocks * width < _WORK_WORTH_THREADS


class _Run(Run):
    """One solve: components in turn."""

    def __init__(self, problem, tol, max_iter, time_limit, callback, verbose, device, warm_start):
        import torch

        super().__init__(problem, tol, time_limit, callback, verbose, logger)
        self.most = _MAX_ITERATIONS * len(problem.components) if max_iter is None else max_iter
        X = problem.rows.to_torch(device, torch.float64).whole()
        living = living_gates(problem)
        self.dead, self.flat = living.dead, living.flat
        known = None if warm_start is None else problem.blocks_of(network_of(warm_start))[0]
        self.components = [
            Component(problem, number, X, living, self._starting(number, known))
            for number in range(len(problem.components))
        ]

    def _starting(self, number: int, known: Blocks | None) -> np.ndarray | None:
        """Numbers of the blocks of a warm start, both sides."""
        if known is None:
            return None
        outputs = self.problem.components[number].outputs
        own = known.of_outputs(outputs)
        flat = own.gate * len(outputs) + own.output
        return np.unique(np.concatenate([flat, flat + self.problem.n_gates * len(outputs)]))

    def solution(self) -> Solution:
        for component in self.components:
            self._solve(component)
            if self.status in (Status.STOPPED, Status.TIME_LIMIT, Status.MAX_ITER):
                break
        return self._finish()

    def _solve(self, component: Component) -> None:
        while component.gap > 0.9 * self.tol and not component.stalled:
            if self._limit_reached():
                component.repair()
                return
            if component.advance(0.9 * self.tol) and self._record():
                self.status = Status.STOPPED
                return

    def _limit_reached(self) -> bool:
        if not self.in_time():
            self.status = Status.TIME_LIMIT
        elif sum(component.iterations for component in self.components) >= self.most:
            self.status = Status.MAX_ITER
        return self.status is not None

    def _record(self) -> Any:
        upper = float(sum(component.upper for component in self.components))
        lower = float(sum(component.lower for component in self.components))
        blocks = sum(len(component.within) for component in self.components)
        return self.record(upper, lower, blocks)

    def _finish(self) -> Solution:
        problem = self.problem
        solve_time = self.seconds()
        parts = [component.certificate(self.tol) for component in self.components]
        certificate = OptimalityCertificate(
            tuple(atom for atoms, _ in parts for atom in atoms), tuple(cones for _, cones in parts)
        )
        every = Blocks.joined([component.best for component in self.components], problem.rows.d)
        blocks = pruned(problem, every)
        network = problem.network_of(blocks)
        variables = {
            "blocks": blocks,
            "iterations": sum(component.iterations for component in self.components),
            "dead_gates": self.dead,
            "flat_gates": self.flat,
        }
        return self.conclude(solve_time, certificate, network, variables)
