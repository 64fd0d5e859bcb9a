r"""Norm balls of perturbations: projection, support function, dual norm, gauge. NumPy and torch.

The balls are ``{delta : ||delta||_p <= r}`` for p = 1, 2, infinity and the ellipsoid
``{delta : ||delta / scale||_2 <= r, delta_j = 0 where scale_j = 0}``. Arrays have the features in their last
dimension; a radius is a number or has the shape of the leading dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ._arrays import Array, is_tensor, namespace, rows_in_numpy
from .errors import InputError

NORMS = ("l1", "l2", "linf")
_DUAL = {"l1": "linf", "l2": "l2", "linf": "l1"}
_POINT = 1e-290  # an ellipsoid of a smaller radius is its centre: quotients by denormal numbers overflow
_NEWTON_STEPS = 60


def check_norm(norm: Any, allowed: Sequence[str] = NORMS) -> None:
    """Raise an error for a norm that is not one of the names allowed.

    Parameters
    ----------
    norm : str
        The name given.
    allowed : sequence of str
        The names known where it was given.

    Raises
    ------
    InputError
        If it is another one.
    """
    if not isinstance(norm, str) or norm not in allowed:
        names = " or ".join(f'"{name}"' for name in allowed)
        raise InputError(f"norm must be {names}, got {norm!r}.")


def dual_norm_name(norm: str) -> str:
    """Name the dual norm: ``||g||_* = max of g'delta over ||delta|| <= 1``.

    Parameters
    ----------
    norm : "l1", "l2" or "linf"
        The norm of the ball.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If the norm is another one.
    """
    check_norm(norm)
    return _DUAL[norm]


def gauge(delta: Array, norm: str, scale: Array | None = None) -> Array:
    """Measure perturbations: the radius of the smallest ball that holds each of them.

    Parameters
    ----------
    delta : (..., d)
        Perturbations.
    norm : "l1", "l2" or "linf"
        Norm of the ball.
    scale : (d,), optional
        Half axes >= 0 of the unit ellipsoid, for "l2".

    Returns
    -------
    (...)
        ``||delta||_p`` or ``||delta / scale||_2``; infinity where a feature of scale zero is perturbed.

    Raises
    ------
    InputError
        For an unknown norm, or a scale with a norm other than "l2".
    """
    _check(norm, scale)
    xp = namespace(delta)
    if scale is not None:
        scale = _like(scale, delta)
        fixed = scale == 0
        # Infinity only where it is needed: 0 / 0 would be NaN and a warning.
        stretched = delta / xp.where(fixed, xp.ones_like(scale), scale)
        delta = xp.where(fixed & (delta != 0), xp.full_like(delta, xp.inf), stretched)
    if norm == "l1":
        return abs(delta).sum(-1)
    if norm == "linf":
        return xp.amax(abs(delta), -1)
    return xp.sqrt((delta * delta).sum(-1))


def support(direction: Array, radius: Any, norm: str, scale: Array | None = None) -> Array:
    """Maximise ``direction'delta`` over the ball: the radius times the dual norm.

    Parameters
    ----------
    direction : (..., d)
        Directions.
    radius : float or (...)
        Radius of each ball, in the units of delta.
    norm : "l1", "l2" or "linf"
        Norm of the ball.
    scale : (d,), optional
        Half axes >= 0 of the unit ellipsoid, for "l2".

    Returns
    -------
    (...)
        ``r ||direction||_q``, or ``r ||scale * direction||_2``.

    Raises
    ------
    InputError
        For an unknown norm, or a scale with a norm other than "l2".
    """
    _check(norm, scale)
    if scale is not None:
        direction = direction * _like(scale, direction)
    return _like(radius, direction) * gauge(direction, _DUAL[norm])


def project(delta: Array, radius: Any, norm: str, scale: Array | None = None) -> Array:
    """Project perturbations on the ball, in the Euclidean distance.

    Parameters
    ----------
    delta : (..., d)
        Perturbations, floating.
    radius : float or (...)
        Radius >= 0 of each ball, in the units of delta.
    norm : "l1", "l2" or "linf"
        Norm of the ball.
    scale : (d,), optional
        Half axes >= 0 of the unit ellipsoid, for "l2".

    Returns
    -------
    (..., d)
        The nearest points of the balls; delta itself where it lies inside.

    Raises
    ------
    InputError
        For an unknown norm, or a scale with a norm other than "l2".

    Notes
    -----
    l1 subtracts the threshold ``max_k (|delta|_(1) + ... + |delta|_(k) - r) / k`` from the magnitudes (Duchi,
    Shalev-Shwartz, Singer, Chandra, ICML 2008). The ellipsoid solves its secular equation by Newton's method.
    """
    _check(norm, scale)
    xp = namespace(delta)
    radius = _like(radius, delta)[..., None]
    if scale is not None:
        return _project_ellipsoid(delta, radius, _like(scale, delta))
    if norm == "linf":
        return xp.clip(delta, -radius, radius)
    length = gauge(delta, norm)[..., None]
    outside = length > radius
    if norm == "l2":
        return delta * _ratio(radius, length, outside)
    magnitude = abs(delta)
    below = magnitude - xp.amax(magnitude, -1)[..., None]  # exact where it counts: a small ball far away stays one
    ordered = -_sorted(-below)
    count = xp.ones_like(delta).cumsum(-1)
    threshold = xp.amax((ordered.cumsum(-1) - radius) / count, -1)[..., None]
    shrunk = xp.sign(delta) * xp.clip(below - threshold, 0.0, None)
    return xp.where(outside, shrunk, delta)


def project_in_box(delta: Array, radius: Any, norm: str, low: Array, high: Array) -> Array:
    """Project perturbations on the part of the ball that lies in a box around zero.

    Parameters
    ----------
    delta : (..., d)
        Perturbations, floating.
    radius : float or (...)
        Radius >= 0 of each ball.
    norm : "l2" or "linf"
        Norm of the ball.
    low, high : (..., d)
        The box, low <= 0 <= high; infinite entries are allowed.

    Returns
    -------
    (..., d)
        The nearest points that lie in both.

    Raises
    ------
    InputError
        For another norm.

    Notes
    -----
    With l2 the nearest point is ``clip(t delta, low, high)`` for the largest t <= 1 that fits into the ball, by the
    first-order condition in each coordinate. Its squared norm is concave, piecewise linear and rising in t^2, so
    Newton's method on t^2 rises to the solution in finitely many steps, and every t on the way fits.
    """
    check_norm(norm, ("l2", "linf"))
    xp = namespace(delta)
    if norm == "linf":
        return xp.clip(project(delta, radius, norm), low, high)
    radius = _like(radius, delta)
    shape = np.broadcast_shapes(*(tuple(part.shape) for part in (delta, low, high)), (*radius.shape, 1))
    delta, low, high = (xp.broadcast_to(part, shape).reshape(-1, shape[-1]) for part in (delta, low, high))
    radius = xp.broadcast_to(radius, shape[:-1]).reshape(-1)
    return _project_rows(delta, low, high, radius).points.reshape(shape)


class _Rows(NamedTuple):
    points: Array


@rows_in_numpy
def _project_rows(delta: Array, low: Array, high: Array, radius: Array) -> _Rows:
    """The l2 case for rows (n, d) and radii (n,)."""
    xp = namespace(delta)
    nearest = xp.minimum(xp.maximum(delta, low), high)
    far = xp.argwhere((nearest**2).sum(-1) > radius**2)[:, 0]
    if len(far):
        delta, low, high, radius = (part[far] for part in (delta, low, high, radius))
        grown = _largest_factor(delta, radius, low, high)[:, None] * delta
        nearest[far] = xp.minimum(xp.maximum(grown, low), high)
    return _Rows(nearest)


def _largest_factor(delta: Array, radius: Array, low: Array, high: Array) -> Array:
    """Solve ``||clip(t delta, low, high)||^2 = sum_j min(t^2 delta_j^2, limit_j^2) = r^2`` for t (n,) below one."""
    xp = namespace(delta)
    side = xp.copysign(xp.ones_like(delta), delta)  # "where" takes four times as long on random signs
    square, target = delta**2, radius**2
    limit = xp.minimum(xp.maximum(side * low, side * high) ** 2, square)  # finite, and the same for t <= 1
    # The steps from t^2 = 0 and 1: tangents of a concave function lie above it, so neither passes the root.
    root = target / square.sum(-1)
    following = _newton(xp.ones_like(root), square, limit, target)
    left, current = xp.argwhere(xp.ones_like(root))[:, 0], root
    for _ in range(_NEWTON_STEPS):
        current = xp.where(following > current, following, current)
        root[left] = current
        following = _newton(current, square, limit, target)
        rises = xp.argwhere(following > (1 + 4 * xp.finfo(root.dtype).eps) * current)[:, 0]
        if not len(rises):
            break
        left, current, following = left[rises], current[rises], following[rises]
        square, limit, target = square[rises], limit[rises], target[rises]
    return xp.sqrt(root)


def _newton(start: Array, square: Array, limit: Array, target: Array) -> Array:
    """The step from u (n,) to the root of ``sum_j min(u square_j, limit_j) - target``; 0 where that is flat."""
    xp = namespace(start)
    clipped = _like(start[:, None] * square > limit, square)
    slope = xp.einsum("nd,nd->n", square, 1 - clipped)
    rest = target - xp.einsum("nd,nd->n", limit, clipped)
    return xp.where(slope > 0, xp.clip(rest, 0.0, None) / xp.where(slope > 0, slope, xp.ones_like(slope)), slope)


def _project_ellipsoid(delta: Array, radius: Array, scale: Array) -> Array:
    """Solve ``||w / (scale^2 + t)|| = r``, w = scale delta, for ``scale^2 delta / (scale^2 + t)``."""
    xp = namespace(delta)
    moving = scale > 0
    axes = xp.where(moving, scale, xp.ones_like(scale)) ** 2
    delta = xp.where(moving, delta, xp.zeros_like(delta))
    weight = delta * xp.sqrt(axes)
    positive = radius > _POINT
    safe = xp.where(positive, radius, xp.ones_like(radius))
    t = xp.zeros_like(weight[..., :1])
    for _ in range(_NEWTON_STEPS):  # on 1/||.||, from the left of the root: monotone
        inner = weight / (axes + t)
        square = (inner**2).sum(-1)[..., None]
        excess = xp.sqrt(square) / safe - 1
        outside = excess > 0
        slope = (inner**2 / (axes + t)).sum(-1)[..., None]
        step = xp.where(outside, square * excess * _ratio(xp.ones_like(slope), slope, outside), 0 * t)
        if not bool((t + step > t).any()):
            break
        t = t + step
    result = delta * (axes / (axes + t))
    length = gauge(result / xp.sqrt(axes), "l2")[..., None]
    outside = length > safe
    result = result * _ratio(safe, length, outside)
    return xp.where(positive, result, xp.zeros_like(result))


def _check(norm: str, scale: Any) -> None:
    check_norm(norm)
    if scale is not None and norm != "l2":
        raise InputError(f'a scale describes an ellipsoid, which needs norm="l2", got norm={norm!r}.')


def _like(value: Any, like: Array) -> Array:
    """Make the value an array of the same library, dtype and device."""
    xp = namespace(like)
    if xp.__name__ == "numpy":
        return xp.asarray(value, dtype=like.dtype)
    value = value if is_tensor(value) else xp.tensor(value)
    return value.to(dtype=like.dtype, device=like.device)


def _ratio(top: Array, bottom: Array, where: Array) -> Array:
    """Divide where it is asked for; one elsewhere."""
    xp = namespace(bottom)
    one = xp.ones_like(bottom)
    return xp.where(where, top / xp.where(where, bottom, one), one)


def _sorted(values: Array) -> Array:
    result = namespace(values).sort(values, -1)
    return getattr(result, "values", result)  # torch returns the order as well
