r"""Ranks of all layers under one budget ([CSTAR], arXiv 2212.01957: ranks decided globally).

    min  sum over layers of loss(R_out, R_in)   s.t.  sum of cost(R_out, R_in) + everything that is not factored <= budget

with the losses and costs of :mod:`.spectrum`. Costs are bilinear in the ranks, so greedy choices of singular values are not
optimal: every layer is reduced to the Pareto front of its pairs of ranks, and :mod:`.choices` chooses exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from ..errors import InputError
from .choices import Front, best_choice, multiplier_bound
from .counting import count, parameters_of
from .fronts import Setting, layer_front, ranks_of
from .greedy import grow
from .projection import Ranks
from .spectrum import OBJECTIVES, LayerSpectrum, spectra

MEASURES = ("parameters", "flops")
METHODS = ("dynamic", "greedy", "uniform")
Minimum = int | Mapping[str, int | tuple[int, int]]
_HALVINGS = 60


@dataclass(frozen=True)
class Allocation:
    """Ranks of every layer that can be factored.

    Attributes
    ----------
    ranks : dict of str to (R_out, R_in), int or "dense"
        By the name of the layer; of each group.
    method : str
        "dynamic", "greedy" or "uniform".
    measure : str
        "parameters" or "flops".
    budget : int
        What the whole model may cost.
    cost : int
        What it costs with these ranks; never above the budget.
    dense_cost : int
        What it costs uncompressed.
    objective : str
        "kept" or "discarded".
    losses : dict of str to float
        What each layer loses, in that formula of :mod:`convexadv.compression.spectrum`.
    loss : float
        Their sum, each with its importance.
    lower_bound : float
        No ranks within the budget have a smaller loss.
    exact : bool
        Whether the loss is known to be the smallest one.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import allocate
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3))
    >>> best, greedy = (allocate(model, ratio=4, method=method) for method in ("dynamic", "greedy"))
    >>> best.gap == 0.0, greedy.loss >= best.loss, greedy.loss - best.loss <= greedy.gap
    (True, True, True)
    """

    ranks: dict[str, Ranks]
    method: str
    measure: str
    objective: str
    budget: int
    cost: int
    dense_cost: int
    losses: dict[str, float]
    loss: float
    lower_bound: float
    exact: bool

    @property
    def ratio(self) -> float:
        """Cost of the uncompressed model over that with these ranks."""
        return self.dense_cost / self.cost

    @property
    def gap(self) -> float:
        """How far the loss may be from the smallest one."""
        return self.loss - self.lower_bound


def allocate(
    model: nn.Module,
    *,
    ratio: float | None = None,
    budget: int | None = None,
    measure: str = "parameters",
    objective: str = "kept",
    input_shape: tuple[int, ...] | None = None,
    method: str = "dynamic",
    keep: Iterable[str] = (),
    minimum: Minimum = 1,
    dense: bool | Iterable[str] = True,
    importance: Mapping[str, float] | None = None,
    layers: Mapping[str, LayerSpectrum] | None = None,
) -> Allocation:
    """Choose the ranks of all layers within one budget.

    Parameters
    ----------
    model : torch.nn.Module
        Its biases, norms, kept layers and everything else that is not factored count in the budget.
    ratio : float, optional
        At least 1: the budget is the cost of the model divided by it, rounded down. Either this or ``budget``.
    budget : int, optional
        Parameters or multiply-adds of the whole compressed model.
    measure : {"parameters", "flops"}
        What is counted; "flops" are multiply-adds for one sample.
    objective : {"kept", "discarded"}
        What is lost with the ranks of a layer, formulas of :mod:`convexadv.compression.spectrum`: "kept" makes the product
        of the kept shares of energy of all layers as large as possible, "discarded" the sum of the discarded ones as small
        as possible, which may give whole layers up.
    input_shape : tuple of int, optional
        Shape of one sample, needed for "flops".
    method : {"dynamic", "greedy", "uniform"}
        "dynamic": the smallest loss, by a dynamic programme; its distance from the smallest one is reported where states
        had to be thinned. "greedy": the singular value, of either side of any layer, that recovers most energy for what
        it costs, one by one. "uniform": the same share of its own cost for every layer, spent as well as possible.
    keep : iterable of str
        Names of layers, or of modules that contain them, that are left as they are.
    minimum : int or dict of str to int or (R_out, R_in)
        Smallest ranks, of all layers or by name (1 for those not named); at most the ranks that a layer can have.
    dense : bool or iterable of str
        Which layers may stay as they are, where factors would not pay: all, none, or those named.
    importance : dict of str to float, optional
        Factors of the losses of layers, positive; 1 for those not named.
    layers : dict of str to LayerSpectrum, optional
        Spectra, if they are known: those of :func:`spectra` of the same model and ``keep``.

    Returns
    -------
    Allocation

    Raises
    ------
    InputError
        If the budget is below the smallest possible one, which the message says, not given once, or below a ratio of 1;
        if nothing can be compressed, a name is unknown, or another argument is none of those listed.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import allocate
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3))
    >>> found = allocate(model, ratio=4)
    >>> sorted(found.ranks), found.cost <= found.budget == found.dense_cost // 4, found.exact
    (['0', '2'], True, True)
    """
    check_measure(measure)
    for what, name, names in (
        ("method", method, METHODS),
        ("objective", objective, OBJECTIVES),
    ):
        if not isinstance(name, str) or name not in names:
            raise InputError(f"{what} must be one of {', '.join(names)}, got {name!r}.")
    if measure == "flops" and input_shape is None:
        raise InputError('measure="flops" needs input_shape, the shape of one sample, e.g. (3, 32, 32).')
    known = dict(spectra(model, input_shape, keep) if layers is None else layers)
    if not known:
        raise InputError(
            "there is nothing to compress: the model has no Conv2d or Linear layer with two or more inputs and outputs "
            "that is not kept; one is needed."
        )
    total = parameters_of(model) if measure == "parameters" else count(model, input_shape).flops  # type: ignore[arg-type]
    fixed = total - sum(layer.dense_cost(measure) for layer in known.values())
    limit = limit_of(ratio, budget, total)
    settings = _settings(known, minimum, dense, importance or {}, objective)
    fronts = [layer_front(setting, measure) for setting in settings]
    _check_possible(limit, fixed + sum(int(front.costs[0]) for front in fronts), fixed, total, measure)
    found = _METHODS[method](settings, fronts, measure, limit - fixed)
    ranks = dict(zip(known, found.ranks, strict=True))
    cost = fixed + sum(known[name].cost(choice, measure) for name, choice in ranks.items())
    losses = {name: known[name].loss(choice, objective) for name, choice in ranks.items()}
    loss = sum(setting.importance * losses[setting.layer.name] for setting in settings)
    return Allocation(
        ranks, method, measure, objective, limit, cost, total, losses, loss, min(found.lower_bound, loss), found.exact
    )


def _check_possible(limit: int, smallest: int, fixed: int, total: int, measure: str) -> None:
    if limit < smallest:
        raise InputError(
            f"a budget of {limit:,} {measure} was given; the smallest possible one is {smallest:,} (ratio "
            f"{total / smallest:.4g}), of which {fixed:,} are in layers and parameters that are not factored; give "
            "more."
        )


class _Found(NamedTuple):
    ranks: list[Ranks]
    lower_bound: float
    exact: bool


def _dynamic(settings: list[Setting], fronts: list[Front], measure: str, budget: int) -> _Found:
    best = best_choice(fronts, budget)
    if not best.exact:  # greedy ranks are never better, here neither
        start = []
        for setting, front, ranks in zip(settings, fronts, _grown(settings, fronts, measure, budget), strict=True):
            cost = setting.layer.cost(ranks, measure)
            start.append(int(np.searchsorted(front.costs, cost, side="right")) - 1)  # as good, for no more
        best = best_choice(fronts, budget, start)
    return _Found(
        [ranks_of(front.labels[i]) for front, i in zip(fronts, best.index, strict=True)], best.lower_bound, best.exact
    )


def _greedy(settings: list[Setting], fronts: list[Front], measure: str, budget: int) -> _Found:
    return _Found(_grown(settings, fronts, measure, budget), multiplier_bound(fronts, budget)[0], False)


def _grown(settings: list[Setting], fronts: list[Front], measure: str, budget: int) -> list[Ranks]:
    start = [(int(front.costs[0]), ranks_of(front.labels[0])) for front in fronts]
    return grow(settings, measure, start, budget)


def _uniform(settings: list[Setting], fronts: list[Front], measure: str, budget: int) -> _Found:
    """The largest share of its own cost that every layer can have, but for layers that cannot have less."""
    dense = [setting.layer.dense_cost(measure) for setting in settings]

    def at(share: float) -> list[int]:
        return [
            max(0, int(np.searchsorted(front.costs, share * each, side="right")) - 1)
            for front, each in zip(fronts, dense, strict=True)
        ]

    def spent(index: list[int]) -> int:
        return sum(int(front.costs[i]) for front, i in zip(fronts, index, strict=True))

    low, high = 0.0, max(front.costs[-1] / each for front, each in zip(fronts, dense, strict=True))
    if spent(at(high)) <= budget:
        low = high
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if spent(at(middle)) <= budget else (low, middle)
    ranks = [ranks_of(front.labels[i]) for front, i in zip(fronts, at(low), strict=True)]
    return _Found(ranks, multiplier_bound(fronts, budget)[0], False)


_METHODS: dict[str, Callable[[list[Setting], list[Front], str, int], _Found]] = {
    "dynamic": _dynamic,
    "greedy": _greedy,
    "uniform": _uniform,
}


def check_measure(measure: Any) -> None:
    """Raise InputError for what is no measure of costs."""
    if not isinstance(measure, str) or measure not in MEASURES:
        raise InputError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}.")


def limit_of(ratio: Any, budget: Any, total: int) -> int:
    """What the compact model may cost, of a ratio to the cost ``total`` of the whole one or of a budget."""
    if (ratio is None) == (budget is None):
        raise InputError(f"give a ratio or a budget, one of them; got ratio={ratio!r} and budget={budget!r}.")
    if ratio is not None:
        real: Any = ratio
        if isinstance(ratio, bool) or not isinstance(ratio, Real) or not 1 <= real < math.inf:
            raise InputError(f"ratio must be a finite number of 1 or more, got {ratio!r}.")
        return math.floor(total / real)
    if isinstance(budget, bool) or not isinstance(budget, Integral) or budget < 1:
        raise InputError(f"budget must be a positive integer, got {budget!r}; a ratio is given as ratio=.")
    return int(budget)


def _settings(
    known: dict[str, LayerSpectrum],
    minimum: Minimum,
    dense: bool | Iterable[str],
    importance: Mapping[str, float],
    objective: str,
) -> list[Setting]:
    free = (
        set(known) if dense is True else set() if dense is False else set([dense] if isinstance(dense, str) else dense)
    )
    named = minimum if isinstance(minimum, Mapping) else {}
    for what, names in (("dense", free), ("minimum", named), ("importance", importance)):
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise InputError(
                f"{what} names {unknown[0]!r}, which cannot be factored; names of Conv2d and Linear layers are needed."
            )
    for name, value in importance.items():
        if not 0 < value < math.inf:
            raise InputError(f"importance must be positive and finite, got {value!r} for {name}.")
    return [
        Setting(
            layer,
            _smallest(layer, named.get(name, 1) if isinstance(minimum, Mapping) else minimum),
            name in free,
            float(importance.get(name, 1.0)),
            objective,
        )
        for name, layer in known.items()
    ]


def _smallest(layer: LayerSpectrum, minimum: Any) -> tuple[int, int]:
    """Smallest pair of ranks that fits, at least the given ones where the layer has as many."""
    pair = tuple(minimum) if isinstance(minimum, tuple | list) else (minimum, minimum)
    if len(pair) != 2 or any(isinstance(rank, bool) or not isinstance(rank, Integral) or rank < 1 for rank in pair):
        raise InputError(f"minimum ranks must be positive integers, or pairs (R_out, R_in) of them, got {minimum!r}.")
    outer, inner = (min(int(rank), size) for rank, size in zip(pair, layer.shape, strict=True))
    if layer.is_matrix:
        rank = min(max(outer, inner), *layer.shape)
        return rank, rank
    return min(outer, layer.window * layer.shape[1]), min(inner, layer.window * layer.shape[0])
