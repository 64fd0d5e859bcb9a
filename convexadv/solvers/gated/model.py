r"""One component of a gated ReLU problem as a smooth function of its weights, plus the group norms.

With V (outputs, P, D) and alpha_io = sum over the active gates of row i of V_ok, f_io = x_i'alpha_io; here the rows have
balls, and the margins are worst cases over them (the plain maps are in :mod:`.maps`).

Kinks are smoothed by proximal terms around centres, which :meth:`GatedModel.move_centres` moves: of the loss (its
multipliers), of the norms ||alpha||_q over the balls (points), of min(0, .) over unstable gates (shares), and of the norms of
their weights (tilts). The maximisers are dual variables, from which the lower bound follows.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import torch

from ..._arrays import to_tensor
from ...balls import gauge, project
from ...problems.terms import Terms

_MU = 0.1
"""Proximal weight, in units of the margin."""


class Duals(NamedTuple):
    """Dual variables of every set of terms."""

    multipliers: list[Any]
    """(k, g)."""
    points: list[Any]
    """(k, g, D) or None: sign * perturbation."""
    shares: list[Any]
    """(k, g, P) or None."""
    tilts: list[Any]
    """(K, P, D) or None."""


class GatedModel:
    """Value and gradient of the smoothed losses of one component.

    Parameters
    ----------
    problem : GatedReLUProblem
    number : int
        Which component.
    X : tensor (n, D)
    """

    def __init__(self, problem: Any, number: int, X: Any):
        self.problem, self.X = problem, X
        self.component = problem.components[number]
        self.directions = self._tensor(self.component.directions)
        self.terms = [Terms(each, len(X), self._tensor, len(self.directions)) for each in self.component.terms]
        self.rows = [torch.arange(len(X), device=X.device) if terms.row is None else terms.row for terms in self.terms]
        self.active = self._tensor(problem.active.astype(np.float64))
        self.unstable: Any = None
        if problem.unstable is not None:
            self.unstable = self._tensor(problem.unstable.astype(np.float64))
        self.perturbed = self._tensor(np.flatnonzero(problem.perturbed))
        self.outputs = len(self.component.outputs)
        self.centres = [self._start(terms) for terms in self.terms]

    def _tensor(self, values: Any) -> Any:
        values = np.asarray(values)
        tensor = to_tensor(values, self.X.device)
        return tensor.to(self.X.dtype) if tensor.is_floating_point() else tensor

    def _start(self, terms: Terms) -> dict[str, Any]:
        """Centres: half of the largest multipliers of the zero network, no perturbation, half shares."""
        _, z = terms.loss.multipliers(terms.offset)
        centre: dict[str, Any] = {"z": 0.5 * z if terms.loss.sharp else z}
        if terms.robust:
            centre["point"] = self.X.new_zeros(terms.k, terms.g, len(self.perturbed))
            if self.unstable is not None:
                centre["share"] = 0.5 * self.X.new_ones(terms.k, terms.g, self.active.shape[1])
                centre["tilt"] = self.X.new_zeros(len(self.directions), self.active.shape[1], len(self.perturbed))
        return centre

    def move_centres(self, duals: Duals) -> None:
        """Centre the proximal terms on dual variables."""
        parts = zip(self.centres, duals.multipliers, duals.points, duals.shares, duals.tilts, strict=True)
        for centre, z, points, shares, tilts in parts:
            centre["z"] = z
            if points is not None:
                centre["point"] = points[..., self.perturbed]
            if shares is not None:
                centre["share"], centre["tilt"] = shares, tilts[..., self.perturbed]

    def exact_loss(self, V: Any) -> float:
        """Losses without smoothing."""
        return float(self._evaluate(V, smooth=False, pull=False)[0])

    def exact_loss_of(self, weights: Any, gates: Any) -> float:
        """The same of weights (outputs, m, D) of some gates."""
        other = copy.copy(self)
        other.active, other.unstable = self.active[:, gates], self.unstable[:, gates]
        return other.exact_loss(weights)

    def pulled(self, duals: Duals) -> Any:
        """q of dual variables of one set of robust terms, (outputs, P, D)."""
        return self._pull(self.terms[0], self.rows[0], *(entry[0] for entry in duals))

    def value(self, V: Any) -> float:
        """Smoothed losses."""
        return float(self._evaluate(V, smooth=True, pull=False)[0])

    def value_and_q(self, V: Any) -> tuple[float, Any]:
        """Smoothed losses and q = -gradient, (outputs, P, D)."""
        value, q, _ = self._evaluate(V, smooth=True)
        return float(value), q

    def evaluate(self, V: Any) -> tuple[float, Any, Duals]:
        """Smoothed losses, q = -gradient (outputs, P, D), and the dual variables."""
        value, q, duals = self._evaluate(V, smooth=True)
        return float(value), q, duals

    def _evaluate(self, V: Any, smooth: bool, pull: bool = True) -> tuple[Any, Any, Duals]:
        value, q = 0.0, torch.zeros_like(V)
        duals = Duals([], [], [], [])
        for terms, rows, centre in zip(self.terms, self.rows, self.centres, strict=True):
            part, each = self._robust(V, terms, rows, centre, smooth)
            q = q + self._pull(terms, rows, *each) if pull else q
            value = value + (terms.weight * part).sum()
            for store, entry in zip(duals, each, strict=True):
                store.append(entry)
        return value, q, duals

    def _loss(self, terms: Terms, u: Any, centre: dict, smooth: bool) -> tuple[Any, Any]:
        if not smooth:
            return terms.loss.group_value(u), centre["z"]
        return terms.loss.multipliers(u, centre["z"], _MU)

    def _robust(self, V: Any, terms: Terms, rows: Any, centre: dict, smooth: bool) -> tuple[Any, tuple]:
        """Losses and dual variables of robust terms."""
        moved = torch.einsum("ko,opd->kpd", self.directions, V)
        alpha = torch.stack([self.active @ each for each in moved])
        x, radius = self.X[rows], terms.radius
        margins, points, shares, tilts = [], [], None, None
        norms, tilts = self._norms(moved, centre, smooth)
        for k in range(terms.k):
            own = alpha[terms.direction[k], rows]
            value, point = self._ball(own[:, self.perturbed], radius, centre["point"][k], smooth)
            margins.append(terms.sign[k] * (x * own).sum(1) + value)
            points.append(point)
        margin = torch.stack(margins)
        if self.unstable is not None:
            here = self.unstable[rows]
            products = torch.einsum("nd,kpd->knp", self.X, moved)
            lowest = []
            for k in range(terms.k):
                own = products[terms.direction[k], rows]
                lowest.append(terms.sign[k][:, None] * own - radius[:, None] * norms[terms.direction[k]])
            worst = torch.stack(lowest)
            shares = (centre["share"] - worst / _MU).clamp(0.0, 1.0) if smooth else (worst < 0).to(worst.dtype)
            shares = shares * here
            extra = shares * worst
            if smooth:
                extra = extra + 0.5 * _MU * here * (shares - centre["share"]) ** 2
            margin = margin + extra.sum(2)
        value, z = self._loss(terms, terms.offset - margin, centre, smooth)
        point = self.X.new_zeros(terms.k, terms.g, self.X.shape[1])
        point[..., self.perturbed] = torch.stack(points)
        return value, (z, point, shares, tilts)

    def _ball(self, alpha: Any, radius: Any, centre: Any, smooth: bool) -> tuple[Any, Any]:
        """min over the ball of point'alpha, smoothed around the centre."""
        if not smooth:
            return -radius * gauge(alpha, self.problem.dual_norm), centre
        mu = (2.0 * _MU / radius.clamp_min(1e-12) ** 2)[:, None]
        point = project(centre - alpha / mu, radius, self.problem.norm)
        return (point * alpha).sum(1) + 0.5 * (mu * (point - centre) ** 2).sum(1), point

    def _norms(self, moved: Any, centre: dict, smooth: bool) -> tuple[Any, Any]:
        """||E v_k||_q of every direction and gate, smoothed from below, and the tilts."""
        if self.unstable is None:
            return None, None
        own = moved[..., self.perturbed]
        if not smooth:
            return gauge(own, self.problem.dual_norm), None
        mu = _MU / float(self.problem.radius.max())
        tilt = project(centre["tilt"] + own / mu, self.X.new_ones(own.shape[:-1]), self.problem.norm)
        value = (tilt * own).sum(-1) - 0.5 * mu * ((tilt - centre["tilt"]) ** 2).sum(-1)
        whole = self.X.new_zeros(*own.shape[:-1], self.X.shape[1])
        whole[..., self.perturbed] = tilt
        return value, whole

    def _pull(self, terms: Terms, rows: Any, z: Any, points: Any, shares: Any, tilts: Any) -> Any:
        """q of dual variables of robust terms, (outputs, P, D)."""
        K, P, D = len(self.directions), self.active.shape[1], self.X.shape[1]
        vectors = self.X.new_zeros(K, len(self.X), D)
        direct = self.X.new_zeros(K, P, D)
        for k in range(terms.k):
            weight = terms.weight * z[k]
            pulled = weight[:, None] * (terms.sign[k][:, None] * self.X[rows] + points[k])
            vectors.index_put_((terms.direction[k], rows), pulled, accumulate=True)
            if shares is None:
                continue
            for direction, index in terms.groups[k]:
                groups = slice(None) if index is None else index
                part = shares[k][groups] * weight[groups][:, None]
                direct[direction] += (part * terms.sign[k][groups][:, None]).T @ self.X[rows[groups]]
                direct[direction] -= (terms.radius[groups] @ part)[:, None] * tilts[direction]
        per_direction = torch.stack([self.active.T @ each for each in vectors]) + direct
        return torch.einsum("ko,kpd->opd", self.directions, per_direction)
