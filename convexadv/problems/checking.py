"""Checks of what comes from outside a problem: certificates and networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import to_numpy
from ..errors import CertificateError, InputError
from .bound import Atoms
from .certificate import AtomSet

if TYPE_CHECKING:
    from .polynomial import PolynomialProblem

_OUTSIDE_TOLERANCE = 1e-6


def checked_atoms(problem: PolynomialProblem, atom: AtomSet) -> Atoms:
    """The atoms of a certificate as arrays, points drawn into their balls; CertificateError where they do not fit."""
    sets = problem.arrays(atom.component)
    if not 0 <= atom.term < len(sets):
        raise CertificateError(f"the certificate speaks of term {atom.term}; the component has {len(sets)}.")
    terms = sets[atom.term]
    z = np.asarray(atom.multipliers, np.float64)
    count = terms.g if atom.groups is None else len(atom.groups)
    if z.ndim != 3 or z.shape[1:] != (terms.k, count):
        raise CertificateError(f"multipliers have shape {z.shape}; (samples, {terms.k}, {count}) is needed.")
    if not np.isfinite(z).all() or (not terms.loss.signed and (z < 0).any()):
        raise CertificateError("multipliers must be finite and not negative.")
    groups = None if atom.groups is None else np.asarray(atom.groups)
    if groups is not None and (groups.dtype.kind not in "iu" or (groups < 0).any() or (groups >= terms.g).any()):
        raise CertificateError(f"the certificate names groups outside 0..{terms.g - 1}.")
    if atom.coordinates is None:
        return Atoms(terms, z, None, None, None, groups)
    return _checked_points(problem, atom, Atoms(terms, z, None, None, None, groups))


def _checked_points(problem: PolynomialProblem, atom: AtomSet, checked: Atoms) -> Atoms:
    terms, z = checked.terms, checked.multipliers
    q = np.asarray(atom.coordinates, np.float64)
    basis = None if atom.basis is None else np.asarray(atom.basis, np.float64)
    spread = None if atom.spread is None else np.asarray(atom.spread, np.float64)
    width = problem.rows.d if basis is None else basis.shape[0]
    if q.shape != (*z.shape, width) or not np.isfinite(q).all():
        raise CertificateError(f"points have shape {q.shape}; finite entries of shape {(*z.shape, width)} are needed.")
    if basis is not None and (basis.shape[1] != problem.rows.d or not np.isfinite(basis).all()):
        raise CertificateError(
            f"the basis has shape {basis.shape}; finite entries of shape (p, {problem.rows.d}) are needed."
        )
    if spread is not None and (spread.shape != q.shape or not (np.isfinite(spread).all() and (spread >= 0).all())):
        raise CertificateError("spreads must be finite, not negative and shaped as the points.")
    if terms.loss.signed:
        raise CertificateError("signed multipliers belong to rows without a ball; their points must be the rows.")
    radius = checked.of_groups(terms.radius)
    if problem.norm == "linf":
        if spread is not None:
            raise CertificateError("spreads along a basis belong to l2 balls; give the moments of a box as samples.")
        q, basis = (q, None) if basis is None else (q @ basis, None)
        total = z.sum(0)
        square = np.einsum("skg,skgj->kgj", z, q**2).max(-1) / np.where(total > 0, total, 1.0)
        reach = np.where(total > 0, np.sqrt(square), 0.0)
    else:
        if basis is not None and (terms.curvature > 0).any() and not _is_orthonormal(basis):
            raise CertificateError("a margin curve measures ||e|| in coordinates; its basis must be orthonormal.")
        stretch = 1.0 if basis is None else float(np.linalg.norm(basis, 2))
        reach = np.sqrt((q * q).sum(-1) + (0.0 if spread is None else spread.sum(-1))) * stretch
    if (reach > radius * (1.0 + _OUTSIDE_TOLERANCE)).any():
        raise CertificateError(
            f"a point lies {float((reach - radius).max()):.3g} outside its ball; points must stay inside."
        )
    shrink = np.where(reach > radius, radius / np.where(reach > 0, reach, 1.0), 1.0)[..., None]
    return checked._replace(coordinates=q * shrink, basis=basis, spread=None if spread is None else spread * shrink**2)


def network_weights(problem: PolynomialProblem, network: Any) -> tuple[np.ndarray, np.ndarray]:
    """Unit neurons (m, d) and coefficients (m, C) of a network that the problem can represent, else InputError."""
    if not hasattr(network, "neurons") or not hasattr(network, "coefficients") or not hasattr(network, "activation"):
        raise InputError(f"a {type(network).__name__} was given; a PolynomialNetwork is needed.")
    neurons, coefficients = (
        to_numpy(network.neurons, np.float64),
        to_numpy(network.coefficients, np.float64),
    )
    coefficients = (
        coefficients.reshape(len(neurons), -1) if coefficients.size else np.zeros((len(neurons), problem.n_outputs))
    )
    if neurons.shape[1] != problem.rows.d or coefficients.shape[1] != problem.n_outputs:
        raise InputError(
            f"the network has {neurons.shape[1]} features and {coefficients.shape[1]} outputs; "
            f"the problem has {problem.rows.d} and {problem.n_outputs}."
        )
    if not np.allclose(tuple(network.activation), problem.activation, rtol=1e-12, atol=0):
        raise InputError(
            f"the network's activation is {tuple(network.activation)}; the problem's is {problem.activation}."
        )
    shift, scale = to_numpy(network.shift), to_numpy(network.scale)
    if (shift != 0).any() or (scale != 1).any():
        raise InputError("the network scales its inputs itself; give the network in the units of the problem's X.")
    norms = np.linalg.norm(neurons, axis=1, keepdims=True)
    if len(neurons) and np.abs(norms - 1.0).max() > 1e-5:
        raise InputError(f"a neuron has norm {norms.flat[np.abs(norms - 1.0).argmax()]:.6g}; unit neurons are needed.")
    return neurons / norms, coefficients


def _is_orthonormal(basis: np.ndarray) -> bool:
    return bool(np.abs(basis @ basis.T - np.eye(len(basis))).max(initial=0.0) < 1e-12)
