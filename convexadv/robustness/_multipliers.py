r"""Best multipliers of linear bounds over a ball, to high accuracy: a batched interior point method.

Each node of a search asks for

    maximise  t'b - ||g + A'b||_*   over 0 <= b <= high,      high_i infinite for a constraint,

whose other side is: minimise g'x + sum_i high_i max(0, t_i + a_i'x) over ||x||_p <= 1 (t_i + a_i'x <= 0 where
high_i is infinite). Steps go along Mehrotra's predictor and corrector (SIAM J. Optim. 1992) for the conditions

    t + A x = m - n,    m (high - b) = n b = mu,    g + A'b = sum_i y_i grad c_i(x),    y_i c_i(x) = mu,

with the ball written as c(x) >= 0: x in a box for linf, 1 - x'x >= 0 for l2, x = v - w with v, w >= 0 and
1 - sum v + w >= 0 for l1. Only b leaves this file for a bound, which is evaluated with it anew, so nothing that goes
wrong here makes a bound wrong.
"""

from __future__ import annotations

import numpy as np

from .. import balls

_ITERATIONS = 60
_SMALL = 1e-2
_SHORTEN = 0.99
"""Part of the way to the boundary that a step may take."""


class _Box:
    """linf: 1 + x >= 0, 1 - x >= 0."""

    def lift(self, A: np.ndarray) -> np.ndarray:
        return A

    def start(self, d: int) -> np.ndarray:
        return np.zeros(d)

    def slacks(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([1.0 + x, 1.0 - x], 1)

    def change(self, dx: np.ndarray, along: np.ndarray) -> np.ndarray:
        return np.concatenate([dx, -dx], 1)

    def adjoint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Sum of y_i grad c_i(x)."""
        first, second = np.split(y, 2, 1)
        return first - second

    def curvature(self, x: np.ndarray, y: np.ndarray, ratio: np.ndarray):
        """Diagonal, factor (n, 1) and vector of the Hessian diag + factor v v'; no vector without such a part."""
        first, second = np.split(ratio, 2, 1)
        return first + second, np.zeros((len(x), 0)), None

    def bend(self, dx):
        """Second-order part of the change of the slacks."""
        return 0.0

    def point(self, x: np.ndarray) -> np.ndarray:
        return x


class _Disc(_Box):
    """l2: 1 - x'x >= 0."""

    def slacks(self, x):
        return 1.0 - (x * x).sum(1, keepdims=True)

    def change(self, dx, along):
        return -2.0 * along

    def adjoint(self, x, y):
        return -2.0 * y * x

    def curvature(self, x, y, ratio):
        return np.broadcast_to(2.0 * y, x.shape), 4.0 * ratio, x

    def bend(self, dx):
        return -(dx * dx).sum(1, keepdims=True)


class _Cross(_Box):
    """l1: v, w >= 0 and 1 - sum v + w >= 0, in x = (v, w)."""

    def lift(self, A):
        return np.concatenate([A, -A], -1)

    def start(self, d):
        return np.full(2 * d, 0.25 / d)

    def slacks(self, x):
        return np.concatenate([x, 1.0 - x.sum(1, keepdims=True)], 1)

    def change(self, dx, along):
        return np.concatenate([dx, -along], 1)

    def adjoint(self, x, y):
        return y[:, :-1] - y[:, -1:]

    def curvature(self, x, y, ratio):
        return ratio[:, :-1], ratio[:, -1:], np.ones_like(x)

    def point(self, x):
        first, second = np.split(x, 2, 1)
        return first - second


_BALLS = {"linf": _Box(), "l2": _Disc(), "l1": _Cross()}


def best_multipliers(A, t, high, g, norm, enough, tolerance=1e-12):
    """Maximise the bound of each of N nodes.

    Parameters
    ----------
    A : (N, k, d)
    t, high : (N, k)
        ``high`` may be infinite. Rows that a node does not need are zero, with high 1.
    g : (N, d)
    norm : "l1", "l2" or "linf"
    enough : (N,)
        Bounds from which a node is not looked at any further.
    tolerance : float
        Complementarity to reach, relative to the size of the node's terms.

    Returns
    -------
    multipliers : (N, k)
        The best ones that were seen.
    x : (N, d)
        The last points: near the minimisers.
    """
    ball, dual = _BALLS[norm], balls.dual_norm_name(norm)
    N, k, d = A.shape
    best, point = np.zeros((N, k)), np.zeros((N, d))
    if k == 0:
        return best, point
    # Rows of size one, and an objective of size one.
    size = balls.gauge(A, dual) + abs(t)
    size = np.where(size > 0, size, 1.0)
    limited = np.isfinite(high)
    unit = balls.gauge(g, dual) + np.where(limited, size * np.where(limited, high, 0.0), 0.0).sum(1)
    unit = np.where(unit > 0, unit, 1.0)[:, None]
    A, t, g = A / size[:, :, None], t / size, g / unit
    high, enough = high * size / unit, enough / unit[:, 0]
    todo, value = np.arange(N), np.full(N, -np.inf)
    state = _start(ball, t, limited, high, d)
    for _ in range(_ITERATIONS):
        with np.errstate(all="ignore"):  # a node without points, or one that is solved beyond rounding, ends here
            state, mu = _step(ball, ball.lift(A[todo]), t[todo], limited[todo], high[todo], ball.lift(g[todo]), *state)
        b = state[1]
        bound = (t[todo] * b).sum(1) - balls.gauge(g[todo] + np.einsum("nk,nkd->nd", b, A[todo]), dual)
        better = bound > value[todo]
        value[todo[better]], best[todo[better]] = bound[better], b[better]
        point[todo] = ball.point(state[0])
        goes_on = (value[todo] < enough[todo]) & (mu > tolerance) & np.isfinite(bound)
        if not goes_on.any():
            break
        state, todo = [part[goes_on] for part in state], todo[goes_on]
    return best * (unit / size), balls.project(point, 1.0, norm)


def _start(ball, t, limited, high, d):
    N, k = t.shape
    x = np.tile(ball.start(d), (N, 1))
    b = np.where(limited, 0.5 * high, 1.0)
    slack = ball.slacks(x)
    y = np.full_like(slack, 1.0 / slack.shape[1])
    m, n = np.where(limited, np.maximum(t, 0.0) + 0.1, 1.0), np.maximum(-t, 0.0) + 0.1
    return [x, b, slack, np.where(limited, high - b, 1.0), y, m, n]


def _step(ball, A, t, limited, high, g, x, b, slack, room, y, m, n):
    """One step of predictor and corrector; m and room are unused constants where there is no limit."""
    ratio = y / slack
    diagonal, factor, vector = ball.curvature(x, y, ratio)
    # The part factor v v' of the Hessian is a row more of A: no inverse by subtraction, which loses all digits.
    rows = A if vector is None else np.concatenate([A, vector[:, None, :]], 1)
    own = np.concatenate([np.where(limited, m / room, 0.0) + n / b, 1.0 / factor], 1)
    k, solved = b.shape[1], _solver(diagonal, rows, own)
    gradient, residual = g + _rows_times(A, b), t + _times(A, x)

    def direction(ty, tm, tn):
        """Newton step towards the products ty, tm, tn."""
        right = np.zeros_like(own)
        right[:, :k] = residual - np.where(limited, tm / room, 0.0) + tn / b
        dx, u = solved(gradient - ball.adjoint(x, ty / slack), right)
        db, ds = u[:, :k], ball.change(dx, u[:, k:] / factor)
        dm = np.where(limited, (tm + m * db) / room - m, 0.0)
        return dx, db, ds, np.where(limited, -db, 0.0), (ty - y * ds) / slack - y, dm, (tn - n * db) / b - n

    def products(a, dx, db, ds, dr, dy, dm, dn):
        moved = slack + a * ds + a * a * ball.bend(dx)
        total = (moved * (y + a * dy)).sum(1) + ((b + a * db) * (n + a * dn)).sum(1)
        return total + np.where(limited, (room + a * dr) * (m + a * dm), 0.0).sum(1)

    def reach(dx, db, ds, dr, dy, dm, dn):
        pairs = ((slack, ds), (y, dy), (b, db), (n, dn), (room, dr), (m, dm))
        a = np.min([_longest(*pair) for pair in pairs], 0)[:, None]
        bent = slack + a * ds + a * a * ball.bend(dx)
        while (bent <= 0).any():
            a = np.where((bent <= 0).any(1, keepdims=True), 0.7 * a, a)
            bent = slack + a * ds + a * a * ball.bend(dx)
        return a

    nothing = [np.zeros_like(part) for part in (x, b, slack, room, y, m, n)]
    count = y.shape[1] + limited.sum(1) + k
    now = products(0.0, *nothing)
    first = direction(nothing[4], nothing[5], nothing[6])
    dx, db, ds, dr, dy, dm, dn = first
    predicted = products(np.minimum(1.0, reach(*first)), *first)
    centre = (np.clip(predicted / now, 0.0, 1.0) ** 3 * now / count)[:, None]
    step = direction(centre - ds * dy - ball.bend(dx) * y, centre - dr * dm, centre - db * dn)
    a = np.minimum(1.0, _SHORTEN * reach(*step))
    state = [part + a * change for part, change in zip((x, b, slack, room, y, m, n), step, strict=True)]
    state[2] = state[2] + a * a * ball.bend(step[0])
    return state, products(a, *step)


def _solver(diagonal, rows, own):
    """Solve diag dx + rows'u = -force, own u - rows dx = right, in the shorter of both unknowns.

    Eliminating an x with a small diagonal would drown ``own``, which tells the multipliers apart where more of them
    than of the x are free. Those x stay in the system; the others are eliminated.
    """
    if own.shape[1] > diagonal.shape[1]:
        turned = _solver(own, -rows.transpose(0, 2, 1), diagonal)
        return lambda force, right: turned(-right, -force)[::-1]
    small = diagonal < _SMALL
    q, p = int(small.sum(1).max()), own.shape[1]
    kept = np.argpartition(diagonal, q - 1, 1)[:, :q] if q else np.zeros((len(own), 0), int)
    inverse = 1.0 / diagonal
    np.put_along_axis(inverse, kept, 0.0, 1)
    system = np.zeros((len(own), q + p, q + p))
    system[:, range(q), range(q)] = np.take_along_axis(diagonal, kept, 1)
    system[:, q:, :q] = -np.take_along_axis(rows, kept[:, None, :], 2)
    system[:, :q, q:] = -system[:, q:, :q].transpose(0, 2, 1)
    system[:, q:, q:] = (rows * inverse[:, None, :]) @ rows.transpose(0, 2, 1)
    system[:, range(q, q + p), range(q, q + p)] += own
    try:
        solution = np.linalg.inv(system)
    except np.linalg.LinAlgError:
        solution = np.full_like(system, np.nan)

    def solved(force, right):
        dx, u = np.zeros_like(force), np.zeros_like(right)
        for _ in range(2):  # once, and once more with what is left
            top, bottom = -force - diagonal * dx - _rows_times(rows, u), right - own * u + _times(rows, dx)
            given = np.concatenate([np.take_along_axis(top, kept, 1), bottom + _times(rows, inverse * top)], 1)
            part = _times(solution, given)
            change = inverse * (top - _rows_times(rows, part[:, q:]))
            np.put_along_axis(change, kept, part[:, :q], 1)
            dx, u = dx + change, u + part[:, q:]
        return dx, u

    return solved


def _times(A, x):
    return (A @ x[:, :, None])[:, :, 0]


def _rows_times(A, u):
    return (u[:, None, :] @ A)[:, 0]


def _longest(value: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Longest steps (N,) that keep positive values (N, k) from becoming negative."""
    falls = change < 0
    return np.where(falls, value / np.where(falls, -change, 1.0), np.inf).min(1)
