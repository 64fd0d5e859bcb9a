"""Every public name has an example in its docstring, and every example prints what it says; so do the pages of docs/."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("agg")

ROOT = Path(__file__).parent.parent
MODULES = ("convexadv", "convexadv.datasets", "convexadv.plotting", "convexadv.model_selection")
NAMES = [
    *(f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__ if name[0] != "_"),
    "convexadv.callbacks.TensorBoard",
    "convexadv.callbacks.TrainingBoard",
]
NEEDS = {
    "convexadv.export_onnx": ("onnx", "onnxruntime"),
    "convexadv.foolbox_attack": ("foolbox",),
}
PAGES = sorted((ROOT / "docs").glob("*.md"))
LINKED = [*PAGES, ROOT / "README.md", ROOT / "benchmarks" / "README.md"]


def examples(name: str) -> doctest.DocTest:
    module, _, attribute = name.rpartition(".")
    text = inspect.cleandoc(getattr(importlib.import_module(module), attribute).__doc__)
    section = re.split(r"^Examples\n-+\n", text, maxsplit=1, flags=re.MULTILINE)
    return doctest.DocTestParser().get_doctest("\n".join([*section[1:], ""]), {}, name, name, 0)


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Examples write their files into the working folder; figures are closed afterwards."""
    monkeypatch.chdir(tmp_path)
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.mark.parametrize("name", NAMES)
def test_public_name_has_an_example_that_shows_something(name: str) -> None:
    assert any(example.want for example in examples(name).examples)
    assert not any(doctest.SKIP in example.options for example in examples(name).examples)


@pytest.mark.parametrize("name", NAMES)
def test_example_prints_what_it_says(name: str, in_empty_folder: None) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    said: list[str] = []
    failed = doctest.DocTestRunner().run(examples(name), out=said.append).failed
    assert failed == 0, "".join(said)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_of_a_page_runs_as_pasted(page: Path, in_empty_folder: None) -> None:
    """The blocks of a page from top to bottom in one namespace; their asserts hold."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    namespace = {"__name__": page.stem}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("page", LINKED, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link, _, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)\s]+))?\)", page.read_text("utf-8")):
        target = (page.parent / link).resolve() if link else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, anchor
