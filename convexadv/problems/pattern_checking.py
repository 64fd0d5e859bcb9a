"""Checks of what comes from outside a pattern problem: certificates, and the patterns of a network's neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..balls import gauge
from ..errors import CertificateError, InputError
from .base import normalised
from .bound import Atoms
from .certificate import AtomSet, ConeMultipliers, GateShares, OptimalityCertificate
from .checking import check_component, check_inside, checked_multipliers, checked_points, floats, terms_of
from .given_gates import unit_gates
from .pattern_bound import Checked, Shares

if TYPE_CHECKING:
    from .patterns import PatternProblem

_ON_THE_BOUNDARY = 1e-9


def checked_component(problem: PatternProblem, number: int, certificate: OptimalityCertificate) -> Checked | None:
    """The parts of a certificate for one component, multipliers scaled to one; None if they all vanish."""
    for part in certificate.parts():
        check_component(problem, part.component)
    atoms = [_checked_atoms(problem, atom) for atom in certificate.atoms if atom.component == number]
    cones = [_checked_cones(problem, part) for part in certificate.cones if part.component == number]
    shares = [_checked_shares(problem, part) for part in certificate.shares if part.component == number]
    _check_given_once(problem, shares)
    atoms, size = normalised(atoms)
    if size == 0:
        return None
    cones = [_rescaled(part, size) for part in cones]
    return Checked(atoms, cones, shares)


def _check_given_once(problem: PatternProblem, shares: list[Shares]) -> None:
    """Shares of one gate in one term, given in several entries or parts, would add up to more than one."""
    for terms in {id(part.terms): part.terms for part in shares}.values():
        parts = [part for part in shares if part.terms is terms]
        entries = np.concatenate(
            [(part.alternative * terms.g + part.group) * problem.n_gates + part.gate for part in parts]
        )
        if len(np.unique(entries)) != len(entries):
            raise CertificateError("a share is given twice; each must be given once.")


def matching_gates(problem: PatternProblem, neurons: np.ndarray) -> np.ndarray:
    """The gate whose pattern each neuron has on the rows, (m,); rows on its boundary count either way.

    Raises
    ------
    InputError
        If a neuron has none of the patterns.
    """
    m, rows = len(neurons), problem.rows
    neurons = unit_gates(neurons.T).T
    wrong = np.zeros((m, problem.n_gates), np.float32)
    hair = np.zeros((m, problem.n_gates), np.float32)
    for where, block in rows.blocks():
        products = block @ neurons.T
        edge = _ON_THE_BOUNDARY * np.linalg.norm(block, axis=1)[:, None]
        patterns = problem.patterns[where].astype(np.float32)
        wrong += _mismatches(products, edge, patterns)
        hair += _mismatches(products, 0.0 * edge, patterns)
    best = np.argmin(wrong * (1.0 + hair.max(initial=0.0)) + hair, axis=1) if m else np.zeros(0, np.int64)
    off = wrong[np.arange(m), best]
    if (off > 0).any():
        j = int(off.argmax())
        raise InputError(
            f"neuron {j} has an activation pattern that is none of the {problem.n_gates} of the problem: its nearest "
            f"gate differs on {int(off[j])} of {rows.n} rows; give the problem the network's own gates "
            "(convexadv.problems.gates.gates_of)."
        )
    return best


def _mismatches(products: np.ndarray, edge: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    on = (products > edge).astype(np.float32)
    off = (products < -edge).astype(np.float32)
    return on.sum(0)[:, None] - (on - off).T @ patterns


def _checked_atoms(problem: PatternProblem, atom: AtomSet) -> Atoms:
    checked = checked_multipliers(problem, atom)
    if atom.coordinates is None:
        return checked
    if atom.spread is not None:
        raise CertificateError("spreads belong to polynomial problems; give points.")
    q, basis = checked_points(atom, checked, problem.rows.d)
    points = q if basis is None else floats("points", q @ basis)
    radius = checked.of_groups(checked.terms.radius)
    points = _into_balls(problem, points, radius)
    return checked._replace(coordinates=points, basis=None)


def _into_balls(problem: PatternProblem, points: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Points drawn into their balls; CertificateError where one lies outside by more than rounding."""
    if (points[..., ~problem.perturbed] != 0).any():
        raise CertificateError("a point perturbs the intercept, which the ball leaves alone; its entry must be zero.")
    reach = gauge(points[..., problem.perturbed], problem.norm)
    radius = np.broadcast_to(radius, reach.shape)
    check_inside(reach, radius)
    shrink = np.where(reach > radius, radius / np.where(reach > 0, reach, 1.0), 1.0)
    return points * (shrink * (1.0 - 2.0**-50))[..., None]


def _checked_cones(problem: PatternProblem, part: ConeMultipliers) -> ConeMultipliers:
    if not problem.cones:
        raise CertificateError(
            "the certificate has cone multipliers, and this problem has no cones; one without them is needed."
        )
    outputs = len(problem.components[part.component].outputs)
    gate, output = _integers("gate", part.gate, problem.n_gates), _integers("output", part.output, outputs)
    m = len(gate)
    values = floats("cone multipliers", part.values)
    indptr = _integers("indptr", part.indptr, None)
    rows = _integers("rows", part.rows, problem.rows.n)
    consistent = len(indptr) == m + 1 and indptr[0] == 0 and (np.diff(indptr) >= 0).all() and indptr[-1] == len(rows)
    if not consistent or values.shape != rows.shape:
        raise CertificateError(
            "the cone multipliers of the certificate do not fit their blocks; rows and values of every block are "
            "needed."
        )
    if (values < 0).any():
        raise CertificateError("cone multipliers must not be negative.")
    side = floats("side", part.side)
    if output.shape != (m,) or side.shape != (m,) or not np.isin(side, problem.sides).all():
        raise CertificateError("every block of cone multipliers needs a gate, an output and a side of +1 or -1.")
    tilt = None if part.tilt is None else floats("tilts", part.tilt)
    if tilt is None and problem.radius.any():
        tilt = np.zeros((m, problem.rows.d))
    if tilt is not None:
        tilt = _checked_tilts(problem, tilt, (m, problem.rows.d))
    return ConeMultipliers(part.component, gate, output, side, indptr, rows, values, tilt)


def _rescaled(part: ConeMultipliers, size: float) -> ConeMultipliers:
    values = part.values / size
    if not np.isfinite(values).all():
        raise CertificateError(
            "cone multipliers are too large beside the multipliers of the terms; their ratios must be finite."
        )
    return ConeMultipliers(part.component, part.gate, part.output, part.side, part.indptr, part.rows, values, part.tilt)


def _checked_shares(problem: PatternProblem, part: GateShares) -> Shares:
    unstable = problem.unstable
    if unstable is None:
        raise CertificateError(
            "the certificate has shares of unstable gates, and this problem has none; one without them is needed."
        )
    component = problem.components[part.component]
    terms = terms_of(problem, part)
    k = _integers("alternative", part.alternative, terms.k)
    g, gate = _integers("group", part.group, terms.g), _integers("gate", part.gate, problem.n_gates)
    share = floats("shares", part.share)
    if not (k.shape == g.shape == gate.shape == share.shape):
        raise CertificateError("the shares of unstable gates need an alternative, a group and a gate each.")
    if ((share < 0) | (share > 1)).any():
        raise CertificateError("shares of unstable gates must lie in [0, 1].")
    row = g if terms.row is None else terms.row[g]
    if not unstable[row, gate].all():
        raise CertificateError(
            "a share names a gate that does not change inside the ball of its row; one that does is needed."
        )
    tilt = floats("tilts", part.tilt)
    shape = (problem.n_gates, len(component.directions), problem.rows.d)
    return Shares(terms, k, g, gate, share, _checked_tilts(problem, tilt, shape))


def _checked_tilts(problem: PatternProblem, tilt: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if tilt.shape != shape:
        raise CertificateError(f"tilts have shape {tilt.shape}; {shape} is needed.")
    return _into_balls(problem, tilt, np.ones(shape[:-1]))


def _integers(name: str, values: np.ndarray, high: int | None) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise CertificateError(f"{name} of the certificate must be a list of whole numbers.")
    if high is not None and array.size and (array.min() < 0 or array.max() >= high):
        raise CertificateError(f"{name} of the certificate must be numbers from 0 to {high - 1}.")
    return array.astype(np.int64)
