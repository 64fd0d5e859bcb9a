"""Estimators of two-layer gated ReLU networks."""

from __future__ import annotations

from ..problems import GatedReLUProblem
from .patterns import PatternClassifier, PatternEstimator, PatternRegressor


class _Gated(PatternEstimator):
    @property
    def _problem_type(self) -> type[GatedReLUProblem]:
        return GatedReLUProblem


class GatedReLUClassifier(_Gated, PatternClassifier):
    r"""Classifier by a gated ReLU network, f(x) = sum_k 1[x'g_k >= 0] x'v_k, trained to the certified optimum.

        minimise  sum_i omega_i loss_i / sum_i omega_i + beta sum_k ||v_k||_2

    with fixed gates; at a positive radius by a safe bound of the worst case (:class:`convexadv.GatedReLUProblem`, [MSP22]).

    Parameters
    ----------
    gates, n_gates, gate_kind, random_state, radius, beta, loss, norm, multiclass, fit_intercept
        As of :class:`ReLUClassifier`.
    solver, tol, max_iter, time_limit, device, verbose
        As of :func:`convexadv.solve`.

    Attributes
    ----------
    network_, solution_, gap_, n_iter_, n_features_in_, feature_names_in_, classes_
        As of :class:`PolynomialClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import scale
    >>> import convexadv as ca
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ca.GatedReLUClassifier(n_gates=10, beta=0.01).fit(scale(X), y)
    >>> model.score(scale(X), y) > 0.9, model.gap_ <= 1e-4
    (True, True)
    """


class GatedReLURegressor(_Gated, PatternRegressor):
    r"""Regression by a gated ReLU network, f(x) = sum_k 1[x'g_k >= 0] x'v_k, trained to the certified optimum.

        minimise  sum_i omega_i (f - y)^2/2 / sum_i omega_i + beta sum_k ||v_k||_2

    with fixed gates; at a positive radius by a safe bound of the worst case (:class:`convexadv.GatedReLUProblem`, [MSP22]).
    The penalty pulls f to zero: centre targets with a mean far from zero (``TransformedTargetRegressor``).

    Parameters
    ----------
    gates, n_gates, gate_kind, random_state, radius, beta, norm, fit_intercept
        As of :class:`ReLUClassifier`.
    solver, tol, max_iter, time_limit, device, verbose
        As of :func:`convexadv.solve`.

    Attributes
    ----------
    network_, solution_, gap_, n_iter_, n_features_in_, feature_names_in_
        As of :class:`PolynomialClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> X = np.linspace(-1.0, 1.0, 9)[:, None]
    >>> model = ca.GatedReLURegressor(n_gates=20, beta=1e-4).fit(X, np.abs(X[:, 0]))
    >>> model.score(X, np.abs(X[:, 0])) > 0.99
    True
    """
