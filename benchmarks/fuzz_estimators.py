"""Fuzz cases of the estimators: rows, labels and weights in every dress and at every scale, and what comes back.

A fit is refused with a sentence (scikit-learn's own checks included), or gives an estimator whose labels, scores and numbers
are what NumPy computes from its network and its rows. A case is a fit, or a prediction for rows in other clothes.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import convexadv as ca
from benchmarks.fuzz_hostile import HOSTILE_LABELS, HOSTILE_ROWS, NEUTRAL_ROWS
from benchmarks.fuzz_tally import TINY, Draw, Tally
from benchmarks.fuzz_validation import Foreign, of_scikit
from convexadv._arrays import to_numpy
from convexadv.losses import get_loss

_CLASSIFIERS = (ca.PolynomialClassifier, ca.ReLUClassifier, ca.GatedReLUClassifier)
_REGRESSORS = (ca.PolynomialRegressor, ca.ReLURegressor, ca.GatedReLURegressor)
_LABELS: list[Any] = [
    np.array([0, 1, 2]),
    np.array([-1, 1, 7], np.int8),
    np.array([5, 300, 2**40]),
    np.array(["ä", "b", "\U0001f600"]),
    np.array(["no", "yes", ""], object),
    np.array([False, True, True]),
    np.array([0.0, 1.0, 2.0], np.float32),
    np.array([1, 2**62, 2**63 - 1]),
]
_PREDICTIONS = 4


def _rows(rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """Rows of 1 to 9, at any scale, with constant columns, repeated rows and denormal entries now and then."""
    n, d = int(rng.choice([1, 2, 3, 5, 9], p=[0.05, 0.1, 0.2, 0.4, 0.25])), int(rng.integers(1, 5))
    X = rng.standard_normal((n, d))
    style = str(
        rng.choice(["plain", "scale", "scales apart", "constant", "repeated", "denormal", "integers", "outlier"])
    )
    if style == "scale":
        X = X * 10.0 ** rng.uniform(-12, 12)
    elif style == "scales apart":
        X = X * 10.0 ** rng.uniform(-12, 12, d)
    elif style == "constant":
        X[:, rng.integers(d)] = float(rng.choice([0.0, 1.0, -3e5]))
    elif style == "repeated":
        X = X[rng.integers(0, n, n)]
    elif style == "denormal":
        X[rng.random((n, d)) < 0.5] = TINY * float(rng.integers(1, 9))
    elif style == "integers":
        X = np.round(3 * X)
    elif style == "outlier":
        X[0] *= 1e8
    return style, X


def _clothed(rng: np.random.Generator, X: np.ndarray) -> tuple[str, Any, bool]:
    """How rows are given, and whether the values are the same."""
    chance = rng.random()
    if chance < 0.4:
        return "as they are", X, True
    table, same = (NEUTRAL_ROWS, True) if chance < 0.75 else (HOSTILE_ROWS, False)
    name = str(rng.choice([each for each in table if each != "generator"]))
    try:
        return name, table[name](X), same
    except (TypeError, ValueError, OverflowError, RuntimeError):  # values that this type does not hold
        return "as they are", X, True


def _weights(rng: np.random.Generator, n: int) -> tuple[str, Any]:
    plain = rng.random(n) + 0.1
    choices: dict[str, Any] = {
        "none": None,
        "some": plain,
        "zero": plain * (np.arange(n) % 2),
        "all zero": 0 * plain,
        "negative": -plain,
        "NaN": np.where(np.arange(n) == 0, np.nan, plain),
        "infinite": np.where(np.arange(n) == 0, np.inf, plain),
        "tiny": plain * 1e-300,
        "denormal": np.full(n, TINY),
        "huge": plain * 1e300,
        "apart": plain * 10.0 ** np.linspace(-12, 12, n),
        "list": plain.tolist(),
        "series": pd.Series(plain, index=np.arange(n)[::-1]),
        "tensor": torch.tensor(plain),
        "column": plain[:, None],
        "shorter": plain[:-1],
        "text": ["a"] * n,
        "number": 2.0,
        "integers": np.arange(1, n + 1),
        "float16": plain.astype(np.float16),
        "objects": plain.astype(object),
        "sparse": scipy.sparse.csr_matrix(plain),
    }
    name = "none" if rng.random() < 0.5 else str(rng.choice(list(choices)))
    return name, choices[name]


def _attempt(tally: Tally, what: str, call: Any) -> Any:
    """A call that the package or scikit-learn may refuse."""

    def shielded() -> Any:
        try:
            return call()
        except ca.InputError:
            raise
        except Exception as error:
            if of_scikit(error):
                raise Foreign from error
            raise

    return tally.attempt(what, shielded, Foreign)


def _settings(rng: np.random.Generator, kind: Any, classifier: bool) -> dict[str, Any]:
    chosen: dict[str, Any] = {"tol": 1e-2, "max_iter": 4, "time_limit": 0.5, "beta": float(10.0 ** rng.uniform(-3, 0))}
    if rng.random() < 0.3:
        chosen["radius"] = float(10.0 ** rng.uniform(-12, 1))
        chosen["norm"] = str(rng.choice(["l2", "linf"]))
    if classifier:
        chosen["loss"] = str(rng.choice(["hinge", "squared_hinge", "logistic"]))
        chosen["multiclass"] = str(rng.choice(["ovr", "joint"]))
    if "Polynomial" not in kind.__name__:
        chosen |= {"n_gates": int(rng.integers(1, 6)), "random_state": int(rng.integers(9))}
    return chosen


def classifiers(rng: np.random.Generator, tally: Tally) -> None:
    """Classifiers: labels of every type."""
    kind = _CLASSIFIERS[rng.integers(3)]
    style, X = _rows(rng)
    labels = _LABELS[rng.integers(len(_LABELS))][: int(rng.choice([2, 3], p=[0.7, 0.3]))]
    y: Any = labels[np.append([0, 1], rng.integers(0, len(labels), len(X)))[: len(X)]]
    dress = "plain"
    if rng.random() < 0.2:
        dress = str(rng.choice(list(HOSTILE_LABELS)))
        try:
            y = HOSTILE_LABELS[dress](np.append([0, 1], rng.integers(0, 2, len(X)))[: len(X)])
        except (TypeError, ValueError, IndexError, OverflowError, RuntimeError):
            dress = "plain"
    _fitted(rng, tally, kind, style, X, y, dress, True)


def regressors(rng: np.random.Generator, tally: Tally) -> None:
    """Regressors: targets of every scale, one or two of them."""
    kind = _REGRESSORS[rng.integers(3)]
    style, X = _rows(rng)
    y: Any = rng.standard_normal((len(X), 2) if rng.random() < 0.3 else len(X)) * 10.0 ** rng.uniform(-12, 12)
    dress = "plain"
    if rng.random() < 0.3:
        choices: dict[str, Any] = {
            "constant": 0 * y + 3.0,
            "zero": 0 * y,
            "float32": y.astype(np.float32),
            "list": y.tolist(),
            "frame": pd.DataFrame(y),
            "text of numbers": y.astype(str),
            "NaN": np.where(np.arange(len(y)).reshape(-1, *(1,) * (y.ndim - 1)) == 0, np.nan, y),
            "column": y.reshape(len(y), -1)[:, :1],
            "shorter": y[:-1],
            "denormal": y * 0 + TINY,
            "huge": y * 0 + 1e300,
            "complex": y + 1j,
            "tensor": torch.tensor(y),
        }
        dress = str(rng.choice(list(choices)))
        y = choices[dress]
    _fitted(rng, tally, kind, style, X, y, dress, False)


def _fitted(
    rng: np.random.Generator, tally: Tally, kind: Any, style: str, X: np.ndarray, y: Any, dress: str, classifier: bool
) -> None:
    """Fit, and look at the estimator from all sides."""
    how, rows, same = _clothed(rng, X)
    named, weight = _weights(rng, len(X))
    model = kind(**_settings(rng, kind, classifier))
    what = f"{kind.__name__}, rows {style} {how}, y {dress}, weights {named}"
    before = model.get_params()
    fitted = _attempt(tally, what, lambda: model.fit(rows, y, weight))
    tally.expect(model.get_params() == before, f"{what}: fit changes parameters")
    tally.count(f"{kind.__name__} {'refused' if fitted is None else 'fitted'}")
    if fitted is None:
        tally.expect(not hasattr(model, "network_") or hasattr(model, "solution_"), f"{what}: half fitted")
        return
    tally.expect(fitted is model, f"{what}: fit returns another object")
    solution = model.solution_
    size = max(abs(solution.objective), TINY) if np.isfinite(solution.objective) else np.inf
    tally.expect(solution.lower_bound <= solution.objective + 1e-9 * size, f"{what}: the bound is above the objective")
    tally.expect(not np.isnan(model.gap_) and model.n_iter_ >= 1, f"{what}: gap {model.gap_}, {model.n_iter_} rounds")
    if not same:
        return
    fine = np.asarray(rows.toarray() if scipy.sparse.issparse(rows) else X, float)
    if how in (
        "float16",
        "float32",
        "half tensor",
        "float32 tensor",
        "bfloat16 tensor",
        "int8",
        "int64",
        "integer tensor",
    ):
        fine = to_numpy(rows).astype(float) if not torch.is_tensor(rows) else rows.double().numpy()
    elif how == "mixed frame":
        fine = rows.to_numpy(float)
    scores = _attempt(tally, f"{what}: scores", lambda: model._scores(rows))
    if scores is None:
        return
    own = model.network_.scores(fine)
    allowed = 1e-5 * (abs(own).max(initial=0) + abs(fine).max(initial=0)) if "float32" in how else 0.0
    tally.expect(
        (scores == own) | (abs(scores - own) <= allowed + 1e-9 * abs(own)), f"{what}: other scores", scores, own
    )
    _losses(tally, what, model, fine, y, weight, own, classifier and dress == "plain")
    if classifier:
        _labels(tally, what, model, rows, y, scores)
    _copies(rng, tally, what, model, rows)
    _predictions(rng, tally, what, model, fine)


def _losses(
    tally: Tally, what: str, model: Any, X: np.ndarray, y: Any, weight: Any, scores: np.ndarray, plain: bool
) -> None:
    """The clean loss of the network, by NumPy, is at most the objective."""
    if not plain or model.multiclass != "ovr" or not np.isfinite(model.solution_.objective):
        return
    try:
        share = np.ones(len(X)) if weight is None else np.broadcast_to(to_numpy(weight, float).reshape(-1), len(X))
    except (TypeError, ValueError):
        return
    share = share / share.max()
    labels = np.asarray(y)
    outputs = scores[:, None] if scores.ndim == 1 else scores
    classes = model.classes_[1:] if scores.ndim == 1 else model.classes_
    signs = np.where(labels[:, None] == classes, 1.0, -1.0)
    loss = get_loss(model.loss)
    values = {
        "hinge": lambda t: np.maximum(0.0, 1.0 - t),
        "squared_hinge": lambda t: np.maximum(0.0, 1.0 - t) ** 2,
        "logistic": lambda t: np.logaddexp(0.0, -t),
    }[loss.name](signs * outputs)
    total = float((share[:, None] * values).sum() / share.sum())
    good = total <= model.solution_.objective * (1 + 1e-6) + 1e-300
    half = loss.name == "squared_hinge" and total / 2 <= model.solution_.objective * (1 + 1e-6)  # with the factor 1/2
    tally.expect(good or half, f"{what}: the loss {total:g} is above the objective {model.solution_.objective:g}")


def _labels(tally: Tally, what: str, model: Any, rows: Any, y: Any, scores: np.ndarray) -> None:
    """Predictions are labels of y; those of the scores."""
    classes = model.classes_
    predicted = model.predict(rows)
    tally.expect(np.isin(predicted, classes), f"{what}: predicts what is no label")
    number = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
    tally.expect(np.asarray(predicted == classes[number]), f"{what}: predicts other labels than the scores say")
    known = set(np.asarray(y).reshape(-1).tolist())
    tally.expect(set(classes.tolist()) <= known, f"{what}: classes_ holds {classes.tolist()}, y {known}")
    tally.expect((np.sort(classes) == classes).all() and len(classes) == max(2, scores.ndim and _outputs(scores)), what)
    if model.loss == "logistic" and model.multiclass == "ovr":
        chances = model.predict_proba(rows)
        good = (chances >= 0) & (abs(chances.sum(1, keepdims=True) - 1) <= 1e-9)
        tally.expect(good, f"{what}: probabilities that do not sum to one", chances)
    accuracy = model.score(rows, y)
    tally.expect(0.0 <= accuracy <= 1.0, f"{what}: a score of {accuracy}")


def _outputs(scores: np.ndarray) -> int:
    return 2 if scores.ndim == 1 else scores.shape[1]


def _copies(rng: np.random.Generator, tally: Tally, what: str, model: Any, rows: Any) -> None:
    """Copies predict the same, clones are unfitted, a second fit gives the same network."""
    wanted = model.predict(rows)
    for name, copied in (
        ("pickle", lambda: pickle.loads(pickle.dumps(model))),
        ("deepcopy", lambda: copy.deepcopy(model)),
    ):
        found = copied()
        tally.expect(np.array_equal(found.predict(rows), wanted), f"{what}: a {name} predicts something else")
    fresh = clone(model)
    tally.expect(not hasattr(fresh, "network_"), f"{what}: a clone is fitted")
    unfitted = _attempt(tally, f"{what}: unfitted", lambda: fresh.predict(rows))
    tally.expect(unfitted is None, f"{what}: a clone predicts")
    if rng.random() < 0.1:
        pipeline = make_pipeline(StandardScaler(), fresh)
        _attempt(tally, f"{what}, pipeline", lambda: pipeline.fit(rows, np.arange(len(wanted)) % 2).predict(rows))


def _predictions(rng: np.random.Generator, tally: Tally, what: str, model: Any, X: np.ndarray) -> None:
    """Rows in other clothes: the same predictions, or a sentence."""
    wanted = model.predict(X) if not hasattr(model, "feature_names_in_") else None
    for _ in range(_PREDICTIONS):
        how, rows, same = _clothed(rng, X)
        found = _attempt(tally, f"{what}, predicting {how}", lambda: model.predict(rows))  # noqa: B023
        if found is None or wanted is None or not same or "nan" in str(found):
            continue
        exact = how not in ("float16", "float32", "half tensor", "float32 tensor", "bfloat16 tensor", "mixed frame")
        if exact and "int" not in how:
            good = found == wanted if wanted.dtype.kind in "USOb" else np.isclose(found, wanted, rtol=1e-9, atol=1e-300)
            close = np.asarray(good).reshape(len(X), -1).all(1) | _undecided(model, X)
            tally.expect(close, f"{what}, predicting {how}: other values", found, wanted)
    tally.count(f"{type(model).__name__} predictions", _PREDICTIONS)


def _undecided(model: Any, X: np.ndarray) -> np.ndarray:
    """Rows whose class rounding decides."""
    if not hasattr(model, "classes_"):
        return np.zeros(len(X), bool)
    scores = model.network_.scores(X)
    if scores.ndim == 1:
        return abs(scores) <= 1e-9 * (1 + abs(scores).max(initial=0))
    ordered = np.sort(scores, 1)
    return ordered[:, -1] - ordered[:, -2] <= 1e-9 * (1 + abs(ordered).max(initial=0))


KINDS: list[Draw] = [classifiers, regressors, classifiers]
"""Kinds of draws, in turn."""
