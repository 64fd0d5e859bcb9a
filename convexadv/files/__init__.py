"""Networks as files, and what all files of tensors share."""

from .networks import KINDS, NETWORK, load, pack_classes, save, unpack_classes
from .tensors import Format, read_tensors, write_tensors

__all__ = [
    "KINDS",
    "NETWORK",
    "Format",
    "load",
    "pack_classes",
    "read_tensors",
    "save",
    "unpack_classes",
    "write_tensors",
]
