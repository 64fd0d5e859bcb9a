"""Parameters and multiply-adds of a model, layer by layer, measured by running it once.

FLOPs here are multiply-adds of convolutions and linear layers for one sample; biases, norms and activations are not
counted, nor is arithmetic outside of such layers. A factored layer counts as one layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import InputError, reason
from .layers import LowRankLinear, TuckerConv2d

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class LayerCount:
    """Counts of one layer.

    Attributes
    ----------
    name : str
        Its name in the model.
    kind : str
        Its class.
    parameters : int
        Weights and biases.
    flops : int
        Multiply-adds for one sample; a layer that runs twice counts twice.
    input_shape, output_shape : tuple of int
        Without the batch, of its last run.
    """

    name: str
    kind: str
    parameters: int
    flops: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelCount:
    """Counts of a model.

    Attributes
    ----------
    layers : tuple of LayerCount
        Convolutions, linear and factored layers in the order in which they run.
    parameters : int
        Of the whole model, shared ones once.
    flops : int
        Sum over the layers.
    """

    layers: tuple[LayerCount, ...]
    parameters: int
    flops: int

    def __getitem__(self, name: str) -> LayerCount:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)


def count(model: nn.Module, input_shape: tuple[int, ...]) -> ModelCount:
    """Count parameters and multiply-adds of a model for one sample.

    Parameters
    ----------
    model : torch.nn.Module
        Run once in evaluation mode on zeros; left as it was.
    input_shape : tuple of int
        Shape of one sample, without the batch: (3, 32, 32).

    Returns
    -------
    ModelCount

    Raises
    ------
    InputError
        If the model does not run on inputs of this shape.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import count
    >>> found = count(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), (3, 32, 32))
    >>> found.parameters, found.flops == 3 * 8 * 9 * 30 * 30
    (224, True)
    """
    names = {module: name for name, module in layers_of(model)}
    seen: dict[nn.Module, list[Any]] = {}
    owners = {part: whole for whole in names for part in whole.modules()}

    def record(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, TuckerConv2d | LowRankLinear):
            seen[module] = [seen[module][0], tuple(inputs[0].shape[1:]), tuple(output.shape[1:])]
            return
        entry = seen.setdefault(owners[module], [0, (), ()])
        entry[0] += _multiply_adds(module, inputs[0], output)
        if module in names:
            entry[1:] = [tuple(inputs[0].shape[1:]), tuple(output.shape[1:])]

    with _hooked(list(owners), record):
        run_once(model, input_shape)
    layers = tuple(
        LayerCount(names[module], type(module).__name__, parameters_of(module), flops, before, after)
        for module, (flops, before, after) in seen.items()
    )
    return ModelCount(layers, parameters_of(model), sum(layer.flops for layer in layers))


def parameters_of(module: nn.Module) -> int:
    """Count the parameters of a module, shared ones once.

    Parameters
    ----------
    module : torch.nn.Module
        Any.

    Returns
    -------
    int
    """
    return sum(parameter.numel() for parameter in module.parameters())


def layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Walk the layers that are counted: convolutions, linear layers, and factored ones as a whole.

    Parameters
    ----------
    model : torch.nn.Module
        Any.

    Yields
    ------
    name : str
    module : torch.nn.Module
    """
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module in inside:
            continue
        if isinstance(module, TuckerConv2d | LowRankLinear):
            inside.update(module.modules())
            yield name, module
        elif isinstance(module, (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)):
            yield name, module


@torch.no_grad()
def run_once(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Run a model in evaluation mode on one sample of zeros, for what its hooks see.

    Parameters
    ----------
    model : torch.nn.Module
        Its training mode is restored.
    input_shape : tuple of int
        Without the batch.

    Raises
    ------
    InputError
        If the model does not run.
    """
    shape = (1, *checked_shape(input_shape))
    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        model(torch.zeros(shape, dtype=weight.dtype, device=weight.device))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"the model does not run on one sample of shape {shape[1:]}: {reason(error)}.") from error
    finally:
        for module, mode in modes.items():
            module.training = mode


def checked_shape(input_shape: Any) -> tuple[int, ...]:
    """Check the shape of one sample.

    Parameters
    ----------
    input_shape : sequence of int
        Without the batch.

    Returns
    -------
    tuple of int

    Raises
    ------
    InputError
        If it is not a sequence of positive integers.
    """
    try:
        shape = tuple(int(size) for size in input_shape)
    except (TypeError, ValueError):
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(f"input_shape must be the sizes of one sample, e.g. (3, 32, 32), got {input_shape!r}.")
    return shape


@contextmanager
def _hooked(modules: list[nn.Module], hook: Any) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _multiply_adds(module: Any, given: torch.Tensor, output: torch.Tensor) -> int:
    if isinstance(module, nn.Linear):
        return output[0].numel() * module.in_features
    entries = given if isinstance(module, _TRANSPOSED) else output
    return entries[0].numel() * module.weight[0].numel()
