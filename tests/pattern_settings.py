"""Random settings of ReLU and gated ReLU problems, with their formulas written slowly: one row, one block at a time."""

from itertools import product

import numpy as np
import pytest

from convexadv import GatedReLUProblem, ReLUProblem
from convexadv.problems.blocks import Blocks

DUAL = {"l1": np.inf, "l2": 2, "linf": 1}
PSI = {
    "hinge": lambda u: max(0.0, u),
    "squared_hinge": lambda u: max(0.0, u) ** 2,
    "logistic": lambda u: float(np.logaddexp(0.0, u)),
    "squared": lambda u: 0.5 * u * u,
}
MANY, TWO, JOINT = {"radius": "some"}, {"fit_intercept": True}, {"multiclass": "joint"}
CASES = {
    "hinge": ("two", {}),
    "squared hinge": ("two", {"loss": "squared_hinge", **TWO}),
    "logistic": ("two", {"loss": "logistic", "sample_weight": "thirds"}),
    "squared": ("real", {"loss": "squared"}),
    "squared targets": ("reals", {"loss": "squared", **TWO}),
    "ovr": ("three", {"loss": "squared_hinge"}),
    "joint": ("three", {"loss": "logistic", **JOINT, **TWO}),
    "l2": ("two", {"norm": "l2", **MANY}),
    "l1": ("two", {"norm": "l1", "loss": "squared_hinge", **MANY, **TWO}),
    "linf": ("two", {"norm": "linf", "loss": "logistic", **MANY}),
    "linf weights": ("two", {"norm": "linf", "sample_weight": "thirds", **MANY, **TWO}),
    "robust ovr": ("three", {"norm": "l1", **MANY}),
    "robust joint": ("three", {"norm": "l2", "loss": "squared_hinge", **MANY, **JOINT, **TWO}),
    "linf joint": ("three", {"norm": "linf", **MANY, **JOINT}),
    "robust squared": ("real", {"norm": "l2", "loss": "squared", **MANY, **TWO}),
    "linf targets": ("reals", {"norm": "linf", "loss": "squared", **MANY}),
    "l1 squared": ("real", {"norm": "l1", "loss": "squared", "sample_weight": "thirds", **MANY}),
}
BOTH = [(kind, name) for kind in (ReLUProblem, GatedReLUProblem) for name in CASES]
EVERY = pytest.mark.parametrize(
    ("kind", "name"), BOTH, ids=lambda value: value if isinstance(value, str) else value.__name__
)
ROBUST = pytest.mark.parametrize("name", [name for name in CASES if "radius" in CASES[name][1]])


class Setting:
    """Arguments of a problem, and what follows from them row by row."""

    def __init__(self, kind, name, seed=0, n=None, d=None, P=None, beta=0.02):
        label, options = CASES[name]
        rng = np.random.default_rng([seed, BOTH.index((kind, name))])
        n, d, P = n or int(rng.integers(10, 15)), d or int(rng.integers(2, 5)), P or int(rng.integers(4, 7))
        self.kind, self.options, self.beta = kind, dict(options), beta
        self.X = rng.standard_normal((n, d))
        self.y = {
            "two": lambda: np.where(rng.permutation(n) < n // 2, "yes", "no"),
            "three": lambda: rng.permutation(n) % 3 - 1,
            "real": lambda: self.X[:, 0] ** 2 + rng.standard_normal(n),
            "reals": lambda: rng.standard_normal((n, 2)),
        }[label]()
        self.intercept = options.get("fit_intercept", False)
        self.rows = np.c_[self.X, np.ones(n)] if self.intercept else self.X
        self.gates = rng.standard_normal((d + self.intercept, P))
        self.norm, self.loss = options.get("norm", "l2"), options.get("loss", "hinge")
        self.q, self.features = DUAL[self.norm], d
        self.radii = np.zeros(n)
        if "radius" in options:
            reach = np.abs(self.rows @ self.gates) / [self.dual(g) for g in self.gates.T]
            self.radii = rng.uniform(0.3, 0.9, n) * reach.min(1) if kind is ReLUProblem else rng.uniform(0.05, 0.6, n)
            self.radii[::3] = 0.0
            self.options["radius"] = self.radii
        self.omega = np.ones(n)
        if "sample_weight" in options:
            self.omega = self.options["sample_weight"] = rng.permutation(n) / 3.0
        self.omega = self.omega / self.omega.sum()
        self.patterns = np.array([[x @ g >= 0 for g in self.gates.T] for x in self.rows])
        distance = np.array([[abs(x @ g) / self.dual(g) for g in self.gates.T] for x in self.rows])
        self.moving = (distance <= self.radii[:, None]) & (self.radii[:, None] > 0) & (kind is GatedReLUProblem)
        self.classes = None if self.loss == "squared" else sorted(set(self.y.tolist()))
        self.outputs = np.reshape(self.y, (n, -1)).shape[1] if self.classes is None else len(self.classes)
        self.outputs = 1 if self.classes is not None and self.outputs == 2 else self.outputs

    def problem(self, **changes):
        return self.kind(self.X, self.y, gates=self.gates, beta=self.beta, **{**self.options, **changes})

    def dual(self, v):
        """Dual norm over the features that the ball perturbs."""
        return np.linalg.norm(v[: self.features], ord=self.q)

    def terms(self, i):
        """Pairs of a weight and alternatives (direction over the outputs, offset); the worst shortfall counts."""
        unit = np.eye(self.outputs)
        if self.classes is None:
            targets = np.atleast_1d(self.y[i])
            return [[(e, y), (-e, -y)] for e, y in zip(unit, targets, strict=True)]
        own, offset = self.classes.index(self.y[i]), 0.0 if self.loss == "logistic" else 1.0
        if self.outputs == 1:
            return [[(np.array([2.0 * own - 1.0]), offset)]]
        if self.options.get("multiclass") == "joint":
            return [[(unit[own] - unit[c], offset)] for c in range(self.outputs) if c != own]
        return [[(unit[c] if c == own else -unit[c], offset)] for c in range(self.outputs)]

    def margin(self, i, e, blocks):
        """Worst case of e'f at row i as docs/mathematics.md writes it, block after block."""
        x, r = self.rows[i], self.radii[i]
        fixed, on_edge = np.zeros(len(x)), {}
        for gate, output, side, v in zip(blocks.gate, blocks.output, blocks.side, blocks.vectors, strict=True):
            if self.moving[i, gate]:
                on_edge[gate] = on_edge.get(gate, 0.0) + side * e[output] * v
            elif self.patterns[i, gate]:
                fixed = fixed + side * e[output] * v
        return x @ fixed - r * self.dual(fixed) + sum(min(0.0, x @ v - r * self.dual(v)) for v in on_edge.values())

    def objective(self, margin, penalty):
        """Losses of the margins ``margin(i, e)`` and beta times the penalty."""
        total = self.beta * penalty
        for i in range(len(self.X)):
            for alternatives in self.terms(i):
                total += self.omega[i] * PSI[self.loss](max(offset - margin(i, e) for e, offset in alternatives))
        return total

    def extremes(self, rng, i, count=40):
        """Perturbations of row i: the corners of its ball (l1, linf), points on and in it."""
        d, r = self.features, self.radii[i]
        points = rng.standard_normal((count, d))
        corners = {"l1": np.r_[np.eye(d), -np.eye(d)], "linf": np.array(list(product((-1.0, 1.0), repeat=d)))}
        if self.norm in corners:
            points = np.r_[points, corners[self.norm]]
        points /= np.linalg.norm(points, ord={"l1": 1, "l2": 2, "linf": np.inf}[self.norm], axis=1, keepdims=True)
        inner = points[:count] * rng.uniform(0, 1, (count, 1)) ** (1 / d)
        return r * np.r_[np.zeros((1, d)), points, inner]


def random_blocks(rng, setting, m):
    sides = rng.choice([-1.0, 1.0], m)
    size = 10.0 ** rng.uniform(-1.5, 0.5)
    vectors = size * rng.standard_normal((m, setting.rows.shape[1]))
    return Blocks(rng.integers(0, setting.gates.shape[1], m), rng.integers(0, setting.outputs, m), sides, vectors)


def in_cones(rng, setting, m):
    """Blocks in their robust cones: near gates, by rejection; for gated problems any blocks."""
    if setting.kind is GatedReLUProblem:
        return random_blocks(rng, setting, m)
    blocks = random_blocks(rng, setting, m)
    for j, k in enumerate(blocks.gate):
        step, gate = 0.5, setting.gates[:, k]
        v = gate
        while step > 1e-3:
            u = gate + step * rng.standard_normal(len(gate))
            signs = np.where(setting.patterns[:, k], 1.0, -1.0)
            if (signs * (setting.rows @ u) >= setting.radii * setting.dual(u) + 1e-9).all():
                v = u
                break
            step *= 0.8
        blocks.vectors[j] = v * 10.0 ** rng.uniform(-1, 1)
    return blocks
