"""Random polynomial networks, their quadratics from the weights alone, and exact minima of small quadratics."""

import itertools

import numpy as np

from convexadv import PolynomialNetwork


def unit_rows(rng, m, d):
    rows = rng.standard_normal((m, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_network(seed, d=5, m=6, outputs=1, activation=(0.9, 0.5, 0.1), classes=None, **scaling):
    rng = np.random.default_rng(seed)
    alpha = rng.standard_normal((m, outputs))
    classes = np.arange(max(2, outputs)) if classes is None else classes
    return PolynomialNetwork(unit_rows(rng, m, d), alpha, activation, classes=classes, **scaling)


def random_rows(seed, n, d, classes=2, spread=1.0):
    rng = np.random.default_rng(seed)
    return spread * rng.standard_normal((n, d)), rng.integers(0, classes, n)


def forms_of(network, first=None, second=None):
    """f (or f_first - f_second) of raw inputs as x'A x + 2 h'x + k, from the weights alone, in float64."""
    U, alpha = network.neurons.detach().double().numpy(), network.coefficients.detach().double().numpy()
    w = alpha[:, 0] if first is None else alpha[:, first] - alpha[:, second]
    a, b, c = network.activation
    V = U / network.scale.double().numpy()
    t = -V @ network.shift.double().numpy()
    A = a * (V.T * w) @ V
    return A, V.T @ (w * (a * t + 0.5 * b)), float(w @ ((a * t + b) * t + c))


def values(form, X):
    A, h, k = form
    return ((X @ A) * X).sum(-1) + 2 * X @ h + k


def minimum_on_balls(form, X, sign, radius):
    """Lagrange dual of min sign * form over balls, by bisection on its derivative in the full space."""
    A, h, _ = form
    eigenvalues, vectors = np.linalg.eigh(A)
    curvature = sign[:, None] * eigenvalues
    gradient = sign[:, None] * ((X @ A + h) @ vectors)
    base = np.maximum(0.0, -curvature.min(1))
    curvature = curvature + base[:, None]
    low, high = np.zeros(len(X)), np.linalg.norm(gradient, axis=1) / np.maximum(radius, 1e-300) + 1e-300

    def dual(shift):
        divisor = curvature + shift[:, None]
        divisor = np.where(divisor > 0, divisor, 1e-300)
        part = np.where(gradient == 0, 0.0, gradient / divisor)
        return (gradient * part).sum(1), (part * part).sum(1)

    with np.errstate(over="ignore"):
        for _ in range(120):
            middle = 0.5 * (low + high)
            rising = dual(middle)[1] > radius**2
            low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    least = -dual(high)[0] - (base + high) * radius**2
    return sign * values(form, X) + np.where(radius > 0, least, 0.0)


def margins_at(network, X, y):
    """Margins from the full forms, labels 0..C-1."""
    if network.n_outputs == 1:
        return (2 * y - 1) * values(forms_of(network), X)
    result = np.full(X.shape[:-1], np.inf)
    for label in np.unique(y):
        for other in np.delete(np.arange(network.n_outputs), label):
            gain = values(forms_of(network, label, other), X)
            result = np.where(y == label, np.minimum(result, gain), result)
    return result


def magnitude(network, X, radius):
    """Size of the terms of the margin over the balls: what rounding is relative to."""
    U, alpha = network.neurons.detach().double().numpy(), network.coefficients.detach().double().numpy()
    a, b, c = map(abs, network.activation)
    scale = network.scale.double().numpy()
    z = (X - network.shift.double().numpy()) / scale
    t = abs(z @ U.T) + np.asarray(radius)[..., None] * np.linalg.norm(U / scale, axis=1)
    return ((a * t + b) * t + c) @ (abs(alpha).sum(1))


def pair_forms(network, label):
    """The quadratics whose least value is the margin of a label 0..C-1."""
    if network.n_outputs == 1:
        sign = 2 * label - 1
        return [tuple(sign * part for part in forms_of(network))]
    return [forms_of(network, label, other) for other in range(network.n_outputs) if other != label]


def box_minimum(form, low, high):
    """Minimum over a box, by the stationary points of all 3^d faces."""
    A, h, _ = form
    best = np.inf
    for face in itertools.product((0, 1, 2), repeat=len(h)):
        face = np.array(face)
        point, free = np.where(face == 0, low, np.where(face == 2, high, 0.0)), face == 1
        if free.any():
            slope = h[free] + A[np.ix_(free, ~free)] @ point[~free]
            point[free] = np.linalg.lstsq(A[np.ix_(free, free)], -slope, rcond=None)[0]
            if (point < low - 1e-12).any() or (point > high + 1e-12).any():
                continue
        best = min(best, float(values(form, point)))
    return best


def cross_polytope_minimum(form, centre, radius):
    """Minimum over an l1 ball, by the stationary points of its inside and of all its faces."""
    A, h, _ = form
    d, best = len(h), float(values(form, centre))
    slope = A @ centre + h
    inside = np.linalg.lstsq(A, -slope, rcond=None)[0]
    if abs(inside).sum() <= radius:
        best = min(best, float(values(form, centre + inside)))
    for size in range(1, d + 1):
        for chosen in map(list, itertools.combinations(range(d), size)):
            for sign in map(np.array, itertools.product((-1.0, 1.0), repeat=size)):
                system = np.block([[A[np.ix_(chosen, chosen)], sign[:, None]], [sign[None], np.zeros((1, 1))]])
                e = np.zeros(d)
                e[chosen] = np.linalg.lstsq(system, np.append(-slope[chosen], radius), rcond=None)[0][:size]
                if (e[chosen] * sign >= -1e-12).all() and abs(abs(e).sum() - radius) <= 1e-9 * radius:
                    best = min(best, float(values(form, centre + e)))
    return best
