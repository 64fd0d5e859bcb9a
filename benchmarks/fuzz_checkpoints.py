"""Fuzz cases of checkpoints: damaged files, files of other work, work that is interrupted at any moment.

A solve or a training that goes on from a file that was damaged ends as if it had not been, or is refused with a sentence, and
the file stays as it was. A case is a file.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import convexadv as ca
from benchmarks.fuzz_bytes import damaged, rewritten
from benchmarks.fuzz_problems import data, problem
from benchmarks.fuzz_tally import Draw, Tally
from convexadv.models import SmallCNN
from convexadv.training import Adversarial, Clean, Images, OneStep, Settings, train

_CHANGES = 8
_TOL = 1e-2


class Stop(BaseException):
    """Ends a call from its callback, as an interrupt does."""


def _changed(
    rng: np.random.Generator, tally: Tally, kind: str, path: Path, again: Callable[[], Any], check: Any, entry: str
) -> None:
    """Change a file in many ways, and go on from each."""
    content = path.read_bytes()
    for _ in range(_CHANGES):
        how, changed = rewritten(rng, content, entry) if entry and rng.random() < 0.4 else damaged(rng, content)
        path.write_bytes(changed)
        failures = len(tally.failures)
        found = tally.attempt(f"{kind}, {how}", again)
        if found is not None:
            check(f"{kind}, {how}", found)
        elif len(tally.failures) == failures:
            tally.expect(path.read_bytes() == changed, f"{kind}, {how}: a file that was refused is another one")
    tally.count(kind, _CHANGES)


def solves(rng: np.random.Generator, tally: Tally) -> None:
    """Solves of polynomial problems that go on from damaged files."""
    what = problem(rng, "polynomial", int(rng.integers(3, 12)), int(rng.integers(1, 4)), 1.0)
    solve = functools.partial(ca.solve, what, tol=_TOL, time_limit=5.0, checkpoint_every=0.0, resume=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "state"
        try:
            solve(checkpoint=path, callback=lambda record: True)
        except ca.InputError as error:
            tally.expect("CLARABEL" in str(error), f"a solve with a checkpoint was refused: {error}")
            return
        best = ca.solve(what, tol=_TOL, time_limit=5.0)

        def check(kind: str, found: Any) -> None:
            lower = what.lower_bound(found.certificate)
            size = max(abs(best.objective), what.zero_objective()) if np.isfinite(best.objective) else 1.0
            close = lower == found.lower_bound or abs(lower - found.lower_bound) <= 1e-10 * size
            tally.expect(close, f"{kind}: the bound is another one when recomputed", lower, found.lower_bound)
            for one, other in ((found, best), (best, found)):
                good = one.lower_bound <= other.objective + 1e-8 * size
                tally.expect(good, f"{kind}: a bound above an objective", one.lower_bound, other.objective)
            tally.expect(
                found.status.ok or not best.status.ok, f"{kind}: {found.status}, without the file {best.status}"
            )

        _changed(
            rng, tally, "checkpoint of a solve", path, lambda: solve(checkpoint=path), check, "convexadv-checkpoint"
        )


def interrupted_solves(rng: np.random.Generator, tally: Tally) -> None:
    """Solves that are interrupted again and again, and reach the answer all the same."""
    what = problem(rng, "polynomial", int(rng.integers(3, 12)), int(rng.integers(1, 4)), 1.0)
    best = ca.solve(what, tol=_TOL, time_limit=0.5)
    turns = iter(rng.integers(1, 4, 12).tolist())
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path, found = Path(folder) / "state", None
        for turn in turns:
            left = [turn]

            def stop(record: Any, left: list[int] = left) -> bool:
                left[0] -= 1
                if left[0] <= 0:
                    raise Stop
                return False

            try:
                found = ca.solve(
                    what, tol=_TOL, time_limit=0.5, checkpoint=path, checkpoint_every=0.0, resume=True, callback=stop
                )
                break
            except Stop:
                names = [each.name for each in Path(folder).iterdir()]
                tally.expect(set(names) <= {"state"}, f"an interrupted solve leaves {names}")
            if turn == 1 and not path.exists():
                break  # a round is never complete
        if found is not None:
            good = found.status in (best.status, ca.Status.OPTIMAL, ca.Status.TIME_LIMIT)
            tally.expect(good, f"interrupted: {found.status}, at once {best.status}")
            size = max(abs(best.objective), what.zero_objective())
            tally.expect(found.lower_bound <= best.objective + 1e-8 * size, "interrupted: a bound above an objective")
    tally.count("interrupted solve")


def other_solves(rng: np.random.Generator, tally: Tally) -> None:
    """Files of another problem: refused."""
    n, d = int(rng.integers(3, 8)), int(rng.integers(1, 4))
    X, y = data(rng, n, d, 0.5), np.append([0, 1], rng.integers(0, 2, n - 2))
    settings: dict[str, Any] = {"beta": 0.05, "radius": 0.1}
    changes: dict[str, Any] = {
        "beta": {"beta": 0.06},
        "radius": {"radius": 0.11},
        "radii": {"radius": np.linspace(0.05, 0.1, n)},
        "loss": {"loss": "squared_hinge"},
        "norm": {"norm": "linf"},
        "activation": {"activation": (0.1, 0.5, 0.47)},
        "weights": {"sample_weight": np.linspace(1, 2, n)},
        "clean": {"clean_weight": 0.5},
        "scale": {"scale": np.full(d, 2.0)},
        "hard margin": {"hard_margin": ([0], 1e-3)},
    }
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "state"
        ca.solve(ca.PolynomialProblem(X, y, **settings), tol=_TOL, checkpoint=path)
        for name, change in changes.items():
            other = ca.PolynomialProblem(X, y, **{**settings, **change})
            _refused(
                tally, f"a solve with another {name}", functools.partial(ca.solve, other, checkpoint=path, resume=True)
            )
        for name, rows, labels in (("label", X, 1 - y), ("first row", X + np.eye(n, d), y)):
            other = ca.PolynomialProblem(rows, labels, **settings)
            _refused(
                tally, f"a solve with another {name}", functools.partial(ca.solve, other, checkpoint=path, resume=True)
            )
    tally.count("checkpoint of another solve", len(changes) + 2)


def _refused(tally: Tally, what: str, call: Callable[[], Any]) -> None:
    try:
        call()
    except ca.FileFormatError as error:
        tally.expect("another" in str(error), f"{what}: {error}")
        return
    tally.expect(False, f"{what} went on from the file")


def _images(rng: np.random.Generator) -> Images:
    return Images.of(rng.random((12, 3)).astype(np.float32), np.arange(12) % 2)


def _trained(images: Images, path: Path, settings: Settings, objective: Any, width: int = 2, **more: Any) -> Any:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, width))
    train(model, images, objective, settings, checkpoint=path, checkpoint_every=0.0, resume=True, **more)
    return model.state_dict()


def trainings(rng: np.random.Generator, tally: Tally) -> None:
    """Trainings that go on from damaged files, to the same bits or not at all."""
    images, settings = _images(rng), Settings(epochs=3, batch_size=4, momentum=float(rng.choice([0.0, 0.9])))
    objective = [Clean(), OneStep(0.1), Adversarial(0.1, steps=2)][rng.integers(3)]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "state"
        _trained(images, path, settings, objective, callback=lambda record: record["epoch"] >= 2)
        state = path.read_bytes()
        whole = _trained(images, path, settings, objective)
        path.write_bytes(state)

        def check(kind: str, found: Any) -> None:
            same = all(torch.equal(value, whole[name]) for name, value in found.items())
            tally.expect(same, f"{kind}: the training went on to other weights")

        again = functools.partial(_trained, images, path, settings, objective)
        _changed(rng, tally, "checkpoint of a training", path, again, check, "")


def other_trainings(rng: np.random.Generator, tally: Tally) -> None:
    """Files of another training: refused."""
    images, settings = _images(rng), Settings(epochs=1, batch_size=4)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "state"
        _trained(images, path, settings, Clean())
        others = {
            "rate": (images, path, Settings(epochs=1, batch_size=4, learning_rate=0.2), Clean()),
            "objective": (images, path, settings, OneStep(0.1)),
            "data": (_images(rng), path, settings, Clean()),
            "architecture": (images, path, settings, Clean(), 3),
        }
        for name, arguments in others.items():
            _refused(tally, f"a training with another {name}", functools.partial(_trained, *arguments))
    tally.count("checkpoint of another training", len(others))


def compressions(rng: np.random.Generator, tally: Tally) -> None:
    """Compressions that go on from damaged files."""
    torch.manual_seed(0)
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8) % 2
    model = SmallCNN(width=4, n_classes=2, side=8)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "state"

        def compress(**more: Any) -> Any:
            settings, epochs = Settings(batch_size=4, learning_rate=0.05), (2, 1)
            options = {"ratio": 2.0, "epochs": epochs, "settings": settings, "checkpoint_every": 0.0, "resume": True}
            return ca.compress(model, (x, y), checkpoint=path, **options, **more)

        with contextlib.suppress(Stop):
            compress(callback=_interrupting("tune" if rng.random() < 0.5 else "admm"))
        files = {each: each.read_bytes() for each in sorted(Path(folder).iterdir())}
        whole = compress().model.state_dict()

        def check(kind: str, found: Any) -> None:
            same = all(torch.equal(value, whole[name]) for name, value in found.model.state_dict().items())
            tally.expect(same, f"{kind}: the compression went on to other weights")

        if not files:
            return
        target = list(files)[rng.integers(len(files))]
        for _ in range(2):
            for each in Path(folder).iterdir():
                each.unlink()
            for each, content in files.items():
                each.write_bytes(content)
            how, changed = damaged(rng, files[target])
            target.write_bytes(changed)
            found = tally.attempt(f"compression, {how}", compress)
            if found is not None:
                check(f"compression, {how}", found)
    tally.count("checkpoint of a compression", 2)


def _interrupting(stage: str) -> Callable[[str, dict[str, float]], bool]:
    def stop(name: str, record: dict[str, float]) -> bool:
        if name == stage:
            raise Stop
        return False

    return stop


def features(rng: np.random.Generator, tally: Tally) -> None:
    """Caches of features, of which the array or the note is damaged."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    X, y = rng.standard_normal((12, 3)).astype(np.float32), np.arange(12) % 2
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path, note = Path(folder) / "cache.npy", Path(folder) / "cache.npy.json"

        def robustify() -> Any:
            return ca.robustify(model, (X, y), validation=None, cache=path, tol=0.5, batch_size=5)

        robustify()
        contents = path.read_bytes(), note.read_bytes()
        for _ in range(_CHANGES):
            path.write_bytes(contents[0])
            note.write_bytes(contents[1])
            target, content = ((path, contents[0]), (note, contents[1]))[int(rng.random() < 0.5)]
            how, changed = damaged(rng, content)
            target.write_bytes(changed)
            found = tally.attempt(f"features, {target.suffix} {how}", robustify)
            good = found is None or bool(np.isfinite(found.head.scores(np.ones((2, found.head.n_features)))).all())
            tally.expect(good, f"features, {target.suffix} {how}: the head has no finite scores")
    tally.count("features", _CHANGES)


KINDS: list[Draw] = [
    solves,
    trainings,
    interrupted_solves,
    other_solves,
    trainings,
    other_trainings,
    features,
    solves,
    compressions,
]
"""Kinds of draws, in turn."""
