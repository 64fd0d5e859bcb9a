"""Public entry points of the package with arguments that work, for the fuzz cases of validation."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

import convexadv as ca
from convexadv import datasets
from convexadv.balls import gauge, project
from convexadv.boxes import box_relaxation_minimum
from convexadv.problems.gates import sample_gates
from convexadv.recovery import neural_decomposition, restore
from convexadv.rows import Rows

N, D = 6, 3
COUNTS = ("steps", "restarts", "max_iter", "n_gates", "max_branches", "n_betas", "rounds", "candidates", "most_added")
"""Arguments that say how much work there is."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A call with arguments that work.

    Attributes
    ----------
    call : callable
        Of keyword arguments; returns arrays by name.
    rows, labels : tuple of str
        Names of arguments that are matrices and labels.
    arguments : callable
        Draws the arguments; what is neither rows nor labels is a number, a name or an object.
    exact : bool
        Whether the same values in other clothes give the same result.
    free : tuple of str
        Results that may be infinite.
    """

    call: Callable[..., dict[str, Any]]
    arguments: Callable[[np.random.Generator], dict[str, Any]]
    rows: tuple[str, ...] = ("X",)
    labels: tuple[str, ...] = ("y",)
    exact: bool = True
    free: tuple[str, ...] = ()
    overflowing: tuple[str, ...] = ()
    """Results that overflow where the arguments are huge, and say so by NaN."""
    foreign: bool = False
    """Whether scikit-learn checks the arguments first, with its own errors."""


def _data(rng: np.random.Generator) -> dict[str, Any]:
    X = rng.integers(-9, 10, (N, D)).astype(float)
    X[0, 0] = 5.0
    return {"X": X, "y": np.append([0, 1], rng.integers(0, 2, N - 2))}


def _problem(kind: str, **more: Any) -> Callable[[np.random.Generator], dict[str, Any]]:
    def arguments(rng: np.random.Generator) -> dict[str, Any]:
        options = {
            "radius": 0.25,
            "beta": 0.05,
            "loss": "hinge",
            "norm": "l2",
            "multiclass": "ovr",
            "sample_weight": None,
        }
        return {**_data(rng), **options, **more}

    return arguments


def _built(kind: Any) -> Callable[..., dict[str, Any]]:
    def call(**arguments: Any) -> dict[str, Any]:
        problem = kind(**arguments)
        result = {"zero": problem.zero_objective(), "norm": problem.largest_norm(), "text": len(repr(problem))}
        return {name: np.asarray(value, float) for name, value in result.items() if name != "text"}

    return call


def _network(kind: str) -> Any:
    rng, options = np.random.default_rng(3), {"classes": [0, 1]}
    if kind == "polynomial":
        u = rng.standard_normal((3, D))
        return ca.PolynomialNetwork(u / np.linalg.norm(u, axis=1, keepdims=True), [1.0, -1.0, 0.5], **options)
    if kind == "ReLU":
        return ca.ReLUNetwork(rng.standard_normal((3, D)), [1.0, -1.0, 0.5], **options)
    return ca.GatedReLUNetwork(rng.standard_normal((3, D)), rng.standard_normal((3, D, 1)), **options)


NETWORKS = [_network(kind) for kind in ("polynomial", "ReLU", "gated")]


def _query(rng: np.random.Generator) -> dict[str, Any]:
    return {"network": NETWORKS[rng.integers(3)], **_data(rng), "radius": 0.25}


def _margins(**arguments: Any) -> dict[str, Any]:
    found = ca.worst_case_margin(**arguments)
    return {"lower": found.lower_bound, "exact": found.exact, "point": found.point}


def _certified(**arguments: Any) -> dict[str, Any]:
    found = ca.certify(**arguments)
    return {"certified": found.certified, "lower": found.lower_bound}


def _attacked(**arguments: Any) -> dict[str, Any]:
    found = ca.attack(**arguments)
    return {"points": found.points, "success": found.success}


def _robust_accuracy(**arguments: Any) -> dict[str, Any]:
    return {"rows": [[float(v) for v in row.values()] for row in ca.robust_accuracy(**arguments).rows()]}


def _scored(X: Any, y: Any) -> dict[str, Any]:
    network = NETWORKS[0]
    return {"scores": network.scores(X), "labels": network.predict(X), "margins": network.margins(X, y)}


def _solved(kind: str, **arguments: Any) -> dict[str, Any]:
    X, y = np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, -1.0]]), [0, 1, 1]
    problem = ca.PolynomialProblem(X, y, beta=0.3) if kind == "polynomial" else None
    problem = problem or (ca.ReLUProblem if kind == "ReLU" else ca.GatedReLUProblem)(X, y, beta=0.3, n_gates=4)
    solution = ca.solve(problem, **arguments)
    return {"objective": solution.objective, "lower": solution.lower_bound}


def _fitted(estimator: Any, X: Any, y: Any, sample_weight: Any = None, **arguments: Any) -> dict[str, Any]:
    model = estimator(**arguments).fit(X, y, sample_weight)
    predicted = model.predict(X)
    return {
        "predicted": np.unique(predicted, return_inverse=True)[1] if "Classifier" in estimator.__name__ else predicted
    }


def _fit_arguments(**more: Any) -> Callable[[np.random.Generator], dict[str, Any]]:
    def arguments(rng: np.random.Generator) -> dict[str, Any]:
        return {**_data(rng), "beta": 0.3, "tol": 0.1, "max_iter": 3, "time_limit": 0.1, "sample_weight": None, **more}

    return arguments


def _in_file(network: Any, **metadata: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "network.safetensors")
        ca.save(network, path, **metadata)
        return {"neurons": ca.load(path).n_neurons}


def _loaded(path: Any) -> dict[str, Any]:
    return {"neurons": ca.load(path).n_neurons}


def _made(kind: Any, X: Any, alpha: Any, **options: Any) -> dict[str, Any]:
    network = kind(X, alpha, **options)
    return {"scores": network.scores(np.ones((2, network.n_features))).reshape(2, -1)}


def _units(rng: np.random.Generator) -> dict[str, Any]:
    return {"X": np.eye(D)[rng.integers(0, D, 4)], "alpha": rng.standard_normal(4), "classes": None, "shift": None}


def _hidden(rng: np.random.Generator) -> dict[str, Any]:
    return {**_units(rng), "X": rng.integers(-3, 4, (4, D)).astype(float), "biases": np.ones(4), "scale": None}


def _gates(X: Any, **options: Any) -> dict[str, Any]:
    return {"gates": sample_gates(Rows.of(X), **options).gates}


def _decomposed(X: Any) -> dict[str, Any]:
    neurons, weights = neural_decomposition(restore(X))
    return {"sum": (weights[:, None] * neurons).sum(0) if len(neurons) else np.zeros(1)}


def _boxed(X: Any, **options: Any) -> dict[str, Any]:
    return {"value": box_relaxation_minimum(np.eye(D), np.ones(D), 1.0, X, **options).value}


def _path(**options: Any) -> dict[str, Any]:
    problem = ca.GatedReLUProblem(np.eye(2), [0, 1], n_gates=3)
    found = ca.regularisation_path(problem, **options)
    return {"objectives": [point.solution.objective for point in found.points]}


def _bracket(**options: Any) -> dict[str, Any]:
    X = np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, -1.0]])
    found = ca.PolynomialProblem(X, [0, 1, 1], radius=0.1).zero_solution_beta(**options)
    return {"lower": found.lower, "upper": found.upper}


def _nowhere(rng: np.random.Generator) -> dict[str, Any]:
    return {"path": "nowhere"}


GATED = ca.GatedReLUProblem(np.eye(2), [0, 1], n_gates=3, beta=0.1)


def _grown(**options: Any) -> dict[str, Any]:
    return {"objective": ca.grow_patterns(GATED, time_limit=0.2, **options).solution.objective}


def _split(problem: Any, network: Any, X: Any, method: Any) -> dict[str, Any]:
    found = ca.gated_to_relu(problem, network, X, method)
    return {"objective": found.objective_relu}


def _kept(certificate: Any, problem: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        ca.save_certificate(certificate, os.path.join(folder, "proof.safetensors"), problem)
    return {}


def _estimator(estimator: Any, **more: Any) -> Entry:
    return Entry(lambda **a: _fitted(estimator, **a), _fit_arguments(**more), exact=False, foreign=True)


def _solve_arguments(rng: np.random.Generator) -> dict[str, Any]:
    return {"solver": "auto", "tol": 1e-2, "max_iter": 5, "time_limit": 1.0, "warm_start": None, "dtype": "float64"}


ENTRIES: dict[str, Entry] = {
    "PolynomialProblem": Entry(
        _built(ca.PolynomialProblem),
        _problem(
            "polynomial",
            scale=None,
            activation=(0.09, 0.5, 0.47),
            clean_weight=0.0,
            hard_margin=None,
            margin_curve=None,
        ),
    ),
    "ReLUProblem": Entry(
        _built(ca.ReLUProblem), _problem("ReLU", gates=None, n_gates=5, random_state=0, fit_intercept=False)
    ),
    "GatedReLUProblem": Entry(
        _built(ca.GatedReLUProblem), _problem("gated", gates=None, n_gates=5, gate_kind="gaussian", random_state=0)
    ),
    "regression": Entry(_built(ca.PolynomialProblem), _problem("polynomial", loss="squared")),
    "PolynomialNetwork": Entry(lambda **a: _made(ca.PolynomialNetwork, **a), _units, labels=()),
    "ReLUNetwork": Entry(lambda **a: _made(ca.ReLUNetwork, **a), _hidden, labels=()),
    "scores": Entry(_scored, _data, overflowing=("scores", "margins")),
    "worst_case_margin": Entry(
        _margins, lambda rng: {**_query(rng), "norm": "l2", "complete": False, "bounds": None}, free=("lower",)
    ),
    "certify": Entry(
        _certified, lambda rng: {**_query(rng), "norm": "linf", "max_branches": 3, "time_limit": None}, free=("lower",)
    ),
    "attack": Entry(
        _attacked,
        lambda rng: {
            **_query(rng),
            "norm": "linf",
            "method": "pgd",
            "steps": 2,
            "restarts": 1,
            "bounds": None,
            "target": None,
            "loss": None,
            "step_size": None,
            "random_state": 0,
            "batch_size": None,
        },
        exact=False,
    ),
    "robust_accuracy": Entry(
        _robust_accuracy,
        lambda rng: {
            **{k: v for k, v in _query(rng).items() if k != "radius"},
            "radii": [0.0, 0.1],
            "attacks": "fgsm",
            "norm": "l2",
            "bounds": None,
        },
        exact=False,
        free=("rows",),
    ),
    "distance_to_boundary": Entry(
        lambda **a: dict(zip(("distance", "point"), ca.distance_to_boundary(**a), strict=True)),
        lambda rng: {"network": NETWORKS[0], "X": _data(rng)["X"], "method": "exact"},
        labels=(),
        free=("distance",),
    ),
    "solve polynomial": Entry(
        lambda **a: _solved("polynomial", **a), _solve_arguments, rows=(), labels=(), free=("objective",)
    ),
    "solve ReLU": Entry(lambda **a: _solved("ReLU", **a), _solve_arguments, rows=(), labels=(), free=("objective",)),
    "solve gated": Entry(lambda **a: _solved("gated", **a), _solve_arguments, rows=(), labels=(), free=("objective",)),
    "PolynomialClassifier": _estimator(ca.PolynomialClassifier, radius=0.1, norm="l2", loss="hinge", scale=None),
    "ReLUClassifier": _estimator(ca.ReLUClassifier, radius=0.1, norm="linf", loss="hinge", n_gates=4, random_state=0),
    "GatedReLUClassifier": _estimator(ca.GatedReLUClassifier, loss="logistic", n_gates=4, random_state=0),
    "GatedReLURegressor": _estimator(ca.GatedReLURegressor, n_gates=4, random_state=0),
    "save": Entry(_in_file, lambda rng: {"network": NETWORKS[rng.integers(3)], "note": 1}, rows=(), labels=()),
    "load": Entry(_loaded, lambda rng: {"path": "nowhere.safetensors"}, rows=(), labels=()),
    "standardise": Entry(
        lambda X: dict(zip(("shift", "scale"), _scaling(X), strict=True)), lambda rng: {"X": _data(rng)["X"]}, labels=()
    ),
    "datasets.load": Entry(
        lambda **a: {"X": datasets.load(**a).X[:2]},
        lambda rng: {"name": "iris", "folder": None, "split": None},
        rows=(),
        labels=(),
    ),
    "sample_gates": Entry(
        _gates, lambda rng: {"X": _data(rng)["X"], "n_gates": 4, "kind": "gaussian", "random_state": 0}, labels=()
    ),
    "neural_decomposition": Entry(_decomposed, lambda rng: {"X": _square(rng)}, labels=()),
    "box_relaxation_minimum": Entry(
        _boxed, lambda rng: {"X": _data(rng)["X"], "radius": 0.5, "curvature": None}, labels=(), exact=False
    ),
    "balls": Entry(
        lambda norm: {"gauge": gauge(np.eye(D), norm), "nearest": project(np.eye(D), 1.0, norm)},
        lambda rng: {"norm": "l2"},
        rows=(),
        labels=(),
    ),
    "verify_certificate": Entry(lambda path: {"n": ca.verify_certificate(path).verified}, _nowhere, rows=(), labels=()),
    "load_certificate": Entry(
        lambda path: {"bound": ca.load_certificate(path).lower_bound}, _nowhere, rows=(), labels=()
    ),
    "open_rows": Entry(
        lambda **a: {"shape": ca.open_rows(**a).shape}, lambda rng: {**_nowhere(rng), "name": None}, rows=(), labels=()
    ),
    "read_table": Entry(
        lambda **a: {"X": datasets.read_table(**a).X},
        lambda rng: {**_nowhere(rng), "target": None, "header": None},
        rows=(),
        labels=(),
    ),
    "grow_patterns": Entry(
        _grown,
        lambda rng: {
            "rounds": 1,
            "candidates": 5,
            "most_added": 2,
            "gate_kind": "gaussian",
            "random_state": 1,
            "tol": 0.1,
        },
        rows=(),
        labels=(),
    ),
    "gated_to_relu": Entry(
        _split,
        lambda rng: {
            "problem": GATED,
            "network": ca.solve(GATED, tol=0.1).network,
            "X": np.eye(2),
            "method": "minimal",
        },
        labels=(),
    ),
    "save_certificate": Entry(
        _kept,
        lambda rng: {"certificate": ca.certify(NETWORKS[0], np.ones((2, D)), [0, 1], 0.1), "problem": None},
        rows=(),
        labels=(),
    ),
    "regularisation_path": Entry(
        _path,
        lambda rng: {"betas": [0.3, 0.1], "radii": None, "tol": 1e-2, "time_limit": 0.2},
        rows=(),
        labels=(),
        free=("objectives",),
    ),
    "zero_solution_beta": Entry(_bracket, lambda rng: {"tol": 0.1, "max_iter": 5}, rows=(), labels=(), free=("upper",)),
}


def _scaling(X: Any) -> Any:
    found = datasets.standardise(X)
    return found.shift, found.scale


def _square(rng: np.random.Generator) -> np.ndarray:
    factor = rng.integers(-3, 4, (D, 2)).astype(float)
    return factor @ factor.T
