r"""Projection of a kernel on Tucker-2 ranks.

    W (C_out, C_in, kh, kw)  ~  sum_pq  U_out[o, p]  core[p, q, :, :]  U_in[i, q],     U_out, U_in orthonormal columns

The best core for given factors is the projection of W on them, so the error is ||W||^2 - ||core||^2 and the best
factors make the core largest. Higher-order orthogonal iteration (HOOI: De Lathauwer, De Moor, Vandewalle, SIAM J. Matrix
Anal. 2000) improves one factor at a time. Its first half step from a factor of the truncated higher-order SVD is the
sequentially truncated one (Vannieuwenhoven, Vandebril, Meerbergen 2012); both orders are started from, so the result is
never worse than any of the three.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..errors import InputError

MAX_SWEEPS = 50
TOLERANCE = 1e-7
_TRIAL = 3
"""Sweeps from each start; only the better one goes on."""
_GRAM_LIMIT = 1e-10
"""Share of the energy below which what is discarded is not told from rounding in a Gram matrix; the SVD tells it."""


class Tucker2(NamedTuple):
    """Result of :func:`tucker2`: factors in float64 and the error."""

    outer: torch.Tensor
    """(C_out, R_out) orthonormal columns."""
    core: torch.Tensor
    """(R_out, R_in, kh, kw)."""
    inner: torch.Tensor
    """(C_in, R_in) orthonormal columns."""
    residual: float
    """Frobenius norm of the difference from the kernel."""

    def kernel(self) -> torch.Tensor:
        """Multiply the factors out.

        Returns
        -------
        tensor (C_out, C_in, kh, kw)
        """
        return torch.einsum("op,pqhw,iq->oihw", self.outer, self.core, self.inner)


def tucker2(
    weight: torch.Tensor, ranks: tuple[int, int], *, tolerance: float = TOLERANCE, max_sweeps: int = MAX_SWEEPS
) -> Tucker2:
    r"""Project a kernel on Tucker-2 ranks: HOOI from both sequentially truncated higher-order SVDs, the better of the two.

    Parameters
    ----------
    weight : tensor (C_out, C_in, kh, kw)
        The kernel; computed with in float64, on its device.
    ranks : (R_out, R_in)
        1 <= R_out <= C_out and 1 <= R_in <= C_in, with R_in <= kh kw R_out and R_out <= kh kw R_in: larger ranks than
        these cannot be used.
    tolerance : float
        Iteration ends when a sweep adds less than this share of ||W||^2 to what is kept.
    max_sweeps : int
        Limit; 0 keeps the better sequentially truncated SVD.

    Returns
    -------
    Tucker2

    Raises
    ------
    InputError
        If the kernel does not have four dimensions, is not finite, or the ranks are out of range.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import tucker2
    >>> kernel = torch.eye(3).reshape(3, 3, 1, 1) * torch.tensor([3.0, 2.0, 1.0]).reshape(3, 1, 1, 1)
    >>> found = tucker2(kernel, (2, 2))  # without the entry 1
    >>> tuple(found.core.shape), round(found.residual, 6)
    ((2, 2, 1, 1), 1.0)
    """
    kernel = finite_weight(weight, 4)
    ranks = _checked_ranks(kernel, ranks)
    O, I, *window = kernel.shape  # noqa: E741
    tensor = kernel.reshape(O, I, -1)
    if ranks == (O, I):
        eye = torch.eye
        return Tucker2(eye(O).to(kernel), kernel.clone(), eye(I).to(kernel), 0.0)
    trials = [_start(tensor, ranks, first) for first in ("inner", "outer")]
    trials = [_sweeps(tensor, *factors, tolerance, min(_TRIAL, max_sweeps)) for factors in trials]
    outer, inner = max(trials, key=lambda factors: float(_core(tensor, *factors).norm()))
    outer, inner = _sweeps(tensor, outer, inner, tolerance, max_sweeps - _TRIAL)
    core = _core(tensor, outer, inner)
    residual = tensor - torch.einsum("op,pqk,iq->oik", outer, core, inner)
    return Tucker2(outer, core.reshape(*ranks, *window), inner, float(residual.norm()))


def truncated_hosvd(weight: torch.Tensor, ranks: tuple[int, int], order: str | None = None) -> Tucker2:
    """Truncate the higher-order SVD: plain, or sequentially; what :func:`tucker2` starts from and improves.

    Parameters
    ----------
    weight : tensor (C_out, C_in, kh, kw)
        The kernel.
    ranks : (R_out, R_in)
        As in :func:`tucker2`.
    order : "inner", "outer" or None
        Which factor is computed first; the other one then sees the truncated kernel. None: both see the kernel.

    Returns
    -------
    Tucker2

    Raises
    ------
    InputError
        As :func:`tucker2`, and if the order is another one.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import truncated_hosvd, tucker2
    >>> kernel = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    >>> tucker2(kernel, (3, 3)).residual < truncated_hosvd(kernel, (3, 3)).residual
    True
    """
    if order not in (None, "inner", "outer"):
        raise InputError(f'order must be "inner", "outer" or None, got {order!r}.')
    kernel = finite_weight(weight, 4)
    ranks = _checked_ranks(kernel, ranks)
    tensor = kernel.reshape(*kernel.shape[:2], -1)
    if order is None:
        outer, inner = _outer(tensor, ranks[0]), _inner(tensor, ranks[1])
    else:
        outer, inner = _start(tensor, ranks, order)
    core = _core(tensor, outer, inner)
    residual = tensor - torch.einsum("op,pqk,iq->oik", outer, core, inner)
    return Tucker2(outer, core.reshape(*ranks, *kernel.shape[2:]), inner, float(residual.norm()))


def _start(tensor: torch.Tensor, ranks: tuple[int, int], first: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequentially truncated SVD: the first factor from the tensor, the other one from what it lets through."""
    if first == "inner":
        inner = _inner(tensor, ranks[1])
        return _outer(tensor.transpose(1, 2) @ inner, ranks[0]), inner
    outer = _outer(tensor, ranks[0])
    return outer, _inner(_seen_from(tensor, outer), ranks[1])


def _sweeps(
    tensor: torch.Tensor, outer: torch.Tensor, inner: torch.Tensor, tolerance: float, limit: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Improve one factor at a time until a sweep gains less than the tolerance."""
    kept, total = float(_core(tensor, outer, inner).square().sum()), float(tensor.square().sum())
    for _ in range(limit):
        new_inner = _inner(_seen_from(tensor, outer), inner.shape[1])
        seen = tensor.transpose(1, 2) @ new_inner
        new_outer = _outer(seen, outer.shape[1])
        now = float((new_outer.T @ seen.flatten(1)).square().sum())
        if now > kept:
            outer, inner = new_outer, new_inner
        if now - kept <= tolerance * total:
            break
        kept = now
    return outer, inner


def _seen_from(tensor: torch.Tensor, outer: torch.Tensor) -> torch.Tensor:
    """The tensor (R_out, C_in, k) in the basis of the outer factor."""
    return (outer.T @ tensor.flatten(1)).reshape(outer.shape[1], *tensor.shape[1:])


def _core(tensor: torch.Tensor, outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    return torch.einsum("pik,iq->pqk", _seen_from(tensor, outer), inner)


def _outer(tensor: torch.Tensor, rank: int) -> torch.Tensor:
    return _leading(tensor.flatten(1), rank)


def _inner(tensor: torch.Tensor, rank: int) -> torch.Tensor:
    return _leading(tensor.transpose(0, 1).flatten(1), rank)


def _leading(unfolding: torch.Tensor, rank: int) -> torch.Tensor:
    """Leading left singular vectors (n, rank) of an unfolding (n, m).

    From the smaller of both Gram matrices; from the SVD where the discarded energy is near the rounding of a Gram matrix.
    """
    n, m = unfolding.shape
    if rank == n:
        return torch.eye(n, dtype=unfolding.dtype, device=unfolding.device)
    if n <= m:
        values, vectors = torch.linalg.eigh(unfolding @ unfolding.T)
        if float(values[:-rank].clamp(min=0.0).sum()) > _GRAM_LIMIT * float(values.clamp(min=0.0).sum()):
            return vectors[:, -rank:].flip(1)
    return torch.linalg.svd(unfolding, full_matrices=rank > m)[0][:, :rank]


def finite_weight(weight: torch.Tensor, ndim: int) -> torch.Tensor:
    """A weight in float64 without gradient, of so many dimensions and finite, or an InputError."""
    if weight.ndim != ndim:
        raise InputError(f"a weight with {ndim} dimensions is needed, got the shape {tuple(weight.shape)}.")
    if not bool(torch.isfinite(weight).all()):
        raise InputError("the weights must be finite, got a NaN or infinite entry.")
    return weight.detach().double()


def _checked_ranks(kernel: torch.Tensor, ranks: tuple[int, int]) -> tuple[int, int]:
    O, I, kh, kw = kernel.shape  # noqa: E741
    try:
        out, in_ = (int(rank) for rank in ranks)
    except (TypeError, ValueError) as error:
        raise InputError(f"ranks must be two integers (R_out, R_in), got {ranks!r}.") from error
    window = kh * kw
    if not (1 <= out <= O and 1 <= in_ <= I and in_ <= window * out and out <= window * in_):
        raise InputError(
            f"ranks (R_out, R_in) = {(out, in_)} do not fit a kernel of shape {tuple(kernel.shape)}: 1 <= R_out <= {O}, "
            f"1 <= R_in <= {I}, R_in <= {window} R_out and R_out <= {window} R_in are needed."
        )
    return out, in_
