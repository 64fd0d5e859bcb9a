"""compress: budget, accuracy, resumption, export, and a convex head on what it returns."""

from __future__ import annotations

import copy
import functools
import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import convexadv as ca
from convexadv import FileFormatError, InputError, TrainingError
from convexadv.compression import count, load_factorised, save_factorised
from convexadv.models import PreActivationBlock, ResidualNetwork, SmallCNN
from convexadv.training import Adversarial, Clean, Images, OneStep, Settings, train

SETTINGS = Settings(batch_size=64, learning_rate=0.1)
RADIUS = 0.05


@functools.cache
def digits() -> tuple[Images, Images]:
    found = load_digits()
    x, y = (found.images[:, None] / 16).astype(np.float32), found.target
    return Images.of(x[:1200], y[:1200]), Images.of(x[1200:], y[1200:])


@functools.cache
def trained() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ResidualNetwork(PreActivationBlock, (1, 1), width=12, channels=1)
    train(model, digits()[0], OneStep(RADIUS), Settings(epochs=5, batch_size=64, learning_rate=0.1))
    return model


def accuracy(model: torch.nn.Module) -> float:
    test = digits()[1]
    with torch.no_grad():
        return float((model(test.x).argmax(1) == test.y).float().mean())


def state(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def compressed(**options):
    options = {"ratio": 4, "radius": RADIUS, "epochs": (2, 2), "settings": SETTINGS} | options
    return ca.compress(trained(), digits()[0], **options)


@pytest.mark.parametrize("measure", ["parameters", "flops"])
@pytest.mark.parametrize("method", ["cstar", "uniform", "channels", "channels-uniform"])
def test_a_compact_network_keeps_its_accuracy_within_the_budget(method, measure):
    before = copy.deepcopy(trained().state_dict())
    keep = ["head", "features.stem"] if method == "uniform" else []  # its head would have rank one
    made = compressed(method=method, measure=measure, keep=keep)
    old, new = (getattr(count(model, (1, 8, 8)), measure) for model in (trained(), made.model))
    assert new <= old // 4
    assert getattr(made.report, measure) == (old, new)
    assert accuracy(made.model) > 0.7  # chance: 0.1
    assert type(made.model) is ResidualNetwork
    assert not made.model.training
    assert [len(made.history[stage]) for stage in ("admm", "tune")] == [2, 2]
    assert all(torch.equal(before[name], value) for name, value in trained().state_dict().items())
    history = train(copy.deepcopy(made.model), digits()[0], Clean(), Settings(epochs=1, learning_rate=0.01))
    assert history[0]["loss"] < 1.5


def test_ranks_follow_from_admm_and_the_factors_are_trained():
    only = compressed(epochs=(2, 0))
    both = compressed(epochs=(2, 2))
    assert [layer.ranks for layer in only.report.layers] == [layer.ranks for layer in both.report.layers]
    assert both.history["tune"][-1]["loss"] < both.history["tune"][0]["loss"]
    assert only.history["admm"] == [entry | {"seconds": only.history["admm"][k]["seconds"]} for k, entry in
                                    enumerate(both.history["admm"])]  # fmt: skip


@pytest.mark.parametrize("killed_at", [20, 50])
@pytest.mark.parametrize("method", ["cstar", "channels"])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, method, killed_at):
    """Killed in ADMM (18 steps an epoch) or in the fine-tuning (after 36 steps and 18 of the calibration)."""
    objective, calls = OneStep(RADIUS), itertools.count()
    at = killed_at if killed_at < 36 else killed_at + 18

    class Killed(Exception):
        pass

    class Dying:
        def __repr__(self):
            return repr(objective)

        def __call__(self, *given):
            if next(calls) == at:
                raise Killed
            return objective(*given)

    options = {"attack": objective, "method": method}
    whole = compressed(**options)
    path = tmp_path / "run"
    with pytest.raises(Killed):
        compressed(**options | {"attack": Dying()}, checkpoint=path, checkpoint_every=0.0)
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".admm", ".tune"][: 1 + (killed_at > 36)]
    made = compressed(**options, checkpoint=path, resume=True)
    assert torch.equal(state(made.model), state(whole.model))
    assert made.report == whole.report
    again = compressed(**options, checkpoint=path, resume=True)
    assert torch.equal(state(again.model), state(whole.model))
    with pytest.raises(FileFormatError, match="another ADMM"):
        compressed(**options, ratio=3, checkpoint=path, resume=True)
    with pytest.raises(InputError, match="exists"):
        compressed(**options, checkpoint=path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_result_saves_and_scripts(tmp_path):
    made, test = compressed(epochs=(1, 1)), digits()[1]
    with torch.no_grad():
        expected = made.model(test.x[:5])
    save_factorised(made.model, tmp_path / "small.safetensors")
    fresh = ResidualNetwork(PreActivationBlock, (1, 1), width=12, channels=1).eval()
    again, _ = load_factorised(tmp_path / "small.safetensors", fresh)
    scripted = torch.jit.script(made.model)
    with torch.no_grad():
        assert torch.allclose(again(test.x[:5]), expected, atol=1e-5)
        assert torch.allclose(scripted(test.x[:5]), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_result_runs_as_onnx(tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    made, test = compressed(epochs=(1, 0)), digits()[1]
    path = tmp_path / "small.onnx"
    torch.onnx.export(made.model, (test.x[:5],), path, input_names=["x"], dynamo=False)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = made.model(test.x[:5]).numpy()
    np.testing.assert_allclose(session.run(None, {"x": test.x[:5].numpy()})[0], expected, rtol=1e-4, atol=1e-4)


def test_a_compact_network_takes_a_certified_head():
    data = digits()[0]
    made = compressed(epochs=(1, 1))
    headed = ca.robustify(made.model, (data.x.numpy(), data.y.numpy()), radius=0.05, beta=0.03, validation=None)
    assert headed.solution.gap <= 1e-3
    assert accuracy(headed.model) > 0.7
    assert count(headed.model.backbone, (1, 8, 8)).parameters < count(trained(), (1, 8, 8)).parameters / 3


def test_the_callback_sees_both_stages_and_can_end_them():
    seen = []

    def callback(stage, entry):
        seen.append((stage, entry["epoch"]))
        return stage == "admm"

    compressed(callback=callback)
    assert seen == [("admm", 1.0), ("tune", 1.0), ("tune", 2.0)]


@pytest.mark.parametrize("attack", ["pgd", "trades", "clean", Adversarial(RADIUS, steps=2)])
def test_every_attack_trains(attack):
    made = compressed(attack=attack, epochs=(1, 0))
    assert np.isfinite(made.history["admm"][0]["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1000}, r"the smallest possible one is [\d,]+"),
        ({"budget": 100, "ratio": None}, r"the smallest possible one is [\d,]+"),
        ({"budget": 5000}, "one of them"),
        ({"method": "svd"}, "method must be one of cstar"),
        ({"attack": "fgsm"}, "attack must be one of onestep"),
        ({"epochs": 3}, "two whole numbers"),
        ({"radius": -1.0}, "radius=-1 is out of range"),
        ({"resume": True}, "path of one is needed"),
        ({"keep": ["features", "head"]}, "nothing to compress"),
        ({"method": "channels", "keep": ["head"]}, "keep is for ranks"),
    ],
)
def test_bad_input_is_said_in_a_sentence(options, message):
    with pytest.raises(InputError, match=message):
        compressed(**options)


def test_data_must_be_a_pair():
    with pytest.raises(InputError, match=r"pair \(X, y\)"):
        ca.compress(SmallCNN(side=8), torch.zeros(3, 1, 8, 8), 4)


def test_a_loss_that_is_not_finite_ends_with_the_last_good_checkpoint(tmp_path):
    calls = itertools.count()

    class Breaking:
        def __repr__(self):
            return "Breaking()"

        def __call__(self, model, x, y, generator):
            return Clean()(model, x, y, generator) * (float("nan") if next(calls) == 25 else 1.0)

    with pytest.raises(TrainingError, match="not finite"):
        compressed(attack=Breaking(), checkpoint=tmp_path / "run", checkpoint_every=0.0)
    kept = torch.load(tmp_path / "run.admm", weights_only=True)["state"]
    assert (kept["epoch"], kept["batch"]) == (1, 7)
    assert all(bool(torch.isfinite(value).all()) for value in kept["model"].values() if value.is_floating_point())


@pytest.mark.parametrize("call", [ca.compress, ca.robustify])
def test_what_is_no_model_is_named(call):
    images = digits()[0]
    with pytest.raises(InputError, match=r"^a str was given; a torch module is needed\.$"):
        call("model.pt", (images.x.numpy(), images.y.numpy()))
