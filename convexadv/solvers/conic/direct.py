"""Clarabel and SCS, given the conic data directly."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from scipy import sparse

from . import svec
from .answer import Answer, Outcome, finite_or_none, unknown_option
from .program import ConicProgram

logger = logging.getLogger(__name__)

_CLARABEL = {
    "Solved": Outcome.SOLVED,
    "AlmostSolved": Outcome.INACCURATE,
    "InsufficientProgress": Outcome.INACCURATE,
    "MaxIterations": Outcome.MAX_ITER,
    "MaxTime": Outcome.TIME_LIMIT,
    "PrimalInfeasible": Outcome.INFEASIBLE,
    "AlmostPrimalInfeasible": Outcome.INFEASIBLE,
}

_SCS = {1: Outcome.SOLVED, 2: Outcome.INACCURATE, -2: Outcome.INFEASIBLE, -7: Outcome.INFEASIBLE}
_SCS_ITERATIONS = 1_000_000
_SCS_INTERRUPTED = -5


def run_clarabel(
    program: ConicProgram,
    max_iter: int | None,
    time_limit: float | None,
    verbose: bool,
    options: dict[str, Any],
) -> Answer:
    """Solve with Clarabel at its default tolerances, unless ``options`` change them.

    The objective is multiplied by ``program.cost_unit``, so that the tolerance of the dual feasibility is
    in units of the multipliers z whatever the number of rows: fewer iterations and a bound that is n times
    sharper.
    """
    import clarabel

    settings = clarabel.DefaultSettings()
    settings.verbose = verbose
    if max_iter is not None:
        settings.max_iter = max_iter
    if time_limit is not None:
        settings.time_limit = time_limit
    for name, value in (program.clarabel_settings | options).items():
        if not hasattr(settings, name):
            raise unknown_option("CLARABEL", name)
        setattr(settings, name, value)
    cones = [
        *([clarabel.ZeroConeT(program.rows["zero"])] if program.rows["zero"] else []),
        *([clarabel.NonnegativeConeT(program.rows["nonnegative"])] if program.rows["nonnegative"] else []),
        *(clarabel.SecondOrderConeT(size) for size in program.sizes),
        *(clarabel.PSDTriangleConeT(order) for order in program.orders),
        *(clarabel.ExponentialConeT() for _ in range(program.rows["exponential"] // 3)),
    ]
    unit = program.cost_unit
    quadratic = _with_pattern(unit * program.quadratic, program)
    solver = clarabel.DefaultSolver(
        quadratic, unit * program.linear, sparse.csc_matrix(-program.matrix), program.offset, cones, settings
    )
    if verbose:
        solver.print_to_buffer()
    result = solver.solve()
    if verbose:
        logger.info("%s", solver.get_print_buffer())
    status = str(result.status)
    dual = finite_or_none(result.z)
    return Answer(
        _CLARABEL.get(status, Outcome.FAILED),
        f"Clarabel: {status} after {result.iterations} iterations",
        finite_or_none(result.x),
        None if dual is None else dual / unit,
        float(result.obj_val) / unit,
        float(result.solve_time),
        int(result.iterations),
    )


def _with_pattern(diagonal: np.ndarray, program: ConicProgram) -> sparse.csc_matrix:
    """The quadratic objective, with explicit zeros for all pairs of variables that end up dense.

    The ordering of Clarabel's factorisation takes variables of small degree first. Each entry of the matrix W
    of a polynomial problem stands in a handful of rows of every matrix inequality, so with few rows and many
    features W would go before the dense blocks of the inequalities and couple all of them (n=60, d=30: 6.7 GB
    and a minute for each iteration). With the zeros W is dense from the start, as it is in the end, and goes
    last.
    """
    kept = np.flatnonzero(diagonal)
    i, j = np.triu_indices(program.dense)
    values = np.concatenate([diagonal[kept], np.zeros(len(i))])
    entries = values, (np.concatenate([kept, i]), np.concatenate([kept, j]))
    return sparse.csc_matrix(entries, shape=(len(diagonal), len(diagonal)))


def run_scs(
    program: ConicProgram,
    max_iter: int | None,
    time_limit: float | None,
    verbose: bool,
    options: dict[str, Any],
) -> Answer:
    """Solve with SCS at eps_abs = eps_rel = 1e-5, unless ``options`` change them.

    The objective is multiplied by ``program.objective_unit``.
    """
    import scs

    order = _scs_order(program)
    matrix = sparse.csc_matrix(-sparse.csr_array(program.matrix)[order])
    unit = program.objective_unit
    data = {"A": matrix, "b": program.offset[order], "c": unit * program.linear}
    if program.quadratic.any():
        data["P"] = sparse.csc_matrix(sparse.diags(unit * program.quadratic))
    cone = {
        "z": program.rows["zero"],
        "l": program.rows["nonnegative"],
        "q": list(program.sizes),
        "s": list(program.orders),
        "ep": program.rows["exponential"] // 3,
    }
    settings = {
        "eps_abs": 1e-5,
        "eps_rel": 1e-5,
        "max_iters": _SCS_ITERATIONS if max_iter is None else max_iter,
    }
    settings |= {"time_limit_secs": 0.0 if time_limit is None else time_limit, "verbose": False, **options}
    try:
        solver = scs.SCS(data, cone, **settings)
    except TypeError as error:
        raise unknown_option("SCS", next(iter(options), str(error))) from error
    result = solver.solve()
    info = result["info"]
    if info["status_val"] == _SCS_INTERRUPTED:
        raise KeyboardInterrupt  # SCS catches the signal itself and returns
    if verbose:
        logger.info("SCS: %s", info)
    dual = finite_or_none(result["y"])
    if dual is not None:
        dual = dual[np.argsort(order)] / unit
    return Answer(
        _scs_outcome(info),
        f"SCS: {info['status']} after {info['iter']} iterations",
        finite_or_none(result["x"]),
        dual,
        float(info["pobj"]) / unit,
        1e-3 * float(info["solve_time"] + info["setup_time"]),
        int(info["iter"]),
    )


def _scs_outcome(info: dict[str, Any]) -> Outcome:
    """SCS reports both limits as inaccurate answers and names the limit in its text."""
    value, text = info["status_val"], info["status"]
    if value == 2 and "time_limit" in text:
        return Outcome.TIME_LIMIT
    if value == 2 and "max_iters" in text:
        return Outcome.MAX_ITER
    return _SCS.get(value, Outcome.FAILED)


def _scs_order(program: ConicProgram) -> np.ndarray:
    """Rows in the order of SCS: lower triangles by columns."""
    order = np.arange(len(program.offset))
    start = program.first_row("psd")
    within = {size: svec.lower_by_columns(size) for size in set(program.orders)}
    for size in program.orders:
        order[start : start + len(within[size])] = start + within[size]
        start += len(within[size])
    return order
