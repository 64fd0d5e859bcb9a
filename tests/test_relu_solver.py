"""The interior point method of ReLU problems: against cvxpy models written row by row, and its own promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pattern_reference import optimum

import convexadv as ca
from convexadv.errors import InputError
from convexadv.solvers.interior.scalings import Orthant, SecondOrder


def data(seed: int = 1, n: int = 18, d: int = 3):
    """Rows with labels of two classes, three classes, one and two targets."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    noise = rng.normal(size=n)
    return {
        "X": X,
        "two": np.where(X[:, 0] * X[:, 1] + 0.3 * noise > 0, "yes", "no"),
        "three": rng.permutation(np.arange(n) % 3),
        "real": noise + X[:, 0],
        "reals": rng.normal(size=(n, 2)),
    }


CASES = [
    ("real", {"loss": "squared"}),
    ("reals", {"loss": "squared", "fit_intercept": True}),
    ("two", {"loss": "hinge"}),
    ("two", {"loss": "squared_hinge", "fit_intercept": True}),
    ("two", {"loss": "logistic"}),
    ("three", {"loss": "hinge"}),
    ("three", {"loss": "hinge", "multiclass": "joint"}),
    ("three", {"loss": "logistic", "multiclass": "joint", "fit_intercept": True}),
    ("two", {"loss": "hinge", "radius": 0.02, "norm": "l2"}),
    ("two", {"loss": "hinge", "radius": 0.02, "norm": "linf"}),
    ("two", {"loss": "logistic", "radius": 0.02, "norm": "l1", "fit_intercept": True}),
    ("two", {"loss": "squared_hinge", "radius": 0.02, "norm": "l2", "fit_intercept": True}),
    ("real", {"loss": "squared", "radius": 0.02, "norm": "linf"}),
    ("reals", {"loss": "squared", "radius": 0.02, "norm": "l2", "fit_intercept": True}),
    ("three", {"loss": "hinge", "multiclass": "joint", "radius": 0.02, "norm": "linf"}),
    ("three", {"loss": "squared_hinge", "radius": 0.03, "norm": "l1"}),
]


@pytest.mark.parametrize(("labels", "settings"), CASES, ids=lambda value: str(value))
def test_agrees_with_a_model_written_row_by_row(labels, settings) -> None:
    sets = data()
    gates = np.random.default_rng(5).normal(size=(3 + settings.get("fit_intercept", False), 6))
    problem = ca.ReLUProblem(sets["X"], sets[labels], gates=gates, beta=0.01, **settings)
    reference = optimum(problem)
    solution = ca.solve(problem, tol=1e-5)
    assert solution.status is ca.Status.OPTIMAL
    assert solution.violation == 0.0
    assert solution.objective == pytest.approx(reference, rel=1e-5)
    assert solution.objective >= reference * (1 - 1e-6)
    assert solution.lower_bound <= min(solution.objective, reference * (1 + 1e-7))
    assert problem.lower_bound(solution.certificate) == solution.lower_bound


def test_rows_with_their_own_radii_and_weights() -> None:
    rng = np.random.default_rng(3)
    sets = data(4)
    radius = np.where(rng.random(18) < 0.3, 0.0, 0.03 * rng.random(18))
    problem = ca.ReLUProblem(
        sets["X"], sets["three"], n_gates=5, radius=radius, sample_weight=rng.random(18), loss="squared_hinge"
    )
    assert ca.solve(problem, tol=1e-6).objective == pytest.approx(optimum(problem), rel=2e-6)


def test_predictions_of_network_and_programme_agree_on_the_rows() -> None:
    sets = data(2, n=40, d=4)
    problem = ca.ReLUProblem(sets["X"], sets["three"], n_gates=20, beta=0.005, multiclass="joint", fit_intercept=True)
    solution = ca.solve(problem)
    blocks = solution.variables["blocks"]
    rows = np.concatenate([sets["X"], np.ones((40, 1))], 1)
    programme = np.zeros((40, 3))
    for gate, output, side, vector in zip(blocks.gate, blocks.output, blocks.side, blocks.vectors, strict=True):
        programme[:, output] += side * problem.patterns[:, gate] * (rows @ vector)
    np.testing.assert_allclose(solution.network.scores(sets["X"]), programme, atol=1e-12)


def test_dead_patterns_are_reported_and_left_out() -> None:
    sets = data()
    problem = ca.ReLUProblem(sets["X"], sets["two"], n_gates=8, radius=0.1, norm="linf")
    solution = ca.solve(problem, tol=1e-6)
    assert 0 < solution.variables["dead_gates"].sum() < 8
    assert not solution.variables["dead_gates"][solution.variables["blocks"].gate].any()
    assert solution.objective == pytest.approx(optimum(problem), rel=1e-6)
    everything_dead = ca.ReLUProblem(sets["X"], sets["two"], n_gates=8, radius=2.0, norm="linf")
    zero = ca.solve(everything_dead)
    assert zero.status.ok
    assert zero.network.n_neurons == 0
    assert zero.objective == pytest.approx(1.0)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "logistic", "squared"])
@pytest.mark.parametrize("radius", [10.0, 1e3, 1e6])
def test_at_a_huge_radius_the_best_network_is_constant(norm, loss, radius) -> None:
    """Gates that every row passes keep the offset, all others are {0}: one number is left, found here by search."""
    sets = data(5, n=9, d=2)
    y = sets["real"] if loss == "squared" else np.where(np.arange(9) % 3 == 0, "no", "yes")
    gates = np.array([[0.2, 0.0, 1.0], [1.0, 0.3, 0.1], [-1.0, 0.5, 0.0]]).T
    common = {"radius": radius, "norm": norm, "loss": loss, "fit_intercept": True, "beta": 0.01}
    problem = ca.ReLUProblem(sets["X"], y, gates=gates + np.array([[0], [0], [9.0]]) * [1, 0, 0], **common)
    solution = ca.solve(problem)
    assert solution.status.ok
    assert solution.variables["dead_gates"].tolist() == [False, True, True]
    constants = np.linspace(-6.0, 6.0, 100_001)
    signs = y if loss == "squared" else np.where(y == "yes", 1.0, -1.0)
    shortfall = signs[:, None] - constants if loss == "squared" else 1.0 - signs[:, None] * constants
    losses = {
        "hinge": lambda: np.maximum(shortfall, 0.0),
        "squared_hinge": lambda: np.maximum(shortfall, 0.0) ** 2,
        "logistic": lambda: np.logaddexp(0.0, shortfall - 1.0),
        "squared": lambda: 0.5 * shortfall**2,
    }
    best = (losses[loss]().mean(0) + 0.01 * abs(constants)).min()
    assert solution.objective == pytest.approx(best, rel=2e-4)
    assert solution.lower_bound <= best * (1 + 1e-9)
    blocked = ca.solve(ca.ReLUProblem(sets["X"], y, gates=gates[:, 1:], **common))
    assert blocked.status.ok
    assert blocked.network.n_neurons == 0
    assert blocked.lower_bound == pytest.approx(problem.zero_objective(), rel=1e-4)


FLAT = [
    ({"loss": "hinge"}, "two"),
    ({"loss": "squared_hinge"}, "two"),
    ({"loss": "logistic"}, "two"),
    ({"loss": "squared"}, "real"),
    ({"loss": "squared"}, "reals"),
    ({"loss": "hinge", "multiclass": "joint"}, "three"),
]


@pytest.mark.parametrize(("settings", "labels"), FLAT, ids=lambda value: str(value))
def test_flat_cones_get_blocks_in_their_hulls(settings, labels) -> None:
    """Gates of one feature vanish on rows that lack it; these rows on all sides hold the cone flat."""
    rng = np.random.default_rng(2)
    sets = data(6, n=24, d=3)
    X = sets["X"] * (rng.random((24, 3)) < 0.6)
    X[0] = 0.0
    gates = np.concatenate([np.eye(3), -np.eye(3), rng.normal(size=(3, 2))], 1)
    problem = ca.ReLUProblem(X, sets[labels], gates=gates, beta=0.01, **settings)
    solution, reference = ca.solve(problem, tol=1e-6), optimum(problem)
    assert solution.variables["flat_gates"].sum() >= 3
    assert solution.variables["flat_gates"][solution.variables["blocks"].gate].any()
    assert solution.status.ok
    assert solution.violation <= 1e-12
    assert solution.objective == pytest.approx(reference, rel=3e-6)
    assert solution.lower_bound <= reference * (1 + 1e-7)
    assert problem.lower_bound(solution.certificate) == solution.lower_bound
    warm = ca.solve(problem, tol=1e-6, warm_start=solution)
    assert warm.objective == pytest.approx(reference, rel=3e-6)


def test_an_intercept_keeps_cones_from_being_flat() -> None:
    """Rows on a gate count as active, and (0, 1) is positive on all of them."""
    X = np.array([[1.0, 2.0], [0.0, 1.0], [0.0, -1.0], [0.0, -3.0], [-1.0, 0.5]])
    problem = ca.ReLUProblem(X, [1, -1, 1, -1, 1], gates=np.eye(2), fit_intercept=True, beta=0.01)
    solution = ca.solve(problem, tol=1e-6)
    assert not solution.variables["flat_gates"].any()
    assert solution.objective == pytest.approx(optimum(problem), rel=2e-6)


def test_blocks_in_hulls_leave_and_are_proved_useless(monkeypatch) -> None:
    from convexadv.solvers.interior import component

    rng = np.random.default_rng(4)
    X = rng.normal(size=(80, 6)) * (rng.random((80, 6)) < 0.5)
    gates = np.concatenate([np.eye(6), -np.eye(6), rng.normal(size=(6, 8))], 1)
    problem = ca.ReLUProblem(X, X[:, 0] + 0.1 * rng.normal(size=80), gates=gates, beta=0.01, loss="squared")
    whole = ca.solve(problem, tol=1e-6)
    left = []
    take = component.InteriorPoint.take
    monkeypatch.setattr(component, "_WORTH_LEAVING", 0.0)
    monkeypatch.setattr(component.InteriorPoint, "take", lambda self, kept: left.append(len(kept)) or take(self, kept))
    fewer = ca.solve(problem, tol=1e-6)
    assert left
    assert whole.status.ok
    assert fewer.status.ok
    assert fewer.objective == pytest.approx(whole.objective, rel=2e-6)


def test_flat_cones_with_balls_are_left_out_and_the_bound_stays_honest() -> None:
    """Rows of radius 0 lie on both sides of the origin along a feature that the gate leaves out."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 2))
    X[:2] = [[0.0, 1.0], [0.0, -1.0]]
    radius = np.where(np.arange(12) < 2, 0.0, 0.01)
    y = np.where(X[:, 0] > 0, 1, -1)
    problem = ca.ReLUProblem(X, y, gates=np.array([[1.0, 0.0], [0.4, 1.0]]).T, radius=radius, beta=0.01)
    solution, reference = ca.solve(problem, tol=1e-5), optimum(problem)
    assert solution.variables["flat_gates"].tolist() == [True, False]
    assert solution.violation == 0.0
    assert solution.lower_bound <= reference * (1 + 1e-7)
    assert reference <= solution.objective * (1 + 1e-6)


def test_blocks_that_left_come_back_when_they_are_needed(monkeypatch) -> None:
    from convexadv.solvers.interior import component

    sets = data(7, n=60, d=4)
    problem = ca.ReLUProblem(sets["X"], sets["real"], n_gates=20, beta=0.002, loss="squared")
    right = ca.solve(problem, tol=1e-6)
    monkeypatch.setattr(component, "_LEAVE_GAP", 10.0)  # blocks leave far too easily
    monkeypatch.setattr(component, "_LEAVE_SHRUNK", 10.0)
    monkeypatch.setattr(component, "_LEAVE_SIZE", 0.6)
    monkeypatch.setattr(component, "_WORTH_LEAVING", 0.0)
    rash = ca.solve(problem, tol=1e-6)
    assert rash.status.ok
    assert rash.objective == pytest.approx(right.objective, rel=1e-6)
    assert rash.variables["iterations"] > right.variables["iterations"]


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "logistic", "squared"])
def test_gaps_of_a_hundred_millionth_are_certified(loss) -> None:
    """There Woodbury's formula has lost its digits, and the matrix is factored as it stands."""
    rng = np.random.default_rng(100)
    X = rng.normal(size=(100, 10)) / 10**0.5
    f = np.maximum(X @ rng.normal(size=(10, 10)), 0.0) @ rng.normal(size=10)
    y = f if loss == "squared" else np.where(f + 0.2 * rng.normal(size=100) > np.median(f), 1, -1)
    solution = ca.solve(ca.ReLUProblem(X, y, n_gates=30, beta=1e-3, loss=loss), tol=1e-8)
    assert solution.status.ok
    assert solution.gap <= 1e-8
    assert solution.violation == 0.0


def test_the_gradients_of_a_logistic_loss_are_waited_for() -> None:
    """Blocks outside, here of a cone that is {0}, are priced anew while the multipliers still move."""
    rng = np.random.default_rng(49)
    X = rng.normal(size=(5, 3))
    X /= np.linalg.norm(X, axis=1)[:, None]
    y = [1, -1, 1, -1, 1]
    problem = ca.ReLUProblem(X, y, n_gates=5, random_state=49, radius=0.5, loss="logistic", beta=1e-3)
    solution = ca.solve(problem)
    assert solution.status.ok
    assert solution.objective == pytest.approx(optimum(problem), rel=1e-4)


def test_the_optimum_is_zero_above_the_threshold() -> None:
    sets = data()
    base = ca.ReLUProblem(sets["X"], sets["two"], n_gates=8)
    threshold = base.zero_solution_beta()
    for factor, zero in ((1.02, True), (0.97, False)):
        problem = ca.ReLUProblem(sets["X"], sets["two"], gates=base.gates, beta=factor * threshold.upper)
        solution = ca.solve(problem, tol=1e-7)
        assert (solution.objective >= problem.zero_objective() * (1 - 1e-6)) == zero


def test_history_callback_and_limits() -> None:
    sets = data(3, n=60, d=5)
    problem = ca.ReLUProblem(sets["X"], sets["two"], n_gates=20, beta=0.002)
    seen = []
    stopped = ca.solve(problem, tol=1e-8, callback=lambda record: seen.append(record) or len(seen) == 4)
    assert stopped.status is ca.Status.STOPPED
    assert len(seen) == 4
    assert [record.lower_bound for record in seen] == sorted(record.lower_bound for record in seen)
    few = ca.solve(problem, tol=1e-8, max_iter=2)
    assert few.status is ca.Status.MAX_ITER
    assert few.variables["iterations"] == 2
    assert few.lower_bound <= stopped.objective <= few.objective
    assert ca.solve(problem, tol=1e-8, time_limit=0.0).status is ca.Status.TIME_LIMIT


def test_warm_start_starts_from_the_blocks_of_a_solution() -> None:
    sets = data(3, n=60, d=5)
    problem = ca.ReLUProblem(sets["X"], sets["three"], n_gates=20, beta=0.02)
    first = ca.solve(problem)
    again = ca.solve(problem, warm_start=first)
    network = ca.solve(problem, warm_start=first.network)
    for solution in (again, network):
        assert solution.status.ok
        assert solution.objective == pytest.approx(first.objective, rel=1e-4)
    assert again.history[0].neurons < first.history[0].neurons


def test_a_warm_start_from_the_zero_network_finds_the_blocks_that_are_needed() -> None:
    parts = data(3, n=30)
    common = {"n_gates": 10, "loss": "hinge", "random_state": 0}
    threshold = ca.ReLUProblem(parts["X"], parts["two"], beta=1.0, **common).zero_solution_beta()
    zero = ca.solve(ca.ReLUProblem(parts["X"], parts["two"], beta=1.1 * threshold.upper, **common))
    assert zero.network.n_neurons == 0
    problem = ca.ReLUProblem(parts["X"], parts["two"], beta=0.01, **common)
    warm, cold = ca.solve(problem, warm_start=zero), ca.solve(problem)
    assert warm.status is cold.status is ca.Status.OPTIMAL
    assert warm.objective == pytest.approx(cold.objective, rel=2e-4)


def test_the_same_call_gives_the_same_answer() -> None:
    sets = data(3, n=40, d=4)
    solutions = [ca.solve(ca.ReLUProblem(sets["X"], sets["two"], n_gates=10)) for _ in range(2)]
    np.testing.assert_array_equal(*(solution.variables["blocks"].vectors for solution in solutions))


def test_beta_zero_is_uncertified() -> None:
    sets = data()
    problem = ca.ReLUProblem(sets["X"], sets["two"], n_gates=4, beta=0.0, loss="logistic")
    solution = ca.solve(problem, max_iter=30)
    assert solution.status is ca.Status.UNCERTIFIED
    assert solution.violation == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho": 1.0}, "no option 'rho'"),
        ({"dtype": "float32"}, "too coarse"),
        ({"device": "nowhere"}, "no torch device"),
        ({"tol": -1.0}, "tol"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message) -> None:
    sets = data()
    with pytest.raises(InputError, match=message):
        ca.solve(ca.ReLUProblem(sets["X"], sets["two"], n_gates=4), **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_answer() -> None:
    sets = data(3, n=200, d=8)
    problem = ca.ReLUProblem(sets["X"], sets["three"], n_gates=30, multiclass="joint")
    assert ca.solve(problem, device="cuda").objective == pytest.approx(ca.solve(problem).objective, rel=1e-4)


@pytest.mark.parametrize("kind", [Orthant, SecondOrder])
def test_scalings_take_z_to_s(kind) -> None:
    rng = np.random.default_rng(0)
    s, z = (torch.from_numpy(rng.random((50, 4))) + 0.01 for _ in range(2))
    if kind is SecondOrder:
        for part in (s, z):
            part[:, 0] = part[:, 1:].norm(dim=1) * (1 + torch.from_numpy(rng.random(50)) ** 3) + 1e-3
    cone = kind(s, z)
    cone.scale()
    torch.testing.assert_close(cone.times(s), z)
    ds, dz = (torch.from_numpy(rng.normal(size=(50, 4))) for _ in range(2))
    step = cone.longest_step(ds, dz)

    def inside(part):
        return (part >= 0).all() if kind is Orthant else (part[:, 0] >= part[:, 1:].norm(dim=1)).all()

    assert inside(s + 0.999 * step * ds)
    assert inside(z + 0.999 * step * dz)
    assert not (inside(s + 1.001 * step * ds) and inside(z + 1.001 * step * dz))


def test_the_second_order_target_solves_the_linearised_complementarity() -> None:
    """With dz = target - z - W^-2 ds:  lambda o (W dz + W^-1 ds) = mu e - lambda o lambda - correction."""
    rng = np.random.default_rng(1)
    s, z, ds, correction = (torch.from_numpy(rng.normal(size=(20, 4))) for _ in range(4))
    for part in (s, z):
        part[:, 0] = part[:, 1:].norm(dim=1) + 0.1
    cone = SecondOrder(s, z)
    cone.scale()
    dz = cone.target(0.3, correction) - z - cone.times(ds)

    def product(a, b):
        return torch.cat([(a * b).sum(1, keepdim=True), a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:]], 1)

    left = product(cone.scaled, cone._forward(dz) + cone._backward(ds))
    right = -product(cone.scaled, cone.scaled) - correction
    right[:, 0] += 0.3
    torch.testing.assert_close(left, right)
    dense = cone.matrix() @ ds[..., None]
    torch.testing.assert_close(dense[..., 0], cone.times(ds))
