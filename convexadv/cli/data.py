"""Data of the command line: by name or from a file, split by a seed, scaled, with a fingerprint."""

from __future__ import annotations

import difflib
import hashlib
import os

import numpy as np

from ..datasets import Dataset, Scaling, dataset_names, load, read_table, standardise
from ..errors import InputError

_MOST_CLASSES = 100


def read_data(source: str, target: str | None) -> Dataset:
    """A data set by name, or the table in a file.

    Raises
    ------
    InputError
        If there is neither, or the file cannot be used.
    """
    if source in dataset_names():
        if target is not None:
            raise InputError(
                f"--target {target} names a column of a file, but {source} is a data set with its own labels."
            )
        return load(source)
    if os.path.isdir(source):
        raise InputError(f"{source} is a folder; a CSV file, an .npz archive or the name of a data set is needed.")
    if not os.path.exists(source):
        close = difflib.get_close_matches(source, dataset_names(), n=1)
        hint = f"; did you mean {close[0]}?" if close else f" ({', '.join(dataset_names())})."
        raise InputError(f"there is no file {source}, nor a data set of that name{hint}")
    return read_table(source, target)


def check_labels(y: np.ndarray) -> None:
    """Raise InputError for targets that are measurements, of which every value would become a class."""
    if y.ndim == 2:
        raise InputError(f"the targets have shape {y.shape}; one label a row is needed, or --loss squared.")
    count = len(np.unique(y))
    if count > _MOST_CLASSES:
        raise InputError(
            f"the labels have {count} different values in {len(y)} rows, more than the {_MOST_CLASSES} "
            "classes allowed: "
            "use --loss squared for real targets, or --target for the column of the labels."
        )


def split_rows(y: np.ndarray, fraction: float, seed: int, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers for training and for testing, in ascending order.

    With ``classes`` every class gives the same fraction of its rows, and keeps at least one for training.

    Raises
    ------
    InputError
        If no row would be left on one side, though a fraction was asked for.
    """
    order = np.random.default_rng(seed).permutation(len(y))
    groups = [order[y[order] == label] for label in np.unique(y)] if classes else [order]
    test = np.concatenate([group[: min(round(fraction * len(group)), len(group) - 1)] for group in groups])
    if fraction > 0 and not len(test):
        raise InputError(f"--test-fraction {fraction:g} of {len(y)} rows leaves no row for testing; give more.")
    return np.setdiff1d(np.arange(len(y)), test), np.sort(test)


def scaling_of(kind: str, X: np.ndarray) -> Scaling:
    """The input scaling of a name: "unit", "standard" or "none" (see the help of ``fit``)."""
    if kind == "none":
        return Scaling(np.zeros(X.shape[1]), np.ones(X.shape[1]))
    scaling = standardise(X)
    if kind == "unit":
        return scaling
    deviation = scaling.apply(X).std(axis=0).max()  # of every feature that is not constant: 1 / largest norm
    return Scaling(scaling.shift, scaling.scale * (deviation if deviation > 0 else 1.0))


def fingerprint(X: np.ndarray, y: np.ndarray) -> str:
    """SHA-256 of the values of the data, whatever types they are stored in."""
    digest = hashlib.sha256(f"{X.shape}{y.shape}".encode())
    digest.update(np.ascontiguousarray(X, dtype="<f8").tobytes())
    digest.update("\0".join(str(label) for label in y.ravel().tolist()).encode())
    return digest.hexdigest()
