"""What the solves of all torch backends share: clock, limits, history, threads, and the way from results to a Solution."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import InputError
from ..problems.base import Problem
from ..problems.certificate import OptimalityCertificate
from .solution import Record, Solution, Status, measure


def refuse(options: dict[str, Any]) -> None:
    """Raise InputError for options that no torch backend has."""
    if options:
        raise InputError(
            f"the torch backend has no option {sorted(options)[0]!r}; see convexadv.solve for its arguments."
        )


@contextlib.contextmanager
def threads(small: bool) -> Iterator[int]:
    """One thread for torch where threads only wait for each other; yields the user's number, which is restored."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if small else before)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


class Run:
    """One solve.

    Parameters
    ----------
    problem : Problem
    tol : float
    time_limit : float or None
        Seconds from now.
    callback : callable or None
    verbose : bool
    logger : logging.Logger
        Of the backend.
    """

    feasibility = 1e-9
    """Violation up to which the network's objective counts."""
    unit = "blocks"
    """What the last number of a record counts, for the log."""

    def __init__(
        self,
        problem: Problem,
        tol: float,
        time_limit: float | None,
        callback: Callable[[Record], Any] | None,
        verbose: bool,
        logger: logging.Logger,
    ):
        self.problem: Any = problem
        self.tol, self.callback, self.verbose, self.logger = tol, callback, verbose, logger
        self.start = time.perf_counter()
        self.deadline = math.inf if time_limit is None else self.start + time_limit
        self.history: list[Record] = []
        self.status: Status | None = None

    def in_time(self) -> bool:
        """Whether the time limit lies ahead."""
        return time.perf_counter() < self.deadline

    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.start

    def record(self, upper: float, lower: float, size: int) -> Any:
        """Write a line of history and log; what the callback says of it."""
        record = Record(self.seconds(), upper, lower, size)
        self.history.append(record)
        level = logging.INFO if self.verbose else logging.DEBUG
        values = vars(record).values()
        self.logger.log(level, f"%8.2f s  objective %.8g  bound %.8g  {self.unit} %d", *values)
        return self.callback(record) if self.callback is not None else False

    def verdict(self, gap: float) -> Status:
        """Status of an answer with a measured gap."""
        status = self.status or Status.STALLED
        if status is not Status.STOPPED and gap <= self.tol:
            return Status.OPTIMAL
        return Status.UNCERTIFIED if self.problem.beta == 0 else status

    def conclude(
        self, solve_time: float, certificate: OptimalityCertificate, network: Any, variables: dict[str, Any]
    ) -> Solution:
        """The solution, its numbers measured by the problem."""
        numbers = measure(self.problem, network, certificate, self.feasibility)
        return Solution(
            status=self.verdict(numbers["gap"]),
            certificate=certificate,
            network=network,
            variables=variables,
            history=self.history,
            solve_time=solve_time,
            solver="torch",
            **numbers,
        )


def network_of(start: Any) -> Any:
    """The network of a warm start, which is one or a Solution."""
    return start.network if isinstance(start, Solution) else start
