"""One numerical code for NumPy arrays (verification) and torch tensors (solvers).

Formulas are written against the calls that the two libraries share: operators, ``where``, ``sqrt``, ``sum(-1)``,
``linalg.eigh`` and so on. Nothing here imports torch.
"""

from __future__ import annotations

import sys
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
