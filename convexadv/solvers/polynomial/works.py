"""How a chunk of rows contributes to the answer of a request.

A request is a small tuple; the work made of it visits every chunk once, in any order and from several threads at a time,
and makes the answer from the sum of the contributions. Products with the rows are formed by the sweep, for all works
together: ``X columns'`` before a visit, ``X'back`` after it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...problems import bound
from ...problems.bound import Atoms, atoms_of
from ...problems.chunks import Chunk, compact
from ...problems.forms import QuadraticForms, Samples
from ...problems.terms import Terms
from ...rows import Rows
from .ball_curvature import BallSums
from .model import Kind, Smoothing
from .pull import Pull, on_neurons
from .requests import Collect, Curved, Evaluate, Losses, Margins, Price


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

    def own(self, sums: list[Any], back: Any) -> list[Any]:
        """What is to be added up over the processes, from the sums of the chunks of this one."""
        return sums

    def answer(self, sums: list[Any], kept: list[Any]) -> Any:
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
        pull = Pull(model, self.forms, self.neurons, products)
        multipliers: list[Any] = [None] * len(model.kinds)
        for place, terms in chunk.present(model.number):
            worst = self.forms.worst_case(products, terms, smoothing.nu, warm)
            weight = smoothing.weight(model.kinds[place])
            loss, z = terms.loss.multipliers(terms.offset - worst.margin, smoothing.centres[number][place], weight)
            value = value + terms.weight @ loss
            pull.add(terms, z, worst.samples)
            multipliers[place] = z
        return Visit([value, pull.along, pull.moved], multipliers, pull.by_row)

    def own(self, sums, back):
        value, along, moved = sums
        return [value, back.T + moved + along[:, None] * self.forms.neurons]

    def answer(self, sums, kept):
        value, gradient = sums
        vectors, beta = self.neurons.vectors, self.model.problem.beta
        gradient = self.lengths[:, None] * gradient
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

    def answer(self, sums, kept):
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
            margin = self._multiples(number, place, taus)
            shortfall = terms.offset[:, None] - margin
            if kinds[place].hard:
                worst = torch.maximum(worst, (shortfall / terms.offset[:, None]).amax((0, 2)))
            else:
                loss = loss + terms.loss.group_value(shortfall) @ terms.weight
        return Visit([loss], worst)

    def _multiples(self, number: int, place: int, taus: Any) -> Any:
        """(k, T, g) margins of the multiples."""
        parts = [margins[number][place] for _, margins in self.margins]
        again = any(kind.curved for kind in self.model.kinds)
        return self.model.torch.stack(parts, 1) if again else taus * parts[0][:, None]

    def answer(self, sums, kept):
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
            result.append((place, atoms_of(terms, z, samples)))
        return result

    def answer(self, sums, kept):
        mass, arrays = float(sums[0]), sums[1:]
        moments = [bound.Moment(*arrays[start : start + 3]) for start in range(0, len(arrays), 3)]
        return moments, [share for part in kept for share in part], mass


class _CollectWork(_PriceWork):
    """Atoms of every chunk: pairs (number of the set, atoms)."""

    needs_rows = False

    def visit(self, number, chunk, block, products, warm):
        return Visit([], self.atoms(number, chunk, products))

    def answer(self, sums, kept):
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
        weight = on_neurons(model, self.neurons, terms.sign[k][group], terms.direction[k][group])
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

    def answer(self, sums, kept):
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
