"""Ten classes of CIFAR-10-sized features, one-vs-rest, certified: ``python -m benchmarks.features10``.

50,000 rows of 512 features, r = 0.05, hinge, all ten classes solved together to a certified gap of 1e-3, on separable and on
overlapping classes (`benchmarks.races.TEN`); each in a process of its own, time and peak memory above the imported baseline.
With --device cuda the rows are recorded beside those of the CPU; the time contains the way of the features to the device.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks import apart, record
from benchmarks.races import TEN
from benchmarks.speed_polynomial import raced
from convexadv.cli.output import table

NAME, FILE = "benchmarks.features10", "features10.json"
GPU_TARGET = 3.0
_NOTEWORTHY = 1 << 26
"""Bytes of data below which the peak is that of the libraries."""
DEVICES, TYPES = ("cpu", "cuda"), ("float64", "float32")
_HEADER = (
    "classes", "device", "dtype", "n", "d", "threads", "status", "seconds", "target", "mem/data", "gap", "objective",
    "of zero", "thr/beta", "neurons", "rounds", "sweeps", "s/sweep",
)  # fmt: skip


def main() -> int:
    arguments = _arguments()
    record.set_threads(arguments.threads)
    plan = [(name, device, dtype) for device in DEVICES for dtype in TYPES for name in TEN]
    ledger = apart.Ledger(
        NAME, arguments.threads, ("row", "device", "dtype"), plan, apart.target(arguments, FILE), arguments.quick
    )
    print(record.heading(ledger.document), flush=True)
    for name in arguments.rows:
        key = (name, arguments.device, arguments.dtype)
        if arguments.resume and ledger.done(*key):
            continue
        print(f"  {', '.join(key)} ...", flush=True)
        ledger.add(key, _raced(name, arguments))
    print("\n" + report(ledger.document))
    return int(any(row["status"] == "failed" for row in ledger.results))


def _raced(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            return apart.not_run("torch.cuda.is_available() is False")
    result = raced(f"ten-{name}", "torch", arguments)
    result["card"] = result.pop("device", None)
    if arguments.device == "cuda" and result["target"] is not None:
        result["target"] = GPU_TARGET
    return result


def report(document: dict[str, Any]) -> str:
    """The table."""
    return "\n".join([table(_HEADER, [_cells(row) for row in document["results"]]), "", _LEGEND, *_notes(document)])


def _cells(row: dict[str, Any]) -> list[str]:
    certified = row.get("gap") is not None and row["gap"] <= row["tol"]
    sweeps = row.get("sweeps")
    return [
        row["row"],
        row["device"],
        row["dtype"],
        apart.show(row, "n", "d"),
        apart.show(row, "d", "d"),
        str(row["run"]["threads"]),
        row["status"],
        apart.show(row, "seconds", ".3g"),
        _reached(row, "target", certified and row["seconds"] <= row["target"] if row.get("target") else False),
        _memory(row),
        apart.show(row, "gap", ".1e"),
        apart.show(row, "objective", ".6f"),
        f"{row['objective'] / row['zero_objective']:.3f}" if row.get("objective") is not None else "-",
        f"{row['threshold'] / row['beta']:.3g}" if row.get("beta") else "-",
        apart.show(row, "neurons", "d"),
        apart.show(row, "rounds", "d"),
        apart.show(row, "sweeps", "d"),
        f"{row['seconds'] / sweeps:.3g}" if sweeps else "-",
    ]


def _reached(row: dict[str, Any], key: str, good: bool) -> str:
    return f"{row[key]:g}{'+' if good else '-'}" if row.get(key) is not None else "-"


def _memory(row: dict[str, Any]) -> str:
    if row.get("data_bytes", 0) < _NOTEWORTHY or row["device"] != "cpu":
        return "-"
    share = row["peak_bytes"] / row["data_bytes"]
    mark = "" if row["memory_target"] is None else "+" if share < row["memory_target"] else "-"
    return f"{share:.2f}{mark}"


def _notes(document: dict[str, Any]) -> list[str]:
    rows = document["results"]
    lines = [f"{row['row']}: {row['data']}" for row in rows if "data" in row]
    lines += [f"{row['row']}, {row['device']}, {row['dtype']}: {row['message']}" for row in rows if row.get("message")]
    lines += [f"{row['row']}, {row['dtype']}: on {row['card']}" for row in rows if row.get("card")]
    return list(dict.fromkeys(lines))


_LEGEND = """seconds: one solve after a warm-up on some rows. target: seconds to reach on 4 cores (or on an H100), and
whether (+) or not (-) they were, certified to 1e-3. mem/data: peak memory of the process above the imported baseline,
data included, as a multiple of the features in float64; below 3 is to be reached. of zero: objective as a multiple of the
zero network's, which is ten. thr/beta: smallest beta with the zero solution at radius 0, divided by beta. The constant -1
has a loss of 0.2 a class: a fifth of the zero network's. Only a beta near the threshold (overlapping-2) lifts the
objective of balanced classes above a half."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    apart.add_arguments(parser, FILE, list(TEN))
    parser.add_argument("--time-limit", type=float, default=600.0, help="seconds of a solve")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--dtype", choices=TYPES, default="float64", help="of the products with the features")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
