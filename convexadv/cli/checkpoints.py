"""Checkpoints of ``fit``: whether they can be kept, found out before the work starts."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import InputError
from ..processes import Together
from ..solvers.polynomial.checkpoint import check_existing


def checkpoint_options(arguments: argparse.Namespace, together: Together) -> dict[str, Any]:
    """What :func:`convexadv.solve` takes of ``--checkpoint``, ``--checkpoint-every`` and ``--resume``, where they are given.

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
        raise InputError(
            f"--checkpoint is for the torch backend; {arguments.solver} keeps no state: leave one of them out."
        )
    options = {"checkpoint": path, "checkpoint_every": arguments.checkpoint_every, "resume": arguments.resume}
    check_existing(path, together.size, bool(arguments.resume))
    return {name: value for name, value in options.items() if value is not None}
