"""What a lower bound of one component was computed from, and the certificate that it becomes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...problems.certificate import AtomSet, ConeMultipliers
from . import outside
from .parts import Parts


class Proof(NamedTuple):
    """Dual variables: of the terms, of the blocks within the working set, and of those without."""

    multipliers: list[Any]
    """(k, g) of every set of terms."""
    points: list[Any]
    """(k, g, D) or None: perturbations of the rows."""
    within: np.ndarray
    """Numbers of the blocks within."""
    cone: Any
    """(B, n) multipliers of their cones."""
    tilt: Any
    """(B, D) with balls."""
    largest: float
    """Largest price within."""
    without: outside.Multipliers

    def targets(self, parts: Parts, index: np.ndarray) -> np.ndarray:
        """side q of some blocks, (m, D)."""
        return parts.targets(self.multipliers, self.points, index)

    def cone_multipliers(self, parts: Parts, chosen: np.ndarray, tolerance: float) -> outside.Multipliers:
        """Sparse multipliers of some of the blocks within, (B,) bool."""
        problem, index = parts.problem, self.within[chosen]
        mu = self.cone.cpu().numpy()[chosen]
        if parts.faces.hulls:
            mu = mu.copy()
            parts.faces.complete(parts.gate[index], problem.patterns, self.targets(parts, index), mu)
        tilt = self.tilt.cpu().numpy()[chosen] if problem.robust else None
        least = 1e-3 * tolerance * problem.beta / (problem.rows.n * max(problem.rows.largest_norm(), 1e-300))
        return outside.sparse(problem, index, parts.gate[index], mu, tilt, least)

    def certificate(self, parts: Parts, tolerance: float) -> tuple[list[AtomSet], ConeMultipliers]:
        """Atoms and cone multipliers."""
        atoms, number = [], parts.number
        for term, (z, points) in enumerate(zip(self.multipliers, self.points, strict=True)):
            coordinates = None if points is None else points.cpu().numpy()[None]
            whole = len(parts.groups[term]) == parts.problem.components[number].terms[term].shape[1]
            groups = None if whole else parts.groups[term]
            atoms.append(AtomSet(number, term, z.cpu().numpy()[None], coordinates, groups=groups))
        own = self.cone_multipliers(parts, np.ones(len(self.within), bool), tolerance)
        every = outside.joined([own, self.without])
        return atoms, outside.certificate_part(number, every, parts.gate, parts.output, parts.side)
