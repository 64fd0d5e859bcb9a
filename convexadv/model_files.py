"""Files of deep models: safetensors whose header names the architecture, so that reading one never runs code of it."""

from __future__ import annotations

import os
from typing import Any

import torch

from .errors import FileFormatError, InputError, reason
from .files import Format, read_tensors, write_tensors
from .models import MODELS

_MODEL = Format("convexadv-model", 1, "version", "a file of save_model, which names its architecture")


def build(name: str, **settings: Any) -> torch.nn.Module:
    """Build one of the package's architectures with random weights.

    Parameters
    ----------
    name : "preactresnet18", "resnet18" or "smallcnn"
        A key of ``convexadv.models.MODELS``.
    **settings
        Of its constructor.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.

    Raises
    ------
    InputError
        If there is no such architecture or setting.

    Examples
    --------
    >>> from convexadv.model_files import build
    >>> type(build("smallcnn", width=4)).__name__
    'SmallCNN'
    """
    if name not in MODELS:
        raise InputError(f"there is no architecture {name!r}; choose one of {', '.join(sorted(MODELS))}.")
    try:
        model = MODELS[name](**settings)
    except TypeError as error:
        raise InputError(f"{name} cannot be built with {settings}: {reason(error)}.") from error
    return model.eval()


def save_model(
    model: torch.nn.Module, path: str | os.PathLike[str], name: str, settings: dict[str, Any], **metadata: Any
) -> None:
    """Write the weights of a model and how it is built.

    Parameters
    ----------
    model : torch.nn.Module
        Built as ``build(name, **settings)``.
    path : str or path-like
        The target; replaced only when the file is complete.
    name, settings
        As of :func:`build`; the settings must be JSON.
    **metadata
        Anything that JSON can hold, such as how the model was trained.

    Raises
    ------
    InputError
        If weights and architecture do not fit together, settings or metadata are not JSON, or the target cannot be created.

    Examples
    --------
    >>> from convexadv.model_files import build, load_model, save_model
    >>> model = build("smallcnn", width=4)
    >>> save_model(model, "cnn.safetensors", "smallcnn", {"width": 4}, epochs=0)
    >>> load_model("cnn.safetensors")[1]
    {'epochs': 0}
    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if not _fit(state, name, settings):
        raise InputError(
            f"the model's weights are not those of {name} with {settings}; a model as build makes it is needed."
        )
    write_tensors(path, state, {"name": name, "settings": settings, "metadata": metadata}, _MODEL)


def load_model(path: str | os.PathLike[str]) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Read a model of :func:`save_model`.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    model : torch.nn.Module
        In evaluation mode, on the CPU.
    metadata : dict
        As saved.

    Raises
    ------
    FileFormatError
        If the file is truncated, of another kind or from a newer version, or its weights are not those of its architecture.
    InputError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import torch
    >>> from convexadv.model_files import build, load_model, save_model
    >>> model = build("smallcnn", width=4)
    >>> save_model(model, "cnn.safetensors", "smallcnn", {"width": 4})
    >>> again, _ = load_model("cnn.safetensors")
    >>> torch.equal(again.head[0].weight, model.head[0].weight)
    True
    """
    state, header = read_tensors(path, _MODEL)
    try:
        name, settings = header["name"], header["settings"]
        fit = _fit(state, name, settings)  # before memory is taken for what the header asks for
        if fit:
            model = build(name, **settings)
            model.load_state_dict(state)
    except (KeyError, TypeError, InputError, RuntimeError) as error:
        raise FileFormatError(f"{os.fspath(path)} does not describe its weights: {reason(error)}.") from error
    if not fit:
        raise FileFormatError(f"{os.fspath(path)} does not hold the weights of {name} with {settings}.")
    return model.eval(), header["metadata"]


def _fit(state: dict[str, torch.Tensor], name: str, settings: dict[str, Any]) -> bool:
    """Whether weights have the shapes of those of an architecture, of which none are made."""
    with torch.device("meta"):
        expected = build(name, **settings).state_dict()
    return {key: value.shape for key, value in expected.items()} == {key: value.shape for key, value in state.items()}
