import errno
import json
import os
import pickle
import stat

import numpy as np
import pytest
import safetensors.torch
import torch

import convexadv as ca
from convexadv import FileFormatError, GatedReLUNetwork, InputError, PolynomialNetwork, ReLUNetwork, files
from convexadv._atomic import atomic_write


def make(m=3, d=2, outputs=1, classes=None, dtype=torch.float64, kind="PolynomialNetwork"):
    rng = np.random.default_rng(0)
    neurons = rng.standard_normal((m, d))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    shift, scale = rng.standard_normal(d), rng.random(d) + 0.5
    alpha, biases = rng.standard_normal((m, outputs)), rng.standard_normal(m)
    inputs = {"shift": shift, "scale": scale, "classes": classes, "dtype": dtype}
    if kind == "PolynomialNetwork":
        return PolynomialNetwork(neurons, alpha, (0.1, 1 / 3, -0.7), **inputs)
    if kind == "ReLUNetwork":
        return ReLUNetwork(2 * neurons, alpha, biases, **inputs)
    return GatedReLUNetwork(neurons, rng.standard_normal((m, d, outputs)), biases, alpha, **inputs)


KINDS = pytest.mark.parametrize("kind", files.KINDS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def rewrite(path, change=None, tensors=None):
    """Write the file again with another header or other tensors."""
    with safetensors.safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["convexadv"])
        found = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    header = header | (change or {})
    safetensors.torch.save_file(found | (tensors or {}), path, {"convexadv": json.dumps(header)})


CLASSES = {
    "int64": np.array([-(2**62), 2**62 + 1]),
    "int8": np.array([-1, 1], dtype=np.int8),
    "uint64": np.array([0, 2**64 - 1], dtype=np.uint64),
    "float64": np.array([0.1, 1 / 3]),
    "float32": np.array([0.1, 1 / 3], dtype=np.float32),
    "float16": np.array([0.1, 1 / 3], dtype=np.float16),
    "bool": np.array([False, True]),
    "str": np.array(["", 'a "quoted", \\ new\nline', "é 漢字 😀", "\udc80 lone surrogate"][:2]),
    "unicode": np.array(["é 漢字", "\udc80 lone surrogate"]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_labels_round_trip_exactly(path, name):
    classes = CLASSES[name]
    ca.save(make(classes=classes), path)
    loaded = ca.load(path).classes
    assert loaded.dtype == classes.dtype
    assert loaded.tolist() == classes.tolist()


def test_every_kind_is_made_here():
    assert [type(make(kind=kind)).__name__ for kind in files.KINDS] == list(files.KINDS)
    assert list(files.KINDS) == [kind.__name__ for kind in files.KINDS.values()]


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("m", "outputs", "classes"), [(3, 1, None), (0, 1, [0, 1]), (4, 3, ["a", "b", "c"])])
def test_networks_round_trip_exactly(path, kind, m, outputs, classes, dtype):
    network = make(m, 5, outputs, classes, dtype, kind)
    ca.save(network, path)
    loaded = ca.load(path)
    assert type(loaded) is type(network)
    assert list(loaded.state_dict()) == list(network.state_dict())
    for name, tensor in network.state_dict().items():
        other = loaded.state_dict()[name]
        assert other.dtype == tensor.dtype == dtype
        assert torch.equal(other, tensor)
    assert loaded._settings() == network._settings()
    X = np.random.default_rng(1).standard_normal((4, 5))
    np.testing.assert_array_equal(loaded.scores(X), network.scores(X))
    assert repr(loaded) == repr(network)


def test_metadata_comes_back_and_is_added_to(path):
    network = make()
    settings = {"beta": 0.01, "radius": np.float64(0.1), "seeds": np.arange(3), "folder": path, "name": None}
    ca.save(network, path, settings=settings, gap=float("inf"), network="x", path="y")
    assert network.metadata == {}
    loaded = ca.load(path)
    expected = {"beta": 0.01, "radius": 0.1, "seeds": [0, 1, 2], "folder": str(path), "name": None}
    assert loaded.metadata == {"settings": expected, "gap": float("inf"), "network": "x", "path": "y"}
    ca.save(loaded, path, gap=0.5)
    assert ca.load(path).metadata == {"settings": expected, "gap": 0.5, "network": "x", "path": "y"}


def test_activation_comes_back_exactly(path):
    ca.save(make(), path)
    assert ca.load(path).activation == (0.1, 1 / 3, -0.7)


@KINDS
def test_header_states_format_version_and_kind(path, kind):
    ca.save(make(kind=kind), path)
    with safetensors.safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["convexadv"])
    assert header["format"] == "convexadv"
    assert header["format_version"] == files.NETWORK.newest == 1
    assert header["kind"] == kind
    assert header["package_version"] == ca.__version__


@KINDS
def test_same_network_gives_the_same_bytes(tmp_path, kind):
    for name in ("a", "b"):
        ca.save(make(classes=["x", "y"], kind=kind), tmp_path / name, gap=1.0)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@KINDS
def test_loaded_weights_outlive_the_file(path, kind):
    ca.save(make(kind=kind), path)
    loaded = ca.load(path)
    before = loaded.scores(np.ones((1, 2)))
    with open(path, "r+b") as file:
        file.truncate(0)
    np.testing.assert_array_equal(loaded.scores(np.ones((1, 2))), before)


@KINDS
def test_network_cast_to_float64_can_be_saved(path, kind):
    network = make(dtype=torch.float32, kind=kind).double()
    ca.save(network, path)
    for name, tensor in ca.load(path).state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])


@KINDS
@pytest.mark.parametrize("m", [0, 3])
def test_every_truncation_is_an_error(path, kind, m):
    ca.save(make(m, classes=["a", "b"], kind=kind), path)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(FileFormatError) as caught:
            ca.load(path)
        assert str(path) in str(caught.value)
    path.write_bytes(data + b"\0")
    with pytest.raises(FileFormatError, match="truncated or not a safetensors file"):
        ca.load(path)
    path.write_bytes(data)
    assert ca.load(path).n_neurons == m


@KINDS
def test_damaged_bytes_never_escape_as_another_error(path, kind):
    ca.save(make(classes=["a", "b"], kind=kind), path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(600):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            network = ca.load(path)
        except FileFormatError as error:
            errors += str(path) in str(error)
        else:
            assert type(network).__name__ == kind
    assert errors > 300


NAN = torch.full((3, 2), torch.nan, dtype=torch.float64)
DAMAGE = {
    "newer": (
        {"format_version": 2, "package_version": "9.1"},
        {},
        "format version 2, written by convexadv 9.1",
    ),
    "version": ({"format_version": "1"}, {}, "damaged header: its format version is '1'"),
    "version0": ({"format_version": 0}, {}, "damaged header"),
    "version true": ({"format_version": True}, {}, "damaged header"),
    "format": ({"format": "other"}, {}, "not a model file of convexadv"),
    "kind": ({"kind": "TransformerNetwork"}, {}, "holds a 'TransformerNetwork'; one of Poly"),
    "kind list": ({"kind": []}, {}, "one of Poly"),
    "settings": ({"settings": None}, {}, "settings or metadata are missing"),
    "no activation": ({"settings": {}}, {}, "'activation' is missing"),
    "activation": ({"settings": {"activation": [1, 2]}}, {}, "activation must be three numbers"),
    "activation nan": ({"settings": {"activation": [1, 2, float("nan")]}}, {}, "activation must be finite"),
    "class type": ({"classes": {"type": "object", "values": [1, 2]}}, {}, "the type of its classes"),
    "class list": ({"classes": [0, 1]}, {}, "the type of its classes"),
    "class unhashable": ({"classes": {"type": [], "values": [1, 2]}}, {}, "the type of its classes"),
    "class value": ({"classes": {"type": "int64", "values": ["a", 2]}}, {}, "must be of the type int64"),
    "class range": ({"classes": {"type": "int8", "values": [0, 1000]}}, {}, "."),
    "class order": ({"classes": {"type": "int8", "values": [1, 0]}}, {}, "distinct and sorted"),
    "class count": ({"classes": {"type": "int8", "values": [0, 1, 2]}}, {}, "need 3 outputs"),
    "nan": ({}, {"neurons": NAN}, "neurons must be finite"),
    "off the sphere": ({}, {"neurons": torch.ones(3, 2, dtype=torch.float64)}, "norm 1"),
    "rows": ({}, {"coefficients": torch.ones(4, 1, dtype=torch.float64)}, "one row a neuron"),
    "dimensions": ({}, {"neurons": torch.ones(3, dtype=torch.float64)}, "2 dimension"),
    "shift": ({}, {"shift": torch.ones(3, dtype=torch.float64)}, "one entry a feature"),
    "scale": ({}, {"scale": torch.zeros(2, dtype=torch.float64)}, "scale must be positive"),
    "dtype": ({}, {"scale": torch.ones(2)}, "must be all float32 or all float64"),
    "integers": ({}, {"scale": torch.ones(2, dtype=torch.int64)}, "must be all float32 or all float64"),
    "extra": ({}, {"bias": torch.ones(2, dtype=torch.float64)}, "it holds the tensors"),
}


RELU_DAMAGE = {
    "nan": ({"neurons": NAN}, "neurons must be finite"),
    "rows": ({"coefficients": torch.ones(4, 1, dtype=torch.float64)}, "one row a neuron"),
    "biases": ({"biases": torch.ones(2, dtype=torch.float64)}, "one entry a neuron: got 2 for 3"),
    "dtype": ({"biases": torch.ones(3)}, "must be all float32 or all float64"),
    "scale": ({"scale": torch.zeros(2, dtype=torch.float64)}, "scale must be positive"),
    "extra": ({"gates": torch.ones(3, 2, dtype=torch.float64)}, "it holds the tensors"),
}
GATED_DAMAGE = {
    "nan": ({"gates": NAN}, "gates must be finite"),
    "gates": ({"gates": torch.ones(4, 2, dtype=torch.float64)}, r"weights must have shape .*got \(3, 2, 1\)"),
    "dimensions": ({"weights": torch.ones(3, dtype=torch.float64)}, "2 or 3 dimension"),
    "gate biases": ({"gate_biases": torch.ones(2, dtype=torch.float64)}, "one entry a gate: got 2 for 3"),
    "biases": ({"biases": torch.ones(3, 2, dtype=torch.float64)}, r"biases must have shape \(3, 1\)"),
    "dtype": ({"gates": torch.ones(3, 2)}, "must be all float32 or all float64"),
    "shift": ({"shift": torch.ones(3, dtype=torch.float64)}, "one entry a feature"),
    "extra": ({"neurons": torch.ones(3, 2, dtype=torch.float64)}, "it holds the tensors"),
}
DAMAGES = {
    **{name: ("PolynomialNetwork", *case) for name, case in DAMAGE.items()},
    **{f"relu {name}": ("ReLUNetwork", {}, *case) for name, case in RELU_DAMAGE.items()},
    **{f"gated {name}": ("GatedReLUNetwork", {}, *case) for name, case in GATED_DAMAGE.items()},
    **{
        f"{kind} as {other}": (kind, {"kind": other}, {}, f"not a valid {other} file: it holds the tensors")
        for kind in files.KINDS
        for other in files.KINDS
        if other != kind
    },
}


@pytest.mark.parametrize("name", DAMAGES)
def test_wrong_contents_give_one_sentence(path, name):
    kind, change, tensors, message = DAMAGES[name]
    ca.save(make(kind=kind), path)
    rewrite(path, change, tensors)
    with pytest.raises(FileFormatError, match=message) as caught:
        ca.load(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert text.endswith(".")


@KINDS
def test_missing_tensor(path, kind):
    network = make(kind=kind)
    ca.save(network, path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    for name in network.state_dict():
        tensors = {other: value for other, value in network.state_dict().items() if other != name}
        safetensors.torch.save_file(tensors, path, metadata)
        with pytest.raises(FileFormatError, match="it holds the tensors") as caught:
            ca.load(path)
        assert str(sorted(tensors)) in str(caught.value)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"convexadv": "{not json"}, {"convexadv": "[]"}])
def test_foreign_safetensors(path, metadata):
    safetensors.torch.save_file({"weight": torch.ones(2)}, path, metadata)
    with pytest.raises(FileFormatError, match=r"not a model file of convexadv|damaged header"):
        ca.load(path)


def test_deeply_nested_header(path):
    safetensors.torch.save_file({"weight": torch.ones(2)}, path, {"convexadv": "[" * 100_000})
    with pytest.raises(FileFormatError, match="damaged header"):
        ca.load(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


@pytest.mark.parametrize("write", [pickle.dump, torch.save, lambda value, file: file.write(b"x,y\n1,2\n" * 50)])
def test_foreign_files_are_refused_and_run_nothing(path, tmp_path, monkeypatch, write):
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    with open(path, "wb") as file:
        write(Bomb(), file)
    with pytest.raises(FileFormatError, match="truncated or not a safetensors file"):
        ca.load(path)
    assert not (tmp_path / "exploded").exists()


def test_missing_file_and_folder(tmp_path):
    for target in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="there is no model file") as caught:
            ca.load(target)
        assert str(target) in str(caught.value)


SAVES = [
    (
        lambda p: ca.save(torch.nn.Linear(2, 1), p),
        "save takes one of PolynomialNetwork, ReLUNetwork, GatedReLUNetwork, got Linear",
    ),
    (lambda p: ca.save(make(), p, note=object()), "metadata must be JSON"),
    (lambda p: ca.save(make(), p, note={1, 2}), "metadata must be JSON"),
    (lambda p: ca.save(make().half(), p), "cannot be saved: .*all float32"),
    (lambda p: ca.save(with_neurons(torch.ones(3, 2)), p), "cannot be saved: .*norm 1"),
    (lambda p: ca.save(with_neurons(NAN), p), "cannot be saved: .*finite"),
    (lambda p: ca.save(with_neurons(NAN, "ReLUNetwork"), p), "cannot be saved: neurons must be finite"),
    (lambda p: ca.save(make(kind="GatedReLUNetwork").half(), p), "cannot be saved: .*all float32"),
    (lambda p: ca.save(make(), p.parent / "none" / "model"), "its folder does not exist"),
    (lambda p: ca.save(make(), p.parent), "it is a folder"),
]


def with_neurons(values, kind="PolynomialNetwork"):
    network = make(kind=kind)
    with torch.no_grad():
        network.neurons.copy_(values)
    return network


@pytest.mark.parametrize(("call", "message"), SAVES, ids=[str(k) for k in range(len(SAVES))])
def test_refused_saves_leave_nothing(path, call, message):
    with pytest.raises(InputError, match=message):
        call(path)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_failure_while_writing_keeps_the_old_file(path, monkeypatch, when, error):
    ca.save(make(3), path)
    before = path.read_bytes()

    def fail(*_):
        raise error

    monkeypatch.setattr(os, when, fail)
    with pytest.raises(type(error)):
        ca.save(make(5), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_saving_replaces_in_one_step(path):
    ca.save(make(3), path)
    with open(path, "rb") as old:
        ca.save(make(5), path)
        assert ca.load(path).n_neurons == 5
        old.seek(0)
        assert safetensors.torch.load(old.read())["neurons"].shape == (3, 2)


def test_atomic_write_of_text_and_bytes(tmp_path):
    target = tmp_path / "out"
    with atomic_write(target) as file:
        file.write("é\n")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == "é\n".encode()
    with atomic_write(str(target), "wb") as file:
        file.write(b"\xff")
    assert target.read_bytes() == b"\xff"
    with atomic_write(target, newline="\r\n") as file:
        file.write("a\n")
    assert target.read_bytes() == b"a\r\n"
    assert os.listdir(tmp_path) == ["out"]


def half_written(target, error):
    with atomic_write(target) as file:
        file.write("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_atomic_write_leaves_nothing_after_an_exception(tmp_path, error):
    target = tmp_path / "out"
    with pytest.raises(error):
        half_written(target, error)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_atomic_write_permissions(tmp_path):
    target = tmp_path / "out"
    old = os.umask(0o027)
    try:
        with atomic_write(target) as file:
            file.write("1")
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
        target.chmod(0o604)
        with atomic_write(target) as file:
            file.write("2")
    finally:
        os.umask(old)
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    assert target.read_text() == "2"


@pytest.mark.skipif(os.name != "posix", reason="links and devices of POSIX")
def test_atomic_write_through_links_and_to_devices(tmp_path):
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real", tmp_path / "link"
    link.symlink_to(real)
    with atomic_write(link) as file:
        file.write("1")
    assert link.is_symlink()
    assert real.read_text() == "1"
    with atomic_write(os.devnull) as file:
        file.write("gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_atomic_write_with_the_longest_name(tmp_path):
    target = tmp_path / ("x" * 255)
    with atomic_write(target) as file:
        file.write("1")
    assert target.read_text() == "1"


def test_atomic_write_refuses_other_modes(tmp_path):
    with pytest.raises(InputError, match="mode must be"), atomic_write(tmp_path / "out", "a"):
        pass
