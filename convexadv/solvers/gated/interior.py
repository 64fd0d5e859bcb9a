r"""Mehrotra's predictor-corrector method for robust gated ReLU problems over a working set of gates (one component).

Beside theta (:mod:`.robust`) a gate has t_o >= ||v_o||_2 and the epigraphs of rho, a group those of its loss and of
||w||_q and, for every unstable gate and alternative, m <= 0 and m <= y, which add up to its margin. Auxiliary variables and
slacks of groups and gates are eliminated in batches (:mod:`.interior.local`); slacks start positive whatever the point.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ...balls import dual_norm_name, gauge
from ...problems.terms import Terms
from ..interior.local import LocalProgram, LocalShape
from ..interior.scalings import Orthant, SecondOrder
from ..interior.shapes import group_shape, norm_rows
from .robust import RobustMaps, RobustSystem

_TO_THE_BOUNDARY = 0.99
_SHORT = 0.2
_LEAST_CENTRING = 0.1
_CENTRED = 0.7
_SAFER = (0.3, 0.7, 1.0)
"""Shares of the complementarity that are aimed at where the corrected step is short."""
_HOLD = 1e-6
"""Price of rho, in units of beta, of gates that are stable on all rows: without one it would grow without end."""
_LEAST_START = 1e-2
"""Of the weights that the first multipliers are taken from, relative to their mean."""


class RobustDuals(NamedTuple):
    """Dual variables of an iterate."""

    multipliers: Any
    """(k, g)."""
    points: Any
    """(k, g, D): sign * perturbation."""
    shares: Any
    """(k, g, W)."""
    tilts: Any
    """(K, W, D)."""


class GatedInterior:
    """State of the method.

    Parameters
    ----------
    maps : RobustMaps
    terms : Terms
        As tensors.
    directions : (K, outputs)
    beta : float
    perturbed : (p,) int
    dual_norm : str
    size : float
        Typical size of the outputs.
    """

    def __init__(
        self, maps: RobustMaps, terms: Terms, directions: Any, beta: float, perturbed: Any, dual_norm: str, size: float
    ):
        self.maps, self.terms, self.directions, self.beta = maps, terms, directions, beta
        self.perturbed, self.dual_norm = perturbed, dual_norm
        self.theta = maps.ray.new_zeros(maps.active.shape[1], maps.width)
        self._full = False
        idle = (maps.unstable.sum(0) == 0).to(maps.ray.dtype)
        self._price = torch.zeros_like(self.theta)
        self._price[:, maps.weights :] = _HOLD * beta * idle[:, None]  # rho that nothing else holds
        self.group = self._groups(size)
        pull = maps.adjoint(self._force()[1])
        strength = max(float(pull[:, : maps.weights].norm(dim=1).max()), beta)
        length = float(maps.base[:, 0].norm(dim=1).mean()) or 1.0
        t = size / (length * max(1.0, len(self.theta)) ** 0.5)
        self.theta[:, maps.weights :] = t
        self.block = self._blocks(t, strength)

    # ---- shapes

    def _groups(self, size: float) -> LocalProgram:
        terms, maps = self.terms, self.maps
        like = maps.ray
        norm = norm_rows(self.dual_norm, len(self.perturbed), like)
        shape, constant = group_shape(terms.loss, terms.sign[:, 0] * terms.sign[0, 0], terms.offset, norm, like)
        count, gates = maps.unstable.shape
        extra = terms.k * gates
        (of_aux, of_image), aux, image = shape.linear, shape.cost[0].numel(), 2 + len(self.perturbed) - 1
        rows = of_aux.shape[0]
        wide_aux, wide_image = (
            like.new_zeros(rows + 2 * extra, aux + extra),
            like.new_zeros(rows + 2 * extra, image + extra),
        )
        wide_aux[:rows, :aux], wide_image[:rows, :image] = of_aux, of_image
        eye = torch.eye(extra, dtype=like.dtype, device=like.device)
        wide_aux[rows:, aux:] = torch.cat([-eye, -eye])
        wide_image[rows + extra :, image:] = eye
        if shape.smooth is None:
            self._first = 0 if terms.loss.regression else 1
            for k in range(terms.k):
                wide_aux[self._first + k, aux + k * gates : aux + (k + 1) * gates] = 1.0
        else:
            shape.smooth.of_aux = torch.cat([shape.smooth.of_aux, -like.new_ones(extra)])
            shape.smooth.of_image = torch.cat([shape.smooth.of_image, like.new_zeros(extra)])
        shape.linear = (wide_aux, wide_image)
        shape.second = [
            (torch.cat([a, a.new_zeros(len(a), extra)], 1), torch.cat([y, y.new_zeros(len(y), extra)], 1))
            for a, y in shape.second
        ]
        linear, square = shape.cost
        shape.cost = torch.cat([linear, linear.new_zeros(extra)]), torch.cat([square, square.new_zeros(extra)])
        self._rows, self._extra = rows, extra
        stable = (1.0 - maps.unstable).repeat(1, terms.k) * size
        constant = torch.cat([constant, like.new_zeros(count, extra), stable], 1)
        weight = terms.weight.clamp_min(1e-12 * float(terms.weight.max()))
        a = like.new_full((count, aux + extra), size)
        a[:, aux:] = -size
        s = like.new_full((count, rows + 2 * extra), size)
        begin = weight.clamp_min(_LEAST_START * float(weight.mean()))
        z = (0.5 * begin[:, None]).expand_as(s).clone()
        z[:, rows:] *= 0.5
        cones: list = [Orthant(s, z)]
        cones += [self._second_order(count, pair[0].shape[0], size, begin) for pair in shape.second]
        return LocalProgram(shape, weight, constant, a, cones)

    def _blocks(self, t: float, strength: float) -> LocalProgram:
        """t_o >= ||v_o||_2 at the cost t_o, and rho_e >= ||E_e v||_q over perturbed entries."""
        like, (K, C) = self.maps.ray, self.directions.shape
        count, width = self.theta.shape
        D = self.maps.weights // C
        norm = norm_rows(self.dual_norm, len(self.perturbed), like)
        own = norm.aux if self.dual_norm == "l1" else 0  # otherwise rho itself is the auxiliary variable of the rows
        aux = C + K * own
        chosen = torch.eye(D, dtype=like.dtype, device=like.device)[self.perturbed]
        second, of_aux, of_image = [], [], []
        for o in range(C):
            length = (like.new_zeros(D + 1, aux), like.new_zeros(D + 1, width))
            length[0][0, o] = 1.0
            length[1][1:, o * D : (o + 1) * D] = torch.eye(D, dtype=like.dtype, device=like.device)
            second.append(length)
        for e in range(K):
            seen = like.new_zeros(len(self.perturbed), width)
            seen[:, : C * D] = torch.cat([entry * chosen for entry in self.directions[e]], 1)
            rho = like.new_zeros(1, width)
            rho[0, C * D + e] = 1.0
            if self.dual_norm == "l2" and norm.second is not None:
                second.append((like.new_zeros(1 + len(seen), aux), torch.cat([rho, seen])))
                continue
            rows_aux = like.new_zeros(norm.linear[0].shape[0], aux)
            rows_image = norm.linear[1] @ seen
            if own:
                rows_aux[:, C + e * own : C + (e + 1) * own] = norm.linear[0]
                total = like.new_zeros(1, aux)
                total[0, C + e * own : C + (e + 1) * own] = -1.0
                rows_aux, rows_image = torch.cat([rows_aux, total]), torch.cat([rows_image, rho])
            else:
                rows_image = rows_image + norm.linear[0] @ rho
            of_aux.append(rows_aux)
            of_image.append(rows_image)
        linear = (like.new_zeros(0, aux), like.new_zeros(0, width))
        if of_aux:
            linear = (torch.cat(of_aux), torch.cat(of_image))
        cost = like.new_zeros(aux)
        cost[:C] = 1.0
        cones: list = []
        if len(linear[0]):
            start = like.new_full((count, len(linear[0])), t)
            cones.append(Orthant(start, 0.0 * start + strength / D))
        weights = like.new_full((count,), strength)
        cones += [self._second_order(count, pair[0].shape[0], t, weights) for pair in second]
        shape = LocalShape(linear, second, (cost, like.new_zeros(aux)))
        a = like.new_full((count, aux), t)
        return LocalProgram(shape, like.new_full((count,), self.beta), like.new_zeros(count, len(linear[0])), a, cones)

    def _second_order(self, count: int, width: int, size: float, strength: Any) -> SecondOrder:
        s, z = self.maps.ray.new_zeros(count, width), self.maps.ray.new_zeros(count, width)
        s[:, 0], z[:, 0] = size, strength
        return SecondOrder(s, z)

    # ---- one iteration

    def _cones(self) -> list[Any]:
        return [*self.block.cones, *self.group.cones]

    def mean_product(self) -> float:
        """Complementarity per inequality."""
        return sum(cone.product() for cone in self._cones()) / self.degree

    @property
    def degree(self) -> int:
        """Number of inequalities, second-order cones counted once."""
        return sum(cone.degree for cone in self._cones())

    def iterate(self) -> float:
        """One predictor-corrector step; returns its length."""
        y = self.maps.images(self.theta)
        self.block.scale()
        self.group.scale()
        blocks = self.block.factor(self.theta)
        self._system = RobustSystem(blocks, self.maps.coupling(self.group.factor(y)))
        mu, residuals = self.mean_product(), (self.block.residuals(self.theta), self.group.residuals(y))
        predicted = self._direction(y, residuals, 0.0, None)
        step = min(1.0, self._longest(predicted))
        after = sum(cone.product_after(step, *move) for cone, move in zip(self._cones(), predicted[1], strict=True))
        centring = max(0.0, min(1.0, after / (self.degree * mu))) ** 3
        centring = centring if self._full else max(centring, _LEAST_CENTRING)
        corrections = [cone.correction(*move) for cone, move in zip(self._cones(), predicted[1], strict=True)]
        best = self._direction(y, residuals, centring * mu, corrections)
        length = min(1.0, _TO_THE_BOUNDARY * self._longest(best))
        for share in _SAFER if length < _SHORT else ():
            centred = self._direction(y, residuals, share * mu, None)
            longest = min(1.0, _CENTRED * self._longest(centred))
            if longest > length:
                best, length = centred, longest
            if length >= _SHORT:
                break
        self._move(best, length)
        return length

    def _direction(self, y: Any, residuals: tuple, mu: float, corrections: list | None) -> tuple:
        """((dtheta, da of blocks, da of groups), (ds, dz) of every cone)."""
        split = len(self.block.cones)
        own, rest = (None, None) if corrections is None else (corrections[:split], corrections[split:])
        aim = self.block.aim(mu, own, residuals[0])
        side = self.block.right_side(self.theta, aim, 0.0, (0.0, -self._price))
        aims = self.group.aim(mu, rest, residuals[1])
        side = side + self.maps.adjoint(self.group.right_side(y, aims, 0.0))
        dtheta = self._system.solve(side)
        da, dy = self.block.solve_aux(dtheta), self.maps.images(dtheta)
        steps = self.group.solve_aux(dy)
        moves = self.block.steps(da, dtheta, aim) + self.group.steps(steps, dy, aims)
        return (dtheta, da, steps), moves

    def _longest(self, direction: tuple) -> float:
        return min(cone.longest_step(*move) for cone, move in zip(self._cones(), direction[1], strict=True))

    def _move(self, direction: tuple, step: float) -> None:
        dtheta, da, steps = direction[0]
        self.theta = self.theta + step * dtheta
        self.block.a = self.block.a + step * da
        self.group.a = self.group.a + step * steps
        for cone, move in zip(self._cones(), direction[1], strict=True):
            cone.move(step, *move)
        self._full = self._full or step == 1.0

    # ---- answers

    def weights(self) -> Any:
        """(outputs, W, D)."""
        C = self.directions.shape[1]
        return self.theta[:, : self.maps.weights].unflatten(1, (C, -1)).transpose(0, 1)

    def _force(self) -> tuple[Any, Any]:
        """Multipliers of the group's own rows, and forces on the images."""
        y = self.maps.images(self.theta)
        _, pulled = self.group.pull([cone.z for cone in self.group.cones])
        return self.group.cones[0].z, pulled - self.group.gradient(y)[1]

    def duals(self) -> RobustDuals:
        """Multipliers, points, shares and tilts, feasible in their balls."""
        terms, maps, p = self.terms, self.maps, len(self.perturbed)
        rows, force = self._force()
        if self.group.shape.smooth is not None:
            z = (force[:, 0] / self.group.weight)[None]
        else:
            z = (rows[:, self._first : self._first + terms.k] / self.group.weight[:, None]).T
        z = z.clamp(max=terms.loss.upper) if terms.k == 1 else z
        total = (self.group.weight * z.sum(0)).clamp_min(1e-300)
        ball, D = dual_norm_name(self.dual_norm), maps.weights // self.directions.shape[1]
        unit = force[:, 1 : 1 + p] / total[:, None]
        points = unit.new_zeros(terms.k, terms.g, D)
        points[:, :, self.perturbed] = terms.radius[:, None] * unit / gauge(unit, ball).clamp_min(1.0)[:, None]
        above, below = rows[:, self._rows :].split(self._extra, 1)
        shares = (below / (above + below).clamp_min(1e-300)).unflatten(1, (terms.k, -1)).transpose(0, 1)
        return RobustDuals(z, points, shares * maps.unstable, self._tilts(ball, D))

    def _tilts(self, ball: str, D: int) -> Any:
        """Points of the unit ball that the epigraphs of rho lean on."""
        K, C = self.directions.shape
        tilts = self.theta.new_zeros(K, len(self.theta), D)
        first = 1 if len(self.block.shape.linear[0]) else 0
        for e in range(K):
            if self.dual_norm == "l2":
                z = self.block.cones[first + C + e].z
                weight, pulled = z[:, 0], -z[:, 1:]
            else:
                count = len(self.block.shape.linear[0]) // K
                z = self.block.cones[0].z[:, e * count : (e + 1) * count]
                p = len(self.perturbed)
                pulled = z[:, :p] - z[:, p : 2 * p]
                weight = z[:, 2 * p] if count > 2 * p else z.sum(1)
            unit = pulled / weight.clamp_min(1e-300)[:, None]
            tilts[e][:, self.perturbed] = unit / gauge(unit, ball).clamp_min(1.0)[:, None]
        return tilts
