r"""The matrix inequalities of a component: rows of one kind together, as arrays of small matrices.

With P = [[r D, x], [0, 1]] the points of the ball of a row are x + D e r, (e, 1) in the unit ball, and the inequality of a
group g and alternative k is, K = [[a, b/2], [b/2, c]] entry by entry and w = offset - u ([KLP24]; docs/mathematics.md),

    S = sign P'(K o W)P + diag(sum_l lambda_l v_l) + r^2 curvature diag(I, 0) + (u - offset) E_44  >=  0,

v = (1, ..., 1, -1) for an l2 ball, (e_j, -1) for every coordinate j of a box. A row without a ball is the inequality of
order one with P = (x, 1). Its multiplier Y is the moment of the points of a certificate, z = Y_44 their weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ....losses import Loss
from ....problems.polynomial import PolynomialProblem
from ....problems.terms import Component, TermSet

_SHARE = 0.2
"""Of the sum of all products that belongs to the lifts, in units of the sum that belongs to the rows."""


class Family(NamedTuple):
    """Groups g of one set of terms, all with a ball or all without; order q of their inequalities."""

    term: int
    """Number of the set."""
    groups: np.ndarray
    """(g,) which of its groups."""
    loss: Loss
    weight: np.ndarray
    """(g,) p."""
    sign: np.ndarray
    """(k, g)"""
    offset: np.ndarray
    """(k, g)"""
    direction: np.ndarray
    """(k, g)"""
    frame: np.ndarray
    """(g, d + 1, q) P."""
    radii: np.ndarray
    """(L, q) v of every multiplier lambda; L = 0 without a ball."""
    curvature: np.ndarray
    """(g,) r^2 curvature."""
    radius: np.ndarray
    """(g,) r, in the units of the data."""

    @property
    def order(self) -> int:
        """q."""
        return self.frame.shape[2]

    @property
    def limit(self) -> np.ndarray:
        """(g,) the largest sum of multipliers z of a group."""
        return self.weight * self.loss.upper

    @property
    def products(self) -> int:
        """How many products of variables and multipliers there are."""
        if self.loss.signed:
            return 0
        return self.sign.size * (self.order + len(self.radii)) + self.sign.shape[1] * self.bounded

    @property
    def bounded(self) -> bool:
        """Whether the sum of the multipliers has a limit."""
        return bool(np.isfinite(self.loss.upper))

    def images(self, parts: np.ndarray) -> np.ndarray:
        """sign P'(K o W)P, (k, g, q, q), from K o W of every direction, (directions, d + 1, d + 1)."""
        own = self.sign[:, :, None, None] * parts[self.direction]
        return np.swapaxes(self.frame, 1, 2) @ own @ self.frame

    def moments(self, multipliers: np.ndarray) -> np.ndarray:
        """P Y P', (k, g, d + 1, d + 1)."""
        return self.frame @ multipliers @ np.swapaxes(self.frame, 1, 2)


class Layout(NamedTuple):
    """All inequalities of a component."""

    families: list[Family]
    factor: np.ndarray
    """(d + 1, d + 1) K, in rows of length one."""
    directions: np.ndarray
    """(directions, outputs)"""
    beta: float
    moving: np.ndarray
    """(p,) features that perturbations move."""
    scale: np.ndarray
    """(d,) D."""

    @property
    def outputs(self) -> int:
        """Outputs of the component."""
        return self.directions.shape[1]

    @property
    def emphasis(self) -> float:
        """Products of the lifts in units of those of the rows.

        Where n rows pull at a lift, a step that changes the products of all by a small share changes Q by n times it; with
        equal products no step of a well centred iterate would be long.
        """
        rows = sum(family.products for family in self.families)
        return max(1.0, _SHARE * rows / (2 * self.outputs * len(self.factor)))

    def parts(self, lifts: np.ndarray) -> np.ndarray:
        """K o W of every direction from W of every output, (outputs, d + 1, d + 1)."""
        return np.einsum("ko,oab->kab", self.directions, lifts) * self.factor

    def pulls(self, family: Family, multipliers: np.ndarray) -> np.ndarray:
        """Adjoint of the images: K o sum of sign P Y P' over the groups, for every output, (outputs, d + 1, d + 1)."""
        own = family.sign[:, :, None, None] * family.moments(multipliers)
        weights = self.directions[family.direction]
        return np.einsum("kgo,kgab->oab", weights, own) * self.factor


def layout_of(problem: PolynomialProblem, component: Component) -> Layout:
    """The inequalities of a component, rows in units of the largest one."""
    X = np.asarray(problem.rows.whole(), np.float64)
    scale = np.ones(problem.rows.d) if problem.scale is None else problem.scale
    moving = np.flatnonzero(scale > 0)
    length = problem.rows.largest_norm() + float(problem.radius.max() * scale.max()) or 1.0
    a, b, c = problem.activation
    factor = np.full((problem.rows.d + 1,) * 2, a * length**2)
    factor[-1], factor[:, -1], factor[-1, -1] = 0.5 * b * length, 0.5 * b * length, c
    families = []
    for number, terms in enumerate(component.terms):
        live = np.ones(terms.shape[1], bool) if terms.hard else terms.weight > 0
        for chosen in (live & (terms.radius > 0), live & ~(terms.radius > 0)):
            if chosen.any():
                radii = _radii(problem.norm, len(moving)) if (terms.radius[chosen] > 0).all() else np.zeros((0, 1))
                families.append(
                    _family(number, terms, np.flatnonzero(chosen), X / length, radii, moving, scale / length)
                )
    return Layout(families, factor, component.directions, problem.beta, moving, scale)


def _radii(norm: str, p: int) -> np.ndarray:
    each = np.eye(p) if norm == "linf" else np.ones((1, p))
    return np.concatenate([each, -np.ones((len(each), 1))], 1)


def _family(
    number: int,
    terms: TermSet,
    groups: np.ndarray,
    X: np.ndarray,
    radii: np.ndarray,
    moving: np.ndarray,
    scale: np.ndarray,
) -> Family:
    d, q = X.shape[1], radii.shape[1]
    radius = terms.radius[groups]
    frame = np.zeros((len(groups), d + 1, q))
    frame[:, :d, -1], frame[:, d, -1] = X[terms.row[groups]], 1.0
    if q > 1:
        frame[:, moving, np.arange(q - 1)] = radius[:, None] * scale[moving]
    sign, offset, direction = (array[:, groups] for array in (terms.sign, terms.offset, terms.direction))
    weight, curvature = terms.weight[groups], terms.curvature[groups] * radius**2
    return Family(number, groups, terms.loss, weight, sign, offset, direction, frame, radii, curvature, radius)
