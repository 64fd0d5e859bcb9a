"""What setup.cfg and CITATION.cff promise: extras, Python versions, typing, version."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import convexadv

ROOT = Path(__file__).parent.parent
OLDEST = (3, 10)
NEWEST = (3, 13)
MODULE_OF = {"scikit-learn": "sklearn"}


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def modules(requirements: str) -> set[str]:
    names = [re.split(r"[\s<>=\[]", line)[0] for line in requirements.split("\n") if line.strip()]
    return {MODULE_OF.get(name, name) for name in names} - {"convexadv"}


def sources() -> list[Path]:
    return sorted(
        path for folder in ("convexadv", "benchmarks", "tests", "tools") for path in (ROOT / folder).rglob("*.py")
    )


def foreign_imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Third-party modules with whether they are imported together with the file."""
    tree = ast.parse(path.read_text("utf-8"))
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            for name in {each.split(".")[0] for each in names} - set(sys.stdlib_module_names) - {"convexadv"}:
                yield name, isinstance(parent, ast.Module)


def test_extras_are_those_that_the_documentation_names(setup: configparser.ConfigParser) -> None:
    extras = setup["options.extras_require"]
    assert set(extras) == {"mosek", "onnx", "plot", "notebooks", "bench", "all", "dev"}
    page = (ROOT / "docs" / "installing.md").read_text("utf-8")
    for extra in extras:
        assert f"| `{extra}` |" in page


def test_package_imports_what_it_declares(setup: configparser.ConfigParser) -> None:
    base = modules(setup["options"]["install_requires"])
    optional = set().union(
        *(modules(setup["options.extras_require"][name]) for name in ("mosek", "onnx", "plot", "bench"))
    )
    for path in (ROOT / "convexadv").rglob("*.py"):
        for name, at_once in foreign_imports(path):
            assert name in base if at_once else name in base | optional, f"{path}: {name}"


def test_extra_of_the_benchmarks_is_what_they_import(setup: configparser.ConfigParser) -> None:
    base = modules(setup["options"]["install_requires"])
    extras = setup["options.extras_require"]
    assert "convexadv[onnx,plot]" in extras["bench"]
    known = base | modules(extras["bench"]) | modules(extras["onnx"]) | modules(extras["plot"]) | {"benchmarks"}
    for path in (ROOT / "benchmarks").glob("*.py"):
        if path.name.startswith("peer_"):  # runs in the environment of the peer
            continue
        for name, _ in foreign_imports(path):
            assert name in known, f"{path}: {name}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_syntax_is_that_of_the_oldest_python(path: Path) -> None:
    """Newer names of the standard library are what mypy looks for: it checks for the same version."""
    ast.parse(path.read_text("utf-8"), path.name, feature_version=OLDEST)


def test_python_versions_agree(setup: configparser.ConfigParser) -> None:
    oldest = ".".join(map(str, OLDEST))
    listed = re.findall(r"Python :: (3\.\d+)$", setup["metadata"]["classifiers"], re.MULTILINE)
    assert listed == [f"3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    assert setup["options"]["python_requires"] == f">={oldest}"
    tools = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'target-version = "py{oldest.replace(".", "")}"' in tools
    assert f'python_version = "{oldest}"' in tools


def test_plots_are_an_extra_that_all_who_plot_bring(setup: configparser.ConfigParser) -> None:
    extras = setup["options.extras_require"]

    def brought(name: str) -> set[str]:
        inner = re.findall(r"convexadv\[([^]]*)\]", extras[name])
        others = (brought(each.strip()) for part in inner for each in part.split(","))
        return modules(extras[name]).union(*others)

    assert "matplotlib" not in modules(setup["options"]["install_requires"])
    assert {name for name in extras if "matplotlib" in brought(name)} == {"plot", "notebooks", "bench", "all", "dev"}
    assert "'.[dev]'" in (ROOT / "Makefile").read_text("utf-8")  # what make demo, test and notebooks install


def test_sdist_has_the_documents(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("convexadv", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "constraints.txt", "setup.cfg"):
        shutil.copy(ROOT / name, source)
    shutil.copy(ROOT / "pyproject.toml", source)
    code = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True, timeout=120)
    (archive,) = (source / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    wanted = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "constraints.txt", "convexadv/py.typed"}
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").iterdir() if path.is_file()}
    assert wanted | pages <= names
    assert not any(name.endswith(".pyc") for name in names)


def test_package_is_typed(setup: configparser.ConfigParser) -> None:
    assert (Path(convexadv.__file__).parent / "py.typed").is_file()
    assert "py.typed" in setup["options.package_data"]["convexadv"]


def test_citation_is_valid_and_of_this_version() -> None:
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["type"] == "software"
    assert citation["version"] == convexadv.__version__
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference)
        assert all({"family-names", "given-names"} <= set(author) for author in reference["authors"])
