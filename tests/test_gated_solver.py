"""The torch backend of gated ReLU problems: against cvxpy models written row by row, and its own promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pattern_reference import optimum
from test_relu_solver import CASES, data

import convexadv as ca
from convexadv.errors import InputError
from convexadv.solvers import gated_newton
from convexadv.solvers.gated_maps import GatedMaps
from convexadv.solvers.gated_model import GatedModel
from convexadv.solvers.proximal import shrink
from convexadv.solvers.semismooth import SemismoothNewton, suits


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


def test_newton_and_gradients_agree(monkeypatch) -> None:
    from convexadv.solvers import gated_component

    sets = data(6, n=60, d=4)
    problem = ca.GatedReLUProblem(sets["X"], sets["two"], n_gates=20, beta=0.005, loss="logistic")
    newton = ca.solve(problem, tol=1e-6)
    monkeypatch.setattr(gated_component, "suits", lambda component: False)
    assert ca.solve(problem, tol=1e-6).objective == pytest.approx(newton.objective, rel=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"radius": 0.1, "norm": "linf"}, {"radius": 0.1, "norm": "l2", "loss": "squared"}]
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
    monkeypatch.setattr(gated_newton, "_MOST_DENSE", 10**6 if dense else 0)
    monkeypatch.setattr(gated_newton, "_EXPECTED_CG", 10**6)
    settings = {"loss": "squared_hinge", "multiclass": multiclass}
    problem = ca.GatedReLUProblem(sets["X"], sets["three"], n_gates=10, beta=0.01, **settings)
    component, beta = problem.components[0], 1e-3
    assert suits(component)
    maps = GatedMaps(component.terms[0], component.directions, problem.active, torch.from_numpy(sets["X"]))
    method = SemismoothNewton(maps, problem.loss, beta, torch.zeros(maps.outputs, 10, 4, dtype=torch.float64))
    parts = list(zip(method.W, method.norms, method.factor, method.used, strict=True))
    units = [own[used] / norms[used][:, None] for own, norms, _, used in parts]
    shrunk = gated_newton.Shrunk(method.patterns, [factor[used] for *_, factor, used in parts], units)
    one = torch.ones_like(method.z)
    slope = maps.weight * (1.0 + torch.arange(len(one)) % 3)
    solved = gated_newton.solve(maps, shrunk, method.sigma, slope, one)

    def seen(step):
        q = method.q + step * maps.backward(slope * solved)
        return maps.forward(list(shrink(method.V + method.sigma * q, method.sigma * beta)))

    residual = solved + (seen(1e-7) - seen(-1e-7)) / 2e-7 - one  # x + K H x - r
    assert float((slope * residual**2).sum()) < (1e-8 if dense else 0.1) * float(slope.sum())


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
