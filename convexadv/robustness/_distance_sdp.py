"""Distances to the decision boundary by semidefinite programmes: a reference, row by row, in cvxpy."""

from __future__ import annotations

import numpy as np

from ..errors import InputError, reason
from ._pairs import Pair, Span, Weights


def nearest_by_sdp(weights: Weights, X: np.ndarray, solver: str) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n,) and points (n, d), as :func:`convexadv.distance_to_boundary`."""
    distances, points = np.full(len(X), np.inf), np.full(X.shape, np.nan)
    z = (X - weights.shift) / weights.scale
    products = z @ weights.neurons.T
    scores = weights.activated(products) @ weights.coefficients
    predicted = scores.argmax(1)
    spans: dict[bytes, Span] = {}
    for first, second in weights.pairs(np.unique(predicted)):
        pair = weights.pair((first, second), spans)
        for i in np.flatnonzero((predicted == first) | (predicted == second)):
            up = predicted[i] == first if first != second else scores[i, 0] >= 0
            length, e = _nearest(pair, products[i, pair.span.index], 1.0 if up else -1.0, solver)
            if weights.step * length < distances[i]:
                distances[i], points[i] = weights.step * length, X[i] + weights.step * e
    return distances, points


def _nearest(pair: Pair, products: np.ndarray, sign: float, solver: str) -> tuple[float, np.ndarray]:
    """Least length at which the signed quadratic is not positive, infinity if it never is; the perturbation (d,)."""
    import cvxpy as cp

    if solver not in cp.installed_solvers():
        raise InputError(
            f"solver {solver!r} is not installed for cvxpy; choose one of {', '.join(cp.installed_solvers())}."
        )
    signs, vectors = np.array([sign]), pair.span.vectors
    value = float(pair.values(products[None], signs)[0])
    d = vectors.shape[1]
    if value <= 0:
        return 0.0, np.zeros(d)
    A = sign * (vectors.T * (pair.network.activation[0] * pair.weights)) @ vectors
    h = pair.slope(products[None], signs)[0] @ vectors
    lifted = cp.Variable((d + 1, d + 1), PSD=True)
    size = max(value, abs(A).max(initial=0.0), abs(h).max(initial=0.0))
    crossing = cp.trace(A / size @ lifted[:d, :d]) + 2 * (h / size) @ lifted[:d, d] + value / size <= 0
    problem = cp.Problem(cp.Minimize(cp.trace(lifted[:d, :d])), [lifted[d, d] == 1, crossing])
    options = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9} if solver == "CLARABEL" else {}
    try:
        problem.solve(solver=solver, **options)
    except cp.error.SolverError as error:
        raise InputError(
            f'solver {solver!r} failed on the distance programme ({reason(error)}); use another one, or method="exact".'
        ) from error
    if problem.status in ("infeasible", "infeasible_inaccurate"):
        return np.inf, np.zeros(d)
    if lifted.value is None:
        raise InputError(
            f"solver {solver!r} found no solution of the distance programme ({problem.status}); use another one, or "
            'method="exact".'
        )
    mean, moment = lifted.value[:d, d], lifted.value[:d, :d]
    sizes, directions = np.linalg.eigh(moment - np.outer(mean, mean))
    factor = directions @ np.sqrt(sizes.clip(0.0))  # nothing but in the degenerate case
    nearest = min((mean + factor, mean - factor), key=lambda e: float(e @ A @ e + 2 * h @ e))
    return float(np.sqrt(max(0.0, np.trace(moment)))), nearest
