"""Complete search for worst-case margins: branch and bound over undecided gates, for many rows at once.

A branch is closed when its bound reaches the best point known for its row: nothing in it is better. The bound of a
row is the least of those of its closed branches and of those left when the search ends.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from ._branches import Best, bounds
from ._relaxation import Pairs
from .query import Search

_NODES = 256  # branches that are bounded together, if the memory allows
_NUMBERS = 1 << 20  # in the largest array of these


class _Branches(NamedTuple):
    """N branches of pairs."""

    pair: np.ndarray
    """(N,) number of the pair."""
    held: np.ndarray
    """(N, m) gates held: 1 open, -1 closed."""
    lower: np.ndarray
    """(N,) bounds."""
    split: np.ndarray
    """(N,) gate to branch on, or -1."""

    def take(self, index: np.ndarray) -> _Branches:
        return _Branches(*(part[index] for part in self))

    def joined(self, other: _Branches) -> _Branches:
        return _Branches(*(np.concatenate(parts) for parts in zip(self, other, strict=True)))


class Tree:
    """The search for the worst cases of g rows.

    Parameters
    ----------
    pairs : Pairs
        All pairs of the rows.
    lower : (P,)
        Bounds of the pairs.
    best : Best
        Of the rows; improved on the way.
    tolerance : (g,)
        Distances between bound and best point at which a row is solved.
    search : Search
        What is wanted.
    deadline : float
        Of ``time.monotonic``.
    """

    def __init__(
        self, pairs: Pairs, lower: np.ndarray, best: Best, tolerance: np.ndarray, search: Search, deadline: float
    ):
        self.pairs, self.best, self.tolerance = pairs, best, tolerance
        self.search, self.deadline = search, deadline
        m, d = pairs.gate.shape[1], best.e.shape[1]
        unknown = 2 * int((pairs.least < pairs.most).sum(1).max(initial=0))
        self._together = int(np.clip(_NUMBERS // (unknown * (unknown + 2 * d) + 3 * m + 1), 2, _NODES))
        roots = np.arange(len(pairs))
        self._open = _Branches(roots, np.zeros((len(pairs), m), np.int8), lower.copy(), np.zeros(len(pairs), int))
        self._closed = np.full(len(best.attained), np.inf)
        self._count = np.zeros(len(best.attained), int)

    def bounds(self) -> np.ndarray:
        """Search, and give the bounds (g,) of the rows."""
        self._close()
        roots, self._open = self._open, self._open.take(np.zeros(0, int))
        for first in range(0, len(roots.pair), self._together):
            part = roots.take(np.arange(first, min(first + self._together, len(roots.pair))))
            self._open = self._open.joined(part if self._late() else self._bounded(part))
        while not self._late():
            self._close()
            chosen = self._chosen()
            if not len(chosen):
                break
            parents = self._open.take(np.repeat(chosen, 2))
            child = np.arange(len(parents.pair))
            parents.held[child, parents.split] = np.where(child % 2 == 0, 1, -1)
            np.add.at(self._count, self._row(parents), 1)
            kept = np.ones(len(self._open.pair), bool)
            kept[chosen] = False
            self._open = self._open.take(kept).joined(self._bounded(parents))
        np.minimum.at(self._closed, self._row(self._open), self._open.lower)
        return self._closed

    def _row(self, branches: _Branches) -> np.ndarray:
        return self.pairs.row[branches.pair]

    def _late(self) -> bool:
        return time.monotonic() > self.deadline

    def _enough(self) -> np.ndarray:
        """Bounds (g,) that close a branch."""
        enough = self.best.attained - self.tolerance
        return np.minimum(enough, np.finfo(float).tiny) if self.search.deciding else enough

    def _bounded(self, branches: _Branches) -> _Branches:
        """The same branches with bounds of their own, if these are better, and with gates to branch on."""
        enough = self._enough()[self._row(branches)]
        lower, split = bounds(self.pairs[branches.pair], branches.held, enough, self.best)
        return branches._replace(lower=np.fmax(lower, branches.lower), split=split)

    def _close(self) -> None:
        """Take leave of branches whose bounds are enough, or that have no gate to branch on."""
        row = self._row(self._open)
        done = (self._open.lower >= self._enough()[row]) | (self._open.split < 0)
        np.minimum.at(self._closed, row[done], self._open.lower[done])
        self._open = self._open.take(~done)

    def _chosen(self) -> np.ndarray:
        """Branches to split: the lowest of every row that may go on, then the second ones, as many as fit."""
        row, lower = self._row(self._open), self._open.lower
        able = self._count[row] < self.search.max_branches
        if self.search.deciding:
            able &= self.best.attained[row] > 0
        order = np.lexsort((lower, row))
        order = order[able[order]]
        rank = np.arange(len(order)) - np.searchsorted(row[order], row[order])
        return order[np.lexsort((lower[order], rank))][: max(1, self._together // 2)]
