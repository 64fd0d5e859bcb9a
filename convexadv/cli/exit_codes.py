"""Exit codes of the command line, for scripts."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What the command line returns; :data:`MEANING` says it in words."""

    OK = 0
    BAD_INPUT = 2
    NOT_CERTIFIED = 3
    INFEASIBLE = 4
    NO_SOLVER = 5
    NOT_VERIFIED = 6
    INTERRUPTED = 130


MEANING = {
    ExitCode.OK: "done; a fit is certified to the tolerance",
    ExitCode.BAD_INPUT: "an argument, a data or a model file cannot be used (one line on stderr; nothing is written)",
    ExitCode.NOT_CERTIFIED: "fit: finished, but not certified to the tolerance; the model is written all the same",
    ExitCode.INFEASIBLE: "fit: no network meets the margins that were asked for; no model is written",
    ExitCode.NO_SOLVER: "the solver is not installed, has no licence, or cannot hold the problem in memory",
    ExitCode.NOT_VERIFIED: "verify: a claim of the certificate does not hold, or speaks of another model",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); no half-written file is left",
}


def epilog() -> str:
    """The exit codes as the closing lines of the help."""
    return "exit codes:\n" + "\n".join(f"  {code.value:<4} {text}" for code, text in MEANING.items())
