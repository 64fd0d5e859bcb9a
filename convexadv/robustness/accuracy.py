"""Accuracy under perturbations: certified from below, attacked from above."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._arrays import Array
from .._network import Network
from ..errors import InputError
from ..problems.labels import number
from ._query import Query, Search
from .attacks import attack
from .certificates import certificate
from .margins import MAX_BRANCHES

METHODS = ("fgsm", "pgd")


@dataclass(frozen=True, eq=False)
class RobustAccuracy:
    """Accuracies at each of k radii; the accuracy under the worst perturbations lies between the two.

    Attributes
    ----------
    norm : str
        "l1", "l2" or "linf".
    radii : (k,)
        In the units of X, in the order given.
    clean : float
        Fraction of the rows that are predicted as labelled.
    certified : (k,)
        Fraction of rows that no perturbation can break: a lower bound.
    attacked : (k,)
        Fraction of rows that none of the attacks has broken: an upper bound.
    by_attack : dict of (k,)
        The fraction that each attack by itself has not broken, by its name.
    n : int
        Number of rows.
    """

    norm: str
    radii: np.ndarray
    clean: float
    certified: np.ndarray
    attacked: np.ndarray
    by_attack: dict[str, np.ndarray]
    n: int

    def rows(self) -> list[dict[str, float]]:
        """The table as one dictionary a radius: radius, clean, each attack, attacked, certified.

        Returns
        -------
        list of dict
        """
        columns = {
            "radius": self.radii,
            "clean": np.full(len(self.radii), self.clean),
            **self.by_attack,
            "attacked": self.attacked,
            "certified": self.certified,
        }
        return [{name: float(values[k]) for name, values in columns.items()} for k in range(len(self.radii))]

    def __str__(self) -> str:
        names = [*self.by_attack, "attacked", "certified"]
        head = f"clean accuracy {100 * self.clean:.1f} % of {self.n} rows; {self.norm} balls; accuracies in %"
        lines = [["radius", *names]]
        lines += [[f"{row['radius']:g}", *(f"{100 * row[name]:.1f}" for name in names)] for row in self.rows()]
        widths = [max(len(line[j]) for line in lines) for j in range(len(names) + 1)]
        return "\n".join([head, *("  ".join(map(str.rjust, line, widths)) for line in lines)])


def robust_accuracy(
    network: Network,
    X: Array,
    y: Any,
    radii: Any,
    norm: str = "l2",
    attacks: Sequence[str] = METHODS,
    random_state: Any = 0,
    *,
    steps: int = 40,
    restarts: int = 5,
    bounds: tuple[Any, Any] | None = None,
    batch_size: int | None = None,
    complete: bool = False,
    max_branches: int = MAX_BRANCHES,
    time_limit: float | None = None,
) -> RobustAccuracy:
    """Measure the accuracy on the rows, under attacks, and for certain.

    The network is evaluated in float64, whatever the precision of its weights, so that certified <= attacked
    <= clean at every radius.

    Parameters
    ----------
    network : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
        With classes.
    X : array or tensor (n, d)
        Raw inputs.
    y : array-like (n,)
        Labels out of ``network.classes``.
    radii : float or sequence of k floats
        Radii >= 0 of the balls around all rows, in the units of X.
    norm : {"l2", "linf", "l1"}
        The ball; "l1" for (gated) ReLU networks.
    attacks : sequence of "fgsm" and "pgd"
        Attacks to be made; a row is broken if one of them succeeds. Without any, ``attacked`` is the clean
        accuracy.
    random_state : int, torch.Generator or None
        Seed of the random starts of PGD, the same at every radius.
    steps, restarts, bounds, batch_size
        Of PGD, the box of the inputs, and the rows attacked together, as in :func:`attack`. The certificates
        make no use of the box.
    complete, max_branches, time_limit
        Of the certificates, as in :func:`certify`; the time limit is that of one radius.

    Returns
    -------
    RobustAccuracy

    Raises
    ------
    InputError
        As :func:`worst_case_margin` and :func:`attack`; if there is no radius, or an attack is unknown.
    """
    sizes = _radii(radii)
    methods = _methods(attacks)
    search = Search.of(complete, max_branches, time_limit)
    query = Query.of(network, X, y, 0.0, norm)
    query = replace(query, network=copy.deepcopy(network).double(), X=np.array(query.X, dtype=np.float64), device=None)
    options = {
        "random_state": random_state,
        "steps": steps,
        "restarts": restarts,
        "bounds": bounds,
        "batch_size": batch_size,
    }
    correct = query.predicted()
    certified: list[float] = []
    unbroken: dict[str, list[np.ndarray]] = {method: [] for method in methods}
    for radius in sizes:
        certified.append(float(np.mean(certificate(query.within(radius), search, radius).certified)))
        for method, kept in unbroken.items():
            found = attack(query.network, query.X, query.y, radius, norm, method, **options)
            kept.append(~found.success)
    attacked = [
        np.logical_and.reduce([correct, *(kept[k] for kept in unbroken.values())]).mean() for k in range(len(sizes))
    ]
    by_attack = {method: np.array([kept.mean() for kept in each]) for method, each in unbroken.items()}
    clean = float(correct.mean())
    return RobustAccuracy(norm, sizes, clean, np.array(certified), np.array(attacked), by_attack, len(correct))


def _radii(radii: Any) -> np.ndarray:
    values = [radii] if np.ndim(radii) == 0 else list(radii)
    if not values:
        raise InputError("radii is empty; at least one radius is needed.")
    return np.array([number("radii", value) for value in values])


def _methods(attacks: Any) -> list[str]:
    names = [attacks] if isinstance(attacks, str) else list(attacks)
    for name in names:
        if name not in METHODS:
            raise InputError(f'attacks must hold "fgsm" and "pgd", got {name!r}.')
    return list(dict.fromkeys(names))
