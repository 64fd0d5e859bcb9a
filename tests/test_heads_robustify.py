"""Robust heads: what is trained, what is certified, what is chosen, and what the report says."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import convexadv as ca
from convexadv.heads import check_masking, robustify
from convexadv.heads.inputs import inputs_of
from convexadv.heads.scaling import bounded_axes, feature_scaling, movement_axes, scaled_rows
from convexadv.heads.selection import balanced, split

BOX = (0.0, 1.0)


class Small(nn.Module):
    """A convolutional network for digits with two fully connected layers."""

    def __init__(self, outputs=10):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(16)
        self.hidden, self.out = nn.Linear(64, 16), nn.Linear(16, outputs)

    def features(self, x):
        x = F.relu(self.norm(self.two(F.relu(self.one(x)))))
        return F.avg_pool2d(x, 2).flatten(1)

    def forward(self, x):
        return self.out(F.relu(self.hidden(self.features(x))))


def digits(classes=10):
    X, y = load_digits(return_X_y=True)
    kept = y < classes
    return (X[kept] / 16.0).reshape(-1, 1, 8, 8).astype(np.float32), y[kept]


def trained(outputs=10, classes=10, epochs=6):
    torch.manual_seed(0)
    X, y = (torch.from_numpy(part) for part in digits(classes))
    model = Small(outputs)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(epochs):
        for rows in torch.randperm(1000 if classes == 10 else len(X)).split(100):
            optimiser.zero_grad()
            scores = model(X[rows])
            if outputs == 1:
                F.binary_cross_entropy_with_logits(scores[:, 0], y[rows].float()).backward()
            else:
                F.cross_entropy(scores, y[rows]).backward()
            optimiser.step()
    optimiser.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def made(model):
    X, y = digits()
    settings = {"radius": [0.02, 0.1], "beta": [0.1, 0.02], "validation": (X[1000:1200], y[1000:1200])}
    return robustify(model, (X[:300], y[:300]), attack_radius=0.1, bounds=BOX, attack_steps=5, **settings)


def test_head_of_a_trained_network_is_certified(made):
    assert made.report.gap <= 1e-3
    assert made.solution.status.ok
    upper = made.problem.objective(made.solution.network)
    lower = made.problem.lower_bound(made.solution.certificate)
    assert made.problem.gap(upper, lower) == pytest.approx(made.report.gap)
    assert len(made.report.class_gaps) == 10


def test_gaps_of_classes_are_those_of_two_class_problems(made):
    gaps, total = [], 0.0
    for k, component in enumerate(made.problem.components):
        y = digits()[1][:300] == k
        X = np.concatenate([block for _, block in made.problem.rows.blocks()])
        single = ca.PolynomialProblem(X, y, radius=made.problem.radius, beta=made.problem.beta)
        network = made.solution.network
        own = ca.PolynomialNetwork(network.neurons, network.coefficients.detach()[:, k])
        assert component.outputs.tolist() == [k]
        atoms = (atom for atom in made.solution.certificate.atoms if atom.component == k)
        certificate = ca.OptimalityCertificate(tuple(replace(atom, component=0) for atom in atoms))
        upper, lower = single.objective(own), single.lower_bound(certificate)
        gaps.append(single.gap(upper, lower))
        total += upper - lower
    np.testing.assert_allclose(gaps, made.report.class_gaps, rtol=1e-6, atol=1e-12)
    assert total == pytest.approx(made.solution.objective - made.solution.lower_bound, rel=1e-6)


def test_model_is_the_head_on_the_features_of_the_model_given(model, made):
    x = torch.from_numpy(digits()[0][1200:1300])
    with torch.no_grad():
        features = model.features(x)
        expected = made.head.scores(features.double())
        torch.testing.assert_close(made.model(x), expected.float(), rtol=1e-4, atol=1e-4)
        assert torch.equal(made.model.backbone(x), features)
        assert torch.equal(made.model(x), made.model.head(features))
    # On the scaled training rows the head is the network of the solution.
    X = np.concatenate([block for _, block in made.problem.rows.blocks()])
    raw = X * made.head.scale.numpy() + made.head.shift.numpy()
    np.testing.assert_allclose(made.head.scores(raw), made.solution.network.scores(X), rtol=1e-6, atol=1e-6)


def test_candidate_with_the_best_attacked_accuracy_is_chosen_and_the_table_can_be_repeated(model, made):
    report = made.report
    assert [(row["radius"], row["beta_share"]) for row in report.candidates] == [
        (0.02, 0.1), (0.02, 0.02), (0.1, 0.1), (0.1, 0.02),
    ]  # fmt: skip
    assert report.chosen["attacked"] == max(row["attacked"] for row in report.candidates)
    assert all(row["gap"] <= 1e-3 for row in report.candidates)
    X, y = digits()
    again = ca.attack(
        made.model, X[1000:1200], y[1000:1200], 0.1, bounds=BOX, method="apgd", steps=5, restarts=2, batch_size=256
    )
    assert report.after["attacked"] == pytest.approx(1.0 - again.success.mean())
    old = ca.attack(
        model, X[1000:1200], y[1000:1200], 0.1, bounds=BOX, method="apgd", steps=5, restarts=2, batch_size=256
    )
    assert report.before["attacked"] == pytest.approx(1.0 - old.success.mean())
    with torch.no_grad():
        clean = (made.model(torch.from_numpy(X[1000:1200])).argmax(1).numpy() == y[1000:1200]).mean()
    assert report.after["clean"] == pytest.approx(clean)
    assert clean > 0.8


def test_report_says_what_was_done(made, tmp_path):
    report = made.report
    assert report.tap == "input of hidden (64 features, in place of hidden and out)"
    assert report.tail == "removed from the copy of the model: hidden, out"
    assert report.sizes == {
        "features": 64, "classes": 10, "available_rows": 300, "training_rows": 300, "extra_rows": 0, "validation_rows": 200,
        "neurons": made.head.n_neurons,
    }  # fmt: skip
    assert set(report.seconds) == {"extraction", "perturbation", "solve", "selection", "total"}
    assert sum(report.seconds.values()) <= 2 * report.seconds["total"]
    report.to_json(tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["gap"] == report.gap
    assert read["chosen"] == {**report.chosen}
    text = str(report)
    assert text.count("optimal") == 4
    assert "trained on  300 rows" in text
    assert text.splitlines()[-5].split()[:5] == ["gates", "radius", "beta", "gap", "neurons"]


def test_the_model_given_is_left_alone(model):
    X, y = digits()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    found = robustify(model, (X[:200], y[:200]), validation=None, beta=0.3)
    assert model.training
    assert found.model.training
    model.eval()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert found.report.before == {"clean": None, "attacked": None}


def test_two_outputs_get_one_head_output():
    model, (X, y) = trained(outputs=2, classes=2, epochs=2), digits(2)
    found = robustify(model, (X, y), radius=0.05, attack_radius=0.1, bounds=BOX)
    assert found.head.n_outputs == 1
    scores = found.model(torch.from_numpy(X))
    assert scores.shape == (len(X), 2)
    with torch.no_grad():
        margin = found.head.scores(model.features(torch.from_numpy(X)).double())
        torch.testing.assert_close(scores[:, 1] - scores[:, 0], margin.float(), rtol=1e-4, atol=1e-4)
        assert torch.equal(scores[:, 0], -scores[:, 1])
    assert (scores.argmax(1).numpy() == y).mean() > 0.95
    assert found.report.gap <= 1e-3
    assert len(found.report.class_gaps) == 1


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), ("no", "yes")])
def test_one_output_keeps_its_shape_and_labels(labels):
    model, (X, y) = trained(outputs=1, classes=2, epochs=2), digits(2)
    found = robustify(model, (X, np.array(labels)[y]), radius=0.05, attack_radius=0.1, bounds=BOX, attack_steps=3)
    scores = found.model(torch.from_numpy(X))
    assert scores.shape == (len(X), 1)
    assert ((scores[:, 0] > 0).numpy() == y).mean() > 0.95
    features = model.features(torch.from_numpy(X)).detach()
    assert (found.head.predict(features.double().numpy()) == np.array(labels)[y]).mean() > 0.95


@pytest.mark.parametrize(("head", "kind"), [("relu", ca.ReLUNetwork), ("gated-relu", ca.GatedReLUNetwork)])
def test_heads_over_patterns_are_certified_and_chosen(head, kind):
    model, (X, y) = trained(outputs=2, classes=2, epochs=2), digits(2)
    found = robustify(
        model, (X, y), head, rows=120, radius=0.02, n_gates=[4, 12], beta=0.1, attack_radius=0.1, bounds=BOX
    )
    assert isinstance(found.head, kind)
    assert [row["n_gates"] for row in found.report.candidates] == [4, 12]
    assert found.report.gap <= 1e-3
    assert found.report.sizes["training_rows"] == 120
    assert f"trained on  120 of {found.report.sizes['available_rows']} rows" in str(found.report)
    np.testing.assert_allclose(found.report.class_gaps, [found.report.gap], rtol=1e-6)
    accuracy = (found.model(torch.from_numpy(X)).argmax(1).numpy() == y).mean()
    assert accuracy > 0.9


def test_gaps_of_classes_of_gated_heads_add_up(model):
    X, y = digits()
    found = robustify(
        model, (X[:150], y[:150]), "gated-relu", n_gates=5, radius=0.0, beta=0.3, validation=None, at="hidden"
    )
    assert found.report.tap == "output of hidden (16 features)"
    assert len(found.report.class_gaps) == 10
    problem, network = found.problem, found.solution.network
    blocks = problem.blocks_of(network)[0]
    uppers = [problem.component_objective(k, blocks) for k in range(10)]
    total = sum(gap * upper for gap, upper in zip(found.report.class_gaps, uppers, strict=True))
    assert total == pytest.approx(found.solution.objective - found.solution.lower_bound, rel=1e-6)


def test_joint_margins_have_one_gap(model):
    X, y = digits()
    found = robustify(model, (X[:150], y[:150]), multiclass="joint", beta=0.3, validation=None)
    assert found.report.class_gaps is None
    assert found.report.gap <= 1e-3


def test_attacked_and_augmented_inputs_are_added_as_rows(model):
    X, y = digits()
    data, attack = (X[:120], y[:120]), {"attack_radius": 0.1, "attack_steps": 4, "bounds": BOX}
    flipped = []

    def flip(x):
        flipped.append(len(x))
        return x.flip(3) + 0.01 * torch.rand(x.shape)

    settings = {"beta": 0.3, "scaling": None, "validation": None, "batch_size": 50}
    found = robustify(model, data, extra="attacked", augment=flip, **settings, **attack)
    assert flipped == [50, 50, 20]
    assert found.report.sizes["extra_rows"] == 240
    rows = np.concatenate([block for _, block in found.problem.rows.blocks()])
    moved = ca.attack(model, X[:50], y[:50], 0.1, bounds=BOX, method="apgd", steps=4, restarts=2).points
    with torch.no_grad():
        np.testing.assert_allclose(rows[:120], model.features(torch.from_numpy(X[:120])), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rows[120:170], model.features(torch.from_numpy(moved)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.problem.targets, np.tile(y[:120], 3))
    again = robustify(model, data, extra="attacked", augment=flip, **settings, **attack)
    np.testing.assert_array_equal(rows, np.concatenate([block for _, block in again.problem.rows.blocks()]))


def test_cached_features_give_the_same_head(model, tmp_path):
    X, y = digits()
    settings = {
        "beta": 0.6,
        "attack_radius": 0.1,
        "attack_steps": 3,
        "bounds": BOX,
        "extra": "attacked",
        "validation": None,
    }
    plain = robustify(model, (X[:80], y[:80]), **settings)
    for _ in range(2):
        found = robustify(model, (X[:80], y[:80]), cache=tmp_path / "f.npy", **settings)
        assert found.report.chosen["objective"] == pytest.approx(plain.report.chosen["objective"], abs=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {
        "f.npy", "f.npy.json", "f.attacked.npy", "f.attacked.npy.json",
    }  # fmt: skip
    settings["attack_steps"] = 4
    with pytest.raises(ca.InputError, match="other attack"):
        robustify(model, (X[:80], y[:80]), cache=tmp_path / "f.npy", **settings)


def test_ball_of_the_shape_of_movements(model):
    X, y = digits()
    data, attack = (X[:100], y[:100]), {"attack_radius": 0.1, "attack_steps": 3, "bounds": BOX}
    settings = {"radius": 0.5, "beta": 0.6, "ball": "movement", "validation": None}
    found = robustify(model, data, **settings, **attack)
    moved = ca.attack(model, *data, 0.1, bounds=BOX, method="apgd", steps=3, restarts=2).points
    with torch.no_grad():
        delta = (model.features(torch.from_numpy(moved)) - model.features(torch.from_numpy(X[:100]))).double().numpy()
    delta /= found.head.scale.numpy()
    axes = found.problem.scale
    np.testing.assert_allclose(axes, np.sqrt(64 * (delta**2).mean(0)), rtol=1e-3, atol=1e-6)
    used = axes > 0
    assert ((delta[:, used] / axes[used]) ** 2).sum(1).mean() == pytest.approx(used.mean(), rel=1e-3)
    gated = robustify(model, data, "gated-relu", n_gates=3, **settings, **attack)
    ratio = gated.head.scale.numpy() / found.head.scale.numpy()
    np.testing.assert_allclose(ratio, bounded_axes(axes), rtol=1e-6)


def test_scaling_has_the_units_that_it_says():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5000, 4)) * [1.0, 2.0, 0.0, 10.0] + [0.0, 5.0, 3.0, -1.0]
    for kind in ("standard", "norm"):
        scaling = feature_scaling(features, kind)
        rows = scaled_rows([features[:3000], features[3000:]], scaling)
        np.testing.assert_allclose(rows.mean(0), 0.0, atol=1e-12)
        assert (rows**2).sum(1).mean() == pytest.approx(1.0)
        deviations = rows.std(0)
        expected = [1.0, 1.0, 0.0, 1.0] if kind == "standard" else features.std(0)
        np.testing.assert_allclose(deviations / deviations[0], np.array(expected) / expected[0], atol=1e-9)
    assert np.array_equal(scaled_rows([features], feature_scaling(features, None)), features)


def test_rows_of_files_are_scaled_as_they_are_read(tmp_path):
    features = np.random.default_rng(0).normal(size=(9000, 3)).astype(np.float32)
    np.save(tmp_path / "f.npy", features)
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    scaling = feature_scaling(features, "standard")
    lazy = scaled_rows([mapped, features[:10]], scaling)
    assert not isinstance(lazy, np.ndarray)
    np.testing.assert_array_equal(np.asarray(lazy), scaled_rows([features, features[:10]], scaling))


def test_movement_axes_of_known_movements():
    scaling = ca.datasets.Scaling(np.zeros(2), np.array([1.0, 2.0]))
    clean, moved = np.zeros((2, 2)), np.array([[3.0, 2.0], [-3.0, 2.0]])
    np.testing.assert_allclose(movement_axes(clean, moved, scaling), np.sqrt(2) * np.array([3.0, 1.0]))
    with pytest.raises(ca.InputError, match="moved no feature"):
        movement_axes(clean, clean, scaling)


def test_subset_is_balanced_and_split_keeps_shares():
    y = np.repeat([0, 1, 2], [50, 30, 3])
    chosen = balanced(y, 30, 0)
    assert np.bincount(y[chosen]).tolist() == [10, 10, 3]
    assert (np.diff(chosen) > 0).all()
    assert not np.array_equal(chosen, balanced(y, 30, 1))
    training, held = split(inputs_of((np.arange(83.0)[:, None], y)), 0.2, 0)
    assert np.bincount(held.y).tolist() == [10, 6, 1]
    together = torch.cat([training.rows(np.arange(len(training))), held.rows(np.arange(len(held)))])
    assert sorted(together[:, 0].tolist()) == list(range(83))


def test_data_set_gives_the_same_head_as_arrays(model):
    X, y = digits()
    dataset = TensorDataset(torch.from_numpy(X[:120]), torch.from_numpy(y[:120]))
    first, second = (robustify(model, data, beta=0.3, validation=0.2) for data in (dataset, (X[:120], y[:120])))
    assert torch.equal(first.head.neurons, second.head.neurons)
    assert first.report.sizes["validation_rows"] == second.report.sizes["validation_rows"] > 0


@pytest.mark.parametrize("names", [["nought", "one"], ["zero", "one"]])
def test_labels_of_the_model_are_kept_in_its_order(names):
    """The second list is not sorted: the scores keep their places, and the head has class numbers."""
    model, (X, y) = trained(outputs=2, classes=2, epochs=2), digits(2)
    model.classes = np.array(names)
    labels = model.classes[y]
    found = robustify(model, (X, labels), radius=0.05, attack_radius=0.1, bounds=BOX, attack_steps=3)
    assert found.model.classes is model.classes
    assert ca.attack(found.model, X, labels, 0.0).success.mean() < 0.05
    expected = names if names == sorted(names) else [0, 1]
    assert found.head.classes.tolist() == expected
    with pytest.raises(ca.InputError, match="two"):
        robustify(model, (X, np.where(y == 1, "two", names[0])))


def test_models_of_low_precision_keep_it():
    model, (X, y) = trained(outputs=2, classes=2, epochs=2).bfloat16(), digits(2)
    found = robustify(model, (X, y), beta=0.1, attack_radius=0.05, attack_steps=3, bounds=BOX)
    scores = found.model(torch.from_numpy(X).bfloat16())
    assert scores.dtype == torch.bfloat16
    assert found.model.head.neurons.dtype == torch.float32
    assert (scores.argmax(1).numpy() == y).mean() > 0.95
    assert found.report.gap <= 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_model_on_a_card_gives_the_head_of_the_cpu(model, tmp_path):
    import copy

    X, y = digits()
    settings = {"beta": 0.3, "tol": 1e-4, "attack_radius": 0.1, "attack_steps": 3, "bounds": BOX, "ball": "movement"}
    card = copy.deepcopy(model).cuda()
    there = robustify(card, (X[:200], y[:200]), cache=tmp_path / "f.npy", **settings)
    here = robustify(model, (X[:200], y[:200]), **settings)
    x = torch.from_numpy(X[1000:1200])
    assert there.model(x.cuda()).device.type == "cuda"
    agree = there.model(x.cuda()).argmax(1).cpu() == here.model(x).argmax(1)
    assert agree.double().mean() > 0.97
    assert there.report.chosen["objective"] == pytest.approx(here.report.chosen["objective"], rel=1e-2)
    check_masking(there.model, X[:20], y[:20], 0.1, bounds=BOX, queries=20, draws=5, steps=3)


def test_attacks_differentiate_through_the_whole_model(made):
    X, y = digits()
    weak = ca.attack(made.model, X[1000:1050], y[1000:1050], 0.3, bounds=BOX, method="fgsm", batch_size=20)
    strong = ca.attack(made.model, X[1000:1050], y[1000:1050], 0.3, bounds=BOX, method=["fgsm", "apgd"], steps=10)
    assert strong.success.sum() >= weak.success.sum() > 10


def test_feature_certificate_of_the_head(model, made):
    X, y = digits()
    with torch.no_grad():
        features = model.features(torch.from_numpy(X[1000:1100])).double().numpy()
    certificate = ca.certify(made.head, features, y[1000:1100], 0.05)
    attacked = ca.attack(made.head, features, y[1000:1100], 0.05, "l2")
    assert certificate.certified.any()
    assert not (certificate.certified & attacked.success).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "softmax"}, "head='softmax' is unknown"),
        ({"n_gates": 5}, "a polynomial head has no gates"),
        ({"radius": -1.0}, "radius"),
        ({"radius": []}, "radius is empty"),
        ({"beta": 0.0}, "beta=0"),
        ({"ball": "cube"}, "ball='cube'"),
        ({"scaling": "max"}, "scaling='max'"),
        ({"loss": "squared"}, "real targets"),
        ({"loss": "cubic"}, "loss"),
        ({"multiclass": "all"}, "multiclass='all'"),
        ({"norm": "l1"}, "norm='l1'"),
        ({"rows": 5}, "no row for each of 10 classes"),
        ({"rows": 0}, "rows"),
        ({"extra": "noise"}, "extra='noise'"),
        ({"extra": "attacked"}, 'extra="attacked" needs attack_radius'),
        ({"ball": "movement"}, 'ball="movement" needs attack_radius'),
        ({"beta": [0.1, 0.2]}, "several settings to choose from needs attack_radius"),
        ({"beta": [0.1, 0.2], "attack_radius": 0.1, "validation": None}, "need validation inputs"),
        ({"validation": 1.5}, "validation"),
        ({"validation": 1e-6}, "leaves one side empty"),
        ({"attack_radius": 0.1, "attack_norm": "l3"}, "norm"),
        ({"attack_radius": 0.1, "attack_steps": 0}, "attack_steps"),
        ({"attack_radius": 0.1, "bounds": (0.0, 0.5)}, "outside of the bounds"),
        ({"augment": lambda x: x[:, :, :4]}, "changed inputs have shape"),
        ({"augment": lambda x: None}, "augment returned a NoneType"),
        ({"batch_size": 0}, "batch_size"),
        ({"at": "hiden"}, "such as hidden"),
    ],
)
def test_wrong_arguments_are_a_sentence(model, changes, message):
    X, y = digits()
    settings = {"beta": 0.5, "validation": 0.2} | changes
    with pytest.raises(ca.InputError, match=message):
        robustify(model, (X[:100], y[:100]), **settings)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda y: np.where(y == 3, 4, y), "no training input has the label 3"),
        (lambda y: y + 1, "10"),
        (lambda y: y[:50], "labels of shape"),
    ],
)
def test_wrong_labels_are_a_sentence(model, labels, message):
    X, y = digits()
    with pytest.raises(ca.InputError, match=message):
        robustify(model, (X[:100], labels(y[:100])), beta=0.5)


def test_certified_candidates_go_before_constant_ones():
    from convexadv.heads.trials import best

    rows = [
        {"gap": 8e-1, "status": "time_limit", "clean": 0.1, "attacked": 0.1},
        {"gap": 5e-4, "status": "optimal", "clean": 0.9, "attacked": 0.05},
        {"gap": 4e-4, "status": "optimal", "clean": 0.8, "attacked": 0.07},
        {"gap": None, "status": "time_limit", "clean": None, "attacked": None},
    ]
    assert best(rows) == 2
    assert best(rows[:1]) == 0
    with pytest.raises(ca.InputError, match="no setting gave"):
        best(rows[3:])


def test_kind_of_gates(model):
    X, y = digits()
    data, settings = (X[:150], y[:150]), {"n_gates": 2, "beta": 0.3, "validation": None}
    found = robustify(model, data, "relu", gate_kind="open", **settings)
    np.testing.assert_array_equal(found.problem.gates[:, 0], np.eye(65)[-1])
    assert found.report.gap <= 1e-3
    with pytest.raises(ca.InputError, match="gate_kind='open' is a setting of ReLU"):
        robustify(model, data, gate_kind="open", beta=0.3, validation=None)
