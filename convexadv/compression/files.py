"""Files of compressed models: their tensors and the shapes of their factors. Reading one never runs code from it.

A file is read into a model of the original architecture, which the caller builds: layers whose channels were removed are
made smaller, others are replaced by factored ones of the ranks in the file, then the tensors are filled in. The header has
the form of :mod:`convexadv.files`, with the kind ``FactorisedModel`` and the settings ``layers`` (ranks and whether square
factors are left out, by name), ``folded`` (names of batch norms that were folded into the convolutions before them) and,
where there are any, ``channels`` (by name, the sizes of layers and norms before and after channels were removed).
"""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from torch import nn

from .._checks import file_name
from .._version import __version__
from ..errors import FileFormatError, InputError, reason
from ..files import NETWORK, read_tensors, write_tensors
from .convert import replaced
from .folding import FoldedBatchNorm
from .layers import LowRankLinear, TuckerConv2d, empty
from .sizes import full_sizes, shrink, sizes_of

KIND = "FactorisedModel"


def save_factorised(model: nn.Module, path: str | os.PathLike[str], /, **metadata: Any) -> None:
    """Write a compressed model to a safetensors file; the target is replaced only when the file is complete.

    Parameters
    ----------
    model : torch.nn.Module
        With factored layers, or without the channels that :func:`convexadv.compress` or :func:`prune_channels` removed, or
        both, or neither.
    path : str or path-like
        The target; its folder must exist.
    **metadata
        Anything that JSON can hold; :func:`load_factorised` returns it.

    Raises
    ------
    InputError
        If a part of the state is not a tensor, the metadata is not JSON, or the target cannot be created.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import factorise_model, load_factorised, save_factorised
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3))
    >>> save_factorised(factorise_model(model, {"0": (4, 4)}), "small.safetensors", trained_on="nothing")
    >>> again, metadata = load_factorised("small.safetensors", model)
    >>> type(again[0]).__name__, metadata
    ('TuckerConv2d', {'trained_on': 'nothing'})
    """
    tensors = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise InputError(f"{name} of the state of the model is no tensor; a file needs tensors only.")
        tensors[name] = value.detach().cpu().contiguous().clone()
    header = {
        "format": NETWORK.entry,
        "package_version": __version__,
        "kind": KIND,
        "classes": None,
        "settings": _structure(model),
        "metadata": metadata,
    }
    write_tensors(path, tensors, header, NETWORK)


def load_factorised(path: str | os.PathLike[str], model: nn.Module) -> tuple[nn.Module, dict[str, Any]]:
    """Read a compressed model.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`save_factorised` wrote.
    model : torch.nn.Module
        A model of the original architecture, with any weights; not changed.

    Returns
    -------
    model : torch.nn.Module
        A copy with the factored layers, the channels and the weights of the file, on the device and in the mode of ``model``.
    metadata : dict
        What was saved beside it.

    Raises
    ------
    FileFormatError
        If the file is truncated, foreign, from a newer version, or does not belong to a model of this architecture.
    InputError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import factorise_model, load_factorised, save_factorised
    >>> model = torch.nn.Sequential(torch.nn.Linear(16, 32))
    >>> small = factorise_model(model, {"0": 3})
    >>> save_factorised(small, "small.safetensors")
    >>> again, _ = load_factorised("small.safetensors", torch.nn.Sequential(torch.nn.Linear(16, 32)))
    >>> x = torch.ones(1, 16)
    >>> torch.equal(again(x), small(x))
    True
    """
    name = file_name(path)
    tensors, header = read_tensors(name, NETWORK)
    if header.get("kind") != KIND:
        raise FileFormatError(
            f"{name} holds a {header.get('kind')!r}, and a compressed model is needed; convexadv.load reads networks."
        )
    try:
        made = _rebuilt(copy.deepcopy(model), header["settings"], tensors)
        _fill(made, tensors)
    except (InputError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{name} does not fit the given {type(model).__name__}: {reason(error)}.") from error
    return made, header["metadata"]


def _structure(model: nn.Module) -> dict[str, Any]:
    layers = {
        name: {"ranks": module.ranks, "absorb": isinstance(module, TuckerConv2d) and module.absorb}
        for name, module in model.named_modules()
        if isinstance(module, TuckerConv2d | LowRankLinear)
    }
    folded = [name for name, module in model.named_modules() if isinstance(module, FoldedBatchNorm)]
    channels = {
        name: [list(full), list(sizes_of(module))]
        for name, module in model.named_modules()
        if (full := full_sizes(module)) is not None
    }
    return {"layers": layers, "folded": folded, **({"channels": channels} if channels else {})}


def _rebuilt(model: nn.Module, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> nn.Module:
    """Make layers smaller, put empty factored ones where the file has them, and take out the norms that were folded."""
    found = dict(model.named_modules())
    for name, pair in settings.get("channels", {}).items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(f"the sizes of its layer {name!r} must be two lists.")
        shrink(name, found.get(name), *pair)
    for name, layer in settings["layers"].items():
        if type(found.get(name)) not in (nn.Conv2d, nn.Linear):
            raise InputError(f"it has a factored layer {name!r}, where the model must have a Conv2d or Linear layer.")
        ranks = layer["ranks"]
        pair = tuple(ranks) if isinstance(ranks, list) else ranks
        made = empty(found[name], pair, absorb=layer["absorb"] is True)
        model = replaced(model, found[name], made)
    for name in settings["folded"]:
        if not isinstance(found.get(name), nn.BatchNorm2d):
            raise InputError(f"it has a folded batch norm {name!r}, where the model must have a BatchNorm2d.")
        model = replaced(model, found[name], FoldedBatchNorm())
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.bias is None and f"{name}.bias" in tensors:
            module.bias = nn.Parameter(module.weight.new_zeros(module.out_channels))
    return model


def _fill(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    state = model.state_dict()
    for name in state:
        if name not in tensors:
            raise InputError(f"it has no tensor {name!r}, which the model needs.")
        found, needed = ((tuple(each[name].shape), each[name].dtype) for each in (tensors, state))
        if found != needed:
            raise InputError(f"its tensor {name!r} is {found[0]} {found[1]}, and {needed[0]} {needed[1]} is needed.")
    extra = sorted(set(tensors) - set(state))
    if extra:
        raise InputError(f"it has a tensor {extra[0]!r}, which the model does not have; only its own are needed.")
    model.load_state_dict(tensors)
