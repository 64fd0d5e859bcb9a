"""The data of a conic programme, as the solvers take them, and what its rows and variables mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from . import svec

CONES = ("zero", "nonnegative", "psd", "exponential")


@dataclass(frozen=True)
class Family:
    """Inequalities of one set of terms that are of one kind, in the order of their rows.

    Attributes
    ----------
    term : int
        Which set of terms.
    cone : str
        "psd" (matrix inequalities), "nonnegative" (radius 0) or "zero" (squared loss of an output).
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
    orders : tuple of int
        Orders of the semidefinite blocks.
    families : tuple of Family
    d, outputs : int
        Features, and outputs of the component.
    cost_unit : float
        Factor of the objective that makes its coefficients of size one (one over the largest weight of a
        group), times 100 for the logistic loss.
    """

    quadratic: np.ndarray
    linear: np.ndarray
    matrix: sparse.csc_array
    offset: np.ndarray
    rows: dict[str, int]
    orders: tuple[int, ...]
    families: tuple[Family, ...]
    d: int
    outputs: int
    cost_unit: float

    def first_row(self, cone: str) -> int:
        """Where the rows of a cone start."""
        return sum(self.rows[name] for name in CONES[: CONES.index(cone)])

    @property
    def entries(self) -> int:
        """Number of variables that are entries of the matrices W; they are the first ones."""
        return self.outputs * (svec.length(self.d + 1) - 1)

    def lift(self, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Z and Z' of every output at a point x, as the solver left them."""
        free = svec.length(self.d + 1) - 1
        blocks = x[: 2 * self.outputs * free].reshape(2, self.outputs, free)
        diagonal = svec.position(np.arange(self.d), np.arange(self.d))
        blocks = np.concatenate([blocks, blocks[..., diagonal].sum(-1, keepdims=True)], -1)
        matrices = svec.to_matrix(blocks)
        return list(matrices[0] + matrices[1]), list(matrices[1])
