"""One of several processes that solve a problem together: ``process_worker.py RANK SIZE FOLDER``, see test_processes."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

import convexadv as ca
from convexadv.processes import together


def data(kind):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(240, 6))
    if kind == "squared":
        return X, np.sin(X[:, :2])
    y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1.0)
    return X, y if kind != "two" else (y > 0).astype(int)


SETTINGS = {
    "ovr": {"radius": 0.1, "beta": 0.01},
    "joint": {"radius": 0.1, "beta": 0.02, "multiclass": "joint", "loss": "logistic"},
    "two": {"radius": 0.1, "beta": 0.01, "loss": "squared_hinge", "clean_weight": 0.3},
    "squared": {"radius": 0.05, "beta": 0.01, "loss": "squared"},
}


def own_rows(n, rank, size):
    """Unequal parts, so that nothing may rely on equal ones."""
    ends = np.linspace(0, n**1.5, size + 1) ** (1 / 1.5)
    ends = np.round(ends).astype(int)
    return slice(ends[rank], ends[rank + 1])


def main():
    rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet-{size}{sys.argv[4:5]}", rank=rank, world_size=size
    )
    if len(sys.argv) > 4:
        other(sys.argv[4:], rank, size, folder)
        dist.destroy_process_group()  # gloo's threads may not outlive the interpreter
        return
    report = {}
    for kind, settings in SETTINGS.items():
        X, y = data(kind)
        own = own_rows(len(X), rank, size)
        group = together(True)
        problem = ca.PolynomialProblem(X[own], y[own], process_group=group, **settings)
        solution = ca.solve(problem, tol=1e-4)
        before, sweeps = group.bytes, solution.variables["sweeps"]
        arrays = [solution.network.neurons, solution.network.coefficients]
        bits = b"".join(np.ascontiguousarray(array.detach().numpy()).tobytes() for array in arrays)
        report[kind] = {
            "status": str(solution.status),
            "objective": solution.objective,
            "bound": solution.lower_bound,
            "bits": hash_of(bits),
            "bytes_a_sweep": before / max(1, sweeps),
        }
        ca.save(solution.network, folder / f"{kind}-{size}-{rank}.safetensors")
        whole = problem.gathered(solution.certificate)
        if rank == 0:
            save_atoms(folder / f"{kind}-{size}.npz", whole)
    (folder / f"report-{size}-{rank}.json").write_text(json.dumps(report))
    dist.destroy_process_group()


def other(words, rank, size, folder):
    if words[0] == "copies":
        X, y = (np.tile(part, (int(words[1]), *[1] * (part.ndim - 1))) for part in data("two"))
        order = np.argsort(np.arange(len(X)) % 240 >= 120, kind="stable")  # every process has whole copies of its rows
        own = np.array_split(order, 2)[rank]
        group = together(True)
        problem = ca.PolynomialProblem(X[own], y[own], process_group=group, radius=0.1, beta=0.02)
        solution = ca.solve(problem, max_iter=3, tol=1e-9)
        report = {"bytes": group.bytes, "sweeps": solution.variables["sweeps"]}
        (folder / f"report-{size}-{rank}.json").write_text(json.dumps(report))
        return
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 20)) / 20**0.5
    y = (X[:, :4] ** 2).sum(1) * 4 + 0.3 * rng.normal(size=600) > 1
    own = own_rows(len(X), rank, size)
    problem = ca.PolynomialProblem(X[own], y[own], process_group=True, radius=0.05, beta=0.003)
    tol = 1e-12 if words[0] == "lost" else 1e-3
    try:
        solution = ca.solve(
            problem, tol=tol, checkpoint=folder / "state", checkpoint_every=0.1, resume=True, time_limit=100
        )
    except ca.ProcessError as error:
        print(error, flush=True)
        os._exit(3)
    print(solution.status, "resumed" if solution.history[0].time < 1e-2 + solution.history[-1].time else "")


def hash_of(bits):
    import hashlib

    return hashlib.sha256(bits).hexdigest()


def save_atoms(path, certificate):
    arrays = {}
    for number, atom in enumerate(certificate.atoms):
        for name in ("multipliers", "coordinates", "basis", "spread", "groups"):
            if getattr(atom, name) is not None:
                arrays[f"{number}.{name}"] = getattr(atom, name)
        arrays[f"{number}.place"] = np.array([atom.component, atom.term])
    np.savez(path, **arrays)


if __name__ == "__main__":
    main()
