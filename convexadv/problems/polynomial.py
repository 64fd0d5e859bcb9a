r"""The training problem of two-layer polynomial networks: data, objective value and dual bound."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import CertificateError, InputError
from ..losses import Loss, get_loss
from ..rows import Rows, check_finite
from . import bound, labels
from .assembly import assemble
from .certificate import OptimalityCertificate
from .checking import checked_atoms, network_weights
from .forms import QuadraticForms, Terms
from .terms import Component
from .threshold import Bracket, zero_solution_bracket

NORMS = ("l2", "linf")
MULTICLASS = ("ovr", "joint")


class Evaluation(NamedTuple):
    """Value of a network in a problem."""

    objective: float
    """loss + beta * penalty."""
    loss: float
    penalty: float
    violation: float
    """Largest shortfall of a hard margin or margin curve, in units of the margin; 0 without constraints."""


class PolynomialProblem:
    r"""Convex training of a two-layer network with a polynomial activation, robust or not.

    minimise over networks f_c(x) = sum_j alpha_jc s(u_j . x), ||u_j||_2 = 1, s(t) = a t^2 + b t + c,

        sum_i omega_i loss_i / sum_i omega_i  +  beta sum_jc |alpha_jc|,

    where loss_i is taken at the worst perturbation of row i in its ball. By the lift W = Z - Z' this is a semidefinite
    programme ([BP21], [KLP24]); its optimum is the global optimum of the network's training problem.

    Parameters
    ----------
    X : (n, d) array, tensor, memory map, or list of shards
        Rows, in the units in which ``radius`` is measured.
    y : (n,) or (n, C)
        Labels of any kind (two or more classes), or real targets for ``loss="squared"``.
    radius : float or (n,)
        Radius r >= 0 of the ball of every row, in the units of X.
    beta : float
        Weight of the penalty; positive for a useful bound.
    loss : {"hinge", "squared_hinge", "logistic", "squared"}
        max(0, 1-m), max(0, 1-m)^2, log(1+exp(-m)), or (f-y)^2/2 (regression, worst end of the interval of f).
    norm : {"l2", "linf"}
        The ball. "l2" is exact. "linf" is the diagonal-multiplier restriction: safe (it never understates the loss),
        convex, and stricter than the true box.
    scale : (d,), optional
        Axes of an ellipsoid: ||delta/scale|| <= r. Zeros mark features that are not perturbed.
    activation : (a, b, c)
        Coefficients of s; the default is a quadratic fit of ReLU [KLP24].
    multiclass : {"ovr", "joint"}
        One-vs-rest (C problems, objectives summed) or the sum over c != y of the loss of f_y - f_c, each pair at its own
        worst perturbation (an upper bound on the loss at one common perturbation).
    sample_weight : (n,), optional
        omega >= 0; a weight of two equals repeating the row.
    clean_weight : float in [0, 1]
        theta: theta * loss at the row itself + (1 - theta) * loss at the worst perturbation.
    hard_margin : float or (rows, float), optional
        Constraint worst-case margin >= m, on all rows or on some (mask or row numbers), beside the loss.
    margin_curve : float or (rows, float), optional
        Constraint y f(x + delta) >= m (1 - ||delta||^2/r^2) for every delta in the ball.

    Raises
    ------
    InputError
        One sentence on the first argument that cannot be used.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        radius: Any = 0.0,
        beta: float = 0.01,
        loss: str | Loss = "hinge",
        norm: str = "l2",
        scale: Any = None,
        activation: tuple[float, float, float] = (0.09, 0.5, 0.47),
        multiclass: str = "ovr",
        sample_weight: Any = None,
        clean_weight: float = 0.0,
        hard_margin: Any = None,
        margin_curve: Any = None,
    ):
        self.rows = Rows.of(X)
        check_finite(self.rows)
        n, d = self.rows.shape
        self.loss = get_loss(loss)
        self.norm = _choice("norm", norm, NORMS)
        self.multiclass = _choice("multiclass", multiclass, MULTICLASS)
        self.beta = labels.number("beta", beta)
        self.activation = _activation(activation)
        self.radius = labels.per_row("radius", radius, n)
        self.scale = None if scale is None else _scale(scale, d)
        self.sample_weight = labels.per_row("sample_weight", 1.0 if sample_weight is None else sample_weight, n)
        if not self.sample_weight.sum() > 0:
            raise InputError("sample_weight sums to zero; at least one row needs a positive weight.")
        self.clean_weight = labels.number("clean_weight", clean_weight, 0.0, 1.0)
        if self.loss.regression:
            self.classes, self.targets = None, labels.targets(y, n)
            self.n_outputs = self.targets.shape[1]
        else:
            self.classes, self.targets = labels.class_labels(y, n)
            self.n_outputs = 1 if len(self.classes) == 2 else len(self.classes)
        self.hard_margin = self._constraint("hard_margin", hard_margin)
        self.margin_curve = self._constraint("margin_curve", margin_curve)
        self.components: tuple[Component, ...] = assemble(self)
        self._terms: list[list[Terms]] | None = None

    def _constraint(self, name: str, value: Any) -> tuple[np.ndarray, float] | None:
        if value is None:
            return None
        if self.loss.regression:
            raise InputError(f'{name} constrains margins of labels; it cannot be used with loss="squared".')
        return labels.chosen_rows(name, value, self.rows.n)

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
        return f"PolynomialProblem(n={n}, d={d}, outputs={self.n_outputs}, loss={self.loss.name}, {ball}, beta={self.beta:g})"

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

        Raises
        ------
        InputError
            If the network is not representable in this problem: other activation, other number of features or outputs,
            or an input scaling of its own.
        """
        neurons, coefficients = network_weights(self, network)
        products = self.rows.times(neurons.T)
        loss, violation = 0.0, 0.0
        for number_, component in enumerate(self.components):
            forms = self.forms(neurons, coefficients[:, component.outputs] @ component.directions.T)
            for terms in self.arrays(number_):
                shortfall = terms.offset - forms.worst_case(products, terms).margin
                if terms.hard:
                    violation = max(violation, float((shortfall / terms.offset).max(initial=0.0)))
                else:
                    loss += float(terms.weight @ terms.loss.group_value(shortfall))
        penalty = float(np.abs(coefficients).sum())
        return Evaluation(loss + self.beta * penalty, loss, penalty, violation)

    def objective(self, network: Any) -> float:
        """sum of losses + beta * penalty at a network, recomputed in float64; see :meth:`evaluate`."""
        return self.evaluate(network).objective

    def forms(self, neurons: Any, weights: Any, scale: Any = None) -> QuadraticForms:
        """The quadratic forms of neurons and direction weights in this problem's ball."""
        scale = self.scale if scale is None else scale
        return QuadraticForms(neurons, weights, self.activation, scale, self.robust, self.norm)

    def zero_objective(self) -> float:
        """Objective of the zero network: the losses at margin zero."""
        total = 0.0
        for number_ in range(len(self.components)):
            for terms in self.arrays(number_):
                if not terms.hard:
                    total += float(terms.weight @ terms.loss.group_value(terms.offset))
        return total

    def zero_solution_beta(self, tol: float = 1e-2, max_iter: int = 300) -> Bracket:
        """Certified bracket of the smallest beta for which the zero network is optimal.

        Exact at radius 0; see :func:`convexadv.problems.threshold.zero_solution_bracket`. The problem's own beta plays
        no role.
        """
        return zero_solution_bracket(self, tol, max_iter)

    def gap(self, upper: float, lower: float) -> float:
        """Relative gap (upper - lower) / max(|upper|, 1e-3 objective(0))."""
        return float((upper - lower) / max(abs(upper), 1e-3 * self.zero_objective(), 1e-300))

    def lower_bound(self, certificate: OptimalityCertificate) -> float:
        """The lower bound that a certificate proves, recomputed in NumPy from the data; no solver is involved.

        Parameters
        ----------
        certificate : OptimalityCertificate

        Returns
        -------
        float
            A number that no network of this problem can fall below (up to an allowance for rounding, which is
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
        checked = [(atom.component, checked_atoms(self, atom)) for atom in certificate.atoms]
        total = 0.0
        for number_, component in enumerate(self.components):
            atoms = [atom for where, atom in checked if where == number_]
            size = max((float(np.abs(atom.multipliers).max(initial=0.0)) for atom in atoms), default=0.0)
            if size > 0:  # the scaling t is free: multipliers of size one neither overflow nor underflow
                atoms = [atom._replace(multipliers=atom.multipliers / size) for atom in atoms]
                total += self.component_bound(component, atoms, self.rows)[0]
        return total

    def component_bound(self, component: Component, atoms: list, rows: Rows, candidates: int = 0) -> tuple:
        """Bound of one component, its largest atoms and the scaling; arrays of either library."""
        convert = _like(atoms[0].multipliers)
        directions = convert(component.directions)
        scale = None if self.scale is None else convert(self.scale)
        extremes = bound.largest_atoms(bound.moments(rows, directions, atoms, self.activation, scale), candidates)
        rounding = (
            2e-16 * 16 * bound.mass(atoms) * self._largest_atom_entry() * float(np.abs(component.directions).max())
        )
        kappa = max(float(extreme.value) for extreme in extremes) + rounding
        value, t = bound.scaled_value(atoms, kappa, self.beta)
        return value, extremes, t

    def _largest_atom_entry(self) -> float:
        a, b, c = self.activation
        reach = self.rows.largest_norm() + self.radius.max() * (1.0 if self.scale is None else self.scale.max())
        if self.norm == "linf":
            reach += self.radius.max() * self.rows.d**0.5
        return abs(a) * reach**2 + abs(b) * reach + abs(c)

    def zero_multipliers(self, component: int) -> list:
        """Atoms of the zero network: its multipliers at the rows themselves."""
        atoms = []
        for terms in self.arrays(component):
            _, z = terms.loss.multipliers(terms.offset)
            atoms.append(bound.Atoms(terms, z[None], None, None))
        return atoms


def _like(array: Any):
    """Converter of NumPy arrays to the library, device and type of ``array``."""
    if isinstance(array, np.ndarray):
        return np.asarray
    import torch

    return lambda values: torch.as_tensor(values, dtype=array.dtype, device=array.device)


def _choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise InputError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, allowed))}.")
    return value


def _activation(value: Any) -> tuple[float, float, float]:
    try:
        a, b, c = (float(part) for part in value)
    except (TypeError, ValueError):
        raise InputError(
            f"activation={value!r}; three numbers (a, b, c) of s(t) = a t^2 + b t + c are needed."
        ) from None
    if not np.isfinite([a, b, c]).all():
        raise InputError(f"activation={value!r}; the three coefficients must be finite.")
    if a == 0 and b == 0:
        raise InputError(f"activation={value!r} is constant; the lift needs a or b different from zero.")
    return a, b, c


def _scale(value: Any, d: int) -> np.ndarray:
    scale = labels.per_row("scale", value, d)
    if not (scale > 0).any():
        raise InputError("scale is zero for every feature; use radius=0 for a problem without perturbations.")
    return scale
