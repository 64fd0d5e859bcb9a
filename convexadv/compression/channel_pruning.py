r"""Structured pruning within one budget, the baseline of [CSTAR]: whole channels, by their magnitude, with or without ADMM.

A channel of a group (see :mod:`.channel_graph`) is as large as its shares of ||W||^2 in all layers that write or read it.
Which channels go is decided as the ranks are (:mod:`.spectrum`): what is lost is the sum over these layers of -log(share
kept), and the channel that loses least for what it saves goes first, until the budget holds; or every group keeps the same
share of its channels. The pruned model is an ordinary smaller one of the same class, equal to the one whose layers read zeros
from the removed channels.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from .._checks import flag
from ..errors import InputError
from .admm import Weights
from .budget import check_measure, limit_of
from .channel_graph import ChannelGraph, channel_graph
from .counting import checked_shape, count, parameters_of
from .sizes import remember, set_sizes, sizes_of

_LEAST = 1e-12
_HALVINGS = 40
Masks = list[torch.Tensor]
"""One (channels,) of bool a group: what is kept."""


def prune_channels(
    model: nn.Module,
    input_shape: tuple[int, ...],
    *,
    ratio: float | None = None,
    budget: int | None = None,
    measure: str = "parameters",
    uniform: bool = False,
) -> nn.Module:
    """Remove the smallest channels of a model until it fits a budget.

    Parameters
    ----------
    model : torch.nn.Module
        Not changed; one that torch.fx can trace.
    input_shape : tuple of int
        Shape of one sample.
    ratio, budget, measure
        As of :func:`convexadv.compression.allocate`.
    uniform : bool
        Whether every group keeps the same share of its channels.

    Returns
    -------
    torch.nn.Module
        A smaller copy, of the same class and interface.

    Raises
    ------
    InputError
        If the budget is below the smallest possible one (one channel a group), or no channel can be removed.

    Examples
    --------
    >>> from convexadv.compression import count, prune_channels
    >>> from convexadv.models import PreActResNet18
    >>> model = PreActResNet18(width=8, channels=1)
    >>> small = prune_channels(model, (1, 28, 28), ratio=4)
    >>> count(model, (1, 28, 28)).parameters // count(small, (1, 28, 28)).parameters
    4
    """
    target = Channels(input_shape, ratio=ratio, budget=budget, measure=measure, uniform=uniform)
    target.choose(model, {name: weight.detach() for name, weight in target.weights(model).items()})
    return remove_channels(model, target.graph(model), target.masks)


class Channels:
    """Weights without the smallest channels, a :class:`.admm.Target`.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one sample.
    ratio, budget, measure
        As of :func:`convexadv.compression.allocate`.
    uniform : bool
        Whether every group keeps the same share of its channels.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import Channels
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> target = Channels((4,), ratio=2)
    >>> target.choose(model, target.weights(model))
    >>> [int(mask.sum()) for mask in target.masks]
    [3]
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        *,
        ratio: float | None = None,
        budget: int | None = None,
        measure: str = "parameters",
        uniform: bool = False,
    ):
        check_measure(measure)
        self.input_shape, self.ratio, self.budget, self.measure = checked_shape(input_shape), ratio, budget, measure
        self.uniform = flag("uniform", uniform)
        self.masks: Masks = []
        self._graph: ChannelGraph | None = None

    def __repr__(self) -> str:
        return f"Channels({self.ratio}, {self.budget}, {self.measure}, uniform={self.uniform})"

    def graph(self, model: nn.Module) -> ChannelGraph:
        """Find the groups of channels, once.

        Parameters
        ----------
        model : torch.nn.Module
            Always the same one.

        Returns
        -------
        ChannelGraph
        """
        if self._graph is None:
            self._graph = channel_graph(model, self.input_shape)
            if not self._graph.sizes:
                raise InputError(
                    "there is nothing to compress: the model has no channels that can be removed; low rank can "
                    "compress it."
                )
        return self._graph

    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Weights of all layers that read or write channels that can be removed.

        Parameters
        ----------
        model : torch.nn.Module
            Always the same one.

        Returns
        -------
        dict of str to Parameter
        """
        modules: Any = dict(model.named_modules())
        return {f"{layer.name}.weight": modules[layer.name].weight for layer in self.graph(model).layers}

    def choose(self, model: nn.Module, weights: Weights) -> None:
        """Choose the channels that stay.

        Parameters
        ----------
        model : torch.nn.Module
            Gives everything else that counts in the budget.
        weights : dict of str to tensor
            As named by :meth:`weights`.

        Raises
        ------
        InputError
            If the budget cannot be met.
        """
        graph = self.graph(model)
        total = parameters_of(model) if self.measure == "parameters" else count(model, self.input_shape).flops
        limit = limit_of(self.ratio, self.budget, total)
        fixed = total - graph.cost(list(graph.sizes), self.measure)
        smallest = fixed + graph.cost([1] * len(graph.sizes), self.measure)
        if limit < smallest:
            raise InputError(
                f"a budget of {limit:,} {self.measure} was given; the smallest possible one by removing channels is "
                f"{smallest:,} (ratio {total / smallest:.4g}): give a larger one."
            )
        shares = _shares(graph, weights)
        orders = [np.argsort(share.sum(0), kind="stable") for share in shares]
        if self.uniform:
            kept = _evenly(graph, limit - fixed, self.measure)
        else:
            kept = _greedily(graph, shares, orders, limit - fixed, self.measure)
        self.masks = [_mask(order, number) for order, number in zip(orders, kept, strict=True)]

    def project(self, weights: Weights) -> Weights:
        """Set to zero what writes and reads the removed channels.

        Parameters
        ----------
        weights : dict of str to tensor
            As named by :meth:`weights`.

        Returns
        -------
        dict of str to tensor
        """
        assert self._graph is not None
        made = {}
        for layer in self._graph.layers:
            weight = weights[f"{layer.name}.weight"].detach().clone()
            if layer.writes is not None:
                weight[~self.masks[layer.writes].to(weight.device)] = 0.0
            if layer.reads is not None:
                weight[:, ~self.masks[layer.reads].to(weight.device).repeat_interleave(layer.spread)] = 0.0
            made[f"{layer.name}.weight"] = weight
        return made

    def state_dict(self) -> dict[str, Any]:
        """What is kept.

        Returns
        -------
        dict
        """
        return {"masks": self.masks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what a checkpoint kept.

        Parameters
        ----------
        state : dict
            Of :meth:`state_dict`.
        """
        self.masks = list(state["masks"])


def remove_channels(model: nn.Module, graph: ChannelGraph, masks: Masks) -> nn.Module:
    """Make the smaller model.

    Parameters
    ----------
    model : torch.nn.Module
        Not changed.
    graph : ChannelGraph
        Its groups.
    masks : list of tensor (channels,) of bool
        What is kept of each group.

    Returns
    -------
    torch.nn.Module
        A copy of the same class, whose layers remember their sizes for files (:mod:`.sizes`).
    """
    made = copy.deepcopy(model)
    modules: Any = dict(made.named_modules())
    for layer in graph.layers:
        module = modules[layer.name]
        weight = module.weight.detach()
        if layer.writes is not None:
            mask = masks[layer.writes].to(weight.device)
            weight = weight[mask]
            if module.bias is not None:
                module.bias = _like(module.bias, module.bias.detach()[mask])
        if layer.reads is not None:
            weight = weight[:, masks[layer.reads].to(weight.device).repeat_interleave(layer.spread)]
        module.weight = _like(module.weight, weight)
        remember(module, sizes_of(module))
        set_sizes(module, tuple(weight.shape[:2]))
    for name, group in graph.norms:
        _shrink_norm(modules[name], masks[group])
    return made


def _shrink_norm(norm: Any, mask: torch.Tensor) -> None:
    mask = mask.to(norm.weight.device)
    remember(norm, sizes_of(norm))
    set_sizes(norm, (int(mask.sum()),))
    norm.weight, norm.bias = (_like(p, p.detach()[mask]) for p in (norm.weight, norm.bias))
    if norm.running_mean is not None:
        norm.running_mean, norm.running_var = norm.running_mean[mask].clone(), norm.running_var[mask].clone()


def _like(old: nn.Parameter, value: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(value.clone(), requires_grad=old.requires_grad)


def _greedily(
    graph: ChannelGraph, shares: list[np.ndarray], orders: list[np.ndarray], limit: int, measure: str
) -> list[int]:
    """Remove the channel that loses least for what it saves until the budget holds; how many stay."""
    losses = []
    for share, order in zip(shares, orders, strict=True):
        left = 1.0 - np.cumsum(share[:, order], axis=1)
        losses.append(np.append(0.0, -np.log(np.clip(left, _LEAST, 1.0)).sum(0)))
    kept, spent = list(graph.sizes), graph.cost(list(graph.sizes), measure)
    while spent > limit:
        best, least, after = -1, np.inf, spent
        for group, size in enumerate(graph.sizes):
            if kept[group] == 1:
                continue
            fewer = [number - (each == group) for each, number in enumerate(kept)]
            cost, gone = graph.cost(fewer, measure), size - kept[group]
            price = (losses[group][gone + 1] - losses[group][gone]) / (spent - cost)
            if price < least:
                best, least, after = group, price, cost
        kept[best] -= 1
        spent = after
    return kept


def _evenly(graph: ChannelGraph, limit: int, measure: str) -> list[int]:
    """The largest share of its channels that every group can keep; how many these are."""

    def at(share: float) -> list[int]:
        return [max(1, int(share * size)) for size in graph.sizes]

    low, high = 0.0, 1.0
    if graph.cost(at(high), measure) <= limit:
        return at(high)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if graph.cost(at(middle), measure) <= limit else (low, middle)
    return at(low)


def _mask(order: np.ndarray, number: int) -> torch.Tensor:
    mask = torch.ones(len(order), dtype=torch.bool)
    mask[torch.from_numpy(order[: len(order) - number].copy())] = False
    return mask


def _shares(graph: ChannelGraph, weights: Weights) -> list[np.ndarray]:
    """Of each group, (layers that write or read it, channels): shares of ||W||^2."""
    found: list[list[np.ndarray]] = [[] for _ in graph.sizes]
    for layer in graph.layers:
        squares = weights[f"{layer.name}.weight"].detach().double().square()
        squares = squares / max(float(squares.sum()), 1e-300)
        if layer.writes is not None:
            found[layer.writes].append(squares.flatten(1).sum(1).cpu().numpy())
        if layer.reads is not None:
            columns = squares.transpose(0, 1).flatten(1).sum(1).reshape(-1, layer.spread).sum(1)
            found[layer.reads].append(columns.cpu().numpy())
    return [np.array(rows) for rows in found]
