"""The torch backend of polynomial problems: column generation for all components together, to one certified gap.

Small components are solved in full (:mod:`.in_full`) instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._checks import number
from ...problems.certificate import OptimalityCertificate
from ...problems.checking import network_weights
from ...problems.chunks import joined, split
from ...problems.polynomial import PolynomialProblem
from ..place import place
from ..run import Run, network_of, refuse, threads
from ..solution import Record, Solution, Status
from .atoms import certificate_atoms
from .checkpoint import Checkpoint
from .columns import ColumnGeneration, Job
from .in_full import by_interior_point, worth_while
from .model import ComponentModel, Neurons
from .saving import packed, unpack
from .sweeps import Sweeps, side_by_side

logger = logging.getLogger(__name__)

_MAX_ROUNDS = 1000
_SHARE = 0.98
"""Of the tolerance that every component reaches: what is measured in the end differs by rounding."""


def solve_torch(
    problem: PolynomialProblem,
    *,
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    warm_start: Any = None,
    callback: Callable[[Record], Any] | None = None,
    device: str | None = None,
    dtype: str = "float64",
    verbose: bool = False,
    checkpoint: Any = None,
    checkpoint_every: float = 30.0,
    resume: bool = False,
    **options: Any,
) -> Solution:
    """Solve a polynomial problem by column generation; arguments as in :func:`convexadv.solve`."""
    refuse(options)
    where, data_type = place(device, dtype)
    with threads(small=where.type == "cpu") as workers:
        run = _Run(problem, tol, max_iter, time_limit, callback, verbose, where, data_type, workers)
        try:
            if checkpoint is not None:
                run.keep(Checkpoint(checkpoint, problem, number("checkpoint_every", checkpoint_every), resume))
            if warm_start is not None and not run.resumed:
                run.warm(warm_start)
            return run.solution()
        finally:
            run.sweeps.close()


class _Run(Run):
    """One solve: rounds of all components side by side, then again where their sum has not reached the tolerance."""

    feasibility, unit = 1e-6, "neurons"

    def __init__(self, problem, tol, max_iter, time_limit, callback, verbose, device, dtype, workers):
        import torch

        super().__init__(problem, tol, time_limit, callback, verbose, logger)
        self.max_rounds = _MAX_ROUNDS if max_iter is None else max_iter
        self.sweeps = Sweeps(problem, device, dtype, workers)
        self.columns = [
            ColumnGeneration(
                ComponentModel(problem, number, device), self.sweeps.chunks, _SHARE * tol, dtype == torch.float64
            )
            for number in range(len(problem.components))
        ]
        self.going = True
        self.checkpoint: Checkpoint | None = None
        self.resumed = False

    def keep(self, checkpoint: Checkpoint) -> None:
        """Save to a checkpoint from now on, and continue from it where it holds something."""
        self.checkpoint = checkpoint
        found = checkpoint.load()
        if found is None:
            return
        arrays, facts = found
        for column, own in zip(self.columns, facts["components"], strict=True):
            unpack(column, self.sweeps.chunks, arrays, own)
            column.tolerance *= self.tol / facts["tol"]
        self.sweeps.count, self.resumed = facts["sweeps"], True
        self.start -= facts["seconds"]
        for seconds, upper, lower, size in facts["history"]:
            self.history.append(Record(float(seconds), float(upper), float(lower), int(size)))

    def _save(self) -> None:
        parts = [packed(column, self.sweeps.chunks) for column in self.columns]
        arrays = {name: array for part, _ in parts for name, array in part.items()}
        facts = {"components": [own for _, own in parts], "sweeps": self.sweeps.count, "seconds": self.seconds()}
        facts["tol"] = self.tol
        facts["history"] = [[repr(value) for value in vars(record).values()] for record in self.history]
        assert self.checkpoint is not None
        self.checkpoint.save(arrays, facts)

    def warm(self, start: Any) -> None:
        """Start from a network, and from the multipliers of a solution where they fit."""
        states = start.variables.get("state") if isinstance(start, Solution) else None
        unit, coefficients = network_weights(self.problem, network_of(start))
        jobs = []
        for order, column in enumerate(self.columns):
            model = column.model
            parts = [
                (j, o) for j, row in enumerate(coefficients[:, model.component.outputs]) for o in np.flatnonzero(row)
            ]
            alphas = np.array([coefficients[j, model.component.outputs[o]] for j, o in parts])
            vectors = unit[[j for j, _ in parts]] * np.sqrt(np.abs(alphas))[:, None]
            neurons = Neurons(
                model.tensor(vectors.reshape(len(parts), self.problem.rows.d)),
                model.tensor(np.sign(alphas)),
                model.tensor(np.array([o for _, o in parts], dtype=np.int64)),
            )
            jobs.append(column.start_from(neurons, self._fitting(column, states[order] if states else None)))
        side_by_side(self.sweeps, jobs)

    def _fitting(self, column: ColumnGeneration, centres: list | None) -> Any:
        """Proximal centres of an earlier solve, where its terms have the same shapes."""
        sets, number = column.model.component.terms, column.model.number
        if centres is None or len(centres) != len(sets):
            return None
        if any(array is not None and array.shape != terms.shape for array, terms in zip(centres, sets, strict=True)):
            return None
        arrays = [None if array is None else column.model.tensor(array) for array in centres]
        own = column.state.smoothing
        given = split(self.sweeps.chunks, number, arrays)
        kept = [
            [mine if new is None or mine is None else new for mine, new in zip(*pair, strict=True)]
            for pair in zip(own.centres, given, strict=True)
        ]
        return own._replace(centres=kept)

    def solution(self) -> Solution:
        while self.status is None:
            side_by_side(self.sweeps, [self._rounds(column) for column in self.columns], self._watch)
            if self.status is None:
                self._judge()
        if self.checkpoint is not None:
            self._save()
        return self._finish()

    def _watch(self) -> None:
        """Let all processes agree on whether there is time left."""
        self.going = self.status is None and not self.problem.together.any(not self.in_time())
        if self.checkpoint is not None and self.checkpoint.due():
            self._save()

    def _rounds(self, column: ColumnGeneration) -> Job:
        """Rounds of one component, or the interior-point method, until it is done or the solve has to end."""
        in_full = self.checkpoint is None and self.max_rounds > 0
        while self.status is None:
            if in_full and worth_while(column):
                in_full = False
                yield from by_interior_point(column, self.sweeps.chunks, self.in_time)
            if not column.done():
                yield from column.round(lambda: self.going)
            if self.problem.together.any(bool(self._record())):
                self.status = Status.STOPPED
            if column.done():
                break
            self._check_limits(column)

    def _check_limits(self, column: ColumnGeneration) -> None:
        if self.status is not None:
            return
        if not self.going:
            self.status = Status.TIME_LIMIT
        elif column.rounds >= self.max_rounds:
            self.status = Status.MAX_ITER
        elif column.stalled():
            self.status = Status.STALLED

    def _totals(self) -> tuple[float, float]:
        upper = float(sum(column.bounds.upper for column in self.columns))
        lower = float(sum(max(column.bounds.lower, 0.0) for column in self.columns))
        return upper, lower

    def _judge(self) -> None:
        """Judge the sum, once all components are done."""
        if any(column.infeasible for column in self.columns):
            self.status = Status.INFEASIBLE
            return
        upper, lower = self._totals()
        if self.problem.gap(upper, lower) <= 0.99 * self.tol:
            self.status = Status.OPTIMAL
            return
        for column in self.columns:
            column.tolerance *= 0.5

    def _record(self) -> Any:
        upper, lower = self._totals()
        neurons = sum(len(each.state.neurons.signs) for each in self.columns)
        return self.record(upper, lower, neurons)

    def _finish(self) -> Solution:
        solve_time = self.seconds()
        certificate = OptimalityCertificate(certificate_atoms(self.sweeps, self.columns))
        state = [
            joined(
                self.sweeps.chunks,
                column.model.number,
                column.state.smoothing.centres,
                [terms.shape for terms in column.model.component.terms],
            )
            for column in self.columns
        ]
        variables = {
            "state": state,
            "evaluations": sum(column.model.evaluations for column in self.columns),
            "rounds": sum(column.rounds for column in self.columns),
            "sweeps": self.sweeps.count,
        }
        return self.conclude(solve_time, certificate, self._network(), variables)

    def verdict(self, gap: float) -> Status:
        """Status of an answer with a measured gap; what cannot be met stays infeasible."""
        if self.status is Status.INFEASIBLE:
            return Status.INFEASIBLE
        if self.status is Status.OPTIMAL and gap > self.tol:
            return Status.STALLED
        return super().verdict(gap)

    def _network(self) -> Any:
        from ...networks import PolynomialNetwork

        problem = self.problem
        neurons, coefficients = [np.zeros((0, problem.rows.d))], [np.zeros((0, problem.n_outputs))]
        for column in self.columns:
            unit, own = column.weights()
            wide = np.zeros((len(unit), problem.n_outputs))
            wide[:, column.model.component.outputs] = own
            neurons.append(unit)
            coefficients.append(wide)
        return PolynomialNetwork(
            np.concatenate(neurons),
            np.concatenate(coefficients),
            activation=problem.activation,
            classes=problem.classes,
        )
