"""What is known about the cones of the gates of a ReLU problem before it is solved."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...cones import Hull, hull_of
from ...problems.pattern_cones import cone_interiors

_SHALLOW = 1e-10
"""Relative depth of a point below which its cone may be flat."""


class Living(NamedTuple):
    """Cones of the gates."""

    alive: np.ndarray
    """(P,) cones that have an interior, relative to their linear hull."""
    dead: np.ndarray
    """(P,) cones that are proved to be {0} at this radius."""
    inside: np.ndarray
    """(P, D) unit vectors inside of the cones that are alive."""
    hulls: dict[int, Hull]
    """Linear hulls of cones that are alive and flat, by gate."""
    flat: np.ndarray
    """(P,) cones without an interior that are not proved to be {0}."""


def living_gates(problem: Any) -> Living:
    """Gates whose cones have an interior, perhaps relative to their linear hull, and a point of it.

    At radius 0 a gate with no row on its boundary lies inside its own cone.
    """
    clear, hulls = np.zeros(problem.n_gates, bool), {}
    points = (problem.gates / np.linalg.norm(problem.gates, axis=0)).T
    if not problem.robust:
        clear = _clear(problem, points.T)
        hulls = _hulls(problem, np.flatnonzero(~clear))
    alive, dead = clear.copy(), np.zeros_like(clear)
    for gate, hull in hulls.items():
        alive[gate], points[gate] = True, hull.point
    left = np.flatnonzero(~alive)
    if len(left):
        found = cone_interiors(problem, gate=left)
        alive[left], dead[left], points[left] = found.depth > 0, found.dead, found.points
    flat = ~alive & ~dead
    flat[list(hulls)] = True
    return Living(alive, dead, points, hulls, flat)


def _clear(problem: Any, units: np.ndarray) -> np.ndarray:
    """Whether gates of norm one keep a distance from all rows, (P,) bool."""
    clear = np.ones(problem.n_gates, bool)
    for _, block in problem.rows.blocks():
        length = np.linalg.norm(block, axis=1)
        clear &= (np.abs(block @ units) > _SHALLOW * length[:, None])[length > 0].all(0)
    return clear


def _hulls(problem: Any, gates: np.ndarray) -> dict[int, Hull]:
    if not len(gates):
        return {}
    X = problem.rows.whole()
    signs = np.where(problem.patterns[:, gates], 1.0, -1.0)
    found = {int(k): hull_of(X, signs[:, place], problem.gates[:, k]) for place, k in enumerate(gates)}
    return {k: hull for k, hull in found.items() if hull is not None}
