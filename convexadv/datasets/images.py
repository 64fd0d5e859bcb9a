"""MNIST and Fashion-MNIST (idx files) and CIFAR-10 (binary version)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import FileFormatError, InputError
from ._files import Folder, Published, read_bytes
from .dataset import Dataset

_IDX_UBYTE = 0x08  # third byte of the magic number: unsigned bytes
_CIFAR_RECORD = 1 + 3 * 32 * 32  # a label byte, then the red, green and blue planes
_CIFAR_BATCHES = {"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)}
_IDX_PREFIX = {"train": "train", "test": "t10k"}
_CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # fmt: skip
_PUBLISHED = {
    "mnist": Published("mnist", ("mnist",), "the MNIST database of handwritten digits (LeCun, Cortes)"),
    "fashion_mnist": Published("fashion_mnist", ("fashion_mnist",), "the Fashion-MNIST repository of Zalando Research"),
    "cifar10": Published(
        "cifar10",
        ("cifar10/cifar-10-batches-bin", "cifar-10-batches-bin", "cifar10"),
        "the CIFAR-10 page of the University of Toronto (Krizhevsky; binary version, unpacked)",
    ),
}


def load_idx(name: str, folder: Folder = None, split: str = "train") -> Dataset:
    """MNIST or Fashion-MNIST: grey images of 28 x 28 pixels, ten classes.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist"}
        Name of the data set.
    folder : path, optional
        Folder with the idx files, or with a subfolder of the data set's name; by default that of
        ``CONVEXADV_DATA``.
    split : {"train", "test"}
        The 60,000 training or the 10,000 test images (as many as the files hold).

    Returns
    -------
    Dataset
        ``X`` (n, 784) float32 in [0, 1], row-major; ``y`` (n,) integers from 0 to 9.

    Raises
    ------
    InputError
        If a file is missing or the split unknown.
    FileFormatError
        If a file is truncated or not an idx file of this kind.
    """
    prefix = _choose(_IDX_PREFIX, split)
    files = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    images_path, labels_path = _PUBLISHED[name].locate(files, folder)
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if images.shape[1:] != (28, 28):
        shape = " x ".join(str(side) for side in images.shape[1:])
        raise FileFormatError(f"{images_path} holds images of {shape} pixels; 28 x 28 are needed.")
    if len(images) != len(labels):
        raise FileFormatError(
            f"{images_path} holds {len(images)} images and {labels_path} {len(labels)} labels; as many are needed."
        )
    X = images.reshape(len(images), -1).astype(np.float32)
    X /= 255
    features = tuple(f"pixel {i},{j}" for i in range(28) for j in range(28))
    title = "MNIST handwritten digits" if name == "mnist" else "Fashion-MNIST articles"
    description = f"{title}, {split} split: 28 x 28 grey pixels in [0, 1], row-major."
    return Dataset(name, X, _labels(labels, labels_path), features, _CLASSES[name], description)


def load_cifar10(folder: Folder = None, split: str = "train") -> Dataset:
    """CIFAR-10: colour images of 32 x 32 pixels, ten classes.

    Parameters
    ----------
    folder : path, optional
        Folder with the ``.bin`` files of the binary version, with ``cifar-10-batches-bin`` or with
        ``cifar10/cifar-10-batches-bin``; by default that of ``CONVEXADV_DATA``.
    split : {"train", "test"}
        The five training batches (50,000 images) or the test batch (10,000).

    Returns
    -------
    Dataset
        ``X`` (n, 3072) float32 in [0, 1]: the red, green and blue planes, each row-major, so that
        ``X.reshape(-1, 3, 32, 32)`` is a batch of images; ``y`` (n,) integers from 0 to 9.

    Raises
    ------
    InputError
        If a file is missing or the split unknown.
    FileFormatError
        If a file is truncated or a label is above 9.
    """
    paths = _PUBLISHED["cifar10"].locate(_choose(_CIFAR_BATCHES, split), folder)
    batches = [_cifar_records(path) for path in paths]
    y = np.concatenate([_labels(batch[:, 0], path) for batch, path in zip(batches, paths, strict=True)])
    X = np.empty((len(y), _CIFAR_RECORD - 1), dtype=np.float32)
    start = 0
    for batch in batches:
        np.divide(batch[:, 1:], np.float32(255), out=X[start : start + len(batch)])
        start += len(batch)
    features = tuple(f"{c} {i},{j}" for c in ("red", "green", "blue") for i in range(32) for j in range(32))
    description = f"CIFAR-10, {split} split: 32 x 32 colour pixels in [0, 1], planes red, green, blue."
    return Dataset("cifar10", X, y, features, _CLASSES["cifar10"], description)


def read_idx(path: Path, n_dims: int) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    The format: two zero bytes, the type (8), the number of dimensions, each size as a big-endian 32-bit
    integer, then the values in row-major order.

    Parameters
    ----------
    path : Path
        The file; ``.gz`` and ``.xz`` are unpacked.
    n_dims : int
        Number of dimensions that the file must have.

    Returns
    -------
    ndarray of uint8 with ``n_dims`` dimensions

    Raises
    ------
    FileFormatError
        If the magic number or the length is wrong, or the file holds no rows.
    """
    content = read_bytes(path)
    magic = bytes((0, 0, _IDX_UBYTE, n_dims))
    if content[:4] != magic:
        begin = content[:4].hex() or "nothing"
        raise FileFormatError(
            f"{path} begins with {begin}; an idx{n_dims} file, which begins with {magic.hex()}, is needed."
        )
    header = 4 + 4 * n_dims
    if len(content) < header:
        raise FileFormatError(f"{path} is truncated: it has {len(content)} bytes, and its header alone needs {header}.")
    shape = tuple(int(size) for size in np.frombuffer(content, dtype=">u4", count=n_dims, offset=4))
    expected = header + int(np.prod(shape, dtype=object))  # Python integers: a foreign header cannot overflow
    if len(content) != expected:
        raise FileFormatError(f"{path} has {len(content)} bytes; the {expected} that its header announces are needed.")
    if shape[0] == 0:
        raise FileFormatError(f"{path} holds no rows; at least one is needed.")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _cifar_records(path: Path) -> np.ndarray:
    content = read_bytes(path)
    if not content or len(content) % _CIFAR_RECORD:
        raise FileFormatError(
            f"{path} has {len(content)} bytes; a whole number of records of {_CIFAR_RECORD} bytes is needed."
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, _CIFAR_RECORD)


def _labels(values: np.ndarray, path: Path) -> np.ndarray:
    if values.max() > 9:
        row = int(np.argmax(values > 9))
        raise FileFormatError(f"{path}: the label of record {row} is {values[row]}; labels from 0 to 9 are needed.")
    return values.astype(np.int64)


def _choose(table: dict, split: str):
    if split not in table:
        raise InputError(f'split is {split!r}; "train" or "test" is needed.')
    return table[split]
