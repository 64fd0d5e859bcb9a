"""The data of a conic programme, as the solvers take them, and what its rows and variables mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

CONES = ("zero", "nonnegative", "second_order", "psd", "exponential")


@dataclass(frozen=True)
class Family:
    """Inequalities of one set of terms that are of one kind, in the order of their rows.

    Attributes
    ----------
    term : int
        Which set of terms.
    cone : str
        "psd" (matrix inequalities), "nonnegative", or "zero" (squared loss of an output).
    start : int
        First row within the rows of that cone.
    alternative, group : (l,) int
        Which term each inequality speaks of.
    unit : (l,) or None
        Length s of the unit in which a matrix inequality measures perturbations.
    """

    term: int
    cone: str
    start: int
    alternative: np.ndarray
    group: np.ndarray
    unit: np.ndarray | None = None


@dataclass(frozen=True)
class ConicProgram:
    """min x'diag(quadratic)x/2 + linear'x  s.t.  offset + matrix x in K.

    Attributes
    ----------
    quadratic, linear : (N,)
    matrix : sparse (M, N)
    offset : (M,)
        Rows in the order of :data:`CONES`.
    rows : dict
        Number of rows of each cone.
    sizes : tuple of int
        Sizes of the second-order cones ||tail||_2 <= head, head first.
    orders : tuple of int
        Orders of the semidefinite blocks.
    cost_unit : float
        Factor of the objective that makes its coefficients of size one (one over the largest weight of a
        group), times 100 for the logistic loss.
    """

    quadratic: np.ndarray
    linear: np.ndarray
    matrix: sparse.csc_array
    offset: np.ndarray
    rows: dict[str, int]
    sizes: tuple[int, ...]
    orders: tuple[int, ...]
    cost_unit: float

    @property
    def dense(self) -> int:
        """Number of variables, the first ones, that a factorisation should take for a dense block from the start."""
        return 0

    @property
    def clarabel_settings(self) -> dict[str, Any]:
        """Settings of Clarabel that suit the programme better than its defaults; not the tolerances."""
        return {}

    @property
    def objective_unit(self) -> float:
        """Factor of the objective for solvers other than Clarabel."""
        return 1.0

    def first_row(self, cone: str) -> int:
        """Where the rows of a cone start."""
        return sum(self.rows[name] for name in CONES[: CONES.index(cone)])
