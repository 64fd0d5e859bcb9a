"""Rows in blocks against dense products; what is refused, in one sentence."""

import itertools

import numpy as np
import pytest
import torch

from convexadv.errors import InputError
from convexadv.rows import Rows, check_finite

N, D = 37, 5


def matrix(n=N, d=D, dtype=np.float64):
    return np.random.default_rng([n, d]).standard_normal((n, d)).astype(dtype)


def in_file(tmp_path, X):
    np.save(tmp_path / "rows.npy", X)
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


FORMS = {
    "array": lambda X, _: X,
    "float32": lambda X, _: X.astype(np.float32),
    "float16": lambda X, _: X.astype(np.float16),
    "long double": lambda X, _: X.astype(np.longdouble),
    "columns first": lambda X, _: np.asfortranarray(X),
    "reversed view": lambda X, _: X[::-1].copy()[::-1],
    "read only": lambda X, _: np.frombuffer(X.tobytes()).reshape(X.shape),
    "big endian": lambda X, _: X.astype(">f8"),
    "nested list": lambda X, _: X.tolist(),
    "list of rows": lambda X, _: list(X),
    "objects": lambda X, _: X.astype(object),
    "integers": lambda X, _: np.round(10 * X).astype(np.int16),
    "unsigned": lambda X, _: np.round(np.abs(10 * X)).astype(np.uint32),
    "booleans": lambda X, _: X > 0,
    "tensor": lambda X, _: torch.as_tensor(X),
    "tensor float32": lambda X, _: torch.as_tensor(X, dtype=torch.float32),
    "tensor bfloat16": lambda X, _: torch.as_tensor(X, dtype=torch.bfloat16),
    "tensor with gradient": lambda X, _: torch.tensor(X, requires_grad=True),
    "tensor transposed": lambda X, _: torch.as_tensor(X.T.copy()).T,
    "tensor of integers": lambda X, _: torch.as_tensor(np.round(10 * X).astype(np.int64)),
    "memory map": lambda X, path: in_file(path, X),
    "memory map float32": lambda X, path: in_file(path, X.astype(np.float32)),
    "shards": lambda X, _: [X[:10], X[10:11], X[11:]],
    "shards with an empty one": lambda X, _: [X[:0], X[:20], X[20:20], X[20:]],
    "tuple of shards": lambda X, _: (X[:10], X[10:]),
    "mixed shards": lambda X, path: [torch.as_tensor(X[:10]), X[10:30], in_file(path, X[30:])],
}


def dense(form):
    """The float64 matrix that a form stands for."""
    if isinstance(form, torch.Tensor):
        return form.detach().double().numpy()
    if isinstance(form, list | tuple) and getattr(form[0], "ndim", 0) == 2:
        return np.concatenate([dense(part) for part in form])
    return np.asarray(form, np.float64)


@pytest.mark.parametrize(("name", "block_rows"), list(itertools.product(FORMS, [3, 10, 1000])))
def test_products_are_the_dense_ones(name, block_rows, tmp_path):
    form = FORMS[name](matrix(), tmp_path)
    X, rows = dense(form), Rows.of(form)
    rows.block_rows = block_rows
    rng = np.random.default_rng(0)
    right, left, weights = rng.standard_normal((D, 4)), rng.standard_normal((N, 2)), rng.standard_normal(N)
    assert rows.shape == (rows.n, rows.d) == X.shape
    assert all(block.dtype == np.float64 for _, block in rows.blocks())
    np.testing.assert_array_equal(np.concatenate([block for _, block in rows.blocks()]), X)
    np.testing.assert_allclose(rows.times(right), X @ right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(rows.transposed_times(left), X.T @ left, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(rows.weighted_gram(weights), X.T @ (weights[:, None] * X), rtol=1e-12, atol=1e-12)
    assert rows.largest_norm() == pytest.approx(np.linalg.norm(X, axis=1).max(), rel=1e-14)
    np.testing.assert_array_equal(rows.take([36, 0, 0, 17]), X[[36, 0, 0, 17]])
    check_finite(rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FORMS)
def test_torch_rows_are_the_same(name, dtype, tmp_path):
    form = FORMS[name](matrix(), tmp_path)
    X, rows = dense(form), Rows.of(form).to_torch("cpu", dtype)
    rows.block_rows = 8
    blocks = [block for _, block in rows.blocks()]
    assert all(block.dtype == dtype and not block.requires_grad for block in blocks)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    right = torch.ones((D, 2), dtype=dtype)
    np.testing.assert_allclose(torch.cat(blocks).numpy(), X, rtol=1e-6)
    np.testing.assert_allclose(rows.times(right).numpy(), X @ np.ones((D, 2)), atol=tolerance)
    weights = torch.linspace(-1, 1, N, dtype=dtype)
    gram = X.T @ (np.linspace(-1, 1, N)[:, None] * X)
    scale = np.abs(X).max() ** 2 * N
    np.testing.assert_allclose(rows.weighted_gram(weights).numpy(), gram, atol=tolerance * scale)


def test_blocks_cover_the_rows_in_order():
    rows = Rows.of([matrix(10), matrix(4), matrix(9)])
    rows.block_rows = 4
    slices = [where for where, _ in rows.blocks()]
    assert [part.start for part in slices] == [0, 4, 8, 10, 14, 18, 22]
    assert [part.stop for part in slices] == [4, 8, 10, 14, 18, 22, 23]


def test_results_do_not_depend_on_who_asks_twice():
    rows = Rows.of(matrix())
    rows.block_rows = 7
    weights = np.random.default_rng(1).standard_normal(N)
    np.testing.assert_array_equal(rows.weighted_gram(weights), rows.weighted_gram(weights))
    assert rows.largest_norm() == rows.largest_norm()


def test_gram_skips_rows_of_weight_zero_and_is_symmetric():
    X, rows = matrix(), Rows.of(matrix())
    rows.block_rows = 6
    weights = np.where(np.arange(N) % 5 == 0, np.random.default_rng(2).standard_normal(N), 0.0)
    weights[12:24] = 0.0
    gram = rows.weighted_gram(weights)
    np.testing.assert_array_equal(gram, gram.T)
    np.testing.assert_allclose(gram, X.T @ np.diag(weights) @ X, atol=1e-13)
    np.testing.assert_array_equal(rows.weighted_gram(np.zeros(N)), 0.0)


def test_arrays_and_maps_are_not_copied(tmp_path):
    X, big = matrix(), in_file(tmp_path, matrix(3000, 4))
    assert np.shares_memory(next(Rows.of(X).blocks())[1], X)
    assert np.shares_memory(next(Rows.of(big).blocks())[1], big)
    tensor = next(Rows.of(X).to_torch("cpu", torch.float64).blocks())[1]
    assert np.shares_memory(tensor.numpy(), X)


@pytest.mark.parametrize("index", [[-1], [N], np.arange(N) > 3])
def test_rows_that_do_not_exist_cannot_be_taken(index):
    with pytest.raises((IndexError, InputError)):
        Rows.of(matrix()).take(index)


def test_one_row_and_one_column():
    assert Rows.of([[2.0]]).times(np.array([[3.0]])) == 6.0
    assert Rows.of(np.arange(3)[:, None]).largest_norm() == 2.0


def test_the_sources_stay_as_they_are():
    X = matrix()
    copy = X.copy()
    rows = Rows.of(X)
    block = next(rows.to_torch("cpu", torch.float32).blocks())[1]
    block.mul_(0.0)
    np.testing.assert_array_equal(X, copy)


BAD = {
    "nothing": None,
    "a word": "abc",
    "a mapping": {"a": 1},
    "a number": 3.0,
    "an empty list": [],
    "one dimension": np.ones(4),
    "three dimensions": np.ones((2, 2, 2)),
    "no rows": np.ones((0, 3)),
    "no columns": np.ones((3, 0)),
    "only empty shards": [np.ones((0, 3)), np.ones((0, 3))],
    "ragged": [[1.0, 2.0], [3.0]],
    "text": np.array([["red", "blue"], ["1", "2"]]),
    "text among numbers": [[1.0, "red"], [2.0, "blue"]],
    "complex": np.ones((2, 2)) * 1j,
    "complex tensor": torch.ones(2, 2, dtype=torch.complex128),
    "dates": np.zeros((2, 2), "datetime64[D]"),
    "shards of different width": [np.ones((2, 3)), np.ones((2, 4))],
    "a shard that is a row": [np.ones((2, 3)), np.ones(3)],
    "a shard that is nothing": [np.ones((2, 3)), None],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused_in_one_sentence(name):
    with pytest.raises(InputError) as caught:
        Rows.of(BAD[name])
    message = str(caught.value)
    assert message.startswith("X ") or "shards of X" in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("wrap", [np.asarray, torch.as_tensor, lambda X: [X[:10], X[10:]]])
def test_the_first_entry_that_is_not_finite_is_named(value, wrap):
    X = matrix()
    X[23, 4] = value
    X[30, 0] = np.nan
    rows = Rows.of(wrap(X))
    rows.block_rows = 9
    with pytest.raises(InputError, match=rf"X\[23, 4\] is {value}"):
        check_finite(rows)


def test_missing_values_among_objects_are_named():
    with pytest.raises(InputError, match=r"X\[1, 0\] is nan"):
        check_finite(Rows.of(np.array([[1.0, 2.0], [None, 3.0]], dtype=object)))
