"""The conic backend of programmes over activation patterns: compile, solve, repair, certify, measure."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...problems.blocks import Blocks
from ...problems.certificate import AtomSet, ConeMultipliers, GateShares, OptimalityCertificate
from ...problems.pattern_cones import into_cones
from ...problems.patterns import PatternProblem
from ..solution import Solution
from . import availability, pattern_memory
from .answer import Answer
from .driver import Answers
from .pattern_atoms import pattern_parts
from .pattern_compiler import compile_patterns
from .pattern_program import PatternProgram
from .solve import runner

_SMALL = 10.0 ** -np.arange(11)
"""Sizes, relative to the largest block, up to which blocks may be dropped."""
_OPEN = 1e-9
"""Part of the objective that dropping them may cost."""
_NOTHING = 1e-12
"""Relative size up to which they are dropped in any case."""


def solve_patterns(
    problem: PatternProblem,
    solver: str,
    tol: float = 1e-4,
    verbose: bool = False,
    max_iter: int | None = None,
    time_limit: float | None = None,
    path: str | None = None,
    **options: Any,
) -> Solution:
    """Solve the conic programme of a ReLU or gated ReLU problem in full.

    The components of the problem (one-vs-rest classes, outputs of a regression) are solved one after the other. Blocks of
    negligible weights are dropped where the objective does not rise (by more than 1e-9 of it), and the others are moved
    into their cones; the objective of the network is recomputed, and the lower bound is computed from the solver's
    multipliers by the problem itself. The status is OPTIMAL only if the solver calls its answer solved **and** the
    measured gap is at most ``tol`` and the measured violation at most 1e-6; a solved answer that misses one of them is
    INACCURATE (with beta = 0: UNCERTIFIED).

    Parameters
    ----------
    problem : ReLUProblem or GatedReLUProblem
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
        How the data reach the solver; for cross-checks. MOSEK is always reached through cvxpy.
    **options
        Settings of the solver (through cvxpy: of cvxpy's interface to it).

    Returns
    -------
    Solution
        ``variables`` holds the solver's own weights "raw" (sides, P, D, C), not a number for outputs without an answer;
        their "raw_objective" (the solver's own); "raw_violation", the relative violation of the cones by the raw weights of
        the blocks that the network keeps; and "compile_time" in seconds.

    Raises
    ------
    InputError
        If an option is unknown, or the loss has no conic form.
    SolverUnavailableError
        If the solver is not installed or licensed, or the problem cannot fit into memory.
    """
    availability.require(solver)
    answers = Answers(solver, runner(solver, path))
    pattern_memory.require(problem, solver)
    parts: list[AtomSet | ConeMultipliers | GateShares] = []
    raw = np.full((len(problem.sides), problem.n_gates, problem.rows.d, problem.n_outputs), np.nan)

    def read(number: int, program: PatternProgram, answer: Answer) -> None:
        if answer.dual is not None:
            parts.extend(pattern_parts(problem, number, program, answer.dual))
        if answer.primal is not None:
            raw[..., problem.components[number].outputs] = program.weights(answer.primal).swapaxes(2, 3)

    answers.solve(problem, compile_patterns, read, max_iter, time_limit, verbose, options)
    network, violation = None, np.nan
    if not answers.infeasible and np.isfinite(raw).all():
        blocks = _blocks(problem, raw)
        kept, repaired = _repaired(problem, blocks, answers.objective)
        network, violation = problem.network_of(repaired), problem.violation(blocks.take(kept))
    certificate = OptimalityCertificate(
        tuple(part for part in parts if isinstance(part, AtomSet)),
        tuple(part for part in parts if isinstance(part, ConeMultipliers)),
        tuple(part for part in parts if isinstance(part, GateShares)),
    )
    return Solution(
        **answers.verdict(problem, network, certificate, tol),
        variables={
            "raw": raw,
            "raw_objective": answers.objective,
            "raw_violation": violation,
            "compile_time": answers.compile_time,
        },
    )


def _blocks(problem: PatternProblem, raw: np.ndarray) -> Blocks:
    """All weights (sides, P, D, C) as blocks."""
    sides, gates, width, outputs = raw.shape
    side, gate, output = np.unravel_index(np.arange(sides * gates * outputs), (sides, gates, outputs))
    vectors = raw.swapaxes(2, 3).reshape(-1, width)
    return Blocks(gate, output, np.asarray(problem.sides, float)[side], vectors)


def _repaired(problem: PatternProblem, blocks: Blocks, objective: float) -> tuple[np.ndarray, Blocks]:
    """Numbers of the blocks that are kept, and these inside their cones.

    They are the fewest largest ones whose objective is not above that of all, or the solver's own, by more than 1e-9 of
    it: less than the tolerance of any solver leaves open.
    """
    size = np.linalg.norm(blocks.vectors, axis=1)
    kept = np.flatnonzero(size > _NOTHING * size.max(initial=0.0))
    inside = into_cones(problem, blocks.take(kept)) if problem.cones else blocks.take(kept)
    alive = np.flatnonzero(inside.vectors.any(1))
    kept, inside = kept[alive], inside.take(alive)
    limit = (1.0 + _OPEN) * max(problem.evaluate_blocks(inside).objective, objective)
    for small in _SMALL:
        fewer = np.flatnonzero(size[kept] > small * size[kept].max(initial=0.0))
        if len(fewer) < len(kept) and problem.evaluate_blocks(inside.take(fewer)).objective <= limit:
            return kept[fewer], inside.take(fewer)
    return kept, inside
