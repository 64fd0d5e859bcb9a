"""Where the next solve of a path starts: the last two solutions, extrapolated along the logarithm of beta.

Weights w(beta) of a path are smooth in log beta while the neurons in use stay: with the solutions at beta_0 > beta_1, the
start at beta is w_1 + c (w_1 - w_0), c = log(beta_1/beta) / log(beta_0/beta_1), at most 1. For polynomial networks w are the
lifted matrices Z, Z', brought back to their cone and decomposed into neurons; for gated networks the weights of the gates
in use. The networks of ReLU programmes say which blocks are in use, no more, and are not extrapolated.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..problems.blocks import Blocks
from ..problems.gated import GatedReLUProblem
from ..problems.polynomial import PolynomialProblem
from ..recovery import lift, network_from_lift, restore
from ..solvers import Solution
from ..solvers.gated.state import KEY, extrapolated

_SMALLEST = 1e-3
"""Eigenvalues of an extrapolated lift below this share of the largest are dropped: they are errors of the step."""


def predicted(problem: Any, past: list[tuple[float, Solution]]) -> Solution | None:
    """Where to start the solve of a problem.

    Parameters
    ----------
    problem : PolynomialProblem, ReLUProblem or GatedReLUProblem
        At the beta to be solved.
    past : list of (beta, Solution)
        Solutions at larger values of beta, the last one nearest.

    Returns
    -------
    Solution or None
        The last solution, its network replaced by the extrapolated one where this has the lower objective, its multipliers
        extrapolated too; None where the last network is zero and left none (solvers start better by themselves).
    """
    if not past:
        return None
    last = past[-1][1]
    if not last.network.n_neurons and not any(state is not None for state in last.variables.get(KEY, ())):
        return None
    if len(past) < 2:
        return last
    (beta_0, before), (beta_1, _) = past[-2:]
    step = min(1.0, math.log(beta_1 / problem.beta) / math.log(beta_0 / beta_1)) if beta_0 > beta_1 else 0.0
    if step > 0 and isinstance(problem, GatedReLUProblem):
        last = _moved(problem, before, last, step)
    if not before.network.n_neurons:
        return last
    network = None
    if step > 0 and isinstance(problem, PolynomialProblem):
        network = _polynomial(problem, before.network, last.network, step)
    elif step > 0 and isinstance(problem, GatedReLUProblem):
        network = _gated(problem, before.network, last.network, step)
    at_last = last.objective + (problem.beta - beta_1) * last.network.penalty()  # the losses are the same
    if network is None or not problem.objective(network) < at_last:
        return last
    return replace(last, network=network, variables=_variables(before, last, step))


def _variables(before: Solution, last: Solution, step: float) -> dict[str, Any]:
    """Those of the last solution, its proximal centres extrapolated too."""
    new, old = (solution.variables.get("state") for solution in (last, before))
    if new is None or old is None:
        return last.variables
    state = [
        [
            None if z is None or w is None or z.shape != w.shape else z + step * (z - w)
            for z, w in zip(*pair, strict=True)
        ]
        for pair in zip(new, old, strict=True)
    ]
    return {**last.variables, "state": state}


def _polynomial(problem: PolynomialProblem, before: Any, last: Any, step: float) -> Any:
    pairs = [
        [_nearest(new + step * (new - old)) for new, old in zip(*matrices, strict=True)]
        for matrices in zip(lift(last), lift(before), strict=True)
    ]
    return network_from_lift(
        [pair[0] for pair in pairs], [pair[1] for pair in pairs], problem.activation, problem.classes
    )


def _nearest(Z: np.ndarray) -> np.ndarray:
    """A decomposable matrix of low rank near Z."""
    values, vectors = np.linalg.eigh(Z)
    values = np.where(values > _SMALLEST * max(float(values[-1]), 0.0), values, 0.0)
    return restore((vectors * values) @ vectors.T)


def _gated(problem: GatedReLUProblem, before: Any, last: Any, step: float) -> Any:
    new, old = (_weights(problem, network) for network in (last, before))
    used = (new != 0).any(2, keepdims=True)
    moved = np.where(used, new + step * (new - old), 0.0)
    gate, output = np.nonzero(used[:, :, 0])
    return problem.network_of(Blocks(gate, output, np.ones(len(gate)), moved[gate, output]))


def _weights(problem: GatedReLUProblem, network: Any) -> np.ndarray:
    """Weights of every gate and output, (P, C, D)."""
    blocks, _ = problem.blocks_of(network)
    weights = np.zeros((problem.n_gates, problem.n_outputs, problem.rows.d))
    np.add.at(weights, (blocks.gate, blocks.output), blocks.vectors)
    return weights


def _moved(problem: GatedReLUProblem, before: Solution, last: Solution, step: float) -> Solution:
    """The last solution with its states extrapolated."""
    pairs = zip(before.variables.get(KEY, ()), last.variables.get(KEY, ()), strict=False)
    states = tuple(extrapolated(problem.loss, *pair, step) for pair in pairs)
    return replace(last, variables={**last.variables, KEY: states})
