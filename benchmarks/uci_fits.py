"""One split of a robustness benchmark: train, choose on the validation rows, measure on the test rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.uci_trainings import Trained, Training

TRAIN, VALIDATION = 0.6, 0.2


class Sizes(NamedTuple):
    """Sizes of the perturbations of a data set in the two norms, in the units of the scaled rows."""

    linf: tuple[float, ...]
    l2: tuple[float, ...]


SIZES = {
    "wdbc": Sizes((0.0025, 0.005, 0.01, 0.015, 0.02, 0.025), (0.02, 0.04, 0.06, 0.08, 0.1, 0.12)),
    "breast-cancer-wisconsin": Sizes((0.01, 0.02, 0.04, 0.06, 0.08, 0.1), (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)),
    "ionosphere": Sizes((0.005, 0.01, 0.015, 0.02, 0.025, 0.03), (0.02, 0.04, 0.06, 0.08, 0.1, 0.12)),
}


class Effort(NamedTuple):
    """Of the attacks and certificates on the test rows; the validation rows get half of the steps and restarts."""

    steps: int
    restarts: int
    branches: int
    """Of branch and bound for a row, for networks that have it; 0 leaves their first bounds as they are."""


@dataclass(frozen=True)
class Task:
    """What a worker does.

    Attributes
    ----------
    data : str
    seed : int
        Of the split; the trainings draw from it too.
    trainings : dict of Training
        By name.
    metrics : tuple of str
        Out of :data:`METRICS`.
    tol, time_limit : float
        Certified relative gap and seconds of every convex programme.
    effort : Effort
    """

    data: str
    seed: int
    trainings: dict[str, Training]
    metrics: tuple[str, ...]
    tol: float
    time_limit: float
    effort: Effort


class Fit(NamedTuple):
    """A trained network and its accuracies on the validation rows."""

    trained: Trained
    clean: float
    attacked: list[float]
    """Under PGD, at every linf size."""


CRITERIA: dict[str, Callable[[Fit, int], tuple[float, ...]]] = {
    "size": lambda fit, k: (fit.attacked[k], float(np.mean(fit.attacked))),
    "mean": lambda fit, k: (float(np.mean(fit.attacked)),),
    "clean": lambda fit, k: (fit.clean,),
}
"""What is largest at the network that is chosen for the k-th size; ties go to the larger beta, then the smaller radius,
then the earlier network."""


def split(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of training, validation and test, each class divided 60 : 20 : 20."""
    draw = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[], [], []]
    for label in np.unique(y):
        rows = draw.permutation(np.flatnonzero(y == label))
        ends = np.rint(len(rows) * np.cumsum([TRAIN, VALIDATION])).astype(int)
        for part, chosen in zip(parts, np.split(rows, ends), strict=True):
            part.append(chosen)
    train, validation, test = (np.sort(np.concatenate(part)) for part in parts)
    return train, validation, test


def run(task: Task) -> dict[str, Any]:
    """Train all networks of a split and measure the chosen ones on the test rows."""
    import torch

    from convexadv.datasets import load, standardise

    torch.set_num_threads(1)
    data = load(task.data)
    train, validation, test = split(data.y, task.seed)
    scaling = standardise(data.X[train])
    X, y = scaling.apply(data.X), data.y
    deviations = X[train].std(0)
    result: dict[str, Any] = {
        "seed": task.seed,
        "rows": [len(train), len(validation), len(test)],
        "majority": int((y[test] == _majority(y[train])).sum()),
        "unit_in_deviations": float(1.0 / np.median(deviations[deviations > 0])),
        "trainings": {},
    }
    for name, training in task.trainings.items():
        networks = training.networks(X[train], y[train], task.seed, task.tol, task.time_limit)
        fits = [_validated(trained, X[validation], y[validation], task) for trained in networks]
        result["trainings"][name] = {
            **_costs([fit.trained for fit in fits], task.tol),
            "chosen": _chosen(fits, X[test], y[test], task),
        }
    return result


def _majority(y: np.ndarray) -> Any:
    labels, counts = np.unique(y, return_counts=True)
    return labels[counts.argmax()]


def _validated(trained: Trained, X: np.ndarray, y: np.ndarray, task: Task) -> Fit:
    steps, restarts = task.effort.steps // 2, max(1, task.effort.restarts // 2)
    clean = float((trained.network.predict(X) == y).mean())
    counts = _attacked(trained.network, X, y, SIZES[task.data].linf, "pgd", steps, restarts)
    return Fit(trained, clean, [count / len(y) for count in counts])


def _costs(networks: list[Trained], tol: float) -> dict[str, Any]:
    """Numbers of networks and of certified ones, the worst gap (None without bounds), seconds, dead gates by radius."""
    gaps = [each.gap for each in networks if each.gap is not None]
    gates = {f"{each.radius:g}": each.gates for each in networks if each.gates is not None}
    return {
        "fits": len(networks),
        "certified_fits": sum(gap <= tol for gap in gaps),
        "worst_gap": max(gaps, default=None),
        "seconds": sum(each.seconds for each in networks),
        "gates": gates,
    }


def _chosen(fits: list[Fit], X: np.ndarray, y: np.ndarray, task: Task) -> dict[str, Any]:
    """For every criterion, lists over the sizes: settings and neurons of the choice, and its correct test rows by metric."""
    measured: dict[int, dict[str, Any]] = {}
    chosen: dict[str, Any] = {}
    for criterion, score in CRITERIA.items():
        lists: dict[str, list[Any]] = {key: [] for key in ("settings", "neurons", "certified_fit", *task.metrics)}
        for k in range(len(SIZES[task.data].linf)):
            best = max(range(len(fits)), key=lambda i: (*score(fits[i], k), *_preferred(fits[i].trained)))
            trained = fits[best].trained
            if best not in measured:
                measured[best] = {metric: METRICS[metric](trained.network, X, y, task) for metric in task.metrics}
            lists["settings"].append(trained.settings)
            lists["neurons"].append(trained.network.n_neurons)
            lists["certified_fit"].append(int(trained.gap is not None and trained.gap <= task.tol))
            for metric in task.metrics:
                lists[metric].append(measured[best][metric][k])
        chosen[criterion] = lists
    return chosen


def _preferred(trained: Trained) -> tuple[float, float]:
    return trained.beta, -trained.radius


def _clean(network: Any, X: np.ndarray, y: np.ndarray, task: Task) -> list[int]:
    return [int((network.predict(X) == y).sum())] * len(SIZES[task.data].linf)


def _attacked(network: Any, X: np.ndarray, y: np.ndarray, sizes, method: str, steps: int, restarts: int) -> list[int]:
    """Correct rows under attack at every size; the rows of all sizes are attacked together."""
    import convexadv as ca

    result = ca.attack(network, *_repeated(X, y, sizes), "linf", method, steps=steps, restarts=restarts)
    return _counts(~np.asarray(result.success), sizes)


def _certified(
    network: Any, X: np.ndarray, y: np.ndarray, sizes: tuple[float, ...], norm: str, task: Task
) -> list[int]:
    """Correct rows that provably stay so at every size."""
    import convexadv as ca

    search: dict[str, Any] = {}
    if task.effort.branches and not isinstance(network, ca.PolynomialNetwork):
        search = {"complete": True, "max_branches": task.effort.branches}
    return _counts(ca.certify(network, *_repeated(X, y, sizes), norm, **search).certified, sizes)


METRICS: dict[str, Callable[[Any, np.ndarray, np.ndarray, Task], list[int]]] = {
    "clean": _clean,
    "fgsm": lambda network, X, y, task: _attacked(network, X, y, SIZES[task.data].linf, "fgsm", 1, 1),
    "pgd": lambda network, X, y, task: _attacked(network, X, y, SIZES[task.data].linf, "pgd", *task.effort[:2]),
    "certified": lambda network, X, y, task: _certified(network, X, y, SIZES[task.data].linf, "linf", task),
    "l2": lambda network, X, y, task: _certified(network, X, y, SIZES[task.data].l2, "l2", task),
}
"""Numbers of correct rows: clean, attacked and certified at every linf size, certified at every l2 size."""


def _repeated(X: np.ndarray, y: np.ndarray, sizes: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.tile(X, (len(sizes), 1)), np.tile(y, len(sizes)), np.repeat(sizes, len(y))


def _counts(right: np.ndarray, sizes: tuple[float, ...]) -> list[int]:
    return np.asarray(right).reshape(len(sizes), -1).sum(1).tolist()
