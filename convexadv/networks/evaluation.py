"""Scores of many rows: block by block, and whether they overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .._arrays import Array, check_dense, is_tensor, plain_array, to_numpy
from ..errors import InputError
from ..rows import whole
from ..sources import Source

if TYPE_CHECKING:
    from .network import Network

BLOCK = 1 << 22
"""Entries that are evaluated at a time."""


def evaluate(network: Network, X: Array) -> Array:
    """Scores as :meth:`Network.scores` returns them, but infinite or NaN where they overflow.

    Raises
    ------
    InputError
        If X has another shape than (n, d), is not numeric, or holds NaN or infinite values.
    """
    tensor = is_tensor(X)
    if tensor:
        check_dense(X)
    rows: Array = X if tensor or isinstance(X, Source) else plain_array(whole(X), "X")
    network.check_width(tuple(rows.shape))
    if isinstance(rows, np.ndarray) and rows.dtype.kind not in "biuf":
        raise InputError(f"X must hold numbers, got the dtype {rows.dtype}.")
    blocks = [network.shift.new_empty((0,) if network.n_outputs == 1 else (0, network.n_outputs))]
    size = max(1, BLOCK // max(1, network.entries_of_a_row))
    for start in range(0, len(rows), size):
        with torch.no_grad():
            blocks.append(network(_block(network, rows[start : start + size], start)))
    result = torch.cat(blocks)
    return result.to(X.device) if tensor else to_numpy(result)


def check_scores(scores: Array, dtype: torch.dtype = torch.float64, first: int = 0) -> None:
    """Raise InputError where a score (n,) or (n, C) of finite rows is infinite or NaN, and so says nothing of its row.

    Parameters
    ----------
    scores : array or tensor
        Of rows, the number of the first of which is ``first``.
    dtype : torch.dtype
        In which they were computed.
    first : int
        See scores.
    """
    lost = torch.nonzero(~torch.isfinite(torch.as_tensor(scores)))
    if not len(lost):
        return
    row = first + int(lost[0, 0])
    name, remedy = ("float64", "") if dtype == torch.float64 else ("float32", ", or network.double()")
    raise InputError(
        f"row {row} of X is too large for this network: its score overflows in {name}; smaller rows are needed{remedy}."
    )


def _block(network: Network, block: Array, start: int) -> torch.Tensor:
    """Some rows, of which the first has the number ``start``, as a tensor beside the network; InputError if not finite."""
    if not is_tensor(block):  # a copy: read-only and reversed arrays have no tensor form
        dtype = np.float32 if block.dtype == np.float32 else np.float64
        block = torch.from_numpy(np.array(block, dtype=dtype, order="C"))
    block = block.detach().to(network.shift.device)
    block = block if block.is_floating_point() else block.double()
    if not bool(torch.isfinite(block).all()):
        row, column = np.argwhere(~to_numpy(torch.isfinite(block)))[0]
        raise InputError(f"X must be finite: row {start + row}, column {column} is NaN or infinite.")
    return block.contiguous()  # the order of sums, and so every bit, is that of any other layout
