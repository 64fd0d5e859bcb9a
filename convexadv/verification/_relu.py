r"""Differences of outputs of ReLU and gated ReLU networks over balls, bounded from below by their slopes.

A difference is a sum of phi_j = 1[s_j >= 0] l_j with gates s_j and lines l_j that are affine in the perturbation e (ReLU:
l_j = w_j s_j). Let low_j <= l_j wherever s_j >= 0 in the ball and high_j >= l_j wherever s_j <= 0. Then for every slope
nu_j in [0, 1]

    phi_j >= nu_j l_j + min((1 - nu_j) low_j, -nu_j high_j):

where the gate is open, phi_j = nu_j l_j + (1 - nu_j) l_j; where it is closed, phi_j = 0 = nu_j l_j - nu_j l_j. A gate that
is open in the whole ball has phi_j = l_j, one that is closed there has phi_j = 0. The sum of the lines has its minimum
over the ball in closed form: value at the middle minus the support function of its gradient. For low_j and high_j: on the
open side l_j >= l_j - mu s_j, on the closed side l_j <= l_j - mu s_j, for every mu >= 0.

A complete search leaves branches, in which some gates are held open (s_j >= 0) or closed (s_j < 0): there phi_j = l_j or 0,
and tau_j s_j <= 0 for every tau_j <= 0 or >= 0, which is added. The least bound of branches that cover the ball is a bound:
they cover it if one of them holds no gate, or if a gate that all of them hold divides them into two sets that cover it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._balls import EPS, Balls, balls, difference
from .claim import Claim

_NUMBERS = 1 << 22  # in the largest array


class _Lines(NamedTuple):
    """The gates and lines of m neurons around g rows."""

    gate: np.ndarray  # (g, m) s_j
    reach: np.ndarray  # (g, m)
    slack: np.ndarray  # (g, m) rounding of s_j anywhere in the ball
    value: np.ndarray  # (g, m) l_j
    value_size: np.ndarray  # (g, m) magnitude over the ball
    gradients: np.ndarray  # (m, d) of l_j
    gradient_sizes: np.ndarray  # (m, d)
    low: np.ndarray  # (g, m)
    high: np.ndarray  # (g, m)
    directions: np.ndarray  # (m, d) gradients of s_j


class _Held(NamedTuple):
    """Gates held in g branches."""

    sign: np.ndarray  # (g, m) 1 open, -1 closed
    tau: np.ndarray  # (g, m)


def bounds(claim: Claim, rows: np.ndarray, label: int, other: int, slot: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (g,) of f_label - f_other over the balls of rows (g,), and what they allow for rounding (g,)."""
    around, witness = balls(claim, rows), claim.witness
    lower, allowance = _of_rows(claim, around, (label, other), witness["slopes"][rows, slot], None)
    if "leaf_row" not in witness:
        return lower, allowance
    place = np.full(len(claim.X), -1)
    place[rows] = np.arange(len(rows))
    inside = (witness["leaf_row"] >= 0) & (witness["leaf_row"] < len(claim.X)) & (witness["leaf_slot"] == slot)
    leaves = np.flatnonzero(inside)
    at = place[witness["leaf_row"][leaves]]
    leaves, at = leaves[at >= 0], at[at >= 0]
    held = _Held(witness["leaf_held"][leaves], witness["leaf_tau"][leaves])
    found = _of_rows(claim, around.take(at), (label, other), witness["leaf_slopes"][leaves], held)
    for row in np.unique(at):
        here = at == row
        least = found[0][here].min()
        if least > lower[row] and _cover(held.sign[here]):
            lower[row], allowance[row] = least, found[1][here].max()
    return lower, allowance


def _cover(held: np.ndarray) -> bool:
    """Whether branches (L, m) cover the ball."""
    parts = [held]
    while parts:
        part = parts.pop()
        if len(part) and not part.any(1).all():
            continue
        gates = np.flatnonzero((part != 0).all(0) & (len(part) > 0))
        if not len(gates):
            return False
        rest = part.copy()
        rest[:, gates[0]] = 0
        parts += [rest[part[:, gates[0]] > 0], rest[part[:, gates[0]] < 0]]
    return True


def _of_rows(
    claim: Claim, around: Balls, pair: tuple[int, int], slopes: np.ndarray, held: _Held | None
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds and allowances (g,), block by block."""
    (g, m), d = slopes.shape, claim.X.shape[1]
    gamma = 4.0 * (m + d + 10) * EPS
    size, lower, allowance = max(1, _NUMBERS // (m + d + 1)), np.zeros(g), np.zeros(g)
    make = _relu_lines if claim.kind == "ReLUNetwork" else _gated_lines
    for first in range(0, g, size):
        part = slice(first, first + size)
        lines = make(claim, around.take(part), pair, gamma)
        some = None if held is None else _Held(held.sign[part], held.tau[part])
        lower[part], allowance[part] = _bounds(lines, around.take(part), slopes[part], some, gamma)
    return lower, allowance


def _bounds(
    lines: _Lines, around: Balls, slopes: np.ndarray, held: _Held | None, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
    sound = ((slopes >= 0) & (slopes <= 1)).all(1)
    opened = lines.gate - lines.reach - lines.slack >= 0
    closed = lines.gate + lines.reach + lines.slack < 0
    if held is not None:
        sound &= (held.tau * held.sign <= 0).all(1) & ((held.sign != 0) | (held.tau == 0)).all(1)
        opened, closed = (opened & (held.sign >= 0)) | (held.sign > 0), (closed & (held.sign <= 0)) | (held.sign < 0)
    decided = opened | closed
    slope = np.where(decided, opened * 1.0, slopes)
    least = np.where(decided, 0.0, np.minimum((1.0 - slope) * lines.low, -slope * lines.high))
    total, gradient = (slope * lines.value + least).sum(1), slope @ lines.gradients
    sizes = np.where(closed, 0.0, lines.value_size + abs(least)).sum(1)
    gradient_size = slope @ lines.gradient_sizes
    if held is not None:
        total, gradient = total + (held.tau * lines.gate).sum(1), gradient + held.tau @ lines.directions
        sizes = sizes + (abs(held.tau) * (lines.slack / gamma)).sum(1)
        gradient_size = gradient_size + abs(held.tau) @ abs(lines.directions)
    allowance = gamma * (sizes + around.support(gradient_size))
    return np.where(sound, total - around.support(gradient) - allowance, -np.inf), allowance


def _gates(
    around: Balls, normals: np.ndarray, offsets: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    reach = around.reach(normals / around.scale)
    size = around.magnitude @ abs(normals).T + abs(offsets) + reach
    slack = gamma * size + np.where(size > 0, np.finfo(float).tiny, 0.0)  # products may underflow
    return around.z @ normals.T + offsets, reach, slack


def _relu_lines(claim: Claim, around: Balls, pair: tuple[int, int], gamma: float) -> _Lines:
    normals, offsets = (claim.weights[name].astype(np.float64) for name in ("neurons", "biases"))
    weight, size = difference(claim.weights["coefficients"], claim.outputs, *pair)
    gate, reach, slack = _gates(around, normals, offsets, gamma)
    # w > 0: l >= 0 where the gate is open, l <= 0 where it is closed; w < 0: l has its extreme at the end of the interval.
    low = np.where(weight < 0, weight * (gate + reach + slack), 0.0)
    high = np.where(weight < 0, weight * (gate - reach - slack), 0.0)
    gradients = normals / around.scale
    return _Lines(
        gate,
        reach,
        slack,
        weight * gate,
        size * (slack / gamma),
        weight[:, None] * gradients,
        size[:, None] * abs(gradients),
        low,
        high,
        gradients,
    )


def _gated_lines(claim: Claim, around: Balls, pair: tuple[int, int], gamma: float) -> _Lines:
    normals, offsets = (claim.weights[name].astype(np.float64) for name in ("gates", "gate_biases"))
    weight, weight_size = difference(claim.weights["weights"], claim.outputs, *pair)
    constant, constant_size = difference(claim.weights["biases"], claim.outputs, *pair)
    gate, reach, slack = _gates(around, normals, offsets, gamma)
    value = around.z @ weight.T + constant
    size = around.magnitude @ weight_size.T + constant_size + around.reach(weight_size / around.scale)
    gradients, directions = weight / around.scale, normals / around.scale
    lengths = (directions**2).sum(1)
    mu = np.maximum(0.0, (gradients * directions).sum(1) / np.where(lengths > 0, lengths, np.inf))
    plain, tilted = around.reach(gradients), around.reach(gradients - mu[:, None] * directions)
    middle, error = value - mu * gate, gamma * (size + mu * (slack / gamma))
    low = np.maximum(value - plain, middle - tilted) - error
    high = np.minimum(value + plain, middle + tilted) + error
    return _Lines(gate, reach, slack, value, size, gradients, weight_size / around.scale, low, high, directions)
