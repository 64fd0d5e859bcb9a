"""A copy of a trained model, some of whose parts are trained on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from ..errors import InputError
from .data import Images
from .loop import History, train
from .objectives import Objective
from .settings import Settings


def tune(
    model: torch.nn.Module,
    images: Images,
    objective: Objective | None = None,
    settings: Settings | None = None,
    parts: Sequence[str] | None = None,
    **options: Any,
) -> tuple[torch.nn.Module, History]:
    """Train on a copy of a model, whole or in part; the rest stays as it is, the statistics of its batch norms too.

    With an adversarial objective this is what makes the features of a network carry a robust head where those of
    clean training do not: ``convexadv.robustify(tune(model, images, OneStep(radius), parts=[...])[0], ...)``.

    Parameters
    ----------
    model : torch.nn.Module
        A classifier; it is not changed.
    images : Images
    objective : callable, optional
        As of :func:`train`.
    settings : Settings, optional
        As of :func:`train`.
    parts : sequence of str, optional
        Names of modules as of ``model.named_modules()``, such as ``["features.stage4", "head"]``: only what lies in
        them is trained. By default the whole model.
    **options
        Of :func:`train`: augment, checkpoint, resume, callback, ...

    Returns
    -------
    model : torch.nn.Module
        The copy, in evaluation mode; which of its parameters require gradients is as it was.
    history : list of dict
        As of :func:`train`.

    Raises
    ------
    InputError
        If a part is no module of the model or has nothing to train, or as of :func:`train`.

    Examples
    --------
    >>> import torch
    >>> from convexadv.training import Images, OneStep, Settings, tune
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> x = torch.rand(64, 2)
    >>> images = Images.of(x, (x[:, 0] > 0.5).long())
    >>> tuned, history = tune(model, images, OneStep(0.1), Settings(epochs=2, batch_size=16), parts=["2"])
    >>> torch.equal(tuned[0].weight, model[0].weight), torch.equal(tuned[2].weight, model[2].weight)
    (True, False)
    """
    result = copy.deepcopy(model)
    wanted = {name: parameter.requires_grad for name, parameter in result.named_parameters()}
    if parts is not None:
        _only(result, parts)
    try:
        history = train(result, images, objective, settings, **options)
    finally:
        for name, parameter in result.named_parameters():
            parameter.requires_grad_(wanted[name])
    return result, history


def _only(model: torch.nn.Module, parts: Sequence[str]) -> None:
    """Let nothing but these parts require gradients."""
    modules = dict(model.named_modules())
    inside: set[int] = set()
    for name in [parts] if isinstance(parts, str) else parts:
        if name not in modules:
            known = ", ".join(key for key, _ in model.named_children())
            raise InputError(f"parts has {name!r}, which is no module of the model; choose names such as {known}.")
        found = [parameter for parameter in modules[name].parameters() if parameter.requires_grad]
        if not found:
            raise InputError(
                f"the part {name!r} of the model has no parameter that can be trained; at least one is needed."
            )
        inside.update(map(id, found))
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in inside)
