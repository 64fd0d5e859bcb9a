"""ADMM between a training and a projection: where it converges, what it weighs, and how it resumes."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from convexadv import FileFormatError, InputError
from convexadv.compression import ADMM, LowRank, project
from convexadv.training import Images, Settings, train


class Distance:
    """Training towards given weights: ||W - W0||^2 / 2 of a linear model, whatever the batch."""

    def __init__(self, wanted: torch.Tensor):
        self.wanted = wanted

    def __repr__(self) -> str:
        return "Distance()"

    def __call__(self, model, x, y, generator):
        return 0.5 * (model.weight - self.wanted).square().sum()


SETTINGS = Settings(epochs=40, batch_size=4, learning_rate=0.005, weight_decay=0.0)


def rows(n: int = 80) -> Images:
    return Images.of(torch.rand(n, 12, generator=torch.Generator().manual_seed(0)), torch.arange(n) % 2)


def wanted() -> torch.Tensor:
    """A matrix (10, 12) with singular values 10, 9, ..., 1."""
    generator = torch.Generator().manual_seed(1)
    left, _ = torch.linalg.qr(torch.randn(10, 10, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(12, 10, generator=generator))
    return left @ torch.diag(torch.arange(10, 0, -1).float()) @ right.T


def linear() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return torch.nn.Linear(12, 10, bias=False)


def test_a_quadratic_loss_ends_at_the_projection_of_its_minimum():
    data, model = rows(), linear()
    coupling = ADMM(model, LowRank(budget=3 * 22), SETTINGS, data.n_batches(4), pull=(0.2, 6.0))
    history = train(model, data, Distance(wanted()), SETTINGS, coupling=coupling)
    best = project(wanted(), 3)  # Eckart and Young
    assert coupling.target.ranks == {"": 3}
    assert (model.weight - best).norm() < 0.01 * best.norm()
    assert (wanted() - best).norm() > 0.5 * best.norm()  # which is far from where the loss alone would end
    assert history[-1]["primal"] < 1e-3
    assert history[-1]["dual"] < 1e-3


def test_a_linear_layer_without_penalty_does_not_end_there():
    data, model = rows(), linear()
    train(model, data, Distance(wanted()), SETTINGS)
    assert (model.weight - wanted()).norm() < 0.01 * wanted().norm()


def test_the_gradient_is_that_of_the_penalty():
    data, model = rows(), linear()
    coupling = ADMM(model, LowRank(ratio=2), SETTINGS, data.n_batches(4))
    coupling.dual["weight"] += 0.1
    own = torch.ones_like(model.weight)
    model.weight.grad = own.clone()
    coupling.add_gradient(model)
    free = model.weight.detach().clone().requires_grad_()
    (0.5 * coupling.rho(0) * (free - coupling.projected["weight"] + 0.1).square().sum()).backward()
    torch.testing.assert_close(model.weight.grad - own, free.grad, rtol=1e-5, atol=1e-6)


def test_the_penalty_alone_pulls_by_the_promised_share():
    """Plain steps at a constant rate: exp(-pull) of the distance is left between two projections."""
    data, model = rows(), linear()
    settings = Settings(epochs=1, batch_size=1, learning_rate=0.01, momentum=0.0, weight_decay=0.0, warm_up=0.0)
    coupling = ADMM(model, LowRank(ratio=2), settings, data.n_batches(1), updates=1, pull=(0.7, 0.7))
    apart = (model.weight - coupling.projected["weight"]).norm()

    def nothing(model, x, y, generator):
        return 0.0 * model.weight.sum()

    train(model, data, nothing, settings, coupling=coupling)
    left = (model.weight - coupling.projected["weight"]).norm() / apart
    assert left.item() == pytest.approx(math.exp(-0.7), rel=0.02)


def test_the_pull_rises_and_ranks_are_frozen_at_the_end():
    data, model = rows(), linear()
    target = LowRank(ratio=2)
    chosen: list[int] = []
    coupling = ADMM(model, target, SETTINGS, data.n_batches(4), frozen=0.3)
    original = target.choose
    target.choose = lambda *given: (chosen.append(coupling.step), original(*given))
    train(model, data, Distance(wanted()), SETTINGS, coupling=coupling)
    assert len(chosen) == 27  # of the 39 projections on the way, those before step 560 of 800
    assert max(chosen) < 0.7 * coupling.steps
    assert all(b > a for a, b in itertools.pairwise(coupling.rho(k) for k in range(coupling.updates)))


def test_a_killed_training_ends_with_the_same_bits(tmp_path):
    data = rows()

    class Killed(Exception):
        pass

    class Dying(Distance):
        calls = 0

        def __call__(self, *given):
            self.calls += 1
            if self.calls == 333:
                raise Killed
            return super().__call__(*given)

    def run(objective, model, **more):
        coupling = ADMM(linear(), LowRank(ratio=2), SETTINGS, data.n_batches(4))
        return train(model, data, objective, SETTINGS, coupling=coupling, **more)

    whole, model = linear(), linear()
    expected = run(Distance(wanted()), whole)
    path = tmp_path / "run.checkpoint"
    with pytest.raises(Killed):
        run(Dying(wanted()), model, checkpoint=path, checkpoint_every=0.0)
    fresh = copy.deepcopy(linear())
    history = run(Distance(wanted()), fresh, checkpoint=path, resume=True)
    assert torch.equal(fresh.weight, whole.weight)
    assert [entry["primal"] for entry in history] == [entry["primal"] for entry in expected]
    other = ADMM(linear(), LowRank(ratio=4), SETTINGS, data.n_batches(4))
    with pytest.raises(FileFormatError, match="another ADMM"):
        train(linear(), data, Distance(wanted()), SETTINGS, coupling=other, checkpoint=path, resume=True)


@pytest.mark.parametrize("bad", [{"pull": (0.0, 1.0)}, {"frozen": 1.5}, {"updates": 0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match="ADMM needs"):
        ADMM(linear(), LowRank(ratio=2), SETTINGS, 20, **bad)
