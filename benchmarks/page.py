"""The page of results: ``python -m benchmarks.page`` writes ``docs/results.md`` from the records in ``results/``.

Every record is shown by the ``report`` of the module that made it, as it was printed; a record without one as a plain table.
The tables that other pages mark (`benchmarks.tables`) are made again too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks import record, tables
from convexadv._atomic import atomic_write
from convexadv.cli.output import table

NAME = "benchmarks.page"
ROOT = record.RESULTS.parents[1]
PAGE = ROOT / "docs" / "results.md"
MARKED = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("robust-heads", "compression", "model-selection")),
)
"""Pages with tables of `benchmarks.tables`."""
EXPECTED = {
    "race_table": "Races on fixed problems",
    "features10": "Ten classes, 50,000 rows of 512 features",
    "growth": "Growth",
    "oracle": "The worst-case evaluation and its matrix products",
    "speed_polynomial": "Certified robust training of polynomial networks",
    "speed_relu": "ReLU and gated ReLU networks",
    "relu_real_data": "ReLU and gated ReLU networks on real data",
    "path": "Warm-started paths",
    "speed_margins": "Exact margins",
    "uci_robustness": "Standard against robust training",
    "relu_robustness": "The same for ReLU networks",
    "tightness": "Certified against attacked accuracy",
    "heads_cifar10": "Heads on a deep network, CIFAR-10",
    "heads_fashion_mnist": "The same, Fashion-MNIST",
    "masking_cifar10": "Are the attacks on heads fooled?",
    "head_ablations_fashion_mnist": "Settings of heads, one at a time, Fashion-MNIST",
    "cstar_cifar10": "Compression of a robust network, CIFAR-10",
    "cstar_fashion_mnist": "The same, Fashion-MNIST",
    "fuzz_robustness": "Bounds against attacks, random cases",
    "fuzz": "Random hostile cases for every part",
    "attack_strength": "Attacks against foolbox",
}
"""Title of every record that the page is to have, in its order; others follow under the name of their file."""
_INTRODUCTION = """# Results

Made by `python -m benchmarks.page` from the records in `benchmarks/results`; not edited by hand. Every section names its
command, date, commit and machine. Absolute times hold for that machine only; what the commands do, and on which data, is
said in [benchmarks/README.md](../benchmarks/README.md).
"""


def main() -> int:
    arguments = _arguments()
    pages = {arguments.out: render(arguments.results, arguments.out.parent)}
    if arguments.out == PAGE and arguments.results == record.RESULTS:
        pages |= {path: tables.filled(path.read_text("utf-8"), record.RESULTS) for path in MARKED}
    for path, text in pages.items():
        with atomic_write(str(path), "w") as file:
            file.write(text)
        print(f"Written to {path}.")
    return 0


def render(results: Path, beside: Path) -> str:
    """The page as Markdown.

    Parameters
    ----------
    results : Path
        Folder of the records and figures.
    beside : Path
        Folder of the page, from which links start.
    """
    names = [*EXPECTED, *sorted({path.stem for path in results.glob("*.json")} - set(EXPECTED))]
    return "\n".join([_INTRODUCTION, *(_section(name, results, beside) for name in names)])


def _section(name: str, results: Path, beside: Path) -> str:
    title, path = EXPECTED.get(name, name.replace("_", " ").capitalize()), results / f"{name}.json"
    if not path.exists():
        return f"## {title}\n\nMissing: there is no `{path.name}` yet.\n"
    document = json.loads(path.read_text("utf-8"))
    parts = [f"## {title}", f"    {document['command']}", _origin(document)]
    parts += [f"```text\n{_body(document)}\n```"]
    parts += [document["note"]] if document.get("note") else []
    figures = [results / f"{name}.png"] if name != "race_table" else sorted(results.glob("race-*.png"))
    parts += [f"![{figure.stem}]({os.path.relpath(figure, beside)})" for figure in figures if figure.exists()]
    return "\n\n".join(parts) + "\n"


def _origin(document: dict[str, Any]) -> str:
    """Date, commit and machine; those of the rows where they ran at several times."""
    lines = record.heading(document).splitlines()
    runs = [row["run"] for row in document.get("results", ()) if isinstance(row, dict) and "run" in row]
    dates = sorted({run["date"] for run in runs})
    if len(dates) > 1:
        commits = ", ".join(dict.fromkeys(run["commit"] for run in runs))
        lines.append(f"Rows of {dates[0]} to {dates[-1]}, commits {commits}.")
    cards = sorted(
        {row[key] for row in document.get("results", ()) for key in ("card", "device") if _is_card(row.get(key))}
    )
    return "\n".join(f"- {line}" for line in [*lines, *(f"GPU: {card}" for card in cards)])


def _is_card(value: Any) -> bool:
    return isinstance(value, str) and value not in ("cpu", "cuda")


def _body(document: dict[str, Any]) -> str:
    """The report of the module that wrote the document."""
    words = shlex.split(document["command"])
    module = words[words.index("-m") + 1] if "-m" in words else ""
    if module.startswith("benchmarks."):
        report = getattr(importlib.import_module(module), "report", None)
        if report is not None:
            return report(document).rstrip()
    return plain(document)


def plain(document: dict[str, Any]) -> str:
    """The rows of a document, columns for all that are numbers or words."""
    lists = [value for value in document.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if not lists:
        return json.dumps(
            {key: value for key, value in document.items() if key not in ("versions", "hardware")}, indent=1
        )
    rows = lists[0]
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if not _nested(rows, key)]
    return table(columns, [[_cell(row.get(column)) for column in columns] for row in rows])


def _nested(rows: list[dict[str, Any]], key: str) -> bool:
    return any(isinstance(row.get(key), dict | list) for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder of the records")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page (default: docs/results.md)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
