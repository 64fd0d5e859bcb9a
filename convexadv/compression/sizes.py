"""Sizes of layers: set by hand where channels go, and remembered, so that a file can say what a layer was made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import InputError

Sizes = tuple[int, ...]
"""(outputs, inputs) of a layer, (channels,) of a norm."""
_FULL = "full_sizes"
_PLAIN = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
_BUFFERS = ("running_mean", "running_var")


def sizes_of(module: Any) -> Sizes:
    """Count the channels of a convolution, matrix (factored or not) or norm.

    Parameters
    ----------
    module : torch.nn.Module
        The layer.

    Returns
    -------
    (outputs, inputs) or (channels,)
    """
    if hasattr(module, "num_features"):
        return (module.num_features,)
    if hasattr(module, "out_features"):
        return module.out_features, module.in_features
    return module.out_channels, module.in_channels


def full_sizes(module: nn.Module) -> Sizes | None:
    """Look up what a layer had before channels were removed.

    Parameters
    ----------
    module : torch.nn.Module
        Any.

    Returns
    -------
    (outputs, inputs), (channels,) or None
        None if none were.
    """
    return getattr(module, _FULL, None)


def remember(module: nn.Module, sizes: Sizes | None) -> None:
    """Note the sizes that a layer had at first; what it remembers already stays.

    Parameters
    ----------
    module : torch.nn.Module
        The layer.
    sizes : tuple of int or None
        None notes nothing.
    """
    if sizes is not None and full_sizes(module) is None:
        setattr(module, _FULL, sizes)


def set_sizes(module: Any, sizes: Sizes) -> None:
    """Set the numbers that a layer prints and checks by, not its tensors.

    Parameters
    ----------
    module : torch.nn.Conv2d, Linear, BatchNorm1d or BatchNorm2d
        The layer.
    sizes : tuple of int
        As of :func:`sizes_of`.
    """
    if len(sizes) == 1:
        names: tuple[str, ...] = ("num_features",)
    else:
        names = ("out_features", "in_features") if isinstance(module, nn.Linear) else ("out_channels", "in_channels")
    for name, size in zip(names, sizes, strict=True):
        setattr(module, name, size)


def shrink(name: str, module: Any, full: Any, now: Any) -> None:
    """Make a layer of the original model as small as the file has it, with zeros for weights.

    Parameters
    ----------
    name : str
        Of the layer, for errors.
    module : torch.nn.Module
        Changed in place.
    full, now : list of int
        Its sizes before and after, as of :func:`sizes_of`; from the header of a file, so anything.

    Raises
    ------
    InputError
        If it is no such layer, or of other sizes.
    """
    if type(module) not in _PLAIN or getattr(module, "groups", 1) != 1:
        raise InputError(
            f"it has removed channels of {name!r}, where the model must have a layer or norm that can lose some."
        )
    if full != list(sizes_of(module)):
        raise InputError(
            f"its layer {name!r} is made from one of the sizes {full}; {list(sizes_of(module))} is needed."
        )
    whole = isinstance(now, list) and all(type(size) is int for size in now) and len(now) == len(full)
    if not whole or not all(1 <= size <= limit for size, limit in zip(now, full, strict=True)):
        raise InputError(f"its layer {name!r} has the sizes {now}; what is left of {full} is needed.")
    remember(module, sizes_of(module))
    set_sizes(module, tuple(now))
    for kind, value in list(module.named_parameters(recurse=False)):
        shape = (*now, *value.shape[2:])[: value.ndim] if value.ndim > 1 else (now[0],)
        setattr(module, kind, nn.Parameter(value.new_zeros(shape), requires_grad=value.requires_grad))
    for kind in _BUFFERS:
        if isinstance(getattr(module, kind, None), torch.Tensor):
            setattr(module, kind, getattr(module, kind).new_zeros(now[0]))
