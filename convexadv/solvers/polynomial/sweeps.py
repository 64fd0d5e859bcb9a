"""Passes over the data: all components' requests answered at once, block by block, in one or several processes.

A block is read once a sweep, whatever the number of components: its products with the neurons of all of them are one
matrix product, and so are the products of its transpose. Contributions are added in the order of the blocks, then over the
processes, so that results depend neither on threads nor on who came first. What processes exchange is one vector a sweep,
of the size of the gradients or moments.
"""

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..._arrays import to_tensor
from ..._memory import release
from ...problems.chunks import Chunk, chunked
from ...problems.polynomial import PolynomialProblem
from ...rows import Rows
from .works import WORKS, Visit, Work

_BLOCK_BYTES = (4 << 20, 32 << 20)
"""Bytes of a block in float64, least and most: the interpreter's time for the many small steps of a block stays small
beside their work. An eighth of the data lies between; the number of threads plays no role, so that it changes no result."""
_MOST_ROWS = 1 << 15
_ON_DEVICE = 1 << 28
"""Bytes of a block on a GPU, where small blocks leave it idle."""


_LARGE = 1 << 26
"""Bytes of data in float64 from which memory is given back after sweeps that form moments or collect rows."""


class Sweeps:
    """The data of a problem on a device, and its terms block by block.

    Parameters
    ----------
    problem : PolynomialProblem
    device : torch.device
    data_type : torch.dtype
        Of the products of works that do not ask for exact ones.
    threads : int
        Blocks that are worked on at a time, by a thread each, on the CPU.
    """

    def __init__(self, problem: PolynomialProblem, device: Any, data_type: Any, threads: int = 1):
        import torch

        self.torch, self.together = torch, problem.together
        self.device, self.data_type = device, data_type
        self.rows = {kind: self._rows(problem, kind) for kind in {data_type, torch.float64}}
        self._readers = {kind: [load for _, load in rows.readers()] for kind, rows in self.rows.items()}
        self.chunks = chunked(self.rows[torch.float64], problem.components, self._tensor)
        self._warm: list[dict] = [{} for _ in self.chunks]
        self._pool, self._threads = None, threads
        if device.type == "cpu" and min(threads, len(self.chunks)) > 1:
            self._pool = ThreadPoolExecutor(threads, "convexadv", initializer=torch.set_num_threads, initargs=(1,))
        self._large = 8 * problem.rows.n * problem.rows.d >= _LARGE
        self.count = 0

    def _rows(self, problem: PolynomialProblem, kind: Any) -> Rows:
        rows = problem.rows.to_torch(self.device, kind)
        rows.block_rows = max(256, _ON_DEVICE // (8 * rows.d))
        if self.device.type == "cpu":
            least, most = _BLOCK_BYTES
            size = min(max(rows.n * rows.d, least), most)  # an eighth of the bytes in float64
            rows.block_rows = min(max(256, size // (8 * rows.d)), _MOST_ROWS)
        return rows

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _tensor(self, array: Any) -> Any:
        return to_tensor(array, self.device)

    def serve(self, requests: list[Any]) -> list[Any]:
        """Answer requests of any kinds in one pass, in the same order."""
        works = [WORKS[type(request)](request) for request in requests]
        self.count += any(work.columns is not None or work.needs_rows for work in works)
        groups = [
            _Group([place for place, work in enumerate(works) if work.exact == exact], works) for exact in (True, False)
        ]
        groups = [group for group in groups if group.places]
        total = _Total(len(works))
        visit_all = functools.partial(self._visits, groups=groups)
        numbers = range(len(self.chunks))
        for visits in map(visit_all, numbers) if self._pool is None else self._ahead(visit_all, numbers):
            for place, visit in visits:
                total.add(place, visit)
        sums = total.everywhere(works, self.together, self.torch)
        answers = [work.answer(*parts) for work, *parts in zip(works, sums, total.kept, strict=True)]
        if self._large and any(work.needs_rows for work in works):
            release()
        return answers

    def _ahead(self, function: Callable[[int], Any], numbers: range) -> Iterator[Any]:
        """Results in order, computed by the threads a few blocks ahead: what waits to be added up takes memory."""
        assert self._pool is not None
        waiting: collections.deque[Future] = collections.deque()
        for number in numbers:
            waiting.append(self._pool.submit(function, number))
            if len(waiting) > self._threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _visits(self, number: int, groups: list[_Group]) -> list[tuple[int, Visit]]:
        chunk, result = self.chunks[number], []
        for group in groups:
            kind = self.torch.float64 if group.exact else self.data_type
            block = self._readers[kind][number]() if group.columns is not None or group.needs_rows else None
            result += group.visits(number, chunk, block, self._warm[number], self.torch)
        return result


class _Group:
    """Works that share the products with a block, in one arithmetic."""

    def __init__(self, places: list[int], works: list[Work]):
        import torch

        self.places, self.works = places, [works[place] for place in places]
        self.exact = bool(self.works) and self.works[0].exact
        self.needs_rows = any(work.needs_rows for work in self.works)
        parts = [work.columns for work in self.works if work.columns is not None]
        self.columns = torch.cat(parts) if parts else None

    def visits(self, number: int, chunk: Chunk, block: Any, warm: dict, torch: Any) -> list[tuple[int, Visit]]:
        """Number of a work and what the chunk contributes to it."""
        products: Any = None
        if self.columns is not None:
            products = (block @ self.columns.T.to(block.dtype)).to(torch.float64)
        first, visits = 0, []
        for work in self.works:
            own = None
            if work.columns is not None:
                own = products[:, first : first + len(work.columns)]
                first += len(work.columns)
            visits.append(work.visit(number, chunk, block, own, warm))
        backs = [visit.back for visit in visits if visit.back is not None]
        if backs:
            pulled = (block.T @ torch.cat(backs, 1).to(block.dtype)).to(torch.float64)
            parts = iter(pulled.split([back.shape[1] for back in backs], 1))
            visits = [visit if visit.back is None else visit._replace(back=next(parts)) for visit in visits]
        return list(zip(self.places, visits, strict=True))


class _Total:
    """Sums of the contributions of the chunks to every work."""

    def __init__(self, count: int):
        self.sums: list[list[Any] | None] = [None] * count
        self.backs: list[Any] = [None] * count
        self.kept: list[list[Any]] = [[] for _ in range(count)]

    def add(self, place: int, visit: Visit) -> None:
        """Add a chunk to a work."""
        old = self.sums[place]
        if old is None:
            self.sums[place] = list(visit.sums)
        else:
            for k, array in enumerate(
                visit.sums
            ):  # one by one: a new list beside the old one would be twice the moments
                old[k] = old[k] + array
        if visit.back is not None:
            back = self.backs[place]
            self.backs[place] = visit.back if back is None else back + visit.back
        self.kept[place].append(visit.kept)

    def everywhere(self, works: list[Work], together: Any, torch: Any) -> list[list[Any]]:
        """Sums over all processes, exchanged as one vector."""
        sums = [work.own(part or [], back) for work, part, back in zip(works, self.sums, self.backs, strict=True)]
        flat = [array for part in sums for array in part]
        if together.size == 1 or not flat:
            return sums
        whole = together.total(torch.cat([array.reshape(-1) for array in flat]))
        pieces = iter(whole.split([array.numel() for array in flat]))
        shaped = (piece.reshape(array.shape) for piece, array in zip(pieces, flat, strict=True))
        return [[next(shaped) for _ in part] for part in sums]


def side_by_side(sweeps: Sweeps, jobs: list[Generator], watch: Callable[[], Any] = lambda: None) -> None:
    """Run generators of requests together: every sweep answers one request of each that is not done.

    Parameters
    ----------
    sweeps : Sweeps
    jobs : list of generators
    watch : callable
        Called after every sweep.
    """
    waiting: list[tuple[Generator, Any]] = []
    for job in jobs:
        _advance(job, None, waiting)
    while waiting:
        answers = sweeps.serve([request for _, request in waiting])
        watch()
        now, waiting = waiting, []
        for (job, _), answer in zip(now, answers, strict=True):
            _advance(job, answer, waiting)


def _advance(job: Generator, answer: Any, waiting: list[tuple[Generator, Any]]) -> None:
    with contextlib.suppress(StopIteration):
        waiting.append((job, job.send(answer)))
