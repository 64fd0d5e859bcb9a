r"""The convex programme of two-layer ReLU networks over given activation patterns, robust or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import to_numpy
from ..balls import gauge
from ..errors import wrong_kind
from .blocks import Blocks
from .pattern_checking import matching_gates
from .patterns import PatternProblem

_ENTRIES = 1 << 23


class ReLUProblem(PatternProblem):
    r"""Convex training of a two-layer ReLU network over the activation patterns of given gates.

    With D_ik = 1[x_i'g_k >= 0] and alpha_i = sum_k D_ik (v_k - w_k),

        minimise  sum_i omega_i loss_i / sum_i omega_i + beta sum_k (||v_k||_2 + ||w_k||_2)
        subject to  (2 D_k - I) X v_k >= r ||v_k||_q,  (2 D_k - I) X w_k >= r ||w_k||_q,
        margin_i = y_i x_i'alpha_i - r_i ||alpha_i||_q        (q dual to the norm of the ball)

    for each output. The cones keep every pattern constant over the balls of the rows, so these margins are the exact
    worst case of the recovered network max(0, u'x) on the rows (docs/mathematics.md; [PE20], [BGS22], [KLP24]).
    Lower bounds speak of the programme over these patterns; a network with other patterns may have a lower objective.

    Parameters
    ----------
    X : (n, d) array, tensor, memory map, or list of shards
        Rows, in the units in which ``radius`` is measured.
    y : (n,) or (n, C)
        Labels of any kind (two or more classes), or real targets for ``loss="squared"``.
    gates : (D, P), optional
        Your own gates, one a column, never dropped nor re-ordered; D = d, or d + 1 with an intercept (where d rows mean
        gates through the origin). Sampled if not given.
    n_gates : int
        How many gates to draw where none are given; gates with the pattern of an earlier one, or with no active row, are
        dropped (``problem.gate_sample`` reports how many).
    gate_kind : {"gaussian", "differences", "sparse", "open"}
        How they are drawn: :func:`convexadv.problems.gates.sample_gates`.
    random_state : int or numpy Generator
        Of the sampling.
    radius : float or (n,)
        Radius r >= 0 of the ball of every row, in the units of X.
    beta : float
        Weight of the penalty; positive for a useful bound.
    loss : {"hinge", "squared_hinge", "logistic", "squared"}
        max(0, 1-m), max(0, 1-m)^2, log(1+exp(-m)), or (f-y)^2/2 (regression, worst end of the interval of f).
    norm : {"l1", "l2", "linf"}
        Norm of the ball.
    multiclass : {"ovr", "joint"}
        One-vs-rest (C problems, objectives summed) or the sum over c != y of the loss of f_y - f_c, each pair at its own
        worst perturbation (an upper bound on the loss at one common perturbation).
    fit_intercept : bool
        Whether rows get a constant last feature 1. It is not perturbed, and it is inside ||v||_2.
    sample_weight : (n,), optional
        omega >= 0; a weight of two equals repeating the row.

    Raises
    ------
    InputError
        One sentence on the first argument that cannot be used.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> problem = ca.ReLUProblem(X, y, n_gates=20, beta=0.01, loss="squared_hinge")
    >>> problem.gates.shape  # four of the twenty drawn have patterns of their own
    (2, 4)
    >>> ca.solve(problem).network.predict(X)
    array([1, 1, 0, 0])
    """

    sides = (1, -1)
    cones = True

    def blocks_of(self, network: Any) -> tuple[Blocks, float]:
        """Blocks |alpha_jc| u_j of a network, on the gates whose patterns its neurons have, and the violation."""
        from ..networks import ReLUNetwork

        if not isinstance(network, ReLUNetwork):
            raise wrong_kind(network, "a ReLUNetwork")
        self._no_scaling(network)
        neurons = self._with_intercept(
            to_numpy(network.neurons, np.float64), to_numpy(network.biases, np.float64), "neurons"
        )
        coefficients = to_numpy(network.coefficients, np.float64).reshape(len(neurons), self.n_outputs)
        used = (neurons != 0).any(1) & (coefficients != 0).any(1)
        gate = np.zeros(len(neurons), np.int64)
        gate[used] = matching_gates(self, neurons[used])
        neuron, output = np.nonzero(coefficients * used[:, None])
        alpha = coefficients[neuron, output]
        blocks = Blocks(gate[neuron], output, np.sign(alpha), neurons[neuron] * np.abs(alpha)[:, None])
        return blocks, self.violation(blocks)

    def violation(self, blocks: Blocks) -> float:
        """max over blocks and rows of (r ||v||_q - (2D - 1) x'v) / (||x|| ||v||), or 0 where no cone is left."""
        size = np.linalg.norm(blocks.vectors, axis=1)
        blocks = blocks.take(np.flatnonzero(size > 0))
        unit = blocks.vectors / size[size > 0][:, None]
        norms = gauge(unit[:, self.perturbed], self.dual_norm)
        worst = 0.0
        step = max(1, _ENTRIES // max(1, len(blocks)))
        for where, rows in self.rows.blocks():
            for first in range(0, len(rows), step):
                x = rows[first : first + step]
                part = slice(where.start + first, where.start + first + len(x))
                sign = np.where(self.patterns[part][:, blocks.gate], 1.0, -1.0)
                short = self.radius[part][:, None] * norms - sign * (x @ unit.T)
                length = np.linalg.norm(x, axis=1)[:, None]
                worst = max(worst, float((short / np.where(length > 0, length, 1.0)).max(initial=0.0)))
        return worst

    def network_of(self, blocks: Blocks) -> Any:
        """The ReLUNetwork with hidden weights v/sqrt||v|| and output weights +-sqrt||v||, one neuron a block."""
        from ..networks import ReLUNetwork

        size = np.sqrt(np.linalg.norm(blocks.vectors, axis=1))
        kept = np.flatnonzero(size > 0)
        part, root = blocks.take(kept), size[kept]
        hidden = part.vectors / root[:, None]
        coefficients = np.zeros((len(kept), self.n_outputs))
        coefficients[np.arange(len(kept)), part.output] = part.side * root
        d = self.n_features
        biases = hidden[:, d] if self.fit_intercept else None
        return ReLUNetwork(hidden[:, :d], coefficients, biases, classes=self.classes)
