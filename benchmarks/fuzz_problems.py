"""Small problems of every kind, and networks that they can represent, for the fuzz run."""

from __future__ import annotations

from typing import Any

import numpy as np

import convexadv as ca
from benchmarks.fuzz_tally import sizes, unit_points
from convexadv.cones import Cones, project
from convexadv.errors import InputError
from convexadv.problems.blocks import Blocks

MARGIN_LOSSES = ("hinge", "squared_hinge", "logistic")


def data(rng: np.random.Generator, n: int, d: int, decades: float) -> np.ndarray:
    """Rows (n, d), now and then with ties, repeated rows, constant features, outliers or a scale of their own."""
    X = rng.standard_normal((n, d))
    style = rng.random(6)
    X = np.round(X) if style[0] < 0.15 else X
    X[rng.integers(n)] = X[0] if style[1] < 0.15 else X[rng.integers(n)]
    X[:, rng.integers(d)] = 1.0 if style[2] < 0.1 else X[:, -1]
    X[0] *= 100.0 if style[3] < 0.05 else 1.0
    X = X * sizes(rng, d, 1.0) if style[4] < 0.1 else X
    return X * (10.0 ** rng.uniform(-decades, decades) if style[5] < 0.2 else 1.0)


def problem(rng: np.random.Generator, kind: str, n: int, d: int, decades: float = 2.0) -> Any:
    """A problem of a kind ("polynomial", "ReLU", "gated") with random rows, labels, loss, ball and penalty."""
    X = data(rng, n, d, decades)
    unit = float(np.linalg.norm(X, axis=1).mean()) or 1.0
    robust = rng.random() < (0.6 if kind != "gated" else 0.15)
    options: dict[str, Any] = {"beta": float(10.0 ** rng.uniform(-3, 0.5)), "loss": str(rng.choice(MARGIN_LOSSES))}
    options["norm"] = str(rng.choice(["l2", "linf"] if kind == "polynomial" else ["l2", "linf", "l1"]))
    options["radius"] = float(unit * 10.0 ** rng.uniform(-3, 0)) if robust else 0.0
    if robust and rng.random() < 0.2:
        options["radius"] = options["radius"] * rng.random(n) * (rng.random(n) < 0.8)
    if rng.random() < 0.2:
        options["sample_weight"] = rng.random(n) * (rng.random(n) < 0.8) + np.eye(n)[0]
    if rng.random() < 0.2:
        options["loss"] = "squared"
        y: Any = rng.standard_normal((n, 2)) if rng.random() < 0.3 else rng.standard_normal(n)
    else:
        classes = 3 if n > 2 and rng.random() < 0.25 else 2
        y = np.append(np.arange(classes), rng.integers(0, classes, n))[:n]
        options["multiclass"] = str(rng.choice(["ovr", "joint"]))
    make = {"polynomial": _polynomial, "ReLU": _patterns, "gated": _patterns}[kind]
    return make(rng, kind, X, y, options)


def _polynomial(rng: np.random.Generator, kind: str, X: np.ndarray, y: Any, options: dict[str, Any]) -> Any:
    if rng.random() < 0.15:
        options["clean_weight"] = float(rng.random())
    if rng.random() < 0.15 and options["norm"] == "l2":
        options["scale"] = np.append(1.0, rng.random(X.shape[1] - 1) * (rng.random(X.shape[1] - 1) < 0.8))
    if rng.random() < 0.2:
        options["activation"] = tuple(rng.normal(0, 1, 3))
    if rng.random() < 0.1 and options["loss"] != "squared":
        options["hard_margin"] = ([0], float(rng.uniform(0, 0.5)))
    return ca.PolynomialProblem(X, y, **options)


def _patterns(rng: np.random.Generator, kind: str, X: np.ndarray, y: Any, options: dict[str, Any]) -> Any:
    options["fit_intercept"] = bool(rng.random() < 0.3)
    make = ca.ReLUProblem if kind == "ReLU" else ca.GatedReLUProblem
    options["n_gates"], options["random_state"] = int(rng.integers(1, 7)), int(rng.integers(2**31))
    try:
        return make(X, y, **options)
    except InputError as error:  # where all rows lie on one side, gates that activate none of them are dropped
        if "gates is left" not in str(error):
            raise
        return make(X, y, gates=np.eye(X.shape[1])[:, :1], **options)


def objectives(rng: np.random.Generator, what: Any, count: int, network: Any = None) -> np.ndarray:
    """Objectives (count,) of feasible networks: random ones of every size, and changes of a network."""
    if isinstance(what, ca.PolynomialProblem):
        networks = (_polynomial_network(rng, what, network) for _ in range(count))
        found = [what.evaluate(each) for each in networks]
    else:
        known = None if network is None else what.blocks_of(network)[0]
        found = [what.evaluate_blocks(_blocks(rng, what, known)) for _ in range(count)]
    return np.array([each.objective if each.violation <= 0 else np.inf for each in found])


def _polynomial_network(rng: np.random.Generator, what: Any, network: Any) -> Any:
    m, d, C = int(rng.integers(0, 5)), what.rows.d, what.n_outputs
    neurons = unit_points(rng, (m, d), inside=0.0)
    neurons = neurons[np.linalg.norm(neurons, axis=1) > 0]
    alpha = rng.standard_normal((len(neurons), C)) * sizes(rng, (), 3)
    if network is not None and network.n_neurons and rng.random() < 0.6:
        old, weights = network.neurons.detach().numpy(), network.coefficients.detach().numpy()
        step = 10.0 ** rng.uniform(-9, 0)
        old = old + step * rng.standard_normal(old.shape) * (rng.random() < 0.5)
        neurons = old / np.linalg.norm(old, axis=1, keepdims=True)
        alpha = weights * (1 + step * rng.standard_normal(weights.shape))
    return ca.PolynomialNetwork(neurons, alpha, what.activation, classes=what.classes)


def _blocks(rng: np.random.Generator, what: Any, known: Blocks | None) -> Blocks:
    """Random weights, or those of a network with a change, drawn into the cones where there are some."""
    if known is not None and len(known) and rng.random() < 0.6:
        size = 1 + 10.0 ** rng.uniform(-9, 0) * rng.standard_normal((len(known), 1))
        return Blocks(known.gate, known.output, known.side, known.vectors * abs(size))
    m = int(rng.integers(1, 4))
    gate, output = rng.integers(0, what.n_gates, m), rng.integers(0, what.n_outputs, m)
    vectors = rng.standard_normal((m, what.rows.d)) * sizes(rng, (m, 1), 3)
    if what.cones:
        vectors = project(
            Cones(what.rows.whole(), what.patterns[:, gate].T, what.radius, what.norm, what.perturbed), vectors
        ).points
    return Blocks(gate, output, rng.choice(what.sides, m).astype(float), vectors)
