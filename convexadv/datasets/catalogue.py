"""Data sets by name."""

from __future__ import annotations

import difflib

from ..errors import InputError
from . import images, uci
from ._files import Folder
from .bundled import BUNDLED, load_bundled
from .dataset import Dataset

_UCI = ("wdbc", "breast-cancer-wisconsin", "ionosphere")
_IMAGES = ("mnist", "fashion_mnist", "cifar10")


def bundled_names() -> tuple[str, ...]:
    """Names of the data sets that need no files: those of scikit-learn, and ``wdbc``, the same rows.

    Examples
    --------
    >>> from convexadv.datasets import bundled_names
    >>> bundled_names()
    ('wdbc', 'breast_cancer', 'digits', 'wine', 'iris', 'diabetes')
    """
    return ("wdbc", *BUNDLED)


def dataset_names() -> tuple[str, ...]:
    """Names of all data sets that `load` knows.

    Examples
    --------
    >>> from convexadv.datasets import bundled_names, dataset_names
    >>> set(bundled_names()) < set(dataset_names())
    True
    """
    return (*_UCI, *BUNDLED, *_IMAGES)


def load(
    name: str,
    folder: Folder = None,
    *,
    split: str | None = None,
    missing: str | None = None,
) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : str
        One of `dataset_names`: ``wdbc``, ``breast-cancer-wisconsin``, ``ionosphere`` (UCI Machine Learning
        Repository), ``breast_cancer``, ``digits``, ``wine``, ``iris``, ``diabetes`` (bundled with
        scikit-learn), ``mnist``, ``fashion_mnist``, ``cifar10`` (images).
    folder : path, optional
        Folder with the published files, directly or in the subfolders ``uci``, ``mnist``, ``fashion_mnist``,
        ``cifar10``; by default the folder that the environment variable ``CONVEXADV_DATA`` names.
        `bundled_names` need none.
    split : {"train", "test"}, optional
        Part of an image data set, "train" by default; the other data sets are not split.
    missing : {"drop", "median"}, optional
        What becomes of the 16 incomplete rows of ``breast-cancer-wisconsin``, "drop" by default.

    Returns
    -------
    Dataset
        ``X`` (n, d) float64 (images: float32 in [0, 1], flattened), ``y`` (n,).

    Raises
    ------
    InputError
        If the name or an option is unknown, or a file is missing; the sentence says which and where to get
        it.
    FileFormatError
        If a file is truncated or not as published.

    Examples
    --------
    >>> from convexadv.datasets import load
    >>> load("wdbc")
    Dataset('wdbc', 569 rows, 30 features, 2 classes)
    """
    if not isinstance(name, str) or name not in dataset_names():
        close = difflib.get_close_matches(str(name), dataset_names(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise InputError(f"data set {name!r} is unknown{hint}; choose one of {', '.join(dataset_names())}.")
    if split is not None and name not in _IMAGES:
        raise InputError(f"data set {name!r} has no splits; leave out split={split!r}.")
    if missing is not None and name != "breast-cancer-wisconsin":
        raise InputError(f"data set {name!r} has no missing values; leave out missing={missing!r}.")
    if name == "wdbc":
        return uci.load_wdbc(folder)
    if name == "breast-cancer-wisconsin":
        return uci.load_original(folder, missing or "drop")
    if name == "ionosphere":
        return uci.load_ionosphere(folder)
    if name == "cifar10":
        return images.load_cifar10(folder, split or "train")
    if name in _IMAGES:
        return images.load_idx(name, folder, split or "train")
    return load_bundled(name)
