"""The gradient of weighted worst-case margins by the neurons, gathered so that the rows are read once."""

from __future__ import annotations

from typing import Any

from ...problems.forms import QuadraticForms, Samples
from ...problems.terms import Terms
from .model import ComponentModel, Neurons


def on_neurons(model: ComponentModel, neurons: Neurons, weight: Any, direction: Any) -> Any:
    """(g, m) weights of terms on every neuron, from their weights and directions (g,)."""
    weight = weight[:, None] * neurons.signs
    if len(model.directions) > 1:
        weight = weight * model.directions[direction][:, neurons.outputs]
    return weight


class Pull:
    """Sum over the terms of a chunk of -p z d(margin)/dv_j = ||v_j|| (X'by_row_j + moved_j + along_j u_j).

    Parameters
    ----------
    model : ComponentModel
    forms : QuadraticForms
    neurons : Neurons
    products : (n, m)
        X u' of the rows of the chunk.

    Attributes
    ----------
    by_row : (n, m)
        Coefficients of the rows.
    moved : (m, d)
        What the perturbations add to them.
    along : (m,)
        What the lengths ||v_j|| bring.
    """

    def __init__(self, model: ComponentModel, forms: QuadraticForms, neurons: Neurons, products: Any):
        self.model, self.forms, self.neurons, self.products = model, forms, neurons, products
        self.by_row = model.torch.zeros_like(products)
        self.moved = model.torch.zeros_like(neurons.vectors)
        self.along = model.torch.zeros_like(neurons.signs)

    def add(self, terms: Terms, z: Any, samples: tuple[Samples, ...]) -> None:
        """Add a set of terms with multipliers z (k, g), at its worst perturbations."""
        weight = -terms.weight * z * terms.sign
        if not samples:
            for k in range(terms.k):
                own = on_neurons(self.model, self.neurons, weight[k], terms.direction[k])
                self._point(own, terms.row, None, None, None)
        for part in samples:
            groups = slice(None) if part.groups is None else part.groups
            row = terms.row if part.groups is None else part.groups if terms.row is None else terms.row[groups]
            for k in range(terms.k):
                own = on_neurons(self.model, self.neurons, weight[k][groups], terms.direction[k][groups])
                for s, share in enumerate(part.shares.tolist()):
                    spread = None if part.spread is None else part.spread[s, k]
                    shared = own if share == 1.0 else share * own
                    self._point(shared, row, part.coordinates[s, k], part.basis, spread)

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
