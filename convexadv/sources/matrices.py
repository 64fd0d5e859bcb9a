"""Whether something is a matrix of real numbers, an array of any library among them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import is_tensor
from ..errors import InputError

REAL_TYPES = {
    **{"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "BOOL": "bool"},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
"""Types of real numbers in .safetensors files and in torch."""


def as_matrix(X: Any, what: str) -> Any:
    """X itself if it is an array, a tensor or another source of real numbers (n, d), else an array of its values.

    Raises
    ------
    InputError
        If it is none of these; ``what`` begins the sentence.
    """
    if hasattr(X, "tocsr"):
        raise InputError(f"{what} is a sparse matrix; give X.toarray().")
    if not is_tensor(X) and not isinstance(X, np.ndarray) and not is_lazy(X):
        try:
            X = np.asarray(X)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{what} cannot be read as a matrix ({error}); a (n, d) array of numbers is needed."
            ) from None
    if len(X.shape) != 2:
        raise InputError(f"{what} has shape {tuple(X.shape)}; a matrix (n, d) is needed.")
    if is_tensor(X) and str(X.layout) != "torch.strided":
        raise InputError(f"{what} is a sparse tensor; give X.to_dense().")
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUS":
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"{what} holds values of type {X.dtype} that are not numbers; encode text columns first."
            ) from None
    check_real(X.dtype, what)
    return X


def check_real(dtype: Any, what: str) -> None:
    """Raise InputError for a type that is not one of real numbers: NumPy's or torch's floats, integers, booleans."""
    real = dtype.kind in "fiub" if isinstance(dtype, np.dtype) else str(dtype)[6:] in REAL_TYPES.values()
    if not real:
        raise InputError(f"{what} has the type {dtype}; real numbers are needed.")


def is_lazy(X: Any) -> bool:
    """Whether X is an array of another library that is read by slices: of h5py, zarr, dask ..."""
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    real_dtype = isinstance(dtype, np.dtype) or type(dtype).__module__ == "torch"
    return isinstance(shape, tuple) and real_dtype and hasattr(X, "__getitem__") and not isinstance(X, np.generic)
