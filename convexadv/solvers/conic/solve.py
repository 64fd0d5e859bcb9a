"""The conic backend: compile, solve, recover, certify, measure."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ...problems import OptimalityCertificate, PolynomialProblem
from ...recovery import network_from_lift, restore
from ..solution import Solution, Status, measure
from . import availability, memory
from .answer import Answer, Outcome
from .atoms import atoms_of
from .direct import run_clarabel, run_scs
from .modelled import run_cvxpy
from .program import ConicProgram, compile_component

logger = logging.getLogger(__name__)

VIOLATION_TOLERANCE = 1e-6
_REPAIRABLE = 1e-2

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

    The components of the problem (one-vs-rest classes, outputs of a regression) are solved one after the other. The
    network is recovered from Z and Z' and everything reported about it is measured, as is the bound, which is made from the
    solver's multipliers. The status is OPTIMAL only if the solver calls its answer solved **and** the measured gap is at
    most ``tol`` and the measured violation at most 1e-6; a solved answer that misses one of them is INACCURATE (beta = 0:
    UNCERTIFIED).

    Parameters
    ----------
    problem : PolynomialProblem
    solver : {"SCS", "CLARABEL", "MOSEK"}
    tol : float
        Relative gap that counts as optimal. It does not reach the solver: Clarabel and MOSEK keep their default
        tolerances, SCS runs at eps_abs = eps_rel = 1e-5; ``options`` change them.
    verbose : bool
        Log what the solver reports.
    max_iter : int, optional
        Iterations for each component.
    time_limit : float, optional
        Seconds of solver time for all components together.
    path : {"direct", "cvxpy"}, optional
        How the data reach the solver; for cross-checks. MOSEK is reached through cvxpy.
    **options
        Settings of the solver (through cvxpy: of cvxpy's interface to it).

    Returns
    -------
    Solution
        ``variables`` holds the raw "Z" and "Z_prime" (a list over outputs), "raw_objective" and "compile_time".

    Raises
    ------
    InputError
        If an option is unknown.
    SolverUnavailableError
        If the solver is not installed or licensed, or the problem cannot fit into memory.
    """
    availability.require(solver)
    run = _runner(solver, path)
    memory.require(problem, solver)
    lifts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    atoms, answers, compile_time = [], [], 0.0
    for number, component in enumerate(problem.components):
        remaining = None if time_limit is None else time_limit - sum(answer.seconds for answer in answers)
        if remaining is not None and remaining <= 0.0:
            answers.append(Answer(Outcome.TIME_LIMIT, f"{solver}: not started", None, None, np.nan, 0.0, 0))
            continue
        start = time.perf_counter()
        program = compile_component(problem, component)
        compile_time += time.perf_counter() - start
        answer = run(program, max_iter, remaining, verbose, options)
        logger.info("component %d of %d: %s", number + 1, len(problem.components), answer.message)
        answers.append(answer)
        if answer.dual is not None:
            atoms += atoms_of(problem, number, program, answer.dual)
        if answer.primal is not None:
            lifts.update(zip(component.outputs.tolist(), zip(*program.lift(answer.primal), strict=True), strict=True))
        del program
    return _solution(problem, solver, tol, answers, lifts, OptimalityCertificate(tuple(atoms)), compile_time)


def _runner(solver: str, path: str | None) -> Callable[..., Answer]:
    if path not in (None, "direct", "cvxpy"):
        raise InputError(f"path={path!r} is unknown; choose 'direct' or 'cvxpy'.")
    if solver == "MOSEK" or path == "cvxpy":
        return lambda program, *settings: run_cvxpy(program, solver, *settings)
    return run_clarabel if solver == "CLARABEL" else run_scs


def _solution(problem, solver, tol, answers, lifts, certificate, compile_time) -> Solution:
    worst = max(answer.outcome for answer in answers)
    infeasible = worst is Outcome.INFEASIBLE
    network = None if infeasible or len(lifts) < problem.n_outputs else _network(problem, lifts)
    if network is None:
        lower = problem.lower_bound(certificate)
        numbers = {"objective": np.inf, "lower_bound": lower, "gap": np.inf, "violation": np.inf}
    else:
        numbers = measure(problem, network, certificate, VIOLATION_TOLERANCE)
    status = _STATUS[worst]
    if status is Status.OPTIMAL and not numbers["gap"] <= tol:
        status = Status.UNCERTIFIED if problem.beta == 0 else Status.INACCURATE
    order = sorted(lifts)
    return Solution(
        status=status,
        **numbers,
        certificate=certificate,
        network=network,
        variables={
            "Z": [lifts[output][0] for output in order],
            "Z_prime": [lifts[output][1] for output in order],
            "raw_objective": float(sum(answer.objective for answer in answers)),
            "compile_time": compile_time,
        },
        solve_time=float(sum(answer.seconds for answer in answers)),
        solver=solver,
        message="; ".join(dict.fromkeys(answer.message for answer in answers)),
    )


def _network(problem: PolynomialProblem, lifts: dict[int, tuple[np.ndarray, np.ndarray]]) -> Any:
    """The recovered network; a slight violation of hard margins, which are homogeneous in it, is scaled away."""

    def objective(candidate: Any) -> float:
        evaluation = problem.evaluate(candidate)
        return evaluation.objective if evaluation.violation <= VIOLATION_TOLERANCE else np.inf

    pairs = [[restore(matrix) for matrix in lifts[output]] for output in sorted(lifts)]
    parts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    network = network_from_lift(*parts, problem.activation, problem.classes)
    violation = problem.evaluate(network).violation
    if VIOLATION_TOLERANCE < violation <= _REPAIRABLE:
        parts = tuple([matrix / (1.0 - violation) for matrix in part] for part in parts)
    return network_from_lift(*parts, problem.activation, problem.classes, objective=objective)
