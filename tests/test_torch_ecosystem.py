"""PyTorch's data sets and loaders as training data, and TensorBoard as a callback."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import convexadv as ca
from convexadv.callbacks import TensorBoard
from convexadv.datasets import from_torch
from convexadv.errors import InputError


def pairs(n=25):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n, 2, 3, generator=generator)
    return X, (X.sum((1, 2)) > 0).long()


def test_a_data_set_is_read_in_order():
    X, y = pairs()
    data = from_torch(TensorDataset(X, y), batch_size=7)
    np.testing.assert_array_equal(data.X, X.reshape(25, 6).numpy())
    np.testing.assert_array_equal(data.y, y.numpy())
    assert data.X.dtype == np.float32
    assert data.target_names == ("0", "1")


def test_a_loader_trains_the_same_network_as_its_rows():
    X, y = pairs()
    data = from_torch(DataLoader(TensorDataset(X.double(), y), batch_size=4))
    by_loader = ca.solve(ca.PolynomialProblem(data.X, data.y, beta=0.05))
    by_rows = ca.solve(ca.PolynomialProblem(X.double().reshape(25, 6).numpy(), y.numpy(), beta=0.05))
    assert by_loader.objective == by_rows.objective


def test_targets_are_kept_as_real_numbers():
    X, _ = pairs()
    data = from_torch(TensorDataset(X, torch.randn(25, 2)))
    assert data.y.shape == (25, 2)
    assert data.target_names == ()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (TensorDataset(torch.zeros(3, 2)), "not a pair"),
        ([], "has no items"),
        ([(torch.zeros(2), 0), (torch.tensor([0.0, torch.nan]), 1)], "not finite"),
    ],
)
def test_what_cannot_be_read_is_said(source, sentence):
    with pytest.raises(InputError, match=sentence):
        from_torch(source)


def test_loaders_whose_batches_differ_in_width():
    loader = DataLoader([0, 1], batch_size=1, collate_fn=lambda items: (torch.zeros(1, 2 + items[0]), torch.zeros(1)))
    with pytest.raises(InputError, match=r"\[2, 3\] features"):
        from_torch(loader)


class Writer:
    def __init__(self):
        self.lines = []

    def add_scalar(self, tag, value, step):
        self.lines.append((tag, value, step))


@pytest.mark.parametrize("kind", ["PolynomialProblem", "ReLUProblem", "GatedReLUProblem"])
def test_tensorboard_gets_every_record(kind):
    X, y = pairs()
    problem = getattr(ca, kind)(X.reshape(25, 6).double().numpy(), y.numpy(), beta=0.02)
    writer = Writer()
    solution = ca.solve(problem, callback=TensorBoard(writer, "run"))
    assert solution.status is ca.Status.OPTIMAL
    logged = [value for tag, value, _ in writer.lines if tag == "run/lower_bound"]
    assert logged == [record.lower_bound for record in solution.history]
    assert [step for tag, _, step in writer.lines if tag == "run/neurons"] == list(range(len(logged)))


def test_a_writer_that_cannot_write():
    with pytest.raises(InputError, match="add_scalar"):
        TensorBoard(object())
