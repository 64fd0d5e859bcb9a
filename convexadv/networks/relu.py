"""Two-layer ReLU networks: balanced, and with parallel neurons merged."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .two_layers import TwoLayerNetwork
from .weights import check_layers, entries_of_rows, network_dtype, weight_tensor


class ReLUNetwork(TwoLayerNetwork):
    """Two-layer network with ReLU activation.

    ``f_c(x) = sum_j alpha_jc max(0, u_j . z + b_j)``, ``z = (x - shift) / scale`` ([PE20] Pilanci, Ergen,
    arXiv 2002.10553).

    Parameters
    ----------
    neurons : array or tensor (m, d)
        Rows u_j, of any length. m = 0 is the zero network.
    coefficients : array or tensor (m,) or (m, C)
        Output weights alpha; C = 1 for two classes or one target.
    biases : array or tensor (m,), optional
        Biases b_j; zeros if not given.
    shift, scale : array or tensor (d,), optional
        Scaling of the inputs, in their units; 0 and 1 if not given; ``scale`` is positive.
    classes : array-like (K,), optional
        Labels in sorted order: text, integers, floats or booleans; None for regression.
    dtype : torch.float32 or torch.float64, optional
        Precision of the weights; that of ``neurons`` if not given (float64 if it has another one).

    Attributes
    ----------
    neurons : torch.nn.Parameter (m, d)
    coefficients : torch.nn.Parameter (m, C)
    biases : torch.nn.Parameter (m,)
    shift, scale : buffers (d,)
    classes : ndarray (K,) or None
    metadata : dict
        What :func:`convexadv.load` found beside the weights; empty otherwise.

    Raises
    ------
    InputError
        If shapes do not fit or a weight is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0], [-1.0]], [1.0, 1.0], biases=[0.0, 0.0])  # |x|
    >>> network.scores(np.array([[-3.0], [2.0]]))
    array([3., 2.])
    >>> sum(weights.numel() for weights in network.parameters())  # an ordinary torch module
    6
    """

    _TENSORS = frozenset({"neurons", "coefficients", "biases", "shift", "scale"})

    def __init__(
        self,
        neurons: Any,
        coefficients: Any,
        biases: Any = None,
        shift: Any = None,
        scale: Any = None,
        classes: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        dtype = network_dtype(neurons, dtype)
        rows = weight_tensor(neurons, "neurons", 2, dtype)
        output = weight_tensor(coefficients, "coefficients", (1, 2), dtype, rows.device)
        output = output[:, None] if output.ndim == 1 else output
        check_layers(rows, output)
        offsets = entries_of_rows(biases, "biases", "neuron", rows)
        self.neurons = torch.nn.Parameter(rows)
        self.coefficients = torch.nn.Parameter(output)
        self.biases = torch.nn.Parameter(offsets)
        self._set_inputs(shift, scale, rows)
        self._set_classes(classes)

    @property
    def entries_of_a_row(self) -> int:
        """Entries of the largest array that the evaluation of one row needs."""
        return max(self.n_features, self.n_neurons)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the scores of raw inputs, differentiable in the inputs and the weights.

        The derivative of max(0, t) at t = 0 is taken as 0.

        Parameters
        ----------
        x : tensor (n, d)
            Raw inputs of any real dtype; more leading dimensions, or none, are kept.

        Returns
        -------
        tensor (n,) if C = 1, else (n, C)

        Raises
        ------
        InputError
            If x is not a tensor or has another number of features.
        """
        inner = self._scaled(x, self.neurons.dtype) @ self.neurons.T + self.biases
        return self._squeezed(torch.relu(inner) @ self.coefficients)

    def penalty(self) -> float:
        """Sum ``|alpha_jc| ||[u_j; b_j]||_2``: what beta multiplies in the convex programme.

        It is unchanged when a neuron is scaled up and its coefficients down. Where every neuron feeds one
        output it equals ``1/2 sum_j ||[u_j; b_j]||_2^2 + ||alpha_j||_2^2`` of the :meth:`balanced` network,
        the least weight decay among the networks that are so scaled.

        Returns
        -------
        float
        """
        rows = torch.cat([self.neurons, self.biases[:, None]], 1).detach().double()
        return float(torch.linalg.vector_norm(rows, dim=1) @ self.coefficients.detach().double().abs().sum(1))

    def balanced(self) -> ReLUNetwork:
        """Scale every neuron until ``||[u_j; b_j]||_2 = ||alpha_j||_2``: the same function, least weight decay.

        Returns
        -------
        ReLUNetwork
            A copy, without the neurons whose weights or whose coefficients are all zero.

        Raises
        ------
        InputError
            If a weight is not finite.
        """
        return self._from_rows(*_balance(*self._used_rows()))

    def merged(self, tolerance: float = 1e-9) -> ReLUNetwork:
        """Add up the neurons whose ``[u; b]`` point the same way and whose coefficients have the same signs.

        ``sum_j alpha_j max(0, r_j t) = (sum_j r_j alpha_j) max(0, t)`` for r_j > 0: the function stays and,
        by the signs, so does the penalty. Directions within the tolerance are replaced by their mean, weighted by
        ``sum_c |alpha_jc| ||[u_j; b_j]||_2``: the function moves by at most the tolerance times
        ``||[z; 1]||_2`` times the penalty, and the penalty does not grow.

        Parameters
        ----------
        tolerance : float
            Largest angle to the first neuron of a group, in radians, from 0 to 1. Directions of float32
            weights are known to about 1e-7.

        Returns
        -------
        ReLUNetwork
            A copy. A sum stands at the place of its first neuron and is balanced (:meth:`balanced`); neurons
            without a partner are kept as they are, those whose weights or coefficients are all zero are left
            out.

        Raises
        ------
        InputError
            If the tolerance is out of its range or a weight is not finite.
        """
        if not 0.0 <= tolerance <= 1.0:
            raise InputError(f"tolerance must be an angle from 0 to 1 (radians), got {tolerance!r}.")
        rows, coefficients = self._used_rows()
        lengths = _lengths(rows)
        directions, effects = rows / lengths, coefficients * lengths
        leaders = _leaders(directions, np.sign(effects), tolerance)
        for leader in np.flatnonzero(np.bincount(leaders, minlength=1) > 1):
            group = leaders == leader
            share = np.abs(effects[group]).sum(1)
            mean = (share / share.sum()) @ directions[group]
            rows[leader], coefficients[leader] = _balance(mean[None], effects[group].sum(0)[None])
        first = np.unique(leaders)
        return self._from_rows(rows[first], coefficients[first])

    def _used_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies in float64 of [u_j; b_j] (k, d + 1) and alpha_j (k, C), neither of them zero."""
        names, cpu = ("neurons", "biases", "coefficients"), torch.device("cpu")
        parts = (weight_tensor(getattr(self, name), name, (1, 2), torch.float64, cpu).numpy() for name in names)
        neurons, biases, coefficients = parts
        rows = np.column_stack([neurons, biases])
        used = rows.any(1) & coefficients.any(1)
        return rows[used], coefficients[used]

    def _from_rows(self, rows: np.ndarray, coefficients: np.ndarray) -> ReLUNetwork:
        """A copy with other neurons."""
        weights = torch.from_numpy(rows).to(self.neurons)
        return self._with(neurons=weights[:, :-1], biases=weights[:, -1], coefficients=coefficients)


def _lengths(rows: np.ndarray) -> np.ndarray:
    """Euclidean norms (k, 1); no square overflows or vanishes."""
    return np.hypot.reduce(rows, axis=1)[:, None]


def _balance(rows: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give each nonzero row (k, p) and its coefficients (k, C) the same norm, and keep their products."""
    stretch = np.sqrt(_lengths(coefficients)) / np.sqrt(_lengths(rows))
    return rows * stretch, coefficients / stretch


def _leaders(directions: np.ndarray, signs: np.ndarray, tolerance: float) -> np.ndarray:
    """Group unit rows (k, p) by angle and signs (k, C).

    Parameters
    ----------
    directions : array (k, p)
        Unit rows.
    signs : array (k, C)
        Rows with other signs are not grouped.
    tolerance : float
        Largest angle to the first row of a group.

    Returns
    -------
    array (k,) of int
        The first row of the group of each row.
    """
    chord = 2.0 * np.sin(tolerance / 2.0)
    # Rows within the chord are as close along any line, so sorting along one leaves few to compare.
    line = np.random.default_rng(0).standard_normal(directions.shape[1])
    places = directions @ (line / np.linalg.norm(line))
    order = np.argsort(places, kind="stable")
    rounding = 1e-14
    low, high = (np.searchsorted(places[order], places + side * (chord + rounding)) for side in (-1, 1))
    leaders = np.full(len(places), -1)
    for row in range(len(places)):
        if leaders[row] < 0:
            near = order[low[row] : high[row]]
            near = near[(leaders[near] < 0) & (signs[near] == signs[row]).all(1)]
            leaders[near[_lengths(directions[near] - directions[row])[:, 0] <= chord]] = row
    return leaders
