"""Means, paired differences with intervals, tables and the figure of the robustness benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.uci_fits import CRITERIA, METRICS, SETTINGS
from convexadv.cli.output import table

LEVEL = 0.95
_KEPT = ("radius", "beta", "certified_fit", *METRICS)
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
the size beside it. Sizes in brackets: neither network beats the most frequent class there."""


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
        "seeds": [each["seed"] for each in splits],
        "rows": dict(zip(("train", "validation", "test"), rows, strict=True)),
        "linf_sizes": SETTINGS[name].linf,
        "l2_sizes": SETTINGS[name].l2,
        "unit_in_deviations": float(np.median([each["unit_in_deviations"] for each in splits])),
        "majority": round(float(np.mean([each["majority"] for each in splits])) / rows[2], 4),
        "fits": {training: _fits(splits, training) for training in trainings},
        "criteria": {criterion: _criterion(splits, criterion, trainings) for criterion in CRITERIA},
    }


def _criterion(splits: list[dict[str, Any]], criterion: str, trainings: list[str]) -> dict[str, Any]:
    train, _, test = splits[0]["rows"]
    chosen = {
        name: {key: np.array([each["trainings"][name]["chosen"][criterion][key] for each in splits]) for key in _KEPT}
        for name in trainings
    }
    correct = {name: {metric: arrays[metric] for metric in METRICS} for name, arrays in chosen.items()}
    return {
        "means": {
            name: {metric: (array.mean(0) / test).round(4) for metric, array in arrays.items()}
            for name, arrays in correct.items()
        },
        "differences": {
            name: {
                metric: _differences((array - correct["standard"][metric]) / test, test / train)
                for metric, array in correct[name].items()
            }
            for name in trainings[1:]
        },
        "chosen": {
            name: {"radius": _tally(arrays["radius"]), "beta": _tally(arrays["beta"])}
            | {"certified": round(float(arrays["certified_fit"].mean()), 4)}
            for name, arrays in chosen.items()
        },
        "correct_rows": correct,
    }


def _differences(values: np.ndarray, test_to_train: float) -> list[tuple[float, float]]:
    """Mean and half width of the interval at every size."""
    pairs = (interval(column, test_to_train) for column in values.T)
    return [(round(mean, 5), round(half, 5)) for mean, half in pairs]


def _fits(splits: list[dict[str, Any]], training: str) -> dict[str, Any]:
    parts = [each["trainings"][training] for each in splits]
    return {
        "fits": sum(part["fits"] for part in parts),
        "certified": sum(part["certified_fits"] for part in parts),
        "worst_gap": max(part["worst_gap"] for part in parts),
        "seconds": round(sum(part["seconds"] for part in parts), 1),
    }


def _tally(values: np.ndarray) -> dict[str, int]:
    kinds, counts = np.unique(values, return_counts=True)
    return {f"{kind:g}": int(count) for kind, count in zip(kinds, counts, strict=True)}


def text(name: str, summary: dict[str, Any]) -> str:
    """The tables of a data set and its sentences."""
    rows = ", ".join(f"{count} {part}" for part, count in summary["rows"].items())
    lines = [
        f"\n=== {name}: {len(summary['seeds'])} splits ({rows} rows); one unit of size is "
        f"{summary['unit_in_deviations']:.1f} standard deviations of a feature; "
        f"the most frequent class has {100 * summary['majority']:.1f} % of the test rows"
    ]
    for training, fits in summary["fits"].items():
        lines.append(
            f"    {training}: {fits['certified']} of {fits['fits']} networks certified, "
            f"worst gap {fits['worst_gap']:.1e}, {fits['seconds']:g} s"
        )
    for criterion in CRITERIA:
        for training in summary["criteria"][criterion]["differences"]:
            lines.append(f"\n--- {name}, standard | {training}; beta and radius chosen by {_CRITERION[criterion]}")
            chosen = summary["criteria"][criterion]["chosen"]
            lines += [_choice(each, chosen[each]) for each in ("standard", training)]
            lines += [_table(summary, criterion, training), sentence(name, summary, criterion, training)]
    return "\n".join(lines)


def _choice(training: str, chosen: dict[str, Any]) -> str:
    """Which radius and beta were chosen most often, and how many of the chosen networks are certified."""

    def share(key: str) -> str:
        counts = chosen[key]
        best = max(counts, key=counts.get)
        return f"{key} {best} ({counts[best] / sum(counts.values()):.0%})"

    return f"    {training}: most often {share('radius')}, {share('beta')}; {chosen['certified']:.0%} of the chosen certified"


def _table(summary: dict[str, Any], criterion: str, training: str) -> str:
    part = summary["criteria"][criterion]
    pair, differences = [part["means"][name] for name in ("standard", training)], part["differences"][training]

    def both(metric: str, k: int) -> str:
        return " | ".join(f"{100 * means[metric][k]:5.1f}" for means in pair)

    def size(metric: str, k: int) -> str:
        text = f"{summary['l2_sizes' if metric == 'l2' else 'linf_sizes'][k]:g}"
        return f"({text})" if max(means[metric][k] for means in pair) <= summary["majority"] else text

    header = ["linf", "clean", "FGSM", "PGD", "difference", "certified", "difference", "l2", "exact", "difference"]
    lines = [
        [
            size("pgd", k),
            both("clean", k),
            both("fgsm", k),
            both("pgd", k),
            _points(*differences["pgd"][k]),
            both("certified", k),
            _points(*differences["certified"][k]),
            size("l2", k),
            both("l2", k),
            _points(*differences["l2"][k]),
        ]
        for k in range(len(summary["linf_sizes"]))
    ]
    return table(header, lines)


def _points(mean: float, half: float) -> str:
    mark = "*" if abs(mean) > half else " "
    return f"{100 * mean:+.1f} [{100 * (mean - half):+.1f}, {100 * (mean + half):+.1f}]{mark}"


def sentence(name: str, summary: dict[str, Any], criterion: str, training: str) -> str:
    """What the numbers say about the claim that robust training wins."""
    part = summary["criteria"][criterion]
    differences = part["differences"][training]
    pair = [part["means"][each]["pgd"] for each in ("standard", training)]
    words = [
        _verdict(_COMPARED[metric], differences[metric], summary["l2_sizes" if metric == "l2" else "linf_sizes"])
        for metric in ("pgd", "certified", "l2")
    ]
    clean = differences["clean"]
    if len({tuple(pair) for pair in clean}) == 1:
        words.append(f"clean {_points(*clean[0]).strip()} points")
    else:
        words.append(_verdict("clean (of the networks chosen for these sizes)", clean, summary["linf_sizes"]))
    useless = [
        size for size, *means in zip(summary["linf_sizes"], *pair, strict=True) if max(means) <= summary["majority"]
    ]
    if useless:
        words.append(f"at {_list(useless)} neither beats the most frequent class under PGD")
    return f"{name}, chosen by {criterion}, {training} against standard: {'; '.join(words)}."


def _verdict(meaning: str, differences: list[tuple[float, float]], sizes: tuple[float, ...]) -> str:
    better = [size for size, (mean, half) in zip(sizes, differences, strict=True) if mean > half]
    worse = [size for size, (mean, half) in zip(sizes, differences, strict=True) if -mean > half]
    least, most = min(mean for mean, _ in differences), max(mean for mean, _ in differences)
    undecided = len(sizes) - len(better) - len(worse)
    parts = [f"better at {_list(better)}"] * bool(better) + [f"worse at {_list(worse)}"] * bool(worse)
    parts += [f"undecided at {'all' if undecided == len(sizes) else 'the other'} {undecided}"] * bool(undecided)
    return f"{meaning} {', '.join(parts)} ({100 * least:+.1f} to {100 * most:+.1f} points)"


def _list(sizes: list[float]) -> str:
    return ", ".join(f"{size:g}" for size in sizes)


def figure(summaries: dict[str, dict[str, Any]], path: Path) -> None:
    """Accuracy under PGD and certified against the linf size: a column for each data set, a row for each criterion."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    from convexadv.plotting.style import CYCLE, MARKERS, tidy

    drawing = Figure(figsize=(3.4 * len(summaries), 5.0), layout="constrained", dpi=80)
    FigureCanvasAgg(drawing)
    panels = drawing.subplots(2, len(summaries), squeeze=False, sharex="col", sharey=True)
    for row, criterion in zip(panels, ("mean", "clean"), strict=True):
        for ax, (name, summary) in zip(row, summaries.items(), strict=True):
            for number, (training, means) in enumerate(summary["criteria"][criterion]["means"].items()):
                sizes, style = [0.0, *summary["linf_sizes"]], {"color": CYCLE[number], "marker": MARKERS[number]}
                certified, attacked = ([means["clean"][0], *means[metric]] for metric in ("certified", "pgd"))
                ax.plot(sizes, attacked, label=f"{training}, PGD", **style)
                ax.plot(sizes, certified, "--", label=f"{training}, certified", markerfacecolor="white", **style)
            ax.axhline(summary["majority"], color="0.5", linewidth=1.0, linestyle=":", label="most frequent class")
            ax.set_title(f"{name}\nchosen by {'mean PGD' if criterion == 'mean' else 'clean'} accuracy", fontsize=9)
            ax.set_ylim(0.0, 1.0)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
            tidy(ax)
        row[0].set_ylabel("accuracy on the test rows")
    for ax in panels[-1]:
        ax.set_xlabel("linf size, in the units of the scaled rows", fontsize=9)
    panels[-1][0].legend(fontsize=7, loc="lower left")
    drawing.savefig(path)
