"""ReLU networks: convex training, robust or not, against adversarial training: ``python -m benchmarks.relu_robustness``.

On every split each training chooses its settings (beta and radius; PGD adversarial training also its learning rate and
number of epochs) on the validation rows, by the same criterion; the tables compare the chosen networks on the test rows.
Rows, splits, attacks and sizes are those of :mod:`benchmarks.uci_robustness`, whose robust polynomial networks are shown
for orientation.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from benchmarks import uci_fits, uci_report, uci_robustness, uci_sweep
from benchmarks.adversarial_training import AdversarialTraining
from benchmarks.uci_trainings import ConvexTraining, Training

NAME = "benchmarks.relu_robustness"
SPLITS, QUICK_SPLITS = 10, 2
PAIRS = (("robust", "standard"), ("robust", "pgd"), ("robust", "polynomial"))
METRICS = ("clean", "fgsm", "pgd", "certified")
_GATES = 50
_RADII = {
    "wdbc": (0.005, 0.01, 0.02, 0.03),
    "breast-cancer-wisconsin": (0.02, 0.04, 0.08, 0.12),
    "ionosphere": (0.005, 0.01, 0.02, 0.03),
}
_BETAS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
_ADVERSARIAL_BETAS = (0.01, 0.001, 0.0001)
_RATES = (0.01, 0.03)


def trainings(data: str) -> dict[str, Training]:
    """The ways of training for a data set; the radii of both robust ReLU trainings are the same."""
    return {
        "standard": ConvexTraining("ReLUProblem", "linf", (0.0,), _BETAS, _GATES),
        "robust": ConvexTraining("ReLUProblem", "linf", _RADII[data], _BETAS, _GATES),
        "pgd": AdversarialTraining(_RADII[data], _ADVERSARIAL_BETAS, _RATES),
        "polynomial": uci_robustness.robust(data, "l2"),
    }


def quick(training: Training) -> Training:
    """The same training with few settings and epochs."""
    changes = {"radii": training.radii[:2], "betas": training.betas[3:5]}
    if isinstance(training, AdversarialTraining):
        changes |= {"betas": training.betas[1:2], "rates": training.rates[-1:], "epochs": 60}
    return replace(training, **changes)


def report(document: dict[str, Any]) -> str:
    """The record as one table."""
    return uci_report.overview(document, PAIRS)


def main() -> int:
    arguments = uci_sweep.parser(NAME, __doc__, time_limit=30.0).parse_args()
    arguments.splits = arguments.splits or (QUICK_SPLITS if arguments.quick else SPLITS)
    compared = {data: trainings(data) for data in uci_fits.SIZES}
    if arguments.quick:
        compared = {data: {name: quick(each) for name, each in named.items()} for data, named in compared.items()}
    return uci_sweep.run(uci_sweep.Comparison(NAME, compared, PAIRS, METRICS), arguments)


if __name__ == "__main__":
    sys.exit(main())
