"""Means, paired differences with intervals, tables and the figure of the robustness benchmark."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.uci_fits import CRITERIA, METRICS, SETTINGS
from convexadv.cli.output import table

LEVEL = 0.95
_CRITERION = {
    "size": "PGD accuracy on the validation rows at the size of the line",
    "mean": "mean PGD accuracy on the validation rows over all linf sizes",
    "clean": "clean accuracy on the validation rows",
}
_COMPARED = {"clean": "clean", "pgd": "PGD", "certified": "certified", "l2": "l2"}

LEGEND = """Accuracies on the test rows in %, means over the splits. Differences are paired, in points, with the 95 %
corrected resampled t interval, which allows for the rows that splits share; * marks an interval without 0 (no
correction for the number of comparisons). FGSM and PGD (linf) bound the accuracy under the worst linf perturbation
from above, certified (diagonal multipliers) from below; l2 is the exact accuracy under the worst l2 perturbation of
the size beside it."""


def interval(differences: np.ndarray, test_to_train: float) -> tuple[float, float]:
    """Mean of paired differences over J splits and the half width of its 95 % interval.

    The corrected resampled t interval (Nadeau and Bengio, Machine Learning 52, 2003): the variance of the mean is
    (1/J + n_test/n_train) s^2, because the splits share rows; J - 1 degrees of freedom.
    """
    from scipy.stats import t

    J = len(differences)
    if J < 2:
        return float(differences.mean()), float("nan")
    spread = np.sqrt((1.0 / J + test_to_train) * differences.var(ddof=1))
    return float(differences.mean()), float(t.ppf(0.5 + LEVEL / 2, J - 1) * spread)


def summarise(name: str, splits: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of every training and differences of every robust one to the standard one, for every criterion."""
    rows, trainings = splits[0]["rows"], list(splits[0]["trainings"])
    return {
        "rows": dict(zip(("train", "validation", "test"), rows, strict=True)),
        "linf_sizes": SETTINGS[name].linf,
        "l2_sizes": SETTINGS[name].l2,
        "unit_in_deviations": float(np.median([each["unit_in_deviations"] for each in splits])),
        "fits": {training: _fits(splits, training) for training in trainings},
        "criteria": {criterion: _criterion(splits, criterion, trainings) for criterion in CRITERIA},
        "splits": splits,
    }


def _criterion(splits: list[dict[str, Any]], criterion: str, trainings: list[str]) -> dict[str, Any]:
    train, _, test = splits[0]["rows"]
    chosen = {name: [each["trainings"][name]["chosen"][criterion] for each in splits] for name in trainings}
    values = {
        name: {metric: np.array([fit[metric] for fit in parts]) / test for metric in METRICS}
        for name, parts in chosen.items()
    }
    return {
        "means": {
            name: {metric: array.mean(0).round(4) for metric, array in each.items()} for name, each in values.items()
        },
        "differences": {
            name: {
                metric: [interval(column, test / train) for column in (array - values["standard"][metric]).T]
                for metric, array in values[name].items()
            }
            for name in trainings[1:]
        },
        "chosen": {
            name: {key: _tally([value for fit in parts for value in fit[key]]) for key in ("radius", "beta")}
            | {"certified": float(np.mean([fit["certified_fit"] for fit in parts]))}
            for name, parts in chosen.items()
        },
    }


def _fits(splits: list[dict[str, Any]], training: str) -> dict[str, Any]:
    parts = [each["trainings"][training] for each in splits]
    return {
        "fits": sum(part["fits"] for part in parts),
        "certified": sum(part["certified_fits"] for part in parts),
        "worst_gap": max(part["worst_gap"] for part in parts),
        "seconds": round(sum(part["seconds"] for part in parts), 1),
    }


def _tally(values: list[float]) -> dict[str, int]:
    kinds, counts = np.unique(values, return_counts=True)
    return {f"{kind:g}": int(count) for kind, count in zip(kinds, counts, strict=True)}


def text(name: str, summary: dict[str, Any]) -> str:
    """The tables of a data set and its sentences."""
    rows = ", ".join(f"{count} {part}" for part, count in summary["rows"].items())
    lines = [
        f"\n=== {name}: {len(summary['splits'])} splits ({rows} rows); one unit of size is "
        f"{summary['unit_in_deviations']:.1f} standard deviations of a feature"
    ]
    for training, fits in summary["fits"].items():
        lines.append(
            f"    {training}: {fits['certified']} of {fits['fits']} networks certified, "
            f"worst gap {fits['worst_gap']:.1e}, {fits['seconds']:g} s"
        )
    for criterion in CRITERIA:
        for training in summary["criteria"][criterion]["differences"]:
            lines.append(f"\n--- {name}, standard | {training}; beta and radius chosen by {_CRITERION[criterion]}")
            lines += [_table(summary, criterion, training), sentence(name, summary, criterion, training)]
    return "\n".join(lines)


def _table(summary: dict[str, Any], criterion: str, training: str) -> str:
    part = summary["criteria"][criterion]
    pair, differences = [part["means"][name] for name in ("standard", training)], part["differences"][training]

    def both(metric: str, k: int) -> str:
        return " | ".join(f"{100 * means[metric][k]:5.1f}" for means in pair)

    header = ["linf", "clean", "FGSM", "PGD", "difference", "certified", "difference", "l2", "exact", "difference"]
    lines = [
        [
            f"{size:g}",
            both("clean", k),
            both("fgsm", k),
            both("pgd", k),
            _points(*differences["pgd"][k]),
            both("certified", k),
            _points(*differences["certified"][k]),
            f"{summary['l2_sizes'][k]:g}",
            both("l2", k),
            _points(*differences["l2"][k]),
        ]
        for k, size in enumerate(summary["linf_sizes"])
    ]
    return table(header, lines)


def _points(mean: float, half: float) -> str:
    mark = "*" if abs(mean) > half else " "
    return f"{100 * mean:+.1f} [{100 * (mean - half):+.1f}, {100 * (mean + half):+.1f}]{mark}"


def sentence(name: str, summary: dict[str, Any], criterion: str, training: str) -> str:
    """What the numbers say about the claim that robust training wins."""
    differences = summary["criteria"][criterion]["differences"][training]
    words = [
        _verdict(_COMPARED[metric], differences[metric], summary["l2_sizes" if metric == "l2" else "linf_sizes"])
        for metric in ("pgd", "certified", "l2")
    ]
    clean = differences["clean"]
    if len(set(clean)) == 1:
        words.append(f"clean {_points(*clean[0]).strip()} points")
    else:
        words.append(_verdict("clean (of the networks chosen for these sizes)", clean, summary["linf_sizes"]))
    return f"{name}, chosen by {criterion}, {training} against standard: {'; '.join(words)}."


def _verdict(meaning: str, differences: list[tuple[float, float]], sizes: tuple[float, ...]) -> str:
    better = [size for size, (mean, half) in zip(sizes, differences, strict=True) if mean > half]
    worse = [size for size, (mean, half) in zip(sizes, differences, strict=True) if -mean > half]
    least, most = min(mean for mean, _ in differences), max(mean for mean, _ in differences)
    undecided = len(sizes) - len(better) - len(worse)
    parts = [f"better at {_list(better)}"] * bool(better) + [f"worse at {_list(worse)}"] * bool(worse)
    parts += [f"undecided at {'all' if undecided == len(sizes) else 'the other'} {undecided} sizes"] * bool(undecided)
    return f"{meaning} {', '.join(parts)} ({100 * least:+.1f} to {100 * most:+.1f} points)"


def _list(sizes: list[float]) -> str:
    return ", ".join(f"{size:g}" for size in sizes)


def figure(summaries: dict[str, dict[str, Any]], path: Path, criterion: str = "mean") -> None:
    """Mean accuracy under PGD and certified against the linf size, a panel for each data set."""
    from convexadv.plotting.accuracy import plot_accuracy
    from convexadv.plotting.figure import new_figure, save_figure

    drawing, panels = new_figure(len(summaries), (4.6 * len(summaries), 4.0))
    for ax, (name, summary) in zip(panels, summaries.items(), strict=True):
        curves = {
            training: SimpleNamespace(
                clean=means["clean"][0],
                radii=summary["linf_sizes"],
                attacked=means["pgd"],
                certified=means["certified"],
            )
            for training, means in summary["criteria"][criterion]["means"].items()
        }
        plot_accuracy(curves, ax, "linf size, in the units of the scaled rows")
        ax.set_title(f"{name} ({len(summary['splits'])} splits)")
    panels[0].legend(fontsize="small", loc="lower left")
    save_figure(drawing, path)
