"""Variables, rows and losses of a conic programme, gathered in any order and put together at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from ...errors import InputError
from ...problems.terms import TermSet
from .program import CONES


@dataclass
class Sheet:
    """Rows of one cone in coordinate form."""

    count: int = 0
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)

    def add(self, row: Any, column: Any, value: Any) -> None:
        """Entries of the matrix, broadcast against each other."""
        row, column, value = np.broadcast_arrays(row, column, value)
        self.parts.append((row.reshape(-1), column.reshape(-1), value.reshape(-1)))

    def extend(self, constants: np.ndarray) -> int:
        """Open rows with these constants; the number of the first one."""
        first = self.count
        self.constants.append(constants)
        self.count += len(constants)
        return first


class Builder:
    """A conic programme in the making. Not to be used by itself."""

    def __init__(self) -> None:
        self.variables = 0
        self.linear: list[np.ndarray] = []
        self.quadratic: list[np.ndarray] = []
        self.sheets = {cone: Sheet() for cone in CONES}
        self.orders: list[int] = []
        self.sizes: list[int] = []

    def new(self, count: int, linear: np.ndarray | float = 0.0, quadratic: np.ndarray | float = 0.0) -> int:
        """Open variables with these costs; the number of the first one."""
        first = self.variables
        self.variables += count
        self.linear.append(np.broadcast_to(np.asarray(linear, float), (count,)))
        self.quadratic.append(np.broadcast_to(np.asarray(quadratic, float), (count,)))
        return first

    def nonnegative(self, first: int, count: int) -> int:
        """Rows that keep variables at zero or above; the number of the first row."""
        rows = self.sheets["nonnegative"].extend(np.zeros(count))
        self.sheets["nonnegative"].add(rows + np.arange(count), first + np.arange(count), 1.0)
        return rows

    def shortfalls(self, terms: TermSet, weight: np.ndarray) -> int:
        """Shortfalls with their loss, one for each weight; the number of the first.

        Raises
        ------
        InputError
            If the loss has no conic form here.
        """
        name, count = terms.loss.name, len(weight)
        if name == "hinge":
            first = self.new(count, linear=weight)
            self.nonnegative(first, count)
            return first
        if name == "squared_hinge":  # u >= 0 is not needed: with u >= offset - margin the least square is the loss
            return self.new(count, quadratic=2.0 * weight)
        if name == "squared":
            return self.new(count, quadratic=weight)
        if name == "logistic":
            return self._logistic(weight)
        raise InputError(
            f"loss={name!r} has no conic form here, only 'hinge', 'squared_hinge', 'logistic' and 'squared' have; choose one "
            "of them, or solver='torch', which takes any loss in a PolynomialProblem or GatedReLUProblem."
        )

    def _logistic(self, weight: np.ndarray) -> int:
        """log(1 + exp(u)) <= t as exp(u - t) <= p, exp(-t) <= q, p + q <= 1; the cone is y exp(x/y) <= z."""
        count, index = len(weight), np.arange(len(weight))
        u, t = self.new(count), self.new(count, linear=weight)
        p, q = self.new(count), self.new(count)
        plane = self.sheets["nonnegative"]
        rows = plane.extend(np.ones(count))
        plane.add(rows + index, p + index, -1.0)
        plane.add(rows + index, q + index, -1.0)
        sheet = self.sheets["exponential"]
        first = sheet.extend(np.tile([0.0, 1.0, 0.0], 2 * count))
        second = first + 3 * count
        sheet.add(first + 3 * index, u + index, 1.0)
        sheet.add(first + 3 * index, t + index, -1.0)
        sheet.add(first + 3 * index + 2, p + index, 1.0)
        sheet.add(second + 3 * index, t + index, -1.0)
        sheet.add(second + 3 * index + 2, q + index, 1.0)
        return u

    def data(self, terms: Iterable[TermSet]) -> dict[str, Any]:
        """The fields of a :class:`ConicProgram`, all rows together; ``terms`` set the unit of the cost."""
        row, column, value, offset, first = [], [], [], [np.zeros(0)], 0
        for cone in CONES:
            sheet = self.sheets[cone]
            for part in sheet.parts:
                row.append(part[0] + first)
                column.append(part[1])
                value.append(part[2])
            offset += sheet.constants
            first += sheet.count
        entries = (np.concatenate(value), (np.concatenate(row), np.concatenate(column)))
        return {
            "quadratic": np.concatenate(self.quadratic),
            "linear": np.concatenate(self.linear),
            "matrix": sparse.csc_array(entries, shape=(first, self.variables)),
            "offset": np.concatenate(offset),
            "rows": {cone: sheet.count for cone, sheet in self.sheets.items()},
            "sizes": tuple(self.sizes),
            "orders": tuple(self.orders),
            "cost_unit": _cost_unit([part for part in terms if not part.hard]),
        }


def _cost_unit(soft: list[TermSet]) -> float:
    largest = max((float(terms.weight.max(initial=0.0)) for terms in soft), default=0.0)
    # the epigraphs of exponential cones are left slack by the tolerance: ask for two digits more
    sharper = 100.0 if any(terms.loss.name == "logistic" for terms in soft) else 1.0
    return sharper / largest if largest > 0.0 else 1.0
