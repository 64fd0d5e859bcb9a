r"""The smallest beta for which the zero network is optimal.

Near zero the losses are linear in the margins: with z_g the multipliers at margin zero and q_g = p_g z_g,

    h(W) = sum_g q_g w_g(W)      (w the worst-case margin, homogeneous of degree one, concave)

is the descent of the loss along a network W, and zero is optimal if and only if h(W) <= beta ||W|| for all W:

    beta_0 = max over ||W|| = 1 of h(W) = min over moments M of kappa(M),      M = sum_g q_g sign_g E[S(x_g + delta_g)],

delta_g a random point of the ball of its group, kappa as in :mod:`convexadv.problems.bound` ([KLP24] for the margins,
[BP21] for the norm). Without balls M is one matrix and kappa(M) a closed form. With balls both sides are played against
each other: every network tried gives a lower bound h(W)/||W|| and a moment M (a cut: h(W') <= <W', M>), every average of
moments gives an upper bound and the neurons that attain it (columns). Between these stands the matrix game of neurons
against moments (:mod:`convexadv.problems.games`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._checks import number
from ..errors import InputError
from ..rotations import equalise
from ..rows import Rows
from . import bound
from .chunks import chunked
from .forms import QuadraticForms, Samples
from .games import Strategies, central_strategies
from .terms import TermSet

if TYPE_CHECKING:
    from .polynomial import PolynomialProblem

_ROUNDING = 1e-14
"""Allowance for rounding, relative to the largest conceivable threshold."""
_NEGLIGIBLE = 1e-3
"""Share of the threshold at radius 0 below which the width is judged against this share."""
_GAME_GAP = 0.3
"""Gap to which a game is solved, relative to the bracket: finer answers are less central and cost more cuts."""
_PRICINGS = 4
_TRUST = (0.3, 0.97)
"""Least (and first) and largest weight of the best network in the next one to be tried."""
_TRUST_AFTER_SUCCESS, _DOUBT_AFTER_FAILURE = 0.9, 0.8
_CANDIDATES = 8
_COLUMNS, _CUTS = 600, 150
_CUT_BYTES = 256 << 20
_SHARE, _SMALLEST_EIGENVALUE = 1e-8, 1e-12
"""Relative sizes of neurons and of eigenvalues of their lift that are dropped from a network to be tried."""


class Bracket(NamedTuple):
    """The smallest beta with the zero solution lies in [lower, upper]."""

    lower: float
    upper: float
    exact: bool
    """Whether both ends come from a closed form and differ by rounding only."""


def zero_solution_bracket(problem: PolynomialProblem, tol: float = 1e-2, max_iter: int = 300) -> Bracket:
    r"""A certified bracket of the smallest beta for which the zero network is optimal.

    For beta >= upper the zero network is optimal; for beta < lower it is not. Closed form without balls. Components
    (outputs of one-vs-rest) are independent problems: the threshold is the largest of theirs. With ``norm="linf"`` it is
    the threshold of the restriction.

    Parameters
    ----------
    problem : PolynomialProblem
        Its own beta plays no role.
    tol : float
        Stop at upper - lower <= tol max(upper, 1e-3 c), c the threshold at radius 0 (an upper bound of this one):
        thresholds that are zero are found as nearly zero.
    max_iter : int
        Networks to try for every component. The bracket is valid wherever the search ends.

    Returns
    -------
    Bracket
        Both ends infinite with hard margins or margin curves: the zero network is not feasible.

    Raises
    ------
    InputError
        If ``tol`` or ``max_iter`` is negative or not a number.
    """
    tol, max_iter = number("tol", tol), int(number("max_iter", max_iter))
    if problem.together.size > 1:
        raise InputError("zero_solution_beta needs all rows in one process; ask it of a problem without process_group.")
    if any(terms.hard for component in problem.components for terms in component.terms):
        return Bracket(np.inf, np.inf, True)
    searches = [_Search(problem, place) for place in range(len(problem.components))]
    searches.sort(key=lambda search: -search.upper)  # a threshold known to be large settles the small ones at once
    lower = 0.0
    for search in searches:
        search.lower = max(search.lower, lower)
        search.run(tol, max_iter)
        lower = search.lower
    upper = max(search.upper for search in searches)
    return Bracket(float(lower), float(upper), not any(search.robust for search in searches))


class _Neurons(NamedTuple):
    """A network of penalty sum ||v_j||^2: alpha_j = sign_j ||v_j||^2 on output_j of the component."""

    vectors: np.ndarray
    signs: np.ndarray
    outputs: np.ndarray

    def scaled(self, share: float) -> _Neurons:
        return self._replace(vectors=np.sqrt(share) * self.vectors)


class _Search:
    """Cuts and columns of one component, and the bracket they prove.

    ``cuts`` (T, o, d+1, d+1) are moment matrices [[A, g], [g', s]] of every output, ``columns`` unit neurons with signs
    and outputs, ``payoff`` (U, T) the values sign [u; 1]'M[u; 1].
    """

    def __init__(self, problem: PolynomialProblem, number: int):
        self.problem, self.component = problem, problem.components[number]
        linear = tuple(linear_terms(terms) for terms in self.component.terms)
        self.robust = any(terms.robust for terms in linear)
        self.chunks = chunked(problem.rows, (replace(self.component, terms=linear),), np.asarray)
        directions = np.abs(self.component.directions).sum(1).max()
        mass = sum(float(terms.weight.sum()) for terms in linear)
        self.ceiling = mass * directions * problem._largest_atom_entry()
        self.lower, self.upper = 0.0, np.inf
        self.best: _Neurons | None = None
        self.best_value = -np.inf
        self.trust = _TRUST[0]
        self.warm: list[dict] = [{} for _ in self.chunks]
        d = problem.rows.d
        self.columns = _Neurons(np.zeros((0, d)), np.zeros(0), np.zeros(0, int))
        self.cuts = self._moments()[1][None]
        self.average = self.cuts[0]
        self.payoff = np.zeros((0, 1))
        self.limit = int(np.clip(_CUT_BYTES // self.cuts.nbytes, 8, _CUTS))
        self._add_columns(self._price(self.average)[0], -np.inf)
        self.nominal = self.upper
        if not self.robust:
            self.lower = max(0.0, float(self.payoff.max()) - _ROUNDING * self.ceiling)

    def run(self, tol: float, max_iter: int) -> None:
        """Tighten the bracket until it is narrow, or ``max_iter`` networks have been tried."""
        for _ in range(max_iter if self.robust else 0):
            width = self.upper - self.lower
            if width <= max(tol * max(self.upper, _NEGLIGIBLE * self.nominal), 4.0 * _ROUNDING * self.ceiling):
                break
            strategies = self._play()
            cut = self._try(self._network(strategies.rows))
            self._forget(strategies)
            self.payoff = np.concatenate([self.payoff, self._values(self.columns, cut[None])], 1)
            self.cuts = np.concatenate([self.cuts, cut[None]])

    def _play(self) -> Strategies:
        """Strategies of the game, with columns added until its answer is nearly the best average of the cuts."""
        for pricing in range(_PRICINGS):
            width = self.upper - self.lower
            strategies = central_strategies(self.payoff, _GAME_GAP * width)
            average = np.tensordot(strategies.columns, self.cuts, 1)
            extremes, kappa = self._price(average)
            last = kappa - strategies.lower < 0.5 * width or pricing == _PRICINGS - 1
            self._add_columns(extremes, strategies.lower if last else strategies.upper)
            if last:
                break
        rows = np.zeros(len(self.columns.signs))
        rows[: len(strategies.rows)] = strategies.rows
        return strategies._replace(rows=rows)

    def _price(self, average: np.ndarray) -> tuple[list, float]:
        """Extremes of every output of a moment, and the largest, which bounds the threshold from above."""
        moments = [bound.Moment(matrix[:-1, :-1], matrix[:-1, -1], matrix[-1, -1]) for matrix in average]
        extremes = bound.largest_atoms(moments, _CANDIDATES)
        kappa = max(float(extreme.value) for extreme in extremes) + _ROUNDING * self.ceiling
        if kappa < self.upper:
            self.upper, self.average = kappa, average
        return extremes, kappa

    def _add_columns(self, extremes: list, level: float) -> None:
        for output, extreme in enumerate(extremes):
            chosen = extreme.values > level
            count = int(chosen.sum())
            new = _Neurons(extreme.directions[chosen], extreme.signs[chosen], np.full(count, output))
            self.columns = _joined(self.columns, new)
            self.payoff = np.concatenate([self.payoff, self._values(new, self.cuts)])

    def _values(self, neurons: _Neurons, cuts: np.ndarray) -> np.ndarray:
        """(U, T) values of cuts at unit neurons."""
        lifted = np.concatenate([neurons.vectors, np.ones((len(neurons.signs), 1))], 1)
        values = np.empty((len(lifted), len(cuts)))
        for output in np.unique(neurons.outputs):
            here = neurons.outputs == output
            for place, cut in enumerate(cuts):
                values[here, place] = ((lifted[here] @ cut[output]) * lifted[here]).sum(1)
        return neurons.signs[:, None] * values

    def _network(self, shares: np.ndarray) -> _Neurons:
        """The network of the game, pulled to the best one so far."""
        network = self.columns._replace(vectors=self.columns.vectors * np.sqrt(shares)[:, None])
        if self.best is not None:
            network = _joined(network.scaled(1.0 - self.trust), self.best.scaled(self.trust))
        squares = (network.vectors**2).sum(1)
        return _merged(_Neurons(*(part[squares > _SHARE * squares.sum()] for part in network)))

    def _try(self, network: _Neurons) -> np.ndarray:
        """The moment at which a network's margins are attained; its value is a lower bound."""
        squares = (network.vectors**2).sum(1)
        units = network.vectors / np.sqrt(squares)[:, None]
        weights = (network.signs * squares)[:, None] * self.component.directions.T[network.outputs]
        descent, cut = self._moments(self.problem.forms(units, weights))
        value = descent / float(squares.sum())
        self.lower = max(self.lower, value - _ROUNDING * self.ceiling)
        if value > self.best_value:
            self.trust = max(_TRUST[0], _TRUST_AFTER_SUCCESS * self.trust)
            self.best, self.best_value = network.scaled(1.0 / float(squares.sum())), value
        else:
            self.trust = min(_TRUST[1], 1.0 - _DOUBT_AFTER_FAILURE * (1.0 - self.trust))
        return cut

    def _moments(self, forms: QuadraticForms | None = None) -> tuple[float, np.ndarray]:
        """Sum of weight * margin, and (o, d+1, d+1) moments where the margins are attained; the rows without a network."""
        size = self.problem.rows.d + 1
        descent, total = 0.0, np.zeros((len(self.component.outputs), size, size))
        for (_, block), chunk, warm in zip(self.problem.rows.blocks(), self.chunks, self.warm, strict=True):
            products = None if forms is None else block @ forms.neurons.T
            atoms = []
            for _, terms in chunk.present(0):
                parts: tuple[Samples, ...] = ()
                if forms is not None:
                    worst = forms.worst_case(products, terms, warm=warm)
                    descent += float((terms.weight * worst.margin[0]).sum())
                    parts = worst.samples
                atoms += bound.atoms_of(terms, np.ones((1, terms.g)), parts)
            if atoms:
                total += self._lifted_moments(block, atoms)
        return descent, total

    def _lifted_moments(self, block: np.ndarray, atoms: list) -> np.ndarray:
        problem, rows = self.problem, Rows([block], lambda part: part)
        moments = bound.moments(rows, self.component.directions, atoms, problem.activation, problem.scale)
        return np.stack([_lifted(moment) for moment in moments])

    def _forget(self, strategies: Strategies) -> None:
        """Keep memory and the game small: the least used cuts become one, the best average; columns go."""
        if len(self.cuts) >= self.limit:
            kept = np.sort(np.argsort(strategies.columns)[-(3 * self.limit // 4) :])
            self.cuts = np.concatenate([self.cuts[kept], self.average[None]])
            average = self._values(self.columns, self.average[None])
            self.payoff = np.concatenate([self.payoff[:, kept], average], 1)
        if len(self.columns.signs) > _COLUMNS:
            new = strategies.rows == 0.0
            order = np.argsort(np.where(new, np.inf, strategies.rows))
            kept = np.sort(order[-(3 * _COLUMNS // 4) :])
            self.columns = _Neurons(*(part[kept] for part in self.columns))
            self.payoff = self.payoff[kept]


def linear_terms(terms: TermSet) -> TermSet:
    """The terms at margin zero: one alternative, the one with the multiplier, which becomes the weight."""
    _, z = terms.loss.multipliers(terms.offset)
    group = np.arange(z.shape[1])
    active = np.abs(z).argmax(0)
    weight = terms.weight * z[active, group]
    used = weight != 0
    sign = (np.sign(weight) * terms.sign[active, group])[used]
    none = np.zeros(len(sign))
    row, radius, direction = terms.row[used], terms.radius[used], terms.direction[active, group][None, used]
    return TermSet(terms.loss, row, np.abs(weight)[used], sign[None], none[None], direction, radius, none)


def _lifted(moment: bound.Moment) -> np.ndarray:
    vector = moment.vector[:, None]
    return np.block([[moment.matrix, vector], [vector.T, np.reshape(moment.constant, (1, 1))]])


def _joined(first: _Neurons, second: _Neurons) -> _Neurons:
    return _Neurons(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))


def _merged(neurons: _Neurons) -> _Neurons:
    """The same network with at most d + 1 neurons a sign and output, up to negligible ones."""
    parts = []
    for output in np.unique(neurons.outputs):
        for sign in (1.0, -1.0):
            here = (neurons.outputs == output) & (neurons.signs == sign)
            vectors = neurons.vectors[here]
            if len(vectors) > vectors.shape[1] + 1:
                vectors = _decomposed(vectors)
            count = len(vectors)
            parts.append(_Neurons(vectors, np.full(count, sign), np.full(count, output)))
    return _Neurons(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _decomposed(vectors: np.ndarray) -> np.ndarray:
    """Neural decomposition of Z = sum_j y_j y_j', y_j = (v_j, ||v_j||), into rank(Z) vectors."""
    lifted = np.concatenate([vectors, np.linalg.norm(vectors, axis=1)[:, None]], 1)
    eigenvalues, basis = np.linalg.eigh(lifted.T @ lifted)
    kept = eigenvalues > _SMALLEST_EIGENVALUE * eigenvalues[-1]
    factor = basis[:, kept] * np.sqrt(eigenvalues[kept])
    stretch = np.sqrt(np.linalg.norm(factor[-1]) / np.linalg.norm(factor[:-1]))  # restores tr Z1 = Z4
    factor = np.concatenate([factor[:-1] * stretch, factor[-1:] / stretch])
    columns = equalise(factor, np.append(np.ones(vectors.shape[1]), -1.0))
    return (np.where(columns[-1] < 0, -1.0, 1.0) * columns[:-1]).T
