"""The terms of a problem row block by row block: what everything that sweeps over the data works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array, namespace, to_numpy
from ..rows import Rows
from .terms import Component, Terms, TermSet


class Chunk(NamedTuple):
    """One block of rows and the terms that speak of them.

    Its terms number the rows of the block from zero; sets of terms without a group in the block are None.
    """

    place: slice
    """Row numbers of the block."""
    terms: list[list[Terms | None]]
    """Of every component."""
    groups: list[list[Any]]
    """Which groups of the whole set these are: a slice, or their numbers."""

    def present(self, component: int) -> Iterator[tuple[int, Terms]]:
        """Number and terms of the sets of a component that have groups here."""
        for number, terms in enumerate(self.terms[component]):
            if terms is not None:
                yield number, terms


PerChunk = list[list[Any]]
"""Arrays (k, g) of every set of terms of one component, a list for every chunk; None where a set is absent."""


def chunked(rows: Rows, components: tuple[Component, ...], convert: Callable[[Any], Array]) -> list[Chunk]:
    """The chunks of all blocks of the rows.

    Parameters
    ----------
    rows : Rows
    components : tuple of Component
    convert : callable
        NumPy array to the array kind wanted.
    """
    sorted_sets = [[bool((np.diff(terms.row) >= 0).all()) for terms in part.terms] for part in components]
    chunks = []
    for place in rows.places():
        sets, groups = [], []
        for part, in_order in zip(components, sorted_sets, strict=True):
            own = [_here(terms.row, place, ordered) for terms, ordered in zip(part.terms, in_order, strict=True)]
            groups.append(own)
            sets.append(
                [
                    _restricted(terms, chosen, place, convert, len(part.directions))
                    for terms, chosen in zip(part.terms, own, strict=True)
                ]
            )
        chunks.append(Chunk(place, sets, groups))
    return chunks


def _here(row: np.ndarray, place: slice, ordered: bool) -> Any:
    if ordered:
        return slice(*np.searchsorted(row, [place.start, place.stop]).tolist())
    return np.flatnonzero((row >= place.start) & (row < place.stop))


def _restricted(terms: TermSet, chosen: Any, place: slice, convert: Any, n_directions: int) -> Terms | None:
    row = terms.row[chosen]
    if not len(row):
        return None
    own = TermSet(
        terms.loss,
        row - place.start,
        terms.weight[chosen],
        terms.sign[:, chosen],
        terms.offset[:, chosen],
        terms.direction[:, chosen],
        terms.radius[chosen],
        terms.curvature[chosen],
    )
    return Terms(own, place.stop - place.start, convert, n_directions)


def split(chunks: list[Chunk], component: int, arrays: list[Any]) -> PerChunk:
    """Whole arrays (k, g) of the sets of a component, or None, cut into those of every chunk."""
    return [
        [
            None if array is None or terms is None else array[:, chosen]
            for array, terms, chosen in zip(arrays, chunk.terms[component], chunk.groups[component], strict=True)
        ]
        for chunk in chunks
    ]


def compact(parts: PerChunk) -> PerChunk:
    """The same tensors as views of one array for every set of terms: many small ones would scatter the memory."""
    if len(parts) < 2:
        return parts
    result: PerChunk = [list(part) for part in parts]
    for number in range(len(parts[0])):
        present = [place for place, part in enumerate(parts) if part[number] is not None]
        arrays = [parts[place][number] for place in present]
        if arrays:
            whole = namespace(arrays[0]).concatenate(arrays, 1)
            start = 0
            for place, array in zip(present, arrays, strict=True):
                result[place][number] = whole[:, start : start + array.shape[1]]
                start += array.shape[1]
    return result


def joined(chunks: list[Chunk], component: int, parts: PerChunk, sizes: list[tuple[int, int]]) -> list[Any]:
    """The inverse of :func:`split`, as NumPy arrays of the shapes given; None where all parts of a set are."""
    result: list[Any] = []
    for number, shape in enumerate(sizes):
        if all(part[number] is None for part in parts):
            result.append(None)
            continue
        whole = np.zeros(shape)
        for chunk, part in zip(chunks, parts, strict=True):
            if part[number] is not None:
                whole[:, chunk.groups[component][number]] = to_numpy(part[number])
        result.append(whole)
    return result
