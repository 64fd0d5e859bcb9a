"""The two bounds of worst-case margins that a certificate rests on, computed once more for ``benchmarks.tightness``."""

from __future__ import annotations

from typing import Any

import numpy as np

import convexadv as ca
from convexadv.robustness._pairs import Pair
from convexadv.robustness._worst_case import Task, _Block
from convexadv.robustness.query import Query, Search

_DUAL = {"l2": 2, "linf": 1, "l1": np.inf}


class _NoIntervals(Task):
    def _interval(self, pair: Pair, block: _Block, rows: np.ndarray, sign: np.ndarray) -> np.ndarray:
        return np.full(len(rows), -np.inf)


def both_bounds(
    network: Any, X: np.ndarray, y: np.ndarray, radius: float, norm: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bound the margins of rows (n, d) over balls.

    Returns
    -------
    linear : (n,)
        CROWN's bounds of a ReLU network, the dual bounds of a polynomial one.
    interval : (n,)
        From the extremes of each neuron.
    better : (n,)
        The better one of both for each pair of classes, least over the pairs; for polynomial networks with three
        classes or more, whose dual bounds of pairs are not kept, the better one of the two above, which is less.
    """
    labels = np.searchsorted(network.classes, y)
    polynomial = isinstance(network, ca.PolynomialNetwork)
    part = {name: tensor.detach().double().numpy() for name, tensor in network.state_dict().items()}
    coefficients = part["coefficients"]
    if coefficients.shape[1] == 1:  # f > 0 speaks for the second class
        coefficients = np.concatenate([0 * coefficients, coefficients], 1)
    H = part["neurons"] / part["scale"]
    s = X @ H.T - H @ part["shift"] + (0.0 if polynomial else part["biases"])
    reach = np.broadcast_to(radius * np.linalg.norm(H, _DUAL[norm], axis=1), s.shape)
    shape = len(X), coefficients.shape[1]
    interval, crown = np.full(shape, np.inf), np.full(shape, np.inf)
    for c in range(shape[1]):
        i = np.flatnonzero(labels != c)
        w = coefficients.T[labels[i]] - coefficients[:, c]
        ends = network.activation if polynomial else None
        interval[i, c] = _interval(w, s[i], reach[i], ends)
        if not polynomial:
            crown[i, c] = _crown(w, s[i], reach[i], H, radius, norm)
    if not polynomial:
        return crown.min(1), interval.min(1), np.maximum(crown, interval).min(1)
    query = Query.of(network, X, y, radius, norm, None)
    dual = _NoIntervals.of(query, network, Search.of(False, 1, None)).solve(False).lower
    return dual, interval.min(1), np.maximum(dual, interval.min(1))


def _interval(w: np.ndarray, s: np.ndarray, reach: np.ndarray, activation: Any) -> np.ndarray:
    """Sum over neurons of the least value of w_j sigma(s_j + e_j), |e_j| <= reach_j."""
    if activation is None:
        low, high = np.maximum(s - reach, 0), np.maximum(s + reach, 0)
    else:
        a, b, c = activation
        points = [s - reach, s + reach]
        if a != 0:
            points.append(np.clip(-b / (2 * a), *points))
        values = [(a * t + b) * t + c for t in points]
        low, high = np.minimum.reduce(values), np.maximum.reduce(values)
    return np.where(w > 0, w * low, w * high).sum(1)


def _crown(w: np.ndarray, s: np.ndarray, reach: np.ndarray, H: np.ndarray, radius: float, norm: str) -> np.ndarray:
    """Lines slope * s + offset below w relu(s): 0 or s where w > 0, the chord where w < 0 (CROWN with adaptive slopes)."""
    low, high = s - reach, s + reach
    unstable = (low < 0) & (high > 0)
    width = np.where(unstable, high - low, 1.0)
    chord = np.where(unstable, high / width, 0.0)
    slope = np.where(low >= 0, 1.0, np.where(unstable, np.where(w > 0, high > -low, chord), 0.0))
    offset = np.where(unstable & (w < 0), -chord * low, 0.0)
    value = (w * (slope * s + offset)).sum(1)
    return value - radius * np.linalg.norm((w * slope) @ H, _DUAL[norm], axis=1)
