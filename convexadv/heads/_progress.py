"""A bar for long work, when a person watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def watched(items: Iterable[Item], title: str, total: int, done: int = 0) -> Iterator[Item]:
    """The items, with a bar on stderr if that is a terminal.

    Parameters
    ----------
    items : iterable
        What is still to do.
    title : str
        In front of the bar.
    total, done : int
        Number of all items, and of those done before.

    Yields
    ------
    item
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=done, desc=title, file=sys.stderr, dynamic_ncols=True, leave=False) as bar:
        for item in items:
            yield item
            bar.update()
