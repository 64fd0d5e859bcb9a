"""Table, paired intervals and figure of `benchmarks.cstar`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import attacked
from convexadv.cli.output import table

BASE = "original"
_FIRST = "cstar"


def packed(right: np.ndarray) -> list[str]:
    """Which images are right (n,) or (sizes, n), a string of hexadecimal digits for each size."""
    return [np.packbits(row).tobytes().hex() for row in np.atleast_2d(right)]


def unpacked(texts: list[str], count: int) -> np.ndarray:
    """The inverse: (sizes, n) of bool."""
    rows = [np.frombuffer(bytes.fromhex(text), np.uint8) for text in texts]
    return np.unpackbits(np.array(rows), axis=1)[:, :count].astype(bool)


def comparisons(document: dict[str, Any]) -> list[dict[str, Any]]:
    """CSTAR minus each other method at the same ratio, in points, over the seeds both have, with 95 % intervals of images."""
    rows = {(row["method"], row["ratio"], row["seed"]): row for row in document["results"]}
    methods = dict.fromkeys(row["method"] for row in document["results"])
    found = []
    for ratio in sorted({row["ratio"] for row in document["results"]}):
        for method in methods:
            seeds = [seed for name, at, seed in rows if (name, at) == (method, ratio) and (_FIRST, at, seed) in rows]
            if method == _FIRST or not seeds:
                continue
            apart = {
                key: _interval([(rows[_FIRST, ratio, s], rows[method, ratio, s]) for s in seeds], key, document)
                for key in ("clean", "worst")
            }
            found.append({"against": method, "ratio": ratio, "seeds": len(seeds), **apart})
    return found


def _interval(pairs: list[tuple[Any, Any]], key: str, document: dict[str, Any]) -> list[list[float]]:
    """Mean difference and half width at every size, over images; each image counts with its mean over the seeds."""
    first, second = (
        np.mean([unpacked(pair[side]["right"][key], document["images"]) for pair in pairs], 0) for side in (0, 1)
    )
    return [list(attacked.interval(a, b)) for a, b in zip(first, second, strict=True)]


def line(row: dict[str, Any]) -> str:
    """A row in a sentence."""
    return (
        f"clean {row['clean']:.1f} %, worst attack {', '.join(f'{value:.1f}' for value in row['worst'])} %, "
        f"{row['parameters']:,} parameters, {row['flops'] / 1e6:.1f} M multiply-adds, {row['speedup']:.2f}x as fast, "
        f"{row['seconds']:.0f} s"
    )


def report(document: dict[str, Any]) -> str:
    """The table, then the differences."""
    sizes = document["sizes_255"]
    attacks = [*document["attacks"], "worst"]
    names = ("method", "ratio", "seed", "clean", *(f"{each} {size:g}" for each in attacks for size in sizes))
    rows = []
    for row in document["results"]:
        values = [row["clean"], *(value for each in attacks for value in row[each])]
        sizes_of = [f"{row['parameters']:,}", f"{row['flops'] / 1e6:.1f}", f"{row['bytes'] / 1e6:.3f}"]
        times = [f"{row['latency_ms'][0]:.2f} → {row['latency_ms'][1]:.2f}", f"{row['speedup']:.2f}"]
        times += [_memory(row, batch) for batch in ("1", "64")]
        head = [row["method"], f"{row['ratio']:g}", str(row["seed"])]
        rows.append([*head, *(f"{value:.1f}" for value in values), *sizes_of, *times, f"{row['seconds']:.0f}"])
    heads = (
        *names,
        "parameters",
        "M mult-adds",
        "MB",
        "latency, ms",
        "times as fast",
        "peak MB, 1",
        "peak MB, 64",
        "training s",
    )
    lines = [table(heads, rows), ""]
    for each in document.get("comparisons", []):
        worst = ", ".join(
            f"{size:g}/255 {mean:+.1f} ± {half:.1f}" for size, (mean, half) in zip(sizes, each["worst"], strict=True)
        )
        mean, half = each["clean"][0]
        lines.append(
            f"{_FIRST} minus {each['against']} at {each['ratio']:g}x ({each['seeds']} seeds), points: "
            f"clean {mean:+.1f} ± {half:.1f}; worst attack {worst}"
        )
    epochs = document["epochs"]
    lines.append(
        f"{document['images']} test images; {document['rows']:,} training images, {sum(epochs)} epochs for every method "
        f"(ADMM: {epochs[0]} of them), one-step adversarial training at {document['radius_255']:g}/255; PGD-20 with one "
        "start, APGD with two of 20 steps; worst: right under both. "
        f"Latency: one image, {document['hardware']['threads']} threads, "
        "beside the original in the same run, batch norms folded where they follow a convolution. "
        "Peak: resident memory of the inference of 1 and of 64 images above what a small network takes, original → this, "
        "each in processes of its own. "
        "± is a 95 % interval over the images."
    )
    return "\n".join(lines)


def _memory(row: dict[str, Any], batch: str) -> str:
    """Peaks of the original and of the network in MB; rows of records without them have none."""
    found = row.get("memory_bytes", {}).get(batch)
    return "-" if found is None else " → ".join(f"{each / 1e6:.1f}" for each in found)


def draw(document: dict[str, Any], path: Path) -> None:
    """Clean and attacked accuracy against the ratio, a line for each method, the band of its seeds."""
    from matplotlib import pyplot

    from convexadv.plotting.style import CYCLE, MARKERS, tidy

    base = next(row for row in document["results"] if row["method"] == BASE)
    methods = [name for name in dict.fromkeys(row["method"] for row in document["results"]) if name != BASE]
    figure, both = pyplot.subplots(1, 2, figsize=(9.2, 4.0), layout="constrained")
    titles = ("clean", f"worst attack of {document['radius_255']:g}/255")
    for axes, title, value in zip(both, titles, (lambda row: row["clean"], lambda row: row["worst"][-1]), strict=True):
        axes.axhline(value(base), color="0.3", linestyle="--", label=BASE)
        for number, method in enumerate(methods):
            own = [row for row in document["results"] if row["method"] == method]
            ratios = sorted({row["ratio"] for row in own})
            seeds = [[value(row) for row in own if row["ratio"] == ratio] for ratio in ratios]
            style = {"color": CYCLE[number % len(CYCLE)], "marker": MARKERS[number % len(MARKERS)], "markersize": 4}
            axes.plot(ratios, [np.mean(each) for each in seeds], label=method, **style)
            low, high = [min(each) for each in seeds], [max(each) for each in seeds]
            axes.fill_between(ratios, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.set_xscale("log", base=2)
        every = sorted({row["ratio"] for row in document["results"] if row["method"] != BASE})
        axes.set_xticks(every, [f"{ratio:g}" for ratio in every])
        axes.set_xlabel(f"times fewer {document['measure']}")
        axes.set_ylabel("test accuracy, %")
        axes.set_title(title)
        tidy(axes)
    both[0].legend(frameon=False)
    figure.suptitle(f"Compression on {document['data']}, {document['images']} test images")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
