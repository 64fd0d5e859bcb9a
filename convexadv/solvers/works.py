"""What a component asks of the data, and how a chunk of rows contributes to the answer.

A request is a small tuple; the work made of it visits every chunk once, in any order and from several threads at a time,
and makes the answer from the sum of the contributions. Products with the rows are formed by the sweep, for all works
together: ``X columns'`` before a visit, ``X'back`` after it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..problems import bound
from ..problems.bound import Atoms
from ..problems.chunks import Chunk, PerChunk, compact
from ..problems.forms import QuadraticForms, Samples
from ..problems.terms import Terms
from ..rows import Rows
from .ball_curvature import BallSums
from .model import ComponentModel, Kind, Neurons, Point, Smoothing


class Evaluate(NamedTuple):
    """Value and gradient of the smoothed objective, and its multipliers."""

    model: ComponentModel
    neurons: Neurons
    smoothing: Smoothing
    exact: bool = True
    """Whether products are to be formed in float64 whatever the arithmetic of the data."""


class Price(NamedTuple):
    """Moments and dual shares of a dual point, in float64."""

    model: ComponentModel
    point: Point


class Margins(NamedTuple):
    """Exact worst-case margins of a network, in float64."""

    model: ComponentModel
    neurons: Neurons


class Losses(NamedTuple):
    """Losses and violations of several lists of margins; needs no data."""

    model: ComponentModel
    margins: list[tuple[float, PerChunk]]
    """Multiples tau with the margins of the network that tau multiplies; of the multiple itself with margin curves."""


class Curved(NamedTuple):
    """Rows of the terms whose loss is curved at some multipliers, for the Gauss-Newton matrix."""

    model: ComponentModel
    neurons: Neurons
    smoothing: Smoothing
    multipliers: PerChunk
    balls: bool = False
    """Whether the curvature of the worst margins is asked for, too."""


class Collect(NamedTuple):
    """The atoms of a dual point, for a certificate."""

    model: ComponentModel
    point: Point


class Visit(NamedTuple):
    """Contribution of a chunk."""

    sums: list[Any]
    """Tensors to be added up over chunks and processes."""
    kept: Any = None
    """What stays of this chunk."""
    back: Any = None
    """(rows, K) to be multiplied by X' and added up."""


class Work:
    """A request on its way through the data. ``columns`` (M, d) are multiplied by the rows before a visit."""

    columns: Any = None
    exact = True
    """Whether float64 products are needed."""
    needs_rows = False
    """Whether a visit reads the rows themselves, beside the products."""

    def visit(self, number: int, chunk: Chunk, block: Any, products: Any, warm: dict) -> Visit:
        """The contribution of a chunk: its number, its rows (None where no work reads them), and X columns'."""
        raise NotImplementedError

    def answer(self, sums: list[Any], kept: list[Any], back: Any) -> Any:
        """From the sums of all processes and what was kept of the chunks of this one."""
        raise NotImplementedError


class _EvaluateWork(Work):
    """F(V), its gradient, and the multipliers of every chunk."""

    def __init__(self, request: Evaluate):
        self.model, self.neurons, self.smoothing, self.exact = request
        self.model.evaluations += 1
        self.forms, self.lengths = self.model.forms(self.neurons)
        self.columns = self.forms.neurons

    def visit(self, number, chunk, block, products, warm):
        model, smoothing = self.model, self.smoothing
        value = model.directions.new_zeros(())
        pull = _Pull(model, self.forms, self.neurons, products)
        multipliers: list[Any] = [None] * len(model.kinds)
        for place, terms in chunk.present(model.number):
            worst = self.forms.worst_case(products, terms, smoothing.nu, warm)
            weight = smoothing.weight(model.kinds[place])
            loss, z = terms.loss.multipliers(terms.offset - worst.margin, smoothing.centres[number][place], weight)
            value = value + terms.weight @ loss
            pull.add(terms, z, worst.samples)
            multipliers[place] = z
        return Visit([value, pull.along, pull.moved], multipliers, pull.by_row)

    def answer(self, sums, kept, back):
        value, along, moved = sums
        vectors, beta = self.neurons.vectors, self.model.problem.beta
        gradient = self.lengths[:, None] * (back.T + moved + along[:, None] * self.forms.neurons)
        total = float(value + beta * (self.lengths * self.lengths).sum())
        return total, gradient + 2.0 * beta * vectors, compact(kept)


class _MarginsWork(Work):
    """Margins (k, g) of every set of terms and chunk."""

    def __init__(self, request: Margins):
        self.model = request.model
        self.forms, _ = self.model.forms(request.neurons)
        self.columns = self.forms.neurons

    def visit(self, number, chunk, block, products, warm):
        margins: list[Any] = [None] * len(self.model.kinds)
        for place, terms in chunk.present(self.model.number):
            margins[place] = self.forms.worst_case(products, terms, 0.0, warm).margin
        return Visit([], margins)

    def answer(self, sums, kept, back):
        return compact(kept)


class _LossesWork(Work):
    """(T,) losses and (T,) largest relative shortfalls of constraints."""

    def __init__(self, request: Losses):
        self.model, self.margins = request

    def visit(self, number, chunk, block, products, warm):
        torch, kinds = self.model.torch, self.model.kinds
        count = len(self.margins)
        taus = self.model.tensor([tau for tau, _ in self.margins])[:, None]
        loss, worst = self.model.directions.new_zeros(count), self.model.directions.new_zeros(count)
        for place, terms in chunk.present(self.model.number):
            margin = self._multiples(number, place, kinds[place], taus)
            shortfall = terms.offset[:, None] - margin
            if kinds[place].hard:
                worst = torch.maximum(worst, (shortfall / terms.offset[:, None]).amax((0, 2)))
            else:
                loss = loss + terms.loss.group_value(shortfall) @ terms.weight
        return Visit([loss], worst)

    def _multiples(self, number: int, place: int, kind: Kind, taus: Any) -> Any:
        """(k, T, g) margins of the multiples."""
        parts = [margins[number][place] for _, margins in self.margins]
        if all(part is parts[0] for part in parts) and not kind.curved:
            return taus * parts[0][:, None]
        stacked = self.model.torch.stack(parts, 1)
        return stacked if self._again() else taus * stacked

    def _again(self) -> bool:
        """Whether the margins given are those of the multiples."""
        return any(kind.curved for kind in self.model.kinds)

    def answer(self, sums, kept, back):
        torch, together = self.model.torch, self.model.problem.together
        violations = [0.0] * len(self.margins)
        if self.model.constrained:
            violations = [together.largest(value) for value in torch.stack(kept).amax(0).tolist()]
        return sums[0].tolist(), violations


class _PriceWork(Work):
    """Moments of every output, the mass of the multipliers, and the shares of the chunks."""

    needs_rows = True

    def __init__(self, request: Price | Collect):
        self.model, self.point = request
        self.forms: QuadraticForms | None = None
        if len(self.point.neurons.signs):
            self.forms, _ = self.model.forms(self.point.neurons)
            self.columns = self.forms.neurons

    def visit(self, number, chunk, block, products, warm):
        model = self.model
        atoms = [atom for _, part in self.atoms(number, chunk, products) for atom in part]
        rows = Rows([block], lambda part: part)
        parts = bound.moments(rows, model.directions, atoms, model.problem.activation, model.scale) if atoms else []
        zero = model.directions.new_zeros
        if not parts:
            d = model.problem.rows.d
            parts = [bound.Moment(zero(d, d), zero(d), zero(()))] * model.directions.shape[1]
        mass = zero(()) + bound.mass(atoms)
        return Visit([mass, *(array for moment in parts for array in moment)], bound.shares(atoms))

    def atoms(self, number: int, chunk: Chunk, products: Any) -> list[tuple[int, list[Atoms]]]:
        """Number of a set of terms and its atoms in a chunk."""
        result = []
        for place, terms in chunk.present(self.model.number):
            z = self.point.multipliers[number][place]
            samples: tuple[Samples, ...] = ()
            if self.forms is not None:
                samples = self.forms.worst_case(products, terms, self.point.nu).samples
            result.append((place, _atoms(terms, z, samples)))
        return result

    def answer(self, sums, kept, back):
        mass, arrays = float(sums[0]), sums[1:]
        moments = [bound.Moment(*arrays[start : start + 3]) for start in range(0, len(arrays), 3)]
        return moments, [share for part in kept for share in part], mass


class _CollectWork(_PriceWork):
    """Atoms of every chunk: pairs (number of the set, atoms)."""

    needs_rows = False

    def visit(self, number, chunk, block, products, warm):
        return Visit([], self.atoms(number, chunk, products))

    def answer(self, sums, kept, back):
        return kept


class _CurvedWork(Work):
    """Rows at their worst perturbations (K, d), weights on the neurons (K, m), curvatures p dz/du (K,), BallCurvature."""

    needs_rows = True

    def __init__(self, request: Curved):
        self.model, self.neurons, self.smoothing, self.multipliers, balls = request
        self.forms, _ = self.model.forms(self.neurons)
        self.columns = self.forms.neurons
        self.balls = BallSums(self.model, self.forms, self.neurons, self.smoothing.nu) if balls else None

    def visit(self, number, chunk, block, products, warm):
        parts: list[tuple] = []
        sums = [] if self.balls is None else self.balls.zero()
        for place, terms in chunk.present(self.model.number):
            samples = self.forms.worst_case(products, terms, self.smoothing.nu, warm).samples
            z = self.multipliers[number][place]
            curvature = curvature_of(self.model.kinds[place], z, self.smoothing)
            for k in range(terms.k):
                if self.balls is not None and samples:
                    self.balls.add(sums, terms, k, products, z, samples[0], warm[id(terms), k, 0])
                weighted = terms.weight * curvature[k]
                group = self.model.torch.nonzero(weighted)[:, 0]
                parts.append(self._part(terms, k, group, weighted[group], block, samples))
        return Visit(sums, parts)

    def _part(self, terms: Terms, k: int, group: Any, curvature: Any, block: Any, samples: tuple) -> tuple:
        model = self.model
        row = group if terms.row is None else terms.row[group]
        weight = terms.sign[k][group][:, None] * self.neurons.signs
        if len(model.directions) > 1:
            weight = weight * model.directions[terms.direction[k][group]][:, self.neurons.outputs]
        x = block[row].to(model.dtype) + self._perturbation(samples, k, group, terms.g)
        return x, weight, curvature

    def _perturbation(self, samples: tuple[Samples, ...], k: int, group: Any, n_groups: int) -> Any:
        """Mean perturbations of some groups, (K, d)."""
        model, torch = self.model, self.model.torch
        shift = torch.zeros((len(group), model.problem.rows.d), dtype=model.dtype, device=model.device)
        place = torch.full((n_groups,), -1, dtype=torch.long, device=model.device)
        place[group] = torch.arange(len(group), device=model.device)
        for part in samples:
            mine = place if part.groups is None else place[part.groups]
            used = torch.nonzero(mine >= 0)[:, 0]
            mean = torch.einsum("s,sgp->gp", part.shares, part.coordinates[:, k, used])
            shift[mine[used]] = mean if part.basis is None else mean @ part.basis
        return shift if model.scale is None else shift * model.scale

    def answer(self, sums, kept, back):
        parts = [part for chunk in kept for part in chunk]
        rows = (self.model.torch.cat(arrays) for arrays in zip(*parts, strict=True))
        return *rows, None if self.balls is None else self.balls.curvature(sums)


def curvature_of(kind: Kind, z: Any, smoothing: Smoothing) -> Any:
    """(k, g) derivative of the multipliers by the shortfall, 1 / ((psi*)'' + mu) inside the domain; zero at its ends."""
    total = z.sum(0)
    inside = (total < kind.loss.upper) & ((z != 0) if kind.loss.signed else (z > 0))
    softness = kind.loss.conjugate_curvature(total) + (smoothing.weight(kind) if kind.centred else 0.0)
    return (inside & (softness > 0)) / softness.clamp_min(1e-300)


WORKS: dict[type, type] = {
    Evaluate: _EvaluateWork,
    Price: _PriceWork,
    Margins: _MarginsWork,
    Losses: _LossesWork,
    Collect: _CollectWork,
    Curved: _CurvedWork,
}


def _atoms(terms: Terms, z: Any, samples: tuple[Samples, ...]) -> list[Atoms]:
    if not samples:
        return [Atoms(terms, z[None], None, None)]
    parts = []
    for part in samples:
        chosen = z if part.groups is None else z[:, part.groups]
        weighted = part.shares[:, None, None] * chosen[None]
        parts.append(Atoms(terms, weighted, part.coordinates, part.basis, part.spread, part.groups))
    return parts


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
