"""Whether every claim of a certificate file holds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load as from_bytes

from .._safetensors import read_safetensors
from ..errors import FileFormatError
from . import _polynomial, _relu
from ._balls import UNDERFLOW
from .claim import Claim
from .packing import unpack


class Recomputed(NamedTuple):
    """Bounds (n,) of the margins that the witnesses prove, and what was subtracted from them for rounding (n,)."""

    bound: np.ndarray
    allowance: np.ndarray


@dataclass(frozen=True, eq=False)
class Verification:
    """What became of the claims of a certificate.

    Attributes
    ----------
    claim : Claim
    bound : (n,)
        Lower bounds of the margins, recomputed from the witnesses; -inf where a witness proves nothing.
    holds : (n,) bool
        Whether the bound that is claimed of the row is proven, and, if the row is claimed to be certified, that bound
        is positive.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> ca.save_certificate(ca.certify(network, X, y, radius=0.5), "proof.safetensors")
    >>> verification = ca.verify_certificate("proof.safetensors")
    >>> verification.holds  # of every row, what is claimed of it
    array([ True,  True])
    """

    claim: Claim
    bound: np.ndarray
    holds: np.ndarray

    @property
    def claimed(self) -> int:
        """Number of rows claimed to be certified."""
        return int(self.claim.certified.sum())

    @property
    def verified(self) -> int:
        """Number of these of which everything claimed is proven."""
        return int((self.claim.certified & self.holds).sum())

    @property
    def worst(self) -> float:
        """Least recomputed bound of the rows claimed to be certified; of all rows if there are none."""
        rows = self.claim.certified if self.claimed else np.ones(len(self.bound), bool)
        return float(self.bound[rows].min(initial=np.inf))

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return bool(self.holds.all())


def verify_certificate(path: str | os.PathLike[str]) -> Verification:
    r"""Check every claim of a robustness certificate with NumPy only.

    The margin of row i is y f(x), or f_y(x) - max over c != y of f_c(x). For each of the differences the file holds a
    witness w of weak duality: D(w) <= min over ||delta||_p <= r_i of f_y(x_i + delta) - f_c(x_i + delta). D is evaluated
    here, with an allowance for rounding; ``docs/certificate-format.md`` has its form and its proof for each kind of
    network. The claim of a row holds if D(w) is at least the bound in the file, in the units of the scores.

    Parameters
    ----------
    path : str or path-like
        What :func:`convexadv.save_certificate` wrote.

    Returns
    -------
    Verification
        Arrays (n,), one entry a row; ``ok`` is False if a single claim does not hold.

    Raises
    ------
    InputError
        If there is no such file.
    FileFormatError
        If it is damaged, not a certificate of robustness, or its parts do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> ca.save_certificate(ca.certify(network, X, y, radius=0.5), "proof.safetensors")
    >>> verification = ca.verify_certificate("proof.safetensors")
    >>> verification.ok, verification.bound.round(6).tolist()
    (True, [0.5, -0.3])
    """
    claim = unpack(path)
    bound = recompute(claim).bound
    proven = bound >= claim.lower_bound  # False for NaN
    return Verification(claim, bound, proven & (~claim.certified | (claim.lower_bound > 0)))


def same_network(claim: Claim, path: str | os.PathLike[str]) -> bool:
    """Whether a claim speaks of the network of a model file.

    Parameters
    ----------
    claim : Claim
    path : str or path-like
        What :func:`convexadv.save` wrote.

    Returns
    -------
    bool
        Whether all weights are the same numbers, and so is the scaling of the inputs; a claim about rows that are
        scaled already (shift 0, scale 1) speaks of the same network too.

    Raises
    ------
    InputError, FileFormatError
        If the file cannot be read, or is not a model file.
    """
    tensors, header = read_safetensors(path, from_bytes)
    if header.get("format") != "convexadv" or not isinstance(header.get("settings"), dict):
        raise FileFormatError(f"{os.fspath(path)} is not a model file of convexadv; one of convexadv.save is needed.")
    activation = header["settings"].get("activation")
    if header.get("kind") != claim.kind or set(tensors) != set(claim.weights):
        return False
    if (None if activation is None else tuple(activation)) != claim.activation:
        return False
    scaled = bool((claim.weights["shift"] == 0).all() and (claim.weights["scale"] == 1).all())
    names = set(tensors) - ({"shift", "scale"} if scaled else set())
    return all(np.array_equal(tensors[name], claim.weights[name]) for name in names)


def recompute(claim: Claim) -> Recomputed:
    """Bounds of the margins of all rows from the witnesses.

    Parameters
    ----------
    claim : Claim

    Returns
    -------
    Recomputed
        bound (n,), allowance (n,).
    """
    n = len(claim.X)
    bound, allowance = np.full(n, np.inf), np.zeros(n)
    module = _polynomial if claim.kind == "PolynomialNetwork" else _relu
    for label, other, slot in _pairs(claim.outputs):
        rows = np.flatnonzero(claim.labels == label)
        if not len(rows):
            continue
        with np.errstate(all="ignore"):
            lower, taken = module.bounds(claim, rows, label, other, slot)
        underflow = np.where(taken > 0, UNDERFLOW, 0.0)
        lower, taken = lower - underflow, taken + underflow
        lower = np.where(np.isfinite(lower) & np.isfinite(taken), lower, -np.inf)
        bound[rows] = np.minimum(bound[rows], lower)
        allowance[rows] = np.maximum(allowance[rows], taken)
    return Recomputed(bound, allowance)


def _pairs(outputs: int) -> list[tuple[int, int, int]]:
    """Label, other class and place of the witness: the other classes in their order."""
    count = max(2, outputs)
    return [
        (label, other, 0 if outputs == 1 else other - (other > label))
        for label in range(count)
        for other in range(count)
        if other != label
    ]
