"""Greedy ranks: one singular value after the other, the one that recovers most energy for what it costs."""

from __future__ import annotations

import heapq

from .fronts import Setting
from .projection import Ranks
from .spectrum import losses_of

_Move = tuple[float, int, Ranks, int]
"""Minus the gain a unit of cost, position of the layer, ranks after it, cost after it."""


def grow(settings: list[Setting], measure: str, start: list[tuple[int, Ranks]], budget: int) -> list[Ranks]:
    """Raise ranks from the cheapest ones, the best ratio of recovered energy and cost first, while they fit.

    Parameters
    ----------
    settings : list of Setting
        The layers.
    measure : {"parameters", "flops"}
        What costs count.
    start : list of (cost, ranks)
        The cheapest choice of each layer.
    budget : int
        At least the sum of these costs.

    Returns
    -------
    list of ranks
    """
    growers = [_Grower(setting, measure, *each) for setting, each in zip(settings, start, strict=True)]
    left = budget - sum(grower.cost for grower in growers)
    heap = [move for i, grower in enumerate(growers) if (move := grower.best(i, left)) is not None]
    heapq.heapify(heap)
    while heap:
        _, i, ranks, cost = heapq.heappop(heap)
        grower = growers[i]
        if cost - grower.cost <= left:
            left -= cost - grower.cost
            grower.ranks, grower.cost = ranks, cost
        again = grower.best(i, left)
        if again is not None:
            heapq.heappush(heap, again)
    return [grower.ranks for grower in growers]


class _Grower:
    """Ranks of one layer on their way up."""

    def __init__(self, setting: Setting, measure: str, cost: int, ranks: Ranks):
        self.setting, self.measure, self.cost, self.ranks = setting, measure, cost, ranks
        layer = setting.layer
        sides = (layer.outer, layer.inner, layer.shorter)
        self.outer, self.inner, self.shorter = (losses_of(each, setting.objective).tolist() for each in sides)

    def best(self, position: int, left: int) -> _Move | None:
        """The move with the best ratio among those that gain something and fit."""
        found: _Move | None = None
        now = self._loss(self.ranks)
        for ranks in self._moves():
            cost = self.setting.layer.cost(ranks, self.measure)
            gain, price = self.setting.importance * (now - self._loss(ranks)), cost - self.cost
            if price > left or gain < 0 or (gain == 0 and price >= 0):
                continue
            ratio = gain / price if price > 0 else float("inf")
            if found is None or -ratio < found[0]:
                found = (-ratio, position, ranks, cost)
        return found

    def _moves(self) -> list[Ranks]:
        setting, ranks = self.setting, self.ranks
        if isinstance(ranks, str):
            return []
        end: list[Ranks] = ["dense"] if setting.dense else []
        C_out, C_in = setting.layer.shape
        if isinstance(ranks, int):
            return [ranks + 1, *end] if ranks < min(C_out, C_in) else end
        outer, inner = ranks
        window = setting.layer.window
        pairs = [(outer + 1, inner), (outer, inner + 1), (outer + 1, inner + 1)]
        fitting = [
            (p, q)
            for p, q in pairs
            if p <= C_out and q <= C_in and q <= window * p and p <= window * q and (p, q) != (C_out, C_in)
        ]
        return [*fitting, *end]

    def _loss(self, ranks: Ranks) -> float:
        if isinstance(ranks, str):
            return 0.0
        return self.shorter[ranks] if isinstance(ranks, int) else self.outer[ranks[0]] + self.inner[ranks[1]]
