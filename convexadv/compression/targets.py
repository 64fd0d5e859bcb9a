"""What ADMM projects on for low rank: Tucker-2 ranks of all layers within one budget, chosen from their spectra."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from ..errors import InputError
from .admm import Weights
from .budget import Allocation, allocate, check_measure
from .projection import Ranks, project
from .spectrum import factorable, spectra

TOLERANCE = 1e-5
"""Of the projections in ADMM, whose weights move on at once; the last one, which makes the factors, is sharper."""


class LowRank:
    """Weights of low rank within one budget, a :class:`.admm.Target`.

    Parameters
    ----------
    ratio, budget, measure, input_shape, method, keep
        As of :func:`convexadv.compression.allocate`.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import LowRank
    >>> model, target = torch.nn.Linear(16, 8, bias=False), LowRank(ratio=2)
    >>> target.choose(model, target.weights(model))
    >>> int(torch.linalg.matrix_rank(target.project(target.weights(model))["weight"])), target.ranks
    (2, {'': 2})
    """

    def __init__(
        self,
        *,
        ratio: float | None = None,
        budget: int | None = None,
        measure: str = "parameters",
        input_shape: tuple[int, ...] | None = None,
        method: str = "dynamic",
        keep: Iterable[str] = (),
    ):
        self.keep = names("keep", keep)
        self.input_shape = input_shape
        check_measure(measure)
        self.settings: dict[str, Any] = {"ratio": ratio, "budget": budget, "measure": measure, "method": method}
        self.allocation: Allocation | None = None
        self.ranks: dict[str, Ranks] = {}

    def __repr__(self) -> str:
        return f"LowRank({self.settings}, keep={self.keep})"

    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Weights of all layers that can be factored.

        Parameters
        ----------
        model : torch.nn.Module
            Any.

        Returns
        -------
        dict of str to Parameter
            Named as parameters of the model are.
        """
        found: dict[str, Any] = dict(factorable(model, self.keep))
        return {_joined(name): module.weight for name, module in found.items()}

    def choose(self, model: nn.Module, weights: Weights) -> None:
        """Allocate the ranks for these weights.

        Parameters
        ----------
        model : torch.nn.Module
            Gives everything else that counts in the budget.
        weights : dict of str to tensor
            As named by :meth:`weights`.

        Raises
        ------
        InputError
            As :func:`convexadv.compression.allocate`.
        """
        layers = {name.removesuffix("weight").removesuffix("."): weight for name, weight in weights.items()}
        shape = self.input_shape if self.settings["measure"] == "flops" else None
        found = spectra(model, shape, self.keep, layers)
        self.allocation = allocate(model, layers=found, keep=self.keep, input_shape=shape, **self.settings)
        self.groups = {name: layer.groups for name, layer in found.items()}
        self.ranks = self.allocation.ranks

    def project(self, weights: Weights) -> Weights:
        """Project on the ranks that are chosen.

        Parameters
        ----------
        weights : dict of str to tensor
            As named by :meth:`weights`; those without ranks stay as they are.

        Returns
        -------
        dict of str to tensor
        """
        made = {_joined(name): (ranks, self.groups[name]) for name, ranks in self.ranks.items()}
        return {
            name: project(weight, *made.get(name, ("dense", 1)), tolerance=TOLERANCE)
            for name, weight in weights.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Ranks and groups as plain values.

        Returns
        -------
        dict
        """
        return {"ranks": dict(self.ranks), "groups": dict(self.groups)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to the ranks of a checkpoint.

        Parameters
        ----------
        state : dict
            Of :meth:`state_dict`.
        """
        self.ranks, self.groups, self.allocation = dict(state["ranks"]), dict(state["groups"]), None


def names(argument: str, values: Any) -> tuple[str, ...]:
    """Names of layers out of one name or several.

    Parameters
    ----------
    argument : str
        What they are called in an error.
    values : str or iterable of str

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        If they are something else.
    """
    try:
        found = (values,) if isinstance(values, str) else tuple(values)
    except TypeError:
        found = (None,)
    if not all(isinstance(each, str) for each in found):
        raise InputError(f"{argument}={values!r} cannot be used; names of layers are needed.")
    return found


def _joined(name: str) -> str:
    return f"{name}.weight" if name else "weight"
