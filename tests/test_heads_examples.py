"""The examples in the docstrings of convexadv.heads print what they say."""

import doctest

import pytest

from convexadv import heads


@pytest.mark.parametrize("name", heads.__all__)
def test_example_prints_what_it_says(name):
    found = doctest.DocTestFinder(recurse=False).find(getattr(heads, name), name, globs={})
    results = [doctest.DocTestRunner().run(test) for test in found]
    assert all(result.failed == 0 for result in results)


@pytest.mark.parametrize("name", [name for name in heads.__all__ if name[0].islower()])
def test_functions_have_examples(name):
    found = doctest.DocTestFinder(recurse=False).find(getattr(heads, name), name, globs={})
    assert any(example.want for test in found for example in test.examples)
