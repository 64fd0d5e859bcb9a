"""What is asked about worst-case margins, checked once for margins, certificates and accuracies; and the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from .._arrays import Array, is_tensor, to_numpy
from .._checks import number, per_row, positive_integer
from ..balls import NORMS, check_norm
from ..errors import InputError
from ..networks import GatedReLUNetwork, Network, PolynomialNetwork, ReLUNetwork
from ..networks.evaluation import evaluate
from ..networks.labels import label_indices
from ..networks.network import class_margins
from ..rows import Rows, check_finite, whole
from .arguments import sides_of
from .pgd import Neighbourhood

EXACT_TOLERANCE = 1e-9
"""A bound is exact if a point attains it to this part of what the terms of the margin can add up to in the ball."""
UNDERFLOW = 1e-300
"""What is subtracted from every bound that has terms: more than products of denormal numbers lose."""


class Found(NamedTuple):
    """Bounds (n,), whether they are attained (n,), and the best points (n, d) if wanted."""

    lower: np.ndarray
    exact: np.ndarray
    point: np.ndarray | None


@dataclass(frozen=True)
class Search:
    """How far a worst case is sought beyond the linear bounds, as in :func:`convexadv.worst_case_margin`.

    Attributes
    ----------
    complete : bool
    max_branches : int
    time_limit : float or None
        In seconds.
    deciding : bool
        Whether the sign of a worst case is all that is wanted.
    """

    complete: bool
    max_branches: int
    time_limit: float | None
    deciding: bool = False

    @classmethod
    def of(cls, complete: Any, max_branches: Any, time_limit: Any) -> Search:
        """Check the arguments."""
        if not isinstance(complete, (bool, np.bool_)):
            raise InputError(f"complete must be True or False, got {complete!r}.")
        limit = None if time_limit is None else number("time_limit", time_limit)
        return cls(bool(complete), positive_integer("max_branches", max_branches), limit)


@dataclass(frozen=True, eq=False)
class Query:
    """Checked arguments: a network, rows and their balls.

    Attributes
    ----------
    network : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
        With classes.
    X : (n, d) of any real dtype
    labels : (n,) of int64
        Class numbers.
    radius : (n,)
        In the units of X.
    norm : str
    device : torch.device or None
        Where the results belong; None for NumPy arrays.
    bounds : pair of (d,) arrays or None
        The box of the inputs, in the units of X, if it counts.
    """

    network: Network
    X: np.ndarray
    labels: np.ndarray
    radius: np.ndarray
    norm: str
    device: Any
    bounds: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, network: Any, X: Any, y: Any, radius: Any, norm: Any, bounds: Any = None) -> Query:
        """Check the arguments."""
        if not isinstance(network, (PolynomialNetwork, ReLUNetwork, GatedReLUNetwork)):
            raise InputError(
                "worst-case margins need a PolynomialNetwork, ReLUNetwork or GatedReLUNetwork, got "
                f"{type(network).__name__}; attack takes any torch module."
            )
        classes = network.known_classes()
        check_norm(norm, NORMS)
        X = whole(X)
        rows = Rows.of(X)
        network.check_width(rows.shape)
        check_finite(rows)
        array = rows.take(np.arange(rows.n)) if isinstance(X, (list, tuple)) else to_numpy(X)
        labels, radii = label_indices(y, classes, rows.n), per_row("radius", radius, rows.n)
        box = None if bounds is None else _box(bounds, array, network, norm)
        return cls(network, array, labels, radii, norm, X.device if is_tensor(X) else None, box)

    def within(self, radius: float) -> Query:
        """The same with another radius, of all rows."""
        return replace(self, radius=np.full(len(self.X), radius))

    @property
    def y(self) -> np.ndarray:
        """Labels (n,) as the classes of the network have them."""
        assert self.network.classes is not None
        return self.network.classes[self.labels]

    def predicted(self) -> np.ndarray:
        """Which rows (n,) the network, in its own precision, predicts as labelled."""
        return np.asarray(self.network.predict(self.X)) == self.y

    def correct(self) -> np.ndarray:
        """Which rows (n,) have a positive margin in the network's own precision."""
        scores = torch.as_tensor(evaluate(self.network, self.X))
        return to_numpy(class_margins(scores, torch.as_tensor(self.labels))) > 0

    def returned(self, array: np.ndarray) -> Array:
        """Make the array one of the kind of X."""
        return array if self.device is None else torch.from_numpy(array).to(self.device)

    def moved(self, rows: np.ndarray, delta: np.ndarray) -> np.ndarray:
        """Some rows plus perturbations (g, d) in the units of X, rounded so that they stay in the ball."""
        centre = torch.from_numpy(np.array(self.X[rows], dtype=np.float64))
        box = () if self.bounds is None else (torch.from_numpy(side) for side in self.bounds)
        ball = Neighbourhood(centre, torch.from_numpy(self.radius[rows]), self.norm, *box)
        return ball.settle(centre + torch.from_numpy(delta)).numpy()


def _box(bounds: Any, X: np.ndarray, network: Network, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Check the box of the inputs."""
    if norm != "linf" or not isinstance(network, PolynomialNetwork):
        raise InputError(
            f"bounds are known for linf balls of a PolynomialNetwork, got norm={norm!r} and a {type(network).__name__}; "
            "leave them out, and the result holds for the box too."
        )
    low, high = sides_of(bounds, (X.shape[1],))
    outside = (np.clip(X, low, high) != X).any(1)
    if outside.any():
        raise InputError(
            f"row {int(outside.argmax())} of X lies outside of the bounds; rows inside are needed, around which balls "
            "are cut."
        )
    return low, high
