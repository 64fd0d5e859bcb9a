r"""The training problem of two-layer polynomial networks: data, objective value and dual bound."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from .._checks import choice, number, per_row
from ..errors import InputError
from ..losses import Loss
from ..rows import Rows
from . import bound, labels
from .base import Evaluation, Problem, normalised
from .certificate import OptimalityCertificate
from .checking import checked_atoms, network_weights
from .chunks import Chunk, chunked
from .forms import QuadraticForms
from .terms import Component
from .threshold import Bracket, zero_solution_bracket

NORMS = ("l2", "linf")


class PolynomialProblem(Problem):
    r"""Convex training of a two-layer network with a polynomial activation, robust or not.

    minimise over networks f_c(x) = sum_j alpha_jc s(u_j . x), ||u_j||_2 = 1, s(t) = a t^2 + b t + c,

        sum_i omega_i loss_i / sum_i omega_i  +  beta sum_jc abs(alpha_jc),

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
    process_group : torch.distributed.ProcessGroup or True, optional
        X, y and all per-row arguments are the rows of this process; the problem is that of the rows of all processes of
        the group (True: the default group). Objectives and bounds are those of the whole, and every process has to ask
        for them. A certificate holds the rows of its process.

    Raises
    ------
    InputError
        One sentence on the first argument that cannot be used.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> problem = ca.PolynomialProblem(X, y, radius=0.2, beta=0.01)
    >>> problem.zero_objective()  # the hinge loss of the zero network
    1.0
    >>> solution = ca.solve(problem)
    >>> bool(solution.lower_bound <= problem.objective(solution.network) <= 0.6)
    True
    """

    _chunks: list[Chunk] | None

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
        process_group: Any = None,
    ):
        self._set_data(
            X,
            y,
            radius=radius,
            beta=beta,
            loss=loss,
            multiclass=multiclass,
            sample_weight=sample_weight,
            process_group=process_group,
        )
        if isinstance(norm, str) and norm == "l1":
            raise InputError(
                "norm='l1' is trained with ReLU and gated ReLU networks only; polynomial ones take 'l2' (exact) or 'linf' (a "
                "restriction), and certify takes l1 balls for all of them."
            )
        self.norm = choice("norm", norm, NORMS)
        self.activation = _activation(activation)
        self.scale = None if scale is None else _scale(scale, self.rows.d)
        self.clean_weight = number("clean_weight", clean_weight, 0.0, 1.0)
        self.hard_margin = self._constraint("hard_margin", hard_margin)
        self.margin_curve = self._constraint("margin_curve", margin_curve)
        self._assemble()

    def _constraint(self, name: str, value: Any) -> tuple[np.ndarray, float] | None:
        if value is None:
            return None
        if self.loss.regression:
            raise InputError(f'{name} constrains margins of labels; leave it out with loss="squared".')
        return labels.chosen_rows(name, value, self.rows.n)

    def evaluate(self, network: Any) -> Evaluation:
        """Objective, its parts and the violation of constraints at a network, in float64.

        Parameters
        ----------
        network : PolynomialNetwork

        Returns
        -------
        Evaluation
            objective, loss, penalty, violation.

        Raises
        ------
        InputError
            If the network is not representable in this problem: other activation, other number of features or outputs,
            or an input scaling of its own.
        """
        neurons, coefficients = network_weights(self, network)
        forms = [
            self.forms(neurons, coefficients[:, component.outputs] @ component.directions.T)
            for component in self.components
        ]
        losses, violation = [], 0.0
        for (_, block), chunk in zip(self.rows.blocks(), self.chunks(), strict=True):
            products = block @ neurons.T
            for number_, form in enumerate(forms):
                for _, terms in chunk.present(number_):
                    shortfall = terms.offset - form.worst_case(products, terms).margin
                    if terms.hard:
                        violation = max(violation, float((shortfall / terms.offset).max(initial=0.0)))
                    else:
                        losses.append(float((terms.weight * terms.loss.group_value(shortfall)).sum()))
        loss, violation = self.together.sum(math.fsum(losses)), self.together.largest(violation)
        penalty = float(np.abs(coefficients).sum())
        return Evaluation(loss + self.beta * penalty, loss, penalty, violation)

    def chunks(self) -> list[Chunk]:
        """The terms row block by row block, as NumPy arrays."""
        if self._chunks is None:
            self._chunks = chunked(self.rows, self.components, np.asarray)
        return self._chunks

    def _assemble(self) -> None:
        super()._assemble()
        self._chunks = None

    def forms(self, neurons: Any, weights: Any, scale: Any = None) -> QuadraticForms:
        """The quadratic forms of neurons and direction weights in this problem's ball."""
        scale = self.scale if scale is None else scale
        return QuadraticForms(neurons, weights, self.activation, scale, self.robust, self.norm)

    def zero_solution_beta(self, tol: float = 1e-2, max_iter: int = 300) -> Bracket:
        """Certified bracket of the smallest beta for which the zero network is optimal.

        Exact at radius 0; see :func:`convexadv.problems.threshold.zero_solution_bracket`. The problem's own beta plays
        no role.

        Parameters
        ----------
        tol : float
            Relative width of the bracket to stop at.
        max_iter : int
            Most iterations at a positive radius.

        Returns
        -------
        Bracket
            lower, upper, exact.
        """
        return zero_solution_bracket(self, tol, max_iter)

    def _bound(self, certificate: OptimalityCertificate) -> float:
        checked = [(atom.component, checked_atoms(self, atom)) for atom in certificate.atoms]
        total = 0.0
        for number_, component in enumerate(self.components):
            atoms = [atom for where, atom in checked if where == number_]
            atoms, size = normalised(atoms, self.together)
            if size > 0:
                if not atoms:  # all rows of this process have multipliers of zero
                    atoms = [
                        atom._replace(multipliers=0.0 * atom.multipliers) for atom in self.zero_multipliers(number_)
                    ]
                total += self.component_bound(component, atoms, self.rows)[0]
        return total

    def gathered(self, certificate: OptimalityCertificate) -> OptimalityCertificate:
        """The certificate of the rows of all processes, in the order of their ranks, from that of each.

        It is checked by the problem of all these rows in one process. Every process has to call it, and receives it; what
        is sent grows with the number of rows.

        Parameters
        ----------
        certificate : OptimalityCertificate
            That of this process.

        Returns
        -------
        OptimalityCertificate
        """
        sizes = self.together.gather([[terms.shape[1] for terms in part.terms] for part in self.components])
        atoms = []
        for rank, own in enumerate(self.together.gather(certificate.atoms)):
            for atom in own:
                before = sum(size[atom.component][atom.term] for size in sizes[:rank])
                count = sizes[rank][atom.component][atom.term]
                groups = np.arange(count) if atom.groups is None else atom.groups
                atoms.append(dataclasses.replace(atom, groups=groups + before))
        return OptimalityCertificate(tuple(atoms))

    def component_bound(self, component: Component, atoms: list, rows: Rows, candidates: int = 0) -> tuple:
        """Bound of one component, its largest atoms and the scaling; arrays of either library."""
        convert = _like(atoms[0].multipliers)
        directions = convert(component.directions)
        scale = None if self.scale is None else convert(self.scale)
        moments = bound.moments(rows, directions, atoms, self.activation, scale)
        moments, mass = bound.everywhere(moments, bound.mass(atoms), self.together)
        return self.bound_of(component, moments, bound.shares(atoms), mass, candidates)

    def bound_of(
        self, component: Component, moments: list, shares: list, mass: float, candidates: int = 0
    ) -> tuple[float, list, float]:
        """Bound of one component, its largest atoms and the scaling, from the moments of all rows.

        Parameters
        ----------
        component : Component
        moments : list of Moment
            Of every output, of all rows of all processes.
        shares : list of Share
            Of the rows of this process.
        mass : float
            Sum of weight * |multiplier| over all rows.
        candidates : int
            Further stationary directions to report.
        """
        extremes = bound.largest_atoms(moments, candidates)
        rounding = 2e-16 * 16 * mass * self._largest_atom_entry() * float(np.abs(component.directions).max())
        kappa = max(float(extreme.value) for extreme in extremes) + rounding
        if mass < bound.VANISHING:
            return 0.0, extremes, 0.0  # every objective is at least zero
        value, t = bound.scaled_shares(shares, kappa, self.beta, self.together)
        return value, extremes, t

    def _largest_atom_entry(self) -> float:
        a, b, c = self.activation
        reach = self.largest_norm() + self.largest_radius() * (1.0 if self.scale is None else self.scale.max())
        if self.norm == "linf":
            reach += self.largest_radius() * self.rows.d**0.5
        return abs(a) * reach**2 + abs(b) * reach + abs(c)


def _like(array: Any):
    """Converter of NumPy arrays to the library, device and type of ``array``."""
    if isinstance(array, np.ndarray):
        return np.asarray
    import torch

    return lambda values: torch.as_tensor(values, dtype=array.dtype, device=array.device)


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
    scale = per_row("scale", value, d)
    if not (scale > 0).any():
        raise InputError("scale is zero for every feature; use radius=0 for a problem without perturbations.")
    return scale
