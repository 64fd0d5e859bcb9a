"""The torch backend of gated ReLU problems: accelerated proximal gradients over a working set of gates, certified."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..problems import bound
from ..problems.blocks import Blocks
from ..problems.bound import Atoms
from ..problems.certificate import AtomSet, GateShares, OptimalityCertificate
from ..problems.gated import GatedReLUProblem
from .gated_model import Duals, GatedModel
from .place import place
from .proximal import Accelerated
from .pruning import pruned
from .solution import Record, Solution, Status, measure

logger = logging.getLogger(__name__)

_STEPS = 20
"""Steps between two looks at the bound."""
_MOST_ROUNDS = 2000
_KEPT = 0.9
"""Gates whose price is above this share of the largest of beta and the largest price stay in the working set."""
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
    """Solve a gated ReLU problem; arguments as in :func:`convexadv.solve`. ``max_iter`` counts rounds of steps.

    ``dtype="float32"`` is the arithmetic of the steps until it no longer helps; bounds and objectives are float64.
    """
    if options:
        raise InputError(
            f"the torch backend has no option {sorted(options)[0]!r}; see convexadv.solve for its arguments."
        )
    where, kind = place(device, dtype)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if problem.rows.n * problem.n_gates < _ENTRIES_WORTH_THREADS else threads)
    try:
        return _Run(problem, tol, max_iter, time_limit, callback, verbose, where, kind, warm_start).solution()
    finally:
        torch.set_num_threads(threads)


class _Component:
    """State of one component: weights, best objective and best proof."""

    def __init__(self, problem: GatedReLUProblem, number: int, X: Any, dtype: Any, known: Blocks | None):
        self.problem, self.number = problem, number
        self.model = GatedModel(problem, number, X)
        self.coarse = GatedModel(problem, number, X.to(dtype)) if dtype != X.dtype else None
        part = problem.components[number]
        self.outputs, self.exact_terms = part.outputs, problem.arrays(number)
        self.zero = sum(float(each.weight @ each.loss.group_value(each.offset)) for each in self.exact_terms)
        self.upper, self.lower, self.rounds = self.zero, 0.0, 0
        self.V = X.new_zeros(len(self.outputs), problem.n_gates, X.shape[1])
        if known is not None:
            own = known.of_outputs(self.outputs)
            start = np.zeros(self.V.shape)
            np.add.at(start, (own.output, own.gate), own.vectors)
            self.V = torch.as_tensor(start, device=X.device)
        self.best, self.best_gap_at = self.V, math.inf
        self.lipschitz = 1.0
        self._state: Accelerated | None = None
        self._gates: Any = None
        self.look()

    @property
    def scale(self) -> float:
        """What gaps of this component are relative to."""
        return max(abs(self.upper), 1e-3 * self.zero, 1e-300)

    @property
    def gap(self) -> float:
        """Relative gap of this component."""
        return (self.upper - self.lower) / self.scale

    def look(self) -> None:
        """Objective and bound at the weights, the working set, and new centres."""
        _, q, duals = self.model.evaluate(self.V)
        value = self.model.exact_loss(self.V) + self.problem.beta * float(self.V.norm(dim=2).sum())
        if value < self.upper or self.rounds == 0:
            self.upper, self.best = min(value, self.upper), self.V if value <= self.zero else 0.0 * self.V
        prices = q.norm(dim=2)
        self._keep(duals, float(prices.max()))
        self.model.move_centres(duals)
        if self.coarse is not None:
            kind = self.coarse.X.dtype
            self.coarse.move_centres(Duals(*[[None if e is None else e.to(kind) for e in part] for part in duals]))
        used = (prices > _KEPT * max(self.problem.beta, 0.3 * float(prices.max()))) | (self.V.norm(dim=2) > 0)
        self.used = torch.nonzero(used.any(0))[:, 0]

    def _keep(self, duals: Duals, kappa: float) -> None:
        atoms = [
            Atoms(terms, z.cpu().numpy()[None], None, None)
            for terms, z in zip(self.exact_terms, duals.multipliers, strict=True)
        ]
        value, _ = bound.scaled_value(atoms, kappa, self.problem.beta)
        if value > self.lower or self.rounds == 0:
            self.lower, self.duals = max(value, 0.0), duals

    def advance(self) -> None:
        """One round of steps over the working set, then a look."""
        model = self.model if self.coarse is None else self.coarse
        whole = any(terms.robust for terms in model.terms)
        gates = torch.arange(self.V.shape[1], device=self.V.device) if whole else self.used
        same = self._gates is not None and len(gates) == len(self._gates) and bool((gates == self._gates).all())
        if self._state is None or not same or not model.smooth:
            part = model if whole else model.over(gates)
            start = self.V[:, gates].to(model.X.dtype)
            fresh = Accelerated(part, self.problem.beta, start, self.lipschitz)
            if self._state is not None and same and self._state.point.V.shape == start.shape:
                fresh.previous, fresh.momentum = self._state.previous, self._state.momentum
                fresh.point = self._state.point
            self._state, self._gates = fresh, gates
        moved = self._state.run(_STEPS)
        self.lipschitz = self._state.lipschitz
        V = torch.zeros_like(self.V)
        V[:, gates] = moved.to(V.dtype)
        self.V = V
        self.rounds += 1
        before = self.gap
        self.look()
        if self.coarse is not None and self.rounds % 10 == 0:
            if self.gap > 0.5 * self.best_gap_at:
                self.coarse, self._state = None, None  # its precision is used up
            self.best_gap_at = min(self.gap, before)

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


class _Run:
    """One solve: components in turn."""

    def __init__(self, problem, tol, max_iter, time_limit, callback, verbose, device, dtype, warm_start):
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
        self.components = [_Component(problem, number, X, dtype, known) for number in range(len(problem.components))]

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
        blocks = sum(int((component.V.norm(dim=2) > 0).sum()) for component in self.components)
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
