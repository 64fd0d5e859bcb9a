"""Two-layer networks with a quadratic activation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .two_layers import TwoLayerNetwork
from .weights import check_layers, network_dtype, weight_tensor

_UNIT_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-9}


class PolynomialNetwork(TwoLayerNetwork):
    """Two-layer network with a quadratic activation.

    ``f_c(x) = sum_j alpha_jc s(u_j . z)``, ``z = (x - shift) / scale``, ``s(t) = a t^2 + b t + c``,
    ``||u_j||_2 = 1`` ([KLP24] Kuelbs, Lall, Pilanci, arXiv 2405.14033; [BP21] Bartan, Pilanci,
    arXiv 2101.02429).

    Parameters
    ----------
    neurons : array or tensor (m, d)
        Rows u_j of norm one (checked, never changed). m = 0 is the zero network.
    coefficients : array or tensor (m,) or (m, C)
        Output weights alpha; C = 1 for two classes or one target.
    activation : tuple (a, b, c)
        The activation.
    shift, scale : array or tensor (d,), optional
        Scaling of the inputs, in their units; 0 and 1 if not given; ``scale`` is positive.
    classes : array-like (K,), optional
        Labels in sorted order: text, integers, floats or booleans; None for regression.
    dtype : torch.float32 or torch.float64, optional
        Precision of the weights; that of ``neurons`` if not given (float64 if it has another one).
    unit_tolerance : float, optional
        Largest ``| ||u_j|| - 1 |`` accepted; 1e-6 in float32 and 1e-9 in float64 if not given.

    Attributes
    ----------
    neurons : torch.nn.Parameter (m, d)
    coefficients : torch.nn.Parameter (m, C)
    shift, scale : buffers (d,)
    activation : tuple of three floats
    classes : ndarray (K,) or None
    metadata : dict
        What :func:`convexadv.load` found beside the weights; empty otherwise.

    Raises
    ------
    InputError
        If shapes do not fit, a weight is not finite, or a neuron does not have norm one.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.PolynomialNetwork([[0.6, 0.8]], [2.0], activation=(1.0, 0.0, 0.0))  # 2 (0.6 x_0 + 0.8 x_1)^2
    >>> network.scores(np.array([[1.0, 1.0], [4.0, -3.0]])).round(6)
    array([3.92, 0.  ])
    """

    _TENSORS = frozenset({"neurons", "coefficients", "shift", "scale"})

    def __init__(
        self,
        neurons: Any,
        coefficients: Any,
        activation: tuple[float, float, float] = (0.09, 0.5, 0.47),
        shift: Any = None,
        scale: Any = None,
        classes: Any = None,
        dtype: torch.dtype | None = None,
        *,
        unit_tolerance: float | None = None,
    ) -> None:
        super().__init__()
        dtype = network_dtype(neurons, dtype)
        rows = weight_tensor(neurons, "neurons", 2, dtype)
        output = weight_tensor(coefficients, "coefficients", (1, 2), dtype, rows.device)
        output = output[:, None] if output.ndim == 1 else output
        check_layers(rows, output)
        _check_unit_rows(rows, _UNIT_TOLERANCE[dtype] if unit_tolerance is None else unit_tolerance)
        self.neurons = torch.nn.Parameter(rows)
        self.coefficients = torch.nn.Parameter(output)
        self.activation = _activation(activation)
        self._set_inputs(shift, scale, rows)
        self._set_classes(classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the scores of raw inputs, differentiable in the inputs and the weights.

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
        a, b, c = self.activation
        inner = self._scaled(x, self.neurons.dtype) @ self.neurons.T
        return self._squeezed(((a * inner + b) * inner + c) @ self.coefficients)

    def quadratic(self, output: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Write an output as a quadratic of the scaled inputs: ``f(z) = a z'W1 z + b W2'z + c W4``.

        ``W1 = sum_j alpha_j u_j u_j'``, ``W2 = sum_j alpha_j u_j``, ``W4 = sum_j alpha_j``; built at each
        call.

        Parameters
        ----------
        output : int
            Which of the C outputs.

        Returns
        -------
        W1 : tensor (d, d)
        W2 : tensor (d,)
        W4 : tensor ()
            Without autograd.

        Raises
        ------
        InputError
            If there is no such output.
        """
        if not 0 <= output < self.n_outputs:
            raise InputError(f"output must be from 0 to {self.n_outputs - 1}, got {output}.")
        neurons, alpha = self.neurons.detach(), self.coefficients.detach()[:, output]
        weighted = alpha[:, None] * neurons
        return neurons.T @ weighted, weighted.sum(0), alpha.sum()

    def penalty(self) -> float:
        """Sum |alpha_jc|: what beta multiplies in the convex programme.

        Returns
        -------
        float
        """
        return float(self.coefficients.detach().abs().sum())

    def _settings(self) -> dict[str, Any]:
        return {"activation": list(self.activation)}

    @classmethod
    def _from_settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        # A network that was cast to float64 has rows of unit norm to float32 precision only.
        return {"activation": settings["activation"], "unit_tolerance": _UNIT_TOLERANCE[torch.float32]}


def _check_unit_rows(rows: torch.Tensor, tolerance: float) -> None:
    lengths = torch.linalg.vector_norm(rows.double(), dim=1)
    error = (lengths - 1).abs()
    if len(rows) and float(error.max()) > tolerance:
        worst = int(error.argmax())
        raise InputError(
            f"neurons must have rows of norm 1 to within {tolerance:g}, but row {worst} has norm "
            f"{float(lengths[worst]):.10g}: divide each row by its norm."
        )


def _activation(activation: Any) -> tuple[float, float, float]:
    try:
        a, b, c = (float(value) for value in activation)
    except (TypeError, ValueError) as error:
        raise InputError(f"activation must be three numbers (a, b, c), got {activation!r}.") from error
    if not np.isfinite([a, b, c]).all():
        raise InputError(f"activation must be finite, got {(a, b, c)}.")
    return a, b, c
