r"""Best multipliers of linear bounds over a ball, to high accuracy: an interior point method for many small problems.

Each branch of a search asks for

    maximise  t'b - ||g + A'b||_*   over 0 <= b <= high,      high_i infinite for a constraint,

whose other side is: minimise g'x + sum_i high_i max(0, t_i + a_i'x) over ||x||_p <= 1 (t_i + a_i'x <= 0 where
high_i is infinite). With room = high - b and the ball written as slacks c_i(x) >= 0, predictor and corrector steps
(Mehrotra, SIAM J. Optim. 1992) go along

    t + A x = m - n,    m room = n b = mu,    g + A'b = sum_i y_i grad c_i(x),    y_i c_i(x) = mu.

Only b leaves this file for a bound, which is evaluated with it anew, so nothing that goes wrong here makes a bound
wrong. Arrays are (N, k) for multipliers, (N, d') for x and (N, s) for slacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import balls

_ITERATIONS = 60
_SHORTEN = 0.99  # part of the way to the boundary that a step may take
_SMALL = 1e-2  # diagonal entries below it are not eliminated
_TOLERANCE = 1e-12  # complementarity to reach, relative to the terms of the problem


class _Box:
    """linf: 1 + x >= 0, 1 - x >= 0."""

    def lift(self, A: np.ndarray) -> np.ndarray:
        """Gradients (..., d) of linear functions in terms of x (..., d'); their dual norms stay."""
        return A

    def start(self, d: int) -> np.ndarray:
        return np.zeros(d)

    def slacks(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([1.0 + x, 1.0 - x], 1)

    def change(self, dx: np.ndarray, along: np.ndarray) -> np.ndarray:
        """First-order change of the slacks; ``along`` is v'dx, see :meth:`curvature`."""
        return np.concatenate([dx, -dx], 1)

    def bend(self, dx: np.ndarray) -> np.ndarray | float:
        """Second-order change of the slacks."""
        return 0.0

    def adjoint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Sum of y_i grad c_i(x)."""
        first, second = np.split(y, 2, 1)
        return first - second

    def curvature(
        self, x: np.ndarray, y: np.ndarray, ratio: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Diagonal (N, d'), factor (N, 1) and v (N, d') of the Hessian diag + factor v v'; (N, 0) and None without v."""
        first, second = np.split(ratio, 2, 1)
        return first + second, np.zeros((len(x), 0)), None

    def point(self, x: np.ndarray) -> np.ndarray:
        """The perturbation (N, d)."""
        return x


class _Disc(_Box):
    """l2: 1 - x'x >= 0."""

    def slacks(self, x: np.ndarray) -> np.ndarray:
        return 1.0 - (x * x).sum(1, keepdims=True)

    def change(self, dx: np.ndarray, along: np.ndarray) -> np.ndarray:
        return -2.0 * along

    def bend(self, dx: np.ndarray) -> np.ndarray:
        return -(dx * dx).sum(1, keepdims=True)

    def adjoint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return -2.0 * y * x

    def curvature(
        self, x: np.ndarray, y: np.ndarray, ratio: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        return np.repeat(2.0 * y, x.shape[1], 1), 4.0 * ratio, x


class _Cross(_Box):
    """l1: v, w >= 0 and 1 - sum v + w >= 0 for the perturbation v - w, x = (v, w)."""

    def lift(self, A: np.ndarray) -> np.ndarray:
        return np.concatenate([A, -A], -1)

    def start(self, d: int) -> np.ndarray:
        return np.full(2 * d, 0.25 / d)

    def slacks(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, 1.0 - x.sum(1, keepdims=True)], 1)

    def change(self, dx: np.ndarray, along: np.ndarray) -> np.ndarray:
        return np.concatenate([dx, -along], 1)

    def adjoint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y[:, :-1] - y[:, -1:]

    def curvature(
        self, x: np.ndarray, y: np.ndarray, ratio: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        return ratio[:, :-1], ratio[:, -1:], np.ones_like(x)

    def point(self, x: np.ndarray) -> np.ndarray:
        first, second = np.split(x, 2, 1)
        return first - second


_BALLS = {"linf": _Box(), "l2": _Disc(), "l1": _Cross()}


class _Data(NamedTuple):
    """N problems, scaled: rows of A with t have the size one, and so has the objective."""

    A: np.ndarray
    t: np.ndarray
    g: np.ndarray
    limited: np.ndarray
    high: np.ndarray


class _State(NamedTuple):
    """Where N problems are; also a direction. ``room`` and ``m`` are idle where there is no limit."""

    x: np.ndarray
    b: np.ndarray
    slack: np.ndarray
    room: np.ndarray
    y: np.ndarray
    m: np.ndarray
    n: np.ndarray


def best_multipliers(
    A: np.ndarray, t: np.ndarray, high: np.ndarray, g: np.ndarray, norm: str, enough: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Maximise the bounds of N branches.

    Parameters
    ----------
    A : (N, k, d)
    t, high : (N, k)
        ``high`` may be infinite. Rows that a branch does not need are zero, with t = -1 and high = 1.
    g : (N, d)
    norm : "l1", "l2" or "linf"
        The ball, of radius one.
    enough : (N,)
        Bounds at which a branch is not looked at any further.

    Returns
    -------
    multipliers : (N, k)
        The best ones that were seen.
    x : (N, d)
        The last points in the ball: near the minimisers.
    """
    ball, dual = _BALLS[norm], balls.dual_norm_name(norm)
    (N, k, d), limited = A.shape, np.isfinite(high)
    best, point = np.zeros((N, k)), np.zeros((N, d))
    if N == 0 or k == 0:
        return best, point
    size = _or_one(balls.gauge(A, dual) + abs(t))
    unit = _or_one(balls.gauge(g, dual) + (size * np.where(limited, high, 0.0)).sum(1))[:, None]
    high = np.where(limited, high, 1.0) * size / unit
    data = _Data(ball.lift(A / size[:, :, None]), t / size, ball.lift(g / unit), limited, high)
    enough, todo, value = enough / unit[:, 0], np.arange(N), np.full(N, -np.inf)
    state = _start(ball, data, d)
    for _ in range(_ITERATIONS):
        with np.errstate(all="ignore"):  # a branch without points, or one that is solved beyond rounding, ends here
            state, left = _step(ball, data, state)
            bound = (data.t * state.b).sum(1) - balls.gauge(data.g + _rows_times(data.A, state.b), dual)
        better = bound > value[todo]
        value[todo[better]], best[todo[better]] = bound[better], state.b[better]
        point[todo] = ball.point(state.x)
        goes_on = (value[todo] < enough[todo]) & (left > _TOLERANCE) & np.isfinite(bound)
        if not goes_on.any():
            break
        data, state = _Data(*(part[goes_on] for part in data)), _State(*(part[goes_on] for part in state))
        todo = todo[goes_on]
    return best * (unit / size), balls.project(np.nan_to_num(point), 1.0, norm)


def _start(ball: _Box, data: _Data, d: int) -> _State:
    limited, t = data.limited, data.t
    x = np.tile(ball.start(d), (len(t), 1))
    b = np.where(limited, 0.5 * data.high, 1.0)
    slack = ball.slacks(x)
    m, n = np.where(limited, np.maximum(t, 0.0) + 0.1, 1.0), np.maximum(-t, 0.0) + 0.1
    return _State(x, b, slack, np.where(limited, data.high - b, 1.0), np.full_like(slack, 1.0 / slack.shape[1]), m, n)


def _step(ball: _Box, data: _Data, state: _State) -> tuple[_State, np.ndarray]:
    """One step of predictor and corrector, and the sums (N,) of the products that it leaves."""
    x, b, slack, room, y, m, n = state
    limited, k = data.limited, b.shape[1]
    diagonal, factor, vector = ball.curvature(x, y, y / slack)
    # The part factor v v' of the Hessian is a row more of A: no inverse by subtraction, which loses all digits.
    rows = data.A if vector is None else np.concatenate([data.A, vector[:, None, :]], 1)
    own = np.concatenate([np.where(limited, m / room, 0.0) + n / b, 1.0 / factor], 1)
    solved = _solver(diagonal, rows, own)
    gradient, residual = data.g + _rows_times(data.A, b), data.t + _times(data.A, x)

    def direction(ty: np.ndarray, tm: np.ndarray, tn: np.ndarray) -> _State:
        """Newton step towards the products ty, tm, tn."""
        right = np.zeros_like(own)
        right[:, :k] = residual - np.where(limited, tm / room, 0.0) + tn / b
        dx, u = solved(gradient - ball.adjoint(x, ty / slack), right)
        db, ds = u[:, :k], ball.change(dx, u[:, k:] / factor)
        dm = np.where(limited, (tm + m * db) / room - m, 0.0)
        return _State(dx, db, ds, np.where(limited, -db, 0.0), (ty - y * ds) / slack - y, dm, (tn - n * db) / b - n)

    now = _products(data, state)
    first = direction(np.zeros_like(y), np.zeros_like(b), np.zeros_like(b))
    predicted = _products(data, _moved(ball, state, first, 1.0))
    count = y.shape[1] + limited.sum(1) + k
    centre = (np.clip(predicted / now, 0.0, 1.0) ** 3 * now / count)[:, None]
    second = direction(
        centre - first.slack * first.y - ball.bend(first.x) * y,
        centre - first.room * first.m,
        centre - first.b * first.n,
    )
    state = _moved(ball, state, second, _SHORTEN)
    return state, _products(data, state)


def _products(data: _Data, state: _State) -> np.ndarray:
    """Sums (N,) of all products that go to zero."""
    limits = np.where(data.limited, state.room * state.m, 0.0)
    return (state.slack * state.y).sum(1) + (state.b * state.n).sum(1) + limits.sum(1)


def _moved(ball: _Box, state: _State, step: _State, part: float) -> _State:
    """Go a part of the way to the boundary, but not beyond the whole step."""
    signed = list(zip(state[1:], step[1:], strict=True))  # x may have any sign
    length = np.minimum(1.0, part * np.min([_longest(*pair) for pair in signed], 0))[:, None]
    bend = ball.bend(step.x)
    while (outside := state.slack + length * step.slack + length**2 * bend <= 0).any():
        length = np.where(outside.any(1, keepdims=True), 0.7 * length, length)
    moved = _State(*(value + length * change for value, change in zip(state, step, strict=True)))
    return moved._replace(slack=moved.slack + length**2 * bend)


def _solver(
    diagonal: np.ndarray, rows: np.ndarray, own: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Solve diag dx + rows'u = -force, own u - rows dx = right, in the shorter of both unknowns.

    Eliminating an x with a small diagonal would drown ``own``, which tells the multipliers apart where more of them
    than of the x are free. Those x stay in the system; the others are eliminated.
    """
    if own.shape[1] > diagonal.shape[1]:
        turned = _solver(own, -rows.transpose(0, 2, 1), diagonal)
        return lambda force, right: turned(-right, -force)[::-1]
    q, p = int((diagonal < _SMALL).sum(1).max()), own.shape[1]
    kept = np.argpartition(diagonal, q - 1, 1)[:, :q] if q else np.zeros((len(own), 0), int)
    inverse = 1.0 / diagonal
    np.put_along_axis(inverse, kept, 0.0, 1)
    system = np.zeros((len(own), q + p, q + p))
    system[:, range(q), range(q)] = np.take_along_axis(diagonal, kept, 1)
    system[:, q:, :q] = -np.take_along_axis(rows, kept[:, None, :], 2)
    system[:, :q, q:] = -system[:, q:, :q].transpose(0, 2, 1)
    system[:, q:, q:] = (rows * inverse[:, None, :]) @ rows.transpose(0, 2, 1)
    system[:, range(q, q + p), range(q, q + p)] += own
    solution = _inverses(system)

    def solved(force: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _inverses(systems: np.ndarray) -> np.ndarray:
    """Inverses of N matrices; not a number for those that have none."""
    try:
        return np.linalg.inv(systems)
    except np.linalg.LinAlgError:
        if len(systems) == 1:
            return np.full_like(systems, np.nan)
        return np.concatenate([_inverses(system[None]) for system in systems])


def _times(A: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (A @ x[:, :, None])[:, :, 0]


def _rows_times(A: np.ndarray, u: np.ndarray) -> np.ndarray:
    return (u[:, None, :] @ A)[:, 0]


def _or_one(value: np.ndarray) -> np.ndarray:
    return np.where(value > 0, value, 1.0)


def _longest(value: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Longest steps (N,) that keep positive values (N, k) from becoming negative."""
    falls = change < 0
    return np.where(falls, value / np.where(falls, -change, 1.0), np.inf).min(1)
