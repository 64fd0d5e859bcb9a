"""The torch backend of gated ReLU problems: against cvxpy models written row by row, and its own promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sklearn.datasets
import torch
from pattern_reference import optimum
from test_relu_solver import CASES, data

import convexadv as ca
from convexadv.errors import InputError
from convexadv.losses import get_loss
from convexadv.solvers.gated import component, finish, newton
from convexadv.solvers.gated.maps import GatedMaps
from convexadv.solvers.gated.model import GatedModel
from convexadv.solvers.gated.proximal import shrink
from convexadv.solvers.gated.semismooth import SemismoothNewton, suits
from convexadv.solvers.gated.state import KEY, State, extrapolated


@pytest.mark.parametrize(("labels", "settings"), CASES, ids=lambda value: str(value))
def test_agrees_with_a_model_written_row_by_row(labels, settings) -> None:
    sets = data()
    gates = np.random.default_rng(5).normal(size=(3 + settings.get("fit_intercept", False), 6))
    problem = ca.GatedReLUProblem(sets["X"], sets[labels], gates=gates, beta=0.01, **settings)
    reference = optimum(problem)
    solution = ca.solve(problem, tol=1e-4, time_limit=60)
    assert solution.status is ca.Status.OPTIMAL
    assert solution.objective == pytest.approx(reference, rel=1e-4)
    assert solution.objective >= reference * (1 - 1e-6)
    assert solution.lower_bound <= min(solution.objective, reference * (1 + 1e-7))
    assert problem.lower_bound(solution.certificate) == solution.lower_bound


def test_rows_with_their_own_radii_and_weights() -> None:
    rng = np.random.default_rng(3)
    sets = data(4)
    radius = np.where(rng.random(18) < 0.3, 0.0, 0.1 * rng.random(18))
    problem = ca.GatedReLUProblem(
        sets["X"], sets["three"], n_gates=5, radius=radius, sample_weight=rng.random(18), loss="squared_hinge"
    )
    assert ca.solve(problem, time_limit=60).objective == pytest.approx(optimum(problem), rel=1e-4)


@pytest.mark.parametrize("loss", ["squared", "squared_hinge", "logistic"])
def test_newton_reaches_tight_gaps(loss) -> None:
    sets = data(5, n=120, d=6)
    y = sets["real"] if loss == "squared" else sets["two"]
    problem = ca.GatedReLUProblem(sets["X"], y, n_gates=30, beta=1e-3, loss=loss, fit_intercept=True)
    solution = ca.solve(problem, tol=1e-8)
    assert solution.status.ok
    assert solution.variables["rounds"] < 300
    rough = ca.solve(problem, tol=1e-3)
    assert rough.objective >= solution.lower_bound
    assert rough.lower_bound <= solution.objective
    assert rough.variables["rounds"] < solution.variables["rounds"]


@pytest.mark.parametrize(
    "settings", [{"radius": 0.1, "norm": "linf"}, {"radius": 0.1, "norm": "l2", "loss": "squared"}]
)
def test_the_gradient_is_that_of_the_smoothed_losses(settings) -> None:
    sets = data(2, n=25, d=4)
    y = sets["real"] if settings.get("loss") == "squared" else sets["three"]
    extra = {} if settings.get("loss") == "squared" else {"multiclass": "joint"}
    problem = ca.GatedReLUProblem(sets["X"], y, n_gates=8, **extra, **settings)
    model = GatedModel(problem, 0, torch.from_numpy(problem.rows.whole()))
    generator = torch.Generator().manual_seed(0)
    shape = (model.outputs, 8, 4)
    V, move = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    _, q = model.value_and_q(V)
    step = 1e-6
    difference = (model.value(V + step * move) - model.value(V - step * move)) / (2 * step)
    assert -float((q * move).sum()) == pytest.approx(difference, rel=1e-5)
    assert model.value(V) <= model.exact_loss(V) + 1e-12  # smoothed from below


@pytest.mark.parametrize("multiclass", ["ovr", "joint"])
@pytest.mark.parametrize("dense", [True, False])
def test_the_newton_matrix_is_the_derivative_of_the_shrunk_outputs(multiclass, dense, monkeypatch) -> None:
    sets = data(2, n=30, d=4)
    monkeypatch.setattr(newton, "_MOST_DENSE", 10**6 if dense else 0)
    monkeypatch.setattr(newton, "_EXPECTED_CG", 10**6)
    settings = {"loss": "squared_hinge", "multiclass": multiclass}
    problem = ca.GatedReLUProblem(sets["X"], sets["three"], n_gates=10, beta=0.01, **settings)
    component, beta = problem.components[0], 1e-3
    assert suits(component)
    maps = GatedMaps(component.terms[0], component.directions, problem.active, torch.from_numpy(sets["X"]))
    method = SemismoothNewton(maps, problem.loss, beta, torch.zeros(maps.outputs, 10, 4, dtype=torch.float64))
    parts = list(zip(method.W, method.norms, method.factor, method.used, strict=True))
    units = [own[used] / norms[used][:, None] for own, norms, _, used in parts]
    shrunk = newton.Shrunk(method.patterns, [factor[used] for *_, factor, used in parts], units)
    one = torch.ones_like(method.z)
    slope = maps.weight * (1.0 + torch.arange(len(one)) % 3)
    solved = newton.solve(maps, shrunk, method.sigma, slope, one)

    def seen(step):
        q = method.q + step * maps.backward(slope * solved)
        return maps.forward(list(shrink(method.V + method.sigma * q, method.sigma * beta)))

    residual = solved + (seen(1e-7) - seen(-1e-7)) / 2e-7 - one  # x + K H x - r
    assert float((slope * residual**2).sum()) < (1e-8 if dense else 0.1) * float(slope.sum())


def scaled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a scikit-learn data set, standardised and divided by the largest norm."""
    X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    X = (X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1.0)
    return X / np.linalg.norm(X, axis=1).max(), y


def below_threshold(X, y, share, radius=0.0, **settings):
    """A problem at a share of the threshold of the zero solution."""
    start = ca.GatedReLUProblem(X, y, beta=1.0, **settings)
    return ca.GatedReLUProblem(X, y, beta=share * start.zero_solution_beta().upper, radius=radius, **settings)


def check(problem, solution, tol) -> None:
    assert solution.status is ca.Status.OPTIMAL
    assert solution.gap <= tol
    assert problem.objective(solution.network) == pytest.approx(solution.objective, rel=1e-12)
    assert problem.lower_bound(solution.certificate) == solution.lower_bound


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("breast_cancer", {"n_gates": 100}),
        ("breast_cancer", {"n_gates": 200, "fit_intercept": True}),
        ("wine", {"n_gates": 60, "multiclass": "joint"}),
        ("iris", {"n_gates": 30, "multiclass": "joint"}),
        ("iris", {"n_gates": 30, "multiclass": "joint", "loss": "logistic"}),
    ],
    ids=str,
)
def test_newton_certifies_real_data(name, settings) -> None:
    X, y = scaled(name)
    problem = below_threshold(X, y, 0.01, **settings)
    solution = ca.solve(problem, tol=1e-4, max_iter=1500)
    check(problem, solution, 1e-4)
    assert solution.objective > 0.005 * problem.zero_objective()  # not a trivial one


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "l2", "radius": 0.05, "loss": "hinge"},
        {"norm": "linf", "radius": 0.01, "loss": "logistic", "fit_intercept": True},
        {"norm": "l1", "radius": 0.05, "loss": "squared_hinge"},
        {"norm": "l2", "radius": 0.05, "loss": "hinge", "multiclass": "joint"},
    ],
    ids=str,
)
def test_the_finish_of_robust_problems_agrees_with_clarabel(settings, monkeypatch) -> None:
    X, y = scaled("wine")
    X, y = X[::4, :5], y[::4] if "multiclass" in settings else (y[::4] > 0).astype(int)
    monkeypatch.setattr(finish, "_PROGRESS", 0.0)  # always, after the first rounds
    problem = below_threshold(X, y, 0.1, n_gates=12, **settings)
    solution = ca.solve(problem, tol=1e-5, max_iter=400)
    check(problem, solution, 1e-5)
    reference = ca.solve(problem, solver="CLARABEL")
    assert solution.objective == pytest.approx(reference.objective, rel=1e-4)
    assert solution.lower_bound <= min(solution.objective, reference.objective) * (1.0 + 1e-7)


def test_hinge_agrees_with_clarabel() -> None:
    X, y = scaled("breast_cancer")
    problem = below_threshold(X[:100, :6], y[:100], 0.03, n_gates=15)
    solution, reference = ca.solve(problem, tol=1e-6), ca.solve(problem, solver="CLARABEL")
    check(problem, solution, 1e-6)
    assert solution.objective == pytest.approx(reference.objective, rel=1e-4)
    assert solution.lower_bound <= reference.objective * (1.0 + 1e-7)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "logistic"])
@pytest.mark.parametrize("kind", ["duplicates", "weights", "one gate", "few rows", "separable", "unbalanced"])
def test_awkward_data(kind, loss) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 4))
    y, weight, gates = (X @ rng.normal(size=4) + 0.5 * rng.normal(size=60) > 0).astype(int), None, 12
    if kind == "duplicates":
        X, y = np.concatenate([X, X[:20], np.zeros((3, 4))]), np.concatenate([y, 1 - y[:20], [0, 1, 1]])
    elif kind == "weights":
        weight = 10.0 ** rng.uniform(-12, 0, 60)
    elif kind == "one gate":
        gates = 1
    elif kind == "few rows":
        X, y = rng.normal(size=(6, 40)), np.arange(6) % 2
    elif kind == "separable":
        y = (X[:, 0] > 0).astype(int)
    elif kind == "unbalanced":
        y = (np.arange(60) < 2).astype(int)
    problem = below_threshold(X, y, 0.01, n_gates=gates, loss=loss, sample_weight=weight)
    check(problem, ca.solve(problem, tol=1e-4), 1e-4)


@pytest.mark.parametrize("kind", ["own radii", "weights", "few rows"])
def test_awkward_robust_data(kind, monkeypatch) -> None:
    """Gates that are stable on all rows, weights of many sizes: both once misled the interior-point method."""
    monkeypatch.setattr(finish, "_PROGRESS", 0.0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 40) if kind == "few rows" else (40, 5))
    y = np.arange(6) % 2 if kind == "few rows" else (X[:, 0] + rng.normal(size=40) > 0).astype(int)
    radius = np.where(rng.random(len(X)) < 0.5, 0.0, 0.2) if kind == "own radii" else 0.05
    weight = 10.0 ** rng.uniform(-10, 0, len(X)) if kind == "weights" else None
    problem = ca.GatedReLUProblem(X, y, beta=0.003, n_gates=10, radius=radius, sample_weight=weight)
    check(problem, ca.solve(problem, tol=1e-3, max_iter=100), 1e-3)


def test_limits_callback_warm_start_and_threshold() -> None:
    sets = data(3, n=60, d=5)
    problem = ca.GatedReLUProblem(sets["X"], sets["three"], n_gates=20, beta=0.004)
    seen = []
    stopped = ca.solve(problem, tol=1e-9, callback=lambda record: seen.append(record) or len(seen) == 3)
    assert stopped.status is ca.Status.STOPPED
    assert len(seen) == 3
    assert ca.solve(problem, tol=1e-9, max_iter=2).status is ca.Status.MAX_ITER
    assert ca.solve(problem, tol=1e-9, time_limit=0.0).status is ca.Status.TIME_LIMIT
    first = ca.solve(problem, tol=1e-3)
    again = ca.solve(problem, tol=1e-3, warm_start=first.network)
    assert again.status.ok
    assert again.history[0].objective <= 1.01 * first.objective
    threshold = problem.zero_solution_beta().upper
    above = ca.GatedReLUProblem(sets["X"], sets["three"], gates=problem.gates, beta=1.01 * threshold)
    zero = ca.solve(above)
    assert zero.status.ok
    assert zero.network.n_neurons == 0


def test_the_same_call_gives_the_same_answer() -> None:
    sets = data(3, n=40, d=4)
    solutions = [ca.solve(ca.GatedReLUProblem(sets["X"], sets["two"], n_gates=10, loss="logistic")) for _ in range(2)]
    np.testing.assert_array_equal(*(solution.variables["weights"] for solution in solutions))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"rho": 1.0}, "no option 'rho'"), ({"dtype": "float32"}, "not used"), ({"tol": -1.0}, "tol")],
)
def test_arguments_that_cannot_be_used(arguments, message) -> None:
    sets = data()
    with pytest.raises(InputError, match=message):
        ca.solve(ca.GatedReLUProblem(sets["X"], sets["two"], n_gates=4), **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_answer() -> None:
    sets = data(3, n=200, d=8)
    problem = ca.GatedReLUProblem(sets["X"], sets["two"], n_gates=30, loss="logistic")
    assert ca.solve(problem, device="cuda").objective == pytest.approx(ca.solve(problem).objective, rel=1e-4)


@pytest.mark.parametrize("loss", ["squared_hinge", "logistic", "hinge"])
def test_features_as_they_come(loss):
    """Raw measurements, all positive and of different sizes: a sigma that grows whatever happens stalls here."""
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    solution = ca.solve(ca.GatedReLUProblem(X, y, n_gates=5, beta=0.01, loss=loss, fit_intercept=True), tol=1e-4)
    assert solution.status is ca.Status.OPTIMAL


@pytest.mark.parametrize("loss", ["squared_hinge", "logistic", "hinge"])
@pytest.mark.parametrize("multiclass", ["ovr", "joint"])
def test_a_solve_goes_on_from_the_state_of_another_beta(loss, multiclass) -> None:
    X, y = scaled("wine")
    settings = {"n_gates": 60, "loss": loss, "multiclass": multiclass}
    before = ca.solve(below_threshold(X, y, 0.08, **settings), tol=1e-4)
    problem = below_threshold(X, y, 0.02, **settings)
    cold, warm = ca.solve(problem, tol=1e-4), ca.solve(problem, tol=1e-4, warm_start=before)
    check(problem, warm, 1e-4)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-4)
    check(problem, ca.solve(problem, tol=1e-4, warm_start=cold.network), 1e-4)
    again = ca.solve(problem, tol=1e-4, warm_start=warm)
    check(problem, again, 1e-4)
    assert again.variables["rounds"] < 0.5 * cold.variables["rounds"]


@pytest.mark.parametrize("loss", ["squared_hinge", "logistic", "hinge"])
def test_gates_outside_the_working_set_are_priced(loss, monkeypatch) -> None:
    """From a network of one gate the working set lacks nearly all that the solution needs."""
    X, y = scaled("breast_cancer")
    problem = below_threshold(X[::3], y[::3], 0.02, n_gates=80, loss=loss)
    cold = ca.solve(problem, tol=1e-4)
    blocks = problem.blocks_of(cold.network)[0].take(np.arange(1))
    monkeypatch.setattr(component, "_NEAR_BETA", 1e9)
    sizes = []
    widened = component.NewtonComponent._work_on

    def work_on(component, chosen, q):
        sizes.append(int(chosen.sum()))
        widened(component, chosen, q)

    monkeypatch.setattr(component.NewtonComponent, "_work_on", work_on)
    warm = ca.solve(problem, tol=1e-4, warm_start=problem.network_of(blocks))
    check(problem, warm, 1e-4)
    assert sizes[0] == 1
    assert sizes == sorted(set(sizes))
    assert sizes[-1] > 1
    assert warm.objective == pytest.approx(cold.objective, rel=1e-4)


@pytest.mark.parametrize(
    "state",
    [None, (), ("x",), (State(np.ones(3), 1.0),), (State(np.full(190, np.nan), 1.0),), (State(np.ones(190), 0.0),)],
)
def test_states_that_do_not_fit_are_ignored(state) -> None:
    X, y = scaled("breast_cancer")
    problem = below_threshold(X[::3], y[::3], 0.1, n_gates=20, loss="logistic")
    start = ca.solve(problem, tol=1e-2)
    assert len(start.variables[KEY][0].z) == 190
    with_it = dataclasses.replace(start, variables={**start.variables, KEY: state})
    plain = ca.solve(problem, tol=1e-5, warm_start=start.network)
    assert ca.solve(problem, tol=1e-5, warm_start=with_it).objective == plain.objective


@pytest.mark.parametrize("loss", ["squared_hinge", "logistic", "hinge"])
def test_states_of_other_losses_and_scales_cannot_mislead(loss) -> None:
    X, y = scaled("breast_cancer")
    problem = below_threshold(X[::3], y[::3], 0.05, n_gates=30, loss=loss)
    cold = ca.solve(problem, tol=1e-4)
    for z in (np.zeros(190), np.ones(190), np.full(190, -1e3), np.full(190, 1e3)):
        for sigma in (1e-200, 1e200):
            start = dataclasses.replace(cold, variables={KEY: (State(z, sigma),)})
            check(problem, ca.solve(problem, tol=1e-4, warm_start=start, max_iter=2000), 1e-4)


@pytest.mark.parametrize("name", ["squared_hinge", "logistic", "hinge", "squared"])
def test_extrapolated_multipliers_stay_in_the_domain(name) -> None:
    loss, rng = get_loss(name), np.random.default_rng(0)
    u = rng.normal(size=(2, 50))
    old, new = (State(z, 2.0) for z in (loss.derivative(u[0]), loss.derivative(u[1])))
    moved = extrapolated(loss, old, new, 1.0)
    assert loss.signed or (moved.z >= 0).all()
    assert (moved.z <= loss.upper).all()
    inside = (2 * u[1] - u[0] > 0) & (u > 0).all(0)
    expected = loss.derivative(2 * u[1] - u[0]) if name != "hinge" else np.clip(2 * new.z - old.z, 0, 1)
    np.testing.assert_allclose(moved.z[inside], expected[inside], rtol=1e-6)
    assert extrapolated(loss, None, new, 1.0) is new
    assert extrapolated(loss, State(np.ones(3), 1.0), new, 1.0) is new
