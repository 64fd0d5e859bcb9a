r"""The earlier penalty method for robust polynomial networks, as a baseline, written from its description.

    minimise  (1/n) sum_i max(0, 1 - w_i) + beta (Z4 + Z'4) + (c/n) sum_i sum_k max(0, -eig_k(M_i))

by Adam over w, the multipliers lambda_i = softplus(theta_i) and factors of Z = F F', Z' = F'F'', with W = Z - Z' and the
matrices of the S-procedure, one for every row (Kuelbs, Lall, Pilanci, arXiv 2405.14033):

    M_i = [ lambda_i I + y_i a W1               (y_i/2)(2a W1 x_i + b W2)         ]
          [ (.)'                                y_i f(x_i) - w_i - lambda_i r^2   ]

The traces tr Z1 = Z4 hold exactly: the last row of a factor is scaled to the norm of the others. A multiplier of M_i in
the programme is s_i times [delta_i; 1][delta_i; 1]', s_i <= 1/n, hence the penalty is exact from c = 1 + r^2 on. (A
stored version of this method has the other sign at b W2; then w_i is no bound.) Points on the way violate the
inequalities: what counts is the objective of the network of (Z, Z'), worst case included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import softplus

from benchmarks.adam import RATES
from benchmarks.clock import Clock, Points

WEIGHTS = (2.0, 10.0)
"""Values of c that are tried."""
SETTINGS = tuple(itertools.product(RATES[1:], WEIGHTS))
_START = 0.1
Lift = tuple[np.ndarray, np.ndarray]


def train(
    X: np.ndarray,
    sign: np.ndarray,
    radius: float,
    beta: float,
    activation: tuple[float, float, float],
    measure: Callable[[Lift], float],
    seconds: float,
    rate: float = 1e-2,
    weight: float = 2.0,
    seed: int = 0,
    steps: int | None = None,
) -> Points:
    """True objectives over time of one run, hinge loss.

    Parameters
    ----------
    X : (n, d)
    sign : (n,) +-1
    radius, beta : float
    activation : (a, b, c)
    measure : callable
        From (Z, Z') to the objective of their network; its time does not count.
    seconds : float
    rate : float
        First learning rate of Adam, which falls to zero along a cosine.
    weight : float
        c.
    seed : int
    steps : int, optional
        Limit beside that of the time.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, y = torch.from_numpy(np.asarray(X, float)), torch.from_numpy(np.asarray(sign, float))
    n, d = rows.shape
    factors = _START * torch.randn(2, d + 1, d + 1, generator=generator, dtype=torch.float64) / (d + 1) ** 0.5
    worst, theta = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    variables = [factors.requires_grad_(), worst.requires_grad_(), theta.requires_grad_()]
    adam = torch.optim.Adam(variables, lr=rate)

    def measured() -> float:
        with torch.no_grad():
            return measure(tuple(lifts(factors).numpy()))

    clock = Clock(seconds, measured, steps)
    while clock.tick():
        adam.param_groups[0]["lr"] = rate * clock.cosine()
        adam.zero_grad()
        Z = lifts(factors)
        M = matrices(Z[0] - Z[1], rows, y, worst, softplus(theta), radius, activation)
        shortfall = torch.linalg.eigvalsh(M).clamp_max(0.0).sum(1)
        objective = (1.0 - worst).clamp_min(0.0).mean() + beta * Z[:, -1, -1].sum()
        (objective - weight * shortfall.mean()).backward()
        adam.step()
    return clock.points


def lifts(factors: torch.Tensor) -> torch.Tensor:
    """(2, d + 1, d + 1): Z and Z' of their factors."""
    top, last = factors[:, :-1], factors[:, -1:]
    size = top.norm(dim=(1, 2), keepdim=True)
    whole = torch.cat([top, last * (size / last.norm(dim=2, keepdim=True))], 1)
    return whole @ whole.mT


def matrices(
    W: torch.Tensor,
    rows: torch.Tensor,
    y: torch.Tensor,
    worst: torch.Tensor,
    multiplier: torch.Tensor,
    radius: float,
    activation: tuple[float, float, float],
) -> torch.Tensor:
    """(n, d + 1, d + 1): the matrices M_i."""
    a, b, c = activation
    n, d = rows.shape
    W1, W2, W4 = W[:-1, :-1], W[:-1, -1], W[-1, -1]
    bent = rows @ W1
    scores = a * (bent * rows).sum(1) + b * (rows @ W2) + c * W4
    M = torch.zeros(n, d + 1, d + 1, dtype=rows.dtype)
    M[:, :-1, :-1] = multiplier[:, None, None] * torch.eye(d, dtype=rows.dtype) + a * y[:, None, None] * W1
    M[:, :-1, -1] = 0.5 * y[:, None] * (2.0 * a * bent + b * W2)
    M[:, -1, :-1] = M[:, :-1, -1]
    M[:, -1, -1] = y * scores - worst - radius**2 * multiplier
    return M
