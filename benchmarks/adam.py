"""The non-convex network of the same architecture, trained by Adam for a given time: a baseline."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
_BATCH = 1024


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

    def scores(self, X: np.ndarray) -> np.ndarray:
        """(n, C)."""
        rows = np.concatenate([X, np.ones((len(X), 1))], 1)
        return np.stack([np.maximum(rows @ u.T, 0.0) @ a for u, a in zip(self.hidden, self.output, strict=True)], 1)


def train(X: np.ndarray, signs: np.ndarray, beta: float, neurons: int, seconds: float, seed: int = 0) -> Trained:
    """Best of Adam over :data:`RATES`, each for the whole time; squared hinge, one-vs-rest, sums over the outputs.

    Parameters
    ----------
    X : (n, d)
    signs : (n, C) +-1
    beta : float
    neurons : int
        m for every output; each feeds that output only, as in the convex programme.
    seconds : float
        For each rate.
    seed : int
    """
    runs = [_run(X, signs, beta, neurons, seconds, rate, seed) for rate in RATES]
    return min(runs, key=lambda run: run.objective)


def _run(X: Any, signs: Any, beta: float, neurons: int, seconds: float, rate: float, seed: int) -> Trained:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.cat([torch.from_numpy(np.asarray(X, np.float32)), torch.ones(len(X), 1)], 1)
    y = torch.from_numpy(np.asarray(signs, np.float32))
    outputs, width = y.shape[1], rows.shape[1]
    hidden = (torch.randn(outputs, neurons, width, generator=generator) / width**0.5).requires_grad_()
    output = (torch.randn(outputs, neurons, generator=generator) / neurons**0.5).requires_grad_()
    optimiser = torch.optim.Adam([hidden, output], lr=rate)
    start, epochs = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for group in optimiser.param_groups:
            elapsed = (time.perf_counter() - start) / seconds
            group["lr"] = rate * 0.5 * (1.0 + np.cos(np.pi * min(1.0, elapsed)))
        order = torch.randperm(len(rows), generator=generator)
        for first in range(0, len(rows), _BATCH):
            batch = order[first : first + _BATCH]
            optimiser.zero_grad()
            (_loss(rows[batch], y[batch], hidden, output) + _penalty(hidden, output, beta)).backward()
            optimiser.step()
            if time.perf_counter() - start >= seconds:
                break
        epochs += 1
    spent = time.perf_counter() - start
    with torch.no_grad():
        value = float(_loss(rows.double(), y.double(), hidden.double(), output.double()))
        # Scaled so that ||u|| = |alpha| the penalty is least and the function the same.
        value += beta * float((hidden.double().norm(dim=2) * output.double().abs()).sum())
    return Trained(value, hidden.detach().numpy(), output.detach().numpy(), rate, spent, epochs)


def _loss(rows: Any, y: Any, hidden: Any, output: Any) -> Any:
    outputs, neurons, width = hidden.shape
    products = (rows @ hidden.reshape(-1, width).T).clamp_min(0).view(len(rows), outputs, neurons)
    margin = y * (products * output).sum(2)
    return ((1.0 - margin).clamp_min(0) ** 2).mean(0).sum()


def _penalty(hidden: Any, output: Any, beta: float) -> Any:
    return 0.5 * beta * ((hidden**2).sum() + (output**2).sum())
