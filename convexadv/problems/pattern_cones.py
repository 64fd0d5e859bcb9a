"""The cones of a ReLU problem: of its gates, their interior points, and blocks moved into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cones import Cones, Interiors, interiors_of, project, pulled, violations
from ..cones.newton import MAX_STEPS
from ..cones.projection import CLEAN
from .blocks import Blocks

if TYPE_CHECKING:
    from .patterns import PatternProblem

_SPECK = 1e-7
"""Length, relative to the block, of a projection that is the rounding of zero."""


def cones_of(problem: PatternProblem, gate: np.ndarray) -> Cones:
    """The cones of some gates of a ReLU problem, which may repeat."""
    signs = problem.patterns[:, gate].T
    return Cones(problem.rows.whole(), signs, problem.radius, problem.norm, problem.perturbed)


def cone_interiors(
    problem: PatternProblem, accuracy: float = 0.2, max_steps: int = MAX_STEPS, gate: np.ndarray | None = None
) -> Interiors:
    r"""A unit vector deep inside the cone of every gate, or a proof that the cone is {0}.

    The deepest point maximises the smallest relative slack over ||v||_2 <= 1 (a support vector machine).

    Parameters
    ----------
    problem : ReLUProblem
    accuracy : float
        Stop at a depth of at least (1 - accuracy) of the largest one.
    max_steps : int
        Newton steps.
    gate : (m,) int, optional
        Which gates; all P if not given.

    Returns
    -------
    Interiors

    Notes
    -----
    For mu >= 0 and h = sum_i mu_i S_ik x_i every v in the cone has 0 <= h'v - (sum_i mu_i r_i) ||E v||_q, so
    ||E h||_p < sum_i mu_i r_i proves that it is {0}. An intercept b is bounded by rows of both signs:
    |b| <= (||x_i||_p - r_i) ||E v||_q.
    """
    gate = np.arange(problem.n_gates) if gate is None else gate
    m = len(gate)
    result = Interiors(np.zeros((m, problem.rows.d)), np.zeros(m), np.zeros(m, bool))
    cones = cones_of(problem, gate)
    for chosen in cones.chunks(np.arange(m)):
        part = interiors_of(cones.take(chosen), problem.gates[:, gate[chosen]].T, accuracy, max_steps)
        for whole, own in zip(result, part, strict=True):
            whole[chosen] = own
    return result


def into_cones(problem: PatternProblem, blocks: Blocks) -> Blocks:
    """Blocks inside their cones: each the nearest point of its cone, and a hair from there towards the interior.

    Blocks that violate their cones by no more than rounding (1e-13) stay as they are. A block becomes zero where its
    projection is zero (below 1e-7 of its length), as in a cone that is {0}, or where the cone is flat in a way that
    rounding cannot meet. So the relative violation (``problem.violation``) of the result is at most 1e-12.

    Parameters
    ----------
    problem : ReLUProblem
    blocks : Blocks
        Of this problem, usually a solver's that violate their cones slightly.

    Returns
    -------
    Blocks
        The same number of blocks in the same order.
    """
    vectors = np.array(blocks.vectors, np.float64)
    cones = cones_of(problem, blocks.gate)
    outside = np.flatnonzero(violations(cones, vectors) > CLEAN)
    for chosen in cones.chunks(outside):
        part, before = cones.take(chosen), vectors[chosen]
        points = project(part, before, tol=1e-20).points
        points[np.linalg.norm(points, axis=1) <= _SPECK * np.linalg.norm(before, axis=1)] = 0.0
        off = np.flatnonzero(violations(part, points) > CLEAN)
        deep = interiors_of(part.take(off), problem.gates[:, blocks.gate[chosen[off]]].T, accuracy=0.5)
        points[off] = pulled(part.take(off), points[off], deep)
        vectors[chosen] = points
    return Blocks(blocks.gate, blocks.output, blocks.side, vectors)
