"""Estimators of two-layer ReLU networks."""

from __future__ import annotations

from ..problems import ReLUProblem
from .patterns import PatternClassifier, PatternEstimator, PatternRegressor


class _ReLU(PatternEstimator):
    @property
    def _problem_type(self) -> type[ReLUProblem]:
        return ReLUProblem


class ReLUClassifier(_ReLU, PatternClassifier):
    r"""Classifier by a two-layer ReLU network, trained to the certified optimum over activation patterns.

        minimise  sum_i omega_i loss_i / sum_i omega_i + beta sum_k (||v_k||_2 + ||w_k||_2)   over the cones of the patterns

    at the worst perturbation of every row in its ball: :class:`convexadv.ReLUProblem` has the mathematics ([PE20], [BGS22],
    [KLP24]). The bound speaks of the programme over these patterns.

    Parameters
    ----------
    gates : (d, P) or (d + 1, P) array, optional
        Your own gates, one a column; drawn if not given.
    n_gates : int
        How many gates to draw. More gates: a lower optimum, and more time.
    gate_kind : {"gaussian", "differences", "sparse", "open"}
        How they are drawn.
    random_state : int, Generator, RandomState or None
        Of the drawing. An integer draws the gates that the problem draws with it; the default is its 0, so that a fit can
        be repeated.
    radius : float
        Radius r >= 0 of the balls, in the units of the X that ``fit`` gets (in a pipeline: of the scaled rows).
    beta : float
        Weight of the penalty, positive for a useful bound; see :class:`PolynomialClassifier`.
    loss : {"hinge", "squared_hinge", "logistic"}
        Loss of margins; "logistic" has ``predict_proba``.
    norm : {"l1", "l2", "linf"}
        The ball.
    multiclass : {"ovr", "joint"}
        For more than two classes: one-vs-rest, or the losses of f_y - f_c summed over c != y.
    fit_intercept : bool
        Whether rows get a constant feature, which no perturbation moves. True, as everywhere in scikit-learn (the problem's
        own default is False).
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
    >>> model = ca.ReLUClassifier(n_gates=10, beta=0.01, loss="logistic").fit(scale(X), y)
    >>> model.score(scale(X), y) > 0.9, model.gap_ <= 1e-4
    (True, True)
    >>> model.predict_proba(scale(X)).shape
    (150, 3)
    """


class ReLURegressor(_ReLU, PatternRegressor):
    r"""Regression by a two-layer ReLU network, trained to the certified optimum over activation patterns.

        minimise  sum_i omega_i (f - y)^2/2 / sum_i omega_i + beta sum_k (||v_k||_2 + ||w_k||_2)   over the cones

    at the worse end of the interval of f over the ball of a row: see :class:`convexadv.ReLUProblem`. The penalty pulls f to
    zero: centre targets with a mean far from zero (``TransformedTargetRegressor``).

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
    >>> model = ca.ReLURegressor(n_gates=20, beta=1e-4).fit(X, np.abs(X[:, 0]))
    >>> model.score(X, np.abs(X[:, 0])) > 0.99
    True
    """
