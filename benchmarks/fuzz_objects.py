"""Fuzz cases of copies: every public object, pickled by each protocol, copied and copied deeply, is what it was.

An object and its copy are compared entry by entry, and by what they say when they are used; a change of a deep copy's weights
leaves the original alone. A case is a copy.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import io
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import convexadv as ca
from benchmarks.fuzz_margins import network
from benchmarks.fuzz_problems import problem
from benchmarks.fuzz_tally import Draw, Tally
from convexadv import heads, sources, training
from convexadv.compression import factorise_model, prune_channels
from convexadv.datasets import load, standardise
from convexadv.heads import backbone
from convexadv.losses import get_loss
from convexadv.models import SmallCNN
from convexadv.robustness import RobustAccuracy

_FLEETING = ("_lock", "_last")
"""Attributes that a copy makes anew."""
_KINDS = ("polynomial", "ReLU", "gated")
_COPIES: dict[str, Callable[[Any], Any]] = {
    **{
        f"pickle {protocol}": functools.partial(
            lambda value, number: pickle.loads(pickle.dumps(value, number)), number=protocol
        )
        for protocol in (2, 4, 5)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of a pickle": lambda value: copy.deepcopy(pickle.loads(pickle.dumps(value))),
    "copy in a list": lambda value: copy.deepcopy([value, value])[1],
    "torch.save": lambda value: _through_torch(value),
}


def _through_torch(value: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@dataclasses.dataclass(frozen=True)
class Made:
    """An object, and what it says when it is used."""

    value: Any
    use: Callable[[Any], Any] = repr


def _small(rng: np.random.Generator, kind: str | None = None) -> Any:
    return problem(rng, kind or str(rng.choice(_KINDS)), int(rng.integers(3, 8)), int(rng.integers(1, 4)), 1.0)


def _problem(rng: np.random.Generator) -> Made:
    what = _small(rng)
    certificate = ca.solve(what, tol=0.1, max_iter=2).certificate
    return Made(what, lambda it: [it.lower_bound(certificate), it.zero_objective(), repr(it)])


def _network(rng: np.random.Generator) -> Made:
    net = network(rng, str(rng.choice(_KINDS)), 3, 3.0)
    net.metadata = {"note": [1, {"a": None}]}
    X = rng.standard_normal((5, 3))
    return Made(net, lambda it: [it.scores(X), it.predict(X), it.classes, it.metadata, repr(it)])


def _solution(rng: np.random.Generator) -> Made:
    what = _small(rng)
    solution = ca.solve(what, tol=0.1, max_iter=3)
    return Made(solution, lambda it: [what.lower_bound(it.certificate), what.evaluate(it.network).objective, str(it)])


def _certificate(rng: np.random.Generator) -> Made:
    net, norm = network(rng, str(rng.choice(_KINDS)), 2, 1.0), str(rng.choice(["l2", "linf"]))
    X = np.asarray(net.shift) + np.asarray(net.scale) * rng.standard_normal((4, 2))
    found = ca.certify(net, X, net.predict(X), 0.1 * float(net.scale.min()), norm)

    def use(it: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "proof.safetensors"
            ca.save_certificate(it, path)
            return [path.read_bytes(), repr(it)]

    return Made(found, use)


def _verification(rng: np.random.Generator) -> Made:
    content = _certificate(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proof.safetensors"
        ca.save_certificate(content.value, path)
        return Made(ca.verify_certificate(path), lambda it: [it.ok, it.holds, it.claim.X])


def _attack(rng: np.random.Generator) -> Made:
    net = network(rng, str(rng.choice(_KINDS)), 2, 1.0)
    X = rng.standard_normal((3, 2))
    return Made(
        ca.attack(net, X, net.predict(X), 0.1, steps=2, restarts=1), lambda it: [it.points, it.success, repr(it)]
    )


def _accuracy(rng: np.random.Generator) -> Made:
    net = network(rng, str(rng.choice(_KINDS)), 2, 1.0)
    X = rng.standard_normal((3, 2))
    found = ca.robust_accuracy(net, X, net.predict(X), [0.0, 0.1], "l2", attacks="fgsm")
    assert isinstance(found, RobustAccuracy)
    return Made(found, lambda it: [it.rows(), str(it)])


def _path(rng: np.random.Generator) -> Made:
    found = ca.regularisation_path(_small(rng), [1.0, 0.1], tol=0.1, time_limit=0.2)
    return Made(found, lambda it: [it.rows(), str(it), it.to_json()])


def _estimator(rng: np.random.Generator) -> Made:
    kinds = [ca.PolynomialClassifier, ca.ReLUClassifier, ca.GatedReLUClassifier]
    kinds += [ca.PolynomialRegressor, ca.ReLURegressor, ca.GatedReLURegressor]
    kind = kinds[rng.integers(len(kinds))]
    gates = {} if kind.__name__.startswith("Polynomial") else {"n_gates": 4, "random_state": 0}
    X, labels = rng.standard_normal((6, 2)), np.array(["ä", "b", "c"])[[0, 1, 2, 0, 1, 2]]
    model = kind(tol=0.5, max_iter=2, **gates)
    if rng.random() < 0.2:
        return Made(model, lambda it: it.get_params())
    y = labels if kind.__name__.endswith("Classifier") else rng.standard_normal((6, 2))
    model.fit(X, y)
    return Made(model, lambda it: [it.predict(X), it.get_params(), it.network_.scores(X)])


def _growth(rng: np.random.Generator) -> Made:
    what = _small(rng, str(rng.choice(["ReLU", "gated"])))
    grown = ca.grow_patterns(what, rounds=1, candidates=4, tol=0.1, time_limit=0.2)
    return Made(grown, lambda it: [it.solution.objective, it.problem.n_gates])


def _model() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))


def _robustified(rng: np.random.Generator) -> Made:
    head = str(rng.choice(["polynomial", "relu", "gated-relu"]))
    X = rng.standard_normal((12, 2)).astype(np.float32)
    gates = None if head == "polynomial" else 4
    made = ca.robustify(_model(), (X, np.arange(12) % 2), head, validation=None, n_gates=gates, tol=0.5)
    x = torch.tensor(X)
    found = [
        Made(made, lambda it: [it.model(x), it.head(x @ torch.ones(2, it.head.n_features))]),
        Made(made.report, lambda it: [it.to_dict() if hasattr(it, "to_dict") else repr(it), str(it)]),
        Made(made.model, lambda it: [it(x), list(it.state_dict())]),
        Made(made.model.backbone, lambda it: [it(x), it.tap]),
    ]
    assert isinstance(made.model.backbone, backbone.Backbone)
    assert isinstance(made.model, heads.HeadedModel)
    return found[rng.integers(len(found))]


def _compressed(rng: np.random.Generator) -> Made:
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8) % 2
    method = str(rng.choice(["uniform", "greedy", "channels"]))
    made = ca.compress(SmallCNN(width=4, n_classes=2, side=8), (x, y), ratio=2, epochs=(0, 0), method=method)
    return Made(made, lambda it: [it.model(x), str(it.report), it.history])


def _small_layers(rng: np.random.Generator) -> Made:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.Flatten(), torch.nn.Linear(6, 4))
    x = torch.rand(2, 3, 3, 3)
    if rng.random() < 0.5:
        return Made(factorise_model(model, {"0": (2, 3), "2": 2}).eval(), lambda it: [it(x), list(it.state_dict())])
    deep = SmallCNN(width=4, n_classes=2, side=8).eval()
    images = torch.rand(2, 1, 8, 8)
    return Made(prune_channels(deep, (1, 8, 8), ratio=2.0), lambda it: [it(images), list(it.state_dict())])


def _settings(rng: np.random.Generator) -> Made:
    found = [
        training.Settings(epochs=3),
        training.Clean(0.1),
        training.Adversarial(0.1),
        training.OneStep(0.1),
        training.TRADES(0.1),
        training.Mixed(training.OneStep(0.1)),
        training.Images.of(rng.random((4, 2)).astype(np.float32), np.array([0, 1, 1, 0])),
        ca.Status.OPTIMAL,
        get_loss("hinge"),
        get_loss("logistic"),
        load("iris"),
        standardise(rng.standard_normal((5, 2))),
    ]
    value = found[rng.integers(len(found))]
    return Made(value, lambda it: repr(it) if not _plain(it) else "")


def _plain(value: Any) -> bool:
    return type(value).__repr__ is object.__repr__


def _errors(rng: np.random.Generator) -> Made:
    kinds = [ca.InputError, ca.FileFormatError, ca.CertificateError, ca.SolverUnavailableError]
    kinds += [ca.ProcessError, ca.TrainingError]
    return Made(kinds[rng.integers(len(kinds))]("a sentence."), lambda it: [str(it), type(it)])


class Table(torch.utils.data.Dataset):
    """A data set that can be pickled."""

    def __init__(self, X: np.ndarray) -> None:
        self.X = X

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, number: int) -> Any:
        return torch.tensor(self.X[number]), number % 2


def _rows(rng: np.random.Generator) -> Made:
    X = rng.standard_normal((6, 3))
    blocks = functools.partial(_take, X)
    source = sources.DatasetRows(Table(X)) if rng.random() < 0.5 else sources.BlockRows(blocks, rows=[3, 2, 1])
    return Made(source, lambda it: [np.asarray(it[0:4]), it.shape])


def _take(X: np.ndarray, number: int) -> np.ndarray:
    return X[[0, 3, 5][number] : [3, 5, 6][number]]


_OBJECTS: dict[str, Callable[[np.random.Generator], Made]] = {
    "problem": _problem,
    "network": _network,
    "solution": _solution,
    "certificate": _certificate,
    "verification": _verification,
    "attack": _attack,
    "accuracy": _accuracy,
    "path": _path,
    "estimator": _estimator,
    "growth": _growth,
    "robustified": _robustified,
    "compressed": _compressed,
    "small layers": _small_layers,
    "settings": _settings,
    "errors": _errors,
    "rows": _rows,
}


def _kind(name: str) -> Draw:
    def draw(rng: np.random.Generator, tally: Tally) -> None:
        made = tally.attempt(name, lambda: _OBJECTS[name](rng))
        if made is None:
            return
        what = f"{name} ({type(made.value).__name__})"
        usual = made.use(made.value)
        for how, copied in _COPIES.items():
            found = tally.attempt(f"{what}, {how}", lambda: copied(made.value))  # noqa: B023
            if not tally.expect(found is not None and type(found) is type(made.value), f"{what}, {how}: no copy"):
                continue
            tally.expect(not differing(made.value, found), f"{what}, {how}: {differing(made.value, found)} is another")
            again = tally.attempt(f"{what}, {how}, used", lambda: made.use(found))  # noqa: B023
            tally.expect(not differing(usual, again), f"{what}, {how}: says something else: {differing(usual, again)}")
            if "deep" in how or "pickle" in how:
                _moved(tally, made, found, usual, f"{what}, {how}")
        tally.count(name, len(_COPIES))

    draw.__name__ = name.replace(" ", "_")
    return draw


def _moved(tally: Tally, made: Made, found: Any, usual: Any, what: str) -> None:
    """Change the weights of a copy, and look at the original."""
    if isinstance(found, torch.nn.Module):
        with torch.no_grad():
            for weight in found.parameters():
                weight.zero_()
        tally.expect(not differing(usual, made.use(made.value)), f"{what}: a change of the copy changes the original")


def differing(one: Any, other: Any, place: str = "", seen: frozenset[int] = frozenset()) -> str:
    """The first place where two values differ; "" if there is none."""
    if id(one) in seen:
        return ""
    seen = seen | {id(one)}
    if type(one) is not type(other):
        return f"{place or 'it'} ({type(one).__name__}, {type(other).__name__})"
    if isinstance(one, torch.Tensor):
        one, other = one.detach().cpu(), other.detach().cpu()
        same = (
            one.dtype == other.dtype
            and one.shape == other.shape
            and bool(((one == other) | (one.isnan() & other.isnan())).all())
        )
        return "" if same else place or "it"
    if isinstance(one, np.ndarray):
        same = one.dtype == other.dtype and one.shape == other.shape
        same = same and (one.tolist() == other.tolist() or np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
        return "" if same else place or "it"
    if isinstance(one, np.random.Generator):
        return "" if one.bit_generator.state == other.bit_generator.state else place
    parts = _parts(one), _parts(other)
    if parts[0] is None or parts[1] is None:
        return "" if one is other or one == other or one != one else place or "it"
    if list(parts[0]) != list(parts[1]):
        return f"{place}: other keys"
    found = (differing(value, parts[1][key], f"{place}.{key}", seen) for key, value in parts[0].items())
    return next((each for each in found if each), "")


def _parts(value: Any) -> dict[Any, Any] | None:
    """What a value consists of; None for one that is compared as a whole."""
    if isinstance(value, dict):
        return {key: part for key, part in value.items() if key not in _FLEETING}
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if isinstance(value, type) or (callable(value) and not isinstance(value, torch.nn.Module)):
        return {}  # functions are made anew
    if isinstance(value, BaseException):
        return {"type": type(value), "args": value.args}
    if hasattr(value, "__dict__"):
        return {key: part for key, part in vars(value).items() if key not in _FLEETING}
    return None


KINDS: list[Draw] = [_kind(name) for name in _OBJECTS]
"""Kinds of draws, in turn."""
