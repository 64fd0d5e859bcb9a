r"""The smallest beta for which the zero network is optimal over given activation patterns.

As for polynomial networks (:mod:`.threshold`), the losses are linear in the margins near zero: with z_g their multipliers at
margin zero, h(W) = sum_g p_g z_g margin_g(W) is the descent of the loss along blocks W = (v_b), and

    beta_0  =  max of h(W) over W in the cones, sum_b ||v_b|| = 1  =  min over q of  max over blocks of price_b(q)

with the dual vectors q of :mod:`.pattern_bound` at these multipliers, whose points in the balls (and, for gated networks,
shares and tilts) are free; price ||Proj_K(side q)||, or ||q|| without cones. Without balls q is one array, and its prices
are the answer. With balls both sides are played against each other: every network tried gives the lower bound h(W)/||W||
and the dual vectors that attain it (a cut: h(W') <= <W', q>), every average of dual vectors gives an upper bound, its
largest price, and the blocks that attain it (columns). Between these stands the matrix game of columns against cuts
(:mod:`.games`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._checks import number
from ..balls import gauge
from ..cones import Interiors, project, pulled
from .blocks import Blocks
from .games import Strategies, central_strategies
from .pattern_bound import ball_reach
from .pattern_cones import cone_interiors, cones_of
from .terms import Component, Terms
from .threshold import Bracket, linear_terms

if TYPE_CHECKING:
    from .patterns import PatternProblem

_ROUNDING = 1e-13
"""Allowance for rounding, relative to the largest conceivable threshold."""
_EXACT = 1e-9
"""Relative width of a bracket that counts as rounding."""
_NEGLIGIBLE = 1e-3
"""Share of the largest dual vector at the rows themselves below which the width is judged against this share."""
_LOOSE, _TIGHT = 1e-6, 1e-13
"""Tolerances of a projection, relative to the squared length of its target."""
_GAME_GAP = 0.3
"""Gap to which a game is solved, relative to the bracket: finer answers are less central and cost more cuts."""
_PRICINGS = 4
_TRUST = (0.3, 0.97)
"""Least (and first) and largest weight of the best network in the next one to be tried."""
_TRUST_AFTER_SUCCESS, _DOUBT_AFTER_FAILURE = 0.9, 0.8
_COLUMNS, _CUTS = 600, 150
_CUT_BYTES = 256 << 20
_SHARE = 1e-8
"""Relative size of blocks that are dropped from a network to be tried."""
_ENTRIES = 1 << 22


def pattern_zero_bracket(problem: PatternProblem, tol: float = 1e-2, max_iter: int = 300) -> Bracket:
    r"""A certified bracket of the smallest beta for which the zero network is optimal over the problem's patterns.

    For beta >= upper the zero network is optimal; for beta < lower it is not. At radius 0 both ends are a price, equal up
    to rounding. Components (outputs of one-vs-rest) are independent problems: the threshold is the largest of theirs.

    Parameters
    ----------
    problem : ReLUProblem or GatedReLUProblem
        Its own beta plays no role.
    tol : float
        Stop at upper - lower <= tol max(upper, 1e-3 c), c the length of the largest dual vector at the rows themselves:
        thresholds that are zero are found as nearly zero.
    max_iter : int
        Networks to try for every component. The bracket is valid wherever the search ends.

    Returns
    -------
    Bracket

    Raises
    ------
    InputError
        If ``tol`` or ``max_iter`` is negative or not a number.
    """
    tol, max_iter = number("tol", tol), int(number("max_iter", max_iter))
    inner = cone_interiors(problem) if problem.cones else None
    searches = [_Search(problem, component, inner, tol) for component in problem.components]
    searches.sort(key=lambda search: -search.upper)  # a threshold known to be large settles the small ones at once
    lower = 0.0
    for search in searches:
        search.lower = max(search.lower, lower)
        search.run(max_iter)
        lower = search.lower
    upper = max(search.upper for search in searches)
    return Bracket(float(lower), float(upper), not problem.robust and upper - lower <= _EXACT * upper)


class _Descent:
    """h of a component, and the dual vectors at which it is attained."""

    def __init__(self, problem: PatternProblem, component: Component):
        self.problem, self.directions = problem, component.directions
        self.X = problem.rows.whole()
        linear = [linear_terms(terms) for terms in component.terms]
        self.terms = [Terms(terms, problem.rows.n, np.asarray, len(component.directions)) for terms in linear]
        self.robust = any(terms.robust for terms in self.terms)
        mass = sum(float(terms.weight.sum()) for terms in self.terms)
        reach = problem.rows.largest_norm() + ball_reach(problem)
        self.ceiling = mass * float(np.abs(self.directions).max()) * reach

    def at(self, blocks: Blocks) -> tuple[float, np.ndarray]:
        """h of blocks, and q (P, D, outputs) with h(W') <= sum side v'q for all W' and equality at the blocks."""
        problem = self.problem
        outputs = self.directions.shape[1]
        total, q = 0.0, np.zeros((problem.n_gates, problem.rows.d, outputs))
        step = max(1, _ENTRIES // max(problem.n_gates, problem.rows.d))
        for terms in self.terms:
            for direction, index in terms.groups[0]:
                entries = self.directions[direction]
                weights = np.zeros(q.shape[:2])
                np.add.at(weights, blocks.gate, blocks.vectors * (blocks.side * entries[blocks.output])[:, None])
                groups = np.arange(terms.g) if index is None else index
                for first in range(0, len(groups), step):
                    value, pull = self._groups(terms, groups[first : first + step], weights)
                    total += value
                    q += pull[:, :, None] * entries
        return total, q

    def _groups(self, terms: Terms, groups: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Share of some terms in h, and in q along their direction, at weights (P, D) along the direction."""
        problem, E = self.problem, self.problem.perturbed
        row = groups if terms.row is None else terms.row[groups]
        x, active = self.X[row], problem.active[row].astype(np.float64)
        weight, radius, points = (
            terms.weight[groups],
            terms.radius[groups],
            terms.sign[0, groups][:, None] * self.X[row],
        )
        alpha = active @ weights
        value = (points * alpha).sum(1)
        if terms.robust:
            value -= radius * gauge(alpha[:, E], problem.dual_norm)
            points[:, E] -= radius[:, None] * _attaining(alpha[:, E], problem.norm)
        pull = active.T @ (weight[:, None] * points)
        if terms.robust and problem.unstable is not None:
            signed = terms.sign[0, groups][:, None] * x
            worst = signed @ weights.T - radius[:, None] * gauge(weights[:, E], problem.dual_norm)
            share = (problem.unstable[row] & (worst < 0)).astype(np.float64)
            value += (share * worst).sum(1)
            pull += share.T @ (weight[:, None] * signed)
            pull[:, E] -= (share.T @ (weight * radius))[:, None] * _attaining(weights[:, E], problem.norm)
        return float(weight @ value), pull


class _Prices:
    """Prices of all blocks of a component at dual vectors.

    A price at one q bounds that at another: ||Proj_K(q')|| <= ||q' - q + remainder||, remainder the vector of the proof at
    q. So only blocks that this leaves above a level are projected again.
    """

    def __init__(self, problem: PatternProblem, outputs: int, inner: Interiors | None):
        self.problem, self.inner = problem, inner
        alive = np.arange(problem.n_gates) if inner is None else np.flatnonzero(~inner.dead)
        side, gate, output = np.meshgrid(np.array(problem.sides, float), alive, np.arange(outputs), indexing="ij")
        self.blocks = Blocks(gate.ravel(), output.ravel(), side.ravel(), np.zeros((gate.size, problem.rows.d)))
        self.shift, self.rounding = np.zeros((gate.size, problem.rows.d)), np.zeros(gate.size)

    def at(self, q: np.ndarray, level: float, tol: float) -> tuple[float, Blocks]:
        """The largest price at q (P, D, outputs), or the level; and unit vectors of blocks whose price is above it."""
        target = self.blocks.side[:, None] * q[self.blocks.gate, :, self.blocks.output]
        prices = np.linalg.norm(target + self.shift, axis=1) + self.rounding
        above = np.flatnonzero(prices > level)
        vectors = target[above]
        if self.inner is not None:
            gate = self.blocks.gate[above]
            cones = cones_of(self.problem, gate)
            found = project(cones, vectors, tol)
            self.shift[above] = found.remainders - vectors
            self.rounding[above] = found.prices - np.linalg.norm(found.remainders, axis=1)
            prices[above] = found.prices
            vectors = pulled(cones, found.points, Interiors(*(part[gate] for part in self.inner)))
        size = np.linalg.norm(vectors, axis=1)
        kept = (prices[above] > level) & (size > 0)
        part = self.blocks.take(above[kept])
        units = vectors[kept] / size[kept, None]
        return float(prices.max(initial=0.0)), Blocks(part.gate, part.output, part.side, units)


class _Search:
    """Cuts q (T, P, D, outputs) and unit columns of one component, their payoff (U, T), and the bracket they prove."""

    def __init__(self, problem: PatternProblem, component: Component, inner: Interiors | None, tol: float):
        self.tol, self.width = tol, problem.rows.d
        self.descent = _Descent(problem, component)
        self.prices = _Prices(problem, len(component.outputs), inner)
        self.rounding = _ROUNDING * self.descent.ceiling
        self.lower, self.upper = 0.0, np.inf
        self.best = self.columns = self.prices.blocks.take(np.zeros(0, int))
        self.best_value, self.trust = 0.0, _TRUST[0]
        self.cuts = self.descent.at(self.columns)[1][None]
        self.nominal = float(np.linalg.norm(self.cuts[0], axis=1).max())
        self.payoff = np.zeros((0, 1))
        self.limit = int(np.clip(_CUT_BYTES // max(1, self.cuts.nbytes), 8, _CUTS))
        self._price(self.cuts[0], 0.0, _LOOSE)

    def run(self, max_iter: int) -> None:
        """Tighten the bracket until it is narrow, or ``max_iter`` networks have been tried."""
        if not self.descent.robust:
            self._price(self.cuts[0], self.lower, _TIGHT)
            return
        for _ in range(max_iter):
            if self._done() or len(self.columns) == 0:
                break
            strategies = self._play()
            self._try(self._network(strategies.rows))
            self._forget(strategies)

    def _done(self) -> bool:
        goal = self.tol * max(self.upper, _NEGLIGIBLE * self.nominal)
        return self.upper - self.lower <= max(goal, 4.0 * self.rounding)

    def _play(self) -> Strategies:
        """Strategies of the game, with columns added until its answer is nearly the best average of the cuts."""
        for pricing in range(_PRICINGS):
            width = self.upper - self.lower
            strategies = central_strategies(self.payoff, _GAME_GAP * width)
            average = np.tensordot(strategies.columns, self.cuts, 1)
            level = max(self.lower, strategies.lower)
            tol = 0.01 * self.tol * (level / self.nominal) ** 2
            kappa = self._price(average, level, min(max(tol, _TIGHT), _LOOSE))
            if kappa - strategies.lower < 0.5 * width or pricing == _PRICINGS - 1:
                break
        rows = np.zeros(len(self.columns))
        rows[: len(strategies.rows)] = strategies.rows
        return strategies._replace(rows=rows)

    def _price(self, q: np.ndarray, level: float, tol: float) -> float:
        """The largest price at q, which bounds the threshold from above; blocks above the level become columns."""
        largest, new = self.prices.at(q, level, tol)
        largest += self.rounding
        if largest < self.upper:
            self.upper, self.average = largest, q
        values = self._values(new, self.cuts)
        self.columns = Blocks.joined([self.columns, new], self.width)
        self.payoff = np.concatenate([self.payoff, values])
        if not self.descent.robust:
            self.lower = max(self.lower, float(values.max(initial=0.0)) - self.rounding)
        return largest

    def _values(self, columns: Blocks, cuts: np.ndarray) -> np.ndarray:
        """(U, T) values of cuts at columns."""
        signed = columns.side[:, None] * columns.vectors
        return np.einsum("ud,utd->ut", signed, cuts[:, columns.gate, :, columns.output])

    def _network(self, shares: np.ndarray) -> Blocks:
        """The network of the game, pulled to the best one so far if there is one that descends."""
        own = _merged(_scaled(self.columns, shares))
        if len(own) == 0:  # columns that cancel
            own = self.columns.take(np.array([shares.argmax()]))
        own = _scaled(own, 1.0 / own.penalty())
        if len(self.best) == 0:
            return own
        parts = [_scaled(own, 1.0 - self.trust), _scaled(self.best, self.trust)]
        return _merged(Blocks.joined(parts, self.width))

    def _try(self, network: Blocks) -> None:
        """Add the cut of a network; its value is a lower bound."""
        descent, cut = self.descent.at(network)
        value = descent / network.penalty()
        self.lower = max(self.lower, value - self.rounding)
        if value > self.best_value:
            self.trust = max(_TRUST[0], _TRUST_AFTER_SUCCESS * self.trust)
            self.best, self.best_value = _scaled(network, 1.0 / network.penalty()), value
        else:
            self.trust = min(_TRUST[1], 1.0 - _DOUBT_AFTER_FAILURE * (1.0 - self.trust))
        self._add_cut(cut)

    def _add_cut(self, cut: np.ndarray) -> None:
        self.payoff = np.concatenate([self.payoff, self._values(self.columns, cut[None])], 1)
        self.cuts = np.concatenate([self.cuts, cut[None]])

    def _forget(self, strategies: Strategies) -> None:
        """Keep memory and the game small: the least used cuts become one, the best average; columns go."""
        if len(self.cuts) > self.limit:
            kept = np.sort(np.argsort(strategies.columns)[-(3 * self.limit // 4) :])
            kept = np.append(kept, len(self.cuts) - 1)
            self.cuts, self.payoff = self.cuts[kept], self.payoff[:, kept]
            self._add_cut(self.average)
        if len(self.columns) > _COLUMNS:
            order = np.argsort(np.where(strategies.rows == 0.0, np.inf, strategies.rows))  # zero: new, not yet played
            kept = np.sort(order[-(3 * _COLUMNS // 4) :])
            self.columns, self.payoff = self.columns.take(kept), self.payoff[kept]


def _scaled(blocks: Blocks, factor: float | np.ndarray) -> Blocks:
    factor = np.broadcast_to(factor, len(blocks))
    return Blocks(blocks.gate, blocks.output, blocks.side, factor[:, None] * blocks.vectors)


def _merged(blocks: Blocks) -> Blocks:
    """One block for every gate, output and side, without negligible ones."""
    key = np.stack([blocks.gate, blocks.output, blocks.side.astype(np.int64)])
    _, first, place = np.unique(key, axis=1, return_index=True, return_inverse=True)
    vectors = np.zeros((len(first), blocks.vectors.shape[1]))
    np.add.at(vectors, place.reshape(-1), blocks.vectors)
    size = np.linalg.norm(vectors, axis=1)
    merged = Blocks(blocks.gate[first], blocks.output[first], blocks.side[first], vectors)
    return merged.take(np.flatnonzero(size > _SHARE * size.sum()))


def _attaining(v: np.ndarray, norm: str) -> np.ndarray:
    """Points t of the unit ball of the norm with t'v = ||v||_q; zero where v is, (m, d)."""
    if norm == "linf":
        return np.sign(v)
    if norm == "l2":
        length = np.linalg.norm(v, axis=1)[:, None]
        return v / np.where(length > 0, length, 1.0)
    result = np.zeros_like(v)
    row, place = np.arange(len(v)), np.abs(v).argmax(1)
    result[row, place] = np.sign(v[row, place])
    return result
