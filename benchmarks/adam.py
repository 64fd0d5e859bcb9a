"""The non-convex network of the same architecture, trained by Adam for a given time: a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.clock import Clock, Points

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
BATCH = 1024


@dataclass(frozen=True)
class Trained:
    """Result of :func:`train`."""

    objective: float
    """loss + (beta / 2) sum ||u||^2 + alpha^2, the objective of the convex programme without its patterns."""
    hidden: np.ndarray
    """(C, m, D) neurons of every output, the intercept last."""
    output: np.ndarray
    """(C, m)."""
    rate: float
    seconds: float
    epochs: int
    history: Points
    """Seconds and objectives on the way."""

    def scores(self, X: np.ndarray) -> np.ndarray:
        """(n, C)."""
        rows = _with_intercept(X) if self.hidden.shape[2] > X.shape[1] else X
        return np.stack([np.maximum(rows @ u.T, 0.0) @ a for u, a in zip(self.hidden, self.output, strict=True)], 1)


def train(
    X: np.ndarray,
    targets: np.ndarray,
    beta: float,
    neurons: int,
    seconds: float,
    seed: int = 0,
    loss: str = "squared_hinge",
    intercept: bool = True,
) -> Trained:
    """Best of Adam over :data:`RATES`, each for the whole time; averages over rows, sums over the outputs.

    Parameters
    ----------
    X : (n, d)
    targets : (n, C)
        +-1 for the squared hinge, one-vs-rest; reals for the squared loss (f - y)^2 / 2.
    beta : float
    neurons : int
        m for every output; each feeds that output only, as in the convex programme.
    seconds : float
        For each rate, measurements on the way excluded.
    seed : int
    loss : {"squared_hinge", "squared"}
    intercept : bool
        Whether rows get a constant last feature, penalised as the others.
    """
    rows = _with_intercept(X) if intercept else np.asarray(X)
    runs = [_run(rows, targets, beta, neurons, seconds, rate, seed, LOSSES[loss]) for rate in RATES]
    return min(runs, key=lambda run: run.objective)


def _with_intercept(X: np.ndarray) -> np.ndarray:
    return np.concatenate([X, np.ones((len(X), 1))], 1)


def _run(X: Any, targets: Any, beta: float, neurons: int, seconds: float, rate: float, seed: int, loss: Any) -> Trained:
    generator = torch.Generator().manual_seed(seed)
    rows, y = (torch.from_numpy(np.asarray(array, np.float32)) for array in (X, targets))
    outputs, width = y.shape[1], rows.shape[1]
    hidden = (torch.randn(outputs, neurons, width, generator=generator) / width**0.5).requires_grad_()
    output = (torch.randn(outputs, neurons, generator=generator) / neurons**0.5).requires_grad_()
    optimiser = torch.optim.Adam([hidden, output], lr=rate)

    @torch.no_grad()
    def objective() -> float:
        value = float(loss(_scores(rows.double(), hidden.double(), output.double()), y.double()))
        # Scaled so that ||u|| = |alpha| the penalty is least and the function the same.
        return value + beta * float((hidden.double().norm(dim=2) * output.double().abs()).sum())

    clock, steps, order = Clock(seconds, objective), 0, torch.empty(0, dtype=torch.long)
    while clock.tick():
        if not len(order):
            order = torch.randperm(len(rows), generator=generator)
        batch, order = order[:BATCH], order[BATCH:]
        optimiser.param_groups[0]["lr"] = rate * clock.cosine()
        optimiser.zero_grad()
        (loss(_scores(rows[batch], hidden, output), y[batch]) + _penalty(hidden, output, beta)).backward()
        optimiser.step()
        steps += 1
    epochs = -(-steps * BATCH // max(BATCH, len(rows)))
    weights = (part.detach().numpy() for part in (hidden, output))
    return Trained(clock.points[-1][1], *weights, rate, clock.seconds(), epochs, clock.points)


def _scores(rows: Any, hidden: Any, output: Any) -> Any:
    outputs, neurons, width = hidden.shape
    products = (rows @ hidden.reshape(-1, width).T).clamp_min(0).view(len(rows), outputs, neurons)
    return (products * output).sum(2)


def _squared_hinge(scores: Any, y: Any) -> Any:
    return ((1.0 - y * scores).clamp_min(0) ** 2).mean(0).sum()


def _squared(scores: Any, y: Any) -> Any:
    return 0.5 * ((scores - y) ** 2).mean(0).sum()


LOSSES = {"squared_hinge": _squared_hinge, "squared": _squared}


def _penalty(hidden: Any, output: Any, beta: float) -> Any:
    return 0.5 * beta * ((hidden**2).sum() + (output**2).sum())
