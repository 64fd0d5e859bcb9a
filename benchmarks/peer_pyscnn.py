"""pyscnn on one convex (gated) ReLU problem, run by the interpreter that has pyscnn: it needs nothing of convexadv.

``PYTHON benchmarks/peer_pyscnn.py INPUT.npz OUTPUT.npz --beta B``, where INPUT holds X (n, d), y (n,) and G (d, P).
It minimises, over W (P, d) of a gated ReLU network or (2, P, d) of a ReLU network,

    |F(W) - y|^2 / (2n) + beta sum_i |W_i|_2,   F(W) = sum_i D_i X W_i  or  sum_i D_i X (W_0i - W_1i),  D_i = diag(X g_i > 0),

where the ReLU network has the cones (2 D_i - I) X W_ki >= 0, by R-FISTA and by pyscnn's augmented Lagrangian. pyscnn stops
where the squared norm of the smallest subgradient is below --tol. It drops equal and all-zero patterns and orders the rest;
``columns`` says which columns of G are left. OUTPUT holds

    weights, G, columns   weights of the patterns left, their gates as pyscnn returns them, and their columns of the given G
    seconds               of the iterations, by pyscnn's own clock, which stops while it records
    call_seconds          of the whole call: conversion to lists, patterns, iterations and records
    iterations, stopped   how many, and why they ended: "tolerance", "time" or "iterations"
    trace_seconds, trace_objective (and trace_violation)
                          the point after every iteration, by pyscnn's clock and its own formula in the precision of --dtype;
                          for a ReLU network without its penalty, with the 2-norm of all violations of the cones
    dtype, version        of the weights as they are returned, and of pyscnn

NumPy 2 would turn pyscnn's float32 into a slower mixture with float64, because its step sizes are NumPy numbers. NumPy 2.0
and 2.1 still have the old rule, which this script asks for; with a later NumPy ``--dtype float64`` is the faster choice.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import time
from importlib import metadata
from pathlib import Path
from typing import Any


def main() -> None:
    arguments = _arguments()
    os.environ["NPY_PROMOTION_STATE"] = "legacy"  # this and the threads are read when the libraries are loaded
    if arguments.threads:
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        os.environ.update(dict.fromkeys(variables, str(arguments.threads)))
    import numpy as np

    logging.disable(logging.WARNING)  # that it ran out of iterations: `stopped` says so
    with np.load(arguments.input) as data:
        X, y, G = data["X"], data["y"], data["G"]
    solve(X, y, G, arguments, math.inf, max_iter=2)  # loads libraries, starts threads, plans the products
    np.savez(arguments.output, **solve(X, y, G, arguments, arguments.time_limit, arguments.max_iter))


def solve(X: Any, y: Any, G: Any, arguments: argparse.Namespace, time_limit: float, max_iter: int) -> dict[str, Any]:
    """What OUTPUT holds (see above), for one run of pyscnn."""
    import numpy as np
    from scnn.metrics import Metrics
    from scnn.optimize import optimize_model
    from scnn.regularizers import NeuronGL1

    gated = arguments.model == "gated"
    metrics = Metrics(model_loss=not gated, constraint_gaps=not gated)
    model, solver = _solver(G, arguments, max_iter)
    with _Stop(gated, time_limit) as stop:
        start = time.perf_counter()
        model, metrics = optimize_model(
            model, solver, metrics, X, y, regularizer=NeuronGL1(arguments.beta), return_convex=True,
            unitize_data=False, dtype=arguments.dtype,
        )  # fmt: skip
        call_seconds = time.perf_counter() - start
    weights = np.asarray(model.parameters, dtype=float)
    trace = {"trace_seconds": metrics.time, "trace_objective": metrics.objective if gated else metrics.model_loss}
    if not gated:
        trace["trace_violation"] = np.sqrt(metrics.constraint_gaps)
    return {
        "weights": weights[0, 0] if gated else weights[:, 0],
        "G": np.asarray(model.G, dtype=float),
        "columns": _columns(G, model.G),
        "seconds": metrics.time[-1],
        "call_seconds": call_seconds,
        "iterations": len(metrics.time) - 2,  # the start and the end are recorded too
        "stopped": stop.reason,
        "dtype": str(model.parameters[0].dtype),
        "version": metadata.version("pyscnn"),
        **{name: np.asarray(values, dtype=float) for name, values in trace.items()},
    }


def _solver(G: Any, arguments: argparse.Namespace, max_iter: int) -> tuple[Any, Any]:
    from scnn.models import ConvexGatedReLU, ConvexReLU
    from scnn.solvers import AL, RFISTA

    if arguments.model == "gated":
        model = ConvexGatedReLU(G)
        return model, RFISTA(model, max_iters=max_iter, tol=arguments.tol)
    model = ConvexReLU(G)
    # max_primal_iters bounds the inner iterations of all outer ones together
    return model, AL(model, max_primal_iters=max_iter, tol=arguments.tol, constraint_tol=arguments.constraint_tol)


class _Stop:
    """Make pyscnn's stopping rule hold when the time is up too, and note why it held; pyscnn has no time limit."""

    def __init__(self, gated: bool, time_limit: float) -> None:
        from scnn.private.methods.termination_criteria import ConstrainedHeuristic, GradientNorm

        self.criterion = GradientNorm if gated else ConstrainedHeuristic
        self.rule, self.time_limit, self.reason = self.criterion.__call__, time_limit, "iterations"

    def __enter__(self) -> _Stop:
        end = time.perf_counter() + self.time_limit

        def stop(criterion: Any, *point: Any) -> bool:
            late = time.perf_counter() > end
            if late or self.rule(criterion, *point):
                self.reason = "time" if late else "tolerance"
                return True
            return False

        self.criterion.__call__ = stop
        return self

    def __exit__(self, *error: object) -> None:
        self.criterion.__call__ = self.rule


def _columns(G: Any, kept: Any) -> Any:
    """Index in G of every column of `kept`, which holds columns of G in the precision of the run."""
    import numpy as np

    index = {column.tobytes(): i for i, column in reversed(list(enumerate(G.T.astype(kept.dtype))))}
    return np.array([index[column.tobytes()] for column in kept.T], dtype=int)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", type=Path, help="npz file with X, y and G")
    parser.add_argument("output", type=Path, help="npz file to write")
    parser.add_argument("--model", choices=("relu", "gated"), default="gated")
    parser.add_argument("--beta", type=float, required=True, help="weight of the group norms")
    parser.add_argument("--tol", type=float, default=1e-6, help="of the squared norm of the smallest subgradient")
    parser.add_argument("--constraint-tol", type=float, default=1e-6, help="of the summed squares of violations (relu)")
    parser.add_argument("--max-iter", type=int, default=10_000, help="10000 is pyscnn's own bound")
    parser.add_argument("--time-limit", type=float, default=math.inf, help="seconds, records included")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="float32 is pyscnn's own")
    parser.add_argument("--threads", type=int, help="of the linear algebra; all cores if left out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
