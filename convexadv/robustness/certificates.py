"""Certificates of robustness: rows whose label no perturbation in the ball can change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .._arrays import Array
from ..networks import Network, PolynomialNetwork
from .margins import MAX_BRANCHES, answer, radius_text
from .query import Query, Search

_POLYNOMIAL = {
    "l2": "S-procedure: the exact worst case over the l2 ball",
    "linf": "diagonal multipliers: a lower bound over the linf ball",
    "l1": "multipliers: a lower bound over the l1 ball",
}
_BOXES = "branch and bound over sub-boxes: exact in sign unless a limit is reached"
_LINEAR = "linear bounds: exact where no neuron is undecided in the ball"
_COMPLETE = "branch and bound over undecided neurons: exact in sign unless a limit is reached"


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
        "l1", "l2" or "linf".
    radius : float or (n,)
        As given, in the units of X.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> certificate = ca.certify(network, X, y, radius=[0.5, 0.1])  # a radius for every row
    >>> float(certificate.certified.mean())  # the certified accuracy
    1.0
    """

    certified: Array
    lower_bound: Array
    method: str
    norm: str
    radius: Any
    query: Query | None = field(default=None, kw_only=True)
    """What was asked: the network, rows, labels, radii and bounds that :func:`convexadv.save_certificate` writes."""
    complete: bool = field(default=False, kw_only=True)
    """Whether the bounds come from branch and bound."""

    def __repr__(self) -> str:
        counts = f"rows={len(self.certified)}, certified={int(self.certified.sum())}"
        ball = f"norm={self.norm!r}, radius={radius_text(self.radius)}"
        return f"RobustnessCertificate({counts}, {ball}, method={self.method!r})"


def certify(
    network: Network,
    X: Array,
    y: Any,
    radius: Any,
    norm: str = "l2",
    *,
    complete: bool = False,
    max_branches: int = MAX_BRANCHES,
    time_limit: float | None = None,
    bounds: tuple[Any, Any] | None = None,
) -> RobustnessCertificate:
    """Prove for each row, where possible, that every point of its ball is predicted as labelled.

    A row is certified if a positive lower bound of its margin over the ball is found, as by
    :func:`worst_case_margin`, and the network, in its own precision, predicts its label. Where that bound is
    exact, the other rows can be broken, up to rounding; elsewhere some of them may withstand every perturbation
    nevertheless.

    Parameters
    ----------
    network, X, y, radius, norm
        As of :func:`worst_case_margin`.
    complete, max_branches, time_limit
        As of :func:`worst_case_margin`, but the search for a row ends as soon as its bound is positive, or a
        point is found that is not: the bounds are lower than they could be.
    bounds
        As of :func:`worst_case_margin`.

    Returns
    -------
    RobustnessCertificate

    Raises
    ------
    InputError
        As :func:`worst_case_margin`.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> certificate = ca.certify(network, X, y, radius=0.5)
    >>> certificate.certified, certificate.lower_bound.round(6)
    (array([ True, False]), array([ 0.5, -0.3]))
    """
    query = Query.of(network, X, y, radius, norm, bounds)
    return certificate(query, Search.of(complete, max_branches, time_limit), radius)


def certificate(query: Query, search: Search, radius: Any) -> RobustnessCertificate:
    """Certify the rows of a query; ``radius`` is what the result says."""
    lower = answer(query, replace(search, deciding=True), points=False).lower
    if isinstance(query.network, PolynomialNetwork):
        method = _BOXES if search.complete and query.norm == "linf" else _POLYNOMIAL[query.norm]
    else:
        method = _COMPLETE if search.complete else _LINEAR
    certified = query.returned((lower > 0) & query.correct())
    branched = search.complete and not (isinstance(query.network, PolynomialNetwork) and query.norm == "l2")
    lower = query.returned(lower)
    return RobustnessCertificate(certified, lower, method, query.norm, radius, query=query, complete=branched)
