"""Arguments and help of the verbs that look at a saved model: ``evaluate``, ``certify`` and ``attack``."""

from __future__ import annotations

import argparse

from .shared_options import ATTACKS, add_attack_settings, add_ball, add_box, add_data, add_json, add_split
from .values import count, non_negative, positive


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``evaluate``."""
    ball = _model_and_radii(parser, "attacks and certificates")
    add_ball(ball)
    add_attack_settings(ball)
    add_split(
        parser,
        "use only the rows that `convexadv fit` holds out with this fraction and seed (default: all rows)",
    )
    add_json(parser.add_argument_group("output"))


def add_certify(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``certify``."""
    ball = _model_and_radii(parser, "certificates and attacks")
    add_ball(ball)
    add_box(ball)
    ball.add_argument(
        "--complete",
        action="store_true",
        help="branch and bound until a row is decided: relu and gated-relu, polynomial in linf balls of few features",
    )
    ball.add_argument(
        "--max-branches", type=count, default=100, metavar="N", help="branches of --complete for a row (default: 100)"
    )
    ball.add_argument(
        "--time-limit", type=positive, metavar="S", help="seconds for the branches of one radius; sound when it strikes"
    )
    ball.add_argument(
        "--method",
        choices=ATTACKS,
        nargs="+",
        default=["pgd"],
        metavar="NAME",
        help=f"attacks to compare with, out of {', '.join(ATTACKS)} (default: pgd)",
    )
    add_attack_settings(ball)
    add_split(
        parser,
        "use only the rows that `convexadv fit` holds out with this fraction and seed (default: all rows)",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--plot", metavar="FILE", help="plot the accuracies (.png, .pdf or .svg)")
    output.add_argument(
        "--certificate",
        metavar="FILE",
        help="one radius: write the proof of every row, for `convexadv verify`",
    )
    output.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write one JSON document to a file; without a name to stdout, and nothing else",
    )


def add_attack(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``attack``."""
    parser.add_argument("model", metavar="MODEL", help="a model file written by `convexadv fit`")
    add_data(parser)
    ball = parser.add_argument_group("the attack")
    ball.add_argument(
        "--radius", type=non_negative, required=True, metavar="R", help="radius of the ball around every row"
    )
    ball.add_argument(
        "--method",
        choices=ATTACKS,
        default="pgd",
        help="pgd: projected gradient steps with restarts; apgd: with steps of its own; fgsm: one step; exact: the worst "
        "case (polynomial, l2); strongest: all of them (default: pgd)",
    )
    ball.add_argument(
        "--toward",
        metavar="LABEL",
        help="label that the points shall be predicted as (rows of that label are left out), or `each` to go for every "
        "other class in turn",
    )
    add_ball(ball)
    add_box(ball)
    add_attack_settings(ball)
    add_split(
        parser,
        "attack only the rows that `convexadv fit` holds out with this fraction and seed (default: all rows)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        default="points.npz",
        metavar="FILE",
        help="NumPy archive with X (attacked rows, raw units), y, success, radius, norm (default: points.npz)",
    )
    add_json(output)


def _model_and_radii(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """A model, the data, and the radii of what is found out about it; the group of the radii."""
    parser.add_argument("model", metavar="MODEL", help="a model file written by `convexadv fit`")
    add_data(parser)
    ball = parser.add_argument_group(title)
    ball.add_argument(
        "--radius",
        type=non_negative,
        nargs="+",
        metavar="R",
        help="radii (default: half, once and twice the radius of the training, or 0.05 0.1 0.2)",
    )
    return ball
