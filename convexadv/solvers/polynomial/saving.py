"""The state of column generation as arrays and plain numbers, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import to_numpy
from ...problems.chunks import Chunk, PerChunk, joined, split
from .columns import ColumnGeneration
from .model import Neurons, Point, Smoothing
from .state import Bounds, State

_FACTS = ("rounds", "evaluations", "accuracy", "expected", "curved", "exact", "tolerance")


def packed(column: ColumnGeneration, chunks: list[Chunk]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name and facts (JSON) of a component."""
    number, state, bounds = column.model.number, column.state, column.bounds
    sizes = [terms.shape for terms in column.model.component.terms]
    arrays: dict[str, np.ndarray] = {}
    networks = {
        "neurons": column.latest(),
        "point": state.point.neurons,
        "best": bounds.network,
        "proof": bounds.point.neurons,
    }
    for name, neurons in networks.items():
        for part, array in zip(Neurons._fields, neurons, strict=True):
            arrays[f"{number}.{name}.{part}"] = to_numpy(array)
    per_row = {
        "centres": state.smoothing.centres,
        "z": state.point.multipliers,
        "proof.z": bounds.point.multipliers,
    }
    for name, parts in per_row.items():
        for term, array in enumerate(joined(chunks, number, parts, sizes)):
            if array is not None:
                arrays[f"{number}.{name}.{term}"] = array
    facts = {name: _plain(getattr(column, name)) for name in _FACTS}
    facts |= {
        "smoothing": [state.smoothing.mu, state.smoothing.hard, state.smoothing.nu],
        "nu": [state.point.nu, bounds.point.nu],
        "bounds": [_plain(value) for value in (bounds.upper, bounds.lower, bounds.violation)],
        "gaps": [_plain(value) for value in column._gaps],
        "uppers": [_plain(value) for value in column._uppers],
        "model_evaluations": column.model.evaluations,
    }
    return arrays, facts


def unpack(column: ColumnGeneration, chunks: list[Chunk], arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Put a component into the state that was packed."""
    model, number = column.model, column.model.number

    def network(name: str) -> Neurons:
        return Neurons(*(model.tensor(arrays[f"{number}.{name}.{part}"]) for part in Neurons._fields))

    def per_row(name: str) -> PerChunk:
        whole = [arrays.get(f"{number}.{name}.{term}") for term in range(len(model.kinds))]
        return split(chunks, number, [None if array is None else model.tensor(array) for array in whole])

    for name in _FACTS:
        setattr(column, name, _number(facts[name]))
    nu, nu_of_proof = facts["nu"]
    smoothing = Smoothing(per_row("centres"), *facts["smoothing"])
    column.state = State(network("neurons"), smoothing, Point(network("point"), nu, per_row("z")))
    upper, lower, violation = (_number(value) for value in facts["bounds"])
    proof = Point(network("proof"), nu_of_proof, per_row("proof.z"))
    column.bounds = Bounds(upper, lower, violation, network("best"), proof)
    column._gaps = [_number(value) for value in facts["gaps"]]
    column._uppers = [_number(value) for value in facts["uppers"]]
    model.evaluations = facts["model_evaluations"]


def _plain(value: Any) -> Any:
    """Floats that JSON has no name for as text."""
    return repr(float(value)) if isinstance(value, float) else value


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value
