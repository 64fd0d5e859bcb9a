"""Gates of convex ReLU and gated ReLU programmes: the half-spaces whose patterns on the rows are the programme's terms.

A gate g_k is a column of G (D, P). Its pattern is D_ik = 1[x_i'g_k >= 0] ([PE20] Pilanci, Ergen, arXiv 2002.10553,
section 2; sampled as in [MSP22] Mishkin, Sahiner, Pilanci, arXiv 2202.01331). With an intercept the rows end with a
constant 1 and the last entry of a gate is its offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._checks import generator_of, positive_integer
from ..errors import InputError
from ..rows import Rows
from .gate_draws import DRAWS, Draw
from .given_gates import check_gates, gates_of, unit_gates

__all__ = [
    "GateSample",
    "activation_patterns",
    "check_gates",
    "distinct_patterns",
    "gates_of",
    "sample_gates",
    "unit_gates",
]

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
    _check_request(rows, n_gates, kind, constant, known, features_per_gate, labels)
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


def _check_request(
    rows: Rows, n_gates: int, kind: str, constant: bool, known: np.ndarray | None, features_per_gate: Any, labels: Any
) -> None:
    """Raise InputError for arguments of :func:`sample_gates` that cannot be used as given."""
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
