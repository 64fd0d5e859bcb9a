"""Every name of convexadv.compress has an example that prints what it says."""

from __future__ import annotations

import doctest
import inspect

import pytest

from convexadv import compress


@pytest.mark.parametrize("name", compress.__all__)
def test_example_prints_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = inspect.cleandoc(getattr(compress, name).__doc__)
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert any(example.want for example in test.examples)
    said: list[str] = []
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)
