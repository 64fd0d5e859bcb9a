"""Batch norm multiplied into the convolution before it, for inference.

In evaluation mode a batch norm is an affine map a channel. It is folded where it follows a two-dimensional
convolution directly and nothing else reads the output of that; everything else (a norm before a convolution, as in
pre-activation blocks, where padding would see another border) is left alone.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..errors import InputError
from .layers import TuckerConv2d

_TOLERANCE = 1e-3


class FoldedBatchNorm(nn.Identity):
    """What is left where a batch norm was folded into the layer before it."""


@torch.no_grad()
def fold_batch_norm(model: nn.Module, probe: torch.Tensor | None = None) -> nn.Module:
    """Fold every batch norm that directly follows a two-dimensional convolution into it.

    Pairs are found in the traced graph of the model (``torch.fx``); in a model that cannot be traced, in its sequential
    parts. The result is for inference: training it would no longer normalise.

    Parameters
    ----------
    model : torch.nn.Module
        Any; not changed.
    probe : tensor (n, ...), optional
        Inputs on which the result is compared with the model in evaluation mode.

    Returns
    -------
    torch.nn.Module
        A copy in evaluation mode, of the same class; a folded norm is a :class:`FoldedBatchNorm`, the convolution
        before it has a bias.

    Raises
    ------
    InputError
        If the outputs on the probe differ by more than 1e-3 of their largest entry.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import fold_batch_norm
    >>> fold_batch_norm(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8)))
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
      (1): FoldedBatchNorm()
    )
    """
    made = copy.deepcopy(model).eval()
    for first, norm in _pairs(made):
        _fold(made.get_submodule(first), made.get_submodule(norm))
        _replace(made, norm)
    if probe is not None:
        _compare(model, made, probe)
    return made


def _pairs(model: nn.Module) -> list[tuple[str, str]]:
    """Names of the layers and norms to fold."""
    try:
        found = _traced_pairs(model)
    except Exception:  # tracing runs the model's own code on symbols, and fails in as many ways as there are models
        found = _sequential_pairs(model)
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    return [pair for pair in found if _foldable(model.get_submodule(pair[0]), model.get_submodule(pair[1]), uses)]


def _traced_pairs(model: nn.Module) -> list[tuple[str, str]]:
    graph = torch.fx.Tracer().trace(model)
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    pairs = []
    for node in graph.nodes:
        if node.op != "call_module" or len(node.args) != 1 or not isinstance(node.args[0], torch.fx.Node):
            continue
        before = node.args[0]
        alone = before.op == "call_module" and len(before.users) == 1
        if alone and calls[before.target] == calls[node.target] == 1:
            pairs.append((str(before.target), str(node.target)))
    return pairs


def _sequential_pairs(model: nn.Module) -> list[tuple[str, str]]:
    pairs = []
    for name, module in model.named_modules():
        if type(module) is not nn.Sequential:
            continue
        path = f"{name}." if name else ""
        children = list(module.named_children())
        for (first, layer), (second, _) in itertools.pairwise(children):
            last = f".{list(layer._modules)[-1]}" if isinstance(layer, TuckerConv2d) else ""
            pairs.append((f"{path}{first}{last}", f"{path}{second}"))
    return pairs


def _foldable(layer: nn.Module, norm: Any, uses: Counter[int]) -> bool:
    if type(layer) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or norm.running_mean is None:
        return False
    hooks = any(len(part._forward_hooks) or len(part._forward_pre_hooks) for part in (layer, norm))
    return uses[id(layer)] == uses[id(norm)] == 1 and not hooks


def _fold(layer: Any, norm: Any) -> None:
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    trained = layer.weight.requires_grad
    layer.weight, layer.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics)
    layer.weight.requires_grad_(trained)
    layer.bias.requires_grad_(trained)


def _replace(model: nn.Module, name: str) -> None:
    parent, _, child = name.rpartition(".")
    model.get_submodule(parent)._modules[child] = FoldedBatchNorm().eval()


def _compare(model: nn.Module, made: nn.Module, probe: torch.Tensor) -> None:
    wanted, found = copy.deepcopy(model).eval()(probe), made(probe)
    error = float((wanted - found).abs().max())
    limit = _TOLERANCE * float(wanted.abs().max())
    if not error <= limit:
        raise InputError(
            f"folding the batch norms changes the outputs on the probe by {error:.3g} (at most {limit:.3g} is rounding): "
            "the model uses its layers in a way that its graph does not show; leave its norms as they are."
        )
