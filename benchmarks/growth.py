"""Growth of time and memory with rows, features, classes, patterns and processes: ``python -m benchmarks.growth``.

Every point of a series is a solve in a process (or several) of its own, after a warm-up; every series doubles its size. The
number of rounds varies with the data, so that the time of a sweep over the rows stands beside the time of the whole.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import apart, race, races, record, speed_relu
from convexadv.cli.output import table

NAME, FILE = "benchmarks.growth", "growth.json"
TARGET = 2.2
_GRACE, _LONG = 240.0, 10.0
_HEADER = (
    "series", "size", "status", "seconds", "ratio", "MiB", "ratio", "data MiB", "sweeps", "s/sweep", "ratio", "kB/sweep",
    "evaluations", "gap",
)  # fmt: skip


@dataclass(frozen=True)
class Series:
    """Problems that differ in one size."""

    data: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    build: Callable[[int, int], Any]
    """From the size and the largest size of the series to X, y and a function that makes the problem of them."""
    target: float | None = None
    """Most by which the time may grow with a doubling."""


def _polynomial(X: np.ndarray, y: np.ndarray, divisor: float) -> tuple[np.ndarray, np.ndarray, Callable]:
    beta = race.zero_threshold(X, y) / divisor

    def make(rows: np.ndarray, labels: np.ndarray, **group: Any) -> Any:
        import convexadv as ca

        return ca.PolynomialProblem(rows, labels, radius=0.05, beta=beta, **group)

    return X, y, make


def _first(rows: Callable[..., races.Data], classes: bool = False, **options: Any) -> Callable[[int, int], Any]:
    """The first rows of the largest data, so that all sizes are samples of the same distribution."""

    def build(size: int, largest: int) -> Any:
        X, label = rows(largest, 256, **options)
        return _polynomial(X[:size].copy(), (label if classes else label == 0)[:size], 30.0)

    return build


def _wider(size: int, largest: int) -> Any:
    X, label = races.planted_rows(largest * 12, size)
    return _polynomial(X, label == 0, 30.0)


def _classes(size: int, largest: int) -> Any:
    X, label = races.planted_rows(12_500 if largest > 8 else 2_000, 256, size)
    return _polynomial(X, label, 30.0)


def _patterns(model: str, n: int, d: int) -> Callable[[int, int], Any]:
    def build(size: int, largest: int) -> Any:
        X, y, G = speed_relu.data(speed_relu.Size(model, n, d, largest, 0.0, ()))

        def make(rows: np.ndarray, targets: np.ndarray) -> Any:
            import convexadv as ca

            kind = ca.ReLUProblem if model == "relu" else ca.GatedReLUProblem
            return kind(rows, targets, gates=G[:, :size], beta=speed_relu.BETA, loss="squared")

        return X, y, make

    return build


_HALF = "(class 0 with half of the rows, against the rest), d = 256, r = 0.05"
SERIES = {
    "rows, planted": Series(
        "planted rows of races.py, class 0 against the rest, d = 256, r = 0.05", (6_250, 12_500, 25_000, 50_000, 100_000),
        (1_000, 2_000, 4_000), _first(races.planted_rows), TARGET,
    ),
    "rows, overlapping": Series(
        f"overlapping rows of races.py {_HALF}", (6_250, 12_500, 25_000, 50_000, 100_000), (1_000, 2_000, 4_000),
        _first(races.overlapping_rows, half=True), TARGET,
    ),
    "features": Series("planted rows, class 0 against the rest", (128, 256, 512, 1024, 2048), (64, 128, 256), _wider),
    "classes": Series("planted rows, one-vs-rest", (2, 4, 8, 16, 32), (2, 4, 8), _classes),
    "gated patterns": Series(
        "gated network, n = 2000, d = 50, of speed_relu.py", (125, 250, 500, 1000), (25, 50, 100),
        _patterns("gated", 2000, 50),
    ),
    "ReLU patterns": Series(
        "ReLU network, n = 500, d = 20, of speed_relu.py", (25, 50, 100, 200), (10, 20), _patterns("relu", 500, 20)
    ),
    "processes": Series(
        f"overlapping rows of races.py {_HALF}; one thread a process", (1, 2, 4), (1, 2),
        lambda size, largest: _first(races.overlapping_rows, half=True)(*[50_000 if largest > 2 else 4_000] * 2),
    ),
}  # fmt: skip


def main() -> int:
    arguments = _arguments()
    if arguments.one is not None:
        result = _measured(arguments.one[0], int(arguments.one[1]), arguments)
        if result is not None:
            sys.stdout.write(json.dumps(result) + "\n")
        return 0
    record.set_threads(arguments.threads)
    plan = [(name, size) for name, series in SERIES.items() for size in _sizes(series, arguments.quick)]
    path = apart.target(arguments, FILE)
    ledger = apart.Ledger(NAME, arguments.threads, ("series", "size"), plan, path, arguments.quick, tol=arguments.tol)
    print(record.heading(ledger.document), flush=True)
    for name, size in plan:
        if name not in arguments.rows or (arguments.resume and ledger.done(name, size)):
            continue
        print(f"  {name}, {size} ...", flush=True)
        row = ledger.add((name, size), _apart(name, size, arguments))
        print(f"    {row['status']}: {row.get('message') or row.get('seconds')}", flush=True)
    print("\n" + report(ledger.document))
    return int(any(row["status"] == "failed" for row in ledger.results))


def _sizes(series: Series, quick: bool) -> tuple[int, ...]:
    return series.quick if quick else series.sizes


def _apart(name: str, size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    together = name == "processes"
    threads = 1 if together else arguments.threads
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)] if together else []
    command = [sys.executable, *start, "-m", NAME, "--one", name, str(size), "--threads", str(threads)]
    command += ["--tol", str(arguments.tol), "--time-limit", str(arguments.time_limit), *["--quick"] * arguments.quick]
    environment = dict.fromkeys(record.THREAD_VARIABLES, str(threads))
    result = apart.run(command, timeout=4.0 * arguments.time_limit + _GRACE, environment=environment)
    if together and result["status"] == "failed":
        return apart.not_run(result["message"])
    return result


def _measured(name: str, size: int, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Time and peak memory of one point; with several processes the largest of both, told by the first."""
    import torch

    import convexadv as ca

    torch.set_num_threads(arguments.threads)
    ca.solve, ca.PolynomialProblem, ca.PolynomialNetwork  # noqa: B018 - loads all that a solve needs
    baseline = race.resident()
    X, y, make = SERIES[name].build(size, max(_sizes(SERIES[name], arguments.quick)))
    group = _joined() if name == "processes" else {}
    if group:
        own = _own_rows(len(X))
        X, y = X[own].copy(), y[own]
    few = np.linspace(0, len(X) - 1, min(len(X), 256)).astype(int)
    ca.solve(make(X[few], y[few], **group), tol=0.1, max_iter=5)
    race.restart_peak()
    problem = make(X, y, **group)
    times: list[float] = []
    while len(times) < 3 and sum(times) < _LONG:
        sent, begin = problem.together.bytes, time.perf_counter()
        solution = ca.solve(problem, tol=arguments.tol, time_limit=arguments.time_limit)
        times.append(_largest(time.perf_counter() - begin, group))
        sent = problem.together.bytes - sent
    memory = _largest(race.peak() - baseline, group)
    report = {
        "n": len(X),
        "d": X.shape[1],
        **race.measured(problem, solution),
        "seconds": float(np.median(times)),
        "all_seconds": times,
        "peak_bytes": int(memory),
        "data_bytes": X.nbytes,
        "sent_bytes": sent,
        **{key: solution.variables.get(key) for key in ("rounds", "sweeps", "evaluations", "iterations")},
    }
    if group:
        import torch.distributed as dist

        first = dist.get_rank() == 0
        dist.barrier()
        dist.destroy_process_group()
        return report if first else None
    return report


def _joined() -> dict[str, Any]:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    return {"process_group": True}


def _own_rows(n: int) -> slice:
    import torch.distributed as dist

    rank, size = dist.get_rank(), dist.get_world_size()
    return slice(rank * n // size, (rank + 1) * n // size)


def _largest(value: float, group: dict[str, Any]) -> float:
    if not group:
        return value
    import torch
    import torch.distributed as dist

    number = torch.tensor([float(value)], dtype=torch.float64)
    dist.all_reduce(number, op=dist.ReduceOp.MAX)
    return float(number)


def report(document: dict[str, Any]) -> str:
    """The table, its ratios against the size before."""
    lines, worst = [], []
    before: dict[str, Any] = {}
    for row in document["results"]:
        last = before if before.get("series") == row["series"] and 2 * before["size"] == row["size"] else {}
        ratio = _ratio(row.get("seconds"), last.get("seconds"))
        target = SERIES[row["series"]].target
        mark = "" if ratio is None or target is None else "+" if ratio <= target else "-"
        if ratio is not None and target is not None:
            worst.append((ratio, f"{row['series']} {row['size']}"))
        sweep, sweep_before = _sweep(row), _sweep(last)
        lines.append([
            row["series"], str(row["size"]), row["status"], apart.show(row, "seconds", ".3g"), _text(ratio) + mark,
            _mebibytes(row.get("peak_bytes")), _text(_ratio(row.get("peak_bytes"), last.get("peak_bytes"))),
            _mebibytes(row.get("data_bytes")), apart.show(row, "sweeps", "d"), "-" if sweep is None else f"{sweep:.3g}",
            _text(_ratio(sweep, sweep_before)), _sent(row), apart.show(row, "evaluations", "d"),
            apart.show(row, "gap", ".1e"),
        ])  # fmt: skip
        before = row
    words = []
    if worst:
        most, where = max(worst)
        words = [
            f"The largest ratio of the time when n doubles: {most:.2f} ({where}); {TARGET} at most is to be reached."
        ]
    said = [f"{row['series']}, {row['size']}: {row['message']}" for row in document["results"] if row.get("message")]
    series = dict.fromkeys(row["series"] for row in document["results"])
    return "\n".join([
        table(_HEADER, lines), "", _LEGEND, *words, *(f"{name}: {SERIES[name].data}" for name in series), *said
    ])  # fmt: skip


def _sweep(row: dict[str, Any]) -> float | None:
    return row["seconds"] / row["sweeps"] if row.get("sweeps") and row.get("seconds") else None


def _sent(row: dict[str, Any]) -> str:
    return f"{row['sent_bytes'] / row['sweeps'] / 1e3:.1f}" if row.get("sent_bytes") and row.get("sweeps") else "-"


def _ratio(value: float | None, before: float | None) -> float | None:
    return value / before if value and before else None


def _text(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _mebibytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 2**20:.0f}"


_LEGEND = """seconds: median of up to three certified solves. ratio: to the line above, whose size is half. MiB: peak
memory of the process (the largest one of several) above the imported baseline, data included. s/sweep: seconds over
passes over the data (+ and - say whether the time of the whole reaches the target). kB/sweep: what each process sends a
sweep."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    apart.add_arguments(parser, FILE, list(SERIES))
    parser.add_argument("--tol", type=float, default=1e-3, help="certified gap of every solve (default: %(default)s)")
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds of a solve (default: %(default)s)")
    parser.add_argument("--one", nargs=2, metavar=("SERIES", "SIZE"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
