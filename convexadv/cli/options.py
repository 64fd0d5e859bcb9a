"""Arguments and help of every verb."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from . import compress_options, robustify_options, texts
from .models import MODELS
from .values import count, count_or_zero, finite, fraction, non_negative, positive

ATTACKS = ("pgd", "apgd", "fgsm", "exact", "strongest")
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


def add_fit(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``fit``."""
    _data(parser)
    _problem(parser.add_argument_group("the problem"))
    _polynomial(parser.add_argument_group("polynomial networks"))
    _patterns(parser.add_argument_group("ReLU and gated ReLU networks"))
    _solver(parser.add_argument_group("the solver"))
    _split(
        parser,
        "hold out this fraction of the rows and report the accuracy on them (default: 0, all rows train)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        default="model.safetensors",
        metavar="FILE",
        help="the model file (default: model.safetensors)",
    )
    output.add_argument("--plot", metavar="FILE", help="plot objective and lower bound over time (.png, .pdf or .svg)")
    output.add_argument(
        "--boundary",
        metavar="FILE",
        help="two features: plot the decision boundary with the balls around the rows",
    )
    _json(output)


def _problem(problem: argparse._ArgumentGroup) -> None:
    problem.add_argument(
        "--model",
        choices=MODELS,
        default="polynomial",
        help="kind of network; relu and gated-relu are trained over sampled activation patterns (default: polynomial)",
    )
    problem.add_argument(
        "--radius",
        type=non_negative,
        default=0.0,
        metavar="R",
        help="radius of the ball around every row, in the units of the scaled rows (see --scaling); 0 "
        "trains without an adversary (default: 0)",
    )
    problem.add_argument(
        "--norm",
        default="l2",
        help="norm of the ball: l2 or linf (polynomial: exact and a safe restriction), relu and gated-relu also l1 "
        "(default: l2)",
    )
    problem.add_argument(
        "--beta",
        type=non_negative,
        default=0.01,
        metavar="B",
        help="weight of the penalty beta * sum |alpha|; without a positive one there is no certificate (default: 0.01)",
    )
    problem.add_argument(
        "--loss",
        default="hinge",
        help="hinge, squared_hinge, logistic, or squared for real targets (default: hinge)",
    )
    problem.add_argument(
        "--multiclass",
        default="ovr",
        help="more than two classes: ovr (one against the rest) or joint (default: ovr)",
    )
    problem.add_argument(
        "--scaling",
        choices=["unit", "standard", "none"],
        default="unit",
        help="unit: features standardised, then all divided by the largest row norm; standard: "
        "standardised only; none: raw. Computed on the training rows and saved in the model, which takes "
        "raw rows (default: unit)",
    )


def _polynomial(problem: argparse._ArgumentGroup) -> None:
    problem.add_argument(
        "--clean-weight",
        type=non_negative,
        metavar="T",
        help="mix T * loss at the row + (1 - T) * loss at its worst perturbation, T from 0 to 1 (default: 0)",
    )
    problem.add_argument(
        "--hard-margin",
        type=non_negative,
        metavar="M",
        help="require the worst-case margin M on every row, or exit with code 4",
    )
    problem.add_argument(
        "--activation",
        type=finite,
        nargs=3,
        metavar=("A", "B", "C"),
        help="s(t) = A t^2 + B t + C (default: 0.09 0.5 0.47, a quadratic fit of ReLU)",
    )


def _patterns(problem: argparse._ArgumentGroup) -> None:
    problem.add_argument(
        "--gates",
        type=count,
        metavar="P",
        help="activation patterns to sample, with --seed; repeated and empty ones are dropped (default: 100)",
    )
    problem.add_argument(
        "--gate-kind",
        choices=["gaussian", "differences", "sparse"],
        help="directions of the gates: random, between two rows, or along single features (default: gaussian)",
    )
    problem.add_argument(
        "--intercept",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="give every neuron an offset, which is not perturbed (default: yes)",
    )
    problem.add_argument(
        "--grow",
        type=count,
        metavar="N",
        help="rounds in which new random patterns are priced and those that lower the objective are added (default: 0)",
    )
    problem.add_argument(
        "--patterns",
        metavar="FILE",
        help="plot how the active patterns and the gap develop (.png, .pdf or .svg)",
    )


def _solver(solver: argparse._ArgumentGroup) -> None:
    solver.add_argument(
        "--solver",
        default="auto",
        help="auto, torch, SCS, CLARABEL or MOSEK; `convexadv solvers` says what is there (default: auto)",
    )
    solver.add_argument(
        "--tol",
        type=positive,
        default=1e-4,
        help="certified relative gap at which the solver stops (default: 1e-4)",
    )
    solver.add_argument(
        "--time-limit",
        type=positive,
        metavar="S",
        help="seconds after which the best network so far is taken",
    )
    solver.add_argument(
        "--max-iter",
        type=count,
        metavar="N",
        help="rounds, or iterations of a conic solver, after which it stops",
    )
    solver.add_argument("--device", help="torch device: cpu, cuda, cuda:1 ... (default: cpu)")
    solver.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="polynomial networks: save the state of the solve to this file again and again, complete or absent whenever the "
        "process is killed; several processes write PATH.RANK-of-SIZE.0 and .1 (default: none)",
    )
    solver.add_argument(
        "--checkpoint-every",
        type=positive,
        metavar="SECONDS",
        help="between two checkpoints (default: 30)",
    )
    solver.add_argument(
        "--resume",
        action="store_true",
        default=None,
        help="go on from the checkpoint if there is one; without this, one that exists is an error",
    )


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``evaluate``."""
    parser.add_argument("model", metavar="MODEL", help="a model file written by `convexadv fit`")
    _data(parser)
    ball = parser.add_argument_group("attacks and certificates")
    ball.add_argument(
        "--radius",
        type=non_negative,
        nargs="+",
        metavar="R",
        help="radii (default: half, once and twice the radius of the training, or 0.05 0.1 0.2)",
    )
    _ball(ball)
    _attack_settings(ball)
    _split(
        parser,
        "use only the rows that `convexadv fit` holds out with this fraction and seed (default: all rows)",
    )
    _json(parser.add_argument_group("output"))


def add_certify(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``certify``."""
    parser.add_argument("model", metavar="MODEL", help="a model file written by `convexadv fit`")
    _data(parser)
    ball = parser.add_argument_group("certificates and attacks")
    ball.add_argument(
        "--radius",
        type=non_negative,
        nargs="+",
        metavar="R",
        help="radii (default: half, once and twice the radius of the training, or 0.05 0.1 0.2)",
    )
    _ball(ball)
    _box(ball)
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
    _attack_settings(ball)
    _split(
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


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``verify``."""
    parser.add_argument("certificate", metavar="FILE", help="what `convexadv certify --certificate FILE` wrote")
    parser.add_argument(
        "--model", metavar="MODEL", help="also check that the certificate speaks of the network in this model file"
    )
    _json(parser)


def add_attack(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``attack``."""
    parser.add_argument("model", metavar="MODEL", help="a model file written by `convexadv fit`")
    _data(parser)
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
    _ball(ball)
    _box(ball)
    _attack_settings(ball)
    _split(
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
    _json(output)


def add_robustify(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robustify``."""
    _data(parser)
    robustify_options.add_model(parser)
    robustify_options.add_head(parser)
    robustify_options.add_choice(parser)
    robustify_options.add_files(parser)


def add_compress(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``compress``."""
    _data(parser)
    robustify_options.add_model(parser)
    compress_options.add_budget(parser)
    compress_options.add_training(parser)
    compress_options.add_files(parser)


def add_solvers(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``solvers``."""
    _json(parser)


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


def _data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the data")
    group.add_argument("data", metavar="DATA", help=_DATA_HELP)
    group.add_argument("--target", metavar="NAME", help=_TARGET_HELP)


def _split(parser: argparse.ArgumentParser, text: str) -> None:
    group = parser.add_argument_group("the split")
    group.add_argument("--test-fraction", type=fraction, default=0.0, metavar="F", help=text)
    group.add_argument(
        "--seed",
        type=count_or_zero,
        default=0,
        metavar="N",
        help="seed of the split and of random starts (default: 0)",
    )


def _ball(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--norm", default="l2", help="norm of the ball: l2 or linf, for relu and gated-relu also l1 (default: l2)"
    )
    group.add_argument(
        "--units",
        choices=["scaled", "raw"],
        default="scaled",
        help="units of the radius: scaled, those of the rows after the model's own input scaling, as in "
        "`convexadv fit` (an ellipsoid around the raw row); raw, those of the data (default: scaled)",
    )


def _box(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bounds",
        type=finite,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="box that every feature lives in, in the units of the data (default: none)",
    )


def _attack_settings(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--steps", type=count, default=40, metavar="N", help="steps of PGD and APGD (default: 40)")
    group.add_argument("--restarts", type=count, default=5, metavar="N", help="starts of PGD and APGD (default: 5)")


def _json(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--json", action="store_true", help="write one JSON document to stdout and nothing else")


VERBS: dict[str, tuple[str, texts.Details, Callable[[argparse.ArgumentParser], None]]] = {
    "fit": ("train a network to certified global optimality", texts.FIT, add_fit),
    "evaluate": ("clean, attacked and certified accuracy of a model", texts.EVALUATE, add_evaluate),
    "certify": ("accuracy that is proven against attacks, against the radius", texts.CERTIFY, add_certify),
    "verify": ("check a certificate file again, with NumPy only", texts.VERIFY, add_verify),
    "attack": ("write adversarial points for a model", texts.ATTACK, add_attack),
    "robustify": ("a certified robust head for a trained deep model", texts.ROBUSTIFY, add_robustify),
    "compress": ("a compact robust model from a trained deep one", texts.COMPRESS, add_compress),
    "solvers": ("what is installed and licensed, and why not", texts.SOLVERS, add_solvers),
    "demo": ("standard against robust training on real data: models, tables, plots", texts.DEMO, add_demo),
}
