"""The dual side of an iterate: what a certificate is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ...balls import dual_norm_name, gauge
from ...problems.terms import Terms
from .local import LocalProgram

if TYPE_CHECKING:
    from .method import InteriorPoint


class Duals(NamedTuple):
    """Dual side of an iterate, for certificates."""

    multipliers: list[Any]
    """(k, g) of every set of terms, in units of the loss."""
    points: list[Any]
    """(k, g, D) or None: perturbations of the rows."""
    cone: Any
    """(B, n) multipliers of the cones."""
    tilt: Any
    """(B, D) or None."""
    vectors: Any
    """(B, D): side q + A'mu - (sum mu r) tilt."""


def duals_of(method: InteriorPoint) -> Duals:
    """Multipliers, points and cone multipliers of an iterate."""
    images = method.maps.images_of(method.v)
    multipliers, points, forces = [], [], []
    for terms, group, image, y in zip(method.terms, method.groups, method.maps.images, images, strict=True):
        _, pulled = group.pull([cone.z for cone in group.cones])
        force = pulled - group.gradient(y)[1]
        multipliers.append(_multipliers(terms, group, force))
        points.append(_points(method, terms, group, force, multipliers[-1]) if terms.robust else None)
        forces.append(image.force(terms, multipliers[-1], points[-1]))
    vectors = method.maps.pulled(forces)
    pulled, pulled_rho = method.maps.cone_pulled(method.cone.z)
    tilt = None
    if method.robust:
        tilt = _tilt(method, -pulled_rho)
        pulled = pulled + pulled_rho[:, None] * tilt
    return Duals(multipliers, points, method.cone.z, tilt, vectors + method.layout.within(pulled))


def _multipliers(terms: Terms, group: LocalProgram, force: Any) -> Any:
    if group.shape.smooth is not None:
        return (force[:, 0] / group.weight)[None]
    positive = 0 if terms.loss.regression else 1
    z = (group.cones[0].z[:, positive : positive + terms.k] / group.weight[:, None]).T
    return z.clamp(max=terms.loss.upper) if terms.k == 1 else z


def _points(method: InteriorPoint, terms: Terms, group: LocalProgram, force: Any, z: Any) -> Any:
    """delta = sign r f / (p sum z) for the force f on y, drawn into the ball."""
    total = (group.weight * z.sum(0)).clamp_min(1e-300)
    unit = force[:, 1:] / total[:, None]
    length = gauge(unit, dual_norm_name(method.dual_norm))
    unit = unit / length.clamp_min(1.0)[:, None]
    own = unit.new_zeros(terms.g, method.v.shape[1])
    own[:, method.perturbed] = terms.radius[:, None] * unit
    return terms.sign[:, :, None] * own


def _tilt(method: InteriorPoint, weight: Any) -> Any:
    """Points of the unit ball that the norm epigraphs of the blocks lean on."""
    blocks, perturbed = method.blocks, method.perturbed
    linear = bool(blocks.shape.linear[0].shape[0])
    first = 0 if linear else 1
    cones = blocks.cones[:1] if linear else blocks.cones[1:]
    pulled = sum(cone.z @ blocks.of_image[first + i] for i, cone in enumerate(cones))
    tilt = -pulled / weight.clamp_min(1e-300)[:, None]
    length = gauge(tilt[:, perturbed], dual_norm_name(method.dual_norm))
    result = torch.zeros_like(tilt)
    result[:, perturbed] = tilt[:, perturbed] / length.clamp_min(1.0)[:, None]
    return result
