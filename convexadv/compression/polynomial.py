r"""The low-rank view of a polynomial network: fewer neurons by truncating its lift, with what that does to every margin.

    f_c(z) = sum_j alpha_jc s(u_j . z) = <S(z), W_c>,   W_c = sum_j alpha_jc [u_j; 1][u_j; 1]' = Z_c - Z'_c,
    S(z) = [[a zz', b z/2], [b z'/2, c]]

with Z_c, Z'_c positive semidefinite, tr Z1 = Z4 ([BP21] Bartan, Pilanci, arXiv 2101.02429). A network of m neurons is a
lift of rank m at most, and a lift of rank m with tr Z1 = Z4 is a network of m neurons: the neural decomposition. These
truncations keep that form, and the one with the smallest error sum_c ||W_c - W'_c||_F^2 is taken:

- of neurons: one after the other is left out, the one whose loss costs least once all others have been fitted again. With
  the Gram matrix G_ij = (u_i . u_j + 1)^2 of the atoms, that of neuron j costs ||alpha_j||^2 / (G^-1)_jj. Beside it stands
  the plain choice, the largest coefficients, fitted too;
- of eigenvalues: each Z_c, Z'_c is cut to a rank, the ranks chosen together within the budget, brought back to tr Z1 = Z4
  and decomposed again. Where neurons outnumber the rank of the lift this loses nothing. The coefficients are fitted.

What changes is bounded in closed form. With rho the largest norm of z in the ball,

    |f_c - f'_c| <= ||S||_F ||W_c - W'_c||_F,   ||S||_F^2 = a^2 rho^4 + b^2 rho^2 / 2 + c^2
    |f_c - f'_c| <= sum_j |alpha_jc - alpha'_jc| max over the ball of |s(u_j . z)|      (over the neurons of both networks)

and a worst-case margin moves by no more than the smaller of the two (for two outputs, by their sum).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import to_numpy
from ..errors import InputError, wrong_kind
from ..networks import PolynomialNetwork
from ..networks.labels import label_indices
from ..recovery import lift, neural_decomposition, restore
from ..robustness import worst_case_margin
from .choices import best_choice, pareto

_RANK = 1e-13
_RIDGE = 1e-12


@dataclass(frozen=True, eq=False)
class PruningReport:
    """Worst-case margins of the rows before and after pruning; float64 arrays (n,).

    Attributes
    ----------
    before, after : (n,)
        Lower bounds of :func:`convexadv.worst_case_margin`; l2 balls: the worst-case margins themselves.
    exact : (n,) bool
        Whether both are exact.
    bound : (n,)
        No worst-case margin has moved by more than this; the closed form above, l2 balls only (infinity otherwise).
    radius : float or (n,)
        As given.
    norm : str
        As given.
    """

    before: np.ndarray
    after: np.ndarray
    exact: np.ndarray
    bound: np.ndarray
    radius: Any
    norm: str

    @property
    def change(self) -> np.ndarray:
        """After minus before, (n,)."""
        return self.after - self.before

    @property
    def robust(self) -> tuple[int, int]:
        """Numbers of rows with a positive worst-case margin, before and after."""
        return int((self.before > 0).sum()), int((self.after > 0).sum())


@dataclass(frozen=True, eq=False)
class Pruned:
    """Result of :func:`prune`.

    Attributes
    ----------
    network : PolynomialNetwork
        With the neurons that were kept.
    errors : (C,)
        ||W_c - W'_c||_F of every output.
    method : str
        "neurons", "sizes", "eigenvalues", or "none" if nothing was left out.
    report : PruningReport or None
        What happened to the margins of the rows that were given.
    """

    network: PolynomialNetwork
    errors: np.ndarray
    method: str
    report: PruningReport | None = None


def prune(
    network: PolynomialNetwork, n_neurons: int, X: Any = None, y: Any = None, radius: Any = 0.0, norm: str = "l2"
) -> Pruned:
    """Prune a polynomial network to a number of neurons by truncating its lift.

    Parameters
    ----------
    network : PolynomialNetwork
        Not changed.
    n_neurons : int
        Budget, 0 or more, for all outputs together. With as many as the network has, it is returned as it is.
    X, y : array (n, d), array-like (n,), optional
        Rows and labels whose worst-case margins are reported.
    radius : float or (n,)
        Of the balls around the rows, in the units of X.
    norm : {"l2", "linf", "l1"}
        As in :func:`convexadv.worst_case_margin`.

    Returns
    -------
    Pruned

    Raises
    ------
    InputError
        If the network is of another kind, the budget is not an integer of 0 or more, or X is given without y; and as
        :func:`convexadv.worst_case_margin`.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> from convexadv.compression import prune
    >>> network = ca.PolynomialNetwork([[1.0, 0.0], [0.0, 1.0]], [2.0, 0.001], classes=[0, 1])
    >>> found = prune(network, 1, np.array([[3.0, 1.0]]), [1], radius=0.5)
    >>> found.network.n_neurons, bool(abs(found.report.change[0]) <= found.report.bound[0])
    (1, True)
    """
    if not isinstance(network, PolynomialNetwork):
        raise wrong_kind(network, "a PolynomialNetwork")
    if isinstance(n_neurons, bool) or not isinstance(n_neurons, int | np.integer) or n_neurons < 0:
        raise InputError(f"n_neurons must be an integer of 0 or more, got {n_neurons!r}.")
    if (X is None) != (y is None):
        raise InputError("rows X and labels y are needed together; one of them was given.")
    if n_neurons >= network.n_neurons:
        found, method = network._with(), "none"
    else:
        found, method = _truncated(network, int(n_neurons))
    report = None if X is None else _report(network, found, X, y, radius, norm)
    return Pruned(found, _errors(network, *_weights(found)), method, report)


def _truncated(network: PolynomialNetwork, budget: int) -> tuple[PolynomialNetwork, str]:
    neurons, coefficients = _weights(network)
    largest = np.argsort(-np.linalg.norm(coefficients, axis=1), kind="stable")[:budget]
    candidates = {"eigenvalues": _fewer_eigenvalues(network, budget)}
    for name, kept in (("neurons", _fewer_neurons(neurons, coefficients, budget)), ("sizes", largest)):
        candidates[name] = neurons[kept], _fitted(neurons, coefficients, neurons[kept])
    error = {name: float((_errors(network, *pair) ** 2).sum()) for name, pair in candidates.items()}
    method = min(error, key=lambda name: error[name])
    kept, values = candidates[method]
    settings = {"dtype": network.shift.dtype, "unit_tolerance": 1e-6}
    return network._with(neurons=kept, coefficients=values, **settings).to(network.shift.device), method


def _fewer_neurons(neurons: np.ndarray, coefficients: np.ndarray, budget: int) -> np.ndarray:
    """Indices of the neurons that are left when the cheapest one is left out, one after the other."""
    gram = _gram(neurons, neurons)
    inverse = np.linalg.inv(gram + _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)))
    kept, values = np.arange(len(neurons)), coefficients.copy()
    while len(kept) > budget:
        j = int(np.argmin((values**2).sum(1) / np.diag(inverse)))
        column = inverse[:, j] / inverse[j, j]
        values = np.delete(values - column[:, None] * values[j], j, 0)
        inverse = np.delete(np.delete(inverse - column[:, None] * inverse[j], j, 0), j, 1)
        kept = np.delete(kept, j)
    return kept


def _fewer_eigenvalues(network: PolynomialNetwork, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut every Z_c, Z'_c to a rank, decompose, and fit the coefficients of each output on its own neurons."""
    neurons, coefficients = _weights(network)
    parts = [(output, Z) for output, pair in enumerate(lift(network)) for Z in pair]
    spectra = [np.linalg.eigh(Z) for _, Z in parts]
    fronts = []
    for values, _ in spectra:
        positive = np.clip(values[::-1], 0.0, None)
        left = np.append(np.cumsum((positive**2)[::-1])[::-1], 0.0)
        rank = int((positive > _RANK * max(float(positive[0]), 1e-300)).sum())
        ranks = np.arange(rank + 1)
        fronts.append(pareto(ranks, np.where(ranks == rank, 0.0, left[ranks]), ranks))
    chosen = best_choice(fronts, budget)
    made, outputs = [np.zeros((0, neurons.shape[1]))], [np.zeros(0, int)]
    for (output, _), (values, vectors), front, i in zip(parts, spectra, fronts, chosen.index, strict=True):
        rank = int(front.labels[i])
        if rank == 0:
            continue
        factor = vectors[:, -rank:] * np.sqrt(np.clip(values[-rank:], 0.0, None))
        own, _ = neural_decomposition(restore(factor @ factor.T))
        made.append(own)
        outputs.append(np.full(len(own), output))
    points, owner = np.concatenate(made), np.concatenate(outputs)
    fitted = np.zeros((len(points), coefficients.shape[1]))
    for output in range(coefficients.shape[1]):
        mine = owner == output
        fitted[mine, output] = _fitted(neurons, coefficients[:, output : output + 1], points[mine])[:, 0]
    return points, fitted


def _fitted(neurons: np.ndarray, coefficients: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Coefficients of the kept neurons whose lift is nearest to that of the given network."""
    if len(kept) == 0:
        return np.zeros((0, coefficients.shape[1]))
    right = _gram(kept, neurons) @ coefficients
    return np.linalg.pinv(_gram(kept, kept), rcond=_RANK, hermitian=True) @ right


def _gram(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Inner products of the atoms [u; 1][u; 1]'."""
    return (first @ second.T + 1.0) ** 2


def _weights(network: PolynomialNetwork) -> tuple[np.ndarray, np.ndarray]:
    return to_numpy(network.neurons, np.float64), to_numpy(network.coefficients, np.float64)


def _errors(network: PolynomialNetwork, neurons: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """||W_c - W'_c||_F of every output, from the difference itself: squares of it in the Gram matrix would cancel."""
    both, change = _difference(network, neurons, coefficients)
    points = np.concatenate([both, np.ones((len(both), 1))], 1)
    return np.array([np.linalg.norm(points.T @ (points * each[:, None])) for each in change.T])


def _difference(
    network: PolynomialNetwork, neurons: np.ndarray, coefficients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Neurons of both networks, equal ones once, and by how much their coefficients differ."""
    first, before = _weights(network)
    both, owner = np.unique(np.concatenate([first, neurons]), axis=0, return_inverse=True)
    change = np.zeros((len(both), before.shape[1]))
    np.add.at(change, owner.ravel(), np.concatenate([before, -coefficients]))
    return both, change


def _report(
    network: PolynomialNetwork, pruned: PolynomialNetwork, X: Any, y: Any, radius: Any, norm: str
) -> PruningReport:
    results = [worst_case_margin(each, X, y, radius, norm) for each in (network, pruned)]
    before, after = (to_numpy(result.lower_bound, np.float64) for result in results)
    exact = to_numpy(results[0].exact).astype(bool) & to_numpy(results[1].exact).astype(bool)
    bound = np.full(len(before), np.inf)
    if norm == "l2":
        bound = _margin_bound(network, pruned, to_numpy(X, np.float64), y, np.broadcast_to(radius, len(before)))
    return PruningReport(before, after, exact, bound, radius, norm)


def _margin_bound(
    network: PolynomialNetwork, pruned: PolynomialNetwork, X: np.ndarray, y: Any, radius: np.ndarray
) -> np.ndarray:
    """The closed form of the module for every row (n,)."""
    moved = output_bounds(network, pruned, X, radius)
    if network.n_outputs == 1:
        return moved[:, 0]
    assert network.classes is not None
    own = label_indices(y, network.classes, len(X))
    others = moved.copy()
    others[np.arange(len(X)), own] = 0.0
    return moved[np.arange(len(X)), own] + others.max(1)


def output_bounds(
    network: PolynomialNetwork, other: PolynomialNetwork, X: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Bound how far two networks differ anywhere in l2 balls: the smaller of both closed forms of the module.

    Parameters
    ----------
    network, other : PolynomialNetwork
        With the same activation, input scaling and number of outputs.
    X : array (n, d)
        Raw inputs.
    radius : array (n,)
        In the units of X.

    Returns
    -------
    array (n, C)
    """
    shift, scale = (to_numpy(part, np.float64) for part in (network.shift, network.scale))
    z, (a, b, c) = (X - shift) / scale, network.activation
    neurons, change = _difference(network, *_weights(other))
    longest = np.linalg.norm(z, axis=1) + radius / scale.min()
    lifted = np.sqrt(a**2 * longest**4 + 0.5 * b**2 * longest**2 + c**2)[:, None] * _errors(network, *_weights(other))
    inner, reach = z @ neurons.T, radius[:, None] * np.linalg.norm(neurons / scale, axis=1)
    ends = [np.abs((a * t + b) * t + c) for t in (inner - reach, inner + reach)]
    largest = np.maximum(*ends)
    if a != 0.0:  # the vertex, where it lies in the interval
        vertex = -b / (2.0 * a)
        there = np.abs(vertex - inner) <= reach
        largest = np.where(there, np.maximum(largest, abs((a * vertex + b) * vertex + c)), largest)
    return np.minimum(lifted, largest @ np.abs(change))
