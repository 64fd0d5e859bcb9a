"""Weak and strong duality of pattern problems: no certificate proves more than the optimum, and some prove all of it."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from pattern_certificates import neighbour, random_certificate, slow_bound, solved, tight
from pattern_settings import EVERY, ROBUST, in_cones, random_blocks
from scipy.optimize import nnls

from convexadv import GatedReLUProblem, ReLUProblem
from convexadv.errors import CertificateError
from convexadv.problems import AtomSet, ConeMultipliers, OptimalityCertificate


@EVERY
def test_random_certificates_obey_weak_duality(kind, name):
    """2,040 certificates: the bound of the formula, and never above the optimum."""
    setting, problem, best = solved(kind, name)
    rng = np.random.default_rng(0)
    for _ in range(60):
        certificate = random_certificate(rng, problem)
        bound = problem.lower_bound(certificate)
        assert bound == pytest.approx(slow_bound(setting, problem, certificate), rel=1e-7, abs=1e-11)
        assert bound <= best * (1 + 1e-7)


@EVERY
def test_a_dual_programme_closes_the_gap(kind, name):
    """Two cvxpy models that share nothing, and the verifier between them: certificates can reach the optimum."""
    _, problem, best = solved(kind, name)
    value, certificate = tight(kind, name)
    assert value == pytest.approx(best, rel=1e-6)
    bound = problem.lower_bound(certificate)
    assert best * (1 - 1e-5) <= bound <= best * (1 + 1e-7)


@EVERY
def test_local_search_finds_no_certificate_above_the_optimum(kind, name):
    """Ascent from the tight certificate, from it with a random one beside it, and from a random one; 80 steps each."""
    _, problem, best = solved(kind, name)
    rng, (_, certificate) = np.random.default_rng(0), tight(kind, name)
    other = random_certificate(rng, problem)
    both = replace(certificate, atoms=(*certificate.atoms, *other.atoms), cones=(*certificate.cones, *other.cones))
    for start, step in ((certificate, 1e-4), (both, 1e-2), (other, 0.3)):
        place, bound = start, problem.lower_bound(start)
        for _ in range(80):
            moved = neighbour(rng, problem, place, step)
            value = problem.lower_bound(moved)
            place, bound, step = (moved, value, 1.3 * step) if value > bound else (place, bound, 0.95 * step)
        assert bound <= best * (1 + 1e-7)


@ROBUST
def test_shares_of_a_gate_that_add_up_to_more_than_one_are_refused(name):
    """min(0, w) <= share w needs share <= 1: with 2 in two parts, a "dual programme" would prove up to 24 % too much."""
    _, problem, best = solved(GatedReLUProblem, name)
    value, certificate = tight(GatedReLUProblem, name, largest_share=2.0)
    assert value >= best * (1 - 1e-6)
    halves = tuple(replace(part, share=part.share / 2) for part in certificate.shares)
    with pytest.raises(CertificateError, match="share is given twice"):
        problem.lower_bound(replace(certificate, shares=halves * 2))
    with pytest.raises(CertificateError, match=r"in \[0, 1\]"):
        problem.lower_bound(replace(certificate, shares=(replace(halves[0], share=2 * halves[0].share + 1),)))
    assert problem.lower_bound(replace(certificate, shares=halves)) <= best * (1 + 1e-7)


def split(part, parts):
    """The entries of shares dealt out to several parts."""
    return tuple(
        replace(
            part, **{field: getattr(part, field)[which::parts] for field in ("alternative", "group", "gate", "share")}
        )
        for which in range(parts)
    )


@pytest.mark.parametrize("kind", [ReLUProblem, GatedReLUProblem])
@pytest.mark.parametrize("name", ["linf weights", "robust joint", "l1 squared"])
def test_certificates_may_be_split_reordered_and_written_in_other_ways(kind, name):
    _, problem, _ = solved(kind, name)
    bound, certificate = problem.lower_bound(tight(kind, name)[1]), tight(kind, name)[1]
    thirds = tuple(replace(atom, multipliers=atom.multipliers / 3) for atom in certificate.atoms)
    silent = tuple(replace(atom, multipliers=0 * atom.multipliers) for atom in certificate.atoms)
    listed = tuple(replace(atom, groups=np.arange(atom.multipliers.shape[2])) for atom in certificate.atoms)
    others = [
        replace(certificate, atoms=thirds * 3),
        replace(certificate, atoms=silent + certificate.atoms[::-1]),
        replace(certificate, atoms=listed),
        replace(certificate, cones=certificate.cones * 2),
        replace(certificate, shares=tuple(part for each in certificate.shares for part in split(each, 3))),
        OptimalityCertificate(list(certificate.atoms), list(certificate.cones), list(certificate.shares)),
    ]
    for factor in (1e-250, 1e-150, 1e150, 1e250):
        atoms = tuple(replace(atom, multipliers=factor * atom.multipliers) for atom in certificate.atoms)
        cones = tuple(replace(part, values=factor * part.values) for part in certificate.cones)
        others.append(replace(certificate, atoms=atoms, cones=cones))
    for other in others:
        assert problem.lower_bound(other) == pytest.approx(bound, rel=1e-9)
    assert problem.lower_bound(OptimalityCertificate(())) == 0.0


def changed(value, change):
    """Entries of a certificate after a change that may not fit."""
    with np.errstate(all="ignore"):
        return change(value)


WRONG = {
    "negative": lambda a: -a - 1e-3,
    "NaN": lambda a: a * np.nan,
    "infinite": lambda a: a + np.inf,
    "huge": lambda a: a * 1e150,
    "largest": lambda a: a * 1e308,
    "tiny": lambda a: a * 1e-150,
    "least": lambda a: a * 5e-324,
    "imaginary": lambda a: a * 1j,
    "flat": np.ravel,
    "deep": lambda a: a[None],
    "short": lambda a: a[..., :-1],
    "repeated": lambda a: np.concatenate([a, a]),
    "empty": lambda a: a[:0],
    "plus one": lambda a: a + 1,
    "minus one": lambda a: a - 1,
    "zero": lambda a: 0 * a,
    "halved": lambda a: a * 0.5,
    "doubled": lambda a: a * 2,
    "reversed": lambda a: a[::-1],
    "none": lambda a: None,
    "a number": lambda a: 1,
    "a word": lambda a: "word",
    "words": lambda a: np.full(np.shape(a), "x"),
    "objects": lambda a: np.full(np.shape(a), None),
    "a tensor": lambda a: torch.as_tensor(np.ascontiguousarray(a)),
}
NUMBERS = {
    "a fraction": 0.5,
    "a float": 0.0,
    "None": None,
    "an array": np.array([0]),
    "text": "0",
    "far": 99,
    "before": -1,
}


def tampered(certificate):
    """The certificate with one field of one of its parts changed, in every way."""
    for family in ("atoms", "cones", "shares"):
        for place, part in enumerate(getattr(certificate, family)[:1]):
            for field in part.__dataclass_fields__:
                if field in ("component", "term"):
                    changes = {label: lambda value, new=new: new for label, new in NUMBERS.items()}
                else:
                    changes = WRONG if getattr(part, field) is not None else {}
                for label, change in changes.items():
                    parts = list(getattr(certificate, family))
                    parts[place] = replace(part, **{field: changed(getattr(part, field), change)})
                    yield f"{family} {field} {label}", replace(certificate, **{family: tuple(parts)})


def attempt(problem, certificate):
    """The bound and None, or None and the sentence of the refusal."""
    try:
        return problem.lower_bound(certificate), None
    except CertificateError as error:
        return None, str(error)


@EVERY
def test_a_certificate_that_was_tampered_with_is_refused_or_valid(kind, name):
    """About 100 to 400 changes a case; none raises anything else, warns, or proves more than the optimum."""
    _, problem, best = solved(kind, name)
    refused = set()
    for label, other in tampered(tight(kind, name)[1]):
        bound, sentence = attempt(problem, other)
        assert sentence.endswith(".") if bound is None else bound <= best * (1 + 1e-7), label
        refused |= {label} if bound is None else set()
    always = ["multipliers NaN", "multipliers flat", "multipliers short", "component far", "term None", "term a float"]
    always += [] if problem.arrays(0)[0].loss.signed else ["multipliers negative"]
    assert {f"atoms {label}" for label in always} <= refused
    if problem.cones:
        always = [
            "values negative",
            "values short",
            "gate minus one",
            "gate none",
            "side halved",
            "indptr reversed",
            "rows plus one",
        ]
        assert {f"cones {label}" for label in always} <= refused
    if problem.unstable is not None:
        assert {"shares share plus one", "shares gate repeated", "shares tilt short"} <= refused


def test_points_tilts_and_parts_that_do_not_belong_are_refused():
    for name in ("l1", "l2", "linf weights"):
        _, relu, best = solved(ReLUProblem, name)
        certificate = tight(ReLUProblem, name)[1]
        atom, cone = certificate.atoms[0], certificate.cones[0]
        d, D = relu.n_features, relu.rows.d
        edge = {
            "l1": np.eye(D)[0],
            "l2": np.r_[np.ones(d) / d**0.5, np.zeros(D - d)],
            "linf": np.r_[np.ones(d), np.zeros(D - d)],
        }
        on_it = np.broadcast_to(relu.radius[:, None] * edge[relu.norm], atom.coordinates.shape)
        tilt = np.broadcast_to(edge[relu.norm], cone.tilt.shape)
        for build, exact in (
            (lambda points, c=certificate, a=atom: replace(c, atoms=(replace(a, coordinates=points),)), on_it),
            (lambda tilts, c=certificate, k=cone: replace(c, cones=(replace(k, tilt=tilts),)), tilt),
        ):
            bound = relu.lower_bound(build(exact))
            assert bound <= best * (1 + 1e-7)
            for excess in (1e-15, 1e-9, 9e-7):
                assert relu.lower_bound(build(exact * (1 + excess))) == pytest.approx(bound, rel=1e-9)
            for excess in (2e-6, 0.1, 1e200):
                with pytest.raises(CertificateError, match="outside its ball"):
                    relu.lower_bound(build(exact * (1 + excess)))
            if d < D:
                with pytest.raises(CertificateError, match="intercept"):
                    relu.lower_bound(build(exact + 1e-9 * np.eye(D)[-1]))
        for basis in (np.ones(D), np.ones((2, D)), np.full((D, D), np.nan), 1e308 * np.ones((D, D))):
            with pytest.raises(CertificateError):
                relu.lower_bound(replace(certificate, atoms=(replace(atom, coordinates=on_it + 1e10, basis=basis),)))
        with pytest.raises(CertificateError, match="spreads"):
            relu.lower_bound(replace(certificate, atoms=(replace(atom, spread=0 * on_it),)))
    gated, clean = solved(GatedReLUProblem, "l2")[1], solved(GatedReLUProblem, "hinge")[1]
    shares = tight(GatedReLUProblem, "l2")[1].shares
    with pytest.raises(CertificateError, match="no cones"):
        gated.lower_bound(replace(certificate, atoms=()))
    for problem in (clean, solved(ReLUProblem, "l2")[1]):
        with pytest.raises(CertificateError, match="has none"):
            problem.lower_bound(OptimalityCertificate((), (), shares))
    stable = np.argwhere(~gated.unstable)[0]
    one = replace(
        shares[0], **{f: v[:1] for f, v in vars(shares[0]).items() if f in ("alternative", "group", "gate", "share")}
    )
    with pytest.raises(CertificateError, match="does not change"):
        gated.lower_bound(OptimalityCertificate((), (), (replace(one, group=stable[:1], gate=stable[1:]),)))
    signed = solved(ReLUProblem, "squared")[1]
    with pytest.raises(CertificateError, match="points must be the rows"):
        signed.lower_bound(
            OptimalityCertificate(
                (AtomSet(0, 0, np.ones((1, 1, signed.rows.n)), np.zeros((1, 1, *signed.rows.shape))),)
            )
        )
    for parts in (("x",), None, shares):
        with pytest.raises(CertificateError, match="tuple of AtomSet"):
            clean.lower_bound(OptimalityCertificate(parts))
    with pytest.raises(CertificateError, match="an OptimalityCertificate"):
        clean.lower_bound(shares)


@pytest.mark.parametrize("beta", [0.1, 1e-17])
@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("kind", [ReLUProblem, GatedReLUProblem])
def test_rounding_never_lifts_a_bound(kind, shift, beta):
    """Prices that cancel to rounding errors, by signed multipliers or by cones, against extended precision.

    With the small beta the bound is made of the rounding errors alone.
    """
    beta *= 1 + shift
    for seed in range(25):
        rng = np.random.default_rng(seed)
        X, gates = shift + rng.standard_normal((40, 3)), rng.standard_normal((3, 2))
        y = shift + rng.standard_normal(40)
        problem = kind(X, y, gates=gates, loss="squared", beta=beta)
        active = [problem.patterns[:, [k]] * X for k in range(2)]
        v = np.linalg.qr(np.concatenate(active, 1), mode="complete")[0][:, -1] * rng.choice([1e-3, 1.0, 1e3])
        v = rng.standard_normal(40) if kind is ReLUProblem else v
        v = v * np.sign(v @ y)
        v_exact, y_exact = v.astype(np.longdouble), y.astype(np.longdouble)
        exact, multipliers = [], []
        for side, k in product(problem.sides, range(2)):
            exact.append(side * (active[k].astype(np.longdouble).T @ v_exact) / 40)
            if kind is ReLUProblem:
                A = np.where(problem.patterns[:, [k]], 1, -1) * X
                multipliers.append(nnls(A.T, -exact[-1].astype(float))[0])
                exact[-1] += A.astype(np.longdouble).T @ multipliers[-1].astype(np.longdouble)
        linear, square = v_exact @ y_exact / 40, v_exact @ v_exact / 40
        kappa = max(np.sqrt((price**2).sum()) for price in exact)
        t = min(beta / kappa if kappa > 0 else np.inf, linear / square)
        side, gate = np.array(list(product(problem.sides, range(2)))).T
        rows = np.tile(np.arange(40), 4)
        cones = ConeMultipliers(0, gate, 0 * gate, 1.0 * side, np.arange(5) * 40, rows, np.ravel(multipliers))
        atoms = (AtomSet(0, 0, v[None, None]),)
        bound = problem.lower_bound(OptimalityCertificate(atoms, (cones,) if kind is ReLUProblem else ()))
        assert bound <= float(t * linear - t * t * square / 2) * (1 + 1e-15)


@EVERY
def test_shards_tensors_and_small_blocks_of_rows_change_nothing(kind, name, monkeypatch):
    setting, usual, _ = solved(kind, name)
    X = setting.X
    other = setting.kind(
        [X[:4], torch.as_tensor(X[4:5]), X[5:]],
        setting.y,
        gates=torch.as_tensor(setting.gates),
        beta=setting.beta,
        **setting.options,
    )
    other.rows.block_rows = 3
    for module in ("blocks", "relu"):
        monkeypatch.setattr(f"convexadv.problems.{module}._ENTRIES", 7)
    rng = np.random.default_rng(0)
    assert (other.patterns == setting.patterns).all()
    for m in (0, 1, 6):
        blocks = random_blocks(rng, setting, m)
        assert other.evaluate_blocks(blocks) == pytest.approx(usual.evaluate_blocks(blocks), rel=1e-12)
        network = usual.network_of(in_cones(rng, setting, m))
        assert other.evaluate(network) == pytest.approx(usual.evaluate(network), rel=1e-12, abs=1e-15)
    for certificate in (tight(kind, name)[1], *(random_certificate(rng, usual) for _ in range(5))):
        assert other.lower_bound(certificate) == pytest.approx(usual.lower_bound(certificate), rel=1e-9, abs=1e-12)
