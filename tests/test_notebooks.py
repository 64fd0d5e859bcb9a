"""The notebooks as they are committed: executed from top to bottom, without errors, small, and free of this machine's paths.

``make notebooks`` runs them; here only the files are looked at.
"""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 300_000
PATHS = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|opt|usr|var|Users|mnt)/\w|[A-Z]:\\\\")


def code_cells(book: Path) -> list[dict]:
    return [cell for cell in json.loads(book.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def images(book: Path) -> list[bytes]:
    outputs = [output for cell in code_cells(book) for output in cell["outputs"]]
    return [
        base64.b64decode(output["data"]["image/png"]) for output in outputs if "image/png" in output.get("data", {})
    ]


def test_there_are_notebooks() -> None:
    assert [book.name[:2] for book in BOOKS] == [f"{number:02d}" for number in range(1, len(BOOKS) + 1)]
    assert len(BOOKS) >= 2


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
class TestNotebook:
    def test_was_run_once_from_top_to_bottom(self, book: Path) -> None:
        counts = [cell["execution_count"] for cell in code_cells(book)]
        assert counts == list(range(1, len(counts) + 1))

    def test_shows_results_and_no_complaints(self, book: Path) -> None:
        outputs = [output for cell in code_cells(book) for output in cell["outputs"]]
        assert len(outputs) >= 5
        assert [output for output in outputs if output["output_type"] == "error"] == []
        assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []

    def test_is_small_enough_for_the_web(self, book: Path) -> None:
        assert book.stat().st_size < LARGEST

    def test_names_no_path_of_a_machine(self, book: Path) -> None:
        cells = json.loads(book.read_text("utf-8"))["cells"]
        for cell in cells:
            for output in cell.get("outputs", []):
                output.get("data", {}).pop("image/png", None)
        assert PATHS.findall(json.dumps(cells)) == []

    def test_draws_pictures(self, book: Path) -> None:
        pictures = [matplotlib.image.imread(io.BytesIO(image)) for image in images(book)]
        assert len(pictures) >= 2
        for picture in pictures:
            assert picture.shape[1] <= 1000
            assert np.std(picture[..., :3]) > 0.05  # a blank one has no contrast

    def test_carries_nothing_of_the_run(self, book: Path) -> None:
        content = json.loads(book.read_text("utf-8"))
        assert set(content["metadata"]) == {"kernelspec", "language_info"}
        assert content["metadata"]["kernelspec"]["name"] == "python3"
        assert all(cell["metadata"] == {} for cell in content["cells"])
