"""Heads at several settings: problems on the features, solved along paths, each judged by the caller."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._checks import choice, number
from ..datasets import Scaling
from ..errors import InputError
from ..networks import Network
from ..networks.units import with_inputs
from ..paths import PathPoint, regularisation_path
from ..problems import GatedReLUProblem, OptimalityCertificate, PolynomialProblem, ReLUProblem
from ..problems.patterns import PatternProblem

KINDS: dict[str, Any] = {
    "polynomial": PolynomialProblem,
    "relu": ReLUProblem,
    "gated-relu": GatedReLUProblem,
}
N_GATES = 100
_THRESHOLD_TOL = 1e-2


@dataclass(frozen=True)
class Grid:
    """Settings of the heads to be tried.

    Attributes
    ----------
    head : {"polynomial", "relu", "gated-relu"}
    radii : tuple of float
        In units of the scaled features.
    betas : tuple of float
        Shares of the smallest beta with the zero network at radius 0, falling.
    gates : tuple of int or (None,)
        Numbers of gates to draw; None for polynomial heads.
    options : dict
        Further arguments of the problem.
    """

    head: str
    radii: tuple[float, ...]
    betas: tuple[float, ...]
    gates: tuple[int | None, ...]
    options: dict[str, Any]

    @classmethod
    def of(cls, head: Any, radius: Any, beta: Any, n_gates: Any, options: dict[str, Any]) -> Grid:
        """Check the settings; every one may be a number or a sequence."""
        choice("head", head, tuple(KINDS))
        if head == "polynomial" and n_gates is not None:
            raise InputError(
                "n_gates is a setting of ReLU and gated ReLU heads; a polynomial head has no gates: leave it out."
            )
        gates = [None] if head == "polynomial" else _several("n_gates", N_GATES if n_gates is None else n_gates, 1)
        betas = sorted(set(_several("beta", beta, 0.0)), reverse=True)
        if not betas[-1] > 0:
            raise InputError("beta=0 leaves a head without a certificate; shares of the threshold above 0 are needed.")
        whole = tuple(None if count is None else int(count) for count in gates)
        return cls(head, tuple(_several("radius", radius, 0.0)), tuple(betas), whole, options)

    def __len__(self) -> int:
        return len(self.radii) * len(self.betas) * len(self.gates)


class Candidate(NamedTuple):
    """One head, certified, before it is judged."""

    n_gates: int | None
    beta_share: float
    threshold: float
    """Smallest beta with the zero network at radius 0; the beta of the problem is a share of it."""
    point: PathPoint
    head: Network | None
    """On raw features, in float64."""


def candidates(
    grid: Grid,
    X: Any,
    y: np.ndarray,
    units: Scaling,
    axes: np.ndarray | None,
    judge: Callable[[Candidate], Any],
    **solve_options: Any,
) -> None:
    """Solve all settings of a grid, and hand every head to a judge.

    For one number of gates and one radius, beta falls and each solve starts from the ones before
    (:func:`convexadv.regularisation_path`).

    Parameters
    ----------
    grid : Grid
    X : (n, d)
        Features in the units of the head.
    y : (n,)
        Class numbers.
    units : Scaling
        From raw features to X.
    axes : (d,) or None
        Axes of the ball of polynomial problems.
    judge : callable
        Takes a Candidate, as soon as it is solved.
    **solve_options
        Of :func:`convexadv.solve`.
    """
    for n_gates in grid.gates:
        problem = _problem(grid, X, y, n_gates, axes)
        threshold = problem.zero_solution_beta(tol=_THRESHOLD_TOL).upper
        shares = {threshold * share: share for share in grid.betas}

        def take(
            point: PathPoint,
            n_gates: int | None = n_gates,
            threshold: float = threshold,
            shares: dict[float, float] = shares,
        ) -> bool:
            network = point.solution.network
            head = None if network is None else with_inputs(network, units.shift, units.scale)
            judge(Candidate(n_gates, shares[point.beta], threshold, point, head))
            return False

        regularisation_path(problem, list(shares), radii=grid.radii, callback=take, **solve_options)


def _problem(grid: Grid, X: Any, y: np.ndarray, n_gates: int | None, axes: np.ndarray | None) -> Any:
    """The problem at radius 0, whose radius and beta the path sets."""
    options = dict(grid.options)
    if n_gates is not None:
        options["n_gates"] = n_gates
    if axes is not None:
        options["scale"] = axes
    return KINDS[grid.head](X, y, radius=0.0, **options)


def gaps_of_classes(point: PathPoint) -> list[float] | None:
    """Certified relative gap of every output of a one-vs-rest head; None for a joint one.

    Objectives and bounds of the outputs add up to those of the whole. Each gap is relative to the output's own
    objective, or to a thousandth of its zero network's, as ``problem.gap``.
    """
    problem, solution = point.problem, point.solution
    if problem.multiclass == "joint" and problem.n_outputs > 1:
        return None
    zeros = [_zero_objective(problem, k) for k in range(len(problem.components))]
    gaps = []
    for k, component in enumerate(problem.components):
        upper = _objective(problem, solution.network, component.outputs, k, sum(zeros) - zeros[k])
        lower = problem.lower_bound(_part(solution.certificate, k))
        gaps.append(float((upper - lower) / max(abs(upper), 1e-3 * zeros[k], 1e-300)))
    return gaps


def _zero_objective(problem: Any, component: int) -> float:
    terms = problem.arrays(component)
    return sum(float((part.weight * part.loss.group_value(part.offset)).sum()) for part in terms)


def _objective(problem: Any, network: Any, outputs: Any, component: int, others: float) -> float:
    if isinstance(problem, PatternProblem):
        return problem.component_objective(component, problem.blocks_of(network)[0])
    kept = np.zeros(network.n_outputs)
    kept[outputs] = 1.0
    coefficients = network.coefficients.detach().cpu().numpy() * kept
    used = coefficients.any(1)
    own = network._with(neurons=network.neurons.detach().cpu().numpy()[used], coefficients=coefficients[used])
    return problem.objective(own) - others


def _part(certificate: OptimalityCertificate, component: int) -> OptimalityCertificate:
    """What a certificate says of one component; the others then add nothing to the bound."""
    fields = {
        name: tuple(part for part in getattr(certificate, name) if part.component == component)
        for name in ("atoms", "cones", "shares")
    }
    return dataclasses.replace(certificate, **fields)


def _several(name: str, value: Any, low: float) -> list[float]:
    single = isinstance(value, str) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0
    values: Sequence[Any] = [value] if single else list(value)
    if not len(values):
        raise InputError(f"{name} is empty; one or more values are needed.")
    return [number(name, entry, low) for entry in values]
