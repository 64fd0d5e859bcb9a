"""The linear hulls of flat cones as the method needs them: projectors, vanishing rows, and multipliers of these."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...cones import Hull, completed


class Faces:
    """Hulls of the gates of a problem.

    Parameters
    ----------
    X : tensor (n, D)
    hulls : dict
        :class:`convexadv.cones.Hull` by gate, of those whose cone is flat.
    gates : int
        P.
    """

    def __init__(self, X: Any, hulls: dict[int, Hull], gates: int):
        self.X, self.hulls = X, hulls
        self.flat = np.zeros(gates, bool)
        self.flat[list(hulls)] = True

    def projectors(self, gate: Any) -> Any:
        """(m, D, D) projectors on the hulls of the cones of some gates; None if all have an interior."""
        numbers = self._flat_places(gate)
        if not numbers:
            return None
        d = self.X.shape[1]
        result = torch.eye(d, dtype=self.X.dtype, device=self.X.device).repeat(len(gate), 1, 1)
        for place, number in numbers:
            result[place] = torch.as_tensor(self.hulls[number].projector, device=self.X.device)
        return result

    def vanishing(self, gate: Any) -> Any:
        """(m, n) bool: rows that vanish on the cones of some gates; None if all have an interior."""
        numbers = self._flat_places(gate)
        if not numbers:
            return None
        result = torch.zeros(len(gate), len(self.X), dtype=torch.bool, device=self.X.device)
        for place, number in numbers:
            result[place, torch.as_tensor(self.hulls[number].rows, device=self.X.device)] = True
        return result

    def complete(self, gate: np.ndarray, patterns: np.ndarray, targets: np.ndarray, mu: np.ndarray) -> None:
        """Set the multipliers mu (m, n) of vanishing rows so that nothing of targets + A'mu lies beside the hulls.

        Parameters
        ----------
        gate : (m,) int
        patterns : (n, P) bool
        targets : (m, D)
        mu : (m, n)
            Changed in place.
        """
        X = self.X.cpu().numpy()
        for number in np.unique(gate[self.flat[gate]]):
            hull, own = self.hulls[int(number)], np.flatnonzero(gate == number)
            rows = np.where(patterns[hull.rows, number], 1.0, -1.0)[:, None] * X[hull.rows]
            mu[np.ix_(own, hull.rows)] = 0.0
            total = targets[own] + (mu[own] * np.where(patterns[:, number], 1.0, -1.0)) @ X
            mu[np.ix_(own, hull.rows)] = completed(hull, rows, total - total @ hull.projector)

    def _flat_places(self, gate: Any) -> list[tuple[int, int]]:
        if not self.hulls:
            return []
        return [(place, number) for place, number in enumerate(gate.tolist()) if self.flat[number]]
