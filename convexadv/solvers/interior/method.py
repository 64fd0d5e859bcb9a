r"""Mehrotra's predictor-corrector method over the blocks of a ReLU programme (one component).

Slacks start positive whatever the point (infeasible start); once a full step has been taken they are the true ones, and
all later iterates lie inside the cones. Without balls, directions aim at no residual at all. With balls the cones are thin,
and such steps are short: they leave the share of the residuals that they leave of the complementarity, unless clearing
them allows long steps. Where a corrected step is short, more centred ones without corrections take its place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ...balls import gauge
from ...problems.terms import Terms
from .images import Images
from .maps import Maps
from .newton import Layout, System
from .scalings import Orthant
from .start import block_program, group_program

_TO_THE_BOUNDARY = 0.99
_SLACK = 5.0
_WORTH_COARSE = 5_000_000
"""Entries of the matrix over the groups and weights from which float32 is tried for it."""
_COARSE_RESIDUAL = 1e-8
_LARGE_RESIDUAL, _MOST_WHOLE = 1e-6, 5000
"""Residual from which Woodbury's formula gives way to the whole matrix, up to this order."""
_LONG = 0.4
"""Steps this long may clear all residuals; shorter ones keep them in proportion to the complementarity."""
_SLOW = 0.1
"""After a step that left more than this of the residuals, the next one aims at none: no endless centring."""
_SHORT = 0.2
_RAISE = 3.0
"""Most that a step may raise the complementarity while it waits for feasibility."""
_SAFER = (0.3, 0.7, 0.9, 1.0)
"""Shares of the complementarity that are aimed at where the corrected step is short."""
_LEAST_CENTRING = 0.1
"""Until a full step has made the slacks true ones: centred steps are longer."""
_CENTRED = 0.7


class Step(NamedTuple):
    """A direction and the share of the residuals that a full step along it leaves."""

    direction: tuple
    kept: float


class InteriorPoint:
    """State of the method.

    Parameters
    ----------
    layout : Layout
    terms : list of Terms
        As tensors.
    images : list of Images
        Of the same.
    beta : float
    radius : (n,)
        Of the cones.
    perturbed : (D,) bool
    dual_norm : str
    size : float
        Typical size of the outputs.
    """

    def __init__(
        self,
        layout: Layout,
        terms: list[Terms],
        images: list[Images],
        beta: float,
        radius: Any,
        perturbed: Any,
        dual_norm: str,
        size: float,
    ):
        self.X, self.terms, self.beta, self.dual_norm = layout.X, terms, beta, dual_norm
        self.maps = Maps(layout, images, radius)
        self.perturbed, self.robust = torch.nonzero(perturbed)[:, 0], self.maps.robust
        self.feasible, self._fine, self._slow, self._centred = False, False, False, False
        self._start(size)

    @property
    def layout(self) -> Layout:
        """Which blocks there are."""
        return self.maps.layout

    @property
    def smooth(self) -> bool:
        """Whether the multipliers of a loss are its derivatives."""
        return any(group.shape.smooth is not None for group in self.groups)

    def _start(self, size: float) -> None:
        X, maps = self.X, self.maps
        count, (n, d) = len(self.layout.gate), X.shape
        length = float((X * X).sum(1).mean().sqrt()) or 1.0
        self.v = X.new_zeros(count, d)
        self.groups = [
            group_program(each, image, self.dual_norm, size)
            for each, image in zip(self.terms, maps.images, strict=True)
        ]
        pull = maps.pulled(self._forces())
        strength = max(float(pull.norm(dim=1).max()), self.beta)
        reach = size / (length * max(1.0, len(self.layout.keys)) ** 0.5)
        norm = self.dual_norm if self.robust else None
        self.blocks, self._rho = block_program(self.v, self.beta, self.perturbed, norm, reach, strength)
        slack = _SLACK * length * float(self.blocks.a[0, 0])
        self._vacant = slack
        self.cone = Orthant(X.new_full((count, n), slack), X.new_full((count, n), strength / (n * length)))

    def _forces(self) -> list[Any]:
        """Of the groups on their images: multipliers minus the gradient of the smooth part."""
        forces = []
        for group, y in zip(self.groups, self.maps.images_of(self.v), strict=True):
            _, pulled = group.pull([cone.z for cone in group.cones])
            forces.append(pulled - group.gradient(y)[1])
        return forces

    @property
    def degree(self) -> int:
        """Number of inequalities, second-order cones counted once."""
        return sum(cone.degree for cone in self._all_cones())

    def _all_cones(self) -> list[Any]:
        return [self.cone, *self.blocks.cones, *(cone for group in self.groups for cone in group.cones)]

    def mean_product(self) -> float:
        """Complementarity per inequality."""
        return sum(cone.product() for cone in self._all_cones()) / self.degree

    def iterate(self, least: float) -> float:
        """One predictor-corrector step; returns its length. Complementarity below ``least`` waits for feasibility."""
        images = self.maps.images_of(self.v)
        self._factor(images)
        degree, mu = self.degree, self.mean_product()
        residuals = self._residuals(images)
        predicted = self._direction(images, residuals, 0.0, None)
        step = min(1.0, self._longest(predicted))
        after = sum(cone.product_after(step, *move) for cone, move in zip(self._all_cones(), predicted[1], strict=True))
        centring = max(0.0, min(1.0, after / (degree * mu))) ** 3
        if not self.feasible:
            centring = max(centring, _LEAST_CENTRING, min(_RAISE, least / mu))
        clear = not self.robust or self.feasible or mu <= 2.0 * least or self._slow
        shares = (0.0,) if clear else (0.0, centring)
        corrections = self._corrections(predicted)
        for kept in shares:
            best = Step(self._direction(images, residuals, centring * mu, corrections, kept), kept)
            length = min(1.0, _TO_THE_BOUNDARY * self._longest(best.direction))
            if length > _LONG:
                break
        if length < _SHORT:
            gain = length * (1.0 - centring)
            best, length = self._safer(images, residuals, mu, (best, length), gain, shares[-1] > 0, least / mu)
        else:
            self._centred = False
        self._move(best, length)
        self._slow = not clear and length * (1.0 - best.kept) < _SLOW
        return length

    def _safer(
        self,
        images: list[Any],
        residuals: tuple,
        mu: float,
        best: tuple[Step, float],
        gain: float,
        keep: bool,
        floor: float,
    ) -> tuple[Step, float]:
        """A step without corrections that is not short, the less centred the better; else what gains most.

        Pure centring is the last resort, and never taken twice in a row.
        """
        for centring in (each for each in _SAFER if each >= min(1.0, floor)):
            if centring == 1.0 and self._centred:
                break
            kept = centring if keep else 0.0
            step = Step(self._direction(images, residuals, centring * mu, None, kept), kept)
            longest = min(1.0, _CENTRED * self._longest(step.direction))
            if longest * (1.0 - centring) > gain:
                best, gain = (step, longest), longest * (1.0 - centring)
            if longest >= _SHORT:
                self._centred = centring == 1.0
                return step, longest
        self._centred = False
        return best

    def _factor(self, images: list[Any]) -> None:
        self.cone.scale()
        self.blocks.scale()
        for group in self.groups:
            group.scale()
        d = self.X.shape[1]
        weight = self.cone.weight
        if self.layout.vanishing is not None:
            weight = weight.masked_fill(self.layout.vanishing, 0.0)
        outer = self.maps.weighted_grams(weight)
        width = self.blocks.a.shape[1]
        if self.robust:
            signed = weight * self.layout.signs
            cross = -(signed * self.maps.radius) @ self.X
            square = weight @ (self.maps.radius**2)
            extra = (
                square[:, None, None] * torch.outer(self._rho, self._rho),
                self._rho[:, None] * cross[:, None, :],
                outer,
            )
        else:
            extra = (outer.new_zeros(1, width, width), outer.new_zeros(1, width, d), outer)
        matrix = self.layout.restricted(self.blocks.factor(self.v, extra))
        curvature = [group.factor(y) for group, y in zip(self.groups, images, strict=True)]
        self._matrices = (matrix, curvature)
        large = len(self.X) * len(self.layout.keys) * d >= _WORTH_COARSE
        self.system = System(self.layout, matrix, self.maps.images, curvature, coarse=large and not self._fine)

    def _residuals(self, images: list[Any]) -> tuple:
        values = self.maps.cone_values(self.v, self.blocks.a @ self._rho)
        if self.layout.vanishing is not None:
            values = values.masked_fill(self.layout.vanishing, self._vacant)  # an inequality that always holds
        return (
            values - self.cone.s,
            self.blocks.residuals(self.v),
            [group.residuals(y) for group, y in zip(self.groups, images, strict=True)],
        )

    def _direction(
        self, images: list[Any], residuals: tuple, mu: float, corrections: list | None, kept: float = 0.0
    ) -> tuple:
        """((dv, da of blocks, da of groups), (ds, dz) of every cone).

        A full step leaves the share ``kept`` of the residuals, primal and dual: what is not yet feasible should not shrink
        faster than the complementarity.
        """
        of_cone, of_blocks, of_groups = ((1.0 - kept) * residuals[0], _scaled(residuals[1], kept), residuals[2])
        rest = None if corrections is None else list(corrections)

        def taken(count: int) -> list | None:
            if rest is None:
                return None
            part, rest[:] = rest[:count], rest[count:]
            return part

        own = taken(1)
        aim = self.cone.target(mu, None if own is None else own[0])
        pulled, pulled_rho = self.maps.cone_pulled(aim - self.cone.times(of_cone) - kept * self.cone.z)
        target = self.blocks.aim(mu, taken(len(self.blocks.cones)), of_blocks)
        side = self.blocks.right_side(self.v, target, kept, (pulled_rho[:, None] * self._rho, pulled))
        aims, sides = [], []
        for group, y, residual in zip(self.groups, images, of_groups, strict=True):
            aims.append(group.aim(mu, taken(len(group.cones)), _scaled(residual, kept)))
            sides.append(group.right_side(y, aims[-1], kept))
        side = self.layout.within(side) + self.maps.pulled(sides)
        dv = self.system.solve(side)
        if self.system.coarse and not self.system.residual <= _COARSE_RESIDUAL:
            self._fine = True  # float32 no longer suffices
            dv = self._refactored(False).solve(side)
        if self.system.by_groups and not self.system.residual <= _LARGE_RESIDUAL and dv.numel() <= _MOST_WHOLE:
            dv = self._refactored(True).solve(side)
        da = self.blocks.solve_aux(dv)
        moves = self.maps.images_of(dv)
        group_steps = [group.solve_aux(dy) for group, dy in zip(self.groups, moves, strict=True)]
        ds = self.maps.cone_values(dv, da @ self._rho) + of_cone
        steps = [(ds, aim - self.cone.z - self.cone.times(ds)), *self.blocks.steps(da, dv, target)]
        for group, dy, step, each in zip(self.groups, moves, group_steps, aims, strict=True):
            steps += group.steps(step, dy, each)
        return (dv, da, group_steps), steps

    def _refactored(self, whole: bool) -> System:
        """The system of this iterate in float64, by Woodbury's formula where that is shorter or as it stands."""
        matrix, curvature = self._matrices
        self.system = System(self.layout, matrix, self.maps.images, curvature, whole=whole)
        return self.system

    def _corrections(self, direction: tuple) -> list[Any]:
        return [cone.correction(*move) for cone, move in zip(self._all_cones(), direction[1], strict=True)]

    def _longest(self, direction: tuple) -> float:
        return min(cone.longest_step(*move) for cone, move in zip(self._all_cones(), direction[1], strict=True))

    def _move(self, chosen: Step, step: float) -> None:
        (dv, da, group_steps), moves = chosen.direction
        self.v = self.layout.within(self.v + step * dv)
        self.blocks.a = self.blocks.a + step * da
        for group, own in zip(self.groups, group_steps, strict=True):
            group.a = group.a + step * own
        for cone, move in zip(self._all_cones(), moves, strict=True):
            cone.move(step, *move)
        self.feasible = self.feasible or (step == 1.0 and chosen.kept == 0.0)

    def smallest_slack(self, v: Any) -> Any:
        """min over the rows of A v - r ||v||_q for vectors of the blocks, (B,)."""
        norms = gauge(v[:, self.perturbed], self.dual_norm) if self.robust else v.new_zeros(len(v))
        values = self.maps.cone_values(v, norms)
        if self.layout.vanishing is not None:
            values = values.masked_fill(self.layout.vanishing, float("inf"))
        return values.amin(1)

    def take(self, kept: Any) -> None:
        """Go on with some of the blocks."""
        self.maps.layout = self.layout.take(kept)
        self.v, self.blocks, self.cone = self.v[kept], self.blocks.take(kept), self.cone.take(kept)


def _scaled(residuals: list[Any], kept: float) -> list[Any]:
    return [(1.0 - kept) * residual for residual in residuals]
