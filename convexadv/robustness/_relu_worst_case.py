"""Worst cases of the margins of ReLU and gated ReLU networks: linear bounds, then branches if they are wanted."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from .._network import Network
from ..networks import GatedReLUNetwork, ReLUNetwork
from ._branches import Best
from ._branching import Tree
from ._neurons import Centres, GatedNeurons, ReLUNeurons
from ._query import EXACT_TOLERANCE, Found, Query, Search
from ._relaxation import Pairs

_BLOCK = 1 << 19  # numbers in the largest arrays of a block of rows
_STEPS = 30  # of every row that the first linear bounds do not decide
_FINER = 0.01  # how much closer than what is called exact a search goes
_LARGEST_TERM, _LARGEST_RADIUS = 1e280, 1e140  # beyond them products and squares overflow


class _Block(NamedTuple):
    """g rows, those that do not overflow, with their pairs."""

    rows: np.ndarray
    labels: np.ndarray
    centres: Centres
    pairs: Pairs


def solve(query: Query, search: Search) -> Found:
    """Bound the margins of all rows, block by block; rows that overflow get the bound -inf."""
    neurons = _neurons(query.network, query.norm)
    n, deadline = len(query.X), np.inf if search.time_limit is None else time.monotonic() + search.time_limit
    lower, exact, point = np.full(n, -np.inf), np.zeros(n, bool), np.array(query.X, dtype=np.float64)
    size = max(1, _BLOCK // (neurons.outputs * (neurons.m + neurons.d + 1)))
    for first in range(0, n, size):
        block = _block(neurons, query, np.arange(first, min(first + size, n)))
        best, lower[block.rows], exact[block.rows] = _solved(neurons, block, search, deadline)
        point[block.rows] = query.moved(block.rows, neurons.step * best.e)
    return Found(neurons.unit * lower, exact, point)


def _neurons(network: Network, norm: str) -> ReLUNeurons | GatedNeurons:
    if isinstance(network, ReLUNetwork):
        return ReLUNeurons(network, norm)
    assert isinstance(network, GatedReLUNetwork)
    return GatedNeurons(network, norm)


def _block(neurons: ReLUNeurons | GatedNeurons, query: Query, rows: np.ndarray) -> _Block:
    labels = query.labels[rows]
    with np.errstate(over="ignore", invalid="ignore"):
        centres = neurons.centres(query.X[rows], query.radius[rows])
        pairs = Pairs.of(neurons, centres, labels)
    sound = centres.radius < _LARGEST_RADIUS
    sound[pairs.row[~(pairs.rounding < _LARGEST_TERM / max(1.0, neurons.unit))]] = False
    return _Block(rows, labels, centres, pairs) if sound.all() else _block(neurons, query, rows[sound])


def _solved(
    neurons: ReLUNeurons | GatedNeurons, block: _Block, search: Search, deadline: float
) -> tuple[Best, np.ndarray, np.ndarray]:
    """Best points of the rows of a block, their bounds (g,), and whether these are exact (g,)."""
    pairs, g = block.pairs, len(block.rows)
    best, tolerance = _start(neurons, block)
    lower, _ = _linear_bounds(pairs, best, tolerance)
    bound = np.full(g, np.inf)
    np.minimum.at(bound, pairs.row, lower)
    if search.complete:
        todo = bound < best.attained - tolerance
        if search.deciding:
            todo &= (bound <= 0) & (best.attained > 0)
        chosen = todo[pairs.row]
        tree = Tree(pairs[chosen], lower[chosen], best, _FINER * tolerance, search, deadline)
        bound = np.where(todo, tree.bounds(), bound)
    return best, bound, best.attained - bound <= tolerance


def _start(neurons: ReLUNeurons | GatedNeurons, block: _Block) -> tuple[Best, np.ndarray]:
    """The rows as their own best points, and distances (g,) at which a bound is exact."""

    def margins(row: np.ndarray, e: np.ndarray) -> np.ndarray:
        return neurons.margins(block.centres.z[row] + e * neurons.stretch, block.labels[row])

    size = np.zeros(len(block.rows))
    np.maximum.at(size, block.pairs.row, block.pairs.size)
    return Best(margins, len(block.rows), neurons.d), EXACT_TOLERANCE * size


def shares(query: Query) -> np.ndarray:
    """Shares (n, C - 1, m) of the linear bounds of every row, other classes in their order; zero on overflow."""
    neurons, n = _neurons(query.network, query.norm), len(query.X)
    result = np.zeros((n, neurons.outputs - 1, neurons.m))
    size = max(1, _BLOCK // (neurons.outputs * (neurons.m + neurons.d + 1)))
    for first in range(0, n, size):
        block = _block(neurons, query, np.arange(first, min(first + size, n)))
        _, share = _linear_bounds(block.pairs, *_start(neurons, block))
        result[block.rows] = share.reshape(len(block.rows), -1, neurons.m)
    return result


def _linear_bounds(pairs: Pairs, best: Best, tolerance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (P,) of the pairs and their shares (P, m); shows the minimisers to ``best``."""
    lower, share = np.full(len(pairs), -np.inf), pairs.least
    for candidate in (pairs.first_shares(), pairs.least):  # the second is the margin that GatedReLUProblem takes
        bound, gradient = pairs.bound(candidate)
        best.update(pairs.row, pairs.minimiser(gradient))
        better = bound > lower
        lower, share = np.where(better, bound, lower), np.where(better[:, None], candidate, share)
    low = lower < (best.attained - tolerance)[pairs.row]
    if low.any():
        some = pairs[low]
        lower[low], e, share[low] = some.rise(share[low], lower[low], _STEPS)
        best.update(some.row, e)
        best.update(some.row, some.minimiser(some.neurons.pull(some.label, some.other, share[low])))
    return lower, share
