"""Worst-case margins over balls around rows: exact where that is known, lower bounds elsewhere."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import Array
from ..errors import InputError
from ..networks import Network, PolynomialNetwork
from ..networks.evaluation import evaluate
from ..networks.network import class_margins
from . import _relu_worst_case
from ._worst_case import Task
from .query import Found, Query, Search

MAX_BRANCHES = 100


@dataclass(frozen=True, eq=False, repr=False)
class MarginResult:
    """Result of :func:`worst_case_margin`: float64 arrays of the kind of X.

    Attributes
    ----------
    lower_bound : (n,)
        No point of the ball has a smaller margin. An allowance for rounding is subtracted; -inf where the
        network overflows in float64.
    exact : (n,) bool
        Whether ``lower_bound`` is the worst-case margin itself: a perturbation in the ball attains it, to 1e-9
        of the magnitude that the terms of the margin (one a neuron) can add up to in the ball. A gated network
        jumps: there the worst case may be a limit at the hyperplane of a gate.
    point : (n, d) or None
        Raw inputs in the ball around each row, with the smallest margin that was found; the minimiser where
        ``exact``, up to the rounding of its coordinates.
    norm : str
        "l1", "l2" or "linf".
    radius : float or (n,)
        As given.
    upper_bound : (n,)
        Margin at ``point``, of the network in float64: the worst case lies between the two bounds, and their
        difference tells how tight they are.
    """

    lower_bound: Array
    exact: Array
    point: Array | None
    norm: str
    radius: Any
    upper_bound: Array | None = None

    def __repr__(self) -> str:
        counts = f"positive={int((self.lower_bound > 0).sum())}, exact={int(self.exact.sum())}"
        ball = f"norm={self.norm!r}, radius={radius_text(self.radius)}"
        return f"MarginResult(rows={len(self.exact)}, {counts}, {ball})"


def worst_case_margin(
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
) -> MarginResult:
    r"""Bound the margin of every row over its ball from below, exactly where possible.

    worst_i = min over ||delta||_p <= r_i of margin_i(x_i + delta),

    with the margin y f(x), y = -1 for the first and +1 for the second class, or f_y(x) - max over c != y of
    f_c(x).

    Parameters
    ----------
    network : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
        With classes.
    X : array or tensor (n, d)
        Raw inputs: the network's own shift and scale are applied to them. A path, source or PyTorch data set is read
        whole.
    y : array-like (n,)
        Labels out of ``network.classes``.
    radius : float or (n,)
        Radius r >= 0 of every ball, in the units of X. 0 gives the margin itself.
    norm : {"l2", "linf", "l1"}
        The ball. Polynomial networks: "l2", the exact minimum by the S-procedure ([KLP24] Kuelbs, Lall, Pilanci,
        arXiv 2405.14033); "linf", where the minimum is NP-hard, the lower bound of diagonal multipliers; "l1", the
        lower bound ``-e_0'K e_0 - 2 r ||K e_0 + g||_inf - r^2 max_j M_jj`` of ``e'Ae + 2 g'e``, for the best matrix M of
        multipliers with M and K = A + M positive semidefinite and the best vector e_0 that are found (proof in
        docs/certificate-format.md); for linf and l1 interval bounds of the
        neurons where these are better. With more than two classes every pair f_y - f_c has its worst case, the
        least of which is that of the margin. ReLU and gated ReLU networks: any, by linear bounds of the neurons that
        are undecided in the ball (CROWN: Zhang, Weng, Chen, Hsieh, Daniel, NeurIPS 2018), exact where no neuron is:
        on training rows of robust :class:`ReLUProblem`, for one.
    complete : bool
        Whether bounds are refined by branch and bound until they are exact or a limit is reached: over undecided
        neurons for (gated) ReLU networks, where the work may double with each of them; over sub-boxes for
        polynomial networks in linf balls, for few features only. Exact anyway for polynomial networks in l2 balls;
        not known for them in l1 balls.
    max_branches : int
        Branches that may be looked at for a row; those left behind count with the bounds they have.
    time_limit : float, optional
        Seconds after which no further branch is looked at. Results then depend on the machine.
    bounds : pair of float or array (d,), optional
        Box (low, high) of the inputs, in the units of X: for polynomial networks in linf balls, which it cuts.

    Returns
    -------
    MarginResult
        lower_bound (n,), exact (n,), point (n, d); NumPy arrays, or tensors on the device of X.

    Raises
    ------
    InputError
        If the network is of another kind or has no classes, X has another number of features, no rows, or
        values that are not finite numbers, a label is unknown, a radius is negative, the norm is another one, a
        limit is out of range, a row lies outside of the bounds, bounds are given for other networks or balls, or a
        complete search is not known (polynomial networks, l1).

    Notes
    -----
    The bounds hold for the network of these weights in exact arithmetic, and for its values in float64. A
    network in float32 adds the rounding of its own evaluation. Numbers below 1e-300, whose products underflow,
    count as zero. Where gates of a gated network are multiples of each
    other, a complete search counts sides that no point takes together, and may end below the worst case.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> square = (1.0, 0.0, 0.0)  # s(t) = t^2
    >>> network = ca.PolynomialNetwork([[1.0, 0.0]], [1.0], activation=square, classes=[0, 1])  # f(x) = x_0^2
    >>> result = ca.worst_case_margin(network, np.array([[3.0, 0.0]]), [1], radius=1.0)
    >>> result.lower_bound.round(6), result.exact, result.point.round(6)
    (array([4.]), array([ True]), array([[2., 0.]]))
    """
    query = Query.of(network, X, y, radius, norm, bounds)
    found = answer(query, Search.of(complete, max_branches, time_limit), points=True)
    assert found.point is not None
    lower, exact, point = (query.returned(part) for part in (found.lower, found.exact, found.point))
    upper = query.returned(_margins(query, found.point))
    return MarginResult(lower, exact, point, norm, radius, upper)


def _margins(query: Query, point: np.ndarray) -> np.ndarray:
    """Margins (n,) of the network in float64 at points (n, d)."""
    with np.errstate(over="ignore", invalid="ignore"):
        scores = evaluate(copy.deepcopy(query.network).double(), point)
        return class_margins(torch.as_tensor(scores), torch.as_tensor(query.labels)).numpy()


def answer(query: Query, search: Search, points: bool) -> Found:
    """Bound the margins of a query with what its network calls for."""
    if not isinstance(query.network, PolynomialNetwork):
        return _relu_worst_case.solve(query, search)
    if search.complete and query.norm == "l1":
        raise InputError(
            "complete=True was given for a PolynomialNetwork in l1 balls, where no complete search is known; leave "
            "it out, or use linf balls, or l2 balls, whose worst cases are exact."
        )
    return Task.of(query, query.network, search).solve(points)


def radius_text(radius: Any) -> str:
    """Show a radius, or say that there is one a row, for ``repr``."""
    return f"{float(radius):g}" if np.ndim(radius) == 0 else "per row"
