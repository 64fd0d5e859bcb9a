"""Worst-case margins over balls around rows: exact for l2, a lower bound for linf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import Array
from ..networks import PolynomialNetwork
from ._worst_case import Task


@dataclass(frozen=True, eq=False, repr=False)
class MarginResult:
    """Result of :func:`worst_case_margin`: float64 arrays of the kind of X.

    Attributes
    ----------
    lower_bound : (n,)
        No point of the ball has a smaller margin. An allowance for rounding is subtracted; -inf where the
        network overflows in float64.
    exact : (n,) bool
        Whether ``lower_bound`` is the worst-case margin itself: a perturbation in the ball attains it, to 1e-9
        of the magnitude that the terms alpha_j s(u_j . z) of the margin can add up to in the ball.
    point : (n, d) or None
        Raw inputs in the ball around each row, with the smallest margin that was found; the minimiser where
        ``exact``, up to the rounding of its coordinates.
    norm : str
        "l2" or "linf".
    radius : float or (n,)
        As given.
    """

    lower_bound: Array
    exact: Array
    point: Array | None
    norm: str
    radius: Any

    def __repr__(self) -> str:
        counts = f"positive={int((self.lower_bound > 0).sum())}, exact={int(self.exact.sum())}"
        ball = f"norm={self.norm!r}, radius={radius_text(self.radius)}"
        return f"MarginResult(rows={len(self.exact)}, {counts}, {ball})"


def worst_case_margin(network: PolynomialNetwork, X: Array, y: Any, radius: Any, norm: str = "l2") -> MarginResult:
    r"""Bound the margin of every row over its ball from below; exactly for l2.

    worst_i = min over ||delta||_p <= r_i of margin_i(x_i + delta),

    with the margin y f(x), y = -1 for the first and +1 for the second class, or f_y(x) - max over c != y of
    f_c(x).

    Parameters
    ----------
    network : PolynomialNetwork
        With classes.
    X : array or tensor (n, d)
        Raw inputs: the network's own shift and scale are applied to them.
    y : array-like (n,)
        Labels out of ``network.classes``.
    radius : float or (n,)
        Radius r >= 0 of every ball, in the units of X. 0 gives the margin itself.
    norm : {"l2", "linf"}
        The ball. "l2": the exact minimum, by the S-procedure ([KLP24] Kuelbs, Lall, Pilanci, arXiv
        2405.14033). "linf", where the minimum is NP-hard: the lower bound of diagonal multipliers, exact
        where ``exact`` says so.

    Returns
    -------
    MarginResult
        lower_bound (n,), exact (n,), point (n, d); NumPy arrays, or tensors on the device of X.

    Raises
    ------
    InputError
        If the network is of another kind or has no classes, X has another number of features, no rows, or
        values that are not finite numbers, a label is unknown, a radius is negative, or the norm is another
        one.

    Notes
    -----
    The bounds hold for the network of these weights in exact arithmetic, and for its values in float64. A
    network in float32 adds the rounding of its own evaluation.
    """
    task = Task.of(network, X, y, radius, norm)
    found = task.solve(points=True)
    point = None if found.point is None else task.returned(found.point)
    return MarginResult(task.returned(found.lower), task.returned(found.exact), point, norm, radius)


def radius_text(radius: Any) -> str:
    """Show a radius, or say that there is one a row, for ``repr``."""
    return f"{float(radius):g}" if np.ndim(radius) == 0 else "per row"
