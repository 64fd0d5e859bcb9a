"""Convex heads on a trained backbone: ``python -m benchmarks.heads --backbone build/backbones/cifar10-sam.safetensors``.

The last two fully connected layers of the network of `benchmarks.backbone` are replaced by polynomial, ReLU and gated ReLU
heads (`convexadv.robustify`), a few seeds each; clean accuracy and accuracy under linf attacks (FGSM, PGD-20, APGD, Square)
of all of them stand beside those of the network as it was trained, on the same test images, with paired 95 % intervals.
``attacked`` variants add the features of attacked training images as rows, in a ball as features move under attack.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import convexadv as ca
from benchmarks import attacked, record
from benchmarks.backbone import load
from convexadv._atomic import atomic_write
from convexadv.cli.output import table
from convexadv.model_files import load_model
from convexadv.training import Images

NAME = "benchmarks.heads"
HEADS: dict[str, dict[str, Any]] = {
    "polynomial": {"head": "polynomial", "radius": [0.1, 0.3], "beta": [0.1]},
    "gated-relu": {"head": "gated-relu", "radius": [0.0], "beta": [0.1], "n_gates": 32},
    "relu": {"head": "relu", "radius": [0.0], "beta": [0.1], "n_gates": 16, "rows": 600},
}
"""Grids of every head; radii and beta as of ``robustify``. Cones of more rows than features have hardly an interior, so that
ReLU heads take few rows and small radii."""
VARIANTS: dict[str, dict[str, Any]] = {
    "frozen": {"scaling": "norm"},
    "attacked": {"scaling": "norm", "extra": "attacked", "ball": "movement"},
}
MOVEMENT = {"polynomial": [0.3, 1.0], "gated-relu": [0.0], "relu": [0.0]}
"""Radii in units of the root mean square movement of the features."""
BASE = "as trained"
WORK = Path("build") / "heads"


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    model, facts = load_model(arguments.backbone)
    data = facts["data"]
    train = load(data, "train", arguments.rows)
    test = attacked.first_images(load(data, "test"), arguments.images)
    document = record.provenance(NAME, arguments.threads) | {
        "data": data,
        "backbone": {key: facts[key] for key in ("objective", "seconds", "clean_accuracy", "rows")}
        | {"epochs": len(facts["history"]), "file": Path(arguments.backbone).name},
        "parameters": sum(p.numel() for p in model.parameters()),
        "images": len(test),
        "sizes_255": arguments.sizes,
        "methods": arguments.methods,
        "black_box_255": arguments.black_box,
        "attack_255": arguments.attack,
        "results": [],
    }
    out = Path(arguments.out) if arguments.out else record.RESULTS / f"heads_{data}.json"
    print(record.heading(document), flush=True)
    store = Store(data, arguments)
    judge = Judge(model, test, arguments)
    row, found = store.load(BASE, None) or ({"model": BASE, "seed": None}, judge(BASE, model))
    store.save(row, found)
    right = {BASE: [found]}
    document["results"].append(row | attacked.accuracies(found))
    for name, seed, options in _plan(arguments):
        print(f"  {name}, seed {seed}", flush=True)
        kept = store.load(name, seed)
        if kept is not None:
            row, found = kept
            right.setdefault(name, []).append(found)
            document["results"].append(row)
            continue
        made = ca.robustify(
            model,
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
        found = judge(name, made.model)
        right.setdefault(name, []).append(found)
        row = {"model": name, "seed": seed, **attacked.accuracies(found), "report": made.report.to_dict()}
        store.save(row, found)
        document["results"].append(row)
    document["comparisons"] = comparisons(right, arguments.sizes)
    if not arguments.quick or arguments.out:
        record.write(out, document)
    print("\n" + report(document))
    if not arguments.quick or arguments.out:
        draw(document, out.with_suffix(".png"))
    return 0


def _plan(arguments: argparse.Namespace) -> list[tuple[str, int, dict[str, Any]]]:
    """Name, seed and options of every head."""
    plan = []
    for variant in arguments.variants:
        for head in arguments.heads:
            options = {**HEADS[head], **VARIANTS[variant]}
            if options.get("ball") == "movement":
                options["radius"] = MOVEMENT[head]
            if arguments.quick:
                options |= {"radius": options["radius"][:1], "beta": options["beta"][:1]}
            plan += [(f"{head}, {variant}", seed, options) for seed in range(arguments.seeds)]
    return plan


class Store:
    """Rows that are done, with the images that are right, in build/heads.

    A run that ended early goes on, and parts may run side by side (--heads) and be collected by one more run with --resume.
    """

    def __init__(self, data: str, arguments: argparse.Namespace):
        names = ("backbone", "rows", "images", "sizes", "methods", "queries", "black_box", "attack", "validation")
        self.settings = {name: str(getattr(arguments, name)) for name in names}
        self.settings["backbone"] = Path(arguments.backbone).name
        self.folder, self.resume = WORK / data, arguments.resume

    def load(self, name: str, seed: int | None) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """A row and its images, if they were saved under the same settings."""
        path = self._path(name, seed)
        if not self.resume or not path.exists():
            return None
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            found = {key: file[key] for key in file.files if key != "about"}
        return (about["row"], found) if about["settings"] == self.settings else None

    def save(self, row: dict[str, Any], found: dict[str, np.ndarray]) -> None:
        """Keep a row."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"settings": self.settings, "row": row})
        with atomic_write(self._path(row["model"], row["seed"]), "wb") as file:
            np.savez_compressed(file, about=about, **found)

    def _path(self, name: str, seed: int | None) -> Path:
        words = name.replace(", ", "-").replace(" ", "-")
        return self.folder / (f"{words}.npz" if seed is None else f"{words}-{seed}.npz")


class Judge:
    """Attacks on models; those without gradients, and from the network as trained, at one size."""

    def __init__(self, base: torch.nn.Module, test: Images, arguments: argparse.Namespace):
        self.base, self.test, self.arguments = base, test, arguments

    @functools.cached_property
    def points(self) -> np.ndarray:
        """Adversarial points of the network as trained."""
        return attacked.points_of(self.base, self.test, self.arguments.black_box)

    def __call__(self, name: str, model: torch.nn.Module) -> dict[str, np.ndarray]:
        """Images that are right, by attack."""
        print(f"  attacks on {name}", flush=True)
        settings, size = self.arguments, self.arguments.black_box
        found = attacked.survivors(model, self.test, settings.sizes, settings.methods, say=_say)
        started = time.perf_counter()
        found |= attacked.without_gradients(model, self.test, size, [self.points], settings.queries)
        for attack in ("square", "transfer"):
            _say(f"    {attack} {size:g}/255: {100 * found[attack].mean():.2f} %")
        _say(f"    {time.perf_counter() - started:.0f} s")
        if size in settings.sizes:
            found["worst"][settings.sizes.index(size) :] &= found["square"] & found["transfer"]
        return found


def _say(line: str) -> None:
    print(line, flush=True)


def comparisons(right: dict[str, list[dict[str, np.ndarray]]], sizes: list[float]) -> list[dict[str, Any]]:
    """Differences to the network as trained, in points, averaged over seeds, with intervals over the images."""
    base, rows = right[BASE][0], []
    for name, seeds in right.items():
        if name == BASE:
            continue
        mean = {key: np.mean([found[key] for found in seeds], 0) for key in base}
        clean = attacked.interval(mean["clean"], base["clean"])
        by_size = [attacked.interval(mean["worst"][k], base["worst"][k]) for k in range(len(sizes))]
        rows.append({"model": name, "seeds": len(seeds), "clean": clean, "worst": by_size})
    return rows


def report(document: dict[str, Any]) -> str:
    """Accuracies in per cent, then the differences."""
    sizes = document["sizes_255"]
    black, attacks = document["black_box_255"], [*document["methods"], "worst"]
    names = ["clean", *(f"{method} {size:g}" for method in attacks for size in sizes)]
    names += [f"square {black:g}", f"transfer {black:g}"]
    rows = []
    for row in document["results"]:
        values = [row["clean"], *(value for method in attacks for value in row[method]), row["square"], row["transfer"]]
        seed = "" if row["seed"] is None else str(row["seed"])
        gap = f"{row['report']['gap']:.1e}" if "report" in row else ""
        solve = f"{row['report']['seconds']['solve']:.0f}" if "report" in row else ""
        rows.append([row["model"], seed, gap, solve, *(f"{value:.1f}" for value in values)])
    lines = [table(("model", "seed", "gap", "solve s", *names), rows), ""]
    for row in document.get("comparisons", []):
        pairs = zip(sizes, row["worst"], strict=True)
        apart = ", ".join(f"{size:g}/255 {mean:+.1f} +- {half:.1f}" for size, (mean, half) in pairs)
        clean = f"{row['clean'][0]:+.1f} +- {row['clean'][1]:.1f}"
        lines.append(
            f"{row['model']} against {BASE} ({row['seeds']} seeds), worst attack, points: clean {clean}; {apart}"
        )
    backbone = document["backbone"]
    lines.append(
        f"{document['images']} test images; backbone: {backbone['objective']}, {backbone['seconds']:.0f} s of training. "
        "worst: right under all attacks. transfer: at the points of PGD on the network as trained. "
        "Heads are chosen on training images that are held out."
    )
    return "\n".join(lines)


def draw(document: dict[str, Any], path: Path) -> None:
    """Accuracy under the worst attack against its size, a line for each model, the band of its seeds."""
    from matplotlib import pyplot

    from convexadv.plotting.style import CYCLE, MARKERS, tidy

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    sizes, groups = [0.0, *document["sizes_255"]], {}
    for row in document["results"]:
        groups.setdefault(row["model"], []).append([row["clean"], *row["worst"]])
    for number, (name, lines) in enumerate(groups.items()):
        values, color = np.array(lines), "0.3" if name == BASE else CYCLE[number % len(CYCLE)]
        axes.plot(sizes, values.mean(0), color=color, marker=MARKERS[number % len(MARKERS)], label=name, markersize=4)
        axes.fill_between(sizes, values.min(0), values.max(0), color=color, alpha=0.15, linewidth=0)
    axes.set_xlabel("size of the linf attack, 255ths")
    axes.set_ylabel("test accuracy, worst attack, %")
    axes.set_title(f"Heads on {document['data']}, {document['images']} test images")
    axes.legend(frameon=False)
    tidy(axes)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--backbone", required=True, help="file of benchmarks.backbone")
    parser.add_argument("--heads", nargs="+", choices=sorted(HEADS), default=list(HEADS))
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=list(VARIANTS))
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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="take rows that were done under the same settings")
    parser.add_argument("--quick", action="store_true", help="one seed, setting and size on few images; not recorded")
    parser.add_argument("--out", help="the record (default: results/heads_DATA.json; none with --quick)")
    arguments = parser.parse_args()
    arguments.images = arguments.images or None
    if arguments.quick:
        arguments.seeds, arguments.images, arguments.sizes, arguments.rows = 1, 200, arguments.sizes[:3], 3000
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
