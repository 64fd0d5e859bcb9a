"""Networks as ordinary torch modules: ONNX, state_dict, gradients and compilation, for each kind."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

import convexadv as ca

KINDS = ("polynomial", "relu", "gated")


def make(kind, outputs=1, m=6, d=4, dtype=torch.float64, classes=None, seed=0):
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((m, d))
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    scaling = {"shift": rng.standard_normal(d), "scale": rng.random(d) + 0.5, "classes": classes, "dtype": dtype}
    if kind == "gated":
        parts = rng.standard_normal((m, d, outputs)), rng.standard_normal(m), rng.standard_normal((m, outputs))
        return ca.GatedReLUNetwork(U, *parts, **scaling)
    coefficients = rng.standard_normal((m, outputs))
    if kind == "relu":
        return ca.ReLUNetwork(U, coefficients, rng.standard_normal(m), **scaling)
    return ca.PolynomialNetwork(U, coefficients, (0.3, -0.7, 0.2), **scaling, unit_tolerance=1e-6)


def inputs(n=9, d=4, dtype=np.float64):
    return np.random.default_rng(5).standard_normal((n, d)).astype(dtype)


def run(model, X):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"x": X})[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("m", [0, 6])
def test_onnxruntime_gives_the_scores(kind, outputs, dtype, tolerance, m):
    pytest.importorskip("onnx")
    network = make(kind, outputs, m=m, dtype=dtype)
    for n in (1, 9):
        X = inputs(n, dtype=np.float32 if dtype == torch.float32 else np.float64)
        found = run(ca.export_onnx(network).SerializeToString(), X)
        assert found.dtype == X.dtype
        assert found.shape == ((n,) if outputs == 1 else (n, outputs))
        np.testing.assert_allclose(found, network.scores(X), rtol=tolerance, atol=tolerance)


def test_onnx_file_has_the_labels(tmp_path):
    onnx = pytest.importorskip("onnx")
    network = make("relu", 3, classes=["a", "b", "c"])
    ca.export_onnx(network, tmp_path / "network.onnx")
    model = onnx.load(tmp_path / "network.onnx")
    assert json.loads({item.key: item.value for item in model.metadata_props}["classes"]) == ["a", "b", "c"]
    np.testing.assert_allclose(run(str(tmp_path / "network.onnx"), inputs()), network.scores(inputs()), rtol=1e-12)
    with pytest.raises(ca.InputError, match="a Linear was given"):
        ca.export_onnx(torch.nn.Linear(2, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_gradients_in_inputs_and_weights(kind, outputs):
    network = make(kind, outputs)
    names, values = zip(*network.named_parameters(), strict=True)

    def function(x, *weights):
        return torch.func.functional_call(network, dict(zip(names, weights, strict=True)), (x,))

    x = torch.from_numpy(inputs()).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, *(value.detach().clone().requires_grad_() for value in values)))


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_and_file_give_the_same_scores(kind, tmp_path):
    network, other = make(kind, 3), make(kind, 3, seed=1)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    ca.save(network, tmp_path / "network.safetensors")
    X = inputs()
    np.testing.assert_array_equal(other.scores(X), network.scores(X))
    np.testing.assert_array_equal(ca.load(tmp_path / "network.safetensors").scores(X), network.scores(X))


@pytest.mark.parametrize("kind", KINDS)
def test_modules_move_compile_and_stand_in_a_sequence(kind):
    network, x = make(kind, 3), torch.from_numpy(inputs())
    expected = network(x)
    compiled = torch.compile(copy.deepcopy(network), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    sequence = torch.nn.Sequential(torch.nn.Identity(), network, torch.nn.Softmax(dim=1))
    torch.testing.assert_close(sequence(x), torch.softmax(expected, 1))
    single = copy.deepcopy(network).to(torch.float32)
    torch.testing.assert_close(single(x.float()), expected.float(), rtol=1e-4, atol=1e-5)
