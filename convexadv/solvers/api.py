"""The one entry to every solver."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from .._checks import choice, number
from ..errors import InputError, needs_checkpoint
from ..problems import GatedReLUProblem, PolynomialProblem, ReLUProblem
from ..problems.base import Problem
from .solution import Record, Solution

SOLVERS = ("auto", "torch", "SCS", "CLARABEL", "MOSEK")


class _Backends(NamedTuple):
    """Where the solvers of a kind of problem are: "module:function" within this package, loaded when they are used."""

    torch: str
    conic: str


_BACKENDS: dict[type, _Backends] = {
    PolynomialProblem: _Backends("polynomial.solver:solve_torch", "conic:solve_conic"),
    ReLUProblem: _Backends("relu:solve_torch", "conic:solve_patterns"),
    GatedReLUProblem: _Backends("gated.solver:solve_torch", "conic:solve_patterns"),
}


def _load(place: str) -> Callable[..., Solution]:
    module, name = place.split(":")
    return getattr(importlib.import_module(f".{module}", __package__), name)


def solve(
    problem: Problem,
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
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 30.0,
    resume: bool = False,
    **options: Any,
) -> Solution:
    """Solve a problem and certify the answer.

    Parameters
    ----------
    problem : PolynomialProblem, ReLUProblem or GatedReLUProblem
    solver : {"auto", "torch", "SCS", "CLARABEL", "MOSEK"}
        "auto" is the torch backend. The others write the semidefinite or second-order cone programme in full; for polynomial
        problems SCS needs memory of order n d^2, CLARABEL of order n d^4.
    tol : float
        Relative gap at which the torch backend stops. Conic solvers stop by their own rule (``options`` reach them);
        the gap of their answer is measured all the same.
    max_iter : int, optional
        Rounds of column generation, or iterations of the conic solver.
    time_limit : float, optional
        Seconds.
    warm_start : Solution or Network, optional
        Where the torch backend starts: a solution of a similar problem or its network.
    callback : callable, optional
        Called with a :class:`Record` after every round; a true result stops the solve.
    device : str, optional
        torch device; "cpu" by default.
    dtype : {"float64", "float32"}
        Arithmetic of the two products with the data in the torch backend. float32 gives way to float64 where its
        precision is exhausted; all else, the certificate and the objective are always float64.
    verbose : bool
        Let the solver report its progress through ``logging``.
    checkpoint : path, optional
        File of the state of the torch backend (polynomial problems), written every ``checkpoint_every`` seconds and at
        the end; complete or absent, whenever the process is killed. Several processes write files of their own beside it.
    checkpoint_every : float
        Seconds.
    resume : bool
        Continue from the checkpoint where there is one; without it an existing file is an error.
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

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> problem = ca.PolynomialProblem(X, y, radius=0.2, beta=0.01)
    >>> solution = ca.solve(problem, tol=1e-4)
    >>> solution.status.ok, solution.gap <= 1e-4
    (True, True)
    >>> conic = ca.solve(problem, "CLARABEL")  # the semidefinite programme in full
    >>> abs(conic.objective - solution.objective) < 1e-4
    True
    """
    backends = _BACKENDS.get(type(problem))
    if backends is None:
        names = ", ".join(kind.__name__ for kind in _BACKENDS)
        raise InputError(f"problem is a {type(problem).__name__}; one of {names} is needed.")
    choice("solver", solver, SOLVERS)
    tol = number("tol", tol)
    limits: dict[str, Any] = {
        "max_iter": None if max_iter is None else int(number("max_iter", max_iter)),
        "time_limit": None if time_limit is None else number("time_limit", time_limit),
    }
    if checkpoint is not None:
        if not isinstance(problem, PolynomialProblem) or solver not in ("auto", "torch"):
            raise InputError(
                "checkpoint belongs to the torch backend of polynomial problems; leave it out for other ones."
            )
        options |= {"checkpoint": checkpoint, "checkpoint_every": checkpoint_every, "resume": resume}
    elif resume:
        raise needs_checkpoint()
    if solver in ("auto", "torch"):
        return _load(backends.torch)(
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
    if problem.together.size > 1:
        raise InputError(f"solver={solver!r} needs all rows in one process; several processes need solver='torch'.")
    given = {"warm_start": warm_start, "callback": callback, "device": device}
    unused = [name for name, value in given.items() if value is not None] + (["dtype"] if dtype != "float64" else [])
    if unused:
        raise InputError(f"{unused[0]} is an argument of the torch backend; solver={solver!r} cannot use it.")
    return _load(backends.conic)(problem, solver, tol=tol, verbose=verbose, **limits, **options)


def available_solvers() -> dict[str, str]:
    """Every solver with the word "available", or the reason why it is not."""
    from .conic import solver_states

    return {"torch": "available", **solver_states()}
