"""What rows and variables of a conic programme over patterns mean; :mod:`.pattern_compiler` has the formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...balls import project
from .program import ConicProgram, Family

_NO_WEIGHT = 1e-12
_DENSE_WORK = 600.0
"""Cubed size of the dense block over the coefficients of the matrix, up to which Clarabel's simple factorisation wins."""


@dataclass(frozen=True)
class Norms:
    """Epigraphs N >= ||a||_q of m vectors over the perturbed features.

    Attributes
    ----------
    norm : str
        Norm of the ball, dual to q.
    variable : int
        Number of the first N.
    count : int
        m.
    start : int
        First row, in the second-order cones (l2) or among the non-negative rows: N - a, N + a (l1), or c - a, c + a
        with c >= |a| (linf), m x 2 x p of them.
    totals : int
        First of the rows N - sum c >= 0 (linf).
    """

    norm: str
    variable: int
    count: int
    start: int
    totals: int

    def tilts(self, program: ConicProgram, dual: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
        """Point of the unit ball by which the multipliers (M,) of each epigraph move its vector, (m, D).

        The multipliers take ``total (N - tilt'a)`` off the Lagrangian; where the total vanishes the tilt is zero.
        """
        p, m = int(perturbed.sum()), self.count
        result = np.zeros((m, len(perturbed)))
        if self.norm == "l2":
            first = program.first_row("second_order") + self.start
            cone = dual[first : first + m * (p + 1)].reshape(m, p + 1)
            total, moved = cone[:, 0], -cone[:, 1:]
        else:
            plane = program.first_row("nonnegative")
            pair = dual[plane + self.start : plane + self.start + 2 * m * p].reshape(m, 2, p)
            moved = pair[:, 0] - pair[:, 1]
            total = pair.sum((1, 2)) if self.norm == "l1" else dual[plane + self.totals : plane + self.totals + m]
        used = total > _NO_WEIGHT * float(total.max(initial=0.0))
        tilt = project(moved[used] / total[used, None], 1.0, self.norm)
        result[np.ix_(used, perturbed)] = tilt
        return result


@dataclass(frozen=True)
class Unstable:
    """Parts h of margins that stand for gates which change inside the ball.

    Attributes
    ----------
    entry, gate : (e,) int
        Which margin of the family, which gate.
    start : int
        First of the rows h + sign x'E v - r M >= 0, among the non-negative ones.
    norms : Norms
        The M.
    owner : (m, 2) int
        Gate and direction of each M.
    """

    entry: np.ndarray
    gate: np.ndarray
    start: int
    norms: Norms
    owner: np.ndarray


@dataclass(frozen=True)
class Margins(Family):
    """Margins of one set of terms, without a ball or with one.

    Attributes
    ----------
    norms : Norms or None
        The N of rows with a ball.
    pair : (l,) int or None
        Which N each margin has.
    unstable : Unstable or None
    """

    norms: Norms | None = None
    pair: np.ndarray | None = None
    unstable: Unstable | None = None


@dataclass(frozen=True)
class PatternCones:
    """Rows S_ik x_i'v_b - r_i nu_b >= 0, (sides, P, outputs, rows) of them.

    Attributes
    ----------
    start : int
        First row among the non-negative ones.
    rows : (l,) int
        Rows of the data; one of zeros without a ball constrains nothing and is left out.
    norms : Norms or None
        The nu, in the order of the blocks.
    """

    start: int
    rows: np.ndarray
    norms: Norms | None


@dataclass(frozen=True)
class PatternProgram(ConicProgram):
    """The programme of a component over activation patterns.

    Attributes
    ----------
    shape : tuple of int
        (sides, P, outputs, D).
    families : tuple of Margins
    cones : PatternCones or None
    coupled : int
        Size of the dense block that a factorisation ends with: images f or alpha, or if they are fewer the entries of s.
    unit : float
        Length of the longest row: the variables are the weights times it.
    """

    shape: tuple[int, int, int, int]
    families: tuple[Margins, ...]
    cones: PatternCones | None
    coupled: int
    unit: float

    @property
    def clarabel_settings(self) -> dict[str, Any]:
        """The simple factorisation where the rows of the cones outweigh what the images couple.

        Clarabel's default, made for large dense blocks, takes 2 to 10 times as long there.
        """
        simple = self.cones is not None and float(self.coupled) ** 3 <= _DENSE_WORK * self.matrix.nnz
        return {"direct_solve_method": "qdldl"} if simple else {}

    @property
    def objective_unit(self) -> float:
        """Ten units of the cost: on random rows the bound of SCS is 2 to 1000 times sharper than without, often sooner.

        (Balls in cones are the exception: there SCS is slow at any.)
        """
        return 10.0 * self.cost_unit

    def weights(self, x: np.ndarray) -> np.ndarray:
        """The v_b at a point x, of that shape."""
        return x[: int(np.prod(self.shape))].reshape(self.shape) / self.unit
