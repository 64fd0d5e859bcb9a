"""``convexadv compress``: a compact robust model from a trained one; weights and report as files."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import numpy as np

from .._atomic import write_json
from .._json import plain
from .._version import __version__
from ..compression import Compressed, save_factorised
from ..compression.compress import compress
from ..training import Settings, augmentation
from .exit_codes import ExitCode
from .output import say_report
from .torch_models import prepared


def run(arguments: argparse.Namespace) -> ExitCode:
    """Compress the model that the arguments name."""
    targets = {"--out": arguments.out, "--report": arguments.report}
    model, X, y = prepared(arguments, targets)
    made = compress(model, (X, np.unique(y, return_inverse=True)[1]), arguments.ratio, **_settings(arguments))
    report = _write(arguments, made)
    say_report(report, made.report.table(), arguments.json)
    return ExitCode.OK


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("budget", "measure", "method", "keep", "attack", "radius", "latency", "checkpoint", "resume")
    training = Settings(
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        precision=arguments.precision,
        random_state=arguments.seed,
    )
    return {
        **{name: getattr(arguments, name) for name in names},
        "bounds": tuple(arguments.bounds),
        "epochs": tuple(arguments.epochs),
        "settings": training,
        "augment": augmentation(arguments.augment),
    }


def _write(arguments: argparse.Namespace, made: Compressed) -> dict[str, Any]:
    """The files, and the report with their names."""
    about = {"model": arguments.model, "weights": arguments.weights, "data": arguments.data, "method": arguments.method}
    report = {
        "version": __version__,
        **about,
        **plain(asdict(made.report)),
        "history": made.history,
        "files": {"model": arguments.out, "report": arguments.report},
    }
    save_factorised(made.model, arguments.out, **about)
    if arguments.report is not None:
        write_json(arguments.report, report)
    return report
