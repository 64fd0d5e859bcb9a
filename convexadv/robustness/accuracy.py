"""Accuracy under perturbations: certified from below, attacked from above, unknown between them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .._arrays import Array, to_numpy
from .._atomic import write_json
from .._checks import number
from ..balls import NORMS, check_norm
from ..errors import InputError
from ..networks import Network, PolynomialNetwork
from ..rows import whole
from . import _plans
from .attacks import attack
from .certificates import certificate
from .margins import MAX_BRANCHES
from .query import Query, Search

METHODS = ("fgsm", "pgd")
"""Attacks that are made if none are named."""

STRONGEST = "strongest"
UNCERTIFIED = "none is known for this network: every row that no attack breaks is unknown"

Progress = Callable[[str, float, int, int], None]


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
        Fraction of rows that no perturbation can break: a lower bound; zero where no certificate is known.
    attacked : (k,)
        Fraction of rows that none of the attacks has broken: an upper bound.
    by_attack : dict of (k,)
        The fraction that each attack by itself has not broken, by its name.
    n : int
        Number of rows.
    method : str
        How the rows were certified, and whether that is exact; or that no certificate is known.
    """

    norm: str
    radii: np.ndarray
    clean: float
    certified: np.ndarray
    attacked: np.ndarray
    by_attack: dict[str, np.ndarray]
    n: int
    method: str = UNCERTIFIED

    @property
    def has_certificates(self) -> bool:
        """Whether certificates are known for the network; without them ``certified`` is zero."""
        return self.method != UNCERTIFIED

    @property
    def unknown(self) -> np.ndarray:
        """Fraction (k,) of rows neither certified nor broken: attacked - certified."""
        return self.attacked - self.certified

    def rows(self) -> list[dict[str, float]]:
        """The table as one dictionary a radius: radius, clean, each attack, attacked, certified, unknown.

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
            "unknown": self.unknown,
        }
        return [{name: float(values[k]) for name, values in columns.items()} for k in range(len(self.radii))]

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, lists and text.

        Returns
        -------
        dict
            norm, rows (their number), clean, method, radii (k,), attacked, certified, unknown (k,), by_attack.
        """
        return {
            "norm": self.norm,
            "rows": self.n,
            "clean": self.clean,
            "method": self.method,
            "radii": self.radii.tolist(),
            "attacked": self.attacked.tolist(),
            "certified": self.certified.tolist(),
            "unknown": self.unknown.tolist(),
            "by_attack": {name: values.tolist() for name, values in self.by_attack.items()},
        }

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_dict` to a JSON file, which is replaced only when the new one is complete.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        InputError
            If the file cannot be created.
        """
        write_json(path, self.to_dict())

    def __str__(self) -> str:
        names = [*self.by_attack, "attacked", "certified", "unknown"]
        head = f"clean accuracy {100 * self.clean:.1f} % of {self.n} rows; {self.norm} balls; accuracies in %"
        lines = [["radius", *names]]
        lines += [[f"{row['radius']:g}", *(f"{100 * row[name]:.1f}" for name in names)] for row in self.rows()]
        widths = [max(len(line[j]) for line in lines) for j in range(len(names) + 1)]
        table = ["  ".join(map(str.rjust, line, widths)) for line in lines]
        return "\n".join([head, *table, f"certificate: {self.method}"])


def robust_accuracy(
    network: torch.nn.Module,
    X: Array,
    y: Any,
    radii: Any,
    norm: str = "l2",
    attacks: str | Sequence[str] = METHODS,
    random_state: Any = 0,
    *,
    steps: int = 40,
    restarts: int = 5,
    bounds: tuple[Any, Any] | None = None,
    batch_size: int | None = None,
    complete: bool = False,
    max_branches: int = MAX_BRANCHES,
    time_limit: float | None = None,
    progress: Progress | None = None,
) -> RobustAccuracy:
    """Measure the accuracy on the rows, under attacks, and for certain.

    A network of the package is evaluated in float64, whatever the precision of its weights, so that certified <=
    attacked <= clean at every radius. Any other torch module is only attacked, in its own precision.

    Parameters
    ----------
    network : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork, with classes, or torch.nn.Module
        No certificates are known for other modules: ``certified`` is zero, and ``method`` says so.
    X : array or tensor (n, d)
        Raw inputs; (n, ...) for other modules. A path, source or PyTorch data set is read whole.
    y : array-like (n,)
        Labels out of ``network.classes``; as in :func:`attack` for other modules.
    radii : float or sequence of k floats
        Radii >= 0 of the balls around all rows, in the units of X.
    norm : {"l2", "linf", "l1"}
        The ball.
    attacks : "fgsm", "pgd", "apgd", "exact", "strongest", or a sequence of these
        Attacks to be made, as of :func:`attack`; a row is broken if one of them succeeds. Without any, ``attacked`` is
        the clean accuracy.
    random_state : int, torch.Generator or None
        Seed of the random starts, the same at every radius.
    steps, restarts, batch_size
        Of the attacks, as in :func:`attack`.
    bounds : pair of float or array (d,), optional
        Box of the inputs. The certificates of polynomial networks in linf balls make use of it; the others hold with it
        too, for they are those of the whole ball.
    complete, max_branches, time_limit
        Of the certificates, as in :func:`certify`; the time limit, in seconds, is that of one radius.
    progress : callable, optional
        Is told what comes next: ``progress(what, radius, done, total)``, ``what`` being "certificates" or the name of
        an attack, after ``done`` of ``total`` parts; and at the end, with "done".

    Returns
    -------
    RobustAccuracy

    Raises
    ------
    InputError
        As :func:`worst_case_margin` and :func:`attack`; if there is no radius, or an attack is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> result = ca.robust_accuracy(network, X, y, radii=[0.1, 0.5], norm="l2")
    >>> result.clean, result.certified.tolist(), result.attacked.tolist()
    (1.0, [1.0, 0.5], [1.0, 0.5])
    """
    check_norm(norm, NORMS)
    sizes, methods = _radii(radii), _methods(attacks)
    X = whole(X)
    search = Search.of(complete, max_branches, time_limit)
    query = None
    if isinstance(network, Network):
        boxed = bounds if norm == "linf" and isinstance(network, PolynomialNetwork) else None
        query = Query.of(network, X, y, 0.0, norm, boxed)
        double = copy.deepcopy(network).double()
        query = replace(query, network=double, X=np.array(query.X, dtype=np.float64), device=None)
        network, X, y = double, query.X, query.y
    options = {
        "random_state": random_state,
        "steps": steps,
        "restarts": restarts,
        "bounds": bounds,
        "batch_size": batch_size,
    }
    correct = ~_success(network, X, y, 0.0, norm, "fgsm", options) if query is None else query.predicted()
    total = len(sizes) * (len(methods) + (query is not None))
    reports = _Reports(progress, total)
    certified, method = np.zeros(len(sizes)), UNCERTIFIED
    unbroken: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    for k, radius in enumerate(sizes):
        if query is not None:
            reports.next("certificates", radius)
            proven = certificate(query.within(radius), search, radius)
            certified[k], method = proven.certified.mean(), proven.method
        for name, kept in unbroken.items():
            reports.next(name, radius)
            kept.append(~_success(network, X, y, radius, norm, name, options))
    reports.next("done", sizes[-1])
    attacked = [
        np.logical_and.reduce([correct, *(kept[k] for kept in unbroken.values())]).mean() for k in range(len(sizes))
    ]
    by_attack = {name: np.array([kept.mean() for kept in each]) for name, each in unbroken.items()}
    clean = float(correct.mean())
    return RobustAccuracy(norm, sizes, clean, certified, np.array(attacked), by_attack, len(correct), method)


class _Reports:
    """Counts the parts of the work and reports them."""

    def __init__(self, progress: Progress | None, total: int):
        self._progress, self._done, self._total = progress, 0, total

    def next(self, what: str, radius: float) -> None:
        """Report a part before it begins."""
        if self._progress is not None:
            self._progress(what, float(radius), self._done, self._total)
        self._done += 1


def _success(
    network: torch.nn.Module, X: Array, y: Any, radius: float, norm: str, method: str, options: dict[str, Any]
) -> np.ndarray:
    return to_numpy(attack(network, X, y, radius, norm, method, **options).success)


def _radii(radii: Any) -> np.ndarray:
    try:
        values = list(radii)
    except TypeError:
        values = [radii]
    if not values:
        raise InputError("radii is empty; at least one radius is needed.")
    return np.array([number("radii", value) for value in values])


def _methods(attacks: Any) -> list[str]:
    names = list(attacks) if isinstance(attacks, list | tuple | set | dict) else [attacks]
    known = (*_plans.METHODS, STRONGEST)
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise InputError(f"attacks must hold names out of {', '.join(known)}, got {name!r}.")
    return list(dict.fromkeys(names))
