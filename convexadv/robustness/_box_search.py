"""Branch and bound over sub-boxes for the least value of a quadratic in a box, many rows at once.

Every sub-box has the bound of its relaxation, and the relaxation's moments give a point. A sub-box is closed when its
bound reaches the best point known for its row. The others are cut, lowest bound first, in the coordinate j where the
relaxation loses most: lam_j (G_jj - m_j^2), its multiplier times the variance of its moments. Where the quadratic is
concave along that coordinate its least value is at one of the two ends, which are the parts then; where it is monotone
along a coordinate in the whole sub-box, only one end is kept. The bound of a row is the least of those of its closed
sub-boxes and of those left when the search ends, so it is sound whenever that is.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from ._pairs import Pair
from ._regions import boxed
from .query import Search

_NODES = 256  # sub-boxes that are bounded together
_TOLERANCE = 1e-12  # of the relaxations
_OFF_CENTRE = 0.6  # most by which a cut is off the middle, in half widths
_NARROW = 1e-10  # a side of this part of the box is not cut any more
_EPS = float(np.finfo(np.float64).eps)


class Rows(NamedTuple):
    """The g rows of a pair, with what is known of them; the last three are improved on the way."""

    products: np.ndarray
    """(g, k)."""
    sign: np.ndarray
    """(g,)."""
    low: np.ndarray
    """(g, d)."""
    high: np.ndarray
    """(g, d)."""
    tolerance: np.ndarray
    """(g,) distances between bound and best value at which a row is solved."""
    positive: np.ndarray
    """(g,) bounds that are enough where only the sign is wanted."""
    best: np.ndarray
    """(g,) least values known, of this pair or another one."""
    point: np.ndarray
    """(g, d) where this pair has them; zero if another one has."""
    branches: np.ndarray
    """(g,) branches made so far."""


class _Nodes(NamedTuple):
    """N sub-boxes."""

    row: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lower: np.ndarray
    axis: np.ndarray
    """(N,) where to cut, -1 for nowhere."""
    cut: np.ndarray
    ends: np.ndarray
    """(N,) whether the parts are the ends of the side instead."""

    def take(self, index: np.ndarray) -> _Nodes:
        return _Nodes(*(part[index] for part in self))

    def joined(self, other: _Nodes) -> _Nodes:
        return _Nodes(*(np.concatenate(parts) for parts in zip(self, other, strict=True)))


def search_boxes(pair: Pair, rows: Rows, lower: np.ndarray, search: Search, deadline: float) -> np.ndarray:
    """Improve the bounds ``lower`` (g,) of the rows, and what is known of them; gives the bounds (g,)."""
    g = len(lower)
    open_ = _Nodes(np.arange(g), rows.low, rows.high, lower, np.full(g, -1), np.zeros(g), np.zeros(g, bool))
    open_ = open_ if time.monotonic() > deadline else _in_parts(pair, rows, open_)
    closed = np.full(g, np.inf)
    while True:
        done = (open_.lower >= _enough(rows, search)[open_.row]) | (open_.axis < 0)
        np.minimum.at(closed, open_.row[done], open_.lower[done])
        open_ = open_.take(~done)
        chosen = _lowest(rows, open_, search)
        if not len(chosen) or time.monotonic() > deadline:
            break
        np.add.at(rows.branches, open_.row[chosen], 1)
        children = _halves(open_.take(chosen))
        kept = np.ones(len(open_.row), bool)
        kept[chosen] = False
        open_ = open_.take(kept).joined(_in_parts(pair, rows, children))
    np.minimum.at(closed, open_.row, open_.lower)
    return np.maximum(closed, lower)


def _enough(rows: Rows, search: Search) -> np.ndarray:
    """Bounds (g,) that close a sub-box."""
    enough = rows.best - rows.tolerance
    return np.minimum(enough, rows.positive) if search.deciding else enough


def _lowest(rows: Rows, nodes: _Nodes, search: Search) -> np.ndarray:
    """Sub-boxes to cut: the lowest of every row that may go on, then the second ones, as many as fit."""
    able = rows.branches[nodes.row] < search.max_branches
    if search.deciding:
        able &= rows.best[nodes.row] > 0
    order = np.lexsort((nodes.lower, nodes.row))
    order = order[able[order]]
    rank = np.arange(len(order)) - np.searchsorted(nodes.row[order], nodes.row[order])
    order = order[rank < (search.max_branches - rows.branches)[nodes.row[order]]]
    rank = np.arange(len(order)) - np.searchsorted(nodes.row[order], nodes.row[order])
    return order[np.lexsort((nodes.lower[order], rank))][: _NODES // 2]


def _halves(nodes: _Nodes) -> _Nodes:
    """Both parts of every sub-box."""
    first, second = (nodes.take(np.arange(len(nodes.row))) for _ in range(2))
    index = np.arange(len(nodes.row))
    low, high = nodes.low[index, nodes.axis], nodes.high[index, nodes.axis]
    first.high[index, nodes.axis] = np.where(nodes.ends, low, nodes.cut)
    second.low[index, nodes.axis] = np.where(nodes.ends, high, nodes.cut)
    return first.joined(second)


def _in_parts(pair: Pair, rows: Rows, nodes: _Nodes) -> _Nodes:
    parts = [
        _bounded(pair, rows, nodes.take(np.arange(first, min(first + _NODES, len(nodes.row)))))
        for first in range(0, len(nodes.row), _NODES)
    ]
    return _Nodes(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _bounded(pair: Pair, rows: Rows, nodes: _Nodes) -> _Nodes:
    """Sub-boxes with bounds of their own, if these are better, and with places to cut; improves the best points."""
    row, matrix = nodes.row, pair.matrix
    nodes = _without_monotone(pair, rows, nodes, abs(matrix))
    found = boxed(pair, rows.products[row], rows.sign[row], nodes.low, nodes.high, _TOLERANCE)
    order = np.lexsort((found.attained, row))
    first = order[np.unique(row[order], return_index=True)[1]]
    first = first[found.attained[first] < rows.best[row[first]]]
    rows.best[row[first]], rows.point[row[first]] = found.attained[first], found.point[first]
    half = 0.5 * (nodes.high - nodes.low)
    wide = half > _NARROW * (rows.high - rows.low)[row]
    spread = (found.relaxation.factors**2).sum(1)
    loss = np.where(wide, found.relaxation.multipliers * spread, -1.0)
    nothing = loss.max(1) <= 0
    loss[nothing] = np.where(wide, half, -1.0)[nothing]
    axis = loss.argmax(1)
    index = np.arange(len(row))
    at = np.clip(found.relaxation.mean[index, axis], *(s * _OFF_CENTRE * half[index, axis] for s in (-1.0, 1.0)))
    cut = 0.5 * (nodes.low + nodes.high)[index, axis] + at
    # What rounding makes of a zero on the diagonal is less than the allowance of the bounds.
    rounding = (len(pair.weights) + 2) * _EPS * pair.size
    ends = rows.sign[row] * matrix[axis, axis] <= rounding[axis]
    lower = np.maximum(found.lower, nodes.lower)
    return nodes._replace(lower=lower, axis=np.where(wide.any(1), axis, -1), cut=cut, ends=ends)


def _without_monotone(pair: Pair, rows: Rows, nodes: _Nodes, magnitude: np.ndarray) -> _Nodes:
    """Sub-boxes whose sides along which the quadratic only rises, or only falls, are shrunk to an end."""
    centre, half = 0.5 * (nodes.low + nodes.high), 0.5 * (nodes.high - nodes.low)
    products = rows.products[nodes.row] + centre @ pair.span.vectors.T
    slope, change = pair.slope(products, rows.sign[nodes.row]) @ pair.span.vectors, half @ magnitude
    high = np.where(slope >= change, nodes.low, nodes.high)
    low = np.where((slope <= -change) & (slope < change), nodes.high, nodes.low)
    return nodes._replace(low=low, high=high)
