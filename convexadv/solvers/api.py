"""The one entry to every solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InputError
from ..problems import PolynomialProblem
from ..problems.labels import number
from .solution import Record, Solution

SOLVERS = ("auto", "torch", "SCS", "CLARABEL", "MOSEK")


def solve(
    problem: PolynomialProblem,
    solver: str = "auto",
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
    """Solve a problem and certify the answer.

    Parameters
    ----------
    problem : PolynomialProblem
    solver : {"auto", "torch", "SCS", "CLARABEL", "MOSEK"}
        "auto" is the torch backend. The others write the semidefinite programme in full and need memory of order n d^2.
    tol : float
        Relative gap at which the torch backend stops. Conic solvers stop by their own rule (``options`` reach them);
        the gap of their answer is measured all the same.
    max_iter : int, optional
        Rounds of column generation, or iterations of the conic solver.
    time_limit : float, optional
        Seconds.
    warm_start : Solution or PolynomialNetwork, optional
        Where the torch backend starts.
    callback : callable, optional
        Called with a :class:`Record` after every round; a true result stops the solve.
    device : str, optional
        torch device; "cpu" by default.
    dtype : {"float64", "float32"}
        Arithmetic of the two products with the data in the torch backend. float32 gives way to float64 where its
        precision is exhausted; all else, the certificate and the objective are always float64.
    verbose : bool
        Let the solver report its progress through ``logging``.
    **options
        Settings of the solver named.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        If an argument cannot be used.
    SolverUnavailableError
        If the solver is not installed, has no licence, or cannot hold the problem in memory.
    """
    if not isinstance(problem, PolynomialProblem):
        raise InputError(f"problem is a {type(problem).__name__}; a PolynomialProblem is needed.")
    if solver not in SOLVERS:
        raise InputError(f"solver={solver!r} is unknown; choose one of {', '.join(map(repr, SOLVERS))}.")
    tol = number("tol", tol)
    limits: dict[str, Any] = {
        "max_iter": None if max_iter is None else int(number("max_iter", max_iter)),
        "time_limit": None if time_limit is None else number("time_limit", time_limit),
    }
    if solver in ("auto", "torch"):
        from .polynomial import solve_torch

        return solve_torch(
            problem,
            tol=tol,
            warm_start=warm_start,
            callback=callback,
            device=device,
            dtype=dtype,
            verbose=verbose,
            **limits,
            **options,
        )
    given = {"warm_start": warm_start, "callback": callback, "device": device}
    unused = [name for name, value in given.items() if value is not None] + (["dtype"] if dtype != "float64" else [])
    if unused:
        raise InputError(f"{unused[0]} is an argument of the torch backend; solver={solver!r} cannot use it.")
    from .conic import solve_conic

    return solve_conic(problem, solver, tol=tol, verbose=verbose, **limits, **options)


def available_solvers() -> dict[str, str]:
    """Every solver with the word "available", or the reason why it is not."""
    from .conic import solver_states

    return {"torch": "available", **solver_states()}
