"""The input scaling of the package's experiments: standardised rows, the longest of length one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array, is_tensor, plain_array, to_numpy
from ..errors import InputError
from ..processes import ALONE, Together
from ..sources import READ_ROWS

_MOST_SEGMENTS = 1024
"""What is exchanged by several processes: this many vectors, whatever the number of rows."""


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
    X = to_numpy(X) if is_tensor(X) else plain_array(X, "X")
    if X.ndim != 2 or 0 in X.shape or X.dtype.kind not in "biuf":
        raise InputError(f"X is {X.dtype} of shape {X.shape}; a non-empty matrix of numbers (n, d) is needed.")
    return scaling_by_blocks(X)


def scaling_by_blocks(X: Any, together: Together = ALONE) -> Scaling:
    """What :func:`standardise` computes, of rows that are read block by block, in one or several processes.

    Parameters
    ----------
    X : array or source of shape (n, d)
        The training rows of all processes, n > 0: an array, or a source whose blocks are arrays. It is passed over five
        times; each process reads its own part.
    together : Together
        The processes.

    Returns
    -------
    Scaling
        The same bits in every process, whatever their number.

    Raises
    ------
    InputError
        If ``X`` holds a number that is not finite, or its features are too large for float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported below, in a sentence
        scaling = _scaling(X, together)
    if not all(np.isfinite(part).all() for part in scaling):
        raise InputError("X holds a NaN, infinite or too large value; finite features are needed.")
    return scaling


def _scaling(X: Any, together: Together) -> Scaling:
    # Differences from one row keep the digits that a large common offset would cost.
    origin = X[0].astype(np.float64)
    n = len(X)
    constant = over_blocks(np.all, lambda block: (block - origin == 0).all(axis=0), X, together)
    shift = origin + over_blocks(np.sum, lambda block: (block - origin).sum(axis=0), X, together) / n
    # Squares of deviations divided by the largest one neither overflow nor vanish.
    peak = over_blocks(np.max, lambda block: np.abs(block - shift).max(axis=0), X, together)
    peak[constant] = 1.0
    squares = over_blocks(np.sum, lambda block: (((block - shift) / peak) ** 2).sum(axis=0), X, together)
    deviation = np.where(constant, 1.0, peak * np.sqrt(squares / n))
    longest = over_blocks(np.max, lambda block: np.linalg.norm((block - shift) / deviation, axis=1).max(), X, together)
    return Scaling(shift, deviation * (float(longest) if longest > 0 else 1.0))


def over_blocks(reduce: Any, function: Callable[[np.ndarray], Any], X: Any, together: Together = ALONE) -> Any:
    """What ``reduce`` (np.sum, np.max, np.all) makes of a function of the blocks of X, without a copy of the whole matrix.

    Blocks are reduced within segments, and these to one result. Both are the same whatever the number of processes, each
    of which reads the segments of its own part: so is the result, to the last bit.
    """
    blocks = -(-len(X) // READ_ROWS)
    segments = min(blocks, _MOST_SEGMENTS)
    ends = [segment * blocks // segments for segment in range(segments + 1)]

    def value(block: int) -> Any:
        return function(X[block * READ_ROWS : (block + 1) * READ_ROWS])

    own = range(together.rank * segments // together.size, (together.rank + 1) * segments // together.size)
    values = [reduce([value(block) for block in range(ends[k], ends[k + 1])], axis=0) for k in own]
    return reduce([value for part in together.gather(values) for value in part], axis=0)
