r"""PGD adversarial training of the non-convex two-layer ReLU network, the baseline of the robustness benchmark.

    minimise over U, b, a   mean_i max over ||e||_inf <= r of loss(y_i f(x_i + e)) + (beta/2) (||U||^2 + ||b||^2 + ||a||^2),

f(x) = sum_j a_j max(0, u_j'x + b_j). The inner maximum is replaced by the last of a few projected sign-gradient steps from a
random start (Madry et al., arXiv 1706.06083), the outer one is full-batch Adam with a cosine schedule. The penalty is that
of the convex programme: at its minimum over the scaling of the neurons it is beta sum_j |a_j| ||[u_j; b_j]||_2.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch.nn.functional import softplus

from benchmarks.uci_trainings import Trained

_REACH = 2.5
"""Sum of the inner steps over the radius."""


@dataclass(frozen=True)
class AdversarialTraining:
    """Networks for every radius, beta, learning rate and number of epochs.

    Attributes
    ----------
    radii, betas, rates : tuple of float
        Training radius, weight of the penalty, first learning rate of Adam.
    epochs : int
        Length of the schedule; the network at half of it is offered too.
    loss : str
        "hinge" or "logistic".
    width : int
        Hidden neurons.
    steps : int
        Inner steps.
    """

    radii: tuple[float, ...]
    betas: tuple[float, ...]
    rates: tuple[float, ...]
    epochs: int = 400
    loss: str = "logistic"
    width: int = 50
    steps: int = 10

    def networks(self, X: np.ndarray, y: np.ndarray, seed: int, tol: float, time_limit: float) -> Iterator[Trained]:
        """Networks of every setting; there is no gap to meet, and the epochs are the limit."""
        from convexadv import ReLUNetwork

        classes = np.unique(y)
        rows = torch.from_numpy(np.asarray(X, np.float32))
        signs = torch.from_numpy(np.where(y == classes[1], 1.0, -1.0).astype(np.float32))
        settings = list(product(self.radii, self.betas))
        for rate in self.rates:
            start = time.perf_counter()
            run = _Run(self, rows, signs, settings, rate, torch.Generator().manual_seed(seed))
            ends = [(run.until(epoch), run.weights()) for epoch in (self.epochs // 2, self.epochs)]
            seconds = (time.perf_counter() - start) / (len(ends) * len(settings))
            for epoch, weights in ends:
                for (radius, beta), neurons, biases, output in zip(settings, *weights, strict=True):
                    chosen = {"radius": radius, "beta": beta, "rate": rate, "epochs": epoch}
                    yield Trained(ReLUNetwork(neurons, output, biases, classes=classes), chosen, None, seconds)


class _Run:
    """K networks trained side by side: their sum of objectives separates, and so does Adam."""

    def __init__(self, training: AdversarialTraining, X: Any, signs: Any, settings: list, rate: float, random: Any):
        self.training, self.X, self.signs, self.random, self.epoch = training, X, signs, random, 0
        K, d, m = len(settings), X.shape[1], training.width
        self.radius = torch.tensor([radius for radius, _ in settings])[:, None, None]
        self.beta = torch.tensor([beta for _, beta in settings])
        neurons = torch.randn(1, d, m, generator=random) * (2.0 / d) ** 0.5
        output = torch.randn(1, 1, m, generator=random) / m**0.5
        parts = (neurons, torch.zeros(1, 1, m), output)
        self.neurons, self.biases, self.output = (part.repeat(K, 1, 1).requires_grad_() for part in parts)
        self.adam = torch.optim.Adam([self.neurons, self.biases, self.output], lr=rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.adam, training.epochs)

    def until(self, epoch: int) -> int:
        """Train up to an epoch; returns it."""
        while self.epoch < epoch:
            points = self._attacked()
            self.adam.zero_grad()
            self._objective(points).backward()
            self.adam.step()
            self.schedule.step()
            self.epoch += 1
        return self.epoch

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Neurons (K, m, d), biases (K, m) and output weights (K, m) in float64."""
        neurons, biases, output = (part.detach().double().numpy() for part in (self.neurons, self.biases, self.output))
        return neurons.transpose(0, 2, 1).copy(), biases[:, 0].copy(), output[:, 0].copy()

    def _inner(self, points: Any) -> Any:
        """u_j'x + b_j, (K, n, m)."""
        return torch.baddbmm(self.biases, points, self.neurons)

    @torch.no_grad()
    def _attacked(self) -> Any:
        """Points (K, n, d) in the balls where the margins are small."""
        shape = (len(self.radius), *self.X.shape)
        move = (2.0 * torch.rand(shape, generator=self.random) - 1.0) * self.radius
        step = _REACH / self.training.steps * self.radius
        for _ in range(self.training.steps):
            active = (self._inner(self.X + move) > 0) * self.output
            slope = torch.bmm(active, self.neurons.transpose(1, 2)) * self.signs[:, None]
            move = (move - step * slope.sign()).clamp(-self.radius, self.radius)
        return self.X + move

    def _objective(self, points: Any) -> Any:
        """Sum over the K networks of loss and penalty."""
        scores = (torch.relu(self._inner(points)) * self.output).sum(2)
        margins = self.signs * scores
        losses = (1.0 - margins).clamp_min(0) if self.training.loss == "hinge" else softplus(-margins)
        squares = sum(part.square().sum((1, 2)) for part in (self.neurons, self.biases, self.output))
        return (losses.mean(1) + 0.5 * self.beta * squares).sum()
