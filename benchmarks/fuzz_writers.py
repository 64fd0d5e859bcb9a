"""Fuzz cases of writing: the disk is full after some bytes, a flush or a rename fails, or the user interrupts.

After any of these the target is as it was, and nothing else is left in its folder; the error is one of the system that names
the file, or of the package. Then the same call writes the file. A case is a failed writing.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import convexadv as ca
from benchmarks import record
from benchmarks.fuzz_tally import Draw, Tally
from convexadv import plotting
from convexadv._atomic import write_json
from convexadv.cli import main
from convexadv.compression import factorise_model, save_factorised
from convexadv.model_files import build, save_model
from convexadv.training import Images, Settings, train

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

_FAILURES = 6
_CONVERTED = (OSError, ca.InputError)


class Stop(KeyboardInterrupt):
    """The user's interrupt."""


@contextlib.contextmanager
def _full(rng: np.random.Generator, size: int) -> Iterator[None]:
    """No file grows beyond some bytes, fewer than the writer needs; a tenth less, for PDF's time stamp varies in size."""
    if resource is None:
        yield
        return
    old, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(0.9 * rng.integers(0, size)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (old, hard))
        signal.signal(signal.SIGXFSZ, handler)


@contextlib.contextmanager
def _failing(name: str, error: BaseException) -> Iterator[None]:
    with mock.patch(name, side_effect=error):
        yield


_FAULTS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "full": _full,
    "full at once": lambda rng, size: _full(rng, 1),
    "no flush": lambda rng, size: _failing("os.fsync", OSError(errno.ENOSPC, "No space left on device")),
    "no rename": lambda rng, size: _failing("os.replace", OSError(errno.EACCES, "Permission denied")),
    "interrupt": lambda rng, size: _failing("os.fsync", Stop()),
    "late interrupt": lambda rng, size: _failing("os.replace", Stop()),
}


def _kind(name: str) -> Draw:
    make = _WRITERS[name]

    def draw(rng: np.random.Generator, tally: Tally) -> None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            suffix = name.rsplit(" ", 1)[-1] if "." in name else ""
            path = Path(folder) / f"target{suffix}"
            write = make(rng)
            before = None
            if rng.random() < 0.7:
                _quietly(lambda: write(path))
                before = path.read_bytes()
            size = len(before) if before else 64
            for _ in range(_FAILURES):
                how = list(_FAULTS)[rng.integers(len(_FAULTS))]
                _fails(rng, tally, f"{name}, {how}", functools.partial(write, path), _FAULTS[how](rng, size))
                left = sorted(each.name for each in Path(folder).iterdir())
                wanted = [] if before is None else [path.name]
                tally.expect(left == wanted, f"{name}, {how}: the folder holds {left}, not {wanted}")
                same = before is None or (path.exists() and path.read_bytes() == before)
                tally.expect(same, f"{name}, {how}: the file that was there is another one")
            tally.attempt(f"{name}, afterwards", lambda: _quietly(lambda: write(path)))
            tally.expect(path.is_file() and path.stat().st_size > 0, f"{name}: no file afterwards")
        tally.count(name, _FAILURES)

    draw.__name__ = name.replace(" ", "_").replace(".", "")
    return draw


def _quietly(call: Callable[[], Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return call()


def _fails(rng: np.random.Generator, tally: Tally, what: str, call: Callable[[], Any], fault: Any) -> None:
    """A call that must fail by a fault, and say of which file."""
    try:
        with fault:
            code = _quietly(call)
    except Stop:
        return
    except _CONVERTED as error:
        named = getattr(error, "filename", None) or str(error)
        tally.expect(
            "target" in str(named) or "Permission" in str(error), f"{what}: the error names no file: {error!r}"
        )
        return
    except Exception as error:
        tally.expect(False, f"{what}: {type(error).__name__}: {error}")
        return
    tally.expect(isinstance(code, int) and code != 0, f"{what}: no error, and {code!r}")


def _network(rng: np.random.Generator) -> Any:
    return ca.ReLUNetwork(rng.standard_normal((9, 3)), rng.standard_normal(9), classes=[0, 1])


def _saved(rng: np.random.Generator) -> Any:
    net = _network(rng)
    return lambda path: ca.save(net, path)


def _graph(rng: np.random.Generator) -> Any:
    net = _network(rng)
    return lambda path: _nothing(ca.export_onnx(net, path))


def _nothing(value: Any) -> None:
    """Forget a result, so that only errors count."""


def _proof(rng: np.random.Generator) -> Any:
    net, X = _network(rng), rng.standard_normal((3, 3))
    found = ca.certify(net, X, net.predict(X), 0.1)
    return lambda path: ca.save_certificate(found, path)


def _optimum(rng: np.random.Generator) -> Any:
    what = ca.PolynomialProblem(rng.standard_normal((4, 2)), [0, 1, 1, 0], beta=0.05)
    certificate = ca.solve(what, tol=0.1).certificate
    return lambda path: ca.save_certificate(certificate, path, what)


def _deep(rng: np.random.Generator) -> Any:
    model = build("smallcnn", width=1)
    return lambda path: save_model(model, path, "smallcnn", {"width": 1})


def _small(rng: np.random.Generator) -> Any:
    model = factorise_model(torch.nn.Sequential(torch.nn.Linear(6, 4)), {"0": 2})
    return lambda path: save_factorised(model, path)


def _figure(rng: np.random.Generator) -> Any:
    figure, (ax,) = plotting.new_figure(1, (1.0, 1.0))
    ax.plot([0, 1], [1, 0])
    return lambda path: plotting.save_figure(figure, path)


def _solve(rng: np.random.Generator) -> Any:
    what = ca.PolynomialProblem(rng.standard_normal((6, 2)), [0, 1, 1, 0, 1, 0], beta=0.05)
    return lambda path: _nothing(ca.solve(what, tol=0.1, checkpoint=path, resume=True, checkpoint_every=0.0))


def _training(rng: np.random.Generator) -> Any:
    images = Images.of(rng.random((8, 2)).astype(np.float32), np.arange(8) % 2)

    def write(path: Path) -> None:
        torch.manual_seed(0)
        settings = Settings(epochs=1, batch_size=4)
        model = torch.nn.Linear(2, 5000)  # more than a buffer of the file
        train(model, images, settings=settings, checkpoint=path, checkpoint_every=0.0, resume=True)

    return write


def _verb(verb: str, *options: str) -> Callable[[np.random.Generator], Any]:
    """A verb of the command line for a network and rows on disk; the last option takes the target."""

    def make(rng: np.random.Generator) -> Any:
        net, X = _network(rng), rng.standard_normal((3, 3))

        def write(path: Path) -> int:
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                with _unlimited():
                    ca.save(net, f"{folder}/network.safetensors")
                    np.savez(f"{folder}/rows.npz", X=X, y=net.predict(X))
                return main([verb, f"{folder}/network.safetensors", f"{folder}/rows.npz", *options, str(path)])

        return write

    return make


@contextlib.contextmanager
def _unlimited() -> Iterator[None]:
    """Let the files that a call needs be written, whatever fails at the moment."""
    with contextlib.ExitStack() as stack:
        if resource is not None:
            old = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (old[1], old[1]))
            stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, old)
        for name in ("fsync", "replace"):
            stack.enter_context(mock.patch(f"os.{name}", _HONEST[name]))
        yield


_HONEST = {"fsync": os.fsync, "replace": os.replace}
_WRITERS: dict[str, Callable[[np.random.Generator], Callable[[Path], Any]]] = {
    "network": _saved,
    "onnx": _graph,
    "robustness certificate": _proof,
    "optimality certificate": _optimum,
    "deep model": _deep,
    "compressed model": _small,
    "figure .png": _figure,
    "figure .svg": _figure,
    "figure .pdf": _figure,
    "json": lambda rng: functools.partial(_json, rng.random(50).tolist()),
    "record": lambda rng: functools.partial(_record, rng.random(50).tolist()),
    "checkpoint of a solve": _solve,
    "checkpoint of a training": _training,
    "attack .npz": _verb("attack", "--radius", "0.1", "--steps", "1", "--restarts", "1", "--out"),
    "certify .json": _verb("certify", "--radius", "0.1", "--json"),
}


def _json(numbers: list[float], path: Path) -> None:
    write_json(path, {"numbers": numbers})


def _record(numbers: list[float], path: Path) -> None:
    record.write(path, {"numbers": numbers})


KINDS: list[Draw] = [_kind(name) for name in _WRITERS]
"""Kinds of draws, in turn."""
