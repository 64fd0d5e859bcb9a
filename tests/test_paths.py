"""Paths over beta and radius: every point is a solve of its own, however it was started."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

import convexadv as ca
from convexadv.datasets import standardise
from convexadv.paths.prediction import predicted
from convexadv.paths.regularisation import at, geometric
from convexadv.plotting import new_figure, plot_path, plot_tradeoff

mpl.use("agg")

TOL = 1e-3


def data(step=5):
    X, y = load_breast_cancer(return_X_y=True)
    return standardise(X).apply(X)[::step], y[::step]


def problem(kind, **settings):
    X, y = data()
    if kind is not ca.PolynomialProblem:
        settings = {"n_gates": 15, "fit_intercept": True, **settings}
    return kind(X, y, **{"loss": "squared_hinge", **settings})


KINDS = (ca.PolynomialProblem, ca.ReLUProblem, ca.GatedReLUProblem)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", [0.0, 0.03])
def test_warm_and_cold_paths_agree(kind, radius):
    own = problem(kind, radius=radius, loss="logistic" if radius == 0.0 else "squared_hinge")
    warm = ca.regularisation_path(own, n_betas=4, ratio=0.05, tol=TOL)
    assert all(point.solution.status.ok for point in warm)
    assert warm.betas[0] >= own.zero_solution_beta().lower
    assert warm.betas[-1] == pytest.approx(0.05 * warm.betas[0])
    assert warm.points[0].solution.objective == pytest.approx(own.zero_objective(), rel=TOL)
    for point in warm:
        fresh = kind(*data(), **settings_of(own), beta=point.beta)
        cold = ca.solve(fresh, tol=TOL)
        # Each lies within its tolerance above the same optimum, and its bound below: no warm start moves that.
        assert fresh.objective(point.solution.network) == pytest.approx(point.solution.objective, rel=1e-9)
        assert fresh.lower_bound(point.solution.certificate) == pytest.approx(point.solution.lower_bound, rel=1e-9)
        assert cold.lower_bound <= point.solution.objective * (1 + 1e-9)
        assert point.solution.lower_bound <= cold.objective * (1 + 1e-9)
        assert point.solution.objective == pytest.approx(cold.objective, rel=TOL)


def settings_of(own):
    settings = {"radius": own.radius, "loss": own.loss.name}
    if not isinstance(own, ca.PolynomialProblem):
        settings |= {"gates": own.gates, "fit_intercept": True}
    return settings


@pytest.mark.parametrize("kind", KINDS)
def test_another_radius_and_beta_make_the_problem_that_the_constructor_makes(kind):
    own = problem(kind, radius=0.1, beta=0.5)
    changed = at(own, beta=0.02, radius=0.03)
    same = kind(*data(), **{**settings_of(own), "radius": 0.03}, beta=0.02)
    network = ca.solve(same, tol=1e-2).network
    assert changed.objective(network) == same.objective(network)
    assert (own.beta, own.radius[0]) == (0.5, 0.1)
    assert own.objective(network) > same.objective(network)


def test_radii_come_one_after_the_other_and_cost_more():
    path = ca.regularisation_path(problem(ca.PolynomialProblem), [0.01, 0.1], radii=[0.0, 0.05], tol=TOL)
    assert path.betas.tolist() == [0.1, 0.01] * 2
    assert path.radii.tolist() == [0.0, 0.0, 0.05, 0.05]
    objectives = [row["objective"] for row in path.rows()]
    assert objectives[0] < objectives[2]
    assert objectives[1] < objectives[3]
    assert path.start_time == 0.0


def test_table_and_json_say_what_the_solutions_say():
    path = ca.regularisation_path(problem(ca.GatedReLUProblem), n_betas=3, tol=TOL)
    found = json.loads(path.to_json())["points"]
    for row, point in zip(found, path, strict=True):
        assert row["objective"] == point.solution.objective
        assert row["neurons"] == point.solution.network.n_neurons
    assert len(str(path).splitlines()) == 4
    assert repr(path) == "RegularisationPath(points=3, certified=3)"
    assert path.networks[1] is path.points[1].solution.network


def test_a_callback_ends_the_path():
    path = ca.regularisation_path(problem(ca.PolynomialProblem), callback=lambda point: point.beta < 0.2, tol=TOL)
    assert path.betas[-1] < 0.2 <= path.betas[-2]


@pytest.mark.parametrize("kind", [ca.PolynomialProblem, ca.GatedReLUProblem])
def test_extrapolated_starts_are_better_and_are_networks_of_the_problem(kind):
    own = problem(kind, loss="logistic")
    betas = geometric(own, 12, 0.02)[5:8]
    past = [(beta, ca.solve(at(own, beta=beta), tol=1e-5)) for beta in betas[:2]]
    following = at(own, beta=betas[2])
    start, plain = predicted(following, past).network, past[-1][1].network
    best = ca.solve(following, tol=1e-6).objective
    assert following.objective(start) - best < 0.5 * (following.objective(plain) - best)
    assert predicted(following, past[1:]) is past[1][1]
    assert predicted(following, []) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"betas": [0.1, 0.0]}, "betas must be one or more positive"),
        ({"betas": []}, "betas must be one or more positive"),
        ({"ratio": 1.0}, "ratio=1; a number between 0 and 1"),
        ({"n_betas": 0}, "n_betas=0 is out of range"),
        ({"radii": [-1.0]}, "radius=-1 is out of range"),
    ],
)
def test_errors_are_sentences(arguments, message):
    with pytest.raises(ca.InputError, match=message):
        ca.regularisation_path(problem(ca.PolynomialProblem), **arguments)


def test_a_path_without_a_start_says_so():
    with pytest.raises(ca.InputError, match="beta=inf, where no path can start"):
        ca.regularisation_path(problem(ca.PolynomialProblem, hard_margin=0.1))
    with pytest.raises(ca.InputError, match="a dict; a problem of convexadv"):
        ca.regularisation_path({})


@pytest.fixture(scope="module")
def path():
    return ca.regularisation_path(problem(ca.PolynomialProblem), n_betas=4, radii=[0.0, 0.1], tol=TOL)


def test_accuracies_are_those_of_the_networks(path):
    X, y = data()
    table = path.accuracies(X, y, radius=0.08)
    assert len(table) == 8
    for row, point in zip(table, path, strict=True):
        assert row["certified"] <= row["attacked"] <= row["clean"]
        assert row["clean"] == np.mean(point.solution.network.predict(X) == y)
        assert row["certified"] == ca.certify(point.solution.network, X, y, 0.08).certified.mean()
    assert [row["evaluated_radius"] for row in path.accuracies(X, y)] == path.radii.tolist()


@pytest.mark.parametrize("fixed", [False, True])
def test_path_plot_draws_every_point(path, fixed):
    figure, axes = new_figure(1, (6, 6))
    ax = figure.add_axes([0.1, 0.1, 0.8, 0.8]) if fixed else axes[0]
    assert plot_path(path, ax) is ax
    lines = ax.get_lines()
    assert [line.get_label() for line in lines] == ["radius 0", "radius 0.1"]
    np.testing.assert_array_equal(np.concatenate([line.get_xdata() for line in lines]), path.betas)
    neurons = np.concatenate([line.get_ydata() for line in figure.axes[-1].get_lines()])
    np.testing.assert_array_equal(neurons, [row["neurons"] for row in path.rows()])
    figure.canvas.draw()


def test_tradeoff_plot_leaves_the_zero_networks_out(path):
    table = path.accuracies(*data(), radius=0.08)
    ax = new_figure(1, (5, 4))[1][0]
    assert plot_tradeoff(table, ax) is ax
    curves = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
    drawn = np.concatenate([line.get_xdata() for line in curves])
    np.testing.assert_array_equal(drawn, [row["clean"] for row in table if row["neurons"]])
    assert ax.get_ylabel() == "certified accuracy at radius 0.08"
    with pytest.raises(ca.InputError, match="at least one other is needed"):
        plot_tradeoff([], ax)
