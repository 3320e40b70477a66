"""Text of an artifact, made harmless."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aiverify.reporters.hostile import printable, printable_lines

ANY_TEXT = st.text(st.characters(), max_size=60)
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(ANY_TEXT, st.sampled_from(["utf-8", "ascii", "latin-1", "cp1252", "utf-16"]))
def test_nothing_that_acts_on_a_terminal_is_left(text: str, encoding: str) -> None:
    shown = printable(text, encoding=encoding)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not set(shown) & BIDI
    shown.encode(encoding)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), max_size=60))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assume("::" not in text and "##" not in text)
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error file=x::pwn", "\\x3a:error file=x\\x3a:pwn"),
        ("##[error]pwn", "#\\x23[error]pwn"),
        ("a ##vso[task.setvariable variable=x]y", "a #\\x23vso[task.setvariable variable=x]y"),
        ("aten::add", "aten::add"),
        ("## Title", "## Title"),
    ],
)
def test_what_would_be_a_command_to_a_ci_service_is_broken_up(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\x9b31mb", "a\\x9b31mb"),
        ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
        ("gpj\u202e.bin", "gpj\\u202e.bin"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("caf\u00e9 \u6a21\u578b", "caf\u00e9 \u6a21\u578b"),
        ("caf\udce9", "caf\\udce9"),
        ("a\u3164b\ufe0f", "a\\u3164b\\ufe0f"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_the_encoding_cannot_show_is_spelled_out() -> None:
    assert printable("caf\u00e9", encoding="ascii") == "caf\\xe9"
    assert printable("\u6a21", encoding="latin-1") == "\\u6a21"
    assert printable("a → b…", encoding="latin-1") == "a -> b..."
    assert printable("a → b…", encoding="cp1252") == "a -> b…"


def test_a_pile_of_combining_marks_is_cut_down() -> None:
    assert printable("e" + "\u0301" * 5) == "e\u0301\u0301\u0301\\u0301\\u0301"


def test_long_text_says_how_much_is_missing() -> None:
    assert printable("x" * 1007, limit=1000) == "x" * 1000 + " [+7 characters]"


@given(ANY_TEXT, st.integers(1, 4))
def test_lines_are_lines_and_the_missing_are_counted(text: str, most: int) -> None:
    lines, left_out = printable_lines(text, max_lines=most)
    assert len(lines) <= most
    assert len(lines) + left_out == len(text.rstrip("\n").split("\n"))
    assert not any("\n" in line or "\t" in line for line in lines)
