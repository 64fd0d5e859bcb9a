"""Extraction of features: the same whatever the batches, the file and the interruptions."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import convexadv as ca
from convexadv.heads import find_tap
from convexadv.heads.backbone import Backbone
from convexadv.heads.features import cache_key, extract
from convexadv.heads.inputs import inputs_of


def model_of(seed=0):
    torch.manual_seed(seed)
    layers = (nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 3))
    return nn.Sequential(*layers)


def data_of(n=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 6)).astype(np.float32), rng.integers(0, 3, n)


def parts(model):
    X = data_of()[0]
    tap = find_tap(model, torch.from_numpy(X[:4]), at="2")
    return Backbone(model, tap, torch.from_numpy(X[:4])), tap


def expected(model):
    X, _ = data_of()
    with torch.no_grad():
        return torch.stack([model.eval()[:3](torch.from_numpy(row)[None])[0] for row in X]).numpy()


def test_features_of_arrays_tensors_data_sets_and_loaders_are_those_of_single_rows():
    model = model_of().train()
    (X, y), (backbone, _) = data_of(), parts(model)
    backbone.train()
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    sources = [(X, y), (torch.from_numpy(X), y.tolist()), dataset, DataLoader(dataset, batch_size=3, shuffle=True)]
    for source in sources:
        for batch_size in (7, 64):
            found = extract(backbone, inputs_of(source), batch_size=batch_size)
            assert backbone.training
            assert all(module.training for module in backbone.modules())
            np.testing.assert_allclose(found, expected(model), rtol=1e-5, atol=1e-6)
            model.train()


def test_changed_inputs_are_told_their_numbers_and_labels():
    model = model_of()
    (X, y), (backbone, _) = data_of(), parts(model)
    seen = []

    def change(x, labels, first):
        seen.append((first, labels.tolist()))
        return -x

    found = extract(backbone, inputs_of((X, y)), batch_size=16, change=change)
    np.testing.assert_array_equal(found, extract(backbone, inputs_of((-X, y)), batch_size=16))
    assert seen == [(first, y[first : first + 16].tolist()) for first in (0, 16, 32)]


def test_part_of_the_inputs():
    inputs = inputs_of(data_of()).take(np.array([5, 3, 9])).take(np.array([2, 0]))
    X, y = data_of()
    assert inputs.y.tolist() == [y[9], y[5]]
    np.testing.assert_array_equal(inputs.rows([1, 0]).numpy(), X[[5, 9]])


def test_interrupted_extraction_goes_on_where_it_was(tmp_path):
    model = model_of()
    (X, y), (backbone, tap) = data_of(), parts(model)
    inputs, path = inputs_of((X, y)), tmp_path / "features.npy"
    key, blocks = cache_key(model, tap, inputs), []

    def stop(x, labels, first):
        if len(blocks) == 2:
            raise KeyboardInterrupt
        blocks.append(first)
        return x

    with pytest.raises(KeyboardInterrupt):
        extract(backbone, inputs, batch_size=8, cache=path, key=key, change=stop)
    assert json.loads((tmp_path / "features.npy.json").read_text())["rows_done"] == 16
    later = []
    found = extract(backbone, inputs, batch_size=8, cache=path, key=key, change=lambda x, _, n: later.append(n) or x)
    assert later == [16, 24, 32]
    np.testing.assert_array_equal(found, extract(backbone, inputs, batch_size=8))
    again = extract(backbone, inputs, batch_size=8, cache=path, key=key, change=lambda x, _, n: later.append(n) or x)
    assert len(later) == 3
    assert isinstance(again, np.memmap)


SCRIPT = """
    import sys, os, signal
    sys.path.insert(0, os.path.dirname({here!r}))
    import test_heads_features as t
    model = t.model_of()
    (X, y), (backbone, tap) = t.data_of(), t.parts(model)
    inputs = t.inputs_of((X, y))
    def change(x, labels, first):
        if first == 24 and {kill}:
            os.kill(os.getpid(), signal.SIGKILL)
        print(first, flush=True)
        return x
    t.extract(backbone, inputs, batch_size=8, cache={path!r}, key=t.cache_key(model, tap, inputs), change=change)
"""


def test_killed_extraction_goes_on_to_the_same_array(tmp_path):
    path = str(tmp_path / "features.npy")

    def run(kill):
        script = textwrap.dedent(SCRIPT).format(here=os.path.abspath(__file__), path=path, kill=kill)
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    killed = run(True)
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout.split() == ["0", "8", "16"]
    resumed = run(False)
    assert resumed.stdout.split() == ["24", "32"], resumed.stderr
    np.testing.assert_array_equal(np.load(path), extract(parts(model_of())[0], inputs_of(data_of()), batch_size=8))


def test_a_file_of_something_else_is_refused(tmp_path):
    model = model_of()
    (X, y), (backbone, tap) = data_of(), parts(model)
    inputs, path = inputs_of((X, y)), tmp_path / "features.npy"
    extract(backbone, inputs, cache=path, key=cache_key(model, tap, inputs))
    moved = X.copy()
    moved[3, 2] += 1e-3
    others = [
        (cache_key(model_of(1), tap, inputs), "other model"),
        (cache_key(model, find_tap(model, torch.zeros(2, 6)), inputs), "other at"),
        (cache_key(model, tap, inputs_of((moved, y))), "other data"),
        (cache_key(model, tap, inputs_of((X, (y + 1) % 3))), "other data"),
        (cache_key(model, tap, inputs, attack=0.1), "other attack"),
    ]
    for key, message in others:
        with pytest.raises(ca.InputError, match=message):
            extract(backbone, inputs, cache=path, key=key)


def test_damaged_and_foreign_files_are_sentences(tmp_path):
    model = model_of()
    (X, y), (backbone, tap) = data_of(), parts(model)
    inputs, path = inputs_of((X, y)), tmp_path / "features.npy"
    key = cache_key(model, tap, inputs)
    with pytest.raises(ca.InputError, match=r"ends in \.npy"):
        extract(backbone, inputs, cache=tmp_path / "features.bin", key=key)
    with pytest.raises(ca.InputError, match="cannot be written"):
        extract(backbone, inputs, cache=tmp_path / "none" / "features.npy", key=key)
    np.save(path, np.zeros(3))
    with pytest.raises(ca.InputError, match="does not say what it holds"):
        extract(backbone, inputs, cache=path, key=key)
    path.unlink()
    extract(backbone, inputs, cache=path, key=key)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ca.InputError, match="damaged"):
        extract(backbone, inputs, cache=path, key=key)
    (tmp_path / "features.npy.json").write_text("{")
    with pytest.raises(ca.InputError, match="cannot be read"):
        extract(backbone, inputs, cache=path, key=key)


def test_features_that_are_not_finite_are_a_sentence():
    X, y = data_of()
    X[17, 0] = np.inf
    with pytest.raises(ca.InputError, match="input 17 are not finite"):
        extract(parts(model_of())[0], inputs_of((X, y)), batch_size=8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((3, 2)), "a pair"),
        ((np.zeros((3, 2)), [1, 2]), r"labels of shape \(2,\)"),
        ((np.zeros(3), [1, 2, 3]), r"inputs of shape \(3,\)"),
        ((np.zeros((0, 2)), []), "empty"),
        (TensorDataset(torch.zeros(3, 2)), "item 0 of the data is no pair"),
        (TensorDataset(torch.zeros(3, 2), torch.zeros(3, 2)), "one label an input"),
    ],
)
def test_data_that_cannot_be_used_are_a_sentence(data, message):
    with pytest.raises(ca.InputError, match=message):
        inputs_of(data)
