"""The problems of the speed benchmark: generator, seed, labels, radius, beta, and the time to reach for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convexadv.datasets import load, standardise

Data = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Race:
    """One problem, hinge loss, l2 ball, with what is to be reached on it.

    Attributes
    ----------
    data : str
        Generator, seed, labels and scaling in words.
    build : callable
        From the wish for a small version to rows (n, d) and labels (n,).
    radius : float
    tol : float
        Relative gap that the torch backend certifies.
    beta : float, optional
        Weight of the penalty; or ``divisor``: beta is the zero-solution threshold at radius 0 divided by it.
    runs : int
        Timed runs, of which the median counts.
    target : float, optional
        Seconds to reach on 4 cores.
    memory_target : float, optional
        Peak memory to reach, as a multiple of the data.
    conic_ratio : float, optional
        How many times faster than CLARABEL the torch backend has to be.
    threads : int, optional
        Threads of every solver where these are not those of the whole table: small matrices are fastest with one.
    """

    data: str
    build: Callable[[bool], Data]
    radius: float
    tol: float
    beta: float | None = None
    divisor: float | None = None
    runs: int = 1
    target: float | None = None
    memory_target: float | None = None
    conic_ratio: float | None = None
    threads: int | None = None


def wdbc(quick: bool) -> Data:
    """200 rows of the Wisconsin diagnostic data (quick: 40 rows, 9 features)."""
    data = load("wdbc")
    chosen = np.random.default_rng(0).permutation(len(data.y))[: 40 if quick else 200]
    X = data.X[chosen][:, : 9 if quick else None]
    return standardise(X).apply(X), data.y[chosen]


def digits(scaling: str) -> Callable[[bool], Data]:
    """Build the bundled digits, 0-4 against 5-9 (quick: the first 300)."""

    def build(quick: bool) -> Data:
        data = load("digits")
        X, y = (part[: 300 if quick else None] for part in (data.X, data.y))
        if scaling == "standardised":
            return standardise(X).apply(X), y < 5
        X = X - X.mean(0) if scaling == "centred" else X
        return _largest_norm_one(X), y < 5

    return build


def planted(quick: bool) -> Data:
    """Ten separable clusters on the sphere, class 0 against the rest (quick: 2,000 rows)."""
    X, label = planted_rows(*_size(quick))
    return X, label == 0


def overlapping(quick: bool) -> Data:
    """Ten overlapping classes that differ in their covariances, class 0 (half of the rows) against the rest."""
    X, label = overlapping_rows(*_size(quick), half=True)
    return X, label == 0


def _size(quick: bool) -> tuple[int, int]:
    return 2_000 if quick else 50_000, 512


def planted_rows(n: int, d: int, classes: int = 10) -> Data:
    """Separable clusters on the sphere and their numbers: noise of half a unit around random unit vectors, seed 0."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((classes, d))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    label = draw.integers(0, classes, n)
    X = draw.standard_normal((n, d))
    X *= 0.5 / d**0.5
    for c in range(classes):  # in place and class by class: the data is to be the only large array
        X[label == c] += centres[c]
    _normalise(X)
    return X, label


def overlapping_rows(n: int, d: int, classes: int = 10, half: bool = False) -> Data:
    """Overlapping classes of different covariances, and their numbers, seed 0; ``half``: class 0 has half of the rows."""
    stretched = min(40, d)
    draw = np.random.default_rng(0)
    label = np.where(draw.random(n) < 0.5, 0, draw.integers(1, classes, n)) if half else draw.integers(0, classes, n)
    deviation = 1.0 / np.sqrt(1.0 + np.arange(d))
    deviation /= np.linalg.norm(deviation)
    X = draw.standard_normal((n, d))
    X *= deviation
    for c in range(classes):
        mean = draw.standard_normal(d) * deviation
        X_c = X[label == c]
        X_c[:, :stretched] *= np.exp(0.5 * draw.standard_normal(stretched))
        X[label == c] = X_c + 0.2 * mean / np.linalg.norm(mean)
    turn = np.linalg.qr(draw.standard_normal((d, d)))[0]
    for start in range(0, n, 5_000):
        X[start : start + 5_000] = X[start : start + 5_000] @ turn
    _normalise(X)
    return X, label


def mnist(quick: bool) -> Data:
    """The first 5,000 training images of MNIST, 0-4 against 5-9 (quick: 500)."""
    data = load("mnist")
    n = 500 if quick else 5_000
    X = data.X[:n].astype(np.float64)
    return _largest_norm_one(X - X.mean(0)), data.y[:n] < 5


def _largest_norm_one(X: np.ndarray) -> np.ndarray:
    return X / np.linalg.norm(X, axis=1).max()


def _normalise(X: np.ndarray) -> None:
    X /= np.linalg.norm(X, axis=1, keepdims=True)


_SCALINGS = {
    "raw": "divided by the largest row norm",
    "centred": "centred, divided by the largest row norm",
    "standardised": "standardised, divided by the largest row norm (nearly the constant classifier)",
}

_OVERLAPPING = (
    "overlapping: unit vectors, deviations falling as j^(-1/2), classes with means of length 0.2 and 40 leading "
    "directions stretched by exp(0.5 N(0, 1)), seed 0, "
)

RACES: dict[str, Race] = {
    "wdbc-200": Race(
        "wdbc, the first 200 rows of numpy's default_rng(0).permutation(569), standardised, divided by the largest row norm",
        wdbc,
        radius=0.1,
        tol=1e-4,
        beta=0.01,
        runs=5,
        conic_ratio=1000.0,
        threads=1,
    ),
    **{
        f"digits-{scaling}": Race(
            f"bundled digits, digit < 5 against the rest, {words}",
            digits(scaling),
            radius=0.05,
            tol=1e-4,
            beta=0.001,
            runs=3,
            target=10.0,
        )
        for scaling, words in _SCALINGS.items()
    },
    "features-planted": Race(
        "planted separable: unit vectors around 10 random centres (noise 0.5), seed 0, class 0 against the rest",
        planted,
        radius=0.05,
        tol=1e-3,
        divisor=100.0,
        target=30.0,
        memory_target=3.0,
    ),
    **{
        f"features-overlap-{divisor}": Race(
            _OVERLAPPING + "class 0 (half of the rows) against nine others",
            overlapping,
            radius=0.05,
            tol=1e-3,
            divisor=float(divisor),
            target=30.0,
            memory_target=3.0,
        )
        for divisor in (30, 100)
    },
    **{
        f"mnist-{divisor}": Race(
            "MNIST, first 5,000 training images, digit < 5 against the rest, centred, divided by the largest row norm",
            mnist,
            radius=0.05,
            tol=1e-3,
            divisor=float(divisor),
            target=30.0,
        )
        for divisor in (10, 30, 100)
    },
}


def _ten(build: Callable[[int, int], Data]) -> Callable[[bool], Data]:
    return lambda quick: build(*_size(quick))


def _ten_classes(data: str, build: Callable[[int, int], Data], divisor: float) -> Race:
    """All ten classes, one against the rest each, objectives summed."""
    return Race(data, _ten(build), radius=0.05, tol=1e-3, divisor=divisor, target=180.0, memory_target=3.0)


TEN: dict[str, Race] = {
    "planted": _ten_classes(
        "planted separable: unit vectors around 10 random centres (noise 0.5), seed 0, ten balanced classes",
        planted_rows,
        100.0,
    ),
    **{
        f"overlapping-{divisor:g}": _ten_classes(_OVERLAPPING + "ten balanced classes", overlapping_rows, divisor)
        for divisor in (2.0, 30.0)
    },
}
"""Ten classes one-vs-rest. The constant -1 has a hinge loss of only 0.2 a class, a fifth of the zero network's, so that no
overlap alone lifts the objective above a half: the largest beta of the overlapping rows does, where constants are dear."""
