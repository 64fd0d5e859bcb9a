"""What every benchmark writes beside its numbers: machine, versions, commit, command and date."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from convexadv._atomic import atomic_write
from convexadv.cli.output import to_json

RESULTS = Path(__file__).parent / "results"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
_PACKAGES = ("numpy", "scipy", "torch", "cvxpy", "clarabel", "scs", "scikit-learn")
_ROOT = Path(__file__).parents[1]
_FOLDER = re.compile(r"\S*/(?=\S+\.safetensors)")


def set_threads(threads: int) -> None:
    """Limit the threads of processes that are started from here; libraries read these when they are loaded."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))


def provenance(module: str, threads: int) -> dict[str, Any]:
    """Machine, versions, commit, command and date of a run of ``python -m module``."""
    return {
        "command": " ".join(["python -m", module, *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "hardware": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "threads": threads,
            "memory_gib": round(_memory() / 2**30, 1),
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def without_folders(command: str) -> str:
    """A recorded command with model files by their names alone: their folders say nothing on another machine."""
    return _FOLDER.sub("", command)


def heading(document: dict[str, Any]) -> str:
    """The record as two lines of text."""
    machine, versions = document["hardware"], document["versions"]
    packages = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return (
        f"{document['date']}, commit {document['commit']}, {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, {machine['memory_gib']} GiB\n{packages}"
    )


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a document as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(str(path), "w") as file:
        file.write(_indented(json.loads(to_json(document))) + "\n")


def _indented(value: Any, margin: str = "") -> str:
    """JSON with a line for every entry of a dictionary or list of dictionaries; lists of numbers stay on one line."""
    inner = margin + " "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_indented(part, inner)}" for key, part in value.items()]
        return f"{{\n{inner}" + f",\n{inner}".join(parts) + f"\n{margin}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"[\n{inner}" + f",\n{inner}".join(_indented(part, inner) for part in value) + f"\n{margin}]"
    return json.dumps(value)


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=_ROOT, capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=normal", "--", "convexadv", "benchmarks/*.py")
        return git("rev-parse", "--short=12", "HEAD").strip() + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
