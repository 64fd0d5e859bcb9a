"""Where rows come from when X does not fit into memory: files, shards, blocks and PyTorch data sets.

A source is anything with ``shape`` (n, d), ``dtype`` and slicing by rows: ``source[a:b]`` reads these rows and no others.
The sources of this package keep nothing open between reads, so they can be pickled, and be read by several threads and by
forked processes; what a file holds is mapped into memory for one read only, which keeps the resident memory that of a
block however often a file is read. :class:`convexadv.rows.Rows` takes them wherever it takes an array.
"""

from .blocks import BlockRows
from .data_sets import DatasetRows
from .dispatch import is_read_later, sources_of
from .files import SUFFIXES, NpyRows, SafetensorsRows, files_of, open_rows, read_npy, read_tensor, tensors_of
from .source import READ_ROWS, Shards, Source

__all__ = [
    "READ_ROWS",
    "SUFFIXES",
    "BlockRows",
    "DatasetRows",
    "NpyRows",
    "SafetensorsRows",
    "Shards",
    "Source",
    "files_of",
    "is_read_later",
    "open_rows",
    "read_npy",
    "read_tensor",
    "sources_of",
    "tensors_of",
]
