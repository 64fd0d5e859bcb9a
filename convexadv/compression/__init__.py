"""Compact networks by low rank: projections, factored layers, one budget for all layers, counts, reports and files."""

from .budget import Allocation, allocate
from .convert import factorise_model, merge_model
from .counting import count
from .files import load_factorised, save_factorised
from .folding import fold_batch_norm
from .latency import measure_latency
from .layers import LowRankLinear, TuckerConv2d, factorise, merge
from .polynomial import prune
from .report import compression_report
from .spectrum import spectra
from .tucker import low_rank, project, truncated_hosvd, tucker2

__all__ = [
    "Allocation",
    "LowRankLinear",
    "TuckerConv2d",
    "allocate",
    "compression_report",
    "count",
    "factorise",
    "factorise_model",
    "fold_batch_norm",
    "load_factorised",
    "low_rank",
    "measure_latency",
    "merge",
    "merge_model",
    "project",
    "prune",
    "save_factorised",
    "spectra",
    "truncated_hosvd",
    "tucker2",
]
