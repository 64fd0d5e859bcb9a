"""The same programme through cvxpy: the way to MOSEK, and a cross-check of the direct path."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
from scipy import sparse

from ...errors import SolverUnavailableError, reason
from . import svec
from .answer import Answer, Outcome, finite_or_none
from .program import ConicProgram

logger = logging.getLogger(__name__)

_STATUS = {
    "optimal": Outcome.SOLVED,
    "optimal_inaccurate": Outcome.INACCURATE,
    "user_limit": Outcome.MAX_ITER,
    "infeasible": Outcome.INFEASIBLE,
    "infeasible_inaccurate": Outcome.INFEASIBLE,
}


def run_cvxpy(
    program: ConicProgram,
    solver: str,
    max_iter: int | None,
    time_limit: float | None,
    verbose: bool,
    options: dict[str, Any],
) -> Answer:
    """Solve through cvxpy; one affine expression, whose rows the constraints slice.

    The objective is multiplied by ``program.objective_unit``.

    Raises
    ------
    SolverUnavailableError
        If cvxpy cannot hand the programme to that solver.
    """
    import cvxpy

    x = cvxpy.Variable(len(program.linear))
    constraints, rebuild = _constraints(cvxpy, program, x)
    curved = np.flatnonzero(program.quadratic)
    unit = program.objective_unit
    objective = (unit * program.linear) @ x
    if len(curved):
        objective += 0.5 * cvxpy.sum_squares(cvxpy.multiply(np.sqrt(unit * program.quadratic[curved]), x[curved]))
    model = cvxpy.Problem(cvxpy.Minimize(objective), constraints)
    settings = _settings(solver, max_iter, time_limit, options)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")  # the status says so
            model.solve(solver=solver, **settings)
    except cvxpy.error.SolverError as error:
        if "not installed" in str(error):
            raise SolverUnavailableError(f"cvxpy cannot use solver {solver!r}: {reason(error)}.") from error
        return Answer(Outcome.FAILED, f"{solver}: {error}")
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "mosek":
            raise
        # cvxpy lets MOSEK's own errors through: a licence that ran out since it was asked for
        raise SolverUnavailableError(f'solver="MOSEK" stopped with {error!r}; use solver="torch".') from error
    statistics = model.solver_stats
    seconds = (statistics.solve_time or 0.0) + (statistics.setup_time or 0.0) if statistics is not None else 0.0
    iterations = int(statistics.num_iters or 0) if statistics is not None else 0
    if verbose:
        logger.info("%s through cvxpy: %s", solver, statistics)
    value = np.nan if model.value is None else float(model.value) / unit
    outcome = _STATUS.get(model.status, Outcome.FAILED)
    if outcome in (Outcome.INACCURATE, Outcome.MAX_ITER):  # cvxpy does not tell the limits apart
        if max_iter is not None and iterations >= max_iter:
            outcome = Outcome.MAX_ITER
        elif time_limit is not None and seconds >= 0.9 * time_limit:
            outcome = Outcome.TIME_LIMIT
    message = f"{solver} through cvxpy: {model.status}"
    dual = rebuild()
    dual = None if dual is None else dual / unit
    return Answer(outcome, message, finite_or_none(x.value), dual, value, seconds, iterations)


def _constraints(cvxpy: Any, program: ConicProgram, x: Any) -> tuple[list[Any], Any]:
    """Constraints on the rows of one expression, and a function that collects their multipliers in order."""
    rows = program.rows
    matrix = sparse.csr_array(program.matrix)
    plane = program.first_row("second_order")
    flat = matrix[:plane] @ x + program.offset[:plane]
    linear = []
    if rows["zero"]:
        linear.append(flat[: rows["zero"]] == 0)
    if rows["nonnegative"]:
        linear.append(flat[rows["zero"] :] >= 0)
    cones, places = _second_order(cvxpy, program, matrix, x)
    blocks, start = [], 0
    square = _squares(program, matrix, x)
    for order in program.orders:
        blocks.append(cvxpy.reshape(square[start : start + order * order], (order, order), order="F") >> 0)
        start += order * order
    exponential = []
    if rows["exponential"]:
        last = program.first_row("exponential")
        spread = matrix[last:] @ x + program.offset[last:]
        exponential.append(cvxpy.ExpCone(spread[0::3], spread[1::3], spread[2::3]))

    def rebuild() -> np.ndarray | None:
        if any(part.dual_value is None for part in linear):
            return None
        parts = [np.atleast_1d(part.dual_value) for part in linear]
        if rows["zero"]:
            parts[0] = -parts[0]  # cvxpy's Lagrangian adds multiplier * expression, ours subtracts it
        curved = np.zeros(rows["second_order"])
        for cone, place in zip(cones, places, strict=True):
            if cone.dual_value is None:
                return None
            curved[place] = np.concatenate([np.reshape(part, (-1, len(place))) for part in cone.dual_value]).T
        parts.append(curved)
        for block, order in zip(blocks, program.orders, strict=True):
            if block.dual_value is None:
                return None
            i, j = svec.triangle(order)
            parts.append((0.5 * (block.dual_value + block.dual_value.T))[i, j] * svec.factors(order))
        parts.append(np.zeros(rows["exponential"]))  # no certificate reads them
        dual = np.concatenate(parts)
        return finite_or_none(dual) if len(dual) == len(program.offset) else None

    return [*linear, *cones, *blocks, *exponential], rebuild


def _second_order(cvxpy: Any, program: ConicProgram, matrix: sparse.csr_array, x: Any) -> tuple[list[Any], list]:
    """Second-order cones, one constraint for all of a size, and the rows (cones, size) that each speaks of."""
    first, sizes = program.first_row("second_order"), np.array(program.sizes, int)
    starts = np.cumsum(sizes) - sizes
    places = [starts[sizes == size, None] + np.arange(size) for size in np.unique(sizes)]
    constraints = []
    for place in places:
        rows = first + place.T.reshape(-1)
        values = matrix[rows] @ x + program.offset[rows]
        tail = cvxpy.reshape(values[len(place) :], (place.shape[1] - 1, len(place)), order="C")
        constraints.append(cvxpy.SOC(values[: len(place)], tail))
    return constraints, places


def _squares(program: ConicProgram, matrix: sparse.csr_array, x: Any) -> Any:
    """All semidefinite blocks as full matrices, stacked by columns, in one affine expression."""
    gather, weight = [np.zeros(0, int)], [np.zeros(0)]
    start = program.first_row("psd")
    patterns = {}
    for order in set(program.orders):
        i, j = np.divmod(np.arange(order * order), order)
        place = svec.position(i, j)
        patterns[order] = place, 1.0 / svec.factors(order)[place]
    for order in program.orders:
        place, factor = patterns[order]
        gather.append(start + place)
        weight.append(factor)
        start += svec.length(order)
    picked, scaled = np.concatenate(gather), np.concatenate(weight)
    expanded = sparse.diags(scaled) @ matrix[picked]
    return expanded @ x + scaled * program.offset[picked]


def _settings(solver: str, max_iter: int | None, time_limit: float | None, options: dict[str, Any]) -> dict[str, Any]:
    """Limits and options by the names that cvxpy's interface to the solver has for them."""
    names = {
        "MOSEK": ("MSK_IPAR_INTPNT_MAX_ITERATIONS", "MSK_DPAR_OPTIMIZER_MAX_TIME"),
        "CLARABEL": ("max_iter", "time_limit"),
        "SCS": ("max_iters", "time_limit_secs"),
    }[solver]
    limits = zip(names, (max_iter, time_limit), strict=True)
    settings = {name: value for name, value in limits if value is not None}
    if solver == "MOSEK":
        return {**options, "mosek_params": {**settings, **options.get("mosek_params", {})}}
    return ({"eps_abs": 1e-5, "eps_rel": 1e-5} if solver == "SCS" else {}) | settings | options
