"""The part of a model up to its feature: a copy whose unused layers are gone where that is safe."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch

from ..errors import InputError, reason
from ..robustness.arguments import evaluation_mode
from ._trace import Trace, trace
from .tap import Tap


class Backbone(torch.nn.Module):
    """Inputs to features (n, d), flattened: a model's copy that is read at a tap.

    Layers behind the tap are replaced by ``Identity`` if a probe shows that the model still runs and gives the same
    feature to the last bit; else they stay, unused. Where the trimmed model returns the feature itself, nothing but its
    own forward is run; else the feature is caught by a hook for the time of one call.

    Parameters
    ----------
    model : torch.nn.Module
        Copied, never changed.
    tap : Tap
        Of :func:`find_tap` for this model.
    x : tensor (n, ...)
        The batch of the probe.

    Attributes
    ----------
    model : torch.nn.Module
    tap : Tap
    direct : bool
        Whether the trimmed model returns the feature itself.
    removed : tuple of str
        Layers replaced by ``Identity``.
    dtype : torch.dtype
        Precision of the features on the batch of the probe.
    """

    def __init__(self, model: torch.nn.Module, tap: Tap, x: torch.Tensor) -> None:
        super().__init__()
        self.tap = tap
        with evaluation_mode(model):
            record = trace(model, x)
        feature = _feature(record, tap)
        self.dtype = feature.dtype
        self.model, self.removed, trimmed = _trimmed(model, tap, x, record, feature)
        self.direct = trimmed is not None and _returns_feature(trimmed, tap)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the features of inputs, differentiable.

        Parameters
        ----------
        x : tensor (n, ...)
            As the model takes them.

        Returns
        -------
        tensor (n, d)
        """
        if self.direct:
            return self.model(x).flatten(1) if len(self.tap.shape) > 1 else self.model(x)
        caught: list[torch.Tensor] = []
        module = self.model.get_submodule(self.tap.name)
        if self.tap.side == "input":
            handle = module.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0].clone()))
        else:  # a copy: what follows may work in place
            handle = module.register_forward_hook(lambda module, inputs, output: caught.append(output.clone()))
        try:
            self.model(x)
        finally:
            handle.remove()
        if len(caught) != 1:
            raise InputError(f"{self.tap.name} was called {len(caught)} times in one forward pass; once is needed.")
        return caught[0].flatten(1)

    @property
    def note(self) -> str:
        """What was done with the layers behind the feature, in words."""
        if self.removed:
            return f"removed from the copy of the model: {', '.join(self.removed)}"
        return "nothing was removed: the layers behind the feature stay in the copy of the model, unused"

    def extra_repr(self) -> str:
        """Describe the tap for ``repr``.

        Returns
        -------
        str
        """
        return f"feature={self.tap}"


def _feature(record: Trace, tap: Tap) -> torch.Tensor:
    call = next(call for call in record.calls if call.name == tap.name)
    value = call.value if tap.side == "input" else call.output
    assert value is not None
    return value


def _trimmed(
    model: torch.nn.Module, tap: Tap, x: torch.Tensor, record: Trace, feature: torch.Tensor
) -> tuple[torch.nn.Module, tuple[str, ...], Trace | None]:
    """A copy without the layers behind the tap, their names, and its record; as much as is safe."""
    behind = _behind(record, tap)
    linear = [name for name in behind if isinstance(model.get_submodule(name), torch.nn.Linear)]
    for names in (behind, linear):
        if names:
            candidate = _copy(model)
            _replace(candidate, names)
            found = _try(candidate, tap, x, feature)
            if found is not None:
                return candidate, tuple(names), found
    candidate = _copy(model)
    return candidate, (), _try(candidate, tap, x, feature)


def _copy(model: torch.nn.Module) -> torch.nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"the model cannot be copied: {reason(error)}.") from error


def _behind(record: Trace, tap: Tap) -> list[str]:
    """Layers without parts that are called once, behind the tap."""
    here = next(call for call in record.calls if call.name == tap.name)
    first = here.began if tap.side == "input" else here.ended
    counts = record.counts()
    return [
        call.name
        for call in sorted(record.calls, key=lambda call: call.began)
        if call.began >= first and counts[call.name] == 1 and not list(call.module.children())
    ]


def _replace(model: torch.nn.Module, names: Iterable[str]) -> None:
    for name in names:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, torch.nn.Identity())


def _try(model: torch.nn.Module, tap: Tap, x: torch.Tensor, feature: torch.Tensor) -> Trace | None:
    """The record of a trimmed model, None if it does not run or has another feature."""
    try:
        with evaluation_mode(model):
            record = trace(model, x)
            found = _feature(record, tap)
    except Exception:  # whatever the code of a model does when one of its layers is gone
        return None
    return record if torch.equal(found, feature) else None


def _returns_feature(record: Trace, tap: Tap) -> bool:
    """Whether the output of a model is its feature, entries in their order, whatever the input is."""
    call = next(call for call in record.calls if call.name == tap.name)
    place: Any = call.source if tap.side == "input" else call.result
    output = record.maker(record.output)
    return isinstance(record.output, torch.Tensor) and record.elementwise_between(place, output, views=True)
