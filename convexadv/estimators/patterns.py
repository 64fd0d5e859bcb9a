"""What the estimators over activation patterns share: their parameters, stored as given."""

from __future__ import annotations

from typing import Any

from .base import ConvexClassifier, ConvexEstimator, ConvexRegressor, draws

_OWN = ("gates", "n_gates", "gate_kind", "fit_intercept")


class PatternEstimator(ConvexEstimator):
    """Problems over gates. Not to be used by itself."""

    random_state: Any

    def _problem_arguments(self) -> dict[str, Any]:
        return {**super()._problem_arguments(), "random_state": draws(self.random_state)}


class PatternClassifier(PatternEstimator, ConvexClassifier):
    """Parameters of the classifiers over gates. Not to be used by itself."""

    _problem_parameters = (*ConvexClassifier._problem_parameters, *_OWN)

    def __init__(
        self,
        *,
        gates: Any = None,
        n_gates: int = 50,
        gate_kind: str = "gaussian",
        random_state: Any = 0,
        radius: float = 0.0,
        beta: float = 0.01,
        loss: Any = "hinge",
        norm: str = "l2",
        multiclass: str = "ovr",
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = None,
        device: str | None = None,
        verbose: bool = False,
    ):
        self.gates = gates
        self.n_gates = n_gates
        self.gate_kind = gate_kind
        self.random_state = random_state
        self.radius = radius
        self.beta = beta
        self.loss = loss
        self.norm = norm
        self.multiclass = multiclass
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.device = device
        self.verbose = verbose


class PatternRegressor(PatternEstimator, ConvexRegressor):
    """Parameters of the regressors over gates. Not to be used by itself."""

    _problem_parameters = (*ConvexRegressor._problem_parameters, *_OWN)

    def __init__(
        self,
        *,
        gates: Any = None,
        n_gates: int = 50,
        gate_kind: str = "gaussian",
        random_state: Any = 0,
        radius: float = 0.0,
        beta: float = 0.01,
        norm: str = "l2",
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = None,
        device: str | None = None,
        verbose: bool = False,
    ):
        self.gates = gates
        self.n_gates = n_gates
        self.gate_kind = gate_kind
        self.random_state = random_state
        self.radius = radius
        self.beta = beta
        self.norm = norm
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.device = device
        self.verbose = verbose
