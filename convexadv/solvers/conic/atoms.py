r"""Certificates out of the multipliers of a conic solver.

The multiplier of the matrix inequality of a term is, with perturbations in units of its radius, a lifted
moment

    Y = weight z sum_l p_l [e_l; 1][e_l; 1]',        <Y, diag(-I, 1)> >= 0,

and splits into points of the ball without loss: rotate a factor of Y until all columns have the same value
of y'diag(-I, 1)y >= 0, then each is a multiple of (e_l, 1) with ||e_l|| <= 1 (the same step as in the
neural decomposition; Yakubovich's S-procedure). For the diagonal restriction of the l_inf ball the moment
obeys diag(G) <= s in every coordinate and the columns are rotated until their last entries are equal
instead: the points may leave the box, their moment does not.
"""

from __future__ import annotations

import numpy as np

from ...problems import AtomSet, PolynomialProblem
from ...problems.terms import TermSet
from ...rotations import equalise
from . import svec
from .compiler import LiftProgram
from .program import Family

_RANK_TOLERANCE = 1e-11


def atoms_of(problem: PolynomialProblem, number: int, program: LiftProgram, dual: np.ndarray) -> list[AtomSet]:
    """Atoms of one component from the multipliers (M,) of its programme."""
    sets = problem.components[number].terms
    found = []
    for term, terms in enumerate(sets):
        families = [family for family in program.families if family.term == term]
        if not families:
            continue
        samples = [_samples(problem, terms, program, family, dual) for family in families]
        found.append(_atom_set(problem, number, term, terms, families, samples))
    return found


def _atom_set(problem, number: int, term: int, terms: TermSet, families, samples) -> AtomSet:
    count = max(len(z) for z, _ in samples)
    multipliers = np.zeros((count, *terms.shape))
    coordinates = np.zeros((count, *terms.shape, problem.rows.d)) if terms.robust else None
    for family, (z, points) in zip(families, samples, strict=True):
        multipliers[: len(z), family.alternative, family.group] = z
        if coordinates is not None and points is not None:
            coordinates[: len(z), family.alternative, family.group] = points
    return AtomSet(number, term, multipliers, coordinates)


def _samples(problem, terms: TermSet, program: LiftProgram, family: Family, dual: np.ndarray):
    """Multipliers (S, l) without the weights, and points (S, l, d) in scaled coordinates or None."""
    weight = terms.weight[family.group]
    start = program.first_row(family.cone) + family.start
    if family.cone != "psd":
        values = dual[start : start + len(weight)] / weight
        return (values if terms.loss.signed else np.maximum(values, 0.0))[None], None
    moving = np.arange(problem.rows.d) if problem.scale is None else np.flatnonzero(problem.scale > 0)
    t = svec.length(len(moving) + 1)
    moments = svec.to_matrix(dual[start : start + t * len(weight)].reshape(len(weight), t))
    radius = terms.radius[family.group]
    stretch = np.ones((len(weight), len(moving) + 1))
    stretch[:, :-1] = (family.unit / radius)[:, None]
    moments *= stretch[:, :, None] * stretch[:, None, :]
    split = _split_box if problem.norm == "linf" else _split_ball
    z, points = _stack([split(moment) for moment in moments], len(moving))
    dense = np.zeros((*z.shape, problem.rows.d))
    dense[..., moving] = points * radius[:, None]
    return z / weight, dense


def _stack(parts: list[tuple[np.ndarray, np.ndarray]], p: int) -> tuple[np.ndarray, np.ndarray]:
    count = max((len(z) for z, _ in parts), default=0)
    z, points = np.zeros((max(count, 1), len(parts))), np.zeros((max(count, 1), len(parts), p))
    for i, (values, e) in enumerate(parts):
        z[: len(values), i], points[: len(values), i] = values, e
    return z, points


def _factor(moment: np.ndarray) -> np.ndarray:
    eigenvalues, vectors = np.linalg.eigh(moment)
    kept = eigenvalues > _RANK_TOLERANCE * max(eigenvalues[-1], 0.0)
    return vectors[:, kept] * np.sqrt(eigenvalues[kept])


def _split_ball(moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers (S,) and points (S, p) of the unit ball with the given moment matrix."""
    signature = np.append(-np.ones(len(moment) - 1), 1.0)
    columns = equalise(_factor(moment), signature)
    z, points = _points(columns)
    reach = np.linalg.norm(points, axis=1, keepdims=True)
    return z, points / np.maximum(reach, 1.0)


def _split_box(moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers (S,) and points (S, p) with sum_s p_s e_sj^2 <= 1 and the given moment matrix."""
    columns = _factor(moment)
    last = columns[-1]
    length = np.linalg.norm(last)
    if length == 0.0:
        return np.zeros(0), np.zeros((0, len(moment) - 1))
    # the reflection that takes the last row to equal entries
    normal = last / length - 1.0 / np.sqrt(len(last))
    size = normal @ normal
    if size > 0.0:
        columns = columns - np.outer(columns @ normal, normal) * (2.0 / size)
    z, points = _points(columns)
    spread = np.sqrt(z @ points**2 / max(z.sum(), 1e-300))
    return z, points / np.maximum(spread, 1.0)


def _points(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    last = columns[-1]
    used = last**2 > 1e-12 * (columns**2).sum()
    return last[used] ** 2, (columns[:-1, used] / last[used]).T
