"""What the command line writes: tables, JSON and files, checked before the work starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from .._json import to_json
from ..errors import InputError
from ..plotting.style import require_matplotlib

PLOT_SUFFIXES = (".png", ".pdf", ".svg")


def check_targets(targets: dict[str, str | None], inputs: Sequence[str] = ()) -> None:
    """Raise InputError for a file that could not be written once the work is done.

    Parameters
    ----------
    targets : dict
        From the option to the path it was given, or None.
    inputs : sequence of str
        Files that are read, and must not be replaced.
    """
    seen: dict[str, str] = {}
    for option, path in targets.items():
        if path is None:
            continue
        _check_target(option, path)
        real = os.path.realpath(path)
        if real in seen:
            raise InputError(f"{seen[real]} and {option} are both {path}; give two different files.")
        if any(os.path.exists(source) and os.path.realpath(source) == real for source in inputs):
            raise InputError(f"{option} {path} is the file that is read; it would be replaced: give another name.")
        seen[real] = option


def _check_target(option: str, path: str) -> None:
    if not path or os.path.isdir(path) or path.endswith(os.sep):
        raise InputError(f"{option} {path!r} is a folder; the name of a file is needed.")
    check_folder(option, os.path.dirname(os.path.realpath(path)))
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise InputError(
            f"{option} {path} exists and may not be written: choose another name, or change its permissions."
        )


def check_folder(option: str, folder: str) -> None:
    """Raise InputError for a folder in which no file can be made."""
    if not os.path.isdir(folder):
        state = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise InputError(f"{option}: {folder} {state}; make the folder first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"{option}: the folder {folder} may not be written: choose another one, or change its permissions."
        )


def check_plot(option: str, path: str | None) -> None:
    """Raise InputError for a plot in a format that is not known, or if there is nothing to draw with."""
    if path is None:
        return
    require_matplotlib()
    if not path.lower().endswith(PLOT_SUFFIXES):
        raise InputError(
            f"{option} {path} has no known format; a name that ends in {', '.join(PLOT_SUFFIXES)} is needed."
        )


def say(text: str = "") -> None:
    """A line on stdout."""
    sys.stdout.write(f"{text}\n")


def say_report(report: dict[str, Any], text: str, as_json: bool) -> None:
    """A report on stdout: as JSON, or its text and the files that were written."""
    if as_json:
        say(to_json(report))
        return
    say(text)
    for name, path in report["files"].items():
        if path is not None:
            say(f"{name:<11} {path}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns under a header: the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]

    def join(cells: Sequence[str]) -> str:
        rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join([join(header), "  ".join("-" * width for width in widths), *map(join, rows)])
