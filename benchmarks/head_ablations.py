"""What the settings of a head do: ``python -m benchmarks.head_ablations --backbone build/backbones/cifar10-sam.safetensors``.

Radius, beta, number of gates (gated ReLU) and number of rows change one at a time around a base setting of the polynomial
and of the gated ReLU head, on frozen features. Nothing is chosen: every head is judged on the same test images, clean and
under PGD-20. The record is written after every head; ``--resume`` leaves out those that it has.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import convexadv as ca
from benchmarks import apart, attacked, record
from benchmarks.backbone import load
from convexadv.cli.output import table
from convexadv.errors import InputError
from convexadv.model_files import load_model
from convexadv.training import Images

NAME = "benchmarks.head_ablations"
BASE = "as trained"
SETTINGS = ("radius", "beta", "n_gates", "rows")
BASES: dict[str, dict[str, Any]] = {
    "polynomial": {"radius": 0.1, "beta": 0.01, "n_gates": None, "rows": 3000},
    "gated-relu": {"radius": 0.05, "beta": 0.1, "n_gates": 16, "rows": 500},
}
"""Radius and beta as of ``robustify``; rows 0 are all rows. Robust gated heads take long, so that their base has few
rows and gates."""
VALUES: dict[str, dict[str, tuple[float, ...]]] = {
    "polynomial": {
        "radius": (0.0, 0.05, 0.1, 0.2),
        "beta": (0.03, 0.01, 0.003),
        "rows": (1000, 3000, 10000, 0),
    },
    "gated-relu": {
        "radius": (0.0, 0.05, 0.1),
        "beta": (0.3, 0.1, 0.03),
        "n_gates": (8, 16, 32),
        "rows": (250, 500, 1000),
    },
}
QUICK: dict[str, dict[str, tuple[float, ...]]] = {
    "polynomial": {"radius": (0.0, 0.1), "beta": (0.03, 0.01), "rows": (1000, 3000)},
    "gated-relu": {"radius": (0.0, 0.05), "beta": (0.3, 0.1), "n_gates": (8, 16), "rows": (250, 500)},
}
FROZEN: dict[str, Any] = {"scaling": "norm"}
KEYS = ("backbone", "images", "head", *SETTINGS)
_TOL = 1e-3
LABELS = {"radius": "radius", "beta": "beta / largest", "n_gates": "gates", "rows": "training rows"}


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    model, facts = load_model(arguments.backbone)
    data, name = facts["data"], f"{facts['objective']}, {facts['date']}"
    train = load(data, "train")
    test = attacked.first_images(load(data, "test"), arguments.images)

    def key(row: dict[str, Any]) -> tuple:
        return name, len(test), *(row[part] for part in ("head", *SETTINGS))

    out = apart.target(arguments, f"head_ablations_{data}.json")
    if out is not None and (reason := _other(out, arguments)):
        print(reason, file=sys.stderr)
        return 2
    whole = planned(list(BASES), list(SETTINGS), arguments.values)
    ledger = apart.Ledger(
        NAME, arguments.threads, KEYS, [key(row) for row in whole], out, arguments.quick, data=data, images=len(test),
        sizes_255=list(arguments.sizes), seed=arguments.seed,
        parameters=sum(p.numel() for p in model.parameters()),
        backbone={part: facts[part] for part in ("objective", "seconds", "clean_accuracy", "rows")}
        | {"command": record.without_folders(facts["command"])},
    )  # fmt: skip
    print(record.heading(ledger.document), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for row in planned(arguments.heads, arguments.vary, arguments.values):
            if arguments.resume and ledger.done(*key(row)):
                continue
            print("  " + _words(row), flush=True)
            added = ledger.add(key(row), _measured(model, train, test, row, arguments, Path(folder)))
            print("    " + ", ".join(f"{name} {added.get(name)}" for name in ("clean", "pgd", "gap")), flush=True)
    print("\n" + report(ledger.document))
    if out is not None:
        draw(ledger.document, out.with_suffix(".png"))
    return 0


def _other(path: Path, arguments: argparse.Namespace) -> str:
    """Why a record cannot be continued; rows of other backbones and images it drops by itself."""
    old = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name, value in (("sizes_255", list(arguments.sizes)), ("seed", arguments.seed)):
        if old.get("quick") == arguments.quick and old.get(name) != value:
            return (
                f"{path.name} was made with {name} {old[name]}, not {value}; remove it or name another file by --out."
            )
    return ""


def planned(
    heads: list[str], vary: list[str], values: dict[str, dict[str, tuple[float, ...]]] | None = None
) -> list[dict[str, Any]]:
    """The network as trained, then every head once: the base, and one setting at a time changed.

    A base that the values do not have is in the plan nevertheless.
    """
    plan: list[dict[str, Any]] = [{"head": BASE, **dict.fromkeys(SETTINGS)}]
    for head in heads:
        base = {"head": head, **BASES[head]}
        plan.append(base)
        for setting in vary:
            changed = [{**base, setting: value} for value in (values or VALUES)[head].get(setting, ())]
            plan += [row for row in changed if row not in plan]
    return plan


def line(results: list[dict[str, Any]], head: str, setting: str) -> list[dict[str, Any]]:
    """Rows in which only one setting differs from the base, by increasing value; all rows (0) come last."""
    others = [key for key in SETTINGS if key != setting]
    base = BASES[head]
    rows = [row for row in results if row["head"] == head and all(row[key] == base[key] for key in others)]
    rows = [row for row in rows if "clean" in row and row[setting] is not None]
    return sorted(rows, key=lambda row: (setting == "rows" and not row["rows"], row[setting]))


def _measured(
    model: torch.nn.Module,
    train: Images,
    test: Images,
    row: dict[str, Any],
    arguments: argparse.Namespace,
    folder: Path,
) -> dict[str, Any]:
    """One row: accuracies of the whole model in per cent, gap and seconds of the head."""
    found: dict[str, Any] = {"status": "given"}
    judged = model
    if row["head"] != BASE:
        gates = {} if row["n_gates"] is None else {"n_gates": int(row["n_gates"])}
        rows = int(row["rows"]) or None
        try:
            made = ca.robustify(
                model, (train.x.numpy(), train.y.numpy()), head=row["head"], radius=row["radius"], beta=row["beta"],
                rows=rows, validation=None, cache=folder / f"{rows}.npy", tol=_TOL,
                time_limit=arguments.time_limit, random_state=arguments.seed, **gates, **FROZEN,
            )  # fmt: skip
        except InputError as error:
            return apart.failed(str(error))
        judged, sizes, chosen = made.model, made.report.sizes, made.report.chosen
        found = {"status": chosen["status"], "gap": made.report.gap, "solve_seconds": made.report.seconds["solve"]}
        found |= {"neurons": sizes["neurons"], "training_rows": sizes["training_rows"]}
        found["time_limit"] = arguments.time_limit
    print(f"    solved in {found.get('solve_seconds', 0.0):.1f} s", flush=True)
    return found | attacked.accuracies(attacked.survivors(judged, test, arguments.sizes, ("pgd",)))


def report(document: dict[str, Any]) -> str:
    """One table for every head and setting."""
    sizes, results = document["sizes_255"], document["results"]
    names = ["clean", *(f"pgd {size:g}" for size in sizes)]
    heading = ("head", "radius", "beta", "gates", "rows", "neurons", "gap", "solve s", *names)
    rows = [_cells(row) for row in results if row["head"] == BASE and "clean" in row]
    for head in BASES:
        for setting in SETTINGS:
            found = line(results, head, setting)
            if len(found) > 1:
                rows += [["", *[""] * (len(heading) - 1)], *map(_cells, found)]
    backbone = document["backbone"]
    return (
        f"{table(heading, rows)}\n{document['images']} test images, PGD with {attacked.STEPS} steps (linf, 255ths), in %; "
        f"backbone: {backbone['objective']}, {backbone['seconds']:.0f} s of training. Nothing was chosen by these numbers. "
        "beta: share of the smallest beta with the zero network. solve s: the threshold of beta included."
    )


def _cells(row: dict[str, Any]) -> list[str]:
    texts = ["-" if row[key] is None else f"{row[key]:g}" for key in SETTINGS[:3]]
    rows = "-" if row["rows"] is None else str(row.get("training_rows", row["rows"]))
    numbers = [apart.show(row, key, form) for key, form in (("neurons", "d"), ("gap", ".1e"), ("solve_seconds", ".1f"))]
    return [row["head"], *texts, rows, *numbers, f"{row['clean']:.1f}", *(f"{value:.1f}" for value in row["pgd"])]


def _words(row: dict[str, Any]) -> str:
    if row["head"] == BASE:
        return BASE
    settings = [f"{LABELS[key]} {row[key] if row[key] or key != 'rows' else 'all'}" for key in SETTINGS]
    return ", ".join([row["head"], *(text for text in settings if not text.endswith("None"))])


def draw(document: dict[str, Any], path: Path) -> None:
    """Accuracy against each setting, a row of panels for each head; dotted: the network as trained."""
    from matplotlib import pyplot

    heads = [head for head in BASES if any(row["head"] == head for row in document["results"])]
    figure, grid = pyplot.subplots(
        len(heads),
        len(SETTINGS),
        figsize=(11.0, 0.6 + 2.7 * len(heads)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    handles: dict[str, Any] = {}
    for panels, head in zip(grid, heads, strict=True):
        for axes, setting in zip(panels, SETTINGS, strict=True):
            rows = line(document["results"], head, setting)
            if len(rows) > 1:
                handles |= _panel(axes, rows, head, setting, document)
            else:
                axes.set_visible(False)
        panels[0].set_ylabel(f"{head} head\ntest accuracy, %")
        panels[0].set_visible(True)
    figure.legend(handles.values(), handles.keys(), frameon=False, ncols=len(handles), loc="outside lower center")
    figure.suptitle(
        f"Settings of heads on {document['data']}, {document['images']} test images (hollow: gap above {_TOL:g})"
    )
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _panel(axes: Any, rows: list[dict[str, Any]], head: str, setting: str, document: dict[str, Any]) -> dict[str, Any]:
    """One panel; values are equally spaced, the base is bold, heads that are not certified are hollow."""
    from convexadv.plotting.style import CYCLE, MARKERS, tidy

    names = ["clean", *(f"PGD-{attacked.STEPS}, {size:g}/255" for size in document["sizes_255"])]
    given = next((row for row in document["results"] if row["head"] == BASE and "clean" in row), None)
    handles = {}
    for number, name in enumerate(names):
        color = CYCLE[number % len(CYCLE)]
        values = [[row["clean"], *row["pgd"]][number] for row in rows]
        handles[name] = axes.plot(values, color=color, marker=MARKERS[number % len(MARKERS)], markersize=4.5)[0]
        open_ = [k for k, row in enumerate(rows) if row.get("gap", 0.0) > _TOL]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(open_, [values[k] for k in open_], marker, color=color, markerfacecolor="white", markersize=5.5)
        if given is not None:
            level = [given["clean"], *given["pgd"]][number]
            axes.axhline(level, color=color, linestyle=":", linewidth=1.2)
    texts = [f"{row[setting]:g}" if row[setting] or setting != "rows" else "all" for row in rows]
    axes.set_xticks(range(len(rows)), texts)
    for label, row in zip(axes.get_xticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row[setting] == BASES[head][setting] else "normal")
    axes.set_xlabel(LABELS[setting])
    axes.set_ylim(0.0, 100.0)
    tidy(axes)
    return handles


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--backbone", required=True, help="file of benchmarks.backbone")
    parser.add_argument("--heads", nargs="+", choices=sorted(BASES), default=list(BASES))
    parser.add_argument("--vary", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--sizes", nargs="+", type=float, default=[1.0, 2.0, 4.0], help="of the attack, 255ths")
    parser.add_argument("--images", type=int, default=500, help="test images, equally many of each class (0: all)")
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds of a solve")
    parser.add_argument("--seed", type=int, default=0, help="of the rows and the gates")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few values, 100 images, one size; not recorded")
    parser.add_argument("--resume", action="store_true", help="leave out heads that the record has already")
    parser.add_argument(
        "--out", type=Path, help="the record (default: results/head_ablations_DATA.json; none with --quick)"
    )
    arguments = parser.parse_args()
    arguments.values = QUICK if arguments.quick else VALUES
    arguments.images = arguments.images or None
    if arguments.quick:
        arguments.images, arguments.sizes = 100, arguments.sizes[:1]
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
