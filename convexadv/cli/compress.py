"""``convexadv compress``: a compact robust model from a trained one; weights and report as files."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from .._atomic import write_json
from .._version import __version__
from ..compression import Compressed, save_factorised
from ..compression.compress import compress
from ..training import Settings, augmentation
from .data import check_labels, files_read, read_data
from .exit_codes import ExitCode
from .output import check_targets, say, to_json
from .torch_models import read_model, shaped


def run(arguments: argparse.Namespace) -> ExitCode:
    """Compress the model that the arguments name."""
    targets = {"--out": arguments.out, "--report": arguments.report}
    check_targets(targets, inputs=[*files_read(arguments), *([arguments.weights] if arguments.weights else [])])
    model = read_model(arguments.model, arguments.weights, arguments.settings)
    if arguments.device is not None:
        model = model.to(arguments.device)
    data = read_data(arguments.data, arguments.target)
    check_labels(data.y)
    X = shaped(data.X, arguments.shape, arguments.data)
    made = compress(model, (X, np.unique(data.y, return_inverse=True)[1]), arguments.ratio, **_settings(arguments))
    report = _write(arguments, made)
    if arguments.json:
        say(to_json(report))
    else:
        say(made.report.table())
        for name, path in report["files"].items():
            if path is not None:
                say(f"{name:<11} {path}")
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
        **json.loads(made.report.to_json()),
        "history": made.history,
        "files": {"model": arguments.out, "report": arguments.report},
    }
    save_factorised(made.model, arguments.out, **about)
    if arguments.report is not None:
        write_json(arguments.report, report)
    return report
