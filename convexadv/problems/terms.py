r"""A problem as a list of terms: the one form behind every loss, multiclass scheme and margin constraint.

A term asks for the worst-case margin of one row,

    margin = min over delta in the ball of   sign * (E_k . f)(x_row + delta) + curvature * ||delta||^2,

where E_k is a direction over the outputs of the network (the output itself, or the difference of two), and enters the
objective through its shortfall u = offset - margin. Groups hold the alternatives of which the worst counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._arrays import Array
from ..losses import Loss


@dataclass(frozen=True)
class TermSet:
    """Groups of terms that share a loss: weight * loss(max_k (offset_k - margin_k)), k alternatives, g groups.

    Attributes
    ----------
    loss : Loss
        The loss, or :data:`convexadv.losses.HARD` for a constraint.
    row : (g,) int
        Row of the data each group speaks of.
    weight : (g,)
        Weight in the objective; soft weights of a component sum to one over its terms of one output.
    sign, offset : (k, g)
    direction : (k, g) int
        Index into the directions of the component.
    radius, curvature : (g,)
        Ball of the group in scaled coordinates, and the coefficient of ||delta||^2 (margin curves).
    """

    loss: Loss
    row: np.ndarray
    weight: np.ndarray
    sign: np.ndarray
    offset: np.ndarray
    direction: np.ndarray
    radius: np.ndarray
    curvature: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(k, g)."""
        return self.sign.shape

    @property
    def hard(self) -> bool:
        """Whether the groups are constraints."""
        return self.loss.name == "hard"

    @property
    def robust(self) -> bool:
        """Whether any group has a ball."""
        return bool((self.radius > 0).any())


@dataclass(frozen=True)
class Component:
    """Outputs that are coupled by terms; components are independent problems whose objectives add up.

    Attributes
    ----------
    outputs : (o,) int
        Outputs of the network that belong to it.
    directions : (K, o)
        Directions over these outputs.
    terms : tuple of TermSet
    """

    outputs: np.ndarray
    directions: np.ndarray
    terms: tuple[TermSet, ...]


class Terms:
    """A set of terms as arrays of one library and device, with the groups of each direction found once.

    Parameters
    ----------
    terms : TermSet
    n : int
        Rows of the data, to skip gathering where the groups are the rows in order.
    convert : callable
        NumPy array to the array kind wanted.
    n_directions : int
    """

    def __init__(self, terms, n: int, convert, n_directions: int):
        self.loss, self.robust, self.hard = terms.loss, terms.robust, terms.hard
        self.k, self.g = terms.shape
        in_order = self.g == n and bool((terms.row == np.arange(n)).all())
        self.row = None if in_order else convert(terms.row)
        self.weight, self.radius, self.curvature = (
            convert(terms.weight),
            convert(terms.radius),
            convert(terms.curvature),
        )
        self.sign, self.offset = convert(terms.sign), convert(terms.offset)
        self.direction = convert(terms.direction)
        self.groups = [_by_direction(direction, convert) for direction in terms.direction]
        self.picks: list[Array] = []
        if n_directions > 1:
            self.picks = [convert(direction[:, None] == np.arange(n_directions)) for direction in terms.direction]


def _by_direction(direction, convert):
    present = np.unique(direction)
    if len(present) == 1:
        return [(int(present[0]), None)]
    return [(int(k), convert(np.flatnonzero(direction == k))) for k in present]
