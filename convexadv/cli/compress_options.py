"""Arguments of ``compress``."""

from __future__ import annotations

import argparse

from .shared_options import add_json
from .values import count, count_or_zero, finite, non_negative, positive


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Arguments that say how small."""
    group = parser.add_argument_group("the budget")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--ratio", type=positive, metavar="R", help="times smaller (default: 16)")
    either.add_argument("--budget", type=count, metavar="N", help="parameters or multiply-adds of the compact model")
    group.add_argument(
        "--measure",
        choices=["parameters", "flops"],
        default="parameters",
        help="what is counted; flops are multiply-adds for one input (default: parameters)",
    )
    group.add_argument(
        "--method",
        choices=["cstar", "greedy", "uniform", "channels", "channels-uniform"],
        default="cstar",
        help="low rank with ranks chosen by a dynamic programme, greedily or with the same share for every layer; or "
        "channels removed, the smallest of all or the same share of every group (default: cstar)",
    )
    group.add_argument("--keep", nargs="+", default=[], metavar="NAME", help="layers or modules that keep their form")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Arguments that say how to train."""
    group = parser.add_argument_group("the training")
    group.add_argument(
        "--attack",
        choices=["onestep", "pgd", "trades", "clean"],
        default="onestep",
        help="what it trains against (default: onestep)",
    )
    group.add_argument(
        "--radius", type=non_negative, default=8 / 255, metavar="R", help="of the linf attack (default: 8/255)"
    )
    group.add_argument(
        "--bounds",
        type=finite,
        nargs=2,
        default=[0.0, 1.0],
        metavar=("LOW", "HIGH"),
        help="box of the inputs (default: 0 1)",
    )
    group.add_argument(
        "--epochs",
        type=count_or_zero,
        nargs=2,
        default=[5, 10],
        metavar=("ADMM", "TUNE"),
        help="of ADMM and of the fine-tuning (default: 5 10)",
    )
    group.add_argument("--learning-rate", type=positive, default=0.05, metavar="R", help="the largest (default: 0.05)")
    group.add_argument("--batch-size", type=count, default=128, metavar="N", help="rows of a step (default: 128)")
    group.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="of the products (default: float32)",
    )
    group.add_argument(
        "--augment",
        choices=["shift", "mirror", "shift+mirror"],
        help="vary the images (default: not)",
    )
    group.add_argument("--seed", type=count_or_zero, default=0, metavar="N", help="of all that is random (default: 0)")
    group.add_argument(
        "--checkpoint", metavar="FILE", help="write checkpoints FILE.admm and FILE.tune, from which --resume goes on"
    )
    group.add_argument("--resume", action="store_true", help="go on from the checkpoints, to the same result")


def add_files(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what to write."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        default="compact.safetensors",
        metavar="FILE",
        help="the compact model, read by convexadv.compression.load_factorised (default: compact.safetensors)",
    )
    group.add_argument("--report", metavar="FILE", help="the report as JSON")
    group.add_argument("--latency", action="store_true", help="measure latencies, too")
    add_json(group)
