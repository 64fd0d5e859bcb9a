"""Distances of rows to the decision boundary of a polynomial network, with the nearest points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from .._arrays import Array, is_tensor, namespace, to_numpy
from .._checks import choice
from ..errors import InputError
from ..networks import Network, PolynomialNetwork
from ..networks.evaluation import check_scores
from ..quadratics import level_distance
from ..rows import Rows, check_finite, whole
from ._distance_sdp import nearest_by_sdp
from ._pairs import Choice, Pair, Span, Weights

_EPS = float(np.finfo(np.float64).eps)
_BLOCK = 1 << 22  # numbers in the arrays of a block of rows


class BoundaryDistance(NamedTuple):
    """Result of :func:`distance_to_boundary`: float64 arrays of the kind of X."""

    distances: Array
    """(n,) in the units of X; infinity where there is no boundary."""
    points: Array
    """(n, d) the nearest points, raw inputs; NaN where there is none."""


def distance_to_boundary(
    network: Network, X: Array, *, method: str = "exact", solver: str = "CLARABEL"
) -> BoundaryDistance:
    r"""Find the nearest point at which the predicted class changes, in the l2 norm, exactly.

    distance_i = min { ||z - x_i||_2 : f(z) is zero or has the other sign }

    for one output; 0 where f(x_i) = 0, infinity where there is no such point. With C outputs it is the least, over the
    other classes c, of the distance to f_p(z) - f_c(z) <= 0, p the class predicted at x_i. Points where f only touches
    zero count, up to rounding.

    Each difference of outputs is a quadratic of low rank: one eigendecomposition serves all rows, and with a single
    quadratic constraint the problem has no duality gap, so that one scalar equation a row is left
    (:func:`convexadv.quadratics.level_distance`), its degenerate case included. Eigenvalues, and gradients along them,
    that are below the rounding errors of their sums count as zero.

    Parameters
    ----------
    network : PolynomialNetwork
        With one output, whose sign counts (with or without classes), or one output a class.
    X : array or tensor (n, d)
        Raw inputs: the network's own shift and scale are applied to them. For a tensor all is done on its device. A
        path, source or PyTorch data set is read whole.
    method : {"exact", "sdp"}
        "sdp" solves the semidefinite programme below by cvxpy, row by row: a slow reference.
    solver : str
        Of the programme, as cvxpy names it.

    Returns
    -------
    BoundaryDistance
        distances (n,), points (n, d), in the units of X: unpack them as a pair.

    Raises
    ------
    InputError
        If the network is of another kind or has several outputs but no classes, X has another number of features, no
        rows, or values that are not finite numbers or whose scores overflow, the method or the solver is unknown, or the
        solver fails.

    Notes
    -----
    The programme: with s f(z) = (z - x)'A(z - x) + 2 h'(z - x) + v,

        min tr G  s.t.  <A, G> + 2 h'm + v <= 0,  [[G, m], [m', 1]] >= 0,

    which is tight ([KLP24] Kuelbs, Lall, Pilanci, arXiv 2405.14033, distance to the boundary).

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> circle = ca.PolynomialNetwork(np.eye(2), [1.0, 1.0], activation=(1.0, 0.0, -0.5))  # x_0^2 + x_1^2 - 1
    >>> distances, points = ca.distance_to_boundary(circle, np.array([[3.0, 0.0], [0.0, 0.5]]))
    >>> distances.round(6), points.round(6).tolist()
    (array([2. , 0.5]), [[1.0, 0.0], [0.0, 1.0]])
    """
    choice("method", method, ("exact", "sdp"))
    if not isinstance(network, PolynomialNetwork):
        raise InputError(
            f"distance_to_boundary needs a PolynomialNetwork, got {type(network).__name__}; bounds of other networks "
            "come from worst_case_margin."
        )
    if network.classes is None and network.n_outputs > 1:
        raise InputError(
            f"distance_to_boundary needs classes, or a single output, and this network has {network.n_outputs} "
            "outputs without classes."
        )
    X = whole(X)
    rows = Rows.of(X)
    network.check_width(rows.shape)
    check_finite(rows)
    if method == "sdp":
        array = rows.take(np.arange(rows.n)) if isinstance(X, (list, tuple)) else to_numpy(X, np.float64)
        found = BoundaryDistance(*nearest_by_sdp(Weights.of(network), array, solver))
        return BoundaryDistance(*(torch.from_numpy(part).to(X.device) for part in found)) if is_tensor(X) else found
    if is_tensor(X):
        device = X.device
        weights = Weights.of(network, lambda array: torch.from_numpy(array).to(device))
        array = X.detach().to(torch.float64)
    else:
        weights = Weights.of(network)
        array = rows.take(np.arange(rows.n)) if isinstance(X, (list, tuple)) else np.asarray(X, dtype=np.float64)
    size = max(1, _BLOCK // (rows.d + 3 * network.n_neurons + 1))
    spans: dict[bytes, Span] = {}
    parts = [_nearest(weights, array[first : first + size], spans, first) for first in range(0, rows.n, size)]
    xp = namespace(array)
    return BoundaryDistance(*(xp.concatenate([part[i] for part in parts]) for i in (0, 1)))


def _nearest(weights: Weights, X: Array, spans: dict[bytes, Span], first_row: int) -> tuple[Array, Array]:
    """Distances (g,) and points (g, d) of a block of rows, of which the first has the number ``first_row``."""
    xp = namespace(X)
    z = (X - weights.shift) / weights.scale
    products = z @ weights.neurons.T
    with np.errstate(over="ignore", invalid="ignore"):
        scores = weights.activated(products) @ weights.coefficients
        length = xp.sqrt((z * z).sum(1))
        check_scores(scores + 0.0 * length[:, None], first=first_row)  # nor do squares of rows overflow
    predicted = xp.argmax(scores, 1)
    best = Choice(X)
    for first, second in weights.pairs(np.unique(to_numpy(predicted))):
        pair = weights.pair((first, second), spans)
        own = predicted == first
        rows = xp.where(own | (predicted == second))[0]
        up = own if first != second else scores[:, 0] >= 0
        sign = xp.where(up[rows], 1.0, -1.0) + xp.zeros_like(length[:1])
        distance, coordinates = _to_pair(pair, products[rows][:, pair.span.index], sign, length[rows])
        found = distance < np.inf
        best.offer(rows[found], distance[found], coordinates[found], pair.eigen[1].T, pair.span.basis)
    points = X + weights.step * best.points()
    points = xp.where((best.value < np.inf)[:, None], points, np.nan + points)
    return weights.step * best.value, points


def _to_pair(pair: Pair, products: Array, sign: Array, length: Array) -> tuple[Array, Array]:
    """Distances (g,) in steps to the zeros of a pair, and their coordinates (g, p) in its eigenbasis."""
    xp = namespace(products)
    (a, b, c), w, pull = pair.network.activation, abs(pair.weights), pair.pull
    slope = pair.slope(products, sign)
    gradient, eigenvalues = slope @ pull, pair.eigen[0]
    # Rounding of the value, of the gradient and of the eigenvalues, as at the top of _worst_case.
    d, k = pair.span.vectors.shape[1], len(w)
    unit = 4.0 * (d + k + 8) * _EPS
    size = abs(products)
    terms = (abs(a) * size + abs(b)) * size + abs(c) + (2.0 * abs(a) * size + abs(b)) * length[:, None]
    reach = xp.sqrt((pull * pull).sum(1))
    spread = (abs(slope) + abs(a) * w * length[:, None]) @ reach
    straight = abs(eigenvalues) <= unit * abs(a) * (w @ (reach * reach))
    eigenvalues = xp.where(straight, 0.0 * eigenvalues, eigenvalues)
    nothing = straight & (abs(gradient) <= unit * spread[:, None])
    gradient = xp.where(nothing, 0.0 * gradient, gradient)
    found = level_distance(sign[:, None] * eigenvalues, gradient, pair.values(products, sign), unit * (terms @ w))
    return found.distance, found.point
