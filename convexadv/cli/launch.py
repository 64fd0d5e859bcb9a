"""Processes that torchrun started for one ``fit``: their group, and one voice for all of them when something goes wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import InputError, ProcessError
from .exit_codes import ExitCode, Quiet, code_of

if TYPE_CHECKING:
    from ..processes import Together

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_GRACE = 3.0
"""Seconds that the process which holds the common store waits for the others to look into it, after a failure."""


def launched() -> tuple[int, int]:
    """Number of this process, and of processes, as torchrun sets them in the environment; (0, 1) without torchrun.

    Raises
    ------
    InputError
        If they are no such numbers.
    """
    if not all(name in os.environ for name in _VARIABLES):
        return 0, 1
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError:
        rank, size = -1, 0
    if not 0 <= rank < size:
        raise InputError(
            f"RANK={os.environ['RANK']} and WORLD_SIZE={os.environ['WORLD_SIZE']} are set, which are no process and "
            "number of processes; start with torchrun, or unset them."
        )
    return rank, size


@contextlib.contextmanager
def processes(device: str | None) -> Iterator[Together]:
    """The processes that torchrun started, joined by gloo, or by NCCL for ``device`` "cuda": each takes the card LOCAL_RANK.

    An error in any process ends all of them: the first to fail raises it, the others :class:`Quiet` with the same code.
    Without torchrun, and with one process, the process is by itself.

    Raises
    ------
    InputError
        If the processes cannot be joined, or there is no card for this one.
    """
    from ..processes import ALONE, ProcessGroup

    rank, size = launched()
    if size == 1:
        yield ALONE
        return
    store = _store(rank)
    try:
        with _until_terminated(rank, size):
            _join(store, rank, size, device)
            yield ProcessGroup(True)
    except (Exception, KeyboardInterrupt) as error:
        code = ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else code_of(error)
        said = None if code is None else _said(store, rank, size, code)
        if said is None:
            raise
        raise Quiet(said) from error
    finally:
        _leave()


class _Terminated(BaseException):
    """SIGTERM, which torchrun sends to the other processes when one is lost."""


@contextlib.contextmanager
def _until_terminated(rank: int, size: int) -> Iterator[None]:
    """Turn SIGTERM into a ProcessError, so that files under way are removed and the sentence is said."""

    def handle(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until the sentence is said
        if not isinstance(error, _Terminated):
            raise
        raise ProcessError(
            f"process {rank} of {size} was told to end: another one was lost, or the job was cancelled; start all of them "
            "again, with resume=True where a checkpoint was kept."
        ) from None
    signal.signal(signal.SIGTERM, before)


def _store(rank: int) -> Any:
    """What the processes can leave words in for each other, besides their group; torchrun keeps it alive."""
    from torch.distributed import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    from ..processes import reason_of

    try:
        store, _, _ = next(rendezvous("env://"))
    except (RuntimeError, ValueError, OSError) as error:
        if rank > 0:
            raise Quiet(ExitCode.PROCESS_LOST) from error
        raise ProcessError(
            f"the processes that torchrun started cannot find each other ({reason_of(error)}); start all of them again."
        ) from error
    return PrefixStore("convexadv", store)


def _join(store: Any, rank: int, size: int, device: str | None) -> None:
    import torch
    import torch.distributed as dist

    from ..processes import reason_of

    on_gpu = device is not None and device.startswith("cuda")
    if on_gpu:
        _take_card(str(device), torch)
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=size)
    except RuntimeError as error:
        raise ProcessError(
            f"process {rank} of {size} could not join the others ({reason_of(error)}); start all of them again."
        ) from error


def _take_card(device: str, torch: Any) -> None:
    """Make the card LOCAL_RANK the one that "cuda" means here."""
    if device != "cuda":
        raise InputError(
            f"--device {device} names one card; under torchrun give --device cuda, a card for each process."
        )
    count, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if local >= count:
        raise InputError(
            f"--device cuda needs a card for each process of a machine, and torch finds {count} here; start at most as many "
            "processes, or use --device cpu."
        )
    torch.cuda.set_device(local)


def _said(store: Any, rank: int, size: int, code: ExitCode) -> ExitCode | None:
    """Note a failure; the code of the first one, or None if this is the first (or the store is gone), which is said."""
    try:
        own = f"{rank} {int(code)}"
        first = store.compare_set("first", "", own).decode()
        store.add("failures", 1)
        if rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            end = time.monotonic() + _GRACE  # the store ends with this process
            while store.add("failures", 0) < size and time.monotonic() < end:
                time.sleep(0.05)
    except RuntimeError:
        return None
    return None if first == own else ExitCode(int(first.split()[1]))


def _leave() -> None:
    import torch.distributed as dist

    with contextlib.suppress(Exception):  # the others may be gone already
        if dist.is_initialized():
            dist.destroy_process_group()
