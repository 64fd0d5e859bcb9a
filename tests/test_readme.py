"""The README and its pages say what the package does: its example, its commands, its codes, statuses, solvers and links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import convexadv as ca
from convexadv.cli.exit_codes import ExitCode
from convexadv.cli.parser import build_parser

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text("utf-8")
COMMAND_LINE, STATUSES, SOLVERS = (
    (ROOT / "docs" / f"{page}.md").read_text("utf-8") for page in ("command-line", "statuses", "choosing-a-solver")
)
COMMANDS = sorted(set(re.findall(r"^    (convexadv .*)$", TEXT + COMMAND_LINE, re.MULTILINE)))
LINKS = sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)))


def test_example_prints_what_is_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    code, pasted = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", TEXT, re.DOTALL).groups()
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert words(printed) == words(pasted)
    for name in ("objective", "lower bound"):
        assert number(name, printed) == pytest.approx(number(name, pasted), rel=2e-4)
    assert accuracies(printed) == pytest.approx(accuracies(pasted), abs=1.0)


def test_code_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)):
        exec(compile(block.replace("n_jobs=2", "n_jobs=1"), f"README.md, block {number}", "exec"), namespace)
    assert (tmp_path / "optimum.safetensors").exists()
    assert 0.8 < namespace["search"].best_score_ < 1.0


def words(text: str) -> list[str]:
    """The text without its numbers."""
    return re.sub(r"\d[\d.]*(?:e-?\d+)?", "#", text).split()


def number(name: str, text: str) -> float:
    return float(re.search(rf"^{name} +(\S+)", text, re.MULTILINE).group(1))


def accuracies(text: str) -> list[float]:
    rows = re.findall(r"^ +0\.\d+((?: +[\d.]+){5})$", text, re.MULTILINE)
    assert len(rows) == 3
    return [float(value) for row in rows for value in row.split()]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    assert build_parser().parse_args(shlex.split(command, comments=True)[1:]).verb


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_tables_are_complete() -> None:
    assert re.findall(r"^\| (\d+) \|", COMMAND_LINE, re.MULTILINE) == [str(code.value) for code in ExitCode]
    rows = " ".join(re.findall(r"^\| (`[^|]*) \|", STATUSES, re.MULTILINE))
    assert sorted(re.findall(r"`(\w+)`", rows)) == sorted(str(status) for status in ca.Status)
    for solver in ("torch", "auto", "SCS", "CLARABEL", "MOSEK"):
        assert f'`"{solver}"`' in SOLVERS
        assert f'`"{solver}"`' in TEXT
