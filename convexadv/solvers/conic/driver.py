"""What the conic backends of all problems share: components one after the other, and the status of the whole."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...problems.base import Problem
from ...problems.certificate import OptimalityCertificate
from ..solution import Status, measure
from .answer import Answer, Outcome
from .program import ConicProgram

logger = logging.getLogger(__name__)

VIOLATION_TOLERANCE = 1e-6
_PROVES_INFEASIBLE = 1e3  # in objectives of the zero network: no answer of interest costs as much

_STATUS = {
    Outcome.SOLVED: Status.OPTIMAL,
    Outcome.INACCURATE: Status.INACCURATE,
    Outcome.MAX_ITER: Status.MAX_ITER,
    Outcome.TIME_LIMIT: Status.TIME_LIMIT,
    Outcome.INFEASIBLE: Status.INFEASIBLE,
    Outcome.FAILED: Status.FAILED,
}

Runner = Callable[..., Answer]


@dataclass
class Answers:
    """Answers of the components, solved one after the other.

    Attributes
    ----------
    solver : str
    run : callable
        Takes a programme, iterations, seconds, verbosity and options.
    """

    solver: str
    run: Runner
    answers: list[Answer] = field(default_factory=list)
    compile_time: float = 0.0

    def solve(
        self,
        problem: Problem,
        compile_component: Callable[..., Any],
        read: Callable[[int, Any, Answer], None],
        max_iter: int | None,
        time_limit: float | None,
        verbose: bool,
        options: dict[str, Any],
    ) -> None:
        """Compile and solve each component, and hand number, programme and answer to ``read``."""
        for number, component in enumerate(problem.components):
            remaining = None if time_limit is None else time_limit - self.seconds
            if remaining is not None and remaining <= 0.0:
                self.answers.append(Answer(Outcome.TIME_LIMIT, f"{self.solver}: a component was not started"))
                continue
            start = time.perf_counter()
            program: ConicProgram = compile_component(problem, component)
            answer = self.run(program, max_iter, remaining, verbose, options)
            self.compile_time += max(0.0, time.perf_counter() - start - answer.seconds)
            logger.info("component %d of %d: %s", number + 1, len(problem.components), answer.message)
            self.answers.append(answer)
            read(number, program, answer)

    @property
    def seconds(self) -> float:
        """Time of the solver itself."""
        return float(sum(answer.seconds for answer in self.answers))

    @property
    def objective(self) -> float:
        """The solver's own objective."""
        return float(sum(answer.objective for answer in self.answers))

    @property
    def infeasible(self) -> bool:
        """Whether the solver claims that some component cannot be solved."""
        return max(answer.outcome for answer in self.answers) is Outcome.INFEASIBLE

    def verdict(self, problem: Problem, network: Any, certificate: OptimalityCertificate, tol: float) -> dict[str, Any]:
        """Status, measured numbers, time and message, as fields of a :class:`Solution`."""
        if network is None:
            bound = problem.lower_bound(certificate)
            numbers = {"objective": np.inf, "lower_bound": bound, "gap": np.inf, "violation": np.inf}
        else:
            numbers = measure(problem, network, certificate, VIOLATION_TOLERANCE)
        message = "; ".join(dict.fromkeys(answer.message for answer in self.answers))
        status = _STATUS[max(answer.outcome for answer in self.answers)]
        if status is Status.OPTIMAL and not numbers["gap"] <= tol:
            status = Status.UNCERTIFIED if problem.beta == 0 else Status.INACCURATE
        proof = numbers["lower_bound"]
        if status is Status.INFEASIBLE and not proof > _PROVES_INFEASIBLE * problem.zero_objective():
            status = Status.FAILED
            message += f" (its proof of infeasibility gives a lower bound of only {proof:.3g})"
        return {
            "status": status,
            **numbers,
            "certificate": certificate,
            "network": network,
            "solve_time": self.seconds,
            "solver": self.solver,
            "message": message,
        }
