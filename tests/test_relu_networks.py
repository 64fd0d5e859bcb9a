import copy
import pickle

import numpy as np
import pytest
import torch

from convexadv import GatedReLUNetwork, InputError, PolynomialNetwork, ReLUNetwork
from convexadv.networks import evaluation as shared
from convexadv.networks.units import in_units, with_inputs

D = 4


def relu(m=6, outputs=1, seed=0, classes=None, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    neurons, alpha, biases = (rng.standard_normal(shape) for shape in [(m, D), (m, outputs), m])
    return ReLUNetwork(neurons, alpha, biases, rng.standard_normal(D), rng.random(D) + 0.5, classes, dtype)


def gated(m=6, outputs=1, seed=0, classes=None, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    shapes = [(m, D), (m, D, outputs), m, (m, outputs), D]
    gates, weights, offsets, biases, shift = (rng.standard_normal(shape) for shape in shapes)
    return GatedReLUNetwork(gates, weights, offsets, biases, shift, rng.random(D) + 0.5, classes, dtype)


def polynomial(m=6, outputs=1, seed=0, classes=None, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    neurons = rng.standard_normal((m, D))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    alpha, shift = rng.standard_normal((m, outputs)), rng.standard_normal(D)
    return PolynomialNetwork(neurons, alpha, (0.1, 0.2, 0.3), shift, rng.random(D) + 0.5, classes, dtype)


BOTH = pytest.mark.parametrize("make", [relu, gated])
EVERY = pytest.mark.parametrize("make", [relu, gated, polynomial])


def inputs(n=7, seed=9):
    return np.random.default_rng(seed).standard_normal((n, D))


def by_loops(network, X):
    """The definitions, one number at a time."""
    part = {name: tensor.detach().double().numpy() for name, tensor in network.state_dict().items()}
    result = np.zeros((len(X), network.n_outputs))
    for i, x in enumerate(X):
        z = [(x[k] - part["shift"][k]) / part["scale"][k] for k in range(D)]
        for j in range(network.n_neurons):
            for c in range(network.n_outputs):
                if isinstance(network, ReLUNetwork):
                    t = sum(part["neurons"][j, k] * z[k] for k in range(D)) + part["biases"][j]
                    result[i, c] += part["coefficients"][j, c] * max(0.0, t)
                elif sum(part["gates"][j, k] * z[k] for k in range(D)) + part["gate_biases"][j] >= 0:
                    result[i, c] += sum(part["weights"][j, k, c] * z[k] for k in range(D)) + part["biases"][j, c]
    return result


@BOTH
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("m", [0, 1, 6])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_forward_is_the_definition(make, n, m, outputs):
    network, X = make(m, outputs), inputs(n)
    expected = by_loops(network, X)
    for scores in (network(torch.from_numpy(X)).detach().numpy(), network.scores(X)):
        assert scores.shape == ((n,) if outputs == 1 else (n, 3))
        assert scores.dtype == np.float64
        np.testing.assert_allclose(scores.reshape(n, outputs), expected, rtol=1e-12, atol=1e-13)
    assert (network.n_neurons, network.n_features, network.n_outputs) == (m, D, outputs)


@BOTH
@pytest.mark.parametrize("outputs", [1, 3])
def test_one_input_and_more_leading_dimensions(make, outputs):
    network = make(outputs=outputs)
    x = torch.from_numpy(inputs(6))
    expected = network(x)
    tail = () if outputs == 1 else (3,)
    assert network(x[0]).shape == tail
    torch.testing.assert_close(network(x[0]), expected[0])
    torch.testing.assert_close(network(x.reshape(2, 3, D)), expected.reshape(2, 3, *tail))


def test_hyperplane_of_a_gate_belongs_to_the_open_side():
    network = GatedReLUNetwork(
        [[1, 0], [-1, 0], [1, 0], [0, 0]], [[1, 10], [2, 20], [4, 40], [8, 80]], [0, 0, -1e-9, 0]
    )
    assert network.scores([[0.0, 1.0]]).tolist() == [110.0]
    assert network.scores([[-1.0, 0.0]]).tolist() == [-10.0]


def test_biases_default_to_zero_and_one_output_needs_no_axis():
    rng = np.random.default_rng(0)
    U, V, alpha, X = rng.standard_normal((5, D)), rng.standard_normal((5, D)), rng.standard_normal(5), inputs()
    expected = np.maximum(X @ U.T, 0) @ alpha
    np.testing.assert_allclose(ReLUNetwork(U, alpha).scores(X), expected, rtol=1e-12)
    expected = ((X @ U.T >= 0) * (X @ V.T + alpha)).sum(1)
    np.testing.assert_allclose(GatedReLUNetwork(U, V, biases=alpha).scores(X), expected, rtol=1e-12)
    assert not GatedReLUNetwork(U, V).biases.any()


@BOTH
@pytest.mark.parametrize("outputs", [1, 3])
def test_blocks_change_nothing(make, outputs, monkeypatch):
    network, X = make(m=13, outputs=outputs), inputs(50)
    x = torch.from_numpy(X)
    whole, expected = network.scores(X), by_loops(network, X)
    gradients = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
    for size in (1, 50 * outputs, 4 * 50 * outputs):  # one row, and 1 and 4 gates with all rows
        monkeypatch.setattr(shared, "BLOCK", size)
        np.testing.assert_allclose(network.scores(X), whole, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(network(x).detach().numpy().reshape(50, outputs), expected, rtol=1e-11, atol=1e-12)
        other = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
        for gradient, reference in zip(other, gradients, strict=True):
            torch.testing.assert_close(gradient, reference)


@BOTH
def test_scores_of_many_rows_stay_in_bounded_memory(make, monkeypatch):
    sizes = []
    network, forward = make(m=30, outputs=3), type(make()).forward
    monkeypatch.setattr(type(network), "forward", lambda self, x: sizes.append(len(x)) or forward(self, x))
    monkeypatch.setattr(shared, "BLOCK", 900)
    network.scores(inputs(100))
    assert max(sizes) == (30 if make is relu else 10)
    assert sum(sizes) == 100


def away_from_kinks(network):
    """Rows at which no ReLU and no gate is within 0.05 of its hyperplane."""
    X = inputs(200, seed=3)
    part = network.state_dict()
    normals = part["neurons" if isinstance(network, ReLUNetwork) else "gates"]
    offsets = part["biases" if isinstance(network, ReLUNetwork) else "gate_biases"]
    z = (torch.from_numpy(X) - network.shift) / network.scale
    return torch.from_numpy(X)[((z @ normals.T + offsets).abs() > 0.05).all(1)][:4]


@BOTH
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_gradients_in_inputs_and_weights(make, outputs, block, monkeypatch):
    monkeypatch.setattr(shared, "BLOCK", block)
    network = make(outputs=outputs)
    names = [name for name, _ in network.named_parameters()]
    assert names == (["neurons", "coefficients", "biases"] if make is relu else ["weights", "biases"])
    values = [value.detach().clone().requires_grad_() for value in network.parameters()]

    def function(x, *parameters):
        return torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), x)

    x = away_from_kinks(network).requires_grad_()
    assert len(x) == 4
    assert torch.autograd.gradcheck(function, (x, *values))


def test_gradients_at_a_kink_are_finite():
    x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    network = ReLUNetwork([[1.0, 2.0], [0.0, 0.0]], [3.0, 1.0])
    network(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0]]
    assert all(torch.isfinite(value.grad).all() for value in network.parameters())
    x.grad = None
    gate = GatedReLUNetwork([[1.0, 2.0]], [[5.0, 7.0]])
    gate(x).sum().backward()
    assert x.grad.tolist() == [[5.0, 7.0]]


def test_closed_gates_hide_what_overflows_behind_them():
    network = GatedReLUNetwork([[1.0], [-1.0]], [[2.0], [1e300]])
    x = torch.tensor([[1e10]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert (network(x).item(), gradient.item()) == (2e10, 2.0)


@BOTH
def test_gradients_of_the_zero_network(make):
    network = make(m=0, outputs=3, classes=["a", "b", "c"])
    x = torch.from_numpy(inputs()).requires_grad_()
    gradients = torch.autograd.grad(network(x).sum(), [x, *network.parameters()])
    assert not any(gradient.any() for gradient in gradients)
    assert network.predict(inputs()).tolist() == ["a"] * 7
    assert network.penalty() == 0.0


@BOTH
def test_training_moves_the_weights_only(make):
    network = make()
    x, y = torch.from_numpy(inputs(40)), torch.ones(40, dtype=torch.float64)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    first = last = (network(x) - y).square().mean()
    for _ in range(50):
        optimizer.zero_grad()
        last = (network(x) - y).square().mean()
        last.backward()
        optimizer.step()
    assert last < 0.5 * first
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in dict(network.named_parameters()))


@BOTH
def test_torch_machinery(make):
    network = make(outputs=3, classes=["a", "b", "c"])
    x = torch.from_numpy(inputs())
    expected = network(x)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    torch.testing.assert_close(torch.func.vmap(network)(x), expected)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        torch.testing.assert_close(other(x), expected)
        assert other.classes.tolist() == ["a", "b", "c"]


@BOTH
def test_state_dict_holds_weights_and_gates_by_name(make):
    network, other = make(seed=0), make(seed=5)
    own = ["neurons", "coefficients", "biases"] if make is relu else ["weights", "biases", "gates", "gate_biases"]
    assert list(network.state_dict()) == [*own, "shift", "scale"]
    x = torch.from_numpy(inputs())
    assert not torch.allclose(network(x), other(x))
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other(x), network(x), rtol=0, atol=0)


@BOTH
def test_precisions(make):
    network, X = make(outputs=3), inputs()
    expected = by_loops(network, X)
    for cast in (make(outputs=3, dtype=torch.float32), copy.deepcopy(network).to(torch.float32)):
        assert {tensor.dtype for tensor in cast.state_dict().values()} == {torch.float32}
        for kind in (np.float32, np.float64):
            scores = cast.scores(X.astype(kind))
            assert scores.dtype == np.float32
            np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
        assert cast.penalty() == pytest.approx(network.penalty(), rel=1e-6)
    assert network.scores(X.astype(np.float32)).dtype == np.float64


def test_precision_follows_the_weights():
    U, a = np.ones((3, D)), np.ones(3)
    assert ReLUNetwork(U.astype(np.float32), a).coefficients.dtype == torch.float32
    assert ReLUNetwork(U, a.astype(np.float32)).neurons.dtype == torch.float64
    assert GatedReLUNetwork(U, U.astype(np.float32)).gates.dtype == torch.float32
    assert GatedReLUNetwork(U.astype(np.float32), U).gates.dtype == torch.float64
    assert ReLUNetwork([[1, 0]], [1]).biases.dtype == torch.float64


@BOTH
def test_moves_to_another_device(make):
    network = make().to("meta")
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}


@pytest.mark.gpu
@EVERY
def test_cuda_gives_the_same_scores_and_copies(make):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    network, X = make(m=40, outputs=3), inputs(30)
    expected = network.scores(X)
    network.cuda()
    np.testing.assert_allclose(network.scores(X), expected, rtol=1e-11, atol=1e-12)
    assert network.scores(torch.from_numpy(X)).device.type == "cpu"
    copies = [in_units(network, network.shift, network.scale)]
    if make is relu:
        copies += [network.balanced(), network.merged()]
        np.testing.assert_allclose(network.merged().scores(X), expected, rtol=1e-11, atol=1e-12)
    for other in copies:
        assert {tensor.device.type for tensor in other.state_dict().values()} == {"cuda"}


@BOTH
def test_weights_are_copies(make):
    parts = {name: tensor.detach().clone() for name, tensor in make().state_dict().items()}
    network = type(make())(**parts)
    before = network.scores(inputs())
    for tensor in parts.values():
        tensor *= 2
    np.testing.assert_array_equal(network.scores(inputs()), before)


@BOTH
def test_labels_and_margins(make):
    X = inputs(60)
    network = make(classes=["no", "yes"])
    scores = by_loops(network, X)[:, 0]
    labels = np.where(scores > 0, "yes", "no")
    assert network.predict(X).tolist() == labels.tolist()
    assert len(set(labels)) == 2
    np.testing.assert_allclose(network.margins(X, labels), np.abs(scores), rtol=1e-11, atol=1e-12)
    network = make(outputs=3, classes=[2, 5, 9])
    scores = by_loops(network, X)
    assert network.predict(X).tolist() == np.array([2, 5, 9])[scores.argmax(1)].tolist()
    expected = scores[:, 1] - np.maximum(scores[:, 0], scores[:, 2])
    np.testing.assert_allclose(network.margins(X, [5] * 60), expected, rtol=1e-10, atol=1e-12)


def test_repr_names_sizes_and_classes():
    expected = "ReLUNetwork(neurons=6, features=4, outputs=1, classes=['no', 'yes'])"
    assert repr(relu(classes=["no", "yes"])) == expected
    assert repr(gated(outputs=2)) == "GatedReLUNetwork(neurons=6, features=4, outputs=2)"


@pytest.mark.parametrize("outputs", [1, 3])
def test_penalties_are_sums_of_norms(outputs):
    network = relu(outputs=outputs)
    U, b, alpha = (value.detach().numpy() for value in (network.neurons, network.biases, network.coefficients))
    expected = sum(abs(alpha[j, c]) * np.sqrt(sum(U[j] ** 2) + b[j] ** 2) for j in range(6) for c in range(outputs))
    assert network.penalty() == pytest.approx(expected, rel=1e-13)
    network = gated(outputs=outputs)
    V, b = network.weights.detach().numpy(), network.biases.detach().numpy()
    expected = sum(np.sqrt(sum(V[k, :, c] ** 2) + b[k, c] ** 2) for k in range(6) for c in range(outputs))
    assert network.penalty() == pytest.approx(expected, rel=1e-13)


def lengths(network):
    rows = np.column_stack([network.neurons.detach().numpy(), network.biases.detach().numpy()])
    return np.linalg.norm(rows, axis=1), np.linalg.norm(network.coefficients.detach().numpy(), axis=1)


def weight_decay(network):
    return sum(0.5 * float((side**2).sum()) for side in lengths(network))


@pytest.mark.parametrize("outputs", [1, 3])
def test_balanced_is_the_same_function_with_equal_norms(outputs):
    network, X = relu(outputs=outputs, classes=range(3) if outputs == 3 else None), inputs(30)
    network.metadata = {"beta": 0.1}
    before = copy.deepcopy(network.state_dict())
    balanced = network.balanced()
    np.testing.assert_allclose(balanced.scores(X), network.scores(X), rtol=1e-11, atol=1e-12)
    hidden, output = lengths(balanced)
    np.testing.assert_allclose(hidden, output, rtol=1e-13)
    assert balanced.penalty() == pytest.approx(network.penalty(), rel=1e-13)
    if outputs == 1:
        assert weight_decay(balanced) == pytest.approx(network.penalty(), rel=1e-13)
    assert weight_decay(balanced) <= network.penalty() * (1 + 1e-13)
    for stretch in (0.8, 1.25):  # any other scaling decays more
        other = ReLUNetwork(
            stretch * balanced.neurons, balanced.coefficients / stretch, stretch * balanced.biases.detach()
        )
        assert weight_decay(other) > weight_decay(balanced)
    assert balanced.metadata == {"beta": 0.1}
    assert balanced.metadata is not network.metadata
    assert repr(balanced) == repr(network)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_one_output_a_neuron_makes_the_penalty_the_weight_decay():
    rng = np.random.default_rng(0)
    alpha = np.zeros((9, 3))
    alpha[np.arange(9), rng.integers(0, 3, 9)] = rng.standard_normal(9)
    network = ReLUNetwork(rng.standard_normal((9, D)), alpha, rng.standard_normal(9))
    assert weight_decay(network.balanced()) == pytest.approx(network.penalty(), rel=1e-13)


def test_balanced_drops_zero_neurons_only():
    neurons, biases = [[0, 0], [1, 0], [0, 0], [1e-160, 0], [0, 1]], [0, 1, 2, 0, 0]
    network = ReLUNetwork(neurons, [1, 0, 3, 1e160, 1e-300], biases)
    balanced = network.balanced()
    assert balanced.n_neurons == 3
    np.testing.assert_allclose(balanced.neurons.detach().numpy(), [[0, 0], [1, 0], [0, 1e-150]], rtol=1e-14)
    np.testing.assert_allclose(balanced.biases.detach().numpy(), [np.sqrt(6), 0, 0], rtol=1e-14)
    np.testing.assert_allclose(balanced.coefficients.detach().numpy()[:, 0], [np.sqrt(6), 1, 1e-150], rtol=1e-14)
    assert relu(0).balanced().n_neurons == relu(0).merged().n_neurons == 0


@pytest.mark.parametrize("outputs", [1, 3])
def test_merged_adds_up_scaled_copies(outputs):
    rng = np.random.default_rng(1)
    base = relu(m=5, outputs=outputs, classes=range(3) if outputs == 3 else None)
    rows, alpha = np.column_stack([base.neurons.detach(), base.biases.detach()]), base.coefficients.detach().numpy()
    copies = np.repeat(np.arange(5), 4)
    stretch = 10 ** rng.uniform(-3, 3, 20)
    scaled, many = rows[copies] * stretch[:, None], alpha[copies] * rng.uniform(0.1, 2, (20, outputs))
    shuffled = rng.permutation(20)
    scaled, many = scaled[shuffled], many[shuffled]
    network = ReLUNetwork(scaled[:, :-1], many, scaled[:, -1], base.shift, base.scale, base.classes)
    merged, X = network.merged(), inputs(50)
    assert merged.n_neurons == 5
    np.testing.assert_allclose(merged.scores(X), network.scores(X), rtol=1e-11, atol=1e-9)
    assert merged.penalty() == pytest.approx(network.penalty(), rel=1e-13)
    hidden, output = lengths(merged)
    np.testing.assert_allclose(hidden, output, rtol=1e-13)
    # in the order of the first copies
    places = [int(np.argmax(copies[shuffled] == k)) for k in range(5)]
    directions = rows[np.argsort(places)]
    found = np.column_stack([merged.neurons.detach(), merged.biases.detach()])
    np.testing.assert_allclose(found / hidden[:, None], directions / np.linalg.norm(directions, axis=1)[:, None])
    again = merged.merged()
    for name, value in merged.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert repr(merged) == repr(base)


def test_merged_keeps_apart_what_differs():
    neurons = [[1, 0], [1, 0], [-1, 0], [1, 0], [1, 1e-8], [2, 0], [0, 0], [3, 0]]
    biases = [0, 0, 0, 1, 0, 0, 0, 0]
    alpha = [[1, 1], [1, -1], [1, 1], [1, 1], [1, 1], [1, 0], [5, 5], [0, 0]]
    merged = ReLUNetwork(neurons, alpha, biases).merged()
    assert merged.neurons.tolist() == [[float(v) for v in row] for row in neurons[:6]]
    assert merged.coefficients.tolist() == [[float(v) for v in row] for row in alpha[:6]]
    assert merged.biases.tolist() == [float(v) for v in biases[:6]]
    assert ReLUNetwork(neurons, alpha, biases).merged(2e-8).n_neurons == 5


@pytest.mark.parametrize("tolerance", [0.0, 1e-6, 1e-2, 0.3])
def test_merged_stays_within_its_tolerance(tolerance):
    """Groups by a quadratic search; the function moves by at most tolerance * |[z; 1]| * penalty."""
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((12, D + 1))
    rows = centres[rng.integers(0, 12, 150)] + 0.7 * tolerance * rng.standard_normal((150, D + 1))
    rows *= rng.random((150, 1)) + 0.1
    alpha = rng.standard_normal(150)
    network = ReLUNetwork(rows[:, :-1], alpha, rows[:, -1])
    merged = network.merged(tolerance)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    leaders = []
    for j in range(150):
        if not any(
            alpha[j] * alpha[k] > 0 and 2 * np.arcsin(np.linalg.norm(unit[j] - unit[k]) / 2) <= max(tolerance, 1e-15)
            for k in leaders
        ):
            leaders.append(j)
    if tolerance:  # rounding of the directions makes an angle of zero a matter of the last bit
        assert merged.n_neurons == len(leaders) < 150
    assert merged.penalty() <= network.penalty() * (1 + 1e-12)
    X = inputs(300)
    moved = np.abs(merged.scores(X) - network.scores(X))
    bound = tolerance * np.sqrt((X**2).sum(1) + 1) * network.penalty()
    assert (moved <= bound + 1e-11).all()
    if tolerance:
        assert merged.penalty() < network.penalty()


def test_merged_groups_around_their_first_neuron_with_a_weighted_mean():
    """The second neuron is as close to the third, which leads a group of its own."""
    angles = np.array([0.0, 0.08, 0.16])
    neurons = np.column_stack([np.cos(angles), np.sin(angles)])
    network = ReLUNetwork(neurons * [[1.0], [10.0], [1.0]], [1.0, 0.5, 1.0])
    merged = network.merged(0.1)
    products = merged.coefficients[0].item() * merged.neurons.detach().numpy()[0]
    np.testing.assert_allclose(products, neurons[0] + 5 * neurons[1], rtol=1e-13)
    np.testing.assert_array_equal(merged.neurons.detach().numpy()[1], neurons[2])
    X = np.random.default_rng(0).random((20, 2))  # every neuron is active: the mean changes nothing
    np.testing.assert_allclose(merged.scores(X), network.scores(X), rtol=1e-13)


def test_copies_keep_the_precision():
    network, X = relu(outputs=3, dtype=torch.float32), inputs(20)
    doubled = ReLUNetwork(
        torch.cat([network.neurons, 2 * network.neurons]),
        torch.cat([network.coefficients, network.coefficients]),
        torch.cat([network.biases, 2 * network.biases]),
        network.shift,
        network.scale,
    )
    merged = doubled.merged()
    assert merged.n_neurons == 6
    for other in (doubled.balanced(), merged):
        assert {value.dtype for value in other.state_dict().values()} == {torch.float32}
        np.testing.assert_allclose(other.scores(X), 3 * network.scores(X), rtol=1e-4, atol=1e-4)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [0, 6])
def test_networks_in_other_units(make, m, dtype):
    network, X = make(m, 3, classes=["a", "b", "c"], dtype=dtype), inputs(20)
    network.metadata = {"beta": 0.5}
    rng = np.random.default_rng(2)
    shift, scale = torch.from_numpy(rng.standard_normal(D)), torch.from_numpy(rng.random(D) + 0.5)
    tolerance = {"rtol": 1e-11, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-4}
    moved = in_units(network, shift, scale)
    np.testing.assert_allclose(moved.scores((X - shift.numpy()) / scale.numpy()), network.scores(X), **tolerance)
    inner = in_units(network, network.shift, network.scale)
    assert not inner.shift.any()
    assert (inner.scale == 1).all()
    Z = (X - network.shift.numpy()) / network.scale.numpy()
    np.testing.assert_allclose(inner.scores(Z), network.scores(X), **tolerance)
    outer = with_inputs(network, shift.numpy(), scale.numpy())  # its own shift and scale are not used
    np.testing.assert_allclose(outer.scores(Z * scale.numpy() + shift.numpy()), network.scores(X), **tolerance)
    for other in (moved, inner, outer):
        assert type(other) is type(network)
        assert other.metadata == {"beta": 0.5}
        assert other.metadata is not network.metadata
        assert other.classes.tolist() == ["a", "b", "c"]
        for (name, value), own in zip(other.named_parameters(), network.parameters(), strict=True):
            assert value.dtype == dtype
            assert torch.equal(value, own), name
            assert m == 0 or value.data_ptr() != own.data_ptr()
    with pytest.raises(InputError, match="scale must be positive"):
        with_inputs(network, shift, 0 * scale)
    with pytest.raises(InputError, match="one entry a feature: got 3 for 4"):
        with_inputs(network, shift[:3], scale)


U, A, B = relu().neurons.detach().numpy(), relu().coefficients.detach().numpy(), relu().biases.detach().numpy()
G, V, W = U + 1, U - 1, np.ones((6, D, 3))
BAD = [
    (lambda: ReLUNetwork(U[0], A), r"neurons must be a real array with 2 dimension\(s\), got shape \(4,\)"),
    (lambda: ReLUNetwork(U, A[:3]), "coefficients must have one row a neuron: got 3 for 6 neurons"),
    (lambda: ReLUNetwork(U, A[None]), "coefficients must be a real array with 1 or 2"),
    (lambda: ReLUNetwork(U, A, B[:5]), "biases must have one entry a neuron: got 5 for 6 neurons"),
    (lambda: ReLUNetwork(U, A, B[:, None]), "biases must be a real array with 1"),
    (lambda: ReLUNetwork(U, A, 1.0), "biases must be a real array with 1"),
    (lambda: ReLUNetwork(U * np.nan, A), "neurons must be finite"),
    (lambda: ReLUNetwork(U, A * np.inf), "coefficients must be finite"),
    (lambda: ReLUNetwork(U, A, B * np.nan), "biases must be finite"),
    (lambda: ReLUNetwork(U, A * 1e300, dtype=torch.float32), "finite in torch.float32"),
    (lambda: ReLUNetwork([["a"]], [1]), "neurons must be an array of real numbers"),
    (lambda: ReLUNetwork(np.zeros((0, 0)), np.zeros(0)), "at least one of each is needed"),
    (lambda: ReLUNetwork(U, np.zeros((6, 0))), "at least one of each is needed"),
    (lambda: ReLUNetwork(U, A, shift=[0, 0]), "shift must have one entry a feature: got 2 for 4"),
    (lambda: ReLUNetwork(U, A, scale=[1, 1, 0, 1]), "scale must be positive"),
    (lambda: ReLUNetwork(U, A, classes=[1, 0]), "distinct and sorted"),
    (lambda: ReLUNetwork(U, A, classes=[0, 1, 2]), "3 labels, which need 3 outputs .*this network has 1"),
    (lambda: ReLUNetwork(U, A, dtype=torch.float16), "torch.float32 or torch.float64"),
    (lambda: relu().merged(-1e-9), "an angle from 0 to 1"),
    (lambda: relu().merged(2), "an angle from 0 to 1"),
    (lambda: relu().merged(np.nan), "an angle from 0 to 1"),
    (lambda: diverged().merged(), "coefficients must be finite"),
    (lambda: diverged().balanced(), "coefficients must be finite"),
    (lambda: GatedReLUNetwork(G[0], V), r"gates must be a real array with 2 dimension\(s\)"),
    (lambda: GatedReLUNetwork(G, V[0]), r"weights must be a real array with 2 or 3 dimension\(s\)"),
    (lambda: GatedReLUNetwork(G, V[:5]), r"weights must have shape \(m, d\) or .* got \(5, 4\) for \(6, 4\)"),
    (lambda: GatedReLUNetwork(G[:, :3], W), r"weights must have shape .* got \(6, 4, 3\) for \(6, 3\)"),
    (lambda: GatedReLUNetwork(G, V, B[:5]), "gate_biases must have one entry a gate: got 5 for 6 gates"),
    (lambda: GatedReLUNetwork(G, W, B, B), r"biases must have shape \(6, 3\), one a gate and output, got \(6,\)"),
    (lambda: GatedReLUNetwork(G, V, B, B[:5]), r"biases must have shape \(6, 1\), .*got \(5,\)"),
    (lambda: GatedReLUNetwork(G, V, B, W), "biases must be a real array with 1 or 2"),
    (lambda: GatedReLUNetwork(G * np.nan, V), "gates must be finite"),
    (lambda: GatedReLUNetwork(G, V * np.inf), "weights must be finite"),
    (lambda: GatedReLUNetwork(G, V, B * np.nan), "gate_biases must be finite"),
    (lambda: GatedReLUNetwork(G, V, B, B * np.nan), "biases must be finite"),
    (lambda: GatedReLUNetwork(np.zeros((0, 0)), np.zeros((0, 0))), "at least one of each is needed"),
    (lambda: GatedReLUNetwork(G, W[:, :, :0]), "at least one of each is needed"),
    (lambda: GatedReLUNetwork(G, V, scale=[1, 1, -1, 1]), "scale must be positive"),
    (lambda: GatedReLUNetwork(G, W, classes=[0, 1]), "2 labels, which need 2 outputs"),
    (lambda: GatedReLUNetwork(G, V, dtype=torch.int64), "torch.float32 or torch.float64"),
    *(
        case
        for make in (relu, gated)
        for case in (
            (lambda make=make: make()(inputs()), "forward takes a torch tensor"),
            (lambda make=make: make()(torch.ones(3, 5)), r"x must have shape \(n, 4\), got \(3, 5\)"),
            (lambda make=make: make()(torch.tensor(1.0)), r"x must have shape \(n, 4\)"),
            (lambda make=make: make().scores(inputs()[0]), r"X must have shape \(n, 4\), got \(4,\)"),
            (lambda make=make: make().predict([[0, 1, 2, np.nan]]), "row 0, column 3 is NaN"),
            (lambda make=make: make().margins(inputs(), [0] * 7), "margins need classes"),
        )
    ),
]


def diverged():
    network = relu()
    with torch.no_grad():
        network.coefficients[2] = torch.nan
    return network


@pytest.mark.parametrize(("call", "message"), BAD, ids=[str(k) for k in range(len(BAD))])
def test_bad_arguments_give_one_sentence(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
