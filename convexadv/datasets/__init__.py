"""Public data sets, tables of one's own, and the scaling that the package trains on.

Everything returns a `Dataset`. Data sets that scikit-learn bundles need no files; the others are read from a
folder that the caller names (argument ``folder`` or environment variable ``CONVEXADV_DATA``), as published,
plain, ``.gz`` or ``.xz``. Nothing is downloaded.
"""

from .catalogue import bundled_names, dataset_names, load
from .dataset import Dataset
from .scaling import Scaling, standardise
from .tables import read_table
from .torch_data import from_torch

__all__ = ["Dataset", "Scaling", "bundled_names", "dataset_names", "from_torch", "load", "read_table", "standardise"]
