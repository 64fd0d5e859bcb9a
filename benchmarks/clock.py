"""A clock that stops while a baseline is measured, and the moments at which it is measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_FIRST = 0.02
_FACTOR = 1.25
Points = list[tuple[float, float]]
"""Seconds and objective."""


class Clock:
    """Time of a training without the time of its measurements.

    Parameters
    ----------
    seconds : float
        Limit.
    measure : callable
        The true objective of where the training is.
    steps : int, optional
        Limit that does not depend on the machine.
    """

    def __init__(self, seconds: float, measure: Callable[[], float], steps: int | None = None):
        self.limit, self.measure = seconds, measure
        self.steps, self.done = steps or math.inf, 0
        self.points: Points = []
        self._next, self._paused, self._start = _FIRST, 0.0, time.perf_counter()

    def seconds(self) -> float:
        """Since the start, measurements excluded."""
        return time.perf_counter() - self._start - self._paused

    def share(self) -> float:
        """Of the limits that is spent, at most one."""
        return min(1.0, max(self.seconds() / self.limit, self.done / self.steps))

    def cosine(self) -> float:
        """Factor of the learning rate: from one down to nothing at the limit."""
        return 0.5 * (1.0 + math.cos(math.pi * self.share()))

    def tick(self) -> bool:
        """Measure where it is time to, at moments a quarter apart; whether there is time left."""
        now = self.seconds()
        going = now < self.limit and self.done < self.steps
        self.done += 1
        if now >= self._next or not going:
            begin = time.perf_counter()
            self.points.append((now, self.measure()))
            self._next = max(self._next, now) * _FACTOR
            self._paused += time.perf_counter() - begin
        return going


def best(runs: dict[float, Points]) -> tuple[float, Points]:
    """The setting that ends lowest, and its points with the best objective so far."""
    setting = min(runs, key=lambda key: min(objective for _, objective in runs[key]))
    lowest, points = math.inf, []
    for seconds, objective in runs[setting]:
        lowest = min(lowest, objective)
        points.append((seconds, lowest))
    return setting, points
