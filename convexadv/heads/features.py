"""Features of all inputs, block by block, in memory or in a file that survives a kill."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from .._arrays import to_numpy
from .._atomic import atomic_write
from .._version import __version__
from ..errors import InputError, reason
from ..robustness.arguments import device_of, evaluation_mode
from ._progress import watched
from .inputs import Inputs
from .tap import Tap

Change = Callable[[torch.Tensor, np.ndarray, int], torch.Tensor]
"""Inputs, their labels and the number of the first of them, to other inputs of the same shape."""

_FORMAT = 1


def extract(
    backbone: torch.nn.Module,
    inputs: Inputs,
    *,
    batch_size: int = 256,
    change: Change | None = None,
    cache: str | os.PathLike[str] | None = None,
    key: dict[str, Any] | None = None,
    title: str = "features",
) -> np.ndarray:
    """Compute the features of all inputs in evaluation mode, without gradients.

    Parameters
    ----------
    backbone : torch.nn.Module
        From inputs to features (n, d); on any device; its mode is restored.
    inputs : Inputs
        Of :func:`convexadv.heads.inputs.inputs_of`.
    batch_size : int
        Inputs at a time.
    change : callable, optional
        Makes other inputs of each block before the backbone sees them: attacked or augmented ones.
    cache : path, optional
        A .npy file for the features; beside it, with ``.json`` appended, what they are the features of and how many are
        done. A later call continues after the last complete block, or finds all done.
    key : dict, optional
        What the features depend on, as JSON; needed with ``cache``: see :func:`cache_key`.
    title : str
        In front of the progress bar, which is drawn if a person watches.

    Returns
    -------
    ndarray (n, d)
        float32, float64 where the features are; mapped from the file, read-only, if there is one.

    Raises
    ------
    InputError
        If the file holds features of something else, is damaged or cannot be written; if a feature is not finite.
    """
    probe = _block(backbone, inputs, slice(0, 1), None)
    shape, dtype = (len(inputs), probe.shape[1]), probe.dtype
    store = _Store.open(os.fspath(cache), shape, dtype, key or {}) if cache is not None else _Memory(shape, dtype)
    starts = range(store.done, len(inputs), batch_size)
    blocks = -(-len(inputs) // batch_size)
    for first in watched(starts, title, blocks, blocks - len(starts)):
        store.put(first, _block(backbone, inputs, slice(first, first + batch_size), change))
    return store.result()


def cache_key(model: torch.nn.Module, tap: Tap, inputs: Inputs, **more: Any) -> dict[str, Any]:
    """What features depend on: the weights and layers of the model, the tap, the inputs, and more.

    Parameters
    ----------
    model : torch.nn.Module
    tap : Tap
    inputs : Inputs
        Read once for their fingerprint.
    **more
        Settings that JSON can hold.

    Returns
    -------
    dict
    """
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous()
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return {"model": digest.hexdigest(), "at": f"{tap.side} of {tap.name}", "data": inputs.fingerprint(), **more}


class _Memory:
    """Features in memory."""

    done = 0

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        self._array = np.empty(shape, dtype)

    def put(self, first: int, block: np.ndarray) -> None:
        self._array[first : first + len(block)] = block

    def result(self) -> np.ndarray:
        return self._array


class _Store:
    """Features in a .npy file, with a JSON file beside it that says how many of the rows are complete."""

    def __init__(self, path: str, about: dict[str, Any], array: np.ndarray, done: int) -> None:
        self._path, self._about, self._array, self.done = path, about, array, done

    @classmethod
    def open(cls, path: str, shape: tuple[int, int], dtype: np.dtype, key: dict[str, Any]) -> _Store:
        if not path.endswith(".npy"):
            raise InputError(f"cache={path!r} is written as an array; a name that ends in .npy is needed.")
        about = json.loads(json.dumps({"version": __version__, "format": _FORMAT, "shape": shape, **key}))
        done = _rows_done(path, about)
        if done == 0:  # the note comes first: a file without one is somebody else's
            _note(path, about, 0)
            return cls(path, about, _new_array(path, shape, dtype), 0)
        try:
            array = np.load(path, mmap_mode="r+", allow_pickle=False)
        except Exception as error:  # OSError, ValueError, EOFError, and whatever the parser of the header raises
            raise InputError(f"cache={path!r} is damaged ({reason(error)}); delete it and {path}.json.") from error
        if array.shape != shape or array.dtype != dtype:
            raise InputError(f"cache={path!r} does not fit {path}.json; delete both.")
        return cls(path, about, array, done)

    def put(self, first: int, block: np.ndarray) -> None:
        """Write a block, and only when it is in the file say so."""
        self._array[first : first + len(block)] = block
        self._array.flush()  # type: ignore[attr-defined]
        self.done = first + len(block)
        _note(self._path, self._about, self.done)

    def result(self) -> np.ndarray:
        return np.load(self._path, mmap_mode="r", allow_pickle=False)


def _new_array(path: str, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """An array in a file whose place on the disk is taken at once: where it is missing later, the process is killed."""
    try:
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        _take_place(path)
    except OSError as error:
        for name in (path, f"{path}.json"):
            with suppress(OSError):
                os.unlink(name)
        raise InputError(f"cache={path!r} cannot be written: {reason(error)}.") from error
    return array


def _take_place(path: str) -> None:
    if not hasattr(os, "posix_fallocate"):
        return
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # others: the file system cannot do it
                raise


def _note(path: str, about: dict[str, Any], done: int) -> None:
    with atomic_write(f"{path}.json") as file:
        file.write(json.dumps({"about": about, "rows_done": done}, indent=2) + "\n")


def _rows_done(path: str, about: dict[str, Any]) -> int:
    """Rows of the file that are complete; an error if it holds something else."""
    beside = f"{path}.json"
    if not os.path.exists(beside):
        if os.path.exists(path):
            raise InputError(f"cache={path!r} exists, but {beside} does not say what it holds; give another name.")
        return 0
    try:
        with open(beside, encoding="utf-8") as file:
            found = json.load(file)
        known, done = dict(found["about"]), found["rows_done"]
        if isinstance(done, bool) or not isinstance(done, int) or not 0 <= done <= about["shape"][0]:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{beside} cannot be read; delete it and {path}.") from error
    other = [name for name in sorted({*known, *about}) if known.get(name) != about.get(name)]
    if other:
        raise InputError(
            f"cache={path!r} holds features of something else (other {', '.join(other)}); delete it and {beside}, or give "
            "another name."
        )
    return done if os.path.exists(path) else 0


def _block(backbone: torch.nn.Module, inputs: Inputs, part: slice, change: Change | None) -> np.ndarray:
    """Features (m, d) of a block of the inputs."""
    numbers = np.arange(len(inputs))[part]
    x = on_model(backbone, inputs.rows(numbers))
    if change is not None:
        shape = x.shape
        x = on_model(backbone, change(x, inputs.y[numbers], int(numbers[0])))
        if x.shape != shape:
            raise InputError(
                f"changed inputs have shape {tuple(x.shape)}; that of the inputs, {tuple(shape)}, is needed."
            )
    with evaluation_mode(backbone), torch.no_grad():
        found = backbone(x)
    result = to_numpy(found if found.dtype == torch.float64 else found.float())
    if not np.isfinite(result).all():
        row = int(numbers[np.argwhere(~np.isfinite(result))[0][0]])
        raise InputError(f"the features of input {row} are not finite; finite ones are needed for a head.")
    return result


def on_model(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Inputs on the device and in the precision of a model's weights."""
    dtypes = (weight.dtype for weight in model.parameters() if weight.is_floating_point())
    return x.to(device_of(model, x), next(dtypes, x.dtype))
