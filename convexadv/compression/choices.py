r"""One choice a layer under one budget, exactly: the multiple-choice knapsack problem.

    min  sum_l loss_l(c_l)   s.t.  sum_l cost_l(c_l) <= budget,     costs are integers

Each layer is reduced to its Pareto front. A Lagrange multiplier gives a lower bound, sum_l min_c (loss + lam cost) - lam
budget, which discards most choices (Kellerer, Pferschy, Pisinger, *Knapsack Problems*, 2004, chapter 11). The dynamic
programme then runs over the layers with the Pareto front of all sums as its state. Where that would grow beyond a limit,
the states are thinned on a grid of costs, the best one a cell: costs stay exact, the budget holds, and the distance from
the lower bound says what the grid may have cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_CELLS = 60_000
_STAGES = (200, 1_000, _CELLS)
"""Coarse grids first: each gives a better choice to prune with."""
_BLOCK = 1 << 22
_ROUNDING = 1e-12


class Front(NamedTuple):
    """Choices of a layer, by increasing cost and decreasing loss."""

    costs: np.ndarray
    """(n,) of int."""
    losses: np.ndarray
    """(n,)."""
    labels: np.ndarray
    """(n, ...) what they stand for."""


@dataclass(frozen=True)
class Choice:
    """A feasible choice of each layer.

    Attributes
    ----------
    index : list of int
        Position in the front of each layer.
    loss : float
        Sum of the losses.
    cost : int
        Sum of the costs.
    lower_bound : float
        No feasible choice has a smaller loss.
    exact : bool
        Whether no state was thinned: the choice is then an optimal one, and the bound its loss.
    """

    index: list[int]
    loss: float
    cost: int
    lower_bound: float
    exact: bool


def pareto(costs: np.ndarray, losses: np.ndarray, labels: np.ndarray) -> Front:
    """Keep the choices that no other one beats in cost and loss.

    Parameters
    ----------
    costs : array (n,) of int
        Costs of the choices.
    losses : array (n,)
        Losses.
    labels : array (n, ...)
        What they stand for.

    Returns
    -------
    Front
    """
    kept = _efficient(costs, losses)
    return Front(costs[kept], losses[kept], labels[kept])


def multiplier_bound(fronts: list[Front], budget: int) -> tuple[float, float]:
    """Find the Lagrange multiplier with the best lower bound.

    Parameters
    ----------
    fronts : list of Front
        One a layer.
    budget : int
        At least the sum of the smallest costs.

    Returns
    -------
    lower_bound : float
    multiplier : float
        Loss a unit of cost.
    """
    hulls = [_hull(front) for front in fronts]
    slopes = [-np.diff(hull.losses) / np.diff(hull.costs) for hull in hulls]
    steps = np.concatenate([np.diff(hull.costs) for hull in hulls])
    order = np.argsort(-np.concatenate(slopes), kind="stable")
    slopes_sorted = np.concatenate(slopes)[order]
    spent = sum(int(front.costs[0]) for front in fronts) + np.cumsum(steps[order])
    beyond = np.flatnonzero(spent > budget)
    lam = float(slopes_sorted[beyond[0]]) if len(beyond) else 0.0
    value = sum(float((hull.losses + lam * hull.costs).min()) for hull in hulls) - lam * budget
    return max(value, sum(float(front.losses[-1]) for front in fronts)), lam


def best_choice(fronts: list[Front], budget: int, start: list[int] | None = None, cells: int = _CELLS) -> Choice:
    """Minimise the sum of the losses within the budget.

    Parameters
    ----------
    fronts : list of Front
        One a layer.
    budget : int
        At least the sum of the smallest costs.
    start : list of int, optional
        A feasible choice, e.g. of a greedy method; the result is never worse.
    cells : int
        States that are kept; more of them are thinned on a grid of so many costs.

    Returns
    -------
    Choice
    """
    lower, lam = multiplier_bound(fronts, budget)
    incumbent = _rounded(fronts, budget, lam)
    if start is not None and _loss(fronts, start) < _loss(fronts, incumbent):
        incumbent = start
    exact = False
    for limit in sorted({min(stage, cells) for stage in _STAGES} | {cells}):
        best = sum(float(front.losses[i]) for front, i in zip(fronts, incumbent, strict=True))
        margin = _ROUNDING * max(1.0, abs(best))
        found, exact = _programme(fronts, budget, lam, best + margin, limit)
        if found is not None and _loss(fronts, found) < best:
            incumbent = found
        if exact:
            break
    loss = _loss(fronts, incumbent)
    cost = sum(int(front.costs[i]) for front, i in zip(fronts, incumbent, strict=True))
    return Choice(incumbent, loss, cost, loss if exact else min(lower, loss), exact)


def _rounded(fronts: list[Front], budget: int, lam: float) -> list[int]:
    """A feasible choice near that of the multiplier: the cheapest minimisers, then what gains most in the rest."""
    reduced = [front.losses + lam * front.costs for front in fronts]
    index = [int(np.flatnonzero(values <= values.min() * (1.0 + 1e-12))[0]) for values in reduced]
    left = budget - sum(int(front.costs[i]) for front, i in zip(fronts, index, strict=True))
    if left < 0:
        return [0] * len(fronts)
    while True:
        reach = [
            int(np.searchsorted(front.costs, front.costs[i] + left, side="right")) - 1
            for front, i in zip(fronts, index, strict=True)
        ]
        gains = [front.losses[i] - front.losses[j] for front, i, j in zip(fronts, index, reach, strict=True)]
        best = int(np.argmax(gains))
        if reach[best] == index[best]:
            return index
        left -= int(fronts[best].costs[reach[best]] - fronts[best].costs[index[best]])
        index[best] = reach[best]


def _loss(fronts: list[Front], index: list[int]) -> float:
    return sum(float(front.losses[i]) for front, i in zip(fronts, index, strict=True))


def _programme(fronts: list[Front], budget: int, lam: float, best: float, cells: int) -> tuple[list[int] | None, bool]:
    """Best choice below ``best``, and whether all of these were looked at."""
    reduced = [front.losses + lam * front.costs for front in fronts]
    least = np.array([values.min() for values in reduced])
    room = best - (least.sum() - lam * budget)
    candidates = [np.flatnonzero(values <= low + room) for values, low in zip(reduced, least, strict=True)]
    order = np.argsort([len(each) for each in candidates], kind="stable")
    cheapest = np.array(
        [int(front.costs[each].min()) if len(each) else 0 for front, each in zip(fronts, candidates, strict=True)]
    )
    if any(len(each) == 0 for each in candidates):
        return None, True
    costs, losses = np.zeros(1, np.int64), np.zeros(1)
    history: list[tuple[int, np.ndarray, np.ndarray]] = []
    exact, later_least, later_cheapest = True, float(least.sum()), int(cheapest.sum())
    for layer in order:
        later_least -= float(least[layer])
        later_cheapest -= int(cheapest[layer])
        most = best + lam * budget - later_least
        chosen = candidates[layer]
        costs, losses, parent, pick, whole = _joined(
            (costs, losses),
            (fronts[layer].costs[chosen], fronts[layer].losses[chosen]),
            budget - later_cheapest,
            lam,
            most,
            cells,
        )
        exact &= whole
        if len(costs) == 0:
            return None, exact
        history.append((int(layer), parent, chosen[pick]))
    state, index = int(np.argmin(losses)), [0] * len(fronts)
    for layer, parent, pick in reversed(history):
        index[layer], state = int(pick[state]), int(parent[state])
    return index, exact


def _joined(
    state: tuple[np.ndarray, np.ndarray],
    option: tuple[np.ndarray, np.ndarray],
    most_cost: int,
    lam: float,
    most: float,
    cells: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    """Pareto front of all sums of a state and an option that can still lead to a better choice."""
    width = max(1, _BLOCK // len(state[0]))
    costs, losses = np.zeros(0, np.int64), np.zeros(0)
    parent, pick = np.zeros(0, np.int64), np.zeros(0, np.int64)
    whole = True
    for begin in range(0, len(option[0]), width):
        block = slice(begin, begin + width)
        cost = (state[0][:, None] + option[0][None, block]).ravel()
        loss = (state[1][:, None] + option[1][None, block]).ravel()
        alive = np.flatnonzero((cost <= most_cost) & (loss + lam * cost <= most))
        count = len(option[0][block])
        costs, losses = np.append(costs, cost[alive]), np.append(losses, loss[alive])
        parent, pick = np.append(parent, alive // count), np.append(pick, begin + alive % count)
        kept = _efficient(costs, losses)
        if len(kept) > cells:
            whole = False
            kept = kept[_thinned(costs[kept], cells)]
        costs, losses, parent, pick = costs[kept], losses[kept], parent[kept], pick[kept]
    return costs, losses, parent, pick, whole


def _thinned(costs: np.ndarray, cells: int) -> np.ndarray:
    """Of a Pareto front, the last state (least loss) of each cell of a grid of costs, and the first of all."""
    low, high = int(costs[0]), int(costs[-1])
    cell = (costs - low) * cells // (high - low + 1)
    kept = np.append(cell[1:] != cell[:-1], True)
    kept[0] = True
    return np.flatnonzero(kept)


def _efficient(costs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Indices of the Pareto front, by increasing cost."""
    order = np.lexsort((losses, costs))
    sorted_losses = losses[order]
    before = np.append(np.inf, np.minimum.accumulate(sorted_losses)[:-1]) if len(order) else np.zeros(0)
    return order[sorted_losses < before]


def _hull(front: Front) -> Front:
    """Lower convex hull of a front."""
    kept: list[int] = []
    costs, losses = front.costs.astype(float).tolist(), front.losses.tolist()
    for i in range(len(costs)):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (losses[b] - losses[a]) * (costs[i] - costs[a]) < (losses[i] - losses[a]) * (costs[b] - costs[a]):
                break
            kept.pop()
        kept.append(i)
    return Front(front.costs[kept], front.losses[kept], front.labels[kept])
