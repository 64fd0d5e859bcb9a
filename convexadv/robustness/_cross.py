r"""A lower bound of quadratics over l1 balls, row by row, from multipliers that any iterate makes sound.

With q(e) = e'Ae + 2 g'e, A = V' diag(lam) V for orthonormal rows V (p, d), g = V'c, and M = V' diag(mu) V, mu >= 0,
such that K = A + M is positive semidefinite (lam + mu >= 0), every e with ||e||_1 <= r has, for every e_0,

    q(e) = e'Ke + 2 g'e - e'Me >= -e_0'Ke_0 - 2 r ||K e_0 + g||_inf - r^2 max_j M_jj.

Proof. K is positive semidefinite: e'Ke >= 2 e_0'Ke - e_0'Ke_0, and 2 (K e_0 + g)'e >= -2 r ||K e_0 + g||_inf by
Hoelder's inequality. M is positive semidefinite: e'Me is convex, so its maximum over the ball is at a vertex +-r u_j,
where it is r^2 M_jj. With a = V e_0 the bound depends on (a, mu) in R^p x R^p only,

    D(a, mu) = -sum_k (lam_k + mu_k) a_k^2 - 2 r max_j |sum_k ((lam_k + mu_k) a_k + c_k) V_kj| - r^2 max_j sum_k mu_k V_kj^2.

mu = t, a_k = -c_k/(lam_k + t) with the multiplier t of the l2 ball gives at least the minimum over the l2 ball that
holds the l1 ball. From there first-order steps (Adam: Kingma and Ba, arXiv 1412.6980) go uphill on D with both maxima
smoothed less and less; the best D on the way is what counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_STEPS = 150
_FIRST, _LAST = 0.1, 1e-3  # length of a step, where r = 1 and A, g are of size one
_SOFT = 0.3  # smoothing of the maxima, in step lengths


class CrossBound(NamedTuple):
    """Bounds (n,) up to rounding, and where D takes them: mu (n, p) and a (n, p)."""

    value: np.ndarray
    multipliers: np.ndarray
    coordinates: np.ndarray


def cross_bound(
    eigenvalues: np.ndarray, pull: np.ndarray, vectors: np.ndarray, radius: np.ndarray, multiplier: np.ndarray
) -> np.ndarray:
    """Bound quadratics over l1 balls from below (n,), up to rounding; arguments as of :func:`cross_witness`."""
    return cross_witness(eigenvalues, pull, vectors, radius, multiplier).value


def cross_witness(
    eigenvalues: np.ndarray, pull: np.ndarray, vectors: np.ndarray, radius: np.ndarray, multiplier: np.ndarray
) -> CrossBound:
    """Bound quadratics over l1 balls from below, with what proves the bounds.

    Parameters
    ----------
    eigenvalues, pull : (n, p)
        lam and c.
    vectors : (p, d)
        V.
    radius : (n,)
        r >= 0.
    multiplier : (n,)
        t of the l2 balls: lam + t >= 0.

    Returns
    -------
    CrossBound
    """
    lam, c = eigenvalues * (radius * radius)[:, None], pull * radius[:, None]
    size = abs(lam).max(1, initial=0.0) + abs(c).max(1, initial=0.0)
    size = np.where(size > 0, size, 1.0)
    lam, c = lam / size[:, None], c / size[:, None]
    floor = np.maximum(0.0, -lam)
    mu = np.maximum(floor, (multiplier * radius * radius / size)[:, None])
    curvature = lam + mu
    a = np.clip(-c / np.where(curvature > 0, curvature, np.inf), -1.0, 1.0)
    squares, best = vectors * vectors, CrossBound(np.full(len(lam), -np.inf), mu, a)
    moments = [[np.zeros_like(lam), np.zeros_like(lam)] for _ in range(2)]
    for step in range(_STEPS + 1):
        length = _FIRST * (_LAST / _FIRST) ** (step / _STEPS)
        curvature = lam + mu
        slope, load = (curvature * a + c) @ vectors, mu @ squares
        value = -(curvature * a * a).sum(1) - 2.0 * abs(slope).max(1, initial=0.0) - load.max(1, initial=0.0)
        better = value > best.value
        rows = better[:, None]
        best = CrossBound(
            *(np.where(*of) for of in ((better, value, best[0]), (rows, mu, best[1]), (rows, a, best[2])))
        )
        if step == _STEPS:
            break
        weight = _soft(abs(slope), _SOFT * length) * np.sign(slope)
        toward = weight @ vectors.T  # V s, s a subgradient of the norm
        uphill = (
            -2.0 * curvature * (a + toward),
            -a * a - 2.0 * a * toward - _soft(load, _SOFT * length) @ squares.T,
        )
        a = np.clip(a + length * _adam(moments[0], uphill[0], step), -1.0, 1.0)
        mu = np.maximum(floor, mu + length * _adam(moments[1], uphill[1], step))
    square = np.where(radius > 0, radius, 1.0)[:, None] ** 2
    return CrossBound(size * best.value, best.multipliers * size[:, None] / square, best.coordinates * radius[:, None])


def _soft(values: np.ndarray, width: float) -> np.ndarray:
    """Weights (n, d) of a smoothed maximum."""
    weight = np.exp((values - values.max(1, keepdims=True, initial=0.0)) / width)
    return weight / np.maximum(weight.sum(1, keepdims=True), 1e-300)


def _adam(moments: list[np.ndarray], gradient: np.ndarray, step: int) -> np.ndarray:
    moments[0] = 0.9 * moments[0] + 0.1 * gradient
    moments[1] = 0.99 * moments[1] + 0.01 * gradient * gradient
    first, second = moments[0] / (1 - 0.9 ** (step + 1)), moments[1] / (1 - 0.99 ** (step + 1))
    return first / (np.sqrt(second) + 1e-12)
