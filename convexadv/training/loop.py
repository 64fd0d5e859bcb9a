"""The training loop: stochastic gradients, resumable after every step to the same bits."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import nn

from ..errors import InputError, TrainingError, needs_checkpoint, reason
from ..robustness.arguments import evaluation_mode
from .checkpoint import Checkpoint
from .data import Augmentation, Images
from .objectives import Clean, Objective
from .points import frozen_statistics
from .settings import Settings

_LOGGER = logging.getLogger(__name__)
_LOOK = 20
"""Steps between two looks at the loss, each of which waits for the device."""

History = list[dict[str, float]]
"""One record an epoch: epoch, loss, rate and seconds."""


class Coupling(Protocol):
    """A term that is coupled to the weights from outside, such as the penalty of ADMM."""

    def add_gradient(self, model: nn.Module) -> None:
        """Add its gradient to that of the parameters; called before every step."""
        ...

    def end_epoch(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Update itself after an epoch; the numbers returned join the record."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        ...


def train(
    model: nn.Module,
    images: Images,
    objective: Objective | None = None,
    settings: Settings | None = None,
    augment: Augmentation | None = None,
    coupling: Coupling | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    resume: bool = False,
    callback: Callable[[dict[str, float]], bool | None] | None = None,
) -> History:
    """Train a model in place.

    What is random depends on ``settings.random_state`` and the number of the step only, so that a training that was
    killed and resumed from its checkpoint ends with the same bits. The global generators are left as they were.

    Parameters
    ----------
    model : torch.nn.Module
        A classifier; it stays on its device. Left in evaluation mode. Parameters that require no gradient are kept, and
        the running statistics of batch norms all of whose weights are kept.
    images : Images
        Rows and class numbers; moved to the device batch by batch.
    objective : callable, optional
        Loss of a batch, as of :class:`Clean` (the default), :class:`Adversarial`, :class:`OneStep`, :class:`TRADES`.
    settings : Settings, optional
        How long and how fast.
    augment : callable, optional
        Of :func:`augmentation`.
    coupling : Coupling, optional
        A term coupled from outside.
    checkpoint : path, optional
        File that holds everything needed to go on; replaced atomically.
    checkpoint_every : float
        Seconds between two files; one is written at the end in any case.
    resume : bool
        Continue from the file where there is one.
    callback : callable, optional
        Gets the record of every epoch (epoch, loss, rate, seconds, and the coupling's numbers); true ends the training.

    Returns
    -------
    list of dict
        The records, those before the checkpoint too.

    Raises
    ------
    InputError
        If the checkpoint exists and ``resume`` is false, the settings do not fit, or the model has nothing to train.
    FileFormatError
        If the checkpoint cannot be read or belongs to another training.
    TrainingError
        If a loss or a weight is not finite any more; the last checkpoint is kept.

    Examples
    --------
    >>> import torch
    >>> from convexadv.training import Images, Settings, train
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(64, 2, generator=generator)
    >>> model = torch.nn.Linear(2, 2)
    >>> history = train(model, Images.of(x, (x[:, 0] > 0).long()), settings=Settings(epochs=5, batch_size=16))
    >>> len(history), history[-1]["loss"] < history[0]["loss"]
    (5, True)
    """
    settings = Settings() if settings is None else settings
    if not isinstance(settings, Settings) or not isinstance(images, Images):
        raise InputError(
            f"images is a {type(images).__name__} and settings a {type(settings).__name__}; Images and Settings are needed."
        )
    run = _Run(model, images, Clean() if objective is None else objective, settings, augment, coupling)
    saved = None if checkpoint is None else Checkpoint(checkpoint, run.facts(), checkpoint_every, resume)
    if saved is None and resume:
        raise needs_checkpoint()
    state = None if saved is None else saved.load()
    if saved is not None and state is not None:
        try:
            run.load_state(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            raise saved.damaged(f"its state does not fit: {reason(error)}") from error
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, enabled=True):
        try:
            run.go(saved, callback)
        finally:
            model.eval()
    return run.history


class _Run:
    """A training and where it stands: ``epoch`` complete epochs and ``batch`` steps of the next."""

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        objective: Objective,
        settings: Settings,
        augment: Augmentation | None,
        coupling: Coupling | None,
    ):
        self.model, self.images, self.objective, self.settings = model, images, objective, settings
        self.augment, self.coupling = augment, coupling
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not self.parameters:
            raise InputError("the model has no parameter that can be trained; at least one is needed.")
        self.device = self.parameters[0].device
        if settings.precision == "float16" and (self.device.type != "cuda" or settings.sharpness > 0):
            raise InputError("float16 needs a model on a GPU and sharpness 0; bfloat16 works everywhere.")
        _check_fit(model, images, self.device)
        if images.x.ndim == 4:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.SGD(
            _groups(self.parameters, settings.weight_decay),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")
        self.batches = images.n_batches(settings.batch_size)
        self.epoch, self.batch, self.seconds = 0, 0, 0.0
        self.total = torch.zeros((), device=self.device)
        self.history: History = []

    def go(self, saved: Checkpoint | None, callback: Callable[[dict[str, float]], bool | None] | None) -> None:
        """Train to the end; write checkpoints on the way."""
        while self.epoch < self.settings.epochs:
            self._epoch(saved)
            record = self._record()
            if callback is not None and callback(record):
                break
        self._require_finite_weights()
        if saved is not None:
            self._save(saved)

    def _epoch(self, saved: Checkpoint | None) -> None:
        _to_training_mode(self.model)
        started = last = time.perf_counter()
        before = self.seconds
        for number, x, y in self.images.batches(self.settings.batch_size, self._seed(-1), self.batch):
            self._step(number, x, y)
            self.batch = number + 1
            now = time.perf_counter()
            self.seconds = before + now - started
            if self.batch % _LOOK == 0 or self.batch == self.batches:
                self._require_finite()
            if saved is not None and now - last >= saved.every:
                self._save(saved)
                last = time.perf_counter()

    def _record(self) -> dict[str, float]:
        """Close an epoch."""
        step = (self.epoch + 1) * self.batches - 1
        record = {
            "epoch": float(self.epoch + 1),
            "loss": float(self.total) / self.batches,
            "rate": self.settings.rate(step, self.settings.epochs * self.batches),
            "seconds": self.seconds,
        }
        self.epoch, self.batch = self.epoch + 1, 0
        self.total = torch.zeros_like(self.total)
        if self.coupling is not None:
            record |= self.coupling.end_epoch(self.model, self.epoch)
        self.history.append(record)
        _LOGGER.info("epoch %d: loss %.4f, %.1f s", self.epoch, record["loss"], record["seconds"])
        return record

    def _step(self, number: int, x: torch.Tensor, y: torch.Tensor) -> None:
        seed = self._seed(number)
        torch.manual_seed(seed)  # dropout and the like; forked by train
        generator = torch.Generator().manual_seed(seed)
        x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
        if self.augment is not None:
            x = self.augment(x, generator)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        rate = self.settings.rate(self.epoch * self.batches + number, self.settings.epochs * self.batches)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        try:
            loss = self._gradient(x, y, generator)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                f"a batch norm cannot normalise {len(x)} value(s) a channel; larger batches are needed."
            ) from error
        if self.settings.sharpness > 0:
            self._sharpened(x, y, generator)
        if self.coupling is not None:
            if self.scaler.is_enabled():
                self.scaler.unscale_(self.optimiser)
            self.coupling.add_gradient(self.model)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.total += loss

    def _gradient(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Loss of a batch; its gradient is left on the parameters."""
        self.optimiser.zero_grad(set_to_none=True)
        low = getattr(torch, self.settings.precision)
        context: Any = nullcontext() if low is torch.float32 else torch.autocast(self.device.type, dtype=low)
        with context:
            loss = self.objective(self.model, x, y, generator)
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _sharpened(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> None:
        """Replace the gradient by that at w + rho g / ||g|| (Foret et al., algorithm 1)."""
        slopes = [p.grad for p in self.parameters if p.grad is not None]
        moved: list[torch.Tensor] = [p for p in self.parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(slope) for slope in slopes]))
        ways = [slope * (self.settings.sharpness / (norm + 1e-12)) for slope in slopes]
        kept = [parameter.detach().clone() for parameter in moved]
        with torch.no_grad():
            torch._foreach_add_(moved, ways)
        with frozen_statistics(self.model):
            self._gradient(x, y, generator)
        with torch.no_grad():
            torch._foreach_copy_(moved, kept)

    def _require_finite(self) -> None:
        if not math.isfinite(float(self.total)):
            raise TrainingError(
                f"the loss of epoch {self.epoch + 1} is not finite at step {self.batch} of {self.batches}: "
                "try a smaller learning rate, or precision float32; the last checkpoint, if there is one, is kept."
            )

    def _require_finite_weights(self) -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters):
            raise TrainingError(
                f"a weight is not finite after {self.epoch} epochs and {self.batch} steps: try a smaller "
                "learning rate, or precision float32; the last checkpoint, if there is one, is kept."
            )

    def _save(self, saved: Checkpoint) -> None:
        self._require_finite()
        self._require_finite_weights()
        saved.save(
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "coupling": None if self.coupling is None else self.coupling.state_dict(),
                "epoch": self.epoch,
                "batch": self.batch,
                "seconds": self.seconds,
                "total": self.total,
                "history": self.history,
            }
        )

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where a checkpoint stands."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if self.coupling is not None:
            self.coupling.load_state_dict(state["coupling"])
        self.epoch, self.batch, self.seconds = state["epoch"], state["batch"], state["seconds"]
        self.total = state["total"].to(self.device)
        self.history = state["history"]

    def facts(self) -> dict[str, str]:
        """What has to be equal for a checkpoint to be continued."""
        shapes = str([(name, tuple(value.shape)) for name, value in self.model.state_dict().items()])
        x, y = self.images.x, self.images.y
        sums = (float(x[:: max(1, len(x) // 1024)].double().sum()), int(y.sum()))
        return {
            "settings": repr(self.settings),
            "objective": repr(self.objective),
            "augmentation": "none" if self.augment is None else "some",
            "data": f"{tuple(x.shape)}, sums {sums}",
            "architecture": hashlib.sha256(shapes.encode()).hexdigest()[:16],
        }

    def _seed(self, number: int) -> int:
        """Seed of a step, or of the order of the epoch."""
        text = f"{self.settings.random_state} {self.epoch} {number}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def _check_fit(model: nn.Module, images: Images, device: torch.device) -> None:
    """Raise InputError where the model does not take the inputs, or has too few scores for the labels."""
    shape = tuple(images.x.shape[1:])
    try:
        with evaluation_mode(model), torch.no_grad():
            scores = model(images.x[:1].to(device))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"the model does not take inputs of shape {shape}: {reason(error)}; inputs that it takes are needed."
        ) from error
    if isinstance(scores, torch.Tensor) and (scores.ndim > 2 or scores.shape[:1] != (1,)):
        raise InputError(
            f"the model gives scores of shape {tuple(scores.shape)} for one input of shape {shape}; one row is needed."
        )
    if isinstance(scores, torch.Tensor) and scores.ndim == 2 and scores.shape[1] < images.n_classes:
        raise InputError(
            f"the model gives {scores.shape[1]} scores, and y holds the class number {images.n_classes - 1}; one score a "
            "class is needed."
        )


def _to_training_mode(model: nn.Module) -> None:
    """Training mode, but for batch norms whose weights are all kept: their statistics are kept too."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            weights = list(module.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()


def _groups(parameters: list[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Weights decay, norms and biases do not."""
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [{"params": group, "weight_decay": part} for group, part in ((weights, decay), (others, 0.0)) if len(group)]
