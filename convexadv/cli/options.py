"""The verbs, with their arguments and help."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from . import compress_options, evaluation_options, fit_options, robustify_options, texts
from .shared_options import add_data, add_json
from .values import count_or_zero, positive


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``verify``."""
    parser.add_argument("certificate", metavar="FILE", help="what `convexadv certify --certificate FILE` wrote")
    parser.add_argument(
        "--model", metavar="MODEL", help="also check that the certificate speaks of the network in this model file"
    )
    add_json(parser)


def add_robustify(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robustify``."""
    add_data(parser)
    robustify_options.add_model(parser)
    robustify_options.add_head(parser)
    robustify_options.add_choice(parser)
    robustify_options.add_files(parser)


def add_compress(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``compress``."""
    add_data(parser)
    robustify_options.add_model(parser)
    compress_options.add_budget(parser)
    compress_options.add_training(parser)
    compress_options.add_files(parser)


def add_solvers(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``solvers``."""
    add_json(parser)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``demo``."""
    parser.add_argument(
        "--out", default="demo", metavar="DIR", help="folder for the results, made if missing (default: demo)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows, radii and attack steps: a few seconds")
    parser.add_argument(
        "--radius",
        type=positive,
        default=0.08,
        metavar="R",
        help="radius of the robust training (default: 0.08)",
    )
    parser.add_argument(
        "--seed",
        type=count_or_zero,
        default=0,
        metavar="N",
        help="seed of the split and of the attacks (default: 0)",
    )


VERBS: dict[str, tuple[str, texts.Details, Callable[[argparse.ArgumentParser], None]]] = {
    "fit": ("train a network to certified global optimality", texts.FIT, fit_options.add_fit),
    "evaluate": ("clean, attacked and certified accuracy of a model", texts.EVALUATE, evaluation_options.add_evaluate),
    "certify": (
        "accuracy that is proven against attacks, against the radius",
        texts.CERTIFY,
        evaluation_options.add_certify,
    ),
    "verify": ("check a certificate file again, with NumPy only", texts.VERIFY, add_verify),
    "attack": ("write adversarial points for a model", texts.ATTACK, evaluation_options.add_attack),
    "robustify": ("a certified robust head for a trained deep model", texts.ROBUSTIFY, add_robustify),
    "compress": ("a compact robust model from a trained deep one", texts.COMPRESS, add_compress),
    "solvers": ("what is installed and licensed, and why not", texts.SOLVERS, add_solvers),
    "demo": ("standard against robust training on real data: models, tables, plots", texts.DEMO, add_demo),
}
