"""Which channels of a model go together: a trace with torch.fx ties what additions join, such as a residual stream.

A *group* is a set of channels that can be removed from everything that writes or reads them: the outputs of the
convolutions and linear layers that write it, the batch norms on the way, and the inputs of the layers that read it. Channels
of the input, of the scores, of grouped convolutions, of layers that run twice, and whatever passes an operation that is not
known here (concatenation, attention, reshaping) stay as they are.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ..errors import InputError
from .counting import checked_shape

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_CHANNELWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Tanh),
    *(nn.Sigmoid, nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
)
"""Modules that treat every channel by itself and have no parameters."""
_FUNCTIONS = frozenset(
    {"relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "hardswish", "softplus", "tanh"}
    | {"sigmoid", "dropout", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "contiguous"}
)
_TYING = frozenset({"add", "iadd", "add_", "sub", "isub", "sub_", "mul", "imul", "mul_", "truediv", "div"})


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer.

    Attributes
    ----------
    name : str
        Its name in the model.
    reads, writes : int or None
        Groups of its inputs and outputs; None where these stay as they are.
    spread : int
        Inputs of the layer for each channel that it reads: positions that were flattened into features.
    shape : (int, int)
        Outputs and inputs.
    window, positions : int
        Entries of the kernel, positions of the output.
    bias : bool
    """

    name: str
    reads: int | None
    writes: int | None
    spread: int
    shape: tuple[int, int]
    window: int
    positions: int
    bias: bool


@dataclass(frozen=True)
class ChannelGraph:
    """Groups of channels, and who writes and reads them.

    Attributes
    ----------
    sizes : tuple of int
        Channels of each group.
    layers : tuple of Layer
        Those that read or write a group.
    norms : tuple of (str, int)
        Batch norms and their groups.
    """

    sizes: tuple[int, ...]
    layers: tuple[Layer, ...]
    norms: tuple[tuple[str, int], ...]

    def cost(self, kept: list[int], measure: str) -> int:
        """Cost of the layers and norms that the groups touch.

        Parameters
        ----------
        kept : list of int
            Channels kept of each group.
        measure : {"parameters", "flops"}
            What is counted.

        Returns
        -------
        int
        """
        total = 0
        for layer in self.layers:
            outputs = layer.shape[0] if layer.writes is None else kept[layer.writes]
            inputs = layer.shape[1] if layer.reads is None else kept[layer.reads] * layer.spread
            weights = layer.window * outputs * inputs
            total += weights * layer.positions if measure == "flops" else weights + outputs * layer.bias
        return total + (sum(2 * kept[group] for _, group in self.norms) if measure == "parameters" else 0)


def channel_graph(model: nn.Module, input_shape: tuple[int, ...]) -> ChannelGraph:
    """Trace a model and find the groups of channels that can be removed from it.

    Parameters
    ----------
    model : torch.nn.Module
        One that torch.fx can trace: without branches that depend on its inputs.
    input_shape : tuple of int
        Shape of one sample.

    Returns
    -------
    ChannelGraph

    Raises
    ------
    InputError
        If the model cannot be traced, or does not run on the shape.

    Examples
    --------
    >>> from convexadv.compression import channel_graph
    >>> from convexadv.models import Block, ResidualNetwork
    >>> graph = channel_graph(ResidualNetwork(Block, (2,), width=8, channels=1), (1, 8, 8))
    >>> graph.sizes  # the stream of both blocks, and what is inside each
    (8, 8, 8)
    """
    traced = _traced(model, checked_shape(input_shape))
    return _Walk(model, traced).graph()


def _traced(model: nn.Module, shape: tuple[int, ...]) -> fx.GraphModule:
    modes = {module: module.training for module in model.modules()}
    weight = next(iter(model.parameters()), torch.zeros(()))
    model.eval()
    try:
        traced = fx.symbolic_trace(model)
        with torch.no_grad():
            ShapeProp(traced).propagate(torch.zeros(2, *shape, dtype=weight.dtype, device=weight.device))
    except Exception as error:  # what a forward method does with a proxy may fail in any way
        raise InputError(
            f"channels of this {type(model).__name__} cannot be pruned: torch.fx does not trace it on samples of shape "
            f"{shape} ({str(error).splitlines()[0] if str(error) else type(error).__name__}); low rank can compress it."
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    return traced


@dataclass
class _Spaces:
    """Sets of channels that are joined as the walk goes on."""

    parent: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    fixed: list[bool] = field(default_factory=list)

    def new(self, size: int, fixed: bool = False) -> int:
        self.parent.append(len(self.parent))
        self.sizes.append(size)
        self.fixed.append(fixed)
        return len(self.parent) - 1

    def find(self, space: int) -> int:
        while self.parent[space] != space:
            space = self.parent[space]
        return space

    def tie(self, first: int, second: int) -> None:
        a, b = self.find(first), self.find(second)
        self.parent[b] = a
        self.fixed[a] = self.fixed[a] or self.fixed[b]

    def fix(self, space: int) -> None:
        self.fixed[self.find(space)] = True


class _Walk:
    """From node to node in the order in which they run; every tensor has a space and a spread."""

    def __init__(self, model: nn.Module, traced: fx.GraphModule):
        self.spaces = _Spaces()
        self.at: dict[fx.Node, tuple[int, int]] = {}
        self.modules = dict(model.named_modules())
        self.layers: list[tuple[str, nn.Module, int, int, int, int]] = []
        self.norms: list[tuple[str, int]] = []
        owners = Counter(id(p) for m in set(self.modules.values()) for p in m.parameters(recurse=False))
        calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
        self.alone = {
            name
            for name, module in self.modules.items()
            if calls[name] == 1 and all(owners[id(p)] == 1 for p in module.parameters(recurse=False))
        }
        for node in traced.graph.nodes:
            self._visit(node)

    def graph(self) -> ChannelGraph:
        """Number the groups that can be removed, in the order in which they come."""
        numbers: dict[int, int] = {}

        def group(space: int) -> int | None:
            root = self.spaces.find(space)
            return None if self.spaces.fixed[root] else numbers.setdefault(root, len(numbers))

        layers = []
        for name, module, reads, spread, writes, positions in self.layers:
            weight: Any = module.weight
            window, bias = math.prod(weight.shape[2:]), module.bias is not None
            pair = group(reads), group(writes)
            shape = (weight.shape[0], weight.shape[1])
            if pair != (None, None):
                layers.append(Layer(name, *pair, spread, shape, window, positions, bias))
        norms = tuple((name, number) for name, space in self.norms if (number := group(space)) is not None)
        return ChannelGraph(tuple(self.spaces.sizes[root] for root in numbers), tuple(layers), norms)

    def _visit(self, node: fx.Node) -> None:
        given = [self.at[each] for each in node.all_input_nodes if each in self.at]
        if node.op == "output":
            self._fix(given)
        elif node.op == "placeholder":
            self._opaque(node, given)
        elif node.op == "call_module":
            self._module(node, given)
        elif node.op in ("call_function", "call_method"):
            self._function(node, given)

    def _module(self, node: fx.Node, given: list[tuple[int, int]]) -> None:
        name = str(node.target)
        module = self.modules[name]
        if len(given) == 1 and isinstance(module, nn.Flatten) and module.start_dim == 1 and module.end_dim == -1:
            self._flatten(node, given[0])
        elif len(given) == 1 and isinstance(module, _CHANNELWISE):
            self.at[node] = given[0]
        elif len(given) == 1 and type(module) in _NORMS and name in self.alone and given[0][1] == 1:
            if not module.affine:
                self.spaces.fix(given[0][0])
            self.norms.append((name, given[0][0]))
            self.at[node] = given[0]
        elif len(given) == 1 and self._is_layer(node, module, name):
            shape = _shape(node)
            space = self.spaces.new(shape[1])
            self.layers.append((name, module, *given[0], space, math.prod(shape[2:])))
            self.at[node] = space, 1
        else:
            self._opaque(node, given)

    def _is_layer(self, node: fx.Node, module: nn.Module, name: str) -> bool:
        if name not in self.alone:
            return False
        if type(module) is nn.Conv2d:
            return module.groups == 1
        return type(module) is nn.Linear and len(_shape(node)) == 2

    def _function(self, node: fx.Node, given: list[tuple[int, int]]) -> None:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        tensors = [each for each in node.all_input_nodes if _shape(each)]
        if name in _FUNCTIONS | _TYING and len(given) == len(tensors) == 1:  # the second one is a number
            self.at[node] = given[0]
        elif (
            name in _TYING
            and len(given) == len(tensors) == 2
            and _shape(tensors[0]) == _shape(tensors[1])
            and given[0][1] == given[1][1]
        ):
            self.spaces.tie(given[0][0], given[1][0])
            self.at[node] = given[0]
        elif name == "flatten" and len(given) == 1 and tuple(node.args[1:]) in ((1,), (1, -1)) and not node.kwargs:
            self._flatten(node, given[0])
        elif node.target is not operator.getitem or given:
            self._opaque(node, given)

    def _flatten(self, node: fx.Node, given: tuple[int, int]) -> None:
        before = _shape(node.all_input_nodes[0])
        self.at[node] = given[0], given[1] * math.prod(before[2:])

    def _opaque(self, node: fx.Node, given: list[tuple[int, int]]) -> None:
        self._fix(given)
        shape = _shape(node)
        if len(shape) > 1:
            self.at[node] = self.spaces.new(shape[1], fixed=True), 1

    def _fix(self, given: list[tuple[int, int]]) -> None:
        for space, _ in given:
            self.spaces.fix(space)


def _shape(node: fx.Node) -> tuple[int, ...]:
    meta = node.meta.get("tensor_meta")
    return tuple(getattr(meta, "shape", ()))
