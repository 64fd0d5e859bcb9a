r"""Blocks that the method leaves out, with multipliers of their cones that prove them useless.

A block outside belongs to the optimum only if its price ||side q + A'mu - (sum mu r) tilt|| exceeds beta for every
mu >= 0; its last multipliers are kept, and improved by projection where they no longer suffice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...cones import Cones, project
from ...problems.certificate import ConeMultipliers
from .dead import DeadCones

_CHUNK = 1 << 22


class Multipliers(NamedTuple):
    """Sparse multipliers of some blocks."""

    number: np.ndarray
    """(m,) numbers of the blocks."""
    indptr: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    tilt: np.ndarray | None
    lowering: np.ndarray
    """(m, D): A'mu - (sum mu r) tilt."""

    def take(self, chosen: np.ndarray) -> Multipliers:
        """Some of the blocks, by their places."""
        sizes = np.diff(self.indptr)[chosen]
        starts = self.indptr[:-1][chosen]
        indptr = np.concatenate([[0], np.cumsum(sizes)])
        places = np.repeat(starts - indptr[:-1], sizes) + np.arange(indptr[-1])
        tilt = None if self.tilt is None else self.tilt[chosen]
        return Multipliers(
            self.number[chosen], indptr, self.rows[places], self.values[places], tilt, self.lowering[chosen]
        )


def sparse(
    problem: Any, index: np.ndarray, gate: np.ndarray, mu: np.ndarray, tilt: np.ndarray | None, least: Any
) -> Multipliers:
    """Multipliers above ``least`` (a number, or (m, 1)) of some blocks, given densely as (m, n)."""
    kept = mu > least
    mu = np.where(kept, mu, 0.0)
    lowering = np.zeros((len(index), problem.rows.d))
    signs = np.where(problem.patterns[:, gate].T, mu, -mu)
    for where, block in problem.rows.blocks():
        lowering += signs[:, where] @ block
    if tilt is not None:
        lowering -= (mu @ problem.radius)[:, None] * tilt
    rows = np.nonzero(kept)[1]
    indptr = np.concatenate([[0], np.cumsum(kept.sum(1))])
    return Multipliers(index, indptr, rows, mu[kept], tilt, lowering)


def joined(parts: list[Multipliers]) -> Multipliers:
    """All blocks of the parts in order."""
    sizes = np.concatenate([np.diff(part.indptr) for part in parts])
    tilts = [part.tilt for part in parts]
    return Multipliers(
        np.concatenate([part.number for part in parts]),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.values for part in parts]),
        None if tilts[0] is None else np.concatenate([tilt for tilt in tilts if tilt is not None]),
        np.concatenate([part.lowering for part in parts]),
    )


def dense(multipliers: Multipliers, index: np.ndarray, n: int) -> np.ndarray:
    """Multipliers of some of the blocks, by their numbers, (m, n)."""
    place = {int(number): at for at, number in enumerate(multipliers.number)}
    result = np.zeros((len(index), n))
    for row, number in enumerate(index):
        own = slice(*multipliers.indptr[place[int(number)] : place[int(number)] + 2])
        result[row, multipliers.rows[own]] = multipliers.values[own]
    return result


def none(index: np.ndarray, width: int, robust: bool) -> Multipliers:
    """Blocks without any multiplier."""
    flat = np.zeros((len(index), width))
    indptr = np.zeros(len(index) + 1, np.int64)
    return Multipliers(index, indptr, np.zeros(0, np.int64), np.zeros(0), flat if robust else None, flat)


def certificate_part(
    component: int, multipliers: Multipliers, gate: np.ndarray, output: np.ndarray, side: np.ndarray
) -> ConeMultipliers:
    """The multipliers as a part of a certificate; gate, output and side are those of all blocks."""
    index = multipliers.number
    return ConeMultipliers(
        component,
        gate[index],
        output[index],
        side[index],
        multipliers.indptr,
        multipliers.rows,
        multipliers.values,
        multipliers.tilt,
    )


def priced(
    problem: Any, index: np.ndarray, gate: np.ndarray, targets: np.ndarray, tol: float, dead: DeadCones
) -> tuple[Multipliers, np.ndarray]:
    """Multipliers of blocks at the targets side q, and their prices, by projection on their cones; zero where these are."""
    X, n = problem.rows.whole(), problem.rows.n
    parts, prices = [], []
    step = max(1, _CHUNK // n)
    for first in range(0, len(index), step):
        own = slice(first, first + step)
        cones = Cones(X, problem.patterns[:, gate[own]].T, problem.radius, problem.norm, problem.perturbed)
        result = project(cones, targets[own], tol=tol)
        mu, tilts = result.multipliers, result.tilts
        useless = np.flatnonzero(dead.dead[gate[own]])
        if tilts is not None and len(useless):
            mu[useless], tilts[useless] = dead.multipliers(gate[own][useless], targets[own][useless])
        least = 1e-12 * mu.max(1, initial=0.0, keepdims=True)
        parts.append(sparse(problem, index[own], gate[own], mu, tilts, least))
        prices.append(np.linalg.norm(targets[own] + parts[-1].lowering, axis=1))
    return joined(parts), np.concatenate(prices)
