"""Checkpoints of a training: complete or absent files that hold tensors and plain values only."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from .._atomic import atomic_write
from ..errors import FileFormatError, checkpoint_exists, reason, unwritable

_FORMAT = "convexadv-training-1"


class Checkpoint:
    """Where and how often a training is saved.

    Parameters
    ----------
    path : str or path-like
        The file.
    facts : dict of str to str
        What has to be equal for a file to be continued: settings, objective, data, architecture.
    every : float
        Seconds between two files.
    resume : bool
        Continue from the file where there is one; without it an existing file is an error.

    Raises
    ------
    InputError
        If the file exists and ``resume`` is false, or its folder does not exist.
    """

    def __init__(self, path: str | os.PathLike[str], facts: dict[str, str], every: float, resume: bool):
        self.path, self.facts, self.every = Path(path), facts, every
        if not self.path.absolute().parent.is_dir():
            raise unwritable(self.path, "its folder does not exist")
        if self.path.exists() and not resume:
            raise checkpoint_exists(self.path)

    def load(self) -> dict[str, Any] | None:
        """Read the file if there is one; no code of it is run.

        Returns
        -------
        dict or None
            The state that was saved, on the CPU.

        Raises
        ------
        FileFormatError
            If the file is truncated, damaged, of another kind or of another training.
        """
        if not self.path.exists():
            return None
        content = self._read()
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise FileFormatError(
                f"{self.path} is not a checkpoint of a training of this version ({_FORMAT}); give another path."
            )
        facts, state = content.get("facts"), content.get("state")
        if not isinstance(facts, dict) or not isinstance(state, dict):
            raise self.damaged("its facts or its state are missing")
        for name, value in self.facts.items():
            if facts.get(name) != value:
                raise FileFormatError(
                    f"{self.path} belongs to another training: its {name} is {facts.get(name)}, not "
                    f"{value}; give another path."
                )
        return state

    def _read(self) -> Any:
        """What the file holds; torch by itself does not look at the check sums."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                changed = archive.testzip()
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            ValueError,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise self.damaged(reason(error)) from error
        if changed is not None:
            raise self.damaged(f"the check sum of {changed} is another one")
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # of a damaged pickle comes what may, and torch's words advise to run it
            raise self.damaged("it holds something else than tensors and plain values") from error

    def damaged(self, why: str) -> FileFormatError:
        """The error of a file that cannot be continued."""
        return FileFormatError(f"{self.path} is truncated or not a checkpoint ({why}).")

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file.

        Parameters
        ----------
        state : dict
            Of tensors, numbers, strings, lists and dicts.

        Raises
        ------
        OSError
            If the disk is full; the file before stays.
        """
        content = io.BytesIO()  # a full disk is an error of the system then, and not one of torch
        torch.save({"format": _FORMAT, "facts": self.facts, "state": state}, content)
        with atomic_write(self.path, "wb") as file:
            file.write(content.getbuffer())
