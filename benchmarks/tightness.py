"""Certified against attacked accuracy of polynomial and ReLU networks: ``python -m benchmarks.tightness``.

Networks are trained by ``ca.solve``, standard and robust (l2 balls), on wdbc and ionosphere (standardised; a quarter of the
rows is held out) and on random subsets of MNIST: 3 against 7 (1,000 training and 100 test images) and, polynomial networks
only, ten classes one against the rest (1,000 and 50). ReLU networks, whose cones are slow in 784 dimensions, see pixels
averaged over squares of four by four: 49 features, so that the lines of both kinds speak of different inputs. Rows, and so
radii, are divided by the largest norm of a training row, ``unit``. Every held-out row counts, those predicted wrongly too.
The settings are fixed, and not chosen for accuracy.

- attacked: the accuracy that PGD and APGD together leave. Neither attacks nor certificates make use of a box.
- certified: by the bounds that ``certify`` takes by default (exact for polynomial networks in l2 balls).
- complete: the same after branch and bound with the limits below, where it is offered and the features are few enough.
- strongest: the accuracy left when the rows that are neither broken nor certified are attacked by ``method="strongest"``,
  which also goes for each class, and for the exact worst case of polynomial networks in l2 balls.
- unknown: strongest less the better of certified and complete.

Both bounds that a certificate can rest on are computed again: the interval bound and CROWN's linear bound here, in plain
NumPy, from the raw weights; the dual bound of polynomial networks by the package with its intervals left out. ``interval``
counts the rows where the interval bound is the better one; ``below`` the rows where the reported bound is less than the
better one, of which there must be none; ``above`` those where it is more, as the package improves CROWN's lines.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import convexadv as ca
from benchmarks import record
from benchmarks.tightness_bounds import both_bounds
from convexadv.cli.output import table
from convexadv.datasets import load, standardise

NAME = "benchmarks.tightness"
_STEPS, _RESTARTS, _BRANCHES, _SECONDS = 40, 5, 100, 20.0
_MOST_FEATURES = 50  # of a complete search of polynomial networks, which cuts boxes
_TOLERANCE = 1e-9  # of comparisons of bounds, relative to the largest bound
_HEADER = (
    "data", "model", "training", "norm", "radius", "rows", "clean", "attacked", "strongest", "certified", "complete",
    "unknown",
    "interval", "below", "above",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A data set, its subsets, the settings of both trainings, and the radii of the table."""

    data: str
    classes: tuple[int, ...] | None
    train: int | None
    test: int | None
    gates: int
    beta: dict[str, float]
    robust: dict[str, float]
    radii: dict[str, tuple[float, ...]]


_SMALL = {"linf": (0.0025, 0.005, 0.01, 0.02), "l2": (0.01, 0.02, 0.04, 0.08)}
_LARGE = {"linf": (0.005, 0.01, 0.02, 0.03), "l2": (0.02, 0.04, 0.08, 0.12)}
_IMAGES = {"linf": (0.001, 0.002, 0.005, 0.01), "l2": (0.02, 0.04, 0.08, 0.16)}
_BETA = {"polynomial": 0.001, "relu": 0.003}
JOBS = {
    "wdbc": Job("wdbc", None, None, None, 50, _BETA, {"polynomial": 0.02, "relu": 0.01}, _SMALL),
    "ionosphere": Job("ionosphere", None, None, None, 50, _BETA, {"polynomial": 0.04, "relu": 0.02}, _LARGE),
    "mnist 3-7": Job("mnist", (3, 7), 1000, 100, 50, _BETA, {"polynomial": 0.02, "relu": 0.02}, _IMAGES),
    "mnist": Job("mnist", None, 1000, 50, 50, _BETA, {"polynomial": 0.02}, _IMAGES),
}


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    document = {**record.provenance(NAME, arguments.threads), "limits": _limits(), "networks": [], "results": []}
    print(record.heading(document), flush=True)
    for name in arguments.rows:
        for model in JOBS[name].robust:
            X, y, X_test, y_test, unit = rows_of(JOBS[name], model)
            for training, radius in (("standard", 0.0), ("robust", JOBS[name].robust[model])):
                network, said = trained(JOBS[name], model, X, y, radius, arguments.limit)
                about = {"data": name, "model": model, "training": training}
                document["networks"].append({**about, "training_rows": len(X), "d": X.shape[1], "unit": unit, **said})
                print(f"  {name}, {model}, {training}: {said}", flush=True)
                for norm, radii in JOBS[name].radii.items():
                    document["results"] += [{**about, **compare(network, X_test, y_test, each, norm)} for each in radii]
    print("\n" + report(document))
    out = arguments.out or (record.RESULTS / "tightness.json" if list(arguments.rows) == list(JOBS) else None)
    if out is not None:
        record.write(out, document)
    return int(_wrong(document) > 0)


def report(document: dict[str, Any]) -> str:
    """The table, and what must not be."""
    lines = table(_HEADER, [_cells(result) for result in document["results"]])
    return f"{lines}\n\nReported bounds below the better one of both: {_wrong(document)}."


def _wrong(document: dict[str, Any]) -> int:
    return sum(result["below"] for result in document["results"])


def _limits() -> dict[str, Any]:
    return {"steps": _STEPS, "restarts": _RESTARTS, "max_branches": _BRANCHES, "seconds_a_line": _SECONDS}


def rows_of(job: Job, model: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Training and held-out rows, and what they were divided by."""
    rng = np.random.default_rng(0)
    if job.data != "mnist":
        data = load(job.data)
        order = rng.permutation(len(data.X))
        held, kept = order[: len(order) // 4], order[len(order) // 4 :]
        scaling = standardise(data.X[kept])
        X, y, X_test, y_test = scaling.apply(data.X[kept]), data.y[kept], scaling.apply(data.X[held]), data.y[held]
    else:
        parts = (("train", job.train), ("test", job.test))
        (X, y), (X_test, y_test) = (_images(rng, job.classes, *part, 4 if model == "relu" else 1) for part in parts)
    unit = float(np.linalg.norm(X, axis=1).max())
    return X / unit, y, X_test / unit, y_test, unit


def _images(
    rng: np.random.Generator, classes: tuple[int, ...] | None, split: str, count: int | None, pool: int
) -> tuple[np.ndarray, np.ndarray]:
    """A random subset of the images of the classes, pixels in [0, 1] averaged over squares."""
    data = load("mnist", split=split)
    chosen = np.arange(len(data.y)) if classes is None else np.flatnonzero(np.isin(data.y, classes))
    chosen = np.sort(rng.permutation(chosen)[:count])
    side = 28 // pool
    X = data.X[chosen].astype(float).reshape(-1, side, pool, side, pool).mean((2, 4))
    return X.reshape(len(X), -1), data.y[chosen]


def trained(job: Job, model: str, X: np.ndarray, y: np.ndarray, radius: float, limit: float) -> tuple[Any, dict]:
    """A network trained against l2 balls, and what is to be said of it."""
    beta = job.beta[model]
    if model == "polynomial":
        problem: Any = ca.PolynomialProblem(X, y, radius=radius, beta=beta)
    else:
        problem = ca.ReLUProblem(
            X, y, n_gates=job.gates, random_state=0, radius=radius, norm="l2", beta=beta, fit_intercept=True
        )
    start = time.perf_counter()
    solution = ca.solve(problem, tol=1e-3, time_limit=limit)
    seconds = time.perf_counter() - start
    said = {"beta": beta, "radius": radius, "status": str(solution.status), "gap": float(f"{solution.gap:.2e}")}
    return solution.network, {**said, "neurons": solution.network.n_neurons, "seconds": round(seconds, 1)}


def compare(network: Any, X: np.ndarray, y: np.ndarray, radius: float, norm: str) -> dict[str, Any]:
    """One line of the table."""
    correct = network.predict(X) == y
    broken = ca.attack(network, X, y, radius, norm, ["pgd", "apgd"], steps=_STEPS, restarts=_RESTARTS).success
    reported = ca.worst_case_margin(network, X, y, radius, norm).lower_bound
    certified = correct & (reported > 0)  # as certify does it
    best, complete = certified, None
    polynomial = isinstance(network, ca.PolynomialNetwork)
    if not polynomial or (norm == "linf" and X.shape[1] <= _MOST_FEATURES):
        limits = {"complete": True, "max_branches": _BRANCHES, "time_limit": _SECONDS}
        best = ca.certify(network, X, y, radius, norm, **limits).certified
        complete = float(best.mean())
    if (best & broken).any() or (certified & broken).any():
        raise AssertionError(f"A certified row is broken: {norm} ball of radius {radius}.")
    attacked, left = float((correct & ~broken).mean()), correct & ~broken
    todo = np.flatnonzero(left & ~certified & ~best)
    if len(todo):
        options = {"steps": _STEPS, "restarts": _RESTARTS}
        left[todo] = ~ca.attack(network, X[todo], y[todo], radius, norm, "strongest", **options).success
    return {
        "norm": norm,
        "radius": radius,
        "rows": len(X),
        "clean": float(correct.mean()),
        "attacked": attacked,
        "strongest": float(left.mean()),
        "certified": float(certified.mean()),
        "complete": complete,
        "unknown": float((left & ~certified & ~best).mean()),
        **_compared(reported, *both_bounds(network, X, y, radius, norm)),
    }


def _compared(reported: np.ndarray, linear: np.ndarray, interval: np.ndarray, better: np.ndarray) -> dict[str, int]:
    """How the reported bounds compare with the two computed again."""
    tolerance = _TOLERANCE * abs(better).max()
    return {
        "interval": int((interval > linear + tolerance).sum()),
        "below": int((reported < better - tolerance).sum()),
        "above": int((reported > better + tolerance).sum()),
    }


def _cells(result: dict[str, Any]) -> tuple[str, ...]:
    percent = {name: result[name] for name in ("clean", "attacked", "strongest", "certified", "complete", "unknown")}
    return (
        *(result[name] for name in ("data", "model", "training", "norm")),
        f"{result['radius']:g}",
        str(result["rows"]),
        *("-" if value is None else f"{100 * value:.1f}" for value in percent.values()),
        *(str(result[name]) for name in ("interval", "below", "above")),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.split(":")[0])
    parser.add_argument("--rows", nargs="+", choices=list(JOBS), default=list(JOBS), help="data sets of the table")
    parser.add_argument("--limit", type=float, default=40.0, help="seconds of a training (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the results there; by default a full run is recorded")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
