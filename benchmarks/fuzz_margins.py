"""Fuzz cases of worst-case margins, distances, pattern cones and decompositions, at scales from 1e-12 to 1e12.

Margins are compared with random points and corners of their balls, with dense grids where there is one feature, and with
each other; a case is a row of a network, a cone or a matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import convexadv as ca
from benchmarks.fuzz_tally import TINY, Draw, Tally, numbers, radii, sizes, unit_points
from convexadv.cones import Cones, project, violations
from convexadv.networks.evaluation import evaluate
from convexadv.networks.network import class_margins
from convexadv.recovery import lift, network_from_lift, neural_decomposition, restore

_ROWS, _POINTS = 40, 30
_UNDERFLOW = 1e-300


def network(rng: np.random.Generator, kind: str, d: int, decades: float = 12.0) -> Any:
    """A network of any scale: no neurons, zero neurons, repeated ones, and an input scaling now and then."""
    m, outputs = int(rng.integers(0, 6)), int(rng.choice([1, 1, 3]))
    neurons, alpha = rng.standard_normal((m, d)), numbers(rng, (m, outputs), decades)
    neurons[1:2] = neurons[:1] if rng.random() < 0.2 else neurons[1:2]
    scaling = {"shift": numbers(rng, (1, d), decades / 2)[0], "scale": sizes(rng, d, decades / 2)}
    options: dict[str, Any] = {"classes": np.arange(max(2, outputs)), **(scaling if rng.random() < 0.3 else {})}
    if kind == "polynomial":
        neurons = np.where(rng.random((m, 1)) < 0.3, np.eye(d)[rng.integers(0, d, m)], neurons)
        neurons = neurons / np.linalg.norm(neurons, axis=1, keepdims=True)
        return ca.PolynomialNetwork(neurons, alpha, tuple(rng.normal(0, 1, 3) * (rng.random(3) < 0.7)), **options)
    neurons = neurons * sizes(rng, (m, 1), decades) * (rng.random((m, 1)) < 0.9)
    biases = numbers(rng, (m, 1), decades)[:, 0] * (rng.random() < 0.5)
    if kind == "ReLU":
        return ca.ReLUNetwork(neurons, alpha, biases, **options)
    weights = numbers(rng, (m, d, outputs), decades)
    return ca.GatedReLUNetwork(neurons, weights, biases, alpha * (rng.random() < 0.5), **options)


def margins_of(net: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Margins (n,) of labels; infinite or NaN where the scores overflow, which ``net.margins`` refuses."""
    scores = torch.as_tensor(evaluate(net, X))
    return class_margins(scores, torch.as_tensor(np.searchsorted(net.classes, y))).numpy()


def margins(rng: np.random.Generator, tally: Tally) -> None:
    """No point of a ball has a smaller margin than the bound; exact bounds are attained by their points."""
    kind, d = str(rng.choice(["polynomial", "ReLU", "gated"])), int(rng.integers(1, 5))
    net, norm = network(rng, kind, d), str(rng.choice(["l2", "linf", "l1"]))
    X, r = numbers(rng, (_ROWS, d)), radii(rng, _ROWS)
    unit = np.asarray(net.scale, float)
    X, r = np.asarray(net.shift) + X * unit, r * rng.choice(unit)
    r = np.where(rng.random(_ROWS) < 0.03, 10.0 ** rng.uniform(12, 308, _ROWS), r)
    y = rng.choice(net.classes, _ROWS)
    complete = rng.random() < 0.15 and (kind, norm) != ("polynomial", "l1")
    found = ca.worst_case_margin(net, X, y, r, norm, complete=complete, max_branches=8)
    tally.expect(~np.isnan(found.lower_bound), f"a {kind} margin is NaN in {norm}", found.lower_bound, X, r)
    own = margins_of(net, X, y)
    low = found.lower_bound - _UNDERFLOW * (1 + (abs(X - np.asarray(net.shift)).sum(1) + d * r) / unit.min())
    tally.expect(low <= own, f"a {kind} bound lies above the margin itself in {norm}", found.lower_bound, own)
    grid = np.linspace(-1, 1, _POINTS)[:, None, None] + np.zeros((1, _ROWS, 1))
    points = _inside(X, r, grid if d == 1 else unit_points(rng, (_POINTS, _ROWS, d), norm), norm)
    values = margins_of(net, points.reshape(-1, d), np.tile(y, _POINTS)).reshape(_POINTS, _ROWS)
    least = np.where(np.isnan(values), np.inf, values).min(0)
    good = (low <= least) & ((found.lower_bound <= 0) | (least > 0))
    tally.expect(good, f"a point undercuts a {kind} bound in {norm}", found.lower_bound, least, X, r)
    reached = (found.upper_bound >= low)[found.exact]
    tally.expect(reached, f"the point of an exact {kind} bound undercuts it in {norm}")
    inside = _length(np.asarray(found.point, np.longdouble) - X, norm) <= r * (1 + 1e-12) + d * TINY
    tally.expect(inside, f"the point of a {kind} bound leaves its ball in {norm}", X, r)
    tally.count(f"margins {kind} {norm}{' complete' if complete else ''}", _ROWS)


def _inside(X: np.ndarray, r: np.ndarray, e: np.ndarray, norm: str) -> np.ndarray:
    """Points X + r e; the row itself where rounding takes a point out of its ball."""
    points = X + r[:, None] * e
    outside = _length(points.astype(np.longdouble) - X, norm) > r
    return np.where(outside[..., None], X, points)


def _length(delta: np.ndarray, norm: str) -> np.ndarray:
    if norm == "l2":
        return np.sqrt((delta**2).sum(-1))
    return abs(delta).sum(-1) if norm == "l1" else abs(delta).max(-1)


def one_feature(rng: np.random.Generator, tally: Tally) -> None:
    """With one feature the balls of all norms are the same interval, whose least margin a fine grid finds."""
    kind = str(rng.choice(["polynomial", "ReLU", "gated"]))
    net = network(rng, kind, 1, 2.0)
    X, r, y = rng.standard_normal((_ROWS, 1)), radii(rng, _ROWS, 2), rng.choice(net.classes, _ROWS)
    found = {
        norm: ca.worst_case_margin(net, X, y, r, norm, complete=(kind, norm) != ("polynomial", "l1"))
        for norm in ("l2", "linf", "l1")
    }
    points = _inside(X, r, np.linspace(-1, 1, 401)[:, None, None] + np.zeros((1, _ROWS, 1)), "l2")
    grid = margins_of(net, points.reshape(-1, 1), np.tile(y, 401)).reshape(401, _ROWS)
    scores = abs(net.scores(points.reshape(-1, 1)).reshape(401, _ROWS, -1))  # margins of equal scores are rounding
    size = 1e-9 * (abs(grid).max(0) + scores.max((0, 2)))
    for norm, each in found.items():
        tally.expect(
            each.lower_bound <= grid.min(0) + _UNDERFLOW,
            f"a grid undercuts a {kind} bound, {norm}",
            each.lower_bound,
            X,
            r,
        )
        both = each.exact & found["l2"].exact & (kind != "gated")
        apart = abs(each.lower_bound - found["l2"].lower_bound)
        tally.expect((apart <= 100 * size + 1e-12)[both], f"two exact {kind} bounds differ, l2 and {norm}", apart[both])
        far = each.exact & (each.upper_bound > each.lower_bound + 1e3 * size + 1e-12) & (kind != "gated")
        tally.expect(~far, f"an exact {kind} bound is not attained, {norm}", each.lower_bound, each.upper_bound, X, r)
    tally.count(f"one feature {kind}", 3 * _ROWS)


def distances(rng: np.random.Generator, tally: Tally) -> None:
    """The ball that ends before the boundary keeps its label, the one beyond loses it."""
    d = int(rng.integers(1, 5))
    net = network(rng, "polynomial", d, 4.0)
    X = np.asarray(net.shift) + numbers(rng, (_ROWS, d), 4) * np.asarray(net.scale)
    found, points = ca.distance_to_boundary(net, X)
    tally.expect(~np.isnan(found) & (found >= 0), "a distance is NaN or negative", found, X)
    there = np.isfinite(found)
    gone = _length(points - X, "l2")
    tally.expect((abs(gone - found) <= 1e-9 * (found + abs(X).max(1)))[there], "distance and point disagree")
    y, r = net.predict(X), np.where(there, 0.999 * found, np.minimum(1e6, 1 + abs(X).max(1)))
    e = r[:, None] * unit_points(rng, (_POINTS, _ROWS, d))
    moved = margins_of(net, (X + e).reshape(-1, d), np.tile(y, _POINTS)).reshape(_POINTS, _ROWS).min(0)
    z = (abs(X) + r[:, None] + abs(np.asarray(net.shift))) / np.asarray(net.scale)
    reach = 1 + z.sum(1)
    size = (
        np.abs(np.asarray(net.activation)).sum() * reach**2 * abs(np.asarray(net.coefficients.detach())).sum() + 1e-280
    )
    tally.expect(moved >= -1e-11 * size, "a nearer point has another label", found, moved, X)
    tally.count("distance_to_boundary", _ROWS)


def cones(rng: np.random.Generator, tally: Tally) -> None:
    """Projections on pattern cones: in the cone, nearest among its points (Moreau), priced from above."""
    n, D, m = int(rng.integers(1, 9)), int(rng.integers(1, 5)), 6
    X = numbers(rng, (n, D), 6)
    X[-1] = X[0] if rng.random() < 0.2 else X[-1]
    seen = rng.standard_normal((m, D))
    norm = str(rng.choice(["l1", "l2", "linf"]))
    r = np.linalg.norm(X, axis=1) * rng.uniform(0, 0.3) * (rng.random() < 0.5)
    own = Cones(X, seen @ X.T >= 0, r, norm)
    t = numbers(rng, (m, D), 6)
    found = project(own, t)
    size = np.linalg.norm(t, axis=1)
    tally.expect(np.isfinite(found.points).all(1) & np.isfinite(found.prices), "a cone projection is not finite", t)
    length = np.linalg.norm(found.points, axis=1)
    some = length > 1e-7 * size
    off = violations(own, found.points)
    tally.expect(off[some] <= 1e-9, "a projection lies off its cone", off[some])
    price, small = found.prices, size + 1e-290
    reached = (t * found.points).sum(1) / np.where(length > 0, length, 1.0)  # no point of the cone reaches further
    tally.expect((reached <= price + 1e-9 * small)[some], "a price is below a projection", reached, price)
    tally.expect(price <= length + 1e-6 * small, "a price is far above the projection", length, price)
    right = abs(((t - found.points) * found.points).sum(1)) <= 1e-6 * size**2 + 1e-290
    tally.expect(right, "residual and projection are not orthogonal", t, found.points)
    other = violations(own, seen) == 0
    ahead = ((t - found.points) * seen).sum(1) <= 1e-6 * size * np.linalg.norm(seen, axis=1) + 1e-290
    tally.expect(ahead[other], "a point of the cone is nearer than the projection")
    tally.count("cone projection", m)


def decompositions(rng: np.random.Generator, tally: Tally) -> None:
    """Neurons of a lift give it back, and a network has the scores of the network of its lift."""
    d = int(rng.integers(1, 7))
    factor = numbers(rng, (d + 1, int(rng.integers(1, d + 2))), 6)
    Z = restore(factor @ factor.T)
    neurons, weights = neural_decomposition(Z)
    u = np.concatenate([neurons, np.ones((len(neurons), 1))], 1)
    size = abs(Z).max() + 1e-290
    tally.expect(abs((u.T * weights) @ u - Z).max() <= 1e-9 * size, "a decomposition does not give Z back", Z)
    tally.expect(abs((neurons**2).sum(1) - 1) <= 1e-9, "a neuron of a decomposition is not of norm one")
    net = network(rng, "polynomial", d, 6.0)
    pairs = lift(net)
    again = network_from_lift([p[0] for p in pairs], [p[1] for p in pairs], net.activation, net.classes)
    z = rng.standard_normal((8, d))
    plain = ca.PolynomialNetwork(net.neurons, net.coefficients, net.activation)
    alpha = abs(net.coefficients.detach().numpy()).sum()
    apart = abs(plain.scores(z) - again.scores(z)).max(initial=0)
    tally.expect(
        apart <= 1e-9 * alpha * abs(np.array(net.activation)).sum() * (1 + (z**2).sum()) + 1e-290,
        "the network of a lift is another one",
        apart,
    )
    tally.count("neural decomposition", 2)


KINDS: list[Draw] = [margins, margins, one_feature, distances, cones, decompositions, margins]
"""Kinds of draws, in turn."""
