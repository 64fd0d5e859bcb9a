"""What a solver returns: numbers, a certificate, the network, and a status that says what to do next."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..problems.certificate import OptimalityCertificate


class Status(enum.Enum):
    """Outcome of a solve; the value is advice.

    Examples
    --------
    >>> import convexadv as ca
    >>> str(ca.Status.TIME_LIMIT), ca.Status.TIME_LIMIT.ok
    ('time_limit', False)
    >>> print(ca.Status.TIME_LIMIT.value)
    the time limit was reached; continue with warm_start=solution or raise time_limit.
    """

    OPTIMAL = "certified: the gap between the objective and the lower bound is within the tolerance."
    INACCURATE = (
        "the solver stopped before the tolerance; gap and violation are measured. Give it more iterations, "
        "or use solver='torch'."
    )
    MAX_ITER = "the iteration limit was reached; continue with warm_start=solution or raise max_iter."
    TIME_LIMIT = "the time limit was reached; continue with warm_start=solution or raise time_limit."
    STALLED = (
        "no further progress at this precision. Loosen tol, use dtype='float64', rescale badly scaled "
        "features, or compare with a conic solver on a subset."
    )
    STOPPED = "the callback asked to stop; continue with warm_start=solution."
    INFEASIBLE = (
        "the hard margins or margin curves cannot be met by any network: lower the margin or the radius, or drop rows."
    )
    UNCERTIFIED = "beta = 0 leaves no lower bound but the trivial one; choose beta > 0 for a certificate."
    FAILED = "the solver gave no usable answer; its own message is in solution.message."

    @property
    def ok(self) -> bool:
        """Whether the answer is certified to the tolerance."""
        return self is Status.OPTIMAL

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Record:
    """One line of the history of a solve."""

    time: float
    """Seconds since the start."""
    objective: float
    """Best objective of a feasible network so far; infinity while there is none."""
    lower_bound: float
    """Best certified bound so far."""
    neurons: int


@dataclass(frozen=True, repr=False)
class Solution:
    """Result of :func:`convexadv.solve`.

    Attributes
    ----------
    status : Status
    objective : float
        Objective of ``network``, recomputed by the problem in float64; infinity if its violation exceeds
        the tolerance.
    lower_bound : float
        ``problem.lower_bound(certificate)``.
    gap : float
        (objective - lower_bound) / max(abs(objective), 1e-3 objective of the zero network).
    violation : float
        Largest relative shortfall of a hard margin at ``network``; 0 without constraints.
    certificate : OptimalityCertificate
    network : PolynomialNetwork, ReLUNetwork, GatedReLUNetwork or None
    variables : dict
        The solver's own variables; for conic solvers the raw ``Z``, ``Z_prime`` and ``raw_objective``.
    history : list of Record
    solve_time : float
        Seconds of the solver itself; compilation is in ``variables["compile_time"]`` where there is one.
    solver : str
    message : str
        Words of an underlying solver, if any.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> solution = ca.solve(ca.PolynomialProblem(X, y, beta=0.01))
    >>> bool(solution.lower_bound <= solution.objective), solution.violation
    (True, 0.0)
    >>> solution.network.predict([[2, 1], [2, -1]])
    array([1, 0])
    """

    status: Status
    objective: float
    lower_bound: float
    gap: float
    violation: float
    certificate: OptimalityCertificate
    network: Any
    variables: dict[str, Any] = field(default_factory=dict, repr=False)
    history: list[Record] = field(default_factory=list, repr=False)
    solve_time: float = 0.0
    solver: str = ""
    message: str = ""

    def __repr__(self) -> str:
        return f"Solution({self.status}, objective={self.objective:.10g}, gap={self.gap:.2e}, solver={self.solver!r})"

    def __str__(self) -> str:
        neurons = 0 if self.network is None else self.network.n_neurons
        lines = [
            ("status", f"{self.status} - {self.status.value}"),
            ("solver", f"{self.solver}, {self.solve_time:.3g} s"),
            ("objective", f"{self.objective:.10g}"),
            ("lower bound", f"{self.lower_bound:.10g}"),
            ("gap", f"{self.gap:.2e}"),
            ("violation", f"{self.violation:.2e}"),
            ("neurons", str(neurons)),
        ]
        return "\n".join(
            f"{name:<12} {text}" for name, text in lines + ([("message", self.message)] if self.message else [])
        )


def measure(problem: Any, network: Any, certificate: OptimalityCertificate, tolerance: float) -> dict[str, Any]:
    """Objective, bound, gap and violation of a pair (network, certificate), all recomputed by the problem."""
    evaluation = problem.evaluate(network)
    lower = problem.lower_bound(certificate)
    feasible = evaluation.violation <= tolerance
    objective = evaluation.objective if feasible else np.inf
    gap = problem.gap(objective, lower) if feasible else np.inf
    return {"objective": objective, "lower_bound": lower, "gap": gap, "violation": evaluation.violation}
