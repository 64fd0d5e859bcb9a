r"""The linear maps between the weights of one component of a gated ReLU problem and its groups of terms.

With V (outputs, P, D), the rows see f_io = sum_k D_ik x_i'V_ok and group g of row i sees sign_g E_g'f_i. A value costs the
product of the patterns with V, an adjoint the product of the patterns' transpose with the weighted rows; nothing of size
n x P is ever formed beside the patterns.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from ..._arrays import to_tensor
from ...problems.terms import TermSet


class GatedMaps:
    """Rows, patterns and the groups of one set of terms without balls, one alternative each.

    Parameters
    ----------
    terms : TermSet
    directions : (K, outputs) array
        Of the component.
    active : (n, P) bool array
    X : tensor (n, D) float64
    """

    def __init__(self, terms: TermSet, directions: np.ndarray, active: np.ndarray, X: Any):
        self.X, self.outputs = X, directions.shape[1]
        self.rows = self._tensor(terms.row)
        self.coefficient = self._tensor(terms.sign[0][:, None] * directions[terms.direction[0]])
        self.weight, self.offset = self._tensor(terms.weight), self._tensor(terms.offset[0])
        self.active = self._tensor(active).to(X.dtype)
        self.coarse_rows = X.to(torch.float32)
        self._in_order = bool((terms.row == np.arange(len(X))).all()) if len(terms.row) == len(X) else False

    def _tensor(self, values: Any) -> Any:
        return to_tensor(values, self.X.device)

    def over(self, gates: Any) -> GatedMaps:
        """The maps of some gates."""
        own = copy.copy(self)
        own.active = self.active[:, gates]
        return own

    def to_groups(self, f: Any) -> Any:
        """sign_g E_g'f_i, (g,), of values at the rows (n, outputs)."""
        return (self.coefficient * (f if self._in_order else f[self.rows])).sum(1)

    def to_outputs(self, c: Any) -> Any:
        """Adjoint of :meth:`to_groups`, (n, outputs)."""
        pulled = self.coefficient * c[:, None]
        return (
            pulled if self._in_order else pulled.new_zeros(len(self.X), self.outputs).index_add_(0, self.rows, pulled)
        )

    def forward(self, V: list[Any], patterns: list[Any] | None = None) -> Any:
        """What the groups see, (g,), of weights (m, D) of every output over some patterns (n, m), or over all."""
        seen = [(((self.active if patterns is None else patterns[o]) @ own) * self.X).sum(1) for o, own in enumerate(V)]
        return self.to_groups(torch.stack(seen, 1))

    def backward(self, c: Any) -> Any:
        """Adjoint of :meth:`forward` over all patterns, (outputs, P, D)."""
        pulled = self.to_outputs(c)
        return torch.stack([self.active.T @ (self.X * pulled[:, o, None]) for o in range(self.outputs)])
