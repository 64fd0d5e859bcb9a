r"""Certificates of programmes over activation patterns out of the multipliers of a conic solver.

The multiplier of a margin is weight z. The multiplier of an epigraph ||a||_q <= N is total (1, -tilt) with tilt in the
unit ball of the perturbations, so that a margin sign x'a - r N stands at the point x - sign r tilt, whichever margin
shares the epigraph; in the same way a cone S x'v - r nu and an unstable gate sign x'v - r M get their tilts.
"""

from __future__ import annotations

import numpy as np

from ...problems import AtomSet
from ...problems.certificate import ConeMultipliers, GateShares
from ...problems.patterns import PatternProblem
from ...problems.terms import TermSet
from .pattern_program import Margins, PatternCones, PatternProgram

_NEGLIGIBLE = 1e-10
"""Multipliers of cones are left out if all that are change the price of their block by less than this part of beta."""


def pattern_parts(
    problem: PatternProblem, number: int, program: PatternProgram, dual: np.ndarray
) -> list[AtomSet | ConeMultipliers | GateShares]:
    """Parts of the certificate of one component from the multipliers (M,) of its programme."""
    parts: list[AtomSet | ConeMultipliers | GateShares] = []
    for term, terms in enumerate(problem.components[number].terms):
        families = [family for family in program.families if family.term == term]
        if families:
            parts.append(_atoms(problem, number, terms, program, families, dual))
    changing = [family for family in program.families if family.unstable is not None]
    parts += [_shares(problem, number, program, family, dual) for family in changing]
    if program.cones is not None:
        parts.append(_cones(problem, number, program, program.cones, dual))
    return parts


def _values(program: PatternProgram, family: Margins, dual: np.ndarray) -> np.ndarray:
    start = program.first_row(family.cone) + family.start
    return dual[start : start + len(family.group)]


def _atoms(problem, number: int, terms: TermSet, program: PatternProgram, families, dual: np.ndarray) -> AtomSet:
    multipliers = np.zeros((1, *terms.shape))
    points = np.zeros((1, *terms.shape, problem.rows.d)) if terms.robust else None
    for family in families:
        place = 0, family.alternative, family.group
        z = _values(program, family, dual) / terms.weight[family.group]
        # a slight excess over the domain of the conjugate would shrink the multipliers of all rows
        multipliers[place] = z if terms.loss.signed else np.clip(z, 0.0, terms.loss.upper)
        if points is not None and family.norms is not None:
            tilts = family.norms.tilts(program, dual, problem.perturbed)[family.pair]
            reach = terms.sign[family.alternative, family.group] * terms.radius[family.group]
            points[place] = -reach[:, None] * tilts
    return AtomSet(number, families[0].term, multipliers, points)


def _shares(problem, number: int, program: PatternProgram, family: Margins, dual: np.ndarray) -> GateShares:
    part = family.unstable
    assert part is not None
    first = program.first_row("nonnegative") + part.start
    own = np.maximum(dual[first : first + len(part.entry)], 0.0)
    whole = np.maximum(_values(program, family, dual), 0.0)[part.entry]
    share = np.where(whole > 0, np.minimum(own / np.where(whole > 0, whole, 1.0), 1.0), 0.0)
    tilt = np.zeros((problem.n_gates, len(problem.components[number].directions), problem.rows.d))
    tilt[part.owner[:, 0], part.owner[:, 1]] = -part.norms.tilts(program, dual, problem.perturbed)
    alternative, group = family.alternative[part.entry], family.group[part.entry]
    return GateShares(number, family.term, alternative, group, part.gate, share, tilt)


def _cones(problem, number: int, program: PatternProgram, cones: PatternCones, dual: np.ndarray) -> ConeMultipliers:
    sides, gates, outputs, _ = program.shape
    blocks = sides * gates * outputs
    first = program.first_row("nonnegative") + cones.start
    values = dual[first : first + blocks * len(cones.rows)].reshape(blocks, len(cones.rows))
    kept = values * (len(cones.rows) * problem.rows.largest_norm()) > _NEGLIGIBLE * problem.beta
    block, place = np.nonzero(kept)
    side, gate, output = np.unravel_index(np.arange(blocks), (sides, gates, outputs))
    return ConeMultipliers(
        number,
        gate,
        output,
        np.asarray(problem.sides, float)[side],
        np.append(0, np.cumsum(kept.sum(1))),
        cones.rows[place],
        values[block, place],
        None if cones.norms is None else cones.norms.tilts(program, dual, problem.perturbed),
    )
