"""Seconds of the parts of a long work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PARTS = ("extraction", "perturbation", "solve", "selection")


class Clock:
    """Seconds of the parts of the work."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._sums = dict.fromkeys(PARTS, 0.0)
        self._since: dict[str, float] = {}

    def start(self, name: str) -> None:
        """Let the time of a part run."""
        self._since[name] = time.perf_counter()

    def stop(self, name: str) -> None:
        """Stop it, and add what has passed to the part."""
        self._sums[name] += time.perf_counter() - self._since.pop(name)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.start(name)
        try:
            yield
        finally:
            self.stop(name)

    def seconds(self) -> dict[str, float]:
        """Seconds of every part, and in total since the clock was made."""
        return {**self._sums, "total": time.perf_counter() - self._began}
