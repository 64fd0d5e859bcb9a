"""Convex heads on a trained backbone: ``python -m benchmarks.heads --backbone build/backbones/cifar10-sam.safetensors``.

The last two fully connected layers of the network of `benchmarks.backbone` are replaced by polynomial, ReLU and gated ReLU
heads (`convexadv.robustify`), a few seeds each; clean accuracy and accuracy under linf attacks (FGSM, PGD-20, APGD, Square)
of all of them stand beside those of the network as it was trained, on the same test images, with paired 95 % intervals.
``attacked`` variants add the features of attacked training images as rows, in a ball as features move under attack.
``tuned`` variants put the heads on a network that was trained on for a few epochs, part clean and part attacked (--tuned,
a file of ``benchmarks.backbone --start``): that network with the layers it has stands in the table too, so that one sees
what its training brought and what the convex head does.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

import convexadv as ca
from benchmarks import attacked, record
from benchmarks.backbone import load
from benchmarks.heads_report import BASE, TUNED, comparisons, draw, report
from benchmarks.heads_rows import Judge, Store
from convexadv.model_files import load_model
from convexadv.training import Images

NAME = "benchmarks.heads"
HEADS: dict[str, dict[str, Any]] = {
    "polynomial": {"head": "polynomial", "radius": [0.1], "beta": [0.01]},
    "gated-relu": {"head": "gated-relu", "radius": [0.0], "beta": [0.03], "n_gates": 32},
    "relu": {"head": "relu", "radius": [0.0], "beta": [0.01], "n_gates": 2, "gate_kind": "open", "rows": 2000},
}
"""Grids of every head; radii and beta as of ``robustify``. Polynomial heads of larger radii gain more at large attacks and
lose clean accuracy (0.2 with beta 0.03: 2.7 points on CIFAR-10). Gated heads at radii above 0 do not come to the gap in these
times; cones of more rows than features have hardly an interior, so that ReLU heads take few rows,
radius 0 and open gates, whose cones are wide."""
LOSS = "squared_hinge"
"""It reaches a gap of 1e-3 in a tenth of the time of the hinge loss, whose optima have kinks and many neurons."""
VARIANTS: dict[str, dict[str, Any]] = {
    "frozen": {"scaling": "norm"},
    "attacked": {"scaling": "norm", "extra": "attacked", "ball": "movement"},
    TUNED: {"scaling": "norm"},
}
MOVEMENT = {"polynomial": [0.3, 1.0], "gated-relu": [0.0], "relu": [0.0]}
"""Radii in units of the root mean square movement of the features."""


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    model, facts = load_model(arguments.backbone)
    models = {BASE: model}
    data = facts["data"]
    train = load(data, "train", arguments.rows)
    test = attacked.first_images(load(data, "test"), arguments.images)
    document = _document(arguments, model, facts, len(test))
    if arguments.tuned:
        models[TUNED], document["tuned"] = _tuned(arguments)
    print(record.heading(document), flush=True)
    store, judge = Store(data, arguments), Judge(model, test, arguments)
    right: dict[str, list[Any]] = {}
    for name, seed, options in _plan(arguments):
        kept = store.load(name, seed)
        if kept is None and arguments.collect:
            print(f"  {name}, seed {seed}: not done under these settings", flush=True)
            continue
        if kept is None:
            kept = _row(name, seed, options, models, train, judge, arguments)
            store.save(*kept)
        row, found = kept
        right.setdefault(name, []).append(found)
        document["results"].append(row)
    document["comparisons"] = comparisons(right, arguments.sizes)
    if not arguments.quick or arguments.out:
        out = Path(arguments.out) if arguments.out else record.RESULTS / f"heads_{data}.json"
        record.write(out, document)
        draw(document, out.with_suffix(".png"))
    print("\n" + report(document))
    return 0


def _document(
    arguments: argparse.Namespace, model: torch.nn.Module, facts: dict[str, Any], count: int
) -> dict[str, Any]:
    return record.provenance(NAME, arguments.threads) | {
        "data": facts["data"],
        "backbone": _about(facts, arguments.backbone),
        "parameters": sum(p.numel() for p in model.parameters()),
        "images": count,
        "sizes_255": arguments.sizes,
        "methods": arguments.methods,
        "precision": arguments.precision,
        "black_box_255": arguments.black_box,
        "attack_255": arguments.attack,
        "results": [],
    }


def _about(facts: dict[str, Any], path: str) -> dict[str, Any]:
    keys = ("objective", "seconds", "clean_accuracy", "rows")
    return {key: facts[key] for key in keys} | {"epochs": len(facts["history"]), "file": Path(path).name}


def _tuned(arguments: argparse.Namespace) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The network that was trained on, and how."""
    model, facts = load_model(arguments.tuned)
    if facts.get("start", {}).get("file") != Path(arguments.backbone).name:
        raise SystemExit(
            f"{arguments.tuned} was not trained on from {arguments.backbone} (benchmarks.backbone --start)."
        )
    return model, _about(facts, arguments.tuned) | {"radius_255": facts["radius_255"], "parts": facts["parts"]}


def _row(
    name: str,
    seed: int | None,
    options: dict[str, Any],
    models: dict[str, torch.nn.Module],
    train: Images,
    judge: Judge,
    arguments: argparse.Namespace,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of the table, and which images are right: of a network as it is, or of one with a new head."""
    print(f"  {name}" + ("" if seed is None else f", seed {seed}"), flush=True)
    row: dict[str, Any] = {"model": name, "seed": seed}
    if seed is None:
        found = judge(models[name])
        return row | attacked.accuracies(found), found
    made = ca.robustify(
        models[TUNED if name.endswith(TUNED) else BASE],
        (train.x.numpy(), train.y.numpy()),
        attack_radius=arguments.attack / 255,
        attack_steps=arguments.attack_steps,
        bounds=attacked.BOX,
        validation=arguments.validation,
        time_limit=arguments.time_limit,
        tol=1e-3,
        random_state=seed,
        **options,
    )
    print("    " + str(made.report).replace("\n", "\n    "), flush=True)
    found = judge(made.model)
    return row | attacked.accuracies(found) | {"report": made.report.to_dict()}, found


def settings_of(head: str, variant: str) -> dict[str, Any]:
    """Arguments of ``robustify`` for a head and a variant."""
    return {"loss": LOSS, **HEADS[head], **VARIANTS[variant]}


def _plan(arguments: argparse.Namespace) -> list[tuple[str, int | None, dict[str, Any]]]:
    """Name, seed and options of every row; networks as they are have no seed."""
    plan: list[tuple[str, int | None, dict[str, Any]]] = [(BASE, None, {})]
    if arguments.tuned:
        plan.append((TUNED, None, {}))
    for variant in arguments.variants:
        for head in arguments.heads:
            options = settings_of(head, variant)
            if options.get("ball") == "movement":
                options["radius"] = MOVEMENT[head]
            if arguments.quick:
                options |= {"radius": options["radius"][:1], "beta": options["beta"][:1]}
            plan += [(f"{head}, {variant}", seed, options) for seed in range(arguments.seeds)]
    return plan


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--backbone", required=True, help="file of benchmarks.backbone")
    parser.add_argument("--tuned", help="file of benchmarks.backbone --start, for the tuned variants")
    parser.add_argument("--heads", nargs="+", choices=sorted(HEADS), default=list(HEADS))
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=["frozen"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", type=float, default=[0.5, 1.0, 2.0, 3.0, 4.0, 8.0], help="255ths")
    parser.add_argument("--methods", nargs="+", choices=attacked.METHODS, default=list(attacked.METHODS))
    parser.add_argument(
        "--black-box", type=float, default=2.0, help="255ths, of attacks without gradients and transfer"
    )
    parser.add_argument("--queries", type=int, default=300, help="of the Square attack")
    parser.add_argument("--attack", type=float, default=2.0, help="255ths, of the attack that heads are chosen by")
    parser.add_argument("--attack-steps", type=int, default=10)
    parser.add_argument("--images", type=int, default=1000, help="test images, equally many of each class (0: all)")
    parser.add_argument("--rows", type=int, default=None, help="first training images")
    parser.add_argument("--validation", type=float, default=0.03, help="share of the training images held out")
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds of a solve")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="of attacks; predictions are float32"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="take rows that were done under the same settings")
    parser.add_argument("--collect", action="store_true", help="record the rows that are done, and run no others")
    parser.add_argument("--quick", action="store_true", help="one seed, setting and size on few images; not recorded")
    parser.add_argument("--out", help="the record (default: results/heads_DATA.json; none with --quick)")
    arguments = parser.parse_args()
    arguments.images, arguments.resume = arguments.images or None, arguments.resume or arguments.collect
    if TUNED in arguments.variants and not arguments.tuned:
        parser.error("the variant tuned needs --tuned FILE, of benchmarks.backbone --start.")
    if arguments.quick:
        arguments.seeds, arguments.images, arguments.sizes, arguments.rows = 1, 200, arguments.sizes[:3], 3000
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
