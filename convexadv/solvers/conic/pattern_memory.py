r"""Memory of a conic solve over activation patterns, estimated before anything is compiled.

The data matrix has E coefficients (those of the cones and of the images of the rows count most), and the factorisation
ends with a dense block of order m. The peak above what was there before, in bytes, is close to

    SCS       300 E + 20 m^2
    CLARABEL  200 E + 50 m^2
    MOSEK     500 E + 20 m^2     (not measured)

measured on random rows, n = 200 to 2500, d = 10 to 40 and P = 50 to 100: 0.7 to 1.4 of the truth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...problems.patterns import PatternProblem
from ...problems.terms import Component, TermSet
from .memory import refuse_beyond

_BYTES_AN_ENTRY = {"SCS": 300.0, "CLARABEL": 200.0, "MOSEK": 500.0}
_BYTES_A_PAIR = {"SCS": 20.0, "CLARABEL": 50.0, "MOSEK": 20.0}
_ENTRIES_OF_LOSS = {"hinge": 1, "logistic": 7}


class PatternSize(NamedTuple):
    """Numbers that decide the memory of one component."""

    blocks: int
    entries: float
    coupled: float


def pattern_size(problem: PatternProblem, component: Component) -> PatternSize:
    """Size of the programme of one component, without compiling it."""
    d, outputs = problem.rows.d, len(component.outputs)
    blocks = len(problem.sides) * problem.n_gates * outputs
    filled = np.concatenate([(block != 0).sum(1) for _, block in problem.rows.blocks()])
    entries, images = blocks * (d + 1.0), 0.0
    if problem.cones:
        entries += 3.0 * problem.n_gates * outputs * d + blocks * float(filled.sum())
        if problem.radius.any():
            entries += blocks * (float((problem.radius > 0).sum()) + _norm(problem, 1.0))
    for terms in component.terms:
        more, seen = _terms(problem, component, terms, filled)
        entries, images = entries + more, images + outputs * seen
    return PatternSize(blocks, entries, min(images, problem.n_gates * outputs * d))


def require(problem: PatternProblem, solver: str) -> None:
    """Refuse a problem that cannot fit.

    Raises
    ------
    SolverUnavailableError
        Naming the size, the memory, and the backend that can.
    """
    sizes = [pattern_size(problem, component) for component in problem.components]
    worst = max(sizes, key=lambda size: _bytes(size, solver))
    n, d = problem.shape
    refuse_beyond(
        _bytes(worst, solver),
        f"{solver} would need about {{}} for n={n}, d={d} ({worst.blocks} blocks, {worst.entries:.2g} coefficients)",
    )


def _bytes(size: PatternSize, solver: str) -> float:
    return _BYTES_AN_ENTRY[solver] * size.entries + _BYTES_A_PAIR[solver] * size.coupled**2


def _norm(problem: PatternProblem, uses: float) -> float:
    """Coefficients of the epigraph of a norm of ``uses`` blocks."""
    p = float(problem.perturbed.sum())
    if problem.norm == "l2":
        return 1.0 + p * uses
    return 2.0 * p * (1.0 + uses) + (p + 1.0 if problem.norm == "linf" else 0.0)


def _terms(problem: PatternProblem, component: Component, terms: TermSet, filled: np.ndarray) -> tuple[float, float]:
    """Coefficients of the margins and losses of a set of terms, and entries of the images of an output."""
    live = terms.weight > 0
    contained = (component.directions != 0).sum(1)
    plain, robust = live & (terms.radius == 0), live & (terms.radius > 0)
    rows = np.unique(terms.row[plain])
    d, outputs = problem.rows.d, len(component.outputs)
    entries = float(live.sum()) * (_ENTRIES_OF_LOSS.get(terms.loss.name, 0) + terms.shape[0])
    entries += float(contained[terms.direction[:, plain]].sum())
    entries += outputs * (len(rows) + float((problem.active[rows].sum(1) * filled[rows]).sum()))
    images = float(len(rows))
    if robust.any():
        rows = terms.row[robust]
        patterns, place = np.unique(np.packbits(problem.active[rows], axis=1), axis=0, return_inverse=True)
        active = float(np.unpackbits(patterns).sum())
        direction = terms.direction[:, robust]
        pairs = np.unique(place.reshape(-1) * len(component.directions) + direction)
        uses = contained[direction] * filled[rows]
        entries += outputs * d * (len(patterns) + active) + float((uses + 1).sum())
        entries += len(pairs) * _norm(problem, float(contained.mean()))
        images += len(patterns) * d
        if problem.unstable is not None:
            changing = problem.unstable[rows].sum(1)
            entries += float(((uses + 4) * changing).sum())
            touched = problem.unstable[np.unique(rows)].any(0).sum() * len(np.unique(direction))
            entries += float(touched) * _norm(problem, float(contained.mean()))
    return entries, images
