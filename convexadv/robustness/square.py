"""The Square attack: random search in linf balls, which asks for scores only (Andriushchenko et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .pgd import Neighbourhood

_SHARE = 0.8
"""Share of an image that the first squares cover."""
_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, out of 10,000, after which the share is halved."""


def square_search(
    merit_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ball: Neighbourhood,
    shape: tuple[int, ...],
    queries: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Look for points of positive merit by changing random squares of the rows by the whole radius.

    Starts from vertical stripes of +-radius. A query sets a square window of every row, each channel to its own side
    of the ball, and is kept where the merit grows. The windows shrink as the queries are used up (arXiv 1912.00049,
    algorithms 1 and 2, with the schedule of its appendix).

    Parameters
    ----------
    merit_fn : callable
        Takes points (m, d) and the numbers of their rows (m,); returns what they are worth (m,), positive where a point
        is what is sought. No gradient is asked for.
    ball : Neighbourhood
        Of n rows (n, d), in linf.
    shape : tuple of int
        Of a row: (c, h, w), (h, w), or any other, which is taken as a line of features.
    queries : int
        For each row; a row that has been successful asks no more.
    generator : torch.Generator
        On the CPU, so that every device draws the same.

    Returns
    -------
    tensor (n, d)
        Inside the balls up to rounding, inside the box exactly.
    """
    n, (c, h, w) = len(ball.rows), _picture(shape)
    radius = ball.radius.to(ball.rows.dtype)[:, None]
    stripes = _signs((n, c, 1, w), generator).expand(n, c, h, w).reshape(n, -1).to(ball.rows)
    best = ball.project(ball.rows + radius * stripes)
    with torch.no_grad():
        merit = merit_fn(best, torch.arange(n))
        for query in range(1, queries):
            windows = _windows(n, (c, h, w), _share(query, queries), generator).to(ball.rows)
            todo = torch.nonzero(~(merit > 0))[:, 0]
            if not len(todo):
                break
            part = ball[todo]
            window = windows[todo]
            moved = part.rows + radius[todo] * window
            points = part.project(torch.where(window != 0, moved, best[todo]))
            found = merit_fn(points, todo.cpu())
            better = found > merit[todo]
            best[todo] = torch.where(better[:, None], points, best[todo])
            merit[todo] = torch.where(better, found, merit[todo])
    return best


def _picture(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (1, shape[0], shape[1]) if len(shape) == 2 else (1, 1, int(torch.Size(shape).numel()))


def _share(query: int, queries: int) -> float:
    """Share of the picture that a window of this query covers."""
    place = int(10_000 * query / queries)
    return _SHARE / 2 ** sum(place > after for after in _HALVED_AFTER)


def _windows(n: int, size: tuple[int, int, int], share: float, generator: torch.Generator) -> torch.Tensor:
    """One window a row (n, d): +-1 inside, with one sign a channel, zero outside."""
    c, h, w = size
    side = max(1, round((share * h * w) ** 0.5)) if min(h, w) > 1 else max(1, round(share * h * w))
    height, width = min(side, h), min(side, w)
    top = torch.randint(0, h - height + 1, (n, 1), generator=generator)
    left = torch.randint(0, w - width + 1, (n, 1), generator=generator)
    rows, columns = torch.arange(h)[None], torch.arange(w)[None]
    inside = ((rows >= top) & (rows < top + height))[:, :, None] & ((columns >= left) & (columns < left + width))[
        :, None
    ]
    return (inside[:, None] * _signs((n, c, 1, 1), generator)).reshape(n, -1)


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return 2.0 * torch.randint(0, 2, shape, generator=generator) - 1.0
