"""Two-layer networks of linear neurons behind fixed gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import InputError
from . import evaluation
from .network import Network
from .weights import check_sizes, entries_of_rows, network_dtype, weight_tensor


class GatedReLUNetwork(Network):
    """Two-layer network of linear neurons behind fixed gates.

    ``f_c(x) = sum_k 1[g_k . z + h_k >= 0] (v_kc . z + b_kc)``, ``z = (x - shift) / scale`` ([MSP22] Mishkin,
    Sahiner, Pilanci, arXiv 2202.01331). It is linear in its weights, and jumps where a row crosses the
    hyperplane of a gate.

    Parameters
    ----------
    gates : array or tensor (m, d)
        Rows g_k, in the given order; a zero row with h_k = 0 is a gate that is always open. m = 0 is the zero
        network.
    weights : array or tensor (m, d) or (m, d, C)
        v_kc; C = 1 for two classes or one target.
    gate_biases : array or tensor (m,), optional
        h_k; zeros if not given.
    biases : array or tensor (m,) or (m, C), optional
        b_kc; zeros if not given.
    shift, scale : array or tensor (d,), optional
        Scaling of the inputs, in their units; 0 and 1 if not given; ``scale`` is positive.
    classes : array-like (K,), optional
        Labels in sorted order: text, integers, floats or booleans; None for regression.
    dtype : torch.float32 or torch.float64, optional
        Precision of weights and gates; that of ``weights`` if not given (float64 if it has another one). A
        row within its rounding error of a hyperplane may fall on either side.

    Attributes
    ----------
    gates : buffer (m, d)
        Not trained.
    gate_biases : buffer (m,)
        Not trained.
    weights : torch.nn.Parameter (m, d, C)
    biases : torch.nn.Parameter (m, C)
    shift, scale : buffers (d,)
    classes : ndarray (K,) or None
    metadata : dict
        What :func:`convexadv.load` found beside the weights; empty otherwise.

    Raises
    ------
    InputError
        If shapes do not fit or a weight or gate is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.GatedReLUNetwork(gates=[[1.0, 0.0]], weights=[[0.0, 1.0]])  # x_1 where x_0 >= 0
    >>> network.scores(np.array([[1.0, 5.0], [-1.0, 5.0]]))
    array([5., 0.])
    """

    _TENSORS = frozenset({"gates", "weights", "gate_biases", "biases", "shift", "scale"})

    gates: torch.Tensor
    gate_biases: torch.Tensor

    def __init__(
        self,
        gates: Any,
        weights: Any,
        gate_biases: Any = None,
        biases: Any = None,
        shift: Any = None,
        scale: Any = None,
        classes: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        dtype = network_dtype(weights, dtype)
        linear = weight_tensor(weights, "weights", (2, 3), dtype)
        linear = linear[:, :, None] if linear.ndim == 2 else linear
        normals = weight_tensor(gates, "gates", 2, dtype, linear.device)
        check_sizes(normals.shape[1], linear.shape[2])
        if linear.shape[:2] != normals.shape:
            raise InputError(
                f"weights must have shape (m, d) or (m, d, C) for gates of shape (m, d): got {_shape(weights)} for "
                f"{tuple(normals.shape)}."
            )
        self.weights = torch.nn.Parameter(linear)
        self.biases = torch.nn.Parameter(_output_biases(biases, linear))
        self.register_buffer("gates", normals)
        self.register_buffer("gate_biases", entries_of_rows(gate_biases, "gate_biases", "gate", normals))
        self._set_inputs(shift, scale, linear)
        self._set_classes(classes)

    @property
    def n_neurons(self) -> int:
        """Number of gates m, each with one linear neuron an output."""
        return self.weights.shape[0]

    @property
    def n_features(self) -> int:
        """Number of input features d."""
        return self.weights.shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of outputs C: 1 for two classes or one target."""
        return self.weights.shape[2]

    @property
    def entries_of_a_row(self) -> int:
        """Entries of the largest array that the evaluation of one row needs."""
        return max(self.n_features, self.biases.numel())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the scores of raw inputs, in blocks of gates that bound the memory.

        Differentiable in the weights and, between the hyperplanes of the gates, in the inputs. A closed gate
        adds zero, whatever its neuron is.

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
        z = self._scaled(x, self.weights.dtype)
        size = max(1, evaluation.BLOCK // max(1, z.shape[:-1].numel() * self.n_outputs))
        scores = z.new_zeros(())
        for start in range(0, max(1, self.n_neurons), size):  # one empty block keeps the graph of m = 0
            block = slice(start, start + size)
            closed = z @ self.gates[block].T + self.gate_biases[block] < 0
            inner = torch.einsum("...d,kdc->...kc", z, self.weights[block]) + self.biases[block]
            scores = scores + inner.masked_fill(closed[..., None], 0.0).sum(-2)
        return self._squeezed(scores)

    def penalty(self) -> float:
        """Sum ``||[v_kc; b_kc]||_2``: what beta multiplies in the convex programme.

        Returns
        -------
        float
        """
        columns = torch.cat([self.weights, self.biases[:, None, :]], 1).detach().double()
        return float(torch.linalg.vector_norm(columns, dim=1).sum())


def _output_biases(biases: Any, weights: torch.Tensor) -> torch.Tensor:
    """Check the biases (m, C) of weights (m, d, C), zeros if none are given."""
    m, _, outputs = weights.shape
    if biases is None:
        return weights.new_zeros(m, outputs)
    tensor = weight_tensor(biases, "biases", (1, 2), weights.dtype, weights.device)
    tensor = tensor[:, None] if tensor.ndim == 1 else tensor
    if tensor.shape != (m, outputs):
        raise InputError(f"biases must have shape ({m}, {outputs}), one a gate and output, got {_shape(biases)}.")
    return tensor


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(np.shape(value))
