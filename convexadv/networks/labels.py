"""Labels of networks: sorted text, integers, floats or booleans, and the position of a label in them."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from .._arrays import is_tensor, to_numpy
from ..errors import InputError

_REAL_KINDS = "biuf"


def as_classes(classes: Any) -> np.ndarray:
    """Validate distinct class labels in sorted order.

    Parameters
    ----------
    classes : array-like (K,)
        Text, integers, floats or booleans, strictly increasing, K >= 2.

    Returns
    -------
    ndarray (K,)
        Of dtype ``<U``, an integer, floating or boolean one, in native byte order.

    Raises
    ------
    InputError
        If there are fewer than two labels, kinds are mixed, or the labels are not strictly increasing.
    """
    labels = as_labels(classes, "classes")
    if len(labels) < 2:
        raise InputError(f"classes must hold at least two labels, got {len(labels)}.")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError("classes must be finite, got a NaN or infinite label.")
    if not (labels[:-1] < labels[1:]).all():
        raise InputError(f"classes must be distinct and sorted, got {summary(labels)}.")
    return labels


def as_labels(values: Any, name: str = "y") -> np.ndarray:
    """Make a one-dimensional label array with one kind of entry (text, integer, float, boolean).

    Parameters
    ----------
    values : array-like (n,) or (n, 1)
        Labels: a sequence, a NumPy array, a pandas column or a torch tensor.
    name : str
        What the values are called in an error.

    Returns
    -------
    ndarray (n,)

    Raises
    ------
    InputError
        If the values are not one-dimensional or not of one kind.
    """
    if is_tensor(values):
        labels = to_numpy(values)
    elif hasattr(values, "dtype"):
        labels = np.asarray(values)
    else:  # NumPy would turn [1, "a"] into text without a word
        try:
            labels = np.array(list(values), dtype=object)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} must be a one-dimensional array of labels.") from error
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(f"{name} must be a one-dimensional array of labels, got shape {labels.shape}.")
    if labels.dtype.kind == "O":
        labels = _from_objects(labels, name)
    if labels.dtype.kind == "T":  # NumPy's variable-width strings
        labels = labels.astype(str)
    if labels.dtype.kind == "U":  # the shortest width that holds the labels
        return np.array(labels.tolist(), dtype=str)
    if labels.dtype.kind not in _REAL_KINDS or labels.dtype.itemsize > 8:
        raise InputError(f"{name} must hold text, integers, floats or booleans, got dtype {labels.dtype}.")
    return labels.astype(labels.dtype.newbyteorder("="))


def _from_objects(labels: np.ndarray, name: str) -> np.ndarray:
    """Objects of one kind as an array of that kind."""
    boolean = [isinstance(label, (bool, np.bool_)) for label in labels]
    if all(isinstance(label, str) for label in labels):
        return labels.astype(str)
    if all(boolean):
        return labels.astype(bool)
    real = all(isinstance(label, numbers.Real) for label in labels) and not any(boolean)
    if not real:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise InputError(f"{name} must hold labels of one kind (text, numbers or booleans), got {kinds}.")
    whole = all(isinstance(label, numbers.Integral) for label in labels)
    try:
        return labels.astype(np.int64 if whole else np.float64)
    except OverflowError as error:
        raise InputError(f"{name} holds an integer beyond 64 bits; give such labels as text.") from error


def label_indices(y: Any, classes: np.ndarray, n_rows: int) -> np.ndarray:
    """Find the position of each label in the sorted classes.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    classes : ndarray (K,)
        From :func:`as_classes`.
    n_rows : int
        The length that ``y`` must have.

    Returns
    -------
    ndarray (n,) of int64

    Raises
    ------
    InputError
        If the length is another one or a label is not among the classes.
    """
    labels = as_labels(y)
    if len(labels) != n_rows:
        raise InputError(f"y must hold one label a row: X has {n_rows} rows, y has {len(labels)}.")
    if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise InputError(
            f"y holds labels of dtype {labels.dtype}, but the classes are {summary(classes)}; labels of their kind "
            "are needed."
        )
    positions = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    unknown = classes[positions] != labels
    if unknown.any():
        label = labels[unknown][0].item()
        raise InputError(
            f"y holds the label {label!r}, which is not one of the classes {summary(classes)}; labels out of these "
            "are needed."
        )
    return positions.astype(np.int64)


def summary(classes: np.ndarray, limit: int = 6) -> str:
    """Shorten the labels to a list for messages.

    Parameters
    ----------
    classes : ndarray (K,)
        Labels.
    limit : int
        Labels shown before the rest is left out.

    Returns
    -------
    str
    """
    shown = [repr(label) for label in classes[:limit].tolist()]
    return "[" + ", ".join(shown + [f"... {len(classes) - limit} more"] * (len(classes) > limit)) + "]"
