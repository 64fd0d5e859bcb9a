r"""Complete search for worst-case margins: branch and bound over undecided gates.

A branch holds some gates open (s_j >= 0) or closed (s_j <= 0). Its bound is that of ``_relaxation`` with the best
shares of the other gates and the best multipliers tau_j of those it holds (``_multipliers``). kappa_j has two
slopes, so that a free gate asks for up to two numbers: nu_j = b + c with 0 <= b <= kink, 0 <= c <= 1 - kink, and

    kappa_j + nu_j l_j = low_j + b (l_j - low_j) + c (l_j - high_j).

A number whose factor has one sign in the whole ball is known. The gate that is branched on is the one whose bound
is furthest from phi_j at the minimiser of the relaxation. A branch is closed when its bound reaches the best point
known for its row: nothing in it is better.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ._multipliers import best_multipliers
from ._query import Search
from ._relaxation import Pairs

_NODES = 256  # branches that are bounded together, if the memory allows
_NUMBERS = 1 << 21  # in the largest array of these
_INSIDE = 1e-11


class Best:
    """The best points known for g rows.

    Parameters
    ----------
    margins : callable
        Takes numbers of rows (N,) and perturbations (N, d), returns margins (N,).
    g, d : int
    """

    def __init__(self, margins: Callable[[np.ndarray, np.ndarray], np.ndarray], g: int, d: int):
        self._margins = margins
        self.e = np.zeros((g, d))
        self.attained = margins(np.arange(g), self.e)

    def update(self, row: np.ndarray, e: np.ndarray) -> None:
        """Look at one more point of each of N rows, which may repeat."""
        margin = self._margins(row, e)
        order = np.lexsort((margin, row))
        first = order[np.unique(row[order], return_index=True)[1]]
        better = first[margin[first] < self.attained[row[first]]]
        self.attained[row[better]], self.e[row[better]] = margin[better], e[better]


class _Branches(NamedTuple):
    """N branches: the number of the pair, gates (N, m) held (1 open, -1 closed), the bound, the gate to split or -1."""

    pair: np.ndarray
    held: np.ndarray
    lower: np.ndarray
    split: np.ndarray

    def __getitem__(self, index):  # type: ignore[override]
        return _Branches(*(part[index] for part in tuple(self)))

    def joined(self, other: _Branches) -> _Branches:
        return _Branches(*(np.concatenate(parts) for parts in zip(self, other, strict=True)))


def branch_and_bound(
    pairs: Pairs,
    lower: np.ndarray,
    best: Best,
    tolerance: np.ndarray,
    todo: np.ndarray,
    search: Search,
    deadline: float,
) -> np.ndarray:
    """Raise the bounds (P,) of pairs of g rows; returns those of the rows (g,).

    Parameters
    ----------
    pairs : Pairs
    lower : (P,)
    best : Best
        Of the rows; improved on the way.
    tolerance : (g,)
        Distances between bound and best point at which a row is solved.
    todo : (g,) of bool
        The rows to work on.
    search : Search
    deadline : float
        Of ``time.monotonic``.
    """
    g = len(best.attained)
    closed, count = np.full(g, np.inf), np.zeros(g, int)
    chosen = todo[pairs.row]
    np.minimum.at(closed, pairs.row[~chosen], lower[~chosen])
    pairs, lower = pairs[chosen], lower[chosen]
    P, m = pairs.gate.shape
    roots = np.arange(P)
    held = np.zeros((P, m), np.int8)
    free = (pairs.least < pairs.most).sum(1).max(initial=0)
    cap = int(np.clip(_NUMBERS // (2 * free * (2 * free + 3 * len(best.e[0])) + 12 * m + 1), 2, _NODES))
    open_ = _Branches(roots, held, lower, np.zeros(P, int))
    waiting = roots[_reaches(open_, pairs, best, tolerance, search) == False]  # noqa: E712
    for first in range(0, len(waiting), cap):
        part = waiting[first : first + cap]
        bound, split = _bounded(pairs[part], held[part], _cut(best, tolerance, search)[pairs.row[part]], best)
        open_.lower[part], open_.split[part] = np.maximum(bound, lower[part]), split
    while True:
        row = pairs.row[open_.pair]
        done = _reaches(open_, pairs, best, tolerance, search) | (open_.split < 0)
        np.minimum.at(closed, row[done], open_.lower[done])
        open_ = open_[~done]
        row = row[~done]
        able = count[row] < search.max_branches
        if search.deciding:
            able &= best.attained[row] > 0
        if not able.any() or time.monotonic() > deadline:
            break
        chosen = _chosen(row, open_.lower, able, max(1, cap // 2))
        parents, rest = open_[chosen], open_[~chosen]
        both = _Branches(*(np.repeat(part, 2, 0) for part in parents))
        index = np.arange(len(both.pair))
        both.held[index, both.split] = np.where(index % 2 == 0, 1, -1)
        row = pairs.row[both.pair]
        np.add.at(count, row, 1)
        bound, split = _bounded(pairs[both.pair], both.held, _cut(best, tolerance, search)[row], best)
        open_ = rest.joined(both._replace(lower=np.maximum(bound, both.lower), split=split))
    np.minimum.at(closed, pairs.row[open_.pair], open_.lower)
    return closed


def _cut(best: Best, tolerance: np.ndarray, search: Search) -> np.ndarray:
    """Bounds (g,) that close a branch."""
    cut = best.attained - tolerance
    return np.minimum(cut, np.finfo(float).tiny) if search.deciding else cut


def _reaches(branches: _Branches, pairs: Pairs, best: Best, tolerance: np.ndarray, search: Search) -> np.ndarray:
    return branches.lower >= _cut(best, tolerance, search)[pairs.row[branches.pair]]


def _chosen(row: np.ndarray, lower: np.ndarray, able: np.ndarray, size: int) -> np.ndarray:
    """The lowest branch of every row that may go on, then the second ones, as many as are worked on together."""
    order = np.lexsort((lower, row))
    order = order[able[order]]
    starts = np.searchsorted(row[order], row[order])
    rank = np.arange(len(order)) - starts
    mask = np.zeros(len(row), bool)
    mask[order[np.lexsort((lower[order], rank))[:size]]] = True
    return mask


def _bounded(pairs: Pairs, held: np.ndarray, cut: np.ndarray, best: Best) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (N,) of branches, one a pair, and the gates to split; shows their minimisers to ``best``."""
    neurons, radius = pairs.neurons, pairs.radius
    (N, m), free = held.shape, (held == 0) & (pairs.least < pairs.most)
    pairs = replace(pairs, low=np.where(free, pairs.low, 0.0), high=np.where(free, pairs.high, 0.0))
    kink = pairs.kink()
    factors = pairs.value - pairs.low, pairs.value - pairs.high
    limits = np.where(free, kink, 0.0), np.where(free, 1.0 - kink, 0.0)
    share = np.where(held == 1, 1.0, np.where(held == 0, pairs.least, 0.0))
    masks, constant = [], np.where(free, pairs.low, share * pairs.value).sum(1)
    for factor, limit in zip(factors, limits, strict=True):
        known = np.where(factor >= pairs.reach, limit, 0.0)
        share, constant = share + known, constant + (known * factor).sum(1)
        masks.append((limit > 0) & (abs(factor) < pairs.reach))
    mask = np.concatenate([*masks, held != 0], 1)
    # A little inside: a gated network jumps where the minimiser of a branch often lies.
    inside = _INSIDE * pairs.span + 2.0 * pairs.slack
    values = np.concatenate([*factors, inside - held * pairs.gate], 1)
    most = np.concatenate([*limits, np.full((N, m), np.inf)], 1)
    k = int(mask.sum(1).max(initial=0))
    index = np.argsort(~mask, 1, kind="stable")[:, :k]
    used = np.take_along_axis(mask, index, 1)
    neuron, hold = index % m if m else index, index >= 2 * m
    branch = np.broadcast_to(np.arange(N)[:, None], index.shape)
    rows = np.zeros((N, k, len(best.e[0])))
    sign = -held[branch, neuron]
    here = used & hold
    rows[here] = sign[here][:, None] * neurons.directions[neuron[here]]
    here = used & ~hold
    rows[here] = neurons.vectors(pairs.label[branch[here]], pairs.other[branch[here]], neuron[here])
    numbers, x = best_multipliers(
        radius[:, None, None] * rows,
        np.where(used, np.take_along_axis(values, index, 1), -1.0),
        np.where(used, np.take_along_axis(most, index, 1), 1.0),
        radius[:, None] * neurons.pull(pairs.label, pairs.other, share),
        neurons.norm,
        cut + pairs.rounding - constant,
    )
    tau = np.zeros((N, m))
    np.add.at(share, (branch[used & ~hold], neuron[used & ~hold]), numbers[used & ~hold])
    here = used & hold
    tau[branch[here], neuron[here]] = sign[here] * numbers[here]
    share = np.clip(share, 0.0, 1.0)
    lower, gradient = pairs.bound(share, tau)
    e = np.where(used.any(1, keepdims=True), radius[:, None] * x, pairs.minimiser(gradient))
    best.update(pairs.row, e)
    gate, value = pairs.gate + e @ neurons.directions.T, pairs.value + neurons.push(pairs.label, pairs.other, e)
    excess = np.where(free, np.where(gate >= 0, value, 0.0) - pairs.below(value), -np.inf)
    split = excess.argmax(1) if m else np.zeros(N, int)
    worth = excess.max(1, initial=-np.inf) > 1e-14 * pairs.size
    return lower, np.where(worth, split, -1)
