"""What the fuzz run has found in heads, training, compression and attacks of foolbox: arguments refused with a sentence."""

from __future__ import annotations

import decimal
import fractions

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch import nn

import convexadv as ca
from convexadv.compression import LowRank, prune_channels
from convexadv.models import SmallCNN
from convexadv.training import TRADES, Adversarial, Clean, Images, Mixed, OneStep, Settings, train

X, Y = np.random.default_rng(0).random((12, 3)).astype(np.float32), np.arange(12) % 2
CUBES = np.random.default_rng(0).random((4, 1, 8, 8)).astype(np.float32)


def model(width=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, width))


def robustify(X=X, y=Y, **options):
    return ca.robustify(model(), (X, y), **{"validation": None, "tol": 0.5, **options})


def compress(X=CUBES, y=(0, 1, 0, 1), **options):
    small = SmallCNN(width=2, n_classes=2, side=8)
    return ca.compress(small, (X, list(y)), **{"ratio": 1.5, "epochs": (0, 0), **options})


def foolbox(**options):
    network = ca.ReLUNetwork([[1.0, 0.0]], [1.0], classes=[0, 1])
    return ca.foolbox_attack(network, np.eye(2), [1, 0], 0.1, **options)


def fit(images=None, objective=None, **settings):
    chosen = Settings(**{"epochs": 1, "batch_size": 4, **settings})
    return train(model(), images or Images.of(X, Y), objective, chosen)


OBJECTS = X.astype(object)
REFUSED = {
    "inputs that are objects": lambda: robustify(OBJECTS),
    "sparse inputs": lambda: robustify(scipy.sparse.csr_matrix(X)),
    "a sparse tensor of inputs": lambda: robustify(torch.tensor(X).to_sparse()),
    "inputs without values": lambda: robustify(torch.tensor(X).to("meta")),
    "ragged inputs": lambda: robustify([X[0].tolist(), X[0, :-1].tolist()], [0, 1]),
    "labels with a hole": lambda: robustify(y=[None, *Y[1:].tolist()]),
    "a head that is a list": lambda: robustify(head=[None]),
    "a loss that is an array": lambda: robustify(loss=np.zeros(3)),
    "a radius that is a type": lambda: robustify(radius=np.float64),
    "a beta that is a type": lambda: robustify(beta=np.float64),
    "a scaling that is an array": lambda: robustify(scaling=np.array(None)),
    "a seed of a head that is a fraction": lambda: robustify(random_state=0.5),
    "a seed of a head that is negative": lambda: robustify(random_state=-1),
    "a seed of a head that is text": lambda: robustify(random_state="0.1"),
    "bounds of a head that are a number": lambda: robustify(attack_radius=0.1, validation=0.3, bounds=3.0),
    "bounds of a head that are text": lambda: robustify(attack_radius=0.1, validation=0.3, bounds=np.array("a")),
    "settings of a compression that are a number": lambda: compress(settings=0.5),
    "settings of a compression that are a tensor": lambda: compress(settings=torch.zeros(2)),
    "bounds of a compression that are a number": lambda: compress(bounds=5e-324),
    "bounds of a compression that are arrays": lambda: compress(bounds=(np.zeros(2), np.ones(2))),
    "layers to keep that are a number": lambda: compress(keep=-0.0),
    "a method that is an array": lambda: compress(method=np.array("a")),
    "a method that is a list": lambda: compress(method=[None]),
    "images that are text": lambda: compress(CUBES.astype(str)),
    "labels that are text": lambda: compress(y="abab"),
    "labels that are missing": lambda: compress(y=[None] * 4),
    "images of another model": lambda: compress(np.repeat(CUBES, 3, 1), epochs=(1, 0)),
    "labels that the model does not know": lambda: compress(y=[0, 1, 2, 7], epochs=(1, 0)),
    "a shape that is missing": lambda: prune_channels(model(), None, ratio=2.0),
    "a rank that keeps a number": lambda: LowRank(ratio=2.0, keep=[3]),
    "complex images": lambda: Images.of(torch.tensor(X) + 1j, Y),
    "images without values": lambda: Images.of(torch.tensor(X).to("meta"), Y),
    "sparse images": lambda: Images.of(torch.tensor(X).to_sparse(), Y),
    "a single image": lambda: Images.of(3.0, Y),
    "images beyond floats": lambda: Images.of([[10**400, 1], [1, 2]], [0, 1]),
    "images that are too large": lambda: Images.of(np.full((2, 2), 1e300), [0, 1]),
    "ragged images": lambda: Images.of([[1.0, 2.0], [1.0]], [0, 1]),
    "a generator of images": lambda: Images.of((row for row in X), Y),
    "smoothing that is text": lambda: Clean("linf"),
    "smoothing of everything": lambda: Clean(1.0),
    "a radius of training that is text": lambda: Adversarial("abc"),
    "steps of training that are none": lambda: Adversarial(0.1, steps=0),
    "a norm of training that is unknown": lambda: Adversarial(0.1, norm="l3"),
    "a step that is a list": lambda: OneStep(0.1, step=[None]),
    "a share that is text": lambda: Mixed(OneStep(0.1), "linf"),
    "a mixture of what does not attack": lambda: Mixed(Clean(), 0.5),
    "a weight beyond floats": lambda: TRADES(0.1, 10**400),
    "bounds of training that are one number": lambda: OneStep(0.1, bounds=0.5),
    "inputs that a model does not take": lambda: fit(Images.of(X[:, :2], Y)),
    "class numbers beyond the scores": lambda: fit(Images.of(X, Y + 1)),
    "images that are a pair": lambda: fit((X, Y)),
    "inputs that are vectors": lambda: train(nn.Linear(1, 2), Images.of(X[:1, 0], Y[:1]), settings=Settings(epochs=1)),
    "inputs of two dimensions": lambda: train(nn.Linear(3, 2), Images.of(X[None], [0]), settings=Settings(epochs=1)),
    "a radius of training beyond float32": lambda: Adversarial(1e300),
    "a rate beyond float32": lambda: Settings(learning_rate=1e300),
    "a momentum beyond floats": lambda: Settings(momentum=10**400),
    "a weight that is missing": lambda: TRADES(0.1, None),
    "a measure that is an array": lambda: compress(measure=np.zeros(3)),
    "a choice of channels that is a tensor": lambda: prune_channels(model(), (3,), ratio=1.5, uniform=torch.zeros(2)),
    "a ratio beyond floats": lambda: prune_channels(model(), (3,), ratio=-(10**400)),
    "a seed of foolbox that is text": lambda: foolbox(random_state="hinge"),
    "a seed of foolbox that is missing": lambda: foolbox(random_state=None),
    "a seed of foolbox that is huge": lambda: foolbox(random_state=10**40),
    "complex rows": lambda: ca.attack(model(), torch.tensor(X) + 1j, Y, 0.1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_with_a_sentence(name):
    with pytest.raises(ca.InputError, match=r"\.$"):
        REFUSED[name]()


def test_inputs_of_a_head_in_other_clothes_give_the_same_head():
    usual = robustify().head.scores(np.eye(3))
    others = {
        "big-endian": X.astype(">f4"),
        "frame": pd.DataFrame(X, columns=["a", "b", "c"]),
        "lists": X.tolist(),
        "longdouble": X.astype(np.longdouble),
    }
    for name, rows in others.items():
        np.testing.assert_allclose(robustify(rows).head.scores(np.eye(3)), usual, rtol=1e-4, err_msg=name)


def test_numbers_of_every_kind_are_numbers_of_an_objective():
    for radius in (
        fractions.Fraction(1, 10),
        decimal.Decimal("0.1"),
        np.array(0.1),
        torch.tensor(0.1, dtype=torch.float64),
    ):
        for objective in (Adversarial(radius, steps=2), OneStep(radius), TRADES(radius, steps=2)):
            assert objective.radius == 0.1
            assert np.isfinite(fit(objective=objective)[0]["loss"])


def test_weights_that_overflow_in_the_last_step_are_seen():
    """The loss of a step is that before the step."""
    with pytest.raises(ca.TrainingError, match="not finite"):
        fit(Images.of(X[:4], Y[:4]), learning_rate=1e38, momentum=0.0, warm_up=0.0, weight_decay=1e30)


def test_a_batch_norm_without_a_batch_is_a_sentence():
    normed = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pytest.raises(ca.InputError, match=r"larger batches are needed\.$"):
        train(normed, Images.of(X, Y), settings=Settings(epochs=1, batch_size=1))


def test_a_compression_that_training_has_spoiled_is_an_error():
    settings = Settings(batch_size=2, learning_rate=1e9)
    with pytest.raises(ca.TrainingError, match="not finite"):
        compress(epochs=(0, 1), settings=settings, attack="clean")
