"""Weights of one layer projected on low rank: kernels by Tucker-2, matrices by the truncated SVD, groups one by one."""

from __future__ import annotations

import torch

from ..errors import InputError
from .tucker import TOLERANCE, finite_weight, tucker2

Ranks = int | tuple[int, int] | str
"""(R_out, R_in) of a kernel, one rank of a matrix or 1 x 1 kernel, or ``"dense"``."""


def check_dense(word: str) -> None:
    """Raise InputError for ranks that are a text, but not ``"dense"``."""
    if word != "dense":
        raise InputError(f'ranks must be (R_out, R_in), an integer or "dense", got {word!r}.')


def low_rank(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Factorise a matrix by its truncated singular value decomposition (the best of its rank: Eckart and Young 1936).

    Parameters
    ----------
    weight : tensor (C_out, C_in)
        The matrix.
    rank : int
        From 1 to min(C_out, C_in).

    Returns
    -------
    left : tensor (C_out, R)
    right : tensor (R, C_in)
        Both in float64, the singular values shared evenly: ``left @ right`` is the projection.
    residual : float
        Frobenius norm of the difference.

    Raises
    ------
    InputError
        If the weight is not a finite matrix or the rank is out of range.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import low_rank
    >>> left, right, residual = low_rank(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 2)
    >>> tuple(left.shape), round(residual, 6)
    ((3, 2), 1.0)
    """
    matrix = finite_weight(weight, 2)
    limit = min(matrix.shape)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= limit:
        raise InputError(f"rank must be an integer from 1 to {limit} for a {tuple(matrix.shape)} matrix, got {rank!r}.")
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank], float(values[rank:].norm())


def project(weight: torch.Tensor, ranks: Ranks, groups: int = 1, *, tolerance: float = TOLERANCE) -> torch.Tensor:
    """Project weights on low rank: the nearest weights that a factored layer of these ranks can have.

    Parameters
    ----------
    weight : tensor (C_out, C_in / groups, kh, kw) or (C_out, C_in)
        Weight of a convolution or linear layer.
    ranks : (R_out, R_in), int or "dense"
        Of a kernel, of a matrix or 1 x 1 kernel; of each group. "dense" gives a copy.
    groups : int
        Groups of the convolution, projected one by one.
    tolerance : float
        As in :func:`tucker2`.

    Returns
    -------
    tensor
        Of the shape, dtype and device of ``weight``, without autograd.

    Raises
    ------
    InputError
        If the weights are not finite or the ranks do not fit them.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import project
    >>> project(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 2).diagonal().round(decimals=4)
    tensor([3., 2., 0.])
    """
    with torch.no_grad():
        if isinstance(ranks, str):
            check_dense(ranks)
            return weight.detach().clone()
        parts = [_projected(part, ranks, tolerance) for part in weight.detach().chunk(groups)]
        return torch.cat(parts).to(weight.dtype)


def _projected(weight: torch.Tensor, ranks: int | tuple[int, int], tolerance: float) -> torch.Tensor:
    if isinstance(ranks, int):
        left, right, _ = low_rank(matrix_of(weight), ranks)
        return (left @ right).reshape(weight.shape)
    return tucker2(weight, ranks, tolerance=tolerance).kernel()


def matrix_of(weight: torch.Tensor) -> torch.Tensor:
    """View the weight of a linear layer or 1 x 1 convolution as a matrix.

    Parameters
    ----------
    weight : tensor (C_out, C_in) or (C_out, C_in, 1, 1)
        The weight.

    Returns
    -------
    tensor (C_out, C_in)

    Raises
    ------
    InputError
        If it is neither.
    """
    if weight.ndim == 2:
        return weight
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        return weight[:, :, 0, 0]
    raise InputError(
        f"one rank was given for the shape {tuple(weight.shape)}; a kernel larger than 1 x 1 needs two, (R_out, R_in)."
    )
