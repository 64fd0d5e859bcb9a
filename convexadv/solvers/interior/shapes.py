r"""The local programmes of groups of terms and of blocks: epigraphs of losses and of norms, written once.

A norm rho >= ||y||_q has auxiliary variables a and rho = e'a:

    q = 1:    a_j - y_j >= 0,  a_j + y_j >= 0,  e = (1, ..., 1);
    q = inf:  a - y_j >= 0,  a + y_j >= 0,  e = 1;
    q = 2:    (a, y) in the second-order cone,  e = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ...errors import InputError
from ...losses import Loss
from .local import LocalShape, Smooth

_COSTS = {"hinge": (1.0, 0.0), "squared_hinge": (0.0, 2.0), "squared": (0.0, 1.0)}
"""(c, q) of the losses c u + q u^2 / 2 of a shortfall u, or of its positive part."""
_SMOOTH = ("logistic", "squared")
"""Losses whose curvature :class:`.local.Smooth` knows."""


def knows(loss: Loss) -> bool:
    """Whether a loss has a local programme."""
    return loss.name in _COSTS or loss.name in _SMOOTH


def require_known(loss: Loss) -> None:
    """Raise InputError for a loss that has no local programme."""
    if not knows(loss):
        known = ", ".join(map(repr, dict.fromkeys((*_COSTS, *_SMOOTH))))
        raise InputError(
            f"loss={loss.name!r} is unknown to the interior point method, which solves ReLU problems and knows {known}; "
            "choose one of them, or a GatedReLUProblem or PolynomialProblem, whose solver='torch' takes any loss."
        )


@dataclass
class NormRows:
    """Epigraph of a norm of p entries: rows (in a, in y), second-order cone or None, and e."""

    aux: int
    linear: tuple[Any, Any]
    second: tuple[Any, Any] | None
    sum_of: Any


def norm_rows(dual_norm: str, p: int, like: Any) -> NormRows:
    """rho >= ||y||_q for q = ``dual_norm``."""
    eye = torch.eye(p, dtype=like.dtype, device=like.device)
    none = eye.new_zeros(0, 1), eye.new_zeros(0, p)
    if dual_norm == "l1":
        return NormRows(p, (torch.cat([eye, eye]), torch.cat([-eye, eye])), None, eye.new_ones(p))
    one = eye.new_ones(1)
    if dual_norm == "linf":
        return NormRows(1, (eye.new_ones(2 * p, 1), torch.cat([-eye, eye])), None, one)
    first = eye.new_zeros(p + 1, 1)
    first[0] = 1.0
    return NormRows(1, none, (first, torch.cat([eye.new_zeros(1, p), eye])), one)


def group_shape(loss: Loss, signs: Any, offset: Any, norm: NormRows | None, like: Any) -> tuple[LocalShape, Any]:
    """Programme of groups with the image (m, r y) and its constant: m = sign_0 x'E alpha, y = E alpha.

    ``signs`` (k,) are those of the alternatives relative to the first one, ``offset`` (k, g).

    Raises
    ------
    InputError
        If the loss is unknown.
    """
    require_known(loss)
    p = 0 if norm is None else norm.linear[1].shape[1]
    count = offset.shape[1]
    if loss.name == "logistic" or loss.signed:
        aux = 0 if norm is None else norm.aux
        shape = _with_norm(aux, 1 + p, 0, norm, like)
        of_aux, of_image = like.new_zeros(aux), like.new_zeros(1 + p)
        if norm is not None:
            of_aux[:] = norm.sum_of
        of_image[0] = -1.0
        shape.smooth = Smooth(loss, of_aux, of_image, offset[0])
        return shape, like.new_zeros(count, shape.linear[0].shape[0])
    aux = 1 + (0 if norm is None else norm.aux)
    shape = _with_norm(aux, 1 + p, 1, norm, like)
    k = len(signs)
    positive = 0 if loss.regression else 1
    own_aux, own_image = like.new_zeros(positive + k, aux), like.new_zeros(positive + k, 1 + p)
    own_aux[:, 0] = 1.0
    own_image[positive:, 0] = signs
    if norm is not None:
        own_aux[positive:, 1:] = -norm.sum_of
    constant = like.new_zeros(count, positive + k + shape.linear[0].shape[0])
    constant[:, positive : positive + k] = -offset.T
    shape.linear = (torch.cat([own_aux, shape.linear[0]]), torch.cat([own_image, shape.linear[1]]))
    linear, square = like.new_zeros(aux), like.new_zeros(aux)
    linear[0], square[0] = _COSTS[loss.name]
    shape.cost = (linear, square)
    return shape, constant


def block_shape(width: int, perturbed: Any, norm: NormRows | None, like: Any) -> LocalShape:
    """Programme of a block with the image v: t >= ||v||_2 at the cost t, and rho >= ||v||_q over perturbed entries."""
    aux = 1 + (0 if norm is None else norm.aux)
    chosen = torch.eye(width, dtype=like.dtype, device=like.device)[perturbed]
    linear = (like.new_zeros(0, aux), like.new_zeros(0, width))
    length = (like.new_zeros(width + 1, aux), like.new_zeros(width + 1, width))
    length[0][0, 0] = 1.0
    length[1][1:] = torch.eye(width, dtype=like.dtype, device=like.device)
    second = [length]
    if norm is not None:
        linear = (_shifted(norm.linear[0], aux, 1), norm.linear[1] @ chosen)
        if norm.second is not None:
            second.append((_shifted(norm.second[0], aux, 1), norm.second[1] @ chosen))
    cost = like.new_zeros(aux)
    cost[0] = 1.0
    return LocalShape(linear, second, (cost, like.new_zeros(aux)))


def _with_norm(aux: int, image: int, first: int, norm: NormRows | None, like: Any) -> LocalShape:
    """Shape with the rows of a norm on the image entries from 1 on and the auxiliary variables from ``first`` on."""
    linear = (like.new_zeros(0, aux), like.new_zeros(0, image))
    second = []
    if norm is not None:
        linear = (_shifted(norm.linear[0], aux, first), _shifted(norm.linear[1], image, 1))
        if norm.second is not None:
            second.append((_shifted(norm.second[0], aux, first), _shifted(norm.second[1], image, 1)))
    return LocalShape(linear, second, (like.new_zeros(aux), like.new_zeros(aux)))


def _shifted(matrix: Any, width: int, first: int) -> Any:
    result = matrix.new_zeros(matrix.shape[0], width)
    result[:, first : first + matrix.shape[1]] = matrix
    return result
