"""PGD and APGD against foolbox's PGD at equal steps and restarts: ``python -m benchmarks.attack_strength``.

Three models: a robust polynomial network on wdbc, a robust ReLU network on ionosphere, and a multilayer perceptron on the
digits of scikit-learn. foolbox runs with its own step sizes and with 2.5 radii divided by the steps; the better one
counts. On l2 balls of the polynomial network, whose inputs have no box, the exact worst case is the reference.

Throughput is rows x steps x restarts a second, of the whole call of ours and of foolbox's inner loop alone, in turns; the
median of the repeats counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import convexadv as ca
from benchmarks import record
from convexadv.datasets import load, standardise
from convexadv.robustness import foolbox_attack

NAME = "benchmarks.attack_strength"
_STEPS, _RESTARTS, _REPEATS = 40, 5, 5


class Model(NamedTuple):
    """A network, rows that it predicts as labelled, their box or None, and radii of two norms."""

    name: str
    network: torch.nn.Module
    X: np.ndarray
    y: np.ndarray
    bounds: tuple[float, float] | None
    radii: dict[str, tuple[float, ...]]


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    rows = []
    for model in models():
        for norm, radii in model.radii.items():
            for radius in radii:
                rows.append(compare(model, norm, radius, arguments.repeats))
                print(_line(rows[-1]), flush=True)
    document = {**record.provenance(NAME, arguments.threads), "steps": _STEPS, "restarts": _RESTARTS, "rows": rows}
    record.write(arguments.out, document)
    print(record.heading(document))
    return 0


def models() -> list[Model]:
    found = []
    for name, problem, radii in (
        ("wdbc", ca.PolynomialProblem, {"linf": (0.05, 0.1, 0.2), "l2": (0.25, 0.5, 1.0)}),
        ("ionosphere", ca.ReLUProblem, {"linf": (0.02, 0.05, 0.1), "l2": (0.1, 0.25, 0.5)}),
    ):
        data = load(name)
        X, y = standardise(data.X).apply(data.X), data.y
        relu = {"n_gates": 20, "random_state": 0, "norm": "linf", "fit_intercept": True}
        extra = relu if problem is ca.ReLUProblem else {}
        solution = ca.solve(problem(X, y, radius=0.005, beta=0.01, **extra), tol=1e-3, time_limit=60)
        found.append(_correct(name, solution.network, X, y, None, radii))
    X, y = _digits()
    radii = {"linf": (0.02, 0.04, 0.06), "l2": (0.15, 0.3, 0.45)}
    return [*found, _correct("digits", _perceptron(X[:1000], y[:1000]), X[1000:], y[1000:], (0.0, 1.0), radii)]


def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = load("digits")
    return data.X / data.X.max(), data.y


def _perceptron(X: np.ndarray, y: np.ndarray) -> torch.nn.Module:
    """Two hidden layers, trained on the rows by Adam."""
    torch.manual_seed(0)
    sizes = (X.shape[1], 128, 128)
    layers = [part for i in range(2) for part in (torch.nn.Linear(sizes[i], sizes[i + 1]), torch.nn.ReLU())]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 10)).double()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    inputs, labels = torch.tensor(X), torch.tensor(y)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), labels).backward()
        optimiser.step()
    return network


def _correct(name: str, network: Any, X: np.ndarray, y: np.ndarray, bounds: Any, radii: dict) -> Model:
    kept = ~ca.attack(network, X, y, 0.0, method="fgsm").success
    return Model(name, network, X[kept], y[kept], bounds, radii)


def compare(model: Model, norm: str, radius: float, repeats: int) -> dict[str, Any]:
    """Rows broken by each attack, and the throughputs."""
    runs: dict[str, Callable[[], tuple[Any, float]]] = {
        method: lambda method=method: _ours(model, norm, radius, method) for method in ("pgd", "apgd")
    }
    runs |= {f"foolbox {size:.4f}": lambda size=size: _foolbox(model, norm, radius, size) for size in _sizes(norm)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    broken = {}
    for _ in range(repeats):
        for name, run in runs.items():
            result, time_taken = run()
            seconds[name].append(time_taken)
            broken[name] = int(result.success.sum())
    work = len(model.X) * _STEPS * _RESTARTS
    speed = {name: work / statistics.median(times) for name, times in seconds.items()}
    theirs = [name for name in runs if name.startswith("foolbox")]
    exact = None
    if norm == "l2" and model.bounds is None and isinstance(model.network, ca.PolynomialNetwork):
        exact = int(_ours(model, norm, radius, "exact")[0].success.sum())
    fastest = max(speed[name] for name in theirs)
    return {
        "model": model.name,
        "norm": norm,
        "radius": radius,
        "rows": len(model.X),
        "pgd": broken["pgd"],
        "apgd": broken["apgd"],
        "foolbox": max(broken[name] for name in theirs),
        "exact": exact,
        "pgd_rows_steps_a_second": round(speed["pgd"]),
        "apgd_rows_steps_a_second": round(speed["apgd"]),
        "foolbox_rows_steps_a_second": round(fastest),
        "pgd_speed_ratio": round(speed["pgd"] / fastest, 3),
        "apgd_speed_ratio": round(speed["apgd"] / fastest, 3),
    }


def _sizes(norm: str) -> tuple[float, float]:
    """Steps of foolbox in radii: its own, and such that cross the ball."""
    return {"linf": 0.01 / 0.3, "l2": 0.025}[norm], 2.5 / _STEPS


def _ours(model: Model, norm: str, radius: float, method: str) -> tuple[Any, float]:
    begin = time.perf_counter()
    result = ca.attack(
        model.network, model.X, model.y, radius, norm, method, model.bounds, steps=_STEPS, restarts=_RESTARTS
    )
    return result, time.perf_counter() - begin


def _foolbox(model: Model, norm: str, radius: float, size: float) -> tuple[Any, float]:
    import foolbox

    kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
    attack, spent = kind(rel_stepsize=size, steps=_STEPS), []
    run = attack.run

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        found = run(*args, **kwargs)
        spent.append(time.perf_counter() - begin)
        return found

    attack.run = timed
    result = foolbox_attack(
        model.network, model.X, model.y, radius, norm, attack, bounds=model.bounds, restarts=_RESTARTS
    )
    return result, sum(spent)


def report(document: dict[str, Any]) -> str:
    """A line for every model, norm and radius."""
    return "\n".join(map(_line, document["rows"]))


def _line(row: dict[str, Any]) -> str:
    found = ", ".join(f"{name} {row[name]}" for name in ("pgd", "apgd", "foolbox", "exact") if row[name] is not None)
    speeds = ", ".join(f"{name} {row[f'{name}_speed_ratio']:.2f}" for name in ("pgd", "apgd"))
    return (
        f"{row['model']} {row['norm']} {row['radius']:g}: broken of {row['rows']}: {found}; speed / foolbox: {speeds}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.split(":")[0])
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=_REPEATS, help="of the timings (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=record.RESULTS / "attack_strength.json", help="the record (default: %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
