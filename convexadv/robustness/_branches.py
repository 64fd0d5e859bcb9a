r"""Bounds of branches of a search, which hold some gates open (s_j >= 0) or closed (s_j <= 0).

The bound is that of ``_relaxation`` with the best shares nu_j of the other gates and the best multipliers tau_j of
those held (``_multipliers``). kappa_j has two slopes, so that a free gate asks for up to two numbers: nu_j = b + c
with 0 <= b <= kink, 0 <= c <= 1 - kink, and

    kappa_j + nu_j l_j = low_j + b (l_j - low_j) + c (l_j - high_j).

A number whose factor has one sign in the whole ball is known. A gate that is held asks for tau_j = -b (open) or b
(closed), b >= 0. The gate to branch on is the one whose bound is furthest from phi_j at the minimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ._multipliers import best_multipliers
from ._relaxation import Pairs

_INSIDE = 1e-11
"""How far inside of held gates minimisers are sought, relative to the ball: a gated network jumps at its gates."""
_WORTH = 1e-14
"""Least excess of phi_j over its bound that a branch is made for, relative to the terms of the margin."""


class Best:
    """The best points known for g rows.

    Parameters
    ----------
    margins : callable
        Takes numbers of rows (N,) and perturbations (N, d), returns margins (N,).
    g, d : int
        Sizes.

    Attributes
    ----------
    e : (g, d)
        The perturbations; zero at first.
    attained : (g,)
        Their margins.
    """

    def __init__(self, margins: Callable[[np.ndarray, np.ndarray], np.ndarray], g: int, d: int):
        self._margins = margins
        self.e = np.zeros((g, d))
        self.attained = margins(np.arange(g), self.e)

    def update(self, row: np.ndarray, e: np.ndarray) -> None:
        """Look at one more point for each of N rows, which may repeat."""
        margin = self._margins(row, e)
        order = np.lexsort((margin, row))
        first = order[np.unique(row[order], return_index=True)[1]]
        better = first[margin[first] < self.attained[row[first]]]
        self.attained[row[better]], self.e[row[better]] = margin[better], e[better]


class _Numbers(NamedTuple):
    """What is sought for N branches, at most k numbers each."""

    used: np.ndarray
    """(N, k) bool; the others only fill up the array."""
    neuron: np.ndarray
    """(N, k)."""
    held: np.ndarray
    """(N, k): 0 for shares."""
    factor: np.ndarray
    """(N, k) at the centre."""
    most: np.ndarray
    """(N, k)."""
    share: np.ndarray
    """(N, m) what is known of the shares."""
    constant: np.ndarray
    """(N,) what is known of the bound, at the centre."""


def bounds(pairs: Pairs, held: np.ndarray, enough: np.ndarray, best: Best) -> tuple[np.ndarray, np.ndarray]:
    """Bound N branches and look at their minimisers.

    Parameters
    ----------
    pairs : Pairs
        One for each branch.
    held : (N, m)
        1 for gates held open, -1 for gates held closed.
    enough : (N,)
        Bounds at which a branch is not looked at any further.
    best : Best
        Of the rows of the pairs; is shown the minimisers.

    Returns
    -------
    lower : (N,)
        The bounds.
    split : (N,) of int
        The gate to branch on; -1 where there is nothing to gain.
    """
    return proofs(pairs, held, enough, best)[:2]


def proofs(
    pairs: Pairs, held: np.ndarray, enough: np.ndarray, best: Best
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`bounds`, with the shares nu (N, m) and the multipliers tau (N, m) of the bounds."""
    neurons, free = pairs.neurons, (held == 0) & (pairs.least < pairs.most)
    pairs = replace(pairs, low=np.where(free, pairs.low, 0.0), high=np.where(free, pairs.high, 0.0))
    sought = _numbers(pairs, held, free)
    radius = pairs.radius[:, None]
    numbers, x = best_multipliers(
        radius[:, :, None] * _rows(pairs, sought),
        sought.factor,
        sought.most,
        radius * neurons.pull(pairs.label, pairs.other, sought.share),
        neurons.norm,
        enough + pairs.rounding - sought.constant,
    )
    branch = np.broadcast_to(np.arange(len(held))[:, None], sought.neuron.shape)
    share, tau = sought.share, np.zeros_like(sought.share)
    for target, here, sign in ((share, sought.held == 0, 1.0), (tau, sought.held != 0, -sought.held)):
        here = here & sought.used
        np.add.at(target, (branch[here], sought.neuron[here]), (sign * numbers)[here])
    share = np.clip(share, 0.0, 1.0)
    lower, gradient = pairs.bound(share, tau)
    e = np.where(sought.used.any(1, keepdims=True), radius * x, pairs.minimiser(gradient))
    best.update(pairs.row, e)
    return lower, _split(pairs, free, e), share, tau


def _numbers(pairs: Pairs, held: np.ndarray, free: np.ndarray) -> _Numbers:
    """Tell the numbers that are known from those that are sought, and bring these to the front."""
    kink, m = pairs.kink(), held.shape[1]
    share = np.where(held == 1, 1.0, np.where(held == 0, pairs.least, 0.0))
    constant = np.where(free, pairs.low, share * pairs.value).sum(1)
    factors = [pairs.value - pairs.low, pairs.value - pairs.high]
    limits = [np.where(free, kink, 0.0), np.where(free, 1.0 - kink, 0.0)]
    masks = []
    for factor, limit in zip(factors, limits, strict=True):
        known = np.where(factor >= pairs.reach, limit, 0.0)
        share, constant = share + known, constant + (known * factor).sum(1)
        masks.append((limit > 0) & (abs(factor) < pairs.reach))
    inside = _INSIDE * pairs.span + 2.0 * pairs.slack
    mask = np.concatenate([*masks, held != 0], 1)
    index = np.argsort(~mask, 1, kind="stable")[:, : int(mask.sum(1).max(initial=0))]
    used = np.take_along_axis(mask, index, 1)
    factor = np.take_along_axis(np.concatenate([*factors, inside - held * pairs.gate], 1), index, 1)
    most = np.take_along_axis(np.concatenate([*limits, np.full(held.shape, np.inf)], 1), index, 1)
    signs = np.take_along_axis(np.concatenate([0 * held, 0 * held, held], 1), index, 1)
    filled = np.where(used, factor, -1.0), np.where(used, most, 1.0)
    return _Numbers(used, index % max(1, m), signs, *filled, share, constant)


def _rows(pairs: Pairs, sought: _Numbers) -> np.ndarray:
    """Gradients (N, k, d) of the factors of the numbers."""
    neurons, (N, k) = pairs.neurons, sought.used.shape
    rows = np.zeros((N, k, neurons.d))
    gates, shares = sought.used & (sought.held != 0), sought.used & (sought.held == 0)
    rows[gates] = -sought.held[gates][:, None] * neurons.directions[sought.neuron[gates]]
    label, other = (np.broadcast_to(part[:, None], (N, k))[shares] for part in (pairs.label, pairs.other))
    rows[shares] = neurons.vectors(label, other, sought.neuron[shares])
    return rows


def _split(pairs: Pairs, free: np.ndarray, e: np.ndarray) -> np.ndarray:
    """The free gates (N,) whose bound is furthest from phi_j at perturbations (N, d); -1 where all are close."""
    neurons = pairs.neurons
    gate = pairs.gate + e @ neurons.directions.T
    value = pairs.value + neurons.push(pairs.label, pairs.other, e)
    excess = np.where(free, np.where(gate >= 0, value, 0.0) - pairs.below(value), -np.inf)
    worth = excess.max(1, initial=-np.inf) > _WORTH * pairs.size
    return np.where(worth, excess.argmax(1), -1)
