"""Damage and malice for files: changes of bytes, and of the JSON header of a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

_HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 7, 1e308, -1e-320, 0.5, 10**6, 2**31, 2**63, 10**30, "", "0", "nan", "inf",
    "../../etc/passwd", "x" * 1000, "\x00", "é\U0001f600", [], {}, [0], [[]], [1, 2, 3], [0, 10**12], [-1, 4], [2**40],
    {"a": 1}, [None], ["a"], "F64", "F32", "BF16", "I64", "BOOL", "U8", float("nan"), float("inf"), [0, 0], [8, 0],
]  # fmt: skip


def damaged(rng: np.random.Generator, content: bytes) -> tuple[str, bytes]:
    """What was done, and the bytes with one or a few changes."""
    names = list(_DAMAGES)
    name = names[rng.integers(len(names))]
    return name, bytes(_DAMAGES[name](rng, bytearray(content)))


def _truncated(rng: np.random.Generator, b: bytearray) -> bytearray:
    return b[: rng.integers(0, len(b) + 1)]


def _flipped(rng: np.random.Generator, b: bytearray) -> bytearray:
    for place in rng.integers(0, max(len(b), 1), rng.integers(1, 9)) if b else []:
        b[place] ^= 1 << int(rng.integers(8))
    return b


def _header_flipped(rng: np.random.Generator, b: bytearray) -> bytearray:
    for place in rng.integers(0, min(len(b), 400), rng.integers(1, 4)) if b else []:
        b[place] = int(rng.integers(32, 127))
    return b


def _part(rng: np.random.Generator, b: bytearray) -> slice:
    start = int(rng.integers(0, len(b) + 1))
    return slice(start, start + int(rng.integers(0, 64)))


def _removed(rng: np.random.Generator, b: bytearray) -> bytearray:
    del b[_part(rng, b)]
    return b


def _repeated(rng: np.random.Generator, b: bytearray) -> bytearray:
    part = _part(rng, b)
    b[part.start : part.start] = b[part]
    return b


def _zeroed(rng: np.random.Generator, b: bytearray) -> bytearray:
    part = _part(rng, b)
    b[part] = bytes(len(b[part]))
    return b


def _inserted(rng: np.random.Generator, b: bytearray) -> bytearray:
    place = int(rng.integers(0, len(b) + 1))
    b[place:place] = rng.bytes(int(rng.integers(1, 40)))
    return b


def _length_changed(rng: np.random.Generator, b: bytearray) -> bytearray:
    """The first eight bytes of a safetensors file, the length of its header."""
    length = int.from_bytes(b[:8], "little")
    choices = [0, 1, length - 1, length + 1, length * 2, len(b), 2**31, 2**40, 2**63 - 1, 2**64 - 1, 10**8]
    b[:8] = (choices[rng.integers(len(choices))] % 2**64).to_bytes(8, "little")
    return b


_DAMAGES: dict[str, Callable[[np.random.Generator, bytearray], bytearray]] = {
    "truncated": _truncated,
    "flipped": _flipped,
    "header flipped": _header_flipped,
    "removed": _removed,
    "repeated": _repeated,
    "zeroed": _zeroed,
    "inserted": _inserted,
    "length": _length_changed,
    "longer": lambda rng, b: b + bytearray(rng.bytes(8)),
    "empty": lambda rng, b: bytearray(),
    "noise": lambda rng, b: bytearray(rng.bytes(len(b))),
    "twice": lambda rng, b: b + b,
}


def rewritten(rng: np.random.Generator, content: bytes, entry: str) -> tuple[str, bytes]:
    """A safetensors file with a changed header: that of the format, or the JSON text of the package inside of it."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    own = rng.random() < 0.7
    target = json.loads(header["__metadata__"][entry]) if own else header
    name = _change(rng, target)
    if own:
        header["__metadata__"][entry] = json.dumps(target)
    text = json.dumps(header)
    if rng.random() < 0.1:
        name, text = _change_text(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    return f"{'own' if own else 'format'} {name}", len(data).to_bytes(8, "little") + data + content[8 + length :]


def _change(rng: np.random.Generator, value: Any) -> str:
    """Change one place of a JSON value, anywhere inside, and say how."""
    places = list(_places(value))
    parent, key = places[rng.integers(len(places))]
    how = rng.integers(5)
    if how == 0 and isinstance(parent, dict):
        del parent[key]
        return "key removed"
    if how == 1 and isinstance(parent, dict):
        parent[str(rng.choice(["x", "shape", "settings", "kind", "__metadata__"]))] = _hostile(rng)
        return "key added"
    if how == 2 and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
        parent[key] = [parent[key] + 1, parent[key] - 1, -parent[key], parent[key] * 1000, float(parent[key])][
            rng.integers(5)
        ]
        return "number changed"
    other_parent, other = places[rng.integers(len(places))]
    if how == 3 and parent is other_parent:
        parent[key], parent[other] = parent[other], parent[key]
        return "swapped"
    parent[key] = _hostile(rng)
    return "replaced"


def _hostile(rng: np.random.Generator) -> Any:
    if rng.random() < 0.03:
        deep: Any = 0
        for _ in range(200):
            deep = [deep]
        return deep
    return _HOSTILE[rng.integers(len(_HOSTILE))]


def _places(value: Any) -> Any:
    """(container, key) of everything inside of a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(inside):
        yield value, key
        yield from _places(part)


def _change_text(rng: np.random.Generator, text: str) -> tuple[str, str]:
    """Text that is no JSON of a decent writer."""
    how = int(rng.integers(5))
    deep = "[" * 100_000 + "]" * 100_000
    first = text.find('"')
    return [
        ("deep", '{"__metadata__":{"convexadv":"' + deep + '"}}'),
        ("deep format", '{"a":' + deep + "}"),
        ("keys twice", "{" + text[1:-1] + "," + text[1:-1] + "}"),
        ("spaces", text + " " * 1000),
        ("no quote", text[:first] + text[first + 1 :]),
    ][how]
