"""Are the attacks on heads fooled? ``python -m benchmarks.masking --backbone build/backbones/cifar10-sam.safetensors``.

Heads of `benchmarks.heads` (one seed) and the network that carries them go through `convexadv.heads.check_masking`: attacks
of one, two and five times the effort and of larger balls, random points, the Square attack, points of the other networks,
and the fall of the margin along the gradient and along a random direction, which is drawn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

import convexadv as ca
from benchmarks import attacked, record
from benchmarks.backbone import load
from benchmarks.heads import HEADS, settings_of
from benchmarks.heads_report import BASE, TUNED
from convexadv.cli.output import table
from convexadv.heads import MaskingReport, check_masking
from convexadv.model_files import load_model

NAME = "benchmarks.masking"
OWN = "own layers"


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    base, facts = load_model(arguments.backbone)
    model = base if arguments.tuned is None else load_model(arguments.tuned)[0]
    data = facts["data"]
    test = attacked.first_images(load(data, "test"), arguments.images)
    document = record.provenance(NAME, arguments.threads) | {
        "data": data,
        "backbone": Path(arguments.tuned or arguments.backbone).name,
        "images": len(test),
        "radius_255": arguments.radius,
        "results": [],
    }
    print(record.heading(document), flush=True)
    out = Path(arguments.out) if arguments.out else record.RESULTS / f"masking_{data}.json"
    models = {OWN: model} | {head: _headed(model, data, head, arguments) for head in arguments.heads}
    reports = {}
    for name, each in models.items():
        started = time.perf_counter()
        others = {other: source for other, source in models.items() if other != name}
        others |= {BASE: base} if arguments.tuned else {}
        x, y = test.x.numpy(), test.y.numpy()
        reports[name] = found = check_masking(
            each, x, y, arguments.radius / 255, bounds=attacked.BOX, queries=arguments.queries, transfer=others
        )
        print(f"\n{name}, {time.perf_counter() - started:.0f} s\n{found}", flush=True)
        document["results"].append(_row(name, found))
        record.write(out, document)
    _draw(reports, data, out.with_suffix(".png"))
    return 0


def _headed(model: torch.nn.Module, data: str, head: str, arguments: argparse.Namespace) -> torch.nn.Module:
    """The model with a new head, at the last of the radii of `benchmarks.heads`."""
    train = load(data, "train", arguments.rows)
    options = settings_of(head, TUNED)
    options |= {"radius": options["radius"][-1], "beta": options["beta"][-1]}
    return ca.robustify(model, (train.x.numpy(), train.y.numpy()), validation=None, **options).model


def _row(name: str, report: MaskingReport) -> dict[str, Any]:
    return {
        "model": name,
        "accuracy": {attack: round(100 * value, 3) for attack, value in report.accuracy.items()},
        "beyond": {attack: round(100 * value, 3) for attack, value in report.beyond.items()},
        "gradient_drop": report.gradient_drop,
        "random_drop": report.random_drop,
        "findings": list(report.findings),
        "verdict": report.verdict,
    }


def report(document: dict[str, Any]) -> str:
    """Accuracies in per cent, and the verdicts."""
    rows = document["results"]
    attacks = dict.fromkeys(attack for row in rows for attack in row["accuracy"])
    cells = [[row["model"], *(_number(row["accuracy"].get(attack)) for attack in attacks)] for row in rows]
    lines = [table(("model", *attacks), cells), ""]
    lines += [f"{row['model']}: {row['verdict']}" for row in rows]
    lines.append(
        f"{document['images']} test images, linf balls of {document['radius_255']:g}/255, network {document['backbone']}."
    )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _draw(reports: dict[str, MaskingReport], data: str, path: Path) -> None:
    """Mean margins of every model on its planes."""
    from matplotlib import pyplot

    from convexadv.plotting import plot_margin_surface

    figure, panels = pyplot.subplots(
        1, len(reports), figsize=(4.4 * len(reports), 3.6), layout="constrained", squeeze=False
    )
    for axes, (name, found) in zip(panels[0], reports.items(), strict=True):
        plot_margin_surface(found.surface, axes)
        axes.set_title(f"{data}, {name}")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--backbone", required=True, help="file of benchmarks.backbone")
    parser.add_argument("--tuned", help="file of benchmarks.backbone --start, which then carries the heads")
    parser.add_argument("--heads", nargs="+", choices=sorted(HEADS), default=["polynomial", "gated-relu"])
    parser.add_argument("--radius", type=float, default=2.0, help="of the attacks, in 255ths (default: 2)")
    parser.add_argument("--images", type=int, default=200, help="test images, equally many of each class")
    parser.add_argument("--rows", type=int, default=10000, help="first training images that heads are trained on")
    parser.add_argument("--queries", type=int, default=500, help="of the Square attack")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help="the record (default: results/masking_DATA.json)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
