"""Arguments in other clothes, and hostile ones: matrices, labels, numbers, and things that are none of these.

A neutral change keeps the values: a function gives the same result, or refuses it. After a hostile one it gives finite
numbers of the right shape, or refuses it with a sentence.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import io
import math
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch

from benchmarks.fuzz_tally import TINY

NEUTRAL_ROWS: dict[str, Any] = {
    "Fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3],
    "reversed view": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda X: _read_only(X),
    "big-endian": lambda X: X.astype(">f8"),
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "longdouble": lambda X: X.astype(np.longdouble),
    "int8": lambda X: X.astype(np.int8),
    "int64": lambda X: X.astype(np.int64),
    "lists": lambda X: X.tolist(),
    "tuples": lambda X: tuple(map(tuple, X.tolist())),
    "list of arrays": lambda X: list(X),
    "objects": lambda X: X.astype(object),
    "fractions": lambda X: np.vectorize(fractions.Fraction, otypes=[object])(X),
    "frame": lambda X: pd.DataFrame(X),
    "named frame": lambda X: pd.DataFrame(X, columns=[f"ä{j}" for j in range(X.shape[1])]),
    "mixed frame": lambda X: pd.DataFrame({j: X[:, j].astype("f4" if j % 2 else "i8") for j in range(X.shape[1])}),
    "tensor": lambda X: torch.tensor(X),
    "float32 tensor": lambda X: torch.tensor(X).float(),
    "half tensor": lambda X: torch.tensor(X).half(),
    "bfloat16 tensor": lambda X: torch.tensor(X).bfloat16(),
    "integer tensor": lambda X: torch.tensor(X).long(),
    "tensor with gradient": lambda X: torch.tensor(X, requires_grad=True),
    "transposed tensor": lambda X: torch.tensor(X.T.copy()).T,
    "text of numbers": lambda X: X.astype(str),
    "lists of text": lambda X: [[str(v) for v in row] for row in X.tolist()],
    "matrix class": lambda X: X.view(_Subclass),
    "masked, no mask": lambda X: np.ma.masked_array(X),
    "sparse": lambda X: scipy.sparse.csr_matrix(X),
    "two shards": lambda X: [X[:1], X[1:]],
}

HOSTILE_ROWS: dict[str, Any] = {
    "one NaN": lambda X: _with(X, np.nan),
    "one infinite": lambda X: _with(X, -np.inf),
    "huge": lambda X: X * 1e300,
    "large": lambda X: X * 1e12,
    "small": lambda X: X * 1e-12,
    "tiny": lambda X: X * 1e-300,
    "denormal": lambda X: X * TINY,
    "one huge": lambda X: _with(X, 1e200),
    "scales apart": lambda X: X * 10.0 ** np.linspace(-12, 12, X.shape[1]),
    "zero": lambda X: 0 * X,
    "constant": lambda X: 0 * X + 3.0,
    "equal rows": lambda X: X[:1].repeat(len(X), 0),
    "one row": lambda X: X[:1],
    "two rows": lambda X: X[:2],
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "one column": lambda X: X[:, :1],
    "more columns": lambda X: np.concatenate([X, X], 1),
    "more rows": lambda X: np.concatenate([X, X]),
    "vector": lambda X: X[0],
    "cube": lambda X: X[None],
    "number": lambda X: float(X[0, 0]),
    "complex": lambda X: X + 1j,
    "booleans": lambda X: X > 0,
    "text": lambda X: np.full(X.shape, "a"),
    "one text": lambda X: [["a", *row[1:]] for row in X.tolist()],
    "one None": lambda X: [[None, *row[1:]] for row in X.tolist()],
    "ragged": lambda X: [X[0].tolist(), X[0, :-1].tolist()],
    "dates": lambda X: X.astype("datetime64[s]"),
    "complex tensor": lambda X: torch.tensor(X) + 1j,
    "sparse tensor": lambda X: torch.tensor(X).to_sparse(),
    "meta tensor": lambda X: torch.tensor(X).to("meta"),
    "half, huge": lambda X: torch.tensor(X * 1e5).half(),
    "frame with text": lambda X: pd.DataFrame(X).assign(word="a"),
    "frame with NaN": lambda X: pd.DataFrame(_with(X, np.nan)),
    "frame of categories": lambda X: pd.DataFrame(X).astype("category"),
    "masked": lambda X: np.ma.masked_array(X, X > 0),
    "structured": lambda X: np.zeros(len(X), [("a", "f8")]),
    "dict": lambda X: {"X": X},
    "huge integers": lambda X: [[10**400] * X.shape[1]] * len(X),
    "decimals": lambda X: np.vectorize(decimal.Decimal, otypes=[object])(X),
    "shards of two widths": lambda X: [X, X[:, :-1]],
    "path": lambda X: "nowhere.npy",
    "generator": lambda X: (row for row in X),
}

NEUTRAL_LABELS: dict[str, Any] = {
    "list": lambda y: y.tolist(),
    "tuple": lambda y: tuple(y.tolist()),
    "column": lambda y: y[:, None],
    "strided": lambda y: np.repeat(y, 2)[::2],
    "read-only": lambda y: _read_only(y),
    "objects": lambda y: y.astype(object),
    "series": lambda y: pd.Series(y, index=np.arange(len(y))[::-1]),
    "int8": lambda y: y.astype(np.int8),
    "float": lambda y: y.astype(float),
    "unsigned": lambda y: y.astype(np.uint16),
    "tensor": lambda y: torch.tensor(y),
    "float tensor": lambda y: torch.tensor(y).float(),
    "big-endian": lambda y: y.astype(">i4"),
}

HOSTILE_LABELS: dict[str, Any] = {
    "unicode": lambda y: np.array(["ä", "\U0001f600", "z"])[y],
    "text": lambda y: y.astype(str),
    "bytes": lambda y: y.astype("S3"),
    "booleans": lambda y: y > 0,
    "NaN": lambda y: np.where(np.arange(len(y)) == 0, np.nan, y),
    "infinite": lambda y: np.where(np.arange(len(y)) == 0, np.inf, y),
    "one class": lambda y: 0 * y,
    "other labels": lambda y: y + 5,
    "every row its own": lambda y: np.arange(len(y)),
    "huge": lambda y: y * (2**62),
    "huge floats": lambda y: y * 1e300,
    "denormal": lambda y: y * TINY,
    "shorter": lambda y: y[:-1],
    "longer": lambda y: np.append(y, y),
    "empty": lambda y: y[:0],
    "matrix": lambda y: np.stack([y, y], 1),
    "number": lambda y: 1,
    "mixed": lambda y: ["a", *y[1:].tolist()],
    "one None": lambda y: [None, *y[1:].tolist()],
    "complex": lambda y: y + 1j,
    "dates": lambda y: y.astype("datetime64[D]"),
    "categories": lambda y: pd.Series(y).astype("category"),
    "nullable": lambda y: pd.Series(y, dtype="Int64"),
    "missing": lambda y: pd.Series([None, *y[1:].tolist()], dtype="Int64"),
    "set": lambda y: set(y.tolist()),
    "generator": lambda y: (v for v in y.tolist()),
    "dict": lambda y: dict(enumerate(y)),
    "meta tensor": lambda y: torch.tensor(y).to("meta"),
    "huge integers": lambda y: [10**30, *y[1:].tolist()],
}

THINGS: list[Any] = [
    None, "", "abc", "0.1", "nan", b"abc", [], {}, set(), (), [None], object(), int, math.inf, -math.inf, math.nan, 0, -0.0,
    -1, 1, 2, 3, 0.5, 1e-12, 1e12, 1e300, -1e300, TINY, 10**400, True, False, 1j, np.float32(0.25), np.array(0.3),
    np.array([0.3]), np.array([0.1, 0.2, 0.3]), np.zeros((2, 2)), np.array("a"), np.array(None), torch.tensor(0.1),
    torch.tensor([0.1, 0.2]), fractions.Fraction(1, 3), decimal.Decimal("0.1"), datetime.date(2024, 1, 1), lambda: 0,
    range(3), slice(None), np.float64, Exception("x"), io.BytesIO(b"x"), "l2", "linf", "hinge", "torch", "CLARABEL", ...,
]  # fmt: skip
"""What may be given where a number, a name or an object is needed."""


class _Subclass(np.ndarray):
    """A kind of array."""


def _read_only(array: np.ndarray) -> np.ndarray:
    array = np.array(array)
    array.flags.writeable = False
    return array


def _with(X: np.ndarray, value: float) -> np.ndarray:
    X = np.array(X)
    X.flat[-1] = value
    return X
