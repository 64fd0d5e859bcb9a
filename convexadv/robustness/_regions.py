"""Least values of a pair of outputs over the balls of the three norms, and over boxes: bounds, and good points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import balls
from ..boxes import BoxRelaxation, box_relaxation_minimum
from ..quadratics import ball_minimum
from ._cross import cross_bound
from ._pairs import Pair

_DESCENT = 30  # projected gradient steps to a good point of an l1 ball


class Local(NamedTuple):
    """What is found for g rows and one pair; points are coordinates @ turn @ basis, without those that are None."""

    lower: np.ndarray
    """(g,) bounds of the signed difference."""
    attained: np.ndarray
    """(g,) its values at the points."""
    coordinates: np.ndarray
    """(g, p)."""
    turn: np.ndarray | None
    """(p, p)."""
    basis: np.ndarray | None
    """(p, d)."""


def ball(pair: Pair, products: np.ndarray, sign: np.ndarray, radius: np.ndarray) -> Local:
    """Minimise over l2 balls, exactly ([KLP24], S-procedure)."""
    eigenvalues, vectors = pair.eigen
    found = ball_minimum(sign[:, None] * eigenvalues, pair.slope(products, sign) @ pair.pull, radius)
    least = pair.values(products, sign) + found.value
    return Local(least, least, found.point, vectors.T, pair.span.basis)


class Boxed(NamedTuple):
    """The relaxation over boxes, and the best point (g, d) that its moments give, with its value (g,)."""

    lower: np.ndarray
    attained: np.ndarray
    point: np.ndarray
    centre: np.ndarray | None
    relaxation: BoxRelaxation


def boxed(
    pair: Pair, products: np.ndarray, sign: np.ndarray, low: np.ndarray, high: np.ndarray, tol: float = 1e-9
) -> Boxed:
    """Bound over boxes by diagonal multipliers (:func:`convexadv.boxes.box_relaxation_minimum`).

    ``low`` and ``high`` are (g, d), or (g,) for cubes: then ``low`` is -high.
    """
    vectors, weights, centre = pair.span.vectors, pair.network.activation[0] * pair.weights, None
    half = high
    if low.ndim == 2:
        centre, half = 0.5 * (low + high), 0.5 * (high - low)
        products = products + centre @ vectors.T
    gradient = pair.slope(products, sign) @ vectors
    found = box_relaxation_minimum(vectors, weights, sign, gradient, half, tol=tol)
    middle = pair.values(products, sign)
    attained, point, edge = middle, np.zeros_like(gradient), half if half.ndim == 2 else half[:, None]
    count = found.factors.shape[1]
    # m and m +- f_l attain the bound where the moments have rank one, with or without a mean.
    shifts = [0.0 * gradient]
    for length in {1.0, max(1.0, count) ** 0.5}:
        for factor in range(count):
            shifts += [length * found.factors[:, factor], -length * found.factors[:, factor]]
    for shift in shifts:
        candidate = np.clip(found.mean + shift, -edge, edge)
        value = pair.values(products + candidate @ vectors.T, sign)
        better = value < attained
        attained, point = np.where(better, value, attained), np.where(better[:, None], candidate, point)
    if centre is not None:
        point = np.clip(centre + point, low, high)
    return Boxed(middle + found.value, attained, point, centre, found)


def cross(pair: Pair, products: np.ndarray, sign: np.ndarray, radius: np.ndarray) -> Local:
    """Bound over l1 balls: the better of :func:`cross_bound` and the minimum over the l2 balls around them."""
    eigenvalues, vectors = pair.eigen
    curvature, pull = sign[:, None] * eigenvalues, pair.slope(products, sign) @ pair.pull
    outer = ball_minimum(curvature, pull, radius)
    axes = vectors.T @ pair.span.basis
    bound = np.maximum(outer.value, cross_bound(curvature, pull, axes, radius, outer.multiplier))
    value, (attained, point) = pair.values(products, sign), _good_points(curvature, pull, axes, radius, outer.point)
    return Local(value + bound, value + attained, point, None, None)


def _good_points(
    curvature: np.ndarray, pull: np.ndarray, axes: np.ndarray, radius: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Low values (g,) of quadratics in l1 balls and their points (g, d): vertices, or found by projected gradients."""
    row = np.arange(len(radius))
    bend, slope = curvature @ (axes * axes), pull @ axes
    vertex = (radius[:, None] * bend - 2.0 * abs(slope)).argmin(1)
    corner = np.zeros_like(slope)
    corner[row, vertex] = -radius * np.where(slope[row, vertex] > 0, 1.0, -1.0)
    step = 0.5 / np.maximum(abs(curvature).max(1, initial=0.0), 1e-300)[:, None]
    best, point = 0.0 * radius, np.zeros_like(slope)
    for candidate in (corner, balls.project(start @ axes, radius, "l1")):
        for _ in range(_DESCENT):
            along = candidate @ axes.T
            value = ((curvature * along + 2.0 * pull) * along).sum(1)
            better = value < best
            best, point = np.where(better, value, best), np.where(better[:, None], candidate, point)
            move = 2.0 * (curvature * along + pull) @ axes
            # Where the quadratic is all but linear, a step of a few radii is enough.
            length = np.minimum(step, 4.0 * radius[:, None] / np.maximum(abs(move).max(1, keepdims=True), 1e-300))
            candidate = balls.project(candidate - length * move, radius, "l1")
    return best, point
