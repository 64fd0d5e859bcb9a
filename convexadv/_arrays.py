"""One numerical code for NumPy arrays (verification) and torch tensors (solvers).

Formulas are written against the calls that the two libraries share: operators, ``where``, ``sqrt``, ``sum(-1)``,
``linalg.eigh`` and so on. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A NumPy array or a torch tensor."""


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def namespace(*arrays: object) -> ModuleType:
    """``torch`` if one of the arrays is a tensor, else ``numpy``."""
    return sys.modules["torch"] if any(is_tensor(array) for array in arrays) else np


def to_numpy(value: Array, dtype: Any = None) -> np.ndarray:
    """The array in host memory; no copy when it is there already in that type."""
    if is_tensor(value):
        value = value.detach().cpu()
        value = value.numpy() if value.dtype != sys.modules["torch"].bfloat16 else value.float().numpy()
    return np.asarray(value, dtype=dtype)


SMALL = 1 << 16
"""Entries below which NumPy is faster than torch on the CPU: its calls cost a quarter, and threads do not pay yet."""


def small_in_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function of arrays on NumPy views of its tensors where these are small and in host memory.

    The function returns a named tuple of arrays; the first two positional arguments decide.
    """

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        first = arguments[0]
        if not (is_tensor(first) and first.device.type == "cpu" and arguments[1].numel() < SMALL):
            return function(*arguments, **options)
        from_numpy = sys.modules["torch"].from_numpy
        views = [value.detach().numpy() if is_tensor(value) else value for value in arguments]
        return _converted(function(*views, **options), from_numpy)

    return wrapped


def _converted(result: Any, convert: Callable[[Any], Any]) -> Any:
    """The same named tuple with every array converted."""
    return type(result)(*(convert(value) for value in result))
