"""Certificate files: what is written is proven, what is changed is found, and the proof needs neither torch nor solvers."""

import itertools
import os
import subprocess
import sys
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
from safetensors.numpy import save_file

import convexadv as ca
from convexadv.errors import CertificateError, FileFormatError, InputError
from convexadv.verification import pack, same_network, unpack
from convexadv.verification._relu import _cover
from convexadv.verification.check import recompute

CASES = [
    ("polynomial", "l2"), ("polynomial", "linf"), ("polynomial", "l1"), ("polynomial", "box"),
    ("relu", "l2"), ("relu", "linf"), ("relu", "l1"), ("gated", "l2"), ("gated", "linf"), ("gated", "l1"),
]  # fmt: skip
N, D, M = 24, 4, 6


def network_of(kind, outputs, seed=0, dtype=np.float64, M=M):
    rng = np.random.default_rng(seed)
    gates = rng.normal(size=(M, D))
    inputs = {"shift": rng.normal(size=D), "scale": rng.uniform(0.5, 2.0, D), "classes": list(range(max(2, outputs)))}
    if kind == "polynomial":
        gates /= np.linalg.norm(gates, axis=1, keepdims=True)
        return ca.PolynomialNetwork(gates.astype(dtype), rng.normal(size=(M, outputs)), (0.4, 0.5, -0.2), **inputs)
    if kind == "relu":
        return ca.ReLUNetwork(gates.astype(dtype), rng.normal(size=(M, outputs)), rng.normal(size=M), **inputs)
    weights, biases = rng.normal(size=(M, D, outputs)), rng.normal(size=(M, outputs))
    return ca.GatedReLUNetwork(gates, weights.astype(dtype), rng.normal(size=M), biases, **inputs)


def case_of(kind, ball, outputs, seed=0, dtype=np.float64):
    """A certificate of rows with radii of their own; every sixth label is wrong, one radius is zero."""
    rng = np.random.default_rng(seed + 1)
    network = network_of(kind, outputs, seed, dtype)
    X = rng.uniform(-2.0, 2.0, size=(N, D))
    y = network.predict(X)
    y[::6] = (y[::6] + 1) % len(network.classes)
    radius = rng.uniform(0.1, 0.5, N)
    radius[1] = 0.0
    norm, bounds = ("linf", (-2.0, 2.0)) if ball == "box" else (ball, None)
    return ca.certify(network, X, y, radius, norm, bounds=bounds)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "proof.safetensors"


def points_of(claim, rng):
    """Raw points of the balls, many of them on the boundary."""
    n, d = claim.X.shape
    radius = claim.radius[:, None]
    direction = rng.normal(size=(n, d))
    if claim.norm == "linf":
        delta = radius * np.where(rng.random((n, d)) < 0.8, np.sign(direction), rng.uniform(-1, 1, (n, d)))
    elif claim.norm == "l1":
        delta = radius * np.eye(d)[rng.integers(d, size=n)] * np.sign(direction)
    else:
        delta = radius * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    points = claim.X + 0.999999999 * delta
    return points if claim.low is None else np.clip(points, claim.low, claim.high)


def least_margins(network, claim, seed=0, draws=200):
    rng = np.random.default_rng(seed)
    y = network.classes[claim.labels]
    return np.minimum.reduce([network.margins(points_of(claim, rng), y) for _ in range(draws)])


# ------------------------------------------------------------------------------------------- robustness


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("kind", "ball"), CASES)
def test_what_is_saved_is_proven_and_comes_back(path, kind, ball, outputs):
    certificate = case_of(kind, ball, outputs)
    ca.save_certificate(certificate, path)
    found = ca.verify_certificate(path)
    assert found.ok
    assert found.claimed == found.verified == certificate.certified.sum() > 3
    np.testing.assert_array_equal(found.claim.certified, certificate.certified)
    assert (found.claim.lower_bound <= certificate.lower_bound).all()
    np.testing.assert_allclose(found.claim.lower_bound, certificate.lower_bound, rtol=0, atol=1e-10)
    assert (found.bound <= least_margins(certificate.query.network, found.claim) + 1e-12).all()
    loaded = ca.load_certificate(path)
    assert (loaded.method, loaded.norm) == (certificate.method, certificate.norm)
    np.testing.assert_array_equal(loaded.radius, certificate.radius)
    np.testing.assert_array_equal(loaded.lower_bound, found.claim.lower_bound)
    np.testing.assert_array_equal(
        loaded.query.network.scores(loaded.query.X), certificate.query.network.scores(loaded.query.X)
    )
    content = path.read_bytes()
    ca.save_certificate(loaded, path)
    assert ca.verify_certificate(path).ok
    assert len(path.read_bytes()) == len(content)


def tampered_weights(claim):
    name = "weights" if claim.kind == "GatedReLUNetwork" else "coefficients"
    return replace(claim, weights={**claim.weights, name: 0.9 * claim.weights[name]})


def tampered_scale(claim):
    return replace(claim, weights={**claim.weights, "scale": 0.8 * claim.weights["scale"]})


def tampered_rows(claim):
    X = claim.X + 0.2 if claim.low is None else np.clip(claim.X + 0.2, claim.low, claim.high)
    return replace(claim, X=X)


def tampered_label(claim):
    labels, row = claim.labels.copy(), int(claim.certified.argmax())
    labels[row] = (labels[row] + 1) % len(claim.classes)
    return replace(claim, labels=labels)


def tampered_witness(claim):
    """Another witness that is still in range: halves of multipliers, slopes turned round."""
    name = next(name for name in ("slopes", "multiplier", "multipliers") if name in claim.witness)
    wrong = 1.0 - claim.witness[name] if name == "slopes" else 0.5 * claim.witness[name]
    return replace(claim, witness={**claim.witness, name: wrong})


def raised(claim):
    """One bound, by a millionth."""
    lower = claim.lower_bound.copy()
    lower[2] += 1e-6
    return replace(claim, lower_bound=lower)


def flagged(claim):
    """A row that is not certified is claimed to be."""
    certified = claim.certified.copy()
    certified[int(claim.lower_bound.argmin())] = True
    return replace(claim, certified=certified)


def without_number(claim):
    lower = claim.lower_bound.copy()
    lower[0] = np.nan
    return replace(claim, lower_bound=lower)


TAMPERINGS = {
    "weights": tampered_weights,
    "scale": tampered_scale,
    "rows": tampered_rows,
    "label": tampered_label,
    "radius": lambda claim: replace(claim, radius=1.1 * claim.radius),
    "witness": tampered_witness,
    "bound": raised,
    "certified": flagged,
    "nan bound": without_number,
}


@pytest.mark.parametrize("change", TAMPERINGS)
@pytest.mark.parametrize(("kind", "ball"), CASES)
def test_tampering_is_found_although_the_digest_is_right(path, kind, ball, change):
    ca.save_certificate(case_of(kind, ball, 3), path)
    claim = unpack(path)
    path.write_bytes(pack(claim))
    assert ca.verify_certificate(path).ok
    path.write_bytes(pack(TAMPERINGS[change](claim)))
    found = ca.verify_certificate(path)
    assert not found.ok
    assert not found.holds.all()


def test_a_changed_byte_is_found(path):
    ca.save_certificate(case_of("polynomial", "l2", 1), path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    for reader in (ca.verify_certificate, ca.load_certificate):
        with pytest.raises(FileFormatError, match="digest"):
            reader(path)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("kind", "ball"), CASES)
def test_no_witness_proves_too_much(path, kind, ball, outputs):
    """Whatever stands in the place of the witnesses, no point of the balls has a smaller margin than the bound."""
    certificate = case_of(kind, ball, outputs, seed=5)
    ca.save_certificate(certificate, path)
    claim = unpack(path)
    least = least_margins(certificate.query.network, claim)
    rng = np.random.default_rng(2)
    finite = 0
    for size in (0.0, 0.3, 1.0, 3.0, 1e6, -1.0, np.nan):
        noise = {name: size * rng.normal(size=array.shape) for name, array in claim.witness.items()}
        forms = [noise, {name: np.abs(array) for name, array in noise.items()}]
        forms += [{name: claim.witness[name] + array for name, array in noise.items()}]
        forms += [{name: np.clip(array, 0.0, 1.0) for name, array in noise.items()}]
        for witness in forms:
            bound = recompute(replace(claim, witness=witness)).bound
            finite += int(np.isfinite(bound).sum())
            assert (bound <= least + 1e-12).all()
            assert not np.isnan(bound).any()
    assert finite > N


@pytest.mark.parametrize("ball", ["l2", "linf", "l1"])
def test_a_matrix_that_is_not_positive_semidefinite_proves_nothing(path, ball):
    """Concave in every direction: without multipliers the bound of a row that moves rests on the intervals, or on nothing."""
    network = ca.PolynomialNetwork(np.eye(3), -np.ones(3), (1.0, 0.0, 0.0), classes=[0, 1])
    certificate = ca.certify(network, np.ones((2, 3)), [0, 0], 0.5, ball)
    ca.save_certificate(certificate, path)
    claim = unpack(path)
    zero = {name: np.where(name == "basis", array, 0.0 * array) for name, array in claim.witness.items()}
    bound = recompute(replace(claim, labels=np.array([1, 1]), witness=zero)).bound
    truth = {"l2": -((np.sqrt(3.0) + 0.5) ** 2), "linf": -3 * 1.5**2, "l1": -(1.5**2 + 2.0)}[ball]
    assert (bound <= truth + 1e-12).all()
    assert np.isneginf(bound).all() == (ball == "l2")


@pytest.mark.parametrize("ball", ["l2", "linf", "l1"])
def test_negative_multipliers_prove_nothing(path, ball):
    """Convex in every direction, least at the row: a negative multiplier would lift the bound above the truth."""
    network = ca.PolynomialNetwork(np.eye(3), np.ones(3), (1.0, 0.0, -0.5), classes=[0, 1])
    ca.save_certificate(ca.certify(network, np.zeros((2, 3)), [1, 1], 0.5, ball), path)
    claim = unpack(path)
    name = "multiplier" if ball == "l2" else "multipliers"
    for size in (-0.5, -0.1):
        witness = {**claim.witness, name: size + 0.0 * claim.witness[name]}
        assert (recompute(replace(claim, witness=witness)).bound <= -1.5).all()


def test_l1_multipliers_of_both_signs_prove_nothing(path):
    """-2 e_1 e_2 is -r^2/2 at its least; e'Me = 2 e_1 e_2 has its maximum inside an edge, not at a vertex."""
    basis = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0)
    network = ca.PolynomialNetwork(basis, np.array([-1.0, 1.0]), (1.0, 0.0, 0.0), classes=[0, 1])
    ca.save_certificate(ca.certify(network, np.zeros((2, 2)), [1, 1], 1.0, "l1"), path)
    multipliers = np.tile([1.0, -1.0], (2, 1, 1))
    witness = {"basis": basis[None], "multipliers": multipliers, "coordinates": np.zeros((2, 1, 2))}
    assert (recompute(replace(unpack(path), witness=witness)).bound <= -0.5).all()


@pytest.mark.parametrize("outputs", [1, 3])
def test_at_radius_zero_the_bound_is_the_rational_margin(path, outputs):
    network = network_of("polynomial", outputs)
    X = np.random.default_rng(3).normal(size=(5, D))
    ca.save_certificate(ca.certify(network, X, network.predict(X), 0.0), path)
    claim = unpack(path)
    found = recompute(claim)
    exact = {name: np.vectorize(Fraction, otypes=[object])(array) for name, array in claim.weights.items()}
    a, b, c = map(Fraction, claim.activation)
    for row, label in enumerate(claim.labels):
        z = (np.vectorize(Fraction, otypes=[object])(X[row]) - exact["shift"]) / exact["scale"]
        t = exact["neurons"] @ z
        scores = ((a * t + b) * t + c) @ exact["coefficients"]
        margin = (2 * int(label) - 1) * scores[0] if outputs == 1 else scores[label] - max(np.delete(scores, label))
        assert Fraction(found.bound[row]) <= margin <= Fraction(found.bound[row] + 2 * found.allowance[row])


@pytest.mark.parametrize("kind", ["polynomial", "relu", "gated"])
def test_single_precision_networks_and_named_classes(path, kind):
    network = network_of(kind, 1, dtype=np.float32)
    network = network._with(classes=["no", "yes"])
    X = np.random.default_rng(3).normal(size=(6, D)).astype(np.float32)
    ca.save_certificate(ca.certify(network, X, network.predict(X), 0.01), path)
    assert ca.verify_certificate(path).ok
    loaded = ca.load_certificate(path)
    assert loaded.query.network.classes.tolist() == ["no", "yes"]
    assert loaded.query.network.shift.dtype == network.shift.dtype
    np.testing.assert_array_equal(loaded.query.y, network.predict(X))


def test_rows_that_overflow_claim_nothing(path):
    network = network_of("polynomial", 1)
    X = np.ones((2, D))
    X[0] = 1e200
    ca.save_certificate(ca.certify(network, X, [1, 1], 0.1), path)
    found = ca.verify_certificate(path)
    assert found.ok
    assert np.isneginf(found.claim.lower_bound[0])


def test_the_model_file_is_compared(path, tmp_path):
    certificate = case_of("relu", "l2", 3)
    ca.save_certificate(certificate, path)
    claim = unpack(path)
    network = certificate.query.network
    for changes, same in (
        ({}, True),
        ({"coefficients": network.coefficients * 1.0000001}, False),
        ({"shift": None}, False),
    ):
        ca.save(network._with(**changes), tmp_path / "model.safetensors")
        assert same_network(claim, tmp_path / "model.safetensors") == same
    ca.save(network_of("polynomial", 3), tmp_path / "model.safetensors")
    assert not same_network(claim, tmp_path / "model.safetensors")
    with pytest.raises(FileFormatError, match="not a model file"):
        same_network(claim, path)


def test_verification_needs_no_torch(path):
    """Neither the function nor the verb imports torch, scipy or a solver."""
    ca.save_certificate(case_of("polynomial", "linf", 3), path)
    code = (
        "import sys\n"
        "for name in ('torch', 'scipy', 'cvxpy', 'scs', 'clarabel', 'sklearn'): sys.modules[name] = None\n"
        "import convexadv as ca\n"
        "from convexadv.cli import main\n"
        "assert ca.verify_certificate(sys.argv[1]).ok\n"
        "raise SystemExit(main(['verify', sys.argv[1]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Every claim holds" in done.stdout
    path.write_bytes(pack(raised(unpack(path))))
    done = subprocess.run(
        [sys.executable, "-c", code.replace("assert", "#"), str(path)], capture_output=True, check=False
    )
    assert done.returncode == 6


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("kind", ["relu", "gated"])
def test_branches_of_a_complete_search_are_a_proof(path, kind, norm, outputs):
    network = network_of(kind, outputs, seed=6, M=14)
    X = np.random.default_rng(4).uniform(-2, 2, size=(120, D))
    y, radius = network.predict(X), {"l1": 1.4, "l2": 0.8, "linf": 0.4}[norm]
    plain = ca.certify(network, X, y, radius, norm)
    complete = ca.certify(network, X, y, radius, norm, complete=True)
    assert complete.certified.sum() > plain.certified.sum()
    ca.save_certificate(complete, path)
    found = ca.verify_certificate(path)
    assert found.ok
    np.testing.assert_array_equal(found.claim.certified, complete.certified)
    assert (found.claim.lower_bound <= complete.lower_bound).all()
    claim, witness = found.claim, found.claim.witness
    least = least_margins(network, claim)
    assert (found.bound <= least + 1e-12).all()
    assert ca.load_certificate(path).complete
    held = witness["leaf_held"]
    kept = np.arange(len(held)) != int(np.flatnonzero(held.any(1))[0])
    changes = {
        "a branch less": {name: array[kept] for name, array in witness.items() if name.startswith("leaf")},
        "tau": {"leaf_tau": witness["leaf_tau"] + 1.0},
        "nothing held": {"leaf_held": 0 * held},
        "other rows": {"leaf_row": 0 * witness["leaf_row"] - 7},
        "sides changed": {"leaf_held": -held, "leaf_tau": 0.0 * witness["leaf_tau"]},
    }
    for name, change in changes.items():
        path.write_bytes(pack(replace(claim, witness={**witness, **change})))
        found = ca.verify_certificate(path)
        assert (found.bound <= least + 1e-12).all()
        assert name == "sides changed" or not found.ok, name  # where both sides are there, these may be a proof too


def leaves_of(rng, held):
    """Leaves of a random binary tree of splits."""
    free = np.flatnonzero(held == 0)
    if not len(free) or rng.random() < 0.25:
        return [held]
    split = np.eye(len(held), dtype=np.int8)[rng.choice(free)]
    return leaves_of(rng, held + split) + leaves_of(rng, held - split)


def test_branches_cover_if_every_pattern_is_in_one():
    rng, answers = np.random.default_rng(0), set()
    for _ in range(300):
        m = int(rng.integers(1, 6))
        tree = np.stack(leaves_of(rng, np.zeros(m, np.int8)))
        assert _cover(tree)
        some = tree[rng.random(len(tree)) < 0.9]
        patterns = np.array(list(itertools.product((1, -1), repeat=m)))
        inside = ((some[None] == 0) | (some[None] == patterns[:, None])).all(2).any(1).all()
        answers.add(bool(inside))
        assert _cover(some) == inside
    assert answers == {True, False}


REFUSED = {
    "complete boxes": (
        lambda: ca.certify(network_of("polynomial", 1), np.ones((2, D)), [0, 1], 0.1, "linf", complete=True),
        "complete=False",
    ),
    "made by hand": (lambda: ca.RobustnessCertificate(np.ones(1, bool), np.ones(1), "none", "l2", 0.1), "certify"),
    "another thing": (lambda: {"certified": True}, "dict"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_saved(path, case):
    make, words = REFUSED[case]
    path.write_text("as it was")
    with pytest.raises(InputError, match=words) as caught:
        ca.save_certificate(make(), path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "as it was"


def test_an_exact_certificate_can_be_complete(path):
    network = network_of("polynomial", 1)
    ca.save_certificate(ca.certify(network, np.ones((2, D)), [0, 1], 0.1, complete=True), path)
    assert ca.verify_certificate(path).ok


def test_a_failed_write_leaves_the_file(path, monkeypatch):
    path.write_text("as it was")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        ca.save_certificate(case_of("relu", "l2", 1), path)
    assert path.read_text() == "as it was"
    assert len(list(path.parent.iterdir())) == 1


def without(claim, name):
    return replace(claim, witness={key: array for key, array in claim.witness.items() if key != name})


MISFITS = {
    "no witness": lambda claim: without(claim, "multipliers"),
    "a foreign witness": lambda claim: replace(claim, witness={**claim.witness, "slopes": np.zeros(1)}),
    "a short witness": lambda claim: replace(claim, witness={"multipliers": claim.witness["multipliers"][:-1]}),
    "a flat witness": lambda claim: replace(claim, witness={"multipliers": claim.witness["multipliers"][..., :1]}),
    "whole numbers": lambda claim: replace(claim, X=claim.X.astype(np.int64)),
    "labels": lambda claim: replace(claim, labels=claim.labels + 3),
    "negative labels": lambda claim: replace(claim, labels=claim.labels - 3),
    "negative radius": lambda claim: replace(claim, radius=-claim.radius),
    "infinite radius": lambda claim: replace(claim, radius=np.inf * (claim.radius + 1)),
    "rows": lambda claim: replace(claim, X=claim.X[:-1]),
    "features": lambda claim: replace(claim, X=claim.X[:, :-1]),
    "norm": lambda claim: replace(claim, norm="l7"),
    "kind": lambda claim: replace(claim, kind="ReLUNetwork"),
    "activation": lambda claim: replace(claim, activation=(1.0, 2.0)),
    "scale": lambda claim: replace(claim, weights={**claim.weights, "scale": -claim.weights["scale"]}),
    "coefficients": lambda claim: replace(claim, weights={**claim.weights, "coefficients": np.ones((2, 3))}),
    "classes": lambda claim: replace(claim, classes=["only one"]),
    "half a box": lambda claim: replace(claim, low=np.full(D, -9.0), high=np.full(D - 1, 9.0)),
    "rows outside": lambda claim: replace(claim, low=np.full(D, -9.0), high=np.full(D, -8.0)),
    "box that is not a number": lambda claim: replace(claim, low=np.full(D, np.nan), high=np.full(D, 9.0)),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_parts_that_do_not_fit_are_one_sentence(path, case):
    ca.save_certificate(case_of("polynomial", "linf", 3), path)
    claim = MISFITS[case](unpack(path))
    if case == "kind":
        claim = replace(claim, weights={**claim.weights, "biases": np.zeros(M)})
    path.write_bytes(pack(claim))
    with pytest.raises(FileFormatError) as caught:
        ca.verify_certificate(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_certificates(path, tmp_path):
    with pytest.raises(InputError, match="no certificate file"):
        ca.verify_certificate(path)
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(FileFormatError, match="truncated"):
        ca.verify_certificate(path)
    save_file({"X": np.ones(2)}, path)
    with pytest.raises(FileFormatError, match="not a certificate"):
        ca.verify_certificate(path)
    ca.save(network_of("relu", 1), path)
    with pytest.raises(FileFormatError, match="not a certificate"):
        ca.load_certificate(path)
    ca.save_certificate(case_of("relu", "l2", 1), path)
    path.write_bytes(path.read_bytes().replace(b'\\"format_version\\": 1', b'\\"format_version\\": 7'))
    with pytest.raises(FileFormatError, match="version 7"):
        ca.verify_certificate(path)


# ------------------------------------------------------------------------------------------- optimality

ROWS = np.random.default_rng(0).normal(size=(30, 3)) / 3
SIGNS = np.where(ROWS[:, 0] + 0.2 * ROWS[:, 1] > 0, "up", "down")


def problem_of(kind, **changes):
    y = SIGNS if changes.pop("labels", True) else np.where(SIGNS == "up", "down", "up")
    settings = {"radius": 0.05, "beta": 0.02, **changes}
    if kind == "polynomial":
        return ca.PolynomialProblem(settings.pop("X", ROWS), y, **settings)
    Problem = ca.ReLUProblem if kind == "relu" else ca.GatedReLUProblem
    return Problem(settings.pop("X", ROWS), y, n_gates=8, random_state=settings.pop("seed", 0), **settings)


@pytest.mark.parametrize("kind", ["polynomial", "relu", "gated"])
def test_a_certificate_of_optimality_gives_the_same_bound(path, kind):
    problem = problem_of(kind)
    certificate = ca.solve(problem, tol=1e-3).certificate
    ca.save_certificate(certificate, path, problem)
    again = problem_of(kind)  # as in another process
    loaded = ca.load_certificate(path, again)
    assert again.lower_bound(loaded) == problem.lower_bound(certificate) > 0
    for old, new in zip(certificate.parts(), loaded.parts(), strict=True):
        assert type(old) is type(new)
        for field in fields(old):
            np.testing.assert_array_equal(getattr(old, field.name), getattr(new, field.name))
    with pytest.raises(FileFormatError, match="lower_bound"):
        ca.verify_certificate(path)
    with pytest.raises(InputError, match="needs its problem"):
        ca.load_certificate(path)
    with pytest.raises(InputError, match="problem"):
        ca.save_certificate(certificate, path)


OTHERS = {
    "rows": {"X": ROWS + 1e-9}, "labels": {"labels": False}, "radius": {"radius": 0.06}, "beta": {"beta": 0.021},
    "loss": {"loss": "squared_hinge"}, "norm": {"norm": "linf"}, "weights": {"sample_weight": np.arange(30) + 1.0},
    "gates": {"seed": 1}, "activation": {"activation": (0.1, 0.5, 0.47)}, "scale": {"scale": np.array([1.0, 1.0, 2.0])},
}  # fmt: skip


@pytest.mark.parametrize("change", OTHERS)
def test_another_problem_is_refused(path, change):
    kind = "gated" if change == "gates" else "polynomial"
    problem = problem_of(kind)
    ca.save_certificate(ca.solve(problem, tol=0.1).certificate, path, problem)
    ca.load_certificate(path, problem)
    with pytest.raises(CertificateError, match="another problem"):
        ca.load_certificate(path, problem_of(kind, **OTHERS[change]))
