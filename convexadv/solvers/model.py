r"""The smoothed training objective of one component, with its gradient, in the span of the neurons.

Neurons are free vectors v_j with a sign and an output: alpha_j = sign_j ||v_j||^2, u_j = v_j/||v_j||, so that
alpha_j s(u_j . x) = sign_j (a (v_j.x)^2 + b ||v_j|| v_j.x + c ||v_j||^2) and the penalty is beta ||v_j||^2. Kinks of the
loss are smoothed by a proximal term around the multipliers of the last round (method of multipliers):

    F(V) = sum_g p_g max_z { z . u_g(V) - psi*(sum z) - (mu/2) ||z - centre_g||^2 } + beta sum_j ||v_j||^2

Two products with X an evaluation are all that touches the data: X U' and X'B.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..problems.forms import QuadraticForms, Samples, Terms
from ..problems.polynomial import PolynomialProblem


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
    """(A, k, g): the worst case first, then the stored perturbations."""
    samples: tuple[Samples | None, ...]
    """One entry for every alternative A."""
    margins: Any
    """(k, g) worst-case margins."""


class ComponentModel:
    """Smoothed objective of one component of a polynomial problem on a torch device.

    Parameters
    ----------
    problem : PolynomialProblem
    number : int
        Which component.
    rows : Rows
        The data as tensors of the device.
    dtype, device
        Of the arithmetic.
    """

    def __init__(self, problem: PolynomialProblem, number: int, rows: Any, dtype: Any, device: Any):
        import torch

        self.problem, self.number, self.rows = problem, number, rows
        self.component = problem.components[number]
        self.dtype, self.device, self.torch = dtype, device, torch
        self.directions = self.tensor(self.component.directions)
        self.terms = [Terms(terms, rows.n, self.tensor, len(self.component.directions)) for terms in self.component.terms]
        self.scale = None if problem.scale is None else self.tensor(problem.scale)
        self.robust = any(terms.robust for terms in self.terms)
        self.evaluations = 0
        self._warm: dict = {}

    def tensor(self, array: Any) -> Any:
        """A NumPy array on the device, floats in the model's type."""
        tensor = self.torch.as_tensor(array, device=self.device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def forms(self, neurons: Neurons) -> tuple[QuadraticForms, Any]:
        """Quadratic forms of the neurons, and the norms of their vectors."""
        lengths = neurons.vectors.norm(dim=1).clamp_min(1e-150 if self.dtype == self.torch.float64 else 1e-30)
        units = neurons.vectors / lengths[:, None]
        weights = (neurons.signs * lengths * lengths)[:, None] * self.directions.T[neurons.outputs]
        return QuadraticForms(
            units, weights, self.problem.activation, self.scale, self.robust, self.problem.norm
        ), lengths

    def evaluate(self, neurons: Neurons, smoothing: Smoothing) -> tuple[float, Any, list[Shortfalls]]:
        """F(V), its gradient with respect to the vectors, and the multipliers of every set of terms."""
        self.evaluations += 1
        forms, lengths = self.forms(neurons)
        products = self.rows.times(forms.neurons.T)
        value = 0.0
        pull = _Pull(self, forms, neurons, products)
        results = []
        for number, terms in enumerate(self.terms):
            worst = forms.worst_case(products, terms, self._warm)
            stored = smoothing.stored[number]
            margins = [worst.margin] + [forms.at_samples(products, terms, samples) for samples in stored]
            shortfall = terms.offset - self.torch.stack(margins)
            loss, z = terms.loss.multipliers(
                shortfall.reshape(-1, terms.g), smoothing.centre(number, shortfall), *smoothing.weights(terms)
            )
            z = z.reshape(shortfall.shape)
            samples = (worst.samples, *stored)
            value = value + terms.weight @ loss
            for alternative, where in enumerate(samples):
                pull.add(terms, z[alternative], where)
            results.append(Shortfalls(z, samples, worst.margin))
        gradient = pull.gradient(lengths) + 2.0 * self.problem.beta * neurons.vectors
        return float(value + self.problem.beta * (lengths * lengths).sum()), gradient, results


class Smoothing(NamedTuple):
    """Proximal centres of the multipliers, stored perturbations, and the proximal weight."""

    centres: list[Any]
    """(A, k, g) for every set of terms."""
    stored: list[tuple[Samples, ...]]
    """Perturbations of earlier rounds that stay alternatives of their terms."""
    mu: float
    """Weight on the sum of the multipliers of a group."""
    nu: float
    """Weight on the single alternatives of a group."""

    def centre(self, number: int, shortfall: Any) -> Any:
        """The centre of a set of terms as (A k, g), or None where its loss needs none."""
        centre = self.centres[number]
        return None if centre is None else centre.reshape(-1, shortfall.shape[-1])

    def weights(self, terms: Terms) -> tuple[float, float]:
        """Proximal weights of a set; constraints are weighted as the mean of their number."""
        factor = terms.g if terms.hard else 1
        return self.mu * factor, self.nu * factor


class _Pull:
    """Sum over terms of -p z d(margin)/dV, gathered so that X is touched once."""

    def __init__(self, model: ComponentModel, forms: QuadraticForms, neurons: Neurons, products: Any):
        self.model, self.forms, self.neurons, self.products = model, forms, neurons, products
        self.by_row = model.torch.zeros_like(products)
        self.moved = model.torch.zeros_like(neurons.vectors)
        self.along = model.torch.zeros_like(neurons.signs)

    def add(self, terms: Terms, z: Any, samples: Samples | None) -> None:
        for k in range(terms.k):
            weight = -(terms.weight * z[k] * terms.sign[k])[:, None] * self.neurons.signs
            if len(self.model.directions) > 1:
                weight = weight * self.model.directions[terms.direction[k]][:, self.neurons.outputs]
            products = self.products if terms.row is None else self.products[terms.row]
            if samples is None:
                self._point(terms, weight, products, None, None)
                continue
            for s, share in enumerate(samples.shares.tolist()):
                e = samples.coordinates[s, k]
                moved = self.forms.moved(products, e, samples.basis)
                self._point(terms, weight if share == 1.0 else share * weight, moved, e, samples.basis)

    def _point(self, terms: Terms, weight: Any, products: Any, e: Any, basis: Any) -> None:
        forms = self.forms
        slope = weight * (2.0 * forms.a * products + forms.b)
        self.along += (weight * products).sum(0) * forms.b + 2.0 * forms.c * weight.sum(0)
        if terms.row is None:
            self.by_row += slope
        else:
            self.by_row.index_add_(0, terms.row, slope)
        if e is not None:
            shift = slope.T @ e
            shift = shift if basis is None else shift @ basis
            self.moved += shift if self.model.scale is None else shift * self.model.scale

    def gradient(self, lengths: Any) -> Any:
        data = self.model.rows.transposed_times(self.by_row).T
        return lengths[:, None] * (data + self.moved + self.along[:, None] * self.forms.neurons)
