"""The command line. A verb is one module, imported only when it runs, so that ``--help`` is fast."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from ..errors import InputError
from .exit_codes import ExitCode, Quiet, code_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process if not given.

    Returns
    -------
    int
        An :class:`ExitCode`. Bad input is one line on stderr, never a traceback.
    """
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except Quiet as error:
        return int(error.code)
    except KeyboardInterrupt:
        return _complain("interrupted.", ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of our output left, as in `convexadv solvers | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.OK)
    except Exception as error:
        kind = code_of(error)
        if kind is None:
            raise
        if isinstance(error, OSError):
            return _complain(f"{error.filename or 'a file'}: {error.strerror or error}.", kind)
        return _complain(str(error).replace("resume=True", "--resume"), kind)


def _run(argv: Sequence[str] | None) -> int:
    from .launch import launched
    from .parser import parse

    try:
        arguments = parse(argv)
        _, size = launched()
        if size > 1 and arguments.verb != "fit":
            raise InputError(
                f"torchrun started {size} processes, which only `fit` can use; run {arguments.verb} without it."
            )
    except SystemExit as stop:  # --help and --version
        return stop.code if isinstance(stop.code, int) else 0
    except InputError as error:
        if os.environ.get("RANK", "0") != "0":  # the first process says it
            raise Quiet(ExitCode.BAD_INPUT) from error
        raise
    verb = importlib.import_module(f".{arguments.verb}", __name__)
    return int(verb.run(arguments))


def _complain(message: object, code: ExitCode) -> int:
    """One line on stderr, whatever the message."""
    sys.stderr.write(f"convexadv: {' '.join(str(message).split())}\n")
    return int(code)
