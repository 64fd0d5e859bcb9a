"""Random starts and directions that do not depend on how the rows are batched, and moves across gates."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..networks import GatedReLUNetwork
from .pgd import Neighbourhood, steepest, unit_ball

_BLOCK = 64  # rows drawn together
_GATES = 16  # nearest gates that are tried
_BEYOND = 1e-6  # how far behind a gate, in radii


class Starts:
    """Points of unit balls for the rows of a data set, by the number of the row and of the restart.

    Parameters
    ----------
    random_state : int, torch.Generator or None
        As of :func:`attack`; a generator gives one number.
    """

    def __init__(self, random_state: Any) -> None:
        generator = random_state
        if not isinstance(random_state, torch.Generator):
            generator = torch.Generator()
            if random_state is None:
                generator.seed()
            elif isinstance(random_state, (int, np.integer)) and -(2**63) <= random_state < 2**64:
                generator.manual_seed(int(random_state))
            else:
                raise InputError(
                    f"random_state must be an integer of 64 bits, a torch.Generator or None, got {random_state!r}."
                )
        self._seed = int(torch.randint(2**62, (), generator=generator))

    def draw(self, ball: Neighbourhood, numbers: torch.Tensor, restart: int) -> torch.Tensor:
        """Draw one point a row of a neighbourhood: uniform in the ball, then projected on the box.

        Parameters
        ----------
        ball : Neighbourhood
            Of n rows.
        numbers : tensor (n,) of int64
            Rising numbers of these rows in the whole data set.
        restart : int
            Number of the draw.

        Returns
        -------
        tensor (n, d)
        """
        return ball.scaled(self._unit(ball, numbers, restart, 0))

    def steepest(
        self, ball: Neighbourhood, numbers: torch.Tensor, restart: int
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Make the steepest directions of a run; where the gradient is zero, a random point of the unit ball.

        Parameters
        ----------
        ball, numbers, restart
            As of :meth:`draw`.

        Returns
        -------
        callable
            From gradients (n, d), step after step, to directions (n, d).
        """
        steps = itertools.count(1)

        def steepest(gradient: torch.Tensor) -> torch.Tensor:
            way, step = ball.steepest(gradient), next(steps)
            flat = torch.nonzero(~way.any(1))[:, 0]
            if len(flat):
                way[flat] = self._unit(ball, numbers[flat.cpu()], restart, step)
            return way

        return steepest

    def _unit(self, ball: Neighbourhood, numbers: torch.Tensor, restart: int, step: int) -> torch.Tensor:
        """Points of the unit ball (k, d) for rows of these numbers."""
        parts, blocks = [], numbers // _BLOCK
        for block in torch.unique(blocks).tolist():
            state = np.random.SeedSequence([self._seed, restart, step, block]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(state[0]))
            points = unit_ball((_BLOCK, ball.rows.shape[1]), ball.norm, ball.rows.dtype, generator)
            parts.append(points[numbers[blocks == block] % _BLOCK])
        return torch.cat(parts).to(ball.rows)


def across_gates(network: GatedReLUNetwork, points: torch.Tensor, ball: Neighbourhood) -> list[torch.Tensor]:
    """Move points just beyond each of their nearest gates, by the shortest way in the norm of the ball.

    A gated network jumps at its gates, where its gradient shows nothing.

    Parameters
    ----------
    network : GatedReLUNetwork
        Its gates are ``g_k . (x - shift) / scale + h_k >= 0``.
    points : tensor (n, d)
        Points of the neighbourhood.
    ball : Neighbourhood
        The moved points are projected on it, which may take some of them back.

    Returns
    -------
    list of tensors (n, d)
        Nearest gate first.
    """
    with torch.no_grad():
        moving = (network.gates != 0).any(1)
        normals = network.gates[moving] / network.scale
        offsets = (network.gate_biases[moving] - normals @ network.shift).to(points)
        normals = normals.to(points)
        ways = steepest(normals, ball.norm)
        value = points @ normals.T + offsets
        distance = value.abs() / (ways * normals).sum(1)
        order = distance.argsort(1)[:, :_GATES]
        moved = []
        for gate in order.T:
            away = torch.where(value.gather(1, gate[:, None]) >= 0, -1.0, 1.0)
            length = distance.gather(1, gate[:, None]) + _BEYOND * ball.radius.to(points)[:, None]
            moved.append(ball.project(points + length * away * ways[gate]))
        return moved
