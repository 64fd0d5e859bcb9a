"""Device and arithmetic of the torch backends."""

from __future__ import annotations

from typing import Any

from ..errors import InputError

DTYPES = ("float64", "float32")


def place(device: str | None, dtype: Any) -> tuple[Any, Any]:
    """torch.device and torch.dtype of the arguments of a solve.

    Parameters
    ----------
    device : str or None
        The CPU if not given.
    dtype : {"float64", "float32"} or torch.dtype

    Returns
    -------
    torch.device, torch.dtype

    Raises
    ------
    InputError
        If one is unknown, or there is no such device.
    """
    import torch

    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"dtype={dtype!r} is unknown; choose one of {', '.join(map(repr, DTYPES))}.")
    try:
        where = torch.device(device or "cpu")
    except RuntimeError:
        raise InputError(f"device={device!r} is no torch device; use for example 'cpu' or 'cuda'.") from None
    if where.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device={device!r} was asked for, but torch finds no CUDA device here; use device='cpu'.")
    return where, getattr(torch, name)
