r"""Factored layers: a kernel as 1 x 1 -> kh x kw -> 1 x 1 convolutions, a matrix as two factors ([CSTAR], arXiv 2212.01957).

They are sequences of ordinary convolutions and linear layers without anything between them: they train, script and
export as these do. Stride, padding and dilation belong to the middle convolution: the first one, without bias, commutes
with every padding mode. A factor that would be square (a rank equal to its number of channels) is multiplied into its
neighbour: it would only add parameters. Grouped convolutions have the same ranks in every group, and grouped factors.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .projection import Ranks, check_dense, low_rank, matrix_of
from .sizes import full_sizes, remember
from .tucker import TOLERANCE, tucker2


class TuckerConv2d(nn.Sequential):
    """Convolution in factors ``inner`` (1 x 1), ``core`` (kh x kw) and ``outer`` (1 x 1).

    A 1 x 1 convolution has ``core`` (which then maps to the rank, with the stride and padding) and ``outer`` only.

    Parameters
    ----------
    like : torch.nn.Conv2d
        Gives channels, kernel size, stride, padding, padding mode, dilation, groups, bias, dtype and device. Its weights are
        not used: see :func:`factorise`.
    ranks : (R_out, R_in), or int for a 1 x 1 convolution
        Of each group.
    absorb : bool
        Whether a square factor is left out.

    Raises
    ------
    InputError
        If the ranks do not fit.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import TuckerConv2d
    >>> layer = TuckerConv2d(torch.nn.Conv2d(64, 128, 3, padding=1), (20, 10))
    >>> [tuple(part.weight.shape) for part in layer]
    [(10, 64, 1, 1), (20, 10, 3, 3), (128, 20, 1, 1)]
    """

    def __init__(self, like: nn.Conv2d, ranks: int | tuple[int, int], *, absorb: bool = True) -> None:
        C_out, C_in, groups = like.out_channels, like.in_channels, like.groups
        fitting = checked_ranks(like, ranks)
        out, in_ = fitting if isinstance(fitting, tuple) else (fitting, C_in // groups)
        pointwise = isinstance(fitting, int)
        has_inner = not pointwise and not (absorb and in_ == C_in // groups)
        has_outer = not (absorb and not pointwise and out == C_out // groups)
        before, after = (in_ * groups if has_inner else C_in), (out * groups if has_outer else C_out)
        place: dict[str, Any] = {"device": like.weight.device, "dtype": like.weight.dtype, "groups": groups}
        geometry: dict[str, Any] = {
            "stride": like.stride,
            "padding": like.padding,
            "dilation": like.dilation,
            "padding_mode": like.padding_mode,
        }
        bias = like.bias is not None
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if has_inner:
            parts["inner"] = nn.Conv2d(C_in, before, 1, bias=False, **place)
        size: Any = like.kernel_size
        parts["core"] = nn.Conv2d(before, after, size, bias=bias and not has_outer, **geometry, **place)
        if has_outer:
            parts["outer"] = nn.Conv2d(after, C_out, 1, bias=bias, **place)
        super().__init__(parts)
        self.ranks, self.absorb = fitting, absorb
        self.in_channels, self.out_channels, self.groups = C_in, C_out, groups


class LowRankLinear(nn.Sequential):
    """Linear layer in two factors: ``inner`` (C_in to rank, without bias), ``outer`` (rank to C_out).

    Parameters
    ----------
    like : torch.nn.Linear
        Gives sizes, bias, dtype and device; its weights are not used.
    rank : int
        From 1 to min(C_in, C_out).

    Raises
    ------
    InputError
        If the rank does not fit.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import LowRankLinear
    >>> sum(weight.numel() for weight in LowRankLinear(torch.nn.Linear(100, 50), 4).parameters())  # 4 (100 + 50) + 50
    650
    """

    def __init__(self, like: nn.Linear, rank: int) -> None:
        rank = checked_ranks(like, rank)  # type: ignore[assignment]
        place: dict[str, Any] = {"device": like.weight.device, "dtype": like.weight.dtype}
        inner = nn.Linear(like.in_features, rank, bias=False, **place)
        outer = nn.Linear(rank, like.out_features, bias=like.bias is not None, **place)
        super().__init__(OrderedDict(inner=inner, outer=outer))
        self.ranks = rank
        self.in_features, self.out_features = like.in_features, like.out_features


Factored = TuckerConv2d | LowRankLinear


def empty(module: nn.Module, ranks: int | tuple[int, int], *, absorb: bool = True) -> TuckerConv2d | LowRankLinear:
    """Make the factored form of a layer with weights as they are initialised.

    Parameters
    ----------
    module : torch.nn.Conv2d or torch.nn.Linear
        The layer.
    ranks : (R_out, R_in) or int
        As in :func:`factorise`.
    absorb : bool
        As in :func:`factorise`.

    Returns
    -------
    TuckerConv2d or LowRankLinear
        In the training mode of the layer, each parameter requiring a gradient where that of the layer does.

    Raises
    ------
    InputError
        As :func:`factorise`.
    """
    made: TuckerConv2d | LowRankLinear
    if isinstance(module, nn.Conv2d):
        made = TuckerConv2d(module, ranks, absorb=absorb)
    elif isinstance(module, nn.Linear):
        made = LowRankLinear(module, ranks)  # type: ignore[arg-type]
    else:
        raise _no_layer(module)
    for name, parameter in made.named_parameters():
        own = module.bias if name.endswith("bias") else module.weight
        parameter.requires_grad_(bool(own is not None and own.requires_grad))
    remember(made, full_sizes(module))
    return made.train(module.training)


@torch.no_grad()
def factorise(
    module: nn.Module, ranks: Ranks, *, absorb: bool = True, tolerance: float = TOLERANCE
) -> nn.Conv2d | nn.Linear | TuckerConv2d | LowRankLinear:
    """Factorise a layer: the factors of the projection of its weights on the ranks.

    Parameters
    ----------
    module : torch.nn.Conv2d or torch.nn.Linear
        The layer; not changed.
    ranks : (R_out, R_in), int or "dense"
        Two ranks of a kernel larger than 1 x 1, one of a 1 x 1 kernel or matrix; of each group. "dense" gives the layer
        itself.
    absorb : bool
        Whether a square factor is left out, its product with the core taken. Factors by the published form: False.
    tolerance : float
        Of the projection.

    Returns
    -------
    TuckerConv2d or LowRankLinear, or the layer

    Raises
    ------
    InputError
        If it is another kind of module, or the ranks do not fit.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import factorise
    >>> convolution = torch.nn.Conv2d(6, 8, 3, padding=1)
    >>> full = factorise(convolution, (8, 6), absorb=False)
    >>> x = torch.rand(1, 6, 5, 5)
    >>> len(full), bool(torch.allclose(full(x), convolution(x), atol=1e-5))
    (3, True)
    """
    if not isinstance(module, nn.Conv2d | nn.Linear):
        raise _no_layer(module)
    if isinstance(ranks, str):
        check_dense(ranks)
        return module
    made = empty(module, ranks, absorb=absorb)
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    pieces = [_factors(part, made.ranks, tolerance) for part in module.weight.chunk(groups)]
    weights = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    if "outer" not in made._modules:  # square: multiplied into the core
        split = [torch.einsum("op,pqhw->oqhw", piece["outer"][:, :, 0, 0], piece["core"]) for piece in pieces]
        weights["core"] = torch.cat(split)
    if "inner" in weights and "inner" not in made._modules:
        pairs = zip(weights["core"].chunk(groups), pieces, strict=True)
        weights["core"] = torch.cat([torch.einsum("pqhw,qi->pihw", c, p["inner"][:, :, 0, 0]) for c, p in pairs])
    for name, child in made.named_children():
        child.weight.copy_(weights[name])  # type: ignore[operator]
    if module.bias is not None:
        made[-1].bias.copy_(module.bias)  # type: ignore[operator]
    return made


@torch.no_grad()
def merge(module: nn.Module) -> nn.Conv2d | nn.Linear:
    """Multiply the factors of a layer out: the inverse of :func:`factorise`.

    Parameters
    ----------
    module : TuckerConv2d or LowRankLinear
        The factored layer; not changed.

    Returns
    -------
    torch.nn.Conv2d or torch.nn.Linear
        The same function, in one layer.

    Raises
    ------
    InputError
        If it is another kind of module.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import factorise, merge
    >>> merge(factorise(torch.nn.Linear(5, 4), 2))
    Linear(in_features=5, out_features=4, bias=True)
    """
    made: nn.Conv2d | nn.Linear
    if not isinstance(module, TuckerConv2d | LowRankLinear):
        raise InputError(f"a TuckerConv2d or LowRankLinear is needed, got {type(module).__name__}.")
    last: Any = module[-1]
    place: dict[str, Any] = {"device": last.weight.device, "dtype": last.weight.dtype, "bias": last.bias is not None}
    if isinstance(module, LowRankLinear):
        made = nn.Linear(module.in_features, module.out_features, **place)
    else:
        core: Any = module.core
        geometry = {name: getattr(core, name) for name in ("stride", "padding", "dilation", "padding_mode", "groups")}
        made = nn.Conv2d(module.in_channels, module.out_channels, core.kernel_size, **geometry, **place)
    made.weight.copy_(merged_weight(module))
    made.weight.requires_grad_(last.weight.requires_grad)
    if made.bias is not None:
        made.bias.copy_(last.bias)
        made.bias.requires_grad_(last.bias.requires_grad)
    remember(made, full_sizes(module))
    return made.train(module.training)


def merged_weight(module: nn.Module) -> torch.Tensor:
    """Multiply the weights of a layer out, in float64 and without autograd.

    Parameters
    ----------
    module : TuckerConv2d, LowRankLinear, torch.nn.Conv2d or torch.nn.Linear
        The layer.

    Returns
    -------
    tensor (C_out, C_in / groups, kh, kw) or (C_out, C_in)
        Of a layer that is not factored, its weight.
    """
    if not isinstance(module, TuckerConv2d | LowRankLinear):
        return module.weight.detach().double()  # type: ignore[operator]
    parts: Any = {name: child.weight.detach().double() for name, child in module.named_children()}  # type: ignore[operator]
    if isinstance(module, LowRankLinear):
        return parts["outer"] @ parts["inner"]
    kernels = []
    for group in range(module.groups):
        own = {name: weight.chunk(module.groups)[group] for name, weight in parts.items()}
        kernel = own["core"]
        if "inner" in own:
            kernel = torch.einsum("pqhw,qi->pihw", kernel, own["inner"][:, :, 0, 0])
        if "outer" in own:
            kernel = torch.einsum("op,pihw->oihw", own["outer"][:, :, 0, 0], kernel)
        kernels.append(kernel)
    return torch.cat(kernels)


def _factors(weight: torch.Tensor, ranks: int | tuple[int, int], tolerance: float) -> dict[str, torch.Tensor]:
    """Weights of the factors of one group."""
    if isinstance(ranks, int):
        left, right, _ = low_rank(matrix_of(weight), ranks)
        if weight.ndim == 2:
            return {"inner": right, "outer": left}
        return {"core": right[:, :, None, None], "outer": left[:, :, None, None]}
    outer, core, inner, _ = tucker2(weight, ranks, tolerance=tolerance)
    return {"inner": inner.T[:, :, None, None], "core": core, "outer": outer[:, :, None, None]}


def checked_ranks(module: nn.Module, ranks: Any) -> int | tuple[int, int]:
    """Check that ranks fit a layer.

    Parameters
    ----------
    module : torch.nn.Conv2d or torch.nn.Linear
        The layer.
    ranks : (R_out, R_in) or int
        Of each group.

    Returns
    -------
    int or tuple of two int

    Raises
    ------
    InputError
        If they do not fit.
    """
    weight: Any = module.weight
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    O, I, window = weight.shape[0] // groups, weight.shape[1], weight[0, 0].numel()  # noqa: E741
    single = weight.ndim == 2 or window == 1
    what = f"{type(module).__name__} with {O} outputs and {I} inputs" + (" a group" if groups > 1 else "")
    if single:
        if isinstance(ranks, bool) or not isinstance(ranks, int) or not 1 <= ranks <= min(O, I):
            raise InputError(f"a {what} needs one rank from 1 to {min(O, I)}, got {ranks!r}.")
        return ranks
    pair = tuple(ranks) if isinstance(ranks, tuple | list) else ()
    if len(pair) != 2 or any(isinstance(rank, bool) or not isinstance(rank, int) for rank in pair):
        raise InputError(f"a {what} needs two integer ranks (R_out, R_in), got {ranks!r}.")
    out, in_ = pair
    if not (1 <= out <= O and 1 <= in_ <= I and in_ <= window * out and out <= window * in_):
        raise InputError(
            f"a {what} needs ranks (R_out, R_in) up to ({O}, {I}), neither above {window} times the other, got {pair}."
        )
    return out, in_


def _no_layer(module: Any) -> InputError:
    return InputError(f"a Conv2d or Linear layer is needed, got {type(module).__name__}.")
