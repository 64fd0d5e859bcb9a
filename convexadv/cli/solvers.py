"""``convexadv solvers``: what can solve a problem here."""

from __future__ import annotations

import argparse

from .._json import to_json
from ..solvers import available_solvers
from .exit_codes import ExitCode
from .output import say


def run(arguments: argparse.Namespace) -> ExitCode:
    """List the solvers and why one cannot be used."""
    states = available_solvers()
    if arguments.json:
        say(to_json({name: {"available": state == "available", "state": state} for name, state in states.items()}))
    else:
        width = max(len(name) for name in states)
        for name, state in states.items():
            say(f"{name.ljust(width)}  {state}")
    return ExitCode.OK
