"""Rows out of files, shards, blocks and data sets against the same rows in memory; what is read, and what is refused."""

import doctest
import hashlib
import itertools
import json
import operator
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import convexadv as ca
from convexadv import sources
from convexadv._arrays import to_numpy
from convexadv.cli import main
from convexadv.cli.data import Features, fingerprint, read_data, scaling_of
from convexadv.errors import FileFormatError, InputError
from convexadv.rows import Rows, check_finite
from convexadv.sources import BlockRows, DatasetRows, Source, open_rows

N, D = 37, 5


def matrix(n=N, d=D):
    return np.random.default_rng([n, d]).standard_normal((n, d))


def npy(path, X, name="rows.npy"):
    path.mkdir(exist_ok=True)
    np.save(path / name, X)
    return path / name


def safetensors(path, X, dtype=None, name="rows.safetensors", **others):
    path.mkdir(exist_ok=True)
    save_file({"X": torch.tensor(np.ascontiguousarray(X), dtype=dtype), **others}, path / name)
    return path / name


class Items(torch.utils.data.Dataset):
    """A map-style data set of items made by a function of the row."""

    def __init__(self, X, item):
        self.X, self.item = X, item

    def __len__(self):
        return len(self.X)

    def __getitem__(self, k):
        return self.item(self.X[k])


class Batches(Items):
    """One that gives several items at once, and nothing else."""

    def __getitem__(self, k):
        assert k == 0
        return super().__getitem__(k)

    def __getitems__(self, numbers):
        return [self.item(self.X[k]) for k in numbers]


class Lazy:
    """A matrix of another library: shape, dtype and slicing."""

    def __init__(self, X, limit=None):
        self._X, self.shape, self.dtype, self.limit, self.read = X, X.shape, X.dtype, limit, 0

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        block = self._X[rows]
        assert self.limit is None or len(block) <= self.limit, f"{len(block)} rows were asked for at once"
        self.read += len(block)
        return block


def plain(row):
    return row


def tensor(row):
    return torch.tensor(row)


def pair(row):
    return torch.tensor(row).reshape(1, -1), 3


def labelled(row):
    return {"label": 1, "x": row.tolist()}


def numbers(row):
    return row.tolist()


SOURCES = {
    "npy": lambda X, at: open_rows(npy(at, X)),
    "npy float32": lambda X, at: open_rows(npy(at, X.astype(np.float32))),
    "npy float16": lambda X, at: open_rows(npy(at, X.astype(np.float16))),
    "npy columns first": lambda X, at: open_rows(npy(at, np.asfortranarray(X))),
    "npy big endian": lambda X, at: open_rows(npy(at, X.astype(">f8"))),
    "npy integers": lambda X, at: open_rows(npy(at, np.round(10 * X).astype(np.int16))),
    "npy booleans": lambda X, at: open_rows(npy(at, X > 0)),
    "path": lambda X, at: npy(at, X),
    "path in text": lambda X, at: str(safetensors(at, X)),
    "safetensors float64": lambda X, at: open_rows(safetensors(at, X, torch.float64)),
    "safetensors float32": lambda X, at: open_rows(safetensors(at, X, torch.float32)),
    "safetensors float16": lambda X, at: open_rows(safetensors(at, X, torch.float16)),
    "safetensors bfloat16": lambda X, at: open_rows(safetensors(at, X, torch.bfloat16)),
    "safetensors bytes": lambda X, at: open_rows(safetensors(at, np.abs(10 * X), torch.uint8)),
    "safetensors booleans": lambda X, at: open_rows(safetensors(at, X > 0)),
    "safetensors by name": lambda X, at: open_rows(safetensors(at, X, Z=torch.ones(2, 2)), "X"),
    "folder": lambda X, at: open_rows(npy(at, X[:10], "a.npy") and npy(at, X[10:], "b.npy").parent),
    "folder of both kinds": lambda X, at: (
        (npy(at, X[:10], "1.npy"), safetensors(at, X[10:], name="2.safetensors"))[0].parent
    ),
    "list of paths": lambda X, at: open_rows([npy(at, X[:30], "b.npy"), str(npy(at, X[30:], "a.npy"))]),
    "shards of all kinds": lambda X, at: [
        npy(at, X[:7]),
        X[7:9],
        torch.tensor(X[9:20]),
        open_rows(safetensors(at, X[20:])),
    ],
    "list of data sets": lambda X, _: [Items(X[:9], plain), Items(X[9:], pair)],
    "blocks": lambda X, _: BlockRows([X[:10], X[10:10], torch.tensor(X[10:30]), X[30:].tolist()]),
    "blocks by number": lambda X, _: BlockRows(lambda k: X[9 * k : 9 * k + 9], rows=[9, 9, 9, 9, 1]),
    "blocks of bfloat16": lambda X, _: BlockRows([torch.tensor(X).bfloat16()], rows=[N]),
    "block in a list": lambda X, _: [X[:3], BlockRows([X[3:9], X[9:]])],
    "data set": lambda X, _: Items(X, plain),
    "data set of tensors": lambda X, _: DatasetRows(Items(X, tensor)),
    "data set of pairs": lambda X, _: torch.utils.data.TensorDataset(torch.tensor(X), torch.zeros(N)),
    "data set of mappings": lambda X, _: DatasetRows(Items(X, labelled), "x"),
    "data set of numbers": lambda X, _: DatasetRows(Items(X, numbers)),
    "data set in batches": lambda X, _: DatasetRows(Batches(X, pair)),
    "subset": lambda X, _: torch.utils.data.Subset(Items(X, pair), range(N)),
    "data set as float32": lambda X, _: DatasetRows(Items(X, pair), dtype="float32"),
    "data set as bfloat16": lambda X, _: DatasetRows(Items(X, plain), dtype=torch.bfloat16),
    "another library": lambda X, _: Lazy(X),
    "shards of another library": lambda X, _: [Lazy(X[:20].astype(np.float32)), Lazy(X[20:])],
}


def expected(name):
    """The matrix that a source stands for."""
    X = matrix()
    if "integers" in name:
        return np.round(10 * X).astype(np.int16).astype(float)
    if "bytes" in name:
        return torch.tensor(np.abs(10 * X), dtype=torch.uint8).double().numpy()
    if "booleans" in name:
        return (X > 0).astype(float)
    if name == "shards of another library":
        X[:20] = X[:20].astype(np.float32)
    for kind in ("bfloat16", "float32", "float16"):
        if kind in name:
            return torch.tensor(X).to(getattr(torch, kind)).double().numpy()
    return X


@pytest.mark.parametrize(("name", "block_rows"), list(itertools.product(SOURCES, [3, 10, 1000])))
def test_products_are_those_of_the_array(name, block_rows, tmp_path):
    X, rows = expected(name), Rows.of(SOURCES[name](matrix(), tmp_path))
    rows.block_rows = block_rows
    assert rows.shape == X.shape
    rng = np.random.default_rng(0)
    right, left, weights = rng.standard_normal((D, 4)), rng.standard_normal((N, 2)), rng.standard_normal(N)
    assert all(type(block) is np.ndarray or isinstance(block, np.memmap) for _, block in rows.blocks())
    assert all(block.dtype == np.float64 and len(block) <= block_rows for _, block in rows.blocks())
    np.testing.assert_array_equal(np.concatenate([block for _, block in rows.blocks()]), X)
    np.testing.assert_allclose(rows.times(right), X @ right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(rows.transposed_times(left), X.T @ left, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(rows.weighted_gram(weights), X.T @ (weights[:, None] * X), rtol=1e-12, atol=1e-11)
    np.testing.assert_array_equal(rows.take([36, 0, 0, 17]), X[[36, 0, 0, 17]])
    assert rows.largest_norm() == pytest.approx(np.linalg.norm(X, axis=1).max(), rel=1e-14)
    check_finite(rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SOURCES)
def test_tensors_are_those_of_the_array(name, dtype, tmp_path):
    rows = Rows.of(SOURCES[name](matrix(), tmp_path)).to_torch("cpu", dtype)
    rows.block_rows = 8
    blocks = [block for _, block in rows.blocks()]
    assert all(block.dtype == dtype for block in blocks)
    np.testing.assert_array_equal(torch.cat(blocks).numpy(), torch.tensor(expected(name)).to(dtype).numpy())


@pytest.mark.parametrize("name", [name for name in SOURCES if "shards" not in name and "list" not in name])
def test_any_slice_is_that_of_the_array(name, tmp_path):
    for part in sources.sources_of(SOURCES[name](matrix(), tmp_path)):
        whole = to_numpy(part[:], np.float64)
        for first, stop in [
            (0, 0),
            (0, 1),
            (2, 7),
            (5, 2),
            (part.shape[0] - 1, part.shape[0] + 9),
            (-3, None),
            (None, None),
        ]:
            block = part[first:stop]
            assert block.dtype == part.dtype or "blocks" in name
            np.testing.assert_array_equal(to_numpy(block, np.float64), whole[first:stop])


def test_slices_cross_the_edges_of_shards(tmp_path):
    X = matrix()
    for source in (
        BlockRows([X[:10], X[10:12], X[12:]]),
        BlockRows([torch.tensor(X[:10]), torch.tensor(X[10:])]),
        open_rows([npy(tmp_path, X[:10], "a.npy"), safetensors(tmp_path, X[10:])]),
        open_rows([safetensors(tmp_path / "a", X[:10]), safetensors(tmp_path / "b", X[10:])]),
    ):
        for first, stop in [(0, N), (9, 11), (9, 13), (10, 12), (36, 37), (4, 4)]:
            np.testing.assert_array_equal(source[first:stop], X[first:stop])
        np.testing.assert_array_equal(np.asarray(source), X)
        assert np.asarray(source, np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy=False"):
        source.__array__(copy=False)


def test_the_storage_is_what_the_file_holds(tmp_path):
    X = matrix()
    for dtype in (np.float16, np.float32, np.float64):
        source = open_rows(npy(tmp_path, X.astype(dtype)))
        assert (source.shape, source.dtype, source[:4].dtype) == ((N, D), dtype, dtype)
    for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        source = open_rows(safetensors(tmp_path, X, kind))
        assert (source.shape, source.dtype, source[:4].dtype) == ((N, D), kind, kind)
    assert np.asarray(open_rows(safetensors(tmp_path, X, torch.bfloat16))).dtype == np.float32
    mixed = open_rows([npy(tmp_path, X), npy(tmp_path, X.astype(np.float32), "b.npy")])
    assert mixed.dtype == mixed[N - 1 : N + 1].dtype == np.float64
    assert DatasetRows(Items(X, plain), dtype=np.float16)[:3].dtype == np.float16


def test_blocks_of_files_cost_no_copy_and_cannot_change_the_file(tmp_path):
    path = npy(tmp_path, matrix())
    block = next(Rows.of(path).to_torch("cpu", torch.float64).blocks())[1]
    block.zero_()
    np.testing.assert_array_equal(np.load(path), matrix())


# ------------------------------------------------------------------------------------------- bounds


def test_no_product_asks_for_more_rows_than_a_block():
    source = Lazy(matrix(100), limit=7)
    rows = Rows.of(source)
    assert source.read == 0
    rows.block_rows = 7
    passes = [
        lambda: rows.times(np.ones((D, 1))),
        lambda: rows.transposed_times(np.ones((100, 1))),
        lambda: rows.weighted_gram(np.ones(100)),
        lambda: rows.take(np.arange(100)),
        lambda: check_finite(rows),
    ]
    for number, one_pass in enumerate(passes):
        one_pass()
        assert source.read == 100 * (number + 1)
    tensors = rows.to_torch("cpu", torch.float64)
    tensors.block_rows = 7
    tensors.times(torch.ones((D, 1), dtype=torch.float64))
    assert source.read == 100 * (len(passes) + 1)


def test_a_fit_reads_blocks_only():
    """Every slice of the whole way, from the check of the entries to the verified bound, is at most a block."""
    X, y = planted(5000, 1024)
    source = Lazy(X / 10, limit=Rows.of(X).block_rows)
    assert source.limit < len(X)
    problem = ca.PolynomialProblem(source, y, radius=0.1, beta=0.03)
    solution = ca.solve(problem, tol=1e-2, max_iter=1)
    assert problem.lower_bound(solution.certificate) <= problem.objective(solution.network)
    assert source.read >= 3 * len(X)


def test_data_sets_are_asked_for_the_rows_of_a_slice_only():
    asked = []

    def item(row):
        asked.append(row)
        return row

    source = DatasetRows(Items(np.arange(40.0)[:, None], item))
    asked.clear()
    source[10:13]
    assert [float(row[0]) for row in asked] == [10.0, 11.0, 12.0]


def test_one_block_is_kept_and_loaded_once_for_all_its_slices():
    X, loaded = matrix(30), []

    def load(k):
        loaded.append(k)
        return X[10 * k : 10 * k + 10]

    rows = Rows.of(BlockRows(load, rows=[10, 10, 10]))
    rows.block_rows = 3
    loaded.clear()
    np.testing.assert_array_equal(np.concatenate([block for _, block in rows.blocks()]), X)
    assert loaded in ([0, 1, 2], [1, 2])
    np.testing.assert_array_equal(np.concatenate([block for _, block in rows.blocks()]), X)
    assert loaded[-3:] == [0, 1, 2]


def resident():
    """Mebibytes of this process in memory."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["npy", "safetensors"])
def test_resident_memory_is_that_of_a_block(kind, tmp_path):
    n, d = 1 << 19, 128  # 256 MiB in float32, a hole on the disk
    path = tmp_path / f"rows.{kind}"
    if kind == "npy":
        np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
    else:
        header = json.dumps({"X": {"dtype": "F32", "shape": [n, d], "data_offsets": [0, 4 * n * d]}}).encode()
        header += b" " * (-len(header) % 8)
        with open(path, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + 4 * n * d)
    rows = Rows.of(path)
    rows.block_rows = 16384
    before, most = resident(), 0.0
    for _, block in rows.blocks():
        assert not block.any()
        most = max(most, resident() - before)
    assert most < 100


# --------------------------------------------------------------------------- processes and threads


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("blocks by number",)])
def test_sources_survive_pickling(name, tmp_path, monkeypatch):
    rows = Rows.of(SOURCES[name](matrix(), tmp_path))
    text = pickle.dumps(rows)
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(text).whole(), expected(name))


def test_files_are_pickled_by_name_and_blocks_without_the_one_that_is_kept(tmp_path):
    X = matrix(2000, 50)
    assert len(pickle.dumps(Rows.of(npy(tmp_path, X)))) < 1000
    assert len(pickle.dumps(open_rows(safetensors(tmp_path, X)))) < 1000
    blocks = BlockRows(FileBlocks(str(npy(tmp_path, X))))
    assert len(pickle.dumps(blocks)) < 2000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(blocks))[900:1100], X[900:1100])


class FileBlocks:
    """Two blocks of a file."""

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 2

    def __getitem__(self, k):
        return np.load(self.path)[1000 * k : 1000 * k + 1000]


def test_another_process_reads_the_same(tmp_path, monkeypatch):
    X = matrix()
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", X[:10])
    rows = Rows.of([open_rows("a.npy"), "a.npy", open_rows(safetensors(tmp_path, X, torch.bfloat16))])
    (tmp_path / "rows.pickle").write_bytes(pickle.dumps(rows))
    code = "import pickle, sys; print(repr(float(pickle.load(open(sys.argv[1], 'rb')).whole().sum())))"
    command = [sys.executable, "-c", code, str(tmp_path / "rows.pickle")]
    folder = str(Path(ca.__file__).parent.parent)
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": folder})
    assert done.stderr == ""
    assert float(done.stdout) == rows.whole().sum()


@pytest.mark.parametrize(
    "name", ["npy", "safetensors bfloat16", "folder", "blocks", "blocks by number", "data set of pairs"]
)
def test_threads_read_the_same(name, tmp_path):
    X, rows = expected(name), Rows.of(SOURCES[name](matrix(), tmp_path))
    rows.block_rows = 4
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: np.concatenate([block for _, block in rows.blocks()]), range(40)):
            np.testing.assert_array_equal(found, X)


# ------------------------------------------------------------------------------------------- fitting


def planted(n=300, d=6):
    rng = np.random.default_rng(7)
    X = rng.standard_normal((n, d)) / 3
    return X, (X[:, 0] * X[:, 1] + 0.3 * X[:, 2] + 0.05 * rng.standard_normal(n) > 0).astype(int)


@pytest.mark.parametrize("form", ["memory map", "npy", "safetensors", "shards", "blocks", "data set"])
def test_a_fit_from_elsewhere_is_the_fit_from_memory(form, tmp_path):
    X, y = planted()
    elsewhere = {
        "memory map": lambda: np.load(npy(tmp_path, X), mmap_mode="r"),
        "npy": lambda: npy(tmp_path, X),
        "safetensors": lambda: safetensors(tmp_path, X),
        "shards": lambda: [npy(tmp_path, X[:90]), X[90:]],
        "blocks": lambda: BlockRows([X[:100], X[100:]]),
        "data set": lambda: torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y)),
    }[form]()
    found = ca.solve(ca.PolynomialProblem(elsewhere, y, radius=0.05, beta=0.01), tol=1e-4)
    wanted = ca.solve(ca.PolynomialProblem(X, y, radius=0.05, beta=0.01), tol=1e-4)
    assert found.status.ok
    assert found.objective == pytest.approx(wanted.objective, rel=1e-4 if form in ("shards", "blocks") else 1e-9)
    assert found.lower_bound <= wanted.objective * (1 + 1e-9)


# ----------------------------------------------------------------------------------------- bad input


def bad_file(path, content, name="bad.npy"):
    (path / name).write_bytes(content)
    return path / name


def cut(file):
    file.write_bytes(file.read_bytes()[:-20])
    return file


def archive(at):
    """A NumPy archive under the name of a .npy file."""
    np.savez(at / "archive.npz", y=np.arange(N))
    return (at / "archive.npz").rename(at / "archive.npy")


BAD = {
    "no file": (lambda at: open_rows(at / "none.npy"), "no file or folder"),
    "no path": (lambda at: Rows.of(str(at / "none")), "X cannot be read: there is no file"),
    "another kind": (lambda at: open_rows(bad_file(at, b"1,2", "a.csv")), "of no known kind"),
    "an archive": (lambda at: Rows.of(bad_file(at, b"", "a.npz")), "of no known kind"),
    "no npy": (lambda at: open_rows(bad_file(at, b"nothing at all of the kind")), "no .npy file"),
    "an empty npy": (lambda at: open_rows(bad_file(at, b"")), "bad.npy"),
    "a cut npy": (lambda at: open_rows(cut(npy(at, matrix()))), "truncated"),
    "objects": (lambda at: open_rows(npy(at, matrix().astype(object))), "plain values"),
    "an archive as npy": (lambda at: open_rows(archive(at)), "an archive of several arrays"),
    "text": (lambda at: open_rows(npy(at, np.array([["a"], ["b"]]))), "real numbers"),
    "complex": (lambda at: open_rows(npy(at, 1j * matrix())), "complex128"),
    "complex tensor": (lambda at: open_rows(safetensors(at, 1j * matrix(), torch.complex64)), "type C64"),
    "one dimension": (lambda at: open_rows(npy(at, np.ones(4))), "(4,)"),
    "three dimensions": (lambda at: Rows.of(npy(at, np.ones((4, 2, 2)))), "(4, 2, 2)"),
    "no rows": (lambda at: Rows.of(npy(at, np.ones((0, 2)))), "(0, 2)"),
    "no columns": (lambda at: Rows.of(safetensors(at, np.ones((3, 0)))), "(3, 0)"),
    "a name for npy": (lambda at: open_rows(npy(at, matrix()), "X"), "without a name"),
    "no safetensors": (lambda at: open_rows(bad_file(at, b"nothing at all", "a.safetensors")), "not a safetensors"),
    "cut safetensors": (lambda at: open_rows(cut(safetensors(at, matrix()))), "truncated"),
    "unknown tensor": (lambda at: open_rows(safetensors(at, matrix(), y=torch.ones(3)), "Z"), "X (37, 5), y (3,)"),
    "several tensors": (lambda at: open_rows(safetensors(at, matrix(), Z=torch.ones(3, 1))), "X (37, 5), Z (3, 1)"),
    "no matrix": (lambda at: open_rows(safetensors(at, np.ones(3))), "no tensors of two dimensions"),
    "a tensor of one": (lambda at: open_rows(safetensors(at, matrix(), y=torch.ones(3)), "y"), "(3,)"),
    "an empty folder": (lambda at: open_rows(at), "holds no"),
    "folder of two widths": (lambda at: open_rows(npy(at, matrix()) and npy(at, matrix(3, 2), "b.npy").parent), "[2, 5]"),
    "folder without order": (
        lambda at: open_rows(npy(at, matrix(), "x2.npy") and npy(at, matrix(), "x10.npy").parent), "list of paths",
    ),
    "list of nothing": (lambda _: open_rows([]), "sequence of paths"),
    "list of others": (lambda _: open_rows([3]), "sequence of paths"),
    "shards of two widths": (lambda at: Rows.of([npy(at, matrix()), np.ones((3, 2))]), "[2, 5]"),
    "sparse": (lambda _: Rows.of(__import__("scipy.sparse").sparse.eye(3).tocsr()), "X.toarray()"),
    "sparse tensor": (lambda _: Rows.of(torch.eye(3).to_sparse()), "X.to_dense()"),
    "eight bits": (lambda _: Rows.of(torch.ones(2, 2).to(torch.float8_e4m3fn)), "real numbers"),
    "complex of another library": (lambda _: Rows.of(Lazy(1j * matrix())), "real numbers"),
    "vector of another library": (lambda _: Rows.of(Lazy(np.ones(4))), "(4,)"),
    "generator of blocks": (lambda _: BlockRows(iter([matrix()])), "every block is read many times"),
    "mapping of blocks": (lambda _: BlockRows({0: matrix()}), "dict"),
    "no blocks": (lambda _: BlockRows([]), "empty"),
    "no row counts": (lambda _: BlockRows(lambda k: matrix()), "rows is missing"),
    "negative counts": (lambda _: BlockRows(lambda k: matrix(), rows=[-1]), "-1"),
    "counts in text": (lambda _: BlockRows(lambda k: matrix(), rows=["2"]), "'2'"),
    "too many counts": (lambda _: BlockRows([matrix()], rows=[N, N]), "2 entries for 1"),
    "another count": (lambda _: BlockRows([matrix()], rows=[3]), "(3, 5) is needed"),
    "another count later": (lambda _: Rows.of(BlockRows([matrix()] * 2, rows=[N, 3])).whole(), "block 1 has shape"),
    "another width later": (lambda _: Rows.of(BlockRows([matrix(), np.ones((N, 2))], rows=[N, N])).whole(), "block 1"),
    "blocks of two widths": (lambda _: BlockRows([matrix(), np.ones((N, 2))]), "[2, 5]"),
    "a row as block": (lambda _: BlockRows(matrix()), "block 0 has shape (5,)"),
    "text as block": (lambda _: BlockRows([np.array([["a"]])]), "encode"),
    "a stream": (lambda _: Rows.of(Stream()), "IterableDataset"),
    "a loader": (lambda _: Rows.of(torch.utils.data.DataLoader(Items(matrix(), plain))), "loader.dataset"),
    "no length": (lambda _: DatasetRows(Stream()), "no length"),
    "no items by number": (lambda _: DatasetRows({1, 2}), "by number"),
    "no items": (lambda _: Rows.of(Items(matrix(0), plain)), "no items"),
    "no such key": (lambda _: DatasetRows(Items(matrix(), labelled)), "the keys label, x"),
    "no such part": (lambda _: DatasetRows(Items(matrix(), pair), 2), "2 parts"),
    "a word as row": (lambda _: DatasetRows(Items(matrix(), lambda row: "abc")), "a str"),
    "complex items": (lambda _: DatasetRows(Items(1j * matrix(), plain)), "real numbers"),
    "another size": (lambda _: Rows.of(Items([[1.0], [1.0, 2.0]], tensor)).whole(), "item 1 of the data set has 2"),
    "another type": (lambda _: Rows.of(Items([np.ones(2), np.ones(2, int)], plain)).whole(), "item 1"),
    "an unknown type": (lambda _: DatasetRows(Items(matrix(), plain), dtype="real"), "'real'"),
    "no slice": (lambda at: open_rows(npy(at, matrix()))[3], "slices of rows"),
    "a step": (lambda at: open_rows(npy(at, matrix()))[::2], "slices of rows"),
}  # fmt: skip


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(matrix())


@pytest.mark.parametrize("name", BAD)
def test_bad_sources_are_refused_in_one_sentence(name, tmp_path):
    build, words = BAD[name]
    with pytest.raises(InputError) as caught:
        build(tmp_path)
    message = str(caught.value)
    assert words in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("save", [npy, safetensors])
def test_a_file_that_changes_is_noticed(save, tmp_path):
    path = save(tmp_path, matrix())
    rows = Rows.of(path)
    save(tmp_path, matrix(N + 1))
    with pytest.raises(InputError, match="has changed"):
        rows.whole()
    cut(path)
    with pytest.raises(FileFormatError, match="truncated"):
        rows.whole()
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        rows.whole()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_entry_that_is_not_finite_is_named(dtype, tmp_path):
    X = matrix()
    X[23, 4] = np.nan
    with pytest.raises(InputError, match=r"X\[23, 4\] is nan"):
        check_finite(Rows.of(safetensors(tmp_path, X, dtype)))


@pytest.mark.parametrize("name", ["open_rows", "BlockRows", "DatasetRows"])
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tests = doctest.DocTestFinder(recurse=False).find(getattr(sources, name), name, globs={})
    assert sum(doctest.DocTestRunner().run(test).attempted for test in tests) > 2
    assert all(doctest.DocTestRunner().run(test).failed == 0 for test in tests)


# ---------------------------------------------------------------------------------- the command line


def fitted(capsys, *arguments):
    code = main(["fit", *map(str, arguments), "--radius", "0.05", "--test-fraction", "0.25", "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return json.loads(out)


def write(at, form, X, y):
    """Arguments that name the data."""
    labels = npy(at, y, "labels.npy")
    if form == "npy":
        return npy(at, X), "--target", labels
    if form == "folder":
        return npy(at / "shards", X[:99], "0.npy") and npy(at / "shards", X[99:], "1.npy").parent, "--target", labels
    if form == "folder with its labels":
        return npy(at, X).parent, "--target", labels
    if form == "safetensors":
        return (safetensors(at, X, y=torch.tensor(y)),)
    if form == "safetensors with other names":
        save_file({"rows": torch.tensor(X), "kind": torch.tensor(y)}, at / "a.safetensors")
        return at / "a.safetensors", "--target", "kind"
    if form == "safetensors and npy":
        return safetensors(at, X), "--target", labels
    assert form == "folder of safetensors"
    for k in range(3):
        safetensors(
            at / "parts",
            X[100 * k : 100 * k + 100],
            name=f"{k}.safetensors",
            y=torch.tensor(y[100 * k : 100 * k + 100]),
        )
    return (at / "parts",)


FORMS = [
    *("npy", "folder", "folder with its labels", "safetensors", "safetensors with other names", "safetensors and npy"),
    "folder of safetensors",
]


@pytest.mark.parametrize("form", FORMS)
def test_fit_from_files_is_the_fit_of_the_archive(form, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = planted()
    np.savez("all.npz", X=X, y=y)
    wanted = fitted(capsys, "all.npz", "--out", "wanted.safetensors")
    (tmp_path / "data").mkdir()
    found = fitted(capsys, *write(tmp_path / "data", form, X, y), "--out", "found.safetensors")
    assert found["data"]["sha256"] == wanted["data"]["sha256"]
    assert found["objective"] == pytest.approx(wanted["objective"], rel=1e-6)
    assert (found["train"], found["test"]) == (wanted["train"], wanted["test"])
    network = ca.load("found.safetensors")
    np.testing.assert_allclose(network.scores(X), ca.load("wanted.safetensors").scores(X), atol=1e-5)


@pytest.mark.parametrize("scaling", ["unit", "standard", "none"])
def test_features_are_scaled_and_split_without_reading_them_whole(scaling, tmp_path, monkeypatch):
    X, y = planted(9000, 3)
    X[:, 2] = 4.0
    data = read_data(str(npy(tmp_path, X)), str(npy(tmp_path, y, "y.npy")))
    sizes, read = [], sources.NpyRows._read

    def counted(self, first, stop):
        sizes.append(stop - first)
        return read(self, first, stop)

    monkeypatch.setattr(sources.NpyRows, "_read", counted)
    monkeypatch.setattr(Source, "__array__", None)
    index = np.flatnonzero(np.random.default_rng(0).random(len(X)) < 0.7)
    train = data.X[index]
    assert isinstance(train, Features)
    found, wanted = scaling_of(scaling, train), scaling_of(scaling, X[index])
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    assert fingerprint(data.X, data.y) == fingerprint(X, y)
    rows = Rows.of(found.apply(train))
    rows.block_rows = 500
    np.testing.assert_allclose(rows.whole(), wanted.apply(X[index]), rtol=1e-12)
    assert max(sizes) <= 4096
    np.testing.assert_array_equal(train[index[3::-1] % 7][:9], X[index][index[3::-1] % 7])


@pytest.mark.parametrize("labels", [np.arange(9000) % 3, np.array(["a", "b", "\u00e9"] * 3000), np.ones((9000, 2)) / 3])
def test_the_fingerprint_is_one_digest_of_all_values(labels):
    X = matrix(9000, 3)
    text = f"{X.shape}{labels.shape}".encode()
    for rows in (slice(0, 4096), slice(4096, 8192), slice(8192, 9000)):
        block = X[rows].tobytes() + "\0".join(map(str, labels[rows].ravel().tolist())).encode()
        text += hashlib.sha256(block).digest()
    assert fingerprint(X.astype(">f8"), labels) == hashlib.sha256(text).hexdigest()


def test_features_are_arrays_where_all_of_them_are_needed(tmp_path):
    X, y = planted(50, 3)
    found = read_data(str(npy(tmp_path, X)), str(npy(tmp_path, y, "y.npy"))).X
    np.testing.assert_array_equal((found - 1.0) / np.ones(3), X - 1.0)
    np.testing.assert_array_equal(operator.gt(0.5, found), X < 0.5)
    np.testing.assert_array_equal(found[:, 1], X[:, 1])
    np.testing.assert_array_equal(found[3], X[3])
    np.testing.assert_array_equal(found[-1], X[-1])


@pytest.mark.parametrize("verb", [["evaluate"], ["certify", "--bounds", "-9", "9"], ["attack", "--bounds", "-9", "9"]])
def test_other_verbs_take_the_same_files(verb, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = planted(120)
    np.savez("all.npz", X=X, y=y)
    fitted(capsys, "all.npz", "--out", "m.safetensors")
    told = []
    for data in (["all.npz"], [npy(tmp_path, X), "--target", npy(tmp_path, y, "y.npy")]):
        assert main([verb[0], "m.safetensors", *map(str, data), "--radius", "0.05", *verb[1:], "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert {key for key in told[0] if told[0][key] != told[1][key]} <= {"data", "seconds", "time"}


NO_LABELS = {
    "no target": (lambda at: (npy(at, matrix()),), "--target FILE"),
    "no label file": (lambda at: (npy(at, matrix()), "--target", at / "none.npy"), "none.npy"),
    "too few labels": (lambda at: (npy(at, matrix()), "--target", npy(at, np.ones(3, int), "y.npy")), "37 rows"),
    "cube of labels": (lambda at: (npy(at, matrix()), "--target", npy(at, np.ones((N, 1, 1)), "y.npy")), "(37, 1, 1)"),
    "no label": (lambda at: (npy(at, matrix()), "--target", npy(at, np.full(N, np.nan), "y.npy")), "row 0"),
    "objects": (lambda at: (npy(at, matrix()), "--target", npy(at, np.full(N, None), "y.npy")), "plain values"),
    "an archive": (lambda at: (npy(at, matrix()), "--target", archive(at)), "an archive of several arrays"),
    "labels alone": (lambda at: (at, "--target", npy(at, np.ones(3), "y.npy")), "no features"),
    "no tensor": (lambda at: (safetensors(at, matrix()),), "no tensor 'y'"),
    "which tensor": (lambda at: (two_matrices(at), "--target", "y"), "'X'"),
    "a folder of nothing": (lambda at: (at,), "the folder"),
    "no rows": (lambda at: (npy(at, matrix(0)), "--target", npy(at, np.ones(0), "y.npy")), "(0, 5)"),
    "vector": (lambda at: (npy(at, np.ones(4)), "--target", npy(at, np.ones(4), "y.npy")), "(4,)"),
    "nan": (lambda at: (npy(at, np.full((2, 2), np.nan)), "--target", npy(at, np.arange(2), "y.npy")), "finite"),
}  # fmt: skip


def two_matrices(at):
    save_file({name: torch.ones(3, 2) for name in "ab"} | {"y": torch.arange(3)}, at / "a.safetensors")
    return at / "a.safetensors"


@pytest.mark.parametrize("name", NO_LABELS)
def test_bad_files_are_refused_by_the_command_line(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    build, words = NO_LABELS[name]
    arguments = [str(argument) for argument in build(tmp_path / "data")]
    assert main(["fit", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
