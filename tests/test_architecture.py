"""The page on the architecture holds: every module has its room and layer, and no import runs against the flow."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import convexadv

PACKAGE = Path(convexadv.__file__).parent
PAGE = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text("utf-8")
NAME = "convexadv"
PUBLIC = (
    *("convexadv", "convexadv.datasets", "convexadv.plotting", "convexadv.model_selection", "convexadv.heads"),
    *("convexadv.compression", "convexadv.training", "convexadv.estimators", "convexadv.paths", "convexadv.problems"),
    *("convexadv.solvers", "convexadv.robustness"),
)
"""Packages all of whose names the reference explains."""


class Import(NamedTuple):
    """An import of a module: what, under which name, when it happens."""

    target: str
    name: str
    when: str  # "load", "call" or "typing"


def files() -> dict[str, Path]:
    """Every module of the package by its name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = (NAME, *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FILES = files()


def imports(module: str, source: str | None = None) -> list[Import]:
    """Imports of a module; of ``from package import module`` the target is the module."""
    found: list[Import] = []
    is_package = FILES[module].name == "__init__.py"

    def resolved(node: ast.ImportFrom) -> str:
        if not node.level:
            return str(node.module)
        base = module.split(".") if is_package else module.split(".")[:-1]
        base = base[: len(base) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])

    def walk(nodes: list[ast.stmt] | list[ast.AST], when: str) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.extend(Import(each.name, "", when) for each in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = resolved(node)
                for each in node.names:
                    inner = f"{base}.{each.name}"
                    found.append(Import(inner, "", when) if inner in FILES else Import(base, each.name, when))
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                walk(node.body, "typing")
                walk(node.orelse, when)
            else:
                inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                walk(list(ast.iter_child_nodes(node)), "call" if inside else when)

    walk(ast.parse(FILES[module].read_text("utf-8") if source is None else source).body, "load")
    return found


IMPORTS = {module: imports(module) for module in FILES}


def table(header: str) -> list[list[str]]:
    """Rows of the table of the page whose first column has this header."""
    lines = PAGE.split(f"| {header} |", 1)[1].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


LAYERS = {name: quoted(rooms) for name, rooms, _ in table("layer")}
ALLOWED = {name: {each.strip() for each in cell.split(",") if each.strip()} for name, _, cell in table("layer")}
LAYER_OF = {room: name for name, rooms in LAYERS.items() for room in rooms}
ROOMS = re.findall(r"^- `([\w.]+)`: .*", PAGE.split("## Rooms", 1)[1].split("\n## ", 1)[0], re.MULTILINE)


def room_of(module: str) -> str:
    """The room of a module: the first part of its name within the package."""
    return module.split(".")[1] if "." in module else "__init__"


def arrows(*when: str) -> Iterator[tuple[str, str]]:
    """Pairs of modules of the package of which the first imports the second."""
    for module, found in IMPORTS.items():
        for each in found:
            if each.when in when and each.target in FILES:
                yield module, each.target


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """Some cycle of a graph, or nothing."""
    done: set[str] = set()

    def search(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for following in sorted(edges.get(node, ())):
            found = search(following, [*way, node])
            if found:
                return found
        done.add(node)
        return []

    return next((found for node in sorted(edges) if (found := search(node, []))), [])


def test_every_module_is_in_exactly_one_layer_and_every_layer_exists() -> None:
    listed = [room for rooms in LAYERS.values() for room in rooms]
    assert sorted(listed) == sorted(set(listed))
    assert sorted(listed) == sorted({room_of(module) for module in FILES})


def test_every_room_and_room_within_a_room_has_its_sentence() -> None:
    inner = {
        module.removeprefix(f"{NAME}.")
        for module, path in FILES.items()
        if path.name == "__init__.py" and module.count(".") > 1
    }
    assert sorted(ROOMS) == sorted({*LAYER_OF, *inner})


def test_sections_of_rooms_are_the_layers_in_their_order() -> None:
    text = PAGE.split("## Rooms", 1)[1].split("\n## ", 1)[0]
    sections = re.split(r"^### (.+)$", text, flags=re.MULTILINE)[1:]
    titles, bodies = sections[::2], sections[1::2]
    assert titles == list(LAYERS)
    for title, body in zip(titles, bodies, strict=True):
        rooms = [room for room in re.findall(r"^- `([\w.]+)`:", body, re.MULTILINE) if "." not in room]
        assert rooms == LAYERS[title]


def test_layers_import_what_stands_above_them() -> None:
    names = list(LAYERS)
    for place, name in enumerate(names):
        assert ALLOWED[name] <= set(names[:place]), name


@pytest.mark.parametrize("when", ["load", "call", "typing"])
def test_no_arrow_against_the_direction_of_flow(when: str) -> None:
    wrong = [
        f"{module} imports {target} ({when})"
        for module, target in arrows(when)
        for own, other in [(LAYER_OF[room_of(module)], LAYER_OF[room_of(target)])]
        if other != own and other not in ALLOWED[own]
    ]
    assert wrong == []


def test_every_arrow_of_the_page_is_used() -> None:
    used = {(LAYER_OF[room_of(module)], LAYER_OF[room_of(target)]) for module, target in arrows("load", "call")}
    assert [(own, other) for own in LAYERS for other in ALLOWED[own] if (own, other) not in used] == []


def test_no_cycle_among_modules_nor_among_rooms() -> None:
    modules: dict[str, set[str]] = {}
    rooms: dict[str, set[str]] = {}
    for module, target in arrows("load", "call"):
        modules.setdefault(module, set()).add(target)
        if room_of(module) != room_of(target):
            rooms.setdefault(room_of(module), set()).add(room_of(target))
    assert cycle(modules) == []
    assert cycle(rooms) == []


def test_a_cycle_and_an_import_of_every_kind_would_be_seen() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}}) == []
    source = (
        "from typing import TYPE_CHECKING\nfrom . import balls\nfrom .problems.base import Problem\n"
        "if TYPE_CHECKING:\n    from .solvers import solve\n"
        "class A:\n    def f(self):\n        import torch\n        from .rows import Rows\n"
    )
    assert imports(f"{NAME}.errors", source)[1:] == [
        Import(f"{NAME}.balls", "", "load"),
        Import(f"{NAME}.problems.base", "Problem", "load"),
        Import(f"{NAME}.solvers", "solve", "typing"),
        Import("torch", "", "call"),
        Import(f"{NAME}.rows", "Rows", "call"),
    ]


def test_packages_are_imported_at_the_top_where_the_page_says() -> None:
    expected = {package: set(quoted(rooms)) for packages, rooms in table("package") for package in quoted(packages)}
    found: dict[str, set[str]] = {package: set() for package in expected}
    for module, each in ((module, each) for module, every in IMPORTS.items() for each in every):
        package = each.target.split(".")[0]
        if package in (NAME, "numpy") or package in sys.stdlib_module_names or each.when == "typing":
            continue
        assert package in expected, f"{module} imports {package}, of which the page does not speak"
        if each.when == "load":
            found[package].add(room_of(module))
    assert found == expected


@pytest.mark.parametrize(
    "code",
    [
        "import convexadv",
        "from convexadv.cli.parser import build_parser; build_parser()",
        "import convexadv as ca; ca.PolynomialProblem, ca.verify_certificate, ca.solve",
        "import convexadv.plotting, convexadv.datasets, convexadv.estimators, convexadv.model_selection",
    ],
)
def test_what_starts_fast_loads_no_torch(code: str) -> None:
    heavy = "{'torch', 'cvxpy', 'matplotlib', 'clarabel', 'scs'}"
    check = f"import sys; {code}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_nothing_imports_benchmarks_tests_or_tools() -> None:
    assert [
        (module, each.target)
        for module, found in IMPORTS.items()
        for each in found
        if each.target.split(".")[0] in ("benchmarks", "tests", "tools", "notebooks")
    ] == []


def test_private_names_stay_in_their_module_and_private_modules_in_their_room() -> None:
    wrong = []
    for module, found in IMPORTS.items():
        for each in found:
            inside = each.target.startswith(f"{NAME}.") or each.target == NAME
            if inside and each.name.startswith("_") and not each.name.startswith("__"):
                wrong.append(f"{module} imports {each.name} of {each.target}")
            if each.target in FILES and room_of(each.target) != room_of(module):
                private = [part for part in each.target.split(".")[2:] if part.startswith("_")]
                wrong += [f"{module} imports {each.target}"] if private else []
    assert wrong == []


def test_public_names_are_where_the_front_door_says() -> None:
    for name, room in convexadv._HOMES.items():
        assert name in importlib.import_module(f"{NAME}.{room}").__dict__, (name, room)


def test_every_public_name_is_in_the_reference() -> None:
    """Public are the names that packages whose names the reference spells list in ``__all__``; all else is internal."""
    reference = (Path(__file__).parent.parent / "docs" / "index.rst").read_text("utf-8")
    listed = set(re.findall(r"\w+", reference))
    whole = set(re.findall(r"automodule:: ([\w.]+)\n   :members:\n", reference))
    for module in PUBLIC:
        room = importlib.import_module(module)
        for name in room.__all__:
            value = getattr(room, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert name in listed or module in whole, f"{module}.{name}"
                assert inspect.getdoc(value), f"{module}.{name} has no docstring"
