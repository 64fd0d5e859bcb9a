"""Weights of networks as tensors: their precision, and the checks that all of them pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._arrays import check_dense, is_tensor
from ..errors import InputError

DTYPES = (torch.float32, torch.float64)
"""Precisions of weights."""


def network_dtype(weights: Any, dtype: torch.dtype | None) -> torch.dtype:
    """Choose the precision of a network.

    Parameters
    ----------
    weights : array-like or tensor
        The weights that decide if no dtype is given: float32 stays float32, all else becomes float64.
    dtype : torch.float32, torch.float64 or None
        What the caller asked for.

    Returns
    -------
    torch.dtype

    Raises
    ------
    InputError
        If ``dtype`` is another one.
    """
    if dtype is None:
        single = str(getattr(weights, "dtype", "")).removeprefix("torch.") == "float32"
        return torch.float32 if single else torch.float64
    if dtype not in DTYPES:
        raise InputError(f"dtype must be torch.float32 or torch.float64, got {dtype!r}.")
    return dtype


def weight_tensor(
    value: Any,
    name: str,
    ndim: int | tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Copy weights to a finite tensor with the wanted number of dimensions.

    Parameters
    ----------
    value : array-like or tensor
        The weights.
    name : str
        What they are called in an error.
    ndim : int or tuple of int
        Numbers of dimensions allowed.
    dtype : torch.dtype
        Precision of the result.
    device : torch.device, optional
        Device of the result; that of ``value`` if not given.

    Returns
    -------
    tensor

    Raises
    ------
    InputError
        If the value is not a real array of that many dimensions, or not finite in that precision.
    """
    if is_tensor(value):
        check_dense(value)
        tensor = value.detach()
    else:
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{name} must be an array of real numbers.") from error
        tensor = torch.from_numpy(array)
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if tensor.ndim not in allowed or tensor.is_complex():
        dimensions = " or ".join(str(number) for number in allowed)
        raise InputError(
            f"{name} must be a real array with {dimensions} dimension(s), got shape {tuple(tensor.shape)}."
        )
    tensor = tensor.to(dtype=dtype, device=device, copy=True).contiguous()
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{name} must be finite in {dtype}, got a NaN or infinite entry.")
    return tensor


def check_layers(neurons: torch.Tensor, coefficients: torch.Tensor) -> None:
    """Raise InputError where neurons (m, d) and output weights (m, C) are no network together.

    Parameters
    ----------
    neurons, coefficients : tensor
        Each of two dimensions.

    Raises
    ------
    InputError
        If there is no feature, no output, or another number of rows.
    """
    check_sizes(neurons.shape[1], coefficients.shape[1])
    if len(coefficients) != len(neurons):
        raise InputError(
            f"coefficients must have one row a neuron: got {len(coefficients)} for {len(neurons)} neurons."
        )


def check_sizes(features: int, outputs: int) -> None:
    """Raise InputError for a network without features or outputs."""
    if features == 0 or outputs == 0:
        raise InputError(f"the network has {features} features and {outputs} outputs; at least one of each is needed.")


def entries_of_rows(values: Any, name: str, owner: str, rows: torch.Tensor) -> torch.Tensor:
    """Copy weights of which every row has one.

    Parameters
    ----------
    values : array-like or tensor (m,), optional
        The weights; zeros if not given.
    name, owner : str
        What the weights and the rows are called in an error.
    rows : tensor (m, ...)
        Gives m, the dtype and the device.

    Returns
    -------
    tensor (m,)

    Raises
    ------
    InputError
        As :func:`weight_tensor`, and if there are not m entries.
    """
    if values is None:
        return rows.new_zeros(len(rows))
    tensor = weight_tensor(values, name, 1, rows.dtype, rows.device)
    if len(tensor) != len(rows):
        raise InputError(f"{name} must have one entry a {owner}: got {len(tensor)} for {len(rows)} {owner}s.")
    return tensor
