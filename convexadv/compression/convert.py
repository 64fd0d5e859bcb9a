"""Whole models to factored layers and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn

from ..errors import InputError
from .budget import Allocation
from .layers import LowRankLinear, TuckerConv2d, factorise, merge
from .projection import Ranks
from .tucker import TOLERANCE


def factorise_model(
    model: nn.Module, ranks: Allocation | Mapping[str, Ranks], *, absorb: bool = True, tolerance: float = TOLERANCE
) -> nn.Module:
    """Factorise the layers of a model by name.

    Parameters
    ----------
    model : torch.nn.Module
        Not changed.
    ranks : Allocation or dict of str to (R_out, R_in), int or "dense"
        What :func:`allocate` found, or ranks by the name of the layer; layers that are not named stay as they are.
    absorb : bool
        Whether square factors are left out, as the costs of :func:`allocate` suppose.
    tolerance : float
        Of the projections.

    Returns
    -------
    torch.nn.Module
        A copy, of the same class and interface.

    Raises
    ------
    InputError
        If a name is not that of a Conv2d or Linear layer, or ranks do not fit.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import factorise_model
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 1))
    >>> [type(layer).__name__ for layer in factorise_model(model, {"0": (3, 2)})]
    ['TuckerConv2d', 'ReLU', 'Conv2d']
    """
    by_name = ranks.ranks if isinstance(ranks, Allocation) else ranks
    made = copy.deepcopy(model)
    found = dict(made.named_modules(remove_duplicate=False))
    for name, each in by_name.items():
        if type(found.get(name)) not in (nn.Conv2d, nn.Linear):
            raise InputError(f"ranks name {name!r}, which is not a Conv2d or Linear layer of the model.")
        try:
            made = replaced(made, found[name], factorise(found[name], each, absorb=absorb, tolerance=tolerance))
        except InputError as error:
            raise InputError(f"layer {name}: {error}") from error
    return made


def merge_model(model: nn.Module) -> nn.Module:
    """Multiply out every factored layer of a model.

    Parameters
    ----------
    model : torch.nn.Module
        Not changed.

    Returns
    -------
    torch.nn.Module
        A copy, without factored layers.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import factorise_model, merge_model
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    >>> [type(layer).__name__ for layer in merge_model(factorise_model(model, {"0": (3, 2)}))]
    ['Conv2d', 'ReLU']
    """
    made = copy.deepcopy(model)
    for _, module in list(made.named_modules()):
        if isinstance(module, TuckerConv2d | LowRankLinear):
            made = replaced(made, module, merge(module))
    return made


def replaced(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Put a module in the place of another one, wherever the model has it.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place, unless it is ``old`` itself.
    old, new : torch.nn.Module
        What is replaced, and by what.

    Returns
    -------
    torch.nn.Module
        The model.
    """
    if model is old:
        return new
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new
    return model
