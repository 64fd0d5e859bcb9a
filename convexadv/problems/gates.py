"""Gates of convex ReLU and gated ReLU programmes: the half-spaces whose patterns on the rows are the programme's terms.

A gate g_k is a column of G (D, P). Its pattern is D_ik = 1[x_i'g_k >= 0] ([PE20] Pilanci, Ergen, arXiv 2002.10553,
section 2; sampled as in [MSP22] Mishkin, Sahiner, Pilanci, arXiv 2202.01331). With an intercept the rows end with a
constant 1 and the last entry of a gate is its offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import to_numpy
from .._checks import generator_of, positive_integer
from ..errors import InputError, reason
from ..rows import Rows
from ..sources.matrices import check_real
from .gate_draws import DRAWS, Draw

_PRODUCTS = 1 << 22
"""Entries of x'g held at a time beside the patterns."""


@dataclass(frozen=True, eq=False)
class GateSample:
    """Sampled gates with distinct patterns, and what was dropped on the way.

    Attributes
    ----------
    gates : (D, P) float64
        The gates kept, in the order in which they were drawn.
    patterns : (n, P) bool
        Their patterns.
    requested : int
        Candidates drawn.
    duplicates : int
        Candidates dropped because their pattern is that of an earlier one, or known already.
    empty : int
        Candidates dropped because they activate no row, or because the gate is zero (two equal rows).
    kind : str
        How they were drawn.
    kept : (P,) int
        Positions of the kept gates among the candidates, increasing.
    """

    gates: np.ndarray
    patterns: np.ndarray
    requested: int
    duplicates: int
    empty: int
    kind: str
    kept: np.ndarray

    def __str__(self) -> str:
        return (
            f"{len(self.kept)} of {self.requested} {self.kind} gates kept: "
            f"{self.duplicates} repeat a pattern and {self.empty} activate no row."
        )


def activation_patterns(rows: Rows, gates: np.ndarray) -> np.ndarray:
    """Patterns 1[x_i'g_k >= 0] of gates, one block of rows after the other.

    Parameters
    ----------
    rows : Rows
        Rows x_i (n, D) in NumPy.
    gates : (D, P) float64
        Gates g_k in columns.

    Returns
    -------
    (n, P) bool
    """
    patterns = np.empty((rows.n, gates.shape[1]), dtype=bool)
    size = max(1, _PRODUCTS // max(1, gates.shape[1]))
    for where, block in rows.blocks():
        out = patterns[where]
        for start in range(0, len(block), size):
            part = slice(start, start + size)
            np.greater_equal(block[part] @ gates, 0, out=out[part])
    return patterns


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


def distinct_patterns(patterns: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Positions of the first occurrence of every pattern that activates a row.

    Parameters
    ----------
    patterns : (n, P) bool
        Patterns in columns.
    known : (n, P0) bool, optional
        Patterns that are left out too.

    Returns
    -------
    (kept,) int
        Increasing.

    Raises
    ------
    InputError
        If they are no boolean matrices of equally many rows.
    """
    patterns = _boolean("patterns", patterns)
    n = len(patterns)
    seen = set() if known is None else set(_keys(_boolean("known", known, n)))
    seen.add(bytes(-(-n // 8)))  # no row is active
    kept = []
    for position, key in enumerate(_keys(patterns)):
        if key not in seen:
            seen.add(key)
            kept.append(position)
    return np.array(kept, dtype=np.intp)


def sample_gates(
    rows: Rows,
    n_gates: int,
    *,
    kind: str = "gaussian",
    random_state: int | np.random.Generator = 0,
    constant: bool = False,
    known: np.ndarray | None = None,
    features_per_gate: int | None = None,
    labels: Any = None,
) -> GateSample:
    """Draw gates at random and keep those whose patterns on the rows are new and not empty.

    ``n_gates`` candidates are drawn; what is dropped is counted and not replaced. The first candidates of a larger
    sample with the same seed are those of a smaller one.

    - ``"gaussian"``: standard normal directions g. With the constant the offset is ``-m'g + s t``, t standard normal,
      with m the mean of the rows and ``s^2 = mean ||x_i - m||^2``, the mean square of ``(x_i - m)'g``: gates that cut
      the rows wherever they lie and whatever their units are.
    - ``"differences"``: ``g = x_i - x_j`` of two random rows, of different labels where ``labels`` are given. With the
      constant the offset is ``-g'(x_i + x_j)/2``, and the hyperplane bisects the segment between the two rows.
    - ``"sparse"``: unit vectors with a normal direction on a few random features; +1 or -1 on a single feature. With
      the constant the offset is ``-x_i'g`` of a random row (larger by a relative 1e-12, so that rounding cannot
      deactivate that row).
    - ``"open"``, with the constant only: the first gate is the constant, which every row passes; the others are normal
      directions whose offset keeps a share of the rows out that is uniform in [0, 1/2]. Cones of such gates are wide: the
      first alone carries every linear function, so that few of them do what many that cut the rows in halves cannot.

    Parameters
    ----------
    rows : Rows
        Rows (n, D) in NumPy.
    n_gates : int
        Number of candidates.
    kind : {"gaussian", "differences", "sparse", "open"}
        How they are drawn.
    random_state : int or numpy.random.Generator
        Seed; a generator is advanced.
    constant : bool
        Whether the last column of the rows is the constant 1 of an intercept.
    known : (n, P0) bool, optional
        Patterns that count as duplicates.
    features_per_gate : int, optional
        Nonzero features of a sparse gate, the constant not counted; 1 if not given.
    labels : array-like (n,), optional
        Labels for ``"differences"``.

    Returns
    -------
    GateSample

    Raises
    ------
    InputError
        If an argument cannot be used as given, or if no candidate is left.
    """
    if not isinstance(kind, str) or kind not in DRAWS:
        raise InputError(f'kind={kind!r} is unknown; "gaussian", "differences", "sparse" or "open" is needed.')
    positive_integer("n_gates", n_gates)
    if known is not None:
        _boolean("known", known, rows.n)
    if labels is not None and kind != "differences":
        raise InputError(f'labels are used by kind="differences" only; leave them out for kind={kind!r}.')
    if features_per_gate is not None and kind != "sparse":
        raise InputError(f'features_per_gate is used by kind="sparse" only; leave it out for kind={kind!r}.')
    if constant:
        _check_constant(rows)
    draw = Draw(rows, int(n_gates), generator_of(random_state), constant, features_per_gate, labels)
    gates = np.ascontiguousarray(DRAWS[kind](draw).T)
    patterns = activation_patterns(rows, gates)
    patterns[:, ~gates.any(0)] = False  # a zero gate, of two equal rows, is no gate
    kept = distinct_patterns(patterns, known)
    empty = int(np.count_nonzero(~patterns.any(0)))
    duplicates = draw.n_gates - empty - len(kept)
    if len(kept) == 0:
        raise InputError(
            f"none of the {draw.n_gates} {kind} gates is left: {duplicates} repeat a known pattern and {empty} activate "
            "no row; draw more gates, or gates of another kind."
        )
    return GateSample(gates.take(kept, 1), patterns.take(kept, 1), draw.n_gates, duplicates, empty, kind, kept)


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


def _keys(patterns: np.ndarray) -> list[bytes]:
    """The columns of a boolean matrix in bits; ten times faster than np.packbits along the rows."""
    bits = patterns.view(np.uint8)
    packed = np.zeros((-(-len(bits) // 8), bits.shape[1]), dtype=np.uint8)
    for shift in range(8):
        part = bits[shift::8]
        packed[: len(part)] |= part << shift
    return [column.tobytes() for column in np.ascontiguousarray(packed.T)]


def _boolean(name: str, value: Any, n: int | None = None) -> np.ndarray:
    matrix = np.asarray(value)
    if matrix.dtype != bool or matrix.ndim != 2 or (n is not None and len(matrix) != n):
        raise InputError(
            f"{name} has shape {matrix.shape} and type {matrix.dtype}; a boolean matrix ({'n' if n is None else n}, P) "
            "is needed, a pattern in every column."
        )
    return matrix


def _check_constant(rows: Rows) -> None:
    if rows.d < 2:
        raise InputError("the rows hold nothing but the constant; at least one feature is needed.")
    if not all((block[:, -1] == 1).all() for _, block in rows.blocks()):
        raise InputError("the last column of the rows is not the constant 1, which constant=True needs.")


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
