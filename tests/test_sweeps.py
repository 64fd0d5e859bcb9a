"""Solves block by block: the same certified answer for any blocks, bitwise the same for any number of threads."""

import numpy as np
import pytest
import torch

import convexadv as ca
from convexadv.problems.chunks import chunked, joined, split
from convexadv.processes import Together
from convexadv.solvers.polynomial import solver, sweeps
from convexadv.solvers.polynomial.model import ComponentModel, Neurons, Point, Smoothing
from convexadv.solvers.polynomial.requests import Evaluate, Margins, Price

SETTINGS = [
    {"radius": 0.1, "loss": "hinge"},
    {"radius": np.linspace(0.0, 0.2, 700), "loss": "logistic"},
    {"radius": 0.1, "loss": "squared_hinge", "clean_weight": 0.5, "scale": np.linspace(0.1, 1.0, 5)},
    {"radius": 0.1, "loss": "hinge", "multiclass": "joint"},
    {"radius": 0.1, "loss": "squared"},
    {"radius": 0.05, "loss": "hinge", "hard_margin": (np.array([650, 3, 301]), 0.05)},
    {"radius": 0.05, "loss": "hinge", "norm": "linf"},
    {"radius": np.where(np.arange(700) < 300, 0.0, 0.1), "loss": "hinge"},
]


def make(settings, n=700):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(n, 5)) / 5**0.5
    score = 3.0 * X[:, 0] * X[:, 1] + X[:, 2]
    classes = 3 if settings.get("multiclass") == "joint" else 2
    y = score if settings["loss"] == "squared" else np.digitize(score, [-0.2, 0.3] if classes == 3 else [0.0])
    if "hard_margin" in settings:
        rows, margin = settings["hard_margin"]
        X[rows, 2] = np.where(y[rows] > 0, 2.0, -2.0)
        settings = {**settings, "hard_margin": (rows, margin)}
    return ca.PolynomialProblem(X, y, beta=0.01, **settings)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 256 rows, the least there is."""
    monkeypatch.setattr(sweeps, "_BLOCK_BYTES", (1, 1))


@pytest.fixture
def by_columns(monkeypatch):
    """Column generation, however small the problem."""
    monkeypatch.setattr(solver, "worth_while", lambda column: False)


@pytest.mark.usefixtures("by_columns")
@pytest.mark.parametrize(
    "settings",
    SETTINGS[:6] + SETTINGS[7:],
    ids=lambda settings: "-".join(map(str, list(settings)[1:])) + settings["loss"],
)
def test_blocks_change_nothing_but_rounding(settings, monkeypatch):
    problem = make(settings)
    whole = ca.solve(problem, tol=1e-4, time_limit=60)
    monkeypatch.setattr(sweeps, "_BLOCK_BYTES", (1, 1))
    parts = ca.solve(problem, tol=1e-4, time_limit=60)
    assert parts.status == whole.status
    assert parts.objective == pytest.approx(whole.objective, rel=1e-3)
    assert parts.lower_bound <= whole.objective * (1 + 1e-9)
    assert problem.lower_bound(parts.certificate) == pytest.approx(parts.lower_bound, rel=1e-12)


@pytest.mark.parametrize("settings", SETTINGS[:5] + SETTINGS[6:7], ids=lambda settings: settings["loss"])
def test_values_gradients_and_margins_are_sums_over_blocks(settings, monkeypatch):
    problem, answers = make(settings), []
    for size in (1 << 22, 1):
        monkeypatch.setattr(sweeps, "_BLOCK_BYTES", (size, size))
        own = sweeps.Sweeps(problem, torch.device("cpu"), torch.float64)
        model = ComponentModel(problem, 0, torch.device("cpu"))
        rng = np.random.default_rng(1)
        outputs = torch.as_tensor(rng.integers(0, len(model.component.outputs), 4))
        neurons = Neurons(
            torch.as_tensor(rng.normal(size=(4, 5))), torch.tensor([1.0, -1.0, 1.0, -1.0]).double(), outputs
        )
        centres = [
            [
                torch.full((terms.k, terms.g), 0.3).double() if kind.centred else None
                for kind, terms in zip(model.kinds, chunk.terms[0], strict=True)
            ]
            for chunk in own.chunks
        ]
        (value, gradient, z), margins = own.serve(
            [Evaluate(model, neurons, Smoothing(centres, 0.1, 1.0, 1e-3)), Margins(model, neurons)]
        )
        sizes = [terms.shape for terms in model.component.terms]
        answers.append(
            (len(own.chunks), value, gradient, joined(own.chunks, 0, z, sizes), joined(own.chunks, 0, margins, sizes))
        )
    (one, value, gradient, z, margins), (many, *others) = answers
    assert (one, many) == (1, 3)
    assert others[0] == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(others[1], gradient, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip([*z, *margins], [*others[2], *others[3]], strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-7, atol=1e-9)


@pytest.mark.usefixtures("by_columns")
def test_threads_change_no_bit(small_blocks):
    problem, before = make(SETTINGS[0]), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            solution = ca.solve(problem, tol=1e-4)
            atoms = [(atom.multipliers.tobytes(), atom.basis.tobytes()) for atom in solution.certificate.atoms]
            neurons = solution.network.neurons.detach().numpy().tobytes()
            results.append((solution.objective, solution.lower_bound, neurons, atoms))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.usefixtures("by_columns")
def test_all_classes_share_their_sweeps():
    X, y = np.random.default_rng(0).normal(size=(300, 4)), np.arange(300) % 4
    X[:, 0] += y
    problem = ca.PolynomialProblem(X, y, beta=0.02, radius=0.05)
    solution = ca.solve(problem, tol=1e-3)
    assert solution.status.ok
    assert solution.variables["sweeps"] < 0.7 * solution.variables["evaluations"]


def test_split_and_joined_are_inverse():
    problem = make(SETTINGS[5])
    problem.rows.block_rows = 256
    chunks = chunked(problem.rows, problem.components, np.asarray)
    sizes = [terms.shape for terms in problem.components[0].terms]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=size) for size in sizes]
    back = joined(chunks, 0, split(chunks, 0, arrays), sizes)
    for ours, theirs in zip(arrays, back, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [chunk.place for chunk in chunks] == problem.rows.places()


def test_memory_maps_are_read_block_by_block(tmp_path, small_blocks):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 40)).astype(np.float32)
    y = X[:, 0] * X[:, 1] > 0.2
    np.save(tmp_path / "x.npy", X)
    largest = []

    class Watched:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, part):
            largest.append(part.stop - part.start)
            return np.load(tmp_path / "x.npy", mmap_mode="r")[part]

    settings = {"beta": 0.05, "radius": 0.01}
    ours = ca.solve(ca.PolynomialProblem(Watched(), y, **settings), tol=1e-2)
    theirs = ca.solve(ca.PolynomialProblem(X, y, **settings), tol=1e-2)
    assert ours.objective == theirs.objective
    assert ours.status.ok
    in_solver = [size for size in largest if size <= 256]
    assert len(in_solver) > 10 * 12


class Counted(Together):
    """Two processes of which the other one has nothing to add; what would be sent is counted."""

    size = 2

    def __init__(self):
        self.sent = []

    def total(self, array):
        self.sent.append(array.numel() if torch.is_tensor(array) else array.size)
        return array


def test_a_sweep_sends_one_vector_of_the_size_of_its_answers():
    problem, together = make(SETTINGS[3]), Counted()
    alone = sweeps.Sweeps(problem, torch.device("cpu"), torch.float64)
    problem.together = together
    own = sweeps.Sweeps(problem, torch.device("cpu"), torch.float64)
    model, m, d = ComponentModel(problem, 0, torch.device("cpu")), 4, 5
    vectors = torch.as_tensor(np.random.default_rng(1).normal(size=(m, d)))
    neurons = Neurons(vectors, torch.tensor([1.0, -1.0, 1.0, -1.0]).double(), torch.tensor([0, 1, 2, 0]))
    centres = [[torch.full((terms.k, terms.g), 0.3).double() for terms in chunk.terms[0]] for chunk in own.chunks]
    evaluate = Evaluate(model, neurons, Smoothing(centres, 0.1, 1.0, 1e-3))
    together.sent.clear()
    ((value, gradient, z),) = own.serve([evaluate])
    assert together.sent == [1 + m * d]
    own.serve([evaluate, Price(model, Point(neurons, 1e-3, z)), Margins(model, neurons)])
    outputs = len(model.component.outputs)
    assert together.sent[1:] == [1 + m * d + 1 + outputs * (d * d + d + 1)]
    ((same, whole, _),) = alone.serve([evaluate])
    assert value == same
    assert torch.equal(gradient, whole)
