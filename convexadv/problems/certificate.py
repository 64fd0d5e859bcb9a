"""Certificates of optimality: weighted atoms on terms, which give a lower bound without any solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import CertificateError


@dataclass(frozen=True)
class AtomSet:
    """Multipliers and adversarial points of one set of terms.

    Each of S samples puts the multiplier ``multipliers[s, k, g]`` on alternative k of group g at the point
    x + scale * (coordinates @ basis). Several samples of one term are averaged with their multipliers, which is needed
    in degenerate cases and for the diagonal restriction of the l_inf ball (lifted moments).

    Attributes
    ----------
    component, term : int
        Which component, which of its sets of terms.
    multipliers : (S, k, g)
    coordinates : (S, k, g, p) or None
        Points in a basis of p vectors; None for the rows themselves.
    basis : (p, d) or None
        None where the coordinates are the perturbation itself (p = d).
    spread : (S, k, g, p) or None
        Variances added along each basis vector: the sample is then a distribution of points with mean ``coordinates``,
        whose mean square must stay inside the ball (l2 only).
    groups : (g,) int or None
        Groups of the term set that the arrays speak of; None for all of them in order.
    """

    component: int
    term: int
    multipliers: np.ndarray
    coordinates: np.ndarray | None = None
    basis: np.ndarray | None = None
    spread: np.ndarray | None = None
    groups: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the stored arrays."""
        parts = (self.multipliers, self.coordinates, self.basis, self.spread, self.groups)
        return sum(part.nbytes for part in parts if part is not None)


@dataclass(frozen=True)
class ConeMultipliers:
    """Multipliers mu >= 0 of the cones of some blocks (gate, output, side) of a ReLU programme, sparse over the rows.

    They lower the price of a block from ||+-q|| to ||+-q + A'mu - (sum_i mu_i r_i) tilt||, A = (2 D_k - I) X.

    Attributes
    ----------
    component : int
    gate, output : (m,) int
        ``output`` counts within the component.
    side : (m,)
        +1 or -1.
    indptr : (m + 1,) int
    rows : (nnz,) int
    values : (nnz,)
        Block j has the multipliers ``values[indptr[j]:indptr[j+1]]`` on the rows of the same places.
    tilt : (m, D) or None
        A point of the unit ball of the norm for every block, zero at the intercept; None at radius 0.
    """

    component: int
    gate: np.ndarray
    output: np.ndarray
    side: np.ndarray
    indptr: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    tilt: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the stored arrays."""
        parts = (self.gate, self.output, self.side, self.indptr, self.rows, self.values, self.tilt)
        return sum(part.nbytes for part in parts if part is not None)


@dataclass(frozen=True)
class GateShares:
    """Shares of the multipliers of a term that fall on gates which change inside the ball (robust gated networks).

    Attributes
    ----------
    component, term : int
    alternative, group, gate : (e,) int
        Which term and which unstable gate of its row.
    share : (e,)
        In [0, 1].
    tilt : (P, K, D)
        For every gate and direction a point of the unit ball of the norm, zero at the intercept.
    """

    component: int
    term: int
    alternative: np.ndarray
    group: np.ndarray
    gate: np.ndarray
    share: np.ndarray
    tilt: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of the stored arrays."""
        return sum(part.nbytes for part in (self.alternative, self.group, self.gate, self.share, self.tilt))


@dataclass(frozen=True)
class OptimalityCertificate:
    """Atoms that prove a lower bound on the optimal objective; checked by ``problem.lower_bound(certificate)``.

    Attributes
    ----------
    atoms : tuple of AtomSet
    cones : tuple of ConeMultipliers
        Of ReLU programmes.
    shares : tuple of GateShares
        Of robust gated programmes.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> problem = ca.PolynomialProblem(X, y, beta=0.01)
    >>> certificate = ca.solve(problem).certificate
    >>> bool(problem.lower_bound(certificate) > 0.1)  # recomputed from X and y, without the solver
    True
    >>> bool(problem.lower_bound(certificate) <= problem.objective(ca.PolynomialNetwork([[1.0, 0.0]], [3.0])))
    True
    """

    atoms: tuple[AtomSet, ...]
    cones: tuple[ConeMultipliers, ...] = ()
    shares: tuple[GateShares, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the stored arrays."""
        return sum(part.nbytes for part in self.parts())

    def parts(self) -> tuple[AtomSet | ConeMultipliers | GateShares, ...]:
        """All parts, each of which names its component."""
        return (*self.atoms, *self.cones, *self.shares)

    def check_kinds(self) -> None:
        """Raise CertificateError unless every part is of its kind, with whole numbers for its component and term."""
        for name, kind in (("atoms", AtomSet), ("cones", ConeMultipliers), ("shares", GateShares)):
            parts = getattr(self, name)
            if not isinstance(parts, tuple | list) or not all(isinstance(part, kind) for part in parts):
                raise CertificateError(f"{name} of the certificate must be a tuple of {kind.__name__}.")
            for part in parts:
                numbers = (part.component, getattr(part, "term", 0))
                if not all(isinstance(number, int | np.integer) for number in numbers):
                    raise CertificateError(f"{name} of the certificate name {numbers!r}; whole numbers are needed.")
