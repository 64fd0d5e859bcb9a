"""The torch backend of polynomial problems: column generation, component by component, to one certified gap."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from ..problems.certificate import OptimalityCertificate
from ..problems.checking import network_weights
from ..problems.polynomial import PolynomialProblem
from .columns import ColumnGeneration
from .model import ComponentModel, Neurons
from .place import place
from .run import Run, network_of, refuse, threads
from .solution import Record, Solution, Status

logger = logging.getLogger(__name__)

_MAX_ROUNDS = 1000
_ENTRIES_WORTH_THREADS = 500_000


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
    **options: Any,
) -> Solution:
    """Solve a polynomial problem by column generation; arguments as in :func:`convexadv.solve`."""
    refuse(options)
    where, data_type = place(device, dtype)
    with threads(small=problem.rows.n * problem.rows.d < _ENTRIES_WORTH_THREADS):
        run = _Run(problem, tol, max_iter, time_limit, callback, verbose, where, data_type)
        if warm_start is not None:
            run.warm(warm_start)
        return run.solution()


class _Run(Run):
    """One solve: components in turn, then again where their sum has not reached the tolerance."""

    feasibility, unit = 1e-6, "neurons"

    def __init__(self, problem, tol, max_iter, time_limit, callback, verbose, device, dtype):
        import torch

        super().__init__(problem, tol, time_limit, callback, verbose, logger)
        self.max_rounds = _MAX_ROUNDS if max_iter is None else max_iter
        rows = problem.rows.to_torch(device, dtype)
        exact_rows = rows if dtype == torch.float64 else problem.rows.to_torch(device, torch.float64)
        self.columns = []
        for number in range(len(problem.components)):
            model = ComponentModel(problem, number, rows, dtype, device)
            exact = (
                model if dtype == torch.float64 else ComponentModel(problem, number, exact_rows, torch.float64, device)
            )
            self.columns.append(ColumnGeneration(model, exact, 0.9 * tol))

    def warm(self, start: Any) -> None:
        states = start.variables.get("state") if isinstance(start, Solution) else None
        unit, coefficients = network_weights(self.problem, network_of(start))
        for number, column in enumerate(self.columns):
            model = column.model
            parts = [
                (j, o) for j, row in enumerate(coefficients[:, model.component.outputs]) for o in np.flatnonzero(row)
            ]
            alphas = np.array([coefficients[j, model.component.outputs[o]] for j, o in parts])
            vectors = unit[[j for j, _ in parts]] * np.sqrt(np.abs(alphas))[:, None]
            neurons = Neurons(
                model.tensor(vectors.reshape(len(parts), model.rows.d)),
                model.tensor(np.sign(alphas)),
                model.tensor(np.array([o for _, o in parts], dtype=np.int64)),
            )
            column.start_from(neurons, self._fitting(column, states[number] if states else None))

    @staticmethod
    def _fitting(column: ColumnGeneration, centres: list | None) -> Any:
        """Proximal centres of an earlier solve, where its terms have the same shapes."""
        if centres is None or len(centres) != len(column.model.terms):
            return None
        shapes = [(terms.k, terms.g) for terms in column.model.terms]
        if any(centre is not None and centre.shape != shape for centre, shape in zip(centres, shapes, strict=True)):
            return None
        own = column.state.smoothing
        kept = [
            mine if centre is None or mine is None else column.model.tensor(centre)
            for mine, centre in zip(own.centres, centres, strict=True)
        ]
        return own._replace(centres=kept)

    def solution(self) -> Solution:
        while self.status is None:
            self._pass()
            if self.status is None:
                self._judge()
        return self._finish()

    def _pass(self) -> None:
        for column in self.columns:
            while self.status is None:
                column.round(self.in_time)
                if self._record(column):
                    self.status = Status.STOPPED
                if column.done():
                    break
                self._check_limits(column)

    def _check_limits(self, column: ColumnGeneration) -> None:
        if not self.in_time():
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

    def _record(self, column: ColumnGeneration) -> Any:
        upper, lower = self._totals()
        neurons = sum(len(each.state.neurons.signs) for each in self.columns)
        return self.record(upper, lower, neurons)

    def _finish(self) -> Solution:
        solve_time = self.seconds()
        certificate = OptimalityCertificate(tuple(atom for column in self.columns for atom in column.atom_sets()))
        network = self._network()
        state = [
            [None if c is None else c.cpu().numpy() for c in column.state.smoothing.centres] for column in self.columns
        ]
        variables = {
            "state": state,
            "evaluations": sum(column.model.evaluations for column in self.columns),
            "rounds": sum(column.rounds for column in self.columns),
        }
        return self.conclude(solve_time, certificate, network, variables)

    def verdict(self, gap: float) -> Status:
        """Status of an answer with a measured gap; what cannot be met stays infeasible."""
        if self.status is Status.INFEASIBLE:
            return Status.INFEASIBLE
        if self.status is Status.OPTIMAL and gap > self.tol:
            return Status.STALLED
        return super().verdict(gap)

    def _network(self) -> Any:
        from ..networks import PolynomialNetwork

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
