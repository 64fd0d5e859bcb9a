"""Data sets: published files (real ones where CONVEXADV_DATA is set, tiny ones always), tables, scaling."""

import gzip
import lzma
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from convexadv.datasets import Dataset, bundled_names, dataset_names, load, read_table, standardise
from convexadv.errors import FileFormatError, InputError

DATA = os.environ.get("CONVEXADV_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="CONVEXADV_DATA is not set")

WDBC_LINE = "842302,M," + ",".join(["1.5"] * 30)
ORIGINAL_LINE = "1000025,5,1,1,1,2,1,3,1,1,2"
IONOSPHERE_LINE = ",".join(["0.5"] * 34) + ",g"
UCI = {  # file name, a good line, number of rows
    "wdbc": ("wdbc.data", WDBC_LINE, 569),
    "breast-cancer-wisconsin": ("breast-cancer-wisconsin.data", ORIGINAL_LINE, 699),
    "ionosphere": ("ionosphere.data", IONOSPHERE_LINE, 351),
}


@pytest.fixture
def no_folder(monkeypatch):
    monkeypatch.delenv("CONVEXADV_DATA", raising=False)


def pack(path, content, suffix=""):
    """Write bytes plain, .gz or .xz, and return the path."""
    path = path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix](content))
    return path


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_uci(folder, name, lines=None, suffix=""):
    file, line, rows = UCI[name]
    text = "\n".join([line] * rows if lines is None else lines) + "\n"
    return pack(folder / file, text.encode(), suffix)


def write_mnist(folder, images, labels, prefix="train", suffix=""):
    pack(folder / f"{prefix}-images-idx3-ubyte", idx(images), suffix)
    pack(folder / f"{prefix}-labels-idx1-ubyte", idx(labels), suffix)


@pytest.fixture
def tiny_images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (6, 28, 28)), np.array([3, 0, 9, 1, 1, 7])


# --- bundled data sets


@pytest.mark.parametrize(
    ("name", "shape", "n_classes"),
    [
        ("breast_cancer", (569, 30), 2),
        ("digits", (1797, 64), 10),
        ("wine", (178, 13), 3),
        ("iris", (150, 4), 3),
        ("diabetes", (442, 10), 0),
        ("wdbc", (569, 30), 2),
    ],
)
def test_bundled_sets_need_no_files(no_folder, name, shape, n_classes):
    data = load(name)
    assert name in bundled_names()
    assert data.name == name
    assert data.X.shape == shape
    assert data.X.dtype == np.float64
    assert data.y.shape == (shape[0],)
    assert len(data.feature_names) == shape[1]
    assert len(data.target_names) == n_classes
    assert n_classes == 0 or len(np.unique(data.y)) == n_classes


def test_wdbc_without_file_has_text_labels(no_folder):
    data = load("wdbc")
    assert (np.sum(data.y == "B"), np.sum(data.y == "M")) == (357, 212)
    np.testing.assert_array_equal(data.X[0, :3], [17.99, 10.38, 122.8])  # first line of the published file
    assert data.y[0] == "M"


def test_every_name_is_listed_once():
    assert len(set(dataset_names())) == len(dataset_names())
    assert set(bundled_names()) < set(dataset_names())


# --- real files


@needs_data
def test_wdbc_file_equals_the_bundled_rows(monkeypatch):
    from_file = load("wdbc", DATA)
    monkeypatch.delenv("CONVEXADV_DATA")
    bundled = load("wdbc")
    np.testing.assert_array_equal(from_file.X, bundled.X)
    np.testing.assert_array_equal(from_file.y, bundled.y)


@needs_data
def test_real_original_file():
    dropped, filled = load("breast-cancer-wisconsin"), load("breast-cancer-wisconsin", missing="median")
    assert dropped.X.shape == (683, 9)
    assert (np.sum(dropped.y == 2), np.sum(dropped.y == 4)) == (444, 239)
    assert filled.X.shape == (699, 9)
    assert (np.sum(filled.y == 2), np.sum(filled.y == 4)) == (458, 241)
    raw = (Path(DATA) / "uci" / "breast-cancer-wisconsin.data").read_text().splitlines()
    gaps = np.array(["?" in line for line in raw])
    assert gaps.sum() == 16
    np.testing.assert_array_equal(filled.X[~gaps], dropped.X)
    assert set(filled.X[gaps, 5]) == {np.median(dropped.X[:, 5])}


@needs_data
def test_real_ionosphere_file():
    data = load("ionosphere")
    assert data.X.shape == (351, 34)
    assert (np.sum(data.y == "g"), np.sum(data.y == "b")) == (225, 126)
    np.testing.assert_array_equal(data.X[0, [0, 2, 33]], [1, 0.99539, -0.453])


@needs_data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_idx_files(name):
    data = load(name, split="test")
    assert data.X.shape == (10000, 784)
    assert data.X.dtype == np.float32
    assert (data.X.min(), data.X.max()) == (0, 1)
    counts = {"mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], "fashion_mnist": [1000] * 10}
    np.testing.assert_array_equal(np.bincount(data.y), counts[name])


@needs_data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_train_and_test_are_different_files(name):
    assert load(name).X.shape == (60000, 784)


@needs_data
def test_real_cifar10_test_batch():
    data = load("cifar10", split="test")
    assert data.X.shape == (10000, 3072)
    np.testing.assert_array_equal(np.bincount(data.y), [1000] * 10)
    # Channel means of CIFAR-10's training set, published as 0.4914, 0.4822, 0.4465: the planes are in order.
    means = data.X.reshape(-1, 3, 1024).mean(axis=(0, 2), dtype=np.float64)
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=0.005)


@needs_data
@pytest.mark.slow
def test_real_cifar10_training_batches():
    data = load("cifar10")
    assert data.X.shape == (50000, 3072)
    np.testing.assert_array_equal(np.bincount(data.y), [5000] * 10)


# --- tiny image files


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("place", ["", "mnist"])
def test_idx_round_trip(tmp_path, tiny_images, suffix, place):
    images, labels = tiny_images
    write_mnist(tmp_path / place, images, labels, "t10k", suffix)
    data = load("mnist", tmp_path, split="test")
    np.testing.assert_array_equal(np.rint(data.X * 255).reshape(images.shape), images)
    np.testing.assert_array_equal(data.y, labels)
    assert data.feature_names[28] == "pixel 1,0"


def test_variable_names_the_folder(tmp_path, tiny_images, monkeypatch):
    write_mnist(tmp_path / "fashion_mnist", *tiny_images)
    monkeypatch.setenv("CONVEXADV_DATA", str(tmp_path))
    assert load("fashion_mnist").target_names[9] == "Ankle boot"


def test_the_argument_wins_over_the_variable(tmp_path, tiny_images, monkeypatch):
    images, labels = tiny_images
    write_mnist(tmp_path / "a", images, labels)
    write_mnist(tmp_path / "b", images[:2], labels[:2])
    monkeypatch.setenv("CONVEXADV_DATA", str(tmp_path / "a"))
    assert len(load("mnist", tmp_path / "b").y) == 2


def test_the_subfolder_of_the_name_comes_first(tmp_path, tiny_images):
    images, labels = tiny_images
    write_mnist(tmp_path, images, labels)
    write_mnist(tmp_path / "fashion_mnist", images[:2], labels[:2])
    assert len(load("fashion_mnist", tmp_path).y) == 2
    assert len(load("mnist", tmp_path).y) == 6


IDX_FAULTS = {
    "magic": (lambda i, n: (b"\0\0\x0d" + i[3:], n), "begins with 00000d03"),
    "labels in place of images": (lambda i, n: (n, n), "begins with 00000801"),
    "empty": (lambda i, n: (b"", n), "begins with nothing"),
    "header cut": (lambda i, n: (i[:10], n), "is truncated: it has 10 bytes"),
    "pixels cut": (lambda i, n: (i[:-1], n), "its header announces"),
    "bytes too many": (lambda i, n: (i + b"\0", n), "its header announces"),
    "absurd size": (lambda i, n: (i[:4] + b"\xff" * 12 + i[16:], n), "the 79228162458924105385300197391 that"),
    "no rows": (lambda i, n: (idx(np.zeros((0, 28, 28))), n), "holds no rows"),
    "another image size": (lambda i, n: (idx(np.zeros((6, 27, 28))), n), "images of 27 x 28 pixels"),
    "labels of other rows": (lambda i, n: (i, idx(np.zeros(5))), "6 images"),
    "label out of range": (lambda i, n: (i, idx(np.array([0, 1, 10, 3, 4, 5]))), "label of record 2 is 10"),
}  # fmt: skip


@pytest.mark.parametrize("fault", IDX_FAULTS)
def test_malformed_idx(tmp_path, tiny_images, fault):
    change, message = IDX_FAULTS[fault]
    images, labels = change(*(idx(part) for part in tiny_images))
    pack(tmp_path / "train-images-idx3-ubyte", images)
    pack(tmp_path / "train-labels-idx1-ubyte", labels)
    with pytest.raises(FileFormatError, match=message):
        load("mnist", tmp_path)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-20], lambda raw: b"plain text", lambda raw: raw[:40]])
def test_damaged_compression(tmp_path, tiny_images, suffix, damage):
    write_mnist(tmp_path, *tiny_images, suffix=suffix)
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileFormatError, match=f"truncated or not a {suffix} file"):
        load("mnist", tmp_path)


def cifar_batch(labels, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return pixels, np.column_stack([np.array(labels, dtype=np.uint8), pixels]).tobytes()


@pytest.mark.parametrize("place", ["", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_cifar_batches_are_joined_in_order(tmp_path, place, suffix):
    expected = []
    for k in range(1, 6):
        pixels, content = cifar_batch([k, 0, 9], seed=k)
        pack(tmp_path / place / f"data_batch_{k}.bin", content, suffix)
        expected.append(pixels)
    data = load("cifar10", tmp_path)
    np.testing.assert_array_equal(np.rint(data.X * 255), np.concatenate(expected))
    np.testing.assert_array_equal(data.y, np.ravel([[k, 0, 9] for k in range(1, 6)]))
    assert data.X.dtype == np.float32
    assert data.feature_names[1024 + 33] == "green 1,1"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-1], "6145 bytes; a whole number of records of 3073"),
        (lambda raw: b"", "0 bytes"),
        (lambda raw: b"\x0b" + raw[1:], "label of record 0 is 11"),
    ],
)
def test_malformed_cifar(tmp_path, damage, message):
    pack(tmp_path / "test_batch.bin", damage(cifar_batch([1, 2])[1]))
    with pytest.raises(FileFormatError, match=message):
        load("cifar10", tmp_path, split="test")


# --- tiny UCI files


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("name", UCI)
def test_uci_files_plain_and_packed(tmp_path, name, suffix):
    write_uci(tmp_path / "uci", name, suffix=suffix)
    data = load(name, tmp_path)
    expected = {
        "wdbc": [1.5] * 30,
        "breast-cancer-wisconsin": [5, 1, 1, 1, 2, 1, 3, 1, 1],
        "ionosphere": [0.5] * 34,
    }
    np.testing.assert_array_equal(data.X, [expected[name]] * UCI[name][2])
    assert set(data.y) == {{"wdbc": "M", "breast-cancer-wisconsin": 2, "ionosphere": "g"}[name]}
    assert len(data.feature_names) == data.X.shape[1]


ORIGINAL_ONES = ",1" * 8 + ",2"


def first(line):
    """Replace the first row."""
    return lambda rows: [line, *rows[1:]]


def last(line):
    """Replace the last row."""
    return lambda rows: [*rows[:-1], line]


UCI_FAULTS = {
    "rows missing": ("wdbc", lambda rows: rows[:-1], "has 568 rows; the published file, which has 569"),
    "line cut": ("wdbc", last(WDBC_LINE[:40]), "line 569: 10 cells for 32 columns"),
    "label": ("wdbc", first(WDBC_LINE.replace("M", "X")), "line 1: the label is 'X'; B or M"),
    "header": ("wdbc", first("id,diagnosis" + ",f" * 30), "line 1: column 'mean radius' is 'f'"),
    "gap": ("wdbc", last("1,B,?" + ",1" * 29), "line 569: column 'mean radius' is missing"),
    "negative": ("wdbc", last("1,B" + ",-1" * 30), "line 569: column 'mean radius' is -1"),
    "infinite": ("ionosphere", first("inf" + IONOSPHERE_LINE[3:]), "line 1: column 'pulse 1 real' is inf"),
    "range": ("ionosphere", first("2" + IONOSPHERE_LINE[3:]), "real' is 2; a number from -1 to 1"),
    "score": ("breast-cancer-wisconsin", first("1,11" + ORIGINAL_ONES), "'clump thickness' is 11"),
    "fraction": ("breast-cancer-wisconsin", first("1,1.5" + ORIGINAL_ONES), "is 1.5; an integer"),
    "empty": ("ionosphere", lambda rows: [], "holds no rows of data"),
}


@pytest.mark.parametrize("fault", UCI_FAULTS)
def test_malformed_uci(tmp_path, fault):
    name, change, message = UCI_FAULTS[fault]
    _, line, rows = UCI[name]
    write_uci(tmp_path, name, change([line] * rows))
    with pytest.raises(FileFormatError, match=message):
        load(name, tmp_path)


def test_missing_scores_dropped_or_filled(tmp_path):
    rows = [ORIGINAL_LINE] * 696
    gap, high = "7,5,1,1,1,2,?,3,1,1,4", "8,5,1,1,1,2,10,3,1,1,4"
    write_uci(tmp_path, "breast-cancer-wisconsin", [gap, high, *rows, gap])
    dropped = load("breast-cancer-wisconsin", tmp_path)
    filled = load("breast-cancer-wisconsin", tmp_path, missing="median")
    assert dropped.X.shape == (697, 9)
    assert dropped.y.tolist() == [4] + [2] * 696
    assert "2 rows" in dropped.description
    assert filled.X.shape == (699, 9)
    assert filled.X[0, 5] == filled.X[-1, 5] == 1  # the median, not the mean


def test_binary_in_place_of_text(tmp_path):
    pack(tmp_path / "ionosphere.data", b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="no text file in UTF-8"):
        load("ionosphere", tmp_path)


# --- missing files and wrong options


@pytest.mark.parametrize(
    ("name", "files", "site"),
    [
        ("breast-cancer-wisconsin", "breast-cancer-wisconsin.data", "UCI Machine Learning Repository"),
        ("ionosphere", "ionosphere.data", "UCI Machine Learning Repository"),
        ("mnist", "train-images-idx3-ubyte, train-labels-idx1-ubyte", "MNIST database"),
        ("fashion_mnist", "train-images-idx3-ubyte, train-labels-idx1-ubyte", "Zalando Research"),
        ("cifar10", "data_batch_1.bin, data_batch_2.bin", "University of Toronto"),
    ],
)
@pytest.mark.parametrize("folder", [True, False])
def test_missing_files_are_named(tmp_path, no_folder, name, files, site, folder):
    with pytest.raises(InputError) as caught:
        load(name, tmp_path if folder else None)
    message = str(caught.value)
    assert files in message
    assert site in message
    assert "CONVEXADV_DATA" in message
    assert (str(tmp_path) if folder else "no folder was given") in message
    assert "\n" not in message


def test_only_the_missing_file_is_named(tmp_path):
    for k in (1, 2, 4, 5):
        pack(tmp_path / f"data_batch_{k}.bin", cifar_batch([1])[1])
    with pytest.raises(InputError, match=r"needs data_batch_3.bin \(plain"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "wdcb"}, "data set 'wdcb' is unknown .did you mean 'wdbc'"),
        ({"name": "xyzzy"}, "data set 'xyzzy' is unknown; choose one of wdbc"),
        ({"name": 3}, "data set 3 is unknown"),
        ({"name": "wdbc", "folder": "no such folder"}, "folder names no such folder, which is no folder"),
        ({"name": "iris", "split": "test"}, "has no splits"),
        ({"name": "mnist", "split": "valid"}, "split is 'valid'"),
        ({"name": "iris", "missing": "drop"}, "has no missing values"),
        ({"name": "breast-cancer-wisconsin", "missing": "mean"}, "missing is 'mean'"),
    ],
)
def test_wrong_options(arguments, message):
    with pytest.raises(InputError, match=message):
        load(**arguments)


def test_variable_that_names_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVEXADV_DATA", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"CONVEXADV_DATA names .*gone"):
        load("wdbc")


# --- tables: CSV


@pytest.fixture
def csv(tmp_path):
    def write(text, name="table.csv", suffix=""):
        return pack(tmp_path / name, text.encode(), suffix)

    return write


@pytest.mark.parametrize("target", ["kind", 1, "1", -2])
def test_csv_target_by_name_or_index(csv, target):
    data = read_table(csv("age,kind,size\n1,cat,2.5\n3,dog,-4e1\n"), target)
    np.testing.assert_array_equal(data.X, [[1, 2.5], [3, -40]])
    assert data.y.tolist() == ["cat", "dog"]
    assert data.feature_names == ("age", "size")
    assert data.target_names == ("cat", "dog")
    assert data.name == "table.csv"


@pytest.mark.parametrize(
    "text",
    [
        "1,2,a\n3,4,b\n",
        "1;2;a\n3;4;b\n",
        "1\t2\ta\n3\t4\tb\n",
        "\ufeff1,2,a\r\n\r\n3,4,b",
        ' 1 , 2 , a\n"3","4","b"\n\n',
    ],
)
def test_csv_without_header_last_column_is_target(csv, text):
    data = read_table(csv(text))
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4]])
    assert data.y.tolist() == ["a", "b"]
    assert data.feature_names == ("column 0", "column 1")


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_packed_csv(csv, suffix):
    assert read_table(csv("a,b\n1,2\n", suffix=suffix), "b").y.tolist() == [2]


@pytest.mark.parametrize(
    ("cells", "kind", "classes"),
    [(["1", "-7"], "i", ("-7", "1")), (["1", "2.5"], "f", ()), (["1", "b"], "U", ("1", "b"))],
)
def test_kinds_of_targets(csv, cells, kind, classes):
    data = read_table(csv("x,y\n" + "".join(f"0,{cell}\n" for cell in cells)), "y")
    assert data.y.dtype.kind == kind
    assert [str(value).removesuffix(".0") for value in data.y] == cells
    assert data.target_names == classes


def test_header_of_numbers(csv):
    path = csv("0,1,2\n5,6,7\n")
    assert len(read_table(path).y) == 2
    named = read_table(path, header=True)
    np.testing.assert_array_equal(named.X, [[5, 6]])
    assert named.feature_names == ("0", "1")
    assert read_table(path, "1").y.tolist() == [6]  # a name of the header before an index


CSV_FAULTS = {
    "text feature": ("a,b,y\n1,2,0\n1,red,1\n", "y", "line 3: column 'b' is 'red'; features must be numbers"),
    "text without header": ("1,2,0\n1,red,1\n", 2, "line 2: column 'column 1' is 'red'"),
    "missing": ("a,b,y\n1,,0\n", "y", "line 2: column 'b' is missing"),
    "nan": ("a,b,y\n\n1,2,0\nnan,2,0\n", "y", "line 4: column 'a' is missing"),
    "infinite": ("a,b,y\n1,-inf,0\n", "y", "line 2: column 'b' is -inf"),
    "missing target": ("a,y\n1,NA\n", "y", "line 2: the target 'y' is missing"),
    "infinite target": ("a,y\n1,2\n1,inf\n", "y", "line 3: the target 'y' is infinite"),
    "ragged": ("a,b,y\n1,2,0\n1,2\n", "y", "line 3: 2 cells for 3 columns"),
    "empty": ("", None, "is empty"),
    "header alone": ("a,b\n", "b", "holds no rows of data"),
    "one column": ("a\n1\n", "a", "one column"),
    "row index": (",a,y\n0,1,2\n", "y", "no name for column 0"),
    "quote": ('a,y\n"1,2\n', "y", "no table of text"),
}


@pytest.mark.parametrize("fault", CSV_FAULTS)
def test_malformed_csv(csv, fault):
    text, target, message = CSV_FAULTS[fault]
    with pytest.raises(FileFormatError, match=message):
        read_table(csv(text), target)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("a,b\n1,2\n", "c", "no column 'c' for the target; choose one of a, b"),
        ("1,2\n", "c", "it has no header"),
        ("a,b\n1,2\n", 2, "the target's index 2 must be from -2 to 1"),
        ("a,b\n1,2\n", "-3", "the target's index -3 must be from -2 to 1"),
        ("a,b,b\n1,2,3\n", "b", "several columns named 'b'"),
    ],
)
def test_wrong_csv_target(csv, text, target, message):
    with pytest.raises(InputError, match=message):
        read_table(csv(text), target)


@pytest.mark.parametrize("name", ["gone.csv", "gone.npz"])
def test_table_that_does_not_exist(tmp_path, name):
    with pytest.raises(InputError, match=f"{name} cannot be read: No such file"):
        read_table(tmp_path / name)


# --- tables: NumPy archives

X = np.arange(6).reshape(3, 2)
Y = np.array([0, 1, 0])


def test_archive(tmp_path):
    np.savez(tmp_path / "t.npz", X=X, y=Y, other=np.zeros(5))
    data = read_table(tmp_path / "t.npz")
    np.testing.assert_array_equal(data.X, X)
    assert data.X.dtype == np.float64
    np.testing.assert_array_equal(data.y, Y)
    assert data.target_names == ("0", "1")


@pytest.mark.parametrize("targets", [np.array(["b", "a", "b"]), np.array([0.5, 1, 2]), np.ones((3, 2)), Y > 0])
def test_archive_with_target_key(tmp_path, targets):
    np.savez_compressed(tmp_path / "t.npz", features=X.astype(np.float32), labels=targets)
    data = read_table(tmp_path / "t.npz", "labels")
    np.testing.assert_array_equal(data.y, targets)
    assert data.X.dtype == np.float32
    assert len(data.target_names) == (len(np.unique(targets)) if targets.dtype.kind in "Ub" else 0)


NAN = np.array([[1, 2], [3, np.nan], [5, 6]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X, "labels": Y}, "no array 'y' for the targets; choose one of X, labels"),
        ({"y": Y}, "needs its features under 'X'; beside 'y' it has nothing"),
        ({"a": X, "b": X, "y": Y}, "beside 'y' it has a, b"),
        ({"X": X[0], "y": Y}, "'X' is int64 of shape \\(2,\\)"),
        ({"X": X[:0], "y": Y[:0]}, "'X' is int64 of shape \\(0, 2\\)"),
        ({"X": X.astype(str), "y": Y}, "'X' is <U21"),
        ({"X": X, "y": Y[:2]}, "'X' has 3 rows and 'y' 2"),
        ({"X": X, "y": Y.reshape(3, 1, 1)}, "'y' is int64 of shape \\(3, 1, 1\\)"),
        ({"X": X, "y": Y + 1j}, "'y' is complex128"),
        ({"X": NAN, "y": Y}, "'X' is NaN or infinite at \\[1, 1\\]"),
        ({"X": X, "y": np.array([1.0, np.inf, 2])}, "'y' is NaN or infinite at \\[1\\]"),
        ({"X": X, "y": np.array([{}, 1, 2], dtype=object)}, "not a readable NumPy archive of plain arrays"),
    ],
)
def test_malformed_archive(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.npz")


@pytest.mark.parametrize("damage", [lambda raw: raw[:-30], lambda raw: raw[:60], lambda raw: b"text", lambda raw: b""])
def test_damaged_archive(tmp_path, damage):
    path = tmp_path / "t.npz"
    np.savez(path, X=X, y=Y)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileFormatError, match="not a readable NumPy archive"):
        read_table(path)


def test_bare_array_in_place_of_archive(tmp_path):
    np.save(tmp_path / "t.npy", X)
    (tmp_path / "t.npy").rename(tmp_path / "t.npz")
    with pytest.raises(FileFormatError, match="one bare array"):
        read_table(tmp_path / "t.npz")


# --- scaling


@pytest.mark.parametrize("n", [1, 2, 50, 4096, 9001])
def test_standardised_rows(n):
    rng = np.random.default_rng(n)
    raw = rng.normal(size=(n, 5)) * [1, 1e-3, 1e4, 7, 1] + [0, 1, -1e5, 3, 0]
    shift, scale = standardise(raw)
    scaled = standardise(raw).apply(raw)
    np.testing.assert_array_equal(scaled, (raw - shift) / scale)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    if n > 1:
        np.testing.assert_allclose(scaled.std(axis=0), scaled.std(axis=0)[0], rtol=1e-9)
        assert np.linalg.norm(scaled, axis=1).max() == pytest.approx(1, abs=1e-12)


def test_scaling_agrees_with_scikit_learn():
    from sklearn.preprocessing import StandardScaler

    data = load("breast_cancer")
    standard = StandardScaler().fit_transform(data.X)
    expected = standard / np.linalg.norm(standard, axis=1).max()
    np.testing.assert_allclose(standardise(data.X).apply(data.X), expected, atol=1e-13)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7, 1e300])
def test_constant_feature_becomes_exactly_zero(value):
    raw = np.column_stack([np.full(7, value), np.arange(7.0)])
    scaled = standardise(raw).apply(raw)
    np.testing.assert_array_equal(scaled[:, 0], 0)
    np.testing.assert_allclose(scaled[:, 1], (np.arange(7) - 3) / 3)


def test_all_features_constant():
    shift, scale = standardise(np.full((4, 2), 5.0))
    np.testing.assert_array_equal(shift, 5)
    np.testing.assert_array_equal(scale, 1)


@pytest.mark.parametrize("size", [1e-200, 1e200])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_extreme_units_lose_nothing(size, offset):
    base = np.array([[0.0], [1.0], [3.0]])
    scaled = standardise((base + offset) * size).apply((base + offset) * size)
    np.testing.assert_allclose(scaled[:, 0], (base[:, 0] - 4 / 3) / (5 / 3), rtol=1e-8)


def test_float32_and_integers_are_scaled_in_float64():
    raw = np.array([[0, 255], [3, 7], [9, 1]], dtype=np.uint8)
    for other in (raw, raw.astype(np.float32)):
        for got, expected in zip(standardise(other), standardise(raw.astype(np.float64)), strict=True):
            np.testing.assert_array_equal(got, expected)
            assert got.dtype == np.float64


@pytest.mark.parametrize(
    "raw",
    [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3), np.array([["a"]]), np.array([[1.0], [np.nan]]),
     np.array([[np.inf], [1.0]]), np.array([[1.7e308], [-1.7e308]])],
)  # fmt: skip
def test_what_cannot_be_scaled(raw):
    with pytest.raises(InputError, match=r"X (is|holds)"):
        standardise(raw)


def test_dataset_cannot_be_changed():
    data = Dataset("a", X, Y, ("f", "g"), ("0", "1"), "")
    with pytest.raises(AttributeError):
        data.X = None
    assert "3 rows, 2 features, 2 classes" in repr(data)
