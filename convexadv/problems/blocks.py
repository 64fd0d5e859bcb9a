"""Blocks of weights over activation patterns, and the margins that they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..balls import gauge
from .terms import Component, Terms

if TYPE_CHECKING:
    from .patterns import PatternProblem

_ENTRIES = 1 << 23


@dataclass(frozen=True, eq=False)
class Blocks:
    """m blocks of weights: block j adds ``side_j D_i,gate_j x_i'vector_j`` to its output at row i.

    Attributes
    ----------
    gate, output : (m,) int
    side : (m,)
        +1 or -1.
    vectors : (m, D)
    """

    gate: np.ndarray
    output: np.ndarray
    side: np.ndarray
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.gate)

    def penalty(self) -> float:
        """sum ||vector||_2."""
        return float(np.linalg.norm(self.vectors, axis=1).sum())

    def take(self, chosen: np.ndarray) -> Blocks:
        """Some of the blocks."""
        return Blocks(self.gate[chosen], self.output[chosen], self.side[chosen], self.vectors[chosen])

    def of_outputs(self, outputs: np.ndarray) -> Blocks:
        """Blocks of some outputs, which are numbered anew in that order."""
        number = {int(output): place for place, output in enumerate(outputs)}
        kept = np.array([j for j, output in enumerate(self.output) if int(output) in number], dtype=np.int64)
        part = self.take(kept)
        renamed = np.array([number[int(output)] for output in part.output], dtype=np.int64)
        return Blocks(part.gate, renamed, part.side, part.vectors)

    @staticmethod
    def joined(parts: list[Blocks], width: int) -> Blocks:
        """All blocks of the parts in order; ``width`` is D."""
        none = np.zeros(0, np.int64)
        parts = [Blocks(none, none, np.zeros(0), np.zeros((0, width))), *parts]
        return Blocks(
            np.concatenate([part.gate for part in parts]),
            np.concatenate([part.output for part in parts]),
            np.concatenate([part.side for part in parts]),
            np.concatenate([part.vectors for part in parts]),
        )


def outputs_at_rows(problem: PatternProblem, blocks: Blocks, n_outputs: int) -> np.ndarray:
    """f(x_i) of every row from the patterns, (n, outputs)."""
    mixing = np.zeros((len(blocks), n_outputs))
    mixing[np.arange(len(blocks)), blocks.output] = blocks.side
    result = np.zeros((problem.rows.n, n_outputs))
    step = max(1, _ENTRIES // max(1, len(blocks)))
    for where, rows in problem.rows.blocks():
        for first in range(0, len(rows), step):
            part = slice(where.start + first, where.start + min(first + step, len(rows)))
            products = rows[first : first + step] @ blocks.vectors.T
            result[part] = (products * problem.patterns[part][:, blocks.gate]) @ mixing
    return result


def group_margins(problem: PatternProblem, component: Component, blocks: Blocks, terms: Terms) -> np.ndarray:
    """Worst-case margins (k, g) of the terms of a component over their balls.

    ``sign x'E alpha - r ||E alpha||_q``, q dual to the norm of the ball and over the perturbed features, plus for gates
    that change inside the ball ``sum min(0, sign x'E v_k - r ||E v_k||_q)``.
    """
    row = np.arange(terms.g) if terms.row is None else terms.row
    if not terms.robust:
        values = outputs_at_rows(problem, blocks, len(component.outputs)) @ component.directions.T
        return terms.sign * values[row[None], terms.direction]
    margins = np.empty(terms.sign.shape)
    for alternative in range(terms.k):
        for direction, index in terms.groups[alternative]:
            groups = np.arange(terms.g) if index is None else index
            weight = blocks.side * component.directions[direction, blocks.output]
            used = blocks.take(np.flatnonzero(weight))
            weighted = used.vectors * weight[weight != 0][:, None]
            step = max(1, _ENTRIES // max(1, problem.rows.d + len(used) + problem.n_gates))
            for first in range(0, len(groups), step):
                part = groups[first : first + step]
                margins[alternative, part] = _robust_margins(
                    problem, used.gate, weighted, row[part], terms.sign[alternative, part], terms.radius[part]
                )
    return margins


def _robust_margins(problem, gate, weighted, row, sign, radius) -> np.ndarray:
    x = problem.rows.take(row)
    alpha = problem.active[row][:, gate].astype(float) @ weighted
    perturbed = problem.perturbed
    margin = sign * (x * alpha).sum(1) - radius * gauge(alpha[:, perturbed], problem.dual_norm)
    if problem.unstable is None:
        return margin
    gates, place = np.unique(gate, return_inverse=True)
    vectors = np.zeros((len(gates), weighted.shape[1]))
    np.add.at(vectors, place.reshape(-1), weighted)
    norms = gauge(vectors[:, perturbed], problem.dual_norm)
    worst = sign[:, None] * (x @ vectors.T) - radius[:, None] * norms
    return margin + (np.minimum(worst, 0.0) * problem.unstable[row][:, gates]).sum(1)
