"""One component of a ReLU programme: the method over a working set of blocks, its best point and its best proof."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ...problems.blocks import Blocks
from ...problems.certificate import AtomSet, ConeMultipliers
from ...problems.pattern_cones import into_cones
from . import outside
from .duals import duals_of
from .faces import Faces
from .living import Living
from .method import InteriorPoint
from .parts import Parts
from .proof import Proof
from .reserve import Reserve

_LEAVE_SIZE = 2e-2
"""Blocks leave the working set if they are smaller than this share of the largest block,"""
_LEAVE_SHRUNK = 0.7
"""and than this multiple of the relative gap (blocks that vanish shrink with it),"""
_LEAVE_GAP = 0.1
"""the relative gap of the working set is below this,"""
_LEAVE_SHARE = 0.1
"""they are at least this share of the working set,"""
_WORTH_LEAVING = 2e9
"""and an iteration takes more operations than this: a change of the set costs a little."""
_CUTS = (1e-2, 3e-2)
"""Sizes, relative to the largest block, below which blocks are left out on trial: what they add costs more than it gains."""
_TINY_STEP = 1e-8
_WAIT = 0.01
"""Share of the tolerance at which the complementarity waits until the point is inside its cones."""
_WHOLE_WORK = 3e11
"""Operations of an iteration up to which the working set starts with all blocks."""
_FOLLOWING = 0.8
"""Share of the gap that a solved working set may keep in an iteration that still counts as progress."""
_PATIENCE = 10
"""Iterations without such progress that the gradients of a smooth loss are waited for."""
_NUDGES = 5
_FEWEST = 4
_MOST_GROWTH = 4
_EARLY = (3e-2, 2e-3, 0.0)
"""Relative gaps of the working set (or half of the tolerance) at which blocks outside are priced before it is solved."""


class Component:
    """State of one component.

    Parameters
    ----------
    problem : ReLUProblem
    number : int
        Which component.
    X : tensor (n, D)
    living : Living
        Gates whose cones have an interior, and points of it.
    start : (m,) int, optional
        Blocks that the working set starts from; all of them if not given.
    """

    def __init__(self, problem: Any, number: int, X: Any, living: Living, start: np.ndarray | None = None):
        self.problem, self.alive = problem, living.alive
        self.parts = Parts(problem, number, X, Faces(X, living.hulls, problem.n_gates))
        self.reserve = Reserve(self.parts, living.dead)
        self.inside = torch.as_tensor(living.inside, device=X.device)
        self.upper, self.lower, self.best = self.parts.zero, 0.0, Blocks.joined([], X.shape[1])
        self.iterations, self.stalled = 0, False
        every, usable = np.arange(len(self.parts.gate)), np.flatnonzero(self.alive[self.parts.gate])
        self.pinned = np.zeros(len(every), bool)
        self._start_without(every)
        self.within = self._first(usable) if start is None else np.intersect1d(usable, start)
        self._start_without(np.setdiff1d(every, self.within))
        self.method: InteriorPoint | None = None
        if len(self.within):
            self._begin()

    def _start_without(self, blocks: np.ndarray) -> None:
        """Blocks outside, none of which has a multiplier yet, and the proof that the zero network gives."""
        self.without = outside.none(blocks, self.parts.X.shape[1], self.problem.robust)
        X = self.parts.X
        none = np.zeros(0, np.int64)
        self.proof = Proof(*self.parts.at_zero(), none, X.new_zeros(0, len(X)), X[:0], 0.0, self.without)

    def _first(self, usable: np.ndarray) -> np.ndarray:
        """All blocks where that is cheap, else those of the largest price at the zero network."""
        if self._work(len(usable)) <= _WHOLE_WORK:
            return usable
        count = len(usable)
        while count > _FEWEST and self._work(count) > _WHOLE_WORK:
            count = max(_FEWEST, int(0.8 * count))
        _, prices = self.reserve.first_order(usable, self.proof.targets(self.parts, usable), self.without, 20)
        return np.sort(usable[np.argsort(-prices, kind="stable")[:count]])

    def _work(self, count: int) -> float:
        """Operations of an iteration with that many blocks, about."""
        n, d = self.parts.X.shape
        slots = 0.5 * count * d
        return count * n * d * d + 2.0 * n * slots * min(n, slots)

    def _begin(self) -> None:
        """Start the method afresh on the working set."""
        self.method = self.parts.method(self.within)
        self._examined, self._waited = math.inf, 0
        self._early = list(_EARLY)

    @property
    def scale(self) -> float:
        """What gaps of this component are relative to."""
        return max(abs(self.upper), 1e-3 * self.parts.zero, 1e-300)

    @property
    def gap(self) -> float:
        """Relative gap of this component."""
        return (self.upper - self.lower) / self.scale

    # ---- progress

    def advance(self, tolerance: float) -> bool:
        """One iteration and what follows from it; whether objective and bound were computed."""
        if self.method is None:
            if self._price_outside(self.proof, tolerance):
                self._begin()
            else:
                self.stalled = self.gap > tolerance
            return True
        step = self.method.iterate(_WAIT * tolerance * self.scale / self.method.degree)
        self.iterations += 1
        estimate = self.method.degree * self.method.mean_product() / self.scale
        solved = self.method.feasible and estimate < 0.1 * tolerance
        stuck = step <= _TINY_STEP or not math.isfinite(estimate)
        ended, before = solved or stuck, self.gap
        if estimate > 0.5 * self._examined and estimate > 3.0 * tolerance and not ended:
            return False
        self._examined = estimate
        proof = self.examine()
        if self.gap <= tolerance:
            return True
        follows = solved and not stuck  # complementarity runs ahead of the gradients of a smooth loss
        if follows and self.gap < _FOLLOWING * before:
            self._waited = 0
            return True
        if ended or self._early_pricing(estimate, tolerance):
            self._end_round(proof, tolerance, ended)
            self._waited += 1
            waits = self.gap < _FOLLOWING * before or (self.method.smooth and self._waited <= _PATIENCE)
            self.stalled = self.stalled and not (follows and waits)
        elif estimate < _LEAVE_GAP and self._work(len(self.within)) > _WORTH_LEAVING:
            self._let_leave(proof, estimate, tolerance)
        return True

    def examine(self) -> Proof:
        """Update the best objective and the best bound from the iterate."""
        method = self._method()
        duals = duals_of(method)
        self._take_best(method, self._inside(method))
        largest = float(duals.vectors.norm(dim=1).max())
        proof = Proof(duals.multipliers, duals.points, self.within, duals.cone, duals.tilt, largest, self.without)
        self._keep(proof)
        return proof

    def repair(self) -> None:
        """Move the iterate into its cones, where the method ended before it was inside by itself."""
        if self.method is None or self.method.feasible or not bool(torch.isfinite(self.method.v).all()):
            return
        blocks = into_cones(self.problem, self.parts.blocks(self.within, self.method.v))
        value = self.problem.component_objective(self.parts.number, blocks)
        if value < self.upper:
            self.upper, self.best = value, blocks

    def _method(self) -> InteriorPoint:
        assert self.method is not None  # the working set holds a block
        return self.method

    def _inside(self, method: InteriorPoint) -> Any:
        """The iterate, its blocks moved into their cones: both sides of a gate by the same vector, which cancels out."""
        slack = method.smallest_slack(method.v)
        if bool((slack >= 0).all()):
            return method.v
        gate, point = method.layout.gate, self.inside[method.layout.gate]
        length = (-slack).clamp_min(0.0) / method.smallest_slack(point)
        for _ in range(_NUDGES):
            largest = torch.zeros(self.parts.gates, dtype=length.dtype, device=length.device)
            v = method.v + largest.scatter_reduce(0, gate, length, "amax")[gate, None] * point
            slack = method.smallest_slack(v)
            if bool((slack >= 0).all()):
                break
            length = 1.001 * length + (-slack).clamp_min(0.0) / method.smallest_slack(point)
        return v

    def _take_best(self, method: InteriorPoint, inside: Any) -> None:
        """Keep a point, or what is left of it without its small blocks, if it is the best so far."""
        size = inside.norm(dim=1)
        for cut in (0.0, *_CUTS):
            large = size >= cut * size.max()
            if cut and bool(large.all()):
                continue
            v = inside * large[:, None]
            value = self.parts.objective(method.maps, v)
            if value < self.upper:
                self.upper, self.best = value, self.parts.blocks(self.within, v)

    def _keep(self, proof: Proof) -> None:
        """Remember a proof if its bound is the best one."""
        kappa = max(proof.largest, self._prices(proof).max(initial=0.0))
        value = self.parts.lower_bound(proof.multipliers, kappa)
        if value > self.lower:
            self.lower, self.proof = value, proof

    # ---- the working set

    def _prices(self, proof: Proof) -> np.ndarray:
        """Prices of the blocks without, with the multipliers that are known."""
        if not len(self.without.number):
            return np.zeros(0)
        return np.linalg.norm(proof.targets(self.parts, self.without.number) + self.without.lowering, axis=1)

    def _let_leave(self, proof: Proof, estimate: float, tolerance: float) -> None:
        """Take out small blocks; their multipliers are kept, and they come back if their price stays above beta."""
        method = self._method()
        size = method.v.norm(dim=1).cpu().numpy()
        limit = min(_LEAVE_SIZE, _LEAVE_SHRUNK * estimate) * size.max()
        leaving = (size < limit) & ~self.pinned[self.within]
        if leaving.sum() < max(1.0, _LEAVE_SHARE * len(leaving)) or leaving.all():
            return
        self.without = outside.joined([self.without, proof.cone_multipliers(self.parts, leaving, tolerance)])
        self.within = self.within[~leaving]
        method.take(self.parts.tensor(np.flatnonzero(~leaving)))

    def _early_pricing(self, estimate: float, tolerance: float) -> bool:
        """Whether blocks outside should be priced although the working set is not solved."""
        due = [share for share in self._early if estimate < max(share, 0.5 * tolerance)]
        self._early = [share for share in self._early if share not in due]
        return bool(due) and len(self.without.number) > 0

    def _end_round(self, proof: Proof, tolerance: float, ended: bool) -> None:
        """Price what is without, and add what is needed; give up if the working set is solved and nothing is."""
        if self._price_outside(proof, tolerance):
            self._begin()
        elif ended and self.gap > tolerance:
            self.repair()
            self.stalled = self.gap > tolerance

    def _price_outside(self, proof: Proof, tolerance: float) -> int:
        """Project the dual vectors of doubtful blocks without; returns how many entered the working set."""
        beta, prices = self.problem.beta, self._prices(proof)
        doubtful = np.flatnonzero(prices > beta)
        if not len(doubtful):
            return 0
        own = self.without.number[doubtful]
        found, new_prices = self.reserve.priced(own, proof.targets(self.parts, own), self.without, tolerance)
        entering = (new_prices > beta * (1.0 + 0.1 * tolerance)) & self.alive[self.parts.gate[own]]
        most = max(_FEWEST, _MOST_GROWTH * len(self.within))
        if entering.sum() > most:  # prices of first order are bounds: those that are far off come first
            entering &= new_prices >= np.sort(new_prices[entering])[-most]
        better = new_prices < prices[doubtful]
        changed = doubtful[better | entering]
        kept = np.setdiff1d(np.arange(len(prices)), changed)
        self.without = outside.joined([self.without.take(kept), found.take(np.flatnonzero(better & ~entering))])
        entered = own[entering]
        if not len(entered):
            self._keep(proof._replace(without=self.without))
        self.within = np.sort(np.concatenate([self.within, entered]))
        self.pinned[entered] = True  # it does not leave again: no cycles
        return len(entered)

    # ---- answers

    def certificate(self, tolerance: float) -> tuple[list[AtomSet], ConeMultipliers]:
        """Atoms and cone multipliers that prove :attr:`lower`."""
        return self.proof.certificate(self.parts, tolerance)
