"""The input scaling of the package's experiments: standardised rows, the longest of length one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .._arrays import Array, to_numpy
from ..errors import InputError

_BLOCK_ROWS = 4096


class Scaling(NamedTuple):
    """An affine input scaling x -> (x - shift) / scale, as networks store it.

    Attributes
    ----------
    shift : ndarray of shape (d,)
        Subtracted from a row, in the units of the features.
    scale : ndarray of shape (d,)
        Divides the difference, in the units of the features; positive.

    Examples
    --------
    >>> import numpy as np
    >>> from convexadv.datasets import standardise
    >>> scaling = standardise(np.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> scaling.shift, scaling.apply(np.array([2.0, 20.0]))
    (array([ 2., 20.]), array([0., 0.]))
    """

    shift: np.ndarray
    scale: np.ndarray

    def apply(self, X: Array) -> np.ndarray:
        """Scaled rows, float64, of the shape of ``X`` (n, d) or (d,)."""
        return (to_numpy(X, np.float64) - self.shift) / self.scale


def standardise(X: Array) -> Scaling:
    """Scaling under which the rows have mean 0, equal deviations and largest norm 1.

    With mean mu_j and (population) deviation sigma_j of each feature and R = max_i ||(x_i - mu)/sigma||_2,
    shift = mu and scale = R sigma. A feature that is constant gets its value as shift and R as scale, so that
    it becomes 0 in these rows. If all features are constant, R = 1.

    Parameters
    ----------
    X : array or tensor of shape (n, d)
        Training rows.

    Returns
    -------
    Scaling
        ``(shift, scale)``, float64.

    Raises
    ------
    InputError
        If ``X`` is not a non-empty matrix of finite numbers, or its features are too large for float64.

    Examples
    --------
    >>> import numpy as np
    >>> from convexadv.datasets import standardise
    >>> X = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> rows = standardise(X).apply(X)
    >>> rows.round(3)
    array([[-0.707, -0.707],
           [ 0.707,  0.707]])
    """
    X = to_numpy(X)
    if X.ndim != 2 or 0 in X.shape or X.dtype.kind not in "biuf":
        raise InputError(f"X is {X.dtype} of shape {X.shape}; a non-empty matrix of numbers (n, d) is needed")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported below, in a sentence
        scaling = _scaling(X)
    if not all(np.isfinite(part).all() for part in scaling):
        raise InputError("X holds a NaN, infinite or too large value; finite features are needed")
    return scaling


def _scaling(X: np.ndarray) -> Scaling:
    # Differences from one row keep the digits that a large common offset would cost.
    origin = X[0].astype(np.float64)
    constant = np.all([(block == 0).all(axis=0) for block in _blocks(X, origin)], axis=0)
    shift = origin + np.sum([block.sum(axis=0) for block in _blocks(X, origin)], axis=0) / len(X)
    # Squares of deviations divided by the largest one neither overflow nor vanish.
    peak = np.max([np.abs(block).max(axis=0) for block in _blocks(X, shift)], axis=0)
    peak[constant] = 1.0
    squares = np.sum([((block / peak) ** 2).sum(axis=0) for block in _blocks(X, shift)], axis=0)
    deviation = np.where(constant, 1.0, peak * np.sqrt(squares / len(X)))
    longest = max(float(np.linalg.norm(block / deviation, axis=1).max()) for block in _blocks(X, shift))
    return Scaling(shift, deviation * (longest if longest > 0 else 1.0))


def _blocks(X: np.ndarray, shift: np.ndarray) -> Iterator[np.ndarray]:
    """Rows less ``shift`` in float64, a block at a time: no copy of the whole matrix is made."""
    for start in range(0, len(X), _BLOCK_ROWS):
        yield X[start : start + _BLOCK_ROWS] - shift
