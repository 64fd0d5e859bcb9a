"""scikit-learn's own checks, and what its tools do with the estimators and scorers."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import convexadv as ca
from convexadv.estimators.canonical import canonical
from convexadv.model_selection import (
    attacked_accuracy_scorer,
    certified_accuracy_scorer,
    clean_accuracy_scorer,
    network_and_rows,
)

CLASSIFIERS = (ca.PolynomialClassifier, ca.ReLUClassifier, ca.GatedReLUClassifier)
REGRESSORS = (ca.PolynomialRegressor, ca.ReLURegressor, ca.GatedReLURegressor)
PATTERNS = (ca.ReLUClassifier, ca.GatedReLUClassifier, ca.ReLURegressor, ca.GatedReLURegressor)

# No check is excluded or expected to fail. The data of the checks are small; tolerance and gates are chosen for time, and
# the defaults pass as well.
CHECKED = [
    ca.PolynomialClassifier(tol=1e-2, beta=0.1),
    ca.PolynomialRegressor(tol=1e-2, beta=0.1),
    ca.ReLUClassifier(n_gates=5, tol=1e-2, loss="logistic"),
    ca.ReLURegressor(n_gates=5, tol=1e-2),
    ca.GatedReLUClassifier(n_gates=5, tol=1e-2, beta=0.05, loss="logistic"),
    ca.GatedReLURegressor(n_gates=5, tol=1e-2),
]


@parametrize_with_checks(CHECKED)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.SkipTestWarning", "ignore:A column-vector y:UserWarning")
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


def wdbc(rows=slice(None, None, 3)):
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X)[rows], y[rows]


def small(kind, **settings):
    """An estimator that is solved in a moment."""
    return kind(**({"n_gates": 12} if kind in PATTERNS else {}), **{"beta": 0.1, **settings})


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_fit_is_the_solve_of_the_problem(kind):
    X, y = wdbc()
    model = small(kind, radius=0.2, loss="squared_hinge", tol=1e-3).fit(X, y)
    problems = (ca.PolynomialProblem, ca.ReLUProblem, ca.GatedReLUProblem)
    own = {"n_gates": 12, "fit_intercept": True} if kind in PATTERNS else {}
    problem = problems[CLASSIFIERS.index(kind)](X, y, radius=0.2, beta=0.1, loss="squared_hinge", **own)
    value, lower = problem.objective(model.network_), ca.solve(problem, tol=1e-3).lower_bound
    assert model.gap_ == model.solution_.gap <= 1e-3
    assert value == pytest.approx(model.solution_.objective, rel=1e-9)
    assert value * (1.0 - 2e-3) <= lower <= value
    np.testing.assert_array_equal(model.predict(X), model.network_.predict(X))
    np.testing.assert_array_equal(model.decision_function(X) > 0, model.predict(X) == model.classes_[1])


@pytest.mark.parametrize("kind", REGRESSORS)
def test_regression_of_one_and_of_two_targets(kind):
    X, y = load_diabetes(return_X_y=True)
    X, y = StandardScaler().fit_transform(X)[::4], (y[::4] - 150.0) / 77.0
    one = small(kind, beta=0.01).fit(X, y)
    assert one.score(X, y) > 0.4
    two = small(kind, beta=0.01).fit(X, np.column_stack([y, -y]))
    assert two.predict(X).shape == (len(y), 2)
    np.testing.assert_allclose(two.predict(X)[:, 0], one.predict(X), atol=0.05)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_probabilities_of_the_logistic_loss(kind):
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    three = small(kind, loss="logistic", beta=0.01, tol=1e-3).fit(X, y)
    proba, scores = three.predict_proba(X), three.decision_function(X)
    each = 1.0 / (1.0 + np.exp(-scores))
    np.testing.assert_allclose(proba, each / each.sum(1, keepdims=True), rtol=1e-12)
    np.testing.assert_array_equal(three.classes_[proba.argmax(1)], three.predict(X))
    two = small(kind, loss="logistic", beta=0.01, tol=1e-3).fit(X[:100], np.array(["a", "b"])[y[:100]])
    np.testing.assert_allclose(two.predict_proba(X)[:, 1], 1.0 / (1.0 + np.exp(-two.decision_function(X))), rtol=1e-12)
    for settings in ({"loss": "hinge"}, {"loss": "logistic", "multiclass": "joint"}):
        assert not hasattr(small(kind, **settings), "predict_proba")


def test_probabilities_of_far_rows_sum_to_one():
    X, y = load_iris(return_X_y=True)
    model = ca.PolynomialClassifier(loss="logistic").fit(StandardScaler().fit_transform(X), y)
    np.testing.assert_allclose(model.predict_proba(1e6 * X).sum(1), 1.0)


@pytest.mark.parametrize("kind", [ca.PolynomialClassifier, ca.GatedReLUClassifier])
def test_weighted_and_repeated_rows_give_the_same_network_in_any_order(kind):
    X, y = wdbc(slice(None, None, 10))
    rng = np.random.default_rng(0)
    weight, order = rng.integers(0, 3, len(y)), rng.permutation(len(y))
    weighted = small(kind, tol=1e-2).fit(X[order], y[order], sample_weight=weight[order])
    repeated = small(kind, tol=1e-2).fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    np.testing.assert_array_equal(weighted.decision_function(X), repeated.decision_function(X))


def test_canonical_merges_what_is_equal_and_nothing_else():
    X = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0], [2.0, 3.0], [5.0, 5.0]])
    sample = canonical(X, np.array([1, 1, 2, 1, 1]), np.array([1.0, 2.0, 4.0, 8.0, 0.0]))
    found = {(*row, label, weight) for row, label, weight in zip(sample.X.tolist(), sample.y, sample.weight, strict=True)
             for row in [tuple(row)]}  # fmt: skip
    assert found == {(0.0, 1.0, 1, 3.0), (0.0, 1.0, 2, 4.0), (2.0, 3.0, 1, 8.0)}


def test_a_table_of_pandas_names_the_features():
    pandas = pytest.importorskip("pandas")
    X, y = wdbc(slice(None, None, 10))
    table = pandas.DataFrame(X, columns=[f"f{j}" for j in range(X.shape[1])])
    model = ca.PolynomialClassifier(beta=0.1).fit(table, pandas.Series(y))
    assert list(model.feature_names_in_) == list(table.columns)
    np.testing.assert_array_equal(model.predict(table), ca.PolynomialClassifier(beta=0.1).fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[table.columns[::-1]])


def test_an_answer_that_is_not_certified_warns_once():
    X, y = wdbc()
    with pytest.warns(ConvergenceWarning, match=r"not certified to tol=0.0001 .*max_iter") as caught:
        model = ca.PolynomialClassifier(beta=0.001, max_iter=1).fit(X, y)
    assert len(caught) == 1
    assert model.gap_ > 1e-4


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ca.PolynomialClassifier(loss="squared"), "regressor"),
        (ca.PolynomialClassifier(radius=np.ones(190)), "one number for all rows"),
        (ca.ReLUClassifier(n_gates=0), "n_gates"),
        (ca.GatedReLURegressor(beta=-1.0), "beta"),
        (ca.PolynomialRegressor(solver="simplex"), "simplex"),
    ],
)
def test_errors_are_sentences_of_fit(model, message):
    X, y = wdbc()
    with pytest.raises(ca.InputError, match=message):
        clone(model).fit(X, y)


def test_nothing_is_predicted_before_a_fit():
    with pytest.raises(NotFittedError):
        ca.ReLUClassifier().predict(np.ones((2, 3)))


def test_import_stays_light():
    code = (
        "import sys, convexadv; assert not {'sklearn', 'torch', 'cvxpy'} & set(sys.modules); convexadv.ReLUClassifier"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_scorers_are_ordered_and_agree_with_robust_accuracy(kind):
    X, y = wdbc()
    model = small(kind, radius=0.2, tol=1e-3, loss="squared_hinge").fit(X, y)
    report = ca.robust_accuracy(model.network_, X, y, [0.3])
    clean = clean_accuracy_scorer()(model, X, y)
    certified = certified_accuracy_scorer(0.3)(model, X, y)
    attacked = attacked_accuracy_scorer(0.3)(model, X, y)
    assert certified <= attacked <= clean
    assert (clean, certified) == (report.clean, report.certified[0]) == (model.score(X, y), certified)
    weight = (y == 1).astype(float)
    assert certified_accuracy_scorer(0.3)(model, X, y, weight) == certified_accuracy_scorer(0.3)(
        model, X[y == 1], 1 + 0 * y[y == 1]
    )
    assert repr(pickle.loads(pickle.dumps(certified_accuracy_scorer(0.3)))) == repr(certified_accuracy_scorer(0.3))


def test_scorers_of_a_pipeline_see_scaled_rows():
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[::3], y[::3]
    pipeline = make_pipeline(StandardScaler(), ca.PolynomialClassifier(radius=0.3, beta=0.1)).fit(X, y)
    network, rows = network_and_rows(pipeline, X)
    assert network is pipeline[-1].network_
    np.testing.assert_array_equal(rows, pipeline[0].transform(X))
    expected = ca.certify(network, rows, y, 0.3).certified.mean()
    assert certified_accuracy_scorer(0.3)(pipeline, X, y) == expected
    with pytest.raises(ca.InputError, match="StandardScaler without network_"):
        certified_accuracy_scorer(0.3)(StandardScaler(), X, y)


def search(**settings):
    """A grid over beta and radius, as a user writes it."""
    model = make_pipeline(StandardScaler(), ca.PolynomialClassifier(tol=1e-3))
    grid = {"polynomialclassifier__beta": [0.03, 0.3], "polynomialclassifier__radius": [0.0, 0.3]}
    scoring = {"clean": clean_accuracy_scorer(), "certified": certified_accuracy_scorer(0.3)}
    return GridSearchCV(model, grid, scoring=scoring, refit="certified", cv=3, **settings)


def scores(found):
    return {key: value for key, value in found.cv_results_.items() if key.startswith(("mean_test", "split", "params"))}


@pytest.fixture(scope="module")
def serial_search():
    X, y = load_breast_cancer(return_X_y=True)
    return search().fit(X, y)


def test_grid_search_in_processes_gives_the_same(serial_search):
    X, y = load_breast_cancer(return_X_y=True)
    parallel = search(n_jobs=2).fit(X, y)
    assert_same(parallel, serial_search)


@pytest.mark.filterwarnings("default")
def test_grid_search_on_a_local_dask_cluster_gives_the_same(serial_search):
    distributed = pytest.importorskip("distributed")
    joblib = pytest.importorskip("joblib")
    X, y = load_breast_cancer(return_X_y=True)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_backend("dask"),
    ):
        assert_same(search(n_jobs=-1).fit(X, y), serial_search)


def test_the_example_of_the_readme_runs(capsys):
    text = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    section = text[text.index("## scikit-learn") :]
    code = section.split("```python\n")[1].split("```")[0].replace("n_jobs=2", "n_jobs=1")
    exec(compile(code, "README.md", "exec"), {})
    assert "polynomialclassifier__radius" in capsys.readouterr().out


def assert_same(found, reference):
    for key, value in scores(reference).items():
        np.testing.assert_array_equal(found.cv_results_[key], value)
    assert found.best_params_ == reference.best_params_


def test_scorers_of_a_search_see_its_best_estimator(serial_search):
    """A search counts as the pipeline that it refitted, also as the last step of another pipeline."""
    X, y = load_breast_cancer(return_X_y=True)
    best = serial_search.best_estimator_
    network, rows = network_and_rows(serial_search, X)
    assert network is best[-1].network_
    np.testing.assert_array_equal(rows, best[0].transform(X))
    for scorer in (certified_accuracy_scorer(0.3), attacked_accuracy_scorer(0.3)):
        assert scorer(serial_search, X, y) == scorer(best, X, y)
    model = GridSearchCV(ca.PolynomialClassifier(tol=1e-2), {"beta": [0.1, 0.3]}, cv=2)
    inside = make_pipeline(StandardScaler(), model).fit(X[::3], y[::3])
    network, rows = network_and_rows(inside, X)
    assert network is inside[-1].best_estimator_.network_
    np.testing.assert_array_equal(rows, inside[0].transform(X))


def test_a_search_without_a_network_is_an_error():
    X, y = wdbc()
    unfitted = GridSearchCV(ca.PolynomialClassifier(tol=1e-2), {"beta": [0.1]}, cv=2, refit=False)
    for model in (unfitted, unfitted.fit(X, y)):
        with pytest.raises(ca.InputError, match=r"GridSearchCV without network_ .* with refit"):
            certified_accuracy_scorer(0.3)(model, X, y)


def test_nested_cross_validation_takes_the_scorers():
    """cross_val_score around a search equals the loop over the outer folds, written out."""
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[::2], y[::2]
    certified, attacked = certified_accuracy_scorer(0.3), attacked_accuracy_scorer(0.3)
    model = make_pipeline(StandardScaler(), ca.PolynomialClassifier(tol=1e-3, radius=0.3))
    inner = GridSearchCV(model, {"polynomialclassifier__beta": [0.03, 0.3]}, scoring=certified, cv=2)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    values = cross_val_score(inner, X, y, scoring=certified, cv=folds, error_score="raise")
    expected = []
    for train, test in folds.split(X, y):
        best = clone(inner).fit(X[train], y[train]).best_estimator_
        rows = best[0].transform(X[test])
        expected.append(ca.certify(best[-1].network_, rows, y[test], 0.3).certified.mean())
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-15)
    both = cross_validate(inner, X, y, scoring={"low": certified, "high": attacked}, cv=folds, error_score="raise")
    np.testing.assert_array_equal(both["test_low"], values)
    assert (both["test_low"] <= both["test_high"]).all()


def test_cross_validation_takes_the_scorers():
    X, y = wdbc()
    model = ca.GatedReLUClassifier(n_gates=12, beta=0.05, radius=0.1, tol=1e-2, loss="squared_hinge")
    values = cross_val_score(model, X, y, cv=3, scoring=certified_accuracy_scorer(0.1))
    assert values.shape == (3,)
    assert values.mean() > 0.8


def test_a_solver_without_an_answer_leaves_an_unfitted_estimator(monkeypatch):
    X, y = wdbc()
    model = ca.PolynomialClassifier(beta=0.1).fit(X, y)
    empty = dataclasses.replace(model.solution_, network=None, status=ca.Status.FAILED, message="Error in step 3.")
    monkeypatch.setattr("convexadv.solvers.solve", lambda *arguments, **options: empty)
    needed = "PolynomialClassifier has no network: solver='auto' ended with the status failed, Error in step 3; choose"
    with pytest.raises(ca.TrainingError, match=needed) as caught:
        model.fit(X, y)
    assert isinstance(caught.value, RuntimeError)
    with pytest.raises(NotFittedError):  # not the answer of the fit before
        model.predict(X)


def test_advice_names_parameters_that_estimators_have():
    X, y = wdbc()
    with pytest.warns(ConvergenceWarning, match=r"max_iter\): the iteration limit was reached; raise max_iter\.$"):
        ca.ReLUClassifier(n_gates=5, max_iter=1, tol=1e-9).fit(X, y)
