"""Fuzz cases of what goes out: ONNX files, paths over beta and radius, plots.

An ONNX file gives the scores of the network, in a runtime and in the reference evaluator of the format; every point of a
path is certified by itself; a plot of what a solve or an evaluation returned is drawn, or refused with a sentence.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

import convexadv as ca
from benchmarks.fuzz_margins import network
from benchmarks.fuzz_problems import data, problem
from benchmarks.fuzz_tally import TINY, Draw, Tally, numbers
from convexadv import plotting
from convexadv._arrays import to_numpy
from convexadv.networks.evaluation import evaluate

_ROWS = 12
_KINDS = ("polynomial", "ReLU", "gated")


def onnx(rng: np.random.Generator, tally: Tally) -> None:
    """Graphs of networks of any scale and either precision."""
    from onnx.reference import ReferenceEvaluator

    kind, d = str(rng.choice(_KINDS)), int(rng.integers(1, 6))
    net = network(rng, kind, d, float(rng.choice([1.0, 3.0, 12.0])))
    single = rng.random() < 0.4
    net = net.float() if single else net
    X = to_numpy(net.shift) + to_numpy(net.scale) * numbers(rng, (_ROWS, d), 3.0)
    X = X.astype(np.float32 if single else np.float64)
    made = tally.attempt(f"{kind} graph", lambda: ca.export_onnx(net))
    if made is None:
        return
    classes = next(json.loads(each.value) for each in made.metadata_props if each.key == "classes")
    tally.expect(classes == net.classes.tolist(), f"the classes of a {kind} graph are others")
    want, size = evaluate(net, X), _size(net, X)
    for name, session in (("reference", ReferenceEvaluator(made)), ("runtime", _runtime(made))):
        for count in (_ROWS, 1):
            found = session.run(["scores"], {"x": X[:count]})[0]
            if not tally.expect(found.shape == want[:count].shape, f"{kind} {name}: scores of shape {found.shape}"):
                continue
            allowed = 64 * np.finfo(X.dtype).eps * size[:count].reshape(-1, *(1,) * (want.ndim - 1))
            allowed = allowed + (1e-37 if single else 1e-300)
            # where the sums overflow, the order of the terms decides what comes out; a row at a gate may fall on both sides
            good = (abs(found - want[:count]) <= allowed) | ~np.isfinite(allowed) | _at_a_gate(net, X[:count], want)
            tally.expect(good, f"{kind} {name}: other scores", found, want[:count], allowed)
    tally.count(f"onnx {kind} {'float32' if single else 'float64'}", 2 * _ROWS)


def _runtime(made: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _size(net: Any, X: np.ndarray) -> np.ndarray:
    """Sums (n,) of the absolute values of all terms that make a score: what rounding is measured by."""
    Z = (abs(X.astype(float)) + abs(to_numpy(net.shift)).astype(float)) / to_numpy(net.scale).astype(float)
    if isinstance(net, ca.GatedReLUNetwork):
        inner = np.einsum("nd,mdc->nmc", Z, abs(to_numpy(net.weights)).astype(float)) + abs(to_numpy(net.biases))
        return inner.sum((1, 2))
    inner, weights = Z @ abs(to_numpy(net.neurons)).astype(float).T, abs(to_numpy(net.coefficients)).astype(float)
    if isinstance(net, ca.PolynomialNetwork):
        a, b, c = np.abs(net.activation)
        return ((a * inner**2 + b * inner + c) @ weights).sum(1)
    return ((inner + abs(to_numpy(net.biases))) @ weights).sum(1)


def _at_a_gate(net: Any, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Rows that rounding puts on either side of a gate, in the shape of the scores."""
    if not isinstance(net, ca.GatedReLUNetwork) or not len(net.gates):
        return np.zeros((len(X), *(1,) * (scores.ndim - 1)), bool)
    Z = (X.astype(float) - to_numpy(net.shift)) / to_numpy(net.scale)
    side = Z @ to_numpy(net.gates).astype(float).T + to_numpy(net.gate_biases)
    reach = (abs(X) + abs(to_numpy(net.shift))) / to_numpy(net.scale)
    size = reach @ abs(to_numpy(net.gates)).astype(float).T + abs(to_numpy(net.gate_biases))
    close = (abs(side) <= 64 * np.finfo(X.dtype).eps * size + 64 * TINY).any(1)
    return close.reshape(-1, *(1,) * (scores.ndim - 1))


def paths(rng: np.random.Generator, tally: Tally) -> None:
    """Paths: betas fall, every point is certified by itself, and a larger beta has the larger optimum."""
    kind = str(rng.choice(_KINDS))
    what = problem(rng, kind, int(rng.integers(2, 8)), int(rng.integers(1, 4)), 1.0)
    options: dict[str, Any] = {"tol": 1e-2, "time_limit": 0.3, "warm_start": bool(rng.random() < 0.8)}
    if rng.random() < 0.6:
        options["betas"] = list(10.0 ** rng.uniform(-3, 1, int(rng.integers(1, 4))))
    else:
        options |= {"n_betas": int(rng.integers(1, 4)), "ratio": float(10.0 ** rng.uniform(-3, -0.1))}
    if rng.random() < 0.4:
        options["radii"] = list(rng.choice([0.0, 0.05, 0.3, TINY], int(rng.integers(1, 3)), replace=False))
    found = tally.attempt(f"path of {kind}", lambda: ca.regularisation_path(what, **options))
    if found is None:
        tally.count(f"path {kind} refused")
        return
    for _, part in _by_radius(found):
        betas = np.array([point.beta for point in part])
        lower = np.array([point.solution.lower_bound for point in part])
        upper = np.array([point.solution.objective for point in part])
        tally.expect(np.diff(betas) <= 0, f"the betas of a {kind} path rise", betas[1:])
        size = max(abs(upper[np.isfinite(upper)]).max(initial=0), what.zero_objective())
        tally.expect(lower <= upper + 1e-10 * size, f"a {kind} path: a bound lies above the objective")
        best = np.minimum.accumulate(upper)  # the optimum falls with beta
        tally.expect(
            lower[1:] <= best[:-1] + 1e-9 * size, f"a {kind} path: a bound lies above a larger beta's objective"
        )
        for point in part:
            again = point.problem.lower_bound(point.solution.certificate)
            close = again == point.solution.lower_bound or abs(again - point.solution.lower_bound) <= 1e-10 * size
            tally.expect(close, f"a {kind} path: a bound is another one when recomputed")
    tally.expect(json.loads(found.to_json())["points"] is not None, "a path has no table")
    tally.expect(len(str(found).splitlines()) == 1 + len(found), f"the table of a {kind} path has other lines")
    tally.count(f"path {kind}", len(found))


def _by_radius(path: Any) -> list[tuple[float, list[Any]]]:
    groups: dict[str, list[Any]] = {}
    for point in path:
        groups.setdefault(repr(point.radius), []).append(point)
    return list(groups.items())  # type: ignore[arg-type]


def plots(rng: np.random.Generator, tally: Tally) -> None:
    """Plots of what solves, paths and evaluations return."""
    names = list(_PLOTS)
    name = names[rng.integers(len(names))]
    figure, axes = plotting.new_figure(1, (3.0, 2.4))
    tally.attempt(f"plot_{name}", lambda: _PLOTS[name](rng, axes[0]))
    buffer = io.BytesIO()
    tally.attempt(f"plot_{name}, drawn", lambda: figure.savefig(buffer, format="svg", dpi=40))
    tally.count(f"plot {name}")


def _small(rng: np.random.Generator, kinds: tuple[str, ...] = _KINDS, d: int | None = None) -> Any:
    return problem(rng, str(rng.choice(kinds)), int(rng.integers(2, 8)), d or int(rng.integers(1, 4)), 1.0)


def _solution(rng: np.random.Generator) -> Any:
    limit = {"max_iter": int(rng.integers(0, 3))} if rng.random() < 0.4 else {}
    return ca.solve(_small(rng), tol=float(rng.choice([0.0, 1e-2])), time_limit=0.2, **limit)


def _tol(rng: np.random.Generator) -> float | None:
    return [None, 1e-4, 1e-2, 0.0][rng.integers(4)]


def _boundary(rng: np.random.Generator, ax: Any) -> Any:
    net = network(rng, str(rng.choice(_KINDS)), 2, float(rng.choice([0.5, 3.0])))
    X = to_numpy(net.shift) + to_numpy(net.scale) * data(rng, int(rng.integers(1, 8)), 2, 3.0)
    radius, norm = float(rng.choice([0.0, 0.1, 10.0])) * float(net.scale.min()), str(rng.choice(["l2", "linf"]))
    scale = None if rng.random() < 0.5 else 10.0 ** rng.uniform(-2, 2, 2)
    return plotting.plot_boundary(net, X, rng.choice(net.classes, len(X)), radius, ax, scale, norm)


def _accuracy(rng: np.random.Generator, ax: Any) -> Any:
    net = network(rng, str(rng.choice(_KINDS)), 2, 1.0)
    X, k = rng.standard_normal((4, 2)), int(rng.integers(1, 4))
    radii = rng.choice([0.0, 0.1, 1.0, 1e-12, 1e12], k, replace=False)
    curve = ca.robust_accuracy(net, X, rng.choice(net.classes, 4), radii, "l2", attacks="fgsm")
    return plotting.plot_accuracy(dict.fromkeys(["", "a", "$b_"][: int(rng.integers(0, 4))], curve), ax)


def _path(rng: np.random.Generator) -> Any:
    betas = list(10.0 ** rng.uniform(-3, 2, int(rng.integers(1, 4))))
    return ca.regularisation_path(_small(rng), betas, tol=1e-1, time_limit=0.1)


def _tradeoff(rng: np.random.Generator, ax: Any) -> Any:
    what = _small(rng, ("polynomial",), 2)
    found = ca.regularisation_path(what, [1.0, 0.1, 0.01], tol=1e-1, time_limit=0.1)
    labels = what.classes
    if labels is None:
        raise ca.InputError("a regression has no accuracies; classes are needed.")
    X = rng.standard_normal((4, what.rows.d))
    return plotting.plot_tradeoff(found.accuracies(X, rng.choice(labels, 4), 0.1, attacks="fgsm"), ax)


def _neurons(rng: np.random.Generator, ax: Any) -> Any:
    net = network(rng, str(rng.choice(_KINDS)), 4, 12.0)
    shape = [(2, 2), (1, 4), (4, 1), (3, 2), (0, 4), (-2, -2)][rng.integers(6)]
    output, count = int(rng.integers(-1, 4)), int(rng.integers(0, 8))
    plotting.plot_neurons(net, shape, ax, output=output, count=count)


def _spectrum(rng: np.random.Generator, ax: Any) -> Any:
    net = network(rng, str(rng.choice(_KINDS)), int(rng.integers(1, 5)), 12.0)
    return plotting.plot_spectrum(net, ax, output=int(rng.integers(-1, 4)))


def _growth(rng: np.random.Generator, ax: Any) -> Any:
    grown = ca.grow_patterns(_small(rng, ("ReLU", "gated")), rounds=1, candidates=4, tol=0.1, time_limit=0.2)
    return plotting.plot_growth(grown, ax)


_PLOTS: dict[str, Callable[[np.random.Generator, Any], Any]] = {
    "convergence": lambda rng, ax: plotting.plot_convergence(_solution(rng), ax, _tol(rng)),
    "patterns": lambda rng, ax: plotting.plot_patterns(_solution(rng), ax, _tol(rng)),
    "path": lambda rng, ax: plotting.plot_path(_path(rng), ax),
    "boundary": _boundary,
    "accuracy": _accuracy,
    "tradeoff": _tradeoff,
    "neurons": _neurons,
    "spectrum": _spectrum,
    "growth": _growth,
}

KINDS: list[Draw] = [onnx, paths, onnx, plots, onnx, plots]
"""Kinds of draws, in turn."""
