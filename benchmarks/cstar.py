"""Compression of a robust network: ``python -m benchmarks.cstar --backbone build/backbones/cifar10-onestep.safetensors``.

CSTAR (low rank, ranks chosen globally) beside the same with uniform ranks and beside channel pruning by magnitude, without
and with ADMM, at several ratios of parameters. Every method starts from the same network of `benchmarks.backbone` and is
trained for the same number of epochs (ADMM and fine-tuning together) by one-step adversarial training; all are attacked on
the same test images. The record is rewritten after every row; with --resume, rows that it has are not run again, and a row
that was interrupted goes on from its checkpoint. Checkpoints lie in build/cstar, which is not committed.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes

import convexadv as ca
from benchmarks import attacked, cstar_report, inference_memory, record
from benchmarks.backbone import augment, load
from benchmarks.cstar_report import report
from convexadv.compression import count, fold_batch_norm, measure_latency
from convexadv.model_files import load_model
from convexadv.training import Images, OneStep, Settings, train

NAME = "benchmarks.cstar"
WORK = Path("build") / "cstar"
METHODS: dict[str, tuple[str, bool]] = {
    "cstar": ("cstar", True),
    "uniform": ("uniform", True),
    "direct": ("cstar", False),
    "channels": ("channels", False),
    "channels-admm": ("channels", True),
    "channels-uniform": ("channels-uniform", False),
    "channels-uniform-admm": ("channels-uniform", True),
}
"""Method of ``convexadv.compress`` and whether ADMM is a part of the training."""
KEPT = {"uniform": ("features.stem", "head")}
"""First and last layer stay dense where every layer has the same share: a head of rank one would make that a straw man."""
LONGER = "longer"
"""The uncompressed network, trained on for as long."""
ATTACKS = ("pgd", "apgd")
_DEFAULT = ["cstar", "uniform", "channels", "channels-admm"]
_SAME = ("data", "images", "rows", "radius_255", "epochs", "learning_rate", "precision", "measure", "backbone")


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    base, facts = load_model(arguments.backbone)
    train_set = load(facts["data"], "train", arguments.rows)
    test = attacked.first_images(load(facts["data"], "test"), arguments.images)
    out = Path(arguments.out) if arguments.out else record.RESULTS / f"cstar_{facts['data']}.json"
    document = _document(arguments, facts, train_set, test)
    if arguments.resume and out.exists():
        document["results"] = _rows_of(out, document)
    print(record.heading(document), flush=True)
    done = {(row["method"], row["ratio"], row["seed"]) for row in document["results"]}
    for method, ratio, seed in _plan(arguments):
        if (method, ratio, seed) in done:
            continue
        print(f"  {method}, {ratio:g}x, seed {seed}", flush=True)
        model, row = _trained(arguments, base, train_set, method, ratio, seed)
        row = {"method": method, "ratio": ratio, "seed": seed} | row | _judged(arguments, base, model, test)
        document["results"].append(row)
        document["comparisons"] = cstar_report.comparisons(document)
        record.write(out, document)
        print("    " + cstar_report.line(row), flush=True)
    print("\n" + report(document))
    cstar_report.draw(document, out.with_suffix(".png"))
    return 0


def _document(arguments: argparse.Namespace, facts: dict[str, Any], rows: Images, test: Images) -> dict[str, Any]:
    keys = ("objective", "radius_255", "seconds", "clean_accuracy", "command", "rows")
    return record.provenance(NAME, arguments.threads) | {
        "data": facts["data"],
        "backbone": {key: facts[key] for key in keys} | {"command": record.without_folders(facts["command"])},
        "images": len(test),
        "rows": len(rows),
        "radius_255": arguments.radius,
        "sizes_255": [arguments.radius / 2, arguments.radius],
        "attacks": list(ATTACKS),
        "epochs": [arguments.epochs_admm, arguments.epochs_tune],
        "learning_rate": arguments.learning_rate,
        "precision": arguments.precision,
        "measure": arguments.measure,
        "results": [],
    }


def _rows_of(path: Path, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an earlier record with the same settings."""
    before = json.loads(path.read_text())
    for name in _SAME:
        if record.without_folders(str(before[name])) != str(document[name]):
            raise SystemExit(f"{path} has another {name} ({before[name]}, not {document[name]}); choose another --out.")
    return list(before["results"])


def _plan(arguments: argparse.Namespace) -> list[tuple[str, float, int]]:
    """The network as it is first, then seeds outermost, so that a table of one seed is complete early."""
    plan = [(cstar_report.BASE, 1.0, 0)]
    for seed in range(arguments.seeds):
        if arguments.longer:
            plan.append((LONGER, 1.0, seed))
        plan += [(method, ratio, seed) for ratio in arguments.ratios for method in arguments.methods]
    return plan


def _trained(
    arguments: argparse.Namespace, base: torch.nn.Module, images: Images, method: str, ratio: float, seed: int
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The network of a row and how it came about."""
    if method == cstar_report.BASE:
        return base, {"seconds": 0.0}
    started, total = time.perf_counter(), arguments.epochs_admm + arguments.epochs_tune
    settings = Settings(
        epochs=total,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        precision=arguments.precision,
        random_state=seed,
    )
    data = Path(arguments.out or arguments.backbone).stem
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{data}-{method}-{ratio:g}-{seed}"
    if not arguments.resume:
        for old in WORK.glob(f"{path.name}.*"):
            old.unlink()
    common: dict[str, Any] = {"settings": settings, "augment": augment(_data_of(arguments)), "resume": True}
    objective = OneStep(arguments.radius / 255)
    if method == LONGER:
        model = copy.deepcopy(base)
        history = train(model, images, objective, checkpoint=f"{path}.tune", callback=_say, **common)
        return model, {"seconds": time.perf_counter() - started, "history": {"tune": history}}
    name, admm = METHODS[method]
    made = ca.compress(
        base,
        images,
        ratio,
        measure=arguments.measure,
        attack=objective,
        epochs=(arguments.epochs_admm, arguments.epochs_tune) if admm else (0, total),
        method=name,
        keep=KEPT.get(method, ()),
        checkpoint=path,
        callback=lambda stage, entry: _say(entry, stage),
        **common,
    )
    report = json.loads(made.report.to_json())
    return made.model, {"seconds": time.perf_counter() - started, "history": made.history, "layers": report["layers"]}


def _judged(
    arguments: argparse.Namespace, base: torch.nn.Module, model: torch.nn.Module, test: Images
) -> dict[str, Any]:
    """Accuracies, sizes, latency and peak memory of a network."""
    sizes = [arguments.radius / 2, arguments.radius]
    found = attacked.survivors(model, test, sizes, ATTACKS, say=lambda line: print(line, flush=True))
    shape = tuple(test.x.shape[1:])
    counted = count(model, shape)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    pair = {name: _for_inference(each) for name, each in (("original", base), ("this", model))}
    times = measure_latency(pair, test.x[:1].clone(), repeats=arguments.repeats, threads=arguments.threads)
    memory = {} if arguments.no_memory else {"memory_bytes": _memory(pair, shape, arguments.threads)}
    return attacked.accuracies(found) | {
        "parameters": counted.parameters,
        "flops": counted.flops,
        "bytes": len(to_bytes(state)),
        "latency_ms": [1e3 * times.median("original"), 1e3 * times.median("this")],
        "speedup": times.speedup("this", "original"),
        "right": {name: cstar_report.packed(found[name]) for name in ("clean", "worst")},
        **memory,
    }


def _memory(pair: dict[str, torch.nn.Module], shape: tuple[int, ...], threads: int) -> dict[str, Any]:
    """Peak of the original and of this network by the size of the batch, or why there is none."""
    found = inference_memory.measure(pair, shape, threads=threads)
    if "message" in found:
        print(f"    no peak memory: {found['message']}", flush=True)
        return found
    return {size: [peaks["original"], peaks["this"]] for size, peaks in found.items()}


def _for_inference(model: torch.nn.Module) -> torch.nn.Module:
    """A copy with folded batch norms, in one layout."""
    return fold_batch_norm(copy.deepcopy(model).eval().to(memory_format=torch.contiguous_format))


def _data_of(arguments: argparse.Namespace) -> str:
    return str(load_model(arguments.backbone)[1]["data"])


def _say(entry: dict[str, float], stage: str = "tune") -> None:
    print(f"    {stage} " + "  ".join(f"{name} {value:.4g}" for name, value in entry.items()), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--backbone", required=True, help="file of benchmarks.backbone, trained adversarially")
    parser.add_argument("--ratios", nargs="+", type=float, default=[2.0, 4.0, 8.0, 16.0])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=_DEFAULT)
    parser.add_argument("--longer", action="store_true", help="also the uncompressed network, trained on for as long")
    parser.add_argument("--measure", choices=("parameters", "flops"), default="parameters")
    parser.add_argument("--epochs-admm", type=int, default=2)
    parser.add_argument("--epochs-tune", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--rows", type=int, default=None, help="the first training images only")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--radius", type=float, default=8.0, help="of training and attacks, in 255ths (default: 8)")
    parser.add_argument("--images", type=int, default=1000, help="test images, equally many of each class (0: all)")
    parser.add_argument("--repeats", type=int, default=100, help="rounds of the latency")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory of inference out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help="the record (default: results/cstar_DATA.json)")
    parser.add_argument("--resume", action="store_true", help="go on with the record and the checkpoints")
    parser.add_argument("--quick", action="store_true", help="4x, few images; recorded in build/cstar/quick.json")
    arguments = parser.parse_args()
    arguments.images = arguments.images or None
    if arguments.quick:
        arguments.ratios, arguments.rows, arguments.images, arguments.seeds = [4.0], 1000, 200, 1
        arguments.epochs_admm, arguments.epochs_tune = 1, 1
        arguments.out = arguments.out or str(WORK / "quick.json")
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
