"""Whole solves of small problems: what the solution says of itself is computed again, and compared with other networks.

A case is a solve. The status has to fit the gap, bound and objective are recomputed, no network tried may lie below the
bound, and a share is solved by two backends, which have to agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convexadv as ca
from benchmarks.fuzz_problems import objectives, problem
from benchmarks.fuzz_tally import Draw, Tally

_NETWORKS, _LIMIT = 4, 0.5
_CONIC = {"CLARABEL": 0.9, "SCS": 0.1}
_ROUNDING = 1e-10


def _solve(rng: np.random.Generator, tally: Tally, kind: str, largest: tuple[int, int], both: float = 0.1) -> None:
    """Solve one problem, by the torch backend, a conic solver, or both, and check the answers."""
    n, d = int(rng.integers(1 if rng.random() < 0.05 else 2, largest[0] + 1)), int(rng.integers(1, largest[1] + 1))
    what = problem(rng, kind, max(n, 2), d)
    tol = float(rng.choice([1e-2, 1e-3, 1e-4], p=[0.6, 0.3, 0.1]))
    chance = rng.random()
    found = {}
    if chance > 0.15:
        limit = {"max_iter": int(rng.integers(0, 4))} if rng.random() < 0.1 else {}
        found["torch"] = ca.solve(what, tol=tol, time_limit=_LIMIT, **limit)
    if chance < 0.15 + both:
        solver = str(rng.choice(list(_CONIC), p=list(_CONIC.values())))
        found[solver] = ca.solve(what, solver, tol=tol)
    for name, solution in found.items():
        _check(rng, tally, what, solution, f"{kind} {name}", tol)
        tally.count(f"{kind} {name} {solution.status}")
    if len(found) == 2:
        _agree(tally, what, *found.values())


def _check(rng: np.random.Generator, tally: Tally, what: Any, solution: Any, name: str, tol: float) -> None:
    """What a solution says against what the problem says."""
    status, network = solution.status, solution.network
    size = (
        max(abs(solution.objective), what.zero_objective())
        if np.isfinite(solution.objective)
        else what.zero_objective()
    )
    lower = what.lower_bound(solution.certificate)
    close = lower == solution.lower_bound or abs(lower - solution.lower_bound) <= _ROUNDING * size
    tally.expect(close, f"{name}: the bound is another one when recomputed", lower, solution.lower_bound)
    tally.expect(not np.isnan(lower), f"{name}: the bound is no number")
    if status is ca.Status.INFEASIBLE:
        tally.expect(what.hard_margin is not None and lower == np.inf, f"{name}: infeasible without a proof")
        return
    tally.expect(not (status.ok and solution.gap > tol), f"{name}: optimal with a gap of {solution.gap:g}")
    wrong = solution.gap <= tol and not status.ok and name.endswith("torch")
    tally.expect(not wrong, f"{name}: {status} with a gap of {solution.gap:g}")
    tally.expect(lower <= solution.objective + _ROUNDING * size, f"{name}: the bound lies above the objective")
    if network is None:
        tally.expect(not status.ok, f"{name}: optimal without a network")
        return
    own = what.evaluate(network)
    if np.isfinite(solution.objective):
        tally.expect(abs(own.objective - solution.objective) <= 1e-8 * size, f"{name}: the objective is another one")
        gap = what.gap(solution.objective, lower)
        tally.expect(abs(gap - solution.gap) <= 1e-8 * (1 + abs(gap)), f"{name}: the gap is another one")
    least = float(objectives(rng, what, _NETWORKS, network).min())
    if what.hard_margin is None:
        least = min(least, what.zero_objective())
    tally.expect(
        lower <= least + _ROUNDING * max(size, abs(least) if np.isfinite(least) else 0),
        f"{name}: a network lies below the bound",
        lower,
        least,
    )
    above = status.ok and solution.objective > least + 2 * tol * max(abs(least), 1e-3 * what.zero_objective())
    tally.expect(not above, f"{name}: optimal, and a network is better", solution.objective, least)


def _agree(tally: Tally, what: Any, first: Any, second: Any) -> None:
    """Two backends: no bound above the other's objective, and the same objective where both are certified."""
    for one, other in ((first, second), (second, first)):
        if np.isfinite(other.objective):
            allowed = 1e-8 * max(abs(other.objective), what.zero_objective())
            tally.expect(
                one.lower_bound <= other.objective + allowed,
                "a bound lies above the other solver's objective",
                one.lower_bound,
                other.objective,
            )


def polynomial(rng: np.random.Generator, tally: Tally) -> None:
    """Polynomial networks."""
    _solve(rng, tally, "polynomial", (12, 5) if rng.random() < 0.95 else (30, 12), 0.2)


def relu(rng: np.random.Generator, tally: Tally) -> None:
    """ReLU networks."""
    _solve(rng, tally, "ReLU", (12, 5) if rng.random() < 0.95 else (30, 12))


def gated(rng: np.random.Generator, tally: Tally) -> None:
    """Gated ReLU networks."""
    _solve(rng, tally, "gated", (14, 6) if rng.random() < 0.95 else (30, 12))


KINDS: list[Draw] = [gated, polynomial, gated, relu, gated, gated, gated]
"""Kinds of draws, in turn."""
