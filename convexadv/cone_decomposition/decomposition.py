"""The decomposition of a network, with what it costs and changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import to_numpy
from .._checks import choice
from ..errors import InputError, wrong_kind
from ..problems.blocks import Blocks
from ..problems.gated import GatedReLUProblem
from ..problems.relu import ReLUProblem
from .parts import FEASIBLE, decomposed

if TYPE_CHECKING:
    from ..networks import ReLUNetwork


@dataclass(frozen=True)
class OutputChange:
    """How the outputs of the ReLU network differ from those of the gated one on rows that neither was trained on.

    Attributes
    ----------
    rows : int
        Number of rows.
    largest, root_mean_square : float
        Of the differences over all rows and outputs, in units of the outputs.
    labels : int
        Rows whose predicted label changes; 0 for regression.
    """

    rows: int
    largest: float
    root_mean_square: float
    labels: int


@dataclass(frozen=True, eq=False)
class ConeDecomposition:
    """A ReLU network with the training predictions of a gated one, and what it costs.

    Attributes
    ----------
    network : ReLUNetwork
        Parallel neurons merged.
    problem : ReLUProblem
        The ReLU programme over the same data and gates, in which the network was evaluated.
    blocks : Blocks
        The parts a (side +1) and b (side -1) of every block, as variables of that programme.
    penalty_gated, penalty_relu : float
        sum ||v||_2 of the gated network and sum (||a||_2 + ||b||_2) of the ReLU network, without beta.
    objective_gated, objective_relu : float
        Objectives of the two networks in their programmes; the losses are equal up to rounding.
    violation : float
        Largest relative violation of a cone.
    off_training_change : OutputChange or None
        On the test rows, where they were given: off the training rows the two networks are different functions.
    """

    network: ReLUNetwork
    problem: ReLUProblem
    blocks: Blocks
    penalty_gated: float
    penalty_relu: float
    objective_gated: float
    objective_relu: float
    violation: float
    off_training_change: OutputChange | None

    def __str__(self) -> str:
        lines = [
            f"neurons      {self.network.n_neurons}",
            f"penalty      {self.penalty_gated:.6g} gated, {self.penalty_relu:.6g} ReLU",
            f"objective    {self.objective_gated:.8g} gated, {self.objective_relu:.8g} ReLU",
            f"violation    {self.violation:.1e}",
        ]
        change = self.off_training_change
        if change is not None:
            moved = (
                f"{change.largest:.3g} at most, {change.root_mean_square:.3g} root mean square, {change.labels} labels"
            )
            lines.append(f"other rows   outputs of {change.rows} change by {moved}")
        return "\n".join(lines)

    @property
    def growth(self) -> float:
        """penalty_relu / penalty_gated; one for the zero network, and below one only where neurons repeat a gate."""
        return self.penalty_relu / self.penalty_gated if self.penalty_gated > 0 else 1.0


def relu_problem_of(problem: GatedReLUProblem) -> ReLUProblem:
    """The ReLU programme over the data, gates, ball, loss and penalty of a gated one; arrays are shared, not copied.

    Parameters
    ----------
    problem : GatedReLUProblem

    Returns
    -------
    ReLUProblem

    Raises
    ------
    InputError
        If another kind of problem is given.
    """
    _check_problem(problem)
    return problem.recast(ReLUProblem)


def gated_to_relu(
    problem: GatedReLUProblem, network: Any, X_test: Any = None, method: str = "minimal"
) -> ConeDecomposition:
    """A ReLU network with the predictions of a gated ReLU network on the rows of a problem.

    Parameters
    ----------
    problem : GatedReLUProblem
        With radius 0; its rows are the training rows.
    network : GatedReLUNetwork
        Over gates of the problem, e.g. ``solve(problem).network``.
    X_test : array or tensor (k, d), optional
        Raw rows on which the change of the outputs is measured.
    method : {"minimal", "fast"}
        ``"minimal"`` finds the least ||a|| + ||b|| of every block. ``"fast"`` adds the smallest multiple tau of the
        gate g, which lies in its cone: one pass over the data, and a much larger penalty, but often less change off
        the training rows, because max(0, x'(v + tau g)) - max(0, tau x'g) tends to 1[x'g >= 0] x'v as tau grows.
        A block whose gate lies on the boundary of its cone where v needs more is decomposed as by ``"minimal"``.

    Returns
    -------
    ConeDecomposition

    Raises
    ------
    InputError
        If an argument cannot be used, the problem has a ball (the cones keep predictions, not margins over balls), or
        a block is no difference of two vectors of its cone: rows that lie on the hyperplane of the gate in opposite
        directions leave the cone without an interior.

    Examples
    --------
    >>> import convexadv as ca
    >>> from convexadv.datasets import load, standardise
    >>> data = load("wdbc")
    >>> X, y = standardise(data.X).apply(data.X)[:200], data.y[:200]
    >>> problem = ca.GatedReLUProblem(X, y, n_gates=5, beta=0.01, loss="squared_hinge")
    >>> gated = ca.solve(problem).network
    >>> relu = ca.gated_to_relu(problem, gated).network
    >>> bool(abs(relu.scores(X) - gated.scores(X)).max() < 1e-8)
    True
    """
    _check_problem(problem)
    choice("method", method, ("minimal", "fast"))
    if problem.radius.any():
        raise InputError(
            f"the problem has balls of radius up to {problem.radius.max():g}; a cone decomposition keeps the training "
            "predictions, not the margins over balls: give a problem with radius=0."
        )
    before = problem.evaluate(network)
    twin = relu_problem_of(problem)
    blocks = decomposed(problem, _summed(problem.blocks_of(network)[0]), method)
    result = twin.network_of(blocks).merged(FEASIBLE)
    after = twin.evaluate(result)
    return ConeDecomposition(
        network=result,
        problem=twin,
        blocks=blocks,
        penalty_gated=before.penalty,
        penalty_relu=after.penalty,
        objective_gated=before.objective,
        objective_relu=after.objective,
        violation=after.violation,
        off_training_change=None if X_test is None else _output_change(network, result, X_test),
    )


def _check_problem(problem: Any) -> None:
    if not isinstance(problem, GatedReLUProblem):
        raise wrong_kind(problem, "a GatedReLUProblem")


def _summed(blocks: Blocks) -> Blocks:
    """One block, not zero, for every gate and output."""
    places = np.stack([blocks.gate, blocks.output])
    (gate, output), owner = np.unique(places, axis=1, return_inverse=True)
    vectors = np.zeros((len(gate), blocks.vectors.shape[1]))
    np.add.at(vectors, owner.reshape(-1), blocks.vectors)
    total = Blocks(gate, output, np.ones(len(gate)), vectors)
    return total.take(np.flatnonzero(np.linalg.norm(vectors, axis=1) > 0))


def _output_change(gated: Any, relu: ReLUNetwork, X: Any) -> OutputChange:
    difference = to_numpy(gated.scores(X), np.float64) - to_numpy(relu.scores(X), np.float64)
    labels = 0
    if relu.classes is not None:
        labels = int(np.count_nonzero(to_numpy(gated.predict(X)) != to_numpy(relu.predict(X))))
    largest = float(np.abs(difference).max(initial=0.0))
    square = float(np.mean(np.square(difference))) if difference.size else 0.0
    return OutputChange(len(difference), largest, square**0.5, labels)
