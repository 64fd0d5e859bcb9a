"""Certificate files: robustness of rows, which anyone can check with NumPy, and optimality of a training.

Both are safetensors files with a JSON header and a digest; reading them never runs code. The format is in
``docs/certificate-format.md``.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from ._arrays import to_numpy
from ._atomic import atomic_write
from .errors import CertificateError, FileFormatError, InputError, reason
from .files import KINDS, pack_classes, unpack_classes
from .networks import PolynomialNetwork
from .problems.certificate import AtomSet, ConeMultipliers, GateShares, OptimalityCertificate
from .robustness import RobustnessCertificate
from .robustness.query import Query
from .robustness.witness import witnesses
from .verification.check import recompute
from .verification.claim import WEIGHTS, Claim
from .verification.packing import not_valid, pack, pack_parts, unpack, unpack_parts

if TYPE_CHECKING:
    from .problems.base import Problem

Certificate: TypeAlias = RobustnessCertificate | OptimalityCertificate

_NEARLY = 1.0 - 1e-9  # of a bound of branch and bound: its branches are made anew
_PARTS: tuple[tuple[str, type[Any]], ...] = (("atoms", AtomSet), ("cones", ConeMultipliers), ("shares", GateShares))


def save_certificate(certificate: Certificate, path: str | os.PathLike[str], problem: Problem | None = None) -> None:
    """Write a certificate to a file, which is replaced only when the new one is complete.

    A RobustnessCertificate is written with its network, rows and the witnesses of its bounds, so that
    :func:`convexadv.verify_certificate` and ``convexadv verify`` check it without torch or a solver. The bounds in the
    file are those that the witnesses prove, less an allowance for the rounding of another machine: they are never above
    those of the certificate. Of a complete search over undecided neurons the branches of certified rows are written; the
    other rows have their linear bounds. An OptimalityCertificate is written with a fingerprint of its problem.

    Parameters
    ----------
    certificate : RobustnessCertificate or OptimalityCertificate
        Of :func:`convexadv.certify`, or ``solution.certificate``.
    path : str or path-like
        The target; its folder must exist.
    problem : Problem, optional
        The problem that an OptimalityCertificate speaks of; needed for that, and for nothing else.

    Raises
    ------
    InputError
        If the certificate is of another kind, was made with ``complete=True`` for a PolynomialNetwork, which leaves no
        witnesses, does not hold what it was made from, the problem is missing, or the target cannot be created.
    CertificateError
        If the certificate is not one of the problem.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> certificate = ca.certify(network, X, y, radius=0.5)
    >>> ca.save_certificate(certificate, "proof.safetensors")
    >>> ca.verify_certificate("proof.safetensors").ok  # with NumPy only
    True
    """
    if isinstance(certificate, RobustnessCertificate):
        content = pack(_claim(certificate))
    elif isinstance(certificate, OptimalityCertificate):
        if problem is None:
            raise InputError(
                "an OptimalityCertificate was given without its problem; save_certificate(certificate, path, problem) "
                "is needed."
            )
        problem.lower_bound(certificate)  # what is written can be used
        content = _pack_optimality(certificate, problem)
    else:
        raise InputError(
            "save_certificate takes a RobustnessCertificate or an OptimalityCertificate, got "
            f"{type(certificate).__name__}."
        )
    with atomic_write(path, "wb") as file:
        file.write(content)


def load_certificate(path: str | os.PathLike[str], problem: Problem | None = None) -> Certificate:
    """Read a certificate that :func:`save_certificate` wrote.

    Reading does not verify: :func:`convexadv.verify_certificate` and ``problem.lower_bound`` do.

    Parameters
    ----------
    path : str or path-like
        The file.
    problem : Problem, optional
        The problem of a certificate of optimality; needed for that, and for nothing else.

    Returns
    -------
    RobustnessCertificate or OptimalityCertificate
        NumPy arrays; ``query`` of a RobustnessCertificate holds its network, rows, labels and radii.

    Raises
    ------
    InputError
        If there is no such file, or a problem is needed and not given.
    FileFormatError
        If the file is damaged, of another kind, or from a newer version.
    CertificateError
        If the certificate was made for another problem.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> ca.save_certificate(ca.certify(network, X, y, radius=0.5), "proof.safetensors")
    >>> ca.load_certificate("proof.safetensors").certified
    array([ True, False])
    """
    tensors, header = unpack_parts(path)
    if header.get("claim") != "optimality":
        return _robustness(unpack(path), os.fspath(path))
    if problem is None:
        raise InputError(
            f"{os.fspath(path)} holds a certificate of optimality; load_certificate(path, problem) needs its problem."
        )
    if header.get("problem") != fingerprint(problem):
        raise CertificateError(
            f"{os.fspath(path)} was made for another problem than {problem!r} (data, labels, loss, ball or penalty differ); "
            "its own is needed."
        )
    try:
        return OptimalityCertificate(
            *(
                tuple(
                    _part(kind, f"{name}.{number}", settings, tensors) for number, settings in enumerate(header[name])
                )
                for name, kind in _PARTS
            )
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(
            f"{os.fspath(path)} is not a valid certificate of optimality: {reason(error)}."
        ) from error


def fingerprint(problem: Problem) -> str:
    """SHA-256 of what a problem's lower bounds depend on: rows, targets, terms, ball, penalty, kind of network.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    str
    """
    digest = hashlib.sha256(f"{problem!r} {problem.beta!r} {problem.multiclass} {problem.clean_weight}".encode())
    for name in ("activation", "scale", "gates", "gate_biases"):
        _update(digest, name, getattr(problem, name, None))
    for _, block in problem.rows.blocks():
        _update(digest, "rows", block)
    for component in problem.components:
        _update(digest, "outputs", component.outputs)
        _update(digest, "directions", component.directions)
        for terms in component.terms:
            digest.update(f"{terms.loss!r}".encode() if not _is_default_repr(terms.loss) else terms.loss.name.encode())
            for field in fields(terms)[1:]:
                _update(digest, field.name, getattr(terms, field.name))
    return digest.hexdigest()


def _is_default_repr(value: Any) -> bool:
    """Whether the text of an object is its address, which is another one in every process."""
    return type(value).__repr__ is object.__repr__


def _update(digest: Any, name: str, value: Any) -> None:
    if value is not None:
        array = np.ascontiguousarray(
            to_numpy(value) if hasattr(value, "shape") else np.asarray(value, dtype=np.float64)
        )
        digest.update(f"\0{name} {array.shape}\0".encode())
        digest.update(array.astype("<f8" if array.dtype.kind == "f" else "<i8").tobytes())


def _pack_optimality(certificate: OptimalityCertificate, problem: Problem) -> bytes:
    tensors: dict[str, np.ndarray] = {}
    header: dict[str, Any] = {"claim": "optimality", "problem": fingerprint(problem)}
    for name, _ in _PARTS:
        header[name] = []
        for number, part in enumerate(getattr(certificate, name)):
            settings = {}
            for field in fields(part):
                value = getattr(part, field.name)
                if isinstance(value, np.ndarray):
                    tensors[f"{name}.{number}.{field.name}"] = value
                else:
                    settings[field.name] = None if value is None else int(value)
            header[name].append(settings)
    return pack_parts(tensors, header)


def _part(kind: type[Any], prefix: str, settings: dict[str, Any], tensors: dict[str, np.ndarray]) -> Any:
    return kind(
        **{
            field.name: settings[field.name] if field.name in settings else tensors[f"{prefix}.{field.name}"]
            for field in fields(kind)
        }
    )


def _claim(certificate: RobustnessCertificate) -> Claim:
    """The claim of a certificate, with bounds that its witnesses prove."""
    query = certificate.query
    if certificate.complete and query is not None and isinstance(query.network, PolynomialNetwork):
        raise InputError(
            "a certificate of a PolynomialNetwork made with complete=True comes from branch and bound over sub-boxes, of "
            "which no witnesses are kept; make one with complete=False to save it."
        )
    if query is None or query.network.classes is None:
        raise InputError("the certificate does not hold what it was made from; one of certify(...) is needed.")
    network = query.network
    kind, packed = type(network).__name__, pack_classes(network.classes)
    assert packed is not None
    low, high = (None, None) if query.bounds is None else query.bounds
    lower = np.array(to_numpy(certificate.lower_bound), dtype=np.float64)
    certified = np.array(to_numpy(certificate.certified), dtype=bool)
    claim = Claim(
        kind,
        {name: to_numpy(getattr(network, name)) for name in (*WEIGHTS[kind], "shift", "scale")},
        network.activation if isinstance(network, PolynomialNetwork) else None,
        packed["values"],
        packed["type"],
        query.norm,
        certificate.method,
        np.array(query.X, dtype=np.float64),
        query.labels.astype(np.int64),
        np.array(query.radius, dtype=np.float64),
        low,
        high,
        lower,
        certified,
        witnesses(query, np.where(certified, _NEARLY * lower, -np.inf) if certificate.complete else None),
    )
    found = recompute(claim)
    lower = np.minimum(lower, found.bound - found.allowance)
    return replace(claim, lower_bound=lower, certified=certified & (lower > 0))


def _robustness(claim: Claim, name: str) -> RobustnessCertificate:
    """The certificate of a claim."""
    settings = {} if claim.activation is None else {"activation": list(claim.activation)}
    try:
        classes = unpack_classes({"type": claim.class_type, "values": claim.classes})
        tensors = {key: torch.from_numpy(array.copy()) for key, array in claim.weights.items()}
        network = KINDS[claim.kind]._from_parts(tensors, settings, classes)
    except (InputError, TypeError, OverflowError) as error:
        raise not_valid(name, reason(error)) from error
    box = None if claim.low is None or claim.high is None else (claim.low, claim.high)
    query = Query(network, claim.X, claim.labels, claim.radius, claim.norm, None, box)
    same = len(claim.radius) and (claim.radius == claim.radius[0]).all()
    radius = float(claim.radius[0]) if same else claim.radius
    complete = "leaf_row" in claim.witness
    bounds = claim.certified, claim.lower_bound
    return RobustnessCertificate(*bounds, claim.method, claim.norm, radius, query=query, complete=complete)
