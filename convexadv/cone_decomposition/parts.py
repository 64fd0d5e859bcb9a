"""Blocks as differences of two vectors of their cones: the shortest pair, or one found by pushing along the gate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import InputError
from ..problems.blocks import Blocks
from ..problems.gated import GatedReLUProblem
from ..problems.gates import unit_gates

_ENTRIES = 1 << 22
"""Products of rows and blocks held at a time."""

FEASIBLE = 1e-12
"""Relative violation of a cone below which nothing is repaired."""

_EDGE = 1e-9
"""Relative distance of a row from the hyperplane of a gate below which pushing along the gate does not help."""

_NOTHING = 1e-14
"""Rounding errors of parts and products beside ||v|| = 1."""

_ROOT = 1e-10
"""Error allowed in t, relative to the share of the shorter part; the penalty feels its square."""

_STEPS = 100
"""Most steps to a root; secant steps take about four."""

_DROPS = 20
"""Rounds after which rows that are not active are kept, so that the rounds end in spite of rounding."""

_LARGEST = 1e9
"""A part that has to be longer than this, in units of the largest distance by which v misses the cones, counts as none."""


def decomposed(problem: GatedReLUProblem, blocks: Blocks, method: str) -> Blocks:
    """The parts a, then b, of every block; parts that are rounding errors are left out."""
    size = np.linalg.norm(blocks.vectors, axis=1)[:, None]
    unit = Blocks(blocks.gate, blocks.output, blocks.side, blocks.vectors / size)
    if method == "minimal":
        parts = _least_parts(problem, unit)
    else:
        parts = _pushed_parts(problem, unit)
        beyond = np.flatnonzero(~np.isfinite(parts).all((0, 2)))
        parts[:, beyond] = _least_parts(problem, unit.take(beyond))
    parts = _repaired(problem, unit, parts)
    return Blocks.joined(
        [
            Blocks(blocks.gate[kept], blocks.output[kept], side * np.ones(len(kept)), (part * size)[kept])
            for side, part in zip((1.0, -1.0), parts, strict=True)
            for kept in [np.flatnonzero(part.any(1))]
        ],
        problem.rows.d,
    )


def _parts(step: np.ndarray, t: Any, vectors: np.ndarray) -> np.ndarray:
    """a and b, (2, ..., D), for c = t v + step; short parts keep their relative precision."""
    t = np.asarray(t)[..., None]
    return np.stack([step + (0.5 + t) * vectors, step - (0.5 - t) * vectors])


def _signed_passes(problem: GatedReLUProblem, blocks: Blocks) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first row number, rows of norm one (k, D), signs 2 D_ik - 1 (k, m)), a few rows at a time."""
    step = max(1, _ENTRIES // max(1, len(blocks)))
    for where, rows in problem.rows.blocks():
        for first in range(0, len(rows), step):
            x = _unit_rows(rows[first : first + step])
            start = where.start + first
            yield start, x, np.where(problem.patterns[start : start + len(x)][:, blocks.gate], 1.0, -1.0)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1)[:, None]
    return rows / np.where(length > 0, length, 1.0)


def _unit_gates(problem: GatedReLUProblem, blocks: Blocks) -> np.ndarray:
    return unit_gates(problem.gates[:, blocks.gate]).T


def _pushed_parts(problem: GatedReLUProblem, blocks: Blocks) -> np.ndarray:
    """The best c = t v + tau g of t = 1/2, t = -1/2 and the t where both cones bind, each with the least tau.

    Parts (2, m, D), not finite where no tau will do.
    """
    gates = _unit_gates(problem, blocks)
    for_a, for_b = np.zeros(len(blocks)), np.zeros(len(blocks))
    with np.errstate(divide="ignore", invalid="ignore"):
        for _, x, sign in _signed_passes(problem, blocks):
            products, reach = sign * (x @ blocks.vectors.T), np.abs(x @ gates.T)
            products[np.abs(products) < FEASIBLE] = 0.0
            ratio = products / np.where(reach > _EDGE, reach, 0.0)  # 0/0, where no push is needed, is passed over
            for_a = np.fmax(for_a, np.fmax.reduce(-ratio, 0, initial=0.0))
            for_b = np.fmax(for_b, np.fmax.reduce(ratio, 0, initial=0.0))
        half, total = np.full(len(blocks), 0.5), for_a + for_b
        t = np.stack([half, -half, 0.5 * (for_b - for_a) / total])
        push = np.stack([for_a, for_b, for_a * for_b / total])
        parts = _parts(push[..., None] * gates, t, blocks.vectors)
        cost = np.linalg.norm(parts, axis=-1).sum(0)
    best = np.where(np.isfinite(cost), cost, np.inf).argmin(0)
    return parts[:, best, np.arange(len(blocks))]


def _least_parts(problem: GatedReLUProblem, blocks: Blocks) -> np.ndarray:
    """The parts of least ||a|| + ||b||, (2, m, D): violated rows enter until there are none."""
    t = np.zeros(len(blocks))
    parts = _parts(np.zeros_like(blocks.vectors), t, blocks.vectors)
    rows_of = [np.zeros(0, np.int64) for _ in range(len(blocks))]
    pending = np.arange(len(blocks))
    for turn in itertools.count():
        found = _violated(problem, blocks.take(pending), parts[:, pending], [rows_of[j] for j in pending])
        pending = pending[[len(new) > 0 for new in found]]
        if len(pending) == 0:
            break
        for j, new in zip(pending, filter(len, found), strict=True):
            rows_of[j] = np.concatenate([rows_of[j], new])
        wanted = np.unique(np.concatenate([rows_of[j] for j in pending]))
        rows = _unit_rows(problem.rows.take(wanted))
        for j in pending:
            sign = np.where(problem.patterns[rows_of[j], blocks.gate[j]], 1.0, -1.0)
            matrix = rows[np.searchsorted(wanted, rows_of[j])] * sign[:, None]
            try:
                parts[:, j], t[j], active = _least_part(matrix, blocks.vectors[j], t[j])
            except _NoPoint as error:
                raise InputError(_why_not(rows_of[j][error.rows], int(blocks.gate[j]))) from None
            if turn < _DROPS:
                rows_of[j] = rows_of[j][active]
    return parts


def _violated(
    problem: GatedReLUProblem, blocks: Blocks, parts: np.ndarray, known: list[np.ndarray]
) -> list[np.ndarray]:
    """The rows of each block, not known yet, at which its parts (2, m, D) are off the cone most; at most 2 D of them."""
    tolerance = 0.1 * FEASIBLE * np.linalg.norm(parts, axis=2)
    rows: list[list[np.ndarray]] = [[np.zeros(0, np.int64)] for _ in known]
    short: list[list[np.ndarray]] = [[np.zeros(0)] for _ in known]
    for start, x, sign in _signed_passes(problem, blocks):
        off = np.zeros_like(sign)
        for part, slack in zip(parts, tolerance, strict=True):
            distance = -sign * (x @ part.T)
            np.maximum(off, np.where(distance > slack, distance, 0.0), out=off)
        for j in np.flatnonzero(off.any(0)):
            new = np.setdiff1d(start + np.flatnonzero(off[:, j]), known[j])
            rows[j].append(new)
            short[j].append(off[new - start, j])
    worst = [np.argsort(-np.concatenate(values), kind="stable")[: 2 * problem.rows.d] for values in short]
    return [np.concatenate(own)[order] for own, order in zip(rows, worst, strict=True)]


def _least_part(matrix: np.ndarray, vector: np.ndarray, t: float) -> tuple[np.ndarray, float, np.ndarray]:
    """Parts of least ||a|| + ||b|| in the cone A u >= 0, for A (k, D) of rows of norm one and ||v|| = 1.

    Secant steps on t - (||a|| - ||b||) / (2 (||a|| + ||b||)), which increases, inside a bracket; the first step is the
    fixed point iteration, which contracts by less than 1 / (||a|| + ||b||)^2.

    Returns
    -------
    a and b (2, D), t, and which rows are active (k,)
    """
    products = matrix @ vector
    for end in (0.5, -0.5):
        if (end * products >= -_NOTHING).all():
            return _parts(0.0 * vector, end, vector), end, np.zeros(len(matrix), bool)
    low, high, scale = -0.5, 0.5, 1.0
    last: tuple[float, float] | None = None
    for _ in range(_STEPS):
        need = np.where(products > 0, 0.5 - t, 0.5 + t) * np.abs(products)
        step, multipliers, scale = _shortest(matrix, need, scale)
        parts = _parts(step, t, vector)
        a, b = np.linalg.norm(parts, axis=1)
        excess = t - 0.5 * float((a - b) / (a + b))
        if abs(excess) <= max(_ROOT * min(a, b) / (a + b), 1e-15):
            break
        low, high = (t, high) if excess < 0 else (low, t)
        slope = 1.0 if last is None or last[1] == excess else (excess - last[1]) / (t - last[0])
        last = t, excess
        t -= excess / slope
        if not low <= t <= high or t == last[0]:
            t = 0.5 * (low + high)
    return parts, t, multipliers > 0


def _shortest(matrix: np.ndarray, need: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The shortest w with A w >= need, its multipliers, and a scale for the next call of the kind.

    Least distance programming by nonnegative least squares (Lawson, Hanson, *Solving Least Squares Problems*, chapter
    23): with max(need) = 1 the residual of min ||[A'; need'/scale] z - e||, z >= 0, is parallel to [-w/scale; 1], of
    which its last entry 1 / (1 + ||w/scale||^2) is not to be small. It vanishes where there is no such w.
    """
    from scipy.optimize import nnls

    top = float(need.max(initial=0.0))
    if top <= 0.0:
        return np.zeros(matrix.shape[1]), np.zeros(len(matrix)), scale
    target = np.zeros(matrix.shape[1] + 1)
    target[-1] = 1.0
    while True:
        stacked = np.vstack([matrix.T, need / (top * scale)])
        multipliers, _ = nnls(stacked, target, maxiter=100 * len(matrix) + 1000)
        rest = target - stacked @ multipliers
        if rest[-1] > 1e-2:
            step = _polished(matrix, need / top, -scale * rest[:-1] / rest[-1], multipliers > 0)
            return top * step, multipliers, max(scale, float(np.linalg.norm(step)))
        scale *= 10.0
        if scale > _LARGEST:
            raise _NoPoint(np.flatnonzero(multipliers > 1e-6 * multipliers.max()))


def _polished(matrix: np.ndarray, need: np.ndarray, step: np.ndarray, active: np.ndarray) -> np.ndarray:
    """The shortest vector on the active rows where it misses A w >= need by less: in thin cones it is more precise."""
    size = np.linalg.norm(step)
    missed = (need - matrix @ step).max()
    if missed <= 0.1 * FEASIBLE * size:
        return step
    other = np.linalg.lstsq(matrix[active], need[active], rcond=None)[0]
    return other if (need - matrix @ other).max() < missed else step


class _NoPoint(Exception):
    """The polyhedron of a least distance problem is empty, by these rows."""

    def __init__(self, rows: np.ndarray):
        super().__init__()
        self.rows = rows


def _why_not(rows: np.ndarray, gate: int) -> str:
    some = ", ".join(map(str, np.sort(rows)[:6].tolist())) + (", ..." if len(rows) > 6 else "")
    return (
        f"the weights of gate {gate} are no difference of two vectors of its cone: with this pattern the rows {some} "
        "leave the cone no interior (they lie on the gate's hyperplane in opposite directions, or within rounding of "
        "it); use another gate, off those rows."
    )


def _repaired(problem: GatedReLUProblem, blocks: Blocks, parts: np.ndarray) -> np.ndarray:
    """Parts pushed along their gates where rounding left one of them off its cone; a - b = v to rounding."""
    gates, vectors = _unit_gates(problem, blocks), blocks.vectors
    side = np.where(np.subtract(*np.linalg.norm(parts, axis=2)) > 0, 1.0, -1.0)[:, None]  # of the longer part
    short = np.where(side > 0, parts[1], parts[0])
    short[np.linalg.norm(short, axis=1) <= _NOTHING] = 0.0
    for _ in range(2):
        push = np.zeros(len(blocks))
        for part in (short, short + side * vectors):
            slack = FEASIBLE * np.linalg.norm(part, axis=1)
            for _, x, sign in _signed_passes(problem, blocks):
                off, reach = -sign * (x @ part.T), np.abs(x @ gates.T)
                ratio = np.where((off > slack) & (reach > _NOTHING), off, 0.0) / np.maximum(reach, _NOTHING)
                push = np.maximum(push, ratio.max(0, initial=0.0))
        short += push[:, None] * gates
    long = short + side * vectors
    return np.stack([np.where(side > 0, long, short), np.where(side > 0, short, long)])
