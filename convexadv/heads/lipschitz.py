"""An upper bound of how far the features of a backbone move when its input does, both in l2."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ..errors import InputError, reason
from . import layer_norms as norms
from .backbone import Backbone
from .lipschitz_rules import ACTIVATIONS, FUNCTIONS, IN_PLACE, MODULES, POOLS, RULES
from .tap import Tap

_ROWS = 2
"""In a batch, so that functions that mix rows are seen."""


@dataclass(frozen=True)
class LipschitzBound:
    """``||features(x) - features(x')||_2 <= value ||x - x'||_2`` for all x, x', in exact arithmetic.

    Attributes
    ----------
    value : float
        Units of features over units of inputs.
    layers : tuple of (str, float)
        Layers and functions with their own constants, in the order of the forward pass.
    """

    value: float
    layers: tuple[tuple[str, float], ...]


def lipschitz_bound(backbone: Backbone, x: torch.Tensor) -> LipschitzBound:
    """Bound the Lipschitz constant of a backbone, layer by layer through its graph.

    Linear layers count with their largest singular value, convolutions with a bound of theirs, batch norm in evaluation
    mode exactly, activations with their largest slope; sums add, concatenations add squares. One linear layer is exact;
    a product over many layers is far above what any input shows, for no input is stretched most by all of them.

    Parameters
    ----------
    backbone : Backbone
        Of a :class:`HeadedModel`.
    x : tensor (n, ...)
        Some inputs, whose shape counts.

    Returns
    -------
    LipschitzBound

    Raises
    ------
    InputError
        If the model cannot be traced by ``torch.fx``, or has a layer or function without a known bound.

    Examples
    --------
    >>> import torch
    >>> from convexadv.heads import find_tap, lipschitz_bound
    >>> from convexadv.heads.backbone import Backbone
    >>> first = torch.nn.Linear(2, 2, bias=False)
    >>> _ = first.weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
    >>> model, x = torch.nn.Sequential(first, torch.nn.Tanh(), torch.nn.Linear(2, 2)), torch.zeros(3, 2)
    >>> round(lipschitz_bound(Backbone(model, find_tap(model, x, at="1"), x), x).value, 6)
    4.0
    """
    model = copy.deepcopy(backbone.model).cpu().double().eval()
    rows = x.detach().cpu().double()
    value, layers = _propagate(model, backbone.tap, torch.cat([rows, rows])[:_ROWS])
    return LipschitzBound(value, tuple(layers))


def _propagate(model: nn.Module, tap: Tap | None, x: torch.Tensor) -> tuple[float, list[tuple[str, float]]]:
    tracer = _Tracer(tap)
    try:
        graph = fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # whatever the code of a model does with symbols
        raise InputError(
            f"the model cannot be traced by torch.fx, so its layers are unknown: {reason(error)}."
        ) from error
    walk = _Walk(graph, tap)
    try:
        with torch.no_grad():
            walk.run(x)
    except RuntimeError as error:
        raise InputError(f"the model cannot be run in float64: {reason(error)}.") from error
    return walk.result, walk.layers


class _Tracer(fx.Tracer):
    """Goes into all modules but torch's own and the tapped one."""

    def __init__(self, tap: Tap | None) -> None:
        super().__init__()
        self._tap = tap

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return (self._tap is not None and name == self._tap.name) or super().is_leaf_module(module, name)


class _Walk(fx.Interpreter):
    """Runs a graph and keeps the constant of every value: 0 for what does not depend on the input."""

    def __init__(self, graph: fx.GraphModule, tap: Tap | None) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self._tap = tap
        self.constants: dict[fx.Node, float] = {}
        self.layers: list[tuple[str, float]] = []
        self.result = math.nan
        self.extra_traceback = False  # errors are sentences
        self._rows = 0

    def run_node(self, node: fx.Node) -> Any:
        """Run a node, and bound it."""
        value = super().run_node(node)
        if node.op == "placeholder":
            self.constants[node] = 1.0
            self._rows = len(value)
        elif node.op == "get_attr":
            self.constants[node] = 0.0
        elif node.op == "output":
            if self._tap is None:
                self.result = self._largest(node)
        else:
            self.constants[node] = self._bound(node, value)
        if self._tap is not None and node.op == "call_module" and node.target == self._tap.name:
            self.result = self._largest(node) if self._tap.side == "input" else self.constants[node]
        return value

    def _largest(self, node: fx.Node) -> float:
        return max((self.constants[each] for each in node.all_input_nodes), default=0.0)

    def _bound(self, node: fx.Node, value: Any) -> float:
        if self._largest(node) == 0.0 or not _holds_tensor(value):
            return 0.0
        if self._done:
            return 0.0  # behind the feature
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        first = args[0] if args else kwargs.get("input")
        if node.op == "call_module":
            own = self._module(self.fetch_attr(str(node.target)), first)
            self._note(str(node.target), own)
            result = own * self._largest(node)
        else:
            result = self._function(node, args, kwargs, value)
        for part in value if isinstance(value, (tuple, list)) else [value]:
            if isinstance(part, torch.Tensor) and part.shape[:1] != (self._rows,):
                raise norms.unbounded(f"{node.name}, which mixes the rows of a batch,")
        return result

    @property
    def _done(self) -> bool:
        return not math.isnan(self.result)

    def _note(self, name: str, own: float) -> None:
        if own != 1.0:
            self.layers.append((name, own))

    def _module(self, module: nn.Module, x: Any) -> float:
        kind = type(module)
        if kind in ACTIVATIONS:
            return ACTIVATIONS[kind] if not isinstance(module, nn.Flatten) or module.start_dim else math.inf
        if kind in MODULES:
            return MODULES[kind](module, x)
        if list(module.children()):  # a tapped part of the model
            value, layers = _propagate(module, None, x)
            self.layers += layers
            return value
        raise norms.unbounded(f"a layer of the kind {kind.__name__}")

    def _function(self, node: fx.Node, args: Any, kwargs: Any, value: Any) -> float:
        target: Any = node.target
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        if name in FUNCTIONS:
            return FUNCTIONS[name] * self._largest(node)
        if target in POOLS:
            own = POOLS[target](*args, **kwargs)
            self._note(name, own)
            return own * self._largest(node)
        rule = RULES.get(name)
        if rule is None:
            raise norms.unbounded(f"the function {name}")
        if any(isinstance(each, fx.Node) and self.constants[each] > 0 for each in node.kwargs.values()):
            raise norms.unbounded(f"the function {name}, called with values by name,")
        pairs = _pairs(node, args)
        operands = [(entry, self.constants[each] if isinstance(each, fx.Node) else 0.0) for entry, each in pairs]
        result = rule(operands, args, kwargs, value)
        if name in IN_PLACE:  # the operand itself has changed
            changed: Any = pairs[0][1]
            self.constants[changed] = max(self.constants[changed], result)
        return result


def _pairs(node: fx.Node, args: Any) -> list[tuple[Any, Any]]:
    """Values of the arguments with their nodes; a list of values is opened."""
    pairs: list[tuple[Any, Any]] = []
    for value, each in zip(args, node.args, strict=True):
        pairs += list(zip(value, each, strict=True)) if isinstance(each, (list, tuple)) else [(value, each)]
    return pairs


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (
        isinstance(value, (tuple, list)) and not isinstance(value, torch.Size) and any(map(_holds_tensor, value))
    )
