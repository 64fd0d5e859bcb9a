"""How much longer a difference becomes in one layer or function: largest slopes, norms of layers, rules of operations."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from . import layer_norms as norms

ACTIVATIONS: dict[Any, float] = {
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.Tanh, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.LogSigmoid), 1.0),
    **{nn.Sigmoid: 0.25, nn.Hardsigmoid: 1.0 / 6.0, nn.GELU: 1.14, nn.SiLU: 1.1, nn.Mish: 1.1, nn.Hardswish: 1.5},
    **dict.fromkeys((nn.Identity, nn.Flatten, nn.Unflatten), 1.0),
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout), 1.0),
}
"""Largest slopes; those that are no simple numbers rounded up."""
FUNCTIONS = {
    **dict.fromkeys(("relu", "relu_", "relu6", "tanh", "hardtanh", "softplus", "clamp", "neg", "abs"), 1.0),
    **{"sigmoid": 0.25, "gelu": 1.14, "silu": 1.1, "hardswish": 1.5},
    **dict.fromkeys(
        ("contiguous", "clone", "flatten", "view", "reshape", "squeeze", "unsqueeze", "float", "double"), 1.0
    ),
    **dict.fromkeys(("chunk", "split", "to"), 1.0),
}
"""The same of functions, by name."""
IN_PLACE = frozenset({"add_", "sub_", "mul_", "div_", "iadd", "isub", "imul", "itruediv"})
"""Functions that change their first operand."""


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
RULES: dict[str, _Rule] = {
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


POOLS: dict[Any, Callable[..., float]] = {
    **dict.fromkeys((F.avg_pool1d, F.avg_pool2d, torch.avg_pool1d), _average),
    **dict.fromkeys((F.max_pool1d, F.max_pool2d), _maximum),
    **dict.fromkeys((F.adaptive_avg_pool1d, F.adaptive_avg_pool2d), _adaptive),
    **{F.dropout: _still, F.dropout2d: _still, F.pad: _padded},
    **{F.leaky_relu: _slope, F.elu: lambda x, alpha=1.0, inplace=False: max(1.0, abs(alpha))},
}


def _convolution(module: Any, x: torch.Tensor) -> float:
    settings = module.stride, module.dilation, module.groups, module.padding_mode
    return norms.convolution_norm(module.weight, x.shape[2:], *settings)


MODULES: dict[Any, Callable[[Any, torch.Tensor], float]] = {
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
