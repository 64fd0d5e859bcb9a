"""Table, paired intervals and figure of `benchmarks.heads`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import attacked
from convexadv.cli.output import table

BASE = "as trained"
TUNED = "tuned"


def comparisons(right: dict[str, list[dict[str, np.ndarray]]], sizes: list[float]) -> list[dict[str, Any]]:
    """Differences in points, averaged over seeds, with intervals over the images.

    To the network as trained; of tuned variants also to the tuned network with the layers that it has.
    """
    rows = []
    for name, seeds in right.items():
        against = [BASE] if name != BASE else []
        if name != TUNED and name.endswith(TUNED):
            against.append(TUNED)
        rows += [
            {"model": name, "against": other, "seeds": len(seeds), **_apart(seeds, right[other][0], sizes)}
            for other in against
        ]
    return rows


def _apart(seeds: list[dict[str, np.ndarray]], base: dict[str, np.ndarray], sizes: list[float]) -> dict[str, Any]:
    mean = {key: np.mean([found[key] for found in seeds], 0) for key in ("clean", "worst")}
    by_size = [attacked.interval(mean["worst"][k], base["worst"][k]) for k in range(len(sizes))]
    return {"clean": attacked.interval(mean["clean"], base["clean"]), "worst": by_size}


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
            f"{row['model']} against {row.get('against', BASE)} ({row['seeds']} seeds), worst attack, points: "
            f"clean {clean}; {apart}"
        )
    backbone = document["backbone"]
    if "tuned" in document:
        tuned = document["tuned"]
        parts = "whole" if tuned["parts"] is None else ", ".join(tuned["parts"])
        lines.append(
            f"tuned: trained on ({parts}) for {tuned['epochs']} epochs of {tuned['objective']} "
            f"at {tuned['radius_255']:g}/255, {tuned['seconds']:.0f} s."
        )
    if document.get("precision", "float32") != "float32":
        lines.append(
            f"Attacks in {document['precision']}; whether their points are predicted right is decided in float32."
        )
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
