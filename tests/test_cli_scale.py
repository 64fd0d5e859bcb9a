"""``convexadv fit`` in several processes, from a checkpoint, and from files that must not be replaced."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import convexadv as ca
from convexadv import sources
from convexadv.cli import main
from convexadv.cli.data import Share, fingerprint, read_data, scaling_of
from convexadv.cli.launch import _take_card, launched
from convexadv.datasets import scaling
from convexadv.errors import InputError
from convexadv.processes import Together

HERE = Path(__file__).parent
SETTINGS = ("--target", "labels.npy", "--radius", "0.05", "--beta", "0.03")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with rows and labels in files."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 700)
    return tmp_path


def write(at, n):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(n, 5)) * [1, 2, 3, 4, 5] + 1.0
    y = ((X[:, 0] - 1) * (X[:, 1] - 1) > 0).astype(int) + (X[:, 2] > 4)
    np.save(at / "rows.npy", X.astype(np.float32))
    np.save(at / "labels.npy", np.array(["no", "yes", "perhaps"])[y])


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent), **more}


def started(*arguments, **more):
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def torchrun(*arguments):
    return started(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "convexadv", *arguments
    )


def side_by_side(size, *arguments):
    """Codes, outputs and errors of processes in the environment that torchrun makes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(size)}
    workers = [
        started("-m", "convexadv", *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **place) for rank in range(size)
    ]
    words = [worker.communicate(timeout=100) for worker in workers]
    return [worker.returncode for worker in workers], [out for out, _ in words], [err for _, err in words]


def files(at):
    return {path: path.stat().st_mtime_ns for path in at.rglob("*")}


def ours(err):
    """Lines that the command itself wrote."""
    return [line for line in err.splitlines() if line.startswith("convexadv: ")]


def wait_for(found, worker):
    for _ in range(1200):
        if found():
            return
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.05)
    raise AssertionError("nothing came")


def test_two_processes_fit_what_one_fits(folder, capsys):
    arguments = ("fit", "rows.npy", *SETTINGS, "--test-fraction", "0.2", "--tol", "1e-3", "--json")
    assert main([*arguments, "--out", "one.safetensors"]) == 0
    one = json.loads(capsys.readouterr().out)
    before = set(files(folder))
    worker = torchrun(*arguments, "--out", "two.safetensors", "--plot", "gap.png")
    out, err = worker.communicate(timeout=100)
    assert worker.returncode == 0, err
    two = json.loads(out)  # written once
    assert ours(err) == []
    assert {path.name for path in set(files(folder)) - before} == {"two.safetensors", "gap.png"}
    assert two["objective"] == pytest.approx(one["objective"], rel=2e-3)
    assert two["lower_bound"] <= one["objective"]
    assert (one["processes"], two["processes"]) == (1, 2)
    for key in ("data", "settings", "status"):
        assert one[key] == two[key]
    for part in ("train", "test"):
        assert one[part]["accuracy"] == pytest.approx(two[part]["accuracy"], abs=0.02)
    first, second = ca.load("one.safetensors"), ca.load("two.safetensors")
    for name in ("shift", "scale"):
        np.testing.assert_array_equal(getattr(first, name).numpy(), getattr(second, name).numpy())
    rows, y = np.load("rows.npy"), np.load("labels.npy")
    correct = two["train"]["accuracy"] * two["data"]["train_rows"] + two["test"]["accuracy"] * two["data"]["test_rows"]
    assert correct == pytest.approx((second.predict(rows) == y).sum())


def test_an_error_of_one_process_ends_all_with_one_sentence(folder):
    rows = np.load("rows.npy")
    rows[600, 2] = np.nan  # among those of the second process
    np.save("rows.npy", rows)
    before = files(folder)
    codes, outs, errs = side_by_side(2, "fit", "rows.npy", *SETTINGS, "--scaling", "none")
    assert codes == [2, 2]
    assert outs == ["", ""]
    (line,) = ours("\n".join(errs))
    assert "X[250, 2] is nan" in line
    assert "process 1 of 2" in line
    assert "\n".join(errs).strip() == line
    assert files(folder) == before


def test_an_error_of_all_processes_is_said_once(folder):
    before = files(folder)
    codes, outs, errs = side_by_side(2, "fit", "rows.npy", *SETTINGS, "--model", "relu")
    assert codes == [2, 2]
    assert outs == ["", ""]
    (line,) = "".join(errs).splitlines()
    assert line.startswith("convexadv: --model relu is trained by one process")
    assert files(folder) == before


def test_a_lost_process_is_one_sentence_and_the_checkpoint_goes_on(folder):
    fit = ("fit", "rows.npy", *SETTINGS, "--checkpoint", "state", "--checkpoint-every", "0.1")
    worker = torchrun(*fit, "--tol", "1e-13", "--time-limit", "60")
    kept = [folder / f"state.{rank}-of-2.1" for rank in range(2)]
    wait_for(lambda: all(path.exists() for path in kept), worker)
    os.kill(children(worker.pid)[1], signal.SIGKILL)
    out, err = worker.communicate(timeout=100)
    assert worker.returncode != 0
    assert "status" not in out
    (line,) = ours(err)
    assert "process 0 of 2" in line
    assert "start all of them again, with --resume where a checkpoint was kept" in line
    assert "exitcode  : 7" in err or "exitcode  : -9" in err  # torchrun's report of the first to end
    assert not (folder / "model.safetensors").exists()
    codes, outs, errs = side_by_side(2, *fit, "--tol", "1e-3", "--resume")
    assert (codes, errs) == ([0, 0], ["", ""])
    assert "optimal" in outs[0]
    assert outs[1] == ""


def children(pid):
    """Processes that a process started, in their order."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_killed_fit_goes_on_from_its_checkpoint(folder, capsys):
    fit = (
        "fit",
        "rows.npy",
        *SETTINGS,
        "--checkpoint",
        "state",
        "--checkpoint-every",
        "0.05",
        "--out",
        "m.safetensors",
    )
    worker = started("-m", "convexadv", *fit, "--tol", "1e-13", "--time-limit", "60")
    wait_for((folder / "state").exists, worker)
    worker.kill()
    worker.communicate()
    assert not (folder / "m.safetensors").exists()
    before = files(folder)
    assert main([*fit, "--tol", "1e-3"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "state exists; give --resume to continue from it" in err
    assert files(folder) == before
    assert main([*fit, "--tol", "1e-3", "--resume", "--json"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert main(["fit", "rows.npy", *SETTINGS, "--tol", "1e-3", "--json"]) == 0
    assert resumed["objective"] == pytest.approx(json.loads(capsys.readouterr().out)["objective"], rel=2e-3)
    assert "checkpoint" not in resumed["settings"]
    assert main([*fit, "--resume", "--beta", "0.02"]) == 2
    assert "belongs to another problem" in capsys.readouterr().err


REFUSED = {
    "resume alone": (["--resume"], "--resume needs --checkpoint PATH"),
    "seconds alone": (["--checkpoint-every", "5"], "--checkpoint-every needs --checkpoint PATH"),
    "no seconds": (["--checkpoint", "state", "--checkpoint-every", "0"], "above zero"),
    "conic": (["--checkpoint", "state", "--solver", "CLARABEL"], "CLARABEL keeps no state"),
    "patterns": (["--checkpoint", "state", "--model", "relu"], "--checkpoint belongs to --model polynomial"),
    "patterns resumed": (["--resume", "--model", "gated-relu"], "--resume belongs to --model polynomial"),
    "no folder": (["--checkpoint", "absent/state"], "does not exist"),
    "the model": (["--checkpoint", "m", "--out", "m"], "two different files"),
    "the data": (["--checkpoint", "rows.npy", "--resume"], "replaced"),
    "of others": (["--checkpoint", "theirs", "--resume"], "by 2 processes, and this is one by 1"),
    "of others, anew": (["--checkpoint", "theirs"], "theirs.0-of-2.1 exists"),
    "damaged": (["--checkpoint", "damaged", "--resume"], "no readable checkpoint"),
    "the labels": (["--out", "labels.npy"], "--out labels.npy is the file that is read"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_fit_refuses(folder, capsys, case):
    (folder / "theirs.0-of-2.1").write_bytes(b"state")
    (folder / "theirs.notes").write_text("not theirs")
    (folder / "damaged").write_bytes(b"state")
    before = files(folder)
    options, words = REFUSED[case]
    assert main(["fit", "rows.npy", *SETTINGS, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert files(folder) == before


def test_shards_of_a_folder_are_not_replaced(folder, capsys):
    (folder / "shards").mkdir()
    os.rename("rows.npy", "shards/0.npy")
    assert main(["fit", "shards", *SETTINGS, "--out", "shards/0.npy"]) == 2
    assert "replaced" in capsys.readouterr().err
    for verb in (["attack", "--out", "labels.npz"], ["certify", "--json", "labels.npz"]):
        os.path.exists("labels.npz") or os.rename("labels.npy", "labels.npz")
        assert main([verb[0], "m.safetensors", "shards", "--target", "labels.npz", *verb[1:], "--radius", "0.1"]) == 2
        assert "replaced" in capsys.readouterr().err


def test_only_fit_is_for_torchrun(capsys, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        assert main(["evaluate", "m.safetensors", "wdbc"]) == 2
        assert capsys.readouterr().err.count("\n") == lines
        assert main(["fit", "wdbc", "--radius", "-1"]) == 2
        assert capsys.readouterr().err.count("\n") == lines
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(InputError, match="RANK=2 and WORLD_SIZE=2"):
        launched()
    monkeypatch.delenv("MASTER_PORT")
    assert launched() == (0, 1)


def test_a_card_for_every_process(monkeypatch):
    import torch

    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(InputError, match="give --device cuda"):
        _take_card("cuda:1", torch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(InputError, match="finds 3 here"):
        _take_card("cuda", torch)
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    _take_card("cuda", torch)
    assert taken == [3]


# ---------------------------------------------------------------------------- the rows of each process


class Thread(Together):
    """A process that is a thread of the test."""

    def __init__(self, rank, size, meeting, values):
        self.rank, self.size, self._meeting, self._values = rank, size, meeting, values

    def gather(self, value):
        self._values[self.rank] = value
        self._meeting.wait(30)
        values = list(self._values)
        self._meeting.wait(30)
        return values


def in_threads(size, function):
    meeting, values, results = threading.Barrier(size), [None] * size, [None] * size

    def run(rank):
        results[rank] = function(Thread(rank, size, meeting, values))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.mark.parametrize("segments", [1024, 2])
@pytest.mark.parametrize("kind", ["unit", "standard", "none"])
def test_scaling_and_fingerprint_are_those_of_one_process_bit_by_bit(tmp_path, monkeypatch, kind, segments):
    write(tmp_path, 14000)
    monkeypatch.setattr(scaling, "_MOST_SEGMENTS", segments)
    data = read_data(str(tmp_path / "rows.npy"), str(tmp_path / "labels.npy"))
    alone, digest = scaling_of(kind, data.X), fingerprint(data.X, data.y)
    for size in (2, 3, 5):  # five processes for four blocks
        for found in in_threads(size, lambda thread: scaling_of(kind, data.X, thread)):
            np.testing.assert_array_equal(found.shift, alone.shift)
            np.testing.assert_array_equal(found.scale, alone.scale)
        assert set(in_threads(size, lambda thread: fingerprint(data.X, data.y, thread))) == {digest}


def test_every_process_reads_its_own_rows_only(tmp_path, monkeypatch):
    write(tmp_path, 1000)
    data = read_data(str(tmp_path / "rows.npy"), str(tmp_path / "labels.npy"))
    X, ranges, read = np.load(tmp_path / "rows.npy"), [], sources.NpyRows._read

    def noted(self, first, stop):
        ranges.append((first, stop))
        return read(self, first, stop)

    monkeypatch.setattr(sources.NpyRows, "_read", noted)
    everything = np.arange(1000)
    test = everything[everything % 5 == 2]
    train = np.setdiff1d(everything, test)
    seen = []
    for rank in range(3):
        ranges.clear()
        share = Share.of(data, train, test, Thread(rank, 3, None, None))
        own = train[rank * 800 // 3 : (rank + 1) * 800 // 3]
        np.testing.assert_array_equal(np.asarray(share.X[share.train]), X[own])
        np.testing.assert_array_equal(share.y[share.train], data.y[own])
        assert min(first for first, _ in ranges) == own[0]
        assert max(stop for _, stop in ranges) == own[-1] + 1
        np.testing.assert_array_equal(np.asarray(share.X[share.test]), X[test[rank * 200 // 3 : (rank + 1) * 200 // 3]])
        seen.append(len(share.train))
    assert sum(seen) == 800
    assert max(seen) - min(seen) <= 1
    with pytest.raises(InputError, match="2 training rows for 3 processes"):
        Share.of(data, train[:2], test, Thread(0, 3, None, None))
