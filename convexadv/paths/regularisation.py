"""Solves along a path, from the zero network down, each starting from the ones before."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._checks import number, per_row
from ..errors import InputError
from ..problems.base import Problem
from ..solvers import Solution, solve
from .path import PathPoint, RegularisationPath
from .prediction import predicted

_ZERO_TOL = 1e-2
"""Relative width of the bracket of the zero-solution threshold, where a path starts."""


def regularisation_path(
    problem: Problem,
    betas: Sequence[float] | None = None,
    *,
    n_betas: int = 20,
    ratio: float = 0.01,
    radii: Sequence[float] | None = None,
    warm_start: bool = True,
    callback: Callable[[PathPoint], Any] | None = None,
    **options: Any,
) -> RegularisationPath:
    """Solve a problem over a sequence of beta, and of radii, each solve starting from its predecessor.

    Without ``betas`` the path starts where the zero network becomes optimal (the certified upper end of
    ``problem.zero_solution_beta()`` of every radius) and falls geometrically to ``ratio`` times this. A solve starts from
    the network of the last larger beta at the same radius (polynomial and gated networks: extrapolated from the last two);
    every point is certified by itself, so that warm starts change the time and not what is proven. A ReLU solve takes
    from its predecessor which blocks to begin with.

    Parameters
    ----------
    problem : PolynomialProblem, ReLUProblem or GatedReLUProblem
        Its own beta plays no role, nor does its radius if ``radii`` are given; it is not changed.
    betas : sequence of float, optional
        Positive; solved from the largest to the smallest.
    n_betas : int
        How many, if none are given.
    ratio : float in (0, 1)
        Smallest over largest beta, if none are given.
    radii : sequence of float, optional
        Radii of all rows, solved in the order given; that of the problem if not given.
    warm_start : bool
        False solves every point by itself, for comparison.
    callback : callable, optional
        Called with every :class:`PathPoint`; a true result ends the path there.
    **options
        Of :func:`convexadv.solve`, such as ``tol``.

    Returns
    -------
    RegularisationPath

    Raises
    ------
    InputError
        If an argument cannot be used, or the problem's threshold is infinite (hard margins) or zero and no ``betas``
        are given.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> path = ca.regularisation_path(ca.PolynomialProblem(X, y), n_betas=5)
    >>> path.points[0].solution.network.n_neurons  # it starts where the zero network is optimal
    0
    >>> all(point.solution.gap <= 1e-4 for point in path.points)
    True
    """
    if not isinstance(problem, Problem):
        raise InputError(f"problem is a {type(problem).__name__}; a problem of convexadv is needed.")
    given = None if betas is None else _positive("betas", betas)
    n_betas, ratio = int(number("n_betas", n_betas, 1)), number("ratio", ratio, 0.0, 1.0)
    if not 0.0 < ratio < 1.0:
        raise InputError(f"ratio={ratio:g}; a number between 0 and 1 is needed.")
    points: list[PathPoint] = []
    start_time = 0.0
    for radius in [None] if radii is None else _listed("radii", radii):
        own = at(problem, radius=radius)
        chosen = given
        if chosen is None:
            started = time.perf_counter()
            chosen = geometric(own, n_betas, ratio)
            start_time += time.perf_counter() - started
        past: list[tuple[float, Solution]] = []
        for beta in chosen:
            local = at(own, beta=float(beta))
            solution = solve(local, warm_start=predicted(local, past) if warm_start else None, **options)
            points.append(PathPoint(float(beta), _radius(local), local, solution))
            past = [*past[-1:], (float(beta), solution)] if solution.network is not None else []
            if callback is not None and callback(points[-1]):
                return RegularisationPath(tuple(points), start_time)
    return RegularisationPath(tuple(points), start_time)


def geometric(problem: Any, n_betas: int, ratio: float) -> np.ndarray:
    """``n_betas`` values from the threshold of the zero network down to ``ratio`` times this, equally spaced in logarithm."""
    top = problem.zero_solution_beta(tol=_ZERO_TOL).upper
    if not 0.0 < top < np.inf:
        raise InputError(
            f"the zero network is optimal from beta={top:g}, where no path can start; give the betas of the path."
        )
    return top * ratio ** (np.arange(n_betas) / max(1, n_betas - 1))


def at(problem: Problem, *, beta: float | None = None, radius: float | None = None) -> Any:
    """The same problem at another beta or radius; the data are shared, the problem given is not changed.

    Parameters
    ----------
    problem : PolynomialProblem, ReLUProblem or GatedReLUProblem
    beta, radius : float, optional
        Kept if not given.

    Returns
    -------
    problem of the same kind
    """
    other = copy.copy(problem)
    if beta is not None:
        other.beta = number("beta", beta)
    if radius is not None:
        other.radius = per_row("radius", number("radius", radius), problem.rows.n)
        other._assemble()
        if hasattr(other, "_prepare"):
            other._prepare()
    return other


def _radius(problem: Problem) -> float:
    """The radius that all rows share, or nan."""
    first = float(problem.radius[0])
    return first if (problem.radius == first).all() else math.nan


def _listed(name: str, values: Any) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise InputError(f"{name}={values!r} is no list; one or more numbers in a list are needed.") from None


def _positive(name: str, values: Any) -> np.ndarray:
    result = np.sort([number(name, value) for value in _listed(name, values)])[::-1]
    if not len(result) or result[-1] <= 0:
        raise InputError(f"{name} must be one or more positive numbers.")
    return result
