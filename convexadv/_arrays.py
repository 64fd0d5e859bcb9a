"""One numerical code for NumPy arrays (verification) and torch tensors (solvers).

Formulas are written against the calls that the two libraries share: operators, ``where``, ``sqrt``, ``sum(-1)``,
``linalg.eigh`` and so on. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np

from .errors import InputError

Array = Any
"""A NumPy array or a torch tensor."""


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def check_dense(tensor: Any) -> None:
    """Raise InputError for a tensor of which the values are not all there: a sparse one, or one of the device "meta"."""
    if tensor.is_meta or str(tensor.layout) != "torch.strided":
        kind = "without values (its device is meta)" if tensor.is_meta else f"of the layout {tensor.layout}"
        raise InputError(f"a tensor {kind} was given; a dense one is needed.")


def namespace(*arrays: object) -> ModuleType:
    """``torch`` if one of the arrays is a tensor, else ``numpy``."""
    return sys.modules["torch"] if any(is_tensor(array) for array in arrays) else np


def to_numpy(value: Array, dtype: Any = None) -> np.ndarray:
    """The array in host memory; no copy when it is there already in that type."""
    if is_tensor(value):
        check_dense(value)
        value = value.detach().cpu()
        value = value.numpy() if value.dtype != sys.modules["torch"].bfloat16 else value.float().numpy()
    return np.asarray(value, dtype=dtype)


def plain_array(values: Any, name: str) -> np.ndarray:
    """Values as a NumPy array of any type; InputError where they make none, such as rows of different lengths."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} cannot be read as an array; numbers in rows of one length are needed.") from None


def to_tensor(array: Any, device: Any) -> Any:
    """A NumPy array (or a list) as a torch tensor, floats in float64; one number repeated without memory stays that."""
    torch = sys.modules["torch"]
    if isinstance(array, np.ndarray):
        if array.size > 1 and not any(array.strides):
            return to_tensor(array.reshape(-1)[:1].copy(), device).expand(array.shape)
        array = array if array.flags.writeable else array.copy()
    tensor = torch.as_tensor(array, device=device)
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor


BLOCK = 1 << 15
"""Entries of a block of rows: the few temporaries of an oracle stay in a core's cache."""


def rows_in_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function of independent rows on NumPy views of its tensors where these are in host memory.

    NumPy's calls cost a quarter of torch's, and blocks of rows stay in the cache; they are shared among spare
    threads, which changes no result. The function takes arrays whose first axis is the row, (n, p) first and second, and
    returns a named tuple of such arrays.
    """

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        first = arguments[0]
        if not (is_tensor(first) and first.device.type == "cpu"):
            return function(*arguments, **options)
        torch = sys.modules["torch"]
        views = [value.detach().numpy() if is_tensor(value) else value for value in arguments]
        n, p = first.shape
        size = max(1, BLOCK // max(1, p))
        if n <= size:
            result = function(*views, **options)
            return type(result)(*(torch.from_numpy(value) for value in result))

        def block(start: int) -> Any:
            parts = (value[start : start + size] if isinstance(value, np.ndarray) else value for value in views)
            return function(*parts, **options)

        starts, threads = range(0, n, size), _spare_threads(torch.get_num_threads())
        results = list(_pool(threads).map(block, starts) if threads > 1 else map(block, starts))
        return type(results[0])(*(torch.from_numpy(np.concatenate(values)) for values in zip(*results, strict=True)))

    return wrapped


def _spare_threads(threads: int) -> int:
    """Threads beside torch's own, which go on spinning for a while after each of its calls and must not be in the way."""
    return max(1, min(threads, (os.cpu_count() or 1) - threads))


@functools.lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="convexadv")
