"""Gates: patterns by brute force, what is dropped against Python sets, geometry of each kind, every refusal."""

import types

import numpy as np
import pytest
import torch

from convexadv.errors import InputError
from convexadv.networks import PolynomialNetwork
from convexadv.problems import gates as module
from convexadv.problems.gates import activation_patterns, check_gates, distinct_patterns, gates_of, sample_gates
from convexadv.rows import Rows

N, D = 41, 4
KINDS = ("gaussian", "differences", "sparse")


def matrix(n=N, d=D, seed=0):
    return np.random.default_rng([seed, n, d]).standard_normal((n, d))


def with_constant(X):
    return np.column_stack([X, np.ones(len(X))])


def brute_patterns(X, G):
    """Entry by entry in Python floats."""
    return np.array([[sum(float(a) * float(b) for a, b in zip(x, g, strict=True)) >= 0 for g in G.T] for x in X])


def brute_distinct(patterns, known=()):
    """Positions of new, not empty columns, by a set of tuples."""
    seen, kept = {tuple(column) for column in known}, []
    for k, column in enumerate(patterns.T):
        if tuple(column) not in seen and any(column):
            kept.append(k)
        seen.add(tuple(column))
    return kept


@pytest.mark.parametrize("block_rows", [3, 1000])
@pytest.mark.parametrize("products", [1, 60, 1 << 20])
def test_patterns_are_those_of_brute_force(monkeypatch, block_rows, products):
    monkeypatch.setattr(module, "_PRODUCTS", products)
    X, G = matrix(), matrix(D, 7, seed=1)
    X[5], G[:, 3] = 0.0, [1.0, 0, 0, 0]
    X[6] = [0.0, 2, -3, 4]  # on the hyperplane of gate 3: active
    rows = Rows.of([X[:20], torch.as_tensor(X[20:])])
    rows.block_rows = block_rows
    patterns = activation_patterns(rows, G)
    assert patterns.dtype == bool
    np.testing.assert_array_equal(patterns, brute_patterns(X, G))
    assert patterns[5].all()
    assert patterns[6, 3]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 23])
def test_distinct_patterns_are_those_of_a_set(n):
    random = np.random.default_rng(n)
    # Few columns out of many: copies, empty ones, and pairs that differ in one row only, the last one.
    pool = random.random((n, 12)) < 0.5
    pool[:, 0] = False
    pool[:, 1] = pool[:, 2]
    pool[-1, 1] = ~pool[-1, 2]
    patterns, known = pool[:, random.integers(12, size=60)], pool[:, [3, 4]]
    for form in (patterns, np.asfortranarray(patterns), patterns[:, ::-1]):
        np.testing.assert_array_equal(distinct_patterns(form), brute_distinct(form))
        np.testing.assert_array_equal(distinct_patterns(form, known), brute_distinct(form, known.T))
    assert distinct_patterns(patterns, pool).size == 0
    assert distinct_patterns(patterns, np.zeros((n, 0), bool)).tolist() == brute_distinct(patterns)


def candidates(monkeypatch, rows, *arguments, **options):
    """The gates drawn, before any is dropped."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "distinct_patterns", lambda patterns, known=None: np.arange(patterns.shape[1]))
        return sample_gates(rows, *arguments, **options).gates


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_sample_keeps_the_first_of_each_pattern_in_order(monkeypatch, kind, constant):
    X = matrix(6, 2)
    X = with_constant(X) if constant else X
    rows = Rows.of(X)
    drawn = candidates(monkeypatch, rows, 60, kind=kind, constant=constant)
    patterns = brute_patterns(X, drawn)
    kept = brute_distinct(patterns)
    sample = sample_gates(rows, 60, kind=kind, constant=constant)
    assert 1 < len(kept) < 60
    np.testing.assert_array_equal(sample.kept, kept)
    np.testing.assert_array_equal(sample.gates, drawn[:, kept])
    np.testing.assert_array_equal(sample.patterns, patterns[:, kept])
    empty = sum(not column.any() for column in patterns.T)
    assert (sample.requested, sample.kind) == (60, kind)
    assert (sample.empty, sample.duplicates) == (empty, 60 - empty - len(kept))
    assert str(sample) == (
        f"{len(kept)} of 60 {kind} gates kept: {sample.duplicates} repeat a pattern and {empty} activate no row."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_gates(kind):
    rows = Rows.of(with_constant(matrix()))
    options = {"kind": kind, "constant": True}
    first = sample_gates(rows, 30, random_state=3, **options)
    again = sample_gates(rows, 30, random_state=np.random.default_rng(3), **options)
    np.testing.assert_array_equal(first.gates, again.gates)
    np.testing.assert_array_equal(first.kept, again.kept)
    assert not np.array_equal(first.gates[:, :5], sample_gates(rows, 30, random_state=4, **options).gates[:, :5])
    longer = sample_gates(rows, 80, random_state=3, **options)
    np.testing.assert_array_equal(longer.gates[:, longer.kept < 30], first.gates)
    generator = np.random.default_rng(3)
    sample_gates(rows, 30, random_state=generator, **options)
    assert not np.array_equal(
        first.gates[:, :5], sample_gates(rows, 30, random_state=generator, **options).gates[:, :5]
    )


def test_known_patterns_are_not_sampled_again():
    rows = Rows.of(matrix(8, 2))
    first = sample_gates(rows, 6)
    more = sample_gates(rows, 40, known=first.patterns)
    assert more.kept.min() >= 6  # the same seed draws the first six again
    everything = sample_gates(rows, 40)
    assert len(more.kept) == len(everything.kept) - len(first.kept) > 0
    assert more.duplicates == everything.duplicates + len(first.kept)
    old = {tuple(column) for column in first.patterns.T}
    assert not any(tuple(column) in old for column in more.patterns.T)


def test_gaussian_directions_are_standard_normal(monkeypatch):
    drawn = candidates(monkeypatch, Rows.of(matrix(40, 3)), 4000)
    np.testing.assert_allclose(drawn.mean(1), 0, atol=0.06)
    np.testing.assert_allclose(drawn @ drawn.T / drawn.shape[1], np.eye(3), atol=0.1)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1000.0, 1.0), (-3.0, 1e-6), (0.0, 1e6)])
def test_gaussian_offsets_cut_the_rows_wherever_they_lie(monkeypatch, shift, scale):
    X = with_constant(shift + scale * matrix(300, 5))
    drawn = candidates(monkeypatch, Rows.of(X), 3000, constant=True)
    mean = X[:, :-1].mean(0)
    spread = np.sqrt(np.square(X[:, :-1] - mean).sum(1).mean())
    remaining = (drawn[-1] + mean @ drawn[:-1]) / spread
    assert remaining.std() == pytest.approx(1, rel=0.05)
    assert abs(np.corrcoef(remaining, mean @ drawn[:-1])[0, 1]) < 0.1
    # Shares of active rows are spread over the whole of (0, 1).
    shares = activation_patterns(Rows.of(X), drawn).mean(0)
    assert np.quantile(shares, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.06)


def test_gaussian_offsets_of_equal_rows_are_not_all_zero():
    sample = sample_gates(Rows.of(np.ones((3, 3))), 20, constant=True)
    assert sample.patterns.tolist() == [[True]] * 3
    assert sample.empty > 0


def test_differences_are_of_two_rows_and_bisect_them(monkeypatch):
    X = 100 + matrix(7, 3)
    plain = candidates(monkeypatch, Rows.of(X), 200, kind="differences")
    drawn = candidates(monkeypatch, Rows.of(with_constant(X)), 200, kind="differences", constant=True)
    pairs = {(i, j): X[i] - X[j] for i in range(7) for j in range(7) if i != j}
    met = set()
    for k in range(200):
        (pair,) = [pair for pair, difference in pairs.items() if np.array_equal(difference, plain[:, k])]
        met.add(pair)
        np.testing.assert_array_equal(drawn[:-1, k], plain[:, k])
        one, other = (with_constant(X)[row] @ drawn[:, k] for row in pair)
        middle = np.append((X[pair[0]] + X[pair[1]]) / 2, 1.0) @ drawn[:, k]
        assert middle == pytest.approx(0, abs=1e-10)
        assert one == pytest.approx(-other, rel=1e-8)
        assert one > 0
    assert met == set(pairs)


@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1, 0, 0], list("baabcab"), torch.tensor([1, 1, 1, 1, 1, 1, -1])])
def test_differences_of_labelled_rows_are_of_two_labels(monkeypatch, labels):
    X = matrix(7, 3)
    drawn = candidates(monkeypatch, Rows.of(X), 300, kind="differences", labels=labels)
    wanted = {(i, j): tuple(X[i] - X[j]) for i in range(7) for j in range(7) if labels[i] != labels[j]}
    assert {tuple(gate) for gate in drawn.T} == set(wanted.values())


def test_differences_of_equal_rows_are_dropped():
    X = np.repeat(matrix(2, 3), 2, axis=0)
    for constant in (False, True):
        sample = sample_gates(Rows.of(with_constant(X) if constant else X), 50, kind="differences", constant=constant)
        assert len(sample.kept) <= 2
        assert sample.gates.any(0).all()
        assert sample.empty > 0
    with pytest.raises(InputError, match=r"none of the 5 differences gates is left: 0 repeat .* and 5 activate no row"):
        sample_gates(Rows.of(np.ones((4, 2))), 5, kind="differences")


def test_sparse_gates_are_thresholds_at_rows(monkeypatch):
    X = matrix(9, 3)
    drawn = candidates(monkeypatch, Rows.of(with_constant(X)), 400, kind="sparse", constant=True)
    met = set()
    for gate in drawn.T:
        (feature,) = np.flatnonzero(gate[:-1])
        sign = gate[feature]
        assert sign in (-1.0, 1.0)
        (row,) = np.flatnonzero(np.isclose(-sign * gate[-1], X[:, feature], rtol=1e-11, atol=0))
        met.add((feature, sign, row))
        active = activation_patterns(Rows.of(with_constant(X)), gate[:, None])[:, 0]
        np.testing.assert_array_equal(active, sign * X[:, feature] >= sign * X[row, feature])
    assert len(met) == 3 * 2 * 9


def test_open_gates_let_all_rows_or_most_through(monkeypatch):
    X = matrix(200, 3)
    drawn = candidates(monkeypatch, Rows.of(with_constant(X)), 400, kind="open", constant=True)
    np.testing.assert_array_equal(drawn[:, 0], [0, 0, 0, 1])
    shares = activation_patterns(Rows.of(with_constant(X)), drawn[:, 1:]).mean(0)
    assert 0.5 <= shares.min() < 0.52
    assert 0.98 < shares.max() <= 1.0
    np.testing.assert_allclose(np.quantile(shares, [0.25, 0.5, 0.75]), [0.625, 0.75, 0.875], atol=0.04)
    fewer = sample_gates(Rows.of(with_constant(X)), 5, kind="open", constant=True)
    more = sample_gates(Rows.of(with_constant(X)), 9, kind="open", constant=True)
    np.testing.assert_array_equal(fewer.gates, more.gates[:, : fewer.gates.shape[1]])
    with pytest.raises(InputError, match='kind="open" draws offsets, and these gates have none'):
        sample_gates(Rows.of(X), 5, kind="open")


@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("constant", [False, True])
def test_sparse_gates_have_as_many_features_as_asked(monkeypatch, features, constant):
    X = matrix(30, 5)
    rows = Rows.of(with_constant(X) if constant else X)
    drawn = candidates(monkeypatch, rows, 200, kind="sparse", constant=constant, features_per_gate=features)
    assert (np.count_nonzero(drawn[:5], axis=0) == features).all()
    assert drawn[:5].any(1).all()
    np.testing.assert_allclose(np.linalg.norm(drawn[:5], axis=0), 1, rtol=1e-14)
    if constant:  # each passes closely below a row, which is active
        values = with_constant(X) @ drawn
        assert (values >= 0).any(0).all()
        np.testing.assert_allclose(np.abs(values).min(0), 0, atol=1e-10)
        assert (np.where(values >= 0, values, np.inf).min(0) < 1e-10).all()


def test_sparse_gates_without_constant_are_the_signed_axes():
    sample = sample_gates(Rows.of(matrix()), 500, kind="sparse")
    assert {tuple(gate) for gate in sample.gates.T} == {tuple(s * np.eye(D)[k]) for k in range(D) for s in (-1, 1)}


FORMS = {
    "array": lambda G: G,
    "columns first": np.asfortranarray,
    "float32": lambda G: G.astype(np.float32),
    "list": lambda G: G.tolist(),
    "tensor": torch.as_tensor,
    "tensor with gradient": lambda G: torch.tensor(G, requires_grad=True),
    "objects": lambda G: G.astype(object),
    "integers": lambda G: np.round(9 * G).astype(int),
}


@pytest.mark.parametrize("form", FORMS)
def test_own_gates_stay_as_they_are(form):
    G = matrix(D, 3)
    G = np.column_stack([G, G[:, 0], -2 * G[:, 0]])  # copies and multiples are the caller's business
    given = FORMS[form](G)
    checked = check_gates(given, D)
    wanted = given.detach().numpy() if torch.is_tensor(given) else np.asarray(given, float)
    assert checked.dtype == np.float64
    np.testing.assert_array_equal(checked, wanted)
    checked[:] = 0
    assert np.asarray(wanted).any()


GOOD = np.ones((D, 3))


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (np.ones((3, 2)), r"gates has shape \(3, 2\); \(4, P\) is needed, a gate in every column [^;]*$"),
        (np.ones((3, 4)), r"gates has shape \(3, 4\); \(4, P\) .*; the transposed matrix fits: give gates\.T\.$"),
        (np.ones(4), r"shape \(4,\); \(4, P\) is needed.*give gates\[:, None\] for a single gate\.$"),
        (np.ones(5), r"shape \(5,\); \(4, P\) is needed[^;]*$"),
        (1.0, r"shape \(\); \(4, P\) is needed"),
        (np.ones((4, 2, 1)), r"shape \(4, 2, 1\); \(4, P\) is needed"),
        (np.ones((4, 0)), r"shape \(4, 0\); at least one gate \(column\) is needed"),
        (np.where(np.eye(4, 3, -1) > 0, np.nan, 1), r"gates holds nan at \[1, 0\]; every entry must be finite"),
        (np.where(np.eye(4, 3, 2) > 0, -np.inf, 1), r"gates holds -inf at \[0, 2\]; every entry must be finite"),
        (GOOD * [1, 0, 1], "column 1 of gates is zero, which separates no rows"),
        ([["a", "b"]] * 4, "gates has the type <U1; real numbers are needed"),
        ([[1, 2], [3]], "gates cannot be read as an array"),
        (GOOD * 1j, "gates has the type complex128"),
        (None, "gates cannot be read as an array|gates holds nan"),
        (torch.eye(4).to_sparse(), "gates cannot be read as an array"),
    ],
)
def test_own_gates_that_cannot_be_used(gates, message):
    with pytest.raises(InputError, match=message):
        check_gates(gates, D)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            ({"n_gates": bad}, r"n_gates=.* cannot be used; a whole number of 1 or more is needed")
            for bad in (0, -3, 2.0, True, "5", None)
        ),
        ({"kind": "mixed"}, 'kind=\'mixed\' is unknown; "gaussian", "differences", "sparse" or "open" is needed'),
        ({"kind": None}, "kind=None is unknown"),
        *(
            ({"random_state": bad}, "random_state=.* cannot be used; a whole number of 0 or more or a numpy.random.Gen")
            for bad in (-1, 1.5, True, None, "0")
        ),
        ({"known": np.ones((N, 2))}, r"known has shape \(41, 2\) and type float64; a boolean matrix \(41, P\) is need"),
        ({"known": np.ones((3, 2), bool)}, r"known has shape \(3, 2\) and type bool; a boolean matrix \(41, P\)"),
        ({"known": np.ones(N, bool)}, r"known has shape \(41,\) and type bool"),
        ({"known": np.ones((N, 1), bool), "constant": True, "rows": np.ones((N, 2))}, "none of the 10 gaussian gates"),
        ({"labels": np.ones(N)}, "labels are used by kind=\"differences\" only; leave them out for kind='gaussian'"),
        (
            {"features_per_gate": 1},
            "features_per_gate is used by kind=\"sparse\" only; leave it out for kind='gaussian'",
        ),
        *(
            ({"kind": "sparse", "features_per_gate": bad}, "features_per_gate=.*a whole number from 1 to 4 is needed")
            for bad in (0, 5, 1.0, True)
        ),
        (
            {"kind": "sparse", "features_per_gate": 5, "constant": True, "rows": with_constant(matrix())},
            "features_per_gate=5 cannot be used; a whole number from 1 to 4 is needed",
        ),
        ({"kind": "differences", "labels": np.ones(N)}, "y holds the single class 1.0"),
        ({"kind": "differences", "labels": np.ones(3)}, r"y has shape \(3,\); \(41,\) is needed"),
        ({"kind": "differences", "rows": np.ones((1, 3))}, "needs at least two rows, and X has one"),
        ({"constant": True}, "the last column of the rows is not the constant 1, which constant=True needs"),
        ({"constant": True, "rows": np.ones((5, 1))}, "the rows hold nothing but the constant; at least one feature"),
    ],
)
def test_samples_that_cannot_be_drawn(options, message):
    options = {"n_gates": 10, "rows": matrix(), **options}
    with pytest.raises(InputError, match=message):
        sample_gates(Rows.of(options.pop("rows")), options.pop("n_gates"), **options)


def test_patterns_that_are_not_boolean_are_refused():
    with pytest.raises(InputError, match=r"patterns has shape \(3, 2\) and type float64; a boolean matrix \(n, P\)"):
        distinct_patterns(np.ones((3, 2)))


def test_nothing_left_says_why():
    rows = Rows.of(matrix(5, 1))
    with pytest.raises(InputError, match=r"none of the 10 gaussian gates is left: 10 repeat a known pattern and 0 act"):
        sample_gates(rows, 10, known=sample_gates(rows, 50).patterns)


@pytest.mark.parametrize("bias", [False, True])
def test_gates_of_a_linear_layer_have_its_signs(bias):
    layer = torch.nn.Linear(D, 9, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(matrix(9, D, seed=5)))
        if bias:
            layer.bias.copy_(torch.as_tensor(matrix(9, 1, seed=6)[:, 0]))
        wanted = (layer(torch.as_tensor(matrix())) >= 0).numpy()
    np.testing.assert_array_equal(
        activation_patterns(Rows.of(with_constant(matrix())), gates_of(layer, constant=True)), wanted
    )
    if not bias:
        np.testing.assert_array_equal(activation_patterns(Rows.of(matrix()), gates_of(layer, constant=False)), wanted)


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_gates_of_a_network_see_raw_inputs(convert):
    U, b, shift, scale = matrix(6, D, 1), matrix(6, 1, 2)[:, 0], matrix(D, 1, 3)[:, 0], np.array([0.1, 1, 7, 30])
    network = types.SimpleNamespace(
        neurons=convert(U), biases=convert(b), shift=convert(shift), scale=convert(scale), weight="not this one"
    )
    G = gates_of(network, constant=True)
    X = matrix() * scale
    wanted = ((X - shift) / scale) @ U.T + b
    np.testing.assert_allclose(with_constant(X) @ G, wanted, rtol=1e-12, atol=1e-12)


def test_gates_of_a_network_of_the_package():
    U = matrix(3, D) / np.linalg.norm(matrix(3, D), axis=1, keepdims=True)
    np.testing.assert_array_equal(gates_of(PolynomialNetwork(U, np.ones(3)), constant=False), U.T)
    shifted = PolynomialNetwork(U, np.ones(3), shift=np.ones(D), scale=np.full(D, 2.0))
    np.testing.assert_allclose(gates_of(shifted, constant=True), np.vstack([U.T, -U.sum(1)]) / 2)
    with pytest.raises(InputError, match=r"neuron 0 of the network has an offset.*fit_intercept=True is needed"):
        gates_of(shifted, constant=False)


def test_zero_neurons_are_left_out():
    network = types.SimpleNamespace(neurons=[[0, 0], [1, 2], [0, 0], [3, 4]], biases=[0, 0, 5, 6])
    np.testing.assert_array_equal(gates_of(network, constant=True), [[1, 0, 3], [2, 0, 4], [0, 5, 6]])
    network.biases = None
    np.testing.assert_array_equal(gates_of(network, constant=False), [[1, 3], [2, 4]])


@pytest.mark.parametrize(
    ("parts", "constant", "message"),
    [
        ({}, True, "SimpleNamespace has no neurons; a network with neurons"),
        ({"weight": np.ones((2, 3, 1, 1))}, True, r"weight has shape \(2, 3, 1, 1\); \(m, d\) is needed"),
        ({"neurons": np.ones(3)}, True, r"neurons has shape \(3,\); \(m, d\) is needed, a neuron in every row"),
        ({"neurons": np.ones((2, 3)), "biases": np.ones(3)}, True, r"biases has shape \(3,\); \(2,\) .* every neuron"),
        ({"weight": np.ones((2, 3)), "bias": np.ones(3)}, True, r"bias has shape \(3,\); \(2,\) is needed"),
        ({"neurons": np.ones((2, 3)), "shift": np.ones(2)}, True, r"shift has shape \(2,\); \(3,\) .* every feature"),
        ({"neurons": np.ones((2, 3)), "scale": np.ones((3, 1))}, True, r"scale has shape \(3, 1\); \(3,\) is needed"),
        ({"neurons": np.ones((2, 3)), "scale": [1, 0, 1]}, True, "scale contains 0; positive numbers are needed"),
        ({"neurons": [[1, np.nan]]}, True, r"neurons holds nan at \[0, 1\]; every entry must be finite"),
        ({"neurons": [[1, 2]], "biases": [np.inf]}, True, r"biases holds inf at \[0\]; every entry must be finite"),
        ({"neurons": [["a"]]}, True, "neurons has the type"),
        ({"neurons": [[1], [2]], "biases": [0, 3]}, False, "neuron 1 of the network has an offset.*fit_intercept=True"),
        ({"neurons": np.zeros((4, 2))}, True, r"no neuron other than zero \(4 in all\); at least one is needed"),
        ({"neurons": np.zeros((0, 2))}, False, r"no neuron other than zero \(0 in all\)"),
    ],
)
def test_networks_that_give_no_gates(parts, constant, message):
    with pytest.raises(InputError, match=message):
        gates_of(types.SimpleNamespace(**parts), constant)
