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

with r > 0, D the positive scales, W = sum_o E_ko W_o: the inequality of [KLP24] (design note 1.2) at w =
offset - u, after the congruence with diag(s I, 1). A group with r = 0 is the linear inequality sign f(x) -
offset + u >= 0. Hard margins have no u.

The unit s = sqrt(r L), L the length of the longest row, changes nothing but the numbers: with it the
entries of an inequality are of one size in whatever units the rows come. Clarabel prefers s = L and SCS
something smaller; the mean costs either little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from ...errors import InputError
from ...problems import PolynomialProblem
from ...problems.terms import Component, TermSet
from . import svec
from .program import CONES, ConicProgram, Family


def compile_component(problem: PolynomialProblem, component: Component) -> ConicProgram:
    """The conic programme of one component.

    Raises
    ------
    InputError
        If the loss has no conic form here.
    """
    return _Compiler(problem, component).run()


@dataclass
class _Sheet:
    """Rows of one cone in coordinate form."""

    count: int = 0
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)

    def add(self, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> None:
        row, column, value = np.broadcast_arrays(row, column, value)
        self.parts.append((row.reshape(-1), column.reshape(-1), value.reshape(-1)))

    def extend(self, constants: np.ndarray) -> int:
        """Open rows with these constants; the number of the first one."""
        first = self.count
        self.constants.append(constants)
        self.count += len(constants)
        return first


class _Compiler:
    def __init__(self, problem: PolynomialProblem, component: Component):
        self.problem, self.component = problem, component
        self.a, self.b, self.c = problem.activation
        self.d, self.outputs = problem.rows.d, len(component.outputs)
        self.free = svec.length(self.d + 1) - 1  # entries of W or Z' but the last
        self.inner = svec.length(self.d)
        self.variables = 0
        self.linear: list[np.ndarray] = []
        self.quadratic: list[np.ndarray] = []
        self.sheets = {cone: _Sheet() for cone in CONES}
        self.orders: list[int] = []
        self.families: list[Family] = []
        scale = np.ones(self.d) if problem.scale is None else problem.scale
        self.moving = np.flatnonzero(scale > 0)
        self.scale = scale[self.moving]
        self.diagonal = svec.position(np.arange(self.d), np.arange(self.d))
        self.length = problem.rows.largest_norm() / self.scale.max()

    def unit(self, radius: np.ndarray) -> np.ndarray:
        """Lengths s of matrix inequalities for balls of these radii, in scaled coordinates."""
        return np.sqrt(radius * self.length) if self.length > 0.0 else radius

    def run(self) -> ConicProgram:
        self._lifts()
        for number, terms in enumerate(self.component.terms):
            self._terms(number, terms)
        count = {cone: sheet.count for cone, sheet in self.sheets.items()}
        row, column, value, offset, first = [], [], [], [], 0
        for cone in CONES:
            sheet = self.sheets[cone]
            for part in sheet.parts:
                row.append(part[0] + first)
                column.append(part[1])
                value.append(part[2])
            offset += sheet.constants
            first += sheet.count
        entries = (np.concatenate(value), (np.concatenate(row), np.concatenate(column)))
        matrix = sparse.csc_array(entries, shape=(first, self.variables))
        return ConicProgram(
            np.concatenate(self.quadratic),
            np.concatenate(self.linear),
            matrix,
            np.concatenate(offset),
            count,
            tuple(self.orders),
            tuple(self.families),
            self.d,
            self.outputs,
            self._cost_unit(),
        )

    def _cost_unit(self) -> float:
        soft = [terms for terms in self.component.terms if not terms.hard]
        largest = max((float(terms.weight.max(initial=0.0)) for terms in soft), default=0.0)
        # the epigraphs of exponential cones are left slack by the tolerance: ask for two digits more
        sharper = 100.0 if any(terms.loss.name == "logistic" for terms in soft) else 1.0
        return sharper / largest if largest > 0.0 else 1.0

    def _new(self, count: int, linear: np.ndarray | float = 0.0, quadratic: np.ndarray | float = 0.0) -> int:
        """Numbers of new variables start at the result."""
        first = self.variables
        self.variables += count
        self.linear.append(np.broadcast_to(np.asarray(linear, float), (count,)))
        self.quadratic.append(np.broadcast_to(np.asarray(quadratic, float), (count,)))
        return first

    def _lifts(self) -> None:
        """W and Z' of every output, the penalty, and the two cones of each."""
        trace = np.zeros(self.free)
        trace[self.diagonal] = self.problem.beta
        self._new(self.outputs * self.free, np.tile(trace, self.outputs))
        self._new(self.outputs * self.free, np.tile(2.0 * trace, self.outputs))
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
            shortfall[used] = self._loss(terms, terms.weight[used]) + np.arange(len(used))
        ball = terms.radius > 0
        for here, build in ((live & ~ball, self._margins), (live & ball, self._inequalities)):
            group = np.tile(np.flatnonzero(here), terms.shape[0])
            alternative = np.repeat(np.arange(terms.shape[0]), here.sum())
            if len(group):
                build(number, terms, alternative, group, shortfall)

    def _loss(self, terms: TermSet, weight: np.ndarray) -> int:
        """Shortfalls with their loss; the number of the first."""
        name, count = terms.loss.name, len(weight)
        if name == "hinge":
            first = self._new(count, linear=weight)
        elif name == "squared_hinge":
            first = self._new(count, quadratic=2.0 * weight)
        elif name == "squared":
            return self._new(count, quadratic=weight)
        elif name == "logistic":
            return self._logistic(weight)
        else:
            raise InputError(f"loss={name!r} has no conic form here; use solver='torch'.")
        rows = self.sheets["nonnegative"].extend(np.zeros(count))
        self.sheets["nonnegative"].add(rows + np.arange(count), first + np.arange(count), np.ones(1))
        return first

    def _logistic(self, weight: np.ndarray) -> int:
        """log(1 + exp(u)) <= t as exp(u - t) <= p, exp(-t) <= q, p + q <= 1; the cone is y exp(x/y) <= z."""
        count, index = len(weight), np.arange(len(weight))
        u, t = self._new(count), self._new(count, linear=weight)
        p, q = self._new(count), self._new(count)
        plane = self.sheets["nonnegative"]
        rows = plane.extend(np.ones(count))
        plane.add(rows + index, p + index, -np.ones(1))
        plane.add(rows + index, q + index, -np.ones(1))
        sheet = self.sheets["exponential"]
        first = sheet.extend(np.tile([0.0, 1.0, 0.0], 2 * count))
        second = first + 3 * count
        sheet.add(first + 3 * index, u + index, np.ones(1))
        sheet.add(first + 3 * index, t + index, -np.ones(1))
        sheet.add(first + 3 * index + 2, p + index, np.ones(1))
        sheet.add(second + 3 * index, t + index, -np.ones(1))
        sheet.add(second + 3 * index + 2, q + index, np.ones(1))
        return u

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

    def _multipliers(self, sheet: _Sheet, first: np.ndarray, straight: np.ndarray, t: int, square: np.ndarray) -> None:
        """lambda I in the block, -(r/s)^2 lambda in the corner; for l_inf a diagonal and its trace."""
        p = len(straight)
        each = p if self.problem.norm == "linf" else 1
        variable = self._new(len(first) * each) + each * np.arange(len(first))
        own = np.arange(p) if each == p else np.zeros(p, int)
        sheet.add(first[:, None] + straight, variable[:, None] + own, np.ones(1))
        sheet.add((first + t - 1)[:, None], variable[:, None] + np.arange(each), -square[:, None])
        plane = self.sheets["nonnegative"]
        rows = plane.extend(np.zeros(len(first) * each))
        plane.add(rows + np.arange(len(first) * each), variable[0] + np.arange(len(first) * each), np.ones(1))

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

    def _values(self, sheet: _Sheet, row: np.ndarray, output: int, x: np.ndarray, factor: np.ndarray) -> None:
        """factor f(x) = factor <S(x), W> in a row each, W4 = tr W1."""
        i, j = svec.triangle(self.d)
        value = np.empty((len(x), self.free))
        value[:, : self.inner] = self.a * svec.factors(self.d) * x[:, i] * x[:, j]
        value[:, self.diagonal] += self.c
        value[:, self.inner :] = self.b / np.sqrt(2.0) * x
        sheet.add(row[:, None], output * self.free + np.arange(self.free), factor[:, None] * value)

    def _gradients(self, sheet: _Sheet, first: np.ndarray, output: int, x: np.ndarray, factor: np.ndarray) -> None:
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

    def _curvatures(self, sheet: _Sheet, first: np.ndarray, output: int, factor: np.ndarray) -> None:
        """The block factor a D W1 D."""
        i, j = svec.triangle(len(self.moving))
        rows = first[:, None] + np.arange(len(i))
        column = output * self.free + svec.position(self.moving[i], self.moving[j])
        sheet.add(rows, column, (factor * self.a)[:, None] * (self.scale[i] * self.scale[j]))
