"""Gates that a caller gives: as a matrix of one's own, or as the neurons of a trained network."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import to_numpy
from ..errors import InputError, reason
from ..sources.matrices import check_real


def check_gates(gates: Any, width: int, constant: bool = False) -> np.ndarray:
    """A caller's own gates as a matrix, checked; none is dropped, moved or scaled.

    Parameters
    ----------
    gates : array-like or tensor (D, P)
        Gates in columns.
    width : int
        D, the number of entries of a row, its constant included.
    constant : bool
        Whether rows end with a constant; gates (D - 1, P) then pass through the origin.

    Returns
    -------
    (D, P) float64
        A copy in NumPy.

    Raises
    ------
    InputError
        If the shape is not (width, P) with P >= 1, an entry is not a finite number, or a gate is zero.
    """
    matrix = _real_array("gates", gates)
    if constant and matrix.ndim == 2 and len(matrix) == width - 1:
        matrix = np.concatenate([matrix, np.zeros((1, matrix.shape[1]))])
    needed = f"({width}, P) is needed, a gate in every column with one entry for each entry of a row"
    if matrix.ndim != 2 or len(matrix) != width:
        hint = "; give gates[:, None] for a single gate" if matrix.shape == (width,) else ""
        hint = "; the transposed matrix fits: give gates.T" if matrix.shape[1:] == (width,) else hint
        raise InputError(f"gates has shape {matrix.shape}; {needed}{hint}.")
    if matrix.shape[1] == 0:
        raise InputError(f"gates has shape {matrix.shape}; at least one gate (column) is needed.")
    zero = np.flatnonzero(~matrix.any(0))
    if len(zero):
        raise InputError(f"column {zero[0]} of gates is zero, which separates no rows; leave zero gates out.")
    return matrix


def unit_gates(gates: np.ndarray) -> np.ndarray:
    """Gates of norm one.

    Parameters
    ----------
    gates : (D, P) float64
        Gates g_k in columns, of any size; their squares may overflow or vanish.

    Returns
    -------
    (D, P) float64
        g_k / ||g_k||_2; zero where a gate is zero.
    """
    largest = np.abs(gates).max(0, initial=0.0)
    scaled = gates / np.where(largest > 0, largest, 1.0)
    length = np.linalg.norm(scaled, axis=0)
    return scaled / np.where(length > 0, length, 1.0)


def gates_of(network: Any, constant: bool) -> np.ndarray:
    """Gates of the neurons of a trained network, for rows of its raw inputs.

    Neuron j is active where ``u_j'((x - shift) / scale) + b_j >= 0``; its gate is ``u_j / scale`` with the offset
    ``b_j - u_j'(shift / scale)``.

    Parameters
    ----------
    network : object
        With ``neurons`` (m, d), and ``biases`` (m,), ``shift`` (d,) and ``scale`` (d,) where it has them; or a torch
        linear layer (``weight`` and ``bias``).
    constant : bool
        Whether the rows end with a constant 1; the offset is then the last entry of a gate.

    Returns
    -------
    (d, P) or (d + 1, P) float64
        In the order of the neurons; neurons that are zero are left out.

    Raises
    ------
    InputError
        If the network has no such weights or their sizes do not fit, if no neuron is left, or if a neuron has an
        offset and ``constant`` is False.
    """
    weight_name, bias_name = ("neurons", "biases") if hasattr(network, "neurons") else ("weight", "bias")
    if getattr(network, weight_name, None) is None:
        raise InputError(
            f"{type(network).__name__} has no neurons; a network with neurons (m, d) or a torch linear layer is needed."
        )
    neurons = _real_array(weight_name, getattr(network, weight_name))
    if neurons.ndim != 2:
        raise InputError(f"{weight_name} has shape {neurons.shape}; (m, d) is needed, a neuron in every row.")
    m, d = neurons.shape
    offsets = _vector_of(network, bias_name, m, "neuron", 0.0)
    shift, scale = _vector_of(network, "shift", d, "feature", 0.0), _vector_of(network, "scale", d, "feature", 1.0)
    if not (scale > 0).all():
        raise InputError(f"scale contains {scale.min():g}; positive numbers are needed.")
    directions = neurons / scale
    offsets = offsets - directions @ shift
    if not constant and offsets.any():
        raise InputError(
            f"neuron {np.flatnonzero(offsets)[0]} of the network has an offset, by its bias or the shift of its inputs; "
            "fit_intercept=True is needed for gates with offsets."
        )
    gates = np.column_stack([directions, offsets]) if constant else directions
    gates = gates[gates.any(1)]
    if len(gates) == 0:
        raise InputError(f"the network has no neuron other than zero ({m} in all); at least one is needed for gates.")
    return np.ascontiguousarray(gates.T)


def _real_array(name: str, value: Any) -> np.ndarray:
    """A finite float64 copy."""
    try:
        given = np.asarray(to_numpy(value))
        numeric = given.dtype.kind in "biufO"
        array = np.array(given, dtype=np.float64) if numeric else given
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{name} cannot be read as an array ({reason(error)}); real numbers are needed.") from None
    if not numeric:
        check_real(given.dtype, name)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = bad[0].tolist()
        raise InputError(f"{name} holds {array[tuple(place)]} at {place}; every entry must be finite.")
    return array


def _vector_of(network: Any, name: str, size: int, owner: str, default: float) -> np.ndarray:
    value = getattr(network, name, None)
    if value is None:
        return np.full(size, default)
    vector = _real_array(name, value)
    if vector.shape != (size,):
        raise InputError(f"{name} has shape {vector.shape}; ({size},) is needed, one number for every {owner}.")
    return vector
