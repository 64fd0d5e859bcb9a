"""Global ranks: against exhaustive search, within every budget, never beaten by greedy or uniform ranks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from convexadv.compression.budget import allocate
from convexadv.compression.choices import Front, best_choice, multiplier_bound, pareto
from convexadv.compression.convert import factorise_model
from convexadv.compression.counting import count
from convexadv.compression.projection import project
from convexadv.compression.spectrum import spectra
from convexadv.compression.tucker import truncated_hosvd
from convexadv.errors import InputError

SHAPE = (3, 6, 6)


def small(seed=0, decay=1.0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 4, 3, stride=2),
        nn.Conv2d(4, 6, 1),
        nn.Flatten(),
        nn.Linear(24, 4),
    )
    for module in model:
        if isinstance(module, nn.Conv2d | nn.Linear):  # spectra that differ from layer to layer
            left, values, right = torch.linalg.svd(module.weight.data.flatten(1), full_matrices=False)
            values = values[0] * torch.arange(1, len(values) + 1).float() ** (-decay * torch.rand(()))
            module.weight.data = (left * values @ right).reshape(module.weight.shape)
    return model.eval()


def lost(shares, objective):
    return shares.sum() if objective == "discarded" else -np.log(1 - shares.sum())


def options(weight, objective, positions=(1, 1)):
    """All (cost, loss) of a layer, the formulas written down once more: dense, one rank, two ranks."""
    W = weight.detach().double().numpy().reshape(*weight.shape[:2], -1)
    O, I, k = W.shape  # noqa: E741
    before, after = positions
    total = (W**2).sum()
    yield O * I * k * after, 0.0
    if k == 1:
        values = np.linalg.svd(W[:, :, 0], compute_uv=False) ** 2 / total
        for r in range(1, min(O, I) + 1):
            yield r * (O + I) * after, lost(values[r:], objective)
        return
    outer = np.linalg.svd(W.reshape(O, -1), compute_uv=False) ** 2 / total
    inner = np.linalg.svd(W.transpose(1, 0, 2).reshape(I, -1), compute_uv=False) ** 2 / total
    for p, q in itertools.product(range(1, O + 1), range(1, I + 1)):
        if q <= k * p and p <= k * q and (p, q) != (O, I):
            cost = (q < I) * I * q * before + k * p * q * after + (p < O) * p * O * after
            yield cost, lost(outer[p:], objective) + lost(inner[q:], objective)


def exhaustive(model, budget, measure, objective):
    """Smallest loss over all combinations of pairs, without any front: sums of sums, cheapest first."""
    positions = {"0": (36, 36), "3": (36, 4), "4": (4, 4), "6": (1, 1)} if measure == "flops" else {}
    sizes = {name: module.weight for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    costs, losses = np.zeros(1), np.zeros(1)
    for name, weight in sizes.items():
        each = list(options(weight, objective, positions.get(name, (1, 1))))
        costs = (costs[:, None] + [cost for cost, _ in each]).ravel()
        losses = (losses[:, None] + [loss for _, loss in each]).ravel()
    if measure == "parameters":
        costs = costs + sum(p.numel() for p in model.parameters()) - sum(w.numel() for w in sizes.values())
    return losses[costs <= budget].min() if (costs <= budget).any() else None


@pytest.mark.parametrize("measure", ["parameters", "flops"])
@pytest.mark.parametrize("objective", ["kept", "discarded"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_exhaustive_search(measure, objective, seed):
    model = small(seed)
    found = count(model, SHAPE)
    total = found.parameters if measure == "parameters" else found.flops
    for ratio in (1.0, 1.3, 1.7, 2.2, 3.0):
        limits = {"ratio": ratio, "measure": measure, "input_shape": SHAPE, "objective": objective}
        chosen = allocate(model, **limits)
        best = exhaustive(model, int(total / ratio), measure, objective)
        assert chosen.exact
        assert chosen.loss == pytest.approx(best, abs=1e-12)
        assert chosen.lower_bound == chosen.loss
        for method in ("greedy", "uniform"):
            other = allocate(model, method=method, **limits)
            assert other.cost <= other.budget
            assert best - 1e-12 <= other.loss
            assert other.lower_bound <= best + 1e-12


@pytest.mark.parametrize("measure", ["parameters", "flops"])
@pytest.mark.parametrize("method", ["dynamic", "greedy", "uniform"])
def test_the_factored_model_costs_what_was_planned(measure, method):
    model = small(3)
    for ratio in (1.2, 2.0, 3.0):
        chosen = allocate(model, ratio=ratio, measure=measure, input_shape=SHAPE, method=method)
        found = count(factorise_model(model, chosen), SHAPE)
        assert (found.parameters if measure == "parameters" else found.flops) == chosen.cost <= chosen.budget
        assert chosen.budget == int(chosen.dense_cost / ratio)


@pytest.mark.parametrize("measure", ["parameters", "flops"])
@pytest.mark.parametrize("ratio", [1.5, 3.0])
def test_grouped_repeated_and_token_layers_cost_what_was_planned(measure, ratio):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.grouped = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2)
            self.twice, self.tokens = nn.Conv2d(12, 12, 3, padding=1), nn.Linear(12, 10)

        def forward(self, x):
            x = self.twice(self.twice(self.grouped(x)))
            return self.tokens(x.flatten(2).transpose(1, 2))

    torch.manual_seed(0)
    model = Model()
    chosen = allocate(model, ratio=ratio, measure=measure, input_shape=(8, 9, 9))
    found = count(factorise_model(model, chosen), (8, 9, 9))
    assert (found.parameters if measure == "parameters" else found.flops) == chosen.cost <= chosen.budget
    assert set(chosen.ranks.values()) != {"dense"}


def test_a_factored_model_has_its_other_layers_compressed():
    model = factorise_model(small(), {"0": (2, 3)})
    assert list(spectra(model)) == ["3", "4", "6"]


def test_greedy_is_not_optimal_and_says_how_far_it_may_be():
    pairs = [
        [allocate(small(seed), ratio=2.0, method=method) for method in ("greedy", "dynamic")] for seed in range(20)
    ]
    assert any(greedy.loss > best.loss + 1e-6 for greedy, best in pairs)
    for greedy, best in pairs:
        assert greedy.gap >= greedy.loss - best.loss >= -1e-12
        assert not greedy.exact


def test_loss_falls_with_the_budget():
    model = small(1)
    losses = [allocate(model, budget=budget).loss for budget in range(150, 600, 10)]
    assert all(b <= a + 1e-15 for a, b in itertools.pairwise(losses))
    assert losses[0] > losses[-1] == 0.0


def test_loss_bounds_the_error_of_the_truncated_svd():
    model = small(2)
    chosen = allocate(model, ratio=2.0, objective="discarded")
    for name, ranks in chosen.ranks.items():
        weight = model.get_submodule(name).weight.detach().double()
        if isinstance(ranks, tuple):
            relative = truncated_hosvd(weight, ranks).residual ** 2 / float(weight.square().sum())
            assert relative <= chosen.losses[name] + 1e-12


def test_no_layer_is_given_up_for_the_product_of_what_is_kept():
    """On flat spectra the sum of the discarded shares is least where some layers lose nearly all of theirs."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(*sizes, 3, bias=False) for sizes in [(16, 16), (16, 16), (16, 64), (64, 64)]))
    summed, product = (allocate(model, ratio=8, objective=each) for each in ("discarded", "kept"))
    given_up = [max(model_loss(model, chosen).values()) for chosen in (summed, product)]
    assert given_up[0] > 0.9 > given_up[1]


def model_loss(model, chosen):
    """Share of the energy that each layer loses when it is projected."""
    weights = {name: model.get_submodule(name).weight.detach() for name in chosen.ranks}
    lost_energy = {name: (project(weights[name], ranks) - weights[name]).norm() for name, ranks in chosen.ranks.items()}
    return {name: float(lost_energy[name] / weights[name].norm()) ** 2 for name in weights}


def test_ratio_one_changes_nothing():
    assert set(allocate(small(), ratio=1).ranks.values()) == {"dense"}


def test_limits_of_layers_are_respected():
    model = small(4)
    chosen = allocate(model, ratio=1.3, keep=["0"], minimum={"3": (2, 3), "6": 2}, dense=["4"])
    assert list(chosen.ranks) == ["3", "4", "6"]
    assert chosen.ranks["3"][0] >= 2
    assert chosen.ranks["3"][1] >= 3
    assert chosen.ranks["6"] >= 2
    nothing_dense = allocate(model, budget=2000, dense=False)
    assert "dense" not in nothing_dense.ranks.values()
    full = allocate(model, budget=2000, minimum=99, dense=False)
    assert full.ranks == {"0": "dense", "3": "dense", "4": 4, "6": 4}  # full ranks of a kernel are the kernel


def test_importance_moves_ranks():
    model = small(5)
    plain = allocate(model, ratio=2.0)
    heavy = allocate(model, ratio=2.0, importance={"3": 1000.0})
    assert heavy.losses["3"] < plain.losses["3"]
    assert heavy.cost <= heavy.budget


def test_smallest_budget_that_is_said_is_possible():
    model = small()
    with pytest.raises(InputError) as error:
        allocate(model, budget=10)
    smallest = int(str(error.value).split("smallest possible one is ")[1].split(" ")[0].replace(",", ""))
    assert allocate(model, budget=smallest).cost == smallest
    with pytest.raises(InputError, match="smallest possible"):
        allocate(model, budget=smallest - 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "ratio or a budget"),
        ({"ratio": 2, "budget": 100}, "ratio or a budget"),
        ({"ratio": 0.5}, "1 or more"),
        ({"ratio": float("nan")}, "1 or more"),
        ({"budget": 2.5}, "positive integer"),
        ({"ratio": 2, "measure": "bytes"}, "parameters, flops"),
        ({"ratio": 2, "method": "best"}, "dynamic, greedy, uniform"),
        ({"ratio": 2, "objective": "best"}, "kept, discarded"),
        ({"ratio": 2, "measure": "flops"}, "needs input_shape"),
        ({"ratio": 2, "keep": ["9"]}, "keep names '9', which the model does not have"),
        ({"ratio": 2, "minimum": {"1": 2}}, "minimum names '1'"),
        ({"ratio": 2, "minimum": 0}, "positive integers"),
        ({"ratio": 2, "importance": {"0": -1.0}}, "positive and finite"),
        ({"ratio": 2, "dense": ["x"]}, "dense names 'x'"),
        ({"ratio": 2, "keep": ["0", "3", "4", "6"]}, "nothing to compress"),
    ],
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        allocate(small(), **arguments)


def test_nothing_to_compress():
    for model in (nn.ReLU(), nn.Sequential(nn.Conv2d(8, 8, 3, groups=8)), nn.Sequential(nn.Linear(5, 1))):
        with pytest.raises(InputError, match="nothing to compress"):
            allocate(model, ratio=2)


def test_weights_that_are_not_finite():
    model = small()
    model[3].weight.data[0, 0] = torch.nan
    with pytest.raises(InputError, match="weights of 3 must be finite"):
        allocate(model, ratio=2)


def test_spectra_are_the_singular_values():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2, padding=1, stride=2), nn.Conv2d(6, 4, 1, stride=2), nn.Linear(2, 3)
    )
    found = spectra(model[:2], (4, 9, 9))
    weight = model[0].weight.detach().double()
    by_svd = sum(torch.linalg.svdvals(part.flatten(1)) ** 2 for part in weight.chunk(2)) / weight.square().sum()
    np.testing.assert_allclose(found["0"].outer, by_svd.numpy(), atol=1e-12)
    assert found["0"].shape == (3, 2)
    assert found["0"].positions("flops") == (81, 25)
    assert found["1"].positions("flops") == (9, 9)
    assert found["0"].outer.sum() == pytest.approx(1.0)


def test_given_weights_take_the_place_of_the_models():
    model = small()
    other = torch.zeros_like(model[3].weight)
    other[0, 0, 0, 0] = 5.0
    assert spectra(model, weights={"3": other})["3"].loss((1, 1)) == 0.0
    assert spectra(model)["3"].loss((1, 1)) > 0.01


def test_shared_weights_subclasses_and_parametrised_layers_are_left():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), Own(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    model[1].weight = model[0].weight
    nn.utils.parametrizations.weight_norm(model[3])
    assert list(spectra(model)) == ["4"]


def random_fronts(rng, layers, most=30):
    fronts = []
    for _ in range(layers):
        n = int(rng.integers(1, 9))
        fronts.append(pareto(rng.integers(0, most, n), rng.random(n), np.arange(n)))
    return fronts


@pytest.mark.parametrize("cells", [60_000, 4])
def test_choices_against_all_combinations(cells):
    rng = np.random.default_rng(0)
    exact = 0
    for _ in range(300):
        fronts = random_fronts(rng, int(rng.integers(1, 6)))
        least = sum(int(front.costs[0]) for front in fronts)
        budget = least + int(rng.integers(0, 60))
        combinations = itertools.product(*(range(len(front.costs)) for front in fronts))
        best = min(
            sum(front.losses[i] for front, i in zip(fronts, index, strict=True))
            for index in combinations
            if sum(front.costs[i] for front, i in zip(fronts, index, strict=True)) <= budget
        )
        found = best_choice(fronts, budget, cells=cells)
        assert found.cost <= budget
        assert found.loss == pytest.approx(sum(front.losses[i] for front, i in zip(fronts, found.index, strict=True)))
        assert found.lower_bound <= best + 1e-12 <= found.loss + 2e-12
        assert multiplier_bound(fronts, budget)[0] <= best + 1e-12
        if found.exact:
            assert found.loss == pytest.approx(best, abs=1e-12)
            exact += 1
    assert exact == 300 if cells > 4 else 0 < exact < 300


def test_fronts_keep_what_nothing_beats():
    front = pareto(np.array([3, 1, 2, 2, 5]), np.array([0.5, 0.9, 0.6, 0.7, 0.5]), np.arange(5))
    assert isinstance(front, Front)
    assert front.labels.tolist() == [1, 2, 0]
