"""Several processes that hold a part of the rows each: the same certified answer as one, whoever asks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from process_worker import SETTINGS, data

import convexadv as ca
from convexadv.problems import OptimalityCertificate
from convexadv.problems.certificate import AtomSet
from convexadv.processes import Together

HERE = Path(__file__).parent
WORKER = HERE / "process_worker.py"


def start(rank, size, folder, *more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(WORKER), str(rank), str(size), str(folder), *more]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(size, folder):
    folder.mkdir(exist_ok=True)
    workers = [start(rank, size, folder) for rank in range(size)]
    words = [worker.communicate(timeout=100)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * size, words
    return [json.loads((folder / f"report-{size}-{rank}.json").read_text()) for rank in range(size)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return folder, {size: run(size, folder / str(size)) for size in (1, 2, 4)}


def atoms_of(path):
    with np.load(path) as file:
        count = len({name.split(".")[0] for name in file.files})
        sets = []
        for number in range(count):
            arrays = {
                name: file[f"{number}.{name}"] if f"{number}.{name}" in file.files else None
                for name in ("multipliers", "coordinates", "basis", "spread", "groups")
            }
            sets.append(AtomSet(*map(int, file[f"{number}.place"]), **arrays))
    return OptimalityCertificate(tuple(sets))


@pytest.mark.parametrize("kind", SETTINGS)
def test_any_number_of_processes_finds_the_same(runs, kind):
    folder, reports = runs
    X, y = data(kind)
    problem = ca.PolynomialProblem(X, y, **SETTINGS[kind])
    alone = ca.solve(problem, tol=1e-4)
    for size, all_reports in reports.items():
        own = [report[kind] for report in all_reports]
        assert {report["status"] for report in own} == {"optimal"}
        assert len({(report["objective"], report["bound"], report["bits"]) for report in own}) == 1
        network = ca.load(folder / str(size) / f"{kind}-{size}-0.safetensors")
        assert problem.objective(network) == pytest.approx(own[0]["objective"], rel=1e-12)
        assert own[0]["objective"] == pytest.approx(alone.objective, rel=2e-4)
        assert own[0]["objective"] >= alone.lower_bound
        bound = problem.lower_bound(atoms_of(folder / str(size) / f"{kind}-{size}.npz"))
        assert bound == pytest.approx(own[0]["bound"], rel=1e-9)
        assert problem.gap(own[0]["objective"], bound) <= 1e-4


def test_a_repeated_run_gives_the_same_bits(runs, tmp_path):
    first = runs[1][2]
    again = run(2, tmp_path / "again")
    assert [{kind: r["bits"] for kind, r in report.items()} for report in first] == [
        {kind: r["bits"] for kind, r in report.items()} for report in again
    ]


def test_what_is_sent_does_not_grow_with_the_rows(tmp_path):
    sent = []
    for copies in (1, 8):
        (tmp_path / str(copies)).mkdir()
        workers = [start(rank, 2, tmp_path / str(copies), "copies", str(copies)) for rank in range(2)]
        words = [worker.communicate(timeout=100)[0] for worker in workers]
        assert all(worker.returncode == 0 for worker in workers), words
        report = json.loads((tmp_path / str(copies) / "report-2-0.json").read_text())
        sent.append((report["bytes"] / report["sweeps"], report["sweeps"]))
    # repeating all rows changes nothing but rounding: nearly the same steps; 8 bytes a row, once, would be a sixth more
    assert sent[0] == pytest.approx(sent[1], rel=0.03)


def test_a_lost_process_is_an_error_and_the_checkpoint_survives(tmp_path):
    workers = [start(rank, 2, tmp_path, "lost") for rank in range(2)]
    for _ in range(600):
        if all((tmp_path / f"state.{rank}-of-2.1").exists() for rank in range(2)):
            break
        time.sleep(0.1)
    workers[1].send_signal(signal.SIGKILL)
    words, _ = workers[0].communicate(timeout=120)
    workers[1].communicate()
    assert workers[0].returncode == 3, words
    assert "lost the others" in words
    assert "resume=True" in words
    workers = [start(rank, 2, tmp_path, "resume") for rank in range(2)]
    words = [worker.communicate(timeout=100)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], words
    assert "optimal" in words[0]
    assert "resumed" in words[0]


def test_a_group_needs_torch_distributed():
    with pytest.raises(ca.InputError, match="init_process_group"):
        ca.PolynomialProblem(np.eye(3), [0, 1, 1], process_group=True)


class Pretended(Together):
    """Two processes, as far as asking goes."""

    size = 2


@pytest.mark.parametrize("ask", [lambda p: p.zero_solution_beta(), lambda p: ca.solve(p, "CLARABEL")])
def test_what_needs_all_rows_says_so(ask):
    problem = ca.PolynomialProblem(np.eye(3), [0, 1, 1], process_group=Pretended())
    with pytest.raises(ca.InputError, match="all rows in one process"):
        ask(problem)
