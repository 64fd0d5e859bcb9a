"""An upper bound of how far the features of a backbone move when its input does, both in l2."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ..errors import InputError, reason
from . import layer_norms as norms
from .backbone import Backbone
from .tap import Tap

_ACTIVATIONS: dict[Any, float] = {
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.Tanh, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.LogSigmoid), 1.0),
    **{nn.Sigmoid: 0.25, nn.Hardsigmoid: 1.0 / 6.0, nn.GELU: 1.14, nn.SiLU: 1.1, nn.Mish: 1.1, nn.Hardswish: 1.5},
    **dict.fromkeys((nn.Identity, nn.Flatten, nn.Unflatten), 1.0),
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout), 1.0),
}
"""Largest slopes; those that are no simple numbers rounded up."""
_FUNCTIONS = {
    **dict.fromkeys(("relu", "relu_", "relu6", "tanh", "hardtanh", "softplus", "clamp", "neg", "abs"), 1.0),
    **{"sigmoid": 0.25, "gelu": 1.14, "silu": 1.1, "hardswish": 1.5},
    **dict.fromkeys(
        ("contiguous", "clone", "flatten", "view", "reshape", "squeeze", "unsqueeze", "float", "double"), 1.0
    ),
    **dict.fromkeys(("chunk", "split", "to"), 1.0),
}


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
        if kind in _ACTIVATIONS:
            return _ACTIVATIONS[kind] if not isinstance(module, nn.Flatten) or module.start_dim else math.inf
        if kind in _MODULES:
            return _MODULES[kind](module, x)
        if list(module.children()):  # a tapped part of the model
            value, layers = _propagate(module, None, x)
            self.layers += layers
            return value
        raise norms.unbounded(f"a layer of the kind {kind.__name__}")

    def _function(self, node: fx.Node, args: Any, kwargs: Any, value: Any) -> float:
        target: Any = node.target
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        if name in _FUNCTIONS:
            return _FUNCTIONS[name] * self._largest(node)
        if target in _POOLS:
            own = _POOLS[target](*args, **kwargs)
            self._note(name, own)
            return own * self._largest(node)
        rule = _RULES.get(name)
        if rule is None:
            raise norms.unbounded(f"the function {name}")
        if any(isinstance(each, fx.Node) and self.constants[each] > 0 for each in node.kwargs.values()):
            raise norms.unbounded(f"the function {name}, called with values by name,")
        pairs = _pairs(node, args)
        operands = [(entry, self.constants[each] if isinstance(each, fx.Node) else 0.0) for entry, each in pairs]
        result = rule(operands, args, kwargs, value)
        if name in _IN_PLACE:  # the operand itself has changed
            changed: Any = pairs[0][1]
            self.constants[changed] = max(self.constants[changed], result)
        return result


_IN_PLACE = frozenset({"add_", "sub_", "mul_", "div_", "iadd", "isub", "imul", "itruediv"})


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


def _sum(operands: Any, args: Any, kwargs: Any, value: torch.Tensor) -> float:
    if kwargs:
        raise norms.unbounded("a sum with further arguments")
    return sum(constant * _repeats(operand, value) for operand, constant in operands)


def _product(operands: Any, args: Any, kwargs: Any, value: torch.Tensor) -> float:
    moving = [pair for pair in operands if pair[1] > 0]
    if len(moving) > 1:
        raise norms.unbounded("a product of two values that depend on the input")
    (operand, constant), others = moving[0], [other for other, still in operands if still == 0]
    return constant * _repeats(operand, value) * math.prod(_size(other) for other in others)


def _quotient(operands: Any, args: Any, kwargs: Any, value: torch.Tensor) -> float:
    (numerator, constant), (denominator, moves) = operands
    if moves > 0:
        raise norms.unbounded("a division by a value that depends on the input")
    return constant * _repeats(numerator, value) * _size(1.0 / torch.as_tensor(denominator))


def _joined(operands: Any, args: Any, kwargs: Any, value: torch.Tensor) -> float:
    if kwargs.get("dim", args[1] if len(args) > 1 else 0) % value.ndim == 0:
        raise norms.unbounded("a concatenation of rows")
    return math.sqrt(sum(constant**2 for _, constant in operands))


def _mean(operands: Any, args: Any, kwargs: Any, value: torch.Tensor) -> float:
    x, constant = operands[0]
    axes = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    if axes is None or any(axis % x.ndim == 0 for axis in (axes if isinstance(axes, (tuple, list)) else [axes])):
        raise norms.unbounded("a mean over the rows of a batch")
    return constant * math.sqrt(value.numel() / x.numel())


def _axes_kept(operands: Any, args: Any, kwargs: Any, value: torch.Tensor) -> float:
    axes = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
    if kwargs or (len(axes) == 2 and 0 in axes) or (len(axes) != 2 and axes[0] != 0):
        raise norms.unbounded("a permutation that moves the rows of a batch")
    return operands[0][1]


def _indexed(operands: Any, args: Any, kwargs: Any, value: Any) -> float:
    x, index = args
    parts = index if isinstance(index, tuple) else (index,)
    if isinstance(x, torch.Tensor) and not (
        parts[0] in (slice(None), Ellipsis)
        and all(isinstance(part, (int, slice)) or part in (None, ...) for part in parts)
    ):
        raise norms.unbounded("an index other than slices behind the rows of a batch")
    return operands[0][1]


def _linear(operands: Any, args: Any, kwargs: Any, value: torch.Tensor) -> float:
    if any(constant > 0 for _, constant in operands[1:]):
        raise norms.unbounded("a linear map whose weights depend on the input")
    return operands[0][1] * norms.spectral_norm(args[1] if len(args) > 1 else kwargs["weight"])


def _repeats(operand: Any, value: torch.Tensor) -> float:
    """How much longer an operand becomes when it is spread to the shape of the result."""
    return math.sqrt(value.numel() / operand.numel()) if isinstance(operand, torch.Tensor) and operand.numel() else 1.0


def _size(value: Any) -> float:
    return float(torch.as_tensor(value).abs().max())


_Rule = Callable[[Any, Any, Any, Any], float]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("add", "add_", "iadd", "sub", "sub_", "isub"), _sum),
    **dict.fromkeys(("mul", "mul_", "imul"), _product),
    **dict.fromkeys(("truediv", "div", "itruediv"), _quotient),
    **dict.fromkeys(("cat", "concat"), _joined),
    **dict.fromkeys(("permute", "transpose"), _axes_kept),
    **{"mean": _mean, "getitem": _indexed, "linear": _linear},
    operator.getitem.__name__: _indexed,
}


def _average(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    if divisor_override is not None:
        raise norms.unbounded("an average pooling with divisor_override")
    return norms.average_pool_norm(x.shape[2:], kernel_size, stride, padding, ceil_mode, count_include_pad)


def _maximum(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    return norms.max_pool_norm(kernel_size, stride, dilation, x.ndim - 2)


def _adaptive(x, output_size):
    return norms.adaptive_average_norm(x.shape[2:], output_size)


def _still(x, *args, **kwargs):
    if kwargs.get("training", args[1] if len(args) > 1 else False):
        raise norms.unbounded("dropout that is always on")
    return 1.0


def _padded(x, pad, mode="constant", value=None):
    if mode != "constant":
        raise norms.unbounded(f"padding with mode={mode!r}, which repeats entries,")
    return 1.0


def _slope(x, slope=0.01, inplace=False):
    return max(1.0, abs(slope))


_POOLS: dict[Any, Callable[..., float]] = {
    **dict.fromkeys((F.avg_pool1d, F.avg_pool2d, torch.avg_pool1d), _average),
    **dict.fromkeys((F.max_pool1d, F.max_pool2d), _maximum),
    **dict.fromkeys((F.adaptive_avg_pool1d, F.adaptive_avg_pool2d), _adaptive),
    **{F.dropout: _still, F.dropout2d: _still, F.pad: _padded},
    **{F.leaky_relu: _slope, F.elu: lambda x, alpha=1.0, inplace=False: max(1.0, abs(alpha))},
}


def _convolution(module: Any, x: torch.Tensor) -> float:
    settings = module.stride, module.dilation, module.groups, module.padding_mode
    return norms.convolution_norm(module.weight, x.shape[2:], *settings)


_MODULES: dict[Any, Callable[[Any, torch.Tensor], float]] = {
    nn.Linear: lambda module, x: norms.spectral_norm(module.weight),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d), _convolution),
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
        lambda module, x: norms.batch_norm_norm(module.weight, module.running_var, module.eps),
    ),
    **dict.fromkeys(
        (nn.AvgPool1d, nn.AvgPool2d),
        lambda m, x: _average(
            x,
            m.kernel_size,
            m.stride,
            m.padding,
            m.ceil_mode,
            m.count_include_pad,
            getattr(m, "divisor_override", None),
        ),
    ),
    **dict.fromkeys(
        (nn.MaxPool1d, nn.MaxPool2d), lambda m, x: _maximum(x, m.kernel_size, m.stride, m.padding, m.dilation)
    ),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d), lambda m, x: _adaptive(x, m.output_size)),
    nn.LeakyReLU: lambda module, x: max(1.0, abs(module.negative_slope)),
    nn.ELU: lambda module, x: max(1.0, abs(module.alpha)),
}
