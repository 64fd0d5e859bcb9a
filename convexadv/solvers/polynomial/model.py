r"""One component of a polynomial problem as a solver sees it: neurons, smoothing, and what its terms have in common.

Neurons are free vectors v_j with a sign and an output: alpha_j = sign_j ||v_j||^2, u_j = v_j/||v_j||, so that
alpha_j s(u_j . x) = sign_j (a (v_j.x)^2 + b ||v_j|| v_j.x + c ||v_j||^2) and the penalty is beta ||v_j||^2. Kinks of the
loss are smoothed by a proximal term around the multipliers of the last round (method of multipliers), the worst case by
the barrier of its inequality (:func:`convexadv.quadratics.smooth_ball_minimum`):

    F(V) = sum_g p_g max_z { z . u_g(V) - psi*(sum z) - (mu/2) ||z - centre_g||^2 } + beta sum_j ||v_j||^2

What needs the data is asked for as a request (:mod:`.requests`), and answered for all components in one
sweep (:mod:`.sweeps`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..._arrays import to_tensor
from ...losses import Loss
from ...problems.chunks import PerChunk
from ...problems.forms import QuadraticForms
from ...problems.polynomial import PolynomialProblem


class Neurons(NamedTuple):
    """Neurons of one component: vectors (m, d), signs (m,), output numbers within the component (m,)."""

    vectors: Any
    signs: Any
    outputs: Any

    def chosen(self, keep: Any) -> Neurons:
        """Some of the neurons."""
        return Neurons(self.vectors[keep], self.signs[keep], self.outputs[keep])

    def scaled(self, factor: float) -> Neurons:
        """The network multiplied by a positive factor."""
        return Neurons(self.vectors * factor**0.5, self.signs, self.outputs)


class Point(NamedTuple):
    """A dual point: multipliers, at the worst perturbations of a network."""

    neurons: Neurons
    nu: float
    """Weight of the barrier of the worst case."""
    multipliers: PerChunk


class Smoothing(NamedTuple):
    """What makes the objective smooth, in units of the margin."""

    centres: PerChunk
    """Proximal centres of the multipliers, (k, g) of every set of terms, or None where the loss needs none."""
    mu: float
    """Proximal weight of the multipliers."""
    hard: float
    """Factor on mu for constraints; it falls while they are violated."""
    nu: float
    """Weight of the barrier of the worst case."""

    def weight(self, kind: Kind) -> float:
        """Proximal weight of a set; constraints are weighted as the mean of their number."""
        return self.mu * self.hard * kind.groups if kind.hard else self.mu


class Kind(NamedTuple):
    """What a set of terms is, in all chunks and processes."""

    loss: Loss
    hard: bool
    k: int
    groups: int
    """Groups, of all processes."""
    curved: bool
    """Whether it holds margin curves."""

    @property
    def centred(self) -> bool:
        """Whether its multipliers need a proximal centre."""
        return self.loss.sharp or self.k > 1


class ComponentModel:
    """A component on a torch device; all numbers but the data are float64.

    Parameters
    ----------
    problem : PolynomialProblem
    number : int
        Which component.
    device : torch.device
    """

    def __init__(self, problem: PolynomialProblem, number: int, device: Any):
        import torch

        self.problem, self.number = problem, number
        self.component = problem.components[number]
        self.dtype, self.device, self.torch = torch.float64, device, torch
        self.directions = self.tensor(self.component.directions)
        self.scale = None if problem.scale is None else self.tensor(problem.scale)
        together = problem.together
        self.kinds = [
            Kind(
                terms.loss,
                terms.hard,
                terms.shape[0],
                int(together.sum(terms.shape[1])),
                together.any(bool((terms.curvature > 0).any())),
            )
            for terms in self.component.terms
        ]
        self.robust = together.any(any(terms.robust for terms in self.component.terms))
        self.evaluations = 0

    @property
    def constrained(self) -> bool:
        """Whether some terms are constraints."""
        return any(kind.hard for kind in self.kinds)

    def tensor(self, array: Any) -> Any:
        """A NumPy array on the device, floats in float64."""
        return to_tensor(array, self.device)

    def no_neurons(self) -> Neurons:
        """The zero network."""
        torch, options = self.torch, {"dtype": self.dtype, "device": self.device}
        return Neurons(
            torch.zeros((0, self.problem.rows.d), **options),
            torch.zeros(0, **options),
            torch.zeros(0, dtype=torch.long, device=self.device),
        )

    def forms(self, neurons: Neurons) -> tuple[QuadraticForms, Any]:
        """Quadratic forms of the neurons, and the norms of their vectors."""
        lengths = neurons.vectors.norm(dim=1).clamp_min(1e-150)
        units = neurons.vectors / lengths[:, None]
        weights = (neurons.signs * lengths * lengths)[:, None] * self.directions.T[neurons.outputs]
        problem = self.problem
        return QuadraticForms(units, weights, problem.activation, self.scale, self.robust, problem.norm), lengths
