"""Networks, rows and radii that the fuzz run of the robustness functions draws."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import convexadv as ca
from convexadv.datasets import load
from convexadv.robustness.pgd import Neighbourhood

ROWS, RADII = 60, 6
RANDOM = ("polynomial", "polynomial multiclass", "ReLU", "ReLU multiclass", "gated", "gated multiclass")
_MOST_FEATURES, _MOST_NEURONS = 8, 10


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with rows (n, d), labels (n,), a radius (n,) and, or None, a box that holds the rows."""

    kind: str
    network: Any
    X: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    bounds: tuple[np.ndarray, np.ndarray] | None


def generator(seed: int, number: int) -> np.random.Generator:
    """The random numbers of the subject of that number."""
    return np.random.default_rng([seed, number])


def random_subject(seed: int, number: int) -> Subject:
    """Draw the subject of that number: the kinds take turns, scaled inputs and boxes are as likely as not."""
    rng = generator(seed, number)
    kind = RANDOM[number % len(RANDOM)]
    d, m = int(rng.integers(1, _MOST_FEATURES + 1)), int(rng.integers(1, _MOST_NEURONS + 1))
    outputs = int(rng.integers(3, 6)) if "multiclass" in kind else 1
    scaling = {"shift": rng.normal(0, 10, d), "scale": 10 ** rng.uniform(-2, 2, d)} if rng.random() < 0.5 else {}
    network = _network(kind.split()[0], rng, m, d, outputs, scaling)
    Z = rng.standard_normal((ROWS, d)) * 10 ** rng.uniform(-1, 0.5)
    Z = np.round(Z) if rng.random() < 0.2 else Z  # ties, and rows on gates
    X = scaling["shift"] + scaling["scale"] * Z if scaling else Z
    return subject(kind, network, X, float(np.mean(scaling.get("scale", 1.0))), rng)


def subject(kind: str, network: Any, X: np.ndarray, unit: float, rng: np.random.Generator) -> Subject:
    """Draw labels, mostly those predicted, radii from zero and tiny to large, in units of the rows, and a box."""
    n = len(X)
    y = np.where(rng.random(n) < 0.9, network.predict(X), rng.choice(network.classes, n))
    sizes = unit * 10 ** rng.uniform(-3, 1, RADII)
    sizes[rng.random(RADII) < 0.05] = 0.0
    sizes[rng.random(RADII) < 0.05] *= 1e-9
    sizes[rng.random(RADII) < 0.05] *= 1e3
    radius = rng.choice(sizes, n)
    bounds = None
    if rng.random() < 0.3:
        width = unit * rng.exponential(0.5, (2, X.shape[1]))
        bounds = (X.min(0) - width[0], X.max(0) + width[1])
    return Subject(kind, network, X, y, radius, bounds)


def _network(
    family: str, rng: np.random.Generator, m: int, d: int, outputs: int, scaling: dict[str, np.ndarray]
) -> Any:
    """Draw the weights of a network with m neurons, d features and labels 0, 1, ..."""
    classes = np.arange(max(2, outputs))
    neurons, alpha = rng.standard_normal((m, d)), rng.standard_normal((m, outputs))
    biases = rng.standard_normal(m) * (rng.random() < 0.5)
    if family == "polynomial":
        activation = tuple(rng.normal(0, 1, 3) * (rng.random(3) < 0.8))
        unit = neurons / np.linalg.norm(neurons, axis=1, keepdims=True)
        return ca.PolynomialNetwork(unit, alpha, activation, classes=classes, **scaling)
    if family == "ReLU":
        return ca.ReLUNetwork(neurons, alpha, biases, classes=classes, **scaling)
    weights = rng.standard_normal((m, d, outputs))
    offsets = rng.standard_normal((m, outputs)) * (rng.random() < 0.5)
    return ca.GatedReLUNetwork(neurons, weights, biases, offsets, classes=classes, **scaling)


def trained(seed: int) -> list[tuple[str, Any, np.ndarray]]:
    """Train small networks: kind, network and rows of each."""
    found = []
    for name in ("wdbc", "ionosphere"):
        data = load(name)
        X = (data.X - data.X.mean(0)) / np.where(data.X.std(0) > 0, data.X.std(0), 1.0)
        X, y = X[:200], data.y[:200]
        problems = {
            "polynomial": ca.PolynomialProblem(X, y, radius=0.1, beta=0.01),
            "ReLU": ca.ReLUProblem(X, y, n_gates=10, radius=0.02, norm="linf", beta=0.01, random_state=seed),
            "gated": ca.GatedReLUProblem(X, y, n_gates=10, beta=0.01, loss="logistic", random_state=seed),
        }
        found += [(f"{family} on {name}", _solved(problem), X) for family, problem in problems.items()]
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((150, 5))
    y = (np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] > 0).astype(int) + (X[:, 3] > 0.8)
    found.append(("polynomial on random rows", _solved(ca.PolynomialProblem(X, y, radius=0.05, beta=0.01)), X))
    found.append(("gated on random rows", _solved(ca.GatedReLUProblem(X, y, n_gates=12, beta=0.01)), X))
    return found


def _solved(problem: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ca.solve(problem, tol=1e-2, time_limit=20).network.double()


def trained_subjects(seed: int, networks: list[tuple[str, Any, np.ndarray]]) -> Iterator[Subject]:
    """Draw rows and radii for trained networks in turn, without end."""
    number = 0
    while networks:
        kind, network, X = networks[number % len(networks)]
        rng = generator(seed, 1_000_000_007 + number)
        yield subject(kind, network, X[rng.choice(len(X), ROWS)], 0.2, rng)
        number += 1


def random_points(rng: np.random.Generator, case: Subject, norm: str, count: int) -> np.ndarray:
    """Points (count, n, d) of the balls: directions of every sparsity, half of them at the whole radius."""
    n, d = case.X.shape
    delta = rng.standard_normal((count, n, d)) * (rng.random((count, n, d)) < rng.uniform(0.05, 1, (count, 1, 1)))
    if norm == "linf":
        delta = np.where(rng.random((count, 1, 1)) < 0.5, np.sign(delta), delta)
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    length = np.linalg.norm(delta, order, axis=2, keepdims=True)
    share = np.where(rng.random((count, n, 1)) < 0.5, 1.0, rng.random((count, n, 1)))
    delta = case.radius[:, None] * (share * delta / np.where(length > 0, length, 1.0))
    rows = torch.from_numpy(np.tile(case.X, (count, 1)))
    ball = Neighbourhood(rows, torch.from_numpy(np.tile(case.radius, count)), norm)
    return ball.settle(torch.from_numpy((case.X + delta).reshape(-1, d))).numpy().reshape(count, n, d)
