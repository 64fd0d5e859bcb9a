"""Rows of `benchmarks.heads`: what is done is kept in build/heads, what is not is attacked."""

from __future__ import annotations

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import attacked
from benchmarks.heads_report import TUNED
from convexadv._atomic import atomic_write
from convexadv.training import Images

WORK = Path("build") / "heads"
_SETTINGS = ("rows", "images", "sizes", "methods", "precision", "queries", "black_box", "attack", "validation")


class Store:
    """Rows that are done, with the images that are right, in build/heads.

    A run that ended early goes on, and parts may run side by side (--heads) and be collected by one more run with --resume.
    """

    def __init__(self, data: str, arguments: argparse.Namespace):
        self.settings = {name: str(getattr(arguments, name)) for name in _SETTINGS}
        self.settings["backbone"] = Path(arguments.backbone).name
        self.tuned = {"tuned": Path(arguments.tuned).name} if arguments.tuned else {}
        self.folder, self.resume = WORK / data, arguments.resume

    def load(self, name: str, seed: int | None) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """A row and its images, if they were saved under the same settings."""
        path = self._path(name, seed)
        if not self.resume or not path.exists():
            return None
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            found = {key: file[key] for key in file.files if key != "about"}
        return (about["row"], found) if about["settings"] == self._settings(name) else None

    def save(self, row: dict[str, Any], found: dict[str, np.ndarray]) -> None:
        """Keep a row."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"settings": self._settings(row["model"]), "row": row})
        with atomic_write(self._path(row["model"], row["seed"]), "wb") as file:
            np.savez_compressed(file, about=about, **found)

    def _settings(self, name: str) -> dict[str, str]:
        return self.settings | (self.tuned if name.endswith(TUNED) else {})

    def _path(self, name: str, seed: int | None) -> Path:
        words = name.replace(", ", "-").replace(" ", "-")
        return self.folder / (f"{words}.npz" if seed is None else f"{words}-{seed}.npz")


class Judge:
    """Attacks on models; those without gradients, and from the network as trained, at one size."""

    def __init__(self, base: torch.nn.Module, test: Images, arguments: argparse.Namespace):
        self.base, self.test, self.arguments = base, test, arguments

    @functools.cached_property
    def points(self) -> np.ndarray:
        """Adversarial points of the network as trained."""
        return attacked.points_of(self.base, self.test, self.arguments.black_box)

    def __call__(self, model: torch.nn.Module) -> dict[str, np.ndarray]:
        """Images that are right, by attack."""
        settings, size = self.arguments, self.arguments.black_box
        found = attacked.survivors(
            model, self.test, settings.sizes, settings.methods, say=_say, precision=settings.precision
        )
        started = time.perf_counter()
        found |= attacked.without_gradients(model, self.test, size, [self.points], settings.queries)
        for attack in ("square", "transfer"):
            _say(f"    {attack} {size:g}/255: {100 * found[attack].mean():.2f} %")
        _say(f"    {time.perf_counter() - started:.0f} s")
        if size in settings.sizes:
            found["worst"][settings.sizes.index(size) :] &= found["square"] & found["transfer"]
        return found


def _say(line: str) -> None:
    print(line, flush=True)
