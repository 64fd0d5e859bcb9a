"""Attacks that ask a model for scores only: random points of the ball, the Square attack, points from other models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._arrays import Array, to_numpy
from .._checks import per_row
from ..robustness import attack
from ..robustness.arguments import box, classes_of, device_of, evaluation_mode, float_rows, positions, scorer
from ..robustness.goals import Goal
from ..robustness.pgd import Neighbourhood
from ..robustness.square import square_search


class BlackBox:
    """A model that answers with scores, rows with labels, and their balls.

    Parameters
    ----------
    model, X, y, radius, norm, bounds
        As of :func:`convexadv.attack`.
    batch_size : int
        Rows at a time.
    random_state : int
    """

    def __init__(
        self,
        model: torch.nn.Module,
        X: Array,
        y: Any,
        radius: Any,
        norm: str,
        bounds: Any,
        batch_size: int,
        random_state: int,
    ) -> None:
        rows = float_rows(X)
        self.shape, n = tuple(rows.shape[1:]), len(rows)
        self._model, self._size, self._seed = model, batch_size, random_state
        self._score, device = scorer(model, self.shape), device_of(model, rows)
        flat = rows.reshape(n, -1)
        low, high = (None if side is None else side.to(device) for side in box(bounds, flat, self.shape))
        radii = torch.as_tensor(per_row("radius", radius, n), device=device)
        self._ball = Neighbourhood(flat.to(device), radii, norm, low, high)
        with evaluation_mode(model), torch.no_grad():
            probe = self._score(self._ball.rows[:1])
        self._goal = Goal(positions(classes_of(model, [y], probe), y, n)).to(device)

    def random(self, draws: int) -> np.ndarray:
        """Which rows (n,) are broken by one of so many uniform points of their balls."""
        generator, broken = self._generator(), torch.zeros(len(self._ball.rows), dtype=torch.bool)
        with evaluation_mode(self._model), torch.no_grad():
            for _ in range(draws):
                for part in self._parts():
                    ball = self._ball[part]
                    reached = self._goal[part].reached(self._score(ball.settle(ball.sample(generator))))
                    broken[part] |= reached.cpu()
        return to_numpy(broken)

    def square(self, queries: int) -> np.ndarray:
        """Which rows (n,) are broken by the Square attack with so many queries each."""
        generator, broken = self._generator(), []
        with evaluation_mode(self._model), torch.no_grad():
            for part in self._parts():
                ball, goal = self._ball[part], self._goal[part]

                def merit(points: torch.Tensor, numbers: torch.Tensor, goal: Goal = goal) -> torch.Tensor:
                    return goal[numbers.to(points.device)].merit(self._score(points))

                found = square_search(merit, ball, self.shape, queries, generator)
                broken.append(goal.reached(self._score(ball.settle(found))).cpu())
        return to_numpy(torch.cat(broken))

    def _parts(self) -> list[slice]:
        return [slice(first, first + self._size) for first in range(0, len(self._ball.rows), self._size)]

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed)


def broken_by_transfer(
    model: torch.nn.Module, source: torch.nn.Module, X: Array, y: Any, radius: Any, norm: str, **options: Any
) -> np.ndarray:
    """Which rows (n,) of a model are broken by the points of a PGD attack on another one."""
    points = attack(source, X, y, radius, norm, **options).points
    size = options.get("batch_size")
    return to_numpy(attack(model, points, y, 0.0, norm, "fgsm", batch_size=size).success)
