"""Attacks against certificates on random and trained networks: ``python -m benchmarks.fuzz_robustness --cases 200000``.

A case is a network, a row, a radius and a norm. For each one the worst-case margin is bounded from below, the row is
certified or not, and the ball is searched: by every attack of the package, by random points, and by attacks of foolbox
where it is installed. A contradiction is

- a point of the ball with a margin below the bound (an exact margin above an attacked one, where the bound is exact),
- a point predicted as another label than that of a certified row,
- a point of an attack outside of the ball (by more than 1e-12 of its radius) or
  outside of the box.

There must be none.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import convexadv as ca
from benchmarks import record
from benchmarks.fuzz_cases import Subject, generator, random_points, random_subject, trained, trained_subjects
from convexadv.errors import InputError
from convexadv.robustness import foolbox_attack

NAME = "benchmarks.fuzz_robustness"
NORMS = ("l2", "linf", "l1")
COUNTED = ("cases", "broken", "certified", "exact", "below_bound", "above_exact", "breaks_certificate", "outside")
CONTRADICTIONS = ("below_bound", "above_exact", "breaks_certificate", "outside")
_STEPS, _RESTARTS, _POINTS, _BRANCHES = 10, 2, 60, 20
_FOOLBOX = 0.3  # of the subjects and norms: it takes one radius at a time
_ORDERS = {"l1": 1, "l2": 2, "linf": np.inf}

Table = dict[tuple[str, str, str], Counter]


def main() -> int:
    arguments = _arguments()
    begin = time.perf_counter()
    networks = [] if arguments.no_trained else trained(arguments.seed)
    table: Table = {}
    progress = tqdm(total=arguments.cases, unit="case", disable=not sys.stderr.isatty())
    cases = 0
    for number, case in enumerate(subjects(arguments.seed, networks)):
        done = examine(table, case, generator(arguments.seed, 2_000_000_011 + number))
        cases += done
        progress.update(done)
        if cases >= arguments.cases:
            break
    progress.close()
    rows = [
        {"kind": kind, "norm": norm, "attack": attack, **{name: counts[name] for name in COUNTED}}
        for (kind, norm, attack), counts in sorted(table.items())
    ]
    document = {
        **record.provenance(NAME, 1),
        "seed": arguments.seed,
        "cases": cases,
        "searches": sum(row["cases"] for row in rows),
        "contradictions": contradictions(table),
        "seconds": round(time.perf_counter() - begin, 1),
        "rows": rows,
    }
    print(record.heading(document), *_lines(rows), "", report(document), sep="\n")
    record.write(arguments.out, document)
    return 1 if document["contradictions"] else 0


def subjects(seed: int, networks: list[tuple[str, Any, np.ndarray]]) -> Iterator[Subject]:
    """Random subjects, and after every third one of the trained networks."""
    others = trained_subjects(seed, networks)
    for number in itertools.count():
        yield random_subject(seed, number)
        if networks and number % 3 == 2:
            yield next(others)


def examine(table: Table, case: Subject, rng: np.random.Generator) -> int:
    """Search the balls of a subject in every norm, add to the table, and count the cases."""
    cases = 0
    for norm in NORMS:
        arguments = (case.network, case.X, case.y, case.radius, norm)
        complete = case.X.shape[1] < 10 and rng.random() < 0.3
        found = _bounds(arguments, {"complete": True, "max_branches": _BRANCHES} if complete else {})
        if found is None:
            continue
        worst, certificate = found
        cases += len(case.X)
        for name, points, bounds in _searches(case, norm, worst, rng):
            counts = table.setdefault((case.kind, norm, name), Counter())
            counts.update(_judged(case, norm, worst, certificate, points, bounds))
    return cases


def _bounds(arguments: tuple[Any, ...], search: dict[str, Any]) -> tuple[Any, Any] | None:
    """Worst-case margins and certificates; None if none are known of such networks in this norm."""
    try:
        return ca.worst_case_margin(*arguments, **search), ca.certify(*arguments, **search)
    except InputError as error:
        if "norm must be" in str(error):
            return None
        if search and "complete=True was given" in str(error):  # linear bounds, or another relaxation, are all there is
            return _bounds(arguments, {})
        raise


def _searches(case: Subject, norm: str, worst: Any, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, Any]]:
    """The points (k, n, d) of every search and the box that they keep to."""
    arguments, bounds = (case.network, case.X, case.y, case.radius, norm), case.bounds
    options = {"bounds": bounds, "steps": _STEPS, "restarts": _RESTARTS, "random_state": int(rng.integers(2**31))}
    for name in ("fgsm", "pgd", "apgd"):
        yield name, ca.attack(*arguments, method=name, **options).points[None], bounds
    classes = len(case.network.classes)
    if classes > 2:
        yield "apgd each", ca.attack(*arguments, method="apgd", target="each", **options).points[None], bounds
    if norm == "l2" and bounds is None and isinstance(case.network, ca.PolynomialNetwork):
        yield "exact", ca.attack(*arguments, method="exact").points[None], None
    yield "random points", random_points(rng, case, norm, _POINTS), None
    if worst.point is not None:
        yield "points of the bounds", worst.point[None], None
    if rng.random() < _FOOLBOX and importlib.util.find_spec("foolbox"):
        yield "foolbox PGD", foolbox_attack(*arguments, bounds=bounds).points[None], bounds


def _judged(case: Subject, norm: str, worst: Any, certificate: Any, points: np.ndarray, bounds: Any) -> dict[str, int]:
    """Count what the points of a search show, row by row."""
    k, n, d = points.shape
    flat, y = points.reshape(-1, d), np.tile(case.y, k)
    margins = case.network.margins(flat, y).reshape(k, n).min(0)
    wrong = (case.network.predict(flat) != y).reshape(k, n).any(0)
    delta = np.abs(points.astype(np.longdouble) - case.X)
    length = np.linalg.norm(delta.reshape(-1, d), _ORDERS[norm], axis=1).reshape(k, n)
    outside = (length > case.radius * (1 + 1e-12)).any(0)
    if bounds is not None:
        outside |= ((points < bounds[0]) | (points > bounds[1])).any((0, 2))
    below = margins < worst.lower_bound
    return {
        "cases": n,
        "broken": int(wrong.sum()),
        "certified": int(certificate.certified.sum()),
        "exact": int(worst.exact.sum()),
        "below_bound": int((below & ~worst.exact).sum()),
        "above_exact": int((below & worst.exact).sum()),
        "breaks_certificate": int((wrong & certificate.certified).sum()),
        "outside": int(outside.sum()),
    }


def contradictions(table: Table) -> int:
    """How many there are in a table."""
    return sum(counts[name] for counts in table.values() for name in CONTRADICTIONS)


def report(document: dict[str, Any]) -> str:
    """Sums over the attacks, and over all."""
    sums: dict[tuple[str, str], Counter] = {}
    for row in document["rows"]:
        sums.setdefault((row["kind"], row["norm"]), Counter()).update({name: row[name] for name in COUNTED})
    rows = [{"kind": kind, "norm": norm, "attack": "all", **counts} for (kind, norm), counts in sums.items()]
    total = f"{document['cases']} cases, {document['searches']} searches, {document['contradictions']} contradictions"
    return "\n".join([*_lines(rows), total])


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table as text."""
    names = ["kind", "norm", "attack", *COUNTED]
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[j]) for line in lines) for j in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__.split(":")[0])
    parser.add_argument("--cases", type=int, default=200_000, help="how many cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    parser.add_argument("--no-trained", action="store_true", help="random networks only; needs no data")
    parser.add_argument(
        "--out", type=Path, default=record.RESULTS / "fuzz_robustness.json", help="the record (default: %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
