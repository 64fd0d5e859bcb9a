"""Components with robust terms: gradient steps find the gates in use, an interior-point method over these finishes."""

from __future__ import annotations

import math
from typing import Any

import torch

from ...problems import bound
from ...problems.bound import Atoms
from .component import GradientComponent
from .interior import GatedInterior
from .model import Duals
from .pricing import lowered
from .robust import RobustMaps

_ROUNDS = 5
"""Of gradient steps between two looks at their progress."""
_PROGRESS = 0.1
"""The interior-point method begins unless they brought the gap down to this share of what it was."""
_FEWEST = 4
"""Gates that may enter the working set at once, or half of its size."""
_MOST_VARIABLES = 3000
_MOST_WORK = 3e9
"""Products of the coupling, groups * (gates * variables of a gate)^2: beyond, gradient steps go on."""
_AT_ONCE = 3e7
"""The same products up to which the interior-point method begins at once, with all gates: gradient steps take longer."""
_SHORT, _PATIENCE = 0.2, 6
"""Steps this short, so many in a row, send it back to gradient steps, after which it begins anew over fewer gates."""
_PRICING = 1e-2
"""Relative gap over the working set from which the other gates are priced, and the share of it until the next time."""
_AGAIN = 0.3
_SHORTEST = 1e-3
_SOLVED = 1e-11


class RobustComponent(GradientComponent):
    """A component with balls."""

    _interior: GatedInterior | None = None
    _ended = False
    _before = 1.0
    _short, _whole_set = 0, False

    def advance(self) -> None:
        """Some gradient steps, or one iteration over the working set."""
        if not self.rounds and self._work(self.V.shape[1]) <= _AT_ONCE:
            self._begin(torch.arange(self.V.shape[1], device=self.V.device))
            self._whole_set = True
        if self._interior is None and not self._ended and self.rounds % _ROUNDS == 0 and self.rounds:
            slow, self._before = self.gap > _PROGRESS * self._before, self.gap
            if slow:
                self._begin(torch.nonzero(self.near)[:, 0])
        if self._interior is None:
            super().advance()
        else:
            self.rounds += 1
            self._iterate(self._interior)

    def _begin(self, gates: Any) -> None:
        """A fresh interior-point method over some gates, if it is affordable."""
        model, problem = self.model, self.problem
        terms, (rows,) = model.terms[0], model.rows
        self._ended = not 0 < self._variables(len(gates)) <= _MOST_VARIABLES or self._work(len(gates)) > _MOST_WORK
        self._interior = None
        if self._ended:
            return
        active, unstable = model.active[:, gates], model.unstable[:, gates]
        maps = RobustMaps(model.X, terms, rows, model.directions, active, unstable, model.perturbed)
        size = 1.0
        if problem.loss.regression:
            size = float(terms.offset.pow(2).mean()) ** 0.5 or 1.0
        parts = (model.directions, problem.beta, model.perturbed, problem.dual_norm, size)
        self._interior, self.gates = GatedInterior(maps, terms, *parts), gates
        self._priced = _PRICING

    def _variables(self, gates: int) -> int:
        (K, C), D = self.model.directions.shape, self.model.X.shape[1]
        return gates * (C * D + K)

    def _work(self, gates: int) -> float:
        """Products of the coupling over that many gates."""
        return float(self.model.terms[0].g) * self._variables(gates) ** 2

    def _iterate(self, interior: GatedInterior) -> None:
        step = interior.iterate()
        self._short = self._short + 1 if step < _SHORT and self._whole_set else 0
        if not math.isfinite(interior.mean_product()):
            return self._end()
        weights = interior.weights()
        value = self.model.exact_loss_of(weights, self.gates) + self.problem.beta * float(weights.norm(dim=2).sum())
        self.V = torch.zeros_like(self.V)
        self.V[:, self.gates] = weights
        duals = self._whole(interior)
        inside = self._prove(value, duals)
        if inside <= self._priced and inside < self.gap:
            self._priced = _AGAIN * inside
            self._price(value, duals)
        elif step < _SHORTEST or inside < _SOLVED:
            self._end()
        elif self._short == _PATIENCE:
            self._end()
            self._ended = self._whole_set = False

    def _end(self) -> None:
        """Go back to gradient steps."""
        self._interior, self._ended, self.V, self._short = None, True, self.best, 0

    def _whole(self, interior: GatedInterior) -> Duals:
        """Dual variables of all gates; outside the working set shares and tilts are the last known."""
        own, known = interior.duals(), self.model.centres[0]
        shares, tilts = known["share"].clone(), self.V.new_zeros(len(self.model.directions), *self.V.shape[1:])
        tilts[..., self.model.perturbed] = known["tilt"]
        shares *= self.model.unstable[self.model.rows[0]]
        shares[:, :, self.gates], tilts[:, self.gates] = own.shares, own.tilts
        return Duals([own.multipliers], [own.points], [shares], [tilts])

    def _prove(self, value: float, duals: Duals) -> float:
        """Remember what is proved; returns the relative gap over the working set alone."""
        prices = self.model.pulled(duals).norm(dim=2)
        self._keep(value, self.V, duals, float(prices.max()))
        atoms = [Atoms(self.exact_terms[0], duals.multipliers[0].cpu().numpy()[None], None, None)]
        inside, _ = bound.scaled_value(atoms, float(prices[:, self.gates].max()), self.problem.beta)
        return (self.upper - inside) / self.scale

    def _price(self, value: float, duals: Duals) -> None:
        """Lower the prices of the other gates; those that stay too dear enter."""
        outside = torch.ones(self.V.shape[1], dtype=torch.bool, device=self.V.device)
        outside[self.gates] = False
        others = torch.nonzero(outside)[:, 0]
        better, prices = lowered(self.model, duals, others, self.problem.beta)
        self.model.move_centres(better)
        self._prove(value, better)
        most = max(_FEWEST, len(self.gates) // 2)
        entering = others[prices.argsort(descending=True)[:most]][: int((prices > self.problem.beta).sum())]
        if len(entering):
            self._begin(torch.sort(torch.cat([self.gates, entering]))[0])
            if self._ended:
                self.V = self.best
