r"""The smoothed training objective of one component, with its gradient, in the span of the neurons.

Neurons are free vectors v_j with a sign and an output: alpha_j = sign_j ||v_j||^2, u_j = v_j/||v_j||, so that
alpha_j s(u_j . x) = sign_j (a (v_j.x)^2 + b ||v_j|| v_j.x + c ||v_j||^2) and the penalty is beta ||v_j||^2. Kinks of the
loss are smoothed by a proximal term around the multipliers of the last round (method of multipliers), the worst case by
the barrier of its inequality (:func:`convexadv.quadratics.smooth_ball_minimum`):

    F(V) = sum_g p_g max_z { z . u_g(V) - psi*(sum z) - (mu/2) ||z - centre_g||^2 } + beta sum_j ||v_j||^2

Two products with X an evaluation are all that touches the data: X U' and X'B.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..problems.forms import QuadraticForms, Samples
from ..problems.polynomial import PolynomialProblem
from ..problems.terms import Terms


class Neurons(NamedTuple):
    """Neurons of one component: vectors (m, d), signs (m,), output numbers within the component (m,)."""

    vectors: Any
    signs: Any
    outputs: Any

    def chosen(self, keep: Any) -> Neurons:
        """Some of the neurons."""
        return Neurons(self.vectors[keep], self.signs[keep], self.outputs[keep])

    def scaled(self, factor: float) -> Neurons:
        """The network multiplied by a positive factor."""
        return Neurons(self.vectors * factor**0.5, self.signs, self.outputs)


class Shortfalls(NamedTuple):
    """One set of terms at a point: multipliers and where the margins are attained."""

    multipliers: Any
    """(k, g)."""
    samples: tuple[Samples, ...]
    """Perturbations, as :class:`WorstCase` has them."""


class Smoothing(NamedTuple):
    """What makes the objective smooth, in units of the margin."""

    centres: list[Any]
    """Proximal centres of the multipliers, (k, g) for every set of terms, or None where the loss needs none."""
    mu: float
    """Proximal weight of the multipliers."""
    hard: float
    """Factor on mu for constraints; it falls while they are violated."""
    nu: float
    """Weight of the barrier of the worst case."""

    def weight(self, terms: Terms) -> float:
        """Proximal weight of a set; constraints are weighted as the mean of their number."""
        return self.mu * self.hard * terms.g if terms.hard else self.mu


class ComponentModel:
    """Smoothed objective of one component of a polynomial problem on a torch device.

    Parameters
    ----------
    problem : PolynomialProblem
    number : int
        Which component.
    rows : Rows
        The data as tensors of the device.
    data_type : torch.dtype
        Of the two products with X; everything else is float64.
    device : torch.device
    """

    def __init__(self, problem: PolynomialProblem, number: int, rows: Any, data_type: Any, device: Any):
        import torch

        self.problem, self.number, self.rows = problem, number, rows
        self.component = problem.components[number]
        self.dtype, self.data_type, self.device, self.torch = torch.float64, data_type, device, torch
        self.directions = self.tensor(self.component.directions)
        self.terms = [
            Terms(terms, rows.n, self.tensor, len(self.component.directions)) for terms in self.component.terms
        ]
        self.scale = None if problem.scale is None else self.tensor(problem.scale)
        self.robust = any(terms.robust for terms in self.terms)
        self.evaluations = 0
        self._warm: dict = {}

    def tensor(self, array: Any) -> Any:
        """A NumPy array on the device, floats in float64."""
        tensor = self.torch.as_tensor(array, device=self.device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def forms(self, neurons: Neurons) -> tuple[QuadraticForms, Any]:
        """Quadratic forms of the neurons, and the norms of their vectors."""
        lengths = neurons.vectors.norm(dim=1).clamp_min(1e-150)
        units = neurons.vectors / lengths[:, None]
        weights = (neurons.signs * lengths * lengths)[:, None] * self.directions.T[neurons.outputs]
        return QuadraticForms(
            units, weights, self.problem.activation, self.scale, self.robust, self.problem.norm
        ), lengths

    def products(self, forms: QuadraticForms) -> Any:
        """(n, m) inner products of rows and unit neurons, in the arithmetic of the data."""
        return self.rows.times(forms.neurons.T.to(self.data_type)).to(self.dtype)

    def evaluate(self, neurons: Neurons, smoothing: Smoothing) -> tuple[float, Any, list[Shortfalls]]:
        """F(V), its gradient with respect to the vectors, and the multipliers of every set of terms."""
        self.evaluations += 1
        forms, lengths = self.forms(neurons)
        products = self.products(forms)
        value = 0.0
        pull = _Pull(self, forms, neurons, products)
        results = []
        for terms, centre in zip(self.terms, smoothing.centres, strict=True):
            worst = forms.worst_case(products, terms, smoothing.nu, self._warm)
            loss, z = terms.loss.multipliers(terms.offset - worst.margin, centre, smoothing.weight(terms))
            value = value + terms.weight @ loss
            pull.add(terms, z, worst.samples)
            results.append(Shortfalls(z, worst.samples))
        gradient = pull.gradient(lengths) + 2.0 * self.problem.beta * neurons.vectors
        return float(value + self.problem.beta * (lengths * lengths).sum()), gradient, results

    def margins(self, neurons: Neurons) -> list[Any]:
        """Exact worst-case margins (k, g) of every set of terms."""
        forms, _ = self.forms(neurons)
        products = self.products(forms)
        return [forms.worst_case(products, terms, 0.0, self._warm).margin for terms in self.terms]


class _Pull:
    """Sum over terms of -p z d(margin)/dV, gathered so that X is touched once."""

    def __init__(self, model: ComponentModel, forms: QuadraticForms, neurons: Neurons, products: Any):
        self.model, self.forms, self.neurons, self.products = model, forms, neurons, products
        self.by_row = model.torch.zeros_like(products)
        self.moved = model.torch.zeros_like(neurons.vectors)
        self.along = model.torch.zeros_like(neurons.signs)

    def add(self, terms: Terms, z: Any, samples: tuple[Samples, ...]) -> None:
        weight = -terms.weight * z * terms.sign
        if not samples:
            for k in range(terms.k):
                self._point(self._on_neurons(weight[k], terms.direction[k]), terms.row, None, None, None)
        for part in samples:
            groups = slice(None) if part.groups is None else part.groups
            row = terms.row if part.groups is None else part.groups if terms.row is None else terms.row[groups]
            for k in range(terms.k):
                spread_weight = self._on_neurons(weight[k][groups], terms.direction[k][groups])
                for s, share in enumerate(part.shares.tolist()):
                    spread = None if part.spread is None else part.spread[s, k]
                    shared = spread_weight if share == 1.0 else share * spread_weight
                    self._point(shared, row, part.coordinates[s, k], part.basis, spread)

    def _on_neurons(self, weight: Any, direction: Any) -> Any:
        """(g, m) weights of every term on every neuron."""
        weight = weight[:, None] * self.neurons.signs
        if len(self.model.directions) > 1:
            weight = weight * self.model.directions[direction][:, self.neurons.outputs]
        return weight

    def _point(self, weight: Any, row: Any, e: Any, basis: Any, spread: Any) -> None:
        forms, scale = self.forms, self.model.scale
        products = self.products if row is None else self.products[row]
        if e is not None:
            products = forms.moved(products, e, basis)
        slope = weight * (2.0 * forms.a * products + forms.b)
        self.along += (weight * products).sum(0) * forms.b + 2.0 * forms.c * weight.sum(0)
        if row is None:
            self.by_row += slope
        else:
            self.by_row.index_add_(0, row, slope)
        if e is None:
            return
        shift = slope.T @ e
        if spread is not None:
            shift = shift + 2.0 * forms.a * (weight.T @ spread) * forms.along(basis)
        shift = shift if basis is None else shift @ basis
        self.moved += shift if scale is None else shift * scale

    def gradient(self, lengths: Any) -> Any:
        data = self.model.rows.transposed_times(self.by_row.to(self.model.data_type)).T.to(self.model.dtype)
        return lengths[:, None] * (data + self.moved + self.along[:, None] * self.forms.neurons)
