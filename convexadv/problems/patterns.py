r"""Training problems over fixed activation patterns: what the ReLU and the gated ReLU programme share.

With gates g_k and D_ik = 1[x_i'g_k >= 0] (docs/mathematics.md; [PE20], [MSP22], [BGS22]), blocks b = (side, gate,
output) of weights v_b in R^D give

    alpha_i = sum over blocks of the output   side_b D_i,gate(b) v_b,        f(x_i) = x_i'alpha_i,

and the objective  sum of losses + beta sum_b ||v_b||_2.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import numpy as np

from .._checks import flag
from ..balls import check_norm, dual_norm_name
from ..errors import InputError
from ..losses import Loss
from .base import Evaluation, Problem
from .blocks import Blocks, group_margins
from .certificate import OptimalityCertificate
from .checking import check_sizes, check_unscaled
from .gates import GateSample, activation_patterns, check_gates, sample_gates
from .pattern_bound import component_bound
from .pattern_checking import checked_component
from .pattern_threshold import pattern_zero_bracket
from .threshold import Bracket

AnyProblem = TypeVar("AnyProblem", bound="PatternProblem")


class PatternProblem(Problem):
    """Common part of :class:`ReLUProblem` and :class:`GatedReLUProblem`. Not to be used by itself.

    Attributes
    ----------
    gates : (D, P)
        One gate a column; it indexes the variables. D = d, or d + 1 with an intercept.
    patterns : (n, P) bool
        D_ik.
    gate_sample : GateSample or None
        How the gates were sampled and what was dropped; None for a caller's gates.
    sides : tuple
        Signs with which the variables of a gate enter: (1, -1) for v and w of the ReLU programme, (1,) for gated.
    perturbed : (D,) bool
        Features that the ball perturbs: all but the intercept.
    """

    sides: tuple[int, ...] = (1,)
    cones = False

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        gates: Any = None,
        n_gates: int = 100,
        gate_kind: str = "gaussian",
        random_state: Any = 0,
        radius: Any = 0.0,
        beta: float = 0.01,
        loss: str | Loss = "hinge",
        norm: str = "l2",
        multiclass: str = "ovr",
        fit_intercept: bool = False,
        sample_weight: Any = None,
    ):
        self._set_data(X, y, radius=radius, beta=beta, loss=loss, multiclass=multiclass, sample_weight=sample_weight)
        check_norm(norm)
        self.norm, self.dual_norm = norm, dual_norm_name(norm)
        self.n_features = self.rows.d
        self.fit_intercept = flag("fit_intercept", fit_intercept)
        if self.fit_intercept:
            self.rows = self.rows.with_constant()
        self.perturbed = np.arange(self.rows.d) < self.n_features
        self.gate_sample: GateSample | None = None
        if gates is None:
            self.gate_sample = sample_gates(
                self.rows, n_gates, kind=gate_kind, random_state=random_state, constant=self.fit_intercept
            )
            self.gates, self.patterns = self.gate_sample.gates, self.gate_sample.patterns
        else:
            self.gates = self._callers(gates)
            self.patterns = activation_patterns(self.rows, self.gates)
        self._assemble()
        self._prepare()

    def with_gates(self, gates: Any) -> PatternProblem:
        """The same problem over other gates, neither dropped nor re-ordered; the data are shared.

        Parameters
        ----------
        gates : array (D, P)

        Returns
        -------
        PatternProblem
            Of the same kind.
        """
        other = copy.copy(self)
        other.gates = self._callers(gates)
        other.patterns = activation_patterns(self.rows, other.gates)
        other.gate_sample = None
        other._prepare()
        return other

    def _callers(self, gates: Any) -> np.ndarray:
        """A caller's gates, neither dropped nor re-ordered; without offsets they pass through the origin."""
        return check_gates(gates, self.rows.d, self.fit_intercept)

    def _prepare(self) -> None:
        """Fields that a subclass derives from gates and radius."""

    def recast(self, kind: type[AnyProblem]) -> AnyProblem:
        """Another kind of programme over the same data, gates, ball, loss and penalty; arrays are shared, not copied.

        Parameters
        ----------
        kind : type
            ``ReLUProblem`` or ``GatedReLUProblem``.

        Returns
        -------
        PatternProblem
            Of that kind.
        """
        twin = kind.__new__(kind)
        vars(twin).update(vars(self))
        twin._prepare()
        return twin

    @property
    def n_gates(self) -> int:
        """P."""
        return self.gates.shape[1]

    @property
    def active(self) -> np.ndarray:
        """(n, P) bool: gates that enter alpha_i of a row."""
        return self.patterns

    @property
    def unstable(self) -> np.ndarray | None:
        """(n, P) bool: gates that change inside the ball of a row (robust gated networks), or None."""
        return None

    def _size(self) -> str:
        return f"gates={self.n_gates}, "

    def blocks_of(self, network: Any) -> tuple[Blocks, float]:
        """Blocks of a network that the programme can represent, and the relative violation of the cones."""
        raise NotImplementedError

    def network_of(self, blocks: Blocks) -> Any:
        """The network of blocks of weights; its objective is that of the blocks."""
        raise NotImplementedError

    def violation(self, blocks: Blocks) -> float:
        """Largest relative violation of the cones; 0 where there are none."""
        del blocks
        return 0.0

    def evaluate(self, network: Any) -> Evaluation:
        """Objective, its parts and the relative violation of the cones at a network, in float64.

        Parameters
        ----------
        network : ReLUNetwork or GatedReLUNetwork

        Returns
        -------
        Evaluation
            objective, loss, penalty, violation.

        Raises
        ------
        InputError
            If the network is not representable over these patterns: it has another activation or size, an input
            scaling of its own, or a neuron whose activation pattern on the rows is none of the problem's.
        """
        blocks, violation = self.blocks_of(network)
        return self.evaluate_blocks(blocks)._replace(violation=violation)

    def evaluate_blocks(self, blocks: Blocks) -> Evaluation:
        """The same of blocks of weights, the variables of the programme."""
        loss = sum(self._component_loss(number, blocks) for number in range(len(self.components)))
        penalty = blocks.penalty()
        return Evaluation(loss + self.beta * penalty, loss, penalty, self.violation(blocks))

    def zero_solution_beta(self, tol: float = 1e-2, max_iter: int = 300) -> Bracket:
        """Certified bracket of the smallest beta for which the zero network is optimal over these patterns.

        Exact at radius 0; see :func:`convexadv.problems.pattern_threshold.pattern_zero_bracket`. The problem's own beta
        plays no role.

        Parameters
        ----------
        tol : float
            Relative width of the bracket to stop at.
        max_iter : int
            Most iterations at a positive radius.

        Returns
        -------
        Bracket
            lower, upper, exact.
        """
        return pattern_zero_bracket(self, tol, max_iter)

    def component_objective(self, number: int, blocks: Blocks) -> float:
        """Part of one component in the objective; only the blocks of its outputs count."""
        own = blocks.of_outputs(self.components[number].outputs)
        return self._component_loss(number, blocks) + self.beta * own.penalty()

    def _component_loss(self, number: int, blocks: Blocks) -> float:
        component, loss = self.components[number], 0.0
        own = blocks.of_outputs(component.outputs)
        for terms in self.arrays(number):
            shortfall = terms.offset - group_margins(self, component, own, terms)
            loss += float((terms.weight * terms.loss.group_value(shortfall)).sum())
        return loss

    def _bound(self, certificate: OptimalityCertificate) -> float:
        total = 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # numbers that overflow are refused, or prove nothing
            for number, component in enumerate(self.components):
                checked = checked_component(self, number, certificate)
                if checked is not None:
                    total += component_bound(self, component, checked)
        return total

    def _no_scaling(self, network: Any) -> None:
        check_unscaled(network)
        check_sizes((network.n_features, network.n_outputs), (self.n_features, self.n_outputs))

    def _with_intercept(self, vectors: np.ndarray, offsets: np.ndarray, what: str) -> np.ndarray:
        """Vectors with their offsets as last entries, as the rows need them."""
        if self.fit_intercept:
            return np.concatenate([vectors, offsets[:, None]], 1)
        if (offsets != 0).any():
            raise InputError(
                f"the network has {what} with offsets; a problem with fit_intercept=True is needed for it."
            )
        return vectors
