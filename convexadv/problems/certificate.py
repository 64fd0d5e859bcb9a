"""Certificates of optimality: weighted atoms on terms, which give a lower bound without any solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AtomSet:
    """Multipliers and adversarial points of one set of terms.

    Each of S samples puts the multiplier ``multipliers[s, k, g]`` on alternative k of group g at the point
    x + scale * (coordinates @ basis). Several samples of one term are averaged with their multipliers, which is needed
    in degenerate cases and for the diagonal restriction of the l_inf ball (lifted moments).

    Attributes
    ----------
    component, term : int
        Which component, which of its sets of terms.
    multipliers : (S, k, g)
    coordinates : (S, k, g, p) or None
        Points in a basis of p vectors; None for the rows themselves.
    basis : (p, d) or None
        None where the coordinates are the perturbation itself (p = d).
    spread : (S, k, g, p) or None
        Variances added along each basis vector: the sample is then a distribution of points with mean ``coordinates``,
        whose mean square must stay inside the ball (l2 only).
    groups : (g,) int or None
        Groups of the term set that the arrays speak of; None for all of them in order.
    """

    component: int
    term: int
    multipliers: np.ndarray
    coordinates: np.ndarray | None = None
    basis: np.ndarray | None = None
    spread: np.ndarray | None = None
    groups: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the stored arrays."""
        parts = (self.multipliers, self.coordinates, self.basis, self.spread, self.groups)
        return sum(part.nbytes for part in parts if part is not None)


@dataclass(frozen=True)
class OptimalityCertificate:
    """Atoms that prove a lower bound on the optimal objective; checked by ``problem.lower_bound(certificate)``."""

    atoms: tuple[AtomSet, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the stored arrays."""
        return sum(atom.nbytes for atom in self.atoms)
