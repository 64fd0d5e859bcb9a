"""Three data sets of the UCI Machine Learning Repository: comma-separated text without a header."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import FileFormatError, InputError
from ._files import Folder, Published, read_text
from ._text import TextTable, parse_table, split_rows
from .bundled import load_bundled
from .dataset import Dataset

_SITE = "UCI Machine Learning Repository"
_DIAGNOSTIC, _ORIGINAL, _IONOSPHERE = (
    "Breast Cancer Wisconsin (Diagnostic)",
    "Breast Cancer Wisconsin (Original)",
    "Ionosphere",
)
_WDBC_MEASURES = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points",
    "symmetry", "fractal dimension",
)  # fmt: skip
_WDBC_FEATURES = (
    *(f"mean {name}" for name in _WDBC_MEASURES),
    *(f"{name} error" for name in _WDBC_MEASURES),
    *(f"worst {name}" for name in _WDBC_MEASURES),
)
_ORIGINAL_FEATURES = (
    "clump thickness", "uniformity of cell size", "uniformity of cell shape", "marginal adhesion",
    "single epithelial cell size", "bare nuclei", "bland chromatin", "normal nucleoli", "mitoses",
)  # fmt: skip
_IONOSPHERE_FEATURES = tuple(f"pulse {k} {part}" for k in range(1, 18) for part in ("real", "imaginary"))

_log = logging.getLogger(__name__)


def load_wdbc(folder: Folder = None) -> Dataset:
    """Breast Cancer Wisconsin (Diagnostic): 569 rows, 30 features, labels ``"B"`` and ``"M"``.

    Reads ``wdbc.data``. Where that file is not found, the rows that scikit-learn bundles are returned: the
    same 569 rows in the same order with equal values (only the labels differ, 1 for benign and 0 for
    malignant there, and are translated here).

    Parameters
    ----------
    folder : path, optional
        Folder with the file, or with a subfolder ``uci`` that holds it; by default that of
        ``CONVEXADV_DATA``.

    Returns
    -------
    Dataset
        ``X`` (569, 30) float64, ``y`` (569,) text.

    Raises
    ------
    FileFormatError
        If the file is not as published.
    """
    description = f"{_DIAGNOSTIC}, {_SITE}: measures of cell nuclei, benign (B) or malignant (M)."
    classes = ("benign", "malignant")
    (path,) = _published("wdbc", _DIAGNOSTIC).find(("wdbc.data",), folder)
    if path is None:
        _log.info("wdbc.data not found: the identical rows bundled with scikit-learn are used")
        bundled = load_bundled("breast_cancer")
        y = np.where(bundled.y == 1, "B", "M")
        return Dataset("wdbc", bundled.X, y, _WDBC_FEATURES, classes, description)
    table = _read(path, ("id", "diagnosis", *_WDBC_FEATURES), label=1, n_rows=569, labels=("B", "M"))
    table.require(table.values >= 0, str(path), "a number of at least 0 is needed")
    return Dataset("wdbc", table.values, np.array(table.labels), _WDBC_FEATURES, classes, description)


def load_original(folder: Folder = None, missing: str = "drop") -> Dataset:
    """Breast Cancer Wisconsin (Original): 9 features from 1 to 10, labels 2 (benign) and 4 (malignant).

    Reads ``breast-cancer-wisconsin.data``: 699 rows, of which 16 lack the feature "bare nuclei". Rows that
    repeat are kept, as published.

    Parameters
    ----------
    folder : path, optional
        Folder with the file, or with a subfolder ``uci`` that holds it; by default that of
        ``CONVEXADV_DATA``.
    missing : {"drop", "median"}
        Leave the 16 incomplete rows out (683 stay), or give them the median of the known values of the
        feature.

    Returns
    -------
    Dataset
        ``X`` (683 or 699, 9) float64, ``y`` integers.

    Raises
    ------
    InputError
        If the file is missing or ``missing`` is unknown.
    FileFormatError
        If the file is not as published.
    """
    if missing not in ("drop", "median"):
        raise InputError(f'missing is {missing!r}; "drop" or "median" is needed.')
    name = "breast-cancer-wisconsin"
    (path,) = _published(name, _ORIGINAL).locate((f"{name}.data",), folder)
    columns = ("id", *_ORIGINAL_FEATURES, "class")
    table = _read(path, columns, label=10, n_rows=699, labels=("2", "4"), gaps=True)
    X, y = table.values, np.array(table.labels, dtype=np.int64)
    known = ~np.isnan(X)
    table.require(~known | np.isin(X, np.arange(1, 11)), str(path), "an integer from 1 to 10 is needed")
    complete = known.all(axis=1)
    if missing == "drop":
        X, y = X[complete], y[complete]
        done = f"{np.sum(~complete)} rows with a missing value dropped"
    else:
        X = np.where(known, X, np.nanmedian(X, axis=0))
        done = f"missing values of {np.sum(~complete)} rows replaced by the median of the feature"
    description = f"{_ORIGINAL}, {_SITE}: cytology scores from 1 to 10; {done}."
    return Dataset(name, X, y, _ORIGINAL_FEATURES, ("benign", "malignant"), description)


def load_ionosphere(folder: Folder = None) -> Dataset:
    """Ionosphere: 351 radar returns, 34 features in [-1, 1], labels ``"b"`` (bad) and ``"g"`` (good).

    Reads ``ionosphere.data``. The second feature is 0 in every row, as published.

    Parameters
    ----------
    folder : path, optional
        Folder with the file, or with a subfolder ``uci`` that holds it; by default that of
        ``CONVEXADV_DATA``.

    Returns
    -------
    Dataset
        ``X`` (351, 34) float64, ``y`` (351,) text.

    Raises
    ------
    InputError
        If the file is missing.
    FileFormatError
        If the file is not as published.
    """
    (path,) = _published("ionosphere", _IONOSPHERE).locate(("ionosphere.data",), folder)
    table = _read(path, (*_IONOSPHERE_FEATURES, "class"), label=34, n_rows=351, labels=("b", "g"))
    table.require(np.abs(table.values) <= 1, str(path), "a number from -1 to 1 is needed")
    description = f"{_IONOSPHERE}, {_SITE}: radar returns that show structure (g) or do not (b)."
    y = np.array(table.labels)
    return Dataset("ionosphere", table.values, y, _IONOSPHERE_FEATURES, ("bad", "good"), description)


def _published(name: str, title: str) -> Published:
    return Published(name, ("uci",), f"the {_SITE} (data set {title})")


def _read(
    path: Path, columns: Sequence[str], label: int, n_rows: int, labels: tuple[str, ...], gaps: bool = False
) -> TextTable:
    """Read a published file: its ``id`` column is left out, its rows are counted, its labels checked."""
    source = str(path)
    skip = [j for j, name in enumerate(columns) if name == "id"]
    table = parse_table(split_rows(read_text(path), source), columns, label, source, skip)
    for line, cell in zip(table.lines, table.labels, strict=True):
        if cell not in labels:
            wanted = " or ".join(labels)
            raise FileFormatError(f"{source}, line {line}: the label is {cell!r}; {wanted} is needed.")
    if len(table.lines) != n_rows:
        raise FileFormatError(
            f"{source} has {len(table.lines)} rows; the published file, which has {n_rows}, is needed."
        )
    if not gaps:
        table.require_finite(source)
    return table
