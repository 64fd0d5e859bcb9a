"""A component solved in full by the interior-point method, where that takes less than column generation would."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...problems.certificate import OptimalityCertificate
from ...problems.chunks import Chunk, split
from .columns import MU_AGAIN, ColumnGeneration, Job
from .consolidate import consolidated
from .model import Neurons, Point
from .radial import FEASIBLE, best_multiple
from .semidefinite import atoms_of, central_path, layout_of, multipliers_of, network_of, operations
from .state import State, centres_of

_SHARE = 0.2
"""Of the tolerance that the gap of the iterates reaches before the problem judges them."""
_AGAIN = 0.1
_CUTS = (1e-2, 1e-3, 1e-4, 1e-5)
"""Shares of the penalty that may be dropped to have fewer neurons."""
_AT_ONCE = {"clean": 4e8, "l2": 4e8, "linf": 4e9}
"""Operations of a solve up to which column generation is not tried first: a tenth of a second, a second for boxes, where it
seldom ends sooner."""
_EVALUATION, _PAIR = 1e6, {"clean": 1e2, "l2": 4e3, "linf": 4e4}
"""Operations of an evaluation in column generation: at least, and for a row and neuron, or coordinate of a box."""


def worth_while(column: ColumnGeneration) -> bool:
    """Whether the interior-point method takes little, or no more than column generation has taken so far.

    All numbers are counts, so that the same call takes the same way.
    """
    model = column.model
    kind = model.problem.norm if model.robust else "clean"
    cost = operations(model.problem, model.component)
    if cost <= _AT_ONCE[kind] or not math.isfinite(cost):
        return cost <= _AT_ONCE[kind]
    terms = sum(part.shape[0] * part.shape[1] for part in model.component.terms)
    width = model.problem.rows.d if kind == "linf" else len(column.state.neurons.signs)
    return model.evaluations * (_EVALUATION + _PAIR[kind] * terms * width) > cost


def by_interior_point(column: ColumnGeneration, chunks: list[Chunk], keep_going: Callable[[], bool]) -> Job:
    """Close the gap of a component by the interior-point method; where rounding prevents it, a good start is left.

    Parameters
    ----------
    column : ColumnGeneration
        Its bounds and state are set.
    chunks : list of Chunk
    keep_going : callable
        Asked before every step.
    """
    model = column.model
    yield from column.price()
    if column.done():
        return
    layout = layout_of(model.problem, model.component)
    wanted, last, judged = _SHARE * column.tolerance, None, None
    for iterate, objective, gap in central_path(layout):
        last = iterate
        if not keep_going():
            break
        if gap <= wanted * max(abs(objective), 1e-3 * column.zero_objective):
            yield from _judge(column, chunks, layout, iterate)
            judged = iterate
            if column.done():
                return
            wanted *= _AGAIN
    if last is not None and judged is not last:
        yield from _judge(column, chunks, layout, last)


def _judge(column: ColumnGeneration, chunks: list[Chunk], layout: Any, iterate: Any) -> Job:
    """Bounds of the problem itself for an iterate, and the state to go on from."""
    model, bounds = column.model, column.bounds
    problem = model.problem
    atoms = atoms_of(layout, model.number, iterate, problem.rows.d)
    lower = problem.lower_bound(OptimalityCertificate(atoms))
    if lower > bounds.lower:
        bounds.lower, bounds.atoms = lower, atoms
    vectors, signs, outputs = network_of(iterate)
    neurons = Neurons(model.tensor(vectors), model.tensor(signs), model.tensor(outputs.astype(np.int64)))
    if len(signs):
        yield from _keep_fewest(column, neurons)
    shapes = [terms.shape for terms in model.component.terms]
    whole = [model.tensor(array) for array in multipliers_of(layout, iterate, shapes)]
    multipliers = split(chunks, model.number, whole)
    smoothing = column.state.smoothing._replace(centres=centres_of(model, multipliers), mu=MU_AGAIN)
    kept = column.bounds.network
    column.state = State(kept, smoothing, Point(kept, smoothing.nu, multipliers))


def _keep_fewest(column: ColumnGeneration, neurons: Neurons) -> Job:
    """Take the fewest neurons over whose objective is near enough to the bound, or the best objective."""
    bounds, high = column.bounds, 1e6 if column.model.constrained else 2.0
    for cut in _CUTS:
        fewer = consolidated(neurons, cut)
        if len(fewer.signs) == len(neurons.signs):
            continue
        tau, objective, violation = yield from best_multiple(column.model, fewer, 0.5, high)
        close = objective - bounds.lower <= 0.5 * column.tolerance * max(abs(objective), 1e-3 * column.zero_objective)
        if violation <= FEASIBLE and close:
            neurons = fewer
            break
    else:
        tau, objective, violation = yield from best_multiple(column.model, neurons, 0.5, high)
    if violation <= FEASIBLE and objective < bounds.upper:
        bounds.upper, bounds.violation, bounds.network = objective, violation, neurons.scaled(tau)
