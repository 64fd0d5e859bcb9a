"""Exact worst cases of small ReLU and gated ReLU networks, by all points where they can lie.

A margin is linear between the hyperplanes of the gates. In a cell its least value lies where d hyperplanes (of gates
or faces of the ball) meet, or, in an l2 ball, where the sphere and some hyperplanes meet the line along which the
cell's gradient falls. At a hyperplane a gated network takes the better of both sides, as a limit.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np


class Pieces(NamedTuple):
    """sum_j 1[H_j x + h_j >= 0] (W_jc x + b_jc) in raw inputs, with two outputs or more."""

    H: np.ndarray
    h: np.ndarray
    W: np.ndarray
    b: np.ndarray


def pieces(network) -> Pieces:
    part = {name: tensor.detach().double().numpy() for name, tensor in network.state_dict().items()}
    if "gates" in part:
        H, h, W, b = part["gates"], part["gate_biases"], part["weights"], part["biases"]
    else:
        H, h, alpha = part["neurons"], part["biases"], part["coefficients"]
        W, b = H[:, :, None] * alpha[:, None, :], h[:, None] * alpha
    H, W = H / part["scale"], W / part["scale"][:, None]
    h, b = h - H @ part["shift"], b - np.einsum("kdc,d->kc", W, part["shift"])
    if W.shape[2] == 1:  # f > 0 speaks for the second class
        W, b = np.concatenate([0 * W, W], 2), np.concatenate([0 * b, b], 1)
    return Pieces(H, h, W, b)


def length(delta: np.ndarray, norm: str) -> np.ndarray:
    return {"l1": abs(delta).sum(-1), "l2": np.sqrt((delta**2).sum(-1)), "linf": abs(delta).max(-1)}[norm]


def dual_length(gradient: np.ndarray, norm: str) -> np.ndarray:
    return length(gradient, {"l1": "linf", "l2": "l2", "linf": "l1"}[norm])


def worst_margin(network, x: np.ndarray, label: int, radius: float, norm: str) -> float:
    """The infimum of the margin over the ball."""
    H, h, W, b = pieces(network)
    others = [c for c in range(W.shape[2]) if c != label]
    least = []
    for c in others:
        P, q = W[:, :, label] - W[:, :, c], b[:, label] - b[:, c]
        least.append(_worst_difference(H, H @ x + h, P, P @ x + q, radius, norm))
    return min(least)


def _worst_difference(H: np.ndarray, s: np.ndarray, P: np.ndarray, q: np.ndarray, radius: float, norm: str) -> float:
    moving = np.flatnonzero(abs(s) <= radius * dual_length(H, norm) * (1 + 1e-9))
    find = _points_of_a_ball if norm == "l2" else _vertices
    points = [(np.zeros(H.shape[1]), ())]
    if radius > 0:
        points += find(H, s, P, radius, norm, moving)
    values = []
    for e, active in points:
        linear = q + P @ e
        value = np.where(s + H @ e >= 0, linear, 0.0)
        value[list(active)] = np.minimum(linear[list(active)], 0.0)
        values.append(value.sum())
    return min(values)


def _vertices(H, s, P, radius, norm, moving):
    d = H.shape[1]
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=d)))
    faces = signs if norm == "l1" else np.concatenate([np.eye(d), -np.eye(d)])
    A, c = np.concatenate([H[moving], faces]), np.concatenate([-s[moving], np.full(len(faces), radius)])
    for chosen in itertools.combinations(range(len(A)), d):
        rows = A[list(chosen)]
        if abs(np.linalg.det(rows)) > 1e-10 * np.prod(np.linalg.norm(rows, axis=1)):
            e = np.linalg.solve(rows, c[list(chosen)])
            if (faces @ e <= radius * (1 + 1e-12)).all():
                yield e, tuple(moving[k] for k in chosen if k < len(moving))


def _points_of_a_ball(H, s, P, radius, norm, moving):
    d = H.shape[1]
    always = np.setdiff1d(np.flatnonzero(s >= 0), moving)
    patterns = np.array(list(itertools.product([0.0, 1.0], repeat=len(moving))))
    gradients = P[always].sum(0) + patterns @ P[moving]
    for size in range(d + 1):
        for chosen in itertools.combinations(moving, size):
            rows, c = H[list(chosen)], -s[list(chosen)]
            if size and np.linalg.svd(rows, compute_uv=False)[-1] <= 1e-9 * np.linalg.norm(rows):
                continue
            inverse = np.linalg.pinv(rows) if size else np.zeros((d, 0))
            centre = inverse @ c
            rest = radius**2 - centre @ centre
            if rest < 0:
                continue
            if size == d:
                yield centre, chosen
                continue
            along = gradients @ (np.eye(d) - inverse @ rows)
            lengths = np.linalg.norm(along, axis=1)
            for direction in along[lengths > 1e-12] / lengths[lengths > 1e-12, None]:
                yield centre - np.sqrt(rest) * direction, chosen


def ball_points(rng: np.random.Generator, shape: tuple[int, ...], norm: str) -> np.ndarray:
    """Points (..., d) of the unit ball: inside of it, on its boundary, and its vertices."""
    points = rng.standard_normal(shape)
    if norm == "linf":
        sharp = np.sign(points)
    elif norm == "l1":
        sharp = np.where(abs(points) == abs(points).max(-1, keepdims=True), np.sign(points), 0.0)
    else:
        sharp = points
    points = np.where(rng.random(shape[:-1])[..., None] < 0.3, sharp, points)
    size = np.where(rng.random(shape[:-1]) < 0.7, 1.0, rng.random(shape[:-1]))
    return points * (size / length(points, norm))[..., None]
