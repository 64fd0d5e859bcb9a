"""One worst-case evaluation of all rows over the matrix products it cannot avoid: ``python -m benchmarks.oracle``.

Margins of a network need X U'; value and gradient of the (smoothed) objective need X U' and X'B, B (n, m) derivatives. Both
sides run over the same blocks with the same threads in the same process, in turns, and the ratio of their medians is told; 3
is to be reached for 500 features or more. Neurons are random unit vectors with coefficients of both signs, so that all of
the secular equations are solved.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks import apart, record
from convexadv.cli.output import table

NAME, FILE = "benchmarks.oracle", "oracle.json"
TARGET = 3.0
FEATURES, NEURONS, TYPES, DEVICES = (512, 1024, 4096), (8, 32, 128), ("float64", "float32"), ("cpu", "cuda")
_BYTES, _QUICK_BYTES = 200 << 20, 8 << 20
"""Of the features in float64."""
_RADIUS, _SMOOTH = 0.05, 1e-4
_HEADER = (
    "d", "m", "device", "data", "n", "blocks", "products ms", "evaluation ms", "ratio", "target", "X U' ms", "margins ms",
    "ratio", "target",
)  # fmt: skip


def main() -> int:
    arguments = _arguments()
    if arguments.one is not None:
        print(json.dumps(measured(*map(int, arguments.one), arguments)))
        return 0
    record.set_threads(arguments.threads)
    every = [(d, m, device, dtype) for device in DEVICES for dtype in TYPES for d in FEATURES for m in NEURONS]
    path = apart.target(arguments, FILE)
    ledger = apart.Ledger(NAME, arguments.threads, ("d", "m", "device", "dtype"), every, path, arguments.quick)
    print(record.heading(ledger.document), flush=True)
    for key in every:
        if str(key[0]) not in arguments.rows or key[2] != arguments.device or (arguments.resume and ledger.done(*key)):
            continue
        row = ledger.add(key, _apart(key, arguments))
        print(f"  {', '.join(map(str, key))}: {row.get('message') or row['status']}", flush=True)
    print("\n" + report(ledger.document))
    return int(any(row["status"] == "failed" for row in ledger.results))


def _apart(key: tuple, arguments: argparse.Namespace) -> dict[str, Any]:
    d, m, device, dtype = key
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            return apart.not_run("torch.cuda.is_available() is False")
    command = [sys.executable, "-m", NAME, "--one", str(d), str(m), "--dtype", dtype, "--device", device]
    command += ["--threads", str(arguments.threads), "--runs", str(arguments.runs), *["--quick"] * arguments.quick]
    return apart.run(command, timeout=600.0)


def measured(d: int, m: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians of the times of both evaluations and of their products."""
    import torch

    import convexadv as ca
    from convexadv.solvers.polynomial.model import ComponentModel, Neurons, Smoothing
    from convexadv.solvers.polynomial.requests import Evaluate, Margins
    from convexadv.solvers.polynomial.sweeps import Sweeps

    torch.set_num_threads(1)
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    n = (_QUICK_BYTES if arguments.quick else _BYTES) // (8 * d)
    draw = np.random.default_rng(0)
    X = draw.standard_normal((n, d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    problem = ca.PolynomialProblem(X, draw.random(n) < 0.5, radius=_RADIUS, beta=0.01)
    sweeps = Sweeps(problem, device, dtype, arguments.threads)
    model = ComponentModel(problem, 0, device)
    units = draw.standard_normal((m, d))
    units *= (2.0 / m) ** 0.5 / np.linalg.norm(units, axis=1, keepdims=True)
    neurons = Neurons(
        model.tensor(units), model.tensor(np.where(np.arange(m) % 2, -1.0, 1.0)), model.tensor(np.zeros(m, np.int64))
    )
    centres = [[model.tensor(np.full((1, part.place.stop - part.place.start), 0.5))] for part in sweeps.chunks]
    smoothing = Smoothing(centres, 0.1, 1.0, _SMOOTH)
    evaluate, margins = Evaluate(model, neurons, smoothing, dtype == torch.float64), Margins(model, neurons)
    products = _Products(X, m, [part.place for part in sweeps.chunks], device, arguments.threads)
    both, forward = products.of(dtype, back=True), products.of(torch.float64, back=False)
    sides = [both, lambda: sweeps.serve([evaluate]), forward, lambda: sweeps.serve([margins])]
    seconds = _in_turns(sides, arguments.runs, torch.cuda.synchronize if device.type == "cuda" else lambda: None)
    products.close()
    sweeps.close()
    names = ("products_seconds", "evaluation_seconds", "forward_seconds", "margins_seconds")
    result = {
        "status": "measured",
        "n": n,
        "blocks": len(sweeps.chunks),
        "radius": _RADIUS,
        **dict(zip(names, seconds, strict=True)),
    }
    result["evaluation_ratio"], result["margins_ratio"] = seconds[1] / seconds[0], seconds[3] / seconds[2]
    return result


class _Products:
    """The products alone, over the same blocks, a thread a block."""

    def __init__(self, X: np.ndarray, m: int, places: list[slice], device: Any, threads: int):
        import torch

        self.torch, self.X, self.m, self.places, self.device = torch, X, m, places, device
        self.pool = None
        if device.type == "cpu" and threads > 1:
            self.pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))

    def of(self, dtype: Any, back: bool) -> Callable[[], Any]:
        """X U' of every block, and X'B with B of the same shape as X U', added up."""
        torch = self.torch
        whole = torch.as_tensor(self.X, dtype=dtype, device=self.device)
        columns = torch.randn(whole.shape[1], self.m, dtype=dtype, device=self.device)
        blocks = [whole[place] for place in self.places]

        def one(block: Any) -> Any:
            forward = block @ columns
            return block.T @ forward if back else None

        def every() -> Any:
            parts = list((map if self.pool is None else self.pool.map)(one, blocks))
            return sum(parts) if back else None

        return every

    def close(self) -> None:
        """End the threads."""
        if self.pool is not None:
            self.pool.shutdown()


def _in_turns(sides: list[Callable[[], Any]], runs: int, wait: Callable[[], None]) -> list[float]:
    """Medians of the seconds of every side, after two runs that do not count."""
    times: list[list[float]] = [[] for _ in sides]
    for number in range(runs + 2):
        for side, own in zip(sides, times, strict=True):
            wait()
            start = time.perf_counter()
            side()
            wait()
            if number >= 2:
                own.append(time.perf_counter() - start)
    return [float(np.median(own)) for own in times]


def report(document: dict[str, Any]) -> str:
    """The table."""
    lines = []
    for row in document["results"]:
        times = [row.get(f"{name}_seconds") for name in ("products", "evaluation", "forward", "margins")]
        texts = ["-" if seconds is None else f"{1e3 * seconds:.3g}" for seconds in times]
        ratios = [_ratio(row.get(f"{name}_ratio")) for name in ("evaluation", "margins")]
        head = [
            str(row["d"]),
            str(row["m"]),
            row["device"],
            row["dtype"],
            apart.show(row, "n", "d"),
            apart.show(row, "blocks", "d"),
        ]
        lines.append([*head, *texts[:2], *ratios[0], *texts[2:], *ratios[1]])
    said = dict.fromkeys(f"{row['device']}: {row['message']}" for row in document["results"] if row.get("message"))
    return "\n".join([table(_HEADER, lines), "", _LEGEND, *said])


def _ratio(value: float | None) -> tuple[str, str]:
    return ("-", "-") if value is None else (f"{value:.2f}", f"{TARGET:g}{'+' if value <= TARGET else '-'}")


_LEGEND = """products: X U' and X'B; evaluation: value, gradient and multipliers of all rows. margins: exact worst-case
margins of all rows, in float64 whatever the data. Medians; both sides in turns, with the same threads and blocks. target:
largest ratio, and whether (+) or not (-) it is kept."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    apart.add_arguments(parser, FILE, list(map(str, FEATURES)))
    parser.add_argument("--runs", type=int, default=9, help="of every side (default: %(default)s)")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--dtype", choices=TYPES, default="float64", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, metavar=("D", "M"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
