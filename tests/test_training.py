"""Training of deep models: gradients by hand, resumption to the same bits, bad input."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from convexadv import FileFormatError, InputError, TrainingError
from convexadv.model_files import build, load_model, save_model
from convexadv.models import Normalise, PreActResNet18, ResNet18
from convexadv.training import TRADES, Adversarial, Clean, Images, OneStep, Settings, augmentation, train
from convexadv.training.points import frozen_statistics

SMALL = {"width": 4, "channels": 1, "side": 8, "n_classes": 3, "hidden": 8}


def images(n: int = 96, seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (n,), generator=generator)
    x = 0.2 * torch.rand(n, 1, 8, 8, generator=generator) + 0.25 * y[:, None, None, None]
    return Images.of(x, y)


def small(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("smallcnn", **SMALL)


def residual(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("preactresnet18", width=2, channels=1, n_classes=3)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def test_a_plain_step_is_that_of_the_textbook():
    data, model = images(32), small()
    settings = Settings(epochs=1, batch_size=32, learning_rate=0.1, momentum=0.0, weight_decay=0.01, warm_up=0.0)
    loss = F.cross_entropy(model(data.x), data.y)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    expected = [
        (p - 0.1 * (g + (0.01 * p if p.ndim > 1 else 0.0))).detach()
        for p, g in zip(model.parameters(), slopes, strict=True)
    ]
    history = train(model, data, settings=settings)
    assert history[0]["loss"] == pytest.approx(loss.item(), rel=1e-6)
    for found, wanted in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), wanted, rtol=1e-5, atol=1e-7)


def test_a_sharpness_aware_step_uses_the_gradient_at_the_moved_weights():
    data, model = images(32), small()
    settings = Settings(
        epochs=1, batch_size=32, learning_rate=0.1, momentum=0.0, weight_decay=0.0, warm_up=0.0, sharpness=0.5
    )
    start = copy.deepcopy(model)
    slopes = torch.autograd.grad(F.cross_entropy(model(data.x), data.y), list(model.parameters()))
    norm = torch.sqrt(sum((g**2).sum() for g in slopes))
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for p, g in zip(moved.parameters(), slopes, strict=True):
            p += 0.5 * g / norm
    slopes = torch.autograd.grad(F.cross_entropy(moved(data.x), data.y), list(moved.parameters()))
    train(model, data, settings=settings)
    for found, p, g in zip(model.parameters(), start.parameters(), slopes, strict=True):
        torch.testing.assert_close(found.detach(), (p - 0.1 * g).detach(), rtol=1e-4, atol=1e-6)


def test_rates_warm_up_and_fall_like_a_cosine():
    settings = Settings(learning_rate=0.2, warm_up=0.1)
    rates = [settings.rate(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.02 * (step + 1) for step in range(10)])
    assert rates[55] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))


@pytest.mark.parametrize("sharpness", [0.0, 0.05])
@pytest.mark.parametrize("objective", [Clean(), OneStep(0.05), Adversarial(0.05, steps=2), TRADES(0.05, steps=2)])
def test_a_killed_training_ends_with_the_same_bits(tmp_path, objective, sharpness):
    data, settings = images(), Settings(epochs=3, batch_size=16, learning_rate=0.05, sharpness=sharpness)
    whole = residual()
    expected = train(whole, data, objective, settings, augmentation("shift+mirror", 1))

    class Killed(Exception):
        pass

    calls = itertools.count()

    def dying(model, x, y, generator):
        if next(calls) == 14 * (2 if sharpness else 1):  # in the third epoch
            raise Killed
        return objective(model, x, y, generator)

    class Dying:
        def __repr__(self):
            return repr(objective)

        __call__ = staticmethod(dying)

    path, model = tmp_path / "run.checkpoint", residual()
    with pytest.raises(Killed):
        train(model, data, Dying(), settings, augmentation("shift+mirror", 1), checkpoint=path, checkpoint_every=0.0)
    fresh = residual(1)
    history = train(fresh, data, objective, settings, augmentation("shift+mirror", 1), checkpoint=path, resume=True)
    assert torch.equal(weights(fresh), weights(whole))
    assert [entry["loss"] for entry in history] == [entry["loss"] for entry in expected]


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(small(), images(), Adversarial(0.1, steps=1), Settings(epochs=1, batch_size=16))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacked_points_stay_in_ball_and_box_and_hurt(norm):
    data, model = images(), small()
    train(model, data, settings=Settings(epochs=5, batch_size=16, learning_rate=0.05))
    radius = 0.1 if norm == "linf" else 0.5
    objective = Adversarial(radius, norm, steps=5)
    points = objective.points(model, data.x, data.y, torch.Generator().manual_seed(0))
    moved = (points - data.x).flatten(1)
    lengths = moved.abs().amax(1) if norm == "linf" else moved.norm(dim=1)
    assert float(lengths.max()) <= radius * (1 + 1e-5)
    assert points.min() >= 0
    assert points.max() <= 1
    assert F.cross_entropy(model(points), data.y) > F.cross_entropy(model(data.x), data.y)


def test_one_step_is_the_closed_form_of_a_linear_model():
    model = torch.nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]]))
    x, y = torch.full((4, 3), 0.5), torch.tensor([0, 0, 1, 1])
    points = OneStep(0.1, noise=0.0, step=1.0).points(model, x, y, torch.Generator())
    signs = torch.tensor([[-1.0, 1.0, -1.0]] * 2 + [[1.0, -1.0, 1.0]] * 2)
    torch.testing.assert_close(points, x + 0.1 * signs)
    wide = OneStep(0.1, noise=2.0).points(model, x, y, torch.Generator().manual_seed(0))
    assert float((wide - x).abs().max()) > 0.1  # nothing is projected


def test_trades_equals_its_definition_without_an_attack():
    model, data = small(), images(16)
    generator = torch.Generator()
    assert TRADES(0.0)(model, data.x, data.y, generator).item() == pytest.approx(
        F.cross_entropy(model(data.x), data.y).item(), rel=1e-6
    )


def test_frozen_statistics_do_not_move():
    model = residual().train()
    before = weights(model)
    with frozen_statistics(model):
        scores = model(images().x)
    assert torch.equal(weights(model), before)
    assert torch.equal(scores, model(images().x))  # normalised by the batch, as in training


def test_low_precision_trains(tmp_path):
    history = train(residual(), images(), settings=Settings(epochs=4, batch_size=16, precision="bfloat16"))
    assert history[-1]["loss"] < history[0]["loss"]


class _Poisoned(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, 64))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T * torch.tensor([1.0, float("nan"), 1.0])


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(tmp_path):
    path = tmp_path / "run.checkpoint"
    data, settings = images(), Settings(epochs=2, batch_size=16)
    with pytest.raises(TrainingError, match="not finite"):
        train(_Poisoned(), data, settings=settings, checkpoint=path, checkpoint_every=0.0)
    assert not path.exists()
    steps = itertools.count()

    class Late:
        def __call__(self, model, x, y, generator):
            loss = F.cross_entropy(model(x), y)
            return loss * float("nan") if next(steps) >= 8 else loss

        def __repr__(self):
            return "late"

    model = small()
    with pytest.raises(TrainingError, match="the last checkpoint, if there is one, is kept"):
        train(model, data, Late(), settings, checkpoint=path, checkpoint_every=0.0)
    state = torch.load(path, weights_only=True)["state"]
    assert (state["epoch"], state["batch"]) == (1, 2)
    assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "truncated or not a checkpoint"),
        (lambda path: path.write_text("hello"), "truncated or not a checkpoint"),
        (lambda path: torch.save({"weights": torch.ones(1)}, path), "not a checkpoint of a training"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path, change, match):
    path = tmp_path / "run.checkpoint"
    train(small(), images(), settings=Settings(epochs=1), checkpoint=path)
    change(path)
    with pytest.raises(FileFormatError, match=match):
        train(small(), images(), settings=Settings(epochs=1), checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("settings", "data", "match"),
    [
        (Settings(epochs=2), images(), "its settings is"),
        (Settings(epochs=1), images(seed=1), "its data is"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, settings, data, match):
    path = tmp_path / "run.checkpoint"
    train(small(), images(), settings=Settings(epochs=1), checkpoint=path)
    with pytest.raises(InputError, match="give resume=True to continue"):
        train(small(), images(), settings=Settings(epochs=1), checkpoint=path)
    with pytest.raises(FileFormatError, match=match):
        train(small(), data, settings=settings, checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Settings(epochs=0), "epochs is 0"),
        (lambda: Settings(learning_rate=float("nan")), "learning_rate is nan"),
        (lambda: Settings(precision="half"), "precision is 'half'"),
        (lambda: Settings(momentum=1.0), "momentum is 1.0"),
        (lambda: augmentation("rotate"), "augmentation must be"),
        (lambda: Images.of(np.zeros((2, 1)), [0]), "one label an input"),
        (lambda: Images.of(np.zeros((2, 1)), [0.5, 1.0]), "class numbers"),
        (lambda: Images.of(np.full((2, 1), np.nan), [0, 1]), "finite"),
        (lambda: train(torch.nn.ReLU(), images()), "no parameter"),
        (lambda: train(small(), images(), resume=True), "checkpoint=PATH"),
        (lambda: train(small(), images(), settings=Settings(precision="float16")), "float16 needs"),
        (lambda: train(small(), images(), checkpoint="no/such/folder/file"), "folder does not exist"),
        (lambda: Adversarial(-1.0)(small(), images().x, images().y, torch.Generator()), "radius=-1 is out of range"),
        (lambda: Normalise([0.0], [0.0]), "std positive"),
        (lambda: PreActResNet18(width=0), "width=0 cannot be used"),
        (lambda: build("lenet"), "no architecture"),
        (lambda: build("resnet18", depth=3), "cannot be built"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_shifts_are_windows_of_the_padded_image():
    x = torch.arange(2 * 3 * 5 * 5, dtype=torch.float32).reshape(2, 3, 5, 5) + 1
    moved = augmentation("shift", 2)(x, torch.Generator().manual_seed(3))
    padded = F.pad(x, (2,) * 4)
    for before, after in zip(padded, moved, strict=True):
        windows = [before[:, i : i + 5, j : j + 5] for i in range(5) for j in range(5)]
        assert sum(torch.equal(window, after) for window in windows) == 1
    mirrored = augmentation("mirror")(x, torch.Generator().manual_seed(0))
    assert all(
        torch.equal(after, before) or torch.equal(after, before.flip(-1))
        for before, after in zip(x, mirrored, strict=True)
    )


@pytest.mark.parametrize("constructor", [PreActResNet18, ResNet18])
def test_residual_networks_are_the_published_ones(constructor):
    blocks = sum(2 * 9 * (64 << s) * (64 << s) for s in range(4)) * 2
    first = sum(9 * (64 << s) * (64 << (s + 1)) - 9 * (64 << (s + 1)) ** 2 for s in range(3))
    shortcuts = sum((64 << s) * (64 << (s + 1)) for s in range(3))
    model = constructor()
    kernels = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    assert kernels == 3 * 64 * 9 + blocks + first + shortcuts
    assert model.features(torch.zeros(1, 3, 32, 32)).shape == (1, 512)


def test_model_files(tmp_path):
    path, model = tmp_path / "model.safetensors", small()
    save_model(model, path, "smallcnn", SMALL, epochs=3)
    again, metadata = load_model(path)
    assert metadata == {"epochs": 3}
    assert torch.equal(weights(again), weights(model))
    with pytest.raises(InputError, match="not those of"):
        save_model(model, path, "smallcnn", {**SMALL, "width": 5})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FileFormatError, match="truncated"):
        load_model(path)
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(FileFormatError, match="architecture"):
        load_model(path)
