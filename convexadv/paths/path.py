"""What a path of solves returns: its points, as rows of a table, as JSON, and with their accuracies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._json import to_json
from ..problems.base import Problem
from ..robustness import robust_accuracy
from ..solvers import Solution


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
        return to_json({"start_time": self.start_time, "points": self.rows()}, indent=None)

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
