"""Rows of a benchmark in processes of their own, and a record that is written after every one of them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import record

ROOT = Path(__file__).parents[1]


def run(command: Sequence[str], timeout: float, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The last line that a command prints, read as JSON; what went wrong otherwise.

    Parameters
    ----------
    command : sequence of str
        Run from the root of the repository, in a session of its own, so that its children end with it.
    timeout : float
        Seconds.
    environment : dict, optional
        Variables beside those of this process.

    Returns
    -------
    dict
        Of the row; ``{"status": "failed", "message": ...}`` if there is none.
    """
    with subprocess.Popen(
        list(command), cwd=ROOT, env={**os.environ, **(environment or {})}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            out, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return failed(f"ended after {timeout:.0f} s: it did not stop at its time limit")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        return failed(_reason(errors) or f"exit {process.returncode}")
    try:
        return json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return failed("it printed no result")


def failed(message: str) -> dict[str, Any]:
    """A row without numbers."""
    return {"status": "failed", "message": message}


def not_run(message: str) -> dict[str, Any]:
    """A row that this machine or environment cannot run."""
    return {"status": "not run", "message": message}


def _reason(errors: str) -> str:
    """The error of a traceback: of several processes, the first one that names an exception."""
    lines = [line.split("]:", 1)[-1].strip() for line in errors.strip().splitlines()]
    named = [line for line in lines if line.split(":")[0].rpartition(".")[2].endswith(("Error", "Exception"))]
    return (named or [line for line in lines if line] or [""])[0 if named else -1]


class Ledger:
    """The document of a benchmark: rows of earlier runs stay until they run again, and every row names its own run.

    Parameters
    ----------
    name : str
        Module of the benchmark.
    threads : int
    keys : tuple of str
        Fields that tell the rows apart.
    plan : sequence of tuples
        Values of the keys of all rows, in the order of the table.
    path : Path or None
        Where the document is; None keeps nothing.
    quick : bool
        Whether these are the small problems; a document of the other kind is not continued.
    **settings
        Other fields of the document.
    """

    def __init__(
        self, name: str, threads: int, keys: tuple[str, ...], plan: Sequence[tuple], path: Path | None, quick: bool,
        **settings: Any,
    ):  # fmt: skip
        self.name, self.threads, self.keys, self.path = name, threads, keys, path
        self.order = {tuple(map(str, key)): place for place, key in enumerate(plan)}
        old = json.loads(path.read_text("utf-8")) if path is not None and path.exists() else {}
        rows = old.get("results", []) if old.get("quick") == quick else []
        rows = [row for row in rows if self._key(row) in self.order]
        self.document = {**record.provenance(name, threads), "quick": quick, **settings, "results": rows}

    def _key(self, row: dict[str, Any]) -> tuple:
        return tuple(str(row.get(key)) for key in self.keys)

    @property
    def results(self) -> list[dict[str, Any]]:
        """All rows in the order of the plan."""
        return self.document["results"]

    def done(self, *key: Any) -> bool:
        """Whether the row is there and has numbers."""
        wanted = tuple(map(str, key))
        return any(self._key(row) == wanted and row["status"] not in ("failed", "not run") for row in self.results)

    def add(self, key: tuple, result: dict[str, Any]) -> dict[str, Any]:
        """Put a row in its place and write the document; numbers of another machine stay where this one cannot run."""
        if result["status"] == "not run" and self.done(*key):
            return next(row for row in self.results if self._key(row) == tuple(map(str, key)))
        now = record.provenance(self.name, self.threads)
        machine = {name: now["hardware"][name] for name in ("cpu", "cores", "threads")}
        stamp = {"date": now["date"], "commit": self.document["commit"], **machine}
        names = dict(zip(self.keys, key, strict=True))
        row = {**names, **result, **names, "run": stamp}
        rows = [old for old in self.results if self._key(old) != self._key(row)] + [row]
        self.document["results"] = sorted(rows, key=lambda each: self.order[self._key(each)])
        self.document["date"] = now["date"]
        if self.path is not None:
            record.write(self.path, self.document)
        return row


def add_arguments(parser: argparse.ArgumentParser, file: str, rows: Sequence[str], threads: int = 4) -> None:
    """Arguments of every command that keeps a ledger."""
    parser.add_argument(
        "--rows", nargs="+", choices=list(rows), default=list(rows), metavar="ROW", help=", ".join(rows)
    )
    parser.add_argument("--threads", type=int, default=threads, help="of a solve (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small problems, to try the command; not recorded")
    parser.add_argument("--resume", action="store_true", help="leave out rows that the record has already")
    parser.add_argument("--out", type=Path, help=f"the record (default: results/{file}; none with --quick)")


def target(arguments: argparse.Namespace, file: str) -> Path | None:
    """Where the record goes."""
    return arguments.out or (None if arguments.quick else record.RESULTS / file)


def show(row: dict[str, Any], key: str, form: str) -> str:
    """A number of a row as text."""
    value = row.get(key)
    return "-" if value is None else format(value, form)
