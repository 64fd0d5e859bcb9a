"""Speed of exact l2 margins of all pairs of classes: ``python -m benchmarks.speed_margins``.

10,000 rows, 784 features, 10 classes, 64 neurons a class: once with neurons of its own for every class (one-vs-rest,
640 neurons), once with 64 neurons that all classes share (joint). The full-rank time is that of one eigendecomposition
of order 784 for every pair of classes, with rows and secular equations in all 784 coordinates; both give the same
margins. Every network is measured in a process of its own, whose first call is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import record
from convexadv.cli.output import table

if TYPE_CHECKING:
    import numpy as np

    from convexadv import PolynomialNetwork

NAME = "benchmarks.speed_margins"
NETWORKS = ("one-vs-rest", "joint")
_RADIUS, _SEED, _CLASSES = 0.1, 0, 10
_TARGET = 2.0  # seconds on 4 cores
_HEADER = ("network", "n", "d", "neurons", "pairs", "seconds", "target", "full rank", "ratio", "difference", "exact")


def main() -> int:
    arguments = _arguments()
    if arguments.measure:
        print(json.dumps(_measured(arguments)))
        return 0
    record.set_threads(arguments.threads)
    document = {**record.provenance(NAME, arguments.threads), "quick": arguments.quick, "results": []}
    print(record.heading(document), flush=True)
    for name in NETWORKS:
        command = [sys.executable, "-m", NAME, "--measure", name, "--runs", str(arguments.runs)]
        command += ["--quick"] * arguments.quick + ["--skip-full-rank"] * arguments.skip_full_rank
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name} failed: {(done.stderr.strip().splitlines() or [done.returncode])[-1]}")
            return 1
        document["results"].append(json.loads(done.stdout.splitlines()[-1]))
    print("\n" + report(document))
    partial = arguments.quick or arguments.skip_full_rank
    out = arguments.out or (None if partial else record.RESULTS / "speed_margins.json")
    if out is None:
        print("\nA part of the benchmark is not written; --out FILE writes it.")
    else:
        record.write(out, document)
        print(f"\nWritten to {out.name}.")
    return 0


def report(document: dict[str, Any]) -> str:
    """The table."""
    return table(_HEADER, [_cells(result) for result in document["results"]]) + "\n" + _LEGEND


_LEGEND = """seconds: median of the runs after a warm-up, rows, margins, points and both bounds included.
target: seconds to reach on 4 cores, and whether (+) or not (-) they were.
full rank: one run, without points. difference: largest of the bounds, relative to the magnitude of the margins."""


def _problem(name: str, quick: bool) -> tuple[PolynomialNetwork, np.ndarray, np.ndarray]:
    """Network, rows and labels, from a fixed seed."""
    import numpy as np

    from convexadv import PolynomialNetwork

    rng = np.random.default_rng(_SEED)
    n, d, own = (500, 100, 16) if quick else (10_000, 784, 64)
    m = own * _CLASSES if name == "one-vs-rest" else own
    neurons = rng.standard_normal((m, d))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    coefficients = rng.standard_normal((m, _CLASSES))
    if name == "one-vs-rest":
        coefficients *= np.arange(m)[:, None] // own == np.arange(_CLASSES)
    network = PolynomialNetwork(neurons, coefficients, classes=np.arange(_CLASSES))
    return network, rng.random((n, d)), rng.integers(0, _CLASSES, n)


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    import convexadv as ca

    network, X, y = _problem(arguments.measure, arguments.quick)
    result = ca.worst_case_margin(network, X, y, _RADIUS)
    seconds = []
    for _ in range(arguments.runs):
        start = time.perf_counter()
        result = ca.worst_case_margin(network, X, y, _RADIUS)
        seconds.append(time.perf_counter() - start)
    found: dict[str, Any] = {
        "network": arguments.measure,
        "n": len(X),
        "d": X.shape[1],
        "neurons": network.n_neurons,
        "pairs": _CLASSES * (_CLASSES - 1) // 2,
        "radius": _RADIUS,
        "seconds": float(np.median(seconds)),
        "runs": seconds,
        "target": None if arguments.quick else _TARGET,
        "exact": float(result.exact.mean()),
    }
    if not arguments.skip_full_rank:
        start = time.perf_counter()
        expected = _full_rank(network, X, y)
        found["full_rank_seconds"] = time.perf_counter() - start
        found["difference"] = float(abs(expected - result.lower_bound).max() / abs(expected).max())
    return found


def _full_rank(network: PolynomialNetwork, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The margins (n,), from matrices of order d."""
    import numpy as np

    from convexadv.quadratics import ball_minimum

    a, b, c = network.activation
    forms = [[part.numpy() for part in network.quadratic(output)] for output in range(_CLASSES)]
    least = np.full(len(X), np.inf)
    for first in range(_CLASSES):
        for second in range(first + 1, _CLASSES):
            matrix, vector, constant = (one - two for one, two in zip(forms[first], forms[second], strict=True))
            eigenvalues, vectors = np.linalg.eigh(a * matrix)
            rows = np.flatnonzero((y == first) | (y == second))
            sign = np.where(y[rows] == first, 1.0, -1.0)
            z = X[rows] @ vectors
            pull = vectors.T @ (b * vector)
            value = sign * ((z * z) @ eigenvalues + z @ pull + c * constant)
            gradient = sign[:, None] * (z * eigenvalues + 0.5 * pull)
            found = ball_minimum(sign[:, None] * eigenvalues, gradient, np.full(len(rows), _RADIUS))
            least[rows] = np.minimum(least[rows], value + found.value)
    return least


def _cells(result: dict[str, Any]) -> list[str]:
    target, full = result["target"], result.get("full_rank_seconds")
    return [
        result["network"],
        *(str(result[name]) for name in ("n", "d", "neurons", "pairs")),
        f"{result['seconds']:.3g}",
        "-" if target is None else f"{target:g}{'+' if result['seconds'] < target else '-'}",
        "-" if full is None else f"{full:.3g}",
        "-" if full is None else f"{full / result['seconds']:.3g}",
        "-" if full is None else f"{result['difference']:.1e}",
        f"{result['exact']:.1%}",
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5, help="runs that are timed after a warm-up")
    parser.add_argument("--skip-full-rank", action="store_true", help="leave out the full-rank time")
    parser.add_argument("--quick", action="store_true", help="a small version, for a check in seconds")
    parser.add_argument("--out", type=Path, help="JSON file; by default results/speed_margins.json of a full run")
    parser.add_argument("--measure", choices=NETWORKS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
