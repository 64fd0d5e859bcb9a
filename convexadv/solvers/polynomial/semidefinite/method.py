r"""A primal-dual interior-point method with Mehrotra's predictor and corrector for a component in full.

Iterates stay strictly inside all cones, so that any of them gives multipliers of a certificate and lifts of a network; both
are judged by the problem itself (:mod:`.answer`), and nothing here has to be trusted. Some 15 steps reach a relative gap of
1e-6 (Mehrotra, SIAM Journal on Optimization 2, 1992; Todd, Toh and Tutuncu, SIAM Journal on Optimization 8, 1998, for its
use with matrices).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from .coordinates import Coordinates
from .families import Family, Layout
from .newton import System
from .start import start
from .variables import Iterate, Part, diagonals, symmetric

MAX_STEPS = 100
_TO_EDGE = 0.95
"""Part of the way to the boundary that a step takes."""
_LEAST_CENTRING = 1e-4
_FAR = 2.0
"""Penalty, in units of that of the problem, above which infeasibility falls with the products: if it fell sooner, or much
later, iterates would leave the path to a solution. Below it steps aim at none, lest rounding in the last steps leave some."""
_SHORTEST = 1e-8
"""Steps below it show that rounding has taken over."""


def central_path(layout: Layout) -> Iterator[tuple[Iterate, float, float]]:
    """Iterates, their objectives and gaps, up to MAX_STEPS of them or until rounding ends the progress.

    Gaps count what is left of the first iterate's infeasibility: primal in units of the objective of the zero network, dual
    by shrinking the multipliers until they are feasible.
    """
    coordinates = Coordinates(len(layout.factor))
    linear = all(family.loss.name in ("hinge", "hard") for family in layout.families)
    with contextlib.suppress(np.linalg.LinAlgError):
        iterate = start(layout, coordinates)
        infeasible = float(not all(family.bounded for family in layout.families))
        zero = sum(float(family.weight @ family.loss.value(family.offset.max(0))) for family in layout.families)
        for _ in range(MAX_STEPS):
            roots, products = _Roots(layout, iterate), complementarity(layout, iterate)
            if not np.isfinite(products):
                return
            upper, lower = objectives(layout, iterate)
            lower *= layout.beta / iterate.beta
            yield iterate, upper, max(products, upper - lower) + infeasible * zero
            iterate, primal, dual, kept = _step(layout, coordinates, iterate, roots, products, linear)
            if not max(primal, dual) > _SHORTEST:
                return
            infeasible *= 1.0 - (1.0 - kept) * min(primal, dual)


@np.errstate(all="ignore")
def _step(
    layout: Layout, coordinates: Coordinates, iterate: Iterate, roots: _Roots, gap: float, linear: bool
) -> tuple[Iterate, float, float, float]:
    """The next iterate, the primal and the dual length of the step to it, and the share of infeasibility it aims to keep."""
    system, mu = System(layout, coordinates, iterate), gap / _products(layout)
    predicted = system.step(0.0)
    lengths = roots.lengths(predicted, 1.0, linear)
    centring = max((1.0 - min(lengths)) ** 3, _LEAST_CENTRING)
    kept = centring if iterate.beta > _FAR * layout.beta else 0.0
    change = system.step(centring * mu, predicted, kept)
    lengths = roots.lengths(change, _TO_EDGE, linear)
    return iterate.moved(change, *lengths), *lengths, kept


@np.errstate(all="ignore")
def complementarity(layout: Layout, iterate: Iterate) -> float:
    """Sum of all products of variables and multipliers, the gap of feasible iterates."""
    total = float((iterate.Z * iterate.Q).sum())
    for family, part in zip(layout.families, iterate.parts, strict=True):
        total += float((part.S * part.Y).sum() + (part.lam * part.tau).sum() + part.xi @ _slack(family, part))
    return total


@np.errstate(all="ignore")
def objectives(layout: Layout, iterate: Iterate) -> tuple[float, float]:
    """Losses and penalty of the lifts, and the bound of the multipliers; where both are feasible."""
    primal, dual = layout.beta * float(iterate.Z[..., -1, -1].sum()), 0.0
    for family, part in zip(layout.families, iterate.parts, strict=True):
        z = part.Y[..., -1, -1]
        primal += float(family.weight @ family.loss.value(part.u))
        dual += float((family.offset * z).sum() - (family.curvature * diagonals(part.Y)[..., :-1].sum(-1)).sum())
        dual -= float(family.weight @ family.loss.conjugate(z.sum(0) / family.weight))
    return primal, dual


def _products(layout: Layout) -> float:
    """How many products there are, those of the lifts with their weight."""
    lifts = 2 * layout.outputs * len(layout.factor)
    return layout.emphasis * lifts + sum(family.products for family in layout.families)


def _slack(family: Family, part: Part) -> np.ndarray:
    """(g,) room of the sum of the multipliers below its limit; 1 where there is none."""
    return np.where(np.isfinite(family.limit), family.limit - part.Y[..., -1, -1].sum(0), 1.0)


class _Roots:
    """Inverse factors of all matrices of an iterate, for the lengths of several steps."""

    def __init__(self, layout: Layout, iterate: Iterate):
        self.iterate = iterate
        self.families = [
            (family, part, _root(part.S), _root(part.Y))
            for family, part in zip(layout.families, iterate.parts, strict=True)
            if not family.loss.signed
        ]
        self.numbers = [number for number, family in enumerate(layout.families) if not family.loss.signed]
        self.Z, self.Q = _root(iterate.Z), _root(iterate.Q)

    def lengths(self, step: Iterate, share: float, linear: bool) -> tuple[float, float]:
        """Primal and dual length up to 1 that keep everything positive; one and the same where a loss is curved."""
        primal, dual = [_least(self.Z, step.Z)], [_least(self.Q, step.Q)]
        for number, (family, part, S, Y) in zip(self.numbers, self.families, strict=True):
            change = step.parts[number]
            primal += [_least(S, change.S), _lowest(change.lam / part.lam)]
            dual += [_least(Y, change.Y), _lowest(change.tau / part.tau)]
            if family.bounded:
                primal.append(_lowest(change.xi / part.xi))
                dual.append(_lowest(-change.Y[..., -1, -1].sum(0) / _slack(family, part)))
        found = [min(1.0, share / max(-min(side), 1e-300)) for side in (primal, dual)]
        return (found[0], found[1]) if linear else (min(found), min(found))


@np.errstate(all="ignore")
def _root(matrices: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.linalg.cholesky(matrices))


def _least(roots: np.ndarray, changes: np.ndarray) -> float:
    """Least eigenvalue of changes relative to the matrices.

    Traces and squares bound the least eigenvalue of every matrix from both sides (Wolkowicz and Styan, Linear Algebra and
    its Applications 29, 1980), so that few have to be taken apart.
    """
    scaled = symmetric(roots @ changes @ np.swapaxes(roots, -1, -2)).reshape(-1, *changes.shape[-2:])
    q = scaled.shape[-1]
    mean = diagonals(scaled).sum(-1) / q
    spread = np.sqrt(np.maximum(np.einsum("nij,nij->n", scaled, scaled) / q - mean**2, 0.0))
    lowest, highest = mean - spread * (q - 1) ** 0.5, mean - spread / max(q - 1, 1) ** 0.5
    chosen = ~(lowest > highest.min())
    return float(np.linalg.eigvalsh(scaled[chosen])[..., 0].min())


def _lowest(changes: np.ndarray) -> float:
    return float(changes.min(initial=0.0))
