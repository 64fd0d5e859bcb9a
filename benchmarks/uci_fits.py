"""One split of the robustness benchmark: train, choose on the validation rows, measure on the test rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

BETAS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
TRAIN, VALIDATION = 0.6, 0.2
METRICS = ("clean", "fgsm", "pgd", "certified", "l2")


class Training(NamedTuple):
    """A way of training: the ball, and the radii among which the validation rows choose."""

    norm: str
    radii: tuple[float, ...]


@dataclass(frozen=True)
class Setting:
    """Attack sizes of a data set, in the units of the scaled rows, and the ways of training to compare.

    Attributes
    ----------
    linf, l2 : tuple of float
        Sizes of the perturbations in the two norms.
    trainings : dict of Training
        "standard" (radius 0) and the robust ones.
    """

    linf: tuple[float, ...]
    l2: tuple[float, ...]
    trainings: dict[str, Training]


_STANDARD = Training("l2", (0.0,))

SETTINGS = {
    "wdbc": Setting(
        linf=(0.0025, 0.005, 0.01, 0.015, 0.02, 0.025),
        l2=(0.02, 0.04, 0.06, 0.08, 0.1, 0.12),
        trainings={
            "standard": _STANDARD,
            "robust": Training("l2", (0.02, 0.04, 0.08)),
            "robust-linf": Training("linf", (0.005, 0.01, 0.02)),
        },
    ),
    "breast-cancer-wisconsin": Setting(
        linf=(0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
        l2=(0.05, 0.1, 0.15, 0.2, 0.25, 0.3),
        trainings={
            "standard": _STANDARD,
            "robust": Training("l2", (0.05, 0.1, 0.2)),
            "robust-linf": Training("linf", (0.02, 0.04, 0.06)),
        },
    ),
    "ionosphere": Setting(
        linf=(0.005, 0.01, 0.015, 0.02, 0.025, 0.03),
        l2=(0.02, 0.04, 0.06, 0.08, 0.1, 0.12),
        trainings={
            "standard": _STANDARD,
            "robust": Training("l2", (0.02, 0.04, 0.08)),
            "robust-linf": Training("linf", (0.005, 0.01, 0.02)),
        },
    ),
}


@dataclass(frozen=True)
class Task:
    """What a worker does."""

    data: str
    seed: int
    trainings: tuple[str, ...]
    tol: float
    time_limit: float
    effort: tuple[int, int] = (40, 5)
    """Steps and restarts of PGD on the test rows; the validation rows get half of each."""


class Fit(NamedTuple):
    """A trained network and its accuracies on the validation rows."""

    network: Any
    radius: float
    beta: float
    gap: float
    seconds: float
    clean: float
    attacked: list[float]
    """Under PGD, at every linf size."""


CRITERIA: dict[str, Callable[[Fit, int], tuple[float, ...]]] = {
    "size": lambda fit, k: (fit.attacked[k], float(np.mean(fit.attacked))),
    "mean": lambda fit, k: (float(np.mean(fit.attacked)),),
    "clean": lambda fit, k: (fit.clean,),
}
"""What is largest at the network that is chosen for the k-th size; ties go to the larger beta, then the smaller radius."""


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
    setting = SETTINGS[task.data]
    deviations = X[train].std(0)
    result: dict[str, Any] = {
        "seed": task.seed,
        "rows": [len(train), len(validation), len(test)],
        "majority": int((y[test] == _majority(y[train])).sum()),
        "unit_in_deviations": float(1.0 / np.median(deviations[deviations > 0])),
        "trainings": {},
    }
    for name in task.trainings:
        fits = _fits(setting.trainings[name], task, (X[train], y[train]), (X[validation], y[validation]), setting)
        result["trainings"][name] = {
            "fits": len(fits),
            "certified_fits": sum(fit.gap <= task.tol for fit in fits),
            "worst_gap": max(fit.gap for fit in fits),
            "seconds": sum(fit.seconds for fit in fits),
            "chosen": _chosen(fits, X[test], y[test], setting, task),
        }
    return result


def _majority(y: np.ndarray) -> Any:
    labels, counts = np.unique(y, return_counts=True)
    return labels[counts.argmax()]


def _chosen(fits: list[Fit], X: np.ndarray, y: np.ndarray, setting: Setting, task: Task) -> dict[str, Any]:
    """For every criterion, lists over the sizes: radius and beta chosen, and the correct test rows by metric."""
    measured: dict[int, dict[str, Any]] = {}
    chosen: dict[str, Any] = {}
    for criterion, score in CRITERIA.items():
        lists: dict[str, list[Any]] = {key: [] for key in ("radius", "beta", "certified_fit", *METRICS)}
        for k in range(len(setting.linf)):
            best = max(range(len(fits)), key=lambda i: (*score(fits[i], k), fits[i].beta, -fits[i].radius))
            fit = fits[best]
            if best not in measured:
                measured[best] = _test(fit.network, X, y, setting, task)
            lists["radius"].append(fit.radius)
            lists["beta"].append(fit.beta)
            lists["certified_fit"].append(int(fit.gap <= task.tol))
            for metric in METRICS:
                lists[metric].append(measured[best][metric][k])
        chosen[criterion] = lists
    return chosen


def _fits(training: Training, task: Task, train: tuple, validation: tuple, setting: Setting) -> list[Fit]:
    """Networks for every radius and beta; each beta starts from the solution of the one before it."""
    import convexadv as ca

    fits = []
    steps, restarts = task.effort[0] // 2, max(1, task.effort[1] // 2)
    for radius in training.radii:
        solution = None
        for beta in BETAS:
            problem = ca.PolynomialProblem(*train, radius=radius, beta=beta, norm=training.norm)
            solution = ca.solve(problem, tol=task.tol, time_limit=task.time_limit, warm_start=solution)
            network = solution.network
            clean = float((network.predict(validation[0]) == validation[1]).mean())
            counts = _attacked(network, *validation, setting.linf, "pgd", steps, restarts)
            attacked = [count / len(validation[1]) for count in counts]
            fits.append(Fit(network, radius, beta, solution.gap, solution.solve_time, clean, attacked))
    return fits


def _test(network: Any, X: np.ndarray, y: np.ndarray, setting: Setting, task: Task) -> dict[str, list[int]]:
    """Numbers of correct rows: clean, attacked and certified at every linf size, certified at every l2 size."""
    sizes = setting.linf
    return {
        "clean": [int((network.predict(X) == y).sum())] * len(sizes),
        "fgsm": _attacked(network, X, y, sizes, "fgsm", 1, 1),
        "pgd": _attacked(network, X, y, sizes, "pgd", *task.effort),
        "certified": _certified(network, X, y, sizes, "linf"),
        "l2": _certified(network, X, y, setting.l2, "l2"),
    }


def _attacked(network, X, y, sizes, method: str, steps: int, restarts: int) -> list[int]:
    """Correct rows under attack at every size; the rows of all sizes are attacked together."""
    import convexadv as ca

    result = ca.attack(network, *_repeated(X, y, sizes), "linf", method, steps=steps, restarts=restarts)
    return _counts(~np.asarray(result.success), sizes)


def _certified(network, X, y, sizes, norm: str) -> list[int]:
    import convexadv as ca

    return _counts(ca.certify(network, *_repeated(X, y, sizes), norm).certified, sizes)


def _repeated(X: np.ndarray, y: np.ndarray, sizes: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.tile(X, (len(sizes), 1)), np.tile(y, len(sizes)), np.repeat(sizes, len(y))


def _counts(right: np.ndarray, sizes: tuple[float, ...]) -> list[int]:
    return np.asarray(right).reshape(len(sizes), -1).sum(1).tolist()
