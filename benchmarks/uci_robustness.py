"""Standard against robust training on three UCI data sets: ``python -m benchmarks.uci_robustness``.

On every split beta, and for robust training the radius, are chosen on the validation rows, by the same criterion and from the
same betas; the table compares the chosen networks on the test rows. All sizes are in the units of the rows after scaling
(standardised on the training rows, then divided by the largest norm of a training row).
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks import uci_fits, uci_report, uci_sweep
from benchmarks.uci_trainings import ConvexTraining

NAME = "benchmarks.uci_robustness"
SPLITS, QUICK_SPLITS = 20, 3
STANDARD = ConvexTraining("PolynomialProblem", "l2", (0.0,))
_RADII = {
    "wdbc": {"l2": (0.02, 0.04, 0.08), "linf": (0.005, 0.01, 0.02)},
    "breast-cancer-wisconsin": {"l2": (0.05, 0.1, 0.2), "linf": (0.02, 0.04, 0.06)},
    "ionosphere": {"l2": (0.02, 0.04, 0.08), "linf": (0.005, 0.01, 0.02)},
}
_NORMS = {"robust": "l2", "robust-linf": "linf"}


def robust(data: str, norm: str) -> ConvexTraining:
    """Robust training of polynomial networks for a data set."""
    return ConvexTraining("PolynomialProblem", norm, _RADII[data][norm])


def report(document: dict[str, Any]) -> str:
    """The record as one table; the first records named a difference by its first training alone."""
    for summary in document["data"].values():
        for part in summary["criteria"].values():
            named = {
                name if " - " in name else f"{name} - standard": each for name, each in part["differences"].items()
            }
            part["differences"] = named
    return uci_report.overview(document, tuple((name, "standard") for name in _NORMS))


def main() -> int:
    parser = uci_sweep.parser(NAME, __doc__, time_limit=3.0)
    help_text = "balls of the robust training (l2 or linf)"
    parser.add_argument("--robust", nargs="+", choices=list(_NORMS), default=["robust"], help=help_text)
    arguments = parser.parse_args()
    arguments.splits = arguments.splits or (QUICK_SPLITS if arguments.quick else SPLITS)
    comparison = uci_sweep.Comparison(
        NAME,
        {
            data: {"standard": STANDARD, **{name: robust(data, _NORMS[name]) for name in arguments.robust}}
            for data in uci_fits.SIZES
        },
        tuple((name, "standard") for name in arguments.robust),
        tuple(uci_fits.METRICS),
    )
    return uci_sweep.run(comparison, arguments)


if __name__ == "__main__":
    sys.exit(main())
