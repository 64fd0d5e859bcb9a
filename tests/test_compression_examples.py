"""Every name of convexadv.compression has an example that prints what it says."""

from __future__ import annotations

import doctest
import inspect

import pytest

from convexadv import compression


@pytest.mark.parametrize("name", compression.__all__)
def test_example_prints_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = inspect.cleandoc(getattr(compression, name).__doc__)
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert any(example.want for example in test.examples)
    said: list[str] = []
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)
