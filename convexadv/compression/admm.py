r"""The alternating direction method of multipliers between a training and a projection ([CSTAR], arXiv 2212.01957).

    min loss(W) s.t. W in S:  (W) steps on loss(W) + rho/2 ||W - Q + U||^2,  (Q) Q = P_S(W + U),  (U) U <- U + a (W - Q)

in the scaled form (Boyd et al. 2011, section 3.1.1; a change of rho rescales U, section 3.4.1). S is what a *target*
projects on: ranks or channels within one budget, chosen anew at every projection, and fixed in the last ones so that the
iteration converges.

**The weight rho needs no tuning**: it is given as a *pull*, the number of e-foldings by which the penalty alone would bring
W to Q - U between two projections, rho = pull / (steps between them * mean rate / (1 - momentum)). It rises geometrically,
so the loss decides early and the constraint late. The dual step has the length a = 1 - exp(-pull), the share of its way that
W can go: with a = 1 the dual of weights that had no time to follow grows until it is all that is projected.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, Protocol

import torch
from torch import nn

from ..errors import FileFormatError, InputError, TrainingError
from ..training import Settings

UPDATES = 24
"""Projections in a training, if it is not longer in epochs."""
PULL = (0.2, 2.0)
FROZEN = 0.3
Weights = dict[str, torch.Tensor]


class Target(Protocol):
    """The set S that weights are projected on."""

    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Weights that are projected, by name."""
        ...

    def choose(self, model: nn.Module, weights: Weights) -> None:
        """Choose ranks or channels anew for these weights."""
        ...

    def project(self, weights: Weights) -> Weights:
        """Project on what is chosen."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What is chosen, as plain values and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what was chosen."""
        ...


class ADMM:
    """A :class:`convexadv.training.loop.Coupling`: the penalty, projections and dual updates of ADMM.

    As of [CSTAR] (arXiv 2212.01957), it adds ``rho/2 ||W - Q + U||^2`` to the loss; ``updates`` times in the training Q
    becomes the projection of W + U on what
    the target says, and ``U <- U + (1 - exp(-pull)) (W - Q)``. ``rho = pull (1 - momentum) / (s lr)`` for s steps between two
    projections and the mean rate lr of the training: by itself the penalty would bring W nearer to Q - U by the factor
    exp(-pull).

    To the record of an epoch it adds "primal" ``||W - Q|| / ||W||``, "dual", the relative change of Q, and "rho".

    Parameters
    ----------
    model : torch.nn.Module
        What is going to be trained; its weights are the first that are projected.
    target : Target
        What they are projected on, such as :class:`.targets.LowRank` or :class:`.channel_pruning.Channels`.
    settings : convexadv.training.Settings
        Of the training: rates, momentum and epochs decide rho.
    batches : int
        Steps of an epoch.
    updates : int, optional
        Projections in the whole training; by default 24, or one an epoch if there are more epochs.
    pull : (float, float)
        That of the first and of the last projection, positive; between them it rises geometrically.
    frozen : float
        Share of the training at its end in which ranks or channels are not chosen anew.

    Raises
    ------
    InputError
        If a setting is out of its range or there is no step to take.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import ADMM, LowRank
    >>> from convexadv.training import Images, Settings, train
    >>> x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    >>> model, settings = torch.nn.Linear(16, 8), Settings(epochs=8, batch_size=8, learning_rate=0.05)
    >>> coupling = ADMM(model, LowRank(ratio=2), settings, batches=8)
    >>> history = train(model, Images.of(x, (x[:, 0] > 0).long()), settings=settings, coupling=coupling)
    >>> history[-1]["primal"] < 0.5 * history[0]["primal"]  # ||W - Q|| / ||W||
    True
    """

    def __init__(
        self,
        model: nn.Module,
        target: Target,
        settings: Settings,
        batches: int,
        *,
        updates: int | None = None,
        pull: tuple[float, float] = PULL,
        frozen: float = FROZEN,
    ):
        self.steps = settings.epochs * batches
        self.updates = min(self.steps, max(UPDATES, settings.epochs) if updates is None else updates)
        if self.updates < 1 or not all(0 < value < math.inf for value in pull) or not 0 <= frozen <= 1:
            raise InputError(
                "ADMM needs at least one update and step, positive pulls and a frozen share in [0, 1]; got "
                f"updates={updates!r}, {self.steps} steps, pull={pull!r}, frozen={frozen!r}."
            )
        rate = sum(settings.rate(step, self.steps) for step in range(self.steps)) / self.steps
        self.interval = self.steps / self.updates * rate / (1.0 - settings.momentum)
        if self.interval <= 0:
            raise InputError("ADMM needs a learning rate above zero.")
        self.target, self.pull, self.frozen = target, pull, frozen
        weights = _values(target.weights(model))
        self.facts = f"{target!r}, {self.updates} updates, pull {pull}, frozen {frozen}, weights {_digest(weights)}"
        target.choose(model, weights)
        self.projected = target.project(weights)
        self.dual = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.step, self.moved = 0, 0.0

    @property
    def update(self) -> int:
        """Number of dual updates so far that are due before the current step."""
        return min(self.updates - 1, self.step * self.updates // self.steps)

    def rho(self, update: int) -> float:
        """Weight of the penalty after so many updates.

        Parameters
        ----------
        update : int
            From 0 to ``updates`` - 1.

        Returns
        -------
        float
        """
        low, high = self.pull
        share = update / max(1, self.updates - 1)
        return low * (high / low) ** share / self.interval

    def add_gradient(self, model: nn.Module) -> None:
        """Add rho (W - Q + U) to the gradients; project and update the dual first where it is time to.

        Parameters
        ----------
        model : torch.nn.Module
            That which is trained.
        """
        weights = self.target.weights(model)
        if self.step > 0 and self.update > min(self.updates - 1, (self.step - 1) * self.updates // self.steps):
            self._project(model, _values(weights))
        rho = self.rho(self.update)
        with torch.no_grad():
            for name, weight in weights.items():
                pulled = (weight - self.projected[name]).add_(self.dual[name])
                if weight.grad is None:
                    weight.grad = pulled.mul_(rho)
                else:
                    weight.grad.add_(pulled.to(weight.grad.dtype), alpha=rho)
        self.step += 1

    def _project(self, model: nn.Module, weights: Weights) -> None:
        """Dual update with the old Q, projection with the new U, in the units of the new rho."""
        for name, weight in weights.items():
            if not bool(torch.isfinite(weight).all()):
                raise TrainingError(
                    f"{name} is not finite at step {self.step} of ADMM: try a smaller learning rate, or precision float32; "
                    "the last checkpoint, if there is one, is kept."
                )
        before = self.rho(self.update - 1) / self.rho(self.update)
        length = -math.expm1(-self.rho(self.update - 1) * self.interval)
        for name, weight in weights.items():
            self.dual[name] = (self.dual[name] + length * (weight - self.projected[name])) * before
        shifted = {name: (weight + self.dual[name]).contiguous() for name, weight in weights.items()}
        if self.step < (1.0 - self.frozen) * self.steps:
            self.target.choose(model, shifted)
        old, self.projected = self.projected, self.target.project(shifted)
        self.moved = _distance(self.projected, old) / max(_norm(self.projected), 1e-30)

    def end_epoch(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Report how far it is.

        Parameters
        ----------
        model : torch.nn.Module
            That which is trained.
        epoch : int
            Number of complete epochs.

        Returns
        -------
        dict
            primal ||W - Q|| / ||W||; dual ||Q - Q_before|| / ||Q|| of the last projection; rho.
        """
        weights = _values(self.target.weights(model))
        primal = _distance(weights, self.projected) / max(_norm(weights), 1e-30)
        return {"primal": primal, "dual": self.moved, "rho": self.rho(self.update)}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: Q, U, ranks or channels, and the number of the step.

        Returns
        -------
        dict
        """
        return {
            "facts": self.facts,
            "projected": self.projected,
            "dual": self.dual,
            "target": self.target.state_dict(),
            "step": self.step,
            "moved": self.moved,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Parameters
        ----------
        state : dict
            Of :meth:`state_dict`.

        Raises
        ------
        FileFormatError
            If it belongs to another budget, method, setting or starting point.
        """
        if state["facts"] != self.facts:
            raise FileFormatError(
                f"the checkpoint belongs to another ADMM: {state['facts']}, not {self.facts}; give another path."
            )
        for name, weight in self.projected.items():
            self.projected[name] = state["projected"][name].to(weight.device)
            self.dual[name] = state["dual"][name].to(weight.device)
        self.target.load_state_dict(state["target"])
        self.step, self.moved = int(state["step"]), float(state["moved"])


def _values(weights: dict[str, nn.Parameter]) -> Weights:
    """Copies in one layout: products of other layouts may differ in their last bits."""
    return {name: weight.detach().clone(memory_format=torch.contiguous_format) for name, weight in weights.items()}


def _norm(weights: Weights) -> float:
    return math.sqrt(sum(float(weight.double().square().sum()) for weight in weights.values()))


def _distance(first: Weights, second: Weights) -> float:
    return math.sqrt(sum(float((first[name].double() - second[name]).square().sum()) for name in first))


def _digest(weights: Weights) -> str:
    digest = hashlib.sha256()
    for name, weight in weights.items():
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(weight.cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]
