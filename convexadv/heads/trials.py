"""Heads at all settings, with what they are worth as a table, and the best of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..datasets import Scaling
from ..errors import InputError
from ._clock import Clock
from .candidates import Candidate, Grid, candidates
from .headed import HeadedModel
from .selection import Judge


def trials(
    grid: Grid,
    X: Any,
    y: np.ndarray,
    units: Scaling,
    axes: np.ndarray | None,
    headed: HeadedModel,
    judge: Judge,
    clock: Clock,
    options: dict[str, Any],
) -> tuple[list[Candidate], list[dict[str, Any]]]:
    """Solve all settings of a grid, and judge each head as soon as it is solved.

    Parameters
    ----------
    grid, X, y, units, axes
        As of :func:`convexadv.heads.candidates.candidates`.
    headed : HeadedModel
        Gets the heads, one after the other.
    judge : Judge
    clock : Clock
        Its parts "solve" and "selection" run.
    options : dict
        Of :func:`convexadv.solve`.

    Returns
    -------
    found : list of Candidate
    table : list of dict
        A line for each.
    """
    found: list[Candidate] = []
    table: list[dict[str, Any]] = []

    def measure(candidate: Candidate) -> None:
        clock.stop("solve")
        accuracies: dict[str, float | None] = {"clean": None, "attacked": None}
        if candidate.head is not None:
            headed.set_head(candidate.head)
            with clock("selection"):
                accuracies = judge.accuracies(headed)
        found.append(candidate)
        table.append(_row(candidate) | accuracies)
        clock.start("solve")

    clock.start("solve")
    candidates(grid, X, y, units, axes, measure, **options)
    clock.stop("solve")
    return found, table


def _row(candidate: Candidate) -> dict[str, Any]:
    point, solution = candidate.point, candidate.point.solution
    return {
        "n_gates": candidate.n_gates,
        "radius": point.radius,
        "beta_share": candidate.beta_share,
        "beta": point.beta,
        "objective": float(solution.objective),
        "lower_bound": float(solution.lower_bound),
        "gap": float(solution.gap),
        "status": str(solution.status),
        "neurons": 0 if solution.network is None else solution.network.n_neurons,
        "seconds": solution.solve_time,
    }


def best(rows: list[dict[str, Any]]) -> int:
    """Number of the candidate with the highest attacked accuracy, then clean accuracy, then the first.

    Candidates that are certified to the tolerance go before those that are not: a head that a time limit left near a
    constant has few inputs right, and these under every attack.

    Raises
    ------
    InputError
        If no candidate has a head.
    """
    usable = [k for k, row in enumerate(rows) if row["gap"] is not None and np.isfinite(row["gap"])]
    if not usable:
        raise InputError("no setting gave a certified head; raise time_limit, or try other values of beta and radius.")
    return max(usable, key=lambda k: (_certified(rows[k]), rows[k]["attacked"] or 0.0, rows[k]["clean"] or 0.0, -k))


def _certified(row: dict[str, Any]) -> bool:
    return row["status"] == "optimal"
