"""Every message of an error or a warning of the package: ``python -m tools.messages`` writes them to ``docs/errors.md``.

The messages are read from the source with :mod:`ast`; values that a message shows stand in braces.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from itertools import groupby, product
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "convexadv"
PAGE = ROOT / "docs" / "errors.md"
OWN = ("InputError", "FileFormatError", "CertificateError", "SolverUnavailableError", "ProcessError", "TrainingError")
"""Errors of the package; other errors and warnings are collected where they are raised with a message."""

_LONGEST = 32
"""Letters of an expression that is shown in braces; the name of a longer one is its last word."""
_INTRODUCTION = """# Messages

Every error and warning of the package, made by `python -m tools.messages` from the source; not edited by hand. Each
message is one sentence: what was given, and what is needed. `{...}` stands for a value. On the command line a message
follows `convexadv:` on stderr, and the exit code says which kind it was ([command-line.md](command-line.md)).

| kind | also a | when |
|---|---|---|
| `InputError` | `ValueError` | an argument or a data set cannot be used as given |
| `FileFormatError` | `InputError` | a file is truncated, of another kind, or from a newer version |
| `CertificateError` | `ValueError` | a certificate does not belong to the problem or breaks its own conditions |
| `SolverUnavailableError` | `RuntimeError` | a solver is not installed, not licensed, or cannot hold the problem |
| `ProcessError` | `RuntimeError` | one of several processes was lost, or they no longer agree |
| `TrainingError` | `RuntimeError` | a training cannot go on: a loss or a weight is not finite |

Other kinds are Python's own, where a protocol asks for them (attributes, indices, options of the command line).
"""


class Message(NamedTuple):
    """A message and where it is made."""

    path: str
    """Relative to the package."""
    line: int
    kind: str
    text: str


def main() -> int:
    """Write the page."""
    PAGE.write_text(render(collect()), "utf-8")
    print(f"Written to {PAGE.relative_to(ROOT)}.")
    return 0


def collect(package: Path = PACKAGE) -> list[Message]:
    """All messages of a package, in the order of its files and lines."""
    found = []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for kind, message in _made(node):
                texts = templates(message)
                found += [Message(path.relative_to(package).as_posix(), node.lineno, kind, text) for text in texts]
    return sorted(set(found))


def _made(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Kind and message of an error or a warning that this node makes."""
    if isinstance(node, ast.Call) and node.args:
        name = ast.unparse(node.func).split(".")[-1]
        if name in OWN:
            yield name, node.args[0]
        elif name == "warn" and len(node.args) > 1:
            yield ast.unparse(node.args[1]).split(".")[-1], node.args[0]
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
        name = ast.unparse(node.exc.func).split(".")[-1]
        if name == "type(error)":
            yield "InputError", node.exc.args[0]
        elif name == "ArgumentTypeError" or (name not in OWN and isinstance(getattr(builtins, name, None), type)):
            yield name, node.exc.args[0]


def templates(node: ast.expr) -> list[str]:
    """The text of an expression; several where it is a choice between texts; none where it holds no text at all."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return templates(node.body) + templates(node.orelse)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a, b in product(_part(node.left), _part(node.right))]
    if isinstance(node, ast.JoinedStr):
        parts = [
            [str(value.value)] if isinstance(value, ast.Constant) else _part(value.value)
            for value in node.values
            if isinstance(value, ast.Constant | ast.FormattedValue)
        ]
        return ["".join(each) for each in product(*parts)]
    return []


def _part(node: ast.expr) -> list[str]:
    """Texts of a part of a message; a value is its name in braces."""
    return templates(node) or [f"{{{_name(node)}}}"]


def _name(node: ast.expr) -> str:
    """A value in few letters: the expression, or the last word of a long one."""
    if isinstance(node, ast.BoolOp):  # error.strerror or error
        return _name(node.values[-1])
    text = ast.unparse(node)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".join") and node.args:
        return _name(node.args[0])
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("map", "sorted", "str", "tuple", "list", "repr"):
        return _name(node.args[-1])
    if len(text) <= _LONGEST and "'" not in text:
        return text
    words = re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "", text))
    return words[-1] if words else "..."


def render(messages: list[Message]) -> str:
    """The page as Markdown."""
    parts = [_INTRODUCTION]
    for room, group in groupby(messages, lambda message: message.path.split("/")[0].removesuffix(".py")):
        rows = [f"| `{each.path}` | {each.kind} | {_escaped(each.text)} |" for each in group]
        parts.append(
            "\n".join([f"## {room}\n", "| file | kind | message |", "|---|---|---|", *dict.fromkeys(rows)]) + "\n"
        )
    return "\n".join(parts)


def _escaped(text: str) -> str:
    return re.sub(r"([|<>*_])", r"\\\1", " ".join(text.split()))


if __name__ == "__main__":
    raise SystemExit(main())
