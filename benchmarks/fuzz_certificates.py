"""Fuzz cases of certificates of optimality: no bound above the objective of a feasible network.

A draw is a small problem, the certificate of a short solve (or one made by hand), and feasible networks. The certificate
is then changed at random: it is refused, or what it proves still holds. A case is a bound or an objective.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import numpy as np

import convexadv as ca
from benchmarks.fuzz_problems import objectives, problem
from benchmarks.fuzz_tally import TINY, Draw, Tally, sizes, unit_points
from convexadv.problems import AtomSet, OptimalityCertificate

_CHANGES, _NETWORKS = 120, 30


def solved(rng: np.random.Generator, tally: Tally) -> None:
    """The certificate of a solve that stops early, and changes of it."""
    kind = str(rng.choice(["polynomial", "polynomial", "ReLU", "gated"]))
    n, d = int(rng.integers(2, 10)), int(rng.integers(1, 5))
    what = problem(rng, kind, n, d)
    solution = ca.solve(what, tol=1e-2, max_iter=int(rng.integers(1, 5)), time_limit=2)
    best = min(float(solution.objective), float(objectives(rng, what, _NETWORKS, solution.network).min()))
    lower = _bound(tally, what, solution.certificate, best, f"{kind}, as solved")
    if lower is not None:
        tally.expect(
            abs(lower - solution.lower_bound) <= 1e-12 * (1 + abs(lower)), "the bound is another one when recomputed"
        )
    tally.count(f"{kind} networks", _NETWORKS)
    for _ in range(_CHANGES):
        name, changed = _changed(rng, solution.certificate)
        _bound(tally, what, changed, best, f"{kind}, {name}")
    tally.count(f"{kind} changed", _CHANGES)


def by_hand(rng: np.random.Generator, tally: Tally) -> None:
    """Multipliers and points that are drawn at random, inside their ranges."""
    what = problem(rng, "polynomial", int(rng.integers(2, 10)), int(rng.integers(1, 5)))
    best = min(float(what.zero_objective()), float(objectives(rng, what, _NETWORKS).min()))
    if what.hard_margin is not None:
        best = float(objectives(rng, what, _NETWORKS).min())
    for _ in range(_CHANGES):
        atoms = [
            _atoms(rng, what, component, term)
            for component in range(len(what.components))
            for term in range(len(what.arrays(component)))
        ]
        _bound(tally, what, OptimalityCertificate(tuple(atoms)), best, "polynomial, by hand")
    tally.count("polynomial by hand", _CHANGES + _NETWORKS)


def _atoms(rng: np.random.Generator, what: Any, component: int, term: int) -> AtomSet:
    terms = what.arrays(component)[term]
    samples, d = int(rng.integers(1, 3)), what.rows.d
    z = rng.random((samples, terms.k, terms.g)) * (rng.random((samples, terms.k, terms.g)) < 0.8) * sizes(rng, (), 6)
    if terms.loss.signed:
        return AtomSet(component, term, z * rng.choice([-1.0, 1.0], z.shape))
    if rng.random() < 0.2:
        return AtomSet(component, term, z)
    shape = (samples, terms.k, terms.g, d)
    return AtomSet(component, term, z, unit_points(rng, shape, what.norm) * terms.radius[:, None] * (1 - 1e-12))


def _bound(tally: Tally, what: Any, certificate: Any, best: float, name: str) -> float | None:
    """The bound, None where the certificate is refused."""
    try:
        lower = what.lower_bound(certificate)
    except ca.CertificateError as error:
        tally.expect(str(error).rstrip().endswith("."), f"not a sentence ({name}): {error}")
        return None
    limit = best + 1e-11 * (1 + abs(best)) if np.isfinite(best) else np.inf
    tally.expect(lower <= limit, f"a bound above a network ({name}): {lower!r} > {best!r}")
    return float(lower)


def _changed(rng: np.random.Generator, certificate: OptimalityCertificate) -> tuple[str, Any]:
    """What was changed, and a certificate with one change in one of its parts, or with other parts."""
    parts = certificate.parts()
    if rng.random() < 0.1 or not parts:
        return "other parts", _other_parts(rng, certificate)
    chosen = parts[rng.integers(len(parts))]
    names = [field.name for field in dataclasses.fields(chosen)]
    name = names[rng.integers(len(names))]
    value = getattr(chosen, name)
    change = _NUMBERS if not isinstance(value, np.ndarray) else _ARRAYS
    how = list(change)[rng.integers(len(change))]
    new = dataclasses.replace(chosen, **{name: change[how](rng, value)})

    def swapped(group: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(new if part is chosen else part for part in group)

    groups = (swapped(getattr(certificate, field)) for field in ("atoms", "cones", "shares"))
    return f"{name} {how}", OptimalityCertificate(*groups)


def _other_parts(rng: np.random.Generator, certificate: OptimalityCertificate) -> Any:
    atoms, cones, shares = certificate.atoms, certificate.cones, certificate.shares
    choices = [
        OptimalityCertificate(()),
        OptimalityCertificate(atoms + atoms, cones, shares),
        OptimalityCertificate(atoms, cones + cones, shares),
        OptimalityCertificate(atoms, cones, shares + shares),
        OptimalityCertificate(atoms, (), ()),
        OptimalityCertificate(atoms[1:], cones, shares),
        OptimalityCertificate(atoms[::-1], cones[::-1], shares),
        OptimalityCertificate(list(atoms), cones, shares),  # type: ignore[arg-type]
        OptimalityCertificate(atoms, atoms, atoms),  # type: ignore[arg-type]
        OptimalityCertificate(None),  # type: ignore[arg-type]
        OptimalityCertificate((None,)),  # type: ignore[arg-type]
        OptimalityCertificate("atoms"),  # type: ignore[arg-type]
        None,
        atoms,
        {"atoms": atoms},
    ]
    return choices[rng.integers(len(choices))]


def _entry(rng: np.random.Generator, value: np.ndarray, number: Any) -> np.ndarray:
    new = np.array(value)
    if new.size:
        with contextlib.suppress(ValueError, OverflowError):  # a type that cannot hold the number
            new.flat[rng.integers(new.size)] = number
    return new


_ARRAYS: dict[str, Any] = {
    "perturbed": lambda rng, a: a * (1 + 10.0 ** rng.uniform(-9, 0) * rng.standard_normal(a.shape)),
    "moved": lambda rng, a: a + 10.0 ** rng.uniform(-9, 3) * rng.standard_normal(a.shape),
    "lifted": lambda rng, a: (
        a + abs(10.0 ** rng.uniform(-9, 3) * rng.standard_normal(a.shape)) * (rng.random(a.shape) < 0.3)
    ),
    "scaled": lambda rng, a: a * 10.0 ** rng.uniform(-14, 14),
    "huge": lambda rng, a: a * 1e300,
    "overflowing": lambda rng, a: a * 1e308 * 10,
    "denormal": lambda rng, a: np.sign(a) * TINY,
    "zero": lambda rng, a: 0 * a,
    "negated": lambda rng, a: -a,
    "shuffled": lambda rng, a: rng.permutation(a.reshape(-1)).reshape(a.shape),
    "reversed": lambda rng, a: a[::-1],
    "one NaN": lambda rng, a: _entry(rng, a, np.nan),
    "one infinite": lambda rng, a: _entry(rng, a, np.inf),
    "one huge": lambda rng, a: _entry(rng, a, 10.0 ** rng.uniform(0, 300)),
    "one whole number": lambda rng, a: _entry(rng, a, int(rng.integers(-3, 12))),
    "shorter": lambda rng, a: a[..., :-1],
    "longer": lambda rng, a: np.concatenate([a, a], -1) if a.ndim else a,
    "fewer": lambda rng, a: a[:-1] if a.ndim else a,
    "doubled": lambda rng, a: np.concatenate([a, a]) if a.ndim else a,
    "flat": lambda rng, a: a.reshape(-1),
    "deeper": lambda rng, a: a[None],
    "transposed": lambda rng, a: a.T,
    "empty": lambda rng, a: a[:0] if a.ndim else a,
    "float32": lambda rng, a: a.astype(np.float32),
    "half": lambda rng, a: a.astype(np.float16),
    "integers": lambda rng, a: np.nan_to_num(a).clip(-1e9, 1e9).astype(np.int64),
    "booleans": lambda rng, a: a.astype(bool),
    "complex": lambda rng, a: a + 0j,
    "text": lambda rng, a: a.astype(str),
    "objects": lambda rng, a: a.astype(object),
    "list": lambda rng, a: a.tolist(),
    "None": lambda rng, a: None,
    "number": lambda rng, a: 0.5,
    "word": lambda rng, a: "multipliers",
    "Fortran": lambda rng, a: np.asfortranarray(a),
}

_NUMBERS: dict[str, Any] = {
    "None": lambda rng, v: None,
    "one more": lambda rng, v: 1 if v is None else v + 1,
    "negative": lambda rng, v: -1,
    "large": lambda rng, v: 10**9,
    "float": lambda rng, v: 0.5 if v is None else float(v),
    "boolean": lambda rng, v: True,
    "text": lambda rng, v: "0",
    "array": lambda rng, v: rng.random((1, 2, 3)),
    "small array": lambda rng, v: np.arange(2),
    "zero": lambda rng, v: 0,
}

KINDS: list[Draw] = [solved, solved, by_hand]
"""Kinds of draws, in turn."""
