"""What a component asks of the data: small tuples, of which :mod:`.works` makes works on the chunks of rows."""

from __future__ import annotations

from typing import NamedTuple

from ...problems.chunks import PerChunk
from .model import ComponentModel, Neurons, Point, Smoothing


class Evaluate(NamedTuple):
    """Value and gradient of the smoothed objective, and its multipliers."""

    model: ComponentModel
    neurons: Neurons
    smoothing: Smoothing
    exact: bool = True
    """Whether products are to be formed in float64 whatever the arithmetic of the data."""


class Price(NamedTuple):
    """Moments and dual shares of a dual point, in float64."""

    model: ComponentModel
    point: Point


class Margins(NamedTuple):
    """Exact worst-case margins of a network, in float64."""

    model: ComponentModel
    neurons: Neurons


class Losses(NamedTuple):
    """Losses and violations of several lists of margins; needs no data."""

    model: ComponentModel
    margins: list[tuple[float, PerChunk]]
    """Multiples tau with the margins of the network that all of them multiply; of each multiple itself with margin curves."""


class Curved(NamedTuple):
    """Rows of the terms whose loss is curved at some multipliers, for the Gauss-Newton matrix."""

    model: ComponentModel
    neurons: Neurons
    smoothing: Smoothing
    multipliers: PerChunk
    balls: bool = False
    """Whether the curvature of the worst margins is asked for, too."""


class Collect(NamedTuple):
    """The atoms of a dual point, for a certificate."""

    model: ComponentModel
    point: Point
