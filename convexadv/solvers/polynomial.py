"""The torch backend of polynomial problems: column generation, component by component, to one certified gap."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import InputError
from ..problems.certificate import OptimalityCertificate
from ..problems.checking import network_weights
from ..problems.polynomial import PolynomialProblem
from .columns import ColumnGeneration
from .model import ComponentModel, Neurons
from .place import place
from .solution import Record, Solution, Status, measure

logger = logging.getLogger(__name__)

_MAX_ROUNDS = 1000
_FEASIBILITY = 1e-6
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
    if options:
        raise InputError(
            f"the torch backend has no option {sorted(options)[0]!r}; see convexadv.solve for its arguments."
        )
    where, data_type = place(device, dtype)
    with _threads_for(problem):
        run = _Run(problem, tol, max_iter, time_limit, callback, verbose, where, data_type)
        if warm_start is not None:
            run.warm(warm_start)
        return run.solution()


@contextlib.contextmanager
def _threads_for(problem: PolynomialProblem) -> Iterator[None]:
    """One thread for small problems, where threads only wait for each other; the user's number is restored."""
    import torch

    threads = torch.get_num_threads()
    small = problem.rows.n * problem.rows.d < _ENTRIES_WORTH_THREADS
    torch.set_num_threads(1 if small else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Run:
    """One solve: components in turn, then again where their sum has not reached the tolerance."""

    def __init__(self, problem, tol, max_iter, time_limit, callback, verbose, device, dtype):
        import torch

        self.problem, self.tol, self.callback, self.verbose = problem, tol, callback, verbose
        self.max_rounds = _MAX_ROUNDS if max_iter is None else max_iter
        self.deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
        self.start = time.perf_counter()
        self.history: list[Record] = []
        self.status: Status | None = None
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
        network, states = start, None
        if isinstance(start, Solution):
            network, states = start.network, start.variables.get("state")
        unit, coefficients = network_weights(self.problem, network)
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
                column.round(self._keep_going)
                if self._record(column):
                    self.status = Status.STOPPED
                if column.done():
                    break
                self._check_limits(column)

    def _check_limits(self, column: ColumnGeneration) -> None:
        if time.perf_counter() >= self.deadline:
            self.status = Status.TIME_LIMIT
        elif column.rounds >= self.max_rounds:
            self.status = Status.MAX_ITER
        elif column.stalled():
            self.status = Status.STALLED

    def _keep_going(self) -> bool:
        return time.perf_counter() < self.deadline

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
        record = Record(time.perf_counter() - self.start, upper, lower, neurons)
        self.history.append(record)
        level = logging.INFO if self.verbose else logging.DEBUG
        logger.log(level, "%8.2f s  objective %.8g  bound %.8g  neurons %d", *vars(record).values())
        return self.callback(record) if self.callback is not None else False

    def _finish(self) -> Solution:
        solve_time = time.perf_counter() - self.start
        certificate = OptimalityCertificate(tuple(atom for column in self.columns for atom in column.atom_sets()))
        network = self._network()
        numbers = measure(self.problem, network, certificate, _FEASIBILITY)
        status = self.status or Status.STALLED
        if status is Status.OPTIMAL and numbers["gap"] > self.tol:
            status = Status.STALLED
        elif status not in (Status.INFEASIBLE, Status.STOPPED) and numbers["gap"] <= self.tol:
            status = Status.OPTIMAL
        elif self.problem.beta == 0 and status is not Status.INFEASIBLE:
            status = Status.UNCERTIFIED
        state = [
            [None if c is None else c.cpu().numpy() for c in column.state.smoothing.centres] for column in self.columns
        ]
        variables = {
            "state": state,
            "evaluations": sum(column.model.evaluations for column in self.columns),
            "rounds": sum(column.rounds for column in self.columns),
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
