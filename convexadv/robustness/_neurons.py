r"""Hidden neurons of ReLU and gated ReLU networks, and their pieces over balls around rows, in float64.

Every neuron adds to a difference f_y - f_c of outputs, with z = (x - shift) / scale,

    phi_j = 1[s_j >= 0] l_j,      ReLU:  s_j = u_j . z + b_j,  l_j = (alpha_jy - alpha_jc) s_j,
                                  gated: s_j = g_j . z + h_j,  l_j = (v_jy - v_jc) . z + b_jy - b_jc.

Both forms are affine in the perturbation. A network with one output f is the pair (0, f). Perturbations e are
measured in multiples of ``step``, the smallest scale, so that z moves by e * stretch with stretch <= 1.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch

from .._arrays import to_numpy
from ..balls import dual_norm_name, gauge
from ..networks import GatedReLUNetwork, Network, ReLUNetwork
from ..networks.evaluation import evaluate
from ..networks.network import class_margins
from ..networks.units import in_units

_EPS = float(np.finfo(np.float64).eps)


class Centres(NamedTuple):
    """Rows at the centres of their balls; the ball of row i moves s_ij by at most ``reach``."""

    z: np.ndarray
    """(g, d) scaled inputs."""
    radius: np.ndarray
    """(g,) in steps."""
    gate: np.ndarray
    """(g, m) s_j."""
    reach: np.ndarray
    """(g, m)."""
    slack: np.ndarray
    """(g, m) at least the rounding errors of s_j anywhere in the ball, here and in the network's evaluation."""


class Pieces(NamedTuple):
    """The forms l_j of P pairs of a row and a difference of outputs; all (P, m).

    ``low`` and ``high`` enclose what l_j can add or cost where the gate is open or closed: l_j >= low on the
    part of the ball with s_j >= 0, l_j <= high on the part with s_j <= 0, and low <= 0 <= high.
    """

    value: np.ndarray
    """l_j at the centre."""
    reach: np.ndarray
    """Most by which the ball moves it."""
    low: np.ndarray
    high: np.ndarray
    size: np.ndarray
    """Magnitude of what is added up in l_j, which its rounding error is relative to."""
    terms: np.ndarray
    """Magnitude of its two terms over the ball."""


class Neurons:
    """What both kinds of neurons share: the gates, and margins at points.

    Parameters
    ----------
    network : ReLUNetwork or GatedReLUNetwork
    gates : (m, d)
        In scaled inputs.
    offsets : (m,)
    unit : float
        What coefficients and margins are divided by.
    norm : str
        Of the balls.

    Attributes
    ----------
    directions : (m, d)
        Gradients of s_j in e.
    step : float
        The unit of perturbations.
    rounding : float
        Errors of sums over features and neurons, relative to the magnitudes that are added up.
    """

    def __init__(self, network: Network, gates: torch.Tensor, offsets: torch.Tensor, unit: float, norm: str):
        self.norm, self.dual = norm, dual_norm_name(norm)
        self.shift, scale = to_numpy(network.shift, np.float64), to_numpy(network.scale, np.float64)
        self.scale = scale
        self.step = float(scale.min())
        self.stretch = self.step / scale
        self.gates, self.offsets = to_numpy(gates, np.float64), to_numpy(offsets, np.float64)
        self.directions = self.gates * self.stretch
        self.m, self.d = self.gates.shape
        # A direction that is not zero has a reach that is not zero: squares of small ones vanish.
        l2 = norm == "l2"
        self._reach = np.hypot.reduce(self.directions, axis=1) if l2 else gauge(self.directions, self.dual)
        self.unit, self.rounding = unit, 8.0 * (self.d + self.m + 8) * _EPS
        double = copy.deepcopy(network).cpu().double()
        self._network = in_units(double, double.shift, double.scale)

    def centres(self, X: np.ndarray, radius: np.ndarray) -> Centres:
        """Evaluate the gates at rows (g, d) with radii (g,), both in raw units."""
        z = (np.asarray(X, dtype=np.float64) - self.shift) / self.scale
        radius = radius / self.step
        reach = radius[:, None] * self._reach
        size = abs(z) @ abs(self.gates).T + abs(self.offsets) + reach
        return Centres(z, radius, z @ self.gates.T + self.offsets, reach, self.rounding * size)

    def margins(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Margins (g,) of the network at scaled inputs (g, d), in the unit of the coefficients."""
        scores = torch.as_tensor(evaluate(self._network, z) / self.unit)
        return class_margins(scores, torch.as_tensor(labels)).numpy()


class ReLUNeurons(Neurons):
    """Neurons whose linear part is a multiple of their gate."""

    def __init__(self, network: ReLUNetwork, norm: str):
        coefficients = _two_or_more(to_numpy(network.coefficients, np.float64))
        unit = _power_of_two(coefficients)
        super().__init__(network, network.neurons, network.biases, unit, norm)
        self.coefficients = coefficients / unit
        self.outputs = self.coefficients.shape[1]

    def _weights(self, label: np.ndarray, other: np.ndarray) -> np.ndarray:
        return self.coefficients.T[label] - self.coefficients.T[other]

    def pieces(self, centres: Centres, row: np.ndarray, label: np.ndarray, other: np.ndarray) -> Pieces:
        """Evaluate l_j for pairs (P,) of a row and two outputs."""
        weight, gate = self._weights(label, other), centres.gate[row]
        both = abs(self.coefficients.T[label]) + abs(self.coefficients.T[other])
        reach, slack = centres.reach[row], centres.slack[row]
        top, bottom = gate + reach + slack, gate - reach - slack
        low, high = np.minimum(0.0, weight * top), np.maximum(0.0, weight * bottom)
        size, terms = both * (slack / self.rounding), both * (abs(gate) + reach)
        return Pieces(weight * gate, abs(weight) * reach, low, high, size, terms)

    def pull(self, label: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Gradients (P, d) of sum_j share_j l_j in e."""
        return (share * self._weights(label, other)) @ self.directions

    def push(self, label: np.ndarray, other: np.ndarray, e: np.ndarray) -> np.ndarray:
        """Changes (P, m) of l_j under e (P, d)."""
        return self._weights(label, other) * (e @ self.directions.T)

    def vectors(self, label: np.ndarray, other: np.ndarray, neuron: np.ndarray) -> np.ndarray:
        """Gradients (P, d) of one l_j a pair."""
        weight = self.coefficients[neuron, label] - self.coefficients[neuron, other]
        return weight[:, None] * self.directions[neuron]

    def lengths(self, label: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Euclidean norms (P, m) of the gradients of l_j."""
        return abs(self._weights(label, other)) * gauge(self.directions, "l2")


class GatedNeurons(Neurons):
    """Neurons whose linear part has nothing to do with their gate."""

    def __init__(self, network: GatedReLUNetwork, norm: str):
        weights = _two_or_more(to_numpy(network.weights, np.float64)).transpose(2, 0, 1)
        biases = _two_or_more(to_numpy(network.biases, np.float64)).T
        unit = max(_power_of_two(weights), _power_of_two(biases))
        super().__init__(network, network.gates, network.gate_biases, unit, norm)
        self.weights, self.biases = np.ascontiguousarray(weights) / unit, biases / unit  # (C, m, d), (C, m)
        self.outputs = len(weights)
        self.linear = self.weights * self.stretch
        self._linear_reach = gauge(self.linear, self.dual)
        shape = (self.outputs, self.outputs, self.m)
        self._pair_reach, self._rest, self._multiplier, self._lengths = (np.zeros(shape) for _ in range(4))
        square = (self.directions**2).sum(1)
        for label in range(self.outputs):
            for other in range(self.outputs):
                difference = self.linear[label] - self.linear[other]
                parallel = (difference * self.directions).sum(1)
                multiplier = np.maximum(0.0, parallel / np.where(square > 0, square, 1.0))
                self._multiplier[label, other] = multiplier
                self._pair_reach[label, other] = gauge(difference, self.dual)
                self._lengths[label, other] = gauge(difference, "l2")
                self._rest[label, other] = gauge(difference - multiplier[:, None] * self.directions, self.dual)

    def pieces(self, centres: Centres, row: np.ndarray, label: np.ndarray, other: np.ndarray) -> Pieces:
        """Evaluate l_j for pairs (P,) of a row and two outputs.

        Where s_j >= 0, l_j >= l_j - mu s_j for every mu >= 0, and the right side is linear. ``low`` and ``high`` take
        the better of mu = 0 and the one that leaves least of the gradient, in the Euclidean norm.
        """
        inner = np.einsum("gd,cmd->gcm", centres.z, self.weights, optimize=True) + self.biases
        radius = centres.radius[:, None, None]
        size = np.einsum("gd,cmd->gcm", abs(centres.z), abs(self.weights), optimize=True) + abs(self.biases)
        size = size + radius * self._linear_reach
        terms = abs(inner) + radius * self._linear_reach
        value, radius = inner[row, label] - inner[row, other], radius[row, 0]
        reach = radius * self._pair_reach[label, other]
        mu, rest = self._multiplier[label, other], radius * self._rest[label, other]
        gate, slack = centres.gate[row], centres.slack[row]
        low = np.maximum(value - reach, value - mu * (gate + slack) - rest)
        high = np.minimum(value + reach, value - mu * (gate - slack) + rest)
        return Pieces(
            value,
            reach,
            np.minimum(0.0, low),
            np.maximum(0.0, high),
            size[row, label] + size[row, other],
            terms[row, label] + terms[row, other],
        )

    def pull(self, label: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Gradients (P, d) of sum_j share_j l_j in e."""
        total = np.zeros((len(share), self.d))
        for sign, outputs in ((1.0, label), (-1.0, other)):
            for output in np.unique(outputs):
                total[outputs == output] += sign * (share[outputs == output] @ self.linear[output])
        return total

    def push(self, label: np.ndarray, other: np.ndarray, e: np.ndarray) -> np.ndarray:
        """Changes (P, m) of l_j under e (P, d)."""
        total = np.zeros((len(e), self.m))
        for sign, outputs in ((1.0, label), (-1.0, other)):
            for output in np.unique(outputs):
                total[outputs == output] += sign * (e[outputs == output] @ self.linear[output].T)
        return total

    def vectors(self, label: np.ndarray, other: np.ndarray, neuron: np.ndarray) -> np.ndarray:
        """Gradients (P, d) of one l_j a pair."""
        return self.linear[label, neuron] - self.linear[other, neuron]

    def lengths(self, label: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Euclidean norms (P, m) of the gradients of l_j."""
        return self._lengths[label, other]


def _two_or_more(outputs: np.ndarray) -> np.ndarray:
    """A column of zeros before a single last one: f > 0 speaks for the second class."""
    return np.concatenate([np.zeros_like(outputs), outputs], -1) if outputs.shape[-1] == 1 else outputs


def _power_of_two(values: np.ndarray) -> float:
    """The one that makes the largest magnitude lie between 1/2 and 1."""
    return float(np.ldexp(1.0, np.frexp(abs(values).max(initial=0.0))[1]))
