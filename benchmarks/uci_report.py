"""Means, paired differences with intervals, tables and the figure of the robustness benchmark."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.uci_fits import CRITERIA, SIZES
from convexadv.cli.output import table

LEVEL = 0.95
_CRITERION = {
    "size": "PGD accuracy on the validation rows at the size of the line",
    "mean": "mean PGD accuracy on the validation rows over all linf sizes",
    "clean": "clean accuracy on the validation rows",
}
_COMPARED = {"clean": "clean", "pgd": "PGD", "certified": "certified", "l2": "l2"}

_LEGEND = (
    "Accuracies on the test rows in %, means over the splits. Differences are paired, in points, with the 95 % corrected "
    "resampled t interval, which allows for the rows that splits share; * marks an interval without 0 (no correction for "
    "the number of comparisons). FGSM and PGD (linf) bound the accuracy under the worst linf perturbation from above{lower}. "
    "Sizes in brackets: neither network beats the most frequent class there."
)
_LOWER = {
    "certified": ", certified from below (diagonal multipliers; ReLU networks: linear bounds, branch and bound)",
    "l2": "; l2 is the exact accuracy under the worst l2 perturbation of the size beside it",
}


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


def summarise(
    name: str, splits: list[dict[str, Any]], metrics: tuple[str, ...], pairs: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    """Means of every training, and differences of the pairs (first less second), for every criterion."""
    rows, trainings = splits[0]["rows"], list(splits[0]["trainings"])
    return {
        "seeds": [each["seed"] for each in splits],
        "rows": dict(zip(("train", "validation", "test"), rows, strict=True)),
        "linf_sizes": SIZES[name].linf,
        "l2_sizes": SIZES[name].l2,
        "unit_in_deviations": float(np.median([each["unit_in_deviations"] for each in splits])),
        "majority": round(float(np.mean([each["majority"] for each in splits])) / rows[2], 4),
        "fits": {training: _fits(splits, training) for training in trainings},
        "criteria": {criterion: _criterion(splits, criterion, metrics, pairs) for criterion in CRITERIA},
    }


def _criterion(
    splits: list[dict[str, Any]], criterion: str, metrics: tuple[str, ...], pairs: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    train, _, test = splits[0]["rows"]
    chosen = {
        name: [each["trainings"][name]["chosen"][criterion] for each in splits] for name in splits[0]["trainings"]
    }
    correct = {
        name: {metric: np.array([each[metric] for each in parts]) for metric in metrics}
        for name, parts in chosen.items()
    }
    return {
        "means": {
            name: {metric: (array.mean(0) / test).round(4) for metric, array in arrays.items()}
            for name, arrays in correct.items()
        },
        "differences": {
            _pair(first, second): {
                metric: _differences((correct[first][metric] - correct[second][metric]) / test, test / train)
                for metric in metrics
            }
            for first, second in pairs
        },
        "chosen": {name: _choices(parts) for name, parts in chosen.items()},
        "correct_rows": correct,
    }


def _pair(first: str, second: str) -> str:
    return f"{first} - {second}"


def _differences(values: np.ndarray, test_to_train: float) -> list[tuple[float, float]]:
    """Mean and half width of the interval at every size."""
    pairs = (interval(column, test_to_train) for column in values.T)
    return [(round(mean, 5), round(half, 5)) for mean, half in pairs]


def _choices(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """How often each setting was chosen, the median of the neurons, and the share of certified networks."""
    settings = [each for part in parts for each in part["settings"]]
    tallies = {key: _tally(np.array([each[key] for each in settings])) for key in settings[0]}
    return tallies | {
        "neurons": float(np.median([part["neurons"] for part in parts])),
        "certified": round(float(np.mean([part["certified_fit"] for part in parts])), 4),
    }


def _fits(splits: list[dict[str, Any]], training: str) -> dict[str, Any]:
    parts = [each["trainings"][training] for each in splits]
    bounded = parts[0]["worst_gap"] is not None
    return {
        "fits": sum(part["fits"] for part in parts),
        "certified": sum(part["certified_fits"] for part in parts),
        "worst_gap": max(part["worst_gap"] for part in parts) if bounded else None,
        "seconds": round(sum(part["seconds"] for part in parts), 1),
        "gates": {
            radius: np.mean([part["gates"][radius] for part in parts], 0).round(1) for radius in parts[0]["gates"]
        },
    }


def _tally(values: np.ndarray) -> dict[str, int]:
    kinds, counts = np.unique(values, return_counts=True)
    return {f"{kind:g}": int(count) for kind, count in zip(kinds, counts, strict=True)}


def legend(metrics: tuple[str, ...]) -> str:
    """What the columns of the tables mean."""
    lower = "".join(words for metric, words in _LOWER.items() if metric in metrics)
    return textwrap.fill(_LEGEND.format(lower=lower), 118)


def text(name: str, summary: dict[str, Any], pairs: tuple[tuple[str, str], ...]) -> str:
    """The tables of a data set and its sentences."""
    rows = ", ".join(f"{count} {part}" for part, count in summary["rows"].items())
    lines = [
        f"\n=== {name}: {len(summary['seeds'])} splits ({rows} rows); one unit of size is "
        f"{summary['unit_in_deviations']:.1f} standard deviations of a feature; "
        f"the most frequent class has {100 * summary['majority']:.1f} % of the test rows"
    ]
    lines += [_cost(training, fits) for training, fits in summary["fits"].items()]
    for criterion in CRITERIA:
        chosen = summary["criteria"][criterion]["chosen"]
        lines.append(f"\n--- {name}, everything chosen by {_CRITERION[criterion]}")
        lines += [_choice(training, chosen[training]) for training in chosen]
        for first, second in pairs:
            lines += [f"\n{second} | {first}", _table(summary, criterion, first, second)]
            lines.append(sentence(name, summary, criterion, first, second))
    return "\n".join(lines)


def overview(document: dict[str, Any], pairs: tuple[tuple[str, str], ...]) -> str:
    """Differences of the pairs on every data set, for every criterion: a line each, in points."""
    metrics = ("pgd", "certified", "l2", "clean")
    lines = []
    for name, summary in document["data"].items():
        for criterion, part in summary["criteria"].items():
            for first, second in pairs:
                differences = part["differences"].get(_pair(first, second))
                if differences is not None:
                    cells = [_counts(differences[metric]) if metric in differences else "-" for metric in metrics]
                    lines.append([name, criterion, f"{first} - {second}", *cells])
    header = ("data", "chosen by", "difference", *(f"{_COMPARED[metric]}: least, most" for metric in metrics))
    words = "Over all sizes; in brackets how many sizes have an interval above 0 (+) and below 0 (-)."
    return f"{table(header, lines)}\n\n{words}"


def _counts(differences: list[tuple[float, float]]) -> str:
    better, worse = (sum(sign * mean > half for mean, half in differences) for sign in (1, -1))
    means = [100 * mean for mean, _ in differences]
    marks = " ".join([f"{better}+"] * bool(better) + [f"{worse}-"] * bool(worse))
    return f"{min(means):+.1f}, {max(means):+.1f} [{marks or '0'}]"


def _cost(training: str, fits: dict[str, Any]) -> str:
    """How many networks, what is known about their optimality, the time, and the gates that the radius kills."""
    if fits["worst_gap"] is None:
        line = f"    {training}: {fits['fits']} networks without a bound"
    else:
        line = f"    {training}: {fits['certified']} of {fits['fits']} networks certified, worst gap {fits['worst_gap']:.1e}"
    line += f", {fits['seconds']:g} s"
    if fits["gates"]:
        dead = (f"{dead:g} of {every:g} at radius {radius}" for radius, (dead, every) in fits["gates"].items())
        line += f"; dead gates: {', '.join(dead)}"
    return line


def _choice(training: str, chosen: dict[str, Any]) -> str:
    """Which settings were chosen most often, and what the chosen networks are."""

    def share(key: str) -> str:
        counts = chosen[key]
        best = max(counts, key=counts.get)
        return f"{key} {best} ({counts[best] / sum(counts.values()):.0%})"

    settings = ", ".join(share(key) for key in chosen if isinstance(chosen[key], dict))
    return (
        f"    {training}: most often {settings}; median of {chosen['neurons']:g} neurons; "
        f"{chosen['certified']:.0%} of the chosen certified"
    )


def _table(summary: dict[str, Any], criterion: str, first: str, second: str) -> str:
    part = summary["criteria"][criterion]
    means, differences = [part["means"][name] for name in (second, first)], part["differences"][_pair(first, second)]
    count = len(summary["linf_sizes"])

    def both(metric: str) -> list[str]:
        return [" | ".join(f"{100 * each[metric][k]:5.1f}" for each in means) for k in range(count)]

    def sizes(metric: str) -> list[str]:
        texts = (f"{size:g}" for size in _sizes(summary, metric))
        best = (max(each[metric][k] for each in means) for k in range(count))
        return [f"({text})" if top <= summary["majority"] else text for text, top in zip(texts, best, strict=True)]

    def points(metric: str) -> list[str]:
        return [_points(*pair) for pair in differences[metric]]

    columns = [("linf", sizes("pgd")), ("clean", both("clean")), ("FGSM", both("fgsm"))]
    columns += [("PGD", both("pgd")), ("difference", points("pgd"))]
    if "certified" in differences:
        columns += [("certified", both("certified")), ("difference", points("certified"))]
    if "l2" in differences:
        columns += [("l2", sizes("l2")), ("exact", both("l2")), ("difference", points("l2"))]
    header, cells = zip(*columns, strict=True)
    return table(header, list(zip(*cells, strict=True)))


def _sizes(summary: dict[str, Any], metric: str) -> tuple[float, ...]:
    return summary["l2_sizes" if metric == "l2" else "linf_sizes"]


def _points(mean: float, half: float) -> str:
    mark = "*" if abs(mean) > half else " "
    return f"{100 * mean:+.1f} [{100 * (mean - half):+.1f}, {100 * (mean + half):+.1f}]{mark}"


def sentence(name: str, summary: dict[str, Any], criterion: str, first: str, second: str) -> str:
    """What the numbers say about the claim that the first training beats the second."""
    part = summary["criteria"][criterion]
    differences = part["differences"][_pair(first, second)]
    words = [
        _verdict(_COMPARED[metric], differences[metric], _sizes(summary, metric))
        for metric in ("pgd", "certified", "l2")
        if metric in differences
    ]
    clean = differences["clean"]
    if len({tuple(each) for each in clean}) == 1:
        words.append(f"clean {_points(*clean[0]).strip()} points")
    else:
        words.append(_verdict("clean (of the networks chosen for these sizes)", clean, summary["linf_sizes"]))
    means = [part["means"][each]["pgd"] for each in (first, second)]
    useless = [
        size for size, *pair in zip(summary["linf_sizes"], *means, strict=True) if max(pair) <= summary["majority"]
    ]
    if useless:
        words.append(f"at {_list(useless)} neither beats the most frequent class under PGD")
    return f"{name}, chosen by {criterion}, {first} against {second}: {'; '.join(words)}."


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

    drawing = Figure(figsize=(3.4 * len(summaries), 5.4), layout="constrained", dpi=80)
    FigureCanvasAgg(drawing)
    panels = drawing.subplots(2, len(summaries), squeeze=False, sharex="col", sharey=True)
    for row, criterion in zip(panels, ("mean", "clean"), strict=True):
        for ax, (name, summary) in zip(row, summaries.items(), strict=True):
            for number, (training, means) in enumerate(summary["criteria"][criterion]["means"].items()):
                sizes, style = [0.0, *summary["linf_sizes"]], {"color": CYCLE[number], "marker": MARKERS[number]}
                ax.plot(sizes, [means["clean"][0], *means["pgd"]], label=f"{training}, PGD", **style)
                if "certified" in means:
                    certified = [means["clean"][0], *means["certified"]]
                    ax.plot(sizes, certified, "--", label=f"{training}, certified", markerfacecolor="white", **style)
            ax.axhline(summary["majority"], color="0.5", linewidth=1.0, linestyle=":", label="most frequent class")
            ax.set_title(f"{name}\nchosen by {'mean PGD' if criterion == 'mean' else 'clean'} accuracy", fontsize=9)
            ax.set_ylim(0.0, 1.0)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
            tidy(ax)
        row[0].set_ylabel("accuracy on the test rows")
    for ax in panels[-1]:
        ax.set_xlabel("linf size, in the units of the scaled rows", fontsize=9)
    handles = panels[-1][0].get_legend_handles_labels()
    drawing.legend(*handles, fontsize=8, loc="outside lower center", ncols=5, frameon=False)
    drawing.savefig(path)
