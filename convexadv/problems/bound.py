r"""The dual bound of a polynomial problem: moments of a certificate, their largest atom, and the scaling.

With multipliers z, points delta and weights p, M_o = sum p z sign E_ko S(x + delta) for every output o and
kappa = max_o max_{||u|| = 1} |[u; 1]'M_o[u; 1]|. For every t >= 0 with t kappa <= beta and t z in the domain of psi*,

    optimum >= sum_g p_g ( t sum_k z_gk (offset_gk - curvature_g ||e||^2) - psi*(t sum_k z_gk) )

(docs/mathematics.md; [KLP24] for the primal). The same code serves the solver (torch) and the verifier (NumPy).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .._arrays import Array, namespace
from ..processes import ALONE, Together
from ..quadratics import SphereMaximum, sphere_extremes
from .forms import Samples
from .terms import Terms

_ROUNDING = 1e-14
VANISHING = 1e-100
"""Weighted multipliers that sum to less beside a largest one of one: products of them underflow, and prove nothing."""


class Atoms(NamedTuple):
    """One :class:`AtomSet` as arrays of one library, points inside their balls."""

    terms: Terms
    multipliers: Array
    coordinates: Array | None
    basis: Array | None
    spread: Array | None = None
    groups: Array | None = None

    def of_groups(self, values: Array) -> Array:
        """Entries of a per-group array (last axis) for the groups of the atoms."""
        return values if self.groups is None else values[..., self.groups]


def atoms_of(terms: Terms, z: Array, samples: tuple[Samples, ...]) -> list[Atoms]:
    """The atoms of multipliers (k, g) at the worst perturbations of the terms, an element for every part of the samples.

    Without samples, at the rows themselves.
    """
    if not samples:
        return [Atoms(terms, z[None], None, None)]
    parts = []
    for part in samples:
        chosen = z if part.groups is None else z[:, part.groups]
        weighted = part.shares[:, None, None] * chosen[None]
        parts.append(Atoms(terms, weighted, part.coordinates, part.basis, part.spread, part.groups))
    return parts


class Moment(NamedTuple):
    """Moment matrix of one output, [[matrix, vector], [vector', constant]]."""

    matrix: Array
    vector: Array
    constant: Array


def moments(rows, directions: Array, atoms: list[Atoms], activation, scale: Array | None) -> list[Moment]:
    """Moment matrices M_o of every output of a component, summed over rows in block order."""
    a, b, c = activation
    result = []
    for o in range(directions.shape[1]):
        parts = [_row_sums(rows, atom, directions[:, o], scale) for atom in atoms]
        coefficient = sum(part[0] for part in parts)
        matrix = rows.weighted_gram(coefficient)
        columns = [coefficient[:, None]] + [part[1] for part in parts if part[1] is not None]
        xp = namespace(coefficient)
        products = rows.transposed_times(xp.concatenate(columns, 1))
        vector, start = products[:, 0], 1
        for _, first, second, basis in parts:
            if first is None:
                continue
            cross = products[:, start : start + first.shape[1]] @ basis
            start += first.shape[1]
            matrix = matrix + cross + cross.T + basis.T @ (second @ basis)
            vector = vector + first.sum(0) @ basis
        result.append(Moment(a * 0.5 * (matrix + matrix.T), 0.5 * b * vector, c * coefficient.sum()))
    return result


def _row_sums(rows, atom: Atoms, column: Array, scale: Array | None):
    """Per row: sum of the coefficients, of coefficient * coordinates; and the sum of coefficient * second moment."""
    terms = atom.terms
    weight = atom.multipliers * atom.of_groups(terms.weight * terms.sign * column[terms.direction])
    coefficient = _to_rows(weight.sum(0).sum(0)[:, None], atom, rows.n)[:, 0]
    if atom.coordinates is None:
        return coefficient, None, None, None
    xp = namespace(weight)
    samples, alternatives, _, p = atom.coordinates.shape
    pairs = [(s, k) for s in range(samples) for k in range(alternatives)]
    weighted, second = 0.0, 0.0
    for s, k in pairs:  # one at a time: these arrays are the largest of a certificate
        own = weight[s, k][:, None] * atom.coordinates[s, k]
        second = second + own.T @ atom.coordinates[s, k]
        weighted = own if len(pairs) == 1 else weighted + own
        if atom.spread is not None:
            second = second + xp.diag(weight[s, k] @ atom.spread[s, k])
    first = _to_rows(weighted, atom, rows.n)
    basis = atom.basis
    if basis is None:
        basis = xp.eye(p, dtype=weight.dtype, **_device(weight))
    return coefficient, first, second, basis if scale is None else basis * scale


def _to_rows(values: Array, atom: Atoms, n: int) -> Array:
    row = atom.terms.row
    if row is None and atom.groups is None:
        return values
    row = row if atom.groups is None else atom.groups if row is None else row[atom.groups]
    xp = namespace(values)
    out = xp.zeros((n, values.shape[1]), dtype=values.dtype, **_device(values))
    if xp.__name__ == "torch":
        return out.index_add_(0, row, values)
    xp.add.at(out, row, values)
    return out


def _device(array: Array) -> dict:
    return {"device": array.device} if namespace(array).__name__ == "torch" else {}


def everywhere(moment_list: list[Moment], mass: float, together: Together) -> tuple[list[Moment], float]:
    """Moments and mass of the rows of all processes, from those of each."""
    if together.size == 1:
        return moment_list, mass
    xp, d = namespace(moment_list[0].matrix), len(moment_list[0].vector)
    flat = [
        part
        for matrix, vector, constant in moment_list
        for part in (matrix.reshape(-1), vector, xp.reshape(constant, (1,)))
    ]
    flat.append(0.0 * flat[1][:1] + mass)
    whole = together.total(xp.concatenate(flat))
    size = d * d + d + 1
    result = []
    for start in range(0, len(moment_list) * size, size):
        part = whole[start : start + size]
        result.append(Moment(part[: d * d].reshape(d, d), part[d * d : -1], part[-1]))
    return result, float(whole[-1])


def largest_atoms(moment_list: list[Moment], candidates: int = 0) -> list[SphereMaximum]:
    """kappa and maximisers of every output."""
    return [sphere_extremes(*moment, candidates=candidates) for moment in moment_list]


def mass(atoms: list[Atoms]) -> float:
    """Sum of weight * |multiplier|: the scale of rounding errors in the moments."""
    return sum(float((abs(atom.multipliers) * atom.of_groups(atom.terms.weight)).sum()) for atom in atoms)


class Share(NamedTuple):
    """What the atoms of some groups add to the dual objective, (g,) each."""

    terms: Terms
    total: Array
    """Sum of the multipliers over alternatives and samples."""
    gain: Array
    """Sum of multiplier * (offset - curvature E||e||^2)."""
    size: Array
    """Sum of |multiplier * offset| + |gain|, the scale of its rounding."""


def scaled_value(atoms: list[Atoms], kappa: float, beta: float) -> tuple[float, float]:
    """The best bound over the scaling t, and t."""
    return scaled_shares(shares(atoms), kappa, beta)


def scaled_shares(parts: list[Share], kappa: float, beta: float, together: Together = ALONE) -> tuple[float, float]:
    """The best bound over the scaling t, and t; ``together`` joins the sums of several processes."""
    local = [float((part.terms.weight * part.gain).sum()) for part in parts]
    linear = together.sum(math.fsum(local))
    limit = beta / kappa if kappa > 0 else math.inf
    tops = [
        part.terms.loss.upper / float(part.total.max())
        for part in parts
        if math.isfinite(part.terms.loss.upper) and len(part.total) and float(part.total.max()) > 0
    ]
    limit = together.smallest(min([limit, *tops]))
    t = _best_scaling(parts, linear, limit, together)
    if not math.isfinite(kappa):
        return 0.0, 0.0  # every objective is at least zero
    if t == 0.0 or math.isinf(t):
        return (math.inf if t else 0.0), t
    own = [float((part.terms.weight * part.terms.loss.conjugate(t * part.total)).sum()) for part in parts]
    conjugates = together.sum(math.fsum(own))
    size = together.sum(math.fsum(float((part.terms.weight * part.size).sum()) for part in parts))
    value = t * linear - conjugates - _ROUNDING * (t * size + abs(conjugates))
    return (0.0, 0.0) if math.isnan(value) else (value, t)  # multipliers so large that products overflow prove nothing


def shares(atoms: list[Atoms]) -> list[Share]:
    """The atoms of every set of terms together."""
    merged: dict[int, Share] = {}
    for atom in atoms:
        terms = atom.terms
        gain = (atom.multipliers * atom.of_groups(terms.offset)).sum(0).sum(0)
        if atom.coordinates is not None and bool((terms.curvature > 0).any()):
            square = (atom.coordinates**2).sum(-1)
            square = square if atom.spread is None else square + atom.spread.sum(-1)
            gain = gain - atom.of_groups(terms.curvature) * (atom.multipliers * square).sum(0).sum(0)
        total = atom.multipliers.sum(0).sum(0)
        size = abs(atom.multipliers * atom.of_groups(terms.offset)).sum(0).sum(0) + abs(gain)
        old = merged.get(id(terms)) or Share(terms, *(0.0 * terms.weight for _ in range(3)))
        if atom.groups is None:
            merged[id(terms)] = Share(terms, old.total + total, old.gain + gain, old.size + size)
            continue
        for array, values in zip(old[1:], (total, gain, size), strict=True):
            _add_at(array, atom.groups, values)
        merged[id(terms)] = old
    return list(merged.values())


def _add_at(array: Array, index: Array, values: Array) -> None:
    if namespace(array).__name__ == "torch":
        array.index_add_(0, index, values)
    else:
        namespace(array).add.at(array, index, values)


def _best_scaling(parts: list[Share], linear: float, limit: float, together: Together) -> float:
    curved = [part for part in parts if not (part.terms.hard or part.terms.loss.name == "hinge")]

    def slope(t: float) -> float:
        own = math.fsum(
            float((part.terms.weight * part.total * part.terms.loss.conjugate_derivative(t * part.total)).sum())
            for part in curved
        )
        return linear - together.sum(own)

    if limit <= 0.0 or slope(0.0) <= 0.0:
        return 0.0
    if not together.any(bool(curved)):
        return limit
    low, high = 0.0, min(limit, 1.0)
    while high < limit and slope(high) > 0.0:
        low, high = high, min(2.0 * high, limit)
        if high > 1e30:
            return limit
    if slope(high) >= 0.0:
        return high
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) > 0.0 else (low, middle)
    return low
