"""Checkpoints of ``fit``: whether they can be kept, found out before the work starts."""

from __future__ import annotations

import argparse
import glob
import os
import re
from typing import Any

from ..errors import InputError
from ..processes import Together

_EVERY = 30.0


def checkpoint_options(arguments: argparse.Namespace, together: Together) -> dict[str, Any]:
    """What :func:`convexadv.solve` takes of ``--checkpoint``, ``--checkpoint-every`` and ``--resume``.

    Raises
    ------
    InputError
        If the last two stand alone, the solver keeps none, or what exists is not to be continued, or not by this number of
        processes.
    """
    path = arguments.checkpoint
    if path is None:
        for option in ("checkpoint_every", "resume"):
            if getattr(arguments, option) is not None:
                raise InputError(f"--{option.replace('_', '-')} needs --checkpoint PATH, the file of the state.")
        return {}
    if arguments.solver not in ("auto", "torch"):
        raise InputError(f"--checkpoint is for the torch backend; {arguments.solver} keeps no state.")
    _check_existing(path, bool(arguments.resume), together)
    every = _EVERY if arguments.checkpoint_every is None else arguments.checkpoint_every
    return {"checkpoint": path, "checkpoint_every": every, "resume": bool(arguments.resume)}


def _check_existing(path: str, resume: bool, together: Together) -> None:
    found = [path] if os.path.isfile(path) else []
    found += sorted(file for file in glob.glob(glob.escape(path) + ".*-of-*.[01]") if _size(path, file) > 1)
    if found and not resume:
        raise InputError(f"{found[0]} exists; --resume continues from it, another path or deleting it starts anew.")
    others = [file for file in found if _size(path, file) != together.size]
    if others and len(others) == len(found):
        size = _size(path, others[0])
        started = "one process" if size == 1 else f"{size} processes"
        raise InputError(
            f"{others[0]} is of a solve by {started}, and this is one by {together.size}; start as many, or give another "
            "path."
        )


def _size(path: str, file: str) -> int:
    """Number of processes that write a file; 0 if it is none of theirs."""
    if file == path:
        return 1
    match = re.fullmatch(r"\.\d+-of-(\d+)\.[01]", file[len(path) :])
    return int(match[1]) if match else 0
