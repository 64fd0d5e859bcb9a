"""Torch, CLARABEL and SCS solve the same objective: agreement on every loss, ball and multiclass form, on real rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convexadv as ca
from convexadv.datasets import load


def _scaled(X: np.ndarray) -> np.ndarray:
    deviation = X.std(0)
    X = (X - X.mean(0)) / np.where(deviation > 0, deviation, 1.0)
    return X / np.linalg.norm(X, axis=1).max()


def _rows(name: str, n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    data = load(name)
    chosen = np.random.default_rng(seed).permutation(len(data.y))[:n]
    return _scaled(data.X[chosen][:, :d]), data.y[chosen]


def _random(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    X /= np.linalg.norm(X, axis=1).max()
    scores = np.stack([(X @ rng.normal(size=d)) ** 2 + X @ rng.normal(size=d) for _ in range(classes)])
    return X, np.argmax(scores - np.median(scores, axis=1, keepdims=True), axis=0)


def _targets(n: int, d: int, outputs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    X, _ = _random(n, d, 2, seed=3)
    rng = np.random.default_rng(4)
    values = (
        (X @ rng.normal(size=(d, outputs))) ** 2
        + X @ rng.normal(size=(d, outputs))
        + 0.05 * rng.normal(size=(n, outputs))
    )
    return X, values[:, 0] if outputs == 1 else values


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "wdbc hinge robust": (lambda: _rows("wdbc", 40, 9), {"radius": 0.1, "beta": 0.01}),
    "wdbc hinge": (lambda: _rows("wdbc", 40, 9), {"beta": 0.01}),
    "wdbc logistic robust": (lambda: _rows("wdbc", 40, 6), {"radius": 0.1, "beta": 0.003, "loss": "logistic"}),
    "wdbc squared hinge robust": (
        lambda: _rows("wdbc", 40, 6),
        {"radius": 0.05, "beta": 0.01, "loss": "squared_hinge"},
    ),
    "wdbc clean mix": (lambda: _rows("wdbc", 30, 6), {"radius": 0.1, "beta": 0.01, "clean_weight": 0.4}),
    "wdbc linf": (lambda: _rows("wdbc", 30, 6), {"radius": 0.03, "beta": 0.01, "norm": "linf"}),
    "random weights and radii": (
        lambda: _random(40, 5, 2),
        {"radius": np.linspace(0, 0.1, 40), "sample_weight": np.arange(40) % 3, "beta": 0.002},
    ),
    "random ellipsoid": (lambda: _random(40, 5, 2), {"radius": 0.1, "scale": [1, 0.5, 0, 2, 0.1], "beta": 0.002}),
    "random one-vs-rest": (lambda: _random(36, 4, 3), {"radius": 0.02, "beta": 0.002}),
    "random joint": (lambda: _random(36, 4, 3), {"radius": 0.02, "beta": 0.002, "multiclass": "joint"}),
    "random joint logistic": (lambda: _random(36, 4, 3), {"beta": 0.002, "multiclass": "joint", "loss": "logistic"}),
    "random squared": (lambda: _targets(40, 4), {"beta": 0.003, "loss": "squared"}),
    "random squared robust": (lambda: _targets(40, 4), {"radius": 0.05, "beta": 0.003, "loss": "squared"}),
    "random two targets": (lambda: _targets(30, 3, 2), {"radius": 0.02, "beta": 0.003, "loss": "squared"}),
    "random hard margin": (
        lambda: _random(36, 4, 2),
        {"radius": 0.01, "beta": 0.002, "hard_margin": (np.arange(4), 0.2)},
    ),
    "random margin curve": (
        lambda: _random(36, 4, 2),
        {"radius": 0.02, "beta": 0.002, "margin_curve": (np.arange(4), 0.2)},
    ),
    "one feature": (lambda: _random(40, 1, 2), {"radius": 0.05, "beta": 0.002}),
    "more features than rows": (lambda: _random(8, 12, 2), {"radius": 0.05, "beta": 0.002}),
    "other activation": (lambda: _random(36, 4, 2), {"radius": 0.05, "beta": 0.002, "activation": (1.0, -0.2, 0.1)}),
}
NEEDS_FILES = {
    "breast-cancer-wisconsin robust": ("breast-cancer-wisconsin", {"radius": 0.1, "beta": 0.01}),
    "ionosphere robust": ("ionosphere", {"radius": 0.1, "beta": 0.01}),
    "ionosphere logistic": ("ionosphere", {"radius": 0.05, "beta": 0.005, "loss": "logistic"}),
}


def _problem(name: str) -> ca.PolynomialProblem:
    if name in NEEDS_FILES:
        source, arguments = NEEDS_FILES[name]
        try:
            X, y = _rows(source, *((40, 8) if "robust" in name else (30, 5)))
        except ca.InputError as error:
            pytest.skip(str(error))
    else:
        make, arguments = CASES[name]
        X, y = make()
    return ca.PolynomialProblem(X, y, **arguments)


@pytest.mark.parametrize("name", [*CASES, *NEEDS_FILES])
def test_three_solvers_agree_and_no_bound_is_contradicted(name: str) -> None:
    problem = _problem(name)
    ours = ca.solve(problem, "torch", tol=1e-4, time_limit=120)
    clarabel = ca.solve(problem, "CLARABEL")
    scs = ca.solve(problem, "SCS")
    assert ours.status is ca.Status.OPTIMAL
    assert ours.gap <= 1e-4
    scale = max(abs(clarabel.objective), 1e-3 * problem.zero_objective())
    assert abs(ours.objective - clarabel.objective) <= 2e-4 * scale
    if np.isfinite(scs.objective):  # SCS may stop a hair outside a constraint: then it has no upper bound, and says so
        assert abs(scs.objective - clarabel.objective) <= 1e-3 * scale
    else:
        assert scs.violation > 0
        assert "margin" in name
    best = min(ours.objective, clarabel.objective, scs.objective)
    for solution in (ours, clarabel, scs):
        assert problem.lower_bound(solution.certificate) <= best + 1e-7 * scale
    assert abs(clarabel.objective - clarabel.variables["raw_objective"]) <= 1e-6 * scale
    assert clarabel.gap <= 1e-5
