"""Extremes of quadratics on the unit sphere."""

from __future__ import annotations

from typing import NamedTuple

from .._arrays import Array, namespace
from .ball import ball_minimum, ratio


class SphereMaximum(NamedTuple):
    """Result of :func:`sphere_extremes`."""

    value: Array
    """Largest |u'Au + 2 g'u + s| over unit u, an upper bound that allows for rounding."""
    directions: Array
    """(k, d) unit vectors, the maximiser of each sign first, then further stationary candidates."""
    signs: Array
    """(k,) +1 where the quadratic is large and positive at the direction, -1 where it is large and negative."""
    values: Array
    """(k,) sign * quadratic at the direction."""


def sphere_extremes(matrix: Array, vector: Array, constant: Array, candidates: int = 0) -> SphereMaximum:
    r"""kappa = max over ||u||_2 = 1 of |u'Au + 2 g'u + s|, certified from above.

    For every mu strictly above the largest eigenvalue, mu + g'(mu I - A)^{-1}g + s bounds the quadratic from above; mu is
    the root of the secular equation, moved right by the backward error of the eigendecomposition.

    Parameters
    ----------
    matrix : (d, d)
        A, symmetric.
    vector : (d,)
        g.
    constant : scalar array
        s.
    candidates : int
        How many further directions (signed eigenvectors) to report beside the two maximisers.

    Returns
    -------
    SphereMaximum
    """
    xp = namespace(matrix)
    d = matrix.shape[0]
    eigenvalues, vectors = xp.linalg.eigh(matrix)
    rotated = vectors.T @ vector
    eps = float(xp.finfo(matrix.dtype).eps)
    error = (
        4.0
        * eps
        * (d**0.5 * xp.sqrt((eigenvalues * eigenvalues).sum()) + xp.sqrt((vector * vector).sum()) + xp.abs(constant))
    )
    both = xp.stack([-eigenvalues, eigenvalues])
    pulls = xp.stack([-rotated, rotated])
    best = ball_minimum(both, pulls, xp.ones_like(both[:, 0]), sphere=True)
    # the bound at mu + 2 error with eigenvalues moved up by error: both moves only increase it
    gaps = xp.clip(both + best.multiplier[:, None] + error, 0.0, None) + xp.where(
        error > 0, 0.0 * error, error + 1e-300
    )
    bounds = best.multiplier + 2.0 * error + (pulls * ratio(pulls, gaps, xp)).sum(-1)
    value = xp.amax(bounds + xp.stack([constant, -constant]) + error, 0)
    directions, signs = best.point @ vectors.T, xp.stack([1.0 + 0.0 * constant, -1.0 + 0.0 * constant])
    if candidates:
        extra, extra_signs = _eigen_candidates(eigenvalues, vectors, rotated, candidates, xp)
        directions, signs = xp.concatenate([directions, extra]), xp.concatenate([signs, extra_signs])
    values = signs * (((directions @ matrix) * directions).sum(-1) + 2.0 * directions @ vector + constant)
    return SphereMaximum(value, directions, signs, values)


def _eigen_candidates(eigenvalues, vectors, rotated, candidates, xp):
    """Eigenvectors of the ends of the spectrum, turned to the side where the linear term helps."""
    count = min(candidates, eigenvalues.shape[0])
    side = xp.where(rotated < 0, -1.0 + 0.0 * rotated, 1.0 + 0.0 * rotated)
    top, bottom = (vectors * side).T[-count:], (-vectors * side).T[:count]
    signs = xp.concatenate([1.0 + 0.0 * eigenvalues[-count:], -1.0 + 0.0 * eigenvalues[:count]])
    return xp.concatenate([top, bottom]), signs
