"""Lipschitz constants of single layers, l2 to l2: exact for linear maps that factor, upper bounds for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import InputError

ROUNDING = 1.0 + 1e-12
"""Allowance for the rounding of singular values in float64."""
_MOST_WORK = 5e11
"""Operations of the singular values of all frequencies above which they are not computed."""


def spectral_norm(matrix: torch.Tensor) -> float:
    """Largest singular value of a matrix, or of the largest one of a stack."""
    return ROUNDING * float(torch.linalg.matrix_norm(matrix, 2).max())


def convolution_norm(
    weight: torch.Tensor, size: Sequence[int], stride: Any, dilation: Any, groups: int, padding_mode: str = "zeros"
) -> float:
    r"""Upper bound of the norm of a convolution with zero padding, any stride, dilation and groups.

    The smaller of two bounds, the largest over the groups:

    - On a torus that is larger than the picture by the reach of the kernel no window wraps around, so the convolution is
      part of the circular one there, whose norm is the largest over the frequencies of the norm of the c_out x c_in
      matrix of the kernel's transform (Sedghi, Gupta, Long, ICLR 2019, arXiv 1805.10408). A stride leaves outputs out.
    - ``sqrt(overlap) ||unfolding||`` for four unfoldings of the kernel to matrices (Singla, Feizi, ICLR 2021, arXiv
      1911.10258): an input is seen by at most ``overlap`` windows along the axes unfolded over the inputs, and every
      output sums over those unfolded over the outputs.

    Parameters
    ----------
    weight : tensor (c_out, c_in / groups, ...) with one or two axes of the kernel
    size : sequence of int
        Of the picture along these axes.
    stride, dilation : int or tuple of int
    groups : int
    padding_mode : str
        Only "zeros" is known.

    Returns
    -------
    float

    Raises
    ------
    InputError
        For another padding.
    """
    if padding_mode != "zeros":
        raise InputError(f"a convolution with padding_mode={padding_mode!r} has no known bound; zeros are needed.")
    axes = weight.ndim - 2
    stride, dilation = _tuple(stride, axes), _tuple(dilation, axes)
    while weight.ndim < 4:
        weight, size, stride, dilation = weight[..., None], (*size, 1), (*stride, 1), (*dilation, 1)
    parts = weight.detach().double().cpu().chunk(groups)
    return max(min(_unfolded(part, stride, dilation), _circular(part, size, dilation)) for part in parts)


def _unfolded(weight: torch.Tensor, stride: Sequence[int], dilation: Sequence[int]) -> float:
    out, inner, kh, kw = weight.shape
    seen_h, seen_w = _overlap(kh, stride[0], dilation[0]), _overlap(kw, stride[1], dilation[1])
    unfoldings = [
        (seen_h * seen_w, weight.reshape(out, -1)),
        (kh * seen_w, weight.permute(0, 2, 1, 3).reshape(out * kh, inner * kw)),
        (seen_h * kw, weight.permute(0, 3, 1, 2).reshape(out * kw, inner * kh)),
        (kh * kw, weight.permute(0, 2, 3, 1).reshape(-1, inner)),
    ]
    return min(math.sqrt(times) * spectral_norm(matrix) for times, matrix in unfoldings)


def _circular(weight: torch.Tensor, size: Sequence[int], dilation: Sequence[int]) -> float:
    out, inner, kh, kw = weight.shape
    height, width = (size[k] + dilation[k] * (weight.shape[2 + k] - 1) for k in range(2))
    if height * (width // 2 + 1) * out * inner * min(out, inner) > _MOST_WORK:
        return math.inf
    spread = weight.new_zeros(out, inner, dilation[0] * (kh - 1) + 1, dilation[1] * (kw - 1) + 1)
    spread[:, :, :: dilation[0], :: dilation[1]] = weight
    transform = torch.fft.rfft2(spread, s=(height, width))  # the other half is its conjugate, of the same norms
    return max(spectral_norm(row) for row in transform.permute(2, 3, 0, 1))


def _overlap(kernel: int, stride: int, dilation: int) -> int:
    """Most windows that an entry lies in: windows start every stride, and an entry in two is a common multiple apart."""
    return -(-kernel // (stride // math.gcd(stride, dilation)))


def max_pool_norm(kernel: Any, stride: Any, dilation: Any, axes: int) -> float:
    """``sqrt(overlap)``: a maximum moves no more than its window does."""
    kernel = _tuple(kernel, axes)
    stride, dilation = kernel if stride in (None, (), []) else _tuple(stride, axes), _tuple(dilation, axes)
    return math.sqrt(math.prod(_overlap(*each) for each in zip(kernel, stride, dilation, strict=True)))


def average_pool_norm(
    size: Sequence[int], kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool
) -> float:
    """Exact norm of average pooling: the product of the norms of its averages along each axis."""
    axes = len(size)
    kernel, padding = _tuple(kernel, axes), _tuple(padding, axes)
    stride = kernel if stride in (None, (), []) else _tuple(stride, axes)
    matrices = (
        F.avg_pool1d(_units(n), kernel[k], stride[k], padding[k], ceil_mode, count_include_pad)
        for k, n in enumerate(size)
    )
    return math.prod(spectral_norm(matrix[:, 0]) for matrix in matrices)


def adaptive_average_norm(size: Sequence[int], output: Any) -> float:
    """Exact norm of adaptive average pooling, as of :func:`average_pool_norm`."""
    outputs = _tuple(output, len(size))
    matrices = (F.adaptive_avg_pool1d(_units(n), n if m is None else m) for n, m in zip(size, outputs, strict=True))
    return math.prod(spectral_norm(matrix[:, 0]) for matrix in matrices)


def batch_norm_norm(scale: torch.Tensor | None, variance: torch.Tensor | None, eps: float) -> float:
    """Exact norm of batch norm in evaluation mode: the largest ``|gamma| / sqrt(variance + eps)``."""
    if variance is None:
        raise unbounded("a batch norm without running statistics, which depends on the whole batch,")
    factor = 1.0 / torch.sqrt(variance.double() + eps)
    return ROUNDING * float((factor if scale is None else factor * scale.detach().double().abs()).max())


def _units(n: int) -> torch.Tensor:
    return torch.eye(n, dtype=torch.float64)[:, None]


def _tuple(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes


def unbounded(what: str) -> InputError:
    """The error of a part of a backbone whose Lipschitz constant is unknown or infinite."""
    return InputError(f"{what} has no known Lipschitz bound, which every part of a backbone needs for a certificate.")
