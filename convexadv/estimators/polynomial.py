"""Estimators of two-layer networks with a polynomial activation."""

from __future__ import annotations

from typing import Any

from ..problems import PolynomialProblem
from .base import ConvexClassifier, ConvexEstimator, ConvexRegressor

_OWN = ("scale", "activation", "clean_weight")


class _Polynomial(ConvexEstimator):
    @property
    def _problem_type(self) -> type[PolynomialProblem]:
        return PolynomialProblem


class PolynomialClassifier(_Polynomial, ConvexClassifier):
    r"""Classifier by a two-layer polynomial network, trained to the certified global optimum, robustly if asked to.

        minimise  sum_i omega_i loss_i / sum_i omega_i + beta sum_jc abs(alpha_jc),   f_c(x) = sum_j alpha_jc s(u_j . x),

    loss_i at the worst perturbation of row i in its ball: :class:`convexadv.PolynomialProblem` has the mathematics
    ([BP21], [KLP24]). There is no randomness: the same data give the same network, in whatever order the rows come.

    Parameters
    ----------
    radius : float
        Radius r >= 0 of the balls, in the units of the X that ``fit`` gets (in a pipeline: of the scaled rows).
    beta : float
        Weight of the penalty, positive for a useful bound. ``problem.zero_solution_beta()`` brackets the value from which
        the network is zero, :func:`convexadv.regularisation_path` goes down from there. The default suits rows of length
        about one or more, and is the default of the problem.
    loss : {"hinge", "squared_hinge", "logistic"}
        Loss of margins; "logistic" has ``predict_proba``.
    norm : {"l2", "linf"}
        The ball. "linf" is trained by a safe restriction.
    scale : (d,) array, optional
        Axes of an ellipsoid, ||delta/scale|| <= r.
    activation : (a, b, c)
        s(t) = a t^2 + b t + c; the default is a quadratic fit of ReLU.
    multiclass : {"ovr", "joint"}
        For more than two classes: one-vs-rest, or the losses of f_y - f_c summed over c != y.
    clean_weight : float in [0, 1]
        Share of the loss at the unperturbed row.
    solver : {"auto", "torch", "SCS", "CLARABEL", "MOSEK"}
        As of :func:`convexadv.solve`, as are the parameters below.
    tol : float
        Relative certified gap at which the solver stops.
    max_iter : int, optional
        Rounds of the solver.
    time_limit : float, optional
        Seconds.
    device : str, optional
        torch device.
    verbose : bool
        Report progress through ``logging``.

    Attributes
    ----------
    network_, solution_, gap_, n_iter_, n_features_in_, feature_names_in_, classes_
        The torch module, the :class:`convexadv.Solution` with its certificate, its relative gap, the rounds of the
        solver (int), the number of features (int), their names (where X has names), and the labels (K,).

    See Also
    --------
    convexadv.model_selection : scorers by certified and attacked accuracy, for scikit-learn's searches.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import convexadv as ca
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), ca.PolynomialClassifier(radius=0.3, beta=0.1))
    >>> model.fit(X[::2], y[::2]).score(X[1::2], y[1::2]) > 0.9
    True
    >>> model[-1].gap_ <= 1e-4
    True
    """

    _problem_parameters = (*ConvexClassifier._problem_parameters, *_OWN)

    def __init__(
        self,
        *,
        radius: float = 0.0,
        beta: float = 0.01,
        loss: Any = "hinge",
        norm: str = "l2",
        scale: Any = None,
        activation: tuple[float, float, float] = (0.09, 0.5, 0.47),
        multiclass: str = "ovr",
        clean_weight: float = 0.0,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = None,
        device: str | None = None,
        verbose: bool = False,
    ):
        self.radius = radius
        self.beta = beta
        self.loss = loss
        self.norm = norm
        self.scale = scale
        self.activation = activation
        self.multiclass = multiclass
        self.clean_weight = clean_weight
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.device = device
        self.verbose = verbose


class PolynomialRegressor(_Polynomial, ConvexRegressor):
    r"""Regression by a two-layer polynomial network, trained to the certified global optimum, robustly if asked to.

        minimise  sum_i omega_i (f - y)^2/2 / sum_i omega_i + beta sum_jc abs(alpha_jc)

    the squared error at the worst perturbation of row i in its ball: see :class:`convexadv.PolynomialProblem`. The penalty
    pulls f to zero: centre targets with a mean far from zero (``TransformedTargetRegressor``).

    Parameters
    ----------
    radius, beta, norm, scale, activation, clean_weight, solver, tol, max_iter, time_limit, device, verbose
        As of :class:`PolynomialClassifier`.

    Attributes
    ----------
    network_, solution_, gap_, n_iter_, n_features_in_, feature_names_in_
        As of :class:`PolynomialClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> X = np.random.default_rng(0).normal(size=(20, 2))
    >>> y = X[:, 0] * X[:, 1]
    >>> model = ca.PolynomialRegressor(beta=1e-3).fit(X, y)
    >>> model.score(X, y) > 0.99, model.gap_ <= 1e-4
    (True, True)
    """

    _problem_parameters = (*ConvexRegressor._problem_parameters, *_OWN)

    def __init__(
        self,
        *,
        radius: float = 0.0,
        beta: float = 0.01,
        norm: str = "l2",
        scale: Any = None,
        activation: tuple[float, float, float] = (0.09, 0.5, 0.47),
        clean_weight: float = 0.0,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = None,
        device: str | None = None,
        verbose: bool = False,
    ):
        self.radius = radius
        self.beta = beta
        self.norm = norm
        self.scale = scale
        self.activation = activation
        self.clean_weight = clean_weight
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.device = device
        self.verbose = verbose
