"""Arguments and help of ``robustify``."""

from __future__ import annotations

import argparse

from .shared_options import GATE_KINDS, add_json
from .values import count, count_or_zero, finite, fraction, non_negative, positive


def add_model(parser: argparse.ArgumentParser) -> None:
    """Arguments that say which model."""
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model",
        metavar="MODEL",
        help="package.module:function of your own code, which is imported (from the working folder too), called and so "
        "runs; or preactresnet18, resnet18, smallcnn (default: what the file of weights says)",
    )
    group.add_argument(
        "--weights",
        metavar="FILE",
        help="state dictionary: .safetensors, or of torch.save (only tensors are read); or what `convexadv compress` wrote "
        "of a model of that architecture",
    )
    group.add_argument(
        "--settings", metavar="JSON", help="arguments of the model's function, such as '{\"width\": 16}'"
    )
    group.add_argument(
        "--shape",
        type=count,
        nargs="+",
        metavar="N",
        help="shape of an input, such as 3 32 32 (default: that of the data set by name, else the rows as they are)",
    )
    group.add_argument("--device", help="torch device: cpu, cuda, cuda:1 ... (default: cpu)")


def add_head(parser: argparse.ArgumentParser) -> None:
    """Arguments that say which head."""
    group = parser.add_argument_group("the head")
    group.add_argument("--at", metavar="LAYER", help="layer whose output is the feature (default: found)")
    group.add_argument(
        "--head",
        choices=["polynomial", "relu", "gated-relu"],
        default="polynomial",
        help="kind of the new head (default: polynomial)",
    )
    several = {"nargs": "+", "metavar": "N"}
    group.add_argument(
        "--radius",
        type=non_negative,
        default=[0.1],
        help="of the ball around every scaled feature; several to choose from (default: 0.1)",
        **several,  # type: ignore[arg-type]
    )
    group.add_argument(
        "--beta",
        type=positive,
        default=[0.03],
        help="penalty, as a share of the smallest one with the zero head; several to choose from (default: 0.03)",
        **several,  # type: ignore[arg-type]
    )
    group.add_argument(
        "--gates",
        type=count,
        help="of relu and gated-relu; several to choose from (default: 100)",
        **several,  # type: ignore[arg-type]
    )
    group.add_argument(
        "--gate-kind",
        choices=GATE_KINDS,
        help="how ReLU and gated ReLU heads draw gates; open: most rows pass them, so that cones are wide",
    )
    group.add_argument(
        "--ball",
        choices=["sphere", "movement"],
        default="sphere",
        help="movement: shaped to how the features move under attack (default: sphere)",
    )
    group.add_argument(
        "--scaling",
        choices=["standard", "norm", "none"],
        default="standard",
        help="of the features: equal deviations, one factor, or none (default: standard)",
    )
    group.add_argument("--loss", default="hinge", help="hinge, squared_hinge or logistic (default: hinge)")
    group.add_argument("--multiclass", default="ovr", help="ovr or joint (default: ovr)")
    group.add_argument("--rows", type=count, metavar="N", help="train on so many rows, balanced (default: all)")
    group.add_argument("--extra-attacked", action="store_true", help="add the features of attacked inputs as rows")
    group.add_argument("--tol", type=positive, default=1e-3, help="certified relative gap (default: 1e-3)")
    group.add_argument("--time-limit", type=positive, metavar="S", help="seconds for each solve")


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Arguments that say how to choose."""
    group = parser.add_argument_group("the choice, by attacked accuracy of the whole model")
    group.add_argument(
        "--validation",
        type=fraction,
        default=0.1,
        metavar="F",
        help="fraction of the rows that is held out to choose by; 0 for none (default: 0.1)",
    )
    group.add_argument("--attack-radius", type=non_negative, metavar="R", help="of attacks on inputs, in their units")
    group.add_argument("--attack-norm", default="linf", help="linf, l2 or l1 (default: linf)")
    group.add_argument("--method", default="apgd", help="apgd, pgd or fgsm (default: apgd)")
    group.add_argument("--steps", type=count, default=20, metavar="N", help="steps of the attack (default: 20)")
    group.add_argument(
        "--restarts",
        type=count,
        default=2,
        metavar="N",
        help="starts of the attack, by cross-entropy and by margins in turn (default: 2)",
    )
    group.add_argument("--bounds", type=finite, nargs=2, metavar=("LOW", "HIGH"), help="box of the inputs")
    group.add_argument("--batch-size", type=count, default=256, metavar="N", help="inputs at a time (default: 256)")
    group.add_argument("--seed", type=count_or_zero, default=0, metavar="N", help="of all that is random (default: 0)")


def add_files(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what to write."""
    group = parser.add_argument_group("output")
    group.add_argument("--out", default="head.safetensors", metavar="FILE", help="the head (default: head.safetensors)")
    group.add_argument("--out-model", metavar="FILE", help="state dictionary of the whole model, as safetensors")
    group.add_argument("--report", metavar="FILE", help="the report as JSON")
    group.add_argument(
        "--cache", metavar="FILE", help="keep the features in this .npy file; an interrupted run resumes"
    )
    add_json(group)
