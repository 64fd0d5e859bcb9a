"""What every training problem shares: data, labels, loss, weights, terms, the objective at zero and the gap."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._checks import choice, number, per_row
from ..errors import CertificateError, InputError
from ..losses import Loss, get_loss
from ..processes import ALONE, Together, together
from ..rows import Rows, check_finite
from . import labels
from .assembly import assemble
from .bound import Atoms
from .certificate import OptimalityCertificate
from .terms import Component, Terms

MULTICLASS = ("ovr", "joint")
_SMALLEST, _LARGEST = 1e-100, 1e100  # numbers whose squares and quotients are numbers


class Evaluation(NamedTuple):
    """Value of a network in a problem."""

    objective: float
    """loss + beta * penalty."""
    loss: float
    penalty: float
    violation: float
    """Largest relative violation of a constraint; 0 without constraints."""


class Problem:
    """Data, loss and ball of a training problem, as components of terms. Not to be used by itself.

    A subclass sets the fields of its own, calls :meth:`_set_data`, then :meth:`_assemble`, and defines
    :meth:`evaluate` and :meth:`_bound`.
    """

    rows: Rows
    """The rows that the weights see: X, with a constant last feature where the problem has an intercept."""
    components: tuple[Component, ...]
    clean_weight = 0.0
    hard_margin: tuple[np.ndarray, float] | None = None
    margin_curve: tuple[np.ndarray, float] | None = None

    def _set_data(
        self,
        X: Any,
        y: Any,
        *,
        radius: Any,
        beta: float,
        loss: str | Loss,
        multiclass: str,
        sample_weight: Any,
        process_group: Any = None,
    ) -> None:
        self.together = together(process_group)
        self.rows = Rows.of(X)
        check_finite(self.rows, _LARGEST)
        n = self.rows.n
        widths = set(self.together.gather(self.rows.d))
        if len(widths) > 1:
            raise InputError(f"the processes have rows of {sorted(widths)} columns; all need the same number.")
        self.loss = get_loss(loss)
        self.multiclass = choice("multiclass", multiclass, MULTICLASS)
        self.beta = number("beta", beta)
        self.radius = labels.lean(per_row("radius", radius, n))
        weight = per_row("sample_weight", 1.0 if sample_weight is None else sample_weight, n)
        self.sample_weight = labels.lean(weight)
        self.total_weight = self.together.sum(float(self.sample_weight.sum()))
        if not self.total_weight > 0:
            raise InputError("sample_weight sums to zero; at least one row needs a positive weight.")
        if not _SMALLEST <= self.total_weight <= _LARGEST:
            raise InputError(
                f"sample_weight sums to {self.total_weight:g}; a sum from {_SMALLEST:g} to {_LARGEST:g} is needed."
            )
        self.classes: np.ndarray | None
        if self.loss.regression:
            self.classes, self.targets = None, labels.targets(y, n)
            self.n_outputs = self.targets.shape[1]
        else:
            self.classes, self.targets = labels.class_labels(y, n, self.together)
            labels.refuse_measurements(self.classes)
            self.n_outputs = 1 if len(self.classes) == 2 else len(self.classes)

    def _assemble(self) -> None:
        self.row_numbers = np.arange(self.rows.n)
        self.components = assemble(self)
        self._terms: list[list[Terms]] | None = None
        self._zero_objective: float | None = None

    def largest_radius(self) -> float:
        """Largest radius of a ball, in every process."""
        return self.together.largest(float(self.radius.max()))

    def largest_norm(self) -> float:
        """Largest Euclidean norm of a row, in every process."""
        return self.together.largest(self.rows.largest_norm())

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.rows.shape

    @property
    def robust(self) -> bool:
        """Whether any term has a ball."""
        return any(terms.robust for component in self.components for terms in component.terms)

    def __repr__(self) -> str:
        n, d = self.shape
        ball = f"{self.norm} radius {self.radius.max():g}" if self.robust else "radius 0"
        return (
            f"{type(self).__name__}(n={n}, d={d}, {self._size()}outputs={self.n_outputs}, loss={self.loss.name}, "
            f"{ball}, beta={self.beta:g})"
        )

    norm: str

    def _size(self) -> str:
        return ""

    def arrays(self, component: int) -> list[Terms]:
        """The terms of a component as NumPy arrays with their groups, built once."""
        if self._terms is None:
            self._terms = [
                [Terms(terms, self.rows.n, np.asarray, len(part.directions)) for terms in part.terms]
                for part in self.components
            ]
        return self._terms[component]

    def evaluate(self, network: Any) -> Evaluation:
        """Objective, its parts and the violation of constraints at a network, in float64.

        Parameters
        ----------
        network : torch.nn.Module
            Of the problem's kind.

        Returns
        -------
        Evaluation
            objective, loss, penalty, violation.
        """
        raise NotImplementedError

    def objective(self, network: Any) -> float:
        """Sum of the losses + beta * penalty at a network, recomputed in float64; see :meth:`evaluate`.

        Parameters
        ----------
        network : torch.nn.Module
            Of the problem's kind.

        Returns
        -------
        float
        """
        return self.evaluate(network).objective

    def zero_objective(self) -> float:
        """Objective of the zero network: the losses at margin zero."""
        if self._zero_objective is None:
            losses = [
                float((terms.weight * terms.loss.group_value(terms.offset)).sum())
                for number in range(len(self.components))
                for terms in self.arrays(number)
                if not terms.hard
            ]
            self._zero_objective = self.together.sum(math.fsum(losses))
        return self._zero_objective

    def gap(self, upper: float, lower: float) -> float:
        """Relative gap (upper - lower) / max(abs(upper), 1e-3 objective(0)).

        Parameters
        ----------
        upper, lower : float
            An objective and a lower bound.

        Returns
        -------
        float
        """
        return float((upper - lower) / max(abs(upper), 1e-3 * self.zero_objective(), 1e-300))

    def lower_bound(self, certificate: OptimalityCertificate) -> float:
        """The lower bound that a certificate proves, recomputed in NumPy from the data; no solver is involved.

        Parameters
        ----------
        certificate : OptimalityCertificate

        Returns
        -------
        float
            A number that no network of the problem can undercut (up to an allowance for rounding, which is
            subtracted); infinity if the certificate proves that the constraints cannot be met.

        Raises
        ------
        CertificateError
            If multipliers are negative or outside the problem's terms, or points leave their balls.
        """
        if not isinstance(certificate, OptimalityCertificate):
            raise CertificateError(
                f"a {type(certificate).__name__} was given; an OptimalityCertificate (solution.certificate) is needed."
            )
        certificate.check_kinds()
        return self._bound(certificate)

    def _bound(self, certificate: OptimalityCertificate) -> float:
        raise NotImplementedError

    def zero_multipliers(self, component: int) -> list:
        """Atoms of the zero network: its multipliers at the rows themselves."""
        atoms = []
        for terms in self.arrays(component):
            _, z = terms.loss.multipliers(terms.offset)
            atoms.append(Atoms(terms, z[None], None, None))
        return atoms


def normalised(atoms: list[Atoms], together: Together = ALONE) -> tuple[list[Atoms], float]:
    """Atoms with multipliers of size one, which neither overflow nor underflow, and the size divided out.

    The scaling of a certificate is free, one for all processes. The size is zero where every multiplier vanishes.
    """
    atoms = [_with_weight(atom) for atom in atoms]
    size = max((float(np.abs(atom.multipliers).max(initial=0.0)) for atom in atoms), default=0.0)
    size = together.largest(size)
    if size == 0:
        return atoms, 0.0
    return [atom._replace(multipliers=atom.multipliers / size) for atom in atoms], size


def _with_weight(atom: Atoms) -> Atoms:
    """The atoms without the multipliers of groups of weight zero, which add nothing."""
    used = atom.of_groups(atom.terms.weight) > 0
    return atom if used.all() else atom._replace(multipliers=np.where(used, atom.multipliers, 0.0))
