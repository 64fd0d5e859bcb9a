r"""Differences of outputs of a polynomial network over balls, bounded from below by their witnesses.

With t_j = u_j . z at the middle and v_j = u_j / scale, a difference sum_j w_j s(t_j) changes under e by

    q(e) = e'Ae + 2 g'e,   A = a sum_j w_j v_j v_j',   g = sum_j w_j (a t_j + b/2) v_j.

A witness is a positive semidefinite matrix M, for which e'Me has a maximum over the ball that can be written down, and a
vector e_0. If K = A + M + delta I is positive semidefinite, 0 <= (e - e_0)'K(e - e_0) gives for every e of the ball

    q(e) = e'Ke + 2 g'e - e'Me - delta ||e||^2 >= -e_0'Ke_0 - 2 max_e |(Ke_0 + g)'e| - max_e e'Me - delta max_e ||e||^2.

    l2      M = t I               max e'Me = t r^2                     e_0 = -K^-1 g, not outside of the ball
    linf    M = diag(lam)         max e'Me = sum_j lam_j h_j^2         e_0 = -K^-1 g
    l1      M = V' diag(mu) V     max e'Me = r^2 max_j sum_k mu_k V_kj^2 (at a vertex)      e_0 = V' a

Any e_0 will do, so how it is solved for proves nothing and needs no care. That K is positive semidefinite is shown by a
Cholesky factorisation in floating point (S. M. Rump, Verification of positive definiteness, BIT 46, 2006), for l2 by the
eigenvalues of A and their backward error. Beside that, for linf and l1, every w_j s(t_j + v_j . e) lies between its
extremes over the interval of v_j . e; the better of both bounds counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._balls import EPS, Balls, balls, difference
from .claim import Claim

_NUMBERS = 1 << 23  # in the largest array of matrices


class _Difference(NamedTuple):
    """A difference of outputs around g rows, with the magnitudes of all that is added up."""

    matrix: np.ndarray  # (d, d) A
    matrix_size: np.ndarray
    gradient: np.ndarray  # (g, d) g
    gradient_size: np.ndarray
    value: np.ndarray  # (g,)
    value_size: np.ndarray
    gamma: float  # relative error of any of them


def bounds(claim: Claim, rows: np.ndarray, label: int, other: int, slot: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (g,) of f_label - f_other over the balls of rows (g,), and what they allow for rounding (g,)."""
    around = balls(claim, rows)
    d = claim.X.shape[1]
    size = max(1, _NUMBERS // (d if claim.norm == "l2" else d * d))
    parts = []
    for first in range(0, len(rows), size):
        part = slice(first, first + size)
        parts.append(_bounds(claim, rows[part], around.take(part), (label, other), slot))
    lower, allowance = zip(*parts, strict=True)
    return np.concatenate(lower), np.concatenate(allowance)


def _bounds(
    claim: Claim, rows: np.ndarray, around: Balls, pair: tuple[int, int], slot: int
) -> tuple[np.ndarray, np.ndarray]:
    assert claim.activation is not None
    weight, size = difference(claim.weights["coefficients"], claim.outputs, *pair)
    neurons = claim.weights["neurons"].astype(np.float64)
    a, b, c = claim.activation
    vectors = neurons / around.scale
    inner, inner_size = around.z @ neurons.T, around.magnitude @ abs(neurons).T
    here = _Difference(
        (vectors.T * (a * weight)) @ vectors,
        (abs(vectors).T * (abs(a) * size)) @ abs(vectors),
        ((a * inner + 0.5 * b) * weight) @ vectors,
        ((abs(a) * inner_size + 0.5 * abs(b)) * size) @ abs(vectors),
        ((a * inner + b) * inner + c) @ weight,
        ((abs(a) * inner_size + abs(b)) * inner_size + abs(c)) @ size,
        4.0 * (neurons.shape[0] + neurons.shape[1] + 10) * EPS,
    )
    if claim.norm == "l2":
        return _by_multiplier(here, around, claim.witness["multiplier"][rows, slot])
    if claim.norm == "linf":
        found = _by_diagonal(here, around, claim.witness["multipliers"][rows, slot])
    else:
        first, second = min(pair), max(pair)
        number = first * claim.outputs - first * (first + 1) // 2 + second - first - 1 if claim.outputs > 1 else 0
        witness = (claim.witness[name][rows, slot] for name in ("multipliers", "coordinates"))
        found = _by_basis(here, around, claim.witness["basis"][number], *witness)
    interval = _interval(here, around, vectors, inner, inner_size, weight, size, claim.activation)
    better = ~(found[0] >= interval[0])
    return tuple(np.where(better, *both) for both in zip(interval, found, strict=True))  # type: ignore[return-value]


def _by_multiplier(here: _Difference, around: Balls, multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """l2: one multiplier t >= 0 a row."""
    eigenvalues, vectors = np.linalg.eigh(here.matrix)
    error = here.gamma * (np.trace(here.matrix_size) + abs(eigenvalues).max(initial=0.0) + abs(multiplier))
    t, radius = multiplier[:, None], around.half
    curvature = eigenvalues + t
    delta = np.maximum(0.0, 2.0 * error - curvature.min(1, initial=np.inf))
    pull = here.gradient @ vectors
    coordinates = np.clip(-pull / np.where(curvature > 0, curvature, np.inf), -radius, radius)
    point = coordinates @ vectors.T
    sound = (multiplier >= 0) & (delta <= 8.0 * error)
    extra = _Extra(t * point, t * abs(point), multiplier * radius[:, 0] ** 2, delta)
    return _assembled(here, around, point, extra, sound)


def _by_diagonal(here: _Difference, around: Balls, multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """linf: a multiplier lam_j >= 0 a row and feature."""
    g, d = here.gradient.shape
    matrices = np.repeat(here.matrix[None], g, 0)
    matrices[:, range(d), range(d)] += multipliers
    delta, sound = _definite(matrices, here.gamma * (np.trace(here.matrix_size) + multipliers.sum(1)))
    sound &= (multipliers >= 0).all(1)
    matrices[:, range(d), range(d)] += np.where(delta > 0, delta, 1.0)[:, None]
    matrices[~sound] = np.eye(d)
    point = _solve(matrices, -here.gradient)
    extra = _Extra(multipliers * point, multipliers * abs(point), (multipliers * around.half**2).sum(1), delta)
    return _assembled(here, around, point, extra, sound)


def _by_basis(
    here: _Difference, around: Balls, basis: np.ndarray, multipliers: np.ndarray, coordinates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """l1: multipliers mu_k >= 0 of the directions of a basis (p, d), and the coordinates (g, p) of e_0."""
    magnitude, point = abs(basis), coordinates @ basis
    matrices = here.matrix + np.einsum("gp,pi,pj->gij", multipliers, basis, basis, optimize=True)
    lengths = multipliers @ (basis**2).sum(1)
    delta, sound = _definite(matrices, here.gamma * (np.trace(here.matrix_size) + lengths))
    sound &= (multipliers >= 0).all(1)
    moved = ((point @ basis.T) * multipliers) @ basis
    moved_size = ((abs(point) @ magnitude.T) * multipliers) @ magnitude
    most = around.half[:, 0] ** 2 * (multipliers @ basis**2).max(1, initial=0.0)
    return _assembled(here, around, point, _Extra(moved, moved_size, most, delta), sound)


class _Extra(NamedTuple):
    """What M adds."""

    moved: np.ndarray  # (g, d) M e_0
    moved_size: np.ndarray
    most: np.ndarray  # (g,) max e'Me
    delta: np.ndarray  # (g,)


def _assembled(
    here: _Difference, around: Balls, point: np.ndarray, extra: _Extra, sound: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The bound of the top of the file, with an allowance for the rounding of every product and sum in it."""
    gamma, length = here.gamma, abs(point)
    delta = extra.delta[:, None]
    moved = point @ here.matrix + extra.moved + delta * point
    moved_size = length @ here.matrix_size + extra.moved_size + delta * length
    rest = around.support(moved + here.gradient)
    quadratic, most, flat = (point * moved).sum(1), extra.most, extra.delta * around.square()
    lower = here.value - quadratic - 2.0 * rest - most - flat
    errors = here.value_size + (length * moved_size).sum(1) + most + flat
    allowance = gamma * (errors + 2.0 * around.support(moved_size + here.gradient_size))
    still = around.square() == 0  # nothing moves: the value itself
    allowance = np.where(still, gamma * here.value_size, allowance)
    lower = np.where(still, here.value, np.where(sound, lower, -np.inf))
    return lower - allowance, allowance


def _interval(
    here: _Difference,
    around: Balls,
    vectors: np.ndarray,
    inner: np.ndarray,
    inner_size: np.ndarray,
    weight: np.ndarray,
    size: np.ndarray,
    activation: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Every neuron at its worst over the interval of v_j . e."""
    a, b, c = activation
    reach, slope = around.reach(vectors), 2.0 * a * inner + b
    vertex = np.clip(-slope / (2.0 * a), -reach, reach) if a != 0 else reach
    changes = [weight * ((a * x + slope) * x) for x in (-reach, reach, vertex)]
    top = inner_size + reach
    allowance = here.gamma * (((abs(a) * top + abs(b)) * top + abs(c)) @ size) * 4.0
    return here.value + np.minimum.reduce(changes).sum(1) - allowance, allowance


def _definite(matrices: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of g matrices (d, d) a delta with K + delta I >= 0, and whether there is a small one.

    ``error`` bounds both the rounding of the entries, as a norm, and the backward error of the factorisation.
    """
    d = matrices.shape[1]
    shifted = matrices + error[:, None, None] * np.eye(d)
    shifted = 0.5 * (shifted + shifted.transpose(0, 2, 1))
    zero = error == 0  # all of it is zero
    shifted[zero] = np.eye(d)
    return np.where(zero, 0.0, 3.0 * error), _factors(shifted)


def _factors(matrices: np.ndarray) -> np.ndarray:
    """Whether each matrix has a Cholesky factorisation."""
    try:
        return np.asarray(np.isfinite(np.linalg.cholesky(matrices)).all((1, 2)))
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.zeros(1, bool)
        half = len(matrices) // 2
        return np.concatenate([_factors(matrices[:half]), _factors(matrices[half:])])


def _solve(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solutions (g, d); zero where there is none."""
    try:
        return np.linalg.solve(matrices, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.zeros_like(right)
        half = len(matrices) // 2
        return np.concatenate([_solve(matrices[:half], right[:half]), _solve(matrices[half:], right[half:])])
