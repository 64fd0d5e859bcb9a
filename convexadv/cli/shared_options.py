"""Arguments that several verbs have."""

from __future__ import annotations

import argparse

from .values import count, count_or_zero, finite, fraction

ATTACKS = ("pgd", "apgd", "fgsm", "exact", "strongest")
GATE_KINDS = ("gaussian", "differences", "sparse", "open")
_DATA_HELP = (
    "a data set by name (wdbc, digits, wine, iris, diabetes, breast_cancer need no files; others are read "
    "from "
    "the folder in CONVEXADV_DATA), a CSV file, an .npz archive, or rows in a .npy file, a .safetensors file or a folder of "
    "such files, sorted by name; `fit` of polynomial networks reads these in blocks, all else reads them whole"
)
_TARGET_HELP = (
    "column of the labels in a CSV (name or index, default: the last), key in an .npz or tensor in the .safetensors "
    "files (default: y), or for rows in files a .npy file with a label a row"
)


def add_data(parser: argparse.ArgumentParser) -> None:
    """The data that a verb reads."""
    group = parser.add_argument_group("the data")
    group.add_argument("data", metavar="DATA", help=_DATA_HELP)
    group.add_argument("--target", metavar="NAME", help=_TARGET_HELP)


def add_split(parser: argparse.ArgumentParser, text: str) -> None:
    """The rows that ``fit`` held out."""
    group = parser.add_argument_group("the split")
    group.add_argument("--test-fraction", type=fraction, default=0.0, metavar="F", help=text)
    group.add_argument(
        "--seed",
        type=count_or_zero,
        default=0,
        metavar="N",
        help="seed of the split and of random starts (default: 0)",
    )


def add_ball(group: argparse._ArgumentGroup) -> None:
    """Norm and units of balls around rows."""
    group.add_argument("--norm", default="l2", help="norm of the ball: l2, linf or l1 (default: l2)")
    group.add_argument(
        "--units",
        choices=["scaled", "raw"],
        default="scaled",
        help="units of the radius: scaled, those of the rows after the model's own input scaling, as in "
        "`convexadv fit` (an ellipsoid around the raw row); raw, those of the data (default: scaled)",
    )


def add_box(group: argparse._ArgumentGroup) -> None:
    """The box of the inputs."""
    group.add_argument(
        "--bounds",
        type=finite,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="box that every feature lives in, in the units of the data (default: none)",
    )


def add_attack_settings(group: argparse._ArgumentGroup) -> None:
    """Steps and starts of attacks."""
    group.add_argument("--steps", type=count, default=40, metavar="N", help="steps of PGD and APGD (default: 40)")
    group.add_argument("--restarts", type=count, default=5, metavar="N", help="starts of PGD and APGD (default: 5)")


def add_json(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Whether stdout gets one JSON document."""
    parser.add_argument("--json", action="store_true", help="write one JSON document to stdout and nothing else")
