"""Features larger than memory, solved from disk: ``python -m benchmarks.streaming``.

A file of 1 GiB of float32 features (planted quadratic labels, falling variances) is memory-mapped and read as 20 tiles, each
scaled by a factor of its own: 20 GiB of rows that differ, of which only the first is on disk. The solve starts from the
network of a part of the rows. The answer is certified over all rows; memory is the peak above the imported baseline.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import convexadv as ca
from benchmarks import record
from benchmarks.race import peak, restart_peak, zero_threshold
from convexadv.cli.output import table

NAME = "benchmarks.streaming"
TARGET = 2 << 30
_PIECE = 4096
_SIGNAL = 12


class Tiles:
    """Tiles of a memory-mapped matrix, tile k scaled by ``factors[k]``: rows are made when they are read."""

    def __init__(self, path: Path, factors: np.ndarray):
        self.path, self.factors = path, factors
        base = np.load(path, mmap_mode="r")
        self.rows, self.dtype = len(base), base.dtype
        self.shape = (self.rows * len(factors), base.shape[1])
        self.bytes = 0

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(self.shape[0])
        base, pieces = np.load(self.path, mmap_mode="r"), []  # mapped anew: pages that were read do not stay resident
        while start < stop:
            tile, first = divmod(start, self.rows)
            last = min(first + stop - start, self.rows)
            pieces.append(base[first:last] * self.factors[tile])
            start += last - first
        self.bytes += sum(piece.nbytes for piece in pieces)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def write_base(path: Path, n: int, d: int) -> np.ndarray:
    """Write the features piece by piece; the labels (n,)."""
    rng = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    deviation = (1.0 + np.arange(d)) ** -0.5
    deviation /= np.linalg.norm(deviation)
    labels = np.empty(n, bool)
    for start in range(0, n, _PIECE):
        x = rng.standard_normal((min(_PIECE, n - start), d)) * deviation
        lead = x[:, :_SIGNAL] / deviation[:_SIGNAL]
        score = (lead[:, ::2] ** 2 - lead[:, 1::2] ** 2).sum(1) + 1.5 * lead[:, 0]
        labels[start : start + len(x)] = score + 2.0 * rng.standard_normal(len(x)) > 0
        file[start : start + len(x)] = x
    file.flush()
    return labels


def main() -> None:
    """Solve and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--gib", type=float, default=1.0, help="size of the file")
    parser.add_argument("--tiles", type=int, default=20)
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument(
        "--divisor", type=float, default=10.0, help="beta is the threshold of the part at radius 0 divided by this"
    )
    parser.add_argument("--part", type=int, default=16384, help="rows of the first solve")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--time-limit", type=float, default=3600.0)
    parser.add_argument("--folder", type=Path, help="where the file goes; a temporary folder if not given")
    parser.add_argument("--quick", action="store_true", help="16 MiB, 4 tiles, 256 features")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.gib, options.tiles, options.features, options.part = 1 / 64, 4, 256, 2048
    torch.set_num_threads(options.threads)
    document = record.provenance(NAME, options.threads)
    print(record.heading(document), flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        document |= stream(options, Path(folder) / "features.npy")
    print(report(document))
    out = options.out or (None if options.quick else record.RESULTS / "streaming.json")
    if out is not None:
        record.write(out, document)


def stream(options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Make the data, solve a part, then the whole."""
    ca.solve, ca.PolynomialProblem, ca.PolynomialNetwork  # noqa: B018 - what a solve loads belongs to the baseline
    ca.solve(ca.PolynomialProblem(np.eye(3), [0, 1, 1], radius=0.1), tol=0.1)
    n = int(options.gib * (1 << 30)) // (4 * options.features)
    labels = write_base(path, n, options.features)
    tiles = Tiles(path, 1.0 + 0.02 * np.arange(options.tiles, dtype=np.float32))
    baseline = _resident()
    restart_peak()
    y = np.tile(labels, options.tiles)
    part = np.sort(np.random.default_rng(1).choice(len(y), options.part, replace=False))
    started = time.perf_counter()
    X_part = np.concatenate([tiles[i : i + 1] for i in part.tolist()])
    small = ca.PolynomialProblem(X_part, y[part], radius=0.02)
    small.beta = zero_threshold(X_part, y[part]) / options.divisor
    first = ca.solve(small, tol=2e-3, time_limit=options.time_limit)
    problem = ca.PolynomialProblem(tiles, y, radius=0.02, beta=small.beta)
    prepared = time.perf_counter() - started
    tiles.bytes = 0
    solution = ca.solve(
        problem, tol=options.tol, warm_start=first.network, dtype="float32", time_limit=options.time_limit
    )
    solve_bytes = tiles.bytes
    sweeps = solution.variables["sweeps"]
    return {
        "n": len(y),
        "d": options.features,
        "bytes": len(y) * options.features * 4,
        "beta": small.beta,
        "part_seconds": prepared,
        "seconds": solution.solve_time,
        "sweeps": sweeps,
        "evaluations": solution.variables["evaluations"],
        "rounds": solution.variables["rounds"],
        "read_bytes": solve_bytes,
        "rate_gb_s": solve_bytes / solution.solve_time / 1e9,
        "peak_bytes": peak() - baseline,
        "target_bytes": TARGET,
        "status": str(solution.status),
        "objective": solution.objective,
        "lower_bound": solution.lower_bound,
        "gap": solution.gap,
        "of_zero": solution.objective / problem.zero_objective(),
        "neurons": solution.network.n_neurons,
        "certificate_bytes": solution.certificate.nbytes,
        "history": [[line.time, line.objective, line.lower_bound] for line in solution.history],
    }


def _resident() -> int:
    restart_peak()
    return peak()


def report(document: dict[str, Any]) -> str:
    """The run as a table."""
    head = ("rows", "d", "GiB", "status", "gap", "of zero", "neurons", "sweeps", "s", "GB/s", "peak GiB", "target 2")
    row = (
        str(document["n"]),
        str(document["d"]),
        f"{document['bytes'] / 2**30:.1f}",
        document["status"],
        f"{document['gap']:.1e}",
        f"{document['of_zero']:.2f}",
        str(document["neurons"]),
        str(document["sweeps"]),
        f"{document['seconds']:.0f}",
        f"{document['rate_gb_s']:.2f}",
        f"{document['peak_bytes'] / 2**30:.2f}",
        "reached" if document["peak_bytes"] <= document["target_bytes"] else "missed",
    )
    return table(head, [row])


if __name__ == "__main__":
    main()
