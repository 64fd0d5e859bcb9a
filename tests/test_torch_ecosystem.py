"""PyTorch's data sets and loaders as training data, and TensorBoard as a callback of solves and trainings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import convexadv as ca
from convexadv.callbacks import TensorBoard, TrainingBoard
from convexadv.datasets import from_torch
from convexadv.errors import InputError
from convexadv.models import SmallCNN
from convexadv.training import Images, Settings, train


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
    with pytest.raises(InputError, match="add_scalar"):
        TrainingBoard(object())


def little_images():
    return Images.of(torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 2)


def test_a_training_logs_every_number_at_its_epoch_and_goes_on_after_an_interrupt(tmp_path):
    writer, model, settings = Writer(), SmallCNN(width=4, n_classes=2, side=8), Settings(epochs=3, batch_size=8)
    board = TrainingBoard(writer, "run")
    common = {"settings": settings, "checkpoint": tmp_path / "state", "resume": True}
    train(model, little_images(), callback=lambda record: board(record) or record["epoch"] == 1, **common)
    history = train(model, little_images(), callback=TrainingBoard(writer, "run"), **common)
    assert writer.lines == [
        (f"run/{name}", value, int(record["epoch"]))
        for record in history
        for name, value in record.items()
        if name != "epoch"
    ]
    assert [step for tag, _, step in writer.lines if tag == "run/loss"] == [1, 2, 3]


def test_a_compression_logs_its_stages():
    writer = Writer()
    model = SmallCNN(width=8, n_classes=2, side=8)
    made = ca.compress(
        model, little_images(), 4, epochs=(2, 1), settings=Settings(batch_size=8), callback=TrainingBoard(writer)
    )
    logged = {tag: [value for name, value, _ in writer.lines if name == tag] for tag, _, _ in writer.lines}
    for name in ("loss", "primal", "dual", "rho"):
        assert logged[f"train/admm/{name}"] == [record[name] for record in made.history["admm"]]
    assert logged["train/tune/loss"] == [record["loss"] for record in made.history["tune"]]
    assert [step for tag, _, step in writer.lines if tag == "train/admm/rho"] == [1, 2]


def test_records_without_a_number_of_the_epoch_are_counted():
    writer = Writer()
    board = TrainingBoard(writer)
    board({"loss": 2.0})
    board("other", {"loss": 3.0})
    board({"loss": 1.0})
    assert writer.lines == [("train/loss", 2.0, 1), ("train/other/loss", 3.0, 1), ("train/loss", 1.0, 2)]
    with pytest.raises(InputError, match="the record of an epoch"):
        board("admm")
