"""Sums over rows that lie in several processes: torch.distributed behind four calls, and the same calls for one process.

Every process holds rows of its own. What has to be known of all rows (sums of losses, gradients and moments, largest
norms, classes) passes through an object of this module, so that its size never depends on the number of rows. All
processes receive the same numbers to the last bit, hence take the same decisions.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ._arrays import Array, is_tensor
from .errors import InputError, ProcessError


class Together:
    """One process by itself: every call returns what it was given.

    Attributes
    ----------
    rank, size : int
        Number of this process, and of processes.
    bytes : int
        Sent through reductions and gatherings so far.
    """

    rank, size, bytes = 0, 1, 0

    def total(self, array: Array) -> Array:
        """Elementwise sum of a float array over the processes."""
        return array

    def sum(self, value: float) -> float:
        """Sum of a number."""
        return float(self.total(np.array([value]))[0])

    def largest(self, value: float) -> float:
        """Largest of a number."""
        return value

    def smallest(self, value: float) -> float:
        """Smallest of a number."""
        return -self.largest(-value)

    def any(self, value: bool) -> bool:
        """Whether it holds in any process."""
        return self.largest(float(value)) > 0.0

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes in the order of their ranks; for small objects."""
        return [value]

    def first(self, value: Any) -> Any:
        """The value of the first process."""
        return value


ALONE = Together()


class ProcessGroup(Together):
    """The processes of a torch.distributed group.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, optional
        The default group if not given.

    Raises
    ------
    InputError
        If torch.distributed is not initialised.
    """

    def __init__(self, group: Any = None):
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()):
            raise InputError(
                "process_group needs torch.distributed; call torch.distributed.init_process_group first, "
                "or start the command with torchrun."
            )
        self._dist, self._group = dist, None if group is True else group
        self.rank, self.size = dist.get_rank(self._group), dist.get_world_size(self._group)
        self._on_gpu = "nccl" in dist.get_backend(self._group)
        self.bytes = 0

    def total(self, array: Array) -> Array:
        """Elementwise sum over the processes, the same bits everywhere."""
        import torch

        tensor = array.clone() if is_tensor(array) else torch.as_tensor(np.array(array, np.float64))
        place = tensor.device
        tensor = self._placed(tensor.contiguous())
        self._call(self._dist.all_reduce, tensor)
        self.bytes += tensor.numel() * tensor.element_size()
        tensor = tensor.to(place)
        return tensor if is_tensor(array) else tensor.numpy()

    def largest(self, value: float) -> float:
        """Largest of a number."""
        import torch

        tensor = self._placed(torch.tensor([value], dtype=torch.float64))
        self._call(self._dist.all_reduce, tensor, op=self._dist.ReduceOp.MAX)
        self.bytes += 8
        return float(tensor[0])

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes in the order of their ranks."""
        values: list[Any] = [None] * self.size
        self._call(self._dist.all_gather_object, values, value)
        return values

    def first(self, value: Any) -> Any:
        """The value of the first process."""
        values = [value]
        self._call(self._dist.broadcast_object_list, values, src=self._source())
        return values[0]

    def _source(self) -> int:
        return 0 if self._group is None else self._dist.get_global_rank(self._group, 0)

    def _placed(self, tensor: Any) -> Any:
        return tensor.cuda() if self._on_gpu else tensor.cpu()

    def _call(self, function: Any, *arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, group=self._group, **options)
        except RuntimeError as error:
            raise ProcessError(
                f"process {self.rank} of {self.size} lost the others ({reason_of(error)}); start all of them again, "
                "with resume=True where a checkpoint was kept."
            ) from error


def reason_of(error: Exception) -> str:
    """What an error of torch.distributed says first, without the place in its source and the advice that follows."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return re.sub(r"^\[[^\]]*\]\s*", "", lines[0]).split(". ")[0].rstrip(".")


def together(process_group: Any) -> Together:
    """The object for a ``process_group`` argument: None is one process, True the default group.

    Parameters
    ----------
    process_group : torch.distributed.ProcessGroup, True, Together or None
    """
    if process_group is None or process_group is False:
        return ALONE
    return process_group if isinstance(process_group, Together) else ProcessGroup(process_group)
