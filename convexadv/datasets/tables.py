"""Tables of one's own: CSV text and NumPy archives."""

from __future__ import annotations

import contextlib
import itertools
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .._checks import file_name
from ..errors import FileFormatError, InputError, reason, unreadable
from ._files import read_text
from ._text import Row, parse_table, split_rows
from .dataset import Dataset


def read_table(path: str | os.PathLike[str], target: str | int | None = None, *, header: bool | None = None) -> Dataset:
    r"""Read features and targets from a CSV file or a NumPy archive.

    Parameters
    ----------
    path : path
        ``.npz``: a NumPy archive with the features under ``X`` (or under the only key beside the target).
        Anything else: UTF-8 text separated by commas, semicolons or tabs, plain, ``.gz`` or ``.xz``.
    target : str or int, optional
        CSV: name or index (negative ones count from the end) of the target column, the last one by default. A
        number in text is a name if the header has it, else an index. Archive: key of the targets, ``y`` by
        default.
    header : bool, optional
        Whether the first row of a CSV file holds names. By default it does if it contains the target's name,
        or if none of its cells is a number.

    Returns
    -------
    Dataset
        ``X`` (n, d) float64 (an archive's float32 stays float32). ``y`` (n,): integers if all targets are,
        else reals if all are numbers, else text; an archive's targets keep their type and may be (n, C).

    Raises
    ------
    InputError
        If the file or the target does not exist.
    FileFormatError
        If the file is no such table, a feature is not a number (line and column are named), or a value is
        missing or infinite.

    Examples
    --------
    >>> from pathlib import Path
    >>> from convexadv.datasets import read_table
    >>> _ = Path("table.csv").write_text("width,length,kind\n1.0,2.0,leaf\n3.0,4.0,stem\n")
    >>> data = read_table("table.csv", target="kind")
    >>> data.X.shape, data.y.tolist()
    ((2, 2), ['leaf', 'stem'])
    """
    path = Path(file_name(path))
    return _read_archive(path, target) if path.suffix == ".npz" else _read_csv(path, target, header)


def _read_csv(path: Path, target: str | int | None, header: bool | None) -> Dataset:
    rows = split_rows(read_text(path), str(path))
    first = next(rows, None)
    if first is None:
        raise FileFormatError(f"{path} is empty; a table of numbers is needed.")
    names = _header(first, target, header)
    label = _column_index(target, names, len(first[1]), path)
    if names and "" in names:
        column = names.index("")
        raise FileFormatError(f"{path} has no name for column {column} in its header (a row index?); name or drop it.")
    columns = names or [f"column {j}" for j in range(len(first[1]))]
    body = rows if names else itertools.chain([first], rows)
    if len(columns) < 2:
        raise FileFormatError(f"{path} has one column; a target and at least one feature are needed.")
    table = parse_table(body, columns, label, str(path))
    table.require_finite(str(path))
    y = _targets(table.labels)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        line = table.lines[int(np.argmin(np.isfinite(y)))]
        raise FileFormatError(
            f"{path}, line {line}: the target {columns[label]!r} is infinite; a finite one is needed."
        )
    return _dataset(path, table.values, y, table.names)


def _header(first: Row, target: str | int | None, header: bool | None) -> list[str]:
    """Names of the columns, none if the first row is data."""
    cells = first[1]
    if header is None:
        header = target in cells or not any(_is_number(cell) for cell in cells)
    return cells if header else []


def _column_index(target: str | int | None, names: list[str], width: int, path: Path) -> int:
    if target is None:
        return width - 1
    if isinstance(target, str):
        if names.count(target) > 1:
            raise InputError(f"{path} has several columns named {target!r}; give the target's index.")
        if target in names:
            return names.index(target)
        try:
            target = int(target)
        except ValueError:
            needed = f"choose one of {', '.join(names)}" if names else "it has no header: give the target's index"
            raise InputError(f"{path} has no column {target!r} for the target; {needed}.") from None
    if not -width <= target < width:
        raise InputError(
            f"{path} has {width} columns; the target's index {target} must be from {-width} to {width - 1}."
        )
    return target % width


def _targets(cells: list[str]) -> np.ndarray:
    text = np.array(cells)
    with contextlib.suppress(ValueError, OverflowError):
        return text.astype(np.int64)
    with contextlib.suppress(ValueError):
        return text.astype(np.float64)
    return text


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_archive(path: Path, target: str | int | None) -> Dataset:
    name, X, key, y = _load_archive(path, "y" if target is None else str(target))
    for label, values in ((name, X), (key, y)):
        if not isinstance(values, np.ndarray):  # NumPy gives the bytes of what it does not know
            raise FileFormatError(f"{path}: {label!r} is no array; numbers (n, d) and labels (n,) are needed.")
    if X.ndim != 2 or X.dtype.kind not in "biuf" or 0 in X.shape:
        raise FileFormatError(f"{path}: {name!r} is {X.dtype} of shape {X.shape}; numbers (n, d) are needed.")
    if y.dtype.kind not in ("biufU" if y.ndim == 1 else "biuf") or y.ndim not in (1, 2):
        raise FileFormatError(f"{path}: {key!r} is {y.dtype} of shape {y.shape}; labels (n,) are needed.")
    if len(X) != len(y):
        raise FileFormatError(f"{path}: {name!r} has {len(X)} rows and {key!r} {len(y)}; one label a row is needed.")
    for label, values in ((name, X), (key, y)):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            place = ", ".join(str(index) for index in np.argwhere(~np.isfinite(values))[0])
            raise FileFormatError(f"{path}: {label!r} is NaN or infinite at [{place}]; finite numbers are needed.")
    X = X if X.dtype == np.float32 else X.astype(np.float64)
    return _dataset(path, X, y, tuple(f"column {j}" for j in range(X.shape[1])))


def _load_archive(path: Path, key: str) -> tuple[str, np.ndarray, str, np.ndarray]:
    """Key and array of the features, then of the targets."""
    try:
        with open(path, "rb") as stream:  # NumPy leaves a file open whose archive turns out broken
            archive = np.load(stream, allow_pickle=False)  # a pickle could run code
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise FileFormatError(f"{path} holds one bare array; features and targets are needed by name.")
            name = _features_key(path, archive.files, key)
            return name, archive[name], key, archive[key]
    except InputError:
        raise
    except (ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise FileFormatError(f"{path} is not a readable NumPy archive of plain arrays ({reason(error)}).") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _features_key(path: Path, keys: list[str], target: str) -> str:
    if target not in keys:
        found = ", ".join(keys) or "nothing"
        raise InputError(f"{path} has no array {target!r} for the targets; choose one of {found}.")
    others = [name for name in keys if name != target]
    if "X" not in others and len(others) != 1:
        found = ", ".join(others) or "nothing"
        raise InputError(f"{path} needs its features under 'X'; beside {target!r} it has {found}.")
    return "X" if "X" in others else others[0]


def _dataset(path: Path, X: np.ndarray, y: np.ndarray, features: tuple[str, ...]) -> Dataset:
    classes = () if y.dtype.kind == "f" or y.ndim > 1 else tuple(str(label) for label in np.unique(y))
    return Dataset(path.name, X, y, features, classes, f"Read from {path}.")
