"""Checkpoints of a running solve: complete or absent files, written between two sweeps.

A checkpoint holds neurons, multipliers and the best pair of bounds of every component, as safetensors with a JSON header;
reading it never runs code. Several processes write a file each, in two generations, so that a common one survives
whenever they are killed.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..._atomic import atomic_write
from ...errors import FileFormatError, InputError, checkpoint_exists, reason, unwritable
from ...problems.base import Problem

_FORMAT = "convexadv-checkpoint"
_VERSION = 2


class Checkpoint:
    """Where and how often a solve is saved.

    Parameters
    ----------
    path : str or path-like
        The file; several processes write ``path.RANK-of-SIZE.GENERATION`` beside it.
    problem : Problem
        Which problem a file has to speak of.
    every : float
        Seconds between two files.
    resume : bool
        Continue from the file where there is one; without it an existing file is an error.

    Raises
    ------
    InputError
        If its folder does not exist, or :func:`check_existing` refuses what is there.
    FileFormatError
        If a file cannot be read or is not that of the problem.
    """

    def __init__(self, path: str | os.PathLike[str], problem: Problem, every: float = 30.0, resume: bool = False):
        self.path, self.every, self.together = Path(path), every, problem.together
        self.fingerprint = fingerprint(problem)
        self.generation, self.last = 0, time.perf_counter()
        if not self.path.absolute().parent.is_dir():
            raise unwritable(self.path, "its folder does not exist")
        check_existing(path, self.together.size, resume)

    def _files(self) -> list[Path]:
        if self.together.size == 1:
            return [self.path]
        suffix = f".{self.together.rank}-of-{self.together.size}."
        return [self.path.with_name(self.path.name + suffix + str(generation)) for generation in range(2)]

    def due(self) -> bool:
        """Whether it is time, in any process."""
        return self.together.any(time.perf_counter() - self.last >= self.every)

    def save(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        """Write a checkpoint; the one before stays until it is complete."""
        from safetensors.numpy import save

        self.generation += 1
        files = self._files()
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "fingerprint": self.fingerprint,
            "generation": self.generation,
            "facts": facts,
        }
        arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        header["sha256"] = _digest(header, arrays)
        with atomic_write(str(files[self.generation % len(files)]), "wb") as file:
            file.write(save(arrays, _metadata(header)))
        self.last = time.perf_counter()

    def load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """The last checkpoint that all processes have, or None if there is none."""
        found = {generation: (arrays, facts) for generation, arrays, facts in map(self._read, self._present())}
        common = set.intersection(*(set(numbers) for numbers in self.together.gather(sorted(found))))
        if not common:
            return None
        self.generation = max(common)
        return found[self.generation]

    def _present(self) -> list[Path]:
        return [file for file in self._files() if file.exists()]

    def _read(self, file: Path) -> tuple[int, dict[str, np.ndarray], dict[str, Any]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(file), "np") as content:
                header = json.loads((content.metadata() or {}).get(_FORMAT, "null"))
                arrays = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, RecursionError) as error:
            raise FileFormatError(
                f"{file} is no readable checkpoint ({reason(error)}); delete it to start anew."
            ) from None
        if not isinstance(header, dict) or header.get("version") != _VERSION:
            raise FileFormatError(f"{file} is not a checkpoint of this version of convexadv; delete it to start anew.")
        if header.get("sha256") != _digest(header, arrays):
            raise FileFormatError(
                f"{file} is damaged: its content does not have the digest that it was written with; delete it to start anew."
            )
        if header["fingerprint"] != self.fingerprint:
            raise FileFormatError(
                f"{file} belongs to another problem (data, labels or settings differ); give another path."
            )
        return header["generation"], arrays, header["facts"]


def check_existing(path: str | os.PathLike[str], size: int, resume: bool) -> None:
    """Raise InputError where the files at a path are not to be continued, or not by this number of processes.

    Parameters
    ----------
    path : str or path-like
        As :class:`Checkpoint` takes it.
    size : int
        Number of processes of this solve.
    resume : bool
        Whether it may continue from the files.
    """
    text = os.fspath(path)
    found = [text] if os.path.exists(text) else []
    found += sorted(file for file in glob.glob(glob.escape(text) + ".*-of-*.[01]") if _writers(text, file) > 1)
    if found and not resume:
        raise checkpoint_exists(found[0])
    sizes = [_writers(text, file) for file in found]
    if sizes and size not in sizes:
        started = "one process" if sizes[0] == 1 else f"{sizes[0]} processes"
        raise InputError(
            f"{found[0]} is of a solve by {started}, and this is one by {size}; start as many, or give another path."
        )


def _writers(path: str, file: str) -> int:
    """Number of processes that write a file; 0 if it is none of theirs."""
    if file == path:
        return 1
    match = re.fullmatch(r"\.\d+-of-(\d+)\.[01]", file[len(path) :])
    return int(match[1]) if match else 0


def _digest(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of a header, but for the digest in it, and of arrays with their names, types and shapes."""
    rest = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _metadata(header: dict[str, Any]) -> dict[str, str]:
    return {_FORMAT: json.dumps(header)}


def fingerprint(problem: Any) -> str:
    """A digest of the settings, labels, radii and weights, and of the first and last rows, of this process."""
    digest = hashlib.sha256()
    settings = [problem.rows.n, problem.rows.d, problem.beta, problem.loss.name, problem.norm, problem.multiclass]
    settings += [list(problem.activation), problem.clean_weight, problem.together.rank]
    settings += [None if part is None else part[1] for part in (problem.hard_margin, problem.margin_curve)]
    digest.update(json.dumps(settings).encode())
    ends = problem.rows.take(np.array([0, problem.rows.n - 1]))
    for array in (problem.targets, problem.radius, problem.sample_weight, problem.scale, ends):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
