"""The conic backend: compile, solve, recover, certify, measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ...problems import AtomSet, OptimalityCertificate, PolynomialProblem
from ...recovery import network_from_lift, restore
from ..solution import Solution
from . import availability, memory
from .answer import Answer
from .atoms import atoms_of
from .compiler import LiftProgram, compile_component
from .direct import run_clarabel, run_scs
from .driver import Answers, Runner
from .modelled import run_cvxpy

_REPAIRABLE = 1e-2
_ROUNDING = 1e-12


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
    answers = Answers(solver, runner(solver, path))
    memory.require(problem, solver)
    atoms: list[AtomSet] = []
    lifts: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def read(number: int, program: LiftProgram, answer: Answer) -> None:
        if answer.dual is not None:
            atoms.extend(atoms_of(problem, number, program, answer.dual))
        if answer.primal is not None:
            pairs = zip(*program.lift(answer.primal), strict=True)
            lifts.update(zip(problem.components[number].outputs.tolist(), pairs, strict=True))

    answers.solve(problem, compile_component, read, max_iter, time_limit, verbose, options)
    complete = not answers.infeasible and len(lifts) == problem.n_outputs
    network = _network(problem, lifts) if complete else None
    order = sorted(lifts)
    return Solution(
        **answers.verdict(problem, network, OptimalityCertificate(tuple(atoms)), tol),
        variables={
            "Z": [lifts[output][0] for output in order],
            "Z_prime": [lifts[output][1] for output in order],
            "raw_objective": answers.objective,
            "compile_time": answers.compile_time,
        },
    )


def runner(solver: str, path: str | None) -> Runner:
    """The function that hands a programme to the solver.

    Raises
    ------
    InputError
        If the path is unknown.
    """
    if path not in (None, "direct", "cvxpy"):
        raise InputError(f"path={path!r} is unknown; choose 'direct' or 'cvxpy'.")
    if solver == "MOSEK" or path == "cvxpy":
        return lambda program, *settings: run_cvxpy(program, solver, *settings)
    return run_clarabel if solver == "CLARABEL" else run_scs


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
