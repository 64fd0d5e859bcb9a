"""What a gated ReLU solve hands to the next one beside the weights: multipliers and penalty of every component."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...losses import Loss

KEY = "newton"
"""Of the states of the components in the variables of a solution."""
_INSIDE = 1e-9
"""Distance of the multipliers of a logistic loss from 0 and 1, where its conjugate has no derivative."""


class State(NamedTuple):
    """Where the semismooth Newton method of a component ended."""

    z: np.ndarray
    """(g,) multipliers."""
    sigma: float
    """Of the augmented Lagrangian."""


def admitted(state: Any, loss: Loss, groups: int) -> State | None:
    """A state with its multipliers brought into the domain of the loss; None if it does not fit ``groups`` groups."""
    if not isinstance(state, State) or np.shape(state.z) != (groups,):
        return None
    fits = bool(np.isfinite(state.z).all()) and 0.0 < state.sigma < np.inf
    return state._replace(z=_inside(loss, state.z)) if fits else None


def extrapolated(loss: Loss, old: State | None, new: State | None, step: float) -> State | None:
    """``new`` with its multipliers moved on by ``step`` times their change; for the logistic loss that of its arguments."""
    if old is None or new is None or old.z.shape != new.z.shape:
        return new
    if loss.name != "logistic":
        return new._replace(z=_inside(loss, new.z + step * (new.z - old.z)))
    before, last = (loss.conjugate_derivative(_inside(loss, each.z)) for each in (old, new))
    return new._replace(z=loss.derivative(last + step * (last - before)))


def _inside(loss: Loss, z: np.ndarray) -> np.ndarray:
    margin = _INSIDE if loss.name == "logistic" else 0.0
    return np.clip(z, -np.inf if loss.signed else margin, loss.upper - margin)
