"""From the arguments of a problem to its components and terms (docs/architecture.md, the way of one array)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..losses import HARD, SQUARED, WORST_SQUARED, Loss
from .terms import Component, TermSet

if TYPE_CHECKING:
    from .base import Problem


def assemble(problem: Problem) -> tuple[Component, ...]:
    """Components of a problem: one for every output, or one for all of them with the joint multiclass margin."""
    if problem.loss.regression:
        return tuple(_regression(problem, output) for output in range(problem.n_outputs))
    if problem.n_outputs == 1:
        return (_binary(problem, 0, np.where(problem.targets == 1, 1.0, -1.0)),)
    if problem.multiclass == "ovr":
        return tuple(_binary(problem, c, np.where(problem.targets == c, 1.0, -1.0)) for c in range(problem.n_outputs))
    return (_joint(problem),)


def _regression(problem: Problem, output: int) -> Component:
    if problem.loss != SQUARED:
        raise InputError(
            f'the regression loss {problem.loss.name!r} is not the squared one; use loss="squared" for targets '
            f"(only margin losses can be your own)."
        )
    target = problem.targets[:, output]
    one = np.ones_like(target)

    def build(radius: np.ndarray, weight: np.ndarray) -> TermSet:
        if problem.together.any(bool((radius > 0).any())):
            return _terms(
                WORST_SQUARED,
                problem.row_numbers,
                weight,
                np.stack([one, -one]),
                radius,
                np.stack([target, -target]),
            )
        return _terms(SQUARED, problem.row_numbers, weight, one[None], radius, target[None])

    return Component(np.array([output]), np.ones((1, 1)), tuple(_mixed(problem, build)))


def _binary(problem: Problem, output: int, sign: np.ndarray) -> Component:
    rows = problem.row_numbers

    def build(radius: np.ndarray, weight: np.ndarray) -> TermSet:
        return _terms(problem.loss, rows, weight, sign[None], radius, _constant(problem.loss.offset, (1, len(sign))))

    terms = _mixed(problem, build)
    terms += [
        _terms(
            HARD,
            chosen,
            np.ones(len(chosen)),
            sign[None, chosen],
            radius,
            np.full((1, len(chosen)), margin),
            curvature=curvature,
        )
        for chosen, radius, margin, curvature in _constraints(problem)
    ]
    return Component(np.array([output]), np.ones((1, 1)), tuple(terms))


def _joint(problem: Problem) -> Component:
    """One group for every row and wrong class; the pair (c < e) has the direction f_c - f_e."""
    n, classes = problem.rows.n, problem.n_outputs
    own = np.repeat(problem.targets, classes - 1)
    other = np.concatenate([np.delete(np.arange(classes), label) for label in range(classes)]).reshape(classes, -1)
    other = other[problem.targets].reshape(-1)
    low, high = np.minimum(own, other), np.maximum(own, other)
    pairs = np.array([(c, e) for c in range(classes) for e in range(c + 1, classes)])
    number = np.zeros((classes, classes), int)
    number[pairs[:, 0], pairs[:, 1]] = np.arange(len(pairs))
    directions = np.zeros((len(pairs), classes))
    directions[np.arange(len(pairs)), pairs[:, 0]] = 1.0
    directions[np.arange(len(pairs)), pairs[:, 1]] = -1.0
    sign = np.where(own == low, 1.0, -1.0)
    direction = number[low, high]
    rows = np.repeat(np.arange(n), classes - 1)

    def build(radius: np.ndarray, weight: np.ndarray) -> TermSet:
        offset = _constant(problem.loss.offset, (1, len(rows)))
        return _terms(problem.loss, rows, weight[rows], sign[None], radius[rows], offset, direction=direction[None])

    terms = _mixed(problem, build)
    for chosen, radius, margin, curvature in _constraints(problem):
        place = (chosen[:, None] * (classes - 1) + np.arange(classes - 1)).reshape(-1)
        spread = np.repeat(np.arange(len(chosen)), classes - 1)
        terms.append(
            _terms(
                HARD,
                rows[place],
                np.ones(len(place)),
                sign[None, place],
                radius[spread],
                np.full((1, len(place)), margin),
                curvature=curvature[spread],
                direction=direction[None, place],
            )
        )
    return Component(np.arange(classes), directions, tuple(terms))


def _mixed(problem: Problem, build) -> list[TermSet]:
    """Robust terms, and clean terms beside them where the losses are mixed."""
    weight = _scaled(problem.sample_weight, 1.0 / problem.total_weight)
    theta = problem.clean_weight if problem.largest_radius() > 0 else 0.0
    terms = [build(problem.radius, _scaled(weight, 1.0 - theta))] if theta < 1.0 else []
    if theta > 0.0:
        terms.append(build(_constant(0.0, problem.radius.shape), _scaled(weight, theta)))
    return terms


def _constraints(problem: Problem):
    """(rows, radius, margin, curvature) of hard margins and margin curves."""
    if problem.hard_margin is not None:
        rows, margin = problem.hard_margin
        yield rows, problem.radius[rows], margin, np.zeros(len(rows))
    if problem.margin_curve is not None:
        rows, margin = problem.margin_curve
        radius = problem.radius[rows]
        yield rows, radius, margin, np.where(radius > 0, margin / np.where(radius > 0, radius, 1.0) ** 2, 0.0)


def _terms(loss: Loss, row, weight, sign, radius, offset, curvature=None, direction=None) -> TermSet:
    curvature = _constant(0.0, (len(row),)) if curvature is None else curvature
    direction = _constant(0, sign.shape) if direction is None else direction
    return TermSet(loss, row, weight, sign, offset, direction, radius, curvature)


def _constant(value: float, shape: tuple[int, ...]) -> np.ndarray:
    """One number for all, without memory."""
    return np.broadcast_to(np.asarray(value), shape)


def _scaled(values: np.ndarray, factor: float) -> np.ndarray:
    """factor * values, without memory where they are one number for all."""
    if len(values) and not any(values.strides):
        return _constant(float(values.flat[0]) * factor, values.shape)
    return factor * values
