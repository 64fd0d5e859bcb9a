"""The robust polynomial training problem written slowly from its formulas: dense W, one row at a time.

Shares nothing with the package. f(x) = a x'W1x + b W2'x + c W4 for W = [[W1, W2], [W2', W4]]; a list of these
matrices, one an output, and the penalty stand for a point of the programme.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

import cvxpy as cp
import numpy as np

ACTIVATION = (0.09, 0.5, 0.47)
EVEN, CONCAVE, LINEAR, ODD = (1.0, 0.0, 0.0), (-0.5, 0.3, 0.2), (0.0, 1.0, 1.0), (0.3, -0.7, 0.0)
MARGIN_LOSS = {
    "hinge": (lambda m: max(0.0, 1 - m), lambda m: cp.pos(1 - m)),
    "squared_hinge": (lambda m: max(0.0, 1 - m) ** 2, lambda m: cp.square(cp.pos(1 - m))),
    "logistic": (lambda m: float(np.logaddexp(0.0, -m)), lambda m: cp.logistic(-m)),
}


@dataclass(frozen=True)
class Setting:
    """Arguments of a PolynomialProblem, and the defaults that it fills in."""

    X: np.ndarray
    y: np.ndarray
    options: dict

    def __getattr__(self, name):
        defaults = {
            "radius": 0.0,
            "beta": 0.01,
            "loss": "hinge",
            "norm": "l2",
            "scale": np.ones(self.X.shape[1]),
            "activation": ACTIVATION,
            "multiclass": "ovr",
            "sample_weight": np.ones(len(self.X)),
            "clean_weight": 0.0,
            "hard_margin": ((), 1.0),
            "margin_curve": ((), 1.0),
        }
        if name not in defaults:
            raise AttributeError(name)
        return self.options.get(name, defaults[name])

    @property
    def radii(self):
        return np.broadcast_to(np.asarray(self.radius, float), (len(self.X),))

    @property
    def outputs(self):
        if self.loss == "squared":
            return self.y.reshape(len(self.X), -1).shape[1]
        classes = len(set(self.y.tolist()))
        return 1 if classes == 2 else classes

    def directions(self, i):
        """Weights over the outputs of the margins of row i."""
        classes = sorted(set(self.y.tolist()))
        own = classes.index(self.y[i])
        if len(classes) == 2:
            return [np.array([2.0 * own - 1.0])]
        unit = np.eye(len(classes))
        if self.multiclass == "ovr":
            return [unit[c] if c == own else -unit[c] for c in range(len(classes))]
        return [unit[own] - unit[c] for c in range(len(classes)) if c != own]


def some(rng, n, d):
    """Radii, a third of them zero."""
    return np.where(np.arange(n) % 3 == 0, 0.0, rng.uniform(0.05, 0.4, n))


def half(rng, n, d):
    """Axes of an ellipsoid that leaves the first feature alone."""
    return np.r_[0.0, rng.uniform(0.3, 2.0, d - 1)] if d > 1 else np.array([0.6])


def thirds(rng, n, d):
    return rng.permutation(n) / 3.0


FIRST, NEXT = np.arange(2), np.arange(2, 4)
JOINT, CURVE = {"multiclass": "joint"}, {"radius": 0.05, "margin_curve": (FIRST, 0.3)}
CASES = {
    "hinge clean": ("two", {}),
    "hinge": ("two", {"radius": 0.2}),
    "even": ("two", {"radius": 0.3, "activation": EVEN}),
    "concave": ("two", {"radius": some, "activation": CONCAVE}),
    "linear": ("two", {"radius": 0.2, "activation": LINEAR, "loss": "squared_hinge"}),
    "squared hinge": ("two", {"radius": some, "loss": "squared_hinge"}),
    "logistic": ("two", {"radius": 0.2, "loss": "logistic", "activation": ODD}),
    "mixed": ("two", {"radius": some, "loss": "logistic", "clean_weight": 0.3}),
    "only clean": ("two", {"radius": 0.3, "clean_weight": 1.0}),
    "weights": ("two", {"radius": 0.2, "sample_weight": thirds}),
    "ellipsoid": ("two", {"radius": some, "scale": half}),
    "linf": ("two", {"radius": 0.2, "norm": "linf"}),
    "linf scale": ("two", {"radius": some, "norm": "linf", "scale": half}),
    "linf joint": ("three", {"radius": 0.1, "norm": "linf", "clean_weight": 0.5, **JOINT}),
    "linf squared": ("real", {"radius": 0.2, "norm": "linf", "loss": "squared"}),
    "linf curve": ("two", {"radius": 0.05, "norm": "linf", "margin_curve": (FIRST, 0.2)}),
    "ovr": ("three", {"radius": some, "loss": "squared_hinge"}),
    "joint": ("three", {"radius": some, **JOINT}),
    "joint weights": ("three", {"radius": 0.1, "loss": "logistic", "sample_weight": thirds, **JOINT}),
    "squared clean": ("real", {"loss": "squared"}),
    "squared": ("real", {"loss": "squared", "radius": some}),
    "squared outputs": ("reals", {"loss": "squared", "radius": 0.1, "clean_weight": 0.4, "scale": half}),
    "hard": ("two", {"radius": 0.05, "hard_margin": (FIRST, 0.3)}),
    "hard joint": ("three", {"hard_margin": (FIRST, 0.2), **JOINT}),
    "hard ovr": ("three", {"radius": 0.05, "hard_margin": (FIRST, 0.2)}),
    "curve": ("two", {"radius": 0.1, "margin_curve": (np.arange(3), 0.3)}),
    "curve and hard": ("two", {**CURVE, "hard_margin": (NEXT, 0.1), "clean_weight": 0.5, "scale": half}),
}


def make(name, seed=0, n=6, d=2, beta=0.02):
    """A random setting of this name."""
    rng = np.random.default_rng([seed, n, d])
    kind, options = CASES[name]
    X = rng.standard_normal((n, d))
    order = np.argsort(np.argsort(X[:, 0] + 0.5 * X[:, -1] ** 2 + 0.2 * rng.standard_normal(n)))
    y = {
        "two": lambda: np.where(order < n // 2, "yes", "no"),
        "three": lambda: order * 3 // n - 1,
        "real": lambda: X[:, 0] ** 2 + rng.standard_normal(n),
        "reals": lambda: rng.standard_normal((n, 2)),
    }[kind]()
    options = {key: value(rng, n, d) if callable(value) else value for key, value in options.items()}
    return Setting(X, y, {"beta": beta, **options})


def dense(neurons, coefficients):
    """W of every output."""
    lifted = np.c_[neurons, np.ones(len(neurons))]
    return [np.einsum("j,jp,jq->pq", alpha, lifted, lifted) for alpha in coefficients.T]


def combined(Ws, direction):
    return sum(weight * W for weight, W in zip(direction, Ws, strict=True))


def value(W, x, activation):
    a, b, c = activation
    d = len(x)
    return a * x @ W[:d, :d] @ x + b * W[:d, d] @ x + c * W[d, d]


def ball_minimum(Q, g, radius):
    """min e'Qe + 2g'e over ||e|| <= radius by bisection on the multiplier of the dual function."""
    if radius == 0:
        return 0.0
    eigenvalues, vectors = np.linalg.eigh(Q)
    g = vectors.T @ g
    base = max(0.0, -eigenvalues[0])
    gaps = eigenvalues + base
    moved = lambda shift: np.divide(g, gaps + shift, out=np.zeros_like(g), where=gaps + shift > 0)  # noqa: E731
    low, high = 0.0, np.linalg.norm(g) / radius
    high = 0.0 if np.linalg.norm(moved(0.0)) <= radius and not (g[gaps == 0] != 0).any() else high
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if np.linalg.norm(moved(middle)) > radius else (low, middle)
    return -g @ moved(high) - (base + high) * radius**2


@cache
def _box_programme(d):
    """The diagonal-multiplier restriction as a semidefinite programme with parameters."""
    Q, g, square = cp.Parameter((d, d), symmetric=True), cp.Parameter((d, 1)), cp.Parameter(nonneg=True)
    multiplier, t = cp.Variable(d, nonneg=True), cp.Variable((1, 1))
    matrix = cp.bmat([[Q + cp.diag(multiplier), g], [g.T, t]])
    cost = -cp.sum(t) - square * cp.sum(multiplier)
    return cp.Problem(cp.Maximize(cost), [0.5 * (matrix + matrix.T) >> 0]), Q, g, square


def box_minimum(Q, g, radius):
    if radius == 0:
        return 0.0
    size = max(np.abs(Q).max() * radius**2, np.abs(g).max() * radius, 1e-12)
    problem, *parameters = _box_programme(len(g))
    for parameter, number in zip(parameters, (Q * radius**2 / size, g[:, None] * radius / size, 1.0), strict=True):
        parameter.value = number
    return size * _solved(problem, tol=1e-10)


def worst(W, setting, i, radius, curvature=0.0):
    """Smallest value of the output of W over the ball of row i, plus curvature * ||delta/scale||^2."""
    x, (a, b, _), d = setting.X[i], setting.activation, setting.X.shape[1]
    D = np.diag(setting.scale)
    Q = a * D @ W[:d, :d] @ D + curvature * np.eye(d)
    g = 0.5 * D @ (2 * a * W[:d, :d] @ x + b * W[:d, d])
    minimum = box_minimum if setting.norm == "linf" else ball_minimum
    return value(W, x, setting.activation) + minimum(Q, g, radius)


def constraints(setting):
    """(row, radius, margin, curvature) of every constrained row."""
    for i in setting.hard_margin[0]:
        yield i, setting.radii[i], setting.hard_margin[1], 0.0
    for i in setting.margin_curve[0]:
        r, m = setting.radii[i], setting.margin_curve[1]
        yield i, r, m, m / r**2 if r > 0 else 0.0


def shares(setting, i):
    """(weight, radius) of the clean and of the robust loss of row i."""
    omega = np.asarray(setting.sample_weight, float)
    omega = omega[i] / omega.sum()
    theta = setting.clean_weight if setting.radii.any() else 0.0
    return [(w, r) for w, r in ((theta * omega, 0.0), ((1 - theta) * omega, setting.radii[i])) if w > 0]


def objective(setting, Ws, penalty):
    """(objective, largest relative shortfall of a constraint)."""
    total, violation = setting.beta * penalty, 0.0
    for i in range(len(setting.X)):
        for weight, radius in shares(setting, i):
            if setting.loss == "squared":
                for W, target in zip(Ws, np.atleast_1d(setting.y[i]), strict=True):
                    low, high = worst(W, setting, i, radius), -worst(-W, setting, i, radius)
                    total += weight * 0.5 * max(abs(low - target), abs(high - target)) ** 2
                continue
            for direction in setting.directions(i):
                margin = worst(combined(Ws, direction), setting, i, radius)
                total += weight * MARGIN_LOSS[setting.loss][0](margin)
    for i, radius, margin, curvature in constraints(setting):
        for direction in setting.directions(i):
            reached = worst(combined(Ws, direction), setting, i, radius, curvature)
            violation = max(violation, (margin - reached) / margin)
    return total, violation


def _solved(problem, tol):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        result = problem.solve("CLARABEL", tol_gap_abs=tol, tol_gap_rel=tol, tol_feas=tol)
    return result


def optimum(setting, tighten=1e-7):
    """(value, Ws, penalty) of the semidefinite programme; Ws are restored to be exactly feasible in Z.

    Constraints are tightened a little, so that the point satisfies the true ones. value is infinite and Ws
    None where the programme is infeasible.
    """
    d = setting.X.shape[1]
    lifts = [[cp.Variable((d + 1, d + 1), PSD=True) for _ in range(2)] for _ in range(setting.outputs)]
    limits = [cp.trace(Z[:d, :d]) == Z[d, d] for pair in lifts for Z in pair]
    W_of = [Z - Z_prime for Z, Z_prime in lifts]

    def margin(W, i, radius, curvature=0.0):
        x, (a, b, c), D = setting.X[i], setting.activation, np.diag(setting.scale)
        f = a * cp.trace(W[:d, :d] @ np.outer(x, x)) + b * (W[:d, d] @ x) + c * W[d, d]
        if radius == 0:
            return f
        w, multiplier = cp.Variable(), cp.Variable(d if setting.norm == "linf" else (), nonneg=True)
        diagonal = cp.diag(multiplier) if setting.norm == "linf" else multiplier * np.eye(d)
        side = cp.reshape(0.5 * D @ (2 * a * W[:d, :d] @ x + b * W[:d, d]), (d, 1), order="F")
        corner = cp.reshape(f - w - cp.sum(multiplier) * radius**2, (1, 1), order="F")
        matrix = cp.bmat([[diagonal + a * D @ W[:d, :d] @ D + curvature * np.eye(d), side], [side.T, corner]])
        limits.append(0.5 * (matrix + matrix.T) >> 0)
        return w

    cost = setting.beta * sum(Z[d, d] for pair in lifts for Z in pair)
    for i in range(len(setting.X)):
        for weight, radius in shares(setting, i):
            if setting.loss == "squared":
                for W, target in zip(W_of, np.atleast_1d(setting.y[i]), strict=True):
                    far = cp.maximum(target - margin(W, i, radius), -margin(-W, i, radius) - target)
                    cost += weight * 0.5 * cp.square(cp.pos(far))
                continue
            for direction in setting.directions(i):
                cost += weight * MARGIN_LOSS[setting.loss][1](margin(combined(W_of, direction), i, radius))
    for i, radius, m, curvature in constraints(setting):
        reached = [margin(combined(W_of, direction), i, radius, curvature) for direction in setting.directions(i)]
        limits += [w >= m * (1 + tighten) for w in reached]
    best = _solved(cp.Problem(cp.Minimize(cost), limits), tol=1e-10)
    if not np.isfinite(best):
        return np.inf, None, np.inf
    return (best, *_restored([[Z.value for Z in pair] for pair in lifts]))


def _restored(lifts):
    Ws, penalty = [], 0.0
    for pair in lifts:
        parts = []
        for Z in pair:
            eigenvalues, vectors = np.linalg.eigh(0.5 * (Z + Z.T))
            Z = (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
            excess, d = np.trace(Z) - 2 * Z[-1, -1], len(Z) - 1
            Z = Z + np.diag(np.r_[np.full(d, max(0.0, -excess) / d), max(0.0, excess)])
            parts.append(Z)
            penalty += Z[-1, -1]
        Ws.append(parts[0] - parts[1])
    return Ws, penalty
