"""Weak duality: no certificate, random, tampered with or optimised to cheat, proves more than the optimum."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import slow_reference as slow
from scipy.optimize import minimize_scalar

from convexadv import solve
from convexadv.errors import CertificateError
from convexadv.networks import PolynomialNetwork
from convexadv.problems import AtomSet, OptimalityCertificate, PolynomialProblem

CONJUGATE = {
    "hinge": lambda z: 0.0,
    "hard": lambda z: 0.0,
    "squared_hinge": lambda z: z * z / 4,
    "squared": lambda z: z * z / 2,
    "logistic": lambda z: z * np.log(z) + (1 - z) * np.log(1 - z) if 0 < z < 1 else 0.0,
}
SIZES = [(0, 6, 2), (1, 5, 3), (2, 5, 1)]
"""Seed, rows, features."""


@cache
def solved(name, number):
    """Setting, problem, and an upper bound on its optimum: the objective of a feasible point found by cvxpy."""
    setting = slow.make(name, *SIZES[number])
    value, Ws, penalty = slow.optimum(setting)
    upper = slow.objective(setting, Ws, penalty)[0] if Ws else np.inf
    assert upper == value or abs(upper - value) < 1e-7
    return setting, PolynomialProblem(setting.X, setting.y, **setting.options), upper


def terms_of(problem, atom):
    terms = problem.components[atom.component].terms[atom.term]
    groups = np.arange(terms.shape[1]) if atom.groups is None else atom.groups
    return terms, groups


def inside(problem, atom):
    """The atoms with every point (in a box every moment) drawn into its ball."""
    if atom.coordinates is None:
        return atom
    terms, groups = terms_of(problem, atom)
    q, z, radius = atom.coordinates, atom.multipliers, terms.radius[groups]
    if problem.norm == "linf":
        e = q if atom.basis is None else q @ atom.basis
        total = z.sum(0)
        square = np.einsum("skg,skgj->kgj", z, e**2).max(-1) / np.where(total > 0, total, 1.0)
        reach = np.where(total > 0, np.sqrt(square), np.abs(e).max((0, -1)))[None]
    else:
        square = (q**2).sum(-1) + (0.0 if atom.spread is None else atom.spread.sum(-1))
        reach = np.sqrt(square) * (1.0 if atom.basis is None else np.linalg.norm(atom.basis, 2))
    factor = np.where(reach > radius, radius / np.where(reach > 0, reach, 1.0), 1.0)[..., None]
    return replace(atom, coordinates=q * factor, spread=None if atom.spread is None else atom.spread * factor**2)


def random_atoms(rng, problem, component, term):
    """Sparse multipliers of all sizes at points in the ball, often on its boundary, in all kinds of bases."""
    terms, d = problem.components[component].terms[term], problem.shape[1]
    k, g = terms.shape
    groups = rng.integers(0, g, rng.integers(1, g + 1)) if rng.random() < 0.3 else None
    shape = (int(rng.integers(1, 4)), k, g if groups is None else len(groups))
    z = rng.exponential(size=shape) * (rng.random(shape) < rng.choice([0.3, 0.7, 1.0])) * 10.0 ** rng.uniform(-3, 3)
    if terms.loss.signed:
        return AtomSet(component, term, z * rng.choice([-1.0, 1.0], shape), groups=groups)
    if not terms.robust or rng.random() < 0.1:
        return AtomSet(component, term, z, groups=groups)
    basis = None
    if rng.random() < 0.7:
        basis = np.linalg.qr(rng.standard_normal((d, d)))[0][: rng.integers(1, d + 1)]
        if not terms.curvature.any() and rng.random() < 0.5:
            basis = rng.standard_normal((int(rng.integers(1, d + 3)), d)) * 10.0 ** rng.uniform(-3, 3)
    width = d if basis is None else len(basis)
    size = terms.radius.max() * 10.0 ** rng.uniform(-1, 1.5) / (1.0 if basis is None else np.linalg.norm(basis, 2))
    q = size * rng.standard_normal((*shape, width))
    spread = None
    if problem.norm == "l2" and rng.random() < 0.4:
        spread = size**2 * rng.exponential(size=q.shape)
    return inside(problem, AtomSet(component, term, z, q, basis, spread, groups))


def random_certificate(rng, problem):
    places = [(c, t) for c, part in enumerate(problem.components) for t in range(len(part.terms))]
    return OptimalityCertificate(
        tuple(random_atoms(rng, problem, *place) for place in places for _ in range(rng.choice([0, 1, 1, 1, 2])))
    )


def sphere_maximum(A, g):
    """max u'Au + 2g'u over unit u, from its dual function and bisection."""
    eigenvalues, vectors = np.linalg.eigh(A)
    g, gaps = vectors.T @ g, eigenvalues[-1] - eigenvalues
    moved = lambda shift: np.divide(g, gaps + shift, out=0 * g, where=gaps + shift > 0)  # noqa: E731
    low, high = 0.0, np.linalg.norm(g)
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if np.linalg.norm(moved(middle)) > 1 else (low, middle)
    return eigenvalues[-1] + high + g @ moved(high)


def slow_bound(setting, problem, certificate):
    """The bound of section 1.3 from dense moments, one atom at a time, and a search over the scaling."""
    (a, b, c), d, result = setting.activation, setting.X.shape[1], 0.0
    for number, part in enumerate(problem.components):
        moments = [np.zeros((d + 1, d + 1)) for _ in part.outputs]
        gain, totals = 0.0, {}
        for atom in certificate.atoms:
            if atom.component != number:
                continue
            terms, groups = terms_of(problem, atom)
            basis = np.eye(d) if atom.basis is None else atom.basis
            for s, k, place in np.ndindex(atom.multipliers.shape):
                g, z = groups[place], atom.multipliers[s, k, place]
                e = np.zeros(d) if atom.coordinates is None else atom.coordinates[s, k, place] @ basis
                spread = 0.0 if atom.spread is None else basis.T * atom.spread[s, k, place] @ basis
                x, second = setting.X[terms.row[g]] + setting.scale * e, np.outer(setting.scale, setting.scale) * spread
                lift = np.block([[a * (np.outer(x, x) + second), b / 2 * x[:, None]], [b / 2 * x, c]])
                for o, moment in enumerate(moments):
                    moment += z * terms.weight[g] * terms.sign[k, g] * part.directions[terms.direction[k, g], o] * lift
                lost = terms.curvature[g] * (e @ e + np.trace(np.atleast_2d(spread)))
                gain += z * terms.weight[g] * (terms.offset[k, g] - lost)
                totals[atom.term, g] = totals.get((atom.term, g), 0.0) + z
        both = [sign * moment for moment in moments for sign in (1, -1)]
        kappa = max(sphere_maximum(M[:d, :d], M[:d, d]) + M[d, d] for M in both)
        if kappa <= 0:
            continue
        bounded = [
            z  # multipliers of groups of weight zero add nothing, and limit nothing
            for (t, g), z in totals.items()
            if part.terms[t].loss.name in ("hinge", "logistic") and z > 0 and part.terms[t].weight[g] > 0
        ]
        limit = min(problem.beta / kappa, 1 / max(bounded) if bounded else np.inf)
        sets = [(part.terms[t].weight[g], CONJUGATE[part.terms[t].loss.name], z) for (t, g), z in totals.items()]
        loss = lambda t, gain=gain, sets=sets: sum(w * h(t * z) for w, h, z in sets) - t * gain  # noqa: E731
        best = minimize_scalar(loss, bounds=(0, limit), method="bounded", options={"xatol": 1e-9 * limit})
        result += max(0.0, -best.fun, -loss(limit))
    return result


@pytest.mark.parametrize("name", slow.CASES)
def test_random_certificates_obey_weak_duality(name):
    """4,050 certificates: the bound of the formula, below the optimum and below every network."""
    for number, (seed, n, d) in enumerate(SIZES):
        setting, problem, upper = solved(name, number)
        rng = np.random.default_rng([seed, n, d])
        objectives = [upper]
        for _ in range(20):
            neurons = rng.standard_normal((3, d))
            neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
            weights = rng.standard_normal((3, setting.outputs)) * 10.0 ** rng.uniform(-2, 1)
            evaluation = problem.evaluate(PolynomialNetwork(neurons, weights, activation=setting.activation))
            objectives += [evaluation.objective] if evaluation.violation == 0 else []
        for _ in range(50):
            certificate = random_certificate(rng, problem)
            bound = problem.lower_bound(certificate)
            assert bound == pytest.approx(slow_bound(setting, problem, certificate), rel=1e-7, abs=1e-11)
            assert bound <= min(objectives) + 1e-12


def moved(rng, problem, certificate, step):
    """A neighbour of a certificate: multipliers, points and spreads changed, drawn back into the balls."""
    atoms = []
    for atom in certificate.atoms:
        terms, groups = terms_of(problem, atom)
        z, q, spread = atom.multipliers, atom.coordinates, atom.spread
        if terms.loss.signed:
            z = z + step * rng.standard_normal(z.shape)
        else:
            z = z * np.exp(step * rng.standard_normal(z.shape))
            z = z + step * (z.mean() + 1e-3) * rng.exponential(size=z.shape) * (rng.random(z.shape) < 0.1)
        if q is not None:
            q = q + step * terms.radius[groups, None] * rng.standard_normal(q.shape)
        if spread is not None:
            spread = spread * np.exp(step * rng.standard_normal(q.shape))
        atoms.append(inside(problem, replace(atom, multipliers=z, coordinates=q, spread=spread)))
    return OptimalityCertificate(tuple(atoms))


@pytest.mark.parametrize("name", slow.CASES)
def test_local_search_finds_no_certificate_above_the_optimum(name):
    """Ascent over certificates, from random ones and from a solver's, which is tight: it stops at the optimum."""
    _, problem, upper = solved(name, 0)
    rng = np.random.default_rng(0)
    tight = solve(problem, solver="CLARABEL").certificate
    assert problem.lower_bound(tight) >= upper - 1e-5 * upper
    extra = OptimalityCertificate((*tight.atoms, *random_certificate(rng, problem).atoms))
    for start, step in ((tight, 1e-3), (extra, 1e-2), (random_certificate(rng, problem), 0.3)):
        certificate, best = start, problem.lower_bound(start)
        for _ in range(120):
            other = moved(rng, problem, certificate, step)
            bound = problem.lower_bound(other)
            certificate, best, step = (other, bound, 1.3 * step) if bound > best else (certificate, best, 0.95 * step)
        assert best <= upper + 1e-9


@pytest.mark.parametrize("name", slow.CASES)
def test_a_certificate_that_was_tampered_with_is_refused_or_valid(name):
    _, problem, upper = solved(name, 0)
    certificate, rng = solve(problem, solver="CLARABEL").certificate, np.random.default_rng(1)
    refused = 0
    for _ in range(60):
        atoms = list(certificate.atoms)
        number = rng.integers(len(atoms))
        atom = atoms[number]
        field = "multipliers" if atom.coordinates is None or rng.random() < 0.5 else "coordinates"
        array = getattr(atom, field).copy()
        place = tuple(rng.integers(size) for size in array.shape)
        change = [array[place] * 10.0 ** rng.uniform(-6, 6), rng.standard_normal(), 10.0 ** rng.uniform(-9, 3), 0.0]
        array[place] = change[rng.integers(4)]
        atoms[number] = replace(atom, **{field: array})
        try:
            assert problem.lower_bound(OptimalityCertificate(tuple(atoms))) <= upper + 1e-9
        except CertificateError:
            refused += 1
    assert refused < 60
