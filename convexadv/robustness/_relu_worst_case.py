"""Worst cases of the margins of ReLU and gated ReLU networks: linear bounds, then branches if they are wanted."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from ..networks import ReLUNetwork
from ._branching import Best, branch_and_bound
from ._neurons import Centres, GatedNeurons, ReLUNeurons
from ._query import EXACT_TOLERANCE, Found, Query, Search
from ._relaxation import Pairs

_BLOCK = 1 << 21  # numbers in the largest arrays of a block of rows
_STEPS = 30
_LARGEST_TERM, _LARGEST_RADIUS = 1e280, 1e140  # beyond them products and squares overflow


class _Block(NamedTuple):
    """Rows, those that do not overflow, with their pairs."""

    rows: np.ndarray
    centres: Centres
    labels: np.ndarray
    pairs: Pairs


def solve(query: Query, search: Search) -> Found:
    """Bound the margins of all rows, block by block; rows that overflow get the bound -inf."""
    kind = ReLUNeurons if isinstance(query.network, ReLUNetwork) else GatedNeurons
    neurons = kind(query.network, query.norm)
    n, deadline = len(query.X), np.inf if search.time_limit is None else time.monotonic() + search.time_limit
    lower, exact, point = np.full(n, -np.inf), np.zeros(n, bool), np.array(query.X, dtype=np.float64)
    width = (neurons.outputs - 1) * (neurons.m + neurons.d + 1)
    for rows in query.blocks(_BLOCK // width):
        block = _block(neurons, query, rows)
        rows = block.rows
        best, bound, tolerance = _bounded(neurons, block, search, deadline)
        lower[rows], exact[rows] = bound, best.attained - bound <= tolerance
        point[rows] = query.moved(rows, neurons.step * best.e)
    return Found(lower, exact, point)


def _block(neurons: ReLUNeurons | GatedNeurons, query: Query, rows: np.ndarray) -> _Block:
    with np.errstate(over="ignore", invalid="ignore"):
        centres = neurons.centres(query.X[rows], query.radius[rows])
        pairs = Pairs.of(neurons, centres, query.labels[rows])
        sound = centres.radius < _LARGEST_RADIUS
        sound[pairs.row[~(pairs.rounding < _LARGEST_TERM)]] = False
    return _Block(rows, centres, query.labels[rows], pairs) if sound.all() else _block(neurons, query, rows[sound])


def _bounded(
    neurons: ReLUNeurons | GatedNeurons, block: _Block, search: Search, deadline: float
) -> tuple[Best, np.ndarray, np.ndarray]:
    """Best points, bounds (g,) and tolerances (g,) of the rows of a block."""
    pairs, g = block.pairs, len(block.rows)

    def margins(row: np.ndarray, e: np.ndarray) -> np.ndarray:
        return neurons.margins(block.centres.z[row] + e * neurons.stretch, block.labels[row])

    best = Best(margins, g, neurons.d)
    size = np.zeros(g)
    np.maximum.at(size, pairs.row, pairs.size)
    tolerance = EXACT_TOLERANCE * size
    share = pairs.first_shares()
    lower, gradient = pairs.bound(share)
    best.update(pairs.row, pairs.minimiser(gradient))
    low = lower < (best.attained - tolerance)[pairs.row]
    if low.any():
        some = pairs[low]
        lower[low], share, e = some.rise(share[low], lower[low], _STEPS)
        best.update(some.row, e)
        best.update(some.row, some.minimiser(neurons.pull(some.label, some.other, share)))
    bound = np.full(g, np.inf)
    np.minimum.at(bound, pairs.row, lower)
    if search.complete:
        todo = bound < best.attained - tolerance
        if search.deciding:
            todo &= (bound <= 0) & (best.attained > 0)
        # Finer than what is called exact, so that small errors of the multipliers do no harm.
        bound[todo] = branch_and_bound(pairs, lower, best, 0.01 * tolerance, todo, search, deadline)[todo]
    return best, bound, tolerance
