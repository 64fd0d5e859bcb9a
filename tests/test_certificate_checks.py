"""Certificates at the edges: their units, their parts, rounding, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import slow_reference as slow
from test_certificates import random_certificate, solved, sphere_maximum

from convexadv.errors import CertificateError
from convexadv.problems import AtomSet, OptimalityCertificate, PolynomialProblem


@pytest.mark.parametrize(
    "factor",
    [1e-250, 1e-100, 1e100, 1e150] + [pytest.param(factor) for factor in (1e-305, 1e-310, 1e308)],
)
@pytest.mark.parametrize("name", ["hinge", "squared hinge", "hard"])
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_the_size_of_multipliers_does_not_matter(name, factor):
    """The scaling t is chosen by the verifier, so multipliers outside the conjugate's domain are only a matter of units."""
    _, problem, upper = solved(name, 0)
    atom = AtomSet(0, len(problem.components[0].terms) - 1, np.ones((1, *problem.components[0].terms[-1].shape)))
    bound = problem.lower_bound(OptimalityCertificate((replace(atom, multipliers=atom.multipliers * factor),)))
    assert bound <= upper
    assert bound == pytest.approx(problem.lower_bound(OptimalityCertificate((atom,))), rel=1e-9)


@pytest.mark.parametrize("name", ["mixed", "joint", "squared", "linf", "curve and hard"])
def test_atoms_may_be_split_repeated_and_reordered(name):
    _, problem, _ = solved(name, 0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        certificate = random_certificate(rng, problem)
        bound = problem.lower_bound(certificate)
        halves = [replace(atom, multipliers=atom.multipliers / 2) for atom in certificate.atoms]
        thirds = [replace(atom, multipliers=atom.multipliers / 3) for atom in certificate.atoms]
        silent = [replace(atom, multipliers=0 * atom.multipliers) for atom in certificate.atoms]
        for atoms in (certificate.atoms[::-1], halves * 2, thirds * 3, [*silent, *certificate.atoms]):
            assert problem.lower_bound(OptimalityCertificate(tuple(atoms))) == pytest.approx(bound, rel=1e-10)
    assert problem.lower_bound(OptimalityCertificate(())) == 0.0


def conflict(**options):
    """Two rows in one place with different labels or targets."""
    return PolynomialProblem([[1.0], [1.0]], [1.0, -1.0], **options)


def certificate_of(z, *more, term=0, **others):
    return OptimalityCertificate(
        (AtomSet(0, term, z if isinstance(z, str) else np.asarray(z, float), *more, **others),)
    )


def test_infeasible_margins_are_proved():
    problem = conflict(beta=0.1, hard_margin=0.5)
    setting = slow.Setting(np.ones((2, 1)), np.array([1, -1]), {"beta": 0.1, "hard_margin": ([0, 1], 0.5)})
    assert slow.optimum(setting)[0] == np.inf
    assert problem.lower_bound(certificate_of([[[1.0, 1.0]]], term=1)) > 1e9 * problem.zero_objective()


@pytest.mark.parametrize("beta", [1e-6, pytest.param(1.0), pytest.param(1e3)])
@pytest.mark.parametrize(("loss", "z", "optimum"), [("squared", [1, -1], 0.5), ("squared_hinge", [1, 1], 1.0)])
def test_the_best_scaling_is_found_where_kappa_vanishes(loss, z, optimum, beta):
    bound = conflict(loss=loss, beta=beta).lower_bound(certificate_of([[z]]))
    assert bound == pytest.approx(optimum, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, pytest.param(1e8)])
def test_rounding_never_lifts_a_bound(shift):
    """Against the same bound, at the same scaling, in extended precision."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X, y, v = rng.standard_normal((40, 2)), shift + rng.standard_normal(40), rng.standard_normal(40)
        problem, v = PolynomialProblem(X, y, loss="squared", beta=0.1), v - v.mean()
        bound = problem.lower_bound(certificate_of([[v]]))
        linear, square = (np.longdouble(1) * v @ y.astype(np.longdouble)) / 40, (np.longdouble(1) * v @ v) / 40
        vertex = linear**2 / (2 * square) if linear > 0 else 0
        lift = np.c_[X, np.ones(40)]
        moment = (lift.T * v) @ lift / 40 * np.array([[0.09, 0.09, 0.25], [0.09, 0.09, 0.25], [0.25, 0.25, 0.47]])
        kappa = max(sphere_maximum(s * moment[:2, :2], s * moment[:2, 2]) + s * moment[2, 2] for s in (1, -1))
        t = min(np.longdouble(0.1 / kappa), max(linear, 0) / square)
        assert bound <= min(vertex, t * linear - t * t * square / 2) * (1 + 1e-15)


ROWS = np.random.default_rng(0).standard_normal((6, 2))
Z, E = np.ones((1, 1, 6)), np.full((1, 1, 6, 2), 0.01)
KINDS = {
    "ball": {"radius": 0.1},
    "line": {"radius": 0.1, "activation": slow.LINEAR},
    "box": {"radius": 0.1, "norm": "linf"},
    "curve": {"radius": 0.1, "margin_curve": 1.0},
    "clean": {},
    "real": {"loss": "squared"},
}


def small(kind):
    return PolynomialProblem(ROWS, [0, 1, 0, 1, 0, 1], **KINDS[kind])


def test_points_a_little_outside_are_drawn_in_and_others_refused():
    for kind, edge in (("ball", 0.1 / np.sqrt(2)), ("box", 0.1)):
        problem, points = small(kind), np.sign(ROWS)[None, None] * edge
        on_it = problem.lower_bound(certificate_of(Z, points))
        for excess in (1e-15, 1e-9, 9e-7):
            assert problem.lower_bound(certificate_of(Z, points * (1 + excess))) == pytest.approx(on_it, rel=1e-12)
        for excess in (2e-6, 1e-3, 10.0):
            with pytest.raises(CertificateError, match="outside its ball"):
                problem.lower_bound(certificate_of(Z, points * (1 + excess)))
    with pytest.raises(CertificateError, match="outside its ball"):
        small("clean").lower_bound(certificate_of(Z, E))


FAR = -ROWS[None, None]
MALFORMED = {
    "negative": ("ball", (-Z,)),
    "NaN": ("ball", (np.nan * Z,)),
    "infinite": ("ball", (np.inf * Z,)),
    "flat": ("ball", (Z[0],)),
    "short": ("ball", (Z[..., :5],)),
    "another term": ("ball", (Z,), {"term": 1}),
    "term -1": ("ball", (Z,), {"term": -1}),
    "points NaN": ("ball", (Z, np.nan * E)),
    "points flat": ("ball", (Z, E[0])),
    "points of one feature": ("ball", (Z, E[..., :1])),
    "basis of three features": ("ball", (Z, E, np.eye(2, 3))),
    "basis NaN": ("ball", (Z, E, np.nan * np.eye(2))),
    "long basis": ("ball", (Z, E, 100 * np.eye(2))),
    "skew basis of a curve": ("curve", (Z, E, np.ones((2, 2))), {"term": 1}),
    "spread negative": ("ball", (Z, E, None, -E)),
    "spread too wide": ("ball", (Z, E, None, E)),
    "spread of another shape": ("ball", (Z, E, None, E[..., :1])),
    "spread in a box": ("box", (Z, 0 * E, None, 0.01 * E)),
    "groups outside": ("ball", (Z,), {"groups": np.arange(6) + 1}),
    "groups negative": ("ball", (Z,), {"groups": np.arange(6) - 1}),
    "groups of floats": ("ball", (Z,), {"groups": np.arange(6.0)}),
    "points of signed terms": ("real", (Z, 0 * E)),
    "mean square of a box": ("box", (np.array([[[1.0]], [[3.0]]]) * Z, np.r_[E, 12 * E])),
    "groups in columns": ("ball", (Z,), {"groups": np.arange(6)[:, None]}),
    "groups in a square": ("ball", (Z,), {"groups": np.arange(6)[:, None] * np.ones(6, int)}),
    "groups a number": ("ball", (Z[..., :1],), {"groups": np.array(0)}),
    "points that underflow": ("line", (Z, 1e-200 * FAR, 1e200 * np.eye(2))),
    "moments that underflow": ("box", (5e-324 * Z, 4 * np.abs(E) / 0.1)),
    "basis flat": ("ball", (Z, E, np.ones(2))),
    "basis of three axes": ("ball", (Z, E, np.ones((2, 2, 2)))),
    "a number as term": ("ball", (Z,), {"term": 0.5}),
    "no words for numbers": ("ball", ("x",)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_certificates_are_refused(name):
    kind, arguments, *others = MALFORMED[name]
    with pytest.raises(CertificateError):
        small(kind).lower_bound(certificate_of(*arguments, **(others[0] if others else {})))


@pytest.mark.parametrize("component", [1, -1])
def test_components_that_do_not_exist_are_refused(component):
    with pytest.raises(CertificateError):
        small("ball").lower_bound(OptimalityCertificate((AtomSet(component, 0, Z),)))
