"""Labels, targets and chosen rows of a problem: checked once, in one place."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import to_numpy
from .._checks import number
from ..errors import InputError
from ..processes import ALONE, Together

_LARGEST_TARGET = 1e100
MOST_REAL_CLASSES = 20
"""Different numbers with fractions that are still taken for labels."""


def lean(array: np.ndarray) -> np.ndarray:
    """The array; without memory, and not to be written to, where it is one number repeated."""
    if len(array) and (array == array[0]).all():
        return np.broadcast_to(array[:1].copy(), array.shape)
    return array


def class_labels(y: Any, n: int, together: Together = ALONE) -> tuple[np.ndarray, np.ndarray]:
    """Sorted classes of the rows of all processes, and the class number of every row.

    Raises
    ------
    InputError
        If y has the wrong shape, missing values, or fewer than two classes.
    """
    labels = _vector(y, n)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError("y contains NaN or infinite labels; every row needs a label.")
    if labels.dtype == object and any(label is None or label != label for label in labels):
        raise InputError("y contains missing labels; every row needs a label.")
    try:
        classes = np.unique(np.concatenate(together.gather(np.unique(labels))))
    except TypeError:
        raise InputError("y mixes labels that cannot be sorted, such as text and numbers; use one type.") from None
    if len(classes) < 2:
        raise InputError(f"y holds the single class {classes.tolist()[0]!r}; at least two classes are needed.")
    return classes, np.searchsorted(classes, labels)


def refuse_measurements(classes: np.ndarray) -> None:
    """Raise InputError for classes that are real targets: each would cost a problem of its own."""
    if classes.dtype.kind == "f" and len(classes) > MOST_REAL_CLASSES and (classes != np.floor(classes)).any():
        raise InputError(
            f"y holds {len(classes)} different real numbers, and each would be a class; labels are needed, or "
            'loss="squared" for real targets.'
        )


def targets(y: Any, n: int) -> np.ndarray:
    """Real targets (n, C)."""
    try:
        values = np.asarray(to_numpy(y) if not isinstance(y, list | tuple) else y, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            'y is not numeric; loss="squared" is regression and needs real targets (n,) or (n, C).'
        ) from None
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[0] != n or values.shape[1] == 0:
        raise InputError(
            f"y has shape {values.shape}; targets of shape ({n},) or ({n}, C) are needed, one row for each row of X."
        )
    if not np.isfinite(values).all():
        raise InputError("y contains NaN or infinite targets; every target must be finite.")
    if (abs(values) > _LARGEST_TARGET).any():
        raise InputError(
            f"y contains a target of magnitude {abs(values).max():g}; magnitudes up to {_LARGEST_TARGET:g} are needed, whose "
            "squares are numbers (scale the targets)."
        )
    return values


def _vector(y: Any, n: int) -> np.ndarray:
    if isinstance(y, list | tuple) and len({isinstance(label, str) for label in y if label is not None}) > 1:
        raise InputError("y mixes text and other labels, which cannot be sorted; use one type.")
    try:
        labels = np.asarray(to_numpy(y) if not isinstance(y, list | tuple) else y)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"y is no vector of labels; shape ({n},) is needed, one label for each row of X.") from None
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (n,):
        raise InputError(f"y has shape {labels.shape}; ({n},) is needed, one label for each row of X.")
    if labels.dtype.kind not in "biufUO":
        raise InputError(f"y holds labels of type {labels.dtype}; numbers, truth values or text are needed.")
    return labels


def chosen_rows(name: str, value: Any, n: int) -> tuple[np.ndarray, float]:
    """Rows and margin of a constraint given as a number (all rows) or as (rows, number)."""
    if isinstance(value, tuple) and len(value) != 2:
        raise InputError(f"{name} is a tuple of {len(value)} entries; a number or (rows, number) is needed.")
    rows, margin = value if isinstance(value, tuple) else (np.ones(n, bool), value)
    rows = np.asarray(rows)
    if rows.dtype == bool:
        if rows.shape != (n,):
            raise InputError(f"the mask of {name} has shape {rows.shape}; ({n},) is needed.")
        rows = np.flatnonzero(rows)
    elif rows.dtype.kind not in "iu" or rows.ndim != 1 or (len(rows) and (rows.min() < 0 or rows.max() >= n)):
        raise InputError(f"the rows of {name} must be a boolean mask of length {n} or row numbers from 0 to {n - 1}.")
    margin = number(name, margin)
    if margin == 0:
        raise InputError(
            f"{name}=0 constrains nothing but the sign; a positive margin is needed (margins scale with the weights)."
        )
    return rows, margin
