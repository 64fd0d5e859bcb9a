r"""The convex programme of gated ReLU networks, robust or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import to_numpy
from ..balls import gauge
from ..errors import InputError, wrong_kind
from .blocks import Blocks
from .given_gates import unit_gates
from .patterns import PatternProblem


class GatedReLUProblem(PatternProblem):
    r"""Convex training of a two-layer gated ReLU network f(x) = sum_k 1[x'g_k >= 0] x'v_k with fixed gates.

        minimise  sum_i omega_i loss_i / sum_i omega_i + beta sum_k ||v_k||_2

    for each output ([MSP22]). At radius r > 0 the gates move with the input, so a gate that changes sign inside the ball
    of a row (unstable: abs(x_i'g_k) <= r ||g_k||_q) counts at its worst; with S the stable active gates of the row,

        margin_i = y x_i'v_S - r ||v_S||_q + sum over unstable gates of min(0, y x_i'v_k - r ||v_k||_q),  v_S = sum_S v_k.

    This is a lower bound on the worst-case margin of the network (docs/mathematics.md): safe, convex, and not always
    attained. Lower bounds on the objective speak of the programme over these gates.

    Parameters
    ----------
    X, y, gates, n_gates, gate_kind, random_state, radius, beta, loss, norm, multiclass, fit_intercept, sample_weight
        As of :class:`ReLUProblem`.

    Raises
    ------
    InputError
        One sentence on the first argument that cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> X, y = np.array([[1.0], [2.0], [-1.0], [-2.0]]), np.array([1.0, 2.0, 1.0, 2.0])  # y = |x|
    >>> problem = ca.GatedReLUProblem(X, y, gates=[[1.0, -1.0]], beta=1e-3, loss="squared")
    >>> ca.solve(problem).network.scores(X).round(1)
    array([1., 2., 1., 2.])
    """

    def _prepare(self) -> None:
        self._active, self._unstable = self.patterns, None
        if not self.robust:
            return
        stable = np.empty_like(self.patterns)
        gates = unit_gates(self.gates)
        norms = gauge(gates[self.perturbed].T, self.dual_norm)
        for where, block in self.rows.blocks():
            products = block @ gates
            reach = self.radius[where][:, None] * norms
            size = np.linalg.norm(block, axis=1)[:, None]
            stable[where] = np.abs(products) > reach * (1.0 + 1e-12) + 1e-14 * size * (reach > 0)
        stable[self.radius == 0] = True
        self._active, self._unstable = self.patterns & stable, ~stable

    @property
    def active(self) -> np.ndarray:
        """(n, P) bool: gates that are active over the whole ball of a row."""
        return self._active

    @property
    def unstable(self) -> np.ndarray | None:
        """(n, P) bool: gates that change inside the ball of a row; None at radius 0."""
        return self._unstable

    def blocks_of(self, network: Any) -> tuple[Blocks, float]:
        """Blocks of a network; its gates must be gates of the problem (up to their length)."""
        from ..networks import GatedReLUNetwork

        if not isinstance(network, GatedReLUNetwork):
            raise wrong_kind(network, "a GatedReLUNetwork")
        self._no_scaling(network)
        own = self._with_intercept(
            to_numpy(network.gates, np.float64), to_numpy(network.gate_biases, np.float64), "gates"
        )
        weights = to_numpy(network.weights, np.float64).reshape(len(own), self.n_features, self.n_outputs)
        biases = to_numpy(network.biases, np.float64).reshape(len(own), self.n_outputs)
        vectors = np.stack(
            [self._with_intercept(weights[:, :, c], biases[:, c], "weights") for c in range(self.n_outputs)], 2
        )
        used = (vectors != 0).any(1)
        neuron, output = np.nonzero(used)
        gate = np.zeros(len(own), np.int64)
        gate[used.any(1)] = self._same_gates(own, np.flatnonzero(used.any(1)))
        blocks = Blocks(gate[neuron], output, np.ones(len(neuron)), vectors[neuron, :, output])
        return blocks, 0.0

    def _same_gates(self, own: np.ndarray, used: np.ndarray) -> np.ndarray:
        """Number of the problem's gate that each of the used gates of a network is a positive multiple of."""
        ours, theirs = unit_gates(self.gates).T, unit_gates(own[used].T).T
        place, gate = np.nonzero(theirs @ ours.T > 1.0 - 1e-12)  # a cosine cannot tell angles of 1e-8 apart
        distance = np.linalg.norm(theirs[place] - ours[gate], axis=1)
        nearest = np.lexsort((gate, distance))[::-1]
        nearest = nearest[distance[nearest] <= 1e-9]
        best = np.full(len(used), -1)
        best[place[nearest]] = gate[nearest]
        if (best < 0).any():
            raise InputError(
                f"gate {int(used[best < 0][0])} of the network is none of the problem's {self.n_gates} gates; "
                "give the problem the network's gates."
            )
        return best

    def network_of(self, blocks: Blocks) -> Any:
        """The GatedReLUNetwork with the gates that blocks use, in the problem's order."""
        from ..networks import GatedReLUNetwork

        used = np.unique(blocks.gate)
        place = np.searchsorted(used, blocks.gate)
        vectors = np.zeros((len(used), self.rows.d, self.n_outputs))
        np.add.at(vectors.transpose(0, 2, 1), (place, blocks.output), blocks.side[:, None] * blocks.vectors)
        gates = self.gates[:, used].T
        d = self.n_features
        offsets, biases = (gates[:, d], vectors[:, d]) if self.fit_intercept else (None, None)
        return GatedReLUNetwork(gates[:, :d], vectors[:, :d], offsets, biases, classes=self.classes)
