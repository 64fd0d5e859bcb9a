r"""The dual bound of programmes over activation patterns (docs/mathematics.md).

With multipliers z, points delta in the balls and weights p, every gate k and output o has the vector

    q_ko = sum over terms of  p z sign E_o D_ik (x_i + delta_i)
           + sum over unstable gates of  p z share E_o (sign x_i + r_i tilt_k)

and its block the price ||side q_ko + A_k'mu - (sum_i mu_i r_i) tilt||_2 for any mu >= 0 on its cone A_k v >= r ||v||_q
(no mu without cones). With kappa the largest price, every t >= 0 with t kappa <= beta gives the bound of
:func:`convexadv.problems.bound.scaled_value`. It speaks of the programme over these patterns: a network with other
patterns may lie below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import bound
from .bound import Atoms
from .certificate import ConeMultipliers
from .terms import Component, Terms

if TYPE_CHECKING:
    from .patterns import PatternProblem

_EPS = 2.0**-52


class Shares(NamedTuple):
    """:class:`GateShares` as arrays, with its terms."""

    terms: Terms
    alternative: np.ndarray
    group: np.ndarray
    gate: np.ndarray
    share: np.ndarray
    tilt: np.ndarray


class Checked(NamedTuple):
    """The parts of a certificate that speak of one component, checked."""

    atoms: list[Atoms]
    cones: list[ConeMultipliers]
    shares: list[Shares]


def component_bound(problem: PatternProblem, component: Component, checked: Checked) -> float:
    """Lower bound on the optimum of one component."""
    mass = bound.mass(checked.atoms)
    if mass < bound.VANISHING:
        return 0.0  # every objective is at least zero
    q = dual_vectors(problem, component, checked)
    largest = prices(problem, q, checked.cones).max()
    reach = problem.rows.largest_norm() + ball_reach(problem)
    entry = float(np.abs(component.directions).max())
    kappa = float(largest) + 16 * _EPS * (4.0 + problem.rows.n**0.5) * mass * reach * entry
    return bound.scaled_value(checked.atoms, kappa, problem.beta)[0]


def dual_vectors(problem: PatternProblem, component: Component, checked: Checked) -> np.ndarray:
    """q of every gate and output, (P, D, outputs)."""
    rows, active = problem.rows, problem.active
    outputs = component.directions.shape[1]
    result = np.zeros((problem.n_gates, rows.d, outputs))
    for o in range(outputs):
        parts = [_row_sums(rows, atom, component.directions[:, o]) for atom in checked.atoms]
        coefficient = np.sum([part[0] for part in parts], axis=0)
        shifts = [part[1] for part in parts if part[1] is not None]
        shift = np.sum(shifts, axis=0) if shifts else None
        for where, block in rows.blocks():
            weighted = block * coefficient[where][:, None]
            if shift is not None:
                weighted = weighted + shift[where]
            result[:, :, o] += active[where].T.astype(np.float64) @ weighted
        for shares in checked.shares:
            result[:, :, o] += _unstable(problem, checked.atoms, shares, component.directions[:, o])
    return result


def prices(problem: PatternProblem, q: np.ndarray, cones: list[ConeMultipliers]) -> np.ndarray:
    """Price of every block, (sides, P, outputs), with an allowance for the rounding of the cone multipliers."""
    plain = np.linalg.norm(q, axis=1)
    result = np.stack([plain] * len(problem.sides))
    for part in cones:
        lowered, rounding = _cone_sums(problem, part)
        own = part.side[:, None] * q[part.gate, :, part.output] + lowered
        price = np.linalg.norm(own, axis=1) + rounding
        side = np.where(part.side > 0, 0, 1)
        np.minimum.at(result, (side, part.gate, part.output), price)
    return result


def _cone_sums(problem: PatternProblem, cones: ConeMultipliers) -> tuple[np.ndarray, np.ndarray]:
    """A'mu - (sum mu r) tilt of every block, (m, D), and a bound on its rounding error, (m,)."""
    from scipy.sparse import csr_matrix

    rows, m = problem.rows, len(cones.gate)
    owner = np.repeat(np.arange(m), np.diff(cones.indptr))
    sign = np.where(problem.patterns[cones.rows, cones.gate[owner]], 1.0, -1.0)
    weights = csr_matrix((cones.values * sign, cones.rows, cones.indptr), shape=(m, rows.n))
    total = np.zeros((m, rows.d))
    for where, block in rows.blocks():
        total += weights[:, where] @ block
    size = np.bincount(owner, cones.values, minlength=m)
    if cones.tilt is not None:
        total -= np.bincount(owner, cones.values * problem.radius[cones.rows], minlength=m)[:, None] * cones.tilt
    reach = rows.largest_norm() + ball_reach(problem)
    return total, 16 * _EPS * (4.0 + rows.n**0.5) * size * reach


def _row_sums(rows, atom: Atoms, column: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Per row: sum of the coefficients (n,), and sum of coefficient * sign * point (n, D) or None."""
    terms = atom.terms
    weight = atom.multipliers * atom.of_groups(terms.weight * terms.sign * column[terms.direction])
    row = _rows_of(atom)
    coefficient = np.bincount(row, weight.sum(0).sum(0), minlength=rows.n)
    if atom.coordinates is None:
        return coefficient, None
    points = np.einsum("skg,skgp->gp", weight, atom.coordinates)
    if atom.basis is not None:
        points = points @ atom.basis
    shift = np.zeros((rows.n, rows.d))
    np.add.at(shift, row, points)
    return coefficient, shift


def _rows_of(atom: Atoms) -> np.ndarray:
    row = np.arange(atom.terms.g) if atom.terms.row is None else atom.terms.row
    return row if atom.groups is None else row[atom.groups]


def _unstable(problem: PatternProblem, atoms: list[Atoms], shares: Shares, column: np.ndarray) -> np.ndarray:
    """What gates that change inside the ball add to q of one output, (P, D)."""
    terms = shares.terms
    multiplier = np.zeros((terms.k, terms.g))
    for atom in atoms:
        if atom.terms is terms:
            groups = np.arange(terms.g) if atom.groups is None else atom.groups
            np.add.at(multiplier.T, groups, atom.multipliers.sum(0).T)
    k, g, gate = shares.alternative, shares.group, shares.gate
    row = (np.arange(terms.g) if terms.row is None else terms.row)[g]
    direction = terms.direction[k, g]
    weight = shares.share * multiplier[k, g] * terms.weight[g] * column[direction]
    from scipy.sparse import csr_matrix

    mixing = csr_matrix((weight * terms.sign[k, g], (gate, row)), shape=(problem.n_gates, problem.rows.n))
    total = np.zeros((problem.n_gates, problem.rows.d))
    for where, block in problem.rows.blocks():
        total += mixing[:, where] @ block
    size = np.zeros(shares.tilt.shape[:2])
    np.add.at(size, (gate, direction), weight * terms.radius[g])
    return total + np.einsum("pk,pkd->pd", size, shares.tilt)


def ball_reach(problem: PatternProblem) -> float:
    """Largest Euclidean length of a perturbation of any row."""
    widest = float(problem.radius.max(initial=0.0))
    return widest * problem.n_features**0.5 if problem.norm == "linf" else widest
