"""Scorers of clean, certified and attacked accuracy for scikit-learn's searches and cross-validation.

For example::

    search = GridSearchCV(
        make_pipeline(StandardScaler(), PolynomialClassifier()),
        {"polynomialclassifier__beta": [...], "polynomialclassifier__radius": [...]},
        scoring=certified_accuracy_scorer(radius=0.3),
        n_jobs=2,
    )

The search runs its fits in parallel through joblib: processes of this machine with ``n_jobs``, a cluster inside of
``joblib.parallel_backend("dask")`` or Ray's. The scorers are plain objects that travel to the workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._checks import number, per_row
from .errors import InputError

__all__ = ["attacked_accuracy_scorer", "certified_accuracy_scorer", "clean_accuracy_scorer", "network_and_rows"]


def clean_accuracy_scorer() -> Any:
    """Scorer of the accuracy without perturbations: weighted share of the rows that are predicted as labelled.

    Returns
    -------
    callable (estimator, X, y, sample_weight=None) -> float from 0 to 1

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.preprocessing import scale
    >>> import convexadv as ca
    >>> from convexadv.model_selection import clean_accuracy_scorer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = ca.PolynomialClassifier(radius=0.3, beta=0.1, tol=1e-2)
    >>> bool(cross_val_score(model, scale(X), y, scoring=clean_accuracy_scorer(), cv=3).mean() > 0.9)
    True
    """
    return _Clean()


def certified_accuracy_scorer(radius: float, norm: str = "l2", **options: Any) -> Any:
    """Scorer of the certified accuracy: share of the rows whose label no perturbation in the ball can change, for certain.

    It never exceeds the accuracy under the worst perturbations (:func:`convexadv.certify`).

    Parameters
    ----------
    radius : float
        Radius >= 0 of the balls, in the units of the rows that the network gets: in a pipeline those of the last
        transformer's output.
    norm : {"l2", "linf", "l1"}
        The ball.
    **options
        Of :func:`convexadv.certify`, such as ``complete=True``.

    Returns
    -------
    callable (estimator, X, y, sample_weight=None) -> float from 0 to 1
        For a fitted classifier of this package, a pipeline that ends with one, or a search over them.

    Raises
    ------
    InputError
        If the radius is no number of zero or more; when it is called, if the estimator has no network.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.preprocessing import scale
    >>> import convexadv as ca
    >>> from convexadv.model_selection import certified_accuracy_scorer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = ca.PolynomialClassifier(radius=0.3, beta=0.1, tol=1e-2)
    >>> scores = cross_val_score(model, scale(X), y, scoring=certified_accuracy_scorer(radius=0.3), cv=3)
    >>> bool(scores.mean() > 0.8)
    True
    """
    return _Certified(number("radius", radius), norm, options)


def attacked_accuracy_scorer(
    radius: float, norm: str = "l2", *, method: Any = "pgd", random_state: int = 0, **options: Any
) -> Any:
    """Scorer of the attacked accuracy: share of the rows that are predicted as labelled and withstand an attack.

    It is never below the accuracy under the worst perturbations (:func:`convexadv.attack`).

    Parameters
    ----------
    radius : float
        Radius >= 0 of the balls, in the units of the rows that the network gets: in a pipeline those of the last
        transformer's output.
    norm : {"l2", "linf", "l1"}
        The ball.
    method, random_state, **options
        Of :func:`convexadv.attack`.

    Returns
    -------
    callable (estimator, X, y, sample_weight=None) -> float from 0 to 1
        For a fitted classifier of this package, a pipeline that ends with one, or a search over them.

    Raises
    ------
    InputError
        If the radius is no number of zero or more; when it is called, if the estimator has no network.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> import convexadv as ca
    >>> from convexadv.model_selection import attacked_accuracy_scorer, certified_accuracy_scorer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = ca.PolynomialClassifier(radius=0.3, beta=0.1, tol=1e-2).fit(scale(X), y)
    >>> attacked, certified = (
    ...     scorer(radius=0.3)(model, scale(X), y) for scorer in (attacked_accuracy_scorer, certified_accuracy_scorer)
    ... )
    >>> 0.8 < certified <= attacked
    True
    """
    return _Attacked(number("radius", radius), norm, {"method": method, "random_state": random_state, **options})


def network_and_rows(estimator: Any, X: Any) -> tuple[Any, np.ndarray]:
    """The network of a fitted estimator, pipeline or search, and the rows as this network gets them.

    Parameters
    ----------
    estimator : estimator, Pipeline or search
        A search, such as GridSearchCV, counts as its ``best_estimator_``. Pipelines and searches may contain each other.
    X : array-like or table (n, d)
        Rows as the estimator gets them.

    Returns
    -------
    network : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
    rows : (n, d') array

    Raises
    ------
    InputError
        If what remains, such as the last step of the pipeline, has no ``network_``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import convexadv as ca
    >>> from convexadv.model_selection import network_and_rows
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), ca.PolynomialClassifier(beta=0.1, tol=1e-2)).fit(X, y)
    >>> network, rows = network_and_rows(model, X)
    >>> bool((network.predict(rows) == model.predict(X)).all())
    True
    """
    while hasattr(estimator, "steps") or hasattr(estimator, "best_estimator_"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
            continue
        X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
        estimator = estimator.steps[-1][1]
    if not hasattr(estimator, "network_"):
        raise InputError(
            f"a {type(estimator).__name__} without network_ was given; a fitted classifier of convexadv, a pipeline that "
            "ends with one, or a fitted search with refit over these is needed."
        )
    return estimator.network_, np.asarray(X)


class _Scorer:
    """Weighted share of the rows that :meth:`passed` says yes of."""

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        passed = np.asarray(self.passed(estimator, X, y), dtype=np.float64)
        weight = per_row("sample_weight", 1.0 if sample_weight is None else sample_weight, len(passed))
        return float(np.average(passed, weights=weight))

    def passed(self, estimator: Any, X: Any, y: Any) -> np.ndarray:
        raise NotImplementedError


class _Clean(_Scorer):
    def __repr__(self) -> str:
        return "clean_accuracy_scorer()"

    def passed(self, estimator: Any, X: Any, y: Any) -> np.ndarray:
        return np.asarray(estimator.predict(X)) == np.asarray(y)


@dataclass(repr=False)
class _Certified(_Scorer):
    radius: float
    norm: str
    options: dict[str, Any]

    def __repr__(self) -> str:
        return f"certified_accuracy_scorer(radius={self.radius:g}, norm={self.norm!r})"

    def passed(self, estimator: Any, X: Any, y: Any) -> np.ndarray:
        from .robustness import certify

        network, rows = network_and_rows(estimator, X)
        return certify(network, rows, np.asarray(y), self.radius, self.norm, **self.options).certified


@dataclass(repr=False)
class _Attacked(_Scorer):
    radius: float
    norm: str
    options: dict[str, Any]

    def __repr__(self) -> str:
        return f"attacked_accuracy_scorer(radius={self.radius:g}, norm={self.norm!r})"

    def passed(self, estimator: Any, X: Any, y: Any) -> np.ndarray:
        from .robustness import attack

        network, rows = network_and_rows(estimator, X)
        # A row that is wrong without an attack is its own success.
        return ~attack(network, rows, np.asarray(y), self.radius, self.norm, **self.options).success
