"""Arguments and help of ``fit``."""

from __future__ import annotations

import argparse

from .models import MODELS
from .shared_options import GATE_KINDS, add_data, add_json, add_split
from .values import count, finite, non_negative, positive


def add_fit(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``fit``."""
    add_data(parser)
    _problem(parser.add_argument_group("the problem"))
    _polynomial(parser.add_argument_group("polynomial networks"))
    _patterns(parser.add_argument_group("ReLU and gated ReLU networks"))
    _solver(parser.add_argument_group("the solver"))
    add_split(
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
    add_json(output)


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
        choices=GATE_KINDS,
        help="gates: random, between two rows, along single features, or such that most rows pass (default: gaussian)",
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
