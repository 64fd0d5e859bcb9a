r"""The conic programme of one component of a ReLU or gated ReLU problem.

Variables: weights v of every block b = (side, gate k, output o) and an epigraph t_b; for ReLU the differences s = v - w,
through which alone the two sides reach a margin (in a gated problem s is v itself); what the rows see of them, which is
the output f_io = sum_k D_ik x_i's_ko of a row without a ball, and alpha_o = sum_k D_k s_ko of a row with one (shared by
rows of equal patterns); epigraphs of norms; a shortfall u a group.

    min  sum_g omega_g psi(u_g) + beta sum_b t_b
    s.t. ||v_b||_2 <= t_b,          S_ik x_i'v_b - r_i nu_b >= 0,    ||v_b||_q <= nu_b     (cones of ReLU, S = 2D - 1)
         u - offset + sign E f_i >= 0                                                      (= 0 for the squared loss)
         u - offset + sign x_i'E alpha - r N - sum_k h_k >= 0,       ||E alpha||_q <= N    (rows with a ball)
         h_k >= 0,   h_k + sign x_i'E v_k - r M_k >= 0,              ||E v_k||_q <= M_k    (their unstable gates)

(docs/mathematics.md), in units of the longest row, so that nothing depends on the units of the data. With f and
alpha as variables every coefficient of the data stands in the matrix once for each active gate, whatever the number of
sides, classes and alternatives, and the factorisation keeps it nearly so: with 500 rows, 20 features and 100 gates
Clarabel needs 0.27 s for an iteration, and 0.39 s where a row names v and w itself.
"""

from __future__ import annotations

import numpy as np

from ...problems.patterns import PatternProblem
from ...problems.terms import Component, TermSet
from .builder import Builder
from .pattern_program import Margins, Norms, PatternCones, PatternProgram, Unstable


def compile_patterns(problem: PatternProblem, component: Component) -> PatternProgram:
    """The conic programme of one component.

    Raises
    ------
    InputError
        If the loss has no conic form here.
    """
    return _Compiler(problem, component).run()


class _Compiler(Builder):
    def __init__(self, problem: PatternProblem, component: Component):
        super().__init__()
        self.problem, self.component = problem, component
        self.unit = problem.rows.largest_norm() or 1.0
        self.X, self.radius = problem.rows.whole() / self.unit, problem.radius / self.unit
        self.D, self.outputs, self.gates = problem.rows.d, len(component.outputs), problem.n_gates
        self.perturbed = np.flatnonzero(problem.perturbed)
        self.families: list[Margins] = []
        self.images = 0
        self.lengths: Norms | None = None  # of all blocks, where they are what the balls need
        self.sums = 0  # first of the s, which the blocks of a gated problem are

    def run(self) -> PatternProgram:
        sides = len(self.problem.sides)
        shape = (sides, self.gates, self.outputs, self.D)
        count = sides * self.gates * self.outputs
        self.new(count * self.D)
        self._lengths(count)
        cones = None
        if self.problem.cones:
            self._differences()
            cones = self._cones(count)
        for number, terms in enumerate(self.component.terms):
            self._terms(number, terms)
        data = self.data(self.component.terms)
        data["matrix"].eliminate_zeros()  # of the rows
        coupled = min(self.images, self.gates * self.outputs * self.D)
        families = tuple(self.families)
        return PatternProgram(**data, shape=shape, families=families, cones=cones, coupled=coupled, unit=self.unit)

    def _lengths(self, count: int) -> None:
        """Epigraphs t_b of all features, with the penalty."""
        t = self.new(count, linear=self.problem.beta / self.unit)
        columns, everything = self.D * np.arange(count)[:, None], np.arange(self.D)
        first = self._second_order(t, columns, np.ones((count, 1)), everything)
        if self.problem.norm == "l2" and self.problem.perturbed.all():
            self.lengths = Norms("l2", t, count, first, 0)

    def _second_order(self, head: int, columns: np.ndarray, weights: np.ndarray, features: np.ndarray) -> int:
        """Cones ||a||_2 <= head of m vectors a = sum_c weights_c x[columns_c + features]; the first row."""
        m, p = len(columns), len(features)
        sheet = self.sheets["second_order"]
        first = sheet.extend(np.zeros(m * (p + 1)))
        rows = first + (p + 1) * np.arange(m)
        sheet.add(rows, head + np.arange(m), 1.0)
        self._vectors("second_order", rows[:, None] + 1 + np.arange(p), columns, weights, features)
        self.sizes += [p + 1] * m
        return first

    def _vectors(self, cone: str, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray, features) -> None:
        """Add the entries of the vectors a to rows (m, p)."""
        for column, weight in zip(columns.T, weights.T, strict=True):
            used = np.flatnonzero(weight)
            self.sheets[cone].add(rows[used], column[used, None] + features, weight[used, None])

    def _norms(self, columns: np.ndarray, weights: np.ndarray) -> Norms:
        """Epigraphs of the dual norm of vectors as above, over the perturbed features."""
        norm, features = self.problem.norm, self.perturbed
        m, p = len(columns), len(features)
        head = self.new(m)
        heads = head + np.arange(m)
        if norm == "l2":
            return Norms(norm, head, m, self._second_order(head, columns, weights, features), 0)
        sheet = self.sheets["nonnegative"]
        first = sheet.extend(np.zeros(2 * m * p))
        rows = first + np.arange(2 * m * p).reshape(m, 2, p)
        self._vectors("nonnegative", rows[:, 0], columns, -weights, features)
        self._vectors("nonnegative", rows[:, 1], columns, weights, features)
        if norm == "l1":
            sheet.add(rows, heads[:, None, None], 1.0)
            return Norms(norm, head, m, first, 0)
        magnitudes = self.new(m * p) + np.arange(m * p).reshape(m, 1, p)
        sheet.add(rows, magnitudes, 1.0)
        totals = sheet.extend(np.zeros(m))
        sheet.add(totals + np.arange(m), heads, 1.0)
        sheet.add((totals + np.arange(m))[:, None], magnitudes[:, 0], -1.0)
        return Norms(norm, head, m, first, totals)

    def _differences(self) -> None:
        """S = v - w of every gate and output."""
        count = self.gates * self.outputs * self.D
        self.sums = self.new(count)
        index = np.arange(count)
        sheet = self.sheets["zero"]
        rows = sheet.extend(np.zeros(count)) + index
        sheet.add(rows, self.sums + index, 1.0)
        for number, side in enumerate(self.problem.sides):
            sheet.add(rows, number * count + index, -float(side))

    def _cones(self, count: int) -> PatternCones:
        """The cones of the patterns, and the norms in them."""
        radius = self.radius
        used = np.flatnonzero((self.X != 0).any(1) | (radius > 0))
        sign = np.where(self.problem.patterns[used], 1.0, -1.0).T  # (P, l)
        sheet = self.sheets["nonnegative"]
        start = sheet.extend(np.zeros(count * len(used)))
        blocks = count // (self.gates * self.outputs), self.gates, self.outputs
        rows = start + np.arange(count * len(used)).reshape(*blocks, len(used))
        columns = np.arange(count * self.D).reshape(*blocks, 1, self.D)
        values = sign[:, None, :, None] * self.X[used]
        sheet.add(rows[..., None], columns, values)
        if not radius.any():
            return PatternCones(start, used, None)
        norms = self.lengths or self._norms(self.D * np.arange(count)[:, None], np.ones((count, 1)))
        balls = np.flatnonzero(radius[used] > 0)
        heads = norms.variable + np.arange(count)[:, None]
        sheet.add(rows.reshape(count, len(used))[:, balls], heads, -radius[used[balls]])
        return PatternCones(start, used, norms)

    def _terms(self, number: int, terms: TermSet) -> None:
        live = terms.weight > 0
        used = np.flatnonzero(live)
        if len(used) == 0:
            return
        shortfall = np.full(terms.shape[1], -1)
        shortfall[used] = self.shortfalls(terms, terms.weight[used]) + np.arange(len(used))
        ball = terms.radius > 0
        for here, build in ((live & ~ball, self._plain), (live & ball, self._robust)):
            group = np.tile(np.flatnonzero(here), terms.shape[0])
            alternative = np.repeat(np.arange(terms.shape[0]), here.sum())
            if len(group):
                build(number, terms, alternative, group, shortfall)

    def _open(self, cone: str, terms: TermSet, alternative, group, shortfall) -> np.ndarray:
        """Rows u - offset of margins."""
        rows = self.sheets[cone].extend(-terms.offset[alternative, group]) + np.arange(len(group))
        self.sheets[cone].add(rows, shortfall[group], 1.0)
        return rows

    def _plain(self, number: int, terms: TermSet, alternative, group, shortfall) -> None:
        """Margins of rows without a ball, through their outputs f."""
        cone = "zero" if terms.loss.signed else "nonnegative"
        rows = self._open(cone, terms, alternative, group, shortfall)
        wanted, place = np.unique(terms.row[group], return_inverse=True)
        first = self._images(self.problem.active[wanted], self.X[wanted])
        factor = terms.sign[alternative, group, None] * self._directions(terms, alternative, group)
        self._vectors(cone, rows[:, None], first[:, place.reshape(-1)].T, factor, np.zeros(1, int))
        self.families.append(Margins(number, cone, int(rows[0]), alternative, group))

    def _directions(self, terms: TermSet, alternative, group) -> np.ndarray:
        return self.component.directions[terms.direction[alternative, group]]

    def _images(self, active: np.ndarray, x: np.ndarray | None) -> np.ndarray:
        """Numbers (outputs, m) of new variables x'alpha_o, or of the first entry of alpha_o where x is None."""
        m, width = len(active), 1 if x is not None else self.D
        count = self.outputs * m * width
        self.images += count
        first = self.new(count)
        sheet = self.sheets["zero"]
        rows = sheet.extend(np.zeros(count))
        sheet.add(rows + np.arange(count), first + np.arange(count), 1.0)
        row, gate = np.nonzero(active)
        features = np.arange(self.D)
        for output in range(self.outputs):
            columns = self.sums + ((gate * self.outputs + output) * self.D)[:, None] + features
            own = rows + ((output * m + row) * width)[:, None]
            if x is not None:
                sheet.add(own, columns, -x[row])
            else:
                sheet.add(own + features, columns, -1.0)
        return first + width * np.arange(self.outputs * m).reshape(self.outputs, m)

    def _robust(self, number: int, terms: TermSet, alternative, group, shortfall) -> None:
        """Margins of rows with a ball, through alpha, norms and unstable gates."""
        rows = self._open("nonnegative", terms, alternative, group, shortfall)
        row, direction = terms.row[group], terms.direction[alternative, group]
        patterns, place = np.unique(self.problem.active[row], axis=0, return_inverse=True)
        place = place.reshape(-1)
        alpha = self._images(patterns, None)
        factor = terms.sign[alternative, group, None] * self._directions(terms, alternative, group)
        self._products("nonnegative", rows, self.X[row], alpha[:, place].T, factor)
        pairs, pair = np.unique(np.stack([place, direction]), axis=1, return_inverse=True)
        pair = pair.reshape(-1)
        norms = self._norms(alpha[:, pairs[0]].T, self.component.directions[pairs[1]])
        radius = terms.radius[group] / self.unit
        self.sheets["nonnegative"].add(rows, norms.variable + pair, -radius)
        unstable = None
        if self.problem.unstable is not None:
            unstable = self._unstable(rows, row, direction, factor, radius)
        family = Margins(number, "nonnegative", int(rows[0]), alternative, group, None, norms, pair, unstable)
        self.families.append(family)

    def _products(self, cone: str, rows: np.ndarray, x: np.ndarray, columns: np.ndarray, factor: np.ndarray) -> None:
        """Add sum_c factor_c x'variable_c, (l, outputs), to rows (l,)."""
        for column, weight in zip(columns.T, factor.T, strict=True):
            used = np.flatnonzero(weight)
            features = column[used, None] + np.arange(self.D)
            self.sheets[cone].add(rows[used, None], features, weight[used, None] * x[used])

    def _unstable(self, rows, row, direction, factor, radius) -> Unstable | None:
        """Parts h of the margins, one for every gate that changes inside the ball of its row."""
        assert self.problem.unstable is not None
        entry, gate = np.nonzero(self.problem.unstable[row])
        count = len(entry)
        if count == 0:
            return None
        h = self.new(count) + np.arange(count)
        self.nonnegative(int(h[0]), count)
        sheet = self.sheets["nonnegative"]
        sheet.add(rows[entry], h, -1.0)
        own = sheet.extend(np.zeros(count)) + np.arange(count)
        sheet.add(own, h, 1.0)
        blocks = self.sums + self.D * (gate[:, None] * self.outputs + np.arange(self.outputs))
        self._products("nonnegative", own, self.X[row[entry]], blocks, factor[entry])
        if self.lengths is not None and self.outputs == 1:
            owner, place, norms = np.stack([np.arange(self.gates), np.zeros(self.gates, int)]), gate, self.lengths
        else:
            owner, place = np.unique(np.stack([gate, direction[entry]]), axis=1, return_inverse=True)
            columns = self.sums + self.D * (owner[0][:, None] * self.outputs + np.arange(self.outputs))
            norms = self._norms(columns, self.component.directions[owner[1]])
        sheet.add(own, norms.variable + place.reshape(-1), -radius[entry])
        return Unstable(entry, gate, int(own[0]), norms, owner.T)
