"""Every message of an error or a warning, read from the source: a sentence that says what is needed, made in one place."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

import pytest

from convexadv.errors import reason
from tools.messages import OWN, PAGE, Message, collect, render, templates

MESSAGES = collect()
VALUE = re.compile(r"\{[^{}]*\}")
NEED = re.compile(
    r"\b(needs?|needed|must|choose|use|give|takes?|leave|start|delete|draw|try|open it again|see|upgrade|at least|name|drop|"
    r"divide|encode|say|ask|call|make|make one|pip install|low rank can)\b",
    re.IGNORECASE,
)
"""Words that say what is needed, or what to do."""
CAUSE = re.compile(
    r"\{(reason\(error\)|reason_of\(error\)|error|why|reason|[\w.]+\.value)\}|\btruncated\b|\bdamaged\b"
    r"|\bno file\b|\bno model file\b|\bno \{what\} file\b|\bnot \{kind\.what\}|\bnot a .* file of convexadv\b"
)
"""Where the cause is all that can be said: the words of another error, a file that is broken, of another kind or missing."""
FORMS = re.compile(r"\.\.\.|(?<= )\.(?:npy|npz|png|pdf|svg|gz|xz|safetensors)\b|,\)")
"""What looks like lost punctuation: an ellipsis, suffixes of files, the shape (n,)."""
JARGON = re.compile(
    r"\bassert|\binvalid\b|\billegal\b|\bbad value\b|\bNoneType\b|\bkwargs?\b|\bargs\b|\bndarray\b|\bnumpy\b(?!\.)"
    r"|\btraceback\b|\bexception\b|\bunexpected\b|\bfailed to\b|\bunable to\b|\boops\b|\btodo\b|\bplease\b|!"
)


def identity(message: Message) -> str:
    return f"{message.path}:{message.line}"


def wrong(holds) -> list[str]:
    return [f"{identity(each)} {each.text}" for each in MESSAGES if not holds(each.text)]


def test_messages_are_found() -> None:
    """Of every kind, in every room that checks its input, and as many as the package raises."""
    assert {each.kind for each in MESSAGES} >= set(OWN)
    assert len(MESSAGES) > 500
    rooms = {each.path.split("/")[0].removesuffix(".py") for each in MESSAGES}
    assert rooms >= {
        "problems",
        "solvers",
        "networks",
        "robustness",
        "files",
        "cli",
        "heads",
        "compression",
        "training",
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'text'", ["text"]),
        ("f'{x!r} of {len(y):,}'", ["{x} of {len(y)}"]),
        ("'a ' + ('b' if c else 'd')", ["a b", "a d"]),
        ("f\"{', '.join(names)} or {error.strerror or error}\"", ["{names} or {error}"]),
        ("message", []),
    ],
)
def test_templates_show_values_in_braces(source: str, expected: list[str]) -> None:
    assert templates(ast.parse(source, mode="eval").body) == expected


def test_page_is_up_to_date() -> None:
    """``python -m tools.messages`` writes it."""
    assert PAGE.read_text("utf-8") == render(MESSAGES)


def test_each_is_a_sentence_on_one_line() -> None:
    """A full stop, or the words of another error, at the end; nothing lost where pieces of text are joined."""
    assert wrong(lambda text: re.search(r"[.?]$|[:;] \{[^{}]*\}$", text)) == []
    assert (
        wrong(lambda text: not re.search(r"\s\s|\n|\s[,;:.]|\.\.$|[,;]\S", FORMS.sub("x", VALUE.sub("x", text)))) == []
    )


def test_each_starts_with_what_was_given() -> None:
    """In small letters, as the rest of a line that begins with the name of the program, and not with a verdict."""
    assert wrong(lambda text: not re.match(r"[A-Z][a-z]", text)) == []
    assert (
        wrong(lambda text: not re.match(r"(error|invalid|illegal|failed|bad|wrong|cannot|unknown|unsupported)\b", text))
        == []
    )


def test_each_says_what_is_needed() -> None:
    assert wrong(lambda text: NEED.search(text) or CAUSE.search(text)) == []


def test_none_has_jargon_or_more_than_one_sentence() -> None:
    assert wrong(lambda text: not JARGON.search(VALUE.sub("x", text))) == []
    assert wrong(lambda text: not re.search(r"[a-z)][.!] [A-Za-z]", VALUE.sub("x", text))) == []


def test_no_sentence_is_made_in_two_places() -> None:
    places = defaultdict(set)
    for each in MESSAGES:
        places[VALUE.sub("{}", each.text)].add(identity(each))
    assert {text: sorted(where) for text, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("name"), "'name' is missing"),
        (FileNotFoundError(2, "No such file or directory", "x"), "No such file or directory"),
        (RuntimeError("size mismatch:\n\tgot 3,\n\tneeded 4."), "size mismatch: got 3, needed 4"),
        (ValueError(), "ValueError"),
    ],
)
def test_words_of_another_error_end_a_sentence(error: Exception, words: str) -> None:
    assert reason(error) == words
