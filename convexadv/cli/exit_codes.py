"""Exit codes of the command line, for scripts."""

from __future__ import annotations

import enum

from ..errors import InputError, ProcessError, SolverUnavailableError, TrainingError


class ExitCode(enum.IntEnum):
    """What the command line returns; :data:`MEANING` says it in words."""

    OK = 0
    BAD_INPUT = 2
    NOT_CERTIFIED = 3
    INFEASIBLE = 4
    NO_SOLVER = 5
    NOT_VERIFIED = 6
    PROCESS_LOST = 7
    TRAINING_FAILED = 8
    INTERRUPTED = 130


MEANING = {
    ExitCode.OK: "done; a fit or a head is certified to the tolerance",
    ExitCode.BAD_INPUT: "an argument, a data or a model file cannot be used (one line on stderr; nothing is written)",
    ExitCode.NOT_CERTIFIED: "fit, robustify: finished, but not certified to the tolerance; the model is written all the same",
    ExitCode.INFEASIBLE: "fit: no network meets the margins that were asked for; no model is written",
    ExitCode.NO_SOLVER: "the solver is not installed, has no licence, or cannot hold the problem in memory",
    ExitCode.NOT_VERIFIED: "verify: a claim of the certificate does not hold, or speaks of another model",
    ExitCode.PROCESS_LOST: "fit with torchrun: a process was lost; a checkpoint, if one was kept, is complete",
    ExitCode.TRAINING_FAILED: "compress: a loss is not finite any more; the last checkpoints, if asked for, are kept",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); no half-written file is left",
}


class Quiet(Exception):
    """A process that ends with a code and says nothing, since another one says why."""

    def __init__(self, code: ExitCode):
        super().__init__(str(code))
        self.code = code


def code_of(error: Exception) -> ExitCode | None:
    """The code of an error that is a sentence for the user, None for others."""
    kinds = {
        ProcessError: ExitCode.PROCESS_LOST,
        TrainingError: ExitCode.TRAINING_FAILED,
        InputError: ExitCode.BAD_INPUT,
        SolverUnavailableError: ExitCode.NO_SOLVER,
        OSError: ExitCode.BAD_INPUT,  # a full disk, a folder that vanished
    }
    return next((code for kind, code in kinds.items() if isinstance(error, kind)), None)


def epilog() -> str:
    """The exit codes as the closing lines of the help."""
    return "exit codes:\n" + "\n".join(f"  {code.value:<4} {text}" for code, text in MEANING.items())
