"""Worst cases of the margins of ReLU and gated ReLU networks: linear bounds, then branches if they are wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..networks import GatedReLUNetwork, Network, ReLUNetwork
from ._branches import Best, proofs
from ._branching import Tree
from ._neurons import Centres, GatedNeurons, ReLUNeurons
from ._relaxation import Pairs
from .query import EXACT_TOLERANCE, Found, Query, Search

_BLOCK = 1 << 19  # numbers in the largest arrays of a block of rows
_STEPS = 30  # of every row that the first linear bounds do not decide
_TOGETHER = 64  # branches that are bounded together for a witness
_MOST_LEAVES = 1 << 13  # of a row and another class in a witness
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
    for block in _blocks(neurons, query):
        best, lower[block.rows], exact[block.rows] = _solved(neurons, block, search, deadline)
        point[block.rows] = query.moved(block.rows, neurons.step * best.e)
    return Found(neurons.unit * lower, exact, point)


def _neurons(network: Network, norm: str) -> ReLUNeurons | GatedNeurons:
    if isinstance(network, ReLUNetwork):
        return ReLUNeurons(network, norm)
    assert isinstance(network, GatedReLUNetwork)
    return GatedNeurons(network, norm)


def _blocks(neurons: ReLUNeurons | GatedNeurons, query: Query) -> Iterator[_Block]:
    """All rows, as many together as fit."""
    n, size = len(query.X), max(1, _BLOCK // (neurons.outputs * (neurons.m + neurons.d + 1)))
    for first in range(0, n, size):
        yield _block(neurons, query, np.arange(first, min(first + size, n)))


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


class Leaves(NamedTuple):
    """L branches that together cover the balls of their rows, and what bounds the margins in them."""

    row: np.ndarray
    """(L,) numbers of rows."""
    slot: np.ndarray
    """(L,) places of the other class among the classes that are not the label."""
    held: np.ndarray
    """(L, m) gates held: 1 open, -1 closed."""
    share: np.ndarray
    """(L, m)."""
    tau: np.ndarray
    """(L, m) in the units of the scores."""


def leaves(query: Query, target: np.ndarray) -> Leaves:
    """Branches that prove bounds (n,), of the rows where these are positive and the linear bounds are lower."""
    neurons = _neurons(query.network, query.norm)
    parts = []
    for block in _blocks(neurons, query):
        best, tolerance = _start(neurons, block)
        pairs = block.pairs
        lower, _ = _linear_bounds(pairs, best, tolerance)
        wanted = target[block.rows][pairs.row] / neurons.unit
        todo = np.flatnonzero((wanted > 0) & (lower < wanted))
        held, count = np.zeros((len(todo), neurons.m), np.int8), np.zeros(len(pairs), int)
        while len(todo):
            now, then = slice(0, _TOGETHER), slice(_TOGETHER, None)
            pair, signs = todo[now], held[now]
            bound, split, share, tau = proofs(pairs[pair], signs, wanted[pair], best)
            np.add.at(count, pair, 1)
            done = (bound >= wanted[pair]) | (split < 0) | (count[pair] > _MOST_LEAVES)
            places = pairs.other - (pairs.other > pairs.label)
            found = block.rows[pairs.row[pair]], places[pair], signs, share, neurons.unit * tau
            parts.append(Leaves(*(part[done] for part in found)))
            children = np.repeat(signs[~done], 2, 0)
            children[np.arange(len(children)), np.repeat(split[~done], 2)] = np.tile([1, -1], len(children) // 2)
            todo = np.concatenate([np.repeat(pair[~done], 2), todo[then]])
            held = np.concatenate([children, held[then]])
    nothing = np.zeros(0, int), np.zeros(0, int), np.zeros((0, neurons.m), np.int8), *np.zeros((2, 0, neurons.m))
    return Leaves(*(np.concatenate(of) for of in zip(Leaves(*nothing), *parts, strict=True)))


def shares(query: Query) -> np.ndarray:
    """Shares (n, C - 1, m) of the linear bounds of every row, other classes in their order; zero on overflow."""
    neurons = _neurons(query.network, query.norm)
    result = np.zeros((len(query.X), neurons.outputs - 1, neurons.m))
    for block in _blocks(neurons, query):
        _, share = _linear_bounds(block.pairs, *_start(neurons, block))
        result[block.rows] = share.reshape(len(block.rows), neurons.outputs - 1, neurons.m)
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
