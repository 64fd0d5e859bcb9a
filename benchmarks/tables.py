"""Tables of the README, made from the records: every function returns Markdown, `TABLES` names them.

A page holds a table between ``<!-- results: NAME -->`` and ``<!-- end of results -->``; ``python -m benchmarks.page`` writes
what stands between, so that no figure there is typed by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed_polynomial import certified

Document = dict[str, Any]
_BLOCK = re.compile(r"(<!-- results: (?P<name>[a-z0-9-]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
_POLYNOMIAL = {
    "wdbc-200": "wdbc, 200 x 30, r = 0.1, beta = 0.01",
    "digits-raw": "digits, 1,797 x 64, rows over their largest norm",
    "digits-centred": "digits, centred first",
    "digits-standardised": "digits, standardised first: nearly the constant classifier",
    "features-planted": "planted classes, 50,000 x 512",
    "features-overlap-30": "overlapping classes, 50,000 x 512, beta a thirtieth of the zero solution's",
    "features-overlap-100": "the same, beta a hundredth",
    "mnist-10": "MNIST, 5,000 x 784, beta a tenth of the zero solution's",
    "mnist-30": "the same, a thirtieth",
    "mnist-100": "the same, a hundredth",
}
_RELU = {
    "relu-500": "ReLU 500, 20, 100",
    "relu-2000": "ReLU 2000, 50, 500",
    "gated-500": "gated 500, 20, 100",
    "gated-2000": "gated 2000, 50, 500",
    "gated-4000": "gated 4000, 100, 500",
}
_HEADS = {
    "as trained": "as trained (SAM)",
    "tuned": "tuned, own layers",
    "polynomial, frozen": "as trained, polynomial head",
    "relu, frozen": "as trained, ReLU head",
    "gated-relu, frozen": "as trained, gated ReLU head",
    "polynomial, tuned": "tuned, polynomial head",
    "relu, tuned": "tuned, ReLU head",
    "gated-relu, tuned": "tuned, gated ReLU head",
}
_TRAININGS = {
    "standard": "standard",
    "robust": "robust (convex)",
    "pgd": "PGD training (not convex)",
    "polynomial": "robust polynomial",
}
_ROBUSTNESS_SIZES = {"wdbc": (0.01, 0.025), "breast-cancer-wisconsin": (0.04, 0.1), "ionosphere": (0.01, 0.03)}
_DATA_SETS = {"cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST"}


def filled(page: str, results: Path) -> str:
    """A page with every table that it marks made again.

    Parameters
    ----------
    page : str
        Markdown.
    results : Path
        Folder of the records.
    """
    return _BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block['name']](results)}\n\n{block[3]}", page)


def polynomial(results: Path) -> str:
    """Seconds of certified robust training of polynomial networks."""
    document = _record(results, "speed_polynomial")
    lines = []
    for row in document["results"]:
        if row["solver"] != "torch":
            continue
        ratios = {each["solver"]: each for each in document["ratios"] if each["row"] == row["row"]}
        others = [other for other in document["results"] if other["row"] == row["row"] and other["solver"] in ratios]
        took = [
            f"{other['solver']} {'' if ratios[other['solver']]['finished'] else 'more than '}{_seconds(other['seconds'])}"
            for other in others
        ]
        gaps = (_power(row["gap"]), _power(row["tol"]))
        times = "; ".join([_seconds(row["seconds"]), *took])
        lines.append((_POLYNOMIAL[row["row"]], *gaps, times, _target(row, ratios.values()), _memory(row)))
    head = ("data, l2 balls, hinge", "gap", "asked", "seconds", "target", "memory over data (target)")
    return f"{_table(head, lines)}\n\n{_origin(document, 'speed_polynomial')}"


def _target(row: Document, ratios: Iterable[Document]) -> str:
    """Seconds, or times faster than another solver, that a row is to reach; a minus where it does not."""
    for each in ratios:
        if each["target"]:
            least = "" if each["finished"] else "more than "
            missed = _missed(each["ratio"] >= each["target"])
            return f"{each['target']:g} times {each['solver']}: {least}{each['ratio']:.0f}{missed}"
    if row["target"] is None:
        return ""
    return f"{row['target']:g} s{_missed(certified(row) and row['seconds'] <= row['target'])}"


def _memory(row: Document) -> str:
    """Peak over data of rows that have a target for it."""
    if not row["memory_target"]:
        return ""
    times = row["peak_bytes"] / row["data_bytes"]
    return f"{times:.1f} ({row['memory_target']:g}{_missed(times <= row['memory_target'])})"


def relu(results: Path) -> str:
    """Seconds of certified ReLU and gated networks, and of the others."""
    document = _record(results, "speed_relu")
    found = {(row["problem"], row["solver"]): row for row in document["results"] if "error" not in row}
    to_ours = {row["problem"]: row["ratio"] for row in document["ratios"] if "same true objective" in row["what"]}
    lines = []
    for name, label in _RELU.items():
        own = found[name, "torch"]
        others = [
            f"{'ADMM (CRONOS)' if solver == 'CRONOS' else solver} {_seconds(found[name, solver]['seconds'])}"
            for solver in ("CLARABEL", "SCS", "pyscnn", "CRONOS")
            if (name, solver) in found and found[name, solver]["seconds"]
        ]
        if name in to_ours:
            others.append(f"to our objective {_seconds(to_ours[name] * own['seconds'])}")
        lines.append((label, _power(own["gap"]), _seconds(own["seconds"]), ", ".join(others)))
    table = _table(("n, d, P", "certified gap", "seconds", "others"), lines)
    return f"{table}\n\n{_origin(document, 'speed_relu')}"


def robustness(results: Path) -> str:
    """Attacked and certified accuracies of ReLU networks, settings chosen by PGD accuracy at the size of the row."""
    document = _record(results, "relu_robustness")
    lines = []
    for data, sizes in _ROBUSTNESS_SIZES.items():
        part = document["data"][data]
        for size in sizes:
            k = part["linf_sizes"].index(size)
            means = [part["criteria"]["size"]["means"][name] for name in _TRAININGS]
            pairs = [f"{100 * each['pgd'][k]:.1f} / {100 * each['certified'][k]:.1f}" for each in means]
            lines.append((f"{data}, {size:g}", *pairs))
    return _table(("data, size", *_TRAININGS.values()), lines)


def heads_cifar10(results: Path) -> str:
    """Accuracies on CIFAR-10 only."""
    return heads(results, ("cifar10",))


def heads(results: Path, sets: tuple[str, ...] = tuple(_DATA_SETS)) -> str:
    """Accuracies of networks and heads under the worst of all attacks."""
    lines = []
    sizes: list[float] = []
    for data in sets:
        name = _DATA_SETS[data]
        document = _record(results, f"heads_{data}")
        sizes = [size for size in document["sizes_255"] if size <= 4.0]
        for model, rows in _grouped(document["results"], "model"):
            reports = [row["report"] for row in rows if "report" in row]
            gap = _power(max(each["gap"] for each in reports)) if reports else ""
            worst = np.mean([row["worst"] for row in rows], 0)[: len(sizes)]
            values = [f"{value:.1f}" for value in (np.mean([row["clean"] for row in rows]), *worst)]
            lines.append((f"{name}: {_HEADS[model]}", *values, gap, str(len(rows)) if reports else ""))
    return _table(("", "clean", *(f"{size:g}/255" for size in sizes), "gap", "seeds"), lines)


def heads_against(results: Path) -> str:
    """Heads minus the tuned network's own layers, and minus the network as trained: paired differences."""
    lines = []
    sizes: list[float] = []
    for data, name in _DATA_SETS.items():
        document = _record(results, f"heads_{data}")
        sizes = [size for size in document["sizes_255"] if size <= 4.0]
        for row in document["comparisons"]:
            values = [_apart(pair) for pair in (row["clean"], *row["worst"][: len(sizes)])]
            lines.append((f"{name}: {_HEADS[row['model']]}", _HEADS[row["against"]], *values))
    return _table(("", "minus", "clean", *(f"{size:g}/255" for size in sizes)), lines)


def compression(results: Path) -> str:
    """Clean and attacked accuracy of compressed networks, and paired differences."""
    lines = []
    ratios: list[float] = []
    for data, name in _DATA_SETS.items():
        document = _record(results, f"cstar_{data}")
        ratios = sorted({row["ratio"] for row in document["results"]} - {1.0})
        original = next(row for row in document["results"] if row["ratio"] == 1.0)
        for method, label in (("cstar", f"{name}: CSTAR"), ("channels-admm", "channel pruning with ADMM")):
            cells = [_accuracies(document["results"], method, ratio) for ratio in ratios]
            lines.append((label, _pair(original) if method == "cstar" else "", *cells))
        apart = {row["ratio"]: row for row in document["comparisons"] if row["against"] == "channels-admm"}
        cells = [f"{_apart(apart[ratio]['worst'][-1])} ({apart[ratio]['seeds']})" for ratio in ratios]
        lines.append(("difference, attacked, 95 % (seeds)", "", *cells))
    return _table(("", "original", *(f"{ratio:g}x" for ratio in ratios)), lines)


def compression_cost(results: Path) -> str:
    """What one image costs after compression: time, peak memory of inference, size of the file; means over seeds."""
    lines = []
    for data, name in _DATA_SETS.items():
        document = _record(results, f"cstar_{data}")
        for method, label in (("cstar", "CSTAR"), ("channels-admm", "channel pruning")):
            rows = [row for row in document["results"] if row["method"] == method]
            for ratio, chosen in _grouped(sorted(rows, key=lambda row: row["ratio"]), "ratio"):
                peaks = [row["memory_bytes"]["1"] for row in chosen if row.get("memory_bytes")]
                memory = " to ".join(f"{each / 1e6:.1f}" for each in np.mean(peaks, 0)) if peaks else "-"
                speed = np.mean([row["speedup"] for row in chosen])
                size = np.mean([row["bytes"] for row in chosen]) / 1e6
                lines.append((f"{name}: {label}", f"{ratio:g}x", f"{speed:.2f}", memory, f"{size:.2f}"))
    return _table(("", "ratio", "times as fast, one image", "peak MB, one image", "file, MB"), lines)


def path(results: Path) -> str:
    """How much less a path takes than cold solves."""
    document = _record(results, "path")
    lines = [
        (case["case"], f"{case['cold_cpu']:.2f}", f"{case['warm_cpu']:.2f}", f"{case['cpu_ratio']:.1f}")
        for case in document["cases"]
    ]
    return _table(("20 values of beta, wdbc", "solves from zero, s", "path, s", "times less (target 3)"), lines)


TABLES: dict[str, Callable[[Path], str]] = {
    "polynomial": polynomial,
    "relu": relu,
    "robustness": robustness,
    "heads": heads,
    "heads-cifar": heads_cifar10,
    "heads-against": heads_against,
    "compression": compression,
    "compression-cost": compression_cost,
    "path": path,
}


def _record(results: Path, name: str) -> Document:
    return json.loads((results / f"{name}.json").read_text("utf-8"))


def _origin(document: Document, name: str) -> str:
    """Where the figures of a table are from, in a line."""
    machine = document["hardware"]
    single = {row["row"] for row in document["results"] if row.get("threads") == 1 != machine["threads"]}
    alone = f" ({', '.join(sorted(single))}: 1)" if single else ""
    threads = f"{machine['threads']} of {machine['cores']} cores{alone}"
    return f"{document['date'][:10]}, {threads}, `benchmarks/results/{name}.json`."


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)


def _grouped(rows: list[Document], key: str) -> Iterator[tuple[Any, list[Document]]]:
    for name in dict.fromkeys(row[key] for row in rows):
        yield name, [row for row in rows if row[key] == name]


def _accuracies(rows: list[Document], method: str, ratio: float) -> str:
    chosen = [row for row in rows if (row["method"], row["ratio"]) == (method, ratio)]
    return f"{np.mean([row['clean'] for row in chosen]):.1f} / {np.mean([row['worst'][-1] for row in chosen]):.1f}"


def _pair(row: Document) -> str:
    return f"{row['clean']:.1f} / {row['worst'][-1]:.1f}"


def _apart(pair: list[float]) -> str:
    return f"{pair[0]:+.1f} ± {pair[1]:.1f}"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _missed(reached: bool) -> str:
    return "" if reached else " -"


def _power(gap: float | None) -> str:
    return "-" if gap is None else f"{gap:.0e}".replace("e-0", "e-")
