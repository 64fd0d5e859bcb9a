"""Files of deep models: safetensors whose header names the architecture, so that reading one never runs code of it."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from ._atomic import atomic_write
from .errors import FileFormatError, InputError
from .models import MODELS

_HEADER = "convexadv-model"
_VERSION = 1


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
        raise InputError(f"There is no architecture {name!r}; there are {', '.join(sorted(MODELS))}.")
    try:
        model = MODELS[name](**settings)
    except TypeError as error:
        raise InputError(f"{name} cannot be built with {settings}: {error}.") from error
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
        If weights and architecture do not fit together or the target cannot be created.

    Examples
    --------
    >>> from convexadv.model_files import build, load_model, save_model
    >>> model = build("smallcnn", width=4)
    >>> save_model(model, "cnn.safetensors", "smallcnn", {"width": 4}, epochs=0)
    >>> load_model("cnn.safetensors")[1]
    {'epochs': 0}
    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in build(name, **settings).state_dict().items()}
    if expected != {key: tuple(value.shape) for key, value in state.items()}:
        raise InputError(f"The model's weights are not those of {name} with {settings}.")
    try:
        header = json.dumps({"version": _VERSION, "name": name, "settings": settings, "metadata": metadata})
    except (TypeError, ValueError) as error:
        raise InputError(f"Settings and metadata must be JSON: {error}.") from error
    content = to_bytes(state, {_HEADER: header})
    with atomic_write(path, "wb") as file:
        file.write(content)


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
        If the file is missing, truncated, of another kind or from a newer version.

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
    try:
        with safe_open(os.fspath(path), "pt") as file:
            text = (file.metadata() or {}).get(_HEADER)
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{os.fspath(path)} is missing, truncated or not a safetensors file: {error}") from error
    if text is None:
        raise FileFormatError(f"{os.fspath(path)} does not say its architecture: it was not written by save_model.")
    try:
        header = json.loads(text)
        version, name, settings = header["version"], header["name"], header["settings"]
        if version > _VERSION:
            raise FileFormatError(f"{os.fspath(path)} has version {version}; this package reads up to {_VERSION}.")
        model = build(name, **settings)
        model.load_state_dict(state)
    except FileFormatError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FileFormatError(f"{os.fspath(path)} does not describe its weights: {error}") from error
    return model.eval(), header.get("metadata", {})
