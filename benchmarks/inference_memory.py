"""Peak memory of inference, in a process of its own: ``python -m benchmarks.inference_memory FILE --shape 3 32 32``.

What is counted is the resident memory above that of a process which has imported everything and read and run a small network:
the weights, the activations, and what the libraries set aside for them. :func:`measure` does so for several models in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import apart, race
from convexadv.compression import factorise_model
from convexadv.models import PreActResNet18

BATCHES = (1, 64)
_PASSES = 5
_TIMEOUT = 300.0
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""glibc then gives tensors back as soon as they are freed, and peaks of the same model agree."""


def measure(
    models: Mapping[str, nn.Module], shape: tuple[int, ...], *, threads: int = 1, runs: int = 3
) -> dict[str, Any]:
    """Peak memory of several models, each in processes of its own, in turn.

    Parameters
    ----------
    models : dict of str to torch.nn.Module
        On the CPU; of classes that a new process can import.
    shape : tuple of int
        Of one sample.
    threads : int
        Threads of torch.
    runs : int
        Processes of each model.

    Returns
    -------
    dict
        By the size of the batch, as text, the medians in bytes by name; ``{"status": "failed", "message": ...}`` if a process
        ended with an error.
    """
    found: dict[str, list[dict[str, int]]] = {name: [] for name in models}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{number}.pt" for number, name in enumerate(models)}
        for name, model in models.items():
            torch.save(model.eval(), files[name])
        for number in range(runs):
            for name in list(models)[:: -1 if number % 2 else 1]:
                answer = apart.run(_command(files[name], shape, threads), _TIMEOUT, _ALLOCATOR)
                if "peaks" not in answer:
                    return apart.failed(f"{name}: {answer['message']}")
                found[name].append(answer["peaks"])
    return {
        size: {name: int(statistics.median(each[size] for each in peaks)) for name, peaks in found.items()}
        for size in map(str, BATCHES)
    }


def _command(file: Path, shape: tuple[int, ...], threads: int) -> list[str]:
    sizes = [str(size) for size in shape]
    return [sys.executable, "-m", __name__, str(file), "--threads", str(threads), "--shape", *sizes]


def peaks(file: Path, shape: tuple[int, ...]) -> dict[str, int]:
    """What a model takes above what this process takes now, by the size of the batch, smallest first."""
    _load_libraries()
    generator = torch.Generator().manual_seed(0)
    inputs = {size: torch.rand(size, *shape, generator=generator) for size in BATCHES}
    baseline, found = race.resident(), {}
    model = torch.load(file, weights_only=False)  # of this benchmark's own folder
    for size in BATCHES:
        race.restart_peak()
        for _ in range(_PASSES):
            model(inputs[size])
        found[str(size)] = max(0, race.peak() - baseline)
    return found


def _load_libraries() -> None:
    """Write, read and run a small model, so that what this loads is a part of the baseline."""
    small = PreActResNet18(width=2).eval()
    with tempfile.TemporaryFile() as file:
        torch.save(factorise_model(small, {"head": 2}), file)
        file.seek(0)
        torch.load(file, weights_only=False)(torch.zeros(1, 3, 8, 8))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference_memory", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a model that torch.save wrote whole")
    parser.add_argument("--shape", type=int, nargs="+", required=True, help="of one sample")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with torch.no_grad():
        found = peaks(arguments.file, tuple(arguments.shape))
    sys.stdout.write(json.dumps({"peaks": found}) + "\n")


if __name__ == "__main__":
    main()
