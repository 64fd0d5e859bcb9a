"""Checkpoints: complete or absent, of this problem, and a way to the same answer."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import convexadv as ca
from convexadv.processes import Together
from convexadv.solvers.polynomial.checkpoint import Checkpoint

PROGRAM = """
import sys, numpy as np, torch, convexadv as ca
from test_checkpoint import problem
torch.set_num_threads(1)
solution = ca.solve(problem(), tol=1e-3, checkpoint=sys.argv[1], checkpoint_every=0.02, resume=True)
print(solution.status, repr(solution.objective), repr(solution.lower_bound))
"""


def problem(**settings):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 12)) / 12**0.5
    y = (4 * (X[:, :4] ** 2).sum(1) + 0.3 * rng.normal(size=300) > 1).astype(int) + (X[:, 5] > 0.3)
    return ca.PolynomialProblem(X, y, **{"radius": 0.05, "beta": 0.003, **settings})


@pytest.fixture(scope="module")
def whole():
    return ca.solve(problem(), tol=1e-3)


def test_resuming_reaches_the_same_answer(tmp_path, whole):
    path, counts = tmp_path / "state", []

    def stop(record):
        counts.append(record)
        return len(counts) % 5 == 0

    for _ in range(100):
        solution = ca.solve(problem(), tol=1e-3, checkpoint=path, resume=True, callback=stop)
        if solution.status.ok:
            break
        assert solution.status is ca.Status.STOPPED
    assert solution.status.ok
    assert solution.objective == pytest.approx(whole.objective, rel=2e-3)
    assert problem().lower_bound(solution.certificate) == pytest.approx(solution.lower_bound)
    times = [record.time for record in solution.history]
    assert times == sorted(times)
    again = ca.solve(problem(), tol=1e-3, checkpoint=path, resume=True)
    assert again.objective == solution.objective


def test_killed_at_any_moment(tmp_path, whole):
    here = Path(__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    path, killed = tmp_path / "state", 0
    for seconds in (0.05, 0.3, 0.1, 60.0):
        worker = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(400):  # starting takes seconds; count from the first file
            if path.exists() or worker.poll() is not None:
                break
            time.sleep(0.02)
        try:
            words, _ = worker.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.communicate()
            killed += 1
            continue
        break
    assert killed
    assert worker.returncode == 0
    assert (
        not list(tmp_path.glob(".convexadv-*")) or killed
    )  # a killed process may leave its unfinished file, nothing else
    status, objective, bound = words.split()
    assert status == "optimal"
    assert float(objective) == pytest.approx(whole.objective, rel=2e-3)
    assert float(bound) <= whole.objective


def test_other_problems_and_broken_files_are_refused(tmp_path):
    path = tmp_path / "state"
    ca.solve(problem(), tol=0.1, checkpoint=path)
    with pytest.raises(ca.InputError, match="exists; give resume=True to continue"):
        ca.solve(problem(), tol=0.1, checkpoint=path)
    with pytest.raises(ca.FileFormatError, match="belongs to another problem"):
        ca.solve(problem(beta=0.004), tol=0.1, checkpoint=path, resume=True)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"{}" * 100):
        path.write_bytes(broken)
        with pytest.raises(ca.FileFormatError, match="no readable checkpoint"):
            ca.solve(problem(), tol=0.1, checkpoint=path, resume=True)
        assert path.read_bytes() == broken


class Pretended(Together):
    """One of several processes, as far as asking goes."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


def test_files_of_another_number_of_processes_are_refused(tmp_path):
    for name in ("alone", "pairs.0-of-2.0", "pairs.1-of-2.1", "pairs.notes", "both", "both.0-of-3.1", "odd.0-of-2.7"):
        (tmp_path / name).write_bytes(b"state")

    def at(name, size, resume=True):
        own = problem()
        own.together = Pretended(size - 1, size)
        return Checkpoint(tmp_path / name, own, resume=resume)

    with pytest.raises(ca.InputError, match=r"alone is of a solve by one process, and this is one by 2; start as many"):
        at("alone", 2)
    with pytest.raises(ca.InputError, match=r"pairs.0-of-2.0 is of a solve by 2 processes, and this is one by 3"):
        at("pairs", 3)
    with pytest.raises(ca.InputError, match=r"pairs.0-of-2.0 is of a solve by 2 processes, and this is one by 1"):
        ca.solve(problem(), checkpoint=tmp_path / "pairs", resume=True)
    with pytest.raises(ca.InputError, match=r"pairs.0-of-2.0 exists; give resume=True to continue from it"):
        ca.solve(problem(), checkpoint=tmp_path / "pairs")
    with pytest.raises(ca.InputError, match="both is of a solve by one process"):
        at("both", 2)
    for name, size in (("alone", 1), ("pairs", 2), ("both", 1), ("both", 3)):
        at(name, size)
    at("odd", 4, resume=False)


def test_bad_arguments(tmp_path):
    with pytest.raises(ca.InputError, match="folder does not exist"):
        ca.solve(problem(), checkpoint=tmp_path / "absent" / "state")
    with pytest.raises(ca.InputError, match="path of one is needed"):
        ca.solve(problem(), resume=True)
    with pytest.raises(ca.InputError, match="polynomial problems"):
        ca.solve(problem(), "CLARABEL", checkpoint=tmp_path / "state")
    with pytest.raises(ca.InputError, match="checkpoint_every"):
        ca.solve(problem(), checkpoint=tmp_path / "state", checkpoint_every=-1)
    assert not list(tmp_path.iterdir())


def test_starts_anew_where_there_is_nothing_to_resume(tmp_path, whole):
    solution = ca.solve(problem(), tol=1e-3, checkpoint=tmp_path / "state", resume=True)
    assert solution.status.ok
    assert solution.objective >= whole.lower_bound
    assert (tmp_path / "state").exists()
