"""Progress of a solve: a bar for a person who watches, and lines that say when the gap closed."""

from __future__ import annotations

import math
import sys
from typing import Any, TypeVar

from ..problems.base import Problem
from ..solvers import Record

AnyBar = TypeVar("AnyBar", bound="_Bar")


class _Bar:
    """A bar that closes at the end of a with block; ``_bar`` is None where there is none."""

    _bar: Any = None

    def __enter__(self: AnyBar) -> AnyBar:
        return self

    def __exit__(self, *reason: object) -> None:
        if self._bar is not None:
            self._bar.close()


class Progress(_Bar):
    """Callback of a solve that draws a bar on stderr, if stderr is a terminal.

    Parameters
    ----------
    problem : Problem
        For the gap of a record.
    title : str
        In front of the bar.
    tol : float
        Gap at which the bar is full; the bar is logarithmic in the gap.
    show : bool
        Whether a bar is wanted; there is none anyway if stderr is no terminal.
    milestones : bool
        Whether stdout gets a line whenever the gap falls below another power of ten.
    """

    def __init__(self, problem: Problem, title: str, tol: float, show: bool = True, milestones: bool = False):
        self._problem, self._tol, self._milestones = problem, tol, milestones
        self._next = 1.0
        if show and sys.stderr.isatty():
            from tqdm import tqdm

            form = "{desc} |{bar:24}| {elapsed}{postfix}"
            self._bar = tqdm(total=1.0, desc=title, bar_format=form, file=sys.stderr, dynamic_ncols=True)

    def __call__(self, record: Record) -> bool:
        """Take one record; never asks the solver to stop."""
        gap = math.inf
        if math.isfinite(record.objective):
            gap = self._problem.gap(record.objective, record.lower_bound)
        text = (
            f"objective {record.objective:.6f}  bound {record.lower_bound:.6f}  gap {gap:.1e}  neurons {record.neurons}"
        )
        if self._milestones and gap < self._next:
            self._write(f"  {record.time:7.2f} s  {text}")
            while gap < self._next:
                self._next /= 10.0
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(max(0.0, self._done(gap) - self._bar.n))
            self._bar.refresh()
        return False

    def _done(self, gap: float) -> float:
        """How full the bar is, from 0 (gap 1) to 1 (gap at the tolerance)."""
        if gap <= self._tol:
            return 1.0
        return min(1.0, math.log(gap) / math.log(self._tol)) if gap < 1.0 else 0.0

    def _write(self, line: str) -> None:
        if self._bar is None:
            sys.stdout.write(f"{line}\n")
        else:
            self._bar.write(line, file=sys.stdout)


class PartsBar(_Bar):
    """Callback of ``robust_accuracy`` that draws a bar of its parts on stderr, if stderr is a terminal.

    Parameters
    ----------
    title : str
        In front of the bar.
    """

    def __init__(self, title: str):
        self._title = title

    def __call__(self, what: str, radius: float, done: int, total: int) -> None:
        """Show that a part begins, after ``done`` of ``total`` parts."""
        if self._bar is None:
            if not sys.stderr.isatty():
                return
            from tqdm import tqdm

            form = "{desc} |{bar:24}| {n_fmt}/{total_fmt} {elapsed}{postfix}"
            self._bar = tqdm(total=total, desc=self._title, bar_format=form, file=sys.stderr, dynamic_ncols=True)
        self._bar.set_postfix_str("done" if what == "done" else f"{what}, radius {radius:g}", refresh=False)
        self._bar.update(done - self._bar.n)
        self._bar.refresh()
