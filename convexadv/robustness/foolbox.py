"""Attacks of the package foolbox (Rauber, Brendel, Bethge, 2017) on networks that it does not take by itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .._arrays import Array, is_tensor, to_numpy
from .._checks import per_row, positive_integer
from ..balls import check_norm
from ..errors import InputError
from ..networks.network import class_margins
from ..rows import whole
from .arguments import Scorer, box, classes_of, device_of, evaluation_mode, float_rows, positions, scorer, seed
from .attacks import AttackResult
from .goals import decision
from .pgd import Neighbourhood, better

_ORDERS = {"l1": 1, "l2": 2, "linf": float("inf")}
_PREFIXES = {"l1": "L1", "l2": "L2", "linf": "Linf"}


def foolbox_attack(
    network: torch.nn.Module,
    X: Array,
    y: Any,
    radius: Any,
    norm: str = "linf",
    attack: Any = "PGD",
    bounds: tuple[Any, Any] | None = None,
    restarts: int = 1,
    random_state: int = 0,
) -> AttackResult:
    """Run an attack of foolbox on the balls around the rows, and check what it finds.

    foolbox sees two logits (0, f) for one score f, inputs scaled to the cube [0, 1] by one factor for all features,
    and the box inside of the network, which clips them. Its points are projected on the ball and the box, and scores,
    margins and success are computed anew.

    Parameters
    ----------
    network, X, y, radius, norm, bounds
        As of :func:`attack`.
    attack : str or foolbox attack
        An object of ``foolbox.attacks``, or the name of one that needs no settings: "LinfPGD", or "PGD" for the one
        of the norm. Lengths in its settings that are not relative to the radius are in parts of the widest side of
        the box, or, without one, of the range of all entries of X and their balls.
    restarts : int
        How often it is run; the point of lowest margin of each row is kept.
    random_state : int
        Seed of torch's generator while it runs, which is restored.

    Returns
    -------
    AttackResult
        ``method`` is "foolbox " and the name of the attack.

    Raises
    ------
    ImportError
        If foolbox is not installed.
    InputError
        As :func:`attack`, and for an attack that is unknown or is of another norm.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> ca.foolbox_attack(network, X, y, radius=0.5, norm="l2", attack="PGD").success
    array([False,  True])
    """
    if not isinstance(network, torch.nn.Module):
        raise InputError(f"foolbox_attack needs a torch module, got {type(network).__name__}.")
    check_norm(norm, ("linf", "l2", "l1"))
    foolbox = _foolbox()
    method = _method(foolbox, attack, norm)
    repeats, number = positive_integer("restarts", restarts), seed(random_state)
    X = whole(X)
    rows = float_rows(X)
    n, shape = len(rows), tuple(rows.shape[1:])
    flat = rows.reshape(n, -1)
    radii = torch.as_tensor(per_row("radius", radius, n), device=flat.device)
    low, high = box(bounds, flat, shape)
    with evaluation_mode(network), _without_weights(network), torch.inference_mode(False), torch.enable_grad():
        device = device_of(network, flat)
        place = [None if side is None else side.to(device) for side in (low, high)]
        ball = Neighbourhood(flat.to(device).clone(), radii.to(device), norm, *place)
        score = scorer(network, shape)
        with torch.no_grad():
            scores = score(ball.rows)
        labels = positions(classes_of(network, [y], scores), y, n).to(device)
        right = decision(scores) == labels
        view = _View(score, ball)
        model = foolbox.PyTorchModel(view.eval(), bounds=(0.0, 1.0), device=device)
        points = ball.rows.clone()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(number)
            for value in torch.unique(ball.radius[right & (ball.radius > 0)]).tolist():
                todo = torch.nonzero(right & (ball.radius == value))[:, 0]
                part, best, merit = ball[todo], ball.rows[todo], None
                for _ in range(repeats):
                    inputs = view.scaled(part.rows).reshape(len(todo), *shape)
                    found = method(model, inputs, labels[todo], epsilons=value / view.width)[1]
                    candidate = part.settle(part.project(view.raw(found.detach().reshape(len(todo), -1))))
                    with torch.no_grad():
                        worth = -class_margins(score(candidate), labels[todo])
                    best, merit = better(candidate, worth, best, merit)
                points[todo] = best
        with torch.no_grad():
            scores = score(points)
    found = [points.reshape(rows.shape), decision(scores) != labels, scores, class_margins(scores, labels)]
    arrays: list[Array] = [value.detach().to(rows.device) for value in found]
    if not is_tensor(X):
        arrays = [to_numpy(array) for array in arrays]
    name = f"foolbox {attack if isinstance(attack, str) else type(attack).__name__}"
    return AttackResult(arrays[0], arrays[1], arrays[2], arrays[3], name, norm, radius)


class _View(torch.nn.Module):
    """The scores as foolbox wants them: inputs in [0, 1], at least two logits."""

    def __init__(self, score: Scorer, ball: Neighbourhood) -> None:
        super().__init__()
        reach = float(ball.radius.max())
        low, high = float(ball.rows.min()) - reach, float(ball.rows.max()) + reach
        if ball.low is not None and ball.high is not None:
            low, high = max(low, float(ball.low.min())), min(high, float(ball.high.max()))
        self._score, self._ball, self._origin = score, ball, low
        self.width = high - low if high > low else 1.0

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """From raw units to [0, 1]."""
        return ((x - self._origin) / self.width).clamp(0.0, 1.0)

    def raw(self, u: torch.Tensor) -> torch.Tensor:
        """From [0, 1] to raw units, inside of the box."""
        x = self._origin + self.width * u
        return x if self._ball.low is None else torch.clip(x, self._ball.low, self._ball.high)

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        scores = self._score(self.raw(u.reshape(len(u), -1)))
        return torch.stack([torch.zeros_like(scores), scores], 1) if scores.ndim == 1 else scores


def _foolbox() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its import uses old names of scipy
            import foolbox
    except ImportError as error:
        raise ImportError(f"foolbox_attack needs the package foolbox ({error}): pip install foolbox.") from error
    return foolbox


def _method(foolbox: Any, attack: Any, norm: str) -> Any:
    """Find the attack, and check that its distance is the norm."""
    method = attack
    if isinstance(attack, str):
        found = getattr(foolbox.attacks, _PREFIXES[norm] + attack, None) or getattr(foolbox.attacks, attack, None)
        if found is None or not callable(found):
            raise InputError(f"foolbox has no attack {attack!r}; take a name of foolbox.attacks.")
        try:
            method = found()
        except (TypeError, ValueError) as error:
            raise InputError(f"the attack {attack!r} of foolbox needs settings: give the object itself.") from error
    if not isinstance(method, foolbox.attacks.base.Attack):
        raise InputError(f"attack must be a name or an attack of foolbox, got {type(attack).__name__}.")
    order = getattr(getattr(method, "distance", None), "p", _ORDERS[norm])
    if order != _ORDERS[norm]:
        raise InputError(
            f"the attack {type(method).__name__} of foolbox is for l{order:g} balls, norm is {norm!r}; they must agree."
        )
    return method


@contextmanager
def _without_weights(network: torch.nn.Module) -> Iterator[None]:
    """Keep gradients off the parameters: foolbox goes backwards through the whole module."""
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)
