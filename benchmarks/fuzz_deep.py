"""Fuzz cases of deep models, all of them tiny: robust heads, compression, training, attacks of foolbox.

A call works, and what it returns says what PyTorch and NumPy say of it; or it is refused with a sentence. The model that was
given is as it was. A case is a call.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import convexadv as ca
from benchmarks.fuzz_cases import RANDOM, random_subject
from benchmarks.fuzz_hostile import HOSTILE_LABELS, HOSTILE_ROWS, NEUTRAL_ROWS, THINGS
from benchmarks.fuzz_tally import Draw, Tally
from convexadv.compression import factorise_model, prune_channels
from convexadv.models import SmallCNN
from convexadv.training import TRADES, Adversarial, Clean, Images, Mixed, OneStep, Settings, augmentation, train

_ORDERS = {"l1": 1, "l2": 2, "linf": np.inf}
_ENDLESS = ("attack_steps", "attack_restarts", "n_gates", "rows", "batch_size", "epochs", "steps", "restarts", "ratio")
"""Arguments of which large numbers mean much work."""


def _model(rng: np.random.Generator, d: int, outputs: int) -> nn.Module:
    torch.manual_seed(int(rng.integers(2**31)))
    width = int(rng.integers(1, 6))
    kinds: list[Callable[[], nn.Module]] = [
        lambda: nn.Sequential(nn.Linear(d, width), nn.ReLU(), nn.Linear(width, outputs)),
        lambda: nn.Sequential(nn.Linear(d, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, outputs)),
        lambda: nn.Sequential(nn.Linear(d, width), nn.Tanh(), nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, outputs)),
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(d, width), nn.LeakyReLU(), nn.Linear(width, outputs)),
        lambda: nn.Linear(d, outputs),
    ]
    model = kinds[rng.choice(len(kinds), p=[0.25, 0.25, 0.24, 0.24, 0.02])]()
    model = model.double() if rng.random() < 0.2 else model
    return model.train(bool(rng.random() < 0.3))


def _state(model: nn.Module) -> tuple[bytes, list[bool], list[bool]]:
    weights = b"".join(value.detach().numpy().tobytes() for value in model.state_dict().values())
    return weights, [part.training for part in model.modules()], [each.requires_grad for each in model.parameters()]


def _changed(rng: np.random.Generator, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Now and then something else in the place of an argument."""
    if not options or rng.random() < 0.5:
        return "as they should be", options
    name = str(rng.choice(list(options)))
    thing = THINGS[rng.integers(len(THINGS))]
    if name in _ENDLESS and isinstance(thing, int | float) and not -1e3 < thing < 1e3:
        thing = -thing
    if name in ("loss", "attack", "augment", "callback") and callable(thing):
        thing = "abc"  # code of the caller's own may do what it likes
    return f"{name}={thing!r:.40}", {**options, name: thing}


def _data(rng: np.random.Generator, X: np.ndarray, y: np.ndarray) -> tuple[str, Any]:
    """Inputs and labels, a third of them in other clothes or hostile."""
    chance = rng.random()
    if chance < 0.65:
        return "data", (X.astype(np.float32), y)
    if chance < 0.72:
        pairs = [(torch.tensor(row).float(), int(label)) for row, label in zip(X, y, strict=True)]
        return "a loader", torch.utils.data.DataLoader(pairs, batch_size=3)  # type: ignore[arg-type]
    try:
        if chance < 0.85:
            table = {**NEUTRAL_ROWS, **HOSTILE_ROWS}
            name = str(rng.choice(list(table)))
            return name, (table[name](X), y)
        name = str(rng.choice(list(HOSTILE_LABELS)))
        return f"labels {name}", (X.astype(np.float32), HOSTILE_LABELS[name](y))
    except (TypeError, ValueError, IndexError, OverflowError, RuntimeError):
        return "a frame", (pd.DataFrame(X), pd.Series(y))


def robustify(rng: np.random.Generator, tally: Tally) -> None:
    """Robust heads of tiny models."""
    n, d, classes = int(rng.integers(4, 16)), int(rng.integers(1, 5)), int(rng.choice([2, 3], p=[0.7, 0.3]))
    outputs = 1 if classes == 2 and rng.random() < 0.3 else classes
    model, X = _model(rng, d, outputs), rng.standard_normal((n, d))
    y = np.append(np.arange(classes), rng.integers(0, classes, n))[:n]
    head = str(rng.choice(["polynomial", "relu", "gated-relu"]))
    options: dict[str, Any] = {
        "head": head,
        "at": None,
        "radius": float(rng.choice([0.0, 0.1, 1.0, 1e-9])),
        "beta": float(rng.choice([0.03, 0.5, 1e-3])),
        "loss": str(rng.choice(["hinge", "squared_hinge", "logistic"])),
        "norm": str(rng.choice(["l2", "linf"])),
        "scaling": [None, "standard", "norm"][rng.integers(3)],
        "multiclass": str(rng.choice(["ovr", "joint"])),
        "validation": [None, 0.3, 0.1][rng.integers(3)],
        "rows": [None, None, 3, 100][rng.integers(4)],
        "tol": 0.1,
        "time_limit": 0.3,
        "batch_size": int(rng.integers(1, 9)),
        "n_gates": None if head == "polynomial" else int(rng.integers(1, 6)),
        "random_state": int(rng.integers(9)),
    }
    if rng.random() < 0.4:
        options |= {
            "attack_radius": 0.1,
            "attack_norm": str(rng.choice(["linf", "l2", "l1"])),
            "attack_method": str(rng.choice(["apgd", "pgd", "fgsm"])),
            "attack_steps": 2,
            "attack_restarts": 1,
            "ball": str(rng.choice(["sphere", "movement"])),
            "extra": [None, "attacked"][rng.integers(2)],
            "bounds": None if rng.random() < 0.7 else (-10.0, 10.0),
        }
        if rng.random() < 0.4:
            options |= {"radius": [0.05, 0.3], "validation": 0.3}
    how, options = _changed(rng, options)
    dress, given = _data(rng, X, y)
    before, what = _state(model), f"robustify, {dress}, {how}"
    made = tally.attempt(what, lambda: ca.robustify(model, given, **options))
    tally.count(f"robustify {'refused' if made is None else head}")
    tally.expect(_state(model) == before, f"{what}: the model is another one")
    if made is None:
        return
    weight = next(made.model.parameters())
    x = torch.as_tensor(X).to(weight.dtype)
    with torch.no_grad():
        scores, features = made.model.eval()(x), made.model.backbone(x)
        own = made.head(features.double())
    shown = scores[:, 1] - scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 2 else scores.reshape(own.shape)
    allowed = 1e-3 * (1 + float(own.abs().max()))
    tally.expect((shown - own).abs().numpy() <= allowed, f"{what}: the model and its head differ", shown, own)
    lower = made.problem.lower_bound(made.solution.certificate)
    close = abs(lower - made.solution.lower_bound) <= 1e-9 * max(1.0, abs(lower))
    tally.expect(close, f"{what}: the bound is another one when recomputed", lower, made.solution.lower_bound)
    tally.expect(made.report.gap == made.solution.gap, f"{what}: the report has another gap")
    tally.expect(bool(json.dumps(made.report.to_dict(), allow_nan=False)), what)
    counts = made.report.sizes
    tally.expect(counts["neurons"] == made.head.n_neurons, f"{what}: the report counts other neurons")


def compress(rng: np.random.Generator, tally: Tally) -> None:
    """Compression of tiny convolutional models."""
    torch.manual_seed(int(rng.integers(2**31)))
    width, classes = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    model = SmallCNN(width=width, n_classes=classes, side=8)
    model.train(bool(rng.random() < 0.3))
    n = int(rng.integers(2, 9))
    X, y = rng.random((n, 1, 8, 8)), np.append(np.arange(classes), rng.integers(0, classes, n))[:n]
    options: dict[str, Any] = {
        "ratio": float(rng.choice([1.0, 1.5, 2.0, 8.0, 1e6, 0.5], p=[0.2, 0.3, 0.3, 0.1, 0.05, 0.05])),
        "measure": str(rng.choice(["parameters", "flops"])),
        "method": str(rng.choice(["cstar", "greedy", "uniform", "channels", "channels-uniform"])),
        "attack": str(rng.choice(["onestep", "pgd", "trades", "clean"])),
        "radius": float(rng.choice([0.0, 8 / 255, 1.0])),
        "epochs": (int(rng.integers(0, 2)), int(rng.integers(0, 2))),
        "bounds": (0.0, 1.0) if rng.random() < 0.8 else None,
        "settings": Settings(
            batch_size=int(rng.integers(1, 5)), learning_rate=float(rng.choice([0.05, 0.0, 1e9], p=[0.9, 0.05, 0.05]))
        ),
        "keep": () if rng.random() < 0.8 else ("head",),
        "budget": None,
    }
    how, options = _changed(rng, options)
    data: Any = (X.astype(np.float32), y)
    if rng.random() < 0.2:
        changes: list[tuple[Any, Any]] = [
            (X * np.nan, y), (X * 300, y), (X[:, 0], y), (X, y[:-1]), (X, y - 1), (X, y * 1.0), (X[:0], y[:0]),
            (X, y.astype(str)), (None, y), (X.tolist(), y.tolist()), (torch.tensor(X), torch.tensor(y)), (X, None),
        ]  # fmt: skip
        data = changes[rng.integers(len(changes))]
        how = f"other data, {how}"
    before, what = _state(model), f"compress, {how}"
    made = tally.attempt(what, lambda: ca.compress(model, data, **options))
    tally.count(f"compress {'refused' if made is None else 'made'}")
    tally.expect(_state(model) == before, f"{what}: the model is another one")
    if made is None:
        return
    sums = tuple(sum(weight.numel() for weight in each.parameters()) for each in (model, made.model))
    tally.expect(
        made.report.parameters == sums, f"{what}: the report counts other parameters", made.report.parameters, sums
    )
    with torch.no_grad():
        scores = made.model(torch.tensor(X).float())
    tally.expect(scores.shape == (n, classes) and not made.model.training, f"{what}: scores of shape {scores.shape}")
    tally.expect(torch.isfinite(scores).numpy(), f"{what}: scores that are not finite")
    ratio = options["ratio"]
    if options.get("budget") is None and isinstance(ratio, float) and ratio > 1 and options["keep"] == ():
        costs = made.report.parameters if options["measure"] == "parameters" else made.report.flops
        tally.expect(costs[1] * ratio <= costs[0] * (1 + 1e-9), f"{what}: costs {costs} for the ratio {ratio:g}")
    tally.expect(len(made.report.table().splitlines()) > 2, f"{what}: no table")


def parts(rng: np.random.Generator, tally: Tally) -> None:
    """Ranks and channels of a model, given by hand."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=int(rng.choice([1, 2]))), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    ).eval()
    x = torch.rand(2, 2, 4, 4)
    before = _state(model)
    if rng.random() < 0.6:
        choices: list[Any] = [
            (1, 1),
            (2, 2),
            (4, 2),
            1,
            2,
            "dense",
            (9, 9),
            0,
            -1,
            (1,),
            "x",
            None,
            2.5,
            (True, 1),
            [2, 1],
        ]
        ranks = {name: choices[rng.integers(len(choices))] for name in ("0", "3") if rng.random() < 0.8}
        ranks |= {"9": 1} if rng.random() < 0.05 else {}
        what = f"factorise_model {ranks}"
        made = tally.attempt(what, lambda: factorise_model(model, ranks))
    else:
        options: dict[str, Any] = {"ratio": float(rng.choice([1.0, 2.0, 100.0])), "uniform": bool(rng.random() < 0.5)}
        how, options = _changed(rng, options)
        shape: Any = [(2, 4, 4), (3, 4, 4), (2, 5, 5), (2,), (), None][
            int(rng.integers(6)) if rng.random() < 0.3 else 0
        ]
        what = f"prune_channels {shape}, {how}"
        made = tally.attempt(what, lambda: prune_channels(model, shape, **options))
    tally.expect(_state(model) == before, f"{what}: the model is another one")
    if made is not None:
        tally.expect(made(x).shape == (2, 3) and bool(torch.isfinite(made(x)).all()), f"{what}: no scores")
    tally.count("parts of a model")


def trainings(rng: np.random.Generator, tally: Tally) -> None:
    """Trainings of one or two epochs."""
    n, d = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    model, X, y = _model(rng, d, 2), rng.random((n, d)), rng.integers(0, 2, n)
    what = "train"
    images: Any = tally.attempt("Images.of", lambda: Images.of(X, y))
    if rng.random() < 0.3:
        name = str(rng.choice([*HOSTILE_ROWS]))
        what = f"train, {name}"
        try:
            rows = HOSTILE_ROWS[name](X)
        except (TypeError, ValueError, RuntimeError, IndexError):
            rows = X
        images = tally.attempt(what, lambda: Images.of(rows, y))
    things: list[Any] = [*THINGS]
    numbers: dict[str, Any] = {"epochs": 1, "batch_size": 4, "learning_rate": 0.1, "momentum": 0.9, "warm_up": 0.1}
    how, numbers = _changed(rng, numbers)
    if isinstance(numbers["epochs"], int) and numbers["epochs"] > 3:
        numbers["epochs"] = 1
    settings = tally.attempt(f"Settings {how}", lambda: Settings(**numbers))
    thing = things[rng.integers(len(things))]
    makers: list[Callable[[], Any]] = [
        Clean, lambda: OneStep(0.1), lambda: Adversarial(0.1, steps=2), lambda: TRADES(0.1, steps=2),
        lambda: Mixed(OneStep(0.1), 0.5), lambda: Mixed(OneStep(0.1), thing), lambda: Clean(thing),
        lambda: Adversarial(thing, steps=2), lambda: OneStep(thing), lambda: TRADES(0.1, thing, steps=2),
    ]  # fmt: skip
    place = int(rng.integers(len(makers))) if rng.random() < 0.4 else int(rng.integers(5))
    what = f"{what}, objective {place}{f' {thing!r:.40}' if place > 4 else ''}, {how}"
    objective = tally.attempt(what, makers[place])
    tally.count("train")
    if images is None or settings is None or objective is None:
        return
    model = model.float()
    history = tally.attempt(what, lambda: train(model, images, objective, settings, augmentation(None)))
    if history is not None:
        tally.expect(len(history) == settings.epochs and not model.training, f"{what}: {len(history)} records")
        weights = torch.cat([weight.detach().reshape(-1) for weight in model.parameters()])
        tally.expect(np.isfinite([record["loss"] for record in history]), f"{what}: a loss is not finite")
        tally.expect(torch.isfinite(weights).numpy(), f"{what}: a weight is not finite")


def foolbox(rng: np.random.Generator, tally: Tally) -> None:
    """Attacks of foolbox: their points lie inside, their success is that of the network, no certificate breaks."""
    if importlib.util.find_spec("foolbox") is None:
        tally.count("foolbox is missing")
        return
    case = random_subject(int(rng.integers(2**31)), int(rng.integers(len(RANDOM))))
    rows = rng.choice(len(case.X), int(rng.integers(1, 6)), replace=False)
    norm = str(rng.choice(["linf", "l2", "l1"]))
    X, y, radius = case.X[rows], case.y[rows], case.radius[rows]
    names = ["PGD", "FastGradientAttack", "BasicIterativeAttack", "DeepFoolAttack", "AdditiveUniformNoiseAttack", "X"]
    options: dict[str, Any] = {
        "attack": str(rng.choice(names, p=[0.3, 0.2, 0.2, 0.15, 0.13, 0.02])),
        "radius": radius if rng.random() < 0.7 else float(radius[0]),
        "norm": norm,
        "bounds": case.bounds,
        "restarts": 1,
        "random_state": int(rng.integers(99)),
    }
    how, options = _changed(rng, options)
    network = case.network
    what = f"foolbox {options['attack']!s:.20}, {norm}, {case.kind}, {how}"
    weights = _state(network)
    found = tally.attempt(what, lambda: ca.foolbox_attack(network, X, y, **options))
    tally.expect(_state(network) == weights, f"{what}: the network is another one")
    tally.count(f"foolbox {'refused' if found is None else options['attack']}")
    if found is None:
        return
    norm, radius = options["norm"], np.broadcast_to(np.asarray(options["radius"], float), len(X))
    delta = np.asarray(found.points, np.longdouble) - X
    inside = np.linalg.norm(delta.astype(float), _ORDERS[norm], axis=1) <= radius * (1 + 1e-9) + 1e-300
    tally.expect(inside, f"{what}: a point leaves its ball")
    box = options["bounds"]
    if box is not None:
        tally.expect(((found.points >= box[0]) & (found.points <= box[1])).all(1), f"{what}: a point leaves the box")
    tally.expect(found.success == (network.predict(found.points) != y), f"{what}: success is another one")
    tally.expect(np.isclose(found.margins, network.margins(found.points, y), rtol=1e-9), f"{what}: other margins")
    certified = tally.attempt(what, lambda: ca.certify(network, X, y, radius, norm))
    if certified is not None:
        tally.expect(~(certified.certified & found.success), f"{what}: breaks a certificate")


KINDS: list[Draw] = [robustify, foolbox, parts, trainings, robustify, compress]
"""Kinds of draws, in turn."""
