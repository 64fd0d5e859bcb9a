r"""From the lift (Z, Z') of a polynomial network back to its neurons, and the other way.

    Z = sum_j w_j [u_j; 1][u_j; 1]',   ||u_j||_2 = 1,  w_j >= 0,

exists for every positive semidefinite Z of order d + 1 with tr Z1 = Z4 and needs at most rank(Z) terms: the
neural decomposition of [BP21] (Bartan, Pilanci, *Neural Spectrahedra and Semidefinite Lifts*, arXiv
2101.02429).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import to_numpy
from .errors import InputError
from .rotations import equalise

if TYPE_CHECKING:
    from .networks import PolynomialNetwork

_RANK_TOLERANCE = 1e-15
_FEASIBLE = 1e-6
_SAME_NEURON = 1e-10
_NOTHING = 1e-300  # where numbers are denormal, their rounding errors are no small part of them


def restore(Z: Any) -> np.ndarray:
    r"""Make an approximate Z decomposable: positive semidefinite with tr Z1 = Z4.

    Negative eigenvalues are set to zero (the nearest positive semidefinite matrix), then the two diagonal
    blocks are brought to the geometric mean of tr Z1 and Z4 by the congruence diag(s I, 1/s), which keeps
    the rank and the cone and differs from the identity by a quarter of the relative mismatch.

    Parameters
    ----------
    Z : array (d + 1, d + 1)
        Symmetric up to rounding; an answer of a conic solver.

    Returns
    -------
    array (d + 1, d + 1)

    Raises
    ------
    InputError
        If Z is not a finite square matrix of order two or more.
    """
    Z = _symmetric(Z)
    eigenvalues, vectors = np.linalg.eigh(Z)
    factor = vectors * np.sqrt(np.clip(eigenvalues, 0.0, None))
    top, corner = float((factor[:-1] ** 2).sum()), float((factor[-1] ** 2).sum())
    if top == 0.0 or corner == 0.0:
        return np.zeros_like(Z)
    stretch = (corner / top) ** 0.25
    factor[:-1] *= stretch
    factor[-1] /= stretch
    return factor @ factor.T


def neural_decomposition(Z: Any) -> tuple[np.ndarray, np.ndarray]:
    r"""Unit neurons u_j and weights w_j >= 0 with sum_j w_j [u_j; 1][u_j; 1]' = Z, at most rank(Z) of them.

    A factor Z = Y Y' is rotated until every column satisfies y'diag(I, -1)y = 0; a zero of a scalar
    quadratic for each pair of columns of opposite sign ([BP21], section on the neural decomposition).

    Parameters
    ----------
    Z : array (d + 1, d + 1)
        Positive semidefinite with tr Z1 = Z4, both to 1e-6 relative; see :func:`restore`.

    Returns
    -------
    neurons : array (m, d)
        Unit rows.
    weights : array (m,)
        Positive, with sum Z4.

    Raises
    ------
    InputError
        If Z is not such a matrix.
    """
    Z = _symmetric(Z)
    eigenvalues, vectors = np.linalg.eigh(Z)
    size = float(np.abs(eigenvalues).sum())
    if size == 0.0:
        return np.zeros((0, len(Z) - 1)), np.zeros(0)
    mismatch = abs(float(np.trace(Z)) - 2.0 * float(Z[-1, -1]))
    allowed = _FEASIBLE * size + _NOTHING
    if eigenvalues[0] < -allowed or mismatch > allowed:
        raise InputError(
            f"Z has the least eigenvalue {eigenvalues[0]:.3g} and |tr Z1 - Z4| = {mismatch:.3g}; a positive "
            "semidefinite Z with tr Z1 = Z4 is needed (restore(Z) makes it one)."
        )
    kept = eigenvalues > _RANK_TOLERANCE * len(Z) * eigenvalues[-1]
    columns = vectors[:, kept] * np.sqrt(eigenvalues[kept] / size)
    signature = np.append(np.ones(len(Z) - 1), -1.0)
    columns = equalise(columns, signature)
    lengths = np.linalg.norm(columns[:-1], axis=0)
    last = columns[-1]
    used = (lengths > 0.0) & (last != 0.0)
    neurons = (columns[:-1, used] * np.sign(last[used]) / lengths[used]).T
    # sum w u = Z2 and sum w uu' = Z1 pull in opposite directions where rounding leaves length != |last|
    return neurons, size * (lengths[used] * np.abs(last[used]))


def network_from_lift(
    Z: Sequence[Any],
    Z_prime: Sequence[Any],
    activation: tuple[float, float, float],
    classes: Any = None,
    objective: Callable[[PolynomialNetwork], float] | None = None,
    tolerance: float = 1e-9,
) -> PolynomialNetwork:
    """Turn a lift into its network: the neurons of Z with coefficients +w, those of Z' with coefficients -w.

    Neurons that coincide are merged. Negligible ones are dropped: those whose weight is rounding error, and
    with ``objective`` also the smallest ones as long as it rises by at most ``tolerance``, relative.

    Parameters
    ----------
    Z, Z_prime : sequence of C arrays (d + 1, d + 1)
        One pair for every output, decomposable (:func:`restore`).
    activation : (a, b, c)
    classes : array-like, optional
        Labels of the network; None for regression.
    objective : callable, optional
        Objective of a network, e.g. ``problem.objective``.
    tolerance : float
        Relative rise of the objective that dropping may cause.

    Returns
    -------
    PolynomialNetwork

    Raises
    ------
    InputError
        If a matrix cannot be decomposed, or the two lists differ in length.
    """
    from .networks import PolynomialNetwork

    if len(Z) != len(Z_prime) or len(Z) == 0:
        raise InputError(
            f"{len(Z)} matrices Z and {len(Z_prime)} matrices Z' were given; one of each for every output is needed."
        )
    parts = [
        (neurons, sign * weights, output)
        for output in range(len(Z))
        for sign, (neurons, weights) in (
            (1.0, neural_decomposition(Z[output])),
            (-1.0, neural_decomposition(Z_prime[output])),
        )
    ]
    neurons = np.concatenate([part[0] for part in parts])
    coefficients = np.zeros((len(neurons), len(Z)))
    start = 0
    for part, weights, output in parts:
        coefficients[start : start + len(part), output] = weights
        start += len(part)
    neurons, coefficients = _merged(*_without_rounding(neurons, coefficients))

    def build(kept: np.ndarray) -> PolynomialNetwork:
        return PolynomialNetwork(neurons[kept], coefficients[kept], activation=activation, classes=classes)

    everything = np.arange(len(neurons))
    return build(everything) if objective is None else _pruned(build, coefficients, objective, tolerance)


def lift(network: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lift a network: Z = sum of abs(alpha_j) [u_j; 1][u_j; 1]' over alpha_j > 0, and Z' over alpha_j < 0.

    Parameters
    ----------
    network : PolynomialNetwork

    Returns
    -------
    list of C pairs of arrays (d + 1, d + 1)
    """
    neurons = to_numpy(network.neurons, np.float64)
    coefficients = to_numpy(network.coefficients, np.float64).reshape(len(neurons), network.n_outputs)
    points = np.concatenate([neurons, np.ones((len(neurons), 1))], 1)

    def gram(weights: np.ndarray) -> np.ndarray:
        return points.T @ (points * np.clip(weights, 0.0, None)[:, None])

    return [(gram(alpha), gram(-alpha)) for alpha in coefficients.T]


def _symmetric(Z: Any) -> np.ndarray:
    try:
        Z = np.asarray(to_numpy(Z), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError("Z does not hold numbers; a finite symmetric matrix of order d + 1 >= 2 is needed.") from None
    if Z.ndim != 2 or Z.shape[0] != Z.shape[1] or len(Z) < 2 or not np.isfinite(Z).all():
        raise InputError(f"Z has shape {Z.shape}; a finite symmetric matrix of order d + 1 >= 2 is needed.")
    return 0.5 * (Z + Z.T)


def _without_rounding(neurons: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = np.abs(coefficients).sum(1)
    kept = size > 1e-14 * size.sum()
    return neurons[kept], coefficients[kept]


def _merged(neurons: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up the coefficients of neurons that are equal but for rounding."""
    count = len(neurons)
    owner = np.arange(count)
    for j in range(count):
        if owner[j] == j and j + 1 < count:
            close = ((neurons[j + 1 :] - neurons[j]) ** 2).sum(1) <= _SAME_NEURON**2
            owner[j + 1 :][close & (owner[j + 1 :] == np.arange(j + 1, count))] = j
    total = np.zeros_like(coefficients)
    np.add.at(total, owner, coefficients)
    kept = (owner == np.arange(count)) & (total != 0.0).any(1)
    return neurons[kept], total[kept]


def _pruned(build: Callable, coefficients: np.ndarray, objective: Callable, tolerance: float) -> PolynomialNetwork:
    """Drop the longest tail of small neurons, cut at a power of ten, that the objective tolerates."""
    size = np.abs(coefficients).sum(1)
    order = np.argsort(-size, kind="stable")
    whole = build(order)
    limit = objective(whole)
    if not np.isfinite(limit):
        return whole
    limit += tolerance * abs(limit)
    cuts = size.max(initial=0.0) * 10.0 ** -np.arange(1, 15)
    for count in sorted({0, *(int((size > cut).sum()) for cut in cuts)} - {len(order)}):
        candidate = build(order[:count])
        if objective(candidate) <= limit:
            return candidate
    return whole
