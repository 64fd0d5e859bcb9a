"""Where column generation stands: neurons, multipliers, and the best bounds with what proves them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...problems.certificate import AtomSet
from ...problems.chunks import Chunk, PerChunk
from .model import ComponentModel, Neurons, Point, Smoothing


@dataclass
class State:
    """All that a solve needs to go on: neurons, proximal centres and the dual point of the next price."""

    neurons: Neurons
    smoothing: Smoothing
    point: Point


@dataclass
class Bounds:
    """Best pair of numbers found so far, and what proves them."""

    upper: float
    lower: float
    violation: float
    network: Neurons
    point: Point
    atoms: tuple[AtomSet, ...] | None = None
    """What proves the lower bound, where it is not the dual point of a network."""


def centres_of(model: ComponentModel, multipliers: PerChunk) -> PerChunk:
    """Multipliers as proximal centres, where the loss needs them."""
    return [[z if kind.centred else None for kind, z in zip(model.kinds, chunk, strict=True)] for chunk in multipliers]


def zero_loss(model: ComponentModel, chunks: list[Chunk]) -> float:
    """Objective of the zero network."""
    losses = [
        float((terms.weight * terms.loss.group_value(terms.offset)).sum())
        for chunk in chunks
        for _, terms in chunk.present(model.number)
        if not terms.hard
    ]
    return model.problem.together.sum(math.fsum(losses))


def at_zero(model: ComponentModel, chunks: list[Chunk], mu: float, objective: float) -> tuple[State, Bounds]:
    """The zero network, its multipliers, and what it bounds."""
    none = model.no_neurons()
    multipliers = [
        [None if terms is None else terms.loss.multipliers(terms.offset)[1] for terms in chunk.terms[model.number]]
        for chunk in chunks
    ]
    point, constrained = Point(none, 0.0, multipliers), model.constrained
    bounds = Bounds(math.inf if constrained else objective, -math.inf, 1.0 if constrained else 0.0, none, point)
    return State(none, Smoothing(centres_of(model, multipliers), mu, 1.0, 0.0), point), bounds
