r"""Linear lower bounds of margins over balls, and their multipliers.

For a pair of a row and a difference of outputs, sum_j phi_j with phi_j = 1[s_j >= 0] l_j (``_neurons``). Take
l_j >= low_j where the gate is open and l_j <= high_j where it is closed. For every share nu_j in [0, 1]

    phi_j = (1 - nu_j) phi_j + nu_j (l_j - 1[s_j < 0] l_j) >= nu_j l_j + kappa_j(nu_j),
    kappa_j(nu) = min((1 - nu) low_j, -nu high_j),

nu_j = 1 and kappa_j = 0 if the gate is open in the whole ball, nu_j = 0 if it is closed. So for all shares, and
all multipliers tau_j of gates that a branch holds open (tau_j <= 0) or closed (tau_j >= 0),

    worst case >= sum_j kappa_j(nu_j) + nu_j l_j(0) + tau_j s_j(0) - r ||grad sum_j nu_j l_j + tau_j s_j||_*.

It is concave in nu and tau, and attained where no gate is undecided. For ReLU neurons it is the relaxation of
CROWN (Zhang, Weng, Chen, Hsieh, Daniel, NeurIPS 2018): l_j = w_j s_j gives any line through the origin for
w_j > 0 (low_j = high_j = 0), and for w_j < 0 the line through both ends at the kink nu = u / (u - l) of kappa.
The shares start with the line that is highest at the row and rise by primal-dual steps (Chambolle, Pock, 2011);
every iterate gives a bound.

Rounding. ``slack`` bounds the errors of s_j; a gate is decided only beyond it, a branch holds it open down to
-slack, and |tau_j| slack_j is subtracted twice. ``rounding`` is subtracted for the rest: a multiple of eps
times the magnitudes of all terms of all l_j over the ball.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from .. import balls
from ._neurons import Centres, GatedNeurons, ReLUNeurons
from .pgd import steepest
from .query import UNDERFLOW

_STILL = 1e-100  # reach, in units of the coefficients, of a neuron that is not worth a step: its inverse may overflow


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of a row and a difference of outputs, and what is known of their neurons.

    Attributes
    ----------
    neurons : ReLUNeurons or GatedNeurons
    row, label, other : (P,) of int
        Number of the row in its block, and the outputs.
    radius, rounding, size : (P,)
        Radius in steps; allowance for rounding; what the terms can add up to in the ball.
    gate, span, slack : (P, m)
        s_j at the centre, by how much the ball moves it, and its rounding.
    value, reach, low, high : (P, m)
        l_j at the centre, by how much the ball moves it, and its bounds behind the gate; zero where decided.
    least, most : (P, m)
        Bounds of the shares nu_j; equal where the gate is decided.
    """

    neurons: ReLUNeurons | GatedNeurons
    row: np.ndarray
    label: np.ndarray
    other: np.ndarray
    radius: np.ndarray
    rounding: np.ndarray
    size: np.ndarray
    gate: np.ndarray
    span: np.ndarray
    slack: np.ndarray
    value: np.ndarray
    reach: np.ndarray
    low: np.ndarray
    high: np.ndarray
    least: np.ndarray
    most: np.ndarray

    @classmethod
    def of(cls, neurons: ReLUNeurons | GatedNeurons, centres: Centres, labels: np.ndarray) -> Pairs:
        """All pairs of the rows of a block with classes other than their labels (g,)."""
        others = np.arange(neurons.outputs) != labels[:, None]
        row, other = np.nonzero(others)
        label = labels[row]
        pieces = neurons.pieces(centres, row, label, other)
        gate, span, slack = centres.gate[row], centres.reach[row], centres.slack[row]
        opened, closed = gate >= span + slack, gate < -span - slack
        decided = opened | closed
        size = np.where(closed, 0.0, pieces.size).sum(1)
        return cls(
            neurons,
            row,
            label,
            other,
            centres.radius[row],
            neurons.rounding * size + np.where(size > 0, UNDERFLOW / neurons.unit, 0.0),
            np.where(closed, 0.0, pieces.terms).sum(1),
            gate,
            span,
            slack,
            pieces.value,
            pieces.reach,
            np.where(decided, 0.0, pieces.low),
            np.where(decided, 0.0, pieces.high),
            np.where(opened, 1.0, 0.0),
            np.where(closed, 0.0, 1.0),
        )

    def __getitem__(self, index: np.ndarray) -> Pairs:
        arrays = {field.name: getattr(self, field.name)[index] for field in fields(self)[1:]}
        return replace(self, **arrays)

    def __len__(self) -> int:
        return len(self.row)

    def kink(self) -> np.ndarray:
        """Shares (P, m) at which kappa_j is largest."""
        width = self.high - self.low
        return np.clip(np.where(width > 0, -self.low / np.where(width > 0, width, 1.0), 1.0), self.least, self.most)

    def below(self, value: np.ndarray) -> np.ndarray:
        """The largest lower bound (P, m) of phi_j at points where l_j = value."""
        kink = self.kink()
        return np.maximum(np.maximum(self.low, value - self.high), self._constant(kink) + kink * value)

    def first_shares(self) -> np.ndarray:
        """Of the shares 0, 1 and the kink (P, m) those whose bound of phi_j is largest at the row."""
        kink = self.kink()
        at_kink = self._constant(kink) + kink * self.value
        share = np.where(self.value - self.high > np.maximum(self.low, at_kink), self.most, kink)
        return np.where(self.low > np.maximum(at_kink, self.value - self.high), self.least, share)

    def _constant(self, share: np.ndarray) -> np.ndarray:
        return np.minimum((1.0 - share) * self.low, -share * self.high)

    def bound(self, share: np.ndarray, tau: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the bound (P,) and the gradient (P, d) at shares and multipliers (P, m)."""
        gradient = self.neurons.pull(self.label, self.other, share)
        total = (self._constant(share) + share * self.value).sum(1)
        if tau is not None:
            gradient = gradient + tau @ self.neurons.directions
            total = total + (tau * self.gate - 2.0 * abs(tau) * self.slack).sum(1)
        return total - balls.support(gradient, self.radius, self.neurons.norm) - self.rounding, gradient

    def minimiser(self, gradient: np.ndarray) -> np.ndarray:
        """Where (P, d) linear functions are least in the balls."""
        return -self.radius[:, None] * steepest(gradient, self.neurons.norm)

    def rise(self, share: np.ndarray, lower: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Improve shares by primal-dual steps.

        Returns
        -------
        lower : (P,)
            The best bounds.
        e : (P, d)
            Points of the balls near the minimisers of the relaxation.
        share : (P, m)
            Those of the best bounds.
        """
        neurons, norm, kink = self.neurons, self.neurons.norm, self.kink()
        moves = (self.least < self.most) & (self.reach > _STILL)
        # Steps of one in shares and in radii: sigma_j = 1 / reach_j, tau = 1 / sum_j sigma_j (r ||grad l_j||_2)^2.
        step = np.where(moves, 1.0 / np.where(moves, self.reach, 1.0), 0.0)
        square = (step * neurons.lengths(self.label, self.other) ** 2).sum(1)
        back = (1.0 / np.where(square > 0, square, 1.0))[:, None]
        current = best = share
        gradient = neurons.pull(self.label, self.other, share)
        e = self.minimiser(gradient)
        for _ in range(steps):
            following = balls.project(e - back * gradient, self.radius, norm)
            value = self.value + neurons.push(self.label, self.other, 2.0 * following - e)
            e = following
            upper, under = current + step * (value - self.low), current + step * (value - self.high)
            middle = np.maximum(np.minimum(upper, kink), under)
            current = np.where(moves, np.clip(middle, self.least, self.most), current)
            bound, gradient = self.bound(current)
            better = bound > lower
            lower, best = np.where(better, bound, lower), np.where(better[:, None], current, best)
        return lower, e, best
