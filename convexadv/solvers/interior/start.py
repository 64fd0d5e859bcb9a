"""Where the method starts: epigraphs of losses and norms at the zero network, slacks and multipliers of usual size."""

from __future__ import annotations

from typing import Any

from ...problems.terms import Terms
from .images import Images
from .local import LocalProgram
from .scalings import Orthant, SecondOrder
from .shapes import block_shape, group_shape, norm_rows

_LEAST_SLACK = 0.1
"""Of the linear cones of groups, in units of the outputs."""


def group_program(terms: Terms, image: Images, dual_norm: str, size: float) -> LocalProgram:
    """Epigraphs of the losses of a set of terms; ``size`` is typical of the outputs."""
    like = image.X
    norm = norm_rows(dual_norm, image.width - 1, like) if terms.robust else None
    shape, constant = group_shape(terms.loss, terms.sign[:, 0] * terms.sign[0, 0], terms.offset, norm, like)
    weight = terms.weight.clamp_min(1e-12 * float(terms.weight.max()))
    a = like.new_full((terms.g, shape.cost[0].numel()), size)
    if norm is not None:
        a[:, len(a[0]) - norm.aux :] /= norm.aux
    cones: list = []
    if shape.linear[0].shape[0]:
        linear = a @ shape.linear[0].T + constant
        start = linear.clamp_min(_LEAST_SLACK * size)
        cones.append(Orthant(start, (0.5 * weight[:, None]).expand_as(start).clone()))
    cones += [_second_order(of_aux.shape[0], size, weight) for of_aux, _ in shape.second]
    return LocalProgram(shape, weight, constant, a, cones)


def block_program(
    v: Any, beta: float, perturbed: Any, dual_norm: str | None, length: float, strength: float
) -> tuple[LocalProgram, Any]:
    """Epigraphs beta ||v||_2 of blocks v (B, D), and of ||E v||_q where ``dual_norm`` is given; and e of rho = e'a.

    They start at this length, their multipliers at this strength.
    """
    count, d = v.shape
    norm = None if dual_norm is None else norm_rows(dual_norm, len(perturbed), v)
    shape = block_shape(d, perturbed, norm, v)
    a = v.new_full((count, shape.cost[0].numel()), length)
    rho = v.new_zeros(shape.cost[0].numel())
    if norm is not None:
        a[:, 1:] /= norm.aux
        rho[1:] = norm.sum_of
    cones: list = []
    if shape.linear[0].shape[0]:
        start = v.new_full((count, shape.linear[0].shape[0]), length)
        cones.append(Orthant(start, 0.0 * start + strength / d))
    strengths = v.new_full((count,), strength)
    cones += [_second_order(of_aux.shape[0], length, strengths) for of_aux, _ in shape.second]
    constant = v.new_zeros(count, shape.linear[0].shape[0])
    return LocalProgram(shape, v.new_full((count,), beta), constant, a, cones), rho


def _second_order(width: int, size: float, strength: Any) -> SecondOrder:
    s, z = strength.new_zeros(len(strength), width), strength.new_zeros(len(strength), width)
    s[:, 0], z[:, 0] = size, strength
    return SecondOrder(s, z)
