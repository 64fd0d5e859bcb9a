"""Certificates of robustness: rows whose label no perturbation in the ball can change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._arrays import Array, to_numpy
from ..networks import PolynomialNetwork
from ._worst_case import Task
from .margins import radius_text

_METHODS = {
    "l2": "S-procedure: the exact worst case over the l2 ball",
    "linf": "diagonal multipliers: a lower bound over the linf ball",
}


@dataclass(frozen=True, eq=False, repr=False)
class RobustnessCertificate:
    """What is proven about rows and their balls; arrays of the kind of X.

    Attributes
    ----------
    certified : (n,) bool
        Whether the row is predicted as labelled, and so is every point of its ball.
    lower_bound : (n,)
        The margin of no point of the ball is smaller; float64.
    method : str
        How the bound was found, and whether it is exact.
    norm : str
        "l2" or "linf".
    radius : float or (n,)
        As given, in the units of X.
    """

    certified: Array
    lower_bound: Array
    method: str
    norm: str
    radius: Any

    def __repr__(self) -> str:
        counts = f"rows={len(self.certified)}, certified={int(self.certified.sum())}"
        ball = f"norm={self.norm!r}, radius={radius_text(self.radius)}"
        return f"RobustnessCertificate({counts}, {ball}, method={self.method!r})"


def certify(network: PolynomialNetwork, X: Array, y: Any, radius: Any, norm: str = "l2") -> RobustnessCertificate:
    """Prove for each row, where possible, that every point of its ball is predicted as labelled.

    A row is certified if :func:`worst_case_margin` finds a positive lower bound and the network, in its own
    precision, predicts its label. For l2 the other rows can be broken, up to rounding; for linf some of them
    may withstand every perturbation nevertheless.

    Parameters
    ----------
    network : PolynomialNetwork
        With classes.
    X : array or tensor (n, d)
        Raw inputs.
    y : array-like (n,)
        Labels out of ``network.classes``.
    radius : float or (n,)
        Radius r >= 0 of every ball, in the units of X.
    norm : {"l2", "linf"}
        The ball.

    Returns
    -------
    RobustnessCertificate

    Raises
    ------
    InputError
        As :func:`worst_case_margin`.
    """
    task = Task.of(network, X, y, radius, norm)
    lower = task.solve(points=False).lower
    correct = to_numpy(network.margins(task.X, y)) > 0
    return RobustnessCertificate(
        task.returned((lower > 0) & correct), task.returned(lower), _METHODS[norm], norm, radius
    )
