"""A share of every group of ``python -m benchmarks.fuzz``, and what its long runs have found."""

from __future__ import annotations

import dataclasses
import importlib
import zipfile

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

import convexadv as ca
from benchmarks import fuzz, fuzz_oracles
from benchmarks.fuzz_tally import Tally, generator
from convexadv import model_files
from convexadv.balls import gauge, project
from convexadv.boxes import box_relaxation_minimum
from convexadv.datasets import read_table, standardise
from convexadv.model_files import build, load_model, save_model
from convexadv.quadratics import ball_minimum, level_distance
from convexadv.recovery import lift, neural_decomposition
from convexadv.verification import pack, unpack

TINY = 5e-324
DRAWS = {"oracles": 28, "margins": 21, "certificates": 3, "validation": 30, "files": 11, "attacks": 2, "solves": 21}
DRAWS |= {"exports": 18, "objects": 16, "estimators": 30, "writers": 15, "checkpoints": 9, "deep": 24}


@pytest.mark.parametrize("group", fuzz.SHARES)
def test_a_share_of_the_draws_finds_nothing(group):
    tallies = [fuzz.draw(group, 2024, number) for number in range(DRAWS[group])]
    failures = [(k, failure) for k, tally in enumerate(tallies) for failure in tally.failures]
    assert failures == []
    assert sum(tally.cases.total() for tally in tallies) >= DRAWS[group]


def test_a_draw_repeats_by_itself():
    for group in ("oracles", "margins", "solves"):
        kinds = importlib.import_module(f"benchmarks.fuzz_{group}").KINDS
        drawn = []
        for number in (3, 4, 3):
            rng = generator(group, 5, number)
            kinds[number % len(kinds)](rng, Tally())
            drawn.append(rng.random())
        assert drawn[0] == drawn[2] != drawn[1]


def test_what_must_not_be_is_recorded(monkeypatch):
    def slow(rng, tally):
        while True:
            tally.count("turns")

    def crash(rng, tally):
        raise KeyError("lost")

    def wrong(rng, tally):
        tally.count("rows", 3)
        tally.expect(np.array([True, False, False]), "wrong", np.array([1.0, 2.5, 3.0]))

    def fine(rng, tally):
        tally.count("rows", 4)

    monkeypatch.setattr(fuzz_oracles, "KINDS", [slow, crash, wrong, fine])
    monkeypatch.setitem(fuzz.LIMITS, "oracles", 0.1)
    assert fuzz.draw("oracles", 0, 0).failures == ["slow: longer than 0.1 s"]
    assert fuzz.draw("oracles", 0, 1).failures[0].startswith("crash: KeyError: 'lost' (")
    assert fuzz.draw("oracles", 0, 2).failures == ["wrong: wrong at 2 of 3, first 1: 2.5"]
    assert fuzz.draw("oracles", 0, 3).failures == []


def test_a_run_goes_on_where_its_record_ends(monkeypatch):
    numbers = []

    def kind(rng, tally):
        numbers.append(rng.random())
        tally.count("rows", 10)

    monkeypatch.setattr(fuzz_oracles, "KINDS", [kind])
    whole = list(fuzz.run(fuzz._empty("oracles"), 1, 60))[-1]
    part = list(fuzz.run(fuzz._empty("oracles"), 1, 30))[-1]
    again = list(fuzz.run(part, 1, 60))[-1]
    assert again["kinds"] == whole["kinds"] == {"rows": 60}
    assert (again["draws"], again["cases"]) == (6, 60)
    assert numbers[:6] == numbers[6:]
    document = fuzz.document(1, {"oracles": again})
    assert (document["cases"], document["solves"], document["failures"]) == (60, 0, 0)
    assert "60 cases and 0 solves, 0 failures" in fuzz.report(document)


@pytest.mark.parametrize("factor", [1e-3, -1e-3])
def test_wrong_minima_are_found(monkeypatch, factor):
    honest = fuzz_oracles.ball_minimum

    def lying(*arguments, **options):
        found = honest(*arguments, **options)
        return found._replace(value=found.value + factor * abs(found.value))

    monkeypatch.setattr(fuzz_oracles, "ball_minimum", lying)
    assert fuzz.draw("oracles", 0, 0).failures


def test_bounds_that_are_too_high_are_found(monkeypatch):
    honest = ca.PolynomialProblem.lower_bound
    monkeypatch.setattr(ca.PolynomialProblem, "lower_bound", lambda self, c: honest(self, c) + 1.0)
    assert fuzz.draw("certificates", 0, 2).failures


def test_a_small_l1_ball_far_away_is_projected_on_exactly():
    points = project(np.array([[1e8, -8e8, 3.0], [2.0, 2.0, 0.0]]), np.array([6e-5, 1e-9]), "l1")
    np.testing.assert_array_equal(points, [[0.0, -6e-5, 0.0], [5e-10, 5e-10, 0.0]])


def test_a_denormal_radius_is_as_good_as_none():
    B, g = np.array([[4.0, -3.0]]), np.array([[0.3, -0.7]])
    for r in (3 * TINY, 1e-310, 1e-200):
        found = ball_minimum(B, g, np.array([r]))
        np.testing.assert_allclose(found.value, -2 * r * np.hypot(0.3, 0.7), rtol=1e-6, atol=2 * TINY)
        assert np.linalg.norm(found.point) <= r
        assert not np.isnan(box_relaxation_minimum(np.eye(2), B[0], 1.0, g, r).multipliers).any()
    assert gauge(project(np.full((1, 2), 1e8), np.array([3 * TINY]), "l2", np.array([2.0, 1e-3])), "l2").max() == 0
    network = ca.PolynomialNetwork([[0.6, 0.8], [1, 0]], [1.0, -2.0], classes=[0, 1])
    X = np.array([[1.0, 2.0]])
    margin = ca.worst_case_margin(network, X, [1], 0.0).lower_bound
    np.testing.assert_allclose(ca.worst_case_margin(network, X, [1], TINY).lower_bound, margin, rtol=1e-12)


def test_denormal_coefficients_count_as_zero():
    found = ball_minimum(np.array([[-1.0, 2.0]]), np.array([[TINY, 0.0]]), np.ones(1))
    assert found.value == -1
    distance = level_distance(np.array([[-TINY, 0.0]]), np.array([[0.0, TINY]]), np.array([0.5, -1.0])[:1], np.zeros(1))
    assert distance.distance == np.inf
    assert distance.point.tolist() == [[0, 0]]


def test_a_lift_of_no_neurons_is_zero():
    pairs = lift(ca.PolynomialNetwork(np.zeros((0, 2)), np.zeros((0, 3)), classes=[0, 1, 2]))
    assert len(pairs) == 3
    assert not np.any(pairs)
    assert len(neural_decomposition(np.diag([TINY, 3 * TINY, 2 * TINY]))[0]) <= 3


def test_denormal_rows_and_weights_of_a_relu_network_are_no_error():
    network = ca.ReLUNetwork([[1.0, 2.0], [0.2, -0.2]], [-TINY, -9e-4], classes=[0, 1])
    X = np.array([[0.0, 0.0], [4 * TINY, -TINY]])
    result = ca.worst_case_margin(network, X, [1, 1], 0.05)
    assert (result.lower_bound <= result.upper_bound).all()
    assert (result.upper_bound <= -9e-4 * 0.05 * 0.28).all()


@pytest.mark.parametrize("radius", [1e30, 1e99, 1e200])
def test_huge_linf_balls_have_bounds(radius):
    network = ca.PolynomialNetwork([[0.6, 0.8], [1, 0]], [1.0, -2.0], classes=[0, 1])
    lower = ca.worst_case_margin(network, np.array([[1.0, 2.0]]), [1], radius, "linf").lower_bound
    assert lower <= -0.09 * radius * radius


@pytest.mark.parametrize(
    "change",
    [
        {"component": 0.5},
        {"component": "0"},
        {"component": None},
        {"component": np.zeros((1, 2))},
        {"term": np.arange(2)},
        {"term": True},
    ],
)
def test_certificates_of_polynomial_problems_name_parts_by_whole_numbers(change):
    problem = ca.PolynomialProblem(np.eye(2), [0, 1], beta=0.1)
    certificate = ca.solve(problem).certificate
    (atom,) = certificate.atoms
    with pytest.raises(ca.CertificateError):
        problem.lower_bound(dataclasses.replace(certificate, atoms=(dataclasses.replace(atom, **change),)))
    for atoms in (None, (None,), "atoms"):
        with pytest.raises(ca.CertificateError, match="must be a tuple of AtomSet"):
            problem.lower_bound(dataclasses.replace(certificate, atoms=atoms))


def test_multipliers_that_overflow_on_rows_without_weight_prove_nothing():
    problem = ca.ReLUProblem(
        np.eye(2)[[0, 1, 1]], [0, 1, 1], sample_weight=[1, 1, 0], beta=0.1, n_gates=4, loss="squared_hinge"
    )
    certificate = ca.solve(problem).certificate
    (atom,) = certificate.atoms
    for number in (1e160, 1e250, 1e308):
        z = np.append(atom.multipliers[..., :2], [[[number]]], -1)
        changed = dataclasses.replace(certificate, atoms=(dataclasses.replace(atom, multipliers=z, groups=None),))
        assert problem.lower_bound(changed) <= problem.zero_objective()


def test_robust_relu_problems_may_have_more_features_than_rows():
    X = np.array([[0.1, -0.1, 0.6, 0.1], [-0.5, 0.4, 1.3, 0.9]])
    problem = ca.ReLUProblem(
        X,
        [[-0.7, -1.3], [-0.6, 0.0]],
        radius=0.4,
        norm="linf",
        loss="squared",
        beta=0.1,
        fit_intercept=True,
        n_gates=12,
    )
    solution = ca.solve(problem, max_iter=1)
    assert solution.lower_bound <= solution.objective


def test_a_neuron_that_vanishes_in_a_linf_problem_is_no_error():
    X = np.array([-11.11146745, -6.99504951, -7.76181223, -3.78258263, -6.99504951, 0.56695482, 3.49028635])[:, None]
    problem = ca.PolynomialProblem(X, [0, 1, 0, 1, 0, 1, 1], radius=3.58139126, norm="linf", beta=0.551211)
    solution = ca.solve(problem, tol=1e-2, max_iter=3)
    assert solution.lower_bound <= solution.objective <= problem.zero_objective()


def test_the_rest_of_a_certificate_that_vanishes_beside_one_multiplier_proves_nothing():
    X = np.eye(2)
    for kind, options in ((ca.PolynomialProblem, {}), (ca.ReLUProblem, {"n_gates": 4})):
        problem = kind(X, [0, 1], sample_weight=[1, 1e-300], beta=0.1, loss="squared_hinge", **options)
        certificate = ca.solve(problem).certificate
        (atom,) = certificate.atoms
        z = np.array(atom.multipliers)
        for z[0, 0, 1] in 10.0 ** np.arange(20, 309, 20):
            changed = dataclasses.replace(certificate, atoms=(dataclasses.replace(atom, multipliers=z),))
            assert problem.lower_bound(changed) <= problem.zero_objective()


def test_networks_without_neurons_have_certificate_files(tmp_path):
    for outputs, labels in ((1, [1, 0]), (3, [2, 0])):
        network = ca.ReLUNetwork(np.zeros((0, 2)), np.zeros((0, outputs)), classes=np.arange(max(2, outputs)))
        ca.save_certificate(ca.certify(network, np.eye(2), labels, 0.1), tmp_path / "proof.safetensors")
        assert ca.verify_certificate(tmp_path / "proof.safetensors").ok


def test_a_claim_about_a_network_without_outputs_is_refused(tmp_path):
    path = tmp_path / "proof.safetensors"
    network = ca.ReLUNetwork([[1.0, 0.0]], [1.0], classes=[0, 1])
    ca.save_certificate(ca.certify(network, np.eye(2), [1, 0], 0.1), path)
    claim = unpack(path)
    weights = {**claim.weights, "coefficients": np.zeros((1, 0))}
    path.write_bytes(pack(dataclasses.replace(claim, weights=weights)))
    with pytest.raises(ca.FileFormatError, match="no outputs"):
        ca.verify_certificate(path)


def test_a_damaged_header_of_npy_is_a_format_error(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.eye(3))
    path.write_bytes(path.read_bytes().replace(b"}", b"{"))
    with pytest.raises(ca.FileFormatError):
        ca.open_rows(path)


def test_an_archive_of_something_else_than_arrays_is_a_format_error(tmp_path):
    path = tmp_path / "table.npz"
    for name in ("X.npy", "y.npy"):
        np.savez(path, X=np.eye(3), y=np.arange(3))
        with zipfile.ZipFile(path) as archive:
            content = {each: archive.read(each) for each in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for each, data in content.items():
                archive.writestr(each, b"no array" if each == name else data)
        with pytest.raises(ca.FileFormatError):
            read_table(path)


def test_no_memory_is_taken_for_a_model_whose_weights_do_not_fit(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_model(build("smallcnn", width=1), path, "smallcnn", {"width": 1})
    content = path.read_bytes()
    path.write_bytes(content.replace(b'width\\": 1', b'width\\": 7'))
    devices = []
    monkeypatch.setattr(
        model_files,
        "build",
        lambda name, **settings: devices.append(torch.get_default_device()) or build(name, **settings),
    )
    with pytest.raises(ca.FileFormatError, match="does not hold the weights of smallcnn"):
        load_model(path)
    assert [device.type for device in devices] == ["meta"]


X, Y = np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, -1.0]]), [0, 1, 1]
NETWORK = ca.PolynomialNetwork([[1.0, 0.0]], [1.0], classes=[0, 1])
REFUSED = {
    "a matrix without values": lambda: ca.PolynomialProblem(torch.tensor(X).to("meta"), Y),
    "labels without values": lambda: ca.certify(NETWORK, X, torch.tensor(Y).to("meta"), 0.1),
    "scores of sparse rows": lambda: NETWORK.scores(torch.tensor(X).to_sparse()),
    "scores of ragged rows": lambda: NETWORK.scores([[1.0, 2.0], [1.0]]),
    "an attack on ragged rows": lambda: ca.attack(NETWORK, [[1.0, 2.0], [1.0]], [0, 1], 0.1),
    "a radius beyond floats": lambda: ca.certify(NETWORK, X, Y, 10**400),
    "a limit beyond floats": lambda: ca.certify(NETWORK, X, Y, 0.1, time_limit=10**400),
    "rows beyond floats": lambda: ca.PolynomialProblem([[10**400, 1], [1, 2]], [0, 1]),
    "rows whose squares overflow": lambda: ca.PolynomialProblem(X * 1e200, Y),
    "weights whose inverses overflow": lambda: ca.PolynomialProblem(X, Y, sample_weight=5e-324),
    "a norm that is an array": lambda: ca.certify(NETWORK, X, Y, 0.1, norm=np.zeros(2)),
    "a solver that is an array": lambda: ca.solve(ca.PolynomialProblem(X, Y), solver=np.zeros(2)),
    "attacks that are a number": lambda: ca.robust_accuracy(NETWORK, X, Y, 0.1, attacks=1j),
    "radii that are a number": lambda: ca.regularisation_path(ca.PolynomialProblem(X, Y), radii=0.1),
    "betas that are a number": lambda: ca.regularisation_path(ca.PolynomialProblem(X, Y), betas=0.1),
    "a path that is a number": lambda: ca.load(0.0),
    "a target that is a number": lambda: ca.save(NETWORK, 0.0),
    "weights of an estimator that are no numbers": lambda: ca.GatedReLUClassifier().fit(X, Y, np.nan),
    "a lift of text": lambda: neural_decomposition("abc"),
    "a box of text": lambda: box_relaxation_minimum(np.eye(2), np.ones(2), 1.0, [["a", "b"]], 0.1),
    "neurons beyond floats": lambda: ca.ReLUNetwork([[10**400]], [1.0]),
    "neurons without values": lambda: ca.ReLUNetwork(torch.eye(2).to("meta"), [1.0, 1.0]),
    "a scaling of ragged rows": lambda: standardise([[1.0, 2.0], [1.0]]),
    "a table under a number": lambda: read_table(0.0),
    "growth from a word": lambda: ca.grow_patterns(ca.GatedReLUProblem(X, Y, n_gates=4), random_state="hinge"),
    "targets whose squares overflow": lambda: ca.PolynomialProblem(X, [1e300, 0, 0], loss="squared"),
    "targets of an estimator that are text": lambda: ca.GatedReLURegressor().fit(X, np.array(["a", "b", "c"])),
    "an attack that is an array": lambda: ca.attack(NETWORK, X, Y, 0.1, method=[np.zeros(2)]),
    "steps beyond floats": lambda: ca.attack(NETWORK, X, Y, 0.1, step_size=10**400),
    "a seed beyond 64 bits": lambda: ca.attack(NETWORK, X, Y, 0.1, random_state=10**400),
    "radii that are a type": lambda: ca.robust_accuracy(NETWORK, X, Y, np.float64),
    "a method that is an array": lambda: ca.distance_to_boundary(NETWORK, X, method=np.zeros(2)),
    "gates beyond floats": lambda: ca.GatedReLUProblem(X, Y, gates=10**400),
    "an intercept that is an array": lambda: ca.ReLUProblem(X, Y, fit_intercept=np.zeros(2)),
    "a box whose squares overflow": lambda: box_relaxation_minimum(np.eye(2), np.ones(2), 1.0, X, 1e300),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_with_a_sentence(name):
    with pytest.raises(ca.InputError, match=r"\.$"):
        REFUSED[name]()


def test_a_tolerance_in_words_of_digits_can_be_warned_of():
    with pytest.warns(ConvergenceWarning, match="not certified to tol=1e-09"):
        ca.GatedReLUClassifier(n_gates=4, tol="1e-9", max_iter=1).fit(np.eye(2), [0, 1])


def test_a_penalty_that_leaves_no_neuron_is_no_division_by_zero():
    problem = ca.PolynomialProblem([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]], [0, 1, 1], radius=0.1, beta=1e12)
    solution = ca.solve(problem, tol=0.0, max_iter=3)  # never reached: rounding leaves a gap
    assert solution.network.n_neurons == 0
    assert problem.gap(solution.objective, solution.lower_bound) < 1e-9


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "logistic"])
@pytest.mark.parametrize("radius", [0.0, 0.05])
@pytest.mark.parametrize("kind", [ca.ReLUProblem, ca.GatedReLUProblem, ca.PolynomialProblem])
def test_rows_of_weight_zero_are_no_hindrance(kind, radius, loss):
    rng = np.random.default_rng(2)
    rows, y = rng.standard_normal((9, 3)), np.arange(9) % 2
    weight = rng.random(9) * (np.arange(9) % 3 > 0)
    options = {} if kind is ca.PolynomialProblem else {"gates": rng.standard_normal((3, 5))}
    problem = kind(rows, y, radius=radius, beta=0.01, loss=loss, sample_weight=weight, **options)
    solution, conic = ca.solve(problem, tol=1e-3), ca.solve(problem, "CLARABEL")
    assert solution.status.ok
    assert solution.objective == pytest.approx(conic.objective, rel=2e-3)
    assert problem.lower_bound(solution.certificate) == solution.lower_bound


def test_logistic_relu_problems_of_two_rows_end_certified():
    rows = [[0.18637686, 0.50940606], [0.03454763, -1.0931312]]
    problem = ca.ReLUProblem(rows, [0, 1], sample_weight=[1.1, 0.3], beta=1.4e-3, loss="logistic", n_gates=6)
    assert ca.solve(problem, tol=1e-4).status.ok
