"""Gradient attacks on any torch module, in raw inputs: upper bounds of the worst-case margins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import Array, is_tensor, to_numpy
from .._checks import per_row, positive_integer
from ..balls import check_norm
from ..errors import InputError
from ..rows import whole
from . import _plans
from ._search import search
from ._starts import Starts
from .arguments import box, classes_of, device_of, evaluation_mode, float_rows, positions, scorer
from .goals import Goal, LossOfScores
from .pgd import Neighbourhood


@dataclass(frozen=True, eq=False, repr=False)
class AttackResult:
    """Points found by an attack; arrays of the kind of X.

    Attributes
    ----------
    points : (n, d) or the shape of X
        The attacked rows: within the radius to 1e-12 relative, inside the box exactly. A row that is
        predicted as the attack wants it without being moved keeps its own point.
    success : (n,) bool
        Whether another label than y is predicted at the point, or the target where one was given.
    scores : (n,) or (n, C)
        Outputs of the network at the points.
    margins : (n,)
        Margins of the labels y at the points: upper bounds of the worst-case margins.
    method : str
        The attack, or the attacks with plus signs between them.
    norm : str
        "l1", "l2" or "linf".
    radius : float or (n,)
        As given.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> result = ca.attack(network, X, y, radius=0.5, norm="l2", method="fgsm")
    >>> result.points.round(6)[1].tolist(), result.margins.round(6).tolist()
    ([-0.3, 0.0], [0.5, -0.3])
    """

    points: Array
    success: Array
    scores: Array
    margins: Array
    method: str
    norm: str
    radius: Any

    def __repr__(self) -> str:
        radius = f"{self.radius:g}" if np.ndim(self.radius) == 0 else "per row"
        counts = f"rows={len(self.success)}, success={int(self.success.sum())}"
        return f"AttackResult(method={self.method!r}, norm={self.norm!r}, radius={radius}, {counts})"


def attack(
    network: torch.nn.Module,
    X: Array,
    y: Any,
    radius: Any,
    norm: str = "linf",
    method: str | Sequence[str] = "pgd",
    bounds: tuple[Any, Any] | None = None,
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 5,
    random_state: int | torch.Generator | None = 0,
    batch_size: int | None = None,
    loss: str | LossOfScores | None = None,
    target: Any = None,
) -> AttackResult:
    """Search the ball around each row for a point of another class.

    FGSM takes one step of the whole radius along the steepest direction of the loss. PGD takes projected
    steps from the row itself and from random points of its ball, and keeps the point of lowest margin of each
    row. APGD (Croce, Hein, ICML 2020, arXiv 2003.01690) does so with momentum and finds its step sizes itself.
    Of several attacks the point of lowest margin of each row is kept. The module is used in evaluation mode and
    left as it was; no gradient is stored on its parameters.

    Parameters
    ----------
    network : torch.nn.Module
        Any differentiable module with one score a row, (n,) or (n, 1), positive for the second class, or one
        a class, (n, C).
    X : array or tensor (n, d) or (n, ...)
        Raw inputs; images keep their shape. A path, source or PyTorch data set is read whole, as rows (n, d).
    y : array-like (n,)
        Labels out of ``network.classes`` if the module has them; else 0..C-1, or for one score the two values
        that occur, in sorted order (0 and 1, or -1 and 1, if only one value occurs).
    radius : float or array (n,)
        Radius of the ball in the units of X, of every row or of each.
    norm : "linf", "l2" or "l1"
        Norm of the ball.
    method : "pgd", "apgd", "fgsm", "exact", a list of these, or "strongest"
        The attack. "exact" takes the points of :func:`worst_case_margin` where they are known to be the worst:
        PolynomialNetworks in l2 balls without bounds. "strongest" makes all attacks that the network allows,
        and for three classes or more, unless a loss is given, APGD with DLR and towards each class.
    bounds : tuple (low, high), optional
        Box that the inputs live in: numbers, (d,) arrays or anything that broadcasts to a row; rounded to the
        precision of X. The rows must lie in it.
    steps : int
        Steps of PGD and APGD from each start.
    step_size : float, optional
        Constant length of the steps of PGD, and of the first step of APGD, in the units of X. By default step
        k = 0..K-1 of PGD has the length ``(10 r / K) (1 + cos(pi k / K))``, and the first one is r: the step of
        FGSM; APGD starts with 2 r.
    restarts : int
        Starts of PGD and APGD: the first at the row, the others uniform in its ball.
    random_state : int, torch.Generator (on the CPU) or None
        Seed of the random starts; None draws it from the system. The global generator is not used. The starts
        of a row depend on its number, not on the other rows or batches.
    batch_size : int, optional
        Rows evaluated together; all by default. Results differ by rounding only.
    loss : "margin", "cross_entropy", "dlr" or callable, optional
        What the steps increase: ``max over c != y of f_c - f_y``, the cross-entropy, the first over the
        difference of the largest and the third largest score, or a function of the scores (n,) or (n, C) and
        the class numbers (n,) that returns a loss a row (n,). With a target, they lower the loss of the target.
        By default the margin for two classes, whose cross-entropy has the same steps; for more classes
        cross-entropy (FGSM too) and margin take turns with the starts.
    target : "each" or array-like (n,), optional
        Labels, other than y, that the points shall be predicted as; the point of the largest margin of the
        target is kept. With "each" the steps go for every other class in turn, and any of them will do.

    Returns
    -------
    AttackResult
        NumPy arrays for an array X, tensors on the device of X for a tensor.

    Raises
    ------
    InputError
        For an argument that does not fit, a row outside of the box, scores that are not finite, a module
        that is not differentiable, or ``method="exact"`` where the worst case is not known.

    Notes
    -----
    Where the gradient is zero, PGD and APGD move at random.

    A :class:`GatedReLUNetwork` jumps at its gates, where gradients show nothing: PGD and APGD also try points
    just beyond the gates that are nearest to the points found.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0, 0.0], [-1.0, 0.0]], [1.0, -1.0], classes=["left", "right"])  # f(x) = x_0
    >>> X, y = np.array([[1.0, 0.0], [0.2, 0.0]]), ["right", "right"]
    >>> result = ca.attack(network, X, y, radius=0.5, norm="l2", method="pgd")
    >>> result.success
    array([False,  True])
    >>> network.predict(result.points)
    array(['right', 'left'], dtype='<U5')
    """
    if not isinstance(network, torch.nn.Module):
        raise InputError(f"attack needs a torch module, got {type(network).__name__}.")
    check_norm(norm, ("linf", "l2", "l1"))
    X = whole(X)
    rows = float_rows(X)
    n, shape = len(rows), tuple(rows.shape[1:])
    flat = rows.reshape(n, -1)
    radii = torch.as_tensor(per_row("radius", radius, n), device=flat.device)
    low, high = box(bounds, flat, shape)
    starts = Starts(random_state)
    size = n if batch_size is None else positive_integer("batch_size", batch_size)
    unknown = _plans.why_unknown(network, norm, bounds, target)
    parts = []
    with evaluation_mode(network), torch.inference_mode(False), torch.enable_grad():
        score = scorer(network, shape)
        device = device_of(network, flat)
        with torch.no_grad():
            probe = score(flat[:1].to(device))
        outputs = 2 if probe.ndim == 1 else probe.shape[1]
        plans = _plans.plans(method, steps, step_size, restarts, loss, target, unknown, outputs)
        goal = _goal(network, y, target, n, probe).to(device)
        place = [None if side is None else side.to(device) for side in (low, high)]
        for start in range(0, n, size):
            part = slice(start, start + size)
            ball = Neighbourhood(flat[part].to(device).clone(), radii[part].to(device), norm, *place)
            numbers = torch.arange(n)[part]
            found = search(network, score, goal[part], ball, plans, starts, numbers)
            parts.append([value.detach().to(flat.device) for value in found])
    points, success, scores, margins = (torch.cat(column) for column in zip(*parts, strict=True))
    arrays: list[Array] = [points.reshape(rows.shape), success, scores, margins]
    if not is_tensor(X):
        arrays = [to_numpy(array) for array in arrays]
    name = method if isinstance(method, str) else "+".join(method)
    return AttackResult(arrays[0], arrays[1], arrays[2], arrays[3], name, norm, radius)


def _goal(network: torch.nn.Module, y: Any, target: Any, n: int, probe: torch.Tensor) -> Goal:
    """Turn labels and targets to class numbers."""
    if target is None or _plans.is_each(target):
        return Goal(positions(classes_of(network, [y], probe), y, n))
    if isinstance(target, str):
        raise InputError(f'target must be "each", one label a row, or None, got {target!r}.')
    classes = classes_of(network, [y, target], probe)
    labels, aims = positions(classes, y, n), positions(classes, target, n)
    same = torch.nonzero(labels == aims)
    if len(same):
        raise InputError(f"target must differ from y, but row {int(same[0])} has the same label in both.")
    return Goal(labels, aims)
