"""The conic backend: compile, solve, recover, certify, measure."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import InputError
from ...problems import AtomSet, OptimalityCertificate, PolynomialProblem
from ...recovery import network_from_lift, restore
from ..solution import Solution, Status, measure
from . import availability, memory
from .answer import Answer, Outcome
from .atoms import atoms_of
from .compiler import compile_component
from .direct import run_clarabel, run_scs
from .modelled import run_cvxpy

logger = logging.getLogger(__name__)

VIOLATION_TOLERANCE = 1e-6
_REPAIRABLE = 1e-2
_ROUNDING = 1e-12
_PROVES_INFEASIBLE = 1e3  # in objectives of the zero network: no answer of interest costs as much

_STATUS = {
    Outcome.SOLVED: Status.OPTIMAL,
    Outcome.INACCURATE: Status.INACCURATE,
    Outcome.MAX_ITER: Status.MAX_ITER,
    Outcome.TIME_LIMIT: Status.TIME_LIMIT,
    Outcome.INFEASIBLE: Status.INFEASIBLE,
    Outcome.FAILED: Status.FAILED,
}


def solve_conic(
    problem: PolynomialProblem,
    solver: str,
    tol: float = 1e-4,
    verbose: bool = False,
    max_iter: int | None = None,
    time_limit: float | None = None,
    path: str | None = None,
    **options: Any,
) -> Solution:
    """Solve the semidefinite programme of a problem in full.

    The components of the problem (one-vs-rest classes, outputs of a regression) are solved one after the
    other. The network is recovered from Z and Z'; its objective is recomputed, and the lower bound is
    computed from the solver's multipliers by the problem itself. The status is OPTIMAL only if the solver
    calls its answer solved **and** the measured gap is at most ``tol`` and the measured violation at most
    1e-6; a solved answer that misses one of them is INACCURATE (with beta = 0: UNCERTIFIED). It is
    INFEASIBLE only if the solver's proof, evaluated as a lower bound, exceeds the objective of the zero
    network a thousandfold.

    Parameters
    ----------
    problem : PolynomialProblem
    solver : {"SCS", "CLARABEL", "MOSEK"}
    tol : float
        Relative gap that counts as optimal. It does not reach the solver: Clarabel and MOSEK keep their
        default tolerances, SCS runs at eps_abs = eps_rel = 1e-5; ``options`` change them.
    verbose : bool
        Log what the solver reports.
    max_iter : int, optional
        Iterations for each component.
    time_limit : float, optional
        Seconds of solver time for all components together.
    path : {"direct", "cvxpy"}, optional
        How the data reach the solver; for cross-checks. MOSEK is always reached through cvxpy.
    **options
        Settings of the solver (through cvxpy: of cvxpy's interface to it).

    Returns
    -------
    Solution
        ``variables`` holds the raw "Z" and "Z_prime" (lists over the outputs that were solved),
        "raw_objective" (the solver's own), and "compile_time" in seconds.

    Raises
    ------
    InputError
        If an option is unknown, or the loss has no conic form.
    SolverUnavailableError
        If the solver is not installed or licensed, or the problem cannot fit into memory.
    """
    availability.require(solver)
    run = _runner(solver, path)
    memory.require(problem, solver)
    parts = _Parts()
    for number in range(len(problem.components)):
        spent = sum(answer.seconds for answer in parts.answers)
        remaining = None if time_limit is None else time_limit - spent
        if remaining is not None and remaining <= 0.0:
            parts.answers.append(Answer(Outcome.TIME_LIMIT, f"{solver}: a component was not started"))
            continue
        parts.add(problem, number, run, (max_iter, remaining, verbose, options))
    return _solution(problem, solver, tol, parts)


@dataclass
class _Parts:
    """Results of the components."""

    answers: list[Answer] = field(default_factory=list)
    atoms: list[AtomSet] = field(default_factory=list)
    lifts: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    compile_time: float = 0.0

    def add(self, problem: PolynomialProblem, number: int, run: Callable, settings: tuple) -> None:
        """Compile and solve one component."""
        component = problem.components[number]
        start = time.perf_counter()
        program = compile_component(problem, component)
        answer = run(program, *settings)
        self.compile_time += max(0.0, time.perf_counter() - start - answer.seconds)
        logger.info("component %d of %d: %s", number + 1, len(problem.components), answer.message)
        self.answers.append(answer)
        if answer.dual is not None:
            self.atoms += atoms_of(problem, number, program, answer.dual)
        if answer.primal is not None:
            pairs = zip(*program.lift(answer.primal), strict=True)
            self.lifts.update(zip(component.outputs.tolist(), pairs, strict=True))


def _runner(solver: str, path: str | None) -> Callable[..., Answer]:
    if path not in (None, "direct", "cvxpy"):
        raise InputError(f"path={path!r} is unknown; choose 'direct' or 'cvxpy'.")
    if solver == "MOSEK" or path == "cvxpy":
        return lambda program, *settings: run_cvxpy(program, solver, *settings)
    return run_clarabel if solver == "CLARABEL" else run_scs


def _solution(problem: PolynomialProblem, solver: str, tol: float, parts: _Parts) -> Solution:
    worst = max(answer.outcome for answer in parts.answers)
    message = "; ".join(dict.fromkeys(answer.message for answer in parts.answers))
    certificate = OptimalityCertificate(tuple(parts.atoms))
    network = None
    if worst is not Outcome.INFEASIBLE and len(parts.lifts) == problem.n_outputs:
        network = _network(problem, parts.lifts)
    numbers: dict[str, Any]
    if network is None:
        bound = problem.lower_bound(certificate)
        numbers = {"objective": np.inf, "lower_bound": bound, "gap": np.inf, "violation": np.inf}
    else:
        numbers = measure(problem, network, certificate, VIOLATION_TOLERANCE)
    status = _STATUS[worst]
    if status is Status.OPTIMAL and not numbers["gap"] <= tol:
        status = Status.UNCERTIFIED if problem.beta == 0 else Status.INACCURATE
    proof = numbers["lower_bound"]
    if status is Status.INFEASIBLE and not proof > _PROVES_INFEASIBLE * problem.zero_objective():
        status = Status.FAILED
        message += f" (its proof of infeasibility gives a lower bound of only {proof:.3g})"
    order = sorted(parts.lifts)
    return Solution(
        status=status,
        **numbers,
        certificate=certificate,
        network=network,
        variables={
            "Z": [parts.lifts[output][0] for output in order],
            "Z_prime": [parts.lifts[output][1] for output in order],
            "raw_objective": float(sum(answer.objective for answer in parts.answers)),
            "compile_time": parts.compile_time,
        },
        solve_time=float(sum(answer.seconds for answer in parts.answers)),
        solver=solver,
        message=message,
    )


def _network(problem: PolynomialProblem, lifts: dict[int, tuple[np.ndarray, np.ndarray]]) -> Any:
    """Recover the network; a slight violation of hard margins, homogeneous in the weights, is scaled away.

    (A margin curve asks for y f >= 0 at the end of the ball, which scaling cannot mend: that violation stays
    and is reported.)
    """

    def build(Z: list[np.ndarray], Z_prime: list[np.ndarray], objective: Callable | None = None) -> Any:
        return network_from_lift(Z, Z_prime, problem.activation, problem.classes, objective=objective)

    pairs = [[restore(matrix) for matrix in lifts[output]] for output in sorted(lifts)]
    Z, Z_prime = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    violation = problem.evaluate(build(Z, Z_prime)).violation
    if 0.0 < violation <= _REPAIRABLE:
        stretch = 1.0 / (1.0 - violation)
        Z, Z_prime = [stretch * matrix for matrix in Z], [stretch * matrix for matrix in Z_prime]
        violation = problem.evaluate(build(Z, Z_prime)).violation

    def objective(candidate: Any) -> float:
        evaluation = problem.evaluate(candidate)
        return evaluation.objective if evaluation.violation <= max(violation, _ROUNDING) else np.inf

    return build(Z, Z_prime, objective)
