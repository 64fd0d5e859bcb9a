"""The metric of the refinement: coordinates in which the curvature of loss and penalty is even."""

from __future__ import annotations

from typing import Any
import os

class Metric:
    """Variables V = Y P^{-1/2} with P = w X'X/n + 2 beta I: the shape of the Gauss-Newton matrix of one neuron."""

    def __init__(self, model: Any):
        torch = model.torch
        w = float(os.environ.get("PW", "0"))
        self.root = None
        if w:
            gram = model.rows.weighted_gram(torch.full((model.rows.n,), 1.0 / model.rows.n, dtype=model.dtype))
            lam, vec = torch.linalg.eigh(gram)
            weight = (w * lam.clamp_min(0) + 2 * model.problem.beta)
            weight = weight/weight.min()
            self.root = (vec * weight.rsqrt()) @ vec.T
            self.back = (vec * weight.sqrt()) @ vec.T

    def to_flat(self, V):
        return (V if self.root is None else V @ self.back).reshape(-1)

    def from_flat(self, flat, shape):
        V = flat.view(shape)
        return V if self.root is None else V @ self.root

    def gradient(self, G):
        return (G if self.root is None else G @ self.root).reshape(-1)
