"""Paths of solutions over beta and radius, from the zero network down, each solve starting from the one before."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ._prediction import predicted
from .errors import InputError
from .problems.base import Problem
from .problems.labels import number, per_row
from .solvers import Solution, solve

_ZERO_TOL = 1e-2
"""Relative width of the bracket of the zero-solution threshold, where a path starts."""


class PathPoint(NamedTuple):
    """One solve of a path."""

    beta: float
    radius: float
    """In the units of X; nan where the problem's own radii of rows were kept and differ."""
    problem: Problem
    solution: Solution


@dataclass(frozen=True, eq=False, repr=False)
class RegularisationPath:
    """Solutions over beta and radius, in the order in which they were found: beta falls, for one radius after the other.

    Attributes
    ----------
    points : tuple of PathPoint
        beta, radius, problem and :class:`convexadv.Solution` of every solve.
    start_time : float
        Seconds for the zero-solution thresholds, 0 where the betas were given.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> path = ca.regularisation_path(ca.PolynomialProblem(X, y), betas=[0.05, 0.01], radii=[0.0, 0.2])
    >>> [(row["radius"], row["beta"], row["certified"]) for row in path.accuracies(X, y, radius=0.2)]
    [(0.0, 0.05, 1.0), (0.0, 0.01, 1.0), (0.2, 0.05, 1.0), (0.2, 0.01, 1.0)]
    """

    points: tuple[PathPoint, ...]
    start_time: float = 0.0

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[PathPoint]:
        return iter(self.points)

    @property
    def betas(self) -> np.ndarray:
        """(k,) of all points."""
        return np.array([point.beta for point in self.points])

    @property
    def radii(self) -> np.ndarray:
        """(k,) of all points."""
        return np.array([point.radius for point in self.points])

    @property
    def networks(self) -> list[Any]:
        """The k networks."""
        return [point.solution.network for point in self.points]

    @property
    def solve_time(self) -> float:
        """Seconds of all solves and of the thresholds."""
        return self.start_time + sum(point.solution.solve_time for point in self.points)

    def rows(self) -> list[dict[str, Any]]:
        """The table as one dictionary a point: beta, radius, objective, lower_bound, gap, neurons, status, seconds.

        Returns
        -------
        list of dict
        """
        return [
            {
                "beta": point.beta,
                "radius": point.radius,
                "objective": float(point.solution.objective),
                "lower_bound": float(point.solution.lower_bound),
                "gap": float(point.solution.gap),
                "neurons": 0 if point.solution.network is None else point.solution.network.n_neurons,
                "status": str(point.solution.status),
                "seconds": point.solution.solve_time,
            }
            for point in self.points
        ]

    def to_json(self) -> str:
        """The table as JSON: ``{"start_time": seconds, "points": [...]}``; numbers that are not finite become null.

        Returns
        -------
        str
        """
        rows = [
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in row.items()
            }
            for row in self.rows()
        ]
        return json.dumps({"start_time": self.start_time, "points": rows}, allow_nan=False)

    def accuracies(
        self, X: Any, y: Any, radius: float | None = None, norm: str | None = None, **options: Any
    ) -> list[dict[str, float]]:
        """Clean, certified and attacked accuracy of every network: the clean-robust trade-off as a table.

        Parameters
        ----------
        X : (n, d)
            Rows in the units of the problem's X.
        y : (n,)
            Labels.
        radius : float, optional
            Of the balls; the radius of every point if not given.
        norm : {"l2", "linf", "l1"}, optional
            That of the problem if not given.
        **options
            Of :func:`convexadv.robust_accuracy`.

        Returns
        -------
        list of dict
            beta, radius (of the training), neurons, evaluated_radius, clean, attacked, certified, from 0 to 1.

        Raises
        ------
        InputError
            As :func:`convexadv.robust_accuracy`.
        """
        from .robustness import robust_accuracy

        table = []
        for point in self.points:
            size = point.radius if radius is None else radius
            found = robust_accuracy(point.solution.network, X, y, size, norm or point.problem.norm, **options)
            values = {
                "clean": found.clean,
                "attacked": float(found.attacked[0]),
                "certified": float(found.certified[0]),
            }
            settings = {"beta": point.beta, "radius": point.radius, "neurons": point.solution.network.n_neurons}
            table.append({**settings, "evaluated_radius": float(size), **values})
        return table

    def __repr__(self) -> str:
        return f"RegularisationPath(points={len(self)}, certified={sum(p.solution.status.ok for p in self.points)})"

    def __str__(self) -> str:
        head = ("beta", "radius", "objective", "lower bound", "gap", "neurons", "status", "seconds")
        lines = [list(head)] + [
            [
                f"{row['beta']:.4g}",
                f"{row['radius']:g}",
                f"{row['objective']:.6g}",
                f"{row['lower_bound']:.6g}",
                f"{row['gap']:.1e}",
                str(row["neurons"]),
                row["status"],
                f"{row['seconds']:.3g}",
            ]
            for row in self.rows()
        ]
        widths = [max(len(line[j]) for line in lines) for j in range(len(head))]
        return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


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
    for radius in [None] if radii is None else radii:
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


def _positive(name: str, values: Any) -> np.ndarray:
    result = np.sort([number(name, value) for value in values])[::-1]
    if not len(result) or result[-1] <= 0:
        raise InputError(f"{name} must be one or more positive numbers.")
    return result
