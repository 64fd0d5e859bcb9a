"""Accuracy against the radius: any attack, any module, boxes, progress, and what is written of it."""

import json

import numpy as np
import pytest
import torch

import convexadv as ca
from convexadv.errors import InputError
from convexadv.plotting import new_figure, plot_accuracy

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, size=(60, 3))
UNIT = RNG.normal(size=(5, 3))
UNIT /= np.linalg.norm(UNIT, axis=1, keepdims=True)
POLYNOMIAL = ca.PolynomialNetwork(UNIT, RNG.normal(size=(5, 3)), (1.0, 0.3, 0.0), classes=["a", "b", "c"])
RELU = ca.ReLUNetwork(RNG.normal(size=(8, 3)), RNG.normal(size=8), RNG.normal(size=8), classes=[0, 1])
FAST = {"steps": 5, "restarts": 1}


def test_every_attack_can_be_asked_for():
    y = POLYNOMIAL.predict(X)
    names = ["fgsm", "pgd", "apgd", "exact", "strongest"]
    result = ca.robust_accuracy(POLYNOMIAL, X, y, [0.05, 0.3], attacks=names, **FAST)
    assert list(result.by_attack) == names
    for name in names:
        found = ca.attack(POLYNOMIAL, X, y, 0.3, "l2", name, **FAST)
        assert result.by_attack[name][1] == pytest.approx(1 - found.success.mean())
    np.testing.assert_array_equal(result.attacked, result.certified)  # both are exact
    np.testing.assert_array_equal(result.unknown, 0)
    assert ca.robust_accuracy(POLYNOMIAL, X, y, 0.3, attacks="apgd", **FAST).by_attack.keys() == {"apgd"}
    with pytest.raises(InputError, match="exact"):
        ca.robust_accuracy(RELU, X, RELU.predict(X), 0.1, attacks="exact")


def test_a_box_makes_certificates_and_attacks_of_less():
    y = POLYNOMIAL.predict(X)
    free = ca.robust_accuracy(POLYNOMIAL, X, y, 0.4, "linf", **FAST)
    boxed = ca.robust_accuracy(POLYNOMIAL, X, y, 0.4, "linf", bounds=(-1, 1), **FAST)
    expected = ca.certify(POLYNOMIAL, X, y, 0.4, "linf", bounds=(-1, 1)).certified.mean()
    assert boxed.certified[0] == expected > free.certified[0]
    assert boxed.attacked[0] >= boxed.certified[0]
    whole = ca.robust_accuracy(RELU, X, RELU.predict(X), 0.4, "linf", bounds=(-1, 1), **FAST)
    assert whole.certified[0] == ca.certify(RELU, X, RELU.predict(X), 0.4, "linf").certified.mean()
    assert whole.attacked[0] >= whole.certified[0]


@pytest.mark.parametrize("outputs", [1, 3])
def test_any_module_is_attacked_and_nothing_is_claimed_of_it(outputs):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, outputs))
    with torch.no_grad():
        scores = module(torch.tensor(X, dtype=torch.float32)).numpy()
    y = scores.argmax(1) if outputs == 3 else (scores[:, 0] > 0) * 1
    y[:6] = (y[:6] + 1) % max(2, outputs)
    result = ca.robust_accuracy(module, X, y, [0.0, 0.5], "linf", attacks=["pgd"], bounds=(-1, 1), **FAST)
    assert result.clean == result.attacked[0] == 0.9
    broken = ca.attack(module, X, y, 0.5, bounds=(-1, 1), **FAST).success.mean()
    assert result.attacked[1] == pytest.approx(1 - broken)
    assert broken > 0.1
    np.testing.assert_array_equal(result.certified, 0)
    np.testing.assert_array_equal(result.unknown, result.attacked)
    assert not result.has_certificates
    assert "none is known" in str(result).splitlines()[-1]


def test_the_report_holds_the_band_and_the_method(tmp_path):
    result = ca.robust_accuracy(RELU, X, RELU.predict(X), [0.1, 0.5], "linf", **FAST)
    assert (result.unknown == result.attacked - result.certified).all()
    assert result.unknown[1] > 0
    assert str(result).splitlines()[-1] == f"certificate: {result.method}"
    assert "linear bounds" in result.method
    result.to_json(tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    assert document == result.to_dict()
    assert document["unknown"] == result.unknown.tolist()
    assert document["by_attack"]["pgd"] == result.by_attack["pgd"].tolist()
    assert (document["rows"], document["norm"]) == (60, "linf")
    complete = ca.robust_accuracy(RELU, X, RELU.predict(X), [0.1, 0.5], "linf", complete=True, **FAST)
    assert "branch and bound" in complete.method
    assert complete.unknown[1] < result.unknown[1]
    with pytest.raises(InputError, match="folder"):
        result.to_json(tmp_path / "missing" / "r.json")


def test_progress_is_told_of_every_part():
    seen = []
    ca.robust_accuracy(RELU, X, RELU.predict(X), [0.1, 0.2], progress=lambda *part: seen.append(part), **FAST)
    expected = [(what, radius) for radius in (0.1, 0.2) for what in ("certificates", "fgsm", "pgd")]
    assert [part[:2] for part in seen] == [*expected, ("done", 0.2)]
    assert [part[2:] for part in seen] == [(done, 6) for done in range(7)]


def test_the_plot_is_sorted_and_names_the_attacks():
    ax = new_figure(1, (5, 4))[1][0]
    result = ca.robust_accuracy(RELU, X, RELU.predict(X), [0.5, 0.1], "linf", attacks=["apgd", "fgsm"], **FAST)
    plot_accuracy({"": result}, ax)
    drawn = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
    assert drawn.keys() == {"attacked (APGD, FGSM)", "certified"}
    np.testing.assert_allclose(drawn["certified"][:, 0], [0, 0.1, 0.5])
    np.testing.assert_allclose(drawn["certified"][1:, 1], result.certified[::-1])
    ax = new_figure(1, (5, 4))[1][0]
    module = torch.nn.Linear(3, 1)
    y = (module(torch.tensor(X, dtype=torch.float32)).detach().numpy()[:, 0] > 0) * 1
    plot_accuracy({"": ca.robust_accuracy(module, X, y, [0.1], **FAST)}, ax)
    (line,) = ax.get_lines()
    assert line.get_label() == "attacked (FGSM, PGD)"
    assert ax.collections[0].get_label() == "unknown (no certificates)"
