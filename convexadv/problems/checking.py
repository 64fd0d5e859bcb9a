"""Checks of what comes from outside a problem: certificates and networks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import to_numpy
from ..errors import CertificateError, InputError, wrong_kind
from .bound import Atoms
from .certificate import AtomSet
from .terms import Terms

if TYPE_CHECKING:
    from .base import Problem
    from .polynomial import PolynomialProblem

_OUTSIDE_TOLERANCE = 1e-6


def checked_atoms(problem: PolynomialProblem, atom: AtomSet) -> Atoms:
    """The atoms of a certificate as arrays, points drawn into their balls; CertificateError where they do not fit."""
    checked = checked_multipliers(problem, atom)
    return checked if atom.coordinates is None else _checked_points(problem, atom, checked)


def checked_multipliers(problem: Problem, atom: AtomSet) -> Atoms:
    """The multipliers of a certificate as arrays, without points; CertificateError where they do not fit."""
    terms = terms_of(problem, atom)
    z = floats("multipliers", atom.multipliers)
    groups = None if atom.groups is None else np.asarray(atom.groups)
    if groups is not None:
        inside = groups.ndim == 1 and groups.dtype.kind in "iu" and ((groups >= 0) & (groups < terms.g)).all()
        if not inside:
            raise CertificateError(f"groups must be a list of numbers from 0 to {terms.g - 1}.")
    count = terms.g if groups is None else len(groups)
    if z.ndim != 3 or z.shape[1:] != (terms.k, count):
        raise CertificateError(f"multipliers have shape {z.shape}; (samples, {terms.k}, {count}) is needed.")
    if not terms.loss.signed and (z < 0).any():
        raise CertificateError("multipliers must not be negative.")
    return Atoms(terms, z, None, None, None, groups)


def terms_of(problem: Problem, part: Any) -> Terms:
    """The terms that a part of a certificate speaks of; CertificateError where the problem has none such."""
    check_component(problem, part.component)
    sets = problem.arrays(part.component)
    if part.term not in range(len(sets)):
        raise CertificateError(
            f"the certificate speaks of term {part.term!r}; one of the {len(sets)} there are is needed."
        )
    return sets[int(part.term)]


def check_component(problem: Problem, number: Any) -> None:
    """Raise CertificateError where the problem has no component of that number."""
    if number not in range(len(problem.components)):
        raise CertificateError(
            f"the certificate speaks of component {number!r}; one of the {len(problem.components)} there are is needed."
        )


def checked_points(atom: AtomSet, checked: Atoms, d: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Coordinates (S, k, g, p) and basis (p, d) of the points of an atom set; CertificateError where they do not fit."""
    q = floats("points", atom.coordinates)
    basis = None if atom.basis is None else floats("the basis", atom.basis)
    if basis is not None and (basis.ndim != 2 or basis.shape[1] != d):
        raise CertificateError(f"the basis has shape {basis.shape}; (p, {d}) is needed.")
    needed = (*checked.multipliers.shape, d if basis is None else len(basis))
    if q.shape != needed:
        raise CertificateError(f"points have shape {q.shape}; {needed} is needed.")
    if checked.terms.loss.signed:
        raise CertificateError("signed multipliers belong to rows without a ball; their points must be the rows.")
    return q, basis


def check_inside(reach: np.ndarray, radius: np.ndarray) -> None:
    """Raise CertificateError where a point lies outside of its ball by more than rounding."""
    if (reach > radius * (1.0 + _OUTSIDE_TOLERANCE)).any():
        raise CertificateError(
            f"a point lies {float((reach - radius).max()):.3g} outside its ball; points must stay inside."
        )


def _checked_points(problem: PolynomialProblem, atom: AtomSet, checked: Atoms) -> Atoms:
    terms, z = checked.terms, checked.multipliers
    q, basis = checked_points(atom, checked, problem.rows.d)
    spread = None if atom.spread is None else floats("spreads", atom.spread)
    if spread is not None and (spread.shape != q.shape or (spread < 0).any()):
        raise CertificateError("spreads must not be negative, and shaped as the points.")
    radius = checked.of_groups(terms.radius)
    if problem.norm == "linf":
        if spread is not None:
            raise CertificateError("spreads along a basis belong to l2 balls; give the moments of a box as samples.")
        q, basis = (q, None) if basis is None else (q @ basis, None)
        total = z.sum(0)
        share = z / np.where(total > 0, total, 1.0)
        reach = np.sqrt(np.einsum("skg,skgj->kgj", share, q**2).max(-1))
    else:
        if basis is not None and (terms.curvature > 0).any() and not _is_orthonormal(basis):
            raise CertificateError("a margin curve measures ||e|| in coordinates; its basis must be orthonormal.")
        stretch = 1.0 if basis is None else float(np.linalg.norm(basis, 2))
        usual = 0.5 < stretch < 2.0  # nothing is copied; else before the square, which may underflow
        moved = q if usual else q * stretch
        square = np.einsum("skgp,skgp->skg", moved, moved)
        square = square * stretch**2 if usual else square
        reach = np.sqrt(square if spread is None else square + (spread.sum(-1) * stretch) * stretch)
    check_inside(reach, radius)
    if not (reach > radius).any():  # as it should be: nothing is copied
        return checked._replace(coordinates=q, basis=basis, spread=spread)
    shrink = np.where(reach > radius, radius / np.where(reach > 0, reach, 1.0), 1.0)[..., None]
    return checked._replace(coordinates=q * shrink, basis=basis, spread=None if spread is None else spread * shrink**2)


def network_weights(problem: PolynomialProblem, network: Any) -> tuple[np.ndarray, np.ndarray]:
    """Unit neurons (m, d) and coefficients (m, C) of a network that the problem can represent, else InputError."""
    if not hasattr(network, "neurons") or not hasattr(network, "coefficients") or not hasattr(network, "activation"):
        raise wrong_kind(network, "a PolynomialNetwork")
    neurons, coefficients = (
        to_numpy(network.neurons, np.float64),
        to_numpy(network.coefficients, np.float64),
    )
    coefficients = (
        coefficients.reshape(len(neurons), -1) if coefficients.size else np.zeros((len(neurons), problem.n_outputs))
    )
    check_sizes((neurons.shape[1], coefficients.shape[1]), (problem.rows.d, problem.n_outputs))
    if not np.allclose(tuple(network.activation), problem.activation, rtol=1e-12, atol=0):
        raise InputError(
            f"the network's activation is {tuple(network.activation)}; the problem's, {problem.activation}, is needed."
        )
    check_unscaled(network)
    norms = np.linalg.norm(neurons, axis=1, keepdims=True)
    if len(neurons) and np.abs(norms - 1.0).max() > 1e-5:
        raise InputError(f"a neuron has norm {norms.flat[np.abs(norms - 1.0).argmax()]:.6g}; unit neurons are needed.")
    return neurons / norms, coefficients


def check_sizes(given: tuple[int, int], needed: tuple[int, int]) -> None:
    """Raise InputError where (features, outputs) of a network are not those of the problem."""
    if given != needed:
        raise InputError(
            f"the network has {given[0]} features and {given[1]} outputs; those of the problem, {needed[0]} and "
            f"{needed[1]}, are needed."
        )


def check_unscaled(network: Any) -> None:
    """Raise InputError for a network that does not take rows in the units of the problem."""
    if (to_numpy(network.shift) != 0).any() or (to_numpy(network.scale) != 1).any():
        raise InputError("the network scales its inputs itself; give the network in the units of the problem's X.")


def _is_orthonormal(basis: np.ndarray) -> bool:
    return bool(np.abs(basis @ basis.T - np.eye(len(basis))).max(initial=0.0) < 1e-13)


def floats(name: str, values: Any) -> np.ndarray:
    """Finite float64 numbers of a certificate; CertificateError where they are not."""
    array = None
    with contextlib.suppress(TypeError, ValueError):
        given = np.asarray(values)
        array = None if given.dtype.kind == "c" else np.asarray(given, np.float64)
    if array is None:
        raise CertificateError(f"{name} of the certificate are no real numbers; these are needed.")
    if not np.isfinite(array).all():
        raise CertificateError(f"{name} of the certificate must be finite.")
    return array
