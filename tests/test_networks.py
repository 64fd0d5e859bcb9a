import copy
import pickle

import numpy as np
import pytest
import torch

from convexadv import InputError, PolynomialNetwork
from convexadv.networks import evaluation as shared

ACTIVATION = (0.3, -0.7, 0.2)


def weights(m=5, d=4, outputs=1, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    neurons = rng.standard_normal((m, d))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    return neurons.astype(dtype), rng.standard_normal((m, outputs)).astype(dtype)


def make(m=5, d=4, outputs=1, seed=0, classes=None, dtype=np.float64):
    rng = np.random.default_rng(seed + 1)
    shift, scale = rng.standard_normal(d), rng.random(d) + 0.5
    return PolynomialNetwork(*weights(m, d, outputs, seed, dtype), ACTIVATION, shift, scale, classes)


def inputs(n=7, d=4, seed=9):
    return np.random.default_rng(seed).standard_normal((n, d))


def by_loops(network, X):
    """The definition of the network, one number at a time."""
    a, b, c = network.activation
    neurons, alpha = network.neurons.detach().numpy(), network.coefficients.detach().numpy()
    shift, scale = network.shift.numpy(), network.scale.numpy()
    result = np.zeros((len(X), alpha.shape[1]))
    for i, x in enumerate(X):
        for j, u in enumerate(neurons):
            t = sum(u[k] * (x[k] - shift[k]) / scale[k] for k in range(len(x)))
            result[i] += alpha[j] * (a * t * t + b * t + c)
    return result


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("m", [0, 1, 5])
def test_forward_is_the_definition(m, outputs):
    network, X = make(m, outputs=outputs), inputs()
    expected = by_loops(network, X)
    scores = network(torch.from_numpy(X)).detach().numpy()
    assert scores.shape == ((7,) if outputs == 1 else (7, 3))
    np.testing.assert_allclose(scores.reshape(7, outputs), expected, rtol=1e-12, atol=1e-13)
    assert (network.n_neurons, network.n_features, network.n_outputs) == (m, 4, outputs)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("m", [0, 6])
def test_quadratic_form_gives_the_scores(m, outputs):
    network, X = make(m, outputs=outputs), inputs()
    a, b, c = network.activation
    Z = (X - network.shift.numpy()) / network.scale.numpy()
    for output in range(outputs):
        W1, W2, W4 = (part.numpy() for part in network.quadratic(output))
        assert (W1.shape, W2.shape, W4.shape) == ((4, 4), (4,), ())
        values = [a * z @ W1 @ z + b * W2 @ z + c * W4 for z in Z]
        np.testing.assert_allclose(values, by_loops(network, X)[:, output], rtol=1e-12, atol=1e-13)
        # f(x) = <S(x), W> of the lifted form, with the trace equality of unit neurons
        assert np.trace(W1) == pytest.approx(W4, abs=1e-12)


def test_penalty_is_the_sum_of_magnitudes():
    network = make(outputs=3)
    expected = sum(abs(value) for value in network.coefficients.detach().numpy().ravel())
    assert network.penalty() == pytest.approx(expected, rel=1e-14)
    assert make(0).penalty() == 0.0


@pytest.mark.parametrize("outputs", [1, 3])
def test_gradients_in_inputs_and_weights(outputs):
    network = make(outputs=outputs)
    names = [name for name, _ in network.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in network.parameters()]

    def function(x, *parameters):
        return torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), x)

    assert names == ["neurons", "coefficients"]
    x = torch.from_numpy(inputs(3)).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, *values))


def test_torch_machinery():
    network = make(outputs=3, classes=["a", "b", "c"])
    x = torch.from_numpy(inputs())
    expected = network(x)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    images = x.reshape(7, 2, 2)
    torch.testing.assert_close(torch.nn.Sequential(torch.nn.Flatten(), network)(images), expected)
    torch.testing.assert_close(torch.func.vmap(network)(x), expected)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        torch.testing.assert_close(other(x), expected)
        assert other.classes.tolist() == ["a", "b", "c"]


def test_state_dict_holds_the_weights_by_name():
    network, other = make(seed=0), make(seed=5)
    assert list(network.state_dict()) == ["neurons", "coefficients", "shift", "scale"]
    x = torch.from_numpy(inputs())
    assert not torch.allclose(network(x), other(x))
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other(x), network(x), rtol=0, atol=0)


def test_precisions():
    network, X = make(), inputs()
    single = make(dtype=np.float32)
    assert single.neurons.dtype == single.scale.dtype == torch.float32
    assert make().neurons.dtype == torch.float64
    assert PolynomialNetwork(*weights(), dtype=torch.float32).neurons.dtype == torch.float32
    assert PolynomialNetwork([[1, 0]], [1]).neurons.dtype == torch.float64
    expected = by_loops(network, X)[:, 0]
    for cast in (single, copy.deepcopy(network).to(torch.float32)):
        for kind in (np.float32, np.float64):
            scores = cast.scores(X.astype(kind))
            assert scores.dtype == np.float32
            np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    assert network.scores(X.astype(np.float32)).dtype == np.float64


def test_large_shift_is_subtracted_in_the_precision_of_the_inputs():
    neurons, alpha = weights(dtype=np.float32)
    shift = np.full(4, 2.0**20)
    X = inputs() + shift
    near = PolynomialNetwork(neurons, alpha, ACTIVATION, shift).scores(X)
    np.testing.assert_allclose(near, PolynomialNetwork(neurons, alpha, ACTIVATION).scores(X - shift), rtol=1e-6)


def test_weights_are_copies():
    neurons, alpha = weights()
    network = PolynomialNetwork(neurons, torch.from_numpy(alpha))
    before = network.scores(inputs())
    neurons *= 2
    alpha *= 2
    np.testing.assert_array_equal(network.scores(inputs()), before)


def test_scores_in_blocks_and_from_awkward_arrays(monkeypatch, tmp_path):
    network, X = make(outputs=3), inputs(50)
    whole = network.scores(X)
    monkeypatch.setattr(shared, "BLOCK", 4 * 7)
    np.testing.assert_allclose(network.scores(X), whole, rtol=1e-13)
    np.save(tmp_path / "X.npy", X)
    frozen = X.copy()
    frozen.flags.writeable = False
    for other in (np.load(tmp_path / "X.npy", mmap_mode="r"), frozen, X.tolist(), np.asfortranarray(X)):
        np.testing.assert_allclose(network.scores(other), whole, rtol=1e-13)
    np.testing.assert_allclose(network.scores(X[::-1]), whole[::-1], rtol=1e-13)
    np.testing.assert_allclose(network.scores(X.astype(">f8")), whole, rtol=1e-13)
    integers = np.round(X).astype(np.int32)
    np.testing.assert_allclose(network.scores(integers), network.scores(integers.astype(float)), rtol=0)
    np.testing.assert_allclose(network.scores(X > 0), network.scores((X > 0).astype(float)), rtol=0)
    tensor = network.scores(torch.from_numpy(X).requires_grad_())
    assert isinstance(tensor, torch.Tensor)
    assert not tensor.requires_grad
    assert network.scores(X[:0]).shape == (0, 3)


CLASSES = [
    np.array([-1, 1]),
    np.array([0.5, 2.5]),
    np.array(["benign", "malignant"]),
    np.array([False, True]),
    np.array([3, 200], dtype=np.uint8),
    ["a", "longer"],
    torch.tensor([0, 7]),
]


@pytest.mark.parametrize("classes", CLASSES, ids=lambda value: str(getattr(value, "dtype", "list")))
def test_two_class_labels(classes):
    network, X = make(classes=classes), inputs(60)
    labels = np.asarray(classes)
    expected = labels[(by_loops(network, X)[:, 0] > 0).astype(int)]
    predicted = network.predict(X)
    assert isinstance(predicted, np.ndarray)
    assert predicted.dtype.kind == labels.dtype.kind
    assert predicted.tolist() == expected.tolist()
    assert len(set(predicted.tolist())) == 2
    from_tensor = network.predict(torch.from_numpy(X))
    assert isinstance(from_tensor, np.ndarray if labels.dtype.kind == "U" else torch.Tensor)
    assert from_tensor.tolist() == expected.tolist()
    margins = network.margins(X, expected)
    np.testing.assert_allclose(margins, np.abs(by_loops(network, X)[:, 0]), rtol=1e-12)
    other = labels[(labels[:, None] == expected).argmin(0)]
    np.testing.assert_allclose(network.margins(X, other), -margins, rtol=1e-12)


@pytest.mark.parametrize("classes", [[2, 5, 9], ["x", "y", "z"], [0.25, 1.0, 8.0]])
def test_many_class_labels_and_margins(classes):
    network, X = make(outputs=3, classes=classes), inputs(60)
    scores = by_loops(network, X)
    assert network.predict(X).tolist() == [classes[k] for k in scores.argmax(1)]
    y = [classes[k] for k in np.random.default_rng(0).integers(0, 3, 60)]
    expected = []
    for row, label in zip(scores, y, strict=True):
        k = classes.index(label)
        expected.append(row[k] - max(row[c] for c in range(3) if c != k))
    np.testing.assert_allclose(network.margins(X, y), expected, rtol=1e-12, atol=1e-14)
    tensor = network.margins(torch.from_numpy(X), y)
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_two_classes_may_have_two_outputs():
    network, X = make(outputs=2, classes=[0, 1]), inputs()
    scores = by_loops(network, X)
    assert network.predict(X).tolist() == scores.argmax(1).tolist()
    np.testing.assert_allclose(network.margins(X, [0] * 7), scores[:, 0] - scores[:, 1], rtol=1e-12)


def test_regression_predicts_values():
    network, X = make(outputs=3), inputs()
    np.testing.assert_array_equal(network.predict(X), network.scores(X))
    assert isinstance(network.predict(torch.from_numpy(X)), torch.Tensor)
    with pytest.raises(InputError, match="margins need classes"):
        network.margins(X, [0] * 7)


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"]])
def test_zero_network(classes):
    outputs = 1 if len(classes) == 2 else 3
    network = PolynomialNetwork(np.zeros((0, 4)), np.zeros((0, outputs)), classes=classes)
    X = inputs()
    assert np.array_equal(network.scores(X), np.zeros((7,) if outputs == 1 else (7, 3)))
    assert network.predict(X).tolist() == ["a"] * 7
    assert network.margins(X, ["b"] * 7).tolist() == [0.0] * 7
    x = torch.from_numpy(X).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert not gradient.any()
    assert PolynomialNetwork(np.zeros((0, 4)), np.zeros(0)).n_outputs == 1


def test_the_layout_of_the_rows_changes_no_bit():
    for n, d, m in ((2, 4, 5), (3, 3, 5), (3, 4, 2), (200, 4, 5)):
        network, X = make(m=m, d=d), inputs(n, d)
        wide = np.zeros((n, 2 * d))
        wide[:, ::2] = X
        for rows in (np.asfortranarray(X), wide[:, ::2], X[::-1].copy()[::-1], torch.from_numpy(np.asfortranarray(X))):
            np.testing.assert_array_equal(np.asarray(network.scores(rows)), network.scores(X))


def test_repr_names_sizes_and_classes():
    expected = "PolynomialNetwork(neurons=5, features=4, outputs=1, classes=['no', 'yes'])"
    assert repr(make(classes=["no", "yes"])) == expected
    assert repr(make()) == "PolynomialNetwork(neurons=5, features=4, outputs=1)"
    assert "... 4 more" in repr(make(outputs=10, classes=range(10)))


U, A = weights()
BAD_NETWORKS = [
    (lambda: PolynomialNetwork(2 * U, A), "row 0 has norm 2: divide each row"),
    (lambda: PolynomialNetwork(U * (1 + 1e-8), A), "norm 1 to within 1e-09"),
    (lambda: PolynomialNetwork(U[0], A), r"neurons must be a real array with 2 dimension\(s\)"),
    (lambda: PolynomialNetwork(U, A[:3]), "coefficients must have one row a neuron: got 3 for 5"),
    (lambda: PolynomialNetwork(U, A[None]), "coefficients must be a real array with 1 or 2"),
    (lambda: PolynomialNetwork(U * np.nan, A), "neurons must be finite"),
    (lambda: PolynomialNetwork(U, A * np.inf), "coefficients must be finite"),
    (lambda: PolynomialNetwork(U, A * 1e300, dtype=torch.float32), "finite in torch.float32"),
    (lambda: PolynomialNetwork([[1.0, 0.0], [1.0]], A), "neurons must be an array of real numbers"),
    (lambda: PolynomialNetwork([["a", "b"]], [1]), "neurons must be an array of real numbers"),
    (lambda: PolynomialNetwork(torch.ones(1, 1) * 1j, [1]), "neurons must be a real array"),
    (lambda: PolynomialNetwork(np.zeros((0, 0)), np.zeros(0)), "at least one of each is needed"),
    (lambda: PolynomialNetwork(U, np.zeros((5, 0))), "at least one of each is needed"),
    (lambda: PolynomialNetwork(U, A, (1, 2)), "activation must be three numbers"),
    (lambda: PolynomialNetwork(U, A, (1, 2, np.nan)), "activation must be finite"),
    (lambda: PolynomialNetwork(U, A, "abc"), "activation must be three numbers"),
    (lambda: PolynomialNetwork(U, A, shift=[0, 0]), "shift must have one entry a feature: got 2 for 4"),
    (lambda: PolynomialNetwork(U, A, shift=[0, 0, 0, np.inf]), "shift must be finite"),
    (lambda: PolynomialNetwork(U, A, scale=[1, 1, 0, 1]), "scale must be positive"),
    (lambda: PolynomialNetwork(U, A, scale=[1, 1, -1, 1]), "scale must be positive"),
    (lambda: PolynomialNetwork(U, A, classes=[1]), "at least two labels, got 1"),
    (lambda: PolynomialNetwork(U, A, classes=[1, 0]), r"distinct and sorted, got \[1, 0\]"),
    (lambda: PolynomialNetwork(U, A, classes=["a", "a"]), "distinct and sorted"),
    (lambda: PolynomialNetwork(U, A, classes=["a", 1]), "labels of one kind .*got int, str"),
    (lambda: PolynomialNetwork(U, A, classes=[True, 2]), "labels of one kind .*got bool, int"),
    (lambda: PolynomialNetwork(U, A, classes=[0.0, np.nan]), "classes must be finite"),
    (lambda: PolynomialNetwork(U, A, classes=[[0, 1], [1, 2]]), "one-dimensional"),
    (lambda: PolynomialNetwork(U, A, classes=5), "one-dimensional"),
    (lambda: PolynomialNetwork(U, A, classes=[0, 2**70]), "beyond 64 bits"),
    (lambda: PolynomialNetwork(U, A, classes=[0, 1, 2]), "3 labels, which need 3 outputs"),
    (lambda: PolynomialNetwork(U, np.ones((5, 3)), classes=[0, 1]), "2 labels, which need 2 outputs"),
    (lambda: PolynomialNetwork(U, A, dtype=torch.float16), "torch.float32 or torch.float64"),
    (lambda: make().quadratic(1), "output must be from 0 to 0, got 1"),
    (lambda: make().quadratic(-1), "output must be from 0"),
    (lambda: make()(inputs()), "forward takes a torch tensor"),
    (lambda: make()(torch.ones(3, 5)), r"x must have shape \(n, 4\), got \(3, 5\)"),
    (lambda: make()(torch.tensor(1.0)), r"x must have shape \(n, 4\)"),
    (lambda: make().scores(inputs()[:, :3]), r"X must have shape \(n, 4\), got \(7, 3\)"),
    (lambda: make().scores(inputs()[0]), r"X must have shape \(n, 4\), got \(4,\)"),
    (lambda: make().scores(np.array([["a"] * 4])), "X must hold numbers"),
    (lambda: make().scores(np.array([[0, 1, 2, np.nan]])), "row 0, column 3 is NaN"),
    (lambda: make().predict(torch.tensor([[0, 1, 2, 3], [0, 1, np.inf, 2]])), "row 1, column 2"),
    (lambda: make(classes=[0, 1]).margins(inputs(), [0, 1]), "X has 7 rows, y has 2"),
    (lambda: make(classes=[0, 1]).margins(inputs(), [0] * 6 + [2]), r"label 2, .* classes \[0, 1\]"),
    (lambda: make(classes=[0, 1]).margins(inputs(), ["0"] * 7), "y holds labels of dtype"),
    (lambda: make(classes=["a", "b"]).margins(inputs(), [0] * 7), "y holds labels of dtype"),
    (lambda: make(classes=[0.0, 1.0]).margins(inputs(), [np.nan] * 7), "the label nan"),
    (lambda: make(classes=[0, 1]).margins(inputs(), np.zeros((7, 2))), "one-dimensional"),
]


@pytest.mark.parametrize(("call", "message"), BAD_NETWORKS, ids=[str(k) for k in range(len(BAD_NETWORKS))])
def test_bad_arguments_give_one_sentence(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_rows_almost_of_norm_one_are_kept_as_given():
    neurons = U * (1 + 5e-10)
    np.testing.assert_array_equal(PolynomialNetwork(neurons, A).neurons.detach().numpy(), neurons)
    assert PolynomialNetwork(U * (1 + 1e-8), A, unit_tolerance=1e-7).n_neurons == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_score_that_overflows_is_a_sentence_and_no_label(dtype):
    network = PolynomialNetwork(
        [[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], (1.0, 0.0, 0.0), classes=["no", "yes"], dtype=dtype
    )
    X = np.array([[1.0, 2.0], [1e25, 1e25], [1e160, 1e160], [0.0, 1.0]])[: 2 if dtype == torch.float32 else 4]
    lost = 1 if dtype == torch.float32 else 2
    assert torch.isnan(network(torch.from_numpy(X))[lost])  # inf - inf, as torch has it
    for call in (network.scores, network.predict, lambda rows: network.margins(rows, ["no"] * len(rows))):
        with pytest.raises(InputError, match=f"^row {lost} of X is too large .* overflows in float..; smaller"):
            call(X)
        with pytest.raises(InputError, match="too large"):
            call(torch.from_numpy(X))
    if dtype == torch.float32:
        assert network.double().predict(X).tolist() == ["no", "no"]
