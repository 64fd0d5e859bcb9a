"""From an iterate to a network and to the atoms of a certificate."""

from __future__ import annotations

import numpy as np

from ....problems.certificate import AtomSet
from ....recovery import neural_decomposition, restore
from ....rotations import equalise
from .families import Family, Layout
from .variables import Iterate, Part


@np.errstate(all="ignore")
def network_of(iterate: Iterate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neurons of Z and Z': vectors (m, d) of squared length |alpha|, signs (m,), outputs (m,) within the component."""
    vectors, signs, outputs = [], [], []
    for sign, lifts in zip((1.0, -1.0), iterate.Z, strict=True):
        for output, lift in enumerate(lifts):
            units, weights = neural_decomposition(restore(lift))
            vectors.append(units * np.sqrt(weights)[:, None])
            signs.append(np.full(len(weights), sign))
            outputs.append(np.full(len(weights), output))
    return np.concatenate(vectors), np.concatenate(signs), np.concatenate(outputs)


@np.errstate(all="ignore")
def atoms_of(layout: Layout, component: int, iterate: Iterate, d: int) -> tuple[AtomSet, ...]:
    """The multipliers of an iterate as atoms, their moments as points of balls or as samples of boxes."""
    return tuple(
        _atoms(layout, component, family, part, d) for family, part in zip(layout.families, iterate.parts, strict=True)
    )


def multipliers_of(layout: Layout, iterate: Iterate, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Multipliers (k, g) of every set of terms; zero at groups without weight."""
    whole = [np.zeros(shape) for shape in shapes]
    for family, part in zip(layout.families, iterate.parts, strict=True):
        whole[family.term][:, family.groups] = part.Y[..., -1, -1] / family.weight
    return whole


def _atoms(layout: Layout, component: int, family: Family, part: Part, d: int) -> AtomSet:
    z = part.Y[..., -1, -1] / family.weight
    if family.order == 1:
        return AtomSet(component, family.term, z[None], groups=family.groups)
    split = _in_ball if len(family.radii) == 1 else _in_box
    shares, points = split(part.Y)
    coordinates = np.zeros((*points.shape[:-1], d))
    coordinates[..., layout.moving] = points * family.radius[:, None]
    return AtomSet(component, family.term, shares * z, coordinates, groups=family.groups)


def _in_box(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares (q, k, g) and points (q, k, g, q - 1) of equal weight with the moments (k, g, q, q) up to a factor.

    A reflection gives the columns of a factor equal last entries.
    """
    columns = np.linalg.cholesky(moments)
    q, last = columns.shape[-1], columns[..., -1, :]
    length = np.sqrt((last * last).sum(-1, keepdims=True))
    normal = last / length - q**-0.5
    size = (normal * normal).sum(-1, keepdims=True)
    factor = 2.0 / np.where(size > 0, size, np.inf)
    columns = columns - (columns @ normal[..., None]) * (factor * normal)[..., None, :]
    points = columns[..., :-1, :] / columns[..., -1:, :]
    return np.full((q, *points.shape[:2]), 1.0 / q), np.moveaxis(points, -1, 0)


def _in_ball(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares (q, k, g) and points (q, k, g, q - 1) of the unit ball with the moments (k, g, q, q) up to a factor.

    A factor is rotated until all its columns y have the same y'diag(I, -1)y, which is not positive: that of the mean.
    """
    columns = np.linalg.cholesky(moments)
    signature = np.append(np.ones(columns.shape[-1] - 1), -1.0)
    for index in np.ndindex(columns.shape[:-2]):
        columns[index] = equalise(columns[index], signature)
    last = columns[..., -1, :]
    used = last * last > 1e-300
    points = np.where(used[..., None, :], columns[..., :-1, :] / np.where(used, last, 1.0)[..., None, :], 0.0)
    shares = last * last / (last * last).sum(-1, keepdims=True)
    return np.moveaxis(shares, -1, 0), np.moveaxis(points, -1, 0)
