"""Train a backbone: ``python -m benchmarks.backbone --data cifar10 --objective sam --width 16 --epochs 20 --out FILE``.

Sharpness-aware minimisation ("sam", the baseline of [KLP24]), plain and adversarial training of residual networks on
CIFAR-10, MNIST and Fashion-MNIST. With ``--start FILE`` a trained network is trained on, whole or only ``--parts``: a
few epochs of ``--objective mixed --radius 1`` make the "tuned" network of `benchmarks.heads`. The file holds weights,
architecture and how they came about; beside it lies a checkpoint, from which the same command goes on after an
interrupt, to the same bits. Weights are not committed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from convexadv import datasets
from convexadv.model_files import build, load_model, save_model
from convexadv.models import MODELS, STATISTICS
from convexadv.training import TRADES, Adversarial, Clean, Images, Mixed, OneStep, Settings, augmentation, tune
from convexadv.training.objectives import Objective

SHAPES = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28)}
AUGMENTATIONS = {"cifar10": "shift+mirror", "mnist": "shift", "fashion_mnist": "mirror"}
OBJECTIVES = ("sam", "clean", "onestep", "adversarial", "trades", "mixed")
_SHARPNESS = 0.1


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    images = load(arguments.data, "train", arguments.rows)
    settings = Settings(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        sharpness=_SHARPNESS if arguments.objective == "sam" else 0.0,
        precision=arguments.precision,
        random_state=arguments.seed,
    )
    recipe = architecture(arguments.data, arguments.width, arguments.hidden)
    torch.manual_seed(arguments.seed)
    model = build(arguments.model, **recipe).to(arguments.device)
    start = _started(model, arguments)
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    model, history = tune(
        model,
        images,
        objective(arguments.objective, arguments.radius / 255),
        settings,
        arguments.parts,
        augment=augment(arguments.data),
        checkpoint=out.with_suffix(".checkpoint"),
        resume=True,
        callback=_say,
    )
    clean = accuracy(model, load(arguments.data, "test"))
    print(
        f"test accuracy {clean:.4f}, {history[-1]['seconds']:.0f} s of training, {time.perf_counter() - started:.0f} s in all"
    )
    facts = record.provenance("benchmarks.backbone", arguments.threads) | {
        "data": arguments.data,
        "objective": arguments.objective,
        "radius_255": arguments.radius,
        "rows": len(images),
        "seconds": history[-1]["seconds"],
        "clean_accuracy": clean,
        "history": history,
    }
    save_model(model, out, arguments.model, recipe, **facts, **start)
    return 0


def _started(model: torch.nn.Module, arguments: argparse.Namespace) -> dict[str, Any]:
    """Give a model the weights of --start; what the record says about these."""
    if arguments.start is None:
        return {}
    source, facts = load_model(arguments.start)
    try:
        model.load_state_dict(source.state_dict())
    except RuntimeError as error:
        raise SystemExit(
            f"{arguments.start} is another network; give its --model, --width and --hidden: {error}"
        ) from error
    about = {name: facts[name] for name in ("objective", "seconds", "clean_accuracy")}
    return {"start": {"file": Path(arguments.start).name, **about}, "parts": arguments.parts}


def architecture(data: str, width: int, hidden: int | None) -> dict[str, Any]:
    """Settings of a residual network for a data set."""
    mean, std = STATISTICS[data]
    return {"width": width, "hidden": hidden, "channels": SHAPES[data][0], "n_classes": 10, "mean": mean, "std": std}


def load(data: str, split: str, rows: int | None = None) -> Images:
    """Images of a published data set, the first rows of it if wanted."""
    found = datasets.load(data, split=split)
    return Images.of(found.X[:rows].reshape(-1, *SHAPES[data]), found.y[:rows])


def objective(name: str, radius: float) -> Objective:
    """Objective by name; the radius is in units of pixels in [0, 1]."""
    choices: dict[str, Objective] = {
        "sam": Clean(),
        "clean": Clean(),
        "onestep": OneStep(radius),
        "adversarial": Adversarial(radius),
        "trades": TRADES(radius),
        "mixed": Mixed(OneStep(radius, noise=1.0)),
    }
    return choices[name]


def augment(data: str) -> Any:
    """The usual variations of the images of a data set: mirror images are wrong for digits."""
    return augmentation(AUGMENTATIONS[data])


def accuracy(model: torch.nn.Module, images: Images, size: int = 500) -> float:
    """Share of images with the right label."""
    device = next(model.parameters()).device
    right = 0
    with torch.no_grad():
        for start in range(0, len(images), size):
            x, y = images.x[start : start + size].to(device), images.y[start : start + size].to(device)
            right += int((model(x).argmax(1) == y).sum())
    return right / len(images)


def _say(entry: dict[str, float]) -> None:
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in entry.items())
    print(numbers, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", choices=sorted(SHAPES), default="cifar10")
    parser.add_argument("--model", choices=sorted(set(MODELS) - {"smallcnn"}), default="preactresnet18")
    parser.add_argument("--objective", choices=OBJECTIVES, default="sam")
    parser.add_argument(
        "--width", type=int, default=16, help="channels of the first stage (64 is the published network)"
    )
    parser.add_argument("--start", help="file of a trained network of the same architecture to go on from")
    parser.add_argument("--parts", nargs="+", help="names of the modules that are trained (default: all)")
    parser.add_argument("--hidden", type=int, default=None, help="neurons of a hidden layer of the head")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--radius", type=float, default=8.0, help="of adversarial training, in 255ths (default: 8)")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=None, help="the first rows only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", required=True, help="the file of the weights, such as build/backbones/sam.safetensors")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
