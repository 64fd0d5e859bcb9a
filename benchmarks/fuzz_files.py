"""Fuzz cases of files: networks, certificates, deep and compressed models, tables and matrices, damaged or made with malice.

A file is read, and what comes back could have been saved; or it is refused by an error of the package. Certificates that
are signed again after a change are verified, and what is verified is compared with points of the balls. A case is a file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import convexadv as ca
from benchmarks.fuzz_bytes import damaged, rewritten
from benchmarks.fuzz_certificates import _ARRAYS as ARRAY_CHANGES
from benchmarks.fuzz_margins import margins_of, network
from benchmarks.fuzz_tally import Draw, Tally, unit_points
from convexadv._arrays import to_numpy
from convexadv.compression import factorise_model, load_factorised, save_factorised
from convexadv.datasets import read_table
from convexadv.model_files import build, load_model, save_model
from convexadv.networks.evaluation import evaluate
from convexadv.verification import Claim, pack, unpack

_CHANGES = 60
_UNDERFLOW = 1e-300
_LABELS = [None, ["no", "yes"], [False, True], [-1.5, 2.5], [3, 7], ["ä", "\U0001f600"]]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=root) as name:
        yield Path(name)


def _read(tally: Tally, name: str, read: Callable[[], Any]) -> Any:
    """What is read; None where it is refused with a sentence."""
    try:
        return read()
    except (ca.InputError, ca.CertificateError) as error:
        text = str(error)
        tally.expect(
            text.rstrip().endswith((".", ":")) and "\n" not in text.strip(), f"not one sentence ({name}): {text!r}"
        )
        return None


def _tried(
    rng: np.random.Generator, tally: Tally, kind: str, path: Path, read: Callable[[], Any], check: Any, entry: str
) -> None:
    """Change a file in many ways, read each, and check what comes back."""
    content = path.read_bytes()
    for _ in range(_CHANGES):
        how, changed = rewritten(rng, content, entry) if entry and rng.random() < 0.5 else damaged(rng, content)
        path.write_bytes(changed)
        found = _read(tally, f"{kind} {how}", read)
        if found is not None:
            check(found)
    tally.count(kind, _CHANGES)


def networks(rng: np.random.Generator, tally: Tally) -> None:
    """Files of networks of every kind."""
    net = network(rng, str(rng.choice(["polynomial", "ReLU", "gated"])), int(rng.integers(1, 4)), 3.0)
    net.classes = net.classes if net.n_outputs > 1 else _classes(rng)
    net = net.float() if rng.random() < 0.3 and not isinstance(net, ca.PolynomialNetwork) else net
    with _folder() as folder:
        path, again = folder / "network.safetensors", folder / "again.safetensors"
        ca.save(net, path, note=[1, {"a": None}])

        def check(found: Any) -> None:
            ca.save(found, again)
            copy = ca.load(again)
            same = all(
                torch.equal(a, b) for a, b in zip(found.state_dict().values(), copy.state_dict().values(), strict=True)
            )
            tally.expect(same, "a network that was read is another one when saved again")
            scores = evaluate(found, np.zeros((2, found.n_features)))
            tally.expect(len(scores) == 2, "a network that was read has no scores")

        _tried(rng, tally, type(net).__name__, path, lambda: ca.load(path), check, "convexadv")


def _classes(rng: np.random.Generator) -> Any:
    labels = _LABELS[rng.integers(len(_LABELS))]
    return None if labels is None else np.array(labels)


def _certificate(rng: np.random.Generator) -> Any:
    kind, norm = str(rng.choice(["polynomial", "ReLU", "gated"])), str(rng.choice(["l2", "linf", "l1"]))
    d, n = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    net = network(rng, kind, d, 1.0)
    X = np.asarray(net.shift) + np.asarray(net.scale) * rng.standard_normal((n, d))
    r = float(net.scale.min()) * 10.0 ** rng.uniform(-3, 0) * rng.random(n)
    complete = kind != "polynomial" and rng.random() < 0.3
    return ca.certify(net, X, net.predict(X), r, norm, complete=complete, max_branches=6)


def robustness(rng: np.random.Generator, tally: Tally) -> None:
    """Certificates of robustness that are damaged: the digest refuses them, or they are as they were."""
    with _folder() as folder:
        path = folder / "proof.safetensors"
        ca.save_certificate(_certificate(rng), path)
        whole = unpack(path)

        def check(found: Any) -> None:
            if isinstance(found, ca.Verification):
                same = np.array_equal(found.claim.X, whole.X) and np.array_equal(found.claim.certified, whole.certified)
                tally.expect(same and found.ok, "a damaged certificate was accepted, and says something else")

        read = [lambda: ca.verify_certificate(path), lambda: ca.load_certificate(path)][rng.integers(2)]
        _tried(rng, tally, "robustness certificate", path, read, check, "convexadv")


def signed_again(rng: np.random.Generator, tally: Tally) -> None:
    """Certificates of robustness with other contents and a digest that fits: what is verified is true."""
    claim = unpack_of(_certificate(rng))
    with _folder() as folder:
        path = folder / "proof.safetensors"
        for _ in range(_CHANGES):
            try:
                name, changed = _other_claim(rng, claim)
                path.write_bytes(pack(changed))
            except Exception:  # what cannot be changed in this way, or written
                continue
            found = _read(tally, f"signed, {name}", lambda: ca.verify_certificate(path))
            if found is not None:
                _true(rng, tally, found, name, path)
    tally.count("signed certificates", _CHANGES)


def unpack_of(certificate: Any) -> Claim:
    """The claim that a certificate writes."""
    with _folder() as folder:
        ca.save_certificate(certificate, folder / "proof.safetensors")
        return unpack(folder / "proof.safetensors")


def _other_claim(rng: np.random.Generator, claim: Claim) -> tuple[str, Any]:
    names = ["weights", "X", "labels", "radius", "lower_bound", "certified", "witness", "witness", "witness", "norm"]
    name = names[rng.integers(len(names))]
    how = list(ARRAY_CHANGES)[rng.integers(len(ARRAY_CHANGES))]
    if name == "norm":
        return name, dataclasses.replace(claim, norm=str(rng.choice(["l1", "l2", "linf", "l3"])))
    value = getattr(claim, name)
    if not isinstance(value, np.ndarray):
        keys = list(value)
        key = keys[rng.integers(len(keys))]
        return f"{name} {how}", dataclasses.replace(
            claim, **{name: {**value, key: ARRAY_CHANGES[how](rng, value[key])}}
        )
    lifted = rng.random() < 0.5 and name in ("lower_bound", "certified")
    claim = dataclasses.replace(claim, certified=claim.certified | True) if lifted else claim
    return f"{name} {how}", dataclasses.replace(claim, **{name: ARRAY_CHANGES[how](rng, value)})


def _true(rng: np.random.Generator, tally: Tally, found: Any, name: str, path: Path) -> None:
    """Points of the balls of rows of which everything claimed is verified have the margins that were claimed."""
    claim, rows = found.claim, np.flatnonzero(found.holds)
    loaded = _read(tally, f"signed, {name}, loaded", lambda: ca.load_certificate(path))
    if loaded is None or not len(rows):
        return
    net, d = loaded.query.network, claim.X.shape[1]
    X, r, y = claim.X[rows].astype(float), claim.radius[rows].astype(float), net.classes[claim.labels[rows]]
    points = X + 0.999999 * r[:, None] * unit_points(rng, (8, len(rows), d), claim.norm)
    points = points if claim.low is None else np.clip(points, claim.low, claim.high)
    points = np.where(np.isfinite(points).all(-1, keepdims=True), points, X)
    double = net.double()
    margins = margins_of(double, points.reshape(-1, d), np.tile(y, 8)).reshape(8, -1)
    least = np.where(np.isnan(margins), np.inf, margins).min(0)
    bound = claim.lower_bound[rows] - _UNDERFLOW
    tally.expect(bound <= least + 1e-12 * abs(least), f"a verified bound is wrong ({name})", bound, least)
    tally.expect(~claim.certified[rows] | (least > 0), f"a verified row is broken ({name})", least)


def optimality(rng: np.random.Generator, tally: Tally) -> None:
    """Certificates of optimality."""
    X, y = rng.standard_normal((4, 2)), np.array([0, 1, 1, 0])
    kinds = [
        ca.PolynomialProblem,
        functools.partial(ca.ReLUProblem, n_gates=6),
        functools.partial(ca.GatedReLUProblem, n_gates=6),
    ]
    what = kinds[rng.integers(3)](X, y, beta=0.05, radius=float(rng.choice([0.0, 0.1])))
    solution = ca.solve(what, tol=1e-2, max_iter=2)
    with _folder() as folder:
        path = folder / "optimum.safetensors"
        ca.save_certificate(solution.certificate, path, what)

        def check(found: Any) -> None:
            tally.expect(what.lower_bound(found) == solution.lower_bound, "a damaged certificate was read")

        _tried(rng, tally, "optimality certificate", path, lambda: ca.load_certificate(path, what), check, "convexadv")


@functools.cache
def _deep_model() -> Any:
    torch.manual_seed(0)
    return build("smallcnn", width=1)


def deep_models(rng: np.random.Generator, tally: Tally) -> None:
    """Files of deep models, whose header says how they are built."""
    with _folder() as folder:
        path = folder / "model.safetensors"
        save_model(_deep_model(), path, "smallcnn", {"width": 1}, epochs=3)

        def check(found: Any) -> None:
            tally.expect(isinstance(found[0], torch.nn.Module), "no model was read")

        _tried(rng, tally, "deep model", path, lambda: load_model(path), check, "convexadv-model")


def compressed(rng: np.random.Generator, tally: Tally) -> None:
    """Files of compressed models."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.Flatten(), torch.nn.Linear(6, 4))
    with _folder() as folder:
        path = folder / "small.safetensors"
        save_factorised(
            factorise_model(model, {"0": (2, 3), "2": 2} if rng.random() < 0.5 else {"0": (2, 2)}), path, note="a"
        )

        def check(found: Any) -> None:
            tally.expect(isinstance(found[0], torch.nn.Module), "no model was read")

        _tried(rng, tally, "compressed model", path, lambda: load_factorised(path, model), check, "convexadv")


def tables(rng: np.random.Generator, tally: Tally) -> None:
    """Tables in text and archives."""
    X = rng.standard_normal((5, 3)).round(int(rng.integers(0, 5)))
    separator = str(rng.choice([",", ";", "\t"]))
    with _folder() as folder:
        if rng.random() < 0.3:
            path = folder / "table.npz"
            np.savez(path, X=X, y=np.arange(5))
        else:
            path = folder / "table.csv"
            lines = [separator.join([*map(str, row), str(rng.choice(["a", "b", "ü"]))]) for row in X]
            lines = [separator.join(["p", "q", "r", "target"]), *lines] if rng.random() < 0.5 else lines
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")

        def check(found: Any) -> None:
            tally.expect(
                found.X.ndim == 2 and np.isfinite(found.X).all(), "a table was read with a value that is not finite"
            )
            tally.expect(len(found.X) == len(found.y), "a table was read with rows without targets")

        _tried(rng, tally, f"table {path.suffix}", path, lambda: read_table(path), check, "")


def matrices(rng: np.random.Generator, tally: Tally) -> None:
    """Matrices in files, read row by row."""
    X = rng.standard_normal((6, 3)).astype(rng.choice(["f4", "f8", "i4", "f2"]))
    with _folder() as folder:
        buffer = io.BytesIO()
        if rng.random() < 0.6:
            path, entry = folder / "rows.npy", ""
            np.save(buffer, X)
            path.write_bytes(buffer.getvalue())
        else:
            from safetensors.numpy import save_file

            path, entry = folder / "rows.safetensors", "note"
            save_file({"X": X}, path, {"note": '{"a": 1}'})

        def check(found: Any) -> None:
            n, d = found.shape
            tally.expect(n * d <= 1000, "a small file was read as a huge matrix")
            block = _read(tally, "rows", lambda: to_numpy(found[0 : min(n, 4)], float))
            tally.expect(block is None or block.shape == (min(n, 4), d), "rows of another shape were read")

        _tried(rng, tally, f"matrix {path.suffix}", path, lambda: ca.open_rows(path), check, entry)


KINDS: list[Draw] = [
    networks,
    robustness,
    signed_again,
    networks,
    optimality,
    compressed,
    tables,
    matrices,
    networks,
    signed_again,
    deep_models,
]
"""Kinds of draws, in turn."""
