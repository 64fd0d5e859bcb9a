"""Compact networks by low rank: projections, factored layers, one budget for all layers, counts, reports and files."""

from .admm import ADMM
from .budget import Allocation, allocate
from .calibration import calibrate
from .channel_graph import channel_graph
from .channel_pruning import Channels, prune_channels
from .compress import Compressed, compress
from .convert import factorise_model, merge_model
from .counting import count
from .files import load_factorised, save_factorised
from .folding import fold_batch_norm
from .latency import measure_latency
from .layers import LowRankLinear, TuckerConv2d, factorise, merge
from .polynomial import prune
from .projection import low_rank, project
from .report import compression_report
from .spectrum import spectra
from .targets import LowRank
from .tucker import truncated_hosvd, tucker2

__all__ = [
    "ADMM",
    "Allocation",
    "Channels",
    "Compressed",
    "LowRank",
    "LowRankLinear",
    "TuckerConv2d",
    "allocate",
    "calibrate",
    "channel_graph",
    "compress",
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
    "prune_channels",
    "save_factorised",
    "spectra",
    "truncated_hosvd",
    "tucker2",
]
