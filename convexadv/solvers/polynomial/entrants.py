"""New neurons: which directions of the priced ones enter, and with what size."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .model import ComponentModel, Neurons
from .radial import best_multiple
from .requests import Evaluate
from .state import State

_SHRINKINGS = 14
_DISTINCT = 0.95
"""Largest cosine between neurons of one sign that enter together."""


def joined_by(
    model: ComponentModel, state: State, extremes: list[Any], tolerance: float, exact: bool
) -> Generator[Any, Any, Neurons]:
    """The neurons of a state with those that violate its bound, small enough to lower the objective.

    Parameters
    ----------
    model : ComponentModel
    state : State
    extremes : list of SphereMaximum
        Most violating directions of every output.
    tolerance : float
        Relative gap of the component.
    exact : bool
        Whether products are float64.
    """
    old, new = state.neurons, _entrants(model, state.neurons, extremes, tolerance)
    if new is None:
        return old
    if not len(old.signs):
        tau, _, _ = yield from best_multiple(model, new, 1e-12, 1e12)
        return new.scaled(max(tau, 1e-20))
    before, _, _ = yield Evaluate(model, old, state.smoothing, exact)
    share = 0.01 * float((old.vectors**2).sum()) / len(old.signs)
    joined = old
    for _ in range(_SHRINKINGS):
        joined = Neurons(*(model.torch.cat(pair) for pair in zip(old, new.scaled(share), strict=True)))
        value, _, _ = yield Evaluate(model, joined, state.smoothing, exact)
        if value < before:
            break
        share *= 0.1
    return joined


def _entrants(model: ComponentModel, old: Neurons, extremes: list[Any], tolerance: float) -> Neurons | None:
    torch, beta = model.torch, model.problem.beta
    vectors: list[Any] = []
    signs: list[float] = []
    outputs: list[int] = []
    for output, extreme in enumerate(extremes):
        for i in torch.argsort(extreme.values, descending=True).tolist():
            sign, direction = float(extreme.signs[i]), extreme.directions[i]
            if float(extreme.values[i]) <= beta * (1.0 + 0.1 * tolerance):
                break
            same = [v for v, s, o in zip(vectors, signs, outputs, strict=True) if s == sign and o == output]
            if all(abs(float(direction @ other)) < _DISTINCT for other in same):
                vectors.append(direction)
                signs.append(sign)
                outputs.append(output)
    if not vectors:
        return None
    return Neurons(
        torch.stack(vectors).to(old.vectors),
        torch.tensor(signs).to(old.signs),
        torch.tensor(outputs, device=old.outputs.device),
    )
