r"""Diagonal-multiplier restriction of a quadratic's minimum over a box (the l_inf ball), row by row.

The minimum of ``q(e) = e'(sA + kI)e + 2 g'e`` over ``|e_j| <= r`` is NP-hard. Its Shor relaxation, and the
dual of that, where the multiplier ``lambda I`` of the l2 ball ([KLP24], S-procedure) becomes a diagonal, are

    min  <sA + kI, G> + 2 g'm   s.t.  [[1, m'], [m, G]] >= 0,  G_jj <= r^2
    max  -r^2 sum(lam) - t      s.t.  [[t, g'], [g, sA + kI + diag(lam)]] >= 0,  lam >= 0

Both have the same value: a lower bound on the box minimum, exact for example where A is diagonal. Method: a
Burer-Monteiro factorisation ``G = m m' + sum_k f_k f_k'`` with few factors (Boumal, Voroninski and Bandeira,
arXiv 1606.04970), brought to a stationary point by a trust-region Newton method over all rows at once. A
stationary point gives ``lam``; where its dual matrix has a negative eigenvalue, the eigenvector becomes one
more factor and the row goes on. The few degenerate rows that do not settle go to an interior-point method.
The reported value always comes from the dual side, from multipliers that are feasible despite rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .._arrays import Array, check_dense, is_tensor, namespace, to_numpy
from ..errors import InputError
from .dual import EPS, dual_bound, dual_matrix
from .interior import interior_point
from .newton import FACTORS, MEAN, SLACK, Rows, minimise, narrowed, normalised, widened

MAX_ROUNDS = 3  # Newton solves for one row, each with one factor more than the last
MAX_INTERIOR_DIMENSION = 128  # up to here rows that are left go to the interior-point method, else to more rounds
KICK = 0.1  # size of a new factor, and of a slack that has to open again
_NOTHING = 1e-290  # coefficients below it are zeros: quotients of denormal numbers are no numbers
_LARGEST_RADIUS = 1e150
POINT = 1e-150  # a box this small is a point: the square of its radius underflows
BLOCK_SIZE = 1 << 17  # numbers in the points of one block: several such arrays fit in a cache
DEVICE_BLOCK_SIZE = 1 << 24  # the same where only memory limits it


class BoxRelaxation(NamedTuple):
    """Result of :func:`box_relaxation_minimum` for n rows and d coordinates, in float64.

    Attributes
    ----------
    value : (n,) the dual function at ``multipliers`` or a little less: below relaxation and box minimum.
    upper : (n,) objective of the moments below; the relaxation lies between ``value`` and ``upper``.
    mean : (n, d) first moment m; 2 m is the derivative of the minimum with respect to g.
    factors : (n, k, d), G = mean mean' + factors' factors, G_jj <= r^2; sign G is the derivative for A.
    multipliers : (n, d) lam >= 0 with sign A + curvature I + diag(lam) positive semidefinite where the radius is
        above 1e-150, where its square is a number; zero elsewhere.
    state : (n, k + 2, d) to be passed as ``warm_start`` of a similar problem.
    """

    value: Array
    upper: Array
    mean: Array
    factors: Array
    multipliers: Array
    state: Array


def box_relaxation_minimum(
    U: Array,
    w: Array,
    sign: Array,
    g: Array,
    radius: Array | float,
    curvature: Array | float | None = None,
    warm_start: Array | None = None,
    tol: float = 1e-9,
    max_steps: int = 40,
    fallback: bool = True,
) -> BoxRelaxation:
    r"""Shor relaxation of ``min e'(sign A + curvature I)e + 2 g'e`` over a box, ``A = U' diag(w) U``.

    Parameters
    ----------
    U : (m, d) shared by all rows; m = 0 is the zero matrix.
    w : (m,) coefficients, or (m, m) symmetric for ``A = U' w U`` (U the identity for a dense A).
    sign : (n,) of +1 and -1, or one number.
    g : (n, d) half the linear terms.
    radius : (n,) or one number >= 0: ``|e_j| <= radius``; or (n, d): ``|e_j| <= radius_j``, any box around zero.
    curvature : (n,) or one number >= 0; None is 0.
    warm_start : ``state`` of an earlier result for the same n and d.
    tol : a row is solved when ``upper - value <= tol * max(1, |value|)``, up to rounding.
    max_steps : Newton steps at most in each of the few rounds.
    fallback : hand the rows that are unsolved then, degenerate or badly scaled ones, to the interior-point
        method, if d <= 128. Without it, and in higher dimensions, they show a wider gap; their ``value`` is
        a bound nevertheless.

    Returns
    -------
    BoxRelaxation
        Arrays of the library and on the device of the arguments. Autograd does not see through the call: its
        derivatives are those stated at ``mean`` and ``factors``.

    Raises
    ------
    InputError
        If shapes do not agree, a number is not finite, a sign is not +-1, or a radius or curvature is
        negative.
    """
    arguments = _checked(U, w, sign, g, radius, curvature)
    if not (is_tensor(arguments[0]) and arguments[0].device.type == "cpu"):
        return _relaxation(arguments, warm_start, tol, max_steps, fallback)
    # Many small operations: in host memory NumPy, which shares it, is several times faster than torch.
    state = None if warm_start is None else to_numpy(warm_start)
    result = _relaxation(tuple(to_numpy(array) for array in arguments), state, tol, max_steps, fallback)
    return BoxRelaxation(*(namespace(arguments[0]).as_tensor(array) for array in result))


def _relaxation(
    arguments: tuple[Array, ...], warm_start: Array | None, tol: float, max_steps: int, fallback: bool
) -> BoxRelaxation:
    """The relaxation of checked arguments, in blocks of rows."""
    U, w, sign, g, radius, curvature = arguments
    xp = namespace(g)
    n, d = g.shape
    rows = _scaled(U, w, sign, g, radius, curvature)
    points = _cold_start(rows) if warm_start is None else _warm_start(rows, warm_start, tol)
    size = max(1, (BLOCK_SIZE if xp.__name__ == "numpy" else DEVICE_BLOCK_SIZE) // (4 * d))
    blocks = [slice(first, first + size) for first in range(0, max(n, 1), size)]
    solved = [_solve_block(rows.take(block), points[block], tol, max_steps, fallback) for block in blocks]
    width = max(part[2].shape[1] for part in solved)
    value, upper = (xp.concatenate([part[i] for part in solved]) * rows.scale for i in (0, 1))
    points = xp.concatenate([widened(part[2], width) for part in solved])
    multipliers = xp.concatenate([part[3] for part in solved])
    half = radius if radius.ndim == 2 else radius[:, None]
    squared = half > POINT
    inverse = xp.where(squared, 1 / xp.where(squared, half, 1.0), 0.0)
    multipliers = multipliers * rows.scale[:, None] * inverse**2
    moments = half[:, None] * points[:, MEAN:]
    inside = (half > 0).any(1)
    value, upper = xp.where(inside, value, 0.0), xp.where(inside, upper, 0.0)
    return BoxRelaxation(value, upper, moments[:, 0], moments[:, 1:], multipliers, points)


def _checked(U: Array, w: Array, *per_row: Array | float | None) -> tuple[Array, ...]:
    """The six arguments as float64 arrays of one library and device, with a number for each row."""
    names = ("U", "w", "sign", "g", "radius", "curvature")
    given: list[Any] = [0.0 if value is None else value for value in (U, w, *per_row)]
    xp = namespace(*given)
    place = next(({"device": value.device} for value in given if is_tensor(value)), {})
    try:
        for value in filter(is_tensor, given):
            check_dense(value)
        arrays = [xp.asarray(v.detach() if is_tensor(v) else v, dtype=xp.float64, **place) for v in given]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise InputError(f"one of {', '.join(names)} does not hold numbers; arrays of numbers are needed.") from None
    shapes = dict(zip(names, (tuple(array.shape) for array in arrays), strict=True))
    if len(shapes["g"]) != 2 or len(shapes["U"]) != 2 or shapes["U"][1] != shapes["g"][1] or shapes["g"][1] == 0:
        raise InputError(f"U has shape {shapes['U']} and g {shapes['g']}; needed are (m, d) and (n, d) with d > 0.")
    m, n = shapes["U"][0], shapes["g"][0]
    if shapes["w"] not in {(m,), (m, m)}:
        raise InputError(f"w has shape {shapes['w']}; needed is ({m},), a coefficient a row of U, or ({m}, {m}).")
    for i in (2, 4, 5):
        if i == 4 and shapes["radius"] == shapes["g"]:
            continue
        if shapes[names[i]] not in {(), (n,)}:
            raise InputError(f"{names[i]} has shape {shapes[names[i]]}; needed is a number, or one a row, ({n},).")
        arrays[i] = arrays[i] + xp.zeros_like(arrays[3][:, 0])
    for name, array in zip(names, arrays, strict=True):
        if not bool(xp.isfinite(array).all()):
            raise InputError(f"{name} has a value that is not finite; needed are finite numbers.")
    if not bool((abs(arrays[2]) == 1).all()):
        raise InputError("sign has a value that is neither +1 nor -1; needed is one of them for every row.")
    if bool((arrays[4] > _LARGEST_RADIUS).any()):
        raise InputError(
            f"radius has a value above {_LARGEST_RADIUS:g}; smaller ones are needed, whose squares are numbers."
        )
    if bool((arrays[4] < 0).any()) or bool((arrays[5] < 0).any()):
        raise InputError("radius or curvature has a negative value; needed are numbers >= 0.")
    return tuple(arrays)


def _scaled(U: Array, w: Array, sign: Array, g: Array, radius: Array, curvature: Array) -> Rows:
    """Rows in the unit box, with the eigenvectors of A that belong to nonzero eigenvalues as their basis."""
    xp = namespace(g)
    frame, triangle = xp.linalg.qr(U.T)
    core = (triangle * w) @ triangle.T if w.ndim == 1 else triangle @ w @ triangle.T
    eigenvalues, vectors = xp.linalg.eigh(0.5 * (core + core.T))
    magnitude = xp.sqrt((w * w).sum()) * (U * U).sum()  # at least the spectral norm of A
    keep = abs(eigenvalues) > EPS * magnitude
    basis, eigenvalues = (frame @ vectors).T[keep], eigenvalues[keep]
    basis = xp.where((U != 0).any(0), basis, 0.0)  # features without influence stay so exactly
    stretch, largest = None, radius
    if radius.ndim == 2:
        largest = xp.amax(radius, 1)
        stretch = radius / xp.where(largest > 0, largest, 1.0)[:, None]
    half = largest[:, None] if stretch is None else radius
    weight = (largest**2 * sign)[:, None] * eigenvalues
    curvature, linear = half**2 * curvature[:, None], half * g
    norm = _length(weight, xp)
    if stretch is not None:  # of the stretched matrix, from above: its eigenvalues, or the traces of its parts
        norm = xp.minimum(norm, (abs(weight) * (stretch**2 @ (basis**2).T)).sum(1))
    scale = norm + xp.amax(curvature, 1) + _length(linear, xp)
    scale = xp.where(scale > _NOTHING, scale, 1.0)
    noise = EPS * (8 * (g.shape[1] + len(w)) * magnitude * largest**2 + 4 * xp.amax(curvature, 1)) / scale
    weight, curvature, linear = (array / scale[:, None] for array in (weight, curvature, linear))
    rows = Rows(basis, weight, curvature, linear, linear, linear, scale, noise, stretch)
    diagonal, size = rows.spread(weight) + curvature, rows.spread(abs(weight)) + curvature + abs(linear)
    return rows._replace(diagonal=diagonal, size=size)


def _length(array: Array, xp: Any) -> Array:
    """Euclidean norms of rows, of numbers whose squares overflow or underflow too."""
    if array.shape[1] == 0:
        return array.sum(1)
    largest = xp.amax(abs(array), 1)
    unit = xp.where((largest > 0) & xp.isfinite(largest), largest, 1.0)
    return unit * xp.sqrt(((array / unit[:, None]) ** 2).sum(1))


def _cold_start(rows: Rows) -> Array:
    """Against the gradient at zero, plus two fixed quasi-random factors."""
    xp = namespace(rows.linear)
    index = xp.cumsum(xp.ones_like(rows.linear[:1]), 1)
    size = xp.sqrt((rows.linear**2).mean(1))[:, None]
    mean = -rows.linear / xp.where(size > 0, size, 1.0)
    factors = [0.5 * xp.cos(frequency * index**2) + 0 * mean for frequency in (1.0, 1.7)]
    points = xp.stack([0.3 + 0 * mean, mean, *factors], 1)
    used = (rows.size > 0)[:, None]
    points = xp.where(used, points, 0.0)
    points[:, SLACK] = xp.where(used[:, 0], points[:, SLACK], 1.0)
    return normalised(points)


def _warm_start(rows: Rows, state: Array, tol: float) -> Array:
    """The points of ``state``, off the saddles that the new problem has there."""
    n, d = rows.linear.shape
    if len(state.shape) != 3 or state.shape[0] != n or state.shape[1] < FACTORS or state.shape[2] != d:
        raise InputError(f"warm_start has shape {tuple(state.shape)}; needed is ({n}, 2 or more, {d}).")
    points = normalised(state + 0 * rows.linear[:, None])
    objective, lam, _ = rows.evaluate(points)
    return _reopened(points, lam, rows.goal(tol, objective) / d)


def _reopened(points: Array, lam: Array, least: Array) -> Array:
    """Points whose slacks are not stuck at zero where a multiplier is below ``-least`` (n,)."""
    slack = points[:, SLACK]
    points = points + 0
    points[:, SLACK] = namespace(points).where((lam < -least[:, None]) & (abs(slack) < KICK), KICK, slack)
    return normalised(points)


def _solve_block(
    rows: Rows, points: Array, tol: float, max_steps: int, fallback: bool
) -> tuple[Array, Array, Array, Array]:
    """Bound, objective, points and multipliers of every row, in the scaled units."""
    xp = namespace(points)
    best = [-xp.inf + 0 * rows.scale, xp.inf + 0 * rows.scale, points, 0 * rows.linear]
    index = xp.where(rows.scale == rows.scale)[0]
    fallback = fallback and points.shape[2] <= MAX_INTERIOR_DIMENSION
    rounds = MAX_ROUNDS if fallback else 2 * MAX_ROUNDS
    for attempt in range(rounds):
        points, objective, lam = minimise(rows, points, tol * 0.1 ** (attempt + 1), max_steps)
        goal = rows.goal(tol, objective)
        bound, feasible, rounding = dual_bound(rows, lam, _corner(rows, points), goal)
        _keep_better(best, index, bound, objective, _principal(points), feasible)
        unsolved = objective - bound - rounding > goal
        index, points, lam, goal = (array[unsolved] for array in (index, points, lam, goal))
        rows = rows.take(unsolved)
        if len(index) == 0 or attempt + 1 == rounds:
            break
        points = _escape(rows, narrowed(points), lam, goal)
    if fallback and len(index):
        points, lam, corner = interior_point(rows, goal)
        points, objective, _ = minimise(rows, _principal(points), 0.1 * tol, max_steps // 4)
        bound, feasible, _ = dual_bound(rows, lam, corner, goal)
        _keep_better(best, index, bound, objective, _principal(points), feasible)
    return best[0], best[1], narrowed(best[2]), best[3]


def _corner(rows: Rows, points: Array) -> Array:
    """The t that belongs to stationary points, (n,)."""
    return -(rows.linear * points[:, MEAN]).sum(1)


def _keep_better(best: list[Array], index: Array, bound: Array, objective: Array, points: Array, lam: Array) -> None:
    """Take over the higher bounds with their multipliers and the lower objectives with their points."""
    xp = namespace(points)
    higher, lower = bound > best[0][index], objective < best[1][index]
    width = max(points.shape[1], best[2].shape[1])
    points, best[2] = widened(points, width), widened(best[2], width)
    best[0][index] = xp.where(higher, bound, best[0][index])
    best[1][index] = xp.where(lower, objective, best[1][index])
    best[2][index] = xp.where(lower[:, None, None], points, best[2][index])
    best[3][index] = xp.where(higher[:, None], lam, best[3][index])


def _principal(points: Array) -> Array:
    """The same moments with orthogonal factors of falling size; what is zero is dropped."""
    xp = namespace(points)
    factors = points[:, FACTORS:]
    size, vectors = xp.linalg.eigh(factors @ xp.swapaxes(factors, 1, 2))
    factors = xp.swapaxes(vectors, 1, 2) @ factors
    factors = xp.where((size > 1e-16)[:, :, None], factors, 0.0)
    return narrowed(xp.concatenate([points[:, :FACTORS], xp.flip(factors, (1,))], 1))


def _escape(rows: Rows, points: Array, lam: Array, goal: Array) -> Array:
    """Points moved off a saddle: one more factor, along negative curvature of S, and slacks reopened."""
    xp = namespace(points)
    eigenvalues, vectors = xp.linalg.eigh(dual_matrix(rows, lam.clip(0.0), _corner(rows, points)))
    # (m, 1) is in the kernel at a stationary point: subtracting it makes the last entry zero at no cost.
    factor = vectors[:, :-1, 0] - vectors[:, -1:, 0] * points[:, MEAN]
    largest = xp.amax(abs(factor), 1)
    step = xp.where((eigenvalues[:, 0] < 0) & (largest > 0), KICK / xp.where(largest > 0, largest, 1.0), 0.0)
    points = xp.concatenate([points, (step[:, None] * factor)[:, None]], 1)
    return _reopened(points, lam, goal / lam.shape[1])
