"""Which images of a test set a deep model gets right under attacks of several sizes, and paired comparisons of models.

Balls are nested: an image that an attack breaks at one size is broken at all larger ones, so that every size only attacks
what is left. "worst" is what survives all attacks together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import convexadv as ca
from convexadv.heads.black_box import BlackBox
from convexadv.training import Images

BOX = (0.0, 1.0)
STEPS = 20
METHODS = ("fgsm", "pgd", "apgd")
"""FGSM; PGD with 20 steps and one start; APGD with two starts of 20 steps, cross-entropy and margin."""


def survivors(
    model: torch.nn.Module,
    images: Images,
    sizes: Sequence[float],
    methods: Sequence[str] = METHODS,
    batch_size: int = 250,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
    precision: str = "float32",
) -> dict[str, np.ndarray]:
    """Images that are predicted right, clean (n,) and under every method (sizes, n).

    Attacks may compute in bfloat16, in half the time; whether a point is predicted right is always decided in float32.

    Parameters
    ----------
    sizes : increasing sequence of float
        Radii of the linf balls in 255ths.
    methods : sequence of str
        Out of ``METHODS``.
    """
    model = model.eval().to(memory_format=torch.channels_last)
    clean = _right(model, images.x, images.y, batch_size)
    found = {"clean": clean}
    for method in methods:
        alive, rows = clean.copy(), []
        for size in sizes:
            started, left = time.perf_counter(), np.flatnonzero(alive)
            if len(left):
                alive[left] = ~_broken(model, images.take(left), size / 255, method, batch_size, seed, precision)
            rows.append(alive.copy())
            say(f"    {method} {size:g}/255: {100 * alive.mean():.2f} %, {time.perf_counter() - started:.0f} s")
        found[method] = np.array(rows)
    found["worst"] = np.logical_and.reduce([found[method] for method in methods])
    return found


class _Low(torch.nn.Module):
    """A model whose products are in bfloat16."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return self.model(x).float()


def _broken(model: Any, images: Images, radius: float, method: str, size: int, seed: int, precision: str) -> np.ndarray:
    if precision == "float32":
        return np.asarray(_attack(model, images, radius, method, size, seed).success)
    points = torch.from_numpy(_attack(_Low(model), images, radius, method, size, seed).points)
    return ~_right(model, points, images.y, size)


def _right(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, size: int) -> np.ndarray:
    """Whether points are predicted as their labels, (n,), in blocks of ``size``."""
    with torch.no_grad():
        labels = torch.cat([model(part).argmax(1) for part in x.split(size)])
    return (labels == y).numpy()


def _attack(model: Any, images: Images, radius: float, method: str, size: int, seed: int) -> Any:
    x, y = images.x.numpy(), images.y.numpy()
    options: dict[str, Any] = {"steps": STEPS, "restarts": 2 if method == "apgd" else 1}
    return ca.attack(model, x, y, radius, "linf", method, BOX, random_state=seed, batch_size=size, **options)


def without_gradients(
    model: torch.nn.Module,
    images: Images,
    size: float,
    sources: Sequence[np.ndarray],
    queries: int = 300,
    batch_size: int = 250,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Images that are still right under the Square attack, and at adversarial points of other models.

    Parameters
    ----------
    size : float
        Radius of the linf balls in 255ths.
    sources : sequence of (n, ...) arrays
        Points of other models (:func:`points_of`); one that succeeds is enough.
    queries : int
        Of the Square attack, an image.
    """
    x, y = images.x.numpy(), images.y.numpy()
    box = BlackBox(model, x, y, size / 255, "linf", BOX, batch_size, seed)
    right = np.ones(len(images), bool)
    for points in sources:
        right &= _right(model, torch.from_numpy(points), images.y, batch_size)
    return {"square": ~box.square(queries), "transfer": right}


def points_of(model: torch.nn.Module, images: Images, size: float, batch_size: int = 250, seed: int = 0) -> np.ndarray:
    """Adversarial points (n, ...) of PGD on a model, float32."""
    return np.asarray(_attack(model, images, size / 255, "pgd", batch_size, seed).points, dtype=np.float32)


def interval(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Mean difference of paired values (n,) in points, and half the width of its 95 % interval over the images."""
    apart = 100.0 * (first.astype(float) - second.astype(float))
    return float(apart.mean()), float(1.96 * apart.std(ddof=1) / len(apart) ** 0.5)


def accuracies(found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Percentages: a number for clean, a list over the sizes for each attack."""
    return {name: (100.0 * rows.mean(-1)).round(3).tolist() for name, rows in found.items()}


def first_images(images: Images, count: int | None, seed: int = 0) -> Images:
    """All images, or so many fixed ones with equally many of each class."""
    if count is None or count >= len(images):
        return images
    random, labels = np.random.default_rng(seed), images.y.numpy()
    share = count // images.n_classes
    chosen = [random.permutation(np.flatnonzero(labels == label))[:share] for label in np.unique(labels)]
    return images.take(np.sort(np.concatenate(chosen)))
