"""Documents as JSON: every number that JSON does not have becomes null, wherever it stands, and the rest stays."""

import json

import numpy as np
import torch

from convexadv._atomic import write_json
from convexadv._json import plain, to_json

DOCUMENT = {
    "gap": float("nan"),
    2: (float("inf"), 1.5, np.float64("-inf")),
    "deep": [{"array": np.array([[1.0, np.nan], [np.inf, 2.0]]), "count": np.int64(3)}],
    "tensor": torch.tensor([1.0, float("nan")]),
    "text": "nan",
    "flags": [True, None],
}
EXPECTED = {
    "gap": None,
    "2": [None, 1.5, None],
    "deep": [{"array": [[1.0, None], [None, 2.0]], "count": 3}],
    "tensor": [1.0, None],
    "text": "nan",
    "flags": [True, None],
}


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_are_not_finite_become_null():
    assert plain(DOCUMENT) == EXPECTED
    assert strict(to_json(DOCUMENT)) == strict(to_json(DOCUMENT, indent=None)) == EXPECTED
    assert "\n" not in to_json(DOCUMENT, indent=None)


def test_files_too(tmp_path):
    write_json(tmp_path / "report.json", DOCUMENT)
    assert strict((tmp_path / "report.json").read_text("utf-8")) == EXPECTED
