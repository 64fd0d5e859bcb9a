"""Text tables: rows of cells turned into numbers and labels, each complaint with its line and column."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import FileFormatError, reason

Row = tuple[int, list[str]]
"""Line number in the file (from 1) and the cells of a row."""

MISSING_MARKS = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})


@dataclass(frozen=True, eq=False)
class TextTable:
    """Numbers and labels of a text table.

    Attributes
    ----------
    values : ndarray of shape (n, d)
        Features, float64, NaN where the cell is missing.
    labels : list of str, length n
        Cells of the label column.
    lines : list of int, length n
        Line of each row in the file, from 1.
    names : tuple of str, length d
        Names of the features.
    """

    values: np.ndarray
    labels: list[str]
    lines: list[int]
    names: tuple[str, ...]

    def require_finite(self, source: str) -> None:
        """Raise FileFormatError, naming line and column, where a feature is missing or infinite."""
        self.require(np.isfinite(self.values), source, "a finite number is needed in every cell")

    def require(self, holds: np.ndarray, source: str, needed: str) -> None:
        """Raise FileFormatError with ``needed`` at the first cell where ``holds`` (n, d) is False."""
        if not holds.all():
            row, column = np.argwhere(~holds)[0]
            value = self.values[row, column]
            shown = "missing" if np.isnan(value) else f"{value:g}"
            raise FileFormatError(
                f"{source}, line {self.lines[row]}: column {self.names[column]!r} is {shown}; {needed}."
            )


def split_rows(text: str, source: str) -> Iterator[Row]:
    """Rows of a comma, semicolon or tab separated text; blank lines are skipped, cells stripped."""
    first_line = text.lstrip().partition("\n")[0]
    delimiter = next((mark for mark in ",;\t" if mark in first_line), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise FileFormatError(
            f"{source}, line {reader.line_num}: this is no table of text ({reason(error)})."
        ) from error


def parse_table(
    rows: Iterable[Row], columns: Sequence[str], label: int, source: str, skip: Collection[int] = ()
) -> TextTable:
    """Turn rows into features and labels.

    Parameters
    ----------
    rows : iterable of (line, cells)
        Rows without the header.
    columns : sequence of str
        Names of all columns, label and skipped ones among them.
    label : int
        Index of the label column.
    source : str
        Name of the file, for messages.
    skip : collection of int
        Columns that are neither features nor the label (row numbers, for instance).

    Returns
    -------
    TextTable

    Raises
    ------
    FileFormatError
        If there is no row, a row has another number of cells, a label is missing, or a feature is not a
        number.
    """
    features = [j for j in range(len(columns)) if j != label and j not in skip]
    names = tuple(columns[j] for j in features)
    values, labels, lines = array("d"), [], []
    for line, cells in rows:
        where = f"{source}, line {line}"
        if len(cells) != len(columns):
            raise FileFormatError(f"{where}: {len(cells)} cells for {len(columns)} columns; one a column is needed.")
        if cells[label].lower() in MISSING_MARKS:
            raise FileFormatError(f"{where}: the target {columns[label]!r} is missing; every row needs one.")
        values.extend(_numbers([cells[j] for j in features], names, where))
        labels.append(cells[label])
        lines.append(line)
    if not lines:
        raise FileFormatError(f"{source} holds no rows of data; at least one is needed.")
    return TextTable(np.array(values).reshape(len(lines), len(features)), labels, lines, names)


def _numbers(cells: list[str], names: Sequence[str], where: str) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError:  # a missing mark or text: look at the cells one by one
        return [_number(cell, name, where) for cell, name in zip(cells, names, strict=True)]


def _number(cell: str, name: str, where: str) -> float:
    if cell.lower() in MISSING_MARKS:
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        raise FileFormatError(
            f"{where}: column {name!r} is {cell!r}; features must be numbers: name "
            "the column as the target if it holds the labels, else encode or drop it."
        ) from None
