"""The ADMM of CRONOS for convex ReLU networks, as a baseline, written from its description; nothing of convexadv is used.

Feng, Frangella, Pilanci, arXiv 2411.01088 (algorithm CRONOS); the splitting is that of Bai, Gautam, Sojoudi,
arXiv 2201.01965 (section 3). With F u = sum_i D_i X (u_0i - u_1i) and (G u)_ki = (2 D_i - I) X u_ki for k = 0, 1, it solves

    min over u = v, G u = s >= 0 of   |F u - y|^2 / (2n) + beta sum_ki |v_ki|_2

by these steps, where lambda and nu are the duals divided by rho, and all start at zero:

    u = solution of (F'F / (n rho) + G'G + I) u = F'y / (n rho) + v - lambda + G'(s - nu)
    v = shrink(u + lambda, beta / rho),   shrink(z, t)_ki = max(0, 1 - t / |z_ki|) z_ki
    s = max(0, G u + nu)
    lambda = lambda + u - v
    nu = nu + G u - s
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

_Map = Callable[[torch.Tensor], torch.Tensor]
_Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Result:
    """Where CRONOS ended, and its way there.

    Attributes
    ----------
    weights : array of shape (2, P, d)
        The shrunk copy v. It has exact zeros, but is in the cones only in the limit.
    history : array of shape (k, 3)
        Seconds (measuring excluded), objective of v, and violation max(0, max -(2 D_i - I) X v_ki) of v.
    iterations : int
        Number of iterations.
    """

    weights: np.ndarray
    history: np.ndarray
    iterations: int


def cronos(
    X: Any,
    y: Any,
    patterns: Any,
    beta: float,
    rho: float,
    max_iter: int = 100_000,
    time_limit: float = 60.0,
    cg_iterations: int | None = None,
    cg_tol: float = 1e-6,
    rank: int | None = None,
    record_every: int = 10,
    random_state: int = 0,
) -> Result:
    """Train a convex ReLU network by ADMM, in float64 on the CPU.

    Parameters
    ----------
    X, y : arrays of shape (n, d) and (n,)
        Rows and targets.
    patterns : array of shape (n, P)
        The diagonals of D_i, 0 or 1.
    beta : float
        Weight of the group norms; the squared loss is averaged over the rows.
    rho : float
        Penalty of the augmented Lagrangian.
    max_iter, time_limit : int and float
        Where to stop; there is no other stopping rule. The set-up counts as time, measuring does not.
    cg_iterations : int or None
        Most conjugate gradient steps for u, started from the last u. None solves for u through one Cholesky
        factorisation of an n x n matrix instead, which is exact and the faster way where n is a few thousand.
    cg_tol : float
        The conjugate gradients stop where the residual is this share of the right-hand side.
    rank : int or None
        Rank of the randomised Nystrom preconditioner of CRONOS; None preconditions by I + G'G, whose blocks are I + X'X.
    record_every : int
        Iterations between two entries of the history.
    random_state : int
        Seed of the Nystrom sketch.
    """
    start = time.perf_counter()
    X, y, patterns = (torch.as_tensor(array, dtype=torch.float64) for array in (X, y, patterns))
    maps = _Maps(X, patterns)
    shift = maps.adjoint_predict(y) / (len(y) * rho)
    if cg_iterations is None:
        solve = _exact_step(maps, rho)
    else:
        solve = _conjugate_gradient_step(maps, rho, cg_iterations, cg_tol, rank, random_state)
    u, v, dual_v = (torch.zeros_like(shift) for _ in range(3))
    s, dual_s = (torch.zeros_like(maps.cones(u)) for _ in range(2))
    seconds, history = time.perf_counter() - start, [(0.0, *maps.measure(v, y, beta))]
    for iteration in range(1, max_iter + 1):
        start = time.perf_counter()
        u = solve(shift + v - dual_v + maps.adjoint_cones(s - dual_s), u)
        dual_v += u
        v = shrink(dual_v, beta / rho)
        dual_v -= v
        dual_s += maps.cones(u)
        s = dual_s.clamp(min=0.0)
        dual_s -= s
        seconds += time.perf_counter() - start
        over = seconds > time_limit or iteration == max_iter
        if over or iteration % record_every == 0:
            history.append((seconds, *maps.measure(v, y, beta)))
        if over:
            break
    return Result(v.numpy(), np.array(history), iteration)


def shrink(z: torch.Tensor, threshold: float) -> torch.Tensor:
    """Proximal point max(0, 1 - threshold / |z_ki|) z_ki of the group norms; the groups are rows of the last axis."""
    norms = z.norm(dim=-1, keepdim=True)
    return z * (1 - threshold / norms.clamp(min=threshold))


class _Maps:
    """The linear maps F and G, their adjoints, and what is measured with them."""

    def __init__(self, X: torch.Tensor, patterns: torch.Tensor) -> None:
        self.X, self.patterns = X, patterns.T.contiguous()
        self.signs = 2 * self.patterns - 1

    def predict(self, u: torch.Tensor) -> torch.Tensor:
        return (((u[0] - u[1]) @ self.X.T) * self.patterns).sum(dim=0)

    def adjoint_predict(self, r: torch.Tensor) -> torch.Tensor:
        half = (self.patterns * r) @ self.X
        return torch.stack((half, -half))

    def cones(self, u: torch.Tensor) -> torch.Tensor:
        return (u @ self.X.T) * self.signs

    def adjoint_cones(self, z: torch.Tensor) -> torch.Tensor:
        return (z * self.signs) @ self.X

    def block(self) -> torch.Tensor:
        """Lower Cholesky factor of I + X'X, the block of I + G'G; signs have square 1, so that D_i drops out."""
        return torch.linalg.cholesky(torch.eye(self.X.shape[1], dtype=self.X.dtype) + self.X.T @ self.X)

    def measure(self, v: torch.Tensor, y: torch.Tensor, beta: float) -> tuple[float, float]:
        """Objective and largest violation."""
        loss = (self.predict(v) - y).square().sum() / (2 * len(y))
        return float(loss + beta * v.norm(dim=-1).sum()), max(0.0, -float(self.cones(v).min()))


def _exact_step(maps: _Maps, rho: float) -> _Step:
    """u by the Woodbury identity: with A = I + G'G, (A + F'F/c)^-1 = A^-1 - A^-1 F' (c I + F A^-1 F')^-1 F A^-1, c = n rho.

    F A^-1 F' = 2 (X (I + X'X)^-1 X') * (sum_i d_i d_i'), entry by entry, d_i the pattern i.
    """
    block = maps.block()
    gram = 2 * (maps.X @ torch.cholesky_solve(maps.X.T, block)) * (maps.patterns.T @ maps.patterns)
    gram.diagonal().add_(len(gram) * rho)
    factor = torch.linalg.cholesky(gram)
    inverse = torch.cholesky_inverse(block)

    def solve(b: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        u = b @ inverse
        r = torch.cholesky_solve(maps.predict(u)[:, None], factor)[:, 0]
        return u - maps.adjoint_predict(r) @ inverse

    return solve


def _conjugate_gradient_step(
    maps: _Maps, rho: float, iterations: int, tol: float, rank: int | None, random_state: int
) -> _Step:
    """u by preconditioned conjugate gradients from the last u."""
    c, square = maps.X.shape[0] * rho, maps.X.T @ maps.X

    def curvature(u: torch.Tensor) -> torch.Tensor:
        return maps.adjoint_predict(maps.predict(u)) / c + u @ square

    if rank is None:
        precondition = _block_preconditioner(maps)
    else:
        shape = (2, len(maps.patterns), maps.X.shape[1])
        precondition = _nystrom_preconditioner(curvature, shape, rank, random_state)

    def solve(b: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return conjugate_gradients(lambda x: curvature(x) + x, b, u, precondition, iterations, tol)

    return solve


def conjugate_gradients(
    product: _Map, b: torch.Tensor, x: torch.Tensor, precondition: _Map, iterations: int, tol: float
) -> torch.Tensor:
    """Approximate solution of product(x) = b from the start x, to |b - product(x)| <= tol |b|."""
    bound = tol * b.norm()
    r = b - product(x)
    z = p = precondition(r)
    decrease = (r * z).sum()
    for _ in range(iterations):
        if r.norm() <= bound:
            break
        Ap = product(p)
        step = decrease / (p * Ap).sum()
        x = x + step * p
        r = r - step * Ap
        z = precondition(r)
        previous, decrease = decrease, (r * z).sum()
        p = z + (decrease / previous) * p
    return x


def _block_preconditioner(maps: _Maps) -> _Map:
    inverse = torch.cholesky_inverse(maps.block())
    return lambda r: r @ inverse


def _nystrom_preconditioner(product: _Map, shape: tuple[int, ...], rank: int, random_state: int) -> _Map:
    """Preconditioner of H + I from a Nystrom approximation U L U' of H = product (Frangella, Tropp, Udell, arXiv 2110.02820).

    Its inverse is (l + 1) U (L + I)^-1 U' + I - U U', l the smallest diagonal entry of L.
    """
    size = int(np.prod(shape))
    rank = min(rank, size)
    generator = torch.Generator().manual_seed(random_state)
    basis = torch.linalg.qr(torch.randn(size, rank, generator=generator, dtype=torch.float64))[0]
    image = torch.stack([product(column.reshape(shape)).ravel() for column in basis.T], dim=1)
    jitter = torch.finfo(torch.float64).eps * image.norm()  # keeps the small matrix positive definite
    image = image + jitter * basis
    core = torch.linalg.cholesky(basis.T @ image)
    U, roots, _ = torch.linalg.svd(torch.linalg.solve_triangular(core, image.T, upper=False).T, full_matrices=False)
    values = (roots.square() - jitter).clamp(min=0.0)
    weights = (values[-1] + 1) / (values + 1) - 1

    def precondition(r: torch.Tensor) -> torch.Tensor:
        flat = r.ravel()
        return (flat + U @ (weights * (U.T @ flat))).reshape(shape)

    return precondition
