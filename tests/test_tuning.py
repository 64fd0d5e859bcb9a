"""Training of parts of a copy; the loss that is part clean, part attacked."""

from __future__ import annotations

import pytest
import torch

from convexadv import InputError
from convexadv.training import Adversarial, Clean, Images, Mixed, OneStep, Settings, train, tune


def _pictures() -> Images:
    generator = torch.Generator().manual_seed(0)
    return Images.of(torch.rand(64, 1, 4, 4, generator=generator), torch.arange(64) % 3)


def _small_net():
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    tail = torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(64, 3))
    return torch.nn.Sequential(body, tail)


def test_tuning_a_part_leaves_the_rest_as_it_was_to_the_bit():
    model, images = _small_net(), _pictures()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tuned, history = tune(model, images, OneStep(0.1), Settings(epochs=2, batch_size=16), parts=["1"])
    assert len(history) == 2
    after, same = tuned.state_dict(), model.state_dict()
    for name, value in before.items():
        assert torch.equal(same[name], value)
        assert torch.equal(after[name], value) == name.startswith("0."), name
    assert all(parameter.requires_grad for parameter in tuned.parameters())
    assert not any(module.training for module in tuned.modules())


def test_tuning_helps_against_the_attack_it_trains_by():
    x = torch.rand(256, 6, generator=torch.Generator().manual_seed(0))
    images = Images.of(x, (x[:, 0] + 0.2 * x[:, 1:].sum(1) > 1.0).long())
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    train(model, images, Clean(), Settings(epochs=20, batch_size=32))
    tuned, _ = tune(model, images, Adversarial(0.1), Settings(epochs=20, batch_size=32))
    losses = [Adversarial(0.1)(each, images.x, images.y, torch.Generator()).item() for each in (model, tuned)]
    assert losses[1] < 0.9 * losses[0]


def test_parts_that_are_not_there():
    model, images = _small_net(), _pictures()
    with pytest.raises(InputError, match=r"'head', which is no module of the model; choose names such as 0, 1\."):
        tune(model, images, parts=["head"])
    with pytest.raises(InputError, match=r"'0\.2' of the model has no parameter"):
        tune(model, images, parts="0.2")


def test_the_mixed_loss_is_the_mean_of_both_where_rows_do_not_meet():
    torch.manual_seed(0)
    model, x, y = torch.nn.Linear(5, 3), torch.rand(8, 5), torch.arange(8) % 3
    attacked = OneStep(0.1)
    mixed = Mixed(attacked, 0.25)(model, x, y, torch.Generator().manual_seed(1))
    parts = [f(model, x, y, torch.Generator().manual_seed(1)) for f in (Clean(), attacked)]
    torch.testing.assert_close(mixed, 0.25 * parts[0] + 0.75 * parts[1])
    with pytest.raises(InputError, match=r"share=1\.5 is out of range"):
        Mixed(attacked, 1.5)
