r"""What competes for the budget: the spectra of every layer, and what a choice of ranks costs and loses.

    discarded:  d_out + d_in                          d = sum_{j > R} s_j^2 / ||W||^2
    kept:       -log(1 - d_out) - log(1 - d_in)

with the singular values s of both channel unfoldings, relative to the layer because batch norm makes its scale
meaningless; of a matrix, which has one spectrum, one term. ``discarded`` bounds the squared error of the truncated
higher-order SVD (De Lathauwer, De Moor, Vandewalle 2000). Its sum over layers gives layers up: one that has lost nearly all
can lose no more. ``kept`` agrees with it to first order; its sum over layers is minus the logarithm of the product of all
shares kept, as a signal passes the layers one after the other, and no layer can be given up. Costs, per group, with k = kh
kw:

    C_in R_in [R_in < C_in]  +  k R_in R_out  +  R_out C_out [R_out < C_out]

parameters, or multiply-adds where the terms are weighted by input, output and output positions. A square factor is left
out of the layer and of its cost, so the dense layer is the pair of full ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..errors import InputError
from .counting import LayerCount, count
from .layers import LowRankLinear, TuckerConv2d
from .projection import Ranks

OBJECTIVES = ("kept", "discarded")
_LEAST = 1e-12
"""A side that keeps less than this share counts as if it kept so much."""


@dataclass(frozen=True, eq=False)
class LayerSpectrum:
    """Spectra and sizes of one layer that can be factored; of a grouped convolution, those of a group.

    Attributes
    ----------
    name : str
        Its name in the model.
    outer, inner : array (C_out,), array (C_in,)
        Squared singular values of both unfoldings, largest first, as shares of ||W||^2 (summed over the groups: a rank is
        that of every group).
    window : int
        kh kw; 0 for a matrix or 1 x 1 kernel, which has one rank.
    groups : int
        Number of groups.
    before, after : int
        Positions of the input and of the output: 1 if they do not matter. A 1 x 1 convolution has its stride in the first
        factor, so both are those of the output.
    """

    name: str
    outer: np.ndarray
    inner: np.ndarray
    window: int
    groups: int = 1
    before: int = 1
    after: int = 1

    @property
    def is_matrix(self) -> bool:
        """Whether the layer has one rank."""
        return self.window == 0

    @property
    def shape(self) -> tuple[int, int]:
        """(C_out, C_in) of a group."""
        return len(self.outer), len(self.inner)

    def dense_cost(self, measure: str) -> int:
        """Cost of the layer as it is.

        Parameters
        ----------
        measure : {"parameters", "flops"}
            What is counted.

        Returns
        -------
        int
        """
        return self.cost("dense", measure)

    def cost(self, ranks: Ranks, measure: str) -> int:
        """Cost of the layer with these ranks, its bias excluded.

        Parameters
        ----------
        ranks : (R_out, R_in), int or "dense"
            The ranks.
        measure : {"parameters", "flops"}
            What is counted.

        Returns
        -------
        int
        """
        C_out, C_in = self.shape
        _, after = self.positions(measure)
        if isinstance(ranks, str):
            return self.groups * max(1, self.window) * C_in * C_out * after
        if isinstance(ranks, int):
            return self.groups * ranks * (C_in + C_out) * after
        return int(self.costs(np.array([ranks[0]]), np.array([ranks[1]]), measure)[0, 0])

    def costs(self, outer: np.ndarray, inner: np.ndarray, measure: str) -> np.ndarray:
        """Costs of all pairs of ranks of a kernel.

        Parameters
        ----------
        outer, inner : array (p,), array (q,) of int
            Ranks R_out and R_in.
        measure : {"parameters", "flops"}
            What is counted.

        Returns
        -------
        array (p, q) of int
        """
        C_out, C_in = self.shape
        before, after = self.positions(measure)
        first = np.where(inner < C_in, inner * (C_in * before), 0)
        last = np.where(outer < C_out, outer * (C_out * after), 0)
        return self.groups * (first + last[:, None] + (self.window * after) * outer[:, None] * inner)

    def loss(self, ranks: Ranks, objective: str = "discarded") -> float:
        """What is lost with these ranks, by the formulas above.

        Parameters
        ----------
        ranks : (R_out, R_in), int or "dense"
            The ranks.
        objective : {"kept", "discarded"}
            Which formula.

        Returns
        -------
        float
        """
        if isinstance(ranks, str):
            return 0.0
        if isinstance(ranks, int):
            return float(losses_of(self.shorter, objective)[ranks])
        outer, inner = (losses_of(each, objective) for each in (self.outer, self.inner))
        return float(outer[ranks[0]] + inner[ranks[1]])

    @property
    def shorter(self) -> np.ndarray:
        """The spectrum of a matrix, without the zeros of its longer side."""
        return self.outer if len(self.outer) <= len(self.inner) else self.inner

    def positions(self, measure: str) -> tuple[int, int]:
        """Positions that weigh the cost of the first and of the other factors.

        Parameters
        ----------
        measure : {"parameters", "flops"}
            What is counted.

        Returns
        -------
        before, after : int
        """
        return (self.before, self.after) if measure == "flops" else (1, 1)


def losses_of(shares: np.ndarray, objective: str) -> np.ndarray:
    """Compute what one side loses at every rank.

    Parameters
    ----------
    shares : array (n,)
        Squared singular values, largest first.
    objective : {"kept", "discarded"}
        Which formula of the module.

    Returns
    -------
    array (n + 1,)
        Entry r is that of rank r, which discards shares[r:].
    """
    discarded = np.append(np.cumsum(shares[::-1])[::-1], 0.0)
    return discarded if objective == "discarded" else -np.log(np.clip(1.0 - discarded, _LEAST, 1.0))


def spectra(
    model: nn.Module,
    input_shape: tuple[int, ...] | None = None,
    keep: Iterable[str] = (),
    weights: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, LayerSpectrum]:
    """Compute the spectra of every layer of a model that can be factored.

    These are :class:`torch.nn.Conv2d` and :class:`torch.nn.Linear` layers themselves (subclasses and parametrised layers
    do more than their weights say) with at least two inputs and outputs a group, whose weights no other module shares.

    Parameters
    ----------
    model : torch.nn.Module
        Any.
    input_shape : tuple of int, optional
        Shape of one sample, needed for budgets of multiply-adds; layers that do not run are left out then.
    keep : iterable of str
        Names of layers, or of modules that contain them, that are left as they are.
    weights : dict of str to tensor, optional
        Weights to be taken in place of those of the layers of these names, of the same shape.

    Returns
    -------
    dict of str to LayerSpectrum
        In the order of the model.

    Raises
    ------
    InputError
        If a name in ``keep`` does not exist, weights are not finite, or the model does not run on the shape.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import spectra
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> model[0].weight.data = torch.diag(torch.tensor([2.0, 1.0, 1.0]))
    >>> {name: layer.outer.round(3).tolist() for name, layer in spectra(model).items()}
    {'0': [0.667, 0.167, 0.167]}
    """
    found = factorable(model, keep)
    positions = dict.fromkeys(found, (1, 1))
    if input_shape is not None:
        counted = {layer.name: layer for layer in count(model, input_shape).layers}
        found = {name: module for name, module in found.items() if name in counted}
        positions = {name: _positions(module, counted[name]) for name, module in found.items()}
    given = weights or {}
    return {
        name: _spectrum(name, given.get(name, module.weight), getattr(module, "groups", 1), *positions[name])
        for name, module in found.items()
    }


def factorable(model: nn.Module, keep: Iterable[str] = ()) -> dict[str, nn.Conv2d | nn.Linear]:
    """List the layers that can be factored; see :func:`spectra`.

    Parameters
    ----------
    model : torch.nn.Module
        Any.
    keep : iterable of str
        Names of layers, or of modules that contain them, that are left out.

    Returns
    -------
    dict of str to module

    Raises
    ------
    InputError
        If a name in ``keep`` does not exist.
    """
    names = {name for name, _ in model.named_modules()}
    kept = [keep] if isinstance(keep, str) else list(keep)
    for name in kept:
        if name not in names:
            raise InputError(f"keep names {name!r}, which the model does not have; names of its modules are needed.")
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    factored = [module for module in model.modules() if isinstance(module, TuckerConv2d | LowRankLinear)]
    inside = {id(part) for module in factored for part in module.modules()}
    found = {}
    for name, module in model.named_modules():
        if type(module) not in (nn.Conv2d, nn.Linear) or id(module) in inside:
            continue
        assert isinstance(module, nn.Conv2d | nn.Linear)
        outputs = module.weight.shape[0] // (module.groups if isinstance(module, nn.Conv2d) else 1)
        covered = any(name == each or name.startswith(f"{each}.") for each in kept)
        if not covered and min(outputs, module.weight.shape[1]) > 1 and owners[id(module.weight)] == 1:
            found[name] = module
    return found


def _positions(module: nn.Conv2d | nn.Linear, counted: LayerCount) -> tuple[int, int]:
    """Positions of the input and the output, over all runs of the layer."""
    after = counted.flops // module.weight.numel()
    if isinstance(module, nn.Linear) or module.weight[0, 0].numel() == 1:
        return after, after
    runs = after // math.prod(counted.output_shape[1:])
    return runs * math.prod(counted.input_shape[1:]), after


@torch.no_grad()
def _spectrum(name: str, weight: torch.Tensor, groups: int, before: int, after: int) -> LayerSpectrum:
    weight = weight.detach().double()
    if not bool(torch.isfinite(weight).all()):
        raise InputError(f"the weights of {name} must be finite, got a NaN or infinite entry.")
    parts = weight.reshape(weight.shape[0], weight.shape[1], -1).chunk(groups)
    total = float(weight.square().sum())
    outer = np.sum([_squares(part.flatten(1)) for part in parts], axis=0)
    inner = np.sum([_squares(part.transpose(0, 1).flatten(1)) for part in parts], axis=0)
    scale = total if total > 0.0 else 1.0
    window = weight[0, 0].numel() if weight.ndim == 4 else 1
    return LayerSpectrum(name, outer / scale, inner / scale, window if window > 1 else 0, groups, before, after)


def _squares(unfolding: torch.Tensor) -> np.ndarray:
    """Squared singular values (n,) of an unfolding (n, m), from the smaller Gram matrix."""
    n, m = unfolding.shape
    gram = unfolding @ unfolding.T if n <= m else unfolding.T @ unfolding
    values = torch.linalg.eigvalsh(gram).clamp(min=0.0).flip(0).cpu().numpy()
    return np.append(values, np.zeros(n - len(values)))
