"""From the dual points of a solve to the atom sets of its certificate."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import to_numpy
from ...problems.bound import Atoms
from ...problems.certificate import AtomSet
from ...problems.chunks import Chunk
from .columns import ColumnGeneration
from .sweeps import Sweeps


def certificate_atoms(sweeps: Sweeps, columns: list[ColumnGeneration]) -> tuple[AtomSet, ...]:
    """The atoms of the best bounds of all components, of the rows of this process."""
    sets: list[AtomSet] = []
    for column in columns:  # one by one: the points of all components at a time would be many
        if column.bounds.atoms is not None:
            sets += column.bounds.atoms
            continue
        (parts,) = sweeps.serve([column.proof()])
        sets += _joined(sweeps.chunks, column.model.number, parts)
    return tuple(sets)


def _joined(chunks: list[Chunk], component: int, parts: list[list[tuple[int, list[Atoms]]]]) -> list[AtomSet]:
    """One set for every term and part of its atoms, where the parts of the chunks fit together."""
    gathered: dict[tuple, list[AtomSet]] = {}
    for chunk, part in zip(chunks, parts, strict=True):
        for term, atoms in part:
            for atom in atoms:
                own = _atom_set(component, term, atom, chunk.groups[component][term])
                if own.multipliers.any():
                    gathered.setdefault((term, *_shape(atom)), []).append(own)
    return [_together(sets, chunks, component) for sets in gathered.values()]


def _atom_set(component: int, term: int, atom: Atoms, groups: Any) -> AtomSet:
    numbers = np.arange(groups.start, groups.stop) if isinstance(groups, slice) else groups
    if atom.groups is not None:
        numbers = numbers[to_numpy(atom.groups)]
    coordinates, basis, spread = (
        None if part is None else to_numpy(part) for part in (atom.coordinates, atom.basis, atom.spread)
    )
    return AtomSet(component, term, to_numpy(atom.multipliers), coordinates, basis, spread, numbers)


def _shape(atom: Atoms) -> tuple:
    """What atoms of a term have to share to be stored as one set: samples, basis (by its identity) and kind."""
    coordinates = None if atom.coordinates is None else (atom.coordinates.shape[0], atom.coordinates.shape[-1])
    basis = None if atom.basis is None else id(atom.basis)
    return atom.multipliers.shape[0], coordinates, basis, atom.spread is not None


def _together(sets: list[AtomSet], chunks: list[Chunk], component: int) -> AtomSet:
    first = sets[0]

    def whole(name: str) -> Any:
        parts = [getattr(part, name) for part in sets]
        return None if parts[0] is None else np.concatenate(parts, 2)

    groups: Any = np.concatenate([part.groups for part in sets])
    total = sum(terms.g for chunk in chunks for term, terms in chunk.present(component) if term == first.term)
    if len(groups) == total and (np.diff(groups) == 1).all() and groups[0] == 0:
        groups = None
    return AtomSet(
        component, first.term, whole("multipliers"), whole("coordinates"), first.basis, whole("spread"), groups
    )
