"""Features in the units of the head: their scaling, and the ball shaped to how they move under attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..datasets import Scaling
from ..errors import InputError
from ..sources import BlockRows

SCALINGS = ("standard", "norm", None)

_BLOCK = 4096
_CONSTANT = 1e-6
"""A feature with less than this share of the largest deviation counts as constant."""
_SHORTEST = 1e-2
"""Axes of a movement ball are at least this share of the longest where features are divided by them."""


def feature_scaling(features: np.ndarray, kind: str | None) -> Scaling:
    """Shift and scale of features: z -> (z - shift) / scale.

    Parameters
    ----------
    features : (n, d)
        Of the training inputs.
    kind : {"standard", "norm", None}
        "standard": mean 0 and equal deviations; "norm": mean 0 and one factor for all features, which keeps the shape
        of balls. Both make the root mean square norm of the rows 1. None leaves the features as they are.

    Returns
    -------
    Scaling
        float64. A feature that is constant on the rows gets the scale of the one that varies most, with "standard".

    Raises
    ------
    InputError
        If the kind is unknown, or no feature varies.
    """
    if not (kind is None or isinstance(kind, str)) or kind not in SCALINGS:
        raise InputError(f'scaling={kind!r} is unknown; choose "standard", "norm" or None.')
    n, d = features.shape
    if kind is None:
        return Scaling(np.zeros(d), np.ones(d))
    mean = sum(block.sum(0) for block in _blocks(features)) / n
    variance = sum(((block - mean) ** 2).sum(0) for block in _blocks(features)) / n
    deviation = np.sqrt(variance)
    if not deviation.max() > 0:
        raise InputError("the features are the same for every input; a head needs features that differ.")
    if kind == "norm":
        return Scaling(mean, np.full(d, np.sqrt(variance.sum())))
    varies = deviation > _CONSTANT * deviation.max()
    return Scaling(mean, np.where(varies, deviation, deviation.max()) * np.sqrt(varies.sum()))


def movement_axes(clean: np.ndarray, attacked: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Axes of the ellipsoid in which features move under attack, in scaled units.

    ``axes_j = sqrt(d) * rms_i((attacked_ij - clean_ij) / scale_j)``: the mean of ``||delta / axes||_2^2`` over the
    inputs is 1 (at most, if some features never move).

    Parameters
    ----------
    clean, attacked : (n, d)
        Features of the same inputs, before and after the attack.
    scaling : Scaling
        Of the head.

    Returns
    -------
    (d,) array
        Zero for features that never moved.

    Raises
    ------
    InputError
        If nothing moved.
    """
    squares = np.zeros(clean.shape[1])
    for before, after in zip(_blocks(clean), _blocks(attacked), strict=True):
        squares += (((after - before) / scaling.scale) ** 2).sum(0)
    if not squares.max() > 0:
        raise InputError('the attack moved no feature; ball="movement" needs a larger attack_radius.')
    return np.sqrt(clean.shape[1] * squares / len(clean))


def bounded_axes(axes: np.ndarray) -> np.ndarray:
    """Axes, the short ones lengthened to a hundredth of the longest: features can be divided by them."""
    return np.maximum(axes, _SHORTEST * axes.max())


def scaled_rows(parts: Sequence[np.ndarray], scaling: Scaling) -> Any:
    """All rows of the parts in the units of the head, one below the other.

    Parameters
    ----------
    parts : sequence of (n_k, d) arrays
        Features in memory or mapped from files.
    scaling : Scaling

    Returns
    -------
    ndarray or BlockRows (n, d)
        In the precision of the features. An array where all parts are in memory; else rows that are scaled as they are
        read.
    """
    blocks = _ScaledBlocks(parts, scaling)
    if any(isinstance(part, np.memmap) for part in parts):
        return BlockRows(blocks, rows=blocks.sizes)
    return np.concatenate([blocks(k) for k in range(len(blocks.sizes))])


class _ScaledBlocks:
    def __init__(self, parts: Sequence[np.ndarray], scaling: Scaling) -> None:
        self._parts, self._scaling = parts, scaling
        self._places = [(k, first) for k, part in enumerate(parts) for first in range(0, len(part), _BLOCK)]
        self.sizes = [min(_BLOCK, len(parts[k]) - first) for k, first in self._places]

    def __call__(self, number: int) -> np.ndarray:
        k, first = self._places[number]
        block = self._parts[k][first : first + _BLOCK]
        return self._scaling.apply(np.asarray(block)).astype(block.dtype)


def _blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(features), _BLOCK):
        yield np.asarray(features[first : first + _BLOCK], dtype=np.float64)
