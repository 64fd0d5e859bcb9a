"""What the six estimators share: checks of the input, the solve, and scores from the network."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..errors import InputError, TrainingError, reason
from ..losses import get_loss
from ..problems.base import Problem
from ..rows import whole
from .canonical import canonical

if TYPE_CHECKING:
    from ..solvers import Status

_DTYPES = (np.float64, np.float32)
_FITTED = ("network_", "solution_", "gap_", "n_iter_")


class ConvexEstimator(BaseEstimator):
    """Common part of the estimators. Not to be used by itself.

    A subclass stores its parameters in ``__init__`` and names the problem (``_problem_type``) and those of its
    parameters that the problem takes by the same names (``_problem_parameters``).

    Attributes
    ----------
    network_ : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
        A torch module that takes rows in the units of the X of ``fit``.
    solution_ : Solution
        Objective, lower bound, certificate and history of the solve.
    gap_ : float
        ``solution_.gap``, the certified relative gap to the global optimum.
    n_iter_ : int
        Rounds that the solver recorded, at least one.
    n_features_in_ : int
    feature_names_in_ : (d,) array
        Where X is a table with text columns.
    """

    _problem_parameters: ClassVar[tuple[str, ...]] = ("radius", "beta", "norm")

    @property
    def _problem_type(self) -> Callable[..., Problem]:
        raise NotImplementedError

    def _problem_arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._problem_parameters}

    def _fit(self, X: np.ndarray, y: np.ndarray, sample_weight: Any) -> None:
        """Solve the problem of checked arrays and keep the answer; a fit that fails leaves nothing of the one before."""
        for name in _FITTED:
            self.__dict__.pop(name, None)
        if np.ndim(self.radius) != 0:
            raise InputError(
                "radius must be one number for all rows; PolynomialProblem, ReLUProblem and GatedReLUProblem take one a row."
            )
        sample = canonical(X, y, _weights(sample_weight, X))
        problem = self._problem_type(sample.X, sample.y, sample_weight=sample.weight, **self._problem_arguments())
        self._solve(problem)

    def _solve(self, problem: Problem) -> None:
        from ..solvers import solve

        options = {name: getattr(self, name) for name in ("tol", "max_iter", "time_limit", "verbose")}
        if self.device is not None:
            options["device"] = self.device
        solution = solve(problem, self.solver, **options)
        if solution.network is None:
            raise TrainingError(
                f"{type(self).__name__} has no network: solver={self.solver!r} ended with the status {solution.status}, "
                f"{reason(solution.message or _advice(solution.status))}; choose another solver, max_iter or time_limit."
            )
        self.solution_, self.network_, self.gap_ = solution, solution.network, float(solution.gap)
        self.n_iter_ = max(1, len(solution.history))
        if not solution.status.ok:
            why = _advice(solution.status)
            warnings.warn(
                f"{type(self).__name__} is not certified to tol={float(self.tol):g} (gap {self.gap_:.1e}, status "
                f"{solution.status}): {why}",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, whole(X), reset=False, dtype=_DTYPES)
        return self.network_.scores(X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")


class ConvexClassifier(ClassifierMixin, ConvexEstimator):
    """Common part of the classifiers. Not to be used by itself.

    Attributes
    ----------
    classes_ : (K,) array
        Labels in sorted order, of the rows with positive weight.
    """

    _problem_parameters = (*ConvexEstimator._problem_parameters, "loss", "multiclass")

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train to the certified global optimum of the convex programme.

        Parameters
        ----------
        X : array-like or table (n, d)
            Rows, in the units in which ``radius`` is measured.
        y : array-like (n,)
            Labels of two or more classes.
        sample_weight : array-like (n,), optional
            Weights >= 0. A weight of two equals repeating the row, a weight of zero leaving it out, exactly.

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            If the answer is not certified to ``tol``.

        Raises
        ------
        InputError
            If an argument cannot be used (a ValueError, as those that scikit-learn raises).
        TrainingError
            If the solver ends without a network (a RuntimeError); the estimator is then not fitted.
        """
        if get_loss(self.loss).regression:
            raise InputError('loss="squared" is for targets; use a regressor, or a loss of margins for classes.')
        X, y = validate_data(self, whole(X), y, dtype=_DTYPES, ensure_min_samples=2)
        check_classification_targets(y)
        self._fit(X, y, sample_weight)
        self.classes_ = np.unique(y[_weights(sample_weight, X) > 0])
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores of the network.

        Parameters
        ----------
        X : array-like or table (n, d)

        Returns
        -------
        (n,) array
            Positive for ``classes_[1]``; or (n, K) for more than two classes.
        """
        return self._scores(X)

    def predict(self, X: Any) -> np.ndarray:
        """Labels out of ``classes_``.

        Parameters
        ----------
        X : array-like or table (n, d)

        Returns
        -------
        (n,) array
        """
        scores = self._scores(X)
        return self.classes_[scores.argmax(1) if scores.ndim == 2 else (scores > 0).astype(np.int64)]

    def _has_probabilities(self) -> bool:
        if get_loss(self.loss).name == "logistic" and self.multiclass == "ovr":
            return True
        raise AttributeError(
            f'{type(self).__name__} gives probabilities only with loss="logistic" and multiclass="ovr"; choose these.'
        )

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes by the logistic model, with ``loss="logistic"`` and ``multiclass="ovr"``.

        Two classes: P(classes_[1]) = 1 / (1 + exp(-f)). More: 1 / (1 + exp(-f_c)) divided by their sum. At a positive
        radius f was trained on the worst perturbations, so that these probabilities are cautious.

        Parameters
        ----------
        X : array-like or table (n, d)

        Returns
        -------
        (n, K) array
            Rows sum to one.
        """
        return np.exp(self.predict_log_proba(X))

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of :meth:`predict_proba`, exact where these underflow.

        Parameters
        ----------
        X : array-like or table (n, d)

        Returns
        -------
        (n, K) array
        """
        scores = self._scores(X)
        if scores.ndim == 1:
            return -np.logaddexp(0.0, np.column_stack([scores, -scores]))
        logs = -np.logaddexp(0.0, -scores)
        return logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)


class ConvexRegressor(RegressorMixin, ConvexEstimator):
    """Common part of the regressors. Not to be used by itself."""

    def _problem_arguments(self) -> dict[str, Any]:
        return {**super()._problem_arguments(), "loss": "squared"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train to the certified global optimum of the convex programme.

        Parameters
        ----------
        X : array-like or table (n, d)
            Rows, in the units in which ``radius`` is measured.
        y : array-like (n,) or (n, C)
            Targets.
        sample_weight : array-like (n,), optional
            Weights >= 0. A weight of two equals repeating the row, a weight of zero leaving it out, exactly.

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            If the answer is not certified to ``tol``.

        Raises
        ------
        InputError
            If an argument cannot be used (a ValueError, as those that scikit-learn raises).
        TrainingError
            If the solver ends without a network (a RuntimeError); the estimator is then not fitted.
        """
        X, y = validate_data(self, whole(X), y, dtype=_DTYPES, multi_output=True, y_numeric=True)
        try:
            y = y.astype(np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"y holds values of type {y.dtype} that are no numbers; real targets are needed."
            ) from None
        self._fit(X, y, sample_weight)
        self._single_column = y.ndim == 2 and y.shape[1] == 1
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Values of the network.

        Parameters
        ----------
        X : array-like or table (n, d)

        Returns
        -------
        (n,) or (n, C) array
            As the targets of ``fit``.
        """
        values = self._scores(X)
        return values[:, None] if self._single_column else values


def draws(random_state: Any) -> int | np.random.Generator:
    """What the problems take, for all that scikit-learn calls a random state."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _weights(sample_weight: Any, X: np.ndarray) -> np.ndarray:
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not (np.isfinite(weight).all() and weight.any()):
        raise InputError(
            "sample_weight holds no finite positive number; one weight above zero is needed, and none infinite."
        )
    return weight


def _advice(status: Status) -> str:
    """What a status advises, in the parameters of estimators."""
    return status.value.replace("continue with warm_start=solution or ", "").replace(" use dtype='float64',", "")
