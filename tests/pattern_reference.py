"""Independent cvxpy models of programmes over activation patterns, written from the formulas, row by row."""

from __future__ import annotations

import cvxpy as cp
import numpy as np

_DUAL = {"l1": "inf", "l2": 2, "linf": 1}


def optimum(problem, solver: str = "CLARABEL", **options) -> float:
    """Optimal value of a small ReLUProblem or GatedReLUProblem; only its public data are used."""
    X = problem.rows.whole()
    n, D = X.shape
    patterns, P, C = X @ problem.gates >= 0, problem.n_gates, problem.n_outputs
    q, perturbed, radius = _DUAL[problem.norm], problem.perturbed, problem.radius
    sides = (1, -1) if problem.cones else (1,)
    V = [[[cp.Variable(D) for _ in range(C)] for _ in range(P)] for _ in sides]
    constraints = []
    if problem.cones:
        for part in V:
            for k in range(P):
                sign = np.where(patterns[:, k], 1.0, -1.0)
                for v in part[k]:
                    slack = cp.multiply(sign, X @ v)
                    constraints.append(slack >= (radius * cp.norm(v[perturbed], q) if radius.any() else 0))
    total = [[sum(s * V[i][k][c] for i, s in enumerate(sides)) for c in range(C)] for k in range(P)]
    slopes = np.abs(X @ problem.gates)
    norms = np.linalg.norm(problem.gates[perturbed], ord=np.inf if q == "inf" else q, axis=0)

    def margin(i, e, sign):
        """Worst case of sign * (e . f) at row i."""
        moving = (slopes[i] <= radius[i] * norms) & (radius[i] > 0) & (not problem.cones)
        own = [sum(e[c] * total[k][c] for c in range(C) if e[c]) for k in range(P)]
        alpha = sum((own[k] for k in range(P) if patterns[i, k] and not moving[k]), np.zeros(D))
        value = sign * (X[i] @ alpha)
        if radius[i] > 0:
            value = value - radius[i] * cp.norm(alpha[perturbed], q)
            for k in np.flatnonzero(moving):
                value = value + cp.minimum(0, sign * (X[i] @ own[k]) - radius[i] * cp.norm(own[k][perturbed], q))
        return value

    def loss(m):
        name = problem.loss.name
        if name == "logistic":
            return cp.logistic(-m)
        return cp.pos(1 - m) if name == "hinge" else cp.square(cp.pos(1 - m))

    weight = problem.sample_weight / problem.sample_weight.sum()
    terms = []
    unit = np.eye(C)
    for i in range(n):
        if problem.loss.regression:
            for c in range(C):
                y = problem.targets[i, c]
                worst = cp.maximum(y - margin(i, unit[c], 1), margin_up(margin, i, unit[c]) - y)
                terms.append(weight[i] * 0.5 * cp.square(cp.pos(worst) if radius[i] > 0 else margin(i, unit[c], 1) - y))
        elif C == 1:
            terms.append(weight[i] * loss(margin(i, unit[0], 1.0 if problem.targets[i] == 1 else -1.0)))
        elif problem.multiclass == "ovr":
            signs = np.where(problem.targets[i] == np.arange(C), 1.0, -1.0)
            terms += [weight[i] * loss(margin(i, unit[c], signs[c])) for c in range(C)]
        else:
            own = problem.targets[i]
            terms += [weight[i] * loss(margin(i, unit[own] - unit[c], 1.0)) for c in range(C) if c != own]
    penalty = sum(cp.norm(v, 2) for part in V for gate in part for v in gate)
    model = cp.Problem(cp.Minimize(sum(terms) + problem.beta * penalty), constraints)
    return float(model.solve(solver=solver, **options))


def margin_up(margin, i, e):
    """Largest output over the ball."""
    return -margin(i, e, -1)
