"""The README says what the package does: its example, its commands, its codes and its links."""

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
COMMANDS = re.findall(r"^    (convexadv .*)$", TEXT, re.MULTILINE)
LINKS = sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)))


def test_example_prints_what_is_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    code, pasted = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", TEXT, re.DOTALL).groups()
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert words(printed) == words(pasted)
    for name in ("objective", "lower bound"):
        assert number(name, printed) == pytest.approx(number(name, pasted), rel=2e-4)
    assert accuracies(printed) == pytest.approx(accuracies(pasted), abs=1.0)


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
    assert re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE) == [str(code.value) for code in ExitCode]
    for status in ca.Status:
        assert f"`{status}`" in TEXT
    for solver in ("torch", "auto", "SCS", "CLARABEL", "MOSEK"):
        assert f'`"{solver}"`' in TEXT
