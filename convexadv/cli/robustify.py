"""``convexadv robustify``: a certified robust head for a trained model; head, whole model and report as files."""

from __future__ import annotations

import argparse
import json
from typing import Any

from safetensors.torch import save as to_bytes

from .._atomic import atomic_write, write_json
from .._version import __version__
from ..files import save
from ..heads import Robustified, robustify
from .exit_codes import ExitCode
from .output import say_report
from .torch_models import prepared


def run(arguments: argparse.Namespace) -> ExitCode:
    """Make a head for the model that the arguments name."""
    targets = {f"--{name.replace('_', '-')}": getattr(arguments, name) for name in ("out", "out_model", "report")}
    model, X, y = prepared(arguments, targets)
    made = robustify(model, (X, y), arguments.head, arguments.at, **_settings(arguments))
    report = _write(arguments, made)
    say_report(report, str(made.report), arguments.json)
    return ExitCode.OK if made.solution.status.ok else ExitCode.NOT_CERTIFIED


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    single = {name: _one(getattr(arguments, name)) for name in ("radius", "beta")}
    return {
        **single,
        "n_gates": None if arguments.gates is None else _one(arguments.gates),
        "gate_kind": arguments.gate_kind,
        "ball": arguments.ball,
        "scaling": None if arguments.scaling == "none" else arguments.scaling,
        "loss": arguments.loss,
        "multiclass": arguments.multiclass,
        "rows": arguments.rows,
        "extra": "attacked" if arguments.extra_attacked else None,
        "validation": arguments.validation or None,
        "attack_radius": arguments.attack_radius,
        "attack_norm": arguments.attack_norm,
        "attack_method": arguments.method,
        "attack_steps": arguments.steps,
        "attack_restarts": arguments.restarts,
        "bounds": None if arguments.bounds is None else tuple(arguments.bounds),
        "batch_size": arguments.batch_size,
        "cache": arguments.cache,
        "tol": arguments.tol,
        "time_limit": arguments.time_limit,
        "device": arguments.device,
        "random_state": arguments.seed,
    }


def _one(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _write(arguments: argparse.Namespace, made: Robustified) -> dict[str, Any]:
    """The files, and the report with their names."""
    files = {"head": arguments.out, "model": arguments.out_model, "report": arguments.report}
    report = {"version": __version__, **made.report.to_dict(), "files": files}
    about = {"model": arguments.model, "weights": arguments.weights, "data": arguments.data}
    save(made.head, arguments.out, **about, **made.report.to_dict())
    if arguments.out_model is not None:
        tap = made.model.backbone.tap
        header = {
            "convexadv-headed": json.dumps({"version": __version__, "tap": str(tap), "at": arguments.at, **about})
        }
        state = {name: value.detach().cpu().contiguous() for name, value in made.model.state_dict().items()}
        with atomic_write(arguments.out_model, "wb") as file:
            file.write(to_bytes(state, header))
    if arguments.report is not None:
        write_json(arguments.report, report)
    return report
