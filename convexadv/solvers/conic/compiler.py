r"""The semidefinite programme of one component, as the data of a conic solver.

Variables: for every output W (order d + 1, W = Z - Z') and Z', as :mod:`.svec` vectors without their last
entries, which the trace equalities fix (tr Z1 = Z4); a shortfall u a group; a multiplier lambda a matrix
inequality (d of them for the diagonal restriction of the l_inf ball). With W instead of Z every matrix
inequality meets one matrix variable and not two, which halves the data; Z = W + Z' in the cone says the
same.

    min  sum_g omega_g psi(u_g) + beta sum_o (W4 + 2 Z'4)
    s.t. Z' >= 0,  W + Z' >= 0  (PSD),  lambda >= 0,

    [ lambda I + s^2 (sign a D W1 D + curvature I)    (sign s/2) D(2a W1 x + b W2)             ]
    [ (.)'                                           sign f(x) - offset + u - (r/s)^2 lambda   ]  >= 0

with r > 0, D the positive scales, W = sum_o E_ko W_o: the inequality of [KLP24] (docs/mathematics.md) at w =
offset - u, after the congruence with diag(s I, 1). A group with r = 0 is the linear inequality sign f(x) -
offset + u >= 0. Hard margins have no u.

The unit s = sqrt(r L), L the length of the longest row, changes nothing but the numbers: with it the
entries of an inequality are of one size in whatever units the rows come. Clarabel prefers s = L and SCS
something smaller; the mean costs either little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...problems import PolynomialProblem
from ...problems.terms import Component, TermSet
from . import svec
from .builder import Builder, Sheet
from .program import ConicProgram, Family


@dataclass(frozen=True)
class LiftProgram(ConicProgram):
    """The programme of a polynomial component.

    Attributes
    ----------
    families : tuple of Family
    d, outputs : int
        Features, and outputs of the component.
    """

    families: tuple[Family, ...]
    d: int
    outputs: int

    @property
    def dense(self) -> int:
        """Number of variables that are entries of the matrices W, if there are matrix inequalities in them."""
        coupled = any(family.cone == "psd" for family in self.families)
        return self.outputs * (svec.length(self.d + 1) - 1) if coupled else 0

    def lift(self, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Z and Z' of every output at a point x, as the solver left them."""
        free = svec.length(self.d + 1) - 1
        blocks = x[: 2 * self.outputs * free].reshape(2, self.outputs, free)
        diagonal = svec.position(np.arange(self.d), np.arange(self.d))
        blocks = np.concatenate([blocks, blocks[..., diagonal].sum(-1, keepdims=True)], -1)
        matrices = svec.to_matrix(blocks)
        return list(matrices[0] + matrices[1]), list(matrices[1])


def compile_component(problem: PolynomialProblem, component: Component) -> LiftProgram:
    """The conic programme of one component.

    Raises
    ------
    InputError
        If the loss has no conic form here.
    """
    return _Compiler(problem, component).run()


class _Compiler(Builder):
    def __init__(self, problem: PolynomialProblem, component: Component):
        super().__init__()
        self.problem, self.component = problem, component
        self.a, self.b, self.c = problem.activation
        self.d, self.outputs = problem.rows.d, len(component.outputs)
        self.free = svec.length(self.d + 1) - 1  # entries of W or Z' but the last
        self.inner = svec.length(self.d)
        self.families: list[Family] = []
        scale = np.ones(self.d) if problem.scale is None else problem.scale
        self.moving = np.flatnonzero(scale > 0)
        self.scale = scale[self.moving]
        self.diagonal = svec.position(np.arange(self.d), np.arange(self.d))
        self.length = problem.rows.largest_norm() / self.scale.max()

    def unit(self, radius: np.ndarray) -> np.ndarray:
        """Lengths s of matrix inequalities for balls of these radii, in scaled coordinates."""
        return np.sqrt(radius * self.length) if self.length > 0.0 else radius

    def run(self) -> LiftProgram:
        self._lifts()
        for number, terms in enumerate(self.component.terms):
            self._terms(number, terms)
        data = self.data(self.component.terms)
        return LiftProgram(**data, families=tuple(self.families), d=self.d, outputs=self.outputs)

    def _lifts(self) -> None:
        """W and Z' of every output, the penalty, and the two cones of each."""
        trace = np.zeros(self.free)
        trace[self.diagonal] = self.problem.beta
        self.new(self.outputs * self.free, np.tile(trace, self.outputs))
        self.new(self.outputs * self.free, np.tile(2.0 * trace, self.outputs))
        sheet = self.sheets["psd"]
        for output in range(self.outputs):
            w, z = output * self.free, (self.outputs + output) * self.free
            for variables in ([z], [z, w]):
                first = sheet.extend(np.zeros(self.free + 1))
                for start in variables:
                    sheet.add(first + np.arange(self.free), start + np.arange(self.free), np.ones(1))
                    sheet.add(np.array(first + self.free), start + self.diagonal, np.ones(1))
                self.orders.append(self.d + 1)

    def _terms(self, number: int, terms: TermSet) -> None:
        live = np.ones(terms.shape[1], bool) if terms.hard else terms.weight > 0
        used = np.flatnonzero(live)
        if len(used) == 0:
            return
        shortfall = None
        if not terms.hard:
            shortfall = np.full(terms.shape[1], -1)
            shortfall[used] = self.shortfalls(terms, terms.weight[used]) + np.arange(len(used))
        ball = terms.radius > 0
        for here, build in ((live & ~ball, self._margins), (live & ball, self._inequalities)):
            group = np.tile(np.flatnonzero(here), terms.shape[0])
            alternative = np.repeat(np.arange(terms.shape[0]), here.sum())
            if len(group):
                build(number, terms, alternative, group, shortfall)

    def _margins(self, number: int, terms: TermSet, alternative, group, shortfall) -> None:
        """Rows without a ball: sign f(x) - offset + u >= 0, or = 0 for the squared loss of an output."""
        signed = terms.loss.signed
        sheet = self.sheets["zero" if signed else "nonnegative"]
        first = sheet.extend(-terms.offset[alternative, group])
        rows = first + np.arange(len(group))
        if shortfall is not None:
            sheet.add(rows, shortfall[group], np.ones(1))
        for output, chosen, factor in self._by_output(terms, alternative, group):
            x = self._take(terms.row[group[chosen]])
            self._values(sheet, rows[chosen], output, x, factor)
        self.families.append(Family(number, "zero" if signed else "nonnegative", first, alternative, group))

    def _inequalities(self, number: int, terms: TermSet, alternative, group, shortfall) -> None:
        """Matrix inequalities of rows with a ball, all at once."""
        count, p = len(group), len(self.moving)
        t = svec.length(p + 1)
        unit = self.unit(terms.radius[group])
        constants = np.zeros((count, t))
        straight = svec.position(np.arange(p), np.arange(p))
        constants[:, straight] = (terms.curvature[group] * unit**2)[:, None]
        constants[:, -1] = -terms.offset[alternative, group]
        sheet = self.sheets["psd"]
        start = sheet.extend(constants.reshape(-1))
        first = start + t * np.arange(count)
        if shortfall is not None:
            sheet.add(first + t - 1, shortfall[group], np.ones(1))
        self._multipliers(sheet, first, straight, t, (terms.radius[group] / unit) ** 2)
        for output, chosen, factor in self._by_output(terms, alternative, group):
            x, here, s = self._take(terms.row[group[chosen]]), first[chosen], unit[chosen]
            self._values(sheet, here + t - 1, output, x, factor)
            self._gradients(sheet, here, output, x, factor * s)
            self._curvatures(sheet, here, output, factor * s**2)
        self.orders += [p + 1] * count
        self.families.append(Family(number, "psd", start, alternative, group, unit))

    def _multipliers(self, sheet: Sheet, first: np.ndarray, straight: np.ndarray, t: int, square: np.ndarray) -> None:
        """lambda I in the block, -(r/s)^2 lambda in the corner; for l_inf a diagonal and its trace."""
        p = len(straight)
        each = p if self.problem.norm == "linf" else 1
        variable = self.new(len(first) * each) + each * np.arange(len(first))
        own = np.arange(p) if each == p else np.zeros(p, int)
        sheet.add(first[:, None] + straight, variable[:, None] + own, np.ones(1))
        sheet.add((first + t - 1)[:, None], variable[:, None] + np.arange(each), -square[:, None])
        self.nonnegative(int(variable[0]), len(first) * each)

    def _by_output(
        self, terms: TermSet, alternative: np.ndarray, group: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(output, inequalities that contain it, sign * entry of the direction)."""
        entries = self.component.directions[terms.direction[alternative, group]]
        sign = terms.sign[alternative, group]
        for output in range(self.outputs):
            chosen = np.flatnonzero(entries[:, output])
            if len(chosen):
                yield output, chosen, sign[chosen] * entries[chosen, output]

    def _take(self, rows: np.ndarray) -> np.ndarray:
        wanted, place = np.unique(rows, return_inverse=True)
        return self.problem.rows.take(wanted)[place.reshape(-1)]

    def _values(self, sheet: Sheet, row: np.ndarray, output: int, x: np.ndarray, factor: np.ndarray) -> None:
        """factor f(x) = factor <S(x), W> in a row each, W4 = tr W1."""
        i, j = svec.triangle(self.d)
        value = np.empty((len(x), self.free))
        value[:, : self.inner] = self.a * svec.factors(self.d) * x[:, i] * x[:, j]
        value[:, self.diagonal] += self.c
        value[:, self.inner :] = self.b / np.sqrt(2.0) * x
        sheet.add(row[:, None], output * self.free + np.arange(self.free), factor[:, None] * value)

    def _gradients(self, sheet: Sheet, first: np.ndarray, output: int, x: np.ndarray, factor: np.ndarray) -> None:
        """The off-diagonal column factor/2 D(2a W1 x + b W2), times sqrt(2) as an entry of a vector."""
        p, base = len(self.moving), output * self.free
        rows = first[:, None] + svec.position(np.arange(p), np.full(p, p))
        stretch = factor[:, None] * self.scale  # (l, p)
        i, j = np.broadcast_arrays(self.moving[:, None], np.arange(self.d))
        column = svec.position(i, j)
        unpack = np.where(i == j, np.sqrt(2.0), 1.0)  # sqrt(2) of this entry over the factor of the entry of W1
        value = (self.a * stretch)[:, :, None] * (x[:, None, :] * unpack)
        sheet.add(rows[:, :, None], base + column, value)
        sheet.add(rows, base + self.inner + self.moving, 0.5 * self.b * stretch)

    def _curvatures(self, sheet: Sheet, first: np.ndarray, output: int, factor: np.ndarray) -> None:
        """The block factor a D W1 D."""
        i, j = svec.triangle(len(self.moving))
        rows = first[:, None] + np.arange(len(i))
        column = output * self.free + svec.position(self.moving[i], self.moving[j])
        sheet.add(rows, column, (factor * self.a)[:, None] * (self.scale[i] * self.scale[j]))
