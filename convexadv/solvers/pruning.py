"""Blocks that add nothing to a solution are left out."""

from __future__ import annotations

import numpy as np

from ..problems.blocks import Blocks
from ..problems.patterns import PatternProblem


def pruned(problem: PatternProblem, blocks: Blocks, tolerance: float = 1e-9) -> Blocks:
    """Drop the longest tail of small blocks, cut at a power of ten, that lets the objective rise by ``tolerance`` at most.

    Parameters
    ----------
    problem : PatternProblem
    blocks : Blocks
    tolerance : float
        Relative.

    Returns
    -------
    Blocks
    """
    size = np.linalg.norm(blocks.vectors, axis=1)
    blocks, size = blocks.take(np.flatnonzero(size > 0)), size[size > 0]
    limit = problem.evaluate_blocks(blocks).objective * (1.0 + tolerance)
    for exponent in range(1, 15):
        kept = size > size.max(initial=0.0) * 10.0**-exponent
        if kept.all():
            break
        candidate = blocks.take(np.flatnonzero(kept))
        if problem.evaluate_blocks(candidate).objective <= limit:
            return candidate
    return blocks
