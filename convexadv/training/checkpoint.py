"""Checkpoints of a training: complete or absent files that hold tensors and plain values only."""

from __future__ import annotations

import os
import pickle
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
            If the file is truncated, of another kind or of another training.
        """
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
            raise FileFormatError(f"{self.path} is truncated or not a checkpoint ({reason(error)}).") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise FileFormatError(
                f"{self.path} is not a checkpoint of a training of this version ({_FORMAT}); give another path."
            )
        for name, value in self.facts.items():
            if content["facts"].get(name) != value:
                raise FileFormatError(
                    f"{self.path} belongs to another training: its {name} is {content['facts'].get(name)}, not "
                    f"{value}; give another path."
                )
        state: dict[str, Any] = content["state"]
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file.

        Parameters
        ----------
        state : dict
            Of tensors, numbers, strings, lists and dicts.
        """
        with atomic_write(self.path, "wb") as file:
            torch.save({"format": _FORMAT, "facts": self.facts, "state": state}, file)
