"""A trained classifier to a compact robust one: ADMM within one budget, factors, adversarial fine-tuning ([CSTAR])."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from .._checks import number
from ..errors import InputError, TrainingError, needs_checkpoint, wrong_kind
from ..robustness.arguments import evaluation_mode, sides
from ..training import TRADES, Adversarial, Clean, History, Images, OneStep, Settings, train
from ..training.data import Augmentation
from ..training.objectives import Objective
from .admm import ADMM
from .calibration import calibrate
from .channel_pruning import Channels, remove_channels
from .convert import factorise_model
from .report import CompressionReport, compression_report
from .targets import LowRank, names

_LOGGER = logging.getLogger(__name__)
RATIO = 16.0
RADIUS = 8 / 255
ATTACKS = ("onestep", "pgd", "trades", "clean")
RANKS = {"cstar": "dynamic", "greedy": "greedy", "uniform": "uniform"}
"""How the ranks of a method are allocated."""
CHANNELS = ("channels", "channels-uniform")
METHODS = (*RANKS, *CHANNELS)
Progress = Callable[[str, dict[str, float]], "bool | None"]


@dataclass(frozen=True)
class Compressed:
    """Result of :func:`compress`.

    Attributes
    ----------
    model : torch.nn.Module
        The compact model: of the same class and interface, in evaluation mode.
    report : CompressionReport
        Ranks, energy kept, parameters and multiply-adds of every layer, before and after.
    history : dict of str to list of dict
        Records of the epochs of the stages "admm" and "tune".

    Examples
    --------
    >>> import torch
    >>> import convexadv as ca
    >>> from convexadv.models import SmallCNN
    >>> x, model = torch.rand(32, 1, 8, 8), SmallCNN(width=8, n_classes=2, side=8)
    >>> made = ca.compress(model, (x, torch.arange(32) % 2), ratio=8, epochs=(1, 0), method="uniform")
    >>> [layer.name for layer in made.report.layers]
    ['features.0', 'features.2', 'head.0', 'head.2']
    """

    model: nn.Module
    report: CompressionReport
    history: dict[str, History]


def compress(
    model: nn.Module,
    data: Any,
    ratio: float | None = None,
    *,
    budget: int | None = None,
    measure: str = "parameters",
    attack: str | Objective = "onestep",
    radius: float = RADIUS,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    epochs: tuple[int, int] = (5, 10),
    settings: Settings | None = None,
    augment: Augmentation | None = None,
    method: str = "cstar",
    keep: Iterable[str] = (),
    latency: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    resume: bool = False,
    callback: Progress | None = None,
) -> Compressed:
    r"""Compress a trained classifier to one budget for all layers, adversarially trained on the way.

    As in [CSTAR] (arXiv 2212.01957), ADMM (:class:`convexadv.compression.ADMM`) trains a copy towards weights of low rank,
    whose ranks compete for the budget (:func:`convexadv.compression.allocate`); its layers are then factored at the last
    ranks, the batch norms calibrated, and the factors trained on.

    Parameters
    ----------
    model : torch.nn.Module
        A classifier with Conv2d or Linear layers; not changed.
    data : Images or (X, y)
        Inputs, and class numbers 0, 1, ...
    ratio : float, optional
        Cost of the model over that of the compact one; 16 if no budget is given.
    budget : int, optional
        What the compact model may cost, instead of a ratio.
    measure : {"parameters", "flops"}
        What a cost counts; "flops" are multiply-adds for one sample.
    attack : {"onestep", "pgd", "trades", "clean"} or callable
        Loss of the training: at points of one step of ascent from a random start, of ten, TRADES, none; or an objective of
        :mod:`convexadv.training`.
    radius : float
        Of the linf attack, in the units of X; not used with "clean" or an objective.
    bounds : (float, float) or None
        Box of the inputs, for the attack; all of them have to lie in it.
    epochs : (int, int)
        Of ADMM and of the fine-tuning; either may be 0.
    settings : convexadv.training.Settings, optional
        Of both stages but for ``epochs``; by default rates up to 0.05, and the seed 0.
    augment : callable, optional
        Of :func:`convexadv.training.augmentation`.
    method : {"cstar", "greedy", "uniform", "channels", "channels-uniform"}
        Ranks by a dynamic programme, greedily, or with the same share for every layer; or removal of whole channels, the
        baseline: chosen globally, or with the same share of every group.
    keep : iterable of str
        Layers, or modules that contain them, that keep their form; with ranks only.
    latency : bool
        Whether the report measures latencies.
    checkpoint : path, optional
        Checkpoints of the stages are written to ``checkpoint.admm`` and ``checkpoint.tune``.
    checkpoint_every : float
        Seconds between two of them.
    resume : bool
        Continue from those that exist, to the same bits.
    callback : callable, optional
        Gets the stage and the record of every epoch; true ends the stage.

    Returns
    -------
    Compressed

    Raises
    ------
    InputError
        If the budget cannot be met, there is nothing to compress, an input lies outside of the bounds, or an argument is
        none of those listed.
    FileFormatError
        If a checkpoint cannot be read or belongs to another run.
    TrainingError
        If a loss, a weight or a score is not finite any more; the last checkpoints are kept.

    Examples
    --------
    >>> import torch
    >>> import convexadv as ca
    >>> from convexadv.models import SmallCNN
    >>> x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> model = SmallCNN(width=8, n_classes=2, side=8)
    >>> made = ca.compress(model, (x, (x[:, 0, 0, 0] > 0.5).long()), ratio=4, epochs=(2, 1))
    >>> before, after = made.report.parameters
    >>> before / after >= 4, type(made.model).__name__, len(made.history["admm"])
    (True, 'SmallCNN', 2)
    """
    if not isinstance(model, nn.Module):
        raise wrong_kind(model, "a torch module")
    images = data if isinstance(data, Images) else _images(data)
    objective = _objective(attack, radius, bounds)
    if not callable(attack) and attack != "clean" and bounds is not None:
        _check_inside(images, bounds)
    settings = Settings(learning_rate=0.05) if settings is None else settings
    if not isinstance(settings, Settings):
        raise InputError(f"settings is a {type(settings).__name__}; convexadv.training.Settings are needed.")
    _check_epochs(epochs)
    if resume and checkpoint is None:
        raise needs_checkpoint()
    shape = tuple(images.x.shape[1:])
    limits = {"ratio": RATIO if ratio is None and budget is None else ratio, "budget": budget, "measure": measure}
    target = _target(method, limits, shape, keep)
    keeping = {"checkpoint_every": checkpoint_every, "resume": resume}
    stages = _Stages(images, objective, settings, augment, checkpoint, keeping, callback, {"admm": [], "tune": []})
    work = copy.deepcopy(model)
    if epochs[0]:
        coupling = ADMM(work, target, replace(settings, epochs=epochs[0]), images.n_batches(settings.batch_size))
        stages.train("admm", work, epochs[0], coupling)
    else:
        target.choose(work, {name: weight.detach() for name, weight in target.weights(work).items()})
    made = _converted(work, target)
    stages.calibrate(made)
    if epochs[1]:
        stages.train("tune", made, epochs[1])
    stages.require_finite_scores(made)
    report = compression_report(model, made, shape, latency=latency)
    _LOGGER.info("%d of %d parameters", report.parameters[1], report.parameters[0])
    return Compressed(made.eval(), report, stages.history)


@dataclass(frozen=True)
class _Stages:
    """What the stages of a compression share."""

    images: Images
    objective: Objective
    settings: Settings
    augment: Augmentation | None
    checkpoint: str | os.PathLike[str] | None
    keeping: dict[str, Any]
    callback: Progress | None
    history: dict[str, History]

    def train(self, name: str, model: nn.Module, epochs: int, coupling: ADMM | None = None) -> None:
        """Train a model in a stage, which has checkpoints of its own."""
        callback = self.callback
        self.history[name] = train(
            model,
            self.images,
            self.objective,
            replace(self.settings, epochs=epochs),
            self.augment,
            coupling,
            checkpoint=None if self.checkpoint is None else f"{os.fspath(self.checkpoint)}.{name}",
            callback=None if callback is None else lambda record: callback(name, record),
            **self.keeping,
        )

    def require_finite_scores(self, model: nn.Module) -> None:
        """Raise TrainingError for a model that training has spoiled."""
        device = next(model.parameters()).device
        with evaluation_mode(model), torch.no_grad():
            scores = model(self.images.x[: self.settings.batch_size].to(device))
        if self.history["admm"] + self.history["tune"] and not bool(torch.isfinite(scores).all()):
            raise TrainingError(
                "the compact model gives scores that are not finite; a smaller learning rate is needed, or precision float32."
            )

    def calibrate(self, model: nn.Module) -> None:
        """Measure the statistics of batch norms on what training normalises."""
        calibrate(
            model,
            self.images,
            self.objective,
            augment=self.augment,
            batch_size=self.settings.batch_size,
            random_state=self.settings.random_state,
        )


def _target(method: str, limits: dict[str, Any], shape: tuple[int, ...], keep: Iterable[str]) -> LowRank | Channels:
    if isinstance(method, str) and method in RANKS:
        return LowRank(**limits, input_shape=shape, method=RANKS[method], keep=keep)
    if not isinstance(method, str) or method not in CHANNELS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    if names("keep", keep):
        raise InputError(
            f"keep is for ranks, and method={method!r} removes channels, which layers share; leave keep out."
        )
    return Channels(shape, **limits, uniform=method == "channels-uniform")


def _converted(model: nn.Module, target: LowRank | Channels) -> nn.Module:
    """The compact model at the ranks or channels that were chosen last."""
    if isinstance(target, LowRank):
        return factorise_model(model, target.ranks)
    return remove_channels(model, target.graph(model), target.masks)


def _objective(attack: Any, radius: float, bounds: tuple[float, float] | None) -> Objective:
    if callable(attack):
        return attack
    choices: dict[str, Callable[[], Objective]] = {
        "onestep": lambda: OneStep(radius, bounds=bounds),
        "pgd": lambda: Adversarial(radius, bounds=bounds),
        "trades": lambda: TRADES(radius, bounds=bounds),
        "clean": Clean,
    }
    if not isinstance(attack, str) or attack not in choices:
        raise InputError(f"attack must be one of {', '.join(ATTACKS)} or an objective, got {attack!r}.")
    radius = number("radius", radius)
    return choices[attack]()


def _images(data: Any) -> Images:
    try:
        X, y = data
    except (TypeError, ValueError) as error:
        raise InputError(f"data must be Images or a pair (X, y), got a {type(data).__name__}.") from error
    return Images.of(X, y)


def _check_inside(images: Images, bounds: tuple[float, float]) -> None:
    """Raise InputError for inputs that the attack would move into the box before anything else."""
    low, high = images.x.min(), images.x.max()
    left, right = (float(side) for side in sides(bounds))
    if low < low.new_tensor(left) or high > high.new_tensor(right):
        raise InputError(
            f"the inputs go from {low:g} to {high:g}, beyond the bounds {left:g} and {right:g}; bounds that hold "
            "them all are needed."
        )


def _check_epochs(epochs: Any) -> None:
    whole = isinstance(epochs, tuple | list) and len(epochs) == 2
    if not whole or any(isinstance(each, bool) or not isinstance(each, int) or each < 0 for each in epochs):
        raise InputError(f"epochs must be two whole numbers of zero or more (of ADMM, of fine-tuning), got {epochs!r}.")
