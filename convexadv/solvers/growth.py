r"""Growing the patterns of a programme: random gates are priced by the dual solution, and those that help are added.

A gate outside the programme lowers the optimum only if the price of one of its blocks (problems/pattern_bound.py; on its
cone for ReLU networks) exceeds beta at the dual solution. The same prices bound what all candidates together could gain.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._checks import generator_of, number
from ..cones import Cones, project
from ..errors import InputError
from ..problems.bound import scaled_value
from ..problems.certificate import OptimalityCertificate
from ..problems.gates import sample_gates
from ..problems.pattern_bound import Checked, component_bound, dual_vectors
from ..problems.pattern_checking import checked_component
from ..problems.patterns import PatternProblem
from .api import solve
from .solution import Solution

_CHUNK = 1 << 22
_WORTH = 1e-3
"""A candidate helps if its price exceeds beta by this share."""


@dataclass(frozen=True)
class GrowthRound:
    """One solve of a growing programme and the candidates priced after it."""

    gates: int
    """Gates of the programme."""
    objective: float
    lower_bound: float
    candidates: int
    """Distinct new patterns that were priced; 0 after the last round."""
    largest_price: float
    """Largest price among them, in units of beta; a gate helps if it exceeds one."""
    lower_bound_with_candidates: float
    """What no network over the programme's patterns and the candidates' can undercut."""
    added: int
    seconds: float


@dataclass(frozen=True)
class Growth:
    """Result of :func:`grow_patterns`.

    Attributes
    ----------
    problem : PatternProblem
        Over all gates: those given first, then the added ones.
    solution : Solution
        Of that problem.
    rounds : list of GrowthRound
    """

    problem: PatternProblem
    solution: Solution
    rounds: list[GrowthRound]

    @property
    def improvement(self) -> float:
        """By how much the objective fell, relative to that of the first programme."""
        first = self.rounds[0].objective
        return (first - self.rounds[-1].objective) / first if first > 0 else 0.0

    def __str__(self) -> str:
        lines = [f"{'gates':>6} {'objective':>13} {'bound':>13} {'candidates':>10} {'price/beta':>10} {'added':>6}"]
        for each in self.rounds:
            price = "-" if math.isnan(each.largest_price) else f"{each.largest_price:.4g}"
            lines.append(
                f"{each.gates:>6} {each.objective:>13.8g} {each.lower_bound:>13.8g} {each.candidates:>10} "
                f"{price:>10} {each.added:>6}"
            )
        return "\n".join([*lines, f"the objective fell by {100 * self.improvement:.3g} %"])


def grow_patterns(
    problem: PatternProblem,
    *,
    rounds: int = 5,
    candidates: int = 500,
    most_added: int = 50,
    gate_kind: str = "gaussian",
    random_state: Any = 1,
    tol: float = 1e-4,
    **options: Any,
) -> Growth:
    """Solve a programme, then add random gates that lower its objective, and solve again.

    Parameters
    ----------
    problem : ReLUProblem or GatedReLUProblem
    rounds : int
        Times that candidates are drawn; it ends earlier when no candidate helps.
    candidates : int
        Gates drawn in a round; those with a pattern that is known are dropped.
    most_added : int
        Gates added in a round, those of the largest price.
    gate_kind : {"gaussian", "differences", "sparse", "open"}
        How candidates are drawn.
    random_state : int or numpy Generator
    tol, **options
        Of every :func:`convexadv.solve`.

    Returns
    -------
    Growth

    Raises
    ------
    InputError
        If an argument cannot be used.

    Examples
    --------
    >>> import convexadv as ca
    >>> from convexadv.datasets import load, standardise
    >>> data = load("wdbc")
    >>> X, y = standardise(data.X).apply(data.X)[:200], data.y[:200]
    >>> problem = ca.ReLUProblem(X, y, n_gates=2, beta=0.01, loss="squared_hinge")
    >>> growth = ca.grow_patterns(problem, rounds=1, candidates=20, tol=1e-3)
    >>> [(each.gates, each.added) for each in growth.rounds]
    [(2, 19), (21, 0)]
    >>> growth.rounds[1].objective < growth.rounds[0].objective
    True
    """
    if not isinstance(problem, PatternProblem):
        raise InputError(f"problem is a {type(problem).__name__}; a ReLUProblem or a GatedReLUProblem is needed.")
    rounds, most_added = (int(number(name, value)) for name, value in (("rounds", rounds), ("most_added", most_added)))
    generator = generator_of(random_state)
    solution, history = solve(problem, tol=tol, **options), []
    for _ in range(rounds):
        start = time.perf_counter()
        wider = _candidates(problem, candidates, gate_kind, generator)
        if wider is None:
            break
        price, bound = prices_of(wider, solution.certificate)
        order = np.argsort(-price, kind="stable")[:most_added]
        chosen = np.sort(order[price[order] > problem.beta * (1.0 + _WORTH)])
        top = float(price.max()) / problem.beta if problem.beta > 0 else np.inf
        seconds = time.perf_counter() - start + solution.solve_time
        joint = min(bound, solution.lower_bound)
        history.append(_round(problem, solution, wider.n_gates, top, joint, len(chosen), seconds))
        if not len(chosen):
            break
        problem = problem.with_gates(np.concatenate([problem.gates, wider.gates[:, chosen]], 1))
        solution = solve(problem, tol=tol, **options)
    if not history or history[-1].added:
        history.append(_round(problem, solution, 0, np.nan, solution.lower_bound, 0, solution.solve_time))
    return Growth(problem, solution, history)


def prices_of(problem: PatternProblem, certificate: OptimalityCertificate) -> tuple[np.ndarray, float]:
    """Price of every gate at the dual point of a certificate, (P,), and the bound over these gates.

    Parameters
    ----------
    problem : PatternProblem
        Over other gates than the certificate's, same data.
    certificate : OptimalityCertificate
        Its multipliers and points are used; its cone multipliers and shares speak of other gates.

    Returns
    -------
    price : (P,)
    bound : float
    """
    result, total = np.zeros(problem.n_gates), 0.0
    for index, component in enumerate(problem.components):
        atoms = tuple(atom for atom in certificate.atoms if atom.component == index)
        checked = checked_component(problem, index, OptimalityCertificate(atoms))
        if checked is None:
            continue
        size = max(float(np.abs(atom.multipliers).max()) for atom in atoms)
        q = size * dual_vectors(problem, component, checked)
        every = _on_cones(problem, q) if problem.cones else np.linalg.norm(q, axis=1)
        result = np.maximum(result, every.max(1))
        total += _bound(problem, component, checked, float(every.max()) / size)
    return result, total


def _bound(problem: PatternProblem, component: Any, checked: Checked, kappa: float) -> float:
    """The dual bound at a known largest price."""
    return max(component_bound(problem, component, checked), scaled_value(checked.atoms, kappa, problem.beta)[0])


def _on_cones(problem: PatternProblem, q: np.ndarray) -> np.ndarray:
    """Largest length of the projections of +-q on the cones, (P, outputs)."""
    X, n = problem.rows.whole(), problem.rows.n
    result = np.zeros(q[:, 0].shape)
    step = max(1, _CHUNK // n)
    for output in range(q.shape[2]):
        for first in range(0, len(q), step):
            own = slice(first, first + step)
            cones = Cones(X, problem.patterns[:, own].T, problem.radius, problem.norm, problem.perturbed)
            sides = [project(cones, side * q[own, :, output], tol=1e-8).prices for side in (1.0, -1.0)]
            result[own, output] = np.maximum(*sides)
    return result


def _candidates(problem: PatternProblem, count: int, kind: str, generator: np.random.Generator) -> Any:
    """The problem over new random gates, or None if all their patterns are known."""
    try:
        sample = sample_gates(
            problem.rows,
            count,
            kind=kind,
            random_state=generator,
            constant=problem.fit_intercept,
            known=problem.patterns,
        )
    except InputError as error:
        if "pattern" not in str(error):
            raise
        return None
    return problem.with_gates(sample.gates)


def _round(
    problem: PatternProblem, solution: Solution, priced: int, top: float, bound: float, added: int, seconds: float
) -> GrowthRound:
    return GrowthRound(problem.n_gates, solution.objective, solution.lower_bound, priced, top, bound, added, seconds)
