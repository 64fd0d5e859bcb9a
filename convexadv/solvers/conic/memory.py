r"""Memory of a conic solve, estimated from sizes alone, before anything is compiled.

A component has L matrix inequalities of order p + 1 (p features that move) and two cones of order d + 1 for
every output; a block has t entries in its triangle. T variables are entries of W, O a single output, and the
data matrix has E coefficients, which each output in the direction of an inequality brings anew:

    E = L (p(p+1)/2 + p d + p + T/O)  +  T/O for every row without a ball  +  what multipliers and losses add

The peak above what was there before, in bytes, is close to

    SCS       320 E + 16 T^2                       data in two forms, their copies, the factor
    CLARABEL  170 E + 40 T^2 + 60 sum of t^2       the same, and a dense scaling matrix for every block
    MOSEK     500 E + 16 T^2                       data through cvxpy, a Schur complement (not measured)

measured on random rows, n = 60 to 5000 and d = 20 to 64: 0.85 to 1.35 of the truth.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import SolverUnavailableError
from ...problems import PolynomialProblem
from ...problems.terms import Component
from . import svec

_BYTES_AN_ENTRY = {"SCS": 320.0, "CLARABEL": 170.0, "MOSEK": 500.0}
_BYTES_A_PAIR = {"SCS": 16.0, "CLARABEL": 40.0, "MOSEK": 16.0}
_BYTES_A_BLOCK_PAIR = {"SCS": 0.0, "CLARABEL": 60.0, "MOSEK": 0.0}
_ENTRIES_OF_LOGISTIC = 9

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


class Size(NamedTuple):
    """Numbers that decide the memory of one component."""

    inequalities: int
    order: int
    entries: float
    variables: float
    squares: float


def size(problem: PolynomialProblem, component: Component) -> Size:
    """Size of the programme of one component, without compiling it."""
    d, outputs = problem.rows.d, len(component.outputs)
    p = d if problem.scale is None else int((problem.scale > 0).sum())
    free = svec.length(d + 1) - 1
    inequality = svec.length(p) + p * d + p + free
    multipliers = 3 * p if problem.norm == "linf" else p + 2
    contained = (component.directions != 0).sum(1)
    count, entries = 0, 6.0 * outputs * free
    for terms in component.terms:
        live = terms.hard | (terms.weight > 0)
        uses = contained[terms.direction].sum(0)
        ball = live & (terms.radius > 0)
        entries += float(uses[ball].sum()) * inequality + float(uses[live & ~ball].sum()) * free
        entries += float(ball.sum()) * terms.shape[0] * multipliers
        entries += float(live.sum()) * (_ENTRIES_OF_LOGISTIC if terms.loss.name == "logistic" else 2)
        count += int(ball.sum()) * terms.shape[0]
    squares = count * float(svec.length(p + 1)) ** 2 + 2.0 * outputs * float(free + 1) ** 2
    return Size(count, p + 1, entries, float(outputs * free), squares)


def estimate(problem: PolynomialProblem, solver: str) -> float:
    """Bytes that the largest component needs; components are solved one after the other."""
    return max(_bytes(size(problem, component), solver) for component in problem.components)


def _bytes(numbers: Size, solver: str) -> float:
    return (
        _BYTES_AN_ENTRY[solver] * numbers.entries
        + _BYTES_A_PAIR[solver] * numbers.variables**2
        + _BYTES_A_BLOCK_PAIR[solver] * numbers.squares
    )


def available() -> float:
    """Bytes that can be taken without swapping; infinity where the system does not say."""
    return min(_system_memory(), _cgroup_memory())


def require(problem: PolynomialProblem, solver: str) -> None:
    """Refuse a problem that cannot fit.

    Raises
    ------
    SolverUnavailableError
        Naming the size, the memory, and the backend that can.
    """
    worst = max((size(problem, component) for component in problem.components), key=lambda part: _bytes(part, solver))
    n, d = problem.shape
    refuse_beyond(
        _bytes(worst, solver),
        f"{solver} would need about {{}} for n={n}, d={d} ({worst.inequalities} matrix inequalities of order "
        f"{worst.order}, {worst.entries:.2g} coefficients)",
    )


def refuse_beyond(needed: float, sentence: str) -> None:
    """Raise SolverUnavailableError if so many bytes are not available; the number takes the place of {} in the text."""
    free = available()
    if needed > free:
        begin = sentence.format(f"{needed / 1e9:.3g} GB")
        raise SolverUnavailableError(f'{begin} and {free / 1e9:.3g} GB are available; use solver="torch".')


def _system_memory() -> float:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024.0
    except (OSError, ValueError, IndexError):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES")) * float(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # no sysconf on this system, or no such name
        return np.inf


def _cgroup_memory() -> float:
    """Room under the limit of a container, of either version of control groups."""
    old = _CGROUP / "memory"
    return min(
        _group_room(_CGROUP / "memory.max", _CGROUP / "memory.current", _CGROUP / "memory.stat"),
        _group_room(old / "memory.limit_in_bytes", old / "memory.usage_in_bytes", old / "memory.stat"),
    )


def _group_room(limit: Path, use: Path, statistics: Path) -> float:
    try:
        room = float(limit.read_text()) - float(use.read_text())
        lines = [line.split() for line in statistics.read_text().splitlines()]
    except (OSError, ValueError):  # no such group, or the limit is the word "max"
        return np.inf
    # the kernel gives the cache of files back when memory is needed
    cache = [float(parts[1]) for parts in lines if parts[0] in ("inactive_file", "total_inactive_file")]
    return max(0.0, room + max(cache, default=0.0))
