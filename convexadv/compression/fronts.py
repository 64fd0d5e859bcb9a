"""What one layer can choose: its ranks, within its limits, as a Pareto front of cost and loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .choices import Front, pareto
from .projection import Ranks
from .spectrum import LayerSpectrum, losses_of

_DENSE = (-1, -1)


class Setting(NamedTuple):
    """A layer and what it may choose."""

    layer: LayerSpectrum
    smallest: tuple[int, int]
    """Smallest ranks (R_out, R_in) that fit each other; of a matrix, twice the same."""
    dense: bool
    """Whether it may stay as it is."""
    importance: float
    """Factor of its loss."""
    objective: str
    """Formula of its loss."""


def layer_front(setting: Setting, measure: str, most: float = np.inf) -> Front:
    """Reduce the choices of a layer to those that no other one beats.

    Parameters
    ----------
    setting : Setting
        The layer.
    measure : {"parameters", "flops"}
        What its cost counts.
    most : float
        Choices that cost more are left out, but for the cheapest one.

    Returns
    -------
    Front
        With labels for :func:`ranks_of`.
    """
    layer = setting.layer
    costs, losses, labels = _matrix_options(setting, measure) if layer.is_matrix else _kernel_options(setting, measure)
    if setting.dense or not len(costs):  # smallest ranks that are the full ones leave nothing else
        costs, losses = np.append(costs, layer.dense_cost(measure)), np.append(losses, 0.0)
        labels = np.concatenate([labels, [_DENSE]])
    kept = costs <= max(most, costs.min())
    return pareto(costs[kept], setting.importance * losses[kept], labels[kept])


def ranks_of(label: np.ndarray) -> Ranks:
    """Read the ranks out of a label of a front.

    Parameters
    ----------
    label : array (2,)
        Entry of ``labels``.

    Returns
    -------
    (R_out, R_in), int or "dense"
    """
    outer, inner = (int(rank) for rank in label)
    if (outer, inner) == _DENSE:
        return "dense"
    return (outer, inner) if inner else outer


def _matrix_options(setting: Setting, measure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    layer = setting.layer
    rank = np.arange(setting.smallest[0], min(layer.shape) + 1)
    left = losses_of(layer.shorter, setting.objective)
    return rank * layer.cost(1, measure), left[rank], np.stack([rank, 0 * rank], 1)


def _kernel_options(setting: Setting, measure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    layer = setting.layer
    outer, inner = (np.arange(low, high + 1) for low, high in zip(setting.smallest, layer.shape, strict=True))
    costs = layer.costs(outer, inner, measure)
    left = [losses_of(shares, setting.objective) for shares in (layer.outer, layer.inner)]
    losses = left[0][outer][:, None] + left[1][inner]
    fits = (inner <= layer.window * outer[:, None]) & (outer[:, None] <= layer.window * inner)
    full = (outer[:, None] == layer.shape[0]) & (inner == layer.shape[1])
    rows, columns = np.nonzero(fits & ~full)
    return costs[rows, columns], losses[rows, columns], np.stack([outer[rows], inner[columns]], 1)
