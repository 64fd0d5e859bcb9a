"""The fewest neurons that represent a network: the rank of its lift, by the neural decomposition."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...rotations import equalise
from .model import Neurons

NEGLIGIBLE = 1e-6
"""Share of the penalty that may be dropped: far below any gap asked for, and the solver goes on afterwards."""


def consolidated(neurons: Neurons, share: float = NEGLIGIBLE) -> Neurons:
    r"""Neurons of the same sign and output merged to the numerical rank of their lift.

    With y_j = (v_j, ||v_j||), Z = sum_j y_j y_j' keeps the function and the penalty. Eigenvalues that sum to less than
    ``share`` of the trace are dropped, the trace equality is restored, and Z is decomposed again into rank(Z) neurons.
    """
    import torch

    parts = []
    for output in torch.unique(neurons.outputs).tolist():
        for sign in (1.0, -1.0):
            chosen = neurons.chosen((neurons.outputs == output) & (neurons.signs == sign))
            if len(chosen.signs):
                vectors = _reduced(chosen.vectors, share)
                parts.append(
                    Neurons(
                        vectors,
                        vectors.new_full((len(vectors),), sign),
                        chosen.outputs[:1].repeat(len(vectors)),
                    )
                )
    if not parts:
        return neurons
    return Neurons(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _reduced(vectors: Any, share: float) -> Any:
    import torch

    lifted = torch.cat([vectors, vectors.norm(dim=1, keepdim=True)], 1)
    left, triangle = torch.linalg.qr(lifted.T)
    rotation, sizes, _ = torch.linalg.svd(triangle)
    squares = sizes**2
    tail = squares.flip(0).cumsum(0).flip(0)
    rank = max(1, int((tail > share * squares.sum()).sum()))
    if rank == len(vectors):
        return vectors
    factor = (left @ rotation[:, :rank]) * sizes[:rank]
    top, corner = factor[:-1].norm(), factor[-1].norm()
    stretch = torch.sqrt(corner / top)
    factor = torch.cat([factor[:-1] * stretch, factor[-1:] / stretch])
    signature = np.append(np.ones(vectors.shape[1]), -1.0)
    columns = torch.as_tensor(equalise(factor.cpu().double().numpy(), signature)).to(vectors)
    return torch.where(columns[-1] < 0, -1.0, 1.0).to(vectors)[:, None] * columns[:-1].T
