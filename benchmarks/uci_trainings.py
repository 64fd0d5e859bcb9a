"""Ways of training that the robustness benchmarks compare: what a training is, and the convex ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

BETAS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)


class Trained(NamedTuple):
    """One network among which the validation rows choose."""

    network: Any
    settings: dict[str, float]
    """What distinguishes it: "radius" and "beta" (the weight of the penalty), and what else was tuned."""
    gap: float | None
    """Certified relative gap; None where the training has no bound."""
    seconds: float
    gates: tuple[int, int] | None = None
    """Dead gates and all gates, where there are gates."""

    @property
    def radius(self) -> float:
        """Radius of the ball it was trained against."""
        return self.settings["radius"]

    @property
    def beta(self) -> float:
        """Weight of its penalty."""
        return self.settings["beta"]


class Training(Protocol):
    """A way of training: a dataclass of its settings, which are recorded with the results."""

    def networks(self, X: np.ndarray, y: np.ndarray, seed: int, tol: float, time_limit: float) -> Iterator[Trained]:
        """Networks of every setting, trained on rows X (n, d) with labels y (n,)."""


@dataclass(frozen=True)
class ConvexTraining:
    """Convex programmes for every radius and beta; each beta starts from the solution of the one before it.

    Attributes
    ----------
    problem : str
        "PolynomialProblem", or "ReLUProblem" with an intercept over Gaussian gates drawn for the split.
    norm : str
        Of the ball.
    radii, betas : tuple of float
    n_gates : int, optional
        Of a ReLU problem.
    loss : str
    """

    problem: str
    norm: str
    radii: tuple[float, ...]
    betas: tuple[float, ...] = BETAS
    n_gates: int | None = None
    loss: str = "hinge"

    def networks(self, X: np.ndarray, y: np.ndarray, seed: int, tol: float, time_limit: float) -> Iterator[Trained]:
        """Networks of every radius and beta."""
        import convexadv as ca

        kind = getattr(ca, self.problem)
        common: dict[str, Any] = {"norm": self.norm, "loss": self.loss}
        if self.n_gates is not None:
            common |= {"n_gates": self.n_gates, "random_state": seed, "fit_intercept": True}
        for radius in self.radii:
            solution = None
            for beta in self.betas:
                problem = kind(X, y, radius=radius, beta=beta, **common)
                solution = ca.solve(problem, tol=tol, time_limit=time_limit, warm_start=solution)
                settings = {"radius": radius, "beta": beta}
                yield Trained(solution.network, settings, solution.gap, solution.solve_time, _gates(solution))


def _gates(solution: Any) -> tuple[int, int] | None:
    dead = solution.variables.get("dead_gates")
    return None if dead is None else (int(dead.sum()), len(dead))
