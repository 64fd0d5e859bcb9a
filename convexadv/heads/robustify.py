"""A robust head for a deep model: from a trained classifier to one whose last layers are certified to be optimal."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._checks import choice, number, positive_integer
from ..errors import InputError, wrong_kind
from ..networks import Network
from ..robustness.arguments import device_of, seed, sides
from ..solvers import Solution
from ._clock import Clock
from .candidates import Grid, gaps_of_classes
from .headed import HeadedModel
from .inputs import inputs_of
from .perturbed import InputAttack
from .report import HeadReport
from .report_words import SCALINGS, ball_in_words, sizes_of
from .selection import Judge
from .setup import Setup
from .training_rows import Sources, head_rows
from .trials import best, trials

BALLS = ("sphere", "movement")
METHODS = ("apgd", "pgd", "fgsm")


@dataclass(frozen=True, eq=False, repr=False)
class Robustified:
    """What :func:`robustify` made.

    Attributes
    ----------
    model : HeadedModel
        Backbone and head, of the interface of the model that was given.
    head : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
        The head by itself, in float64, on raw features ``model.backbone(x)``; for :func:`convexadv.save`,
        :func:`convexadv.certify` and all else.
    report : HeadReport
    problem : PolynomialProblem, ReLUProblem or GatedReLUProblem
        The training problem of the head, on scaled features.
    solution : Solution
        Of this problem, with its certificate.

    Examples
    --------
    >>> import numpy as np, torch
    >>> import convexadv as ca
    >>> _ = torch.manual_seed(0)
    >>> X = np.random.default_rng(0).normal(size=(60, 2)).astype("float32")
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 9), torch.nn.Tanh(), torch.nn.Linear(9, 2))
    >>> made = ca.robustify(model, (X, (X[:, 0] > 0).astype(int)), validation=None)
    >>> lower = made.problem.lower_bound(made.solution.certificate)  # recomputed, without the solver
    >>> bool(lower >= 0.999 * made.problem.objective(made.solution.network))
    True
    """

    model: HeadedModel
    head: Network
    report: HeadReport
    problem: Any
    solution: Solution

    def __repr__(self) -> str:
        return f"Robustified(head={self.head!r}, gap={self.report.gap:.1e})"


def robustify(
    model: torch.nn.Module,
    data: Any,
    head: str = "polynomial",
    at: str | None = None,
    *,
    radius: Any = 0.1,
    beta: Any = 0.03,
    n_gates: Any = None,
    gate_kind: str | None = None,
    ball: str = "sphere",
    scaling: str | None = "standard",
    loss: str = "hinge",
    norm: str = "l2",
    multiclass: str = "ovr",
    fit_intercept: bool = True,
    rows: int | None = None,
    extra: str | None = None,
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
    validation: Any = 0.1,
    attack_radius: float | None = None,
    attack_norm: str = "linf",
    attack_method: str = "apgd",
    attack_steps: int = 20,
    attack_restarts: int = 2,
    bounds: tuple[Any, Any] | None = None,
    batch_size: int = 256,
    cache: str | os.PathLike[str] | None = None,
    tol: float = 1e-3,
    time_limit: float | None = None,
    device: str | None = None,
    random_state: int = 0,
) -> Robustified:
    """Retrain the last layers of a classifier by convex adversarial training, to a certified gap ([KLP24], arXiv 2405.14033).

    The features of the data are computed once; a two-layer network is trained on them to the global optimum of its
    convex programme, at the worst point of a ball around every feature; it takes the place of the layers behind the
    feature. Of several values of radius, beta or n_gates the head is taken whose whole model is most accurate under
    attack on the validation inputs, out of those that are certified to the tolerance where there are any. The model that
    is given is not changed.

    Parameters
    ----------
    model : torch.nn.Module
        Any classifier with scores (n,), (n, 1) or (n, C), on any device; used in evaluation mode.
    data : (X, y), torch.utils.data.Dataset or DataLoader
        Inputs as the model takes them, with labels out of ``model.classes`` if it has them, else 0..C-1. Of a loader
        its data set is read, in the order of the indices.
    head : {"polynomial", "relu", "gated-relu"}
        Kind of the new head.
    at : str, optional
        Layer whose output is the feature; by default the input of the last two fully connected layers, or of the last
        one (:func:`convexadv.heads.find_tap`).
    radius : float or sequence of float
        Of the ball around every scaled feature. With ``scaling``, 0.1 is a tenth of the root mean square distance of
        the features from their mean; with ``scaling=None`` it is in raw units. With ``ball="movement"`` 1 is the root
        mean square movement under the attack.
    beta : float or sequence of float
        Weight of the penalty, as a share of the smallest beta with the zero network at radius 0.
    n_gates : int or sequence of int, optional
        Gates that ReLU and gated ReLU heads draw; 100 by default.
    gate_kind : {"gaussian", "differences", "sparse", "open"}, optional
        How they are drawn (:func:`convexadv.problems.gates.sample_gates`); "gaussian" by default. "open" suits ReLU
        heads, whose cones are wide then.
    ball : {"sphere", "movement"}
        "movement": an ellipsoid whose axes are ``sqrt(d)`` times the root mean square movements of the features when
        the inputs of ``model`` are attacked (on at most 2,000 of the training inputs, or on all with
        ``extra="attacked"``). Polynomial heads keep the features as they are; for the others they are divided by the
        axes, none below a hundredth of the longest, which changes what beta weighs.
    scaling : {"standard", "norm", None}
        Of the features, folded into the head. "standard": mean 0, equal deviations; "norm": mean 0 and one factor for
        all. Both make the root mean square norm of the training features 1.
    loss : {"hinge", "squared_hinge", "logistic"}
        As of :class:`convexadv.PolynomialProblem`.
    norm : {"l2", "linf", "l1"}
        Norm of the ball around the features; polynomial heads know l2 (exact) and linf (a restriction).
    multiclass : {"ovr", "joint"}
        One-vs-rest, or joint margins.
    fit_intercept : bool
        Whether neurons of ReLU and gated ReLU heads have offsets. Polynomial heads have none.
    rows : int, optional
        Train the head on so many inputs only: a seeded subset with equally many of each class, or all that a class has.
    extra : {"attacked"}, optional
        Add the features of attacked training inputs as rows with their labels.
    augment : callable, optional
        From a batch of inputs to augmented ones of the same shape; their features are added as rows. It is called once
        a batch, with torch's CPU generator seeded.
    validation : float, data or None
        Fraction of every class that is held out to choose by, or other data; None if there is nothing to choose.
    attack_radius : float, optional
        Of the attack on inputs, in their units; needed to choose, for ``extra`` and for ``ball="movement"``.
    attack_norm : {"linf", "l2", "l1"}
        Norm of the attack on inputs.
    attack_method : {"apgd", "pgd", "fgsm"}
        As of :func:`convexadv.attack`.
    attack_steps, attack_restarts : int
        Of the attack. The first start goes by cross-entropy, the second by margins: the former alone is fooled by
        heads whose scores are flat where they are small.
    bounds : tuple (low, high), optional
        Box of the inputs, such as (0, 1).
    batch_size : int
        Inputs at a time.
    cache : path, optional
        A .npy file for the features of the training inputs, and files beside it for attacked and augmented ones; an
        interrupted extraction goes on where it was. A file for another model, layer or data is an error; another split
        or subset (``validation``, ``rows``, ``random_state``) is other data.
    tol : float
        Certified relative gap at which the head is trained enough.
    time_limit : float, optional
        Seconds for each solve.
    device : str, optional
        torch device of the solver; that of the model if it is a GPU, else the CPU.
    random_state : int
        Seed of the split, the subset, the gates, the attack and the augmentation.

    Returns
    -------
    Robustified
        model, head, report, problem, solution.

    Raises
    ------
    InputError
        If an argument or the data cannot be used.

    Notes
    -----
    A certificate of the head holds for the features: what an attack on the inputs can do to these, it does not say. See
    :func:`convexadv.heads.certify_model`.

    Examples
    --------
    >>> import numpy as np, torch
    >>> import convexadv as ca
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))  # not even trained
    >>> X = np.random.default_rng(0).normal(size=(200, 2)).astype("float32")
    >>> made = ca.robustify(model, (X, (X[:, 0] > 0).astype(int)), radius=[0.05, 0.2], attack_radius=0.1)
    >>> made.model(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).argmax(1)
    tensor([1, 0])
    >>> made.report.gap <= 1e-3, len(made.report.candidates)
    (True, 2)
    """
    if not isinstance(model, torch.nn.Module):
        raise wrong_kind(model, "a torch module")
    number_of_seed = seed(random_state)
    options = _problem_options(head, loss, norm, multiclass, fit_intercept, gate_kind, number_of_seed)
    grid = Grid.of(head, radius, beta, n_gates, options)
    attack = _attack(
        attack_radius, attack_norm, bounds, attack_method, attack_steps, attack_restarts, number_of_seed, batch_size
    )
    _check(grid, ball, extra, validation, attack)
    solve_options = {"tol": number("tol", tol), "time_limit": time_limit, "device": _device(device, model)}
    clock = Clock()
    setup = Setup.of(model, inputs_of(data), at, validation, rows, number_of_seed)
    sources = Sources(model, setup, attack, augment, batch_size, cache, number_of_seed, clock)
    X, y, units, axes = head_rows(sources, head, ball, extra, scaling)
    judge = Judge(setup.validation, setup.validation_y, attack)
    with clock("selection"):
        before = judge.accuracies(model)
    found, table = trials(grid, X, y, units, axes, setup.headed, judge, clock, solve_options)
    candidate, chosen = found[best(table)], table[best(table)]
    network = _labelled(candidate.head, setup.classes, model)
    setup.headed.set_head(network)
    report = HeadReport(
        head=head,
        tap=str(setup.tap),
        tail=setup.headed.backbone.note,
        sizes=sizes_of(setup, len(sources.y), X.shape[0], network.n_neurons),
        scaling=SCALINGS[scaling],
        ball=ball_in_words(ball, norm, attack),
        chosen=chosen,
        candidates=table,
        gap=candidate.point.solution.gap,
        class_gaps=gaps_of_classes(candidate.point),
        attack=None if attack is None else attack.to_dict(),
        before=before,
        after={name: chosen[name] for name in ("clean", "attacked")},
        seconds=clock.seconds(),
    )
    return Robustified(setup.headed, network, report, candidate.point.problem, candidate.point.solution)


def _problem_options(
    head: Any, loss: Any, norm: Any, multiclass: Any, fit_intercept: Any, gate_kind: Any, random_state: int
) -> dict[str, Any]:
    """Arguments of the training problem that are the same for all candidates."""
    if isinstance(loss, str) and loss == "squared":
        raise InputError('loss="squared" is for real targets; a head needs "hinge", "squared_hinge" or "logistic".')
    options = {"loss": loss, "norm": norm, "multiclass": choice("multiclass", multiclass, ("ovr", "joint"))}
    if isinstance(head, str) and head == "polynomial":
        if gate_kind is not None:
            raise InputError(f"gate_kind={gate_kind!r} is a setting of ReLU and gated ReLU heads; leave it out.")
        return options
    gates = {"random_state": random_state, "gate_kind": "gaussian" if gate_kind is None else gate_kind}
    return {**options, "fit_intercept": fit_intercept, **gates}


def _attack(
    radius: Any, norm: Any, bounds: Any, method: Any, steps: Any, restarts: Any, random_state: int, batch_size: Any
) -> InputAttack | None:
    """The attack on inputs, if there is one."""
    size = positive_integer("batch_size", batch_size)
    if radius is None:
        return None
    return InputAttack(
        number("attack_radius", radius),
        choice("attack_norm", norm, ("linf", "l2", "l1")),
        None if bounds is None else sides(bounds),
        choice("attack_method", method, METHODS),
        positive_integer("attack_steps", steps),
        positive_integer("attack_restarts", restarts),
        random_state,
        size,
    )


def _check(grid: Grid, ball: Any, extra: Any, validation: Any, attack: InputAttack | None) -> None:
    choice("ball", ball, BALLS)
    if extra not in (None, "attacked"):
        raise InputError(f'extra={extra!r} is unknown; choose "attacked" or None.')
    if attack is None:
        wants = [
            *(["several settings to choose from"] if len(grid) > 1 else []),
            *(['extra="attacked"'] if extra else []),
            *(['ball="movement"'] if ball == "movement" else []),
        ]
        if wants:
            raise InputError(f"{wants[0]} needs attack_radius, the radius of attacks on the inputs.")
    if len(grid) > 1 and validation is None:
        raise InputError("several settings to choose from need validation inputs: a fraction, or data.")


def _labelled(network: Network | None, classes: np.ndarray, model: torch.nn.Module) -> Network:
    """The head with the labels of the model, where these are sorted; else with class numbers."""
    assert network is not None
    own = getattr(model, "classes", None)
    if own is None or (np.sort(classes) == classes).all():
        network.classes = classes
    return network


def _device(device: str | None, model: torch.nn.Module) -> str | None:
    if device is not None:
        return device
    own = device_of(model, torch.empty(0))
    return str(own) if own.type == "cuda" else None
