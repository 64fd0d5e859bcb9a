"""The parser of the command line: argparse whose complaints are sentences of one line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from .._version import __version__
from ..errors import InputError
from . import options
from .exit_codes import epilog

_DESCRIPTION = """\
Train two-layer polynomial and ReLU networks to the global optimum of their convex programme, adversarial training
included, with a certificate of how close to the optimum the answer is and of how robust it is; give deep models
such networks as last layers, and make them smaller.
"""

_START = """\
start here:
  convexadv demo --out demo                              the whole story on real data, in under a minute
  convexadv fit wdbc --radius 0.1 --out robust.safetensors
  convexadv evaluate robust.safetensors wdbc
  convexadv fit --help                                   every verb explains itself, with examples

"""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises InputError instead of printing its usage and leaving."""

    def __init__(self, **settings: Any):
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message as a sentence."""
        message = re.sub(r"^argument ([^:]+): ", r"\1: ", message)
        raise InputError(f"{message.rstrip('.')}; see `{self.prog} --help`.")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of a verb; what it does not know is complained about with the help of the verb, not of the program."""
    arguments, unknown = build_parser().parse_known_args(argv)
    if unknown:
        raise InputError(
            f"{' '.join(unknown)} is no argument of {arguments.verb}; see `convexadv {arguments.verb} --help`."
        )
    return arguments


def build_parser() -> argparse.ArgumentParser:
    """The parser with all its verbs."""
    parser = Parser(prog="convexadv", description=_DESCRIPTION, epilog=_START + epilog())
    parser.add_argument("--version", action="version", version=f"convexadv {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    for name, (summary, details, add) in options.VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=details[0], epilog=f"{details[1]}\n{epilog()}")
        add(verb)
    return parser
