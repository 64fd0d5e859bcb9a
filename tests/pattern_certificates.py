"""Certificates of pattern problems: random ones, their bound by loops, and tight ones from a cvxpy model of the dual."""

from dataclasses import replace
from functools import cache
from itertools import product

import cvxpy as cp
import numpy as np
from pattern_reference import optimum
from pattern_settings import CASES, Setting
from scipy.optimize import minimize_scalar

from convexadv.problems import AtomSet, ConeMultipliers, GateShares, OptimalityCertificate

CONJUGATE = {
    "hinge": lambda z: 0.0,
    "squared_hinge": lambda z: z * z / 4,
    "squared": lambda z: z * z / 2,
    "logistic": lambda z: z * np.log(z) + (1 - z) * np.log(1 - z) if 0 < z < 1 else 0.0,
}


@cache
def solved(kind, name):
    """Setting, problem, and its optimum from a cvxpy model."""
    setting = Setting(kind, name, n=10 if "three" in CASES[name] else None)
    problem = setting.problem()
    return setting, problem, optimum(problem)


def groups_of(problem, atom):
    terms = problem.components[atom.component].terms[atom.term]
    return terms, np.arange(terms.shape[1]) if atom.groups is None else atom.groups


def into_ball(points, radius, norm):
    size = np.linalg.norm(points, ord={"l1": 1, "l2": 2, "linf": np.inf}[norm], axis=-1)
    return points * np.minimum(1.0, np.asarray(radius) / np.where(size > 0, size, 1.0))[..., None]


def ball_points(rng, problem, shape, radius):
    """Points of balls, often on their boundaries, zero at the intercept."""
    points = np.zeros((*shape, problem.rows.d))
    points[..., problem.perturbed] = rng.standard_normal((*shape, problem.n_features)) * 10.0 ** rng.uniform(-1, 1)
    return into_ball(points, radius, problem.norm)


def random_atoms(rng, problem, component):
    terms = problem.components[component].terms[0]
    k, g = terms.shape
    groups = rng.integers(0, g, rng.integers(1, g + 1)) if rng.random() < 0.3 else None
    shape = (int(rng.integers(1, 4)), k, g if groups is None else len(groups))
    z = rng.exponential(size=shape) * (rng.random(shape) < rng.choice([0.3, 0.7, 1.0])) * 10.0 ** rng.uniform(-2, 2)
    if terms.loss.signed:
        return AtomSet(component, 0, z * rng.choice([-1.0, 1.0], shape), groups=groups)
    if not terms.robust or rng.random() < 0.1:
        return AtomSet(component, 0, z, groups=groups)
    radius = np.broadcast_to(terms.radius if groups is None else terms.radius[groups], shape)
    points = ball_points(rng, problem, shape, radius)
    if rng.random() < 0.5:
        return AtomSet(component, 0, z, points, groups=groups)
    basis = np.linalg.qr(rng.standard_normal((problem.n_features,) * 2))[0] * 10.0 ** rng.uniform(-2, 2)
    inverse = np.linalg.inv(basis)
    d = problem.n_features
    basis = np.c_[basis, np.zeros((d, problem.rows.d - d))]
    return AtomSet(component, 0, z, points[..., :d] @ inverse * (1 - 1e-12), basis, groups=groups)


def random_cones(rng, problem, component, size):
    """Sparse multipliers on the rows of some blocks, with tilts where there are balls."""
    outputs, m = len(problem.components[component].outputs), int(rng.integers(1, 12))
    rows = [np.flatnonzero(rng.random(problem.rows.n) < 0.3) for _ in range(m)]
    indptr = np.cumsum([0, *map(len, rows)])
    values = rng.exponential(size=indptr[-1]) * size
    tilt = ball_points(rng, problem, (m,), np.ones(m)) if problem.radius.any() and rng.random() < 0.8 else None
    gate, output = rng.integers(0, problem.n_gates, m), rng.integers(0, outputs, m)
    side = rng.choice([-1.0, 1.0], m)
    return ConeMultipliers(component, gate, output, side, indptr, np.concatenate(rows), values, tilt)


def random_shares(rng, problem, component):
    part = problem.components[component]
    terms = part.terms[0]
    places = [
        (k, g, gate)
        for k, g in np.ndindex(terms.shape)
        for gate in np.flatnonzero(problem.unstable[terms.row[g]])
        if rng.random() < 0.7
    ]
    k, g, gate = np.array(places, int).reshape(-1, 3).T
    tilt = ball_points(
        rng, problem, (problem.n_gates, len(part.directions)), np.ones((problem.n_gates, len(part.directions)))
    )
    share = np.clip(rng.uniform(-0.3, 1.3, len(k)), 0, 1)
    return GateShares(component, 0, k, g, gate, share, tilt)


def random_certificate(rng, problem):
    atoms, cones, shares = [], [], []
    for component in range(len(problem.components)):
        atoms += [random_atoms(rng, problem, component) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
        if problem.cones:
            size = 10.0 ** rng.uniform(-3, 1) * max([1e-3, *(atom.multipliers.mean() for atom in atoms)])
            cones += [
                random_cones(rng, problem, component, abs(size) / problem.rows.n) for _ in range(rng.choice([0, 1, 2]))
            ]
        elif problem.unstable is not None:
            shares += [random_shares(rng, problem, component) for _ in range(rng.choice([0, 1, 1]))]
    return OptimalityCertificate(tuple(atoms), tuple(cones), tuple(shares))


def slow_prices(setting, problem, certificate, number):
    """Prices of all blocks by loops: ||side q + sum mu (s x - r tilt)||, the least over the multipliers given."""
    part = problem.components[number]
    terms, P, outputs = part.terms[0], problem.n_gates, len(part.outputs)
    q = np.zeros((P, outputs, problem.rows.d))
    totals = np.zeros(terms.shape)
    for atom in certificate.atoms:
        if atom.component != number:
            continue
        groups = groups_of(problem, atom)[1]
        for s, k, place in np.ndindex(atom.multipliers.shape):
            g, z = groups[place], atom.multipliers[s, k, place]
            i, point = terms.row[g], np.zeros(problem.rows.d)
            if atom.coordinates is not None:
                point = atom.coordinates[s, k, place]
                point = point if atom.basis is None else point @ atom.basis
            totals[k, g] += z
            for gate in np.flatnonzero(setting.patterns[i] & ~setting.moving[i]):
                for o in range(outputs):
                    weight = terms.weight[g] * terms.sign[k, g] * part.directions[terms.direction[k, g], o]
                    q[gate, o] += z * weight * (setting.rows[i] + point)
    for shares in certificate.shares:
        for k, g, gate, share in zip(shares.alternative, shares.group, shares.gate, shares.share, strict=True):
            if shares.component != number:
                continue
            i, direction = terms.row[g], terms.direction[k, g]
            size = totals[k, g] * share * terms.weight[g]
            worst = terms.sign[k, g] * setting.rows[i] + setting.radii[i] * shares.tilt[gate, direction]
            for o in range(outputs):
                q[gate, o] += size * part.directions[direction, o] * worst
    prices = {(side, k, o): np.linalg.norm(q[k, o]) for side in problem.sides for k in range(P) for o in range(outputs)}
    for cones in certificate.cones:
        if cones.component != number:
            continue
        for j, (k, o, side) in enumerate(zip(cones.gate, cones.output, cones.side, strict=True)):
            total = side * q[k, o]
            for at in range(cones.indptr[j], cones.indptr[j + 1]):
                i = cones.rows[at]
                total = total + cones.values[at] * (1 if setting.patterns[i, k] else -1) * setting.rows[i]
                if cones.tilt is not None:
                    total = total - cones.values[at] * setting.radii[i] * cones.tilt[j]
            prices[side, k, o] = min(prices[side, k, o], np.linalg.norm(total))
    return prices, totals


def slow_bound(setting, problem, certificate):
    """The bound of docs/mathematics.md, ReLU networks, by loops and a search over the scaling."""
    result = 0.0
    for number, part in enumerate(problem.components):
        prices, totals = slow_prices(setting, problem, certificate, number)
        terms, kappa = part.terms[0], max(prices.values())
        total, gain = totals.sum(0), float((terms.weight * (totals * terms.offset).sum(0)).sum())
        if not (terms.weight * total).any():
            continue
        limit = setting.beta / kappa if kappa > 0 else np.inf
        bounded = setting.loss in ("hinge", "logistic")
        limit = min(limit, 1 / total.max() if bounded else 4 * max(0.0, gain) / (terms.weight @ total**2))

        def value(t, total=total, gain=gain, weight=terms.weight):
            return sum(w * CONJUGATE[setting.loss](t * z) for w, z in zip(weight, total, strict=True)) - t * gain

        best = minimize_scalar(value, bounds=(0, limit), method="bounded", options={"xatol": 1e-9 * limit})
        result += max(0.0, -best.fun, -value(limit))
    return result


DUAL_COST = {
    "hinge": lambda z: 0.0,
    "squared_hinge": lambda z: cp.square(z) / 4,
    "squared": lambda z: cp.square(z) / 2,
    "logistic": lambda z: -cp.entr(z) - cp.entr(1 - z),
}


def in_balls(points, radius, norm):
    """Rows of a matrix of variables in balls of these radii."""
    return [cp.norm(points[j], {"l1": 1, "l2": 2, "linf": "inf"}[norm]) <= radius[j] for j in range(points.shape[0])]


def dual_of_component(setting, problem, number, largest_share):
    """Value and certificate of the dual of section 1.5 for one component, as a conic programme."""
    part = problem.components[number]
    terms, (k_size, g_size) = part.terms[0], part.terms[0].shape
    (n, D), P, d = setting.rows.shape, setting.gates.shape[1], setting.features
    outputs, wide = range(len(part.outputs)), np.eye(D)[:d]
    signed = terms.loss.signed
    z = cp.Variable((k_size, g_size), nonneg=not signed)
    limits = [z <= 1] if setting.loss in ("hinge", "logistic") else []
    moved = [cp.Variable((g_size, d)) for _ in range(k_size)]
    for k in range(k_size):
        limits += in_balls(moved[k], cp.multiply(terms.radius, z[k]), setting.norm) if terms.robust else [moved[k] == 0]
    x = setting.rows[terms.row]
    effect = np.array([terms.weight * terms.sign * part.directions[terms.direction, o] for o in outputs])
    q = {}
    for gate, o in product(range(P), outputs):
        on = (setting.patterns & ~setting.moving)[terms.row, gate]
        q[gate, o] = sum(
            ((effect[o, k] * on) @ (cp.multiply(z[k][:, None], x) + moved[k] @ wide)) for k in range(k_size)
        )
    shares, tilts = {}, {}
    for gate in range(P) if setting.moving.any() else ():
        moving = setting.moving[terms.row, gate].astype(float)
        shares[gate] = cp.Variable((k_size, g_size), nonneg=True)
        limits.append(shares[gate] <= largest_share * cp.multiply(z, np.ones((k_size, 1)) * moving))
        for e in range(len(part.directions)):
            own = (terms.direction == e) * terms.weight
            tilts[gate, e] = cp.Variable((1, d))
            size = cp.sum(cp.multiply(own * terms.radius, shares[gate]))
            limits += in_balls(tilts[gate, e], [size], setting.norm)
            for o in outputs:
                plain = sum((own[k] * terms.sign[k]) @ cp.multiply(shares[gate][k][:, None], x) for k in range(k_size))
                q[gate, o] += part.directions[e, o] * (plain + (tilts[gate, e] @ wide)[0])
    mu, lean = {}, {}
    for side, gate, o in product(problem.sides, range(P), outputs):
        block, total = (side, gate, o), side * q[gate, o]
        if problem.cones:
            mu[block], lean[block] = cp.Variable(n, nonneg=True), cp.Variable((1, d))
            total += mu[block] @ (np.where(setting.patterns[:, [gate]], 1, -1) * setting.rows) - (lean[block] @ wide)[0]
            limits += in_balls(lean[block], [setting.radii @ mu[block]], setting.norm)
        limits.append(cp.norm(total) <= setting.beta)
    gain = cp.sum(cp.multiply(z, terms.offset), axis=0) - DUAL_COST[setting.loss](cp.sum(z, axis=0))
    value = cp.Problem(cp.Maximize(terms.weight @ gain), limits).solve("CLARABEL")

    size = np.where(np.abs(z.value) > 1e-12, z.value, 1.0)
    points = (np.array([each.value for each in moved]) / size[..., None])[None] @ wide
    radius = np.broadcast_to(terms.radius, points.shape[:-1])
    atom = AtomSet(number, 0, (z.value if signed else np.maximum(z.value, 0))[None])
    if terms.robust:
        atom = replace(atom, coordinates=into_ball(points, radius, setting.norm))
    return (
        value,
        atom,
        cones_of(setting, number, mu, lean, wide),
        shares_of(setting, part, number, z, shares, tilts, wide, largest_share),
    )


def cones_of(setting, number, mu, lean, wide):
    if not mu:
        return ()
    values = np.array([np.maximum(each.value, 0.0) for each in mu.values()])
    tilt = np.concatenate([each.value for each in lean.values()]) @ wide
    tilt = into_ball(tilt / np.maximum(values @ setting.radii, 1e-12)[:, None], 1.0, setting.norm)
    side, gate, output = np.array(list(mu)).T
    m, n = values.shape
    rows = np.tile(np.arange(n), m)
    return (
        ConeMultipliers(number, gate, output, side.astype(float), n * np.arange(m + 1), rows, values.ravel(), tilt),
    )


def shares_of(setting, part, number, z, shares, tilts, wide, largest_share):
    if not shares:
        return ()
    terms, P = part.terms[0], setting.gates.shape[1]
    tilt = np.zeros((P, len(part.directions), wide.shape[1]))
    for (gate, e), each in tilts.items():
        size = ((terms.direction == e) * terms.weight * terms.radius * shares[gate].value).sum()
        tilt[gate, e] = into_ball(each.value[0] / max(size, 1e-12), 1.0, setting.norm) @ wide
    places = [(k, g, gate) for k, g in np.ndindex(z.shape) for gate in np.flatnonzero(setting.moving[terms.row[g]])]
    share = [
        min(max(shares[gate].value[k, g], 0.0) / max(z.value[k, g], 1e-12), largest_share) for k, g, gate in places
    ]
    k, g, gate = np.array(places, int).reshape(-1, 3).T
    return (GateShares(number, 0, k, g, gate, np.array(share), tilt),)


@cache
def tight(kind, name, largest_share=1.0):
    """Dual optimum and its certificate."""
    setting, problem, _ = solved(kind, name)
    parts = [dual_of_component(setting, problem, number, largest_share) for number in range(len(problem.components))]
    atoms = tuple(part[1] for part in parts)
    cones, shares = (tuple(entry for part in parts for entry in part[place]) for place in (2, 3))
    return sum(part[0] for part in parts), OptimalityCertificate(atoms, cones, shares)


def neighbour(rng, problem, certificate, step):
    """A certificate moved a little, drawn back into its domain."""
    atoms, cones, shares = [], [], []
    for atom in certificate.atoms:
        terms, groups = groups_of(problem, atom)
        z, q = atom.multipliers, atom.coordinates
        z = z + step * rng.standard_normal(z.shape) * (np.abs(z) + np.abs(z).mean())
        if q is not None:
            radius = np.broadcast_to(terms.radius[groups], z.shape)
            e = q if atom.basis is None else q @ atom.basis
            e = e + step * radius[..., None] * rng.standard_normal(e.shape) * problem.perturbed
            q = into_ball(e, radius, problem.norm)
        z = z if terms.loss.signed else np.maximum(z, 0.0)
        atoms.append(replace(atom, multipliers=z, coordinates=q, basis=None))
    for part in certificate.cones:
        values = part.values + step * rng.standard_normal(part.values.shape) * (part.values + part.values.mean())
        tilt = part.tilt
        if tilt is not None:
            tilt = into_ball(tilt + step * rng.standard_normal(tilt.shape) * problem.perturbed, 1.0, problem.norm)
        cones.append(replace(part, values=np.maximum(values, 0.0), tilt=tilt))
    for part in certificate.shares:
        tilt = into_ball(part.tilt + step * rng.standard_normal(part.tilt.shape) * problem.perturbed, 1.0, problem.norm)
        share = np.clip(part.share + step * rng.standard_normal(part.share.shape), 0, 1)
        shares.append(replace(part, share=share, tilt=tilt))
    return OptimalityCertificate(tuple(atoms), tuple(cones), tuple(shares))
