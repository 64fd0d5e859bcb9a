"""Deep models on the command line: an architecture by name or from the caller's own code, and weights from a file."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ..compression.files import KIND as COMPACT
from ..errors import FileFormatError, InputError, reason, unreadable
from ..files import NETWORK
from .data import check_labels, files_read, read_data
from .output import check_targets

SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
"""Shapes of an input of data sets that are stored as rows."""


def read_model(model: str | None, weights: str | None, settings: str | None) -> torch.nn.Module:
    """Build a model and give it its weights.

    Parameters
    ----------
    model : str or None
        "package.module:function", which is imported and called: code of the caller's runs. Or a name of
        ``convexadv.models``. None where the file of weights says what it is (``convexadv.model_files.save_model``).
    weights : str or None
        A state dictionary as safetensors, or as ``torch.save`` writes it, of which nothing but tensors is read; or what
        ``convexadv compress`` wrote of a model of this architecture.
    settings : str or None
        Arguments of the function as a JSON object.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.

    Raises
    ------
    InputError
        If there is no such code or file, or the two do not fit.
    """
    options = _settings(settings)
    if model is None:
        if weights is None:
            raise InputError("--model or --weights is needed: an architecture, or a file that says its own.")
        from ..model_files import load_model

        return load_model(weights)[0]
    if ":" not in model and weights is None:
        raise InputError(f"--model {model} alone has random weights; --weights FILE with trained ones is needed.")
    built = _imported(model, options) if ":" in model else _named(model, options)
    return (built if weights is None else _given(built, weights)).eval()


def prepared(arguments: argparse.Namespace, targets: dict[str, str | None]) -> tuple[torch.nn.Module, np.ndarray, Any]:
    """Model, inputs and labels that the arguments name, after a look at the files that are to be written.

    Raises
    ------
    InputError
        If something cannot be read or written.
    """
    weights = [arguments.weights] if arguments.weights else []
    check_targets(targets, inputs=[*files_read(arguments), *weights])
    model = read_model(arguments.model, arguments.weights, arguments.settings)
    if arguments.device is not None:
        model = model.to(arguments.device)
    data = read_data(arguments.data, arguments.target)
    check_labels(data.y)
    return model, shaped(data.X, arguments.shape, arguments.data), data.y


def shaped(X: Any, shape: list[int] | None, name: str) -> np.ndarray:
    """Rows (n, d) as inputs (n, *shape) in float32; the shape of a known data set if none is given."""
    rows = np.asarray(X, dtype=np.float32)
    chosen = tuple(shape) if shape else SHAPES.get(name, rows.shape[1:])
    if int(np.prod(chosen)) != rows.shape[1]:
        raise InputError(
            f"--shape {' '.join(map(str, chosen))} does not fit the rows, which have {rows.shape[1]} features; as "
            "many entries are needed."
        )
    return rows.reshape(len(rows), *chosen)


def _settings(text: str | None) -> dict[str, Any]:
    try:
        options = json.loads(text) if text else {}
    except ValueError as error:
        raise InputError(f"--settings {text} is no JSON: {reason(error)}.") from error
    if not isinstance(options, dict):
        raise InputError(f"--settings {text} is no JSON object; one is needed, such as '{{\"width\": 16}}'.")
    return options


def _named(name: str, options: dict[str, Any]) -> torch.nn.Module:
    from ..model_files import build

    return build(name, **options)


def _imported(place: str, options: dict[str, Any]) -> torch.nn.Module:
    """What a function of the caller's own code returns."""
    module, _, name = place.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # code of the caller's may raise anything
        raise InputError(f"--model {place} cannot be imported: {type(error).__name__}, {reason(error)}.") from error
    if not callable(function):
        raise InputError(
            f"--model {place} is of type {type(function).__name__}; a function that makes a model is needed."
        )
    try:
        built = function(**options)
    except Exception as error:
        raise InputError(
            f"--model {place}, called with {options}, raised {type(error).__name__}: {reason(error)}; a function that "
            "returns a torch module is needed, with its arguments in --settings."
        ) from error
    if not isinstance(built, torch.nn.Module):
        raise InputError(
            f"--model {place} returned an object of type {type(built).__name__}; a torch module is needed."
        )
    return built


def _given(model: torch.nn.Module, path: str) -> torch.nn.Module:
    """The model with the weights of a file, and with its smaller layers if it is that of a compressed model."""
    if _is_compact(path):
        from ..compression import load_factorised

        return load_factorised(path, model)[0]
    _give(model, path)
    return model


def _is_compact(path: str) -> bool:
    """Whether a file says that it holds a compressed model; files that cannot be read are complained about elsewhere."""
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(NETWORK.entry, "{}"))
    except (OSError, SafetensorError, ValueError):
        return False
    return isinstance(header, dict) and header.get("kind") == COMPACT


def _give(model: torch.nn.Module, path: str) -> None:
    """Load a state dictionary; a file of ``torch.save`` is read without running code that may be in it."""
    try:
        if path.endswith(".safetensors"):
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # what torch raises for files of other kinds is of many kinds
        kind = "safetensors file" if isinstance(error, SafetensorError) else "state dictionary of tensors"
        raise FileFormatError(f"--weights {path} is truncated or no {kind}.") from error
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"--weights {path} does not fit the model: {reason(error)}.") from error
