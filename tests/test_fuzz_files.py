"""What the fuzz run has found in files that are written and read again: full disks, damage, several writers."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import convexadv as ca
from convexadv.training import Images, Settings, train

X, Y = np.random.default_rng(0).random((12, 3)).astype(np.float32), np.arange(12) % 2


def trained(path, width=4, epochs=2, **more):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU(), torch.nn.Linear(width, 2))
    train(model, Images.of(X, Y), settings=Settings(epochs=epochs, batch_size=4), checkpoint=path, resume=True, **more)
    return model.state_dict()


def robustified(path, copies=1):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3 * copies, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    return ca.robustify(model, (np.tile(X, copies), Y), validation=None, cache=path, tol=0.5)


def test_every_flipped_bit_of_a_training_is_seen(tmp_path):
    path = tmp_path / "state"
    whole = trained(path)
    content = path.read_bytes()
    rng, refused = np.random.default_rng(1), []
    for place in rng.integers(0, len(content), 80):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            found = trained(path)
        except ca.FileFormatError as error:
            refused.append(str(error))
            assert path.read_bytes() == changed
        else:  # a byte that means nothing, such as padding
            assert all(torch.equal(value, whole[name]) for name, value in found.items())
    assert len(refused) > 20
    assert not any("weights_only" in message for message in refused)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("facts"),
        lambda content: content.pop("state"),
        lambda content: content.update(facts=[1]),
        lambda content: content["state"].pop("optimiser"),
        lambda content: content["state"].update(epoch=None, total=3),
        lambda content: content["state"].update(model={}),
    ],
)
def test_a_training_whose_state_is_no_state_is_refused(tmp_path, change):
    path = tmp_path / "state"
    trained(path)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    with pytest.raises(ca.FileFormatError, match=r"is truncated or not a checkpoint \(.*\)\.$"):
        trained(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "state"
    torch.save({"format": "convexadv-training-1", "facts": {}, "state": print}, path)
    with pytest.raises(ca.FileFormatError, match="something else than tensors and plain values"):
        trained(path)
    path.write_bytes(pickle.dumps({"format": "convexadv-training-1"}))
    with pytest.raises(ca.FileFormatError, match="not a zip file"):
        trained(path)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files there")
@pytest.mark.parametrize("size", [1_000, 30_000, 120_000])
def test_a_training_on_a_full_disk_says_so_and_keeps_its_checkpoint(tmp_path, limited, size):
    path = tmp_path / "state"
    trained(path, width=5_000, epochs=1, checkpoint_every=1e9)
    before = path.read_bytes()
    with limited(size), pytest.raises(OSError, match="File too large") as caught:
        trained(path, width=5_000, epochs=1)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["state"]


@pytest.fixture
def limited():
    """Files that cannot grow beyond some bytes, as on a full disk."""
    import contextlib
    import resource

    @contextlib.contextmanager
    def limit(size):
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    return limit


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files there")
def test_features_that_do_not_fit_the_disk_leave_nothing(tmp_path, limited):
    with limited(2000), pytest.raises(ca.InputError, match=r"cannot be written: File too large\.$"):
        robustified(tmp_path / "cache.npy", copies=20)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no such call there")
def test_the_place_of_features_is_taken_before_they_are_computed(tmp_path, monkeypatch):
    """The file is mapped into memory: a page without a place on the disk would kill the process."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ca.InputError, match="No space left on device"):
        robustified(tmp_path / "cache.npy")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("done", [-1, 1000, 2.5, True, "3", None, float("inf")])
def test_a_note_of_features_with_a_wrong_count_is_refused(tmp_path, done):
    robustified(tmp_path / "cache.npy")
    note = tmp_path / "cache.npy.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "rows_done": done}))
    with pytest.raises(ca.InputError, match="cannot be read; delete it"):
        robustified(tmp_path / "cache.npy")


def test_features_with_a_damaged_header_are_refused(tmp_path):
    path = tmp_path / "cache.npy"
    robustified(path)
    path.write_bytes(path.read_bytes().replace(b"}", b"("))
    with pytest.raises(ca.InputError, match="is damaged"):
        robustified(path)


WRITER = """
import sys, numpy as np, convexadv as ca
number, path, proof = int(sys.argv[1]), sys.argv[2], sys.argv[3]
network = ca.ReLUNetwork(np.full((2000, 3), number), np.full(2000, 1.0), classes=[0, 1])
X = np.full((3, 3), 1.0 + number)
certificate = ca.certify(network, X, network.predict(X), 0.1)
for turn in range(30):
    ca.save(network, path, number=number)
    ca.save_certificate(certificate, proof)
"""


def test_three_writers_of_one_file_leave_whole_files_only(tmp_path):
    here, names = Path(__file__).parents[1], [str(tmp_path / name) for name in ("network", "proof")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here)}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(number), *names], env=environment) for number in range(3)
    ]
    seen = set()
    try:
        while any(writer.poll() is None for writer in writers):
            if os.path.exists(names[1]):
                network = ca.load(names[0])
                assert (network.neurons == network.metadata["number"]).all()
                assert ca.verify_certificate(names[1]).ok
                seen.add(network.metadata["number"])
    finally:
        for writer in writers:
            writer.wait(60)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(os.listdir(tmp_path)) == ["network", "proof"]
    assert seen


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(tmp_path, monkeypatch):
    """Whichever reader is used, header and tensors are those of one file."""
    paths = [tmp_path / name for name in ("first", "second")]
    for number, path in enumerate(paths):
        network = ca.ReLUNetwork(np.full((5, 2), number + 1.0), np.ones(5), classes=[0, 1])
        ca.save(network, path, number=number, padding="x" * 1000 * number)
    honest, opened = open, []

    def replacing(name, *arguments, **options):
        file = honest(name, *arguments, **options)
        if str(name) == str(paths[0]) and not opened:
            opened.append(name)
            os.replace(paths[1], paths[0])
        return file

    monkeypatch.setattr("builtins.open", replacing)
    network = ca.load(paths[0])
    assert opened
    assert (network.neurons == network.metadata["number"] + 1).all()
